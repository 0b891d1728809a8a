"""A user's own Beam pipeline reads the shards, without linewash: TFRecords of `tf.train.Example`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import helper_photos
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from helper_jobs import preprocess

from tfrecords_schema import Manifest

IMAGES, SIZE = 24, 32


def parse(record: bytes) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Returns the key, the packed edges and the labels of a record."""
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    values = {name: feature.bytes_list.value[0] for name, feature in features.items()}
    assert set(values) == {"key", "edges", "labels"}
    arrays = (np.frombuffer(values[name], np.uint8) for name in ("edges", "labels"))
    return values["key"], *arrays


def count(num_lines: int, num_colors: int, element: tuple[bytes, np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns the number of examples, the edge pixels of each line style, and the pixels of each colour."""
    _, edges, labels = element
    edge_pixels = np.unpackbits(edges).reshape(num_lines, SIZE * SIZE).sum(axis=1)
    return np.concatenate([[1], edge_pixels, np.bincount(labels, minlength=num_colors)])


@pytest.mark.parametrize(("lines", "compression"), [("canny", "none"), ("canny", "gzip")])
def test_a_beam_pipeline_counts_what_the_manifest_says(tmp_path: Path, lines: str, compression: str) -> None:
    images = helper_photos.make_image_folder(tmp_path / "images", IMAGES)
    flags = ["--image_size", SIZE, "--num_shards", 3, "--lines", lines, "--compression", compression]
    result = preprocess("--input", images, "--output", tmp_path / "out", *flags)
    assert result.returncode == 0, result.stderr
    manifest = Manifest.load(tmp_path / "out")
    split, num_lines, num_colors = manifest.splits["train"], len(manifest.lines), len(manifest.palette)
    expected = [split.examples, *split.edge_pixels, *split.label_histogram]

    def check(totals: list[Any]) -> None:
        assert [total.tolist() for total in totals] == [expected]

    pattern = str(tmp_path / "out/train/*")
    with beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([])) as pipeline:
        totals = (
            pipeline
            | beam.io.ReadFromTFRecord(
                pattern, compression_type="gzip" if compression == "gzip" else "uncompressed"
            )
            | beam.Map(parse)
            | beam.Map(lambda element: count(num_lines, num_colors, element))
            | beam.CombineGlobally(sum)
        )
        assert_that(totals, check)
    assert split.examples + manifest.splits["val"].examples == IMAGES
