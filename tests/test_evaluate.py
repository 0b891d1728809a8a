"""python -m training.evaluate on a short training run: table, files and error messages."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import write_dataset
from helper_commands import run_module
from PIL import Image

import tfrecords_schema as schema
from training.data.dataset import ShardedDataset
from training.evaluate.__main__ import main
from training.evaluate.keras_archive import ArchiveError, check_archive
from training.hydra_config import compose
from training.metrics.earth_mover import earth_movers_distance

ROOT = Path(__file__).resolve().parent.parent
RGB_WEIGHTS = np.array([2**16, 2**8, 1])  # turn a colour into one number
SMALL = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]", "trainer.epochs=1", "loss=rebalanced",
    "trainer.batch_size=6",  # the last batch of 16 is smaller
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a short run."""
    from training.loop.train import train

    run_dir = tmp_path_factory.mktemp("evaluated") / "run"
    train(compose([f"data.root={shared_dataset}", *SMALL]), ShardedDataset.open(str(shared_dataset)), run_dir)
    return run_dir


evaluate = partial(run_module, "training.evaluate")


def test_table_and_files(finished: Path, shared_dataset: Path) -> None:
    done = evaluate(f"run={finished}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = done.stdout.split("\n\n", 1)[1].split("written ")[0]
    assert max(map(len, table.splitlines())) <= 80
    for name in ("network", "commonest colour", "position prior", "best constant picture", "1 px", "4 px"):
        assert f"\n{name} " in "\n" + table

    report = json.loads((finished / "evaluation.json").read_text())
    with (finished / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    for score in ("loss", "accuracy", "balanced_accuracy", "top3_accuracy", "delta_e"):
        assert report["scores"]["network"][score] == pytest.approx(float(row[f"val_{score}"]), rel=1e-5)
    assert report["line_widths"]["1"] == report["scores"]["network"]
    assert report["line_widths"]["4"] != report["line_widths"]["1"]
    assert report["differences"] == []

    histogram = ShardedDataset.open(str(shared_dataset)).manifest.splits["val"].label_histogram
    assert [color["pixels"] for color in report["colors"]] == histogram
    assert report["scores"]["commonest colour"]["accuracy"] == max(histogram) / sum(histogram)
    best, prior = report["scores"]["best constant picture"], report["scores"]["position prior"]
    assert best["loss"] < prior["loss"]
    assert best["accuracy"] >= prior["accuracy"]
    for name in ("evaluation.png", "confusion.png"):
        with Image.open(finished / name) as picture:
            assert min(picture.size) > 300


def test_another_dataset_and_the_last_checkpoint(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_dataset(tmp_path / "other", train=3, val=0, shards=1, size=64)
    argv = [f"run={finished}", f"data.root={other}", "split=train", "checkpoint=last"]
    assert main(argv) == 0
    stdout = capsys.readouterr().out
    assert "images of 64 px; the network was trained on 32 px" in stdout
    assert "another dataset" in stdout
    assert "last.keras" in stdout
    assert "3 train examples" in stdout


def test_a_line_style_is_chosen_by_name(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    styles = ("canny", "xdog")
    dataset = write_dataset(tmp_path / "styles", lines=styles)
    argv, losses = [f"run={finished}", f"data.root={dataset}"], {}
    for style in (None, *styles):
        assert main([*argv, *([f"lines={style}"] if style else [])]) == 0
        stdout = capsys.readouterr().out
        assert f"16 val examples, lines {style or 'canny'}\n" in stdout
        report = json.loads((finished / "evaluation.json").read_text())
        assert report["lines"] == style or "canny"
        losses[style] = report["scores"]["network"]["loss"]
        by_style = {name: row["loss"] for name, row in report["line_styles"].items()}
        assert list(by_style) == list(styles)
        assert by_style[style or "canny"] == losses[style]
        assert "\nnetwork, by line style " in stdout
    assert losses[None] == losses["canny"] != losses["xdog"]
    assert main([*argv, "lines=sobel"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert "lines=sobel: " in stderr
    assert "canny, xdog" in stderr


def test_a_network_with_hints_and_a_reference_is_evaluated_with_both(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.loop.train import train

    settings = [f"data.root={shared_dataset}", *SMALL, "model.hints=true", "experiment=reference"]
    settings.remove("experiment=smoke")
    train(compose(settings), ShardedDataset.open(str(shared_dataset)), tmp_path)
    capsys.readouterr()
    assert main([f"run={tmp_path}"]) == 0
    table = capsys.readouterr().out
    assert max(map(len, table.split("written ")[0].split("\n\n", 1)[1].splitlines())) <= 80
    report = json.loads((tmp_path / "evaluation.json").read_text())
    references = report["references"]
    assert list(references) == ["none", "own", "4 colours", "wrong"]
    assert references["none"] == report["scores"]["network"]
    for name in ("own", "4 colours", "wrong"):
        assert f"\n{name} " in table
        assert 0 < references[name]["distance"] < 1
        expected = 1 - references[name]["distance"] / references[name]["distance_without"]
        assert references[name]["moved"] == pytest.approx(expected)
    both = report["hints_and_own_reference"]
    assert list(both) == list(report["hints"]) == ["0", "1", "4", "16", "64"]
    assert both["0"]["loss"] == references["own"]["loss"]
    assert both["16"]["loss"] != report["hints"]["16"]["loss"]


def test_the_earth_movers_distance_is_that_between_colours() -> None:
    rgb = np.array([[0, 0, 0], [255, 255, 255], [128, 128, 128]], np.uint8)
    black, white = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert earth_movers_distance(black, black, rgb) == pytest.approx(0, abs=1e-9)
    assert earth_movers_distance(black, white, rgb) == pytest.approx(1, abs=1e-6)
    assert earth_movers_distance(black, (black + white) / 2, rgb) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize(
    ("inputs", "accepted"),
    [([(None, None, 1)], True), ([(None, None, 5), (6,)], True), ([(None, None, 1), (7,)], False),
     ([(None, None, 3)], False), ([(6,)], False)],
)  # fmt: skip
def test_only_networks_for_drawings_are_opened(
    tmp_path: Path, inputs: list[tuple[int | None, ...]], accepted: bool
) -> None:
    tensors = [keras.Input(shape) for shape in inputs]
    pixels = keras.layers.Dense(6)(tensors[0])
    outputs = (
        keras.layers.Add()([pixels, *map(keras.layers.Dense(6), tensors[1:])]) if tensors[1:] else pixels
    )
    keras.Model(tensors, outputs).save(tmp_path / "net.keras")
    with nullcontext() if accepted else pytest.raises(ArchiveError, match="not a drawing to colours"):
        check_archive(tmp_path / "net.keras")


def test_baselines_too_large_for_memory_are_skipped(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.evaluate import evaluation

    monkeypatch.setattr(evaluation, "MAX_TABLE_SIZE", 1)
    assert main([f"run={finished}"]) == 0
    stdout = capsys.readouterr().out
    assert "skipped    position prior, best constant picture" in stdout
    assert "commonest colour " in stdout


def with_run_json(run: Path, tmp_path: Path, text: str) -> Path:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/run.json").write_text(text)
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "run is missing: type run=RUN_DIR"),
        (["run=nowhere"], "run=nowhere: there is no such directory"),
        (["run=tests"], "run=tests: holds no run.json"),
        (["rnu=x"], "there is no setting rnu: did you mean run?"),
        (["run=x", "data_root=y"], "did you mean data.root?"),
        (["run="], "run has no value: type run=VALUE"),
        (["runs/one"], "cannot read runs/one: type run=RUN_DIR"),
        (["run=x", "run=y"], "run is given twice: run=x and run=y"),
        (["run=x", "split=test"], "split must be one of val, train; got test"),
        (["run=x", "checkpoint=first"], "checkpoint must be one of best, last; got first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_give_one_sentence(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(argv) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("python -m training.evaluate: ")
    assert sentence in stderr
    assert stderr.count("\n") == 1


def test_datasets_that_do_not_fit_the_run(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error_of(code: int, *argv: str, run: Path = finished) -> str:
        assert main([f"run={run}", *argv]) == code
        stderr = capsys.readouterr().err
        assert stderr.count("\n") == 1
        return stderr

    colors = write_dataset(tmp_path / "colors", num_values=3)
    assert "its palette is grid:3 with 27 colours, but the network was trained on grid:2 with 8" in error_of(
        2, f"data.root={colors}"
    )
    odd = write_dataset(tmp_path / "odd", train=2, val=0, shards=1)
    assert f"split=val: {odd} has no examples in this split; type split=train" in error_of(
        2, f"data.root={odd}"
    )
    assert "there is no such directory" in error_of(2, "data.root=nowhere")

    record = json.loads((finished / "run.json").read_text())
    record["dataset"]["root"] = "moved"
    run = with_run_json(finished, tmp_path, json.dumps(record))
    assert "the dataset is no longer at moved: type data.root=WHERE" in error_of(2, run=run)
    record["model"]["stride"] = 48
    (run / "run.json").write_text(json.dumps(record))
    assert "takes multiples of 48 px, but these images are 32 px" in error_of(2, f"data.root={odd}", run=run)
    (run / "run.json").write_text('{"config": {}}')
    assert (
        "run.json is not what python -m training writes (Object missing required field `dataset`)"
        in error_of(2, run=run)
    )


def test_damaged_and_missing_networks(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    network = tmp_path / "run/checkpoints/best.keras"
    network.write_bytes(network.read_bytes()[:1000])
    assert main([f"run={tmp_path / 'run'}"]) == 1
    assert "best.keras is damaged" in capsys.readouterr().err
    net = keras.models.load_model(tmp_path / "run/checkpoints/last.keras", compile=False)
    net.set_weights([weight * np.nan for weight in net.get_weights()])
    net.save(network)
    assert main([f"run={tmp_path / 'run'}"]) == 1
    assert "best.keras: its loss is nan: train again" in capsys.readouterr().err
    network.unlink()
    assert main([f"run={tmp_path / 'run'}"]) == 2
    assert "best.keras is missing" in capsys.readouterr().err


def test_help_and_wrong_arguments_do_not_start_tensorflow() -> None:
    program = (
        "import sys\nfrom training.evaluate.__main__ import main\n"
        "assert main(['run=/nowhere']) == 2 and main(['--help']) == 0\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "run=RUN_DIR" in done.stdout


@pytest.mark.parametrize("num_values", [2, 3, 6])
def test_confusion_matrix_of_small_and_large_palettes(tmp_path: Path, num_values: int) -> None:
    from training.evaluate.confusion_plot import write_confusion

    palette = schema.Palette.grid(num_values)
    confusion = np.random.default_rng(0).integers(0, 100, (len(palette),) * 2)
    confusion[1] = confusion[:, 1] = 0
    write_confusion(tmp_path / "confusion.png", confusion, palette)
    with Image.open(tmp_path / "confusion.png") as picture:
        pixels, counts = np.unique(np.asarray(picture.convert("RGB")) @ RGB_WEIGHTS, return_counts=True)
    drawn = set(pixels[counts > 100])
    swatches = {color for color in palette.colors if np.array(color) @ RGB_WEIGHTS in drawn}
    # Up to 64 colours that occur have a swatch on each axis.
    assert len(swatches - {palette.colors[1]}) == min(64, len(palette) - 1)
