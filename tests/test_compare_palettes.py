"""The palette comparison through its real command."""

import subprocess
import sys
from pathlib import Path

import photos
from PIL import Image

ROOT = Path(__file__).parent.parent


def compare(*args):
    command = [sys.executable, "scripts/compare_palettes.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_more_and_learnt_colours_come_nearer(tmp_path):
    folder = photos.folder(tmp_path / "images", 6)
    picture = tmp_path / "palettes.png"
    result = compare("--images", folder, "--palettes", "grid:3", "grid:6", "kmeans:27", "--out", picture)
    assert result.returncode == 0, result.stderr
    errors = {line.split()[0]: float(line.split()[-1]) for line in result.stdout.splitlines()}
    assert errors["grid:3"] > errors["grid:6"] > 0
    assert errors["grid:3"] > errors["kmeans:27"] > 0
    assert Image.open(picture).size[0] > 4 * 192


def test_faults_are_sentences(tmp_path):
    assert compare("--images", tmp_path).stderr == f"compare_palettes: no usable photograph in {tmp_path}\n"
    folder = photos.folder(tmp_path / "images", 1)
    result = compare("--images", folder, "--palettes", "grid:99")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
