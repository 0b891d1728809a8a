"""The starter model: as accurate as its card says, small, and usable without any training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from linewash.coloring.cli import main
from linewash.coloring.colorizer import Settings, colorize
from linewash.coloring.label_decoding import Decode
from linewash.coloring.line_extraction import Drawing, read_drawing
from linewash.coloring.model_loader import STARTER, load
from linewash.samples.sketches import encode_image, sketches
from linewash.storybook.writer import write_storybook
from PIL import Image

from preprocess.recipe import DEFAULT
from preprocess.transform import transform
from tfrecords_schema import Palette
from training.export.metadata import ExportMetadata
from training.metrics.ciede2000 import difference_table

# Measured on these scenes, which are not in its training data: the fraction of the pixels that it colours
# correctly, and that of always choosing the most frequent colour.
ACCURACY, BASELINE_ACCURACY = 0.640, 0.1766


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Drawn lines and labels of 120 scenes of another seed than its training data."""
    folder = tmp_path_factory.mktemp("scenes")
    write_storybook(folder, 120, 1, 2, "svg")
    metadata = ExportMetadata.load(STARTER)
    recipe = dataclasses.replace(
        DEFAULT, image_size=metadata.image_size, palette=metadata.palette, lines=("drawn",)
    )
    examples = (transform(path.read_bytes(), recipe) for path in sorted(folder.rglob("*.svg")))
    return [(edges, labels) for (edges,), labels in examples]


def test_its_accuracy_is_as_measured(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    network = load(STARTER)
    labels = np.stack([truth for _, truth in scenes])
    predicted = np.stack([network.logits(edges.astype(np.float32)).argmax(-1) for edges, _ in scenes])
    baseline = np.bincount(labels.ravel()).max() / labels.size
    assert len(scenes) == 120
    assert np.mean(predicted == labels) == pytest.approx(ACCURACY, abs=0.002)  # other CPUs round differently
    assert baseline == pytest.approx(BASELINE_ACCURACY, abs=0.002)


def test_hints_and_a_reference_improve_its_accuracy(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Sixteen hints of 3 x 3 pixels improve the accuracy on all other pixels, and the true colours do."""
    network, rng = load(STARTER), np.random.default_rng(0)
    without, with_hints, with_reference, hinted = [], [], [], []
    for edges, truth in scenes[:40]:
        hints = np.zeros(truth.shape, np.int64)
        for row, column in rng.integers(1, truth.shape[0] - 1, (16, 2)):
            hints[row - 1 : row + 2, column - 1 : column + 2] = int(truth[row, column]) + 1
        reference = np.bincount(truth.ravel(), minlength=len(network.palette)) / truth.size
        drawing, no_hint = edges.astype(np.float32), hints == 0
        without.append(np.mean((network.logits(drawing).argmax(-1) == truth)[no_hint]))
        with_hints.append(np.mean((network.logits(drawing, hints).argmax(-1) == truth)[no_hint]))
        guided = network.logits(drawing, reference=reference)
        with_reference.append(np.mean((guided.argmax(-1) == truth)[no_hint]))
        hinted.append(np.mean(~no_hint))
    assert np.mean(hinted) < 0.01
    assert np.mean(with_hints) > np.mean(without) + 0.01
    assert np.mean(with_reference) > np.mean(without) + 0.1


def test_it_is_small_and_has_metadata() -> None:
    assert max(path.stat().st_size for path in STARTER.iterdir()) < 5_000_000
    metadata = ExportMetadata.load(STARTER)
    assert metadata.hints
    assert metadata.reference
    assert metadata.palette.colors == Palette.linewash().colors
    assert metadata.scores["network"]["accuracy"]
    assert (STARTER / "README.md").is_file()


def test_colorize_needs_no_training(tmp_path: Path) -> None:
    sketch = next(s for s in sketches() if s.name.startswith("08"))
    (tmp_path / "house.png").write_bytes(sketch.data)
    assert sketch.hints
    (tmp_path / "hints.png").write_bytes(sketch.hints)
    out = tmp_path / "colored.png"
    assert main([str(tmp_path / "house.png"), "-o", str(out), "--hints", str(tmp_path / "hints.png")]) == 0
    with Image.open(out) as image:
        colors = image.convert("RGB").getcolors()
    assert colors
    assert len(colors) >= 4


def test_a_figure_on_paper_is_coloured_and_its_paper_is_not() -> None:
    page = np.full((400, 500), 255, np.uint8)
    cv2.ellipse(page, (230, 200), (130, 80), 0, 0, 360, 0, 5)  # a fish
    cv2.polylines(page, [np.array([(358, 200), (440, 130), (440, 270)])], True, 0, 5)
    cv2.circle(page, (170, 180), 12, 0, 5)
    (fish,) = colorize(read_drawing(encode_image(page)), load(STARTER))
    colors = fish.rgb(lines=False)
    assert fish.background_mode == "paper"
    assert (colors[20:60] == 255).all()
    assert (colors[200, 260] < 255).any()


def speckle(labels: np.ndarray) -> float:
    """Returns the fraction of the pixels that differ from all four neighbours."""
    inner = labels[1:-1, 1:-1]
    neighbours = [labels[:-2, 1:-1], labels[2:, 1:-1], labels[1:-1, :-2], labels[1:-1, 2:]]
    return float(np.mean(np.all([inner != other for other in neighbours], axis=0)))


def test_the_vote_is_the_best_decoding(scenes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Compares the three decodings on drawings whose colours are known."""
    network = load(STARTER)
    differences = difference_table(network.palette.rgb)
    scores: dict[Decode, list[tuple[float, float, float]]] = {"vote": [], "argmax": [], "mean": []}
    for edges, truth in scenes[:24]:
        # Canny edges are thin lines already, so they are not extracted from an image.
        drawing = Drawing(np.full((*edges.shape, 3), 255, np.uint8), edges, edges, dark_on_light=True)
        for decode, rows in scores.items():
            (image,) = colorize(drawing, network, Settings(decode=decode))
            difference = float(differences[truth, image.labels].mean())
            rows.append((difference, float(np.mean(image.labels == truth)), speckle(image.labels)))
    (vote, argmax, mean) = (np.mean(rows, axis=0) for rows in scores.values())
    # Columns: mean CIEDE2000, accuracy, speckle.
    assert vote[2] < 0.1 * argmax[2]
    assert vote[1] > argmax[1] > mean[1]
    assert vote[0] < mean[0] < argmax[0]
