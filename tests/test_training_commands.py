"""Errors of all commands of training: wrong arguments, missing packages, full devices and others."""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import write_dataset

from tfrecords_schema import __version__
from training import compare, preview
from training.__main__ import main
from training.atomic_files import atomic_directory, atomic_write, remove_unfinished
from training.cli import run_command
from training.errors import UsageError, WorkError
from training.evaluate.__main__ import main as evaluate_main
from training.export.__main__ import main as export_main
from training.hydra_config import compose
from training.overrides import nearest_setting

ROOT = Path(__file__).parent.parent

Command = Callable[[list[str]], int]
COMMANDS = [main, evaluate_main, export_main, compare.main, preview.main]
COMMAND_IDS = ["training", "evaluate", "export", "compare", "preview"]
each_command = pytest.mark.parametrize("command", COMMANDS, ids=COMMAND_IDS)


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the only line on stderr."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# ---------------------------------------------------------------------------------- errors are one sentence


@each_command
def test_a_missing_package_is_reported_with_the_command_that_installs_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def import_without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("hydra", "omegaconf", "msgspec"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return original(name, *args, **options)

    loaded = [name for name in sys.modules if name.partition(".")[0] in ("training", "hydra", "omegaconf")]
    for name in loaded:
        if name not in (
            "training",
            "training.cli",
            "training.errors",
            "training.tf_startup",
            "training.atomic_files",
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tfrecords_schema")
    monkeypatch.setattr(builtins, "__import__", import_without)
    arguments = (
        ["x"] if command is compare.main else ["run=x"] if command in (evaluate_main, export_main) else []
    )
    assert command(arguments) == 2
    message = error_line(capsys)
    assert "is not installed" in message
    assert "-m pip install --editable" in message
    assert "[train]" in message


@each_command
def test_every_command_prints_its_version(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--version"]) == 0
    name = command.__module__.removesuffix(".__main__")
    assert capsys.readouterr().out == f"python -m {name} {__version__}\n"


@each_command
def test_help_on_a_full_device_is_an_error(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert command(["--help"]) == 1
    assert "standard output" in error_line(capsys)


def test_a_directory_that_cannot_be_made_is_named(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("LICENSE").write_text("")
    for directory in ("LICENSE/r", "/proc/r", "/dev/null/r"):
        assert main([f"data.root={shared_dataset}", f"hydra.run.dir={directory}"]) == 1
        assert directory in error_line(capsys)
        assert main(["-m", f"data.root={shared_dataset}", f"hydra.sweep.dir={directory}"]) == 1
        assert directory in error_line(capsys)


@each_command
def test_a_removed_working_directory_is_an_error(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    arguments = ["x"] if command is compare.main else ["run=x"]
    assert command(["data.root=x"] if command in (main, preview.main) else arguments) == 2
    assert len(error_line(capsys)) < 300


def test_unknown_storage_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (main, preview.main):
        assert command(["data.root=s3://bucket/set"]) == 2
        message = capfd.readouterr().err.strip().splitlines()[-1]
        assert "s3://" in message
        assert "gs://" in message


# --------------------------------------------------------------------------------- suggestions and checks


@pytest.mark.parametrize(
    ("key", "setting"),
    [
        ("optimizer.lr", "optimizer.learning_rate"), ("lr", "optimizer.learning_rate"),
        ("trainer.lr", "optimizer.learning_rate"), ("learning_rate", "optimizer.learning_rate"),
        ("epochs", "trainer.epochs"), ("epoch", "trainer.epochs"), ("model.epochs", "trainer.epochs"),
        ("batchsize", "trainer.batch_size"), ("batch-size", "trainer.batch_size"),
        ("bs", "trainer.batch_size"), ("wd", "optimizer.weight_decay"), ("seed", "trainer.seed"),
        ("dataset", "data.root"),
        ("hydra.run.dri", "hydra.run.dir"), ("hydra.job.chdri", "hydra.job.chdir"),
        ("hydra.sweeep.dir", "hydra.sweep.dir"), ("data.shufle_buffer", "data.shuffle_buffer"),
    ],
)  # fmt: skip
def test_the_closest_setting_is_suggested(key: str, setting: str) -> None:
    assert nearest_setting(key) == setting
    with pytest.raises(UsageError, match=rf"no setting .* did you mean {setting}\?"):
        compose(["data.root=x", f"{key}=1"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--lr=0.1"], "optimizer.learning_rate=0.1"),
        (["--epochs", "3"], "trainer.epochs=VALUE"),
        (["--data-root", "x"], "data.root=VALUE"),
        (["set"], "data.root=set"),
        (["old run"], "'run=old run'"),
        (["epochs"], "trainer.epochs=VALUE"),
        (["trainer.epochs=[1"], """'trainer.epochs="[1"'"""),
        (["--resolve"], "--resolve"),
        (["--config-dir", "nowhere"], "nowhere"),
        (["run=a", "run=b"], "twice"),
        (["run="], "run=RUN_DIR"),
        (["data.root=set", "~optimizer"], "optimizer=OPTION"),
    ],
)
def test_refused_arguments_are_reported_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], text: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "set", train=4, val=0)
    (tmp_path / "old run").mkdir()
    (tmp_path / "old run/run.json").write_text("{}")
    assert main(arguments) == 2
    assert text in error_line(capsys)


FLOATS = [
    "optimizer.learning_rate", "optimizer.warmup", "optimizer.final_rate", "optimizer.weight_decay",
    "optimizer.beta_2", "optimizer.clip_norm", "loss.uniform_share", "loss.label_smoothing",
    "loss.neighbour_sigma", "augment.flip", "augment.scale", "augment.translate", "augment.thickness",
    "augment.gaps", "augment.jitter", "augment.pencil", "hints.without", "trainer.max_minutes", "trainer.ema",
    "trainer.checkpoint_minutes",
]  # fmt: skip


@pytest.mark.parametrize("key", FLOATS)
@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf", "1e999"])
def test_numbers_out_of_range_are_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"{key} must be"):
        compose(["data.root=x", f"{key}={value}"])


def test_paths_are_relative_to_the_directory_of_the_user(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("D").symlink_to(shared_dataset)
    arguments = ["data.root=D", "hydra.job.chdir=true", "hydra.run.dir=r", "trainer.batch_size=4000"]
    assert main(arguments) == 2
    assert "only 48 training examples" in error_line(capsys)
    assert Path.cwd() == tmp_path


# ------------------------------------------------------------------------- a refused command leaves nothing


@pytest.mark.parametrize(
    "arguments",
    [
        ["data.root=nowhere"],
        ["data.root=set", "trainer.batch_size=4000"],
        ["data.root=set", "trainer.epochs=0", "hydra.run.dir=a/b/c"],
        ["-m", "data.root=set", "trainer.batch_size=4000,5000"],
        ["-m", "data.root=set", "trainer.epochs=1,many"],
        ["-m", "data.root=nowhere", "hydra.sweep.dir=a/b"],
    ],
    ids=" ".join,
)
def test_a_refused_command_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "set", train=4, val=0)
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_command_removes_no_existing_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("mine").mkdir()
    assert main(["data.root=nowhere"]) == 2
    assert main(["data.root=nowhere", "hydra.run.dir=mine"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "runs"]


# ------------------------------------------------------------------------- errors name the user's own files


def test_an_unreadable_history_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from test_compare import write_run

    history = write_run(tmp_path / "run", [1.0]) / "history.csv"
    history.unlink()
    history.mkdir()
    assert compare.main([str(tmp_path / "run"), f"out={tmp_path / 'c.png'}"]) == 1
    message = error_line(capsys)
    assert str(history) in message
    assert "c.png" not in message


def test_errors_of_atomic_write_name_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left") as full:
        fill_up(path)
    assert full.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as missing, atomic_write(path) as temporary:
        temporary.read_text()
    assert missing.value.filename == str(path)
    second = tmp_path / "other"
    with pytest.raises(FileNotFoundError) as error, atomic_write(path):
        second.read_text()
    assert error.value.filename == str(second)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("run.json", "old")]


def fill_up(path: Path) -> None:
    """Writes half a file, and then the disk is full."""
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")


def test_writers_of_the_same_file_have_different_temporary_files(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x.png") as first, atomic_write(tmp_path / "x.png") as second:
        assert first != second
        assert first.suffix == second.suffix == ".png"
        first.write_text("one")
        second.write_text("other")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]


def test_errors_of_atomic_directory_name_a_path_in_the_directory(tmp_path: Path) -> None:
    out = tmp_path / "export"
    with pytest.raises(FileNotFoundError) as missing, atomic_directory(out) as directory:
        (directory / "model.onnx").read_text()
    assert missing.value.filename == str(out / "model.onnx")
    with pytest.raises(WorkError, match=rf"^{out}/a is damaged"), atomic_directory(out) as directory:
        raise WorkError(f"{directory / 'a'} is damaged")
    assert list(tmp_path.iterdir()) == []


def test_unfinished_directories_in_use_are_not_removed(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "export") as first:
        (first / "x").write_text("one")
        with atomic_directory(tmp_path / "export") as second:
            (second / "x").write_text("other")
        remove_unfinished(tmp_path)
        assert first.is_dir()
        shutil.rmtree(tmp_path / "export")
    assert (tmp_path / "export/x").read_text() == "one"


def test_an_image_that_cannot_be_written_leaves_no_file(tmp_path: Path, shared_dataset: Path) -> None:
    assert preview.main([f"data.root={shared_dataset}", f"out={tmp_path / 'x.docx'}"]) == 2
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_closed_stdout_causes_no_traceback(tmp_path: Path) -> None:
    """With `>&-`, sys.stdout is None, and the next opened file gets the number 1."""
    command = [sys.executable, "-m", "training.evaluate", "run=" + str(tmp_path / "none")]
    result = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert str(tmp_path / "none") in result.stderr


def test_a_second_signal_does_not_interrupt_the_cleanup() -> None:
    events = []

    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            events.append(True)
        return 0

    assert run_command("test", work) == 128 + signal.SIGTERM
    assert events
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
