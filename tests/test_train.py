"""Whole runs on a tiny dataset: they learn, they are deterministic, and they write all their files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import TinyDataset
from PIL import Image

from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.errors import UsageError, WorkError
from training.hydra_config import compose
from training.loop.distribution import Replicas
from training.loop.train import Summary, evaluate, train
from training.metrics.baselines import Baselines

# A step of this network takes milliseconds.
SMALL = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.steps_per_epoch=null",
    "optimizer=adamw",
]  # fmt: skip


def configure(root: Path, *overrides: str) -> TrainConfig:
    return compose([f"data.root={root}", *SMALL, *overrides])


def run(root: Path, run_dir: Path, *overrides: str) -> Summary:
    return train(configure(root, *overrides), ShardedDataset.open(str(root)), run_dir)


def weights(net: keras.Model) -> list[np.ndarray]:
    return net.get_weights()


@pytest.fixture(scope="module")
def finished(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """A run of four epochs of twelve steps for the tests below."""
    overrides = ["trainer.epochs=4", "trainer.batch_size=4", "optimizer.learning_rate=0.02"]
    return run(shared_dataset, tmp_path_factory.mktemp("run"), *overrides)


def test_beats_the_baselines(finished: Summary) -> None:
    assert finished.best is not None
    assert finished.best.val is not None
    assert finished.best.val.accuracy > finished.baselines.accuracy + 0.2
    assert finished.best.val.loss < finished.baselines.loss - 0.3


def test_writes_all_its_files(finished: Summary) -> None:
    files = (path for path in finished.run_dir.rglob("*") if path.is_file())
    names = {str(path.relative_to(finished.run_dir)) for path in files}
    events = {name for name in names if name.startswith("tensorboard/")}
    assert names - events == {
        "run.json", "history.csv", "curves.png", "panel.png",
        "checkpoints/last.keras", "checkpoints/best.keras",
        "checkpoints/step-00000036.npz", "checkpoints/step-00000048.npz",
    }  # fmt: skip
    assert {name.split("/")[1] for name in events} == {"train", "val"}


def test_tensorboard_shows_the_settings(finished: Summary) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(finished.run_dir / "tensorboard/val")).Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hparams = HParamsPluginData.FromString(content).session_start_info.hparams
    assert hparams["optimizer.learning_rate"].number_value == 0.02
    assert hparams["model.name"].string_value == "unet"
    assert hparams["trainer.jit_compile"].bool_value is False


def test_history_has_a_row_per_epoch(finished: Summary) -> None:
    with (finished.run_dir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 5))
    assert [int(row["step"]) for row in rows] == [12 * number for number in range(1, 5)]
    assert float(rows[-1]["val_accuracy"]) == finished.history[-1].val.accuracy  # type: ignore[union-attr]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


def test_run_json_describes_the_run(finished: Summary, shared_dataset: Path) -> None:
    run_json = json.loads((finished.run_dir / "run.json").read_text())
    manifest = ShardedDataset.open(str(shared_dataset)).manifest
    assert run_json["dataset"]["fingerprint"] == manifest.dataset_fingerprint
    assert run_json["config"]["trainer"]["epochs"] == 4
    assert run_json["image_size"] == 32
    assert run_json["palette"]["colors"] == [list(color) for color in manifest.palette.colors]
    assert run_json["model"]["stride"] == 4
    assert set(run_json["versions"]) == {"linewash", "python", "tensorflow", "keras"}


def test_panel_and_curves_are_images(finished: Summary) -> None:
    for name in ("panel.png", "curves.png"):
        with Image.open(finished.run_dir / name) as image:
            assert image.mode in ("RGB", "RGBA")
            assert min(image.size) > 300


def test_checkpoints_hold_the_weights(finished: Summary) -> None:
    last = keras.models.load_model(finished.run_dir / "checkpoints/last.keras", compile=False)
    for saved, expected in zip(weights(last), weights(finished.net), strict=True):
        assert np.array_equal(saved, expected)


def test_a_run_is_deterministic_to_the_bit(shared_dataset: Path, tmp_path: Path) -> None:
    overrides = ["trainer.seed=7", "optimizer=muon"]
    first, second = (run(shared_dataset, tmp_path / name, *overrides) for name in ("first", "second"))
    for weight, same_weight in zip(weights(first.net), weights(second.net), strict=True):
        assert np.array_equal(weight, same_weight)
    assert [epoch.train for epoch in first.history] == [epoch.train for epoch in second.history]


def test_the_directory_of_another_run_is_refused(finished: Summary, shared_dataset: Path) -> None:
    before = (finished.run_dir / "run.json").read_bytes()
    with pytest.raises(UsageError, match=r"learning_rate=0.02 \(now 0.003\): type hydra.run.dir=ANOTHER"):
        run(shared_dataset, finished.run_dir, "trainer.epochs=4", "trainer.batch_size=4")
    assert (finished.run_dir / "run.json").read_bytes() == before


def test_validation_covers_every_example(shared_dataset: Path) -> None:
    from training.loop.step import CompiledModel
    from training.models import build_model

    dataset = ShardedDataset.open(str(shared_dataset))
    scores = []
    for batch_size in (3, 8, 16):
        config = configure(shared_dataset, f"trainer.batch_size={batch_size}")
        net = build_model(config.model, colors=8, seed=0)
        model = CompiledModel.create(net, dataset.manifest, config, Replicas.create("one"))
        scores.append(evaluate(model, dataset, "val", batch_size))
    for score, value in vars(scores[0]).items():
        assert value == pytest.approx(getattr(scores[1], score), rel=1e-6)
        assert value == pytest.approx(getattr(scores[2], score), rel=1e-6)


def test_without_a_validation_split(
    tiny_dataset: TinyDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = run(tiny_dataset(val=0), tmp_path / "run")
    assert all(epoch.val is None for epoch in summary.history)
    assert "no validation split" in capsys.readouterr().out
    assert (tmp_path / "run/panel.png").exists()
    with (tmp_path / "run/history.csv").open() as file:
        assert {row["val_loss"] for row in csv.DictReader(file)} == {""}


def test_prints_whether_the_baselines_are_beaten(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shared_dataset, tmp_path, "optimizer.learning_rate=1e-9", "trainer.epochs=1")
    stdout = capsys.readouterr().out
    manifest = ShardedDataset.open(str(shared_dataset)).manifest
    baselines = Baselines.from_histogram(manifest.splits["val"].label_histogram, manifest.palette)
    assert f"accuracy {baselines.accuracy:.3f}" in stdout.split("epoch   1")[0]
    assert f"loss {baselines.loss:.3f}" in stdout.split("epoch   1")[0]
    assert "NOT beaten" in stdout


def test_minutes_end_a_run_within_an_epoch(shared_dataset: Path, tmp_path: Path) -> None:
    summary = run(shared_dataset, tmp_path, "trainer.epochs=null", "trainer.max_minutes=0.0001")
    assert len(summary.history) == 1
    assert 1 <= summary.history[0].step < 6
    assert (tmp_path / "checkpoints/best.keras").exists()


def test_a_loss_that_is_not_finite_is_reported_in_a_sentence(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.loop import step
    from training.loop import train as train_module

    monkeypatch.setattr(train_module, "SECONDS_BETWEEN_LOSSES", np.inf)  # compiling may take longer
    monkeypatch.setattr(step, "cross_entropy", lambda logits, labels: logits[0, 0, 0, 0] * np.nan)
    with pytest.raises(WorkError, match="the loss is nan at step 6: try a lower learning rate than"):
        run(shared_dataset, tmp_path)
