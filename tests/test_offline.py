"""Every command with nobody at home: no network, an empty HOME, an empty working directory.

Afterwards these are as empty as before, the folder for temporary files too, and nothing was asked of a
network. The colouring page is asked for one drawing.
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
from helper_offline import ROOT, Away

from training import environment as library_environment

SCRIPTS = ROOT / "scripts"
NETWORK = ["model.widths=[8,16]", "model.blocks=[0,0]"]

# Starts the page, has it colour a drawing as a browser would, and ends it.
ASK_THE_PAGE = """
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
def away() -> Iterator[Away]:
    """In a folder with a short name: that of a socket below TMPDIR may have some 100 characters."""
    with tempfile.TemporaryDirectory(prefix="away-") as folder:
        yield Away.make(Path(folder))


def commands_all_succeed(away: Away, *commands: list[object]) -> None:
    for words in commands:
        result = away.run(*words)
        assert result.returncode == 0, f"{words}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
        away.assert_untouched()


def job(away: Away, *more: object) -> list[object]:
    helper_photos.folder(away.keep / "photos", 12)
    places = ["--input", away.keep / "photos", "--output", away.keep / "made", "--val_fraction", 0.3]
    return ["-m", "preprocess", *places, "--image_size", 32, *more]


def drawing(away: Away) -> Path:
    """A page with a few lines."""
    import cv2
    import numpy as np

    page = np.full((200, 200, 3), 255, np.uint8)
    cv2.circle(page, (100, 100), 60, (0, 0, 0), 3)
    path = away.keep / "drawing.png"
    path.write_bytes(helper_photos.png(page))
    return path


def test_preprocessing_colouring_and_the_page(away: Away) -> None:
    commands_all_succeed(
        away,
        job(away),
        [SCRIPTS / "colorize.py", drawing(away), "-o", away.keep / "colored.png"],
        ["-c", ASK_THE_PAGE, SCRIPTS / "serve.py", drawing(away)],
    )


@pytest.mark.slow
def test_scripts_about_datasets(away: Away) -> None:
    commands_all_succeed(
        away,
        job(away, "--palette", "kmeans:8"),
        [SCRIPTS / "verify_shards.py", away.keep / "made"],
        [SCRIPTS / "inspect_shards.py", away.keep / "made", "--output", away.keep / "sheet.png"],
        [SCRIPTS / "make_storybook.py", away.keep / "book", "--count", 4, "--seed", 1],
        [SCRIPTS / "make_sketches.py", away.keep / "sketches"],
        [SCRIPTS / "compare_palettes.py", "--images", away.keep / "photos", "--output", away.keep / "p.png"],
    )


@pytest.mark.slow
def test_training_and_what_follows(away: Away) -> None:
    dataset, run = conftest.write_dataset(away.keep / "dataset"), away.keep / "run"
    length = ["trainer.steps_per_epoch=2", "trainer.epochs=1"]
    commands_all_succeed(
        away,
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
        ["-m", "training.preview", f"data.root={dataset}", f"out={away.keep / 'preview.png'}"],
        ["-m", "training.compare", run, f"out={away.keep / 'comparison.png'}"],
        ["-m", "training.export", f"run={run}"],
        [SCRIPTS / "colorize.py", "--run", run, drawing(away), "-o", away.keep / "colored.png"],
    )


@pytest.mark.slow
def test_the_guard_sees_what_is_asked(away: Away) -> None:
    """Or the tests above would hold whatever happened."""
    for code in ("import socket; socket.create_connection(('example.com', 80))",
                 "import socket; socket.socket().connect(('192.0.2.1', 80))"):  # fmt: skip
        assert "unreachable" in away.run("-c", code).stderr
        with pytest.raises(AssertionError):
            away.assert_untouched()
        (away.hook / "asked").unlink()
    away.run("-c", "from pathlib import Path; Path.home().joinpath('.cache').mkdir()")
    with pytest.raises(AssertionError, match="left in home"):
        away.assert_untouched()


# ----------------------------------------------------------------------------------- what a user has set


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of its own, and none of the settings made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_settings_of_the_user_stand(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, "mine")
    library_environment.protect_home()
    assert {os.environ[name] for name in ("KERAS_HOME", "ORT_DISABLE_TELEMETRY", "MPLCONFIGDIR")} == {"mine"}


def test_a_list_of_fonts_that_matplotlib_has_made_is_used(environment: Path) -> None:
    (environment / ".cache/matplotlib").mkdir(parents=True)
    library_environment.protect_home()
    assert "MPLCONFIGDIR" not in os.environ
    shutil.rmtree(environment / ".cache")
    library_environment.protect_home()
    assert "linewash-matplotlib" in os.environ["MPLCONFIGDIR"]
    assert not Path(os.environ["MPLCONFIGDIR"]).exists(), "it is made when it is needed"
