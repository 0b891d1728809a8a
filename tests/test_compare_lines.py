"""Comparing line styles through the command, and its figures on made maps."""

from functools import partial
from pathlib import Path

import compare_lines
import helper_photos
import numpy as np
import pytest
from helper_commands import run_main
from PIL import Image

compare = partial(run_main, compare_lines.main)


def test_the_figures_of_lines_beside_and_away_from_a_border() -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[:, 8:] = 1  # the border is column 7
    lines = np.zeros((16, 16), np.uint8)
    lines[:8, 8] = 1
    lines[12:, 12] = 1
    figures = compare_lines.measure(lines, labels)
    assert figures.density == 12 / 256
    assert figures.coverage == 9 / 16  # the last line pixel covers a pixel below it too
    assert figures.precision == 8 / 12


def test_the_mean_leaves_out_images_without_lines_or_borders() -> None:
    nothing = compare_lines.measure(np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8))
    assert np.isnan(nothing[1:]).all()
    mean = compare_lines.mean_agreement([nothing, compare_lines.Agreement(0.2, 0.4, 0.6)])
    assert mean == pytest.approx((0.1, 0.4, 0.6))


def test_styles_are_compared_and_drawn(tmp_path: Path) -> None:
    folder = helper_photos.make_image_folder(tmp_path / "images", 4)
    sheet = tmp_path / "lines.png"
    result = compare("--images", folder, "--output", sheet, "--rows", 2)
    assert result.returncode == 0, result.stderr
    figures = {
        line.split()[0]: [float(v) for v in line.split()[1:]] for line in result.stdout.splitlines()[1:]
    }
    assert set(figures) == {"canny", "canny_fine", "canny_coarse", "xdog", "borders"}
    assert figures["borders"][2] > 0.99
    assert Image.open(sheet).size[0] > 7 * 128


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--lines", "drawn"], 2, "drawn"),
        (["--lines", "pen"], 2, "pen"),
        (["-o", "a.docx"], 2, "ends in .png"),
    ],
)
def test_a_wrong_argument_is_one_sentence(
    arguments: list[str], code: int, message: str, tmp_path: Path
) -> None:
    folder = helper_photos.make_image_folder(tmp_path / "images", 1)
    result = compare("--images", folder, *arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    result = compare("--images", tmp_path)
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr
