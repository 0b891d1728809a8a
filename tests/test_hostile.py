"""Hostile files: no reader crashes, hangs, exhausts the memory, unpickles, or runs code from a file."""

from __future__ import annotations

import hashlib
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

from training.loop.checkpoint_file import DamagedCheckpointError, read_checkpoint

# TensorFlow reads shards in threads, which cannot be ended. They are tested in a subprocess only.
IN_PROCESS = [name for name in fuzz.TARGETS if name != "shard"]
ALL = [*IN_PROCESS, pytest.param("shard", marks=pytest.mark.slow)]
# An idle machine takes at most `fuzz.MAX_SECONDS` per file; tests often run on a busy one.
MAX_SECONDS = 6 * fuzz.MAX_SECONDS


@pytest.mark.parametrize("target", ALL)
def test_corpus_files_are_handled_quickly_and_in_little_memory(target: str, tmp_path: Path) -> None:
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
        assert row["seconds"] < MAX_SECONDS, row
        assert row["megabytes"] < fuzz.MAX_MEGABYTES, row


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """Damages a valid file: flips bits, cuts off the end, or copies a piece to another position."""
    data = bytearray(valid)
    positions = st.integers(0, len(data) - 1)
    for index, bit in draw(st.lists(st.tuples(positions, st.integers(0, 7)), max_size=6)):
        data[index] ^= 1 << bit
    if draw(st.booleans()):
        start, length, target = draw(positions), draw(st.integers(0, 64)), draw(positions)
        data[target : target + draw(st.integers(0, 64))] = valid[start : start + length]
    return bytes(data[: draw(positions)] if draw(st.booleans()) else data)


@pytest.mark.parametrize("target", IN_PROCESS)
@settings(max_examples=30)
@given(st.data())
def test_damaged_files_are_read_or_refused(target: str, data: st.DataObject) -> None:
    valid = data.draw(st.sampled_from(sorted(helper_hostile.VALID[target].values())))
    fuzz.TARGETS[target](data.draw(mutated(valid)))


@pytest.mark.parametrize("name", helper_hostile.HOSTILE["checkpoint"])
def test_a_wrong_checkpoint_with_a_matching_digest_is_refused(name: str, tmp_path: Path) -> None:
    content = helper_hostile.HOSTILE["checkpoint"][name]
    path = tmp_path / "step-00000001.npz"
    path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)


# ------------------------------------------------------------------------------ files that would run code


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.canary}",)


def test_a_pickle_is_not_a_checkpoint(tmp_path: Path) -> None:
    path, canary = tmp_path / "step-00000001.npz", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Touch(canary)))
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)
    assert not canary.exists()


def layer(kind: str, config: dict, **more: object) -> dict:
    """Returns the config of a layer in a .keras archive."""
    return {"module": "keras.layers", "class_name": kind, "config": config, "registered_name": None} | more


def code_networks(canary: Path) -> dict[str, dict]:
    """Returns configs of archives that create the file `canary` if the reader runs their code."""
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
    """The directory of a run without a network."""
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    content = helper_hostile.plain_run()
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    return tmp_path / "run"


def write_network(run_dir: Path, config: dict, compressed: bool = False, **extra_members: bytes) -> Path:
    """Writes an archive as the best network of a run; `extra_members` are added to it, or replace members."""
    path = run_dir / "checkpoints/best.keras"
    members = {
        "metadata.json": json.dumps({"keras_version": "3.12.0", "date_saved": ""}).encode(),
        "config.json": json.dumps(config).encode(),
        "model.weights.h5": b"",
    } | extra_members
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def dense(units: int, channels: int = 1, sides: tuple[int, ...] = (8, 8)) -> dict:
    """Returns the config of a network with one Dense layer."""
    input_config = {"batch_shape": [None, *sides, channels], "dtype": "float32", "name": "a"}
    layers = [layer("InputLayer", input_config), layer("Dense", {"units": units, "name": "b"})]
    return layer("Sequential", {"name": "net", "layers": layers}, module="keras")


def pickled(canary: Path) -> bytes:
    """Returns weights in a NumPy file that holds a pickle."""
    file = io.BytesIO()
    np.savez(file, w=np.array([Touch(canary)], object))
    return file.getvalue()


def code_archives(canary: Path) -> dict[str, dict]:
    """Returns arguments of `write_network`: archives with code, or with members outside of the archive."""
    relative = os.path.relpath(canary, tempfile.gettempdir())
    members = {
        "pickle": {"model.weights.npz": pickled(canary)},
        "upwards": {f"assets/../../{relative}": b"x"},
        "absolute": {str(canary): b"x"},
    }
    archives = {kind: {"config": config} for kind, config in code_networks(canary).items()}
    return archives | {kind: {"config": dense(2), **extra} for kind, extra in members.items()}


@pytest.mark.parametrize("kind", list(code_archives(Path("x"))))
def test_networks_with_code_are_refused(kind: str, run_dir: Path, tmp_path: Path) -> None:
    from linewash.coloring.model_loader import load

    from training.errors import WorkError
    from training.evaluate.evaluation import load_network
    from training.run.run_info import RunInfo

    canary = tmp_path / "canary"
    path = write_network(run_dir, **code_archives(canary)[kind])
    for open_network in (lambda: load(run_dir), lambda: load_network(path, RunInfo.read(run_dir).palette)):
        with pytest.raises(WorkError, match="damaged"):
            open_network()
    assert not canary.exists()


@pytest.mark.parametrize(
    "command", ["training.evaluate.__main__", "training.export.__main__", "linewash.coloring.cli"]
)
def test_commands_refuse_networks_with_code(
    command: str, run_dir: Path, tmp_path: Path, shared_dataset: Path
) -> None:
    canary = tmp_path / "canary"
    palette = json.loads((shared_dataset / "manifest.json").read_bytes())["palette"]
    run = helper_hostile.plain_run() | {"palette": palette}
    run["dataset"]["root"] = str(shared_dataset)
    (run_dir / "run.json").write_text(json.dumps(run))
    drawing = tmp_path / "drawing.png"
    drawing.write_bytes(helper_hostile.drawings()["plain.png"])
    argv = [f"run={run_dir}"]
    if command == "linewash.coloring.cli":
        argv = ["--run", run_dir, drawing, "-o", tmp_path / "out.png"]
    for kind in ("lambda", "module", "pickle", "upwards"):
        write_network(run_dir, **code_archives(canary)[kind])
        done = run_main(importlib.import_module(command).main, *argv)
        assert done.returncode == 1, (kind, done.stderr)
        assert done.stderr.count("\n") == 1, (kind, done.stderr)
        assert "best.keras is damaged" in done.stderr
        assert done.stdout == ""
        assert not canary.exists(), kind
    assert not (run_dir / "export").exists()


# ----------------------------------------------------------------------- files that would fill the memory


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        ({"config": dense(250_000_000)}, "declares 500,000,000 weights, but stores 0 bytes"),
        ({"config": dense(10**10)}, "declares 20,000,000,000 weights, but stores 0 bytes"),
        ({"config": dense(10**30)}, ""),
        (
            {"config": dense(2), "model.weights.h5": bytes(1 << 28), "compressed": True},
            "its files are compressed",
        ),
        ({"config": dense(2), "model.weights.h5": bytes(100)}, "OSError"),
        ({"config": dense(2, channels=7), "model.weights.h5": bytes(100)}, "its network maps"),
        ({"config": dense(2, sides=()), "model.weights.h5": bytes(100)}, "its network maps"),
        ({"config": layer("Dense", {"units": 2})}, "it holds no network"),
        ({"config": {"a": "b"}}, ""),
        ({"config": [1]}, ""),
    ],
    ids=range(10),
)
def test_networks_with_wrong_sizes_are_refused(archive: dict, message: str, run_dir: Path) -> None:
    from training.errors import WorkError
    from training.evaluate.evaluation import load_network
    from training.run.run_info import RunInfo

    path, palette = write_network(run_dir, **archive), RunInfo.read(run_dir).palette
    before = fuzz.reset_peak_mb()
    with pytest.raises(WorkError, match=f"damaged.*{message}") as e:
        load_network(path, palette)
    assert fuzz.peak_mb() - before < fuzz.MAX_MEGABYTES
    assert "\n" not in str(e.value)


def constant_network(shape: list[int]) -> bytes:
    """Returns a small ONNX file that allocates a constant of this shape."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape_tensor = numpy_helper.from_array(np.array(shape, np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["constant"]),
        helper.make_node("ReduceMax", ["constant"], ["maximum"], keepdims=0),
        helper.make_node("Add", ["drawing", "maximum"], ["logits"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list("bhwc")) for n in ("drawing", "logits")]
    graph = helper.make_graph(nodes, "constant", ends[:1], ends[1:], [shape_tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.mark.parametrize("weights", [400_000_000, 10**10, 10**15])
def test_exports_that_need_more_memory_than_their_size_are_refused(weights: int, tmp_path: Path) -> None:
    from helper_networks import write_export
    from linewash.coloring.model_loader import load

    from training.errors import WorkError

    export = write_export(tmp_path / "export")
    (export / "model.onnx").write_bytes(constant_network([weights]))
    before = fuzz.reset_peak_mb()
    with pytest.raises(WorkError, match="damaged") as e:
        load(export)
    assert fuzz.peak_mb() - before < fuzz.MAX_MEGABYTES
    assert "\n" not in str(e.value)


# ------------------------------------------------------------------------------- evaluation.json, run.json


@pytest.mark.parametrize("name", list(helper_hostile.hostile_evaluations()))
def test_invalid_evaluation_json_is_ignored(name: str, run_dir: Path) -> None:
    from training.export.formats import TrainedNetwork, _read_evaluation
    from training.run.run_info import RunInfo

    run = RunInfo.read(run_dir)
    trained = TrainedNetwork(run_dir, run, write_network(run_dir, {}), None, batch_size=4)
    path = run_dir / "evaluation.json"
    path.write_text(json.dumps(helper_hostile.plain_evaluation()))
    assert _read_evaluation(path, trained) == helper_hostile.plain_evaluation()
    path.write_bytes(helper_hostile.hostile_evaluations()[name])
    assert _read_evaluation(path, trained) is None


@pytest.mark.parametrize(
    "name", ["palette-name.json", "halves.json", "model.json", "examples.json", "versions.json", "deep.json"]
)
def test_invalid_run_json_gives_one_sentence(
    name: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.export.__main__ import main

    write_network(run_dir, dense(2))
    (run_dir / "run.json").write_bytes(helper_hostile.hostile_runs()[name])
    assert main([f"run={run_dir}", "formats=keras"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"python -m training.export: {run_dir / 'run.json'} is not what")
    assert output.err.count("\n") == 1


# -------------------------------------------------------------------------- settings and external weights


def test_settings_that_would_run_code_are_refused(tmp_path: Path, run_dir: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/evil.yaml").write_text(f"a: !!python/object/apply:os.system ['touch {canary}']\n")
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Touch(canary)))
    content = helper_hostile.plain_run()
    content["config"]["model"] |= {"_target_": "os.system", "command": f"touch {canary}"}
    (run_dir / "run.json").write_text(json.dumps(content))
    for argv in (
        ("--config-dir", str(tmp_path), "loss=evil", f"data.root={tmp_path}"),
        ("+model._target_=os.system", f"+model.command='touch {canary}'", f"data.root={tmp_path}"),
        (f"data.root=!!python/object/apply:os.system ['touch {canary}']",),
        ("--experimental-rerun", str(tmp_path / "evil.pickle")),
        ("--e", str(tmp_path / "evil.pickle")),  # argparse accepts unambiguous prefixes
        (f"--ex={tmp_path / 'evil.pickle'}",),
        (f"run={run_dir}",),
    ):
        done = run_main(
            training_main, *argv, *([] if argv[0].startswith("run=") else [f"hydra.run.dir={tmp_path}/new"])
        )
        assert done.returncode == 2, (argv, done.stderr)
        assert "Traceback" not in done.stderr
        assert not canary.exists()


def test_exports_with_external_weights_are_refused(tmp_path: Path) -> None:
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
