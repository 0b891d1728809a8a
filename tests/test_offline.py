"""Every command works without network, and leaves HOME, the working directory and TMPDIR empty.

The page of scripts/serve.py is asked to colour one drawing.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import conftest
import helper_photos
import pytest
from helper_offline import ROOT, IsolatedMachine

from training import environment as library_environment

SCRIPTS = ROOT / "scripts"
NETWORK = ["model.widths=[8,16]", "model.blocks=[0,0]"]

# Starts the page, sends a drawing as a browser does, and ends the page.
COLOR_ON_PAGE = """
import base64, json, re, subprocess, sys, urllib.request
script, drawing = sys.argv[1:]
page = subprocess.Popen([sys.executable, script, "--port", "0"], stdout=subprocess.PIPE, text=True)
try:
    address = re.search(r"http://[^\\s/]+", page.stdout.readline())[0]
    question = {"drawing": base64.b64encode(open(drawing, "rb").read()).decode()}
    request = urllib.request.Request(address + "/color", json.dumps(question).encode(), {"Origin": address})
    assert json.load(urllib.request.urlopen(request, timeout=120))
finally:
    page.terminate()
    page.wait(60)
"""


@pytest.fixture
def machine() -> Iterator[IsolatedMachine]:
    """A machine in a folder with a short name: the path of a socket may have only 100 characters."""
    with tempfile.TemporaryDirectory(prefix="offline-") as folder:
        yield IsolatedMachine.make(Path(folder))


def assert_all_succeed(machine: IsolatedMachine, *commands: list[object]) -> None:
    for command in commands:
        result = machine.run(*command)
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
        machine.assert_untouched()


def job(machine: IsolatedMachine, *options: object) -> list[object]:
    helper_photos.make_image_folder(machine.output / "photos", 12)
    paths = ["--input", machine.output / "photos", "--output", machine.output / "made"]
    return ["-m", "preprocess", *paths, "--val_fraction", 0.3, "--image_size", 32, *options]


def drawing(machine: IsolatedMachine) -> Path:
    """Writes a drawing with a few lines."""
    import cv2
    import numpy as np

    page = np.full((200, 200, 3), 255, np.uint8)
    cv2.circle(page, (100, 100), 60, (0, 0, 0), 3)
    path = machine.output / "drawing.png"
    path.write_bytes(helper_photos.png(page))
    return path


def test_preprocessing_colouring_and_the_page(machine: IsolatedMachine) -> None:
    assert_all_succeed(
        machine,
        job(machine),
        [SCRIPTS / "colorize.py", drawing(machine), "-o", machine.output / "colored.png"],
        ["-c", COLOR_ON_PAGE, SCRIPTS / "serve.py", drawing(machine)],
    )


@pytest.mark.slow
def test_scripts_about_datasets(machine: IsolatedMachine) -> None:
    assert_all_succeed(
        machine,
        job(machine, "--palette", "kmeans:8"),
        [SCRIPTS / "verify_shards.py", machine.output / "made"],
        [SCRIPTS / "inspect_shards.py", machine.output / "made", "--output", machine.output / "sheet.png"],
        [SCRIPTS / "make_storybook.py", machine.output / "book", "--count", 4, "--seed", 1],
        [SCRIPTS / "make_sketches.py", machine.output / "sketches"],
        [
            SCRIPTS / "compare_palettes.py",
            "--images",
            machine.output / "photos",
            "--output",
            machine.output / "p.png",
        ],
        [
            SCRIPTS / "compare_lines.py",
            "--images",
            machine.output / "photos",
            "--output",
            machine.output / "l.png",
        ],
    )


@pytest.mark.slow
def test_training_and_what_follows(machine: IsolatedMachine) -> None:
    dataset, run = conftest.write_dataset(machine.output / "dataset"), machine.output / "run"
    length = ["trainer.steps_per_epoch=2", "trainer.epochs=1"]
    assert_all_succeed(
        machine,
        [
            "-m",
            "training",
            f"data.root={dataset}",
            "experiment=smoke",
            *NETWORK,
            *length,
            f"hydra.run.dir={run}",
        ],
        ["-m", "training", f"run={run}", "trainer.epochs=2"],
        ["-m", "training.evaluate", f"run={run}"],
        ["-m", "training.preview", f"data.root={dataset}", f"out={machine.output / 'preview.png'}"],
        ["-m", "training.compare", run, f"out={machine.output / 'comparison.png'}"],
        ["-m", "training.export", f"run={run}"],
        [SCRIPTS / "colorize.py", "--run", run, drawing(machine), "-o", machine.output / "colored.png"],
    )


@pytest.mark.slow
def test_the_guard_detects_connections_and_files(machine: IsolatedMachine) -> None:
    """Without it, the tests above would always pass."""
    for code in ("import socket; socket.create_connection(('example.com', 80))",
                 "import socket; socket.socket().connect(('192.0.2.1', 80))"):  # fmt: skip
        assert "unreachable" in machine.run("-c", code).stderr
        with pytest.raises(AssertionError):
            machine.assert_untouched()
        (machine.hook / "network.log").unlink()
    machine.run("-c", "from pathlib import Path; Path.home().joinpath('.cache').mkdir()")
    with pytest.raises(AssertionError, match="left in home"):
        machine.assert_untouched()


# ------------------------------------------------------------------------ environment variables of the user


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home, and no variable set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_variables_of_the_user_are_kept(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "mine")
    library_environment.protect_home()
    assert {os.environ[name] for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR")} == {"mine"}


def test_an_existing_font_cache_of_matplotlib_is_used(environment: Path) -> None:
    (environment / ".cache/matplotlib").mkdir(parents=True)
    library_environment.protect_home()
    assert "MPLCONFIGDIR" not in os.environ
    shutil.rmtree(environment / ".cache")
    library_environment.protect_home()
    assert "linewash-matplotlib" in os.environ["MPLCONFIGDIR"]
    assert not Path(os.environ["MPLCONFIGDIR"]).exists(), "matplotlib makes it when it is imported"
