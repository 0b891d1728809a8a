"""The Beam pipeline, run in this process: its elements and its counters."""

import apache_beam as beam
import helper_photos
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from preprocess import receipts, sources
from preprocess.pipeline import build
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard


def test_shards_become_receipts_and_counters(tmp_path):
    folder, output, recipe = (
        helper_photos.make_image_folder(tmp_path / "images", 30),
        str(tmp_path / "out"),
        Recipe(image_size=32),
    )
    (folder / "n00000000" / "bad.JPEG").write_bytes(b"bad")
    (folder / "n00000000" / "void.JPEG").write_bytes(b"")
    shards = make_plan(sources.images([str(folder)], output), Sharding(num_shards=3), output)

    def check(elements):
        assert sorted(receipt.shard.name for receipt in elements) == sorted(shard.name for shard in shards)
        assert sum(receipt.shard.examples for receipt in elements) == 30

    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    assert_that(build(pipeline, shards, recipe, "none", output), check)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("linewash"))["counters"]
    written = sum(receipt.shard.bytes for receipt in receipts.load(output).values())
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "images": 30,
        "bytes": written,
        "rejects_format": 1,
        "rejects_empty": 1,
    }


def test_a_finished_shard_is_not_written_again(tmp_path):
    folder, output, recipe = (
        helper_photos.make_image_folder(tmp_path / "images", 6),
        str(tmp_path / "out"),
        Recipe(image_size=32),
    )
    sharding = Sharding(num_shards=1, val_fraction=0)
    (shard,) = make_plan(sources.images([str(folder)], output), sharding, output)
    first = write_shard(shard, recipe, "none", output)
    path = tmp_path / "out" / shard.name
    modified = path.stat().st_mtime_ns
    assert write_shard(shard, recipe, "none", output) == first
    assert path.stat().st_mtime_ns == modified
    path.write_bytes(b"cut")
    assert write_shard(shard, recipe, "none", output) == first
    other = write_shard(shard, Recipe(image_size=64), "none", output)
    assert other.shard.bytes > first.shard.bytes
