"""The storybook generator: deterministic images, valid JPEGs, and runs that can be continued."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from linewash.storybook.scenes import SCENES, SIDES, draw, scene_name
from linewash.storybook.writer import MARKER_NAME, StorybookError, image_path, write_storybook

SCRIPT = Path(__file__).parent.parent / "scripts" / "make_storybook.py"


def read_all(storybook: Path) -> dict[str, bytes]:
    """Returns the bytes of every image by its path in the storybook."""
    return {str(p.relative_to(storybook)): p.read_bytes() for p in sorted(storybook.glob("*/*.JPEG"))}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def storybook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of every class, drawn by the command in two processes."""
    folder, count = tmp_path_factory.mktemp("parent") / "storybook", 2 * len(SCENES)
    result = run(folder, "--count", count, "--seed", 7, "--workers", 2)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # no progress bar where stderr is not a terminal
    assert result.stdout == f"{count} images written · {count} in total · {folder}\n"
    return folder


def test_each_scene_has_a_class_folder(storybook: Path) -> None:
    names = sorted(read_all(storybook))
    assert len(names) == 2 * len(SCENES)
    assert {Path(n).parent.name for n in names} == set(SCENES)
    assert names == sorted(str(image_path(i)) for i in range(2 * len(SCENES)))
    assert image_path(12) == Path(scene_name(12)) / f"{scene_name(12)}_00012.JPEG"
    assert not list(storybook.glob("*/.*"))  # no temporary file is left


def test_images_are_jpegs_within_the_bounds_of_size(storybook: Path) -> None:
    sizes = set()
    for name, data in read_all(storybook).items():
        assert data.startswith(b"\xff\xd8\xff"), name
        assert data.endswith(b"\xff\xd9"), name
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert pixels.ndim == 3
        assert min(pixels.shape[:2]) >= SIDES[0] >= 200
        assert max(pixels.shape[:2]) <= SIDES[1] <= 500
        assert pixels.std() > 15, name
        sizes.add(pixels.shape)
    assert len(sizes) > len(SCENES)


def test_the_bytes_do_not_depend_on_the_workers_and_the_count(storybook: Path, tmp_path: Path) -> None:
    count = len(SCENES) + 3
    assert write_storybook(tmp_path / "small", count, seed=7, workers=1) == count
    small, large = read_all(tmp_path / "small"), read_all(storybook)
    assert len(small) == count
    assert small.items() <= large.items()


GOLDEN_STORYBOOK = "85a8df47235b8423b22962af7652b37c68a652e1dcb184c632d0364aec9b48f5"


def test_the_pixels_of_the_storybook_have_not_changed() -> None:
    digest = hashlib.sha256()
    for index in range(len(SCENES)):
        digest.update(draw(0, index))
    assert digest.hexdigest() == GOLDEN_STORYBOOK, "raise storybook.writer.EDITION if this is intended"


def test_another_seed_draws_other_images(tmp_path: Path) -> None:
    for index in range(len(SCENES)):
        first, second = draw(1, index), draw(2, index)
        assert first.shape != second.shape or (first != second).any()
    assert (draw(1, 0) == draw(1, 0)).all()


def test_a_second_run_draws_only_missing_images(tmp_path: Path) -> None:
    folder = tmp_path / "storybook"
    write_storybook(folder, 6, seed=3, workers=1)
    before = read_all(folder)
    present, missing = folder / image_path(0), folder / image_path(4)
    modified = present.stat().st_mtime_ns
    missing.unlink()
    assert write_storybook(folder, 6, seed=3, workers=1) == 1
    assert read_all(folder) == before
    assert present.stat().st_mtime_ns == modified
    assert write_storybook(folder, 8, seed=3, workers=1) == 2  # a larger count adds images
    assert before.items() <= read_all(folder).items()


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorybookError, match="not empty"):
        write_storybook(tmp_path, 1, seed=0, workers=1)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    folder = tmp_path / "storybook"
    write_storybook(folder, 3, seed=0, workers=1)
    before = read_all(folder)
    with pytest.raises(StorybookError, match="another seed"):
        write_storybook(folder, 3, seed=1, workers=1)
    with pytest.raises(StorybookError, match="more than 2"):
        write_storybook(folder, 2, seed=0, workers=1)
    (folder / MARKER_NAME).write_text("{")
    with pytest.raises(StorybookError, match="another seed"):
        write_storybook(folder, 3, seed=0, workers=1)
    assert read_all(folder) == before


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
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import make_storybook

    (tmp_path / "file").write_text("")
    paths = {"OUT": str(tmp_path / "out"), "FILE": str(tmp_path / "file")}
    assert make_storybook.main([paths.get(a, a) for a in arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_wrong_usage_from_the_shell(tmp_path: Path) -> None:
    result = run(tmp_path / "out", "--count", "-3", "--seed", 1)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", list(SCENES))
def test_the_edges_of_a_scene_look_like_a_drawing(name: str) -> None:
    """The edge map has lines on mostly empty paper, and the label map has many colours."""
    index = list(SCENES).index(name)
    small = cv2.resize(draw(11, index), (128, 128), interpolation=cv2.INTER_AREA)
    grey = cv2.bilateralFilter(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 3, 60, 120)
    median = float(np.median(grey))
    edges = cv2.Canny(grey, max(0, int(median - 84.15)), min(255, int(median + 84.15)))
    assert 0.04 < (edges > 0).mean() < 0.3
    labels = np.clip((small.astype(int) + 42) // 85, 0, 2)
    assert len(np.unique(labels.reshape(-1, 3), axis=0)) >= 8
