"""Dataflow, tested without the cloud: staged files, the submitted job, a worker that has only the wheel."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import venv
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import helper_photos
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import create_server
from google.cloud import storage as google_storage
from helper_commands import ROOT, run_main, run_module

from preprocess.__main__ import main
from preprocess.options import build_parser, parse
from preprocess.runners import dataflow, worker_wheel

BUCKET = "linewash-tests"


class DataflowApi(BaseHTTPRequestHandler):
    """The part of Google's job service that a job needs: accepts a job, runs `work`, returns the state."""

    jobs: list[dict]
    work = staticmethod(lambda: "JOB_STATE_DONE")  # called for each query of the state, which it returns

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            return self._answer({"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"})
        self.jobs.append({**json.loads(body), "path": self.path})
        return self._answer(self._job("JOB_STATE_PENDING"))

    def do_GET(self):
        if re.search("/(messages|metrics)", self.path):
            return self._answer({})
        return self._answer(self._job(type(self).work()))

    def _job(self, state):
        job = self.jobs[-1]
        return {"id": "job-1", "projectId": "a-project", "location": "a-region", "name": job["name"],
                "currentState": state, "type": "JOB_TYPE_BATCH"}  # fmt: skip

    def _answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A project with a bucket of images, the job service, and credentials for both."""
    store = create_server("127.0.0.1", 0, in_memory=True)
    store.start()
    handler = type("Handler", (DataflowApi,), {"jobs": []})
    api = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    folder = tmp_path_factory.mktemp("cloud")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": "a-project",
        "client_email": "tests@a-project",
        "token_uri": f"http://127.0.0.1:{api.server_port}/token",
        "private_key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    }
    (folder / "account.json").write_text(json.dumps(account))
    env = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{store._api._httpd.server_port}",
        "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "account.json"),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", env["STORAGE_EMULATOR_HOST"])
        bucket = google_storage.Client.create_anonymous_client().create_bucket(BUCKET)
        for path in helper_photos.make_image_folder(folder / "images", 40).rglob("*.JPEG"):
            name = f"images/{path.relative_to(folder / 'images').as_posix()}"
            bucket.blob(name).upload_from_filename(path)
        yield Cloud(bucket, handler, env, f"http://localhost:{api.server_port}")
    api.shutdown()
    store.stop()


class Cloud:
    def __init__(self, bucket, api, env, endpoint):
        self.bucket, self.api, self.env, self.endpoint = bucket, api, env, endpoint

    def command(self, output, *flags):
        url = f"gs://{BUCKET}"
        places = ["--input", f"{url}/images", "--output", f"{url}/{output}", "--image_size", 32]
        service = [
            "--runner",
            "DataflowRunner",
            "--dataflow_endpoint",
            self.endpoint,
            "--project",
            "a-project",
        ]
        service += ["--region", "a-region", "--temp_location", f"{url}/tmp-{output}"]
        return [*places, *service, "--job_name", "linewash-job", *flags]

    def read(self, url):
        return self.bucket.blob(url.removeprefix(f"gs://{BUCKET}/")).download_as_bytes()

    def names(self, prefix):
        return [blob.name for blob in self.bucket.list_blobs(prefix=prefix)]


def preprocess(*args, env=()):
    """Runs the command in a new process, with no credentials but those in `env`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GOOGLE_", "CLOUDSDK_", "STORAGE_"))}
    return run_module("preprocess", *args, env=clean | {"NO_GCE_CHECK": "true"} | dict(env), timeout=150)


def pipeline_of(cloud, job):
    """Returns the pipeline whose URL is in the request of a job."""
    options = job["environment"]["sdkPipelineOptions"]["options"]
    return beam_runner_api_pb2.Pipeline.FromString(cloud.read(options["pipelineUrl"]))


def artifacts(pipeline):
    """Returns the URL of each staged file of a pipeline by its name on the workers."""
    urls = {}
    for environment in pipeline.components.environments.values():
        for dependency in environment.dependencies:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(dependency.role_payload)
            url = beam_runner_api_pb2.ArtifactUrlPayload.FromString(dependency.type_payload)
            urls[role.staged_name] = url.url
    return urls


@pytest.fixture(scope="module")
def job(cloud):
    """The request of a finished job. Instead of Dataflow's workers, a job on this machine does the work."""
    worked = []

    def work():
        if not worked:
            local = cloud.command("out")[:6]  # input, output and recipe, without the service
            worked.append(preprocess(*local, env=cloud.env))
        return "JOB_STATE_DONE"

    cloud.api.work = staticmethod(work)
    flags = ["--machine_type", "n1-standard-4", "--max_num_workers", "7", "--num_workers", "3"]
    result = preprocess(*cloud.command("out", *flags), env=cloud.env)
    assert worked[0].returncode == 0, worked[0].stderr
    assert result.returncode == 0, result.stderr
    assert f"dataset: gs://{BUCKET}/out" in result.stdout
    assert "out/manifest.json" in cloud.names("out/")
    return cloud.api.jobs[-1]


def test_the_request_contains_the_values_of_the_flags(job):
    assert job["path"].startswith("/v1b3/projects/a-project/locations/a-region/jobs")
    assert job["name"] == "linewash-job"
    (pool,) = job["environment"]["workerPools"]
    assert (pool["machineType"], pool["numWorkers"]) == ("n1-standard-4", 3)
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    assert pool["numThreadsPerWorker"] == 1, "there is one process per core already"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"beam_python{version}_sdk" in pool["workerHarnessContainerImage"]


def test_the_request_asks_for_the_memory_of_the_largest_image(cloud, job):
    environments = pipeline_of(cloud, job).components.environments
    assert len(environments) == 1, "steps with other hints would get machines of their own"
    (environment,) = environments.values()
    assert environment.resource_hints["beam:resources:min_ram_bytes:v1"] == b"3000000000"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], "min_ram=3GB"),
        (["--max_pixels", 1 << 30], "min_ram=35GB"),
        (["--resource_hints", "min_ram=8GB"], None),
        (["--flexrs_goal", "COST_OPTIMIZED"], None),
    ],
)
def test_the_resource_hint_follows_max_pixels(flags, expected, tmp_path):
    given = [item for pair in GOOD.items() for item in pair]
    given += ["--runner", "DataflowRunner", "--sdk_container_image", "a-project/linewash:1"]
    added = dataflow.extra_flags(parse([*given, *map(str, flags)]), str(tmp_path))
    assert [value for value in added if value.startswith("min_ram")] == ([expected] if expected else [])


def test_workers_get_the_wheel_and_no_pickled_session(cloud, job, tmp_path):
    staged = artifacts(pipeline_of(cloud, job))
    wheel = "linewash-0.1.0-py3-none-any.whl"
    assert set(staged) == {wheel, "extra_packages.txt", "submission_environment_dependencies.txt"}
    assert cloud.read(staged["extra_packages.txt"]).decode().split() == [wheel]
    assert not [name for name in cloud.names("tmp-out") if "session" in name]
    assert not job["environment"]["sdkPipelineOptions"]["options"].get("save_main_session")
    path = tmp_path / wheel
    path.write_bytes(cloud.read(staged[wheel]))
    required = b" ".join(requirements(path)).lower()
    assert b"tensorflow" not in required
    assert b"keras" not in required
    # The installed wheel contains all modules that a worker imports.
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", target, path], check=True, timeout=60)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import preprocess.pipeline as p; "
    code += "assert p.__file__.startswith(sys.path[0]); assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_a_template_with_a_container_image_has_no_wheel_and_is_not_awaited(cloud):
    before, image = len(cloud.api.jobs), "a-project/linewash:1"
    flags = ["--template_location", f"gs://{BUCKET}/templates/job", "--sdk_container_image", image]
    result = preprocess(*cloud.command("later", *flags), env=cloud.env)
    assert result.returncode == 0, result.stderr
    assert "run the same command without --runner" in result.stdout
    assert len(cloud.api.jobs) == before
    assert cloud.names("later/.work/plan"), "the shard lists are kept for the workers"
    job = json.loads(cloud.read("templates/job"))
    assert set(artifacts(pipeline_of(cloud, job))) == {"submission_environment_dependencies.txt"}
    (pool,) = job["environment"]["workerPools"]
    assert pool["workerHarnessContainerImage"] == image
    assert [other["containerImage"] for other in pool["sdkHarnessContainerImages"]] == [image]


@pytest.mark.slow  # Beam waits for most of a minute for the last messages of a failed job
def test_the_error_of_a_failed_job_says_how_to_continue(cloud):
    cloud.api.work = staticmethod(lambda: "JOB_STATE_FAILED")
    result = preprocess(*cloud.command("failed"), env=cloud.env)
    assert result.returncode == 1
    assert "run the same command again" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


# --------------------------------------------------------------------------------------------- wheel


def requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        return [line for line in archive.read(name).splitlines() if line.startswith(b"Requires-Dist")]


def pinned(lines):
    """Returns the versions by name from lines like `name==version`."""
    return dict(re.fullmatch(r"([\w.-]+)==(\S+?)(;.*)?", line).group(1, 2) for line in lines if "==" in line)


def test_the_wheel_requires_the_packages_of_the_project_at_the_pinned_versions(tmp_path):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["preprocess"]]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in declared}
    required = [
        line.decode().partition(": ")[2] for line in requirements(worker_wheel.build_wheel(str(tmp_path)))
    ]
    names |= set(worker_wheel.OPTIONAL)  # the tests install them
    assert {re.match(r"[\w-]+", requirement)[0] for requirement in required} == names
    constraints = pinned((ROOT / "scripts/constraints.txt").read_text().splitlines())
    assert pinned(required) == {name: constraints[name] for name in names - {"protobuf"}}


def test_an_installed_linewash_builds_the_same_wheel(tmp_path):
    """The wheel is built from the files that were installed from a wheel, without a checkout."""
    wheel = Path(worker_wheel.build_wheel(str(tmp_path)))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "again").mkdir()
    code = (
        f"from preprocess.runners import worker_wheel; worker_wheel.build_wheel({str(tmp_path / 'again')!r})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "site", check=True, timeout=60)
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_wheel_for_s3_requires_boto3(tmp_path):
    lines = requirements(worker_wheel.build_wheel(str(tmp_path), ["boto3"]))
    assert any(line.startswith(b"Requires-Dist: boto3==") for line in lines)


def test_missing_source_files_are_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(worker_wheel.preprocess, "__file__", str(tmp_path / "app.zip" / "__init__.py"))
    with pytest.raises(
        worker_wheel.PackagingError, match=r"no folder of source files.*--sdk_container_image"
    ):
        worker_wheel.build_wheel(str(tmp_path))


@pytest.mark.slow
def test_a_worker_needs_only_the_wheel(tmp_path):
    """A worker runs in an environment with the wheel, without a checkout and without TensorFlow."""
    images = helper_photos.make_image_folder(tmp_path / "images", 60)
    args = ["--input", images, "--image_size", 64, "--num_shards", 4]
    assert preprocess(*args, "--output", tmp_path / "local").returncode == 0
    python = bare_environment(tmp_path / "venv", worker_wheel.build_wheel(str(tmp_path)))
    away = tmp_path / "elsewhere"
    away.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pool = [python, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PATH"] = f"{python.parent}:{env['PATH']}"  # the pool starts its workers by the command `python`
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(pool, cwd=away, env=env, **quiet) as worker:
        try:
            wait_for(port)
            flags = ["--runner", "PortableRunner", "--job_endpoint", "embed"]
            flags += ["--environment_type", "EXTERNAL", "--environment_config", f"localhost:{port}"]
            result = preprocess(*args, "--output", tmp_path / "portable", *flags)
        finally:
            worker.terminate()
    assert result.returncode == 0, result.stderr[-3000:]
    made, expected = ({p.relative_to(root): p.read_bytes() for p in root.rglob("*.*") if p.is_file()}
                      for root in (tmp_path / "portable", tmp_path / "local"))  # fmt: skip
    assert made == expected


def bare_environment(root, wheel):
    """Creates an environment with `wheel[preprocess]` at the pinned versions; returns its Python."""
    venv.create(root, with_pip=True)
    python = root / "bin/python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pins = ["--constraint", ROOT / "scripts/constraints.txt"]
    subprocess.run([*install, *pins, f"{wheel}[preprocess]"], check=True, timeout=300)
    code = "import importlib.util as u, preprocess, sys; assert preprocess.__file__.startswith(sys.prefix); "
    code += "assert not any(map(u.find_spec, ['tensorflow', 'keras', 'training']))"
    subprocess.run([python, "-c", code], cwd=root, check=True, timeout=60)
    return python


def wait_for(port):
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError("the worker pool did not start")


# ------------------------------------------------------------------------------------ image, template


def test_the_image_and_the_template_fit_the_project():
    dockerfile = (ROOT / "scripts/dataflow/Dockerfile").read_text()
    constraints = pinned((ROOT / "scripts/constraints.txt").read_text().splitlines())
    assert f"beam_python3.11_sdk:{constraints['apache-beam']} " in dockerfile
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
    assert all((ROOT / name).exists() for names in copied for name in names.split())
    template = json.loads((ROOT / "scripts/dataflow/metadata.json").read_text())
    ours = [option for action in build_parser()._actions for option in action.option_strings]
    for parameter in template["parameters"]:
        flag = f"--{parameter['name']}"
        assert flag in ours or PipelineOptions([f"{flag}=x"]).get_all_options(drop_default=True)
        assert all(re.compile(regex) for regex in parameter.get("regexes", []))


def test_the_files_that_the_image_copies_build_the_wheel(tmp_path):
    """Builds it offline, with the installed setuptools, from the files that the Dockerfile copies."""
    dockerfile = (ROOT / "scripts/dataflow/Dockerfile").read_text()
    for names, target in re.findall(r"^COPY (?!--)(.+) (\S+)$", dockerfile, re.MULTILINE):
        for source in map(ROOT.joinpath, names.split()):
            to = tmp_path / "linewash" / target / ("" if source.is_dir() else source.name)
            if source.is_dir():
                shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, to)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-build-isolation", "--no-deps", "--wheel-dir", tmp_path, tmp_path / "linewash"]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    expected = {f"preprocess/{path.name}" for path in (ROOT / "preprocess").glob("*.py")}
    expected |= {
        "tfrecords_schema.py",
        "conf/train.yaml",
        "linewash/coloring/cli.py",
        "linewash/serving/static/index.html",
    }
    assert expected <= inside
    entry = re.search(r"^ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/(\S+)$", dockerfile, re.MULTILINE)[1]
    assert (tmp_path / entry).is_file()


def test_a_template_stages_no_requirements():
    """Beam would download them for manylinux2014, and hang on NumPy, which has no such wheel since 2.4."""
    dockerfile = (ROOT / "scripts/dataflow/Dockerfile").read_text()
    settings = re.findall(r"^ENV (\w+)", dockerfile, re.MULTILINE)
    assert settings == ["FLEX_TEMPLATE_PYTHON_PY_FILE"]


# ------------------------------------------------------------------------------------------- refusals

GOOD = {"--input": "gs://b/in", "--output": "gs://b/out", "--project": "a-project", "--region": "a-region",
        "--temp_location": "gs://b/tmp"}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"--project": None}, ["DataflowRunner needs --project"]),
        ({"--region": None}, ["DataflowRunner needs --region"]),
        ({"--temp_location": None}, ["DataflowRunner needs --temp_location", "gs://BUCKET/tmp"]),
        ({"--temp_location": "/tmp/x"}, ["--temp_location", "/tmp/x"]),
        ({"--temp_location": "gs://"}, ["--temp_location", "gs://"]),
        ({"--input": "photos"}, ["cannot read photos", "gs://BUCKET"]),
        ({"--drawings": "pen"}, ["cannot read pen", "gs://BUCKET"]),
        ({"--output": "out"}, ["cannot write to out", "--output gs://BUCKET"]),
    ],
)
def test_the_error_for_a_missing_flag_is_one_sentence(change, expected):
    flags = [item for pair in (GOOD | change).items() if pair[1] for item in pair]
    result = run_main(main, *flags, "--runner", "DataflowRunner")
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert all(text in lines[0] for text in expected)


def test_the_error_for_a_missing_extra_is_one_sentence(monkeypatch):
    import apache_beam.runners.dataflow.internal as package

    monkeypatch.setitem(sys.modules, f"{package.__name__}.apiclient", None)
    monkeypatch.delattr(package, "apiclient", raising=False)  # if another test has imported it
    result = run_main(main, *(item for pair in GOOD.items() for item in pair), "--runner", "DataflowRunner")
    assert result.returncode == 2
    assert f"-m pip install --editable '{ROOT}[gcp,preprocess]'" in result.stderr
    assert result.stderr.count("\n") == 1
