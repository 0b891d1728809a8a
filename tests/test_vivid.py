"""Vividness: the logit adjustment, alone, in scores, in exports, and when colouring."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import write_dataset
from helper_commands import run_main, run_module
from helper_networks import PALETTE, write_export
from hypothesis import given
from hypothesis import strategies as st
from linewash.coloring import Settings, cli, colorize, load, read_drawing, to_png
from linewash.coloring_job import cli as job_cli
from linewash.samples.sketches import draw, encode_image, home, on_white
from linewash.serving import app
from PIL import Image
from starlette.testclient import TestClient

from tfrecords_schema import Manifest, unpack_edges
from training.data.dataset import ShardedDataset
from training.errors import UsageError
from training.evaluate import __main__ as evaluate_main
from training.export import __main__ as export_main
from training.export.metadata import ExportMetadata
from training.hydra_config import compose
from training.metrics.logit_adjustment import MAX_TAU, MIN_FREQUENCY, color_frequencies, logit_offset
from training.metrics.losses import to_logits
from training.models import build_model
from training.run.run_info import RunInfo, write_run

# Of `PALETTE`: the last colour is so rare that the highest vividness paints everything with it.
PRIOR = [0.4, 0.2, 0.2, 0.1, 0.0999, 0.0001]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "with_prior", prior=PRIOR)


@pytest.fixture(scope="module")
def house_png() -> bytes:
    return encode_image(on_white(draw(home, 320, 250, 2, seed=1)))


@pytest.fixture
def house(tmp_path: Path, house_png: bytes) -> Path:
    path = tmp_path / "house.png"
    path.write_bytes(house_png)
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run beside its dataset, with an untrained network."""
    folder = tmp_path_factory.mktemp("runs")
    dataset = ShardedDataset.open(str(write_dataset(folder / "dataset", train=12, val=6, shards=1)))
    tiny = ["model.widths=[8,16]", "model.blocks=[0,1]", "model.full_width=4", "trainer.batch_size=4"]
    config = compose([f"data.root={dataset.root}", *tiny])
    net = build_model(config.model, len(dataset.manifest.palette), seed=0)
    (folder / "run/checkpoints").mkdir(parents=True)
    net.save(folder / "run/checkpoints/best.keras")
    write_run(folder / "run", config, dataset, net)
    return folder / "run"


def train_frequencies(run_dir: Path) -> np.ndarray:
    histogram = Manifest.load(run_dir.parent / "dataset").splits["train"].label_histogram
    return np.array(histogram) / sum(histogram)


# ------------------------------------------------------------------------------------------------ formula

HISTOGRAMS = st.lists(st.integers(0, 10**6), min_size=2, max_size=40).filter(any)


@given(HISTOGRAMS, st.floats(0, MAX_TAU))
def test_rare_colours_come_forward(histogram: list[int], tau: float) -> None:
    frequencies = color_frequencies(histogram)
    assert frequencies is not None
    assert sum(frequencies) == pytest.approx(1)
    offset = logit_offset(frequencies, tau)
    assert offset.dtype == np.float32
    assert (offset <= 0).all()
    assert offset.min() >= tau * np.log(MIN_FREQUENCY) - 1e-4
    order = np.argsort(frequencies)
    assert (np.diff(offset[order]) >= 0).all()


@given(HISTOGRAMS, st.integers(0, 100))
def test_without_adjustment_nothing_changes_and_with_1_all_colours_are_equally_common(
    histogram: list[int], seed: int
) -> None:
    histogram = [count + 1000 * sum(histogram) for count in histogram]  # no colour is below the limit
    frequencies = color_frequencies(histogram)
    assert frequencies is not None
    assert not logit_offset(frequencies, 0).any()
    likelihood = np.random.default_rng(seed).random(len(histogram)) + 0.01  # of a drawing, by its colour
    logits = np.log(likelihood * frequencies)  # Bayes' rule
    np.testing.assert_allclose(np.exp(logits - logit_offset(frequencies, 1)), likelihood, rtol=1e-4)


def test_no_pixels_have_no_frequencies() -> None:
    assert color_frequencies([0, 0]) is None


# ---------------------------------------------------------------------------------------------- colouring


def test_colouring_is_vivid(export: Path, house_png: bytes) -> None:
    drawing, network = read_drawing(house_png), load(export)
    shares = []
    for vivid in (0.0, 1.0, MAX_TAU):
        (image,) = colorize(drawing, network, Settings(vivid=vivid, background="paint"))
        shares.append(np.mean(image.labels == len(PALETTE) - 1))
    assert shares[0] < shares[1] <= shares[2] == 1


def test_without_vividness_the_bytes_are_the_same(export: Path, tmp_path: Path, house_png: bytes) -> None:
    drawing = read_drawing(house_png)
    without = load(write_export(tmp_path / "without"))
    assert without.prior is None
    (image,), (same,) = colorize(drawing, load(export), Settings(vivid=0)), colorize(drawing, without)
    assert to_png(image) == to_png(same)
    with pytest.raises(UsageError, match=r"--vivid needs the colour frequencies .* export the run again"):
        colorize(drawing, without, Settings(vivid=0.5))


@pytest.mark.parametrize("vivid", [-0.1, MAX_TAU + 0.1, float("nan")])
def test_a_vividness_out_of_range_is_reported(vivid: float) -> None:
    with pytest.raises(UsageError, match="--vivid must be 0 to 3; got"):
        Settings(vivid=vivid)


def test_the_commands_and_the_page_are_vivid(export: Path, house: Path, tmp_path: Path) -> None:
    rarest = PALETTE.colors[-1]
    flags = ["--run", export, "--background", "paint", "--vivid", MAX_TAU]
    done = run_main(cli.main, house, "-o", tmp_path / "out.png", "--no-lines", *flags)
    assert done.returncode == 0, done.stderr
    job = ["--input", house, "-o", tmp_path / "job", "--no_lines", "--direct_num_workers", 1, *flags]
    done = run_main(job_cli.main, *job)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "out.png", tmp_path / "job/house.png"):
        with Image.open(path) as image:
            assert (np.asarray(image.convert("RGB")) == rarest).all()

    client = TestClient(app.make_app(load(export)), base_url="http://localhost")
    assert client.get("/about").json()["vivid"] is True
    request = {
        "drawing": base64.b64encode(house.read_bytes()).decode(),
        "background": "paint",
    }
    colors = request | {"vivid": MAX_TAU, "show": "colors"}
    data = client.post("/download", content=json.dumps(colors)).content
    (tmp_path / "page.png").write_bytes(data)
    with Image.open(tmp_path / "page.png") as image:
        assert (np.asarray(image.convert("RGB")) == rarest).all()
    assert client.post("/color", content=json.dumps(request | {"vivid": 99})).status_code == 400


def test_commands_report_a_network_without_frequencies(tmp_path: Path, house: Path) -> None:
    flags = ["--run", write_export(tmp_path / "without"), "--vivid", 0.5]
    for done in (
        run_main(cli.main, house, "-o", tmp_path / "out.png", *flags),
        run_main(job_cli.main, "--input", house, "-o", tmp_path / "job", *flags),
    ):
        assert done.returncode == 2
        assert "--vivid needs the colour frequencies" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_run_directory_knows_the_frequencies_while_its_dataset_is_there(
    run_dir: Path, tmp_path: Path, house_png: bytes
) -> None:
    np.testing.assert_allclose(load(run_dir).prior, train_frequencies(run_dir))
    moved = shutil.copytree(run_dir, tmp_path / "run")
    record = json.loads((moved / "run.json").read_text())
    for root in (str(tmp_path / "nowhere"), "gs://bucket/dataset", str(write_dataset(tmp_path / "other"))):
        record["dataset"]["root"] = root
        (moved / "run.json").write_text(json.dumps(record))
        assert RunInfo.read(moved).find_color_frequencies() is None
    with pytest.raises(UsageError, match="--vivid needs the colour frequencies"):
        colorize(read_drawing(house_png), load(moved), Settings(vivid=0.5))


# ------------------------------------------------------------------------------------ scores and exports


def test_scores_are_those_of_the_adjusted_network(run_dir: Path) -> None:
    # In a new process, because Keras numbers the names of operations from 0 in each.
    done = run_module("training.evaluate", f"run={run_dir}", "vivid=1.5")
    assert done.returncode == 0, done.stderr
    assert "vivid      1.5\n" in done.stdout
    report = json.loads((run_dir / "evaluation.json").read_text())
    dataset = ShardedDataset.open(str(run_dir.parent / "dataset"))
    packed, labels, _ = next(iter(dataset.eval("val", 6)))
    drawings = unpack_edges(packed.numpy().tobytes(), 32, 6)[..., None].astype(np.float32)
    net = keras.models.load_model(run_dir / "checkpoints/best.keras", compile=False)
    logits = np.asarray(net(drawings))
    adjusted = logits - logit_offset(train_frequencies(run_dir).tolist(), 1.5)
    expected, plain = (np.mean(scores.argmax(-1) == labels.numpy()) for scores in (adjusted, logits))
    assert expected != pytest.approx(plain, abs=0.01)
    assert report["vivid"] == 1.5
    assert report["scores"]["network"]["accuracy"] == pytest.approx(expected, abs=1e-3)


def test_the_articles_scores_are_adjusted_as_logits() -> None:
    from training.evaluate.evaluation import _adjust_logits

    net = build_model(compose(["data.root=x", "model=article", "model.width=0.005"]).model, 5, seed=0)
    drawing = np.random.default_rng(0).integers(0, 2, (1, 128, 128, 1)).astype(np.float32)
    offset = logit_offset([0.6, 0.1, 0.1, 0.1, 0.1], 2)
    expected = to_logits(net(drawing, training=False), gives_logits=False) - offset
    np.testing.assert_allclose(
        _adjust_logits(net, False, offset)(drawing, training=False), expected, atol=1e-5
    )


@pytest.mark.parametrize("vivid", ["-1", "4", "much", "nan"])
def test_a_wrong_vividness_is_reported(vivid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate_main.main(["run=x", f"vivid={vivid}"]) == 2
    assert f"vivid must be a number from 0 to 3; got {vivid}\n" in capsys.readouterr().err


def test_scores_of_another_dataset_need_that_of_the_training(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(run_dir, tmp_path / "run")
    record = json.loads((moved / "run.json").read_text())
    record["dataset"]["root"] = str(tmp_path / "nowhere")
    (moved / "run.json").write_text(json.dumps(record))
    other = write_dataset(tmp_path / "other", train=4, val=2, shards=1)
    assert evaluate_main.main([f"run={moved}", "vivid=1", f"data.root={other}"]) == 2
    stderr = capsys.readouterr().err
    assert f"{other} is another dataset: type data.root=WHERE" in stderr
    assert stderr.count("\n") == 1


def test_an_export_holds_the_frequencies_and_not_the_scores_of_the_adjusted_network(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_main.main([f"run={run_dir}", "vivid=1.5"]) == 0
    adjusted = json.loads((run_dir / "evaluation.json").read_text())["scores"]["network"]
    assert export_main.main([f"run={run_dir}", f"out={tmp_path / 'export'}", "formats=keras"]) == 0
    metadata = ExportMetadata.load(tmp_path / "export")
    np.testing.assert_allclose(metadata.prior, train_frequencies(run_dir))
    assert metadata.scores["network"]["accuracy"] != pytest.approx(adjusted["accuracy"], abs=0.01)
    assert 'np.maximum(about["prior"], 0.0001)' in (tmp_path / "export/README.md").read_text()

    path = tmp_path / "export/export.json"
    fields = json.loads(path.read_bytes())
    for wrong in (fields["prior"][1:], [*fields["prior"][1:], 0.9], [-0.5, 1.5, *fields["prior"][2:]]):
        path.write_text(json.dumps(fields | {"prior": wrong}))
        with pytest.raises(UsageError, match="prior must have a fraction for each of the 8 colours"):
            ExportMetadata.load(tmp_path / "export")
    del fields["prior"]
    path.write_text(json.dumps(fields))
    assert ExportMetadata.load(tmp_path / "export").prior is None
