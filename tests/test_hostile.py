"""Nothing crashes, hangs, fills the memory, unpickles or runs what a file of somebody else's holds."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import fuzz
import helper_hostile
import numpy as np
import pytest
from helper_commands import ROOT, run_main, training_main
from hypothesis import given, settings
from hypothesis import strategies as st

from training.loop.checkpoint_file import DamagedCheckpointError, read_state

# TensorFlow reads the shards with threads of its own: in a process that can be ended, and nowhere else.
HERE = [name for name in fuzz.TARGETS if name != "shard"]
ALL = [*HERE, pytest.param("shard", marks=pytest.mark.slow)]
# A hang is more than 5 s of a machine that has nothing else to do; a busy one may take its time.
PATIENCE = 6 * fuzz.SECONDS


@pytest.mark.parametrize("target", ALL)
def test_what_is_kept_is_refused_quickly_and_in_little_memory(target: str, tmp_path: Path) -> None:
    for name, data in helper_hostile.large(target).items():
        (tmp_path / name).write_bytes(data)
    paths = [*fuzz.corpus(target), *tmp_path.iterdir()]
    done = subprocess.run(
        [sys.executable, "scripts/fuzz.py", target, "--replay", *map(str, paths)],
        cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) == len(paths)
    for row in rows:
        assert row["seconds"] < PATIENCE, row
        assert row["megabytes"] < fuzz.MEGABYTES, row


@st.composite
def mutated(draw: st.DrawFn, sound: bytes) -> bytes:
    """A sound file with flipped bits, an end that is missing, or a piece of itself elsewhere."""
    data = bytearray(sound)
    place = st.integers(0, len(data) - 1)
    for at, bit in draw(st.lists(st.tuples(place, st.integers(0, 7)), max_size=6)):
        data[at] ^= 1 << bit
    if draw(st.booleans()):
        start, length, to = draw(place), draw(st.integers(0, 64)), draw(place)
        data[to : to + draw(st.integers(0, 64))] = sound[start : start + length]
    return bytes(data[: draw(place)] if draw(st.booleans()) else data)


@pytest.mark.parametrize("target", HERE)
@settings(max_examples=30)
@given(st.data())
def test_sound_files_that_were_damaged_are_read_or_refused(target: str, data: st.DataObject) -> None:
    sound = data.draw(st.sampled_from(sorted(helper_hostile.SOUND[target].values())))
    fuzz.TARGETS[target](data.draw(mutated(sound)))


# ------------------------------------------------------------------------------------- what would run code


class Touch:
    """Pickled, it makes a file when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_is_no_state(tmp_path: Path) -> None:
    path, canary = tmp_path / "1.state", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises(DamagedCheckpointError):
        read_state(path)
    assert not canary.exists()


def layer(kind: str, config: dict, **more: object) -> dict:
    """How a .keras archive says that it holds a layer."""
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None} | more


def evil_networks(canary: Path) -> dict[str, dict]:
    """Configs of archives that make the canary, if whoever opens them lets them."""
    import base64
    import marshal

    code = compile(f"lambda x: __import__('os').system('touch {canary}') or x", "evil", "eval")
    body = next(constant for constant in code.co_consts if hasattr(constant, "co_code"))
    marshalled = base64.b64encode(marshal.dumps(body)).decode()
    function = {
        "class_name": "__lambda__",
        "config": {"code": marshalled, "defaults": None, "closure": None},
    }
    system = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    drawing = layer("InputLayer", {"batch_shape": [None, 8, 8, 1], "dtype": "float32", "name": "a"})

    def sequence(*layers: dict) -> dict:
        return layer("Sequential", {"name": "evil", "layers": [drawing, *layers]}, module="keras")

    return {
        "lambda": sequence(layer("Lambda", {"name": "b", "function": function})),
        "function": sequence(layer("Lambda", {"name": "b", "function": system})),
        "module": layer("system", {"command": f"touch {canary}"}, module="os"),
        "exec": layer("exec", {"source": f"open('{canary}', 'w')"}, module="builtins"),
        "command": layer("run", {"args": ["touch", str(canary)]}, module="subprocess", registered_name="run"),
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run without a network."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    content = helper_hostile.plain_run()
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    return tmp_path / "run"


def write_network(run_dir: Path, config: dict, packed: bool = False, **more: bytes) -> Path:
    """Puts it where the best network of a run lies; `more` are members of the archive."""
    path = run_dir / "checkpoints/best.keras"
    members = {
        "metadata.json": json.dumps({"keras_version": "3.12.0", "date_saved": ""}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": b"",
    } | more
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def dense(units: int, channels: int = 1, sides: tuple[int, ...] = (8, 8)) -> dict:
    """The config of a network of one layer."""
    given = {"batch_shape": [None, *sides, channels], "dtype": "float32", "name": "a"}
    layers = [layer("InputLayer", given), layer("Dense", {"units": units, "name": "b"})]
    return layer("Sequential", {"name": "net", "layers": layers}, module="keras")


def pickled(canary: Path) -> bytes:
    """Weights as NumPy would unpickle them."""
    file = io.BytesIO()
    np.savez(file, w=np.array([Touch(canary)], object))
    return file.getvalue()


def evil_archives(canary: Path) -> dict[str, dict]:
    """What `write_network` takes besides the run: what runs code, and what points out of the archive."""
    up = os.path.relpath(canary, tempfile.gettempdir())
    members = {
        "pickle": {"model.weights.npz": pickled(canary)},
        "upwards": {f"assets/../../{up}": b"x"},
        "absolute": {str(canary): b"x"},
    }
    found = {kind: {"config": config} for kind, config in evil_networks(canary).items()}
    return found | {kind: {"config": dense(2), **more} for kind, more in members.items()}


@pytest.mark.parametrize("kind", list(evil_archives(Path("x"))))
def test_a_network_that_holds_code_is_refused(kind: str, run_dir: Path, tmp_path: Path) -> None:
    from linewash.coloring.model_loader import load

    from training.errors import WorkError
    from training.evaluate.evaluation import load_network
    from training.run.run_info import RunInfo

    canary = tmp_path / "canary"
    path = write_network(run_dir, **evil_archives(canary)[kind])
    for opens in (lambda: load(run_dir), lambda: load_network(path, RunInfo.read(run_dir).palette)):
        with pytest.raises(WorkError, match="damaged"):
            opens()
    assert not canary.exists()


@pytest.mark.parametrize("command", ["training.evaluate", "training.export", "linewash.coloring.cli"])
def test_commands_refuse_networks_that_hold_code(
    command: str, run_dir: Path, tmp_path: Path, shared_dataset: Path
) -> None:
    canary = tmp_path / "canary"
    palette = json.loads((shared_dataset / "manifest.json").read_bytes())["palette"]
    run = helper_hostile.plain_run() | {"palette": palette}
    run["dataset"]["root"] = str(shared_dataset)
    (run_dir / "run.json").write_text(json.dumps(run))
    drawing = tmp_path / "drawing.png"
    drawing.write_bytes(helper_hostile.pages()["plain.png"])
    words = [f"run={run_dir}"]
    if command == "linewash.coloring.cli":
        words = ["--run", run_dir, drawing, "-o", tmp_path / "out.png"]
    for kind in ("lambda", "module", "pickle", "upwards"):
        write_network(run_dir, **evil_archives(canary)[kind])
        done = run_main(importlib.import_module(command).main, *words)
        assert done.returncode == 1, (kind, done.stderr)
        assert done.stderr.count("\n") == 1, (kind, done.stderr)
        assert "best.keras is damaged" in done.stderr
        assert done.stdout == ""
        assert not canary.exists(), kind
    assert not (run_dir / "export").exists()


# ------------------------------------------------------------------------------ what would fill the memory


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        ({"config": dense(250_000_000)}, "declares 500,000,000 weights, but stores 0 bytes"),
        ({"config": dense(10**10)}, "declares 20,000,000,000 weights, but stores 0 bytes"),
        ({"config": dense(10**30)}, ""),
        ({"config": dense(2), "model.weights.h5": bytes(1 << 28), "packed": True}, "its files are packed"),
        ({"config": dense(2), "model.weights.h5": bytes(100)}, "OSError"),
        ({"config": dense(2, channels=7), "model.weights.h5": bytes(100)}, "it goes from and to"),
        ({"config": dense(2, sides=()), "model.weights.h5": bytes(100)}, "it goes from and to"),
        ({"config": layer("Dense", {"units": 2})}, "it holds no network"),
        ({"config": {"a": "b"}}, ""),
        ({"config": [1]}, ""),
    ],
    ids=range(10),
)
def test_a_network_is_what_its_archive_declares(archive: dict, words: str, run_dir: Path) -> None:
    from training.errors import WorkError
    from training.evaluate.evaluation import load_network
    from training.run.run_info import RunInfo

    path, palette = write_network(run_dir, **archive), RunInfo.read(run_dir).palette
    before = fuzz._fresh_peak()
    with pytest.raises(WorkError, match=f"damaged.*{words}") as e:
        load_network(path, palette)
    assert fuzz._peak() - before < fuzz.MEGABYTES
    assert "\n" not in str(e.value)


def constant(sides: list[int]) -> bytes:
    """An ONNX network of some bytes that adds a constant of so many weights to the drawing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = numpy_helper.from_array(np.array(sides, np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["much"]),
        helper.make_node("ReduceMax", ["much"], ["most"], keepdims=0),
        helper.make_node("Add", ["drawing", "most"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list("bhwc")) for n in ("drawing", "logits")]
    graph = helper.make_graph(nodes, "much", ends[:1], ends[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.mark.parametrize("weights", [400_000_000, 10**10, 10**15])
def test_an_export_that_takes_more_memory_than_its_bytes_is_refused(weights: int, tmp_path: Path) -> None:
    from helper_networks import write_export
    from linewash.coloring.model_loader import load

    from training.errors import WorkError

    export = write_export(tmp_path / "export")
    (export / "model.onnx").write_bytes(constant([weights]))
    before = fuzz._fresh_peak()
    with pytest.raises(WorkError, match="damaged") as e:
        load(export)
    assert fuzz._peak() - before < fuzz.MEGABYTES
    assert "\n" not in str(e.value)


# -------------------------------------------------------------------------------- what lies beside a network


@pytest.mark.parametrize("name", list(helper_hostile.bad_evaluations()))
def test_a_judgement_that_is_none_is_passed_over(name: str, run_dir: Path) -> None:
    from training.export.formats import Source, _read_evaluation
    from training.run.run_info import RunInfo

    run = RunInfo.read(run_dir)
    source = Source(run, {}, write_network(run_dir, {}), None)
    path = run_dir / "evaluation.json"
    path.write_text(json.dumps(helper_hostile.plain_evaluation()))
    assert _read_evaluation(path, source) == helper_hostile.plain_evaluation()
    path.write_bytes(helper_hostile.bad_evaluations()[name])
    assert _read_evaluation(path, source) is None


@pytest.mark.parametrize(
    "name", ["palette-name.json", "halves.json", "model.json", "examples.json", "versions.json", "deep.json"]
)
def test_a_run_that_is_none_is_a_sentence(
    name: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.export.__main__ import main

    write_network(run_dir, dense(2))
    (run_dir / "run.json").write_bytes(helper_hostile.bad_runs()[name])
    assert main([f"run={run_dir}", "formats=keras"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"python -m training.export: {run_dir / 'run.json'} is not what")
    assert said.err.count("\n") == 1


# ---------------------------------------------------------------------------- settings, and files elsewhere


def test_settings_that_would_run_something_are_refused(tmp_path: Path, run_dir: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/evil.yaml").write_text(f"a: !!python/object/apply:os.system ['touch {canary}']\n")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Touch(canary)))
    content = helper_hostile.plain_run()
    content["config"]["model"] |= {"_target_": "os.system", "command": f"touch {canary}"}
    (run_dir / "run.json").write_text(json.dumps(content))
    for words in (
        ("--config-dir", str(tmp_path), "loss=evil", f"data.root={tmp_path}"),
        ("+model._target_=os.system", f"+model.command='touch {canary}'", f"data.root={tmp_path}"),
        (f"data.root=!!python/object/apply:os.system ['touch {canary}']",),
        ("--experimental-rerun", str(tmp_path / "evil.pickle")),
        ("--e", str(tmp_path / "evil.pickle")),  # argparse takes what is short but clear
        (f"--ex={tmp_path / 'evil.pickle'}",),
        (f"run={run_dir}",),
    ):
        done = run_main(
            training_main, *words, *([] if words[0].startswith("run=") else [f"hydra.run.dir={tmp_path}/new"])
        )
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert not canary.exists()


def test_an_export_that_keeps_its_weights_elsewhere_is_refused(tmp_path: Path) -> None:
    import onnx
    from helper_networks import write_export
    from linewash.coloring.model_loader import load

    from training.errors import WorkError

    export = write_export(tmp_path / "deep/export")
    (tmp_path / "secret").write_bytes(bytes(1 << 16))
    model = onnx.load(export / "model.onnx")
    tensor = model.graph.initializer[0]
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": "../../secret", "offset": "0", "length": str(size)}.items():
        tensor.external_data.add(key=key, value=value)
    (export / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WorkError, match="damaged"):
        load(export)
