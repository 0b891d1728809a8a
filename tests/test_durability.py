"""The files of a job survive a power cut: each is on the disk before another file refers to it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import helper_photos
import pytest

from preprocess import receipts
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from preprocess.sources import images
from preprocess.storage import files
from tfrecords_schema import MANIFEST_NAME, REJECTS_NAME, ShardReceipt


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Records every fsync, rename and removal, with the path relative to the output, or "*.tmp"."""
    recorded: list[tuple[str, str]] = []
    output = tmp_path / "out"
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def name(path: str | os.PathLike[str]) -> str:
        path = Path(path)
        return "*.tmp" if path.suffix == ".tmp" else os.path.relpath(path, output)

    def record_fsync(descriptor: int) -> None:
        recorded.append(("fsync", name(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def record_replace(source: str, target: str) -> None:
        recorded.append(("rename", name(target)))
        replace(source, target)

    def record_unlink(path: str, **more: int) -> None:
        unlink(path, **more)
        if not more:
            recorded.append(("unlink", name(path)))

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    monkeypatch.setattr(os, "unlink", record_unlink)
    return recorded


def durable_write(path: str) -> list[tuple[str, str]]:
    """Returns the events of a durable write: the bytes, the rename, and then the directory."""
    return [("fsync", "*.tmp"), ("rename", path), ("fsync", os.path.dirname(path) or ".")]  # noqa: PTH120


def test_shard_then_receipt_then_rejects_then_manifest(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    output, recipe, sharding = (
        str(tmp_path / "out"),
        Recipe(image_size=32),
        Sharding(val_fraction=0, num_shards=2),
    )
    helper_photos.make_image_folder(tmp_path / "images", 6)
    files.make_folder(Path(output))
    shards = make_plan(images([str(tmp_path / "images")], output), sharding, output)
    assert events == [("fsync", ".."), *[("rename", f".work/plan/train-{i:05d}.jsonl") for i in (0, 1)]], (
        "shard lists are written again by each run"
    )
    for shard in shards:
        events.clear()
        write_shard(shard, recipe, "none", output)
        new_folder = [("fsync", ".")] if shard is shards[0] else []
        shard_write, receipt_write = (
            [*new_folder, *durable_write(name)] for name in (shard.name, ShardReceipt.name(shard.name))
        )
        assert events == shard_write + receipt_write
    events.clear()
    loaded = receipts.load(output)
    receipts.write_rejects(output, loaded)
    receipts.write_manifest(output, loaded, recipe, sharding, ["images"])
    assert events == [*durable_write(REJECTS_NAME), *durable_write(MANIFEST_NAME)]


@pytest.mark.parametrize("name", [f"{files.INDEX_DIR}/n01.tar-0.jsonl", f"{files.INDEX_DIR}/kmeans-9.json"])
def test_indices_and_learnt_palettes(tmp_path: Path, events: list[tuple[str, str]], name: str) -> None:
    (tmp_path / "out" / files.INDEX_DIR).mkdir(parents=True)
    files.write(str(tmp_path / "out"), name, b"x")
    assert events == durable_write(name)


def test_a_removed_manifest_stays_removed(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    """Otherwise a dataset whose shards are written again would seem complete."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST_NAME).write_text("old")
    files.remove(str(tmp_path / "out"), MANIFEST_NAME)
    files.remove(str(tmp_path / "out"), MANIFEST_NAME)
    assert events == [("unlink", MANIFEST_NAME), ("fsync", ".")]


def test_a_disk_that_is_full_at_fsync_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems allocate space only at fsync."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write(str(tmp_path), "a.json", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write(str(tmp_path), "a.json", b"new")
    assert error.value.filename == f"{tmp_path}/a.json"
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.json"]


def test_a_file_system_without_fsync_of_directories_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    files.write(str(tmp_path), "a/b.json", b"x")
    assert (tmp_path / "a/b.json").read_bytes() == b"x"


def test_temporary_names_are_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two simultaneous writes of one file do not mix."""
    with (
        files.atomic_write(str(tmp_path), "a") as first,
        files.atomic_write(str(tmp_path), "a") as second,
    ):
        first.write(b"first")
        second.write(b"second")
        assert len(list(tmp_path.glob(".work/*.tmp"))) == 2
    assert (tmp_path / "a").read_bytes() == b"first"
    assert list(tmp_path.glob(".work/*")) == []
