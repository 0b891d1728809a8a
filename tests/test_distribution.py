"""Runs on several devices and in several processes: the loss curve is that of one device."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helper_commands import ROOT, run_main, training_main

pytestmark = pytest.mark.slow  # each starts TensorFlow in one or more processes
SMALL = [
    "experiment=smoke", "model.widths=[8,16]", "model.blocks=[0,1]", "trainer.batch_size=8",
    "trainer.steps_per_epoch=5", "augment=hands", "trainer.panel_images=2",
]  # fmt: skip
# Makes TensorFlow see two devices, as on a machine with two GPUs.
TWO_DEVICES = """
import sys, tensorflow as tf
device = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(device, [tf.config.LogicalDeviceConfiguration()] * 2)
from training.__main__ import main
sys.exit(main())
"""


def start(root: Path, run_dir: Path, *overrides: str, code: str = "", **env: str) -> subprocess.Popen[str]:
    entry = ["-c", code] if code else ["-m", "training"]
    return subprocess.Popen(
        [sys.executable, *entry, f"data.root={root}", f"hydra.run.dir={run_dir}", *SMALL, *overrides],
        cwd=ROOT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, errors = process.communicate(timeout=240)
    assert process.returncode == code, out + errors
    assert "Traceback" not in errors
    return out, errors


def history(run_dir: Path) -> list[dict[str, float]]:
    with (run_dir / "history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        for clock in ("seconds", "images_per_second", "input_wait"):
            del row[clock]
    return rows


def assert_same_curve(run_dir: Path, other: Path) -> None:
    assert len(history(run_dir)) == len(history(other)) == 2
    for row, expected in zip(history(run_dir), history(other), strict=True):
        assert row == pytest.approx(expected, rel=2e-3, abs=1e-3)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("localhost", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def cluster(workers: int = 2) -> list[dict[str, str]]:
    """Returns the environment variables of each process that shares the run."""
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})} for task in tasks]


@pytest.fixture(scope="module")
def alone(shared_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run on one device."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    end(start(shared_dataset, run_dir))
    return run_dir


def test_two_devices_have_the_curve_of_one(shared_dataset: Path, alone: Path, tmp_path: Path) -> None:
    end(start(shared_dataset, tmp_path / "run", "trainer.strategy=mirrored", code=TWO_DEVICES))
    assert_same_curve(tmp_path / "run", alone)


def test_two_processes_have_the_curve_of_one(shared_dataset: Path, alone: Path, tmp_path: Path) -> None:
    both = [
        start(shared_dataset, tmp_path / "run", "trainer.strategy=multi_worker", **env) for env in cluster()
    ]
    (chief, _), (other, _) = (end(process) for process in both)
    assert_same_curve(tmp_path / "run", alone)
    assert "epoch   2" in chief
    assert other == "", "only the chief prints"


def test_a_run_is_resumed_with_more_devices(shared_dataset: Path, alone: Path, tmp_path: Path) -> None:
    end(start(shared_dataset, tmp_path / "run", "trainer.epochs=1", "optimizer.schedule=constant"))
    end(start(
        shared_dataset, tmp_path / "run", "optimizer.schedule=constant", "trainer.strategy=mirrored",
        code=TWO_DEVICES,
    ))  # fmt: skip
    end(start(shared_dataset, tmp_path / "whole", "optimizer.schedule=constant"))
    assert_same_curve(tmp_path / "run", tmp_path / "whole")


def test_half_precision_ema_and_hints_on_two_devices(shared_dataset: Path, tmp_path: Path) -> None:
    process = start(
        shared_dataset, tmp_path / "run", "trainer.strategy=mirrored", "trainer.precision=mixed_float16",
        "trainer.ema=0.9", "model.hints=true", "trainer.jit_compile=true", code=TWO_DEVICES,
    )  # fmt: skip
    end(process)
    rows = history(tmp_path / "run")
    assert rows[1]["train_loss"] < rows[0]["train_loss"]


def test_processes_that_disagree_are_reported(shared_dataset: Path, tmp_path: Path) -> None:
    both = [
        start(
            shared_dataset, tmp_path / "run", "trainer.strategy=multi_worker", f"trainer.seed={seed}", **env
        )
        for seed, env in enumerate(cluster())
    ]
    for process in both:
        _, errors = end(process, code=1)
        assert errors.startswith("python -m training: the 2 processes of this run do not agree")
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_killed_process_is_reported_and_all_resume(
    shared_dataset: Path, alone: Path, tmp_path: Path
) -> None:
    run_dir, overrides = tmp_path / "run", ["trainer.strategy=multi_worker", "trainer.checkpoint_steps=1"]
    chief, other = (start(shared_dataset, run_dir, *overrides, **env) for env in cluster())
    while not list(run_dir.glob("checkpoints/step-0000000[23].npz")):
        assert chief.poll() is None, chief.communicate()
    other.kill()
    other.communicate()
    _, errors = end(chief, code=1)
    assert "another of the 2 processes of this run has ended: start all of them again" in errors
    for process in [start(shared_dataset, run_dir, *overrides, **env) for env in cluster()]:
        end(process)
    assert_same_curve(run_dir, alone)


@pytest.mark.parametrize(
    ("overrides", "env", "message"),
    [
        (["trainer.strategy=multi_worker"], {}, "TF_CONFIG is not set; set it for each process, as in"),
        (["trainer.strategy=multi_worker"], {"TF_CONFIG": "{}"}, "TF_CONFIG={}; set it for each process"),
        (["trainer.strategy=both"], {}, "must be one of one, mirrored, multi_worker; got both"),
        (
            ["trainer.strategy=multi_worker", "trainer.max_minutes=3"], {},
            "trainer.max_minutes must be null with trainer.strategy=multi_worker",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_reported_in_a_sentence(
    overrides: list[str], env: dict[str, str], message: str, shared_dataset: Path, tmp_path: Path
) -> None:
    paths = [f"data.root={shared_dataset}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = run_main(training_main, *paths, *SMALL, *overrides, env={**os.environ, **env})
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert message in done.stderr


def test_a_batch_that_cannot_be_split_is_reported_in_a_sentence(shared_dataset: Path, tmp_path: Path) -> None:
    overrides = ["trainer.strategy=mirrored", "trainer.batch_size=7", "trainer.steps_per_epoch=null"]
    _, errors = end(start(shared_dataset, tmp_path / "run", *overrides, code=TWO_DEVICES), code=2)
    assert "cannot be split evenly among 2 devices: type trainer.batch_size=6" in errors
