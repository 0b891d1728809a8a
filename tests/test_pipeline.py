"""The Beam pipeline, run in this process: its elements and its counters."""

import apache_beam as beam
import helper_photos
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from preprocess import receipts, sources
from preprocess.pipeline import build, stage_milliseconds
from preprocess.plan import Shard, Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from preprocess.stage_timer import STAGES, StageTimer


def test_shards_become_receipts_counters_and_distributions(tmp_path):
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
    metrics = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("linewash"))
    counters = metrics["counters"]
    written = sum(receipt.shard.bytes for receipt in receipts.load(output).values())
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "images": 30,
        "bytes": written,
        "rejects_format": 1,
        "rejects_empty": 1,
    }
    distributions = {each.key.metric.name: each.committed for each in metrics["distributions"]}
    assert (distributions["shard_bytes"].count, distributions["shard_bytes"].sum) == (len(shards), written)
    assert distributions["shard_milliseconds"].count == len(shards)
    # An image that is rejected has no time in the stage that rejects it.
    images = {name: value.count for name, value in distributions.items() if name.endswith("_microseconds")}
    assert images == {
        "read_microseconds": 32,
        "decode_microseconds": 30,
        "labels_microseconds": 30,
        "lines_microseconds": 30,
        "write_microseconds": 30,
    }
    means = stage_milliseconds(result)
    assert list(means) == list(STAGES)
    in_stages = sum(means[stage] * distributions[f"{stage}_microseconds"].count for stage in STAGES)
    assert 0 < in_stages <= distributions["shard_milliseconds"].sum + len(shards)  # each is rounded


def test_shards_are_reshuffled_once_before_they_are_written():
    shards = [Shard("train", f"train/{number}", "", 1, "", 1) for number in range(3)]
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    build(pipeline, shards, Recipe(), "none", "out")
    urns = [transform.spec.urn for transform in pipeline.to_runner_api().components.transforms.values()]
    assert urns.count("beam:transform:reshuffle:v1") == 1


def test_the_time_of_a_rejected_image_belongs_to_no_stage(monkeypatch):
    times = iter([0, 100, 130, 500, 507])
    monkeypatch.setattr("time.perf_counter_ns", lambda: next(times))
    timer = StageTimer()
    timer.end("read")
    timer.end("decode")
    timer.restart()  # 370 ns are not assigned
    timer.end("read")
    assert timer.nanoseconds == {"read": [100, 7], "decode": [30], "labels": [], "lines": [], "write": []}


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
