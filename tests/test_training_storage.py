"""Reading a dataset from a bucket: temporary failures are retried, all others are reported.

TensorFlow's file system in memory (ram://) takes the place of the bucket; failures are injected into gfile.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from conftest import TinyDataset

import tfrecords_schema as schema
from training.data import storage
from training.data.dataset import READ_AHEAD, READERS, Batch, ShardedDataset, ShuffleBuffer, read_batches
from training.errors import LinewashError, UsageError, WorkError
from training.hydra_config import compose, from_run
from training.run.run_info import check_same_run

errors = tf.errors
PASSING = [
    errors.UnavailableError, errors.DeadlineExceededError, errors.AbortedError, errors.InternalError,
    errors.ResourceExhaustedError, errors.CancelledError,
]  # fmt: skip
SETTINGS = {"batch_size": 8, "seed": 3, "epoch": 2, "shuffle_buffer": 16}


def fault(kind: Callable[..., Exception], text: str = "the server is busy") -> Exception:
    return kind(None, None, text)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replaces sleeping; returns the pauses in seconds."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    return pauses


@pytest.fixture
def bucket(tiny_dataset: TinyDataset, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Returns a function that writes a tiny dataset into a bucket and returns its URL."""
    address = f"ram://{abs(hash(request.node.name))}/dataset"

    def put(**options: object) -> str:
        root = tiny_dataset(**options)
        for path in root.rglob("*"):
            if path.is_file():
                target = f"{address}/{path.relative_to(root)}"
                tf.io.gfile.makedirs(target.rpartition("/")[0])
                with tf.io.gfile.GFile(target, "wb") as file:
                    file.write(path.read_bytes())
        return address

    return put


class Gfile:
    """Makes `stat`, `exists` and `GFile` of tf.io.gfile fail for paths that contain a text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.faults: list[tuple[str, Exception]] = []
        self.calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        for name in ("stat", "exists", "GFile"):
            monkeypatch.setattr(tf.io.gfile, name, self._failing(name, getattr(tf.io.gfile, name)))

    def fail(self, part: str, error: Exception, times: int) -> None:
        self.faults += [(part, error)] * times

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: str, *more: Any) -> Any:
            with self._lock:
                self.calls[name, path] += 1
                for index, (part, error) in enumerate(self.faults):
                    if part in path:
                        del self.faults[index]
                        raise error
            return real(path, *more)

        return call


@pytest.fixture
def gfile(monkeypatch: pytest.MonkeyPatch) -> Gfile:
    return Gfile(monkeypatch)


def ids(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.ids.numpy().tolist() for batch in batches]


def message(error: pytest.ExceptionInfo[LinewashError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# ---- opening -------------------------------------------------------------------------------------------


def test_each_shard_of_a_bucket_is_requested_once_and_many_concurrently(
    bucket: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = bucket(train=48, shards=12)
    requests, together = Counter(), threading.Barrier(12)
    real = tf.io.gfile.stat

    def stat(path: str) -> Any:
        requests[path] += 1
        if "/train/" in path:
            together.wait(60)  # continues only when all twelve are requested at the same time
        return real(path)

    monkeypatch.setattr(tf.io.gfile, "stat", stat)
    monkeypatch.setattr(tf.io.gfile, "exists", lambda path: pytest.fail(f"a second request for {path}"))
    dataset = ShardedDataset.open(root)
    names = [shard.name for split in dataset.manifest.splits.values() for shard in split.shards]
    assert requests == Counter({f"{root}/{name}": 1 for name in names})


def test_missing_and_changed_shards_of_a_bucket_are_reported(bucket: Callable[..., str]) -> None:
    root = bucket()
    shard = f"{root}/train/train-00001-of-00003.tfrecord"
    with tf.io.gfile.GFile(shard, "a") as file:
        file.write("more")
    with pytest.raises(WorkError, match=r"has 19,828 bytes, but the manifest says 19,824"):
        ShardedDataset.open(root)
    tf.io.gfile.remove(shard)
    with pytest.raises(WorkError, match=f"{shard} is missing"):
        ShardedDataset.open(root)


@pytest.mark.parametrize("file", ["manifest.json", "train-00001"])
@pytest.mark.parametrize("kind", PASSING)
def test_opening_retries_temporary_failures(
    bucket: Callable[..., str], gfile: Gfile, no_pause: list[float], file: str, kind: type
) -> None:
    root = bucket()
    gfile.fail(file, fault(kind), storage.MAX_ATTEMPTS - 1)
    ShardedDataset.open(root)
    assert not gfile.faults
    assert no_pause == [
        storage.FIRST_PAUSE_SECONDS * 2**attempt for attempt in range(storage.MAX_ATTEMPTS - 1)
    ]


@pytest.mark.parametrize("file", ["manifest.json", "train-00001"])
def test_opening_reports_a_network_that_stays_away(
    bucket: Callable[..., str], gfile: Gfile, file: str
) -> None:
    root = bucket()
    gfile.fail(file, fault(errors.UnavailableError, "Could not resolve host"), 99)
    with pytest.raises(WorkError) as error:
        ShardedDataset.open(root)
    for text in (file, "network or the storage", str(storage.MAX_ATTEMPTS), "Could not resolve host"):
        assert text in message(error)
    assert "damaged" not in message(error)


@pytest.mark.parametrize("kind", [errors.PermissionDeniedError, errors.UnauthenticatedError])
@pytest.mark.parametrize("file", ["manifest.json", "train-00001"])
def test_permanent_failures_are_reported_at_once(
    bucket: Callable[..., str], gfile: Gfile, no_pause: list[float], kind: type, file: str
) -> None:
    root = bucket()
    gfile.fail(file, fault(kind, "caller has no access"), 1)
    with pytest.raises(WorkError) as error:
        ShardedDataset.open(root)
    assert file in message(error)
    assert "caller has no access" in message(error)
    assert not no_pause


@pytest.mark.parametrize("root", ["s3://bucket/dataset", "http://example.org/dataset"])
def test_an_unknown_kind_of_path_is_reported(root: str) -> None:
    with pytest.raises(UsageError) as error:
        ShardedDataset.open(root)
    for text in (f"data.root={root}", root.partition(":")[0], "gs://"):
        assert text in message(error)


def test_a_bucket_without_a_dataset_is_reported() -> None:
    with pytest.raises(UsageError, match=r"no manifest\.json in ram://nowhere/dataset"):
        ShardedDataset.open("ram://nowhere/dataset")


# ---- shards in a bucket ---------------------------------------------------------------------------------


def test_a_bucket_and_a_disk_give_the_same_batches(bucket: Callable[..., str], tmp_path: Path) -> None:
    dataset = ShardedDataset.open(bucket())
    local = ShardedDataset.open(str(tmp_path / "dataset"))
    assert ids(dataset.train(**SETTINGS)) == ids(local.train(**SETTINGS))


def test_a_missing_shard_is_not_reported_as_damage(bucket: Callable[..., str], no_pause: list[float]) -> None:
    root = bucket()
    dataset = ShardedDataset.open(root)
    tf.io.gfile.remove(f"{root}/train/train-00001-of-00003.tfrecord")
    with pytest.raises(WorkError, match=rf"^a shard of {root} is missing"):
        list(read_batches(dataset.train(**SETTINGS), root))
    assert not no_pause


def test_a_missing_local_shard_is_not_reported_as_damage(tiny_dataset: TinyDataset) -> None:
    root = tiny_dataset()
    dataset = ShardedDataset.open(str(root))
    shard = root / "train/train-00000-of-00003.tfrecord"
    shard.unlink()
    with pytest.raises(WorkError, match=rf"^{shard} is missing"):
        list(read_batches(dataset.train(**SETTINGS), str(root)))


# ---- failures while reading ------------------------------------------------------------------------------


class Flaky:
    """A pipeline of `count` numbered batches; before each batch it raises the errors listed for it."""

    def __init__(self, count: int, faults: dict[int, list[Exception]], first: int = 0) -> None:
        self.count, self.faults, self.first = count, faults, first

    def skip(self, count: int) -> Flaky:
        return Flaky(self.count, self.faults, self.first + count)

    def __iter__(self) -> Iterator[int]:
        for number in range(self.first, self.count):
            if self.faults.get(number):
                raise self.faults[number].pop()
            yield number


@pytest.mark.parametrize("kind", [*PASSING, errors.UnknownError])
def test_tf_data_continues_after_the_last_batch(kind: type, no_pause: list[float]) -> None:
    retries = storage.MAX_ATTEMPTS - 1
    flaky = Flaky(5, {0: [fault(kind)], 2: [fault(kind)] * retries, 3: [fault(kind)] * retries})
    assert list(read_batches(flaky, "gs://bucket/dataset")) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]
    assert len(no_pause) == 1 + 2 * retries
    assert no_pause[1:3] == [storage.FIRST_PAUSE_SECONDS, 2 * storage.FIRST_PAUSE_SECONDS]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (errors.UnavailableError, ["network or the storage", "gs://bucket/dataset"]),
        (errors.PermissionDeniedError, ["could not be read", "gs://bucket/dataset"]),
        (errors.NotFoundError, ["missing", "gs://bucket/dataset"]),
    ],
)
def test_tf_data_distinguishes_failures_from_damage(kind: type, texts: list[str]) -> None:
    flaky = Flaky(3, {1: [fault(kind)] * 99})
    with pytest.raises(WorkError) as error:
        list(read_batches(flaky, "gs://bucket/dataset"))  # type: ignore[arg-type]
    assert "damaged" not in message(error)
    for text in texts:
        assert text in message(error)


@pytest.mark.parametrize("kind", [errors.DataLossError, errors.InvalidArgumentError])
def test_damage_is_not_retried(kind: type, no_pause: list[float]) -> None:
    flaky = Flaky(3, {1: [fault(kind, "corrupted record at 12")]})
    with pytest.raises(WorkError, match=r"is damaged \(corrupted record at 12\)"):
        list(read_batches(flaky, "gs://bucket/dataset"))  # type: ignore[arg-type]
    assert not no_pause


@pytest.mark.parametrize("kind", [errors.ResourceExhaustedError, errors.UnavailableError])
def test_out_of_memory_is_not_a_failure_of_the_storage(kind: type) -> None:
    """For a local dataset these errors come from the machine, and the trainer explains them."""
    flaky = Flaky(3, {1: [fault(kind)]})
    with pytest.raises(kind):
        list(read_batches(flaky, "/disk/dataset"))  # type: ignore[arg-type]


@pytest.mark.parametrize("skip", [0, 1, 3])
def test_pipelines_yield_the_same_batches_when_restarted(tiny_dataset: TinyDataset, skip: int) -> None:
    """`read_batches` relies on it: a pipeline that is iterated again yields the same batches."""
    dataset = ShardedDataset.open(str(tiny_dataset()))
    for pipeline in (dataset.eval("val", 3), dataset.train(5, seed=1, epoch=2, shuffle_buffer=16)):
        assert ids(pipeline.skip(skip)) == ids(pipeline)[skip:]


# ---- shuffle buffer ---------------------------------------------------------------------------------


def make_manifest(size: int, dtype: str = "uint8") -> Any:
    return type("Like", (), {"image_size": size, "label_dtype": dtype, "lines": ["canny"]})


SHUFFLE = compose(["data.root=x"]).data
DEFAULT = (SHUFFLE.shuffle_buffer, SHUFFLE.shuffle_megabytes)


@pytest.mark.parametrize(
    ("size", "dtype"), [(8, "uint8"), (128, "uint8"), (128, "uint16"), (256, "uint8"), (256, "uint16")]
)
def test_the_limit_does_not_affect_images_of_usual_sizes(size: int, dtype: str) -> None:
    buffer = ShuffleBuffer.from_limits(make_manifest(size, dtype), *DEFAULT)
    assert buffer == ShuffleBuffer.from_limits(make_manifest(size, dtype), SHUFFLE.shuffle_buffer, None)
    assert buffer == (2048, READERS)


@pytest.mark.parametrize("megabytes", [1, 64, 512])
@pytest.mark.parametrize("size", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_buffer_of_large_images_stays_below_the_limit(megabytes: int, size: int, dtype: str) -> None:
    buffer = ShuffleBuffer.from_limits(make_manifest(size, dtype), SHUFFLE.shuffle_buffer, megabytes)
    record = size**2 // 8 + size**2 * np.dtype(dtype).itemsize
    assert buffer.records >= 1
    max_records = buffer.records + (READ_AHEAD if buffer.readers else 0)
    assert max_records == 1 or max_records * record <= megabytes * 1_000_000


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_limited_buffer_changes_the_order_and_resumes_exactly(
    tiny_dataset: TinyDataset, compression: str
) -> None:
    root = str(tiny_dataset(train=40, val=0, size=352, compression=compression))  # 0.14 MB a record
    dataset = ShardedDataset.open(root)
    limited = {**SETTINGS, "batch_size": 4, "shuffle_buffer": 2048, "shuffle_megabytes": 2}
    whole = ids(dataset.train(**limited))
    assert len({number for batch in whole for number in batch}) == 40
    assert whole != ids(dataset.train(**{**limited, "shuffle_megabytes": None}))
    buffer = ShuffleBuffer.from_limits(dataset.manifest, 2048, 2)
    assert buffer.records < 15
    assert ids(dataset.train(**limited, skip=4)) == whole[4:]
    assert ids(dataset.train(**limited)) == whole


def test_a_limit_below_a_megabyte_is_rejected() -> None:
    with pytest.raises(UsageError, match=r"data.shuffle_megabytes must be at least 1, or null; got 0"):
        compose(["data.root=x", "data.shuffle_megabytes=0"])


def test_a_run_from_before_some_settings_existed_can_be_resumed(shared_dataset: Path, tmp_path: Path) -> None:
    config, dataset = compose([f"data.root={shared_dataset}"]), ShardedDataset.open(str(shared_dataset))
    saved = dataclasses.asdict(config)
    del saved["data"]["shuffle_megabytes"], saved["model"]["reference"], saved["reference"]
    run = {
        "config": saved, "image_size": dataset.manifest.image_size,
        "palette": dataclasses.asdict(dataset.manifest.palette),
        "model": {"name": "unet", "stride": 8, "gives_logits": True}, "versions": {},
        "dataset": {
            "root": str(shared_dataset), "fingerprint": dataset.manifest.dataset_fingerprint, "examples": {},
        },
    }  # fmt: skip
    (tmp_path / "run.json").write_text(json.dumps(run))
    check_same_run(tmp_path, config, dataset)
    resumed = from_run(tmp_path, [])
    assert resumed.data.shuffle_megabytes is None
    assert not resumed.model.reference
    with_reference = compose([f"data.root={shared_dataset}", "experiment=reference"])
    with pytest.raises(UsageError, match=r"model\.reference=False \(now True\)"):
        check_same_run(tmp_path, with_reference, dataset)
    saved["data"]["shuffle_megabytes"] = None  # as it is written when the run is resumed
    (tmp_path / "run.json").write_text(json.dumps(run))
    check_same_run(tmp_path, config, dataset)
    saved["data"]["shuffle_megabytes"] = 64
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(UsageError, match=r"data\.shuffle_megabytes=64 \(now 512\)"):
        check_same_run(tmp_path, config, dataset)


def test_storage_errors_are_pythons_own() -> None:
    types = {
        kind.__name__: type(schema.storage_error(fault(kind), "gs://b/f")).__name__
        for kind in (errors.NotFoundError, errors.PermissionDeniedError, errors.UnavailableError)
    }
    assert types == {
        "NotFoundError": "FileNotFoundError",
        "PermissionDeniedError": "PermissionError",
        "UnavailableError": "ConnectionError",
    }
    error = schema.storage_error(fault(errors.UnavailableError, ""), "gs://b/f")
    assert (error.filename, error.strerror) == ("gs://b/f", "UnavailableError")
