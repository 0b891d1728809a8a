"""python -m training.export: real files, opened in the runtime of each format."""

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
from training.export.__main__ import main, parse_formats
from training.export.metadata import FORMATS, ExportMetadata
from training.hydra_config import compose
from training.models import build_model
from training.models.inputs import call
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
    "reference": [*TINY, "model.reference=true"],
    "mixed_hints_reference": [
        *TINY, "trainer.precision=mixed_bfloat16", "model.hints=true", "model.reference=true",
    ],
    "resunet": ["model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1"],
    "resunet_reference": [
        "model=resunet", "model.widths=[8,16]", "model.blocks=1", "model.attention=1", "model.reference=true",
    ],
    "article": ["model=article", "model.width=0.005"],
    "article_logits": ["model=article_logits", "model.width=0.005"],
}  # fmt: skip


def make_run(directory: Path, dataset: Path, *overrides: str) -> Path:
    """Writes a run whose network is untrained, but has random weights instead of the initial ones."""
    config, opened = compose([f"data.root={dataset}", *overrides]), ShardedDataset.open(str(dataset))
    net = build_model(config.model, len(opened.manifest.palette), seed=0, precision=config.trainer.precision)
    rng = np.random.default_rng(0)
    for variable in net.variables:
        value = variable.numpy()
        # Zeros and ones would not reveal swapped weights. Variances stay above zero.
        if len(value.shape) == 1 or not value.any():
            variable.assign(np.abs(value + rng.normal(0, 0.2, value.shape)) + 0.01)
    write_run(directory, config, opened, net)
    (directory / "checkpoints").mkdir()
    for name in ("best", "last"):
        net.save(directory / f"checkpoints/{name}.keras")
    return directory


@pytest.fixture(scope="module")
def run_dir(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is not exported yet."""
    return make_run(tmp_path_factory.mktemp("runs") / "run", shared_dataset, *NETWORKS["unet"])


@pytest.fixture(scope="module")
def export_dir(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of the run in all formats."""
    out = tmp_path_factory.mktemp("exports") / "export"
    assert main([f"run={run_dir}", f"out={out}"]) == 0
    return out


@pytest.fixture(scope="module")
def reference_run(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network takes a reference, exported in all formats."""
    run = make_run(tmp_path_factory.mktemp("runs") / "reference", shared_dataset, *NETWORKS["reference"])
    assert main([f"run={run}"]) == 0
    return run


def in_fresh_process(program: str, directory: Path, *argv: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], cwd=directory, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------------- files, card and table


def test_files_card_and_metadata(run_dir: Path, export_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(path.name for path in export_dir.iterdir()) == sorted(
        [*FORMATS.values(), "README.md", "export.json", "palette.png", "panel.png"]
    )
    metadata = ExportMetadata.load(export_dir)
    assert metadata.files == FORMATS
    assert (metadata.model, metadata.image_size, metadata.stride) == ("unet", 32, 4)
    assert (metadata.hints, metadata.channels, metadata.palette) == (False, 1, PALETTE)
    run = json.loads((run_dir / "run.json").read_text())
    assert metadata.dataset_fingerprint == run["dataset"]["fingerprint"]
    # The export evaluates a network that was not evaluated before.
    evaluation = json.loads((run_dir / "evaluation.json").read_text())
    assert metadata.scores == evaluation["scores"]
    assert set(metadata.scores) >= {"network", "commonest colour"}

    card = (export_dir / "README.md").read_text()
    assert "| `model.widths` | `[8, 16]` | `[16, 48, 96, 128, 160]` |" in card
    assert "7 `#808080`" in card
    assert f"| network | {metadata.scores['network']['loss']:.3f} |" in card
    for name in FORMATS:
        assert re.search(rf"\| `{name}` \| [\d.]+ \| [\d.e+-]+ \| [\d.]+% \| [\d.]+ \|", card)
    for name in ("palette.png", "panel.png"):
        assert f"({name})" in card
        with Image.open(export_dir / name) as picture:
            assert min(picture.size) > 30


def test_some_formats_of_the_last_checkpoint(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "about.md").write_text("## Data\n\nMine, drawn in Ålesund.\n")
    argv = [f"run={run_dir}", f"out={tmp_path / 'empty'}", "formats=onnx,keras", "checkpoint=last"]
    assert main([*argv, f"about={tmp_path / 'about.md'}"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["format", "keras", "onnx", "written"]
    assert max(map(len, out.splitlines()[:-1])) <= 80
    assert ExportMetadata.load(tmp_path / "empty").files == {"keras": "model.keras", "onnx": "model.onnx"}
    assert not (tmp_path / "empty/saved_model").exists()
    card = (tmp_path / "empty/README.md").read_text()
    assert "checkpoint `last.keras`" in card
    assert card.index("\n## Data\n\nMine, drawn in Ålesund.\n") < card.index("\n## Palette\n")


def test_export_without_the_dataset(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(run_dir, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation*"))
    record = json.loads((run / "run.json").read_text())
    record["dataset"]["root"] = str(tmp_path / "moved")
    (run / "run.json").write_text(json.dumps(record))
    Image.new("RGB", (40, 40)).save(run / "panel.png")
    assert main([f"run={run}", "formats=keras"]) == 0
    note = capsys.readouterr().out.splitlines()[0]
    assert f"no longer at {tmp_path / 'moved'}: type data.root=WHERE" in note
    metadata = ExportMetadata.load(run / "export")
    assert (metadata.recipe, metadata.scores) == ({}, {})
    card = (run / "export/README.md").read_text()
    assert "was not evaluated" in card
    assert "at the end of the training" in card

    other = write_dataset(tmp_path / "other", train=3, val=0, shards=1)
    argv = [f"run={run}", f"out={tmp_path / 'out'}", f"data.root={other}"]
    assert main(argv) == 2
    assert "is another dataset" in capsys.readouterr().err


# ------------------------------------------------------------------- each format in its own runtime

# A finder that refuses packages, also for packages that would import them.
WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
"""
OURS = ("training", "tfrecords_schema", "preprocess")
WITH_TENSORFLOW = ("keras", "saved_model")


# Runs each program in its own fork; TensorFlow is imported once, before the programs that may use it.
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
def edges() -> np.ndarray:
    """A drawing of 32 × 57 px."""
    return np.concatenate([draw_example(seed, 32, PALETTE)[0] for seed in (3, 4)], axis=1)[:, :57]


@pytest.fixture(scope="module")
def colored(export_dir: Path, edges: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_card(export_dir, edges, tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def colored_by_reference(
    reference_run: Path, edges: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return run_card(reference_run / "export", edges, tmp_path_factory.mktemp("elsewhere"))


def run_card(export_dir: Path, edges: np.ndarray, folder: Path) -> Path:
    """Runs the program of the card for each format, and returns the folder with a subfolder of results each.

    The programs run without linewash, and without TensorFlow where the runtime is another one.
    """
    blocks = re.findall(r"```python\n(.*?)```", (export_dir / "README.md").read_text(), re.DOTALL)
    uses, after = blocks[-len(FORMATS) - 1 : -1], blocks[-1]
    before = "".join(blocks[: -len(FORMATS) - 1])
    programs = {}
    for name, use in sorted(zip(FORMATS, uses, strict=True), key=lambda pair: pair[0] in WITH_TENSORFLOW):
        blocked = OURS + (() if name in WITH_TENSORFLOW else ("tensorflow", "keras"))
        programs[name] = WITHOUT.format(blocked=blocked) + before + use + after
        (folder / name).mkdir()
        for file in (FORMATS[name], "export.json"):
            source = export_dir / file
            (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name / file)
        Image.fromarray((255 * (1 - edges)).astype(np.uint8)).save(folder / name / "drawing.png")
    in_fresh_process(FORK_EACH, folder, json.dumps(programs))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_the_program_on_the_card_colours_a_drawing(
    name: str, run_dir: Path, edges: np.ndarray, colored: Path
) -> None:
    net = keras.models.load_model(run_dir / "checkpoints/best.keras", compile=False)
    (expected,) = PALETTE.to_rgb(predict_labels(net, edges[None], 4))
    assert_equal_picture(colored / name / "colored.png", expected)


@pytest.mark.parametrize("name", FORMATS)
def test_the_program_on_the_card_colours_a_drawing_by_a_reference(
    name: str, reference_run: Path, edges: np.ndarray, colored_by_reference: Path
) -> None:
    net = keras.models.load_model(reference_run / "checkpoints/best.keras", compile=False)
    reference = np.zeros((1, len(PALETTE)), np.float32)
    reference[0, [0, -1]] = 0.25, 0.75  # as on the card
    (expected,) = PALETTE.to_rgb(predict_labels(net, edges[None], 4, reference))
    (without,) = PALETTE.to_rgb(predict_labels(net, edges[None], 4))
    assert (expected != without).any(-1).mean() > 0.01
    assert_equal_picture(colored_by_reference / name / "colored.png", expected)


def assert_equal_picture(path: Path, expected: np.ndarray) -> None:
    with Image.open(path) as picture:
        assert (np.asarray(picture) == expected).all(-1).mean() >= 0.999


def test_export_json_is_read_without_tensorflow(export_dir: Path) -> None:
    program = WITHOUT.format(blocked=("tensorflow", "keras", "hydra", "PIL", "onnxruntime")) + (
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "import training\nfrom training.export.metadata import ExportMetadata\n"
        "metadata = ExportMetadata.load('.')\n"
        "assert metadata.file('.', 'onnx').name == 'model.onnx' and len(metadata.palette) == 8\n"
    )
    in_fresh_process(program, export_dir)


def test_onnx_accepts_any_batch_height_and_width(export_dir: Path) -> None:
    import onnx

    model = onnx.load(export_dir / "model.onnx")
    for value, channels in ((model.graph.input[0], 1), (model.graph.output[0], 8)):
        axes = value.type.tensor_type.shape.dim
        assert [axis.dim_param for axis in axes[:3]] == ["batch", "height", "width"]
        assert axes[3].dim_value == channels
    # One for the input and one for the output, and none in between.
    assert sum(node.op_type == "Transpose" for node in model.graph.node) <= 2


def test_an_export_with_a_reference_says_so_and_names_its_inputs(
    reference_run: Path, export_dir: Path
) -> None:
    import onnx

    exported = reference_run / "export"
    metadata = ExportMetadata.load(exported)
    assert (metadata.reference, metadata.hints, metadata.channels) == (True, False, 1)
    # Programs that know version 1 only could not use it.
    assert (metadata.format_version, ExportMetadata.load(export_dir).format_version) == (2, 1)
    model = onnx.load(exported / "model.onnx")
    axes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.input}
    assert set(axes) == {"drawing", "reference"}
    assert [axis.dim_param for axis in axes["drawing"]] == ["batch", "height", "width", ""]
    assert (axes["reference"][0].dim_param, axes["reference"][1].dim_value) == ("batch", len(PALETTE))
    card = (exported / "README.md").read_text()
    assert "Input `reference`, float32 [batch, 8]: how much of each colour is wanted" in card
    assert "reference" not in (export_dir / "README.md").read_text()


def test_copies_of_a_network_with_a_reference_compute_the_same(reference_run: Path) -> None:
    from training.export.portable import inference_copy, portable_copy

    net = keras.models.load_model(reference_run / "checkpoints/best.keras", compile=False)
    copy = inference_copy(net, gives_logits=True)
    portable = portable_copy(copy)
    rng = np.random.default_rng(0)
    drawing = rng.integers(0, 2, (2, 32, 64, 1)).astype(np.float32)
    for reference in (None, rng.dirichlet(np.ones(8), 2).astype(np.float32)):
        expected = call(net, drawing, reference)
        for other in (copy, portable):
            assert [tensor.name for tensor in other.inputs] == ["drawing", "reference"]
            np.testing.assert_allclose(call(other, drawing, reference), expected, atol=1e-4)


def test_parity_is_measured_with_and_without_a_reference() -> None:
    from training.export import parity

    drawings = parity.test_drawings(parity.scribbles(32), 4, PALETTE, hints=False)
    batches = parity.with_references(drawings, 8)
    assert len(batches) == 2 * len(drawings)
    for without, given in zip(batches[::2], batches[1::2], strict=True):
        assert not without["reference"].any()
        np.testing.assert_allclose(given["reference"].sum(1), 1, atol=1e-6)
    assert [set(batch) for batch in parity.with_references(drawings, 0)] == [{"drawing"}] * len(drawings)


@pytest.mark.parametrize(
    ("channels", "second", "accepted"),
    [
        (1, (8,), True),
        (5, (8,), True),
        (1, (7,), False),
        (1, (None,), False),
        (1, (1, 1, 8), False),
        (8, (8,), False),
    ],
)
def test_archives_of_networks_with_a_reference_are_checked(
    channels: int, second: tuple[int | None, ...], accepted: bool, tmp_path: Path
) -> None:
    from training.evaluate.keras_archive import ArchiveError, check_archive

    drawing, reference = keras.Input((None, None, channels)), keras.Input(second)
    offset = keras.ops.mean(reference, axis=-1, keepdims=True)
    while len(offset.shape) < 4:
        offset = keras.ops.expand_dims(offset, 1)
    net = keras.Model([drawing, reference], keras.layers.Dense(8)(drawing) + offset)
    net.save(tmp_path / "net.keras")
    if accepted:
        check_archive(tmp_path / "net.keras")
        return
    with pytest.raises(ArchiveError, match=r"its network maps \(None.* and \(None.* to .*, not a drawing"):
        check_archive(tmp_path / "net.keras")


# ------------------------------------------------------------------------------------- every network

STRIDES = {"resunet": 2, "article": 128, "article_logits": 128}


@pytest.mark.parametrize(
    "kind",
    [
        kind if kind == "mixed_hints" else pytest.param(kind, marks=pytest.mark.slow)
        for kind in NETWORKS
        if kind not in ("unet", "reference")  # exported above
    ],
)
def test_every_network_agrees_with_keras_in_every_format(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = max(32, STRIDES.get(kind, 0))
    dataset = write_dataset(tmp_path / "dataset", train=4, val=2, shards=1, size=size)
    run = make_run(tmp_path / "run", dataset, *NETWORKS[kind])
    # Without the dataset, so that nothing is evaluated, which would take longer than the export.
    (dataset / "val/val-00000-of-00001.tfrecord").rename(tmp_path / "away")
    assert main([f"run={run}"]) == 0, capsys.readouterr().err
    metadata = ExportMetadata.load(run / "export")
    assert set(metadata.files) == set(FORMATS)
    assert (metadata.hints, metadata.reference) == ("hints" in kind, "reference" in kind)
    net = keras.models.load_model(run / "export/model.keras", compile=False)
    assert {layer.dtype_policy.name for layer in net.layers} == {"float32"}
    assert [tensor.name for tensor in net.inputs] == ["drawing", "reference"][: 1 + metadata.reference]


def test_scores_of_the_article_become_logits() -> None:
    from training.export.portable import inference_copy, portable_copy
    from training.metrics.losses import to_logits

    net = build_model(compose(["data.root=x", *NETWORKS["article"]]).model, 5, seed=0)
    copy = inference_copy(net, gives_logits=False)
    drawing = np.random.default_rng(0).integers(0, 2, (1, 128, 256, 1)).astype(np.float32)
    expected = to_logits(net(drawing, training=False), gives_logits=False)
    np.testing.assert_allclose(copy(drawing, training=False), expected, atol=1e-5)
    np.testing.assert_allclose(portable_copy(copy)(drawing, training=False), expected, atol=1e-5)


# -------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("argv", "sentence"),
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
def test_wrong_arguments_give_one_sentence(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(argv) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("python -m training.export: ")
    assert sentence in stderr
    assert stderr.count("\n") == 1


def error_of(capsys: pytest.CaptureFixture[str], code: int, *argv: str) -> str:
    assert main(list(argv)) == code
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    return stderr


def test_existing_files_are_not_overwritten(
    run_dir: Path, export_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(export_dir.rglob("*"))
    stderr = error_of(capsys, 2, f"run={run_dir}", f"out={export_dir}")
    assert f"out={export_dir} already exists: remove it, or type out=ANOTHER" in stderr
    argv = [f"run={run_dir}", f"out={tmp_path / 'new'}", f"about={tmp_path / 'none.md'}"]
    assert "none.md cannot be read (No such file or directory)" in error_of(capsys, 2, *argv)
    assert sorted(export_dir.rglob("*")) == before
    (tmp_path / "file").write_text("mine")
    assert "already exists" in error_of(capsys, 2, f"run={run_dir}", f"out={tmp_path / 'file'}")
    assert "could not be" in error_of(capsys, 1, f"run={run_dir}", f"out={tmp_path / 'file/out'}")


def test_damaged_and_missing_networks_leave_no_files(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(run_dir, tmp_path / "run")
    network = run / "checkpoints/best.keras"
    network.write_bytes(network.read_bytes()[:1000])
    assert "best.keras is damaged" in error_of(capsys, 1, f"run={run}")
    network.unlink()
    assert "best.keras is missing" in error_of(capsys, 2, f"run={run}")
    (run / "run.json").write_text("{}")
    assert "run.json is not what python -m training writes" in error_of(capsys, 2, f"run={run}")
    assert not [path for path in run.iterdir() if "export" in path.name]


@pytest.mark.parametrize("wrong", ["difference", "nan"])
def test_a_format_that_differs_from_keras_leaves_no_files(
    wrong: str,
    run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from training.export import parity

    def opened(path: Path) -> parity.Runner:
        # One logit is wrong, or all are NaN.
        runner = parity._open_keras(path)
        error = {"difference": np.eye(8)[0], "nan": np.nan}[wrong]
        return lambda inputs: runner(inputs) + 0.1 * error

    monkeypatch.setitem(parity.OPENERS, "keras", opened)
    out = tmp_path / "exports/export"
    stderr = error_of(capsys, 1, f"run={run_dir}", f"out={out}", "formats=keras")
    assert "the keras export differs from Keras: probabilities by up to" in stderr
    assert list(out.parent.iterdir()) == []


def test_errors_and_interrupts_leave_no_files(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.export import formats

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "model.onnx")

    monkeypatch.setattr(formats, "_write_onnx", fail)
    argv = (f"run={run_dir}", f"out={tmp_path / 'export'}", "formats=onnx")
    assert "model.onnx could not be read or written: No space left" in error_of(capsys, 1, *argv)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(formats, "_write_onnx", interrupt)
    assert main(list(argv)) == 130

    def break_down(*_: object) -> None:
        raise RuntimeError("an op without a name\nand a page of text")

    monkeypatch.setattr(formats, "_write_onnx", break_down)
    stderr = error_of(capsys, 1, *argv)
    assert "could not be converted to onnx (RuntimeError: an op without a name)" in stderr
    assert "type formats=keras,saved_model,litert" in stderr
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.export import __main__

    monkeypatch.setitem(__main__.NEEDS, "onnx", ("no_such_package", "onnx"))
    with pytest.raises(WorkError, match=r"onnx needs no_such_package: .* -m pip install .*\[export\]"):
        parse_formats(None)
    assert parse_formats("saved_model,keras") == ["keras", "saved_model"]


def test_help_and_wrong_arguments_do_not_start_tensorflow() -> None:
    program = (
        "import sys\nfrom training.export.__main__ import main\n"
        "assert main(['run=/nowhere']) == 2 and main(['--help']) == 0\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    in_fresh_process(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + program, ROOT)


def test_invalid_export_json_is_refused(export_dir: Path, tmp_path: Path) -> None:
    text = (export_dir / "export.json").read_bytes()
    assert ExportMetadata.load(export_dir).to_json() == text

    def refuses(content: bytes, sentence: str) -> None:
        (tmp_path / "export.json").write_bytes(content)
        with pytest.raises(UsageError, match=sentence):
            ExportMetadata.load(tmp_path)

    with pytest.raises(
        UsageError, match=r"holds no export\.json; make an export with python -m training\.export"
    ):
        ExportMetadata.load(tmp_path)
    with pytest.raises(UsageError, match="there is no such directory"):
        ExportMetadata.load(tmp_path / "nowhere")
    fields = json.loads(text)
    refuses(text[:100], r"is not what python -m training\.export writes")
    refuses(b"[]", r"is not what python -m training\.export writes")
    refuses(b"\xff", r"is not what python -m training\.export writes")
    refuses(
        msgspec.json.encode(fields | {"format_version": 3}),
        "format version 3, but this linewash reads versions 1 and 2",
    )
    refuses(
        msgspec.json.encode(fields | {"reference": True}), "a network with a reference has format_version 2"
    )
    refuses(msgspec.json.encode(fields | {"stride": "8"}), "stride")
    refuses(msgspec.json.encode(fields | {"stride": 0}), "from 1 to 8192, got 32 and 0")
    refuses(
        msgspec.json.encode(fields | {"files": {"onnx": "../../model.onnx"}}),
        "file names without directories",
    )
    fields["palette"]["colors"] = [[0, 0, 0], [0, 0, 300]]
    refuses(msgspec.json.encode(fields), "three numbers from 0 to 255")

    metadata = ExportMetadata.load(export_dir)
    with pytest.raises(UsageError, match=r"model\.onnx is missing"):
        metadata.file(tmp_path, "onnx")
    with pytest.raises(UsageError, match="holds no torch, only keras, saved_model, onnx, litert"):
        metadata.file(export_dir, "torch")


def test_exports_of_version_1_are_read(export_dir: Path, tmp_path: Path) -> None:
    fields = json.loads((export_dir / "export.json").read_bytes())
    del fields["reference"]
    (tmp_path / "export.json").write_bytes(msgspec.json.encode(fields))
    assert ExportMetadata.load(tmp_path).reference is False


def test_files_of_a_killed_export_are_removed_by_training_and_by_the_next_export(tmp_path: Path) -> None:
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
