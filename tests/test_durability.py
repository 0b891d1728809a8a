"""What a job has written survives a power cut: it is on the disk before anything that refers to it."""

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
    """Every fsync, rename and removal from here on, with the path relative to the output or "*.tmp"."""
    found: list[tuple[str, str]] = []
    output = tmp_path / "out"
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def name(path: str | os.PathLike[str]) -> str:
        path = Path(path)
        return "*.tmp" if path.suffix == ".tmp" else os.path.relpath(path, output)

    def record_fsync(descriptor: int) -> None:
        found.append(("fsync", name(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def record_replace(source: str, target: str) -> None:
        found.append(("rename", name(target)))
        replace(source, target)

    def record_unlink(path: str, **more: int) -> None:
        unlink(path, **more)
        if not more:
            found.append(("unlink", name(path)))

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    monkeypatch.setattr(os, "unlink", record_unlink)
    return found


def lasting(path: str) -> list[tuple[str, str]]:
    """How a file comes to stay: its bytes, its name, and then the folder that has the name."""
    return [("fsync", "*.tmp"), ("rename", path), ("fsync", os.path.dirname(path) or ".")]  # noqa: PTH120


def test_shard_then_receipt_then_ledger_then_manifest(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    output, recipe, layout = (
        str(tmp_path / "out"),
        Recipe(image_size=32),
        Sharding(val_fraction=0, num_shards=2),
    )
    helper_photos.folder(tmp_path / "images", 6)
    files.make_folder(Path(output))
    planned = make_plan(images([str(tmp_path / "images")], output), layout, output)
    assert events == [("fsync", ".."), *[("rename", f".work/plan/train-{i:05d}.jsonl") for i in (0, 1)]], (
        "lists of images are written anew by each run"
    )
    for shard in planned:
        events.clear()
        write_shard(shard, recipe, "none", output)
        made = [("fsync", ".")] if shard is planned[0] else []  # the names of the new folders
        assert events == [
            *made, *lasting(shard.name), *made, *lasting(ShardReceipt.name(shard.name)),
        ]  # fmt: skip
    events.clear()
    found = receipts.load(output)
    receipts.write_rejects(output, found)
    receipts.write_manifest(output, found, recipe, layout, ["images"])
    assert events == [*lasting(REJECTS_NAME), *lasting(MANIFEST_NAME)]


@pytest.mark.parametrize("name", [f"{files.INDEX_DIR}/n01.tar-0.jsonl", f"{files.INDEX_DIR}/kmeans-9.json"])
def test_indices_and_learnt_palettes(tmp_path: Path, events: list[tuple[str, str]], name: str) -> None:
    (tmp_path / "out" / files.INDEX_DIR).mkdir(parents=True)
    files.write(str(tmp_path / "out"), name, b"x")
    assert events == lasting(name)


def test_a_removed_manifest_does_not_come_back(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    """Or it would vouch for shards that are written anew."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / MANIFEST_NAME).write_text("old")
    files.remove(str(tmp_path / "out"), MANIFEST_NAME)
    files.remove(str(tmp_path / "out"), MANIFEST_NAME)
    assert events == [("unlink", MANIFEST_NAME), ("fsync", ".")]


def test_a_disk_that_is_full_at_the_very_last_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems find room only when they synchronise."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write(str(tmp_path), "a.json", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.write(str(tmp_path), "a.json", b"new")
    assert error.value.filename == f"{tmp_path}/a.json"
    assert (tmp_path / "a.json").read_bytes() == b"old"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.json"]


def test_a_file_system_that_cannot_synchronise_a_folder_will_do(
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


def test_temporary_names_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that write one file at once do not write into each other's."""
    with (
        files.atomic_write(str(tmp_path), "a") as one,
        files.atomic_write(str(tmp_path), "a") as two,
    ):
        one.write(b"one")
        two.write(b"two")
        assert len(list(tmp_path.glob(".work/*.tmp"))) == 2
    assert (tmp_path / "a").read_bytes() == b"one"
    assert list(tmp_path.glob(".work/*")) == []
