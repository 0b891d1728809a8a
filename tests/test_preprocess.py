"""The preprocessing command: the dataset it writes, how it continues, and its errors."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import helper_photos
import numpy as np
import pytest
from helper_jobs import assert_one_sentence, file_contents, preprocess, preprocess_in_a_process, workers

from preprocess.recipe import DEFAULT
from preprocess.transform import transform
from tfrecords_schema import Manifest, decode_example, read_records, unpack_edges

ROOT = Path(__file__).parent.parent


def records(path):
    with path.open("rb") as file:
        return [decode_example(record) for record in read_records(file)]


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """60 good images, and one image of each other kind, in class folders."""
    root = helper_photos.make_image_folder(tmp_path_factory.mktemp("images"), 60)
    good = helper_photos.jpeg(helper_photos.make_image(99))
    odd = root / "n99999999"
    odd.mkdir()
    (odd / "empty.JPEG").write_bytes(b"")
    (odd / "truncated.JPEG").write_bytes(good[: len(good) // 2])
    (odd / "text.JPEG").write_bytes(b"not an image")
    (odd / "dot.JPEG").write_bytes(helper_photos.jpeg(helper_photos.make_image(1, 1, 1)))
    (odd / "constant.JPEG").write_bytes(helper_photos.jpeg(np.full((200, 200, 3), 77, np.uint8)))
    (odd / "wide.JPEG").write_bytes(helper_photos.with_size(good, 65000, 65000))
    (odd / "png_inside.JPEG").write_bytes(helper_photos.png(helper_photos.make_image(98)))
    (odd / "turned.JPEG").write_bytes(helper_photos.with_orientation(good, 6))
    return root


REASONS = {"empty": 1, "truncated": 1, "format": 1, "too_small": 1, "constant": 1, "too_large": 1}


@pytest.fixture(scope="session")
def dataset(images, tmp_path_factory):
    """The dataset that the command makes from `images` with default settings, in its own process."""
    output = tmp_path_factory.mktemp("dataset") / "made"
    result = preprocess_in_a_process("--input", images, "--output", output, "--max_reject_fraction", 0.2)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert f"dataset: {output}" in result.stdout
    return output


def test_files_of_a_dataset(dataset):
    manifest = Manifest.load(dataset)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    expected = {"manifest.json", "rejects.jsonl"} | {shard.name for shard in shards}
    expected |= {f"receipts/{Path(shard.name).stem}.json" for shard in shards}
    assert set(file_contents(dataset)) == expected
    assert manifest.rejects == REASONS
    for shard in shards:
        data = (dataset / shard.name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        assert shard.layout.stride * shard.examples == shard.bytes


def test_records_are_the_transformed_images(dataset, images):
    manifest = Manifest.load(dataset)
    seen = []
    for split in manifest.splits.values():
        histogram = np.zeros(32, int)
        for shard in split.shards:
            for key, edges, labels in records(dataset / shard.name):
                expected_edges, expected_labels = transform((images / key).read_bytes(), DEFAULT)
                np.testing.assert_array_equal(unpack_edges(edges, 128, 1), expected_edges)
                assert labels == expected_labels.tobytes()
                histogram += np.bincount(expected_labels.ravel(), minlength=32)
                seen.append(key)
        assert histogram.tolist() == split.label_histogram
    assert len(seen) == len(set(seen)) == 62
    assert {"n99999999/png_inside.JPEG", "n99999999/turned.JPEG"} < set(seen)


def test_rejects_jsonl_lists_every_rejected_image(dataset):
    lines = [json.loads(line) for line in (dataset / "rejects.jsonl").read_text().splitlines()]
    reasons = {line["key"]: line["reason"] for line in lines}
    assert reasons == {
        "n99999999/empty.JPEG": "empty",
        "n99999999/truncated.JPEG": "truncated",
        "n99999999/text.JPEG": "format",
        "n99999999/dot.JPEG": "too_small",
        "n99999999/constant.JPEG": "constant",
        "n99999999/wide.JPEG": "too_large",
    }


def test_the_number_of_workers_does_not_change_the_bytes(dataset, images, tmp_path):
    args = ["--input", images, "--output", tmp_path / "out", "--max_reject_fraction", 0.2]
    assert preprocess(*args, "--direct_num_workers", 1).returncode == 0
    assert file_contents(tmp_path / "out") == file_contents(dataset)


def test_the_runner_does_not_change_the_bytes(dataset, images, tmp_path):
    args = ["--input", images, "--output", tmp_path / "out", "--max_reject_fraction", 0.2]
    result = preprocess(*args, "--runner", "DirectRunner", "--direct_running_mode", "in_memory")
    assert result.returncode == 0, result.stderr
    assert file_contents(tmp_path / "out") == file_contents(dataset)


def test_a_complete_dataset_stays_unchanged(dataset, images):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.tfrecord")}
    result = preprocess("--input", images, "--output", dataset, "--max_reject_fraction", 0.2)
    assert result.returncode == 0
    assert "Nothing to do" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*.tfrecord")} == before


@pytest.mark.parametrize(
    "damage", ["shard gone", "shard cut", "receipt gone", "receipt cut", "manifest gone"]
)
def test_a_second_run_repairs_damaged_files(dataset, images, tmp_path, damage):
    output = tmp_path / "out"
    shutil.copytree(dataset, output)
    kind, change = damage.split()
    pattern = {"shard": "train/*00001*", "receipt": "receipts/*00001*", "manifest": "manifest.json"}[kind]
    path = next(iter(output.glob(pattern)))
    path.unlink() if change == "gone" else path.write_bytes(path.read_bytes()[:-10])
    assert preprocess("--input", images, "--output", output, "--max_reject_fraction", 0.2).returncode == 0
    assert file_contents(output) == file_contents(dataset)


def test_retry_rejects_reads_unreadable_images_again(images, dataset, tmp_path):
    """A broken link is listed like any file, and can be read once its target exists."""
    folder = tmp_path / "images"
    shutil.copytree(images, folder)
    missing = folder / "n00000001" / "n00000001_1.JPEG"
    (tmp_path / "away.JPEG").write_bytes(missing.read_bytes())
    missing.unlink()
    missing.symlink_to(tmp_path / "back.JPEG")
    args = ["--input", folder, "--output", tmp_path / "out", "--max_reject_fraction", 0.2]
    assert preprocess(*args).returncode == 0
    assert Manifest.load(tmp_path / "out").rejects == {**REASONS, "unreadable": 1}
    (tmp_path / "away.JPEG").rename(tmp_path / "back.JPEG")
    assert "Nothing to do" in preprocess(*args).stdout
    result = preprocess(*args, "--retry_rejects")
    assert result.returncode == 0
    shards = {name: data for name, data in file_contents(dataset).items() if "tfrecord" in name}
    assert {
        name: data for name, data in file_contents(tmp_path / "out").items() if "tfrecord" in name
    } == shards
    assert Manifest.load(tmp_path / "out").rejects == REASONS


def test_a_closed_pipe_is_no_error(dataset, images):
    command = (
        f"{sys.executable} -m preprocess --input {images} --output {dataset} --max_reject_fraction 0.2 | true"
    )
    result = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stderr == ""


def test_gzip_shards_have_the_same_records(dataset, images, tmp_path):
    import gzip
    import io

    output = tmp_path / "out"
    args = ["--input", images, "--output", output, "--max_reject_fraction", 0.2, "--compression", "gzip"]
    assert preprocess(*args).returncode == 0
    manifest = Manifest.load(output)
    for shard in manifest.splits["train"].shards:
        assert shard.layout is None
        packed = (output / shard.name).read_bytes()
        plain = [decode_example(r) for r in read_records(io.BytesIO(gzip.decompress(packed)))]
        assert plain == records(dataset / shard.name.removesuffix(".gz"))


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """Enough images that a job can be killed while it runs."""
    return helper_photos.make_image_folder(tmp_path_factory.mktemp("many"), 1500)


@pytest.fixture(scope="session")
def undisturbed(many, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert preprocess("--input", many, "--output", output).returncode == 0
    return file_contents(output)


def start(many, output):
    """Starts a job in its own process group, and waits until some of its shards are finished."""
    command = [sys.executable, "-m", "preprocess", "--input", str(many), "--output", str(output)]
    job = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    while job.poll() is None and len(list(output.glob("receipts/*.json"))) < 2:
        time.sleep(0.02)
    assert job.poll() is None, "the job finished before it could be disturbed"
    return job


@pytest.mark.faults
def test_workers_exit_with_a_killed_launcher_and_a_second_run_finishes(many, undisturbed, tmp_path):
    job = start(many, tmp_path / "out")
    pids = workers(job)
    assert len(pids) == len(os.sched_getaffinity(0)), "one worker per core"
    job.send_signal(signal.SIGKILL)
    job.wait()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}/task").exists() for pid in pids):
            break
        time.sleep(0.05)
    else:
        pytest.fail("workers are still running")
    assert not (tmp_path / "out/manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert preprocess("--input", many, "--output", tmp_path / "out").returncode == 0
    assert file_contents(tmp_path / "out") == undisturbed
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished shards were written again"


@pytest.mark.faults
def test_a_killed_worker_does_not_stop_the_job(many, undisturbed, tmp_path):
    job = start(many, tmp_path / "out")
    os.kill(workers(job)[0], signal.SIGKILL)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors
    assert "starting again with the unfinished shards" in errors
    assert file_contents(tmp_path / "out") == undisturbed


def test_ctrl_c_says_how_to_continue(many, tmp_path):
    job = start(many, tmp_path / "out")
    os.killpg(job.pid, signal.SIGINT)  # to the workers as well, like a terminal
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 130
    assert "Traceback" not in errors
    assert "run the same command again to continue" in errors


@pytest.mark.faults
def test_two_jobs_cannot_write_to_one_output(many, tmp_path):
    job = start(many, tmp_path / "out")
    job.send_signal(signal.SIGSTOP)  # otherwise it could finish before the other begins
    assert_one_sentence(
        preprocess("--input", many, "--output", tmp_path / "out"), 2, "another job is writing"
    )
    job.kill()
    job.communicate()


# --------------------------------------------------------------------------------------------- errors


def test_help_lists_the_flags():
    result = preprocess("--help")
    assert result.returncode == 0
    for flag in ("--input", "--output", "--image_size", "--num_values", "--val_fraction", "--num_shards",
                 "--fit", "--compression", "--max_reject_fraction", "--recipe", "--runner"):  # fmt: skip
        assert flag in result.stdout


def test_help_imports_neither_beam_nor_opencv():
    code = (
        "import sys; from preprocess.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += "assert not {'apache_beam', 'cv2', 'tensorflow'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        ([], ["--output", "required"]),
        (["--output", "y"], ["--input PATTERN"]),
        (["--output", "y", "--train_input", "x"], ["--train_input and --val_input"]),
        (["--output", "y", "--input", "x", "--val_input", "x"], ["either --input, or"]),
        (["--output", "y", "--input", "x", "--limit", "0"], ["--limit must be at least 1"]),
        (["--output", "y", "--input", "x", "--class_limit", "0"], ["--class_limit must be at least 1"]),
        (["--output", "y", "--input", "x", "--fraction", "2"], ["--fraction", "up to 1, got 2"]),
        (["--input", "x", "--output", "y", "--image_size", "100"], ["--image_size", "multiple of 8", "100"]),
        (["--input", "x", "--output", "y", "--image_size", "big"], ["--image_size", "invalid int"]),
        (["--input", "x", "--output", "y", "--num_values", "40"], ["--num_values", "2 to 16", "40"]),
        (["--input", "x", "--output", "y", "--recipe", "cake"], ["--recipe", "cake", "default", "article"]),
        (
            ["--input", "x", "--output", "y", "--imagesize", "64"],
            ["--imagesize", "did you mean --image_size?"],
        ),
        (
            ["--input", "x", "--output", "y", "--max_reject_fraction", "7"],
            ["--max_reject_fraction", "0 to 1"],
        ),
        (["--input", "x", "--output", "y", "--val_fraction", "1"], ["--val_fraction", "0 to 0.9"]),
        (["--input", "nowhere/*.JPEG", "--output", "{tmp}/out"], ["nowhere/*.JPEG matches nothing"]),
        (["--input", "gs://bucket/x", "--output", "{tmp}/out"], ["gs://bucket/x"]),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(args, parts, tmp_path):
    result = preprocess(*(arg.format(tmp=tmp_path) for arg in args))
    assert_one_sentence(result, 2, *parts)
    assert list(tmp_path.rglob("*.*")) == []


def test_an_output_that_is_a_file_is_refused(images, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_one_sentence(preprocess("--input", images, "--output", tmp_path / "file"), 2, "not a directory")
    assert (tmp_path / "file").read_text() == "mine"


def test_another_recipe_is_refused_with_both_fingerprints(dataset, images):
    before = file_contents(dataset)
    result = preprocess("--input", images, "--output", dataset, "--image_size", 64)
    other = Manifest.load(dataset).fingerprint
    assert_one_sentence(result, 2, other, "(image_size 128 (now 64))", "give another --output")
    assert file_contents(dataset) == before


def test_a_folder_with_other_files_is_refused_as_output(images, tmp_path):
    """The folder of the input images, and a folder with a letter."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("mine")
    before = file_contents(images)
    for output, name in ((images, "n00000000"), (tmp_path / "other", "letter.txt")):
        result = preprocess("--input", images, "--output", output)
        assert_one_sentence(result, 2, name, "type the name of a new directory")
    assert file_contents(images) == before
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["letter.txt"]


def test_a_dataset_may_contain_other_files(dataset, images):
    (dataset / "README.txt").write_text("mine")
    result = preprocess("--input", images, "--output", dataset, "--max_reject_fraction", 0.2)
    (dataset / "README.txt").unlink()
    assert result.returncode == 0, result.stderr


def test_image_folders_named_train_and_val_are_no_dataset(tmp_path):
    helper_photos.make_image_folder(tmp_path / "all/train", 3)
    result = preprocess("--input", tmp_path / "all", "--output", tmp_path / "all")
    assert_one_sentence(result, 2, "train/n00000000", "type the name of a new directory")


@pytest.mark.parametrize("args", [("--num_shards", 9), ("--seed", 5), ("--compression", "gzip")])
def test_another_sharding_is_refused(dataset, images, args):
    before = file_contents(dataset)
    result = preprocess("--input", images, "--output", dataset, *args)
    assert_one_sentence(result, 2, "--num_shards", "give another --output")
    assert file_contents(dataset) == before


def test_other_images_are_refused(dataset, images):
    result = preprocess("--input", images / "n00000000", "--output", dataset)
    assert_one_sentence(result, 2, "other images", "give another --output")


def test_too_many_rejects_fail_the_job_until_they_are_accepted(images, dataset, tmp_path):
    output = tmp_path / "out"
    result = preprocess("--input", images, "--output", output)
    assert_one_sentence(result, 1, "6 of 68 images", "1 truncated", "--max_reject_fraction 0.05")
    assert not (output / "manifest.json").exists()
    assert (output / "rejects.jsonl").read_bytes() == (dataset / "rejects.jsonl").read_bytes()
    result = preprocess("--input", images, "--output", output, "--max_reject_fraction", 0.2)
    assert result.returncode == 0
    assert "Nothing to do" in result.stdout
    assert file_contents(output) == file_contents(dataset)


@pytest.mark.faults
def test_a_full_disk_is_one_sentence_and_a_second_run_finishes(images, dataset, tmp_path):
    """A limit of the file size simulates a full disk: writes beyond it fail in the same way."""
    output = tmp_path / "out"
    args = ["--input", images, "--output", output, "--max_reject_fraction", 0.2]
    code = "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000)); "
    code += "runpy.run_module('preprocess', run_name='__main__')"
    command = [sys.executable, "-c", code, *map(str, args), "--num_shards", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert_one_sentence(result, 1, "File too large", "run the same command again")
    assert list(output.glob("*/*.tfrecord")) == [] or not (output / "manifest.json").exists()
    assert preprocess(*args, "--num_shards", 1).returncode == 0
    assert not list(output.rglob("*.tmp"))


# ------------------------------------------------------------------------------------------- palettes


def test_a_palette_is_learnt_once(many, tmp_path):
    args = [
        "--input",
        many / "n00000000",
        "--output",
        tmp_path / "out",
        "--palette",
        "kmeans:9",
        "--limit",
        60,
    ]
    result = preprocess(*args)
    assert result.returncode == 0, result.stderr
    manifest = Manifest.load(tmp_path / "out")
    assert len(manifest.palette) == 9
    assert manifest.palette.name == manifest.recipe["palette"] == "kmeans:9"
    before = file_contents(tmp_path / "out")
    assert len([name for name in before if name.startswith(".index/kmeans-9-")]) == 1
    assert "Nothing to do" in preprocess(*args).stdout
    assert file_contents(tmp_path / "out") == before
    shutil.rmtree(tmp_path / "out")
    assert preprocess(*args).returncode == 0
    assert file_contents(tmp_path / "out") == before


def test_a_palette_from_a_file(many, tmp_path):
    (tmp_path / "mine.hex").write_text("000000\nffffff\nff0000\n00ff00\n0000ff\n")
    args = ["--input", many / "n00000000", "--output", tmp_path / "out", "--limit", 30]
    assert preprocess(*args, "--palette", tmp_path / "mine.hex").returncode == 0
    assert Manifest.load(tmp_path / "out").palette.colors[2] == (255, 0, 0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--palette", "kmeans:1"], "2 to 4096 colours"),
        (["--palette", "kmeans:many"], "2 to 4096 colours"),
        (["--palette", "rainbow"], "expected linewash, grid, kmeans:K, or a file"),
        (["--palette", "none.hex"], "none.hex cannot be read"),
        (["--palette", "kmeans:9", "--num_values", "4"], "drop one"),
    ],
)
def test_a_wrong_palette_is_one_sentence(args, message, tmp_path):
    assert_one_sentence(preprocess("--input", "x", "--output", tmp_path / "out", *args), 2, message)


def test_a_temporary_folder_with_too_long_a_name_is_one_sentence(tmp_path):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    result = preprocess_in_a_process(
        "--input", tmp_path, "--output", tmp_path / "out", env={**os.environ, "TMPDIR": str(long)}
    )
    assert_one_sentence(result, 1, "TMPDIR", str(long))
