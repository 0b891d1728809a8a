"""Images are read from storage that is slow or remote, or fails at times."""

import threading
import time

import helper_photos
import pytest
from apache_beam.io.localfilesystem import LocalFileSystem

from preprocess import image_reader, sources
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.rejects import Rejected
from preprocess.shard_writer import write_shard
from preprocess.sources import Image
from preprocess.storage import files


class SlowFileSystem(LocalFileSystem):
    """slow://PATH: the local files, opened after `delay` seconds and `failures[path]` failed attempts."""

    delay = 0.0
    failures: dict[str, int] = {}  # noqa: RUF012 -- Beam creates an instance for each call
    at_once = max_at_once = 0
    _counting = threading.Lock()

    @classmethod
    def scheme(cls):
        return "slow"

    def _local(self, path):
        return path.removeprefix("slow:/")

    def match(self, patterns, limits=None):
        results = super().match([self._local(pattern) for pattern in patterns], limits)
        for result in results:
            for metadata in result.metadata_list:
                metadata.path = f"slow:/{metadata.path}"
        return results

    def open(self, path, mime_type="application/octet-stream", compression_type="auto"):
        kind = type(self)
        with kind._counting:
            kind.at_once += 1
            kind.max_at_once = max(kind.max_at_once, kind.at_once)
        try:
            time.sleep(kind.delay)
            if kind.failures.get(path, 0) > 0:
                kind.failures[path] -= 1
                raise OSError(5, "Input/output error")
            return super().open(self._local(path), mime_type, compression_type)
        finally:
            with kind._counting:
                kind.at_once -= 1


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(SlowFileSystem, "max_at_once", 0)
    monkeypatch.setattr(SlowFileSystem, "failures", {})
    monkeypatch.setattr(image_reader, "FIRST_PAUSE_SECONDS", 0.001)
    return SlowFileSystem


def write(pattern, output, **recipe):
    recipe = Recipe(image_size=32, **recipe)
    images = sources.images([pattern], str(output))
    shards = make_plan(images, Sharding(num_shards=2, val_fraction=0), str(output))
    receipts = [write_shard(shard, recipe, "none", str(output)) for shard in shards]
    return {shard.name: (output / shard.name).read_bytes() for shard in shards}, receipts


def test_remote_images_are_read_in_parallel_and_written_in_order(slow, tmp_path):
    folder = helper_photos.make_image_folder(tmp_path / "images", 60)
    slow.delay = 0.01
    far, _ = write(f"slow:/{folder}", tmp_path / "far")
    near, _ = write(str(folder), tmp_path / "near")
    assert far == near
    assert slow.max_at_once >= image_reader.CONCURRENT_READS / 2


def test_a_failed_read_is_repeated(slow, tmp_path):
    folder = helper_photos.make_image_folder(tmp_path / "images", 10)
    slow.delay = 0
    paths = [f"slow:/{path}" for path in sorted(folder.rglob("*.JPEG"))]
    slow.failures = {paths[0]: image_reader.MAX_ATTEMPTS - 1, paths[1]: image_reader.MAX_ATTEMPTS}
    _, receipts = write(f"slow:/{folder}", tmp_path / "out")
    rejects = [reject for receipt in receipts for reject in receipt.rejects]
    assert [(r.key, r.reason, r.detail) for r in rejects] == [
        (paths[1].partition("/images/")[2], "unreadable", "Input/output error")
    ]


def test_a_missing_file_is_not_retried(tmp_path, monkeypatch):
    monkeypatch.setattr(image_reader, "FIRST_PAUSE_SECONDS", 1000)
    with pytest.raises(Rejected, match="unreadable: the file is gone"):
        image_reader.read_image(Image("a/b.JPEG", str(tmp_path / "b.JPEG")))


def test_closing_the_iterator_stops_all_threads(slow, tmp_path):
    folder = helper_photos.make_image_folder(tmp_path / "images", 40)
    results = image_reader.read_images(
        Image(str(i), f"slow:/{p}") for i, p in enumerate(sorted(folder.rglob("*.JPEG")))
    )
    assert next(results)[1].image.startswith(b"\xff\xd8")
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read")]


def test_remote_paths_are_recognized():
    assert files.is_remote("gs://bucket/a")
    assert not files.is_remote("/photos/a")
