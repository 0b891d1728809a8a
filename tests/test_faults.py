"""Killed, damaged or starved: the end is the same bytes, or a sentence that names what is wrong.

Slow, since real commands run on real files and are killed while they do; each fault is counted.
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
# Large pictures decoded in full: then writing shards is a good part of the job, and not only its start.
SLOWLY = ["--recipe", "article"]
KILLS_A_TEST = 10  # of the launcher or of workers, in each of two tests
KILLS_A_FOLDER = 4  # they add up on one folder, then a rerun goes on to the end
TRAINER_KILLS = 20
TEMPORARY = tempfile.TemporaryDirectory(prefix="lw")  # a short name: sockets are made in it
PATIENCE = 300  # seconds until waiting counts as a hang; a busy machine takes long to start a command


# ---------------------------------------------------------------------------------------------- helpers


@dataclass(frozen=True)
class Work:
    """A job that nobody disturbed: its arguments but for --output, what it wrote, and how long it took.

    `working` is the part of its `seconds` after its first sign of work.
    """

    args: list[str]
    made: dict[str, bytes]
    seconds: float
    working: float


def start(arguments: list[str], said: Path, **env: str) -> subprocess.Popen[bytes]:
    """A command of ours in the background; what it prints goes to the file `said` as soon as it is said."""
    with said.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
        )  # fmt: skip


def start_job(work: Work | list[str], output: Path, said: Path) -> subprocess.Popen[bytes]:
    """The job, with a folder for temporary files of its own: a killed one leaves things there."""
    args = work.args if isinstance(work, Work) else work
    temporary = tempfile.mkdtemp(dir=TEMPORARY.name)
    return start(["preprocess", *args, "--output", str(output)], said, TMPDIR=temporary)


def wait_until(sign: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Waits for a sign of life, or the process's end."""
    while process.poll() is None and not sign():
        time.sleep(0.003)


def killed(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kills it so many seconds from now; False if it was done by then."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    return process.wait(PATIENCE) == -signal.SIGKILL


def plans(output: Path) -> Callable[[], object]:
    """The job's first sign of work: lists of images, after a second of imports."""
    return lambda: any(output.glob(".work/plan/*"))


def assert_finishes(work: Work, output: Path) -> None:
    """A rerun ends well, with every file of an undisturbed dataset and no other; nothing may differ."""
    result = preprocess(*work.args, "--output", output)
    assert result.returncode == 0, result.stderr
    assert file_contents(output) == work.made


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The job that is disturbed: 90 photographs into 8 + 2 shards, measured with its code in memory."""
    folder = tmp_path_factory.mktemp("work")
    for i in range(90):
        path = folder / f"images/n{i % 3:08d}/{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(helper_photos.jpeg(helper_photos.picture(i, 600, 900)))
    args = ["--input", str(folder / "images"), *LAYOUT, *SLOWLY]
    assert preprocess(*args, "--output", folder / "first").returncode == 0
    began = time.monotonic()
    job = start_job(args, folder / "made", folder / "said")
    wait_until(plans(folder / "made"), job)
    working = time.monotonic()
    assert job.wait(PATIENCE) == 0, (folder / "said").read_text()
    ended = time.monotonic()
    assert file_contents(folder / "first") == file_contents(folder / "made")
    return Work(args, file_contents(folder / "made"), ended - began, ended - working)


# ------------------------------------------------------------------------------------------- the trainer


def trainer(root: Path, run_dir: Path) -> list[str]:
    return ["training", f"data.root={root}", *SETTINGS, f"hydra.run.dir={run_dir}"]


@pytest.mark.patient
def test_a_trainer_killed_at_any_moment(shared_dataset: Path, tmp_path: Path, count: Count) -> None:
    """Half of the moments fall anywhere in a run, half after TensorFlow's start, which takes the longest.

    Weights, and all numbers of the history but for timings, are those of the undisturbed run, to the bit.
    """
    said = tmp_path / "said"
    run = start(trainer(shared_dataset, tmp_path / "whole"), said)
    began = time.monotonic()

    def is_training() -> bool:
        return "run  " in said.read_text()

    wait_until(is_training, run)
    working = time.monotonic()
    assert run.wait(PATIENCE) == 0, said.read_text()
    ended = time.monotonic()
    moments, kills = random.Random(6), 0
    for number in itertools.count():
        run_dir = tmp_path / str(number)
        for _ in range(KILLS_A_FOLDER + 1):
            run = start(trainer(shared_dataset, run_dir), said)
            late = moments.random() < 0.5
            if late:
                wait_until(is_training, run)
            if killed(run, moments.uniform(0, ended - (working if late else began))):
                kills += 1
                count("trainer kills")
                if is_training():
                    count("trainer kills that fell after the start-up")
        last = start(trainer(shared_dataset, run_dir), said)
        assert last.wait(PATIENCE) == 0, said.read_text()
        assert "Traceback" not in said.read_text()
        assert_same_end(run_dir, tmp_path / "whole")
        if kills >= TRAINER_KILLS:
            return


# ------------------------------------------------------------------------------------ the job, killed


@pytest.mark.parametrize("seed", [1, 2])
def test_a_launcher_killed_at_any_moment(work: Work, tmp_path: Path, seed: int, count: Count) -> None:
    moments, kills = random.Random(seed), 0
    for number in itertools.count():
        output = tmp_path / str(number)
        for _ in range(KILLS_A_FOLDER):
            job = start_job(work, output, tmp_path / "said")
            late = moments.random() < 0.5
            if late:
                wait_until(plans(output), job)
            if killed(job, moments.uniform(0, work.working if late else work.seconds)):
                kills += 1
                count("launcher kills")
                if late:
                    count("launcher kills that fell after the start-up")
        assert_finishes(work, output)
        if kills >= KILLS_A_TEST:
            return


def kill_workers(job: subprocess.Popen[bytes], moments: random.Random, working: float) -> Iterator[str]:
    """Kills up to three of the job's workers, one now and then the server they are forked from."""
    hit: set[int] = set()
    for _ in range(3):
        wait_until(lambda: not hit.issuperset(workers(job)), job)
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.wait(moments.uniform(0, working))
        left = sorted(set(workers(job)) - hit)
        if not left:
            continue
        victim, kind = moments.choice(left), "worker kills"
        if moments.random() < 0.2:
            victim, kind = next(each for each in children(job.pid) if children(each)), "worker server kills"
        hit.update([victim, *left])  # the others go down with it
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            yield kind


@pytest.mark.patient
@pytest.mark.parametrize("seed", [3, 4])
def test_workers_killed_at_any_moment(work: Work, tmp_path: Path, seed: int, count: Count) -> None:
    """A job goes on after two deaths and gives up at the third with a sentence; never does it wait."""
    moments, kills, said = random.Random(seed), 0, tmp_path / "said"
    for number in itertools.count():
        output = tmp_path / str(number)
        job = start_job(work, output, said)
        for kind in kill_workers(job, moments, work.working / 2):
            kills += kind == "worker kills"
            count(kind)
        code, text = job.wait(PATIENCE), said.read_text()
        assert "Traceback" not in text
        assert code == 0 or (code == 1 and "run the same command again to continue" in text), text
        assert_finishes(work, output)
        if kills >= KILLS_A_TEST:
            return


@pytest.mark.parametrize("seed", range(6))
def test_jobs_started_at_once_agree(work: Work, tmp_path: Path, seed: int, count: Count) -> None:
    """Two on one new folder: one refuses, or comes when the other is done and finds nothing to do."""
    output, said = tmp_path / "out", [tmp_path / "one", tmp_path / "two"]
    first = start_job(work, output, said[0])
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.wait(random.Random(seed).uniform(0, 1.2) * work.seconds * (seed > 1))
    jobs = [first, start_job(work, output, said[1])]
    codes = [job.wait(PATIENCE) for job in jobs]
    count("rounds of two jobs at once")
    assert 0 in codes, [path.read_text() for path in said]
    for code, path in zip(codes, said, strict=True):
        text = path.read_text()
        if code:
            assert (code, text.count("\n")) == (2, 1), text
            assert f"another job is writing to {output}" in text
            count("jobs refused while another was writing")
    assert file_contents(output) == work.made


# --------------------------------------------------------------------------------------- no room, no file


class Disk:
    """A small file system of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder

    def mount(self, room: str) -> bool:
        return self._mount(room)

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


@pytest.mark.parametrize("room", ["size=8k", "size=100k", "size=90%", "nr_inodes=9", "nr_inodes=20"])
def test_a_full_disk_is_a_sentence_and_a_rerun_finishes(
    work: Work, disk: Disk, room: str, count: Count
) -> None:
    if room == "size=90%":  # all shards fit, or nearly so, but not the rest
        room = f"size={sum(map(len, work.made.values())) * 9 // 10}"
    if not disk.mount(room):
        pytest.skip("may not mount a file system here")
    result = preprocess_in_a_process(*work.args, "--output", disk.folder / "out")
    assert_one_sentence(result, 1, "No space left on device", str(disk.folder))
    count("full disks")
    disk.enlarge()
    assert_finishes(work, disk.folder / "out")


@pytest.mark.parametrize("blocks", [1, 16])
def test_a_limit_of_file_size_is_a_sentence_and_a_rerun_finishes(
    work: Work, tmp_path: Path, blocks: int, count: Count
) -> None:
    """Needs no rights, and fails where a full disk would: at a list of images, or at a shard."""
    limited = ["bash", "-c", f'ulimit -f {blocks} && exec "$@"', "-", sys.executable, "-m", "preprocess"]
    result = subprocess.run(
        [*limited, *work.args, "--output", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert_one_sentence(result, 1)
    count("file size limits")
    assert_finishes(work, tmp_path / "out")


def test_a_full_folder_for_temporary_files_is_a_sentence(work: Work, disk: Disk, count: Count) -> None:
    if not disk.mount("size=8k"):
        pytest.skip("may not mount a file system here")
    environment = {**os.environ, "TMPDIR": str(disk.folder)}
    output = disk.folder.parent / "out"
    result = preprocess_in_a_process(*work.args, "--output", output, env=environment)
    assert_one_sentence(result, 1, str(disk.folder), "full")
    count("full disks")
    assert_finishes(work, output)


def keys_of(root: Path) -> list[str]:
    """The keys of all images that a dataset accounts for, in its shards or among its rejects."""
    rejects = [json.loads(line)["key"] for line in (root / "rejects.jsonl").read_text().splitlines()]
    for shard in root.glob("*/*.tfrecord"):
        with shard.open("rb") as file:
            rejects += [decode_example(record)[0] for record in read_records(file)]
    return sorted(rejects)


def test_what_cannot_be_read_is_in_the_ledger(tmp_path: Path, count: Count) -> None:
    """Root may read anything, so these are files that nobody can read; waiting for one would never end."""
    images = helper_photos.folder(tmp_path / "images", 12) / "n00000000"
    os.mkfifo(images / "pipe.jpg")
    links = {"nowhere": "gone", "itself": "itself.jpg", "endless": "/dev/zero", "torn": "/proc/self/mem"}
    for name, target in {**links, "folder": images.parent}.items():
        (images / f"{name}.jpg").symlink_to(target)
    (images / "empty_folder.jpg").mkdir()
    args = ["--input", images.parent, "--output", tmp_path / "out", "--max_reject_fraction", 0.5]
    result = preprocess(*args, *LAYOUT, "--num_shards", 2)
    assert result.returncode == 0, result.stderr
    lines = map(json.loads, (tmp_path / "out/rejects.jsonl").read_text().splitlines())
    found = {line["key"].partition("/")[2]: (line["reason"], line["detail"]) for line in lines}
    details = {
        "pipe": "not a regular file", "nowhere": "the file is gone", "endless": "not a regular file",
        "itself": "Too many levels of symbolic links", "torn": found["torn.jpg"][1],
    }  # fmt: skip
    assert found == {f"{name}.jpg": ("unreadable", detail) for name, detail in details.items()}
    assert details["torn"] in {"Input/output error", "Invalid argument"}, "kernels differ in what they say"
    for _ in details:
        count("inputs that cannot be read")


def test_a_tar_that_is_a_pipe_is_a_sentence(tmp_path: Path, count: Count) -> None:
    os.mkfifo(tmp_path / "n00000000.tar")
    result = preprocess("--input", tmp_path / "n00000000.tar", "--output", tmp_path / "out")
    assert_one_sentence(result, 2, str(tmp_path / "n00000000.tar"))
    count("inputs that cannot be read")


def test_inputs_that_shrink_and_vanish_while_they_are_read(work: Work, tmp_path: Path, count: Count) -> None:
    """What was there when it was read is in a shard, what was not is in the ledger."""
    shutil.copytree(work.args[1], tmp_path / "images")
    paths = sorted((tmp_path / "images").glob("*/*"), key=lambda path: random.Random(path.name).random())
    expected = sorted(path.relative_to(tmp_path / "images").as_posix() for path in paths)
    args = ["--input", str(tmp_path / "images"), *work.args[2:], "--max_reject_fraction", "1"]
    job = start_job(args, tmp_path / "out", tmp_path / "said")
    wait_until(plans(tmp_path / "out"), job)

    def spoil() -> None:
        for number, path in enumerate(paths[:60]):
            path.unlink() if number % 2 else os.truncate(path, path.stat().st_size // 2)
            time.sleep(work.working / 90)

    thread = threading.Thread(target=spoil)
    thread.start()
    code = job.wait(PATIENCE)
    thread.join()
    assert code == 0, (tmp_path / "said").read_text()
    assert keys_of(tmp_path / "out") == expected
    assert verdict(tmp_path / "out") == ""
    count("inputs spoilt while the job ran, 60 files at a time")


# --------------------------------------------------------------------------------------------- damage


SHARD = "train/train-00000-of-00003.tfrecord"
RECEIPT = ShardReceipt.name(SHARD)


def cut(root: Path, name: str) -> None:
    os.truncate(root / name, (root / name).stat().st_size - 9)


def flip(root: Path, name: str) -> None:
    flip_a_bit(root / name)


def delete(root: Path, name: str) -> None:
    (root / name).unlink()


def rename(root: Path, name: str) -> None:
    (root / name).rename(root / name.replace("00000-of", "00007-of"))


def swap_with(index: int) -> Callable[[Path, str], None]:
    """Lets it change places with another one."""

    def change(root: Path, name: str) -> None:
        first, second = root / name, root / name.replace("00000-of", f"{index:05d}-of")
        contents = first.read_bytes(), second.read_bytes()
        second.write_bytes(contents[0])
        first.write_bytes(contents[1])

    change.__name__ = f"swap with {index}"
    return change


def no_json(root: Path, name: str) -> None:
    (root / name).write_text("once upon a time")


def edit(*path: str | int, to: object) -> Callable[[Path, str], None]:
    """Changes one value somewhere in a JSON file."""

    def change(root: Path, name: str) -> None:
        content = inner = json.loads((root / name).read_text())
        for step in path[:-1]:
            inner = inner[step]
        assert inner[path[-1]] != to
        inner[path[-1]] = to
        (root / name).write_text(json.dumps(content))

    change.__name__ = f"edit {'.'.join(map(str, path))}"
    return change


MENDED = "mended"  # a rerun makes it byte-identical
LEFT = "left"  # a rerun looks at names, sizes and receipts only: the verifier finds it, before and after
STRAY = "stray"  # what is missing is made again, but what is in the wrong place stays: the verifier finds it
REFUSED = "refused"  # a rerun takes it for another job's work
# What is damaged and how; what the verifier names; what a rerun does; what opening it for training names.
DAMAGE = [
    (SHARD, cut, SHARD, MENDED, SHARD),
    (SHARD, flip, SHARD, LEFT, None),
    (SHARD, delete, SHARD, MENDED, SHARD),
    (SHARD, rename, "train/train-00007-of-00003.tfrecord", STRAY, SHARD),
    (SHARD, swap_with(1), SHARD, LEFT, None),  # of the same size
    (SHARD, swap_with(2), SHARD, MENDED, SHARD),
    (RECEIPT, cut, RECEIPT, MENDED, None),
    (RECEIPT, no_json, RECEIPT, MENDED, None),
    (RECEIPT, delete, RECEIPT, MENDED, None),
    (RECEIPT, rename, "receipts/train-00007-of-00003.json", STRAY, None),
    (RECEIPT, swap_with(1), SHARD, MENDED, None),
    (RECEIPT, edit("shard", "examples", to=1), RECEIPT, MENDED, None),
    (RECEIPT, edit("shard", "bytes", to=1), SHARD, MENDED, None),
    (RECEIPT, edit("label_histogram", 0, to=1), RECEIPT, MENDED, None),
    (RECEIPT, edit("shard", "sha256", to="0" * 64), SHARD, LEFT, None),
    (RECEIPT, edit("edge_pixels", to=1), SHARD, LEFT, None),
    (RECEIPT, edit("fingerprint", to="0" * 16), SHARD, REFUSED, None),
    (RECEIPT, edit("images_digest", to="0" * 16), "images_digest", REFUSED, None),
    ("manifest.json", cut, "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", no_json, "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", delete, "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", edit("splits", "train", "examples", to=1), "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", edit("splits", "train", "label_histogram", 0, to=1), "manifest.json", MENDED,
     "manifest.json"),
    ("manifest.json", edit("splits", "train", "edge_pixels", to=1), "manifest.json", MENDED, None),
    ("manifest.json", edit("splits", "train", "shards", 0, "bytes", to=1), SHARD, MENDED, SHARD),
    ("manifest.json", edit("splits", "train", "shards", 0, "sha256", to="0" * 64), SHARD, MENDED, None),
    ("manifest.json", edit("fingerprint", to="0" * 16), "manifest.json", MENDED, None),
    ("manifest.json", edit("images_digest", to="0" * 16), "manifest.json", MENDED, None),
    ("manifest.json", edit("palette", "colors", 0, 0, to=1), "manifest.json", MENDED, None),
    ("manifest.json", edit("palette", "colors", 0, 0, to=256), "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", edit("image_size", to=72), "manifest.json", MENDED, "manifest.json"),
    ("manifest.json", edit("schema_version", to=2), "manifest.json", MENDED, "manifest.json"),
]  # fmt: skip


def verdict(root: Path) -> str:
    """What the verifier finds: one sentence, or nothing."""
    result = verify(root)
    assert (result.returncode, result.stderr.count("\n")) in [(0, 0), (1, 1)], result.stderr
    return result.stderr


def opening(root: Path) -> str:
    """What the trainer says when it opens the dataset; nothing if it would begin."""
    try:
        ShardedDataset.open(str(root))
    except LinewashError as e:
        return str(e)
    return ""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The dataset that is damaged: 16 images, three shards and one for validation."""
    folder = tmp_path_factory.mktemp("small")
    images = helper_photos.folder(folder / "images", 16)
    args = ["--input", str(images), "--num_shards", "3", "--image_size", "32", "--val_fraction", "0.2"]
    assert preprocess(*args, "--output", folder / "made").returncode == 0
    assert verdict(folder / "made") == opening(folder / "made") == ""
    sizes = [shard.bytes for shard in Manifest.load(folder / "made").splits["train"].shards]
    assert sizes[0] == sizes[1] != sizes[2]
    return Work(args, file_contents(folder / "made"), 0, 0)


@pytest.mark.parametrize(
    ("name", "harm", "found", "rerun", "opened"),
    DAMAGE,
    ids=[f"{Path(name).name} {harm.__name__}" for name, harm, *_ in DAMAGE],
)
def test_damage_is_mended_or_named(
    small: Work,
    tmp_path: Path,
    name: str,
    harm: Callable[[Path, str], None],
    found: str,
    rerun: str,
    opened: str | None,
    count: Count,
) -> None:
    root = tmp_path / "out"
    for each, content in small.made.items():
        (root / each).parent.mkdir(parents=True, exist_ok=True)
        (root / each).write_bytes(content)
    harm(root, name)
    count("damaged files")
    assert found in verdict(root)
    assert opened in opening(root) if opened else not opening(root)
    result = preprocess(*small.args, "--output", root)
    if rerun == REFUSED:
        assert_one_sentence(result, 2, str(root), "give another --output")
        return
    assert result.returncode == 0, result.stderr
    left = {
        each: content for each, content in file_contents(root).items() if rerun != STRAY or each in small.made
    }
    assert (left == small.made) == (rerun != LEFT)
    assert (found in verdict(root)) == (rerun in (LEFT, STRAY))
