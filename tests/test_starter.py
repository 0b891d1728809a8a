"""The starter model that comes along: as good as its card says, small, and at work before any training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from linewash.coloring.cli import main
from linewash.coloring.model_loader import STARTER, load
from linewash.samples.sketches import sketches
from linewash.storybook.writer import write_storybook
from PIL import Image

from preprocess.recipe import DEFAULT
from preprocess.transform import transform
from training.export.metadata import ExportMetadata

# On these very scenes, which it never saw: the share of pixels it colours right, and always the commonest.
MEASURED, COMMONEST = 0.625, 0.0745


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Edges and labels of 120 scenes of another seed than it learnt from."""
    folder = tmp_path_factory.mktemp("scenes")
    write_storybook(folder, 120, 1, 2)
    about = ExportMetadata.load(STARTER)
    recipe = dataclasses.replace(DEFAULT, image_size=about.image_size, palette=about.palette)
    return [transform(path.read_bytes(), recipe) for path in sorted(folder.rglob("*.JPEG"))]


def test_it_is_as_accurate_as_was_measured(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    network = load(STARTER)
    labels = np.stack([truth for _, truth in scenes])
    found = np.stack([network.logits(edges.astype(np.float32)).argmax(-1) for edges, _ in scenes])
    commonest = np.bincount(labels.ravel()).max() / labels.size
    assert len(scenes) == 120
    assert np.mean(found == labels) == pytest.approx(MEASURED, abs=0.002)  # another CPU rounds otherwise
    assert commonest == pytest.approx(COMMONEST, abs=0.002)


def test_hints_help_it(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Sixteen dabs of 3 by 3 pixels are worth more than the pixels that they tell."""
    network, rng = load(STARTER), np.random.default_rng(0)
    without, with_hints, told = [], [], []
    for edges, truth in scenes[:40]:
        hints = np.zeros(truth.shape, np.int64)
        for row, column in rng.integers(1, truth.shape[0] - 1, (16, 2)):
            hints[row - 1 : row + 2, column - 1 : column + 2] = int(truth[row, column]) + 1
        drawing, untold = edges.astype(np.float32), hints == 0
        without.append(np.mean((network.logits(drawing).argmax(-1) == truth)[untold]))
        with_hints.append(np.mean((network.logits(drawing, hints).argmax(-1) == truth)[untold]))
        told.append(np.mean(~untold))
    assert np.mean(told) < 0.01
    assert np.mean(with_hints) > np.mean(without) + 0.01


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in STARTER.iterdir()) < 5_000_000
    about = ExportMetadata.load(STARTER)
    assert about.hints
    assert len(about.palette) == 27
    assert about.scores["network"]["accuracy"]
    assert (STARTER / "README.md").is_file()


def test_colorize_needs_no_training(tmp_path: Path) -> None:
    sketch = next(s for s in sketches() if s.name.startswith("08"))
    (tmp_path / "house.png").write_bytes(sketch.data)
    assert sketch.hints
    (tmp_path / "hints.png").write_bytes(sketch.hints)
    out = tmp_path / "colored.png"
    assert main([str(tmp_path / "house.png"), "-o", str(out), "--hints", str(tmp_path / "hints.png")]) == 0
    with Image.open(out) as picture:
        colors = picture.convert("RGB").getcolors()
    assert colors
    assert len(colors) >= 4
