"""Jobs on a Flink session cluster, as scripts/flink_local.sh starts it.

Maven assembles Beam's job server for Flink, or FLINK_JOB_SERVER_JAR names it. If neither is available, the
two tests that submit a job to Flink are skipped, except in CI. The cluster is always tested. The launcher and
a worker pool are tested with Beam's own job service, without Flink.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import helper_pairs
import helper_photos
import pytest

from preprocess import options
from preprocess.lines.styles import LINE_STYLES

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "flink_local.sh"
# The first of three ports. Each worker of pytest has its own, since two of them may run tests of this file.
PORT = 18081 + 10 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
SERVICES = ("job-manager", "task-manager-1", "task-manager-2", "worker-pool")
JOB_SERVER_MISSING = 3  # exit code of `fetch`

pytestmark = [pytest.mark.flink, pytest.mark.xdist_group("flink")]


def flink_local(*args, timeout=180, **env):
    command = [SCRIPT, *map(str, args)]
    env = {**os.environ, "FLINK_LOCAL_PORT": str(PORT), **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)


def process_id(state, service):
    return int((state / f"{service}.pid").read_text())


def lives(pid):
    """Returns True if a process runs. One that has ended may remain in /proc, without a command."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def task_managers():
    with urllib.request.urlopen(f"http://localhost:{PORT}/overview", timeout=5) as response:
        return json.load(response)["taskmanagers"]


def job_servers():
    """Returns the process ids of Beam's job servers for the cluster."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return [pid for pid in pids if f"--flink-master\0http://localhost:{PORT}" in command_line(pid)]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def eventually(condition, seconds=30):
    for _ in range(seconds * 10):
        if condition():
            return True
        time.sleep(0.1)
    return False


def shards(root):
    paths = [path for name in ("train", "val") for path in sorted((root / name).iterdir())]
    return {path.name: path.read_bytes() for path in [*paths, root / "manifest.json"]}


@pytest.fixture(scope="module")
def java():
    """Skips the test if Java is not installed."""
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Java is not installed")


@pytest.fixture(scope="module")
def state(java, tmp_path_factory):
    """The folder of the logs and process ids of a running cluster."""
    state = tmp_path_factory.mktemp("flink") / "state"
    os.environ["FLINK_LOCAL_DIR"] = str(state)
    try:
        started = flink_local("start", timeout=400)
        assert started.returncode == 0, started.stderr
        yield state
    finally:
        flink_local("stop")
        del os.environ["FLINK_LOCAL_DIR"]


@pytest.fixture(scope="module")
def job_server(java):
    """Downloads Beam's job server for Flink; skips the test if that fails."""
    fetched = flink_local("fetch", timeout=600)
    if fetched.returncode == JOB_SERVER_MISSING and not os.environ.get("CI"):
        pytest.skip(fetched.stderr.strip().splitlines()[-1])
    assert fetched.returncode == 0, fetched.stderr


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The flags of a job with 25 shards and all line styles, and the dataset that the local runner writes."""
    root = tmp_path_factory.mktemp("job")
    flags = ["--input", str(helper_photos.make_image_folder(root / "images", 1200)), "--num_shards", "24"]
    flags += ["--lines", ",".join(name for name in LINE_STYLES if name != "drawn")]  # these have no drawings
    command = [sys.executable, "-m", "preprocess", *flags, "--output", str(root / "local")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return flags, shards(root / "local")


# ------------------------------------------------------------------------------------------- on Flink


def test_flink_writes_the_same_bytes(job_server, job, tmp_path):
    flags, expected = job
    result = flink_local("run", *flags, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "1,200 images" in result.stdout
    assert "Traceback" not in result.stderr
    assert shards(tmp_path / "out") == expected
    assert job_servers() == [], "the job server outlives the job"


def test_ctrl_c_stops_the_command_and_the_next_run_continues(job_server, state, job, tmp_path):
    """Beam does not cancel the job in the cluster, which goes on. The next run may meet it: same bytes."""
    if flink_local("status").returncode:
        assert flink_local("start").returncode == 0
    command = [SCRIPT, "run", *job[0], "--output", tmp_path / "out"]
    env = {**os.environ, "FLINK_LOCAL_PORT": str(PORT)}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        assert eventually(lambda: list(tmp_path.glob("out/receipts/*.json")), 120)
        os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=60) == 130, (tmp_path / "log").read_text()
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert job_servers() == [], "the job server outlives the command"
    result = flink_local("run", *job[0], "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert shards(tmp_path / "out") == job[1]


def test_a_killed_task_manager_changes_nothing(job_server, state, job, tmp_path):
    flags, expected = job
    command = [SCRIPT, "run", *flags, "--output", tmp_path / "out"]
    env = {**os.environ, "FLINK_LOCAL_PORT": str(PORT)}
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        assert eventually(lambda: len(list(tmp_path.glob("out/receipts/*.json"))) >= 2, 90)
        assert running.poll() is None, "the job finished before the task manager was killed"
        os.kill(process_id(state, "task-manager-1"), signal.SIGKILL)
        assert running.wait(timeout=180) == 0, (tmp_path / "log").read_text()
    assert shards(tmp_path / "out") == expected


@pytest.mark.parametrize("kind", ["pairs", "svgs"])
def test_drawings_give_the_same_bytes_on_flink(job_server, state, kind, tmp_path):
    if flink_local("status").returncode:
        assert flink_local("start").returncode == 0
    inputs = drawn_inputs(kind, tmp_path)
    flags = ["--lines", "drawn,borders,canny", "--image_size", "64", "--num_shards", "4"]
    flags += ["--max_reject_fraction", "0.2"]
    assert preprocess(*inputs, *flags, "--output", tmp_path / "local").returncode == 0
    result = flink_local("run", *inputs, *flags, "--output", tmp_path / "flink")
    assert result.returncode == 0, result.stderr
    assert shards(tmp_path / "flink") == shards(tmp_path / "local")
    rejects = [(tmp_path / name / "rejects.jsonl").read_bytes() for name in ("flink", "local")]
    assert rejects[0] == rejects[1]
    assert b"no_drawing" in rejects[0]


def drawn_inputs(kind, root):
    """Returns the flags that give 40 drawings with their colourings, and one image without a drawing."""
    if kind == "pairs":
        helper_pairs.write_pairs(root / "drawings", root / "colors", 41)
        next((root / "drawings").rglob("*.png")).unlink()
        return ["--input", root / "colors", "--drawings", root / "drawings"]
    (root / "art").mkdir()
    for number in range(40):
        (root / "art" / f"{number}.svg").write_bytes(helper_pairs.make_svg(number))
    (root / "art" / "photograph.png").write_bytes(helper_photos.png(helper_pairs.make_pair(0)[1]))
    return ["--input", root / "art"]


# ------------------------------------------------------------------------------------------- the cluster


def test_the_cluster_starts_survives_a_loss_and_stops_completely(state):
    if flink_local("status").returncode:  # a test before this one has killed a task manager
        assert flink_local("start").returncode == 0
    assert task_managers() == 2
    assert "already running" in flink_local("start").stderr
    os.kill(process_id(state, "task-manager-2"), signal.SIGKILL)
    assert eventually(lambda: task_managers() == 1), "the loss is not detected"
    status = flink_local("status")
    assert status.returncode == 1
    assert "task-manager-2: not running" in status.stdout

    assert flink_local("start").returncode == 0
    assert task_managers() == 2
    left = [process_id(state, service) for service in SERVICES]
    assert flink_local("stop").returncode == 0
    assert not any(lives(pid) for pid in left)
    assert not list(state.glob("*.pid"))
    assert flink_local("stop").returncode == 0, "to stop a stopped cluster is no error"


# ------------------------------------------------------------------------------------------- the launcher


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Runs Beam's own job service and worker pool; yields the flags of a job that uses both."""
    log = (tmp_path_factory.mktemp("service") / "log").open("w")
    pool, service = free_port(), free_port()
    pools = ["apache_beam.runners.worker.worker_pool_main", f"--service_port={pool}"]
    services = ["apache_beam.runners.portability.local_job_service_main", f"--port={service}"]
    # The pool starts its workers by the command `python`.
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *args], env=env, stdout=log, stderr=log, start_new_session=True
        )
        for args in (pools, services)
    ]
    try:
        assert eventually(lambda: answers(pool) and answers(service))
        yield ["--runner", "FlinkRunner", "--job_endpoint", f"localhost:{service}",
               "--environment_type", "EXTERNAL", "--environment_config", f"localhost:{pool}"]  # fmt: skip
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


def preprocess(*args, **kwargs):
    command = [sys.executable, "-m", "preprocess", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **kwargs)


def test_an_external_worker_pool_writes_the_same_bytes(service, job, tmp_path):
    flags, expected = job
    result = preprocess(*flags, "--output", tmp_path / "out", *service)
    assert result.returncode == 0, result.stderr
    assert "1,200 images" in result.stdout
    assert shards(tmp_path / "out") == expected


def test_the_error_of_a_failed_job_is_one_sentence(service, job, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/train").write_text("in the way")
    result = preprocess(*job[0], "--output", tmp_path / "out", *service)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("python -m preprocess: the job failed: ")
    assert "run the same command again" in last
    assert "File exists" in (tmp_path / "out/.work/error.txt").read_text()


def test_ctrl_c_cancels_the_job(service, job, tmp_path):
    command = [sys.executable, "-m", "preprocess", *job[0], "--output", str(tmp_path / "out"), *service]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert eventually(lambda: len(list(tmp_path.glob("out/receipts/*.json"))) >= 1)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert "run the same command again to continue" in errors


# ------------------------------------------------------------------------------------------- errors


def test_flags_of_flinks_job_server_are_accepted():
    options.check_beam_flags(
        ["--runner", "FlinkRunner", "--checkpointing_interval", "1000", "--object_reuse"]
    )


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--runner", "FlinkRunner", "--flink_mastr", "x"], "did you mean --flink_master?"),
        (["--runner", "FlinkRunner", "--paralelism=2"], "did you mean --parallelism?"),
        (
            ["--runner", "DirectRunner", "--checkpointing_interval", "1000"],
            "unknown flag --checkpointing_interval",
        ),
    ],
)
def test_misspelt_flags_are_refused(flags, expected):
    with pytest.raises(options.UsageError, match=expected.replace("?", r"\?")):
        options.check_beam_flags(flags)


@pytest.mark.parametrize(
    ("args", "env", "expected"),
    [
        (["start"], {"JAVA_HOME": "/nowhere"}, "Flink needs Java 11 or newer"),
        (["run"], {"JAVA_HOME": "/nowhere"}, "Flink needs Java 11 or newer"),
        (["dance"], {}, "there is no command dance"),
    ],
)
def test_an_error_of_the_script_is_one_sentence(args, env, expected, tmp_path):
    result = flink_local(*args, FLINK_LOCAL_DIR=str(tmp_path / "state"), **env)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert expected in result.stderr


def test_the_error_for_a_missing_job_server_is_one_sentence(java, tmp_path):
    result = flink_local("run", FLINK_JOB_SERVER_JAR=str(tmp_path / "none.jar"))
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert "none.jar does not exist" in result.stderr
