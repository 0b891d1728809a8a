"""Small parts of the trainer: learning rate schedule, budget, baselines, sample grid and curves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfrecords_schema import Palette
from training.hydra_config import compose
from training.loop.schedule import Budget, learning_rate
from training.metrics.baselines import Baselines
from training.metrics.scores import Scores
from training.run.history import Epoch
from training.run.plots import write_curves
from training.run.sample_grid import draw_sample_grid

OPTIMIZER = compose(["data.root=x", "optimizer.learning_rate=0.01", "optimizer.warmup=0.1"]).optimizer


@given(st.floats(0, 1))
def test_the_rate_is_above_zero_and_at_most_its_peak(progress: float) -> None:
    assert 0 < learning_rate(progress, OPTIMIZER) <= OPTIMIZER.learning_rate


def test_the_rate_rises_then_falls() -> None:
    rates = [learning_rate(percent / 100, OPTIMIZER) for percent in range(101)]
    assert rates.index(max(rates)) == 10
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(OPTIMIZER.learning_rate * OPTIMIZER.final_rate)


def test_a_constant_schedule() -> None:
    constant = compose(["data.root=x", "optimizer.schedule=constant", "optimizer.warmup=0"]).optimizer
    assert {learning_rate(tenth / 10, constant) for tenth in range(11)} == {constant.learning_rate}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_budget_of_steps_ignores_the_clock() -> None:
    clock = Clock()
    budget = Budget(steps=10, minutes=None, clock=clock)
    clock.now += 9999
    assert budget.fraction_used(5) == 0.5
    assert not budget.is_spent(9)
    assert budget.is_spent(10)


def test_minutes_count_from_the_first_step() -> None:
    clock = Clock()
    budget = Budget(steps=None, minutes=1.0, clock=clock)
    clock.now += 20  # compiling
    assert budget.fraction_used(0) == 0
    assert budget.fraction_used(1) == 0
    clock.now += 20
    assert budget.fraction_used(2) == pytest.approx(0.5)
    clock.now += 20
    assert budget.is_spent(3)


def test_a_budget_of_minutes_continues_in_another_process() -> None:
    clock = Clock()
    first = Budget(steps=None, minutes=2.0, clock=clock)
    clock.now += 20  # compiling
    first.fraction_used(1)
    clock.now += 25
    assert first.seconds() == (25, 20)
    second = Budget(
        steps=None, minutes=2.0, clock=clock, training_seconds=25, compile_seconds=20, first_step=8
    )
    clock.now += 15  # compiling again
    assert second.fraction_used(8) == pytest.approx(25 / 100)
    assert second.fraction_used(9) == pytest.approx(25 / 85)
    clock.now += 60
    assert second.is_spent(10)
    assert second.seconds() == (85, 35)


def test_the_budget_that_is_spent_first_counts() -> None:
    clock = Clock()
    budget = Budget(steps=100, minutes=1.0, clock=clock)
    budget.fraction_used(1)
    clock.now += 30
    assert budget.fraction_used(2) == pytest.approx(0.5)
    assert budget.fraction_used(80) == pytest.approx(0.8)


def test_baselines_of_a_known_histogram() -> None:
    baselines = Baselines.from_histogram(
        [50, 25, 25, 0], Palette("greys", tuple((v, v, v) for v in (0, 80, 160, 240)))
    )
    assert baselines.accuracy == 0.5
    assert baselines.commonest == 0
    assert baselines.loss == pytest.approx(1.5 * math.log(2))


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=30).filter(any))
def test_baselines_are_within_their_bounds(histogram: list[int]) -> None:
    greys = Palette("greys", tuple((value, value, value) for value in range(len(histogram))))
    baselines = Baselines.from_histogram(histogram, greys)
    assert 1 / len(histogram) <= baselines.accuracy <= 1
    assert -1e-9 <= baselines.loss <= math.log(len(histogram)) + 1e-9


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [8, 128, 512])
def test_the_sample_grid_shows_every_example(count: int, size: int) -> None:
    palette = Palette.grid(3)
    labels = np.full((count, size, size), 18, np.uint8)
    predicted = np.full((count, size, size), 2, np.uint8)
    panel = draw_sample_grid(
        np.ones((count, size, size), np.uint8), labels, {"prediction": predicted}, palette
    )
    scale = max(1, -(-224 // size))
    wider = draw_sample_grid(
        np.ones_like(labels), labels, {"prediction": predicted, "with reference": labels}, palette
    )
    assert (wider == palette.colors[18]).all(-1).sum() == 2 * count * (size * scale) ** 2
    for color in (palette.colors[18], palette.colors[2]):
        assert (panel == color).all(-1).sum() == count * (size * scale) ** 2


@pytest.mark.parametrize("epochs", [1, 2, 40])
@pytest.mark.parametrize("with_val", [True, False])
def test_curves_are_drawn(tmp_path: Path, epochs: int, with_val: bool) -> None:
    history = [
        Epoch(
            n,
            n * 10,
            1.0,
            100.0,
            0.1,
            1e-3,
            Scores(2 / n, 1 - 1 / n),
            Scores(2.1 / n, 0.5, 0.3, 0.8, 20 / n) if with_val else None,
        )
        for n in range(1, epochs + 1)
    ]
    write_curves(tmp_path / "curves.png", history, Baselines(0.3, 2.1, 40.0, 0), "title")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size[0] > 1000
