"""Runs that begin with the weights of another network: python -m training init=..."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import write_dataset
from helper_commands import run_main
from hypothesis import given, settings
from hypothesis import strategies as st
from linewash.coloring.model_loader import STARTER, load

from tfrecords_schema import Palette
from training.__main__ import main
from training.data.dataset import ShardedDataset
from training.evaluate.evaluation import load_network
from training.hydra_config import compose
from training.metrics.color_spaces import nearest_colors
from training.models import build_model
from training.models.inputs import call
from training.models.transfer import TransferError, transfer_weights

SHORT = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.epochs=1",
    "trainer.steps_per_epoch=2", "trainer.panel_images=1",
]  # fmt: skip
SMALL = {
    "unet": ["model=unet", "model.widths=[8,16,16]", "model.blocks=[0,0,0]"],
    "resunet": ["model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1"],
    "article": ["model=article", "model.width=0.01"],
    "article_logits": ["model=article_logits", "model.width=0.01"],
}


def train(*arguments: object) -> tuple[int, str, str]:
    """Runs python -m training and returns the exit code and what it printed to stdout and stderr."""
    done = run_main(main, *arguments)
    return done.returncode, done.stdout, done.stderr


def build(name: str, palette: Palette, *more: str, seed: int = 0) -> keras.Model:
    """Builds a network whose weights are all random, as those of a trained one."""
    net = build_model(compose(["data.root=x", *SMALL[name], *more]).model, len(palette), seed)
    rng = np.random.default_rng(seed)
    net.set_weights([np.abs(weight + rng.normal(0, 0.1, weight.shape)) for weight in net.get_weights()])
    return net


def drawings(channels: int = 1) -> np.ndarray:
    edges = np.random.default_rng(1).integers(0, 2, (2, 128, 128, 1)).astype(np.float32)
    return np.pad(edges, [(0, 0)] * 3 + [(0, channels - 1)])


@pytest.mark.parametrize("name", SMALL)
def test_a_copy_computes_the_same(name: str) -> None:
    palette = Palette.grid(2)
    source, target = build(name, palette), build(name, palette, seed=1)
    transfer = transfer_weights(source, target, nearest_colors(palette, palette))
    assert np.array_equal(source(drawings()), target(drawings()))
    assert str(transfer) == f"{transfer.copied} layers copied"


@pytest.mark.parametrize("name", SMALL)
def test_a_new_colour_has_the_logits_of_the_nearest_old_one(name: str) -> None:
    old = Palette("old", ((0, 0, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255)))
    new = Palette("new", ((250, 250, 250), (10, 10, 10), (200, 30, 10), (230, 20, 0), (20, 10, 240)))
    nearest = nearest_colors(old, new)
    assert nearest.tolist() == [3, 0, 1, 1, 2]
    source, target = build(name, old), build(name, new, seed=1)
    assert transfer_weights(source, target, nearest).recolored
    if name != "article":  # whose softmax divides by another sum
        np.testing.assert_allclose(
            target(drawings()), np.take(source(drawings()), nearest, -1), rtol=1e-4, atol=1e-4
        )
    assert len(np.unique(target(drawings()))) > 1


@pytest.mark.parametrize("name", ["unet", "resunet"])
def test_hints_and_a_reference_can_be_added_and_dropped(name: str) -> None:
    palette = Palette.grid(2)
    both = ["model.hints=true", "model.reference=true"]
    plain = build(name, palette)
    larger = build_model(compose(["data.root=x", *SMALL[name], *both]).model, len(palette), 1)
    same = np.arange(len(palette))
    transfer = transfer_weights(plain, larger, same)
    assert str(transfer).endswith("layers copied, hints added, reference added")
    np.testing.assert_allclose(call(larger, drawings(5)), plain(drawings()), rtol=1e-4, atol=1e-4)
    random_larger, smaller = build(name, palette, *both, seed=2), build(name, palette, seed=3)
    transfer = transfer_weights(random_larger, smaller, same)
    assert str(transfer).endswith("layers copied, hints dropped, reference dropped")
    np.testing.assert_allclose(smaller(drawings()), call(random_larger, drawings(5)), rtol=1e-4, atol=1e-3)


def test_other_networks_are_refused_and_nothing_is_changed() -> None:
    palette = Palette.grid(2)
    wide = build_model(compose(["data.root=x", *SMALL["unet"], "model.full_width=20"]).model, 8, 0)
    before = wide.get_weights()
    for source, found in ((build("unet", palette), "full_"), (build("resunet", palette), "has a layer")):
        with pytest.raises(TransferError, match=found):
            transfer_weights(source, wide, np.arange(8))
    assert all(np.array_equal(old, new) for old, new in zip(before, wide.get_weights(), strict=True))


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_nearest_colours_of_a_palette_are_its_own(seed: int) -> None:
    rgb = np.unique(np.random.default_rng(seed).integers(0, 256, (20, 3)), axis=0)
    palette = Palette("random", tuple(tuple(map(int, color)) for color in rgb))
    assert nearest_colors(palette, palette).tolist() == list(range(len(rgb)))


# ------------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def first_run(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("first") / "run"
    assert train(f"data.root={shared_dataset}", *SHORT, f"hydra.run.dir={run_dir}")[0] == 0
    return run_dir


# A learning rate of almost nothing, so that the weights stay what they were.
FROZEN = [
    "trainer.epochs=1", "trainer.steps_per_epoch=1", "trainer.batch_size=8", "optimizer.learning_rate=1e-9",
]  # fmt: skip


def kernels(run_dir: Path) -> dict[str, np.ndarray]:
    net = keras.models.load_model(run_dir / "checkpoints/last.keras", compile=False)
    return {weight.path: np.asarray(weight) for weight in net.trainable_variables}


@pytest.mark.parametrize("form", ["directory", "file"])
def test_a_run_begins_with_the_weights_and_the_settings_of_another(
    first_run: Path, shared_dataset: Path, tmp_path: Path, form: str
) -> None:
    source = first_run if form == "directory" else first_run / "checkpoints/best.keras"
    run_dir = tmp_path / "run"
    command = [f"data.root={shared_dataset}", f"init={source}", *FROZEN, f"hydra.run.dir={run_dir}"]
    code, stdout, stderr = train(*command)
    assert code == 0, stderr
    assert "layers copied" in stdout
    run = json.loads((run_dir / "run.json").read_text())
    assert run["config"]["model"]["widths"] == [8, 16]
    path = first_run / "checkpoints/best.keras"
    assert run["start"]["init"] == str(source)
    assert run["start"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    old = keras.models.load_model(path, compile=False)
    expected = {weight.path: np.asarray(weight) for weight in old.trainable_variables}
    for name, value in kernels(run_dir).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_a_run_is_resumed_without_the_network_that_it_began_from(
    first_run: Path, shared_dataset: Path, tmp_path: Path
) -> None:
    source, run_dir = tmp_path / "source.keras", tmp_path / "run"
    shutil.copy(first_run / "checkpoints/best.keras", source)
    model = ["model.full_width=8", "model.widths=[8,16]", "model.blocks=[0,0]"]
    command = [f"data.root={shared_dataset}", *model, *FROZEN, f"hydra.run.dir={run_dir}"]
    code, _, stderr = train(*command, f"init={source}")
    assert code == 0, stderr
    source.unlink()
    code, stdout, stderr = train(f"run={run_dir}", "trainer.epochs=2")
    assert code == 0, stderr
    assert "resumed" in stdout
    assert json.loads((run_dir / "run.json").read_text())["start"]["init"] == str(source)
    code, _, stderr = train(*command, f"init={first_run}")
    assert code == 2
    assert f"began from init={source}, not init={first_run}" in stderr
    for path in (run_dir / "checkpoints").glob("*.npz"):
        path.write_bytes(b"damaged")
    code, _, stderr = train(f"run={run_dir}", "trainer.epochs=3")
    assert code == 2
    assert "has no undamaged checkpoint" in stderr


def test_another_palette_and_hints(first_run: Path, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", num_values=3)
    run_dir = tmp_path / "run"
    command = [f"data.root={dataset}", f"init={first_run}", "experiment=hints", *FROZEN]
    code, stdout, stderr = train(*command, f"hydra.run.dir={run_dir}")
    assert code == 0, stderr
    assert "colours from the nearest ones, hints added" in stdout
    run = json.loads((run_dir / "run.json").read_text())
    assert run["config"]["model"]["hints"]
    assert len(run["palette"]["colors"]) == 27


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (["init="], 2, "init has no value"),
        (["init=a", "init=b"], 2, "init is given twice"),
        (["init=nowhere"], 2, "there is no such file or directory"),
        (["init=."], 2, "holds neither run.json nor export.json"),
        (["init={first}", "model.full_width=20"], 2, "full_"),
        (["init={first}", "model=resunet"], 2, "has a layer"),
        (["init={damaged}", *SHORT], 1, "is damaged"),
    ],
)
def test_mistakes_are_one_sentence(
    first_run: Path, shared_dataset: Path, tmp_path: Path, arguments: list[str], code: int, found: str
) -> None:
    damaged = tmp_path / "damaged.keras"
    damaged.write_bytes(b"no network")
    typed = [argument.format(first=first_run, damaged=damaged) for argument in arguments]
    run_dir = tmp_path / "run"
    result, _, stderr = train(f"data.root={shared_dataset}", *typed, f"hydra.run.dir={run_dir}")
    assert result == code, stderr
    assert stderr.strip().count("\n") == 0
    assert found in stderr
    assert not run_dir.exists() or not (run_dir / "run.json").exists()


def test_a_run_begins_with_the_starter(tmp_path: Path) -> None:
    """Its Keras file, which is small, gives what its ONNX file gives."""
    network = load(STARTER)
    assert (STARTER / "model.keras").stat().st_size <= 5_000_000
    dataset = write_dataset(tmp_path / "dataset")
    run_dir = tmp_path / "run"
    code, stdout, stderr = train(f"data.root={dataset}", "init=starter", *FROZEN, f"hydra.run.dir={run_dir}")
    assert code == 0, stderr
    assert "layers copied, colours from the nearest ones" in stdout
    run = json.loads((run_dir / "run.json").read_text())
    assert run["config"]["model"]["hints"]
    net = load_network(STARTER / "model.keras", network.palette)
    edges, none = drawings(5), np.zeros((2, len(network.palette)), np.float32)
    logits = net({"drawing": edges, "reference": none[: len(edges)]})
    np.testing.assert_allclose(logits, network.predict(edges), atol=2e-3)


def test_a_bare_file_must_have_as_many_colours(first_run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.keras"
    shutil.copy(first_run / "checkpoints/best.keras", bare)
    dataset = write_dataset(tmp_path / "dataset", num_values=3)
    run_dir = tmp_path / "run"
    code, _, stderr = train(f"data.root={dataset}", f"init={bare}", *SHORT, f"hydra.run.dir={run_dir}")
    assert code == 2
    assert "the network has 8 colours, the dataset has 27" in stderr


def test_a_run_that_begins_with_weights_is_better_after_the_same_steps(
    shared_dataset: Path, tmp_path: Path
) -> None:
    from training.loop.train import train as train_run

    dataset = ShardedDataset.open(str(shared_dataset))
    common = [
        f"data.root={shared_dataset}", *SMALL["unet"], "augment=none", "trainer.batch_size=8",
        "trainer.panel_images=1",
    ]  # fmt: skip
    train_run(compose([*common, "trainer.epochs=4"]), dataset, tmp_path / "first")
    losses = {}
    for name, more in (("nothing", []), ("weights", [f"init={tmp_path / 'first'}"])):
        run_dir = tmp_path / name
        code, _, stderr = train(*common, *more, "trainer.epochs=1", f"hydra.run.dir={run_dir}")
        assert code == 0, stderr
        rows = (run_dir / "history.csv").read_text().splitlines()
        losses[name] = float(dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))["val_loss"])
    assert losses["weights"] < losses["nothing"]
