"""If a worker dies, the message contains the current image, the shard and what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import helper_photos
import pytest
from helper_commands import ROOT
from helper_jobs import file_contents, preprocess_in_a_process

from preprocess import job, shard_writer
from preprocess.options import Options, parse
from preprocess.plan import Shard, Sharding, make_plan
from preprocess.recipe import DEFAULT
from preprocess.runners.launcher import Launcher, WorkersDiedError
from preprocess.runners.shard_queue import CurrentImage, ShardQueue
from preprocess.runners.worker import WorkerDiedError, is_debugging
from preprocess.sources import Image, images


@pytest.fixture
def planned(tmp_path: Path) -> list[Shard]:
    """Two shards of eight images in all."""
    helper_photos.make_image_folder(tmp_path / "images", 8)
    sources = images([str(tmp_path / "images")], str(tmp_path / "out"))
    return make_plan(sources, Sharding(val_fraction=0, num_shards=2), str(tmp_path / "out"))


def make_queue(planned: list[Shard], tmp_path: Path) -> ShardQueue:
    (tmp_path / "queue").mkdir()
    return ShardQueue(planned, str(tmp_path / "queue"))


def test_the_current_image_of_a_process(planned: list[Shard], tmp_path: Path) -> None:
    queue = make_queue(planned, tmp_path)
    assert queue.current_image(os.getpid()) is None
    shard = next(mine := queue.take())
    assert str(queue.current_image(os.getpid())) == shard.name
    queue.begin(shard, 1)
    current = queue.current_image(os.getpid())
    assert current
    assert current.image
    assert f"{current.image.path}, image 2 of {shard.num_images} of {shard.name}" in str(current)
    assert queue.current_image(os.getpid() + 1) is None
    queue.begin(shard, shard.num_images)  # the shard has no further image
    assert str(queue.current_image(os.getpid())) == shard.name
    following = next(mine)
    assert str(queue.current_image(os.getpid())) == following.name, "a finished shard has no current image"


def test_each_image_is_recorded_before_it_is_read(
    planned: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    real = shard_writer.read_images
    seen = []

    def watched(images, max_pixels):  # type: ignore[no-untyped-def]
        for number, (image, data) in enumerate(real(images, max_pixels)):
            seen.append((number, begun[-1]))
            yield image, data

    monkeypatch.setattr(shard_writer, "read_images", watched)
    shard_writer.write_shard(planned[0], DEFAULT, "none", str(tmp_path / "out"), begun.append)
    assert begun == list(range(planned[0].num_images + 1))
    assert all(number == noted for number, noted in seen)


def test_the_error_without_memory_contains_the_image(
    planned: list[Shard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(data: bytes, *_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(shard_writer, "transform", greedy)
    with pytest.raises(shard_writer.ImageError) as error:
        shard_writer.write_shard(planned[1], DEFAULT, "none", str(tmp_path / "out"))
    message = str(error.value)
    assert str(tmp_path / "images") in message
    assert f"image 1 of {planned[1].num_images} of {planned[1].name}: MemoryError" in message
    assert list((tmp_path / "out/train").glob("*")) == list((tmp_path / "out/.work").glob("*.tmp")) == []


def test_the_description_of_an_image_in_a_tar_contains_the_tar() -> None:
    shard = Shard("train", "train/x", "plan", 3, "0", 1)
    image = Image("n01/a.jpg", "/data/n01.tar", 512, 100)
    assert "n01/a.jpg in /data/n01.tar, image 3 of 3" in str(CurrentImage(shard, 2, image))


def dying(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paths: list[str], code: int = -signal.SIGKILL
) -> Options:
    """Returns the options of a job whose workers die, each while processing the next image of `paths`."""
    shard = Shard("train", "train/x", "plan", 3, "0", 1)
    deaths = iter(paths)

    def run(self: Launcher, todo: list[Shard]) -> None:
        path = next(deaths)
        raise WorkerDiedError(7, code, CurrentImage(shard, 0, Image("key", path)) if path else None)

    monkeypatch.setattr(Launcher, "run_once", run)
    return parse(["--input", "x", "--output", str(tmp_path)])


def test_the_error_suggests_to_remove_an_image_that_killed_several_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = dying(monkeypatch, tmp_path, ["/a.jpg", "/huge.jpg", "/huge.jpg"])
    with pytest.raises(
        WorkersDiedError, match=r"2 of 3 died while converting /huge.jpg: move it out of the input"
    ):
        job._launcher(options).run([])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "SIGKILL" in lines[0]
    assert "/a.jpg, image 1 of 3 of train/x; starting again" in lines[0]


def test_the_error_suggests_fewer_workers_if_images_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = dying(monkeypatch, tmp_path, ["/a.jpg", "/b.jpg", ""])
    with pytest.raises(WorkersDiedError, match=r"--direct_num_workers 1.*LINEWASH_DEBUG=1"):
        job._launcher(options).run([])


@pytest.mark.parametrize(
    ("code", "expected"), [(-9, "SIGKILL (as the kernel does when memory"), (-11, "SIGSEGV"), (1, "code 1")]
)
def test_the_error_describes_how_a_worker_ended(code: int, expected: str) -> None:
    assert expected in str(WorkerDiedError(7, code))


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_debugging_is_enabled_by_the_environment(
    value: str, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEWASH_DEBUG", value)
    assert is_debugging() == shown


def test_workers_block_the_signals_that_the_launcher_handles() -> None:
    """Runs in a new process: another test may have started the server of this one."""
    code = """if True:
        from pathlib import Path
        from preprocess.runners import worker
        worker.start_server()
        print(Path(f"/proc/{worker.forkserver._forkserver._forkserver_pid}/status").read_text())
    """
    status = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    blocked = int(
        next(line for line in status.stdout.splitlines() if line.startswith("SigBlk")).split()[1], 16
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert blocked & 1 << (number - 1)


# Imported by every Python process at its start. Kills the worker that processes one certain image.
POISON = """
import signal, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "preprocess.pipeline":
            sys.meta_path.remove(self)
            from preprocess import shard_writer
            ordinary = shard_writer.transform
            def transform(data, *settings):
                if len(data) == SIZE:
                    signal.raise_signal(signal.HOW)  # for this thread: os.kill could let it continue
                return ordinary(data, *settings)
            shard_writer.transform = transform

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.faults
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV"])
def test_a_worker_process_that_is_killed_by_an_image(how: str, tmp_path: Path) -> None:
    """The error contains the image. Without the image, the same command completes the same dataset."""
    helper_photos.make_image_folder(tmp_path / "images", 40)
    poison = tmp_path / "images/n00000001/poison.jpg"
    poison.write_bytes(helper_photos.jpeg(helper_photos.make_image(99, 333, 222)))
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        POISON.replace("SIZE", str(poison.stat().st_size)).replace("HOW", how)
    )
    with tempfile.TemporaryDirectory(prefix="lw") as temporary:
        env = {**os.environ, "PYTHONPATH": str(hook), "TMPDIR": temporary, "LINEWASH_DEBUG": "1"}
        args = ["--input", tmp_path / "images", "--num_shards", 4, "--image_size", 32]
        result = preprocess_in_a_process(*args, "--output", tmp_path / "out", env=env)
        assert list(Path(temporary).iterdir()) == []
        assert result.returncode == 1, result.stderr
        last = result.stderr.splitlines()[-1]
        assert f"3 of 3 died while converting {poison}: move it out of the input" in last
        assert how in last
        assert "run the same command again" in last
        assert ("Segmentation fault" in result.stderr) == (how == "SIGSEGV"), (
            "the stderr of the workers is shown"
        )
        poison.unlink()
        assert preprocess_in_a_process(*args, "--output", tmp_path / "out", env=env).returncode == 0
        assert preprocess_in_a_process(*args, "--output", tmp_path / "whole", env=env).returncode == 0
    assert file_contents(tmp_path / "out") == file_contents(tmp_path / "whole")
