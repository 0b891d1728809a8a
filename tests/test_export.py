"""python -m training.export as its user meets it: real files, opened by each format's own runtime."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import msgspec
import numpy as np
import pytest
from conftest import draw_example, write_dataset
from PIL import Image

import tfrecords_schema as schema
from training.data.dataset import ShardedDataset
from training.errors import UsageError, WorkError
from training.export.__main__ import chosen_formats, main
from training.export.metadata import FORMATS, ExportMetadata
from training.hydra_config import compose
from training.models import build_model
from training.models.predict import predict_labels
from training.run.run_info import write_run

ROOT = Path(__file__).resolve().parent.parent
PALETTE = schema.Palette.grid(2)
TINY = ["model.widths=[8,16]", "model.blocks=[0,1]", "model.full_width=4"]
NETWORKS = {
    "unet": TINY,
    "hints": [*TINY, "model.hints=true"],
    "mixed": [*TINY, "trainer.precision=mixed_bfloat16"],
    "mixed_hints": [*TINY, "trainer.precision=mixed_bfloat16", "model.hints=true"],
    "resunet": ["model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1"],
    "article": ["model=article", "model.width=0.005"],
    "article_logits": ["model=article_logits", "model.width=0.005"],
}


def make_run(directory: Path, dataset: Path, *overrides: str) -> Path:
    """The directory of a run whose network has learnt nothing, but whose weights are no longer the first."""
    config, opened = compose([f"data.root={dataset}", *overrides]), ShardedDataset.open(str(dataset))
    net = build_model(config.model, len(opened.manifest.palette), seed=0, precision=config.trainer.precision)
    rng = np.random.default_rng(0)
    for variable in net.variables:
        value = variable.numpy()
        # Zeros and ones would hide that two weights were exchanged; variances stay above zero.
        if len(value.shape) == 1 or not value.any():
            variable.assign(np.abs(value + rng.normal(0, 0.2, value.shape)) + 0.01)
    write_run(directory / "run.json", config, opened, net)
    (directory / "checkpoints").mkdir()
    for name in ("best", "last"):
        net.save(directory / f"checkpoints/{name}.keras")
    return directory


@pytest.fixture(scope="module")
def run_dir(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, not yet exported."""
    return make_run(tmp_path_factory.mktemp("runs") / "run", shared_dataset, *NETWORKS["unet"])


@pytest.fixture(scope="module")
def export_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats of it."""
    out = tmp_path_factory.mktemp("exports") / "export"
    assert main([f"run={run_dir}", f"out={out}"]) == 0
    return out


def in_fresh_process(program: str, directory: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=directory, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# -------------------------------------------------------------------------------------- what it leaves


def test_a_table_a_card_and_what_programs_read(
    run_dir: Path, export_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in export_dir.iterdir()) == sorted(
        [*FORMATS.values(), "README.md", "export.json", "palette.png", "panel.png"]
    )
    exported = ExportMetadata.load(export_dir)
    assert exported.files == FORMATS
    assert (exported.model, exported.image_size, exported.stride) == ("unet", 32, 4)
    assert (exported.hints, exported.channels, exported.palette) == (False, 1, PALETTE)
    run = json.loads((run_dir / "run.json").read_text())
    assert exported.dataset_fingerprint == run["dataset"]["fingerprint"]
    # Judged on the way, since it had not been before.
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    assert exported.scores == evaluation["scores"]
    assert set(exported.scores) >= {"network", "commonest colour"}

    card = (export_dir / "README.md").read_text()
    assert "| `model.widths` | `[8, 16]` | `[16, 48, 96, 128, 160]` |" in card
    assert "7 `#808080`" in card
    assert f"| network | {exported.scores['network']['loss']:.3f} |" in card
    for name in FORMATS:
        assert re.search(rf"\| `{name}` \| [\d.]+ \| [\d.e+-]+ \| [\d.]+% \| [\d.]+ \|", card)
    for name in ("palette.png", "panel.png"):
        assert f"({name})" in card
        with Image.open(export_dir / name) as picture:
            assert min(picture.size) > 30


def test_some_formats_of_the_last_network_say_so(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = [f"run={run_dir}", f"out={tmp_path / 'empty'}", "formats=onnx,keras", "checkpoint=last"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["format", "keras", "onnx", "look"]
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert ExportMetadata.load(tmp_path / "empty").files == {"keras": "model.keras", "onnx": "model.onnx"}
    assert not (tmp_path / "empty/saved_model").exists()
    assert "from `last.keras`" in (tmp_path / "empty/README.md").read_text()


def test_the_dataset_may_be_gone(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation*"))
    record = json.loads((run / "run.json").read_text())
    record["dataset"]["root"] = str(tmp_path / "moved")
    (run / "run.json").write_text(json.dumps(record))
    Image.new("RGB", (40, 40)).save(run / "panel.png")
    assert main([f"run={run}", "formats=keras"]) == 0
    note = capsys.readouterr().out.splitlines()[0]
    assert f"no longer at {tmp_path / 'moved'}: type data.root=WHERE" in note
    exported = ExportMetadata.load(run / "export")
    assert (exported.recipe, exported.scores) == ({}, {})
    card = (run / "export/README.md").read_text()
    assert "None: it was not judged" in card
    assert "as the network was when its training ended" in card

    other = write_dataset(tmp_path / "other", train=3, val=0, shards=1)
    words = [f"run={run}", f"out={tmp_path / 'out'}", f"data.root={other}"]
    assert main(words) == 2
    assert "is another dataset" in capsys.readouterr().err


# --------------------------------------------------------------------------- each format, where it is used

# An own finder, so that not even a package that wants TensorFlow could have it.
WITHOUT = """
import sys
class Barred:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {barred}:
            raise ImportError(name + " is barred")
sys.meta_path.insert(0, Barred())
"""
OURS = ("training", "tfrecords_schema", "preprocess")
WITH_TENSORFLOW = ("keras", "saved_model")


# Each program in a fork of its own; TensorFlow is imported once, before those that may have it.
FORK_EACH = """
import json, os, sys
for name, program in json.loads(sys.argv[1]).items():
    if name == "keras":
        import tensorflow, keras
    if not os.fork():
        os.chdir(name)
        exec(compile(program, name, "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


@pytest.fixture(scope="module")
def colored(export_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, Path]:
    """Edges [1, 32, 57], and a folder where each format's program of the card has coloured them.

    They ran without our code and, where the format's runtime is not it, without TensorFlow.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    edges = np.concatenate([draw_example(seed, 32, PALETTE)[0] for seed in (3, 4)], axis=1)[:, :57]
    blocks = re.findall(r"```python\n(.*?)```", (export_dir / "README.md").read_text(), re.DOTALL)
    before, *uses, after = blocks
    programs = {}
    for name, use in sorted(zip(FORMATS, uses, strict=True), key=lambda pair: pair[0] in WITH_TENSORFLOW):
        barred = OURS + (() if name in WITH_TENSORFLOW else ("tensorflow", "keras"))
        programs[name] = WITHOUT.format(barred=barred) + before + use + after
        (folder / name).mkdir()
        for file in (FORMATS[name], "export.json"):
            source = export_dir / file
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name / file)
        Image.fromarray((255 * (1 - edges)).astype(np.uint8)).save(folder / name / "drawing.png")
    in_fresh_process(FORK_EACH, folder, json.dumps(programs))
    return edges[None], folder


@pytest.mark.parametrize("name", FORMATS)
def test_the_card_s_own_program_colours_a_drawing(
    name: str, run_dir: Path, colored: tuple[np.ndarray, Path]
) -> None:
    edges, folder = colored
    net = keras.models.load_model(run_dir / "checkpoints/best.keras", compile=False)
    (expected,) = PALETTE.to_rgb(predict_labels(net, edges, 4))
    with Image.open(folder / name / "colored.png") as picture:
        assert (np.asarray(picture) == expected).all(-1).mean() >= 0.999


def test_export_json_is_read_without_tensorflow(export_dir: Path) -> None:
    program = WITHOUT.format(barred=("tensorflow", "keras", "hydra", "PIL", "onnxruntime")) + (
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import training\nfrom training.export.metadata import Exported\n"
        "exported = Exported.load('.')\n"
        "assert exported.file('.', 'onnx').name == 'model.onnx' and len(exported.palette) == 8\n"
    )
    in_fresh_process(program, export_dir)


def test_onnx_is_open_in_batch_height_and_width(export_dir: Path) -> None:
    import onnx

    model = onnx.load(export_dir / "model.onnx")
    for value, channels in ((model.graph.input[0], 1), (model.graph.output[0], 8)):
        axes = value.type.tensor_type.shape.dim
        assert [axis.dim_param for axis in axes[:3]] == ["batch", "height", "width"]
        assert axes[3].dim_value == channels
    # One to bring the drawing in, one to bring the logits out, and none between.
    assert sum(node.op_type == "Transpose" for node in model.graph.node) <= 2


# ------------------------------------------------------------------------------------- every network

STRIDES = {"resunet": 2, "article": 128, "article_logits": 128}


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind == "mixed_hints" else pytest.param(kind, marks=pytest.mark.slow)
        for kind in list(NETWORKS)[1:]
    ],
)
def test_every_network_says_the_same_in_every_format(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = max(32, STRIDES.get(kind, 0))
    dataset = write_dataset(tmp_path / "dataset", train=4, val=2, shards=1, size=size)
    run = make_run(tmp_path / "run", dataset, *NETWORKS[kind])
    # Judging is tested elsewhere, and takes longer than exporting.
    (dataset / "val/val-00000-of-00001.tfrecord").rename(tmp_path / "away")
    assert main([f"run={run}"]) == 0, capsys.readouterr().err
    exported = ExportMetadata.load(run / "export")
    assert set(exported.files) == set(FORMATS)
    assert exported.hints == ("hints" in kind)
    net = keras.models.load_model(run / "export/model.keras", compile=False)
    assert {layer.dtype_policy.name for layer in net.layers} == {"float32"}
    assert net.input.name == "drawing"


def test_the_article_s_scores_become_the_logits_it_was_trained_on() -> None:
    from training.export.portable import inference_copy, portable_copy
    from training.metrics.losses import to_logits

    net = build_model(compose(["data.root=x", *NETWORKS["article"]]).model, 5, seed=0)
    copy = inference_copy(net, gives_logits=False)
    drawing = np.random.default_rng(0).integers(0, 2, (1, 128, 256, 1)).astype(np.float32)
    expected = to_logits(net(drawing, training=False), gives_logits=False)
    np.testing.assert_allclose(copy(drawing, training=False), expected, atol=1e-5)
    np.testing.assert_allclose(portable_copy(copy)(drawing, training=False), expected, atol=1e-5)


# ------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "run is missing: type run=RUN_DIR"),
        (["run=nowhere"], "run=nowhere: there is no such directory"),
        (["run=tests"], "run=tests: holds no run.json"),
        (["rnu=x"], "there is no setting rnu: did you mean run?"),
        (["runs/one"], "cannot read runs/one: type run=RUN_DIR"),
        (["run=x", "out="], "out has no value: type out=VALUE"),
        (["run=x", "run=y"], "run is given twice: run=x and run=y"),
        (["run=x", "checkpoint=first"], "checkpoint must be one of best, last; got first"),
        (["run=x", "formats=onxn"], "there is no format onxn: did you mean onnx? formats can be keras, "),
        (["run=x", "formats=tflite"], "there is no format tflite: did you mean litert?"),
        (["run=x", "formats=keras,,onnx"], "there is no format : formats can be"),
        (["run=x", "formats=jpeg"], "there is no format jpeg: formats can be keras, saved_model, onnx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_slips_get_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(words) == 2
    complained = capsys.readouterr().err
    assert complained.startswith("python -m training.export: ")
    assert sentence in complained
    assert complained.count("\n") == 1


def complaint(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> str:
    assert main(list(words)) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_nothing_is_written_over(
    run_dir: Path, export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(export_dir.rglob("*"))
    said = complaint(capsys, 2, f"run={run_dir}", f"out={export_dir}")
    assert f"out={export_dir} is already there: remove it, or type out=ANOTHER" in said
    assert sorted(export_dir.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    assert "is already there" in complaint(capsys, 2, f"run={run_dir}", f"out={tmp_path / 'file'}")
    assert "could not be" in complaint(capsys, 1, f"run={run_dir}", f"out={tmp_path / 'file/out'}")


def test_a_network_that_is_damaged_or_missing_leaves_nothing(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(run_dir, tmp_path / "run")
    network = run / "checkpoints/best.keras"
    network.write_bytes(network.read_bytes()[:1000])
    assert "best.keras is damaged" in complaint(capsys, 1, f"run={run}")
    network.unlink()
    assert "best.keras is missing" in complaint(capsys, 2, f"run={run}")
    (run / "run.json").write_text("{}")
    assert "run.json is not what python -m training writes" in complaint(capsys, 2, f"run={run}")
    assert not [path for path in run.iterdir() if "export" in path.name]


@pytest.mark.parametrize("wrong", ["difference", "nan"])
def test_a_format_that_says_something_else_leaves_nothing(
    wrong: str,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from training.export import parity

    def opened(path: Path) -> parity.Runner:
        # As if a colour had been forgotten; or nothing had come out at all.
        runner = parity._open_keras(path)
        spoil = {"difference": np.eye(8)[0], "nan": np.nan}[wrong]
        return lambda drawings: runner(drawings) + 0.1 * spoil

    monkeypatch.setitem(parity.OPEN, "keras", opened)
    out = tmp_path / "exports/export"
    said = complaint(capsys, 1, f"run={run_dir}", f"out={out}", "formats=keras")
    assert "keras does not say what Keras says: probabilities differ by up to" in said
    assert list(out.parent.iterdir()) == []


def test_what_stops_it_leaves_nothing(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.export import formats

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "model.onnx")

    monkeypatch.setattr(formats, "_write_onnx", fail)
    words = (f"run={run_dir}", f"out={tmp_path / 'export'}", "formats=onnx")
    assert "model.onnx could not be read or written: No space left" in complaint(capsys, 1, *words)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "_write_onnx", interrupt)
    assert main(list(words)) == 130

    def break_down(*_: object) -> None:
        raise RuntimeError("an op without a name\nand a page of text")

    monkeypatch.setattr(formats, "_write_onnx", break_down)
    said = complaint(capsys, 1, *words)
    assert "onnx could not be made of this network (RuntimeError: an op without a name)" in said
    assert "leave it out with formats=keras,saved_model,litert" in said
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.export import __main__

    monkeypatch.setitem(__main__.NEEDS, "onnx", ("no_such_package", "onnx"))
    with pytest.raises(WorkError, match=r"onnx needs no_such_package: .* -m pip install .*\[export\]"):
        chosen_formats(None)
    assert chosen_formats("saved_model,keras") == ["keras", "saved_model"]


def test_slips_and_help_do_not_wait_for_tensorflow() -> None:
    program = (
        "import sys\nfrom training.export import main\n"
        "assert main(['run=/nowhere']) == 2 and main(['--help']) == 0\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    in_fresh_process(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + program, ROOT)


def test_what_export_json_may_not_be(export_dir: Path, tmp_path: Path) -> None:
    text = (export_dir / "export.json").read_bytes()
    assert ExportMetadata.load(export_dir).to_json() == text

    def refuses(content: bytes, sentence: str) -> None:
        (tmp_path / "export.json").write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            ExportMetadata.load(tmp_path)

    with pytest.raises(UsageError, match=r"holds no export\.json; type python -m training\.export"):
        ExportMetadata.load(tmp_path)
    with pytest.raises(UsageError, match="there is no such directory"):
        ExportMetadata.load(tmp_path / "nowhere")
    fields = json.loads(text)
    refuses(text[:100], r"is not what python -m training\.export writes")
    refuses(b"[]", r"is not what python -m training\.export writes")
    refuses(b"\xff", r"is not what python -m training\.export writes")
    refuses(
        msgspec.json.encode(fields | {"format_version": 2}), "format version 2, but this linewash reads 1"
    )
    refuses(msgspec.json.encode(fields | {"stride": "8"}), "stride")
    refuses(msgspec.json.encode(fields | {"stride": 0}), "from 1 to 8192, got 32 and 0")
    refuses(
        msgspec.json.encode(fields | {"files": {"onnx": "../../model.onnx"}}), "names within the directory"
    )
    fields["palette"]["colors"] = [[0, 0, 0], [0, 0, 300]]
    refuses(msgspec.json.encode(fields), "three numbers from 0 to 255")

    exported = ExportMetadata.load(export_dir)
    with pytest.raises(UsageError, match=r"model\.onnx is missing"):
        exported.file(tmp_path, "onnx")
    with pytest.raises(UsageError, match="holds no torch, only keras, saved_model, onnx, litert"):
        exported.file(export_dir, "torch")


def test_a_killed_export_is_cleared_away_by_training_and_by_the_next_export(tmp_path: Path) -> None:
    from training.atomic_files import atomic_directory, remove_unfinished

    half = tmp_path / ".writing.export/saved_model"
    half.mkdir(parents=True)
    (half / ".writing.x").write_text("half")
    with atomic_directory(tmp_path / "export") as directory:
        assert list(directory.iterdir()) == []
        (directory / "model.onnx").write_text("whole")
    assert [path.name for path in tmp_path.rglob("*")] == ["export", "model.onnx"]
    half.mkdir(parents=True)
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
