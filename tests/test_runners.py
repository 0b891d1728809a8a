"""Runners named on the command line: refused before any image is listed, started, and stopped completely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import helper_photos
import pytest
from apache_beam.runners.portability import prism_runner
from apache_beam.utils import subprocess_server
from helper_commands import ROOT, run_main
from helper_jobs import assert_one_sentence, file_contents, preprocess_in_a_process
from test_flink import free_port

from preprocess.__main__ import main
from preprocess.runners import launcher, preflight

FLINK = ["--runner", "FlinkRunner"]
CLOSED = "localhost:1"  # nothing listens there


def run(*flags: object):
    """Runs a job whose input does not exist, which is found only after the flags are checked."""
    return run_main(main, "--input", "nowhere", "--output", "nowhere-either", *flags)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--runner", "SparkRuner"], ["no runner 'SparkRuner'", "did you mean SparkRunner?"]),
        (["--runner", "Quick"], ["no runner 'Quick'", "PrismRunner", "DataflowRunner"]),
        (["--runner", ""], ["no runner ''"]),
        (["--runner", "nowhere.Runner"], ["nowhere.Runner", "No module named 'nowhere'"]),
        (["--runner", "apache_beam.Runner"], ["apache_beam.Runner", "no attribute 'Runner'"]),
        (["--runner", "InteractiveRunner"], ["apache_beam[interactive]"]),
        (["--direct_running_mode", "fast"], ["--direct_running_mode", "'fast'", "multi_processing"]),
        (["--direct_running_mode", ""], ["--direct_running_mode", "multi_processing"]),
        ([*FLINK, "--flink_job_server_jar", "none.jar"], ["--flink_job_server_jar none.jar is not a file"]),
        ([*FLINK, "--job_server_java_launcher", "none/java"], ["needs Java", "--job_server_java_launcher"]),
        ([*FLINK, "--flink_version", "9.9"], ["--flink_version", "'9.9'", "1.19"]),
        ([*FLINK, "--flink_master", "here"], ["--flink_master must be HOST:PORT, got here"]),
        ([*FLINK, "--flink_master", "here:x"], ["--flink_master must be HOST:PORT, got here:x"]),
        (["--runner", "PrismRunner", "--prism_location", "none"], ["--prism_location none is not a file"]),
        (["--runner", "PortableRunner"], ["needs --job_endpoint HOST:PORT"]),
    ],
)
def test_a_wrong_flag_is_refused_in_one_sentence(flags: list[str], expected: list[str]) -> None:
    assert_one_sentence(run(*flags), 2, *expected)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([*FLINK, "--job_server_java_launcher", "true", "--flink_master", CLOSED], "--flink_master"),
        ([*FLINK, "--flink_submit_uber_jar", "--flink_master", f"http://{CLOSED}"], "--flink_master"),
        ([*FLINK, "--job_endpoint", CLOSED], "--job_endpoint"),
        (["--runner", "PortableRunner", "--job_endpoint", CLOSED], "--job_endpoint"),
    ],
)
def test_the_error_for_a_service_that_does_not_answer_is_one_sentence(
    flags: list[str], expected: str
) -> None:
    assert_one_sentence(run(*flags), 1, expected, CLOSED, "does not answer")


def refuse(*_: object, **__: object) -> None:
    raise URLError("no network")


def test_prism_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prism_runner, "urlopen", refuse)
    monkeypatch.setattr(prism_runner.PrismJobServer, "BIN_CACHE", str(tmp_path / "cache"))
    images = helper_photos.make_image_folder(tmp_path / "images", 4)
    flags = ["--val_fraction", 0, "--runner", "PrismRunner"]
    result = run_main(main, "--input", images, "--output", tmp_path / "out", *flags)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert "Prism could not be downloaded" in last
    assert "--prism_location FILE" in last
    assert "go install" in last


def test_a_job_server_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess_server, "urlopen", refuse)
    with pytest.raises(RuntimeError) as raised:
        subprocess_server.JavaJarServer.local_jar("https://nowhere/server.jar", str(tmp_path))
    sentence = preflight.explain(str(raised.value))
    assert "could not be downloaded from https://nowhere/server.jar" in sentence
    assert "--flink_job_server_jar FILE" in sentence


# ------------------------------------------------------------------------------------------- the end


def test_the_temporary_folder_of_a_named_runner_outlives_the_job_servers(tmp_path: Path) -> None:
    """Beam stops them at its exit. If their files are missing then, it fails and leaves them running."""
    code = """
import atexit, pathlib
from preprocess.runners import launcher
with launcher.temporary_folder(until_exit=True) as folder:
    atexit.register(lambda: print(pathlib.Path(folder).is_dir()))
"""
    command = [sys.executable, "-c", code]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert result.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []


def test_the_interrupt_handler_of_beam_does_not_stay() -> None:
    before = signal.getsignal(signal.SIGINT)
    with launcher.keep_interrupt_handler():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.skipif("PRISM" not in os.environ, reason="PRISM does not name the program of the Prism runner")
@pytest.mark.parametrize("pool", [False, True])
def test_prism_writes_the_same_bytes(tmp_path: Path, pool: bool) -> None:
    """Its program is built by `go install`, see the message of the test above."""
    images = helper_photos.make_image_folder(tmp_path / "images", 60)
    flags = ["--input", images, "--image_size", 64, "--num_shards", 4]
    assert preprocess_in_a_process(*flags, "--output", tmp_path / "local").returncode == 0
    prism = ["--runner", "PrismRunner", "--prism_location", os.environ["PRISM"]]
    server = None
    if pool:
        port = free_port()
        command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        server = subprocess.Popen([*command, f"--service_port={port}"], env=env, stderr=subprocess.DEVNULL)
        prism += ["--environment_type", "EXTERNAL", "--environment_config", f"localhost:{port}"]
    try:
        result = preprocess_in_a_process(*flags, "--output", tmp_path / "prism", *prism)
    finally:
        if server:
            server.terminate()
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert file_contents(tmp_path / "prism") == file_contents(tmp_path / "local")
    running = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in running if command.startswith(os.environ["PRISM"])]
