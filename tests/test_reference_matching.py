"""Reference matching: colours of a picture that come nearer to a reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helper_networks import PALETTE, write_export
from hypothesis import given, settings
from hypothesis import strategies as st
from linewash.coloring import Settings, colorize, load, parse_colors, read_drawing, to_png
from linewash.coloring_job.options import parse as parse_job
from linewash.samples.sketches import draw, encode_image, home, on_white

from training.data.dataset import ShardedDataset
from training.errors import UsageError
from training.evaluate import __main__ as evaluate_main
from training.evaluate.by_reference import measure_obedience
from training.hydra_config import compose
from training.loop.step import OWN, EvalCondition, make_eval_steps
from training.metrics.reference_matching import reference_bias
from training.models import build_model


def fractions(logits: np.ndarray) -> np.ndarray:
    colors = logits.shape[-1]
    return np.bincount(logits.reshape(-1, colors).argmax(-1), minlength=colors) / (logits.size / colors)


def make_picture(seed: int, colors: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits that prefer the first colours, and wanted fractions."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (40, 50, colors)) - np.arange(colors) / 2
    return logits.astype(np.float32), rng.dirichlet(np.ones(colors)).astype(np.float32)


def distance(logits: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(fractions(logits) - wanted).sum() / 2)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_more_strength_brings_the_colours_nearer(seed: int) -> None:
    logits, wanted = make_picture(seed)
    distances = [distance(logits + reference_bias(logits, wanted, x), wanted) for x in (0, 0.5, 1)]
    assert distances[2] < 0.06
    assert distances[1] < 0.65 * distances[0] + 0.03
    assert distances[1] > 0.35 * distances[0] - 0.03, "no further than wanted"


def test_no_strength_or_no_reference_changes_nothing() -> None:
    logits, wanted = make_picture(0)
    assert not reference_bias(logits, wanted, 0).any()
    assert not reference_bias(logits, np.zeros(6, np.float32), 1).any()
    assert not reference_bias(logits[:0], wanted, 1).any()


def test_the_pictures_own_colours_change_hardly_anything() -> None:
    logits, _ = make_picture(1)
    changed = logits + reference_bias(logits, fractions(logits), 1)
    assert (changed.argmax(-1) == logits.argmax(-1)).mean() > 0.95


def test_colours_that_are_not_allowed_stay_away() -> None:
    logits, wanted = make_picture(2)
    logits[..., [0, 4]] = -np.inf
    bias = reference_bias(logits, wanted, 1)
    assert np.isfinite(bias).all()
    wanted[[0, 4]] = 0
    assert distance(logits + bias, wanted / wanted.sum()) < 0.06
    assert not reference_bias(logits, np.eye(6, dtype=np.float32)[4], 1).any(), "nothing wanted is allowed"


# --------------------------------------------------------------------------------------------- colouring


@pytest.fixture(scope="module")
def house_png() -> bytes:
    return encode_image(on_white(draw(home, 320, 250, 2, seed=1)))


def test_colouring_is_the_same_without_a_reference(tmp_path: Path, house_png: bytes) -> None:
    network, drawing = load(write_export(tmp_path / "guided", reference=True)), read_drawing(house_png)
    pictures = [
        to_png(colorize(drawing, network, Settings(reference_strength=x))[0]) for x in (0.0, 0.5, 1.0)
    ]
    assert pictures[0] == pictures[1] == pictures[2]


def test_a_drawing_gets_the_colours_that_are_wanted(
    tmp_path: Path, house_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, drawing = load(write_export(tmp_path / "guided", reference=True)), read_drawing(house_png)
    rng = np.random.default_rng(0)

    def logits(self: object, lines: np.ndarray, hints: object, reference: object) -> np.ndarray:
        noise = rng.normal(0, 1, (*lines.shape, len(PALETTE))).astype(np.float32)
        return noise + np.float32(2) * np.eye(len(PALETTE), dtype=np.float32)[1]

    monkeypatch.setattr(type(network), "logits", logits)
    wanted = parse_colors(",".join(f"#{bytes(PALETTE.rgb[label]).hex()}" for label in (1, 2, 3, 4)))
    shares = []
    for strength in (0.0, 1.0):
        chosen = Settings("argmax", reference=wanted, reference_strength=strength, background="paint")
        (image,) = colorize(drawing, network, chosen)
        shares.append(float(np.isin(image.labels, (2, 3, 4)).mean()))
    assert shares[0] < 0.5 < 0.65 < shares[1]


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_reported(strength: float) -> None:
    with pytest.raises(UsageError, match="--reference-strength must be 0 to 1; got"):
        Settings(reference_strength=strength)


@pytest.mark.parametrize("strength", ["-1", "2", "much", "nan"])
def test_a_wrong_strength_is_reported(strength: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_main.main(["run=x", f"reference_strength={strength}"]) == 2
    assert f"reference_strength must be a number from 0 to 1; got {strength}\n" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--reference-strength", "--reference_strength"])
def test_the_job_takes_the_strength(flag: str) -> None:
    options = parse_job(["--input", "in", "-o", "out", "--colors", "red", flag, "0.7"])
    assert options.recipe.settings.reference_strength == 0.7
    assert options.beam == []
    assert options.recipe.to_dict()["reference_strength"] == 0.7


def test_evaluation_follows_the_reference_with_the_loss_unchanged(shared_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(shared_dataset))
    config = compose([f"data.root={shared_dataset}", "model.widths=[8,16]", "model.blocks=[0,1]",
                      "model.reference=true"])  # fmt: skip
    net = build_model(config.model, len(dataset.manifest.palette), seed=0)
    batches = list(dataset.eval("val", batch_size=4))
    moved, losses = [], []
    for strength in (0.0, 1.0):
        obedience = measure_obedience(net, dataset.manifest, OWN, batches, True, strength)
        (step,) = make_eval_steps(
            net,
            dataset.manifest,
            True,
            conditions=[EvalCondition(reference=OWN)],
            reference_strength=strength,
        )
        moved.append(obedience.moved)
        losses.append(sum(float(step(*batch).loss) for batch in batches))
    assert moved[0] == pytest.approx(0, abs=1e-6), "untrained, it ignores the reference"
    assert moved[1] > 0.5
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
