"""A run that is killed and started again ends as if nothing had happened, to the bit."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
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
from training.loop.checkpoint_file import Array, DamagedCheckpointError, Progress, read_state, write_state
from training.loop.lock import only_trainer
from training.loop.signals import Interrupted, StopSignals
from training.loop.train import Summary, train
from training.metrics.scores import Scores
from training.run import artifacts

ROOT = Path(__file__).resolve().parent.parent


def configure(root: Path, *overrides: str) -> TrainConfig:
    return compose([f"data.root={root}", *SETTINGS, *overrides])


def run(root: Path, run_dir: Path, *overrides: str) -> Summary:
    return train(configure(root, *overrides), ShardedDataset.open(str(root)), run_dir)


@pytest.fixture(scope="module", autouse=True)
def quick_curves() -> Iterator[None]:
    """curves.png is drawn after each epoch, and takes longer than these epochs do; test_train looks at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.run.plots.write_curves", lambda path, *_: path.touch())
        yield


@pytest.fixture(scope="module")
def undisturbed(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that nobody stopped."""
    return run(shared_dataset, tmp_path_factory.mktemp("undisturbed") / "run").run_dir


def interrupt_at(
    step: int, monkeypatch: pytest.MonkeyPatch, times: int = 1, signum: int = signal.SIGINT
) -> None:
    """Presses Ctrl-C, or sends another signal, while the step after `step` is under way."""
    ordinary = train_module.learning_rate
    calls = iter(range(10**6))

    def press(*args: object) -> float:
        if next(calls) == step:
            for _ in range(times):
                os.kill(os.getpid(), signum)
        return ordinary(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(train_module, "learning_rate", press)


# Trains in one process after the other, each until the COUNTth call of one function, which is then as far as
# it comes. They are forks of one that has imported TensorFlow and not yet used it: importing takes seconds.
DRIVER = """
import json, os, signal, sys
from pathlib import Path

import keras
from training.data.dataset import ShardedDataset
from training.hydra_config import compose
from training.loop import checkpoint_file, train
from training.run import artifacts, plots

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def half_a_state(ordinary):
    def chunks(*args):
        whole = list(ordinary(*args))
        yield from whole[: len(whole) // 2]
        die()
    return chunks

def half_a_network(_):
    def save(net, path):
        Path(path).write_bytes(b"half a netwo")
        die()
    return save

def nothing(_):
    return lambda *args, **options: die()

moments = {
    "step": (train, "learning_rate", nothing),
    "writing a state": (checkpoint_file, "_chunks", half_a_state),
    "validating": (train, "evaluate", nothing),
    "before the networks": (artifacts.RunArtifacts, "write", nothing),
    "writing a network": (keras.Model, "save", half_a_network),
    "None": (checkpoint_file, "_chunks", nothing),
}
def run_until(where, name, deadly, count):
    ordinary, calls = getattr(where, name), iter(range(1, 10**6))
    setattr(where, name, lambda *args, **options: (
        deadly(ordinary) if next(calls) == count else ordinary)(*args, **options))
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
    """Trains in processes that end by kill -9, or (without a moment) by themselves.

    Returns:
      What each printed, and how it ended: 0, or the negative number of the signal.
    """
    done = subprocess.run(
        [sys.executable, "-u", "-c", DRIVER, str(root), str(run_dir), json.dumps(kills), *SETTINGS],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    said = re.split(r"^ended with (-?\d+)\n", done.stdout, flags=re.MULTILINE)
    assert (done.returncode, len(said)) == (0, 2 * len(kills) + 1), done.stderr
    return list(zip(said[::2], map(int, said[1::2]), strict=False))


# Moment, its count in this process, and where this process must have gone on.
QUICK = [
    ("step", 6, None),
    ("writing a state", 1, "from step 4 in epoch 1"),
    ("writing a network", 3, "from step 4 in epoch 1"),
    (None, 0, "from step 12 in epoch 3"),
]
THOROUGH = [
    ("step", 3, None),
    ("validating", 1, None),
    ("step", 1, "from step 6 in epoch 1"),
    ("before the networks", 1, "from step 6 in epoch 2"),
    ("writing a state", 3, "from step 12 in epoch 3"),
    ("writing a network", 2, "from step 18 in epoch 3"),
    (None, 0, "ended with epoch 3: nothing to do"),
]


@pytest.mark.parametrize("kills", [QUICK, pytest.param(THOROUGH, marks=pytest.mark.slow)], ids=["", "more"])
def test_kill_9_again_and_again(
    shared_dataset: Path, undisturbed: Path, tmp_path: Path, kills: list[Kill]
) -> None:
    ends = drive(shared_dataset, tmp_path / "run", kills)
    for (moment, _, resumed), (said, code) in zip(kills, ends, strict=True):
        assert code == (-signal.SIGKILL if moment else 0)
        assert resumed in said if resumed else "resumed" not in said
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
    """The directory of the same run, stopped by Ctrl-C in its tenth step."""
    return interrupted_run(shared_dataset, tmp_path_factory.mktemp("stopped") / "run", 9).run_dir


@pytest.fixture
def run_dir(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_ctrl_c_saves_the_step(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As the command line does: nothing but the directory is known.
    config = from_run(run_dir, [])
    assert config == configure(shared_dataset)
    train(config, ShardedDataset.open(config.data.root), run_dir)
    assert "resumed    from step 10 in epoch 2" in capsys.readouterr().out
    assert_same_end(run_dir, undisturbed)


def test_a_second_ctrl_c_ends_at_once_and_harms_nothing(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_at(4, patch, times=2)
        with pytest.raises(KeyboardInterrupt):
            run(shared_dataset, run_dir)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    run(shared_dataset, run_dir)
    assert_same_end(run_dir, undisturbed)


def test_a_damaged_state_falls_back(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newest = sorted((run_dir / "checkpoints").glob("*.state"))
    flip_a_bit(newest)
    run(shared_dataset, run_dir)
    said = capsys.readouterr().out
    assert f"from step 8 in epoch 2 ({older.name}); damaged, so not used: {newest.name}\n" in said
    assert_same_end(run_dir, undisturbed)


def test_without_a_whole_state_it_starts_again(
    run_dir: Path, shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (run_dir / "checkpoints").glob("*.state"):
        flip_a_bit(path)
    run(shared_dataset, run_dir)
    assert "resumed    at the beginning; damaged, so not used: " in capsys.readouterr().out
    assert_same_end(run_dir, undisturbed)


def test_a_run_whose_states_were_deleted_is_not_begun_again(run_dir: Path, shared_dataset: Path) -> None:
    for path in (run_dir / "checkpoints").glob("*.state"):
        path.unlink()
    with pytest.raises(UsageError, match="are gone, so it cannot go on"):
        run(shared_dataset, run_dir)


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


@given(st.data())
def test_whatever_happens_to_a_state_is_noticed(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    path = tmp_path_factory.mktemp("state") / "00001-00000001.state"
    values = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7), np.zeros((0, 2)), np.array(True)]
    sums = np.array([0.1, np.nan, 1e300])
    write_state(path, Progress(3, 40, 2, sums), [Array(str(v.dtype), v) for v in values])
    progress, arrays = read_state(path)
    assert (progress.epoch, progress.step, progress.in_epoch) == (3, 40, 2)
    assert np.array_equal(progress.sums, sums, equal_nan=True)
    for value, array in zip(values, arrays, strict=True):
        assert (array.name, array.value.dtype, array.value.shape) == (
            str(value.dtype), value.dtype, value.shape,
        )  # fmt: skip
        assert np.array_equal(array.value, value)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError):
        read_state(path)


def snapshot(run_dir: Path) -> dict[Path, tuple[int, bytes]]:
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in run_dir.rglob("*") if p.is_file()}


def test_a_complete_run_is_left_alone(
    shared_dataset: Path, undisturbed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(undisturbed)
    summary = run(shared_dataset, undisturbed)
    said = capsys.readouterr().out
    assert "ended with epoch 3: nothing to do; more with" in said
    assert "trainer.epochs=MORE" in said
    assert [epoch.number for epoch in summary.epochs] == [1, 2, 3]
    assert snapshot(undisturbed) == before


def test_patience_ends_a_run_for_good(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.5])
    monkeypatch.setattr(train_module, "evaluate", lambda *args: Scores(next(losses), 0.5, 0.5, 0.5, 20.0))
    settings = ["trainer.epochs=5", "trainer.patience=2"]
    assert [epoch.number for epoch in run(shared_dataset, tmp_path, *settings).epochs] == [1, 2, 3, 4]
    assert "stopped    no better epoch in trainer.patience=2" in capsys.readouterr().out
    run(shared_dataset, tmp_path, *settings)
    said = capsys.readouterr().out
    assert "ended with epoch 4: no better epoch in trainer.patience=2; more with" in said
    assert "trainer.patience=MORE" in said
    more = run(shared_dataset, tmp_path, "trainer.epochs=5", "trainer.patience=4")
    assert [epoch.number for epoch in more.epochs] == [1, 2, 3, 4, 5]


def test_the_length_may_change(shared_dataset: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    run(shared_dataset, run_dir, "trainer.epochs=1")
    config = from_run(run_dir, ["trainer.epochs=null", "trainer.max_minutes=0.0001"])
    assert (config.trainer.epochs, config.trainer.max_minutes) == (None, 0.0001)
    run(shared_dataset, run_dir, "trainer.epochs=2")
    assert [row["step"] for row in rows(run_dir)] == ["6", "12"]
    assert from_run(run_dir, []).trainer.epochs == 2


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (
            ["model=article"],
            "model=article: beside run=.* only trainer.epochs, trainer.max_minutes, trainer.patience and "
            "trainer.strategy",
        ),
        (["trainer.epochs"], "trainer.epochs: beside run=.* only"),
        (["trainer.epochs=many"], "trainer.epochs must be a whole number; got many"),
        (["trainer.epochs=0"], "trainer.epochs must be at least 1"),
    ],
)
def test_beside_run_only_the_length_is_typed(undisturbed: Path, typed: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        from_run(undisturbed, typed)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"config": {"data": 1}, "dataset": {}}'])
def test_a_directory_without_a_run_is_a_sentence(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=r"holds no run.json|it cannot be read"):
        from_run(tmp_path, [])


def test_a_run_of_another_version_is_a_sentence(run_dir: Path) -> None:
    record = json.loads((run_dir / "run.json").read_text())
    del record["config"]["trainer"]["keep"]
    (run_dir / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        UsageError, match=r"has other settings than linewash .* with the version that wrote it"
    ):
        from_run(run_dir, [])


def test_another_dataset_is_refused(undisturbed: Path, shared_dataset: Path) -> None:
    dataset = ShardedDataset.open(str(shared_dataset))
    manifest = dataclasses.replace(dataset.manifest, fingerprint="f" * 16)
    other = dataclasses.replace(dataset, manifest=manifest)
    with pytest.raises(UsageError, match=r"has the fingerprint .* began with"):
        train(configure(shared_dataset), other, undisturbed)


def test_one_trainer_a_directory(shared_dataset: Path, tmp_path: Path) -> None:
    with only_trainer(tmp_path), pytest.raises(WorkError, match="another process is training in"):
        run(shared_dataset, tmp_path)


# --------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_sighup_save_the_step_as_ctrl_c_does(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    signum: int, code: int,
) -> None:  # fmt: skip
    interrupt_at(2, monkeypatch, signum=signum)
    words = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(words) == code
    said = capsys.readouterr()
    assert "interrupted: saving after this step" in said.err
    assert "interrupted after step 3 of 18, in epoch 1 of 3: go on with python -m training run=" in said.out
    assert load_state(tmp_path / "run").step == 3
    assert signal.getsignal(signum) is signal.SIG_DFL


def load_state(run_dir: Path) -> Progress:
    return read_state(max((run_dir / "checkpoints").glob("*.state")))[0]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_ends_at_once(signum: int) -> None:
    with StopSignals() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            interrupts.check()
        with pytest.raises(Terminated) as ended:
            os.kill(os.getpid(), signum)
    assert ended.value.signum == signum
    assert signal.getsignal(signum) is signal.SIG_DFL


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            interrupts.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_ends_a_sweep(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_at(2, monkeypatch, signum=signal.SIGTERM)
    words = [f"data.root={shared_dataset}", f"hydra.sweep.dir={tmp_path / 'all'}", *SETTINGS]
    assert main(["-m", *words, "trainer.seed=1,2"]) == 143
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["0", "multirun.yaml"]
    assert f"hydra.sweep.dir={tmp_path / 'all'}" in capsys.readouterr().err


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_first_step_is_no_traceback(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    signum: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(command, "check_same_run", lambda *args: os.kill(os.getpid(), signum))
    words = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(words) == 128 + signum
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------- what was planned, and its end


@pytest.mark.parametrize(
    ("settings", "plan", "end"),
    [
        ([], "3 x 6 steps of 8 images", "ended      after epoch 3 of 3: trainer.epochs=3 are done"),
        (
            ["trainer.max_minutes=0.0001"],
            "3 x 6 steps of 8 images; ends after 0.0001 minutes",
            "of 18: trainer.max_minutes=0.0001 are over",
        ),
        (["trainer.patience=2"], "ends after 2 epochs without a better one", "ended      after epoch 3 of 3"),
    ],
)
def test_a_run_says_what_was_planned_and_why_it_ended(
    shared_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    settings: list[str], plan: str, end: str,
) -> None:  # fmt: skip
    run(shared_dataset, tmp_path / "run", *settings)
    said = capsys.readouterr().out
    assert f"plan       {plan}" in said or plan in said
    assert "start      compiling the first step" in said
    assert "epoch   1 of 3" in said
    assert end in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 5 GiB"), "Unable to allocate 5 GiB"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore"), "OOM when"),
        (tf.errors.InternalError(None, None, "CUDA: out of memory"), "out of memory"),
    ],
    ids=["host", "device", "driver"],
)
def test_too_little_memory_is_a_sentence_with_what_to_lower(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(*_: object) -> float:
        raise error

    monkeypatch.setattr(train_module, "learning_rate", fail)
    with pytest.raises(WorkError, match=rf"{said}.*trainer.batch_size=4 \(now 8\)"):
        run(shared_dataset, tmp_path / "run")


def test_a_full_disk_is_named_with_how_to_go_on(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts.history, "to_csv", full)
    words = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}", *SETTINGS]
    assert main(words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"{tmp_path / 'run'}/history.csv" in line
    assert "No space left on device" in line
    assert f"continue with python -m training run={tmp_path / 'run'}" in line
