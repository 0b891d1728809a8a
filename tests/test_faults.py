"""Faults of every kind: killed processes, damaged files, full disks.

After each fault the result is the same bytes as without it, or a sentence that names the problem. The tests
are slow, because they run and kill real commands. Each fault is counted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import helper_photos
import pytest
from conftest import Count
from helper_commands import ROOT
from helper_jobs import (
    assert_one_sentence,
    children,
    file_contents,
    preprocess,
    preprocess_in_a_process,
    verify,
    workers,
)
from helper_runs import SETTINGS, assert_same_end, flip_a_bit

from tfrecords_schema import Manifest, ShardReceipt, decode_example, read_records
from training.data.dataset import ShardedDataset
from training.errors import LinewashError

pytestmark = pytest.mark.faults

LAYOUT = ["--num_shards", "8", "--image_size", "64", "--val_fraction", "0.2"]
# Full decoding of large images, so that writing shards takes a large part of the time of the job.
SLOW_RECIPE = ["--recipe", "article"]
KILLS_PER_TEST = 10  # of the launcher or of workers, in each of two tests
KILLS_PER_FOLDER = 4  # before a rerun finishes the folder
TRAINER_KILLS = 20
TEMPORARY = tempfile.TemporaryDirectory(prefix="lw")  # short, because the paths of sockets are limited
TIMEOUT = 300  # seconds after which a command counts as hanging, even on a busy machine


# ---------------------------------------------------------------------------------------------- helpers


@dataclass(frozen=True)
class ReferenceJob:
    """A job that ran without faults.

    Attributes:
      args: its arguments without --output.
      files: the content of each file that it wrote, by path.
      seconds: its duration.
      working_seconds: the part of `seconds` after it had written the first shard list.
    """

    args: list[str]
    files: dict[str, bytes]
    seconds: float
    working_seconds: float


def start(arguments: list[str], log: Path, **env: str) -> subprocess.Popen[bytes]:
    """Starts `python -m` with the given arguments; its unbuffered output goes to the file `log`."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )  # fmt: skip


def start_job(args: list[str], output: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts a job with its own folder for temporary files, because a killed job leaves files there."""
    temporary = tempfile.mkdtemp(dir=TEMPORARY.name)
    return start(["preprocess", *args, "--output", str(output)], log, TMPDIR=temporary)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Waits until the condition is true or the process has ended."""
    while process.poll() is None and not condition():
        time.sleep(0.003)


def kill_after(seconds: float, process: subprocess.Popen[bytes]) -> bool:
    """Kills the process after `seconds`; returns False if it has ended before."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    return process.wait(TIMEOUT) == -signal.SIGKILL


def has_shard_lists(output: Path) -> Callable[[], object]:
    """Returns a condition: whether the job has written its first shard lists, after a second of imports."""
    return lambda: any(output.glob(".work/plan/*"))


def assert_rerun_finishes(job: ReferenceJob, output: Path) -> None:
    """Asserts that a rerun succeeds and writes exactly the files of the reference job."""
    result = preprocess(*job.args, "--output", output)
    assert result.returncode == 0, result.stderr
    assert file_contents(output) == job.files


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ReferenceJob:
    """90 images in 8 training and 2 validation shards. The second of two runs is timed."""
    folder = tmp_path_factory.mktemp("reference")
    for i in range(90):
        path = folder / f"images/n{i % 3:08d}/{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(helper_photos.jpeg(helper_photos.make_image(i, 600, 900)))
    args = ["--input", str(folder / "images"), *LAYOUT, *SLOW_RECIPE]
    assert preprocess(*args, "--output", folder / "first").returncode == 0
    started = time.monotonic()
    job = start_job(args, folder / "second", folder / "log")
    wait_until(has_shard_lists(folder / "second"), job)
    planned = time.monotonic()
    assert job.wait(TIMEOUT) == 0, (folder / "log").read_text()
    ended = time.monotonic()
    assert file_contents(folder / "first") == file_contents(folder / "second")
    return ReferenceJob(args, file_contents(folder / "second"), ended - started, ended - planned)


# ------------------------------------------------------------------------------------------- the trainer


def trainer(root: Path, run_dir: Path) -> list[str]:
    return ["training", f"data.root={root}", *SETTINGS, f"hydra.run.dir={run_dir}"]


@pytest.mark.patient
def test_a_trainer_killed_at_any_moment(shared_dataset: Path, tmp_path: Path, count: Count) -> None:
    """Half of the moments are anywhere in a run, and half after the start of TensorFlow, which takes longest.

    The weights and the history (without times) equal those of the uninterrupted run to the bit.
    """
    log = tmp_path / "log"
    run = start(trainer(shared_dataset, tmp_path / "whole"), log)
    started = time.monotonic()

    def is_training() -> bool:
        return "run  " in log.read_text()

    wait_until(is_training, run)
    training_started = time.monotonic()
    assert run.wait(TIMEOUT) == 0, log.read_text()
    ended = time.monotonic()
    random_moments, kills = random.Random(6), 0
    for number in itertools.count():
        run_dir = tmp_path / str(number)
        for _ in range(KILLS_PER_FOLDER + 1):
            run = start(trainer(shared_dataset, run_dir), log)
            after_start = random_moments.random() < 0.5
            if after_start:
                wait_until(is_training, run)
            seconds = ended - (training_started if after_start else started)
            if kill_after(random_moments.uniform(0, seconds), run):
                kills += 1
                count("trainer kills")
                if is_training():
                    count("trainer kills that fell after the start-up")
        last = start(trainer(shared_dataset, run_dir), log)
        assert last.wait(TIMEOUT) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
        assert_same_end(run_dir, tmp_path / "whole")
        if kills >= TRAINER_KILLS:
            return


# ------------------------------------------------------------------------------------------ killed jobs


@pytest.mark.parametrize("seed", [1, 2])
def test_a_launcher_killed_at_any_moment(
    reference: ReferenceJob, tmp_path: Path, seed: int, count: Count
) -> None:
    moments, kills = random.Random(seed), 0
    for number in itertools.count():
        output = tmp_path / str(number)
        for _ in range(KILLS_PER_FOLDER):
            job = start_job(reference.args, output, tmp_path / "log")
            after_start = moments.random() < 0.5
            if after_start:
                wait_until(has_shard_lists(output), job)
            seconds = reference.working_seconds if after_start else reference.seconds
            if kill_after(moments.uniform(0, seconds), job):
                kills += 1
                count("launcher kills")
                if after_start:
                    count("launcher kills that fell after the start-up")
        assert_rerun_finishes(reference, output)
        if kills >= KILLS_PER_TEST:
            return


def kill_workers(job: subprocess.Popen[bytes], moments: random.Random, seconds: float) -> Iterator[str]:
    """Kills up to three workers of the job; one in five times, the server that they are forked from."""
    ended: set[int] = set()
    for _ in range(3):
        wait_until(lambda: not ended.issuperset(workers(job)), job)
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(moments.uniform(0, seconds))
        running = sorted(set(workers(job)) - ended)
        if not running:
            continue
        pid, kind = moments.choice(running), "worker kills"
        if moments.random() < 0.2:
            pid, kind = next(child for child in children(job.pid) if children(child)), "worker server kills"
        ended.update([pid, *running])  # Beam ends the others too
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            yield kind


@pytest.mark.patient
@pytest.mark.parametrize("seed", [3, 4])
def test_workers_killed_at_any_moment(
    reference: ReferenceJob, tmp_path: Path, seed: int, count: Count
) -> None:
    """A job continues after two killed workers and fails at the third with a sentence. It never hangs."""
    moments, kills, log = random.Random(seed), 0, tmp_path / "log"
    for number in itertools.count():
        output = tmp_path / str(number)
        job = start_job(reference.args, output, log)
        for kind in kill_workers(job, moments, reference.working_seconds / 2):
            kills += kind == "worker kills"
            count(kind)
        code, text = job.wait(TIMEOUT), log.read_text()
        assert "Traceback" not in text
        assert code == 0 or (code == 1 and "run the same command again to continue" in text), text
        assert_rerun_finishes(reference, output)
        if kills >= KILLS_PER_TEST:
            return


@pytest.mark.parametrize("seed", range(6))
def test_jobs_started_at_once_agree(reference: ReferenceJob, tmp_path: Path, seed: int, count: Count) -> None:
    """Two jobs write to one new folder: one is refused, or starts when the other has finished all shards."""
    output, logs = tmp_path / "out", [tmp_path / "first.log", tmp_path / "second.log"]
    first = start_job(reference.args, output, logs[0])
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(random.Random(seed).uniform(0, 1.2) * reference.seconds * (seed > 1))
    jobs = [first, start_job(reference.args, output, logs[1])]
    codes = [job.wait(TIMEOUT) for job in jobs]
    count("rounds of two jobs at once")
    assert 0 in codes, [path.read_text() for path in logs]
    for code, path in zip(codes, logs, strict=True):
        text = path.read_text()
        if code:
            assert (code, text.count("\n")) == (2, 1), text
            assert f"another job is writing to {output}" in text
            count("jobs refused while another was writing")
    assert file_contents(output) == reference.files


# ----------------------------------------------------------------------- full disks and unreadable files


class Disk:
    """A small file system that is mounted on `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    def mount(self, options: str) -> bool:
        return self._mount(options)

    def enlarge(self) -> None:
        assert self._mount("remount,size=64m,nr_inodes=9999")

    def _mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory(dir=TEMPORARY.name) as folder:
        disk = Disk(Path(folder) / "disk")
        yield disk
        subprocess.run(["umount", disk.folder], capture_output=True, check=False)


@pytest.mark.parametrize("options", ["size=8k", "size=100k", "size=90%", "nr_inodes=9", "nr_inodes=20"])
def test_a_full_disk_is_a_sentence_and_a_rerun_finishes(
    reference: ReferenceJob, disk: Disk, options: str, count: Count
) -> None:
    if options == "size=90%":  # nearly all shards fit, but not the other files
        options = f"size={sum(map(len, reference.files.values())) * 9 // 10}"
    if not disk.mount(options):
        pytest.skip("no permission to mount a file system")
    result = preprocess_in_a_process(*reference.args, "--output", disk.folder / "out")
    assert_one_sentence(result, 1, "No space left on device", str(disk.folder))
    count("full disks")
    disk.enlarge()
    assert_rerun_finishes(reference, disk.folder / "out")


@pytest.mark.parametrize("blocks", [1, 16])
def test_a_limit_of_file_size_is_a_sentence_and_a_rerun_finishes(
    reference: ReferenceJob, tmp_path: Path, blocks: int, count: Count
) -> None:
    """Needs no permissions, and fails where a full disk does: at a shard list or at a shard."""
    limited = ["bash", "-c", f'ulimit -f {blocks} && exec "$@"', "-", sys.executable, "-m", "preprocess"]
    result = subprocess.run(
        [*limited, *reference.args, "--output", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert_one_sentence(result, 1)
    count("file size limits")
    assert_rerun_finishes(reference, tmp_path / "out")


def test_a_full_folder_for_temporary_files_is_a_sentence(
    reference: ReferenceJob, disk: Disk, count: Count
) -> None:
    if not disk.mount("size=8k"):
        pytest.skip("no permission to mount a file system")
    environment = {**os.environ, "TMPDIR": str(disk.folder)}
    output = disk.folder.parent / "out"
    result = preprocess_in_a_process(*reference.args, "--output", output, env=environment)
    assert_one_sentence(result, 1, str(disk.folder), "full")
    count("full disks")
    assert_rerun_finishes(reference, output)


def keys_of(root: Path) -> list[str]:
    """Returns the sorted keys of all images in the shards and in the rejects of a dataset."""
    keys = [json.loads(line)["key"] for line in (root / "rejects.jsonl").read_text().splitlines()]
    for shard in root.glob("*/*.tfrecord"):
        with shard.open("rb") as file:
            keys += [decode_example(record)[0] for record in read_records(file)]
    return sorted(keys)


def test_unreadable_files_are_rejected(tmp_path: Path, count: Count) -> None:
    """Root ignores permissions, so these are files that nobody can read. Reading the pipe would never end."""
    images = helper_photos.make_image_folder(tmp_path / "images", 12) / "n00000000"
    os.mkfifo(images / "pipe.jpg")
    links = {"nowhere": "gone", "itself": "itself.jpg", "endless": "/dev/zero", "torn": "/proc/self/mem"}
    for name, target in {**links, "folder": images.parent}.items():
        (images / f"{name}.jpg").symlink_to(target)
    (images / "empty_folder.jpg").mkdir()
    args = ["--input", images.parent, "--output", tmp_path / "out", "--max_reject_fraction", 0.5]
    result = preprocess(*args, *LAYOUT, "--num_shards", 2)
    assert result.returncode == 0, result.stderr
    lines = map(json.loads, (tmp_path / "out/rejects.jsonl").read_text().splitlines())
    rejects = {line["key"].partition("/")[2]: (line["reason"], line["detail"]) for line in lines}
    details = {
        "pipe": "not a regular file", "nowhere": "the file is gone", "endless": "not a regular file",
        "itself": "Too many levels of symbolic links", "torn": rejects["torn.jpg"][1],
    }  # fmt: skip
    assert rejects == {f"{name}.jpg": ("unreadable", detail) for name, detail in details.items()}
    assert details["torn"] in {"Input/output error", "Invalid argument"}, "kernels differ"
    for _ in details:
        count("inputs that cannot be read")


def test_a_tar_that_is_a_pipe_is_reported_in_a_sentence(tmp_path: Path, count: Count) -> None:
    os.mkfifo(tmp_path / "n00000000.tar")
    result = preprocess("--input", tmp_path / "n00000000.tar", "--output", tmp_path / "out")
    assert_one_sentence(result, 2, str(tmp_path / "n00000000.tar"))
    count("inputs that cannot be read")


def test_inputs_that_change_while_they_are_read(
    reference: ReferenceJob, tmp_path: Path, count: Count
) -> None:
    """An image that was readable in time is in a shard; any other one is among the rejects."""
    shutil.copytree(reference.args[1], tmp_path / "images")
    paths = sorted((tmp_path / "images").glob("*/*"), key=lambda path: random.Random(path.name).random())
    expected = sorted(path.relative_to(tmp_path / "images").as_posix() for path in paths)
    args = ["--input", str(tmp_path / "images"), *reference.args[2:], "--max_reject_fraction", "1"]
    job = start_job(args, tmp_path / "out", tmp_path / "log")
    wait_until(has_shard_lists(tmp_path / "out"), job)

    def damage_inputs() -> None:
        for number, path in enumerate(paths[:60]):
            path.unlink() if number % 2 else os.truncate(path, path.stat().st_size // 2)
            time.sleep(reference.working_seconds / 90)

    thread = threading.Thread(target=damage_inputs)
    thread.start()
    code = job.wait(TIMEOUT)
    thread.join()
    assert code == 0, (tmp_path / "log").read_text()
    assert keys_of(tmp_path / "out") == expected
    assert verification_error(tmp_path / "out") == ""
    count("inputs damaged while the job ran, 60 files at a time")


# --------------------------------------------------------------------------------------------- damage


SHARD = "train/train-00000-of-00003.tfrecord"
RECEIPT = ShardReceipt.name(SHARD)


def truncate(root: Path, name: str) -> None:
    os.truncate(root / name, (root / name).stat().st_size - 9)


def flip_one_bit(root: Path, name: str) -> None:
    flip_a_bit(root / name)


def delete(root: Path, name: str) -> None:
    (root / name).unlink()


def rename(root: Path, name: str) -> None:
    (root / name).rename(root / name.replace("00000-of", "00007-of"))


def swap_with(index: int) -> Callable[[Path, str], None]:
    """Returns a function that swaps the content of shard 0 with that of another one."""

    def change(root: Path, name: str) -> None:
        first, second = root / name, root / name.replace("00000-of", f"{index:05d}-of")
        contents = first.read_bytes(), second.read_bytes()
        second.write_bytes(contents[0])
        first.write_bytes(contents[1])

    change.__name__ = f"swap with {index}"
    return change


def overwrite(root: Path, name: str) -> None:
    (root / name).write_text("once upon a time")


def edit(*path: str | int, to: object) -> Callable[[Path, str], None]:
    """Returns a function that changes one value in a JSON file."""

    def change(root: Path, name: str) -> None:
        content = inner = json.loads((root / name).read_text())
        for step in path[:-1]:
            inner = inner[step]
        assert inner[path[-1]] != to
        inner[path[-1]] = to
        (root / name).write_text(json.dumps(content))

    change.__name__ = f"edit {'.'.join(map(str, path))}"
    return change


# The outcome of a rerun:
REPAIRED = "repaired"  # the dataset is byte-identical to the original
UNNOTICED = "unnoticed"  # a rerun checks names, sizes and receipts only; the verifier still finds the damage
STRAY = "stray"  # missing files are written again, but a file with a wrong name stays; the verifier finds it
REFUSED = "refused"  # the folder seems to be that of another job
# The file, its damage, the name that the verifier reports, the outcome of a rerun, and the name that opening
# the dataset for training reports.
DAMAGE = [
    (SHARD, truncate, SHARD, REPAIRED, SHARD),
    (SHARD, flip_one_bit, SHARD, UNNOTICED, None),
    (SHARD, delete, SHARD, REPAIRED, SHARD),
    (SHARD, rename, "train/train-00007-of-00003.tfrecord", STRAY, SHARD),
    (SHARD, swap_with(1), SHARD, UNNOTICED, None),  # of the same size
    (SHARD, swap_with(2), SHARD, REPAIRED, SHARD),
    (RECEIPT, truncate, RECEIPT, REPAIRED, None),
    (RECEIPT, overwrite, RECEIPT, REPAIRED, None),
    (RECEIPT, delete, RECEIPT, REPAIRED, None),
    (RECEIPT, rename, "receipts/train-00007-of-00003.json", STRAY, None),
    (RECEIPT, swap_with(1), SHARD, REPAIRED, None),
    (RECEIPT, edit("shard", "examples", to=1), RECEIPT, REPAIRED, None),
    (RECEIPT, edit("shard", "bytes", to=1), SHARD, REPAIRED, None),
    (RECEIPT, edit("label_histogram", 0, to=1), RECEIPT, REPAIRED, None),
    (RECEIPT, edit("shard", "sha256", to="0" * 64), SHARD, UNNOTICED, None),
    (RECEIPT, edit("edge_pixels", to=[1]), SHARD, UNNOTICED, None),
    (RECEIPT, edit("edge_pixels", to=[1, 1]), SHARD, REPAIRED, None),
    (RECEIPT, edit("schema_version", to=3), RECEIPT, REFUSED, None),
    (RECEIPT, edit("fingerprint", to="0" * 16), SHARD, REFUSED, None),
    (RECEIPT, edit("images_digest", to="0" * 16), "images_digest", REFUSED, None),
    ("manifest.json", truncate, "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", overwrite, "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", delete, "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("splits", "train", "examples", to=1), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("splits", "train", "label_histogram", 0, to=1), "manifest.json", REPAIRED,
     "manifest.json"),
    ("manifest.json", edit("splits", "train", "edge_pixels", to=[1]), "manifest.json", REPAIRED, None),
    ("manifest.json", edit("lines", to=["canny", "xdog"]), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("lines", to=[]), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("splits", "train", "shards", 0, "bytes", to=1), SHARD, REPAIRED, SHARD),
    ("manifest.json", edit("splits", "train", "shards", 0, "sha256", to="0" * 64), SHARD, REPAIRED, None),
    ("manifest.json", edit("fingerprint", to="0" * 16), "manifest.json", REPAIRED, None),
    ("manifest.json", edit("images_digest", to="0" * 16), "manifest.json", REPAIRED, None),
    ("manifest.json", edit("palette", "colors", 0, 0, to=1), "manifest.json", REPAIRED, None),
    ("manifest.json", edit("palette", "colors", 0, 0, to=256), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("image_size", to=72), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("schema_version", to=1), "manifest.json", REPAIRED, "manifest.json"),
    ("manifest.json", edit("schema_version", to=3), "manifest.json", REPAIRED, "manifest.json"),
]  # fmt: skip


def verification_error(root: Path) -> str:
    """Returns the sentence in which the verifier reports damage, or an empty string."""
    result = verify(root)
    assert (result.returncode, result.stderr.count("\n")) in [(0, 0), (1, 1)], result.stderr
    return result.stderr


def opening_error(root: Path) -> str:
    """Returns the error message of opening the dataset for training, or an empty string."""
    try:
        ShardedDataset.open(str(root))
    except LinewashError as e:
        return str(e)
    return ""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> ReferenceJob:
    """A dataset of 16 images in three training shards and one validation shard."""
    folder = tmp_path_factory.mktemp("small")
    images = helper_photos.make_image_folder(folder / "images", 16)
    args = ["--input", str(images), "--num_shards", "3", "--image_size", "32", "--val_fraction", "0.2"]
    assert preprocess(*args, "--output", folder / "dataset").returncode == 0
    assert verification_error(folder / "dataset") == opening_error(folder / "dataset") == ""
    sizes = [shard.bytes for shard in Manifest.load(folder / "dataset").splits["train"].shards]
    assert sizes[0] == sizes[1] != sizes[2]
    return ReferenceJob(args, file_contents(folder / "dataset"), 0, 0)


@pytest.mark.parametrize(
    ("name", "damage", "reported", "outcome", "reported_by_training"),
    DAMAGE,
    ids=[f"{Path(name).name} {damage.__name__}" for name, damage, *_ in DAMAGE],
)
def test_damage_is_repaired_or_reported(
    small: ReferenceJob,
    tmp_path: Path,
    name: str,
    damage: Callable[[Path, str], None],
    reported: str,
    outcome: str,
    reported_by_training: str | None,
    count: Count,
) -> None:
    root = tmp_path / "out"
    for path, content in small.files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    damage(root, name)
    count("damaged files")
    assert reported in verification_error(root)
    if reported_by_training:
        assert reported_by_training in opening_error(root)
    else:
        assert not opening_error(root)
    result = preprocess(*small.args, "--output", root)
    if outcome == REFUSED:
        assert_one_sentence(result, 2, str(root), "give another --output")
        return
    assert result.returncode == 0, result.stderr
    files = file_contents(root)
    if outcome == STRAY:
        files = {path: content for path, content in files.items() if path in small.files}
    assert (files == small.files) == (outcome != UNNOTICED)
    assert (reported in verification_error(root)) == (outcome in (UNNOTICED, STRAY))
