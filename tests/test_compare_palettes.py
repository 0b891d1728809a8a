"""The palette comparison through its command."""

from functools import partial

import compare_palettes
import helper_photos
from helper_commands import run_main, run_script
from PIL import Image

compare = partial(run_main, compare_palettes.main)


def test_more_and_learnt_colours_come_nearer(tmp_path):
    folder = helper_photos.folder(tmp_path / "images", 6)
    picture = tmp_path / "palettes.png"
    words = ("--images", folder, "--palettes", "grid:3", "grid:6", "kmeans:27", "--out", picture)
    result = run_script("compare_palettes.py", *words)
    assert result.returncode == 0, result.stderr
    errors = {line.split()[0]: float(line.split()[-1]) for line in result.stdout.splitlines()}
    assert errors["grid:3"] > errors["grid:6"] > 0
    assert errors["grid:3"] > errors["kmeans:27"] > 0
    assert Image.open(picture).size[0] > 4 * 192


def test_faults_are_sentences(tmp_path):
    assert compare("--images", tmp_path).stderr == f"compare_palettes: no usable photograph in {tmp_path}\n"
    folder = helper_photos.folder(tmp_path / "images", 1)
    result = compare("--images", folder, "--palettes", "grid:99")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
