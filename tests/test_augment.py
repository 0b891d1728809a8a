"""Augmentation: a function of (seed, epoch, id); each augmentation does what its setting states."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import TinyDataset
from helper_commands import ROOT, run_main, run_module
from PIL import Image

from training import preview
from training.config import AugmentConfig
from training.data.augment import augment, drop_specks, flip
from training.data.dataset import ShardedDataset
from training.data.stateless_random import StatelessRandom
from training.hydra_config import compose
from training.preview import columns
from training.run.sample_grid import GAP, HEADING_HEIGHT, MARGIN

NONE, HANDS = (compose(["data.root=x", f"augment={name}"]).augment for name in ("none", "hands"))
SETTINGS = columns(HANDS, NONE, HANDS)
EACH = pytest.mark.parametrize("title", [title for title in SETTINGS if title != "drawing"])


def make_examples(count: int = 16, size: int = 32) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns random edges, and the same pattern as labels."""
    labels = np.random.default_rng(0).random((count, size, size)) < 0.15
    return tf.constant(labels[..., None], tf.float32), tf.constant(labels, tf.uint8)


def run(
    config: AugmentConfig, rows: Any = slice(None), seed: int = 1, epoch: int = 1, jit: bool = False
) -> Any:
    edges, labels = (np.asarray(x)[rows] for x in make_examples())
    ids = np.arange(100, 116, dtype=np.int32)[rows]
    step = tf.function(lambda e, y, i, n: augment(e, y, StatelessRandom(seed, n, i), config), jit_compile=jit)
    return [x.numpy() for x in step(tf.constant(edges), tf.constant(labels), ids, tf.constant(epoch))]


@EACH
def test_it_is_a_function_of_seed_epoch_and_id_in_any_batch(title: str) -> None:
    config = SETTINGS[title]
    first = run(config)
    rows = np.array([5, 2, 11])
    for whole, part in zip(first, run(config, rows), strict=True):
        assert np.array_equal(whole[rows], part)
    for other in (run(config, epoch=2), run(config, seed=2)):
        assert not np.array_equal(first[0], other[0])


@EACH
def test_xla_gives_the_same_result(title: str) -> None:
    for plain, compiled in zip(run(SETTINGS[title]), run(SETTINGS[title], jit=True), strict=True):
        np.testing.assert_allclose(plain, compiled, atol=1e-6)


def test_off_is_identity() -> None:
    edges, labels = make_examples()
    after = augment(edges, labels, StatelessRandom(0, tf.constant(1), tf.range(16)), NONE)
    assert after[0] is edges
    assert after[1] is labels


def test_geometry_moves_edges_and_labels_together() -> None:
    geometry = dataclasses.replace(NONE, flip=0.5, scale=2.0, translate=8.0)
    edges, labels = run(geometry)
    assert np.array_equal(edges[..., 0], labels)
    assert not np.array_equal(labels, make_examples()[1])


def test_flip_twice_is_identity() -> None:
    both, chosen = make_examples(), tf.range(16) % 2 == 0
    for before, after in zip(both, flip(*flip(*both, chosen), chosen), strict=True):
        assert np.array_equal(before, after)


@pytest.mark.parametrize("bound", [0, 1, 4, 7])
def test_only_specks_up_to_the_bound_are_removed(bound: int) -> None:
    picture, expected = np.zeros((1, 40, 40, 1), np.float32), np.zeros((1, 40, 40, 1), np.float32)
    for length in range(1, 20):
        picture[0, 2 * length - 1, 1 : 1 + length] = 1
        expected[0, 2 * length - 1, 1 : 1 + length] = length > bound
    result = drop_specks(tf.constant(picture), tf.constant([float(bound)]), 7)
    assert np.array_equal(result, expected)


def test_pencil_is_grey_within_bounds() -> None:
    edges, _ = run(SETTINGS["pencil"])
    assert 0 <= edges.min() <= edges.max() <= 1
    assert len(np.unique(edges)) > 100


def test_gaps_cover_their_fraction() -> None:
    ones = tf.ones((64, 64, 64, 1))
    config = dataclasses.replace(NONE, gaps=0.2)
    after, _ = augment(ones, ones[..., 0], StatelessRandom(0, tf.constant(1), tf.range(64)), config)
    assert 1 - np.mean(after) == pytest.approx(0.2, abs=0.02)


def test_random_numbers_are_uniform_and_independent() -> None:
    ids = tf.range(1000)
    first, *others = (
        StatelessRandom(seed, tf.constant(epoch), ids).uniform(purpose, 100).numpy().ravel()
        for seed, epoch, purpose in [(0, 1, "a"), (0, 2, "a"), (1, 1, "a"), (0, 1, "b")]
    )
    counts = np.histogram(first, 20, (0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 50  # chi-squared of 19 degrees: p < 0.0002
    for other in [*others, np.roll(first, 1), np.roll(first, 100)]:
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.015


def test_preview_draws_a_sheet(shared_dataset: Path, tmp_path: Path) -> None:
    arguments = (f"data.root={shared_dataset}", "out=sheet.png", "augment.gaps=0.3")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_module("training.preview", *arguments, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    assert Image.open(tmp_path / "sheet.png").width > 10 * 128


def test_preview_has_a_column_for_each_line_style(tiny_dataset: TinyDataset) -> None:
    """The column of a style shows that style alone, and `drawing` the one that is drawn in epoch 1."""
    config = compose(["data.root=x"])
    dataset = ShardedDataset.open(str(tiny_dataset(lines=("canny", "xdog"), size=128)))
    sheet = preview.preview(config, dataset, NONE, NONE)
    count = preview.NUM_EXAMPLES
    left, side = MARGIN, 128 + GAP

    def column(number: int) -> np.ndarray:
        top = HEADING_HEIGHT + MARGIN // 2
        rows = [sheet[top + row * side :][:128, left + number * side :][:, :128] for row in range(count)]
        return np.stack(rows)

    canny, xdog, drawing = column(0), column(1), column(2)
    assert np.array_equal(np.roll(canny, 1, axis=1), xdog)
    is_xdog = [np.array_equal(drawing[row], xdog[row]) for row in range(count)]
    assert is_xdog == [not np.array_equal(drawing[row], canny[row]) for row in range(count)]
    assert 0 < sum(is_xdog) < count


def test_preview_reports_an_error_in_one_sentence(tmp_path: Path) -> None:
    done = run_main(lambda: preview.main(sys.argv[1:]), "data.root=nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "no such directory" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
