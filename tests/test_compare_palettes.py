"""Comparing palettes through the command."""

from functools import partial

import compare_palettes
import helper_photos
from helper_commands import run_main, run_script
from PIL import Image

compare = partial(run_main, compare_palettes.main)


def test_larger_and_learned_palettes_have_smaller_differences(tmp_path):
    folder = helper_photos.make_image_folder(tmp_path / "images", 6)
    sheet = tmp_path / "palettes.png"
    argv = ("--images", folder, "--palettes", "grid:3", "grid:6", "kmeans:27", "--output", sheet)
    result = run_script("compare_palettes.py", *argv)
    assert result.returncode == 0, result.stderr
    differences = {line.split()[0]: float(line.split()[-1]) for line in result.stdout.splitlines()}
    assert differences["grid:3"] > differences["grid:6"] > 0
    assert differences["grid:3"] > differences["kmeans:27"] > 0
    assert Image.open(sheet).size[0] > 4 * 192


def test_each_fault_is_one_sentence(tmp_path):
    assert compare("--images", tmp_path).stderr == f"compare_palettes: no usable image in {tmp_path}\n"
    folder = helper_photos.make_image_folder(tmp_path / "images", 1)
    result = compare("--images", folder, "--palettes", "grid:99")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
