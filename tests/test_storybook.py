"""The storybook generator: the same pictures for the same seed, as real JPEGs, and no half-done folders."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from linewash.storybook.scenes import SCENES, SIDES, draw, scene_name
from linewash.storybook.writer import MARK, BookError, page_path, write_book

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_storybook.py"


def read_all(book: Path) -> dict[str, bytes]:
    """Every picture of a book by its path inside the book."""
    return {str(p.relative_to(book)): p.read_bytes() for p in sorted(book.glob("*/*.JPEG"))}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of every class, drawn by the command itself in two processes."""
    out = tmp_path_factory.mktemp("shelf") / "book"
    done = run(out, "--count", 2 * len(SCENES), "--seed", 7, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no progress bar where stderr is not a terminal
    assert done.stdout.count("\n") == 1
    return out


def test_class_folders(book: Path) -> None:
    names = sorted(read_all(book))
    assert len(names) == 2 * len(SCENES)
    assert {Path(n).parent.name for n in names} == set(SCENES)
    assert names == sorted(str(page_path(i)) for i in range(2 * len(SCENES)))
    assert page_path(12) == Path(scene_name(12)) / f"{scene_name(12)}_00012.JPEG"
    assert not list(book.glob("*/.*"))  # no temporary file left over


def test_real_jpegs_of_allowed_sizes(book: Path) -> None:
    sizes = set()
    for name, data in read_all(book).items():
        assert data.startswith(b"\xff\xd8\xff"), name
        assert data.endswith(b"\xff\xd9"), name
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.ndim == 3
        assert min(pixels.shape[:2]) >= SIDES[0] >= 200
        assert max(pixels.shape[:2]) <= SIDES[1] <= 500
        assert pixels.std() > 15, name
        sizes.add(pixels.shape)
    assert len(sizes) > len(SCENES)


def test_same_bytes_whatever_the_workers_and_the_count(book: Path, tmp_path: Path) -> None:
    count = len(SCENES) + 3
    assert write_book(tmp_path / "alone", count, seed=7, workers=1) == count
    alone, whole = read_all(tmp_path / "alone"), read_all(book)
    assert len(alone) == count
    assert alone.items() <= whole.items()


def test_another_seed_draws_other_pictures(tmp_path: Path) -> None:
    for index in range(len(SCENES)):
        first, second = draw(1, index), draw(2, index)
        assert first.shape != second.shape or (first != second).any()
    assert (draw(1, 0) == draw(1, 0)).all()


def test_running_again_draws_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "book"
    write_book(out, 6, seed=3, workers=1)
    before = read_all(out)
    kept, lost = out / page_path(0), out / page_path(4)
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    assert write_book(out, 6, seed=3, workers=1) == 1
    assert read_all(out) == before
    assert kept.stat().st_mtime_ns == stamp
    assert write_book(out, 8, seed=3, workers=1) == 2  # a longer book goes on from a shorter one
    assert before.items() <= read_all(out).items()


def test_refuses_a_folder_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BookError, match="not empty"):
        write_book(tmp_path, 1, seed=0, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    out = tmp_path / "book"
    write_book(out, 3, seed=0, workers=1)
    before = read_all(out)
    with pytest.raises(BookError, match="another seed"):
        write_book(out, 3, seed=1, workers=1)
    with pytest.raises(BookError, match="more than 2"):
        write_book(out, 2, seed=0, workers=1)
    (out / MARK).write_text("{")
    with pytest.raises(BookError, match="another seed"):
        write_book(out, 3, seed=0, workers=1)
    assert read_all(out) == before


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["OUT"],
        ["OUT", "--count", "3"],
        ["OUT", "--count", "0", "--seed", "1"],
        ["OUT", "--count", "many", "--seed", "1"],
        ["OUT", "--count", "3", "--seed", "-1"],
        ["OUT", "--count", "3", "--seed", "1", "--workers", "0"],
        ["FILE", "--count", "3", "--seed", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_sentence_and_status_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import make_storybook

    (tmp_path / "file").write_text("")
    places = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    assert make_storybook.main([places.get(a, a) for a in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_wrong_usage_from_the_shell(tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--count", "-3", "--seed", 1)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", list(SCENES))
def test_pictures_make_line_drawings(name: str) -> None:
    """What linewash sees of a picture is a drawing: lines on mostly empty paper, and many colours behind."""
    index = list(SCENES).index(name)
    small = cv2.resize(draw(11, index), (128, 128), interpolation=cv2.INTER_AREA)
    grey = cv2.bilateralFilter(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 3, 60, 120)
    middle = float(np.median(grey))
    lines = cv2.Canny(grey, max(0, int(middle - 84.15)), min(255, int(middle + 84.15)))
    assert 0.04 < (lines > 0).mean() < 0.3
    labels = np.clip((small.astype(int) + 42) // 85, 0, 2)
    assert len(np.unique(labels.reshape(-1, 3), axis=0)) >= 8
