"""Which line style an example shows in training, and which augmentation goes with it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_dataset
from helper_commands import run_module
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.dataset import ShardedDataset, draw_styles
from training.errors import UsageError
from training.hydra_config import compose, from_run
from training.line_styles import judged_style, style_probabilities

train = partial(run_module, "training")
STYLES = ("canny", "xdog", "drawn")
SHORT = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.epochs=1",
    "trainer.steps_per_epoch=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def styles_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("styles") / "dataset", lines=STYLES)


def shown(weights: dict[str, float] | None, count: int, seed: int = 0, epoch: int = 1) -> np.ndarray:
    """Returns which of the three styles each of `count` examples shows."""
    edges = np.broadcast_to(np.arange(3, dtype=np.uint8)[None, :, None], (count, 3, 2))
    probabilities = style_probabilities(weights, STYLES)
    drawn = draw_styles(tf.constant(edges), tf.range(count), probabilities, seed, epoch)
    assert drawn.shape == (count, 2)
    return drawn.numpy()[:, 0]


@given(weights=st.lists(st.sampled_from([0, 0.5, 1, 3]), min_size=3, max_size=3).filter(any))
@settings(max_examples=20)
def test_styles_are_shown_by_their_weights(weights: list[float]) -> None:
    fractions = np.bincount(shown(dict(zip(STYLES, weights, strict=True)), 2000), minlength=3) / 2000
    expected = np.array(weights) / sum(weights)
    np.testing.assert_allclose(fractions, expected, atol=0.05)
    assert not fractions[expected == 0].any()


def test_styles_without_a_weight_are_not_shown() -> None:
    assert set(shown({"drawn": 2}, 50)) == {2}
    assert set(shown({"canny": 1, "drawn": 1}, 50)) == {0, 2}
    assert set(shown(None, 100)) == {0, 1, 2}


def test_the_style_is_a_function_of_seed_epoch_and_example() -> None:
    assert np.array_equal(shown(None, 100), shown(None, 100))
    assert np.array_equal(shown(None, 100)[:10], shown(None, 10))
    assert not np.array_equal(shown(None, 100), shown(None, 100, epoch=2))
    assert not np.array_equal(shown(None, 100), shown(None, 100, seed=2))


def test_a_dataset_shows_the_styles_that_have_weights(styles_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(styles_dataset))
    maps = {}
    for style in STYLES:
        batches = list(dataset.eval("train", 16, style))
        maps[style] = {
            key: edges.tobytes()
            for batch in batches
            for key, edges in zip(batch.ids.numpy(), batch.edges.numpy(), strict=True)
        }
    batch = next(iter(dataset.train(32, lines={"xdog": 1, "drawn": 1})))
    found = {
        style
        for key, edges in zip(batch.ids.numpy(), batch.edges.numpy(), strict=True)
        for style in STYLES
        if maps[style][key] == edges.tobytes()
    }
    assert found == {"xdog", "drawn"}
    with pytest.raises(UsageError, match="no line style sobel, only canny, xdog, drawn"):
        dataset.train(32, lines={"sobel": 1})


def test_networks_are_judged_by_drawings_where_there_are_some(styles_dataset: Path) -> None:
    assert judged_style(("canny", "xdog")) == "canny"
    dataset = ShardedDataset.open(str(styles_dataset))
    default, drawn = (next(iter(dataset.eval("val", 8, style))) for style in (None, "drawn"))
    assert np.array_equal(default.edges, drawn.edges)


# ------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("value", ["[canny,xdog:0.5]", "[drawn:3]", "null", "[canny:.5,drawn:1.]"])
def test_weights_are_read(value: str) -> None:
    expected = {
        "[canny,xdog:0.5]": {"canny": 1, "xdog": 0.5},
        "[drawn:3]": {"drawn": 3},
        "null": {},
        "[canny:.5,drawn:1.]": {"canny": 0.5, "drawn": 1},
    }
    assert compose(["data.root=x", f"augment.lines={value}"]).augment.line_weights == expected[value]


@pytest.mark.parametrize(
    "value", ["[]", "[drawn:0]", "[drawn:-1]", "[drawn:x]", "[a,a]", "drawn", "{drawn:3}"]
)
def test_wrong_weights_give_one_sentence(value: str) -> None:
    with pytest.raises(UsageError) as error:
        compose(["data.root=x", f"augment.lines={value}"])
    assert "augment.lines" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_dataset_must_have_the_styles(styles_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(styles_dataset))
    config = compose([f"data.root={styles_dataset}", "augment.lines=[sobel,canny]", *SHORT])
    with pytest.raises(UsageError, match=r"augment\.lines: the dataset has no line style sobel, only canny"):
        config.check_fits(dataset.manifest)


def test_drawings_are_augmented_as_by_hand_unless_another_way_is_chosen() -> None:
    hands = compose(["data.root=x", "augment=hands"]).augment
    flip = compose(["data.root=x", "augment=flip"]).augment
    assert compose(["data.root=x"], STYLES).augment == hands
    assert compose(["data.root=x"], ("canny",)).augment == flip
    assert compose(["data.root=x", "augment=flip"], STYLES).augment == flip
    assert compose(["data.root=x", "augment.gaps=0.3"], STYLES).augment.gaps == 0.3
    assert compose(["data.root=x", "augment.gaps=0.3"], STYLES).augment.jitter == hands.jitter
    starter = compose(["data.root=x", "experiment=starter"])
    assert compose(["data.root=x", "experiment=starter"], STYLES).augment == starter.augment


def test_a_run_on_drawings_says_how_it_augments_and_resumes_so(styles_dataset: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    command = [f"data.root={styles_dataset}", *SHORT, f"hydra.run.dir={run_dir}"]
    done = train(*command)
    assert done.returncode == 0, done.stderr
    assert "augment    hands, because the dataset has drawings" in done.stdout
    saved = json.loads((run_dir / "run.json").read_text())["config"]["augment"]
    assert saved["jitter"] == compose(["data.root=x", "augment=hands"]).augment.jitter
    assert from_run(run_dir, []).augment.jitter == saved["jitter"]
    again = train(*command)
    assert again.returncode == 0, again.stderr
    assert "complete" in again.stdout
