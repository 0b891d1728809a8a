"""The command line of python -m training: exit codes, one-sentence errors, no traceback, --help."""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import get_type_hints

import pytest
from conftest import TinyDataset, write_dataset
from helper_commands import ROOT, run_main, run_module, training_main

from tfrecords_schema import __version__
from training.__main__ import main
from training.config import MODELS, TrainConfig
from training.hydra_config import CONF_DIR

SMALL = ["experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,0]"]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def training(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in this process."""
    return run_main(training_main, *arguments, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "data.root is missing"),
        (["data.root=nowhere"], 2, "there is no such directory"),
        (["data.root=empty"], 2, "no manifest.json"),
        (["data.root=set", "modle=unet"], 2, "did you mean model?"),
        (["data.root=set", "model=resnet"], 2, "model can be article"),
        (["data.root=set", "trainer.epochs=many"], 2, "must be a whole number; got many"),
        (["data.root=set", "trainer.batch_size=4000"], 2, "only 48 training examples"),
        (["data.root=set", "model.widths=[-3]"], 2, "model.widths must be"),
        (["data.root=set", "trainer.batch_size=8,16"], 2, "--multirun"),
        (["run=empty"], 2, "run=empty: holds no run.json; type run=RUN_DIR"),
        (
            ["run=empty", "model=unet"],
            2,
            "only trainer.epochs, trainer.max_minutes, trainer.patience and trainer.strategy can",
        ),
        (["data.root=broken"], 1, "is missing: copy it again"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_reported_in_one_sentence(
    tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_dataset(tmp_path / "set")
    write_dataset(tmp_path / "broken")
    (tmp_path / "broken/train/train-00000-of-00003.tfrecord").unlink()
    result = training(tmp_path, *arguments)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("python -m training: ")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*.keras"))


def test_a_mistake_in_a_new_process(shared_dataset: Path, tmp_path: Path) -> None:
    result = run_module(
        "training", f"data.root={shared_dataset}", "modle=unet", cwd=tmp_path, env=environment()
    )
    assert result.returncode == 2
    assert "did you mean model?" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("flags", [["--hydra-help"], ["--cfg=job", "data.root=x"], ["--cfg=all"]])
def test_flags_of_hydra_work(tmp_path: Path, flags: list[str]) -> None:
    result = training(tmp_path, *flags)
    assert result.returncode == 0, result.stderr


def test_help_lists_every_option_and_every_setting(tmp_path: Path) -> None:
    result = training(tmp_path, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "schema" not in result.stdout
    flat = " ".join(result.stdout.split())
    for path in CONF_DIR.glob("*/*.yaml"):
        assert f" {path.parent.name}={path.stem} " in flat
    for kind in [*get_type_hints(TrainConfig).values(), *MODELS.values()]:
        for field in dataclasses.fields(kind):
            assert f" {kind.group}.{field.name}=" in flat
            assert field.metadata["help"] in flat
    assert "data.root=DATASET" in flat
    assert "* model=unet " in flat
    assert "trainer.epochs=20 number of epochs" in flat
    assert "(at least 1, or null)" in flat


def test_help_shows_the_chosen_options_and_values(tmp_path: Path) -> None:
    result = training(
        tmp_path, "--help", "data.root=$set", "model=resunet", "model.blocks=3", "augment=hands"
    )
    for text in ("* model=resunet ", "  model.blocks=3 ", "  data.root=$set ", "  augment.gaps=0.1 "):
        assert text in result.stdout
    assert "* model=unet " not in result.stdout


START_AS = """
import sys
sys.argv = sys.argv[1:]
from training.__main__ import main
code = main()
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize("program", ["/usr/bin/linewash-train", "/checkout/training/__main__.py"])
def test_messages_begin_with_the_name_of_the_started_command(tmp_path: Path, program: str) -> None:
    name = "linewash-train" if "bin" in program else "python -m training"

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", START_AS, program, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )

    assert start("--version").stdout == f"{name} {__version__}\n"
    assert f"Usage: {name} data.root=DATASET" in start("--help").stdout
    assert start("data.root=nowhere").stderr.startswith(f"{name}: ")
    assert start("data.root").stderr.startswith(f"{name}: ")


def test_the_console_command_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["linewash-train"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


def test_a_run_prints_one_line_per_epoch_and_writes_its_files(
    tiny_dataset: TinyDataset, tmp_path: Path
) -> None:
    root = tiny_dataset()
    result = run_module("training", f"data.root={root}", *SMALL, cwd=tmp_path, env=environment())
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert [line.split()[:2] for line in result.stdout.splitlines() if line.startswith("epoch")] == [
        ["epoch", "1"], ["epoch", "2"],
    ]  # fmt: skip
    (run_dir,) = (path.parent for path in (tmp_path / "runs").rglob("history.csv"))
    assert str(run_dir.relative_to(tmp_path)) in result.stdout
    assert (run_dir / "checkpoints/best.keras").exists()


@pytest.mark.slow
def test_a_sweep_continues_after_a_failed_job_and_skips_finished_ones(
    tiny_dataset: TinyDataset, tmp_path: Path
) -> None:
    sweep = [
        "--multirun", f"data.root={tiny_dataset()}", *SMALL, "trainer.epochs=1", "hydra.sweep.dir=sweep",
        "trainer.batch_size=8,4000,6",
    ]  # fmt: skip
    result = training(tmp_path, *sweep)
    assert result.returncode == 2
    assert "only 48 training examples" in result.stderr
    assert "Traceback" not in result.stderr
    finished = {path.parent.name: path.stat().st_mtime_ns for path in tmp_path.glob("sweep/*/history.csv")}
    assert set(finished) == {"0", "2"}
    repeated = training(tmp_path, *sweep)
    assert repeated.returncode == 2
    for name, written in finished.items():
        assert f"complete   sweep/{name} ended with epoch 1: nothing to do" in repeated.stdout
        assert (tmp_path / "sweep" / name / "history.csv").stat().st_mtime_ns == written
    assert "epoch   1" not in repeated.stdout


@pytest.mark.slow
def test_a_run_ends_cleanly_on_ctrl_c(tiny_dataset: TinyDataset, tmp_path: Path) -> None:
    arguments = command(f"data.root={tiny_dataset()}", *SMALL, "trainer.epochs=100000")
    process = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.rglob("history.csv")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "continue with python -m training run=runs/" in stdout
    assert "Traceback" not in stderr
    (run_dir,) = (path.parent for path in tmp_path.rglob("history.csv"))
    epochs = len((run_dir / "history.csv").read_text().splitlines())
    result = training(tmp_path, f"run={run_dir}", f"trainer.epochs={epochs + 1}")
    assert result.returncode == 0, result.stderr
    assert "resumed    from step" in result.stdout
    assert len((run_dir / "history.csv").read_text().splitlines()) == epochs + 2
    repeated = training(tmp_path, f"run={run_dir}")
    assert (repeated.returncode, repeated.stderr) == (0, "")
    assert "nothing to do" in repeated.stdout


MISTAKE_WITHOUT_TENSORFLOW = """
import sys, training.__main__ as entry
sys.argv = ["training", "data.root=/nowhere"]
assert entry.main() == 2
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
"""


def test_a_mistake_is_reported_before_tensorflow_is_imported(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", MISTAKE_WITHOUT_TENSORFLOW],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("module", ["training.cli", "preprocess.cli"])
def test_forked_workers_end_by_signals(module: str) -> None:
    """A Pool ends its workers by SIGTERM, also a worker that waits for a lock and runs no Python code."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    with importlib.import_module(module).raise_on_termination():
        assert any(callable(signal.getsignal(number)) for number in numbers)
        pid = os.fork()
        if not pid:
            os._exit(any(callable(signal.getsignal(number)) for number in numbers))
        status = os.waitpid(pid, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 0
