"""A run that is killed and resumed ends with the same weights, bit for bit, as an uninterrupted run."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TinyDataset
from helper_runs import SETTINGS, assert_same_end, flip_a_bit, rows
from hypothesis import given
from hypothesis import strategies as st

from training import command
from training.__main__ import main
from training.cli import Terminated
from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.errors import UsageError, WorkError
from training.hydra_config import compose, from_run
from training.loop import train as train_module
from training.loop.checkpoint_file import (
    DamagedCheckpointError,
    Progress,
    SavedVariable,
    read_checkpoint,
    write_checkpoint,
)
from training.loop.lock import lock_run_directory
from training.loop.signals import Interrupted, StopSignals
from training.loop.train import Summary, train
from training.metrics.scores import Scores

ROOT = Path(__file__).resolve().parent.parent


def configure(root: Path, *overrides: str) -> TrainConfig:
    return compose([f"data.root={root}", *SETTINGS, *overrides])


def run(root: Path, run_dir: Path, *overrides: str) -> Summary:
    return train(configure(root, *overrides), ShardedDataset.open(str(root)), run_dir)


@pytest.fixture(scope="module", autouse=True)
def quick_curves() -> Iterator[None]:
    """Drawing curves.png takes longer than an epoch of these runs; test_train covers it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.plots.write_curves", lambda path, *_: path.touch())
        yield


@pytest.fixture(scope="module")
def undisturbed(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an uninterrupted run."""
    return run(shared_dataset, tmp_path_factory.mktemp("undisturbed") / "run").run_dir


def interrupt_at(
    step: int, monkeypatch: pytest.MonkeyPatch, times: int = 1, signum: int = signal.SIGINT
) -> None:
    """Sends Ctrl-C or another signal to this process during the step after `step`."""
    learning_rate = train_module.learning_rate
    calls = itertools.count()

    def interrupt(*args: object) -> float:
        if next(calls) == step:
            for _ in range(times):
                os.kill(os.getpid(), signum)
        return learning_rate(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_module, "learning_rate", interrupt)


# Trains in one process after the other. Each is killed at the COUNTth call of one function. They are forks of
# a process that has imported TensorFlow but not used it, because importing it takes seconds.
DRIVER = """
import itertools, json, os, signal, sys
from pathlib import Path

import keras
from training.data.dataset import ShardedDataset
from training.hydra_config import compose
from training.loop import checkpoint_file, train
from training.run import artifacts, plots

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_checkpoint(original):
    def write(archive, progress, variables):
        original(archive, progress, variables[: len(variables) // 2])
        archive.fp.flush()
        die()
    return write

def half_a_network(_):
    def save(net, path):
        Path(path).write_bytes(b"half a netwo")
        die()
    return save

def nothing(_):
    return lambda *args, **options: die()

moments = {
    "step": (train, "learning_rate", nothing),
    "writing a checkpoint": (checkpoint_file, "_write_members", half_a_checkpoint),
    "validating": (train, "evaluate", nothing),
    "before the networks": (artifacts.RunArtifacts, "write", nothing),
    "writing a network": (keras.Model, "save", half_a_network),
    "None": (checkpoint_file, "_write_members", nothing),
}
def run_until(owner, name, deadly, count):
    original, calls = getattr(owner, name), itertools.count(1)
    setattr(owner, name, lambda *args, **options: (
        deadly(original) if next(calls) == count else original)(*args, **options))
    train.train(compose([f"data.root={root}", *settings]), ShardedDataset.open(root), Path(run_dir))

root, run_dir, kills, *settings = sys.argv[1:]
plots.write_curves = lambda path, *args: path.touch()
for moment, count, _ in json.loads(kills):
    if not os.fork():
        run_until(*moments[str(moment)], count)
        os._exit(0)
    print("ended with", os.waitstatus_to_exitcode(os.wait()[1]))
"""

Kill = tuple[str | None, int, str | None]


def drive(root: Path, run_dir: Path, kills: list[Kill]) -> list[tuple[str, int]]:
    """Trains in processes that are killed by SIGKILL; one without a moment is not.

    Returns:
      The stdout of each process, and its exit code: 0, or the negative number of the signal.
    """
    done = subprocess.run(
        [sys.executable, "-u", "-c", DRIVER, str(root), str(run_dir), json.dumps(kills), *SETTINGS],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    parts = re.split(r"^ended with (-?\d+)\n", done.stdout, flags=re.MULTILINE)
    assert (done.returncode, len(parts)) == (0, 2 * len(kills) + 1), done.stderr
    return list(zip(parts[::2], map(int, parts[1::2]), strict=False))


# The moment, its count in this process, and the position from which this process must have resumed.
QUICK = [
    ("step", 6, None),
    ("writing a checkpoint", 1, "from step 4 in epoch 1"),
    ("writing a network", 3, "from step 4 in epoch 1"),
    (None, 0, "from step 12 in epoch 3"),
]
THOROUGH = [
    ("step", 3, None),
    ("validating", 1, None),
    ("step", 1, "from step 6 in epoch 1"),
    ("before the networks", 1, "from step 6 in epoch 2"),
    ("writing a checkpoint", 3, "from step 12 in epoch 3"),
    ("writing a network", 2, "from step 18 in epoch 3"),
    (None, 0, "ended with epoch 3: nothing to do"),
]


@pytest.mark.parametrize("kills", [QUICK, pytest.param(THOROUGH, marks=pytest.mark.slow)], ids=["", "more"])
def test_repeated_sigkill(shared_dataset: Path, undisturbed: Path, tmp_path: Path, kills: list[Kill]) -> None:
    ends = drive(shared_dataset, tmp_path / "run", kills)
    for (moment, _, resumed), (stdout, code) in zip(kills, ends, strict=True):
        assert code == (-signal.SIGKILL if moment else 0)
        assert resumed in stdout if resumed else "resumed" not in stdout
    assert_same_end(tmp_path / "run", undisturbed)


def interrupted_run(root: Path, run_dir: Path, step: int, *overrides: str) -> Summary:
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(step, patch)
        summary = run(root, run_dir, *overrides)
    assert summary.interrupted
    assert summary.run_dir == run_dir
    return summary


@pytest.fixture(scope="module")
def stopped(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the same run, interrupted by Ctrl-C in its tenth step."""
    return interrupted_run(shared_dataset, tmp_path_factory.mktemp("stopped") / "run", 9).run_dir


@pytest.fixture
def run_dir(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the directory of the interrupted run."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_ctrl_c_writes_a_checkpoint(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As the command line does: only the directory is given.
    config = from_run(run_dir, [])
    assert config == configure(shared_dataset)
    train(config, ShardedDataset.open(config.data.root), run_dir)
    assert "resumed    from step 10 in epoch 2" in capsys.readouterr().out
    assert_same_end(run_dir, undisturbed)


def test_a_second_ctrl_c_ends_at_once_and_damages_nothing(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(4, patch, times=2)
        with pytest.raises(KeyboardInterrupt):
            run(shared_dataset, run_dir)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run(shared_dataset, run_dir)
    assert_same_end(run_dir, undisturbed)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newest = sorted((run_dir / "checkpoints").glob("step-*.npz"))
    flip_a_bit(newest)
    run(shared_dataset, run_dir)
    stdout = capsys.readouterr().out
    assert f"from step 8 in epoch 2 ({older.name}); damaged, so not used: {newest.name}\n" in stdout
    assert_same_end(run_dir, undisturbed)


def test_without_an_undamaged_checkpoint_the_run_starts_again(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run_dir / "checkpoints").glob("step-*.npz"):
        flip_a_bit(path)
    run(shared_dataset, run_dir)
    assert "resumed    at the beginning; damaged, so not used: " in capsys.readouterr().out
    assert_same_end(run_dir, undisturbed)


def test_a_run_whose_checkpoints_were_deleted_is_refused(run_dir: Path, shared_dataset: Path) -> None:
    for path in (run_dir / "checkpoints").glob("step-*.npz"):
        path.unlink()
    with pytest.raises(UsageError, match=r"checkpoints/step-\*\.npz are missing.*hydra.run.dir=ANOTHER"):
        run(shared_dataset, run_dir)


def test_checkpoints_of_an_earlier_version_are_refused_and_kept(
    run_dir: Path, shared_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run_dir / "checkpoints").glob("step-*.npz"):
        path.unlink()
    old = run_dir / "checkpoints" / "00002-00000004.state"
    old.write_bytes(b"linewash state 1\n" + bytes(100))
    before = snapshot(run_dir)
    assert main([f"run={run_dir}"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    for part in (str(old), "earlier version", "step-*.npz", "hydra.run.dir=ANOTHER", "run.json"):
        assert part in stderr
    assert snapshot(run_dir) == before


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "trainer.ema=0.9", "augment.jitter=1.5", "trainer.batch_size=5", "data.shuffle_buffer=7",
            "trainer.steps_per_epoch=5", "trainer.epochs=2",
        ],
        pytest.param(["trainer.ema=0.9", "trainer.precision=mixed_float16"], marks=pytest.mark.slow),
        pytest.param(["trainer.precision=mixed_bfloat16"], marks=pytest.mark.slow),
        pytest.param(["optimizer=adamw", "trainer.precision=mixed_float16"], marks=pytest.mark.slow),
        pytest.param(["trainer.jit_compile=true", "augment=hands"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)  # fmt: skip
def test_exact_with_other_settings(shared_dataset: Path, tmp_path: Path, overrides: list[str]) -> None:
    run(shared_dataset, tmp_path / "whole", *overrides)
    interrupted_run(shared_dataset, tmp_path / "run", 7, *overrides)
    run(shared_dataset, tmp_path / "run", *overrides)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_exact_with_several_line_styles(tiny_dataset: TinyDataset, tmp_path: Path, compression: str) -> None:
    """The style that is drawn for an example does not depend on where the run was interrupted."""
    root = tiny_dataset(lines=("canny", "xdog", "borders"), compression=compression)
    whole = run(root, tmp_path / "whole").run_dir
    interrupted_run(root, tmp_path / "run", 9)
    run(root, tmp_path / "run")
    assert_same_end(tmp_path / "run", whole)


VALUES = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7), np.zeros((0, 2)), np.array(True)]


def write_example(path: Path) -> Progress:
    progress = Progress(3, 40, 2, np.array([0.1, np.nan, 1e300]))
    write_checkpoint(path, progress, [SavedVariable(str(value.dtype), value) for value in VALUES])
    return progress


@given(st.data())
def test_any_damage_to_a_checkpoint_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.mktemp("checkpoints") / "step-00000040.npz"
    written = write_example(path)
    progress, variables = read_checkpoint(path)
    assert (progress.epoch, progress.step, progress.steps_in_epoch) == (3, 40, 2)
    assert np.array_equal(progress.pixel_sums, written.pixel_sums, equal_nan=True)
    for value, variable in zip(VALUES, variables, strict=True):
        assert (variable.name, variable.value.dtype, variable.value.shape) == (
            str(value.dtype), value.dtype, value.shape,
        )  # fmt: skip
        assert np.array_equal(variable.value, value)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(path)


def test_numpy_opens_a_checkpoint_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "step-00000040.npz"
    write_example(path)
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(archive["progress.json"])["step"] == 40
        assert np.array_equal(archive["variables/00000/float32"], VALUES[0])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_the_same_progress_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        write_example(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int64", "bool"])
def test_values_of_every_dtype_are_restored_to_the_bit(tmp_path: Path, dtype: str) -> None:
    values = tf.cast(np.random.default_rng(0).normal(size=(3, 5)) * 10, dtype)
    path = tmp_path / "step-00000001.npz"
    write_checkpoint(path, Progress(), [SavedVariable("v", values.numpy())])
    _, (saved,) = read_checkpoint(path)
    variable = keras.Variable(tf.zeros_like(values), dtype=dtype)
    variable.assign(saved.value)
    assert variable.numpy().tobytes() == values.numpy().tobytes()


def snapshot(run_dir: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run_dir.rglob("*") if p.is_file()}


def test_a_complete_run_is_not_changed(
    shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(undisturbed)
    summary = run(shared_dataset, undisturbed)
    stdout = capsys.readouterr().out
    assert "ended with epoch 3: nothing to do; train longer with" in stdout
    assert "trainer.epochs=MORE" in stdout
    assert [epoch.number for epoch in summary.history] == [1, 2, 3]
    assert snapshot(undisturbed) == before


def test_a_run_that_patience_ended_stays_ended(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    monkeypatch.setattr(train_module, "evaluate", lambda *args: Scores(next(losses), 0.5, 0.5, 0.5, 20.0))
    settings = ["trainer.epochs=5", "trainer.patience=2"]
    assert [epoch.number for epoch in run(shared_dataset, tmp_path, *settings).history] == [1, 2, 3, 4]
    assert "ended      after epoch 4 of 5: no improvement in trainer.patience=2" in capsys.readouterr().out
    run(shared_dataset, tmp_path, *settings)
    stdout = capsys.readouterr().out
    assert "ended with epoch 4: no improvement in trainer.patience=2 epochs; train longer with" in stdout
    assert "trainer.patience=MORE" in stdout
    more = run(shared_dataset, tmp_path, "trainer.epochs=5", "trainer.patience=4")
    assert [epoch.number for epoch in more.history] == [1, 2, 3, 4, 5]


def test_the_length_may_change(shared_dataset: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run(shared_dataset, run_dir, "trainer.epochs=1")
    config = from_run(run_dir, ["trainer.epochs=null", "trainer.max_minutes=0.0001"])
    assert (config.trainer.epochs, config.trainer.max_minutes) == (None, 0.0001)
    run(shared_dataset, run_dir, "trainer.epochs=2")
    assert [row["step"] for row in rows(run_dir)] == ["6", "12"]
    assert from_run(run_dir, []).trainer.epochs == 2


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["model=article"],
            "model=article: .*run=.* only trainer.epochs, trainer.max_minutes, trainer.patience and "
            "trainer.strategy",
        ),
        (["trainer.epochs"], "trainer.epochs: .*run=.* only"),
        (["trainer.epochs=many"], "trainer.epochs must be a whole number; got many"),
        (["trainer.epochs=0"], "trainer.epochs must be at least 1"),
    ],
)
def test_only_the_length_may_be_given_beside_run(
    undisturbed: Path, overrides: list[str], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        from_run(undisturbed, overrides)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"config": {"data": 1}, "dataset": {}}'])
def test_a_directory_without_a_run_is_reported_in_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"holds no run.json|is not what python -m training writes"):
        from_run(tmp_path, [])


def test_a_run_of_another_version_is_reported_in_a_sentence(run_dir: Path) -> None:
    run_json = json.loads((run_dir / "run.json").read_text())
    del run_json["config"]["trainer"]["keep"]
    (run_dir / "run.json").write_text(json.dumps(run_json))
    with pytest.raises(
        UsageError, match=r"has other settings than linewash .* with the version that wrote it"
    ):
        from_run(run_dir, [])


def test_another_dataset_is_refused(undisturbed: Path, shared_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(shared_dataset))
    manifest = dataclasses.replace(dataset.manifest, fingerprint="f" * 16)
    other = dataclasses.replace(dataset, manifest=manifest)
    with pytest.raises(UsageError, match=r"has the dataset fingerprint .* began with"):
        train(configure(shared_dataset), other, undisturbed)


def test_one_process_trains_in_a_directory(shared_dataset: Path, tmp_path: Path) -> None:
    with lock_run_directory(tmp_path), pytest.raises(WorkError, match="another process is training in"):
        run(shared_dataset, tmp_path)


# --------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_sighup_write_a_checkpoint_as_ctrl_c_does(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    signum: int, code: int,
) -> None:  # fmt: skip
    interrupt_at(2, monkeypatch, signum=signum)
    argv = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(argv) == code
    captured = capsys.readouterr()
    assert "interrupted: saving after this step" in captured.err
    assert "interrupted after step 3 of 18, in epoch 1 of 3" in captured.out
    assert "continue with python -m training run=" in captured.out
    assert load_newest(tmp_path / "run").step == 3
    assert signal.getsignal(signum) is signal.SIG_DFL


def load_newest(run_dir: Path) -> Progress:
    return read_checkpoint(max((run_dir / "checkpoints").glob("step-*.npz")))[0]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_at_once(signum: int) -> None:
    with StopSignals() as stop_signals:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            stop_signals.raise_if_stopped()
        with pytest.raises(Terminated) as ended:
            os.kill(os.getpid(), signum)
    assert ended.value.signum == signum
    assert signal.getsignal(signum) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop_signals:
            os.kill(os.getpid(), signal.SIGHUP)
            stop_signals.raise_if_stopped()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_a_sweep(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(2, monkeypatch, signum=signal.SIGTERM)
    argv = [f"data.root={shared_dataset}", f"hydra.sweep.dir={tmp_path / 'all'}", *SETTINGS]
    assert main(["-m", *argv, "trainer.seed=1,2"]) == 143
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["0", "multirun.yaml"]
    assert f"hydra.sweep.dir={tmp_path / 'all'}" in capsys.readouterr().err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_step_is_no_traceback(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    signum: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "check_same_run", lambda *args: os.kill(os.getpid(), signum))
    argv = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(argv) == 128 + signum
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------ printed plan and ending


@pytest.mark.parametrize(
    ("settings", "plan", "end"),
    [
        ([], "3 x 6 steps of 8 images", "ended      after epoch 3 of 3: trainer.epochs=3 is reached"),
        (
            ["trainer.max_minutes=0.0001"],
            "3 x 6 steps of 8 images; ends after 0.0001 minutes",
            "of 18: trainer.max_minutes=0.0001 is reached",
        ),
        (["trainer.patience=2"], "ends after 2 epochs without improvement", "ended      after epoch 3 of 3"),
    ],
)
def test_a_run_prints_its_plan_and_why_it_ended(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    settings: list[str], plan: str, end: str,
) -> None:  # fmt: skip
    run(shared_dataset, tmp_path / "run", *settings)
    stdout = capsys.readouterr().out
    assert plan in stdout
    assert "start      compiling the first step" in stdout
    assert "epoch   1 of 3" in stdout
    assert end in stdout


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 5 GiB"), "Unable to allocate 5 GiB"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore"), "OOM when"),
        (tf.errors.InternalError(None, None, "CUDA: out of memory"), "out of memory"),
    ],
    ids=["host", "device", "driver"],
)
def test_too_little_memory_is_reported_with_the_setting_to_lower(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(train_module, "learning_rate", fail)
    with pytest.raises(WorkError, match=rf"{reason}.*trainer.batch_size=4 \(now 8\)"):
        run(shared_dataset, tmp_path / "run")


def test_a_full_disk_is_reported_with_the_command_to_continue(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.run.history.to_csv", full)
    argv = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(argv) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{tmp_path / 'run'}/history.csv" in line
    assert "No space left on device" in line
    assert f"continue with python -m training run={tmp_path / 'run'}" in line
