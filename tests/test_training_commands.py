"""What every command of training says when it is refused, or when what it needs is missing, full or gone."""

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


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence on stderr."""
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


# ----------------------------------------------------------------------------- C4: no traceback, anywhere


@each_command
def test_a_missing_package_is_a_sentence_with_the_line_that_installs_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ordinary = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("hydra", "omegaconf", "msgspec"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return ordinary(name, *args, **options)

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
    monkeypatch.setattr(builtins, "__import__", without)
    words = ["x"] if command is compare.main else ["run=x"] if command in (evaluate_main, export_main) else []
    assert command(words) == 2
    said = complaint(capsys)
    assert "is not installed" in said
    assert "-m pip install --editable" in said
    assert "[train]" in said


@each_command
def test_every_command_prints_its_version(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--version"]) == 0
    name = command.__module__.removesuffix(".__main__")
    assert capsys.readouterr().out == f"python -m {name} {__version__}\n"


@each_command
def test_help_on_a_full_device_is_a_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        assert command(["--help"]) == 1
    assert "standard output" in complaint(capsys)


def test_a_directory_that_cannot_be_made_is_a_sentence(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("LICENSE").write_text("")
    for place in ("LICENSE/r", "/proc/r", "/dev/null/r"):
        assert main([f"data.root={shared_dataset}", f"hydra.run.dir={place}"]) == 1
        assert place in complaint(capsys)
        assert main(["-m", f"data.root={shared_dataset}", f"hydra.sweep.dir={place}"]) == 1
        assert place in complaint(capsys)


@each_command
def test_a_working_directory_that_is_gone_is_a_sentence(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    words = ["x"] if command is compare.main else ["run=x"]
    assert command(["data.root=x"] if command in (main, preview.main) else words) == 2
    assert len(complaint(capsys)) < 300


def test_an_unknown_kind_of_storage_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (main, preview.main):
        assert command(["data.root=s3://bucket/set"]) == 2
        said = capfd.readouterr().err.strip().splitlines()[-1]
        assert "s3://" in said
        assert "gs://" in said


# ------------------------------------------------------------- C8: what is suggested, and what is checked


@pytest.mark.parametrize(
    ("typed", "meant"),
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
def test_the_setting_that_was_meant_is_named(typed: str, meant: str) -> None:
    assert nearest_setting(typed) == meant
    with pytest.raises(UsageError, match=rf"no setting .* did you mean {meant}\?"):
        compose(["data.root=x", f"{typed}=1"])


@pytest.mark.parametrize(
    ("words", "said"),
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
def test_a_word_that_is_refused_comes_with_the_word_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "set", train=4, val=0)
    (tmp_path / "old run").mkdir()
    (tmp_path / "old run/run.json").write_text("{}")
    assert main(words) == 2
    assert said in complaint(capsys)


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


def test_changing_directory_changes_no_path(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("D").symlink_to(shared_dataset)
    words = ["data.root=D", "hydra.job.chdir=true", "hydra.run.dir=r", "trainer.batch_size=4000"]
    assert main(words) == 2
    assert "only 48 training examples" in complaint(capsys)
    assert Path.cwd() == tmp_path


# ------------------------------------------------------------------------- a refused command leaves nothing


@pytest.mark.parametrize(
    "words",
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "set", train=4, val=0)
    before = sorted(tmp_path.rglob("*"))
    assert main(words) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refused_command_removes_nothing_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("mine").mkdir()
    assert main(["data.root=nowhere"]) == 2
    assert main(["data.root=nowhere", "hydra.run.dir=mine"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "runs"]


# ------------------------------------------------------------------- C7: errors name the user's own files


def test_a_history_that_cannot_be_read_is_what_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from test_compare import write_run

    history = write_run(tmp_path / "run", [1.0]) / "history.csv"
    history.unlink()
    history.mkdir()
    assert compare.main([str(tmp_path / "run"), f"out={tmp_path / 'c.png'}"]) == 1
    said = complaint(capsys)
    assert str(history) in said
    assert "c.png" not in said


def test_errors_name_the_file_that_is_written_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(OSError, match="No space left") as full:
        fill_up(path)
    assert full.value.filename == str(path)
    with pytest.raises(FileNotFoundError) as gone, atomic_write(path) as temporary:
        temporary.read_text()
    assert gone.value.filename == str(path)
    other = tmp_path / "other"
    with pytest.raises(FileNotFoundError) as foreign, atomic_write(path):
        other.read_text()
    assert foreign.value.filename == str(other)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("run.json", "old")]


def fill_up(path: Path) -> None:
    """Writes half a file; then the disk is full."""
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")


def test_two_writers_of_one_file_do_not_share_a_temporary_one(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "x.png") as one, atomic_write(tmp_path / "x.png") as other:
        assert one != other
        assert one.suffix == other.suffix == ".png"
        one.write_text("one")
        other.write_text("other")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]


def test_errors_name_the_file_in_the_directory_that_is_made(tmp_path: Path) -> None:
    out = tmp_path / "export"
    with pytest.raises(FileNotFoundError) as gone, atomic_directory(out) as directory:
        (directory / "model.onnx").read_text()
    assert gone.value.filename == str(out / "model.onnx")
    with pytest.raises(WorkError, match=rf"^{out}/a is damaged"), atomic_directory(out) as directory:
        raise WorkError(f"{directory / 'a'} is damaged")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_being_made_is_not_cleared_away(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "export") as one:
        (one / "x").write_text("one")
        with atomic_directory(tmp_path / "export") as other:
            (other / "x").write_text("other")
        remove_unfinished(tmp_path)
        assert one.is_dir()
        shutil.rmtree(tmp_path / "export")
    assert (tmp_path / "export/x").read_text() == "one"


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path: Path, shared_dataset: Path) -> None:
    assert preview.main([f"data.root={shared_dataset}", f"out={tmp_path / 'x.docx'}"]) == 2
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_a_closed_stdout_is_no_traceback(tmp_path: Path) -> None:
    """`>&-` leaves sys.stdout None, and file number 1 free for whatever is opened next."""
    command = [sys.executable, "-m", "training.evaluate", "run=" + str(tmp_path / "none")]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert str(tmp_path / "none") in done.stderr


def test_a_second_signal_does_not_interrupt_the_cleaning_up() -> None:
    cleaned = []

    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            cleaned.append(True)
        return 0

    assert run_command("test", work) == 128 + signal.SIGTERM
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
