"""Object stores: the same dataset and guarantees as on disk, and an error of one sentence if access fails."""

import io
import os
import signal
import subprocess
import sys
import tarfile
import time

import boto3
import helper_photos
import pytest
from gcp_storage_emulator.server import create_server
from google.cloud import storage as google_storage
from helper_commands import ROOT, run_main, run_module
from moto.server import ThreadedMotoServer

from preprocess import shard_writer, sources
from preprocess.__main__ import main
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.storage import files, registry

BUCKET = "linewash-tests"
KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
# Without these, a test could find credentials of this machine or query the metadata server of a cloud.
NO_KEYS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "HOME": "/nonexistent",
           "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "NO_GCE_CHECK": "true"}  # fmt: skip


class S3Bucket:
    """A bucket in the S3 server of moto."""

    scheme = "s3"

    def __init__(self, url):
        self.env = KEYS
        self.flags = ["--s3_endpoint_url", url]
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=url, **keys)
        self.client.create_bucket(Bucket=BUCKET)

    def put(self, name, data):
        self.client.put_object(Bucket=BUCKET, Key=name, Body=data)

    def get(self, name):
        return self.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()

    def delete(self, name):
        self.client.delete_object(Bucket=BUCKET, Key=name)

    def changed(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {o["Key"]: o["LastModified"] for page in pages for o in page.get("Contents", [])}


class GcsBucket:
    """A bucket in an emulator of Google Cloud Storage."""

    scheme = "gs"

    def __init__(self, url):
        self.env = {"STORAGE_EMULATOR_HOST": url}
        self.flags = ["--no_auth"]
        os.environ.update(self.env)
        self.client = google_storage.Client.create_anonymous_client()
        self.bucket = self.client.create_bucket(BUCKET)

    def put(self, name, data):
        self.bucket.blob(name).upload_from_string(data)

    def get(self, name):
        return self.bucket.blob(name).download_as_bytes()

    def delete(self, name):
        self.bucket.blob(name).delete()

    def changed(self, prefix):
        return {blob.name: blob.updated for blob in self.bucket.list_blobs(prefix=prefix)}


@pytest.fixture(scope="session")
def s3():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield S3Bucket(f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    server.stop()


@pytest.fixture(scope="session")
def gcs():
    server = create_server("127.0.0.1", 0, in_memory=True)
    server.start()
    yield GcsBucket(f"http://127.0.0.1:{server._api._httpd.server_port}")
    server.stop()
    del os.environ["STORAGE_EMULATOR_HOST"]


@pytest.fixture(params=["s3", "gcs"])
def bucket(request, tmp_path_factory):
    """A bucket of each store, with credentials in this process; `url` is a new folder in it."""
    bucket = request.getfixturevalue(request.param)
    bucket.folder = tmp_path_factory.mktemp("folder").name
    bucket.url = f"{bucket.scheme}://{BUCKET}/{bucket.folder}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in bucket.env.items():
            patch.setenv(name, value)
        registry.set_options(bucket.flags)
        yield bucket
    registry.set_options([])


def environment(env=()):
    """Returns the environment of this process, with no credentials but those in `env`."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GOOGLE_", "STORAGE_"))}
    return clean | NO_KEYS | dict(env)


def preprocess(*args, env=()):
    """Runs the command in this process. Its workers have the environment of the first job of the process."""
    return run_main(main, *args, env=environment(env))


def preprocess_in_a_process(*args, env=()):
    """Runs the command in a new process, so that its workers have the credentials in `env`."""
    return run_module("preprocess", *args, env=environment(env))


def assert_one_sentence(result, code, *expected):
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    for text in expected:
        assert text in lines[0]


def tar_of(folder):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(
                path.name
            )  # without times: the name of an index depends on the state of the tar
            info.size = path.stat().st_size
            archive.addfile(info, io.BytesIO(path.read_bytes()))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """80 images in two class folders and a class tar."""
    root = helper_photos.make_image_folder(tmp_path_factory.mktemp("images"), 80)
    last = sorted(root.iterdir())[-1]
    root.joinpath(f"{last.name}.tar").write_bytes(tar_of(last))
    for path in last.iterdir():
        path.unlink()
    last.rmdir()
    return root


def file_contents(root):
    """Returns the files of a dataset by name, without the indexes of tars, which contain paths."""
    contents = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {name: data for name, data in contents.items() if not name.startswith(files.INDEX_DIR)}


def files_in(bucket, folder):
    names = [name.removeprefix(f"{folder}/") for name in bucket.changed(folder + "/")]
    return {name: bucket.get(f"{folder}/{name}") for name in names if not name.startswith(files.INDEX_DIR)}


ARGS = ["--image_size", 64, "--num_shards", 3, "--val_fraction", 0.2]


@pytest.fixture(scope="session")
def dataset(images, tmp_path_factory):
    output = tmp_path_factory.mktemp("dataset") / "made"
    result = preprocess("--input", images, "--output", output, *ARGS)
    assert result.returncode == 0, result.stderr
    return file_contents(output)


def without_sources(contents):
    """Returns the files of a dataset without the sources in the manifest."""
    manifest = contents["manifest.json"]
    start = manifest.index(b'"sources"')
    return {**contents, "manifest.json": manifest[:start] + manifest[manifest.index(b"]", start) :]}


def fill(bucket, images):
    """Uploads the images; returns the arguments of a job that reads from and writes to the bucket."""
    for path in images.rglob("*.*"):
        bucket.put(f"{bucket.folder}/in/{path.relative_to(images).as_posix()}", path.read_bytes())
    return ["--input", f"{bucket.url}/in", "--output", f"{bucket.url}/out", *ARGS, *bucket.flags]


def test_a_whole_job_through_a_bucket_is_byte_identical(bucket, images, dataset):
    result = preprocess_in_a_process(*fill(bucket, images), env=bucket.env)
    assert (result.returncode, result.stderr) == (0, "")
    assert without_sources(files_in(bucket, f"{bucket.folder}/out")) == without_sources(dataset)
    left = bucket.changed(f"{bucket.folder}/out")
    assert not [name for name in left if files.WORK_DIR in name]


@pytest.mark.slow
def test_a_rerun_in_a_bucket_writes_what_is_missing(bucket, images):
    args = fill(bucket, images)
    assert preprocess_in_a_process(*args, env=bucket.env).returncode == 0
    out = f"{bucket.folder}/out"
    made, before = files_in(bucket, out), bucket.changed(out)
    for name in (
        "manifest.json",
        "receipts/train-00001-of-00003.json",
        "train/train-00002-of-00003.tfrecord",
    ):
        bucket.delete(f"{out}/{name}")
    time.sleep(1)  # the modification times of S3 have a resolution of 1 s
    assert preprocess_in_a_process(*args, env=bucket.env).returncode == 0
    assert files_in(bucket, out) == made
    after = bucket.changed(out)
    again = {name.removeprefix(out + "/") for name, when in before.items() if when != after[name]}
    assert again == {"manifest.json", "rejects.jsonl"} | {
        name.format(index)
        for index in (1, 2)
        for name in ("receipts/train-{:05d}-of-00003.json", "train/train-{:05d}-of-00003.tfrecord")
    }


def write_shards(bucket, folder):
    """Writes all shards in this process, without Beam."""
    plan = make_plan(sources.images([str(folder)], bucket.url), Sharding(val_fraction=0), bucket.url)
    return [shard_writer.write_shard(shard, Recipe(image_size=32), "none", bucket.url) for shard in plan]


def test_a_shard_is_written_in_one_piece_before_its_receipt(bucket, images, monkeypatch):
    store, written = registry.store(bucket.url), []

    def write(path, file, temporary, upload=store.write):
        upload(path, file, temporary)
        written.append(path.removeprefix(bucket.url + "/"))

    monkeypatch.setattr(store, "write", write)
    write_shards(bucket, images)
    outputs = [name for name in written if not name.startswith(".")]
    assert outputs == [name for i in (0, 1) for name in (f"train/train-{i:05d}-of-00002.tfrecord",
                                                      f"receipts/train-{i:05d}-of-00002.json")]  # fmt: skip


def test_a_failed_shard_leaves_no_file(bucket, images, monkeypatch):
    good, num_left = shard_writer.transform, 20

    def transform(*args):
        nonlocal num_left
        num_left -= 1
        if num_left < 0:
            raise OSError("gone wrong")
        return good(*args)

    monkeypatch.setattr(shard_writer, "transform", transform)
    with pytest.raises(shard_writer.ImageError, match=r"image 21 of 40 of train/.*gone wrong"):
        write_shards(bucket, images)
    assert not [name for name in bucket.changed(bucket.folder) if "tfrecord" in name or "receipts" in name]


def test_reading_an_image_of_a_large_tar_downloads_only_the_image(bucket, monkeypatch):
    data = os.urandom(20 << 20)
    bucket.put(f"{bucket.folder}/large.tar", data)
    fetched = []
    client = registry.store(bucket.url)._client
    if bucket.scheme == "s3":

        def count(parsed, **_):
            fetched.append(parsed["ContentLength"])

        client.meta.events.register("after-call.s3.GetObject", count)
    else:

        def count(response, **_):
            if "alt=media" in response.url:  # not the request for the metadata of the bucket
                fetched.append(int(response.headers["Content-Length"]))

        monkeypatch.setitem(client._http.hooks, "response", [count])
    path = f"{bucket.url}/large.tar"
    assert files.read(path, 12_345_678, 110_000) == data[12_345_678:][:110_000]
    assert fetched == [110_000]
    with files.open_binary(path) as file:  # as when an index is made: reads in order, and skips the images
        assert (file.read(512), file.seek(19 << 20), file.read(3)) == (
            data[:512], 19 << 20, data[19 << 20 :][:3],
        )  # fmt: skip
        assert file.seek(-5, io.SEEK_END) == len(data) - 5
        assert file.read() == data[-5:]


def test_files_of_a_bucket(bucket):
    for name, data in {"a/x.json": b"12", "a/y.txt": b"", "a/b/z.json": b"123", "ab.json": b"1"}.items():
        files.write(bucket.url, name, data)
    assert files.names(bucket.url, "a/*.json") == ["a/x.json"]
    assert files.sizes(bucket.url, "**") == {"a/b/z.json": 3, "a/x.json": 2, "a/y.txt": 0, "ab.json": 1}
    assert [files.size(f"{bucket.url}/{name}") for name in ("a/x.json", "a/y.txt", "a", "c")] == [
        2,
        0,
        -1,
        -1,
    ]
    assert abs(files.modified(f"{bucket.url}/a/x.json") - time.time()) < 60
    assert files.read(f"{bucket.url}/a/y.txt") == b""
    assert files.read(f"{bucket.url}/a/b/z.json", 1) == b"23"
    assert files.read(f"{bucket.url}/a/b/z.json", 1, 1) == b"2"
    with pytest.raises(OSError, match="ends before byte 9"):
        files.read(f"{bucket.url}/a/b/z.json", 1, 8)
    for missing in (lambda path: files.read(path), lambda path: files.open_binary(path).__enter__()):
        with pytest.raises(FileNotFoundError):
            missing(f"{bucket.url}/a/nothing")
    files.remove(bucket.url, "a/x.json")
    files.remove(bucket.url, "a/x.json")
    files.remove_folder(bucket.url, "a")
    assert files.names(bucket.url, "**") == ["ab.json"]
    assert list(files.read_each([f"{bucket.url}/ab.json"] * 3)) == [b"1"] * 3


@pytest.mark.slow
def test_a_killed_job_leaves_whole_shards_and_a_rerun_finishes(bucket, tmp_path):
    folder = helper_photos.make_image_folder(tmp_path / "images", 900)
    args = ["--input", folder, "--image_size", 64, "--num_shards", 12]
    assert preprocess(*args, "--output", tmp_path / "out").returncode == 0
    expected = file_contents(tmp_path / "out")
    args += ["--output", f"{bucket.url}/out", *bucket.flags]
    command = [sys.executable, "-m", "preprocess", *map(str, args)]
    job = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **NO_KEYS, **bucket.env})
    while job.poll() is None and len(bucket.changed(f"{bucket.folder}/out/receipts")) < 2:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL
    left = files_in(bucket, f"{bucket.folder}/out")
    whole = {name: data for name, data in left.items() if not name.startswith(files.WORK_DIR)}
    assert whole
    assert whole.items() < expected.items()
    assert all(name.replace("receipts", "train").replace("json", "tfrecord") in whole or "val" in name
               for name in whole)  # fmt: skip
    assert preprocess_in_a_process(*args, env=bucket.env).returncode == 0
    assert files_in(bucket, f"{bucket.folder}/out") == expected


# ------------------------------------------------------------------------------------------- errors


def test_a_missing_bucket(bucket, images, tmp_path):
    gone = f"{bucket.scheme}://no-such-bucket/x"
    for args in (["--input", gone, "--output", tmp_path / "out"], ["--input", images, "--output", gone]):
        assert_one_sentence(preprocess(*args, *bucket.flags, env=bucket.env), 2, gone, "no such bucket")


def test_a_missing_folder(bucket, tmp_path):
    result = preprocess("--input", f"{bucket.url}/no", "--output", tmp_path, *bucket.flags, env=bucket.env)
    assert_one_sentence(result, 2, f"{bucket.url}/no", "matches nothing")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/x", ["AWS_ACCESS_KEY_ID", "aws configure"]),
        ("gs://b/x", ["gcloud auth application-default login"]),
    ],
)
@pytest.mark.parametrize("flag", ["input", "output"])
def test_no_credentials(path, expected, flag, images, tmp_path):
    paths = {"input": images, "output": tmp_path} | {flag: path}
    result = preprocess("--input", paths["input"], "--output", paths["output"])
    assert_one_sentence(result, 2, path, *expected)


@pytest.mark.parametrize(
    ("path", "module", "extra"), [("s3://b/x", "boto3", "aws"), ("gs://b/x", "google.cloud.storage", "gcp")]
)
def test_a_missing_extra(path, module, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    result = preprocess("--input", path, "--output", tmp_path)
    assert_one_sentence(result, 2, module, f"[{extra}]")


def test_an_unsupported_scheme(tmp_path):
    result = preprocess("--input", "ftp://host/x", "--output", tmp_path)
    assert_one_sentence(result, 2, "ftp://", "is not supported")
