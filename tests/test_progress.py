"""Progress: a bar in a terminal, and a line per minute in a log."""

from __future__ import annotations

import sys
from pathlib import Path

import helper_photos
import pytest

from preprocess import progress
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from preprocess.sources import images


@pytest.mark.parametrize(
    ("images", "seconds", "line"),
    [
        (0, 60, "0 of 1,000,000 images, 0 images/s, time left unknown, 3 rejects"),
        (6_000, 60, "6,000 of 1,000,000 images, 100 images/s, 2 h 46 min left, 3 rejects"),
        (900_000, 900, "900,000 of 1,000,000 images, 1,000 images/s, 2 min left, 3 rejects"),
        (999_000, 999, "999,000 of 1,000,000 images, 1,000 images/s, 1 s left, 3 rejects"),
        (1_000_000, 0, "1,000,000 of 1,000,000 images, 0 images/s, time left unknown, 3 rejects"),
    ],
)
def test_a_line_has_the_progress_the_rate_and_the_time_left(images: int, seconds: float, line: str) -> None:
    assert progress.progress_line(images, 1_000_000, 3, seconds) == line


def make_shards(tmp_path: Path) -> int:
    """Writes two shards of 9 images, one of which is rejected, and shows progress."""
    output = str(tmp_path / "out")
    helper_photos.make_image_folder(tmp_path / "images", 8)
    (tmp_path / "images/n00000000/empty.JPEG").write_bytes(b"")
    listed = progress.count_images(images([str(tmp_path / "images")], output), "listing")
    shards = make_plan(listed, Sharding(val_fraction=0, num_shards=2), output)
    with progress.show_progress(output, 9, set()):
        for shard in shards:
            write_shard(shard, Recipe(image_size=32), "none", output)
    return sum(shard.num_images for shard in shards)


def test_a_log_gets_a_line_per_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    total = make_shards(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:total] == [f"python -m preprocess: listing: {n} images" for n in range(1, total + 1)]
    assert f"python -m preprocess: {total} of 9 images, " in lines[-1]
    assert lines[-1].endswith("1 rejects")
    assert not any("\r" in line for line in lines)


def test_the_log_of_a_quick_job_stays_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shards(tmp_path)
    assert capsys.readouterr().err == ""


def test_a_known_total_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL", 0.0)
    assert list(progress.count_images(["a", "b"], "learning the palette", 2)) == ["a", "b"]
    assert "learning the palette: 1 of 2 images" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    make_shards(tmp_path)
    stderr = capsys.readouterr().err
    assert "9/9" in stderr
    assert "rejects=1" in stderr
    assert "python -m preprocess: " not in stderr
