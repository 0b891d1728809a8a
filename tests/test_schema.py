"""The dataset format, byte for byte: records, framing, layout, palette, receipts, manifest."""

import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfrecords_schema as schema
from tfrecords_schema import Manifest, Palette, RecordLayout, SchemaError, ShardInfo, ShardReceipt, Split

BYTES = st.binary(min_size=1, max_size=300)


def record(seed=0, size=16, key="n01/a.JPEG", num_lines=1):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, 2, (num_lines, size, size), dtype=np.uint8)
    labels = rng.integers(0, 27, (size, size), dtype=np.uint8)
    return key.encode() + b"\0\0", edges, labels


def encoded(seed=0, **changes):
    key, edges, labels = record(seed, **changes)
    return schema.encode_example(key, schema.pack_edges(edges), labels.tobytes())


def manifest():
    shard = ShardInfo(
        "train/train-00000-of-00001.tfrecord", 2, 100, "ab", RecordLayout.from_sizes(12, 32, 256)
    )
    train = Split(2, [512] + [0] * 26, [40], [shard])
    return Manifest(
        schema_version=schema.SCHEMA_VERSION, tool="test", fingerprint="f", images_digest="d", image_size=16,
        label_dtype="uint8", lines=["canny"], compression="none", palette=Palette.grid(3),
        recipe={"image_size": 16}, seed=0, val_fraction=0.0, sources=["photos [ 1 ]"],
        splits={"train": train, "val": Split(0, [0] * 27, [0], [])}, rejects={},
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------- edges


# L and S: the number of line styles and the image size.
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6).map(lambda n: 8 * n))
EDGES = SHAPES.flatmap(
    lambda shape: hnp.arrays(np.uint8, (shape[0], shape[1], shape[1]), elements=st.integers(0, 1))
)


@given(EDGES)
def test_unpack_edges_inverts_pack_edges(edges):
    packed = schema.pack_edges(edges)
    assert len(packed) == edges.size // 8
    num_lines, size, _ = edges.shape
    np.testing.assert_array_equal(schema.unpack_edges(packed, size, num_lines), edges)


@given(EDGES)
def test_packed_maps_stand_one_after_the_other(edges):
    assert schema.pack_edges(edges) == b"".join(schema.pack_edges(line_map[None]) for line_map in edges)


def test_the_first_pixel_is_the_most_significant_bit():
    edges = np.zeros((2, 8, 8), np.uint8)
    edges[0, 0, 0] = edges[0, 1, 7] = edges[1, 7, 7] = 1
    assert schema.pack_edges(edges) == bytes([0x80, 0x01, 0, 0, 0, 0, 0, 0]) + bytes([0, 0, 0, 0, 0, 0, 0, 1])


@pytest.mark.parametrize(("num_bytes", "num_lines"), [(31, 1), (32, 2), (64, 1), (0, 1)])
def test_unpack_edges_refuses_another_length(num_bytes, num_lines):
    with pytest.raises(
        SchemaError, match=f"expected {32 * num_lines} bytes for {num_lines} .* 16 px, got {num_bytes}"
    ):
        schema.unpack_edges(b"\0" * num_bytes, 16, num_lines)


# -------------------------------------------------------------------------------------------- palette


def test_the_grid_palette_with_three_values_is_that_of_the_article():
    palette = Palette.grid(3)
    assert len(palette) == 27
    assert palette.colors[1 * 9 + 0 * 3 + 2] == (85, 0, 170)
    assert palette.label_dtype == np.uint8
    np.testing.assert_array_equal(palette.to_rgb(np.array([[0, 26]])), [[[0, 0, 0], [170, 170, 170]]])


@pytest.mark.parametrize(("num_values", "itemsize"), [(2, 1), (6, 1), (7, 2), (16, 2)])
def test_labels_have_two_bytes_above_256_colours(num_values, itemsize):
    assert Palette.grid(num_values).label_dtype.itemsize == itemsize


@pytest.mark.parametrize("colors", [((0, 0, 0),), ((0, 0, 0), (0, 0, 256)), ((1, 2, 3), (1, 2, 3))])
def test_an_invalid_palette_is_refused(colors):
    with pytest.raises(SchemaError, match="palette mine"):
        Palette("mine", colors)


# ------------------------------------------------------------------------------------------- examples


@given(BYTES, BYTES, BYTES)
def test_encoded_examples_equal_tensorflows_bytes(key, edges, labels):
    import tensorflow as tf

    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {"key": feature(key), "edges": feature(edges), "labels": feature(labels)}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    assert schema.encode_example(key, edges, labels) == example.SerializeToString(deterministic=True)


def test_the_bytes_of_a_framed_record_have_not_changed():
    framed = schema.frame_record(encoded())
    assert hashlib.sha256(framed).hexdigest() == GOLDEN_RECORD


GOLDEN_RECORD = "1a9c8bb009bad27bd1bbd9874b9692ddf0dd728fe875caf6d7d1c51758828c69"


def test_decode_example_inverts_encode_example():
    _, edges, labels = record()
    assert schema.decode_example(encoded()) == ("n01/a.JPEG", schema.pack_edges(edges), labels.tobytes())


@given(st.binary(max_size=200))
def test_decoding_random_bytes_is_a_schema_error(noise):
    with pytest.raises(SchemaError):
        schema.decode_example(noise)


@settings(max_examples=30)
@given(SHAPES, st.integers(1, 3))
def test_parse_inverts_encode_example(shape, count):
    import tensorflow as tf

    num_lines, size = shape
    options = [{"size": size, "num_lines": num_lines, "key": f"n01/{i}.JPEG"} for i in range(count)]
    examples = [record(i, **options[i]) for i in range(count)]
    serialized = [encoded(i, **options[i]) for i in range(count)]
    keys, edges, labels = schema.parse(tf.constant(serialized), size, "uint8", num_lines)
    assert [key.rstrip(b"\0") for key in keys.numpy()] == [f"n01/{i}.JPEG".encode() for i in range(count)]
    assert edges.shape == (count, num_lines, size**2 // 8)
    np.testing.assert_array_equal(
        np.unpackbits(edges.numpy(), axis=2).reshape(count, num_lines, size, size),
        [e for _, e, _ in examples],
    )
    np.testing.assert_array_equal(labels.numpy(), [la for _, _, la in examples])


def test_parse_reads_sixteen_bit_labels():
    import tensorflow as tf

    labels = np.arange(256, dtype="<u2").reshape(16, 16) * 16
    serialized = schema.encode_example(b"k", b"\0" * 32, labels.tobytes())
    parsed = schema.parse(tf.constant([serialized]), 16, "uint16", 1)[2]
    np.testing.assert_array_equal(parsed[0].numpy(), labels)


@pytest.mark.parametrize(
    ("size", "num_lines"), [(32, 1), (16, 2), (16, 3)], ids=["size", "fewer maps", "incomplete map"]
)
def test_parse_refuses_records_of_another_size(size, num_lines):
    import tensorflow as tf

    serialized = tf.constant([encoded(size=size, num_lines=num_lines)])
    for expected in {1, 4} - {num_lines if size == 16 else 0}:
        with pytest.raises((tf.errors.InvalidArgumentError, ValueError)):
            schema.parse(serialized, 16, "uint8", expected)


# -------------------------------------------------------------------------------------------- framing


def test_tensorflow_reads_framed_records(tmp_path):
    import tensorflow as tf

    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"".join(schema.frame_record(encoded(i)) for i in range(5)))
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(path))] == [encoded(i) for i in range(5)]


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_read_records_inverts_frame_record(records):
    stream = io.BytesIO(b"".join(map(schema.frame_record, records)))
    assert list(schema.read_records(stream)) == records


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_is_reported_with_its_record(offset, flip):
    frames = bytearray(b"".join(schema.frame_record(encoded(i)) for i in range(3)))
    offset %= len(frames)
    frames[offset] ^= flip
    with pytest.raises(SchemaError, match=f"record {offset // (len(frames) // 3)}:"):
        list(schema.read_records(io.BytesIO(frames)))


@given(st.integers(0, 10_000))
def test_any_truncation_is_reported(num_bytes):
    frame = schema.frame_record(encoded())
    num_bytes = 1 + num_bytes % (len(frame) - 1)
    with pytest.raises(SchemaError, match="record 1: the file ends"):
        list(schema.read_records(io.BytesIO(frame + frame[:num_bytes])))


def test_a_record_with_a_length_of_gigabytes_is_not_read():
    head = (1 << 40).to_bytes(8, "little")
    stream = io.BytesIO(head + schema._masked_crc(head).to_bytes(4, "little"))
    with pytest.raises(SchemaError, match="at most 134,217,728 bytes, got 1,099,511,627,776"):
        list(schema.read_records(stream))


@given(st.integers(3, 300), st.sampled_from([16, 64, 128]), st.sampled_from([1, 2]), st.integers(1, 9))
def test_the_layout_matches_an_encoded_record(key_bytes, size, itemsize, num_lines):
    sizes = (key_bytes, num_lines * size**2 // 8, size**2 * itemsize)
    layout = RecordLayout.from_sizes(*sizes)
    rng = np.random.default_rng(key_bytes)
    key, edges, labels = map(rng.bytes, sizes)
    frame = schema.frame_record(schema.encode_example(key, edges, labels))
    assert len(frame) == layout.stride
    assert frame[layout.key_offset :][: layout.key_bytes] == key
    assert frame[layout.edges_offset :][: layout.edges_bytes] == edges
    assert frame[layout.labels_offset :][: layout.labels_bytes] == labels


# ------------------------------------------------------------------------------- receipts and manifest


def test_shard_names():
    assert schema.shard_name("train", 3, 64) == "train/train-00003-of-00064.tfrecord"
    assert schema.shard_name("val", 0, 4, "gzip") == "val/val-00000-of-00004.tfrecord.gz"
    assert ShardReceipt.name("val/val-00000-of-00004.tfrecord.gz") == "receipts/val-00000-of-00004.json"


def test_from_json_inverts_to_json():
    original = manifest()
    assert Manifest.from_json(original.to_json()) == original
    shard = original.splits["train"].shards[0]
    rejects = [schema.Reject("a/b", "corrupt", 'quotes " and\nlines')]
    receipt = ShardReceipt(schema.SCHEMA_VERSION, "train", shard, "f", "d", [500, 12], [3], rejects)
    assert ShardReceipt.from_json(receipt.to_json(), "r") == receipt


def test_a_receipt_with_another_shards_histogram_is_refused():
    shard = manifest().splits["train"].shards[0]
    with pytest.raises(SchemaError, match="histogram does not match the pixels of 2 examples"):
        ShardReceipt(schema.SCHEMA_VERSION, "train", shard, "f", "d", [511], [3], [])


@pytest.mark.parametrize("edge_pixels", [[], [3, 3]])
def test_a_receipt_with_other_line_styles_than_its_layout_is_refused(edge_pixels):
    shard = manifest().splits["train"].shards[0]
    with pytest.raises(SchemaError, match=f"32 bytes of edges, .* {len(edge_pixels)} line styles"):
        ShardReceipt(schema.SCHEMA_VERSION, "train", shard, "f", "d", [512], edge_pixels, [])


def test_manifest_json_is_readable_and_deterministic():
    text = manifest().to_json().decode()
    assert "[ 85, 0, 170 ]" in text
    assert "photos [ 1 ]" in text
    assert manifest().to_json() == manifest().to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema version 3, but linewash .* up to 2: install a newer version"),
        ({"schema_version": 0}, "schema version 0, but linewash .* install the version that wrote it"),
        ({"schema_version": None}, "schema version None"),
        ({"lines": []}, r"lines: expected names .* got \[\]"),
        ({"lines": [""]}, r"lines: expected names .* got \[''\]"),
        ({"lines": ["../canny"]}, "lines: expected names"),
        ({"lines": ["canny", "canny"]}, "lines: expected distinct"),
        ({"lines": ["canny", "xdog"]}, "train-00000-of-00001.tfrecord: the layout has 32 bytes of edges"),
        ({"lines": "canny"}, r"Expected `array`, got `str` - at `\$.lines`"),
        ({"schema_version": 1}, "schema version 1 has no line styles"),
        ({"image_size": "128"}, r"Expected `int`, got `str` - at `\$.image_size`"),
        ({"image_size": 20}, "multiple of 8"),
        ({"label_dtype": "uint16"}, "expected uint8 labels for 27 colours, got uint16"),
        ({"palette": {"name": "x", "colors": [[1, 2]]}}, r"palette"),
        (
            {
                "splits": {
                    "train": {"examples": 3, "label_histogram": [0] * 27, "edge_pixels": [0], "shards": []}
                }
            },
            "train: expected 3 examples in all shards, got 0",
        ),
        (
            {
                "splits": {
                    "val": {"examples": 0, "label_histogram": [0] * 27, "edge_pixels": [0, 0], "shards": []}
                }
            },
            "val: expected edge_pixels of 1 line styles, got 2",
        ),
    ],
)
def test_an_invalid_manifest_is_refused_with_the_fault(change, message):
    data = json.dumps(json.loads(manifest().to_json()) | change).encode()
    with pytest.raises(SchemaError, match=message) as e:
        Manifest.from_json(data, "here/manifest.json")
    assert str(e.value).startswith("here/manifest.json: ")
    assert "\n" not in str(e.value)


@given(st.binary(max_size=100))
def test_random_bytes_are_not_a_manifest(noise):
    with pytest.raises(SchemaError):
        Manifest.from_json(noise)


def test_the_error_for_a_missing_manifest_names_the_command_to_run(tmp_path):
    with pytest.raises(SchemaError, match="python -m preprocess --input IMAGES --output"):
        Manifest.load(tmp_path)


def test_the_dataset_fingerprint_depends_on_the_shards_and_not_on_the_tool():
    original = manifest()
    shard = dataclasses.replace(original.splits["train"].shards[0], sha256="cd")
    train = dataclasses.replace(original.splits["train"], shards=[shard])
    changed = dataclasses.replace(original, splits=original.splits | {"train": train})
    assert changed.dataset_fingerprint != original.dataset_fingerprint
    assert dataclasses.replace(original, tool="another").dataset_fingerprint == original.dataset_fingerprint
