"""The dataset format, byte for byte: the contract between `preprocess`, which writes it, and `training`.

Neither half imports the other. A dataset is a directory of TFRecord shards, one JSON receipt per shard and a
manifest. Each record holds a key, an edge map (values {0, 1}) for each of L line styles, and a label map
(values 0..K-1). TensorFlow is imported only inside the functions that need it, because Beam workers must
start without it.

Datasets of schema version 1, which had one line style, are converted to version 2 when they are read.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import re
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import google_crc32c
import msgspec
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

if TYPE_CHECKING:
    import tensorflow as tf

__version__ = "0.1.0"

SCHEMA_VERSION = 2
SPLITS = ("train", "val")
MANIFEST_NAME = "manifest.json"
RECEIPTS_DIR = "receipts"
REJECTS_NAME = "rejects.jsonl"

# The features of one tf.train.Example. Each is a bytes feature with exactly one value.
FEATURES = {
    "key": "relative path of the image (class/file name), UTF-8, padded with NULs to the shard's longest key",
    "edges": "L maps of S*S/8 bytes, in the order of the manifest's line styles: one bit per pixel, "
    "row-major, most significant bit first; 1 is a line",
    "labels": "S*S palette indices, row-major: uint8, or little-endian uint16 above 256 colours",
}

Compression = Literal["none", "gzip"]
T = TypeVar("T")


class SchemaError(ValueError):
    """A dataset file does not follow the format. The message names the fault and, where possible, the fix."""


class NewerSchemaError(SchemaError):
    """A dataset file was written by a newer version of linewash."""


def user_path(text: str) -> str:
    """Expands a leading `~` or `~NAME` in a path from the command line.

    Shells expand `~` only at the start of a word, so `--output=~/ds` and `data.root=~/ds` arrive unexpanded.
    Remote paths (gs://…) and the `~NAME` of an unknown user are returned unchanged.

    Raises:
      ValueError: neither HOME nor the user's account names a home folder.
    """
    if "://" in text:
        return text
    path = os.path.expanduser(text)  # noqa: PTH111 -- Path.expanduser raises for a file named ~x
    if path == "~" or path.startswith("~/"):
        raise ValueError(f"{text}: the home folder is unknown because HOME is not set: type the full path")
    return path


# ---------------------------------------------------------------------------------------------- edges


def pack_edges(edges: np.ndarray) -> bytes:
    """Packs `edges`, uint8 [L, S, S] in {0, 1}, into L*S*S/8 bytes. S must be a multiple of 8."""
    return np.packbits(edges).tobytes()


def unpack_edges(packed: bytes, image_size: int, num_lines: int) -> np.ndarray:
    """Inverse of `pack_edges`.

    Args:
      packed: the edges of one record.
      image_size: S, from the manifest.
      num_lines: L, the number of the manifest's line styles.

    Returns:
      uint8 [L, S, S] in {0, 1}.

    Raises:
      SchemaError: the length of `packed` is not L*S*S/8.
    """
    num_bytes = num_lines * image_size**2 // 8
    if len(packed) != num_bytes:
        raise SchemaError(
            f"edges: expected {num_bytes} bytes for {num_lines} line styles of {image_size} px, "
            f"got {len(packed)}"
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(num_lines, image_size, image_size)


# -------------------------------------------------------------------------------------------- palette

# The built-in palette by name, in the order of its labels: four rows of eight, as the page shows them. The
# first row has white, two greys and five skin tones, which are light and dark oranges. The other rows have
# seven hues in a light, a vivid and a dark colour; the first column goes on to black. Orange takes the place
# of a light red. Hues are 45 degrees of OKLab apart, moved by up to 10 to what their names make one expect.
#
# The vivid colours were chosen by eye. `python scripts/design_palette.py --images IMAGES`, with 297
# photographs of ImageNet, searched the lightness and chroma of the others for the smallest mean CIEDE2000.
# A light blue had to stay light and blue, and all distances in OKLab at least 0.055. It prints this table.
LINEWASH_COLORS = {
    "white": "#ffffff", "pale grey": "#dcdcdc", "light grey": "#a3a3a3", "cream": "#f3d5b2",
    "beige": "#dba976", "tan": "#bf9a78", "brown": "#80532a", "dark brown": "#4f311b",
    "grey": "#5f5f5f", "orange": "#f6922e", "khaki": "#bab475", "light green": "#8eaf91",
    "light cyan": "#b3e9f0", "light blue": "#8da7c8", "lilac": "#ab9ad1", "light pink": "#f8cbe3",
    "dark grey": "#393939", "red": "#e2352e", "yellow": "#efdf46", "green": "#37a953",
    "cyan": "#1fbdcb", "blue": "#1e76d8", "violet": "#7637c8", "pink": "#df60ae",
    "black": "#000000", "dark red": "#64201b", "olive": "#635f39", "dark green": "#244128",
    "dark teal": "#00414e", "slate blue": "#455f80", "dark violet": "#3c2f58", "mauve": "#735063",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Palette:
    """A named list of colours. Label i has the colour `colors[i]`, an (R, G, B) triple in 0..255.

    Raises:
      SchemaError: `colors` are not 2 to 65,536 distinct triples of values 0..255.
    """

    name: str
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.colors) <= 65_536:
            raise SchemaError(f"palette {self.name}: expected 2 to 65536 colours, got {len(self.colors)}")
        if not all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in self.colors):
            raise SchemaError(f"palette {self.name}: each colour must be three numbers from 0 to 255")
        if len(set(self.colors)) != len(self.colors):
            raise SchemaError(f"palette {self.name}: expected distinct colours, but one occurs twice")

    @classmethod
    def grid(cls, num_values: int) -> Palette:
        """Returns all n³ combinations of the n = `num_values` channel values `arange(0, 255, 255/n)`.

        The label of a colour is r·n² + g·n + b, where r, g and b are the indices of its channel values.

        Raises:
          SchemaError: `num_values` is not in 2..16.
        """
        if not 2 <= num_values <= 16:
            raise SchemaError(f"a grid palette has 2 to 16 values per channel, got {num_values}")
        values = [round(i * 255 / num_values) for i in range(num_values)]
        return cls(f"grid:{num_values}", tuple((r, g, b) for r in values for g in values for b in values))

    @classmethod
    def linewash(cls) -> Palette:
        """Returns the built-in palette, `LINEWASH_COLORS`."""
        channels = (bytes.fromhex(color.removeprefix("#")) for color in LINEWASH_COLORS.values())
        return cls("linewash", tuple((r, g, b) for r, g, b in channels))

    def __len__(self) -> int:
        return len(self.colors)

    def __hash__(self) -> int:
        # Look-up tables are cached by palette and used for every image, so hashing must be cheap.
        return hash((self.name, len(self.colors)))

    @cached_property
    def rgb(self) -> np.ndarray:
        """The colours as uint8 [K, 3]."""
        return np.array(self.colors, np.uint8)

    @property
    def label_dtype(self) -> np.dtype:
        """The dtype of label maps: uint8 up to 256 colours, little-endian uint16 above."""
        return _label_dtype(len(self))

    def to_rgb(self, labels: np.ndarray) -> np.ndarray:
        """Returns the colours of `labels`, integers [...] in 0..K-1, as uint8 [..., 3]."""
        return np.take(self.rgb, labels, axis=0)  # three times as fast as indexing


def _label_dtype(num_colors: int) -> np.dtype:
    return np.dtype("u1") if num_colors <= 256 else np.dtype("<u2")


# -------------------------------------------------------------------------------------------- example


def _example_class() -> Any:
    """Builds the message class `tf.train.Example` without TensorFlow.

    The descriptor pool is private, because TensorFlow registers the same name in the default pool.
    """
    field = descriptor_pb2.FieldDescriptorProto
    optional, repeated = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    file = descriptor_pb2.FileDescriptorProto(
        name="linewash/example.proto", package="tensorflow", syntax="proto3"
    )
    file.message_type.add(name="BytesList").field.add(
        name="value", number=1, label=repeated, type=field.TYPE_BYTES
    )
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    feature.field.add(
        name="bytes_list", number=1, label=optional, type=field.TYPE_MESSAGE,
        type_name=".tensorflow.BytesList", oneof_index=0,
    )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=optional, type=field.TYPE_STRING)
    entry.field.add(
        name="value", number=2, label=optional, type=field.TYPE_MESSAGE, type_name=".tensorflow.Feature"
    )
    features.field.add(
        name="feature", number=1, label=repeated, type=field.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
    )  # fmt: skip
    file.message_type.add(name="Example").field.add(
        name="features", number=1, label=optional, type=field.TYPE_MESSAGE, type_name=".tensorflow.Features"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


_Example = _example_class()


def encode_example(key: bytes, edges: bytes, labels: bytes) -> bytes:
    """Serializes one record to the bytes of `tf.train.Example(...).SerializeToString(deterministic=True)`.

    Args:
      key: UTF-8, already padded to the key length of the shard.
      edges: the output of `pack_edges`.
      labels: the label map in the palette's `label_dtype`, row-major.
    """
    example = _Example()
    feature = example.features.feature
    feature["key"].bytes_list.value.append(key)
    feature["edges"].bytes_list.value.append(edges)
    feature["labels"].bytes_list.value.append(labels)
    return example.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> tuple[str, bytes, bytes]:
    """Inverse of `encode_example`. Returns the key without padding, the packed edges and the label bytes.

    Raises:
      SchemaError: `record` is not an Example, one of the three features is missing, or the key is not UTF-8.
    """
    try:
        feature = _Example.FromString(record).features.feature
        values = [feature[name].bytes_list.value[0] for name in ("key", "edges", "labels") if name in feature]
        key, edges, labels = values
        return key.rstrip(b"\0").decode(), edges, labels
    except Exception as e:  # protobuf's DecodeError, a missing feature or value, a key that is not UTF-8
        raise SchemaError(f"not a linewash record ({type(e).__name__}: {e})") from None


def parse(
    serialized: tf.Tensor, image_size: int, label_dtype: str, num_lines: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Parses a batch of serialized Examples inside tf.data.

    Parsing whole batches is several times faster than parsing one record at a time.

    Args:
      serialized: string [B].
      image_size: S, from the manifest.
      label_dtype: "uint8" or "uint16", from the manifest.
      num_lines: L, the number of the manifest's line styles.

    Returns:
      The keys, string [B], still padded with NULs; the packed edges, uint8 [B, L, S*S/8]; and the labels,
      `label_dtype` [B, S, S].

    Raises:
      tf.errors.InvalidArgumentError: a record lacks a feature, or its edges or labels have another length.
    """
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in FEATURES}
    example = tf.io.parse_example(serialized, spec)
    dtype = tf.dtypes.as_dtype(label_dtype)
    pixels = image_size**2
    edges = tf.io.decode_raw(example["edges"], tf.uint8)
    labels = tf.io.decode_raw(example["labels"], dtype, little_endian=True)
    # decode_raw with a fixed length pads or truncates silently; here a wrong length must be an error.
    edges = tf.reshape(tf.ensure_shape(edges, [None, num_lines * pixels // 8]), [-1, num_lines, pixels // 8])
    labels = tf.reshape(tf.ensure_shape(labels, [None, pixels]), [-1, image_size, image_size])
    return example["key"], edges, labels


@dataclasses.dataclass(frozen=True)
class RecordLayout:
    """Offsets and lengths, in bytes, of the three values in each framed record of an uncompressed shard.

    All framed records of a shard have the same length, `stride`, so record i starts at byte i * stride.
    Offsets count from there.
    """

    stride: int
    key_offset: int
    key_bytes: int
    edges_offset: int
    edges_bytes: int
    labels_offset: int
    labels_bytes: int

    @classmethod
    def from_sizes(cls, key_bytes: int, edges_bytes: int, labels_bytes: int) -> RecordLayout:
        """Returns the layout for values of these sizes, as measured on a test record."""
        # Each value repeats a byte that occurs nowhere else, so that its position is unambiguous.
        values = [
            bytes([n]) * size for n, size in ((252, key_bytes), (253, edges_bytes), (254, labels_bytes))
        ]
        record = frame_record(encode_example(*values))
        key, edges, labels = (record.index(value) for value in values)
        return cls(len(record), key, key_bytes, edges, edges_bytes, labels, labels_bytes)


# ------------------------------------------------------------------------------------ TFRecord framing


def _masked_crc(data: bytes) -> int:
    """Returns the CRC32C of `data`, masked as the TFRecord format requires.

    It is rotated right by 15 bits, and a constant is added. Source: TensorFlow, core/lib/hash/crc32c.h.
    """
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(record: bytes) -> bytes:
    """Frames `record` as a TFRecord: uint64 length, masked CRC of the length, the bytes, their masked CRC."""
    head = struct.pack("<Q", len(record))
    crcs = [struct.pack("<I", _masked_crc(data)) for data in (head, record)]
    return b"".join((head, crcs[0], record, crcs[1]))


class Readable(Protocol):
    """Any object with the `read` method of a binary file. (A GzipFile is not an IO[bytes].)"""

    def read(self, size: int, /) -> bytes:
        """Returns up to `size` bytes, and b"" at the end of the file."""


def read_records(file: Readable, max_bytes: int = 1 << 27) -> Iterator[bytes]:
    """Yields the records of an uncompressed TFRecord stream after checking both CRCs of each.

    Args:
      file: an open binary file.
      max_bytes: records above this size are refused, so that a damaged length cannot exhaust the memory.

    Raises:
      SchemaError: a record is damaged, cut short or too long. The message names its number and the fault.
    """
    number = 0
    while head := file.read(12):
        if len(head) < 12:
            raise SchemaError(f"record {number}: the file ends inside the record's length")
        (length, crc) = struct.unpack("<QI", head)
        if _masked_crc(head[:8]) != crc:
            raise SchemaError(f"record {number}: the checksum of its length is wrong")
        if length > max_bytes:
            raise SchemaError(f"record {number}: expected at most {max_bytes:,} bytes, got {length:,}")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise SchemaError(f"record {number}: the file ends inside the record")
        if _masked_crc(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            raise SchemaError(f"record {number}: the checksum of its bytes is wrong")
        yield body[:-4]
        number += 1


# -------------------------------------------------------------------------------- receipts, manifest


def shard_name(split: str, index: int, num_shards: int, compression: Compression = "none") -> str:
    """Returns a shard's path in the dataset directory, such as `train/train-00000-of-00064.tfrecord`."""
    suffix = ".gz" if compression == "gzip" else ""
    return f"{split}/{split}-{index:05d}-of-{num_shards:05d}.tfrecord{suffix}"


@dataclasses.dataclass(frozen=True)
class Reject:
    """An image that was rejected: its key, a reason from a fixed list, and details of the fault."""

    key: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One finished shard: path in the dataset, number of examples, size in bytes and SHA-256 of the file.

    `layout` is None for a compressed shard, which has no fixed stride.

    Raises:
      SchemaError: `name` may lie outside the dataset, or a count is negative.
    """

    name: str
    examples: int
    bytes: int
    sha256: str
    layout: RecordLayout | None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", self.name) or ".." in self.name.split("/"):
            raise SchemaError(f"expected a shard's path inside the dataset, got {self.name!r}")
        if min(self.examples, self.bytes) < 0:
            raise SchemaError(
                f"{self.name}: counts must not be negative, got {self.examples} examples, {self.bytes} bytes"
            )


@dataclasses.dataclass(frozen=True)
class ShardReceipt:
    """Marks a shard as finished and records its content, recipe and images.

    Attributes:
      fingerprint: the recipe fingerprint, a digest of the recipe.
      images_digest: digest of the keys planned for the shard, including those later rejected.
      label_histogram: number of pixels per label, [K].
      edge_pixels: number of ones in the edge maps of each line style, [L].
      rejects: the planned images that have no record.

    Raises:
      SchemaError: the histogram or the layout does not match the number of examples or of line styles.
    """

    schema_version: int
    split: str
    shard: ShardInfo
    fingerprint: str
    images_digest: str
    label_histogram: list[int]
    edge_pixels: list[int]
    rejects: list[Reject]

    def __post_init__(self) -> None:
        layout, examples = self.shard.layout, self.shard.examples
        if not layout:
            return
        pixels = layout.labels_bytes // _label_dtype(len(self.label_histogram)).itemsize
        if sum(self.label_histogram) != examples * pixels:
            raise SchemaError(f"the label histogram does not match the pixels of {examples} examples")
        if layout.edges_bytes * 8 != len(self.edge_pixels) * pixels:
            raise SchemaError(
                f"the layout has {layout.edges_bytes} bytes of edges, which are not those of "
                f"{len(self.edge_pixels)} line styles"
            )

    @staticmethod
    def name(shard: str) -> str:
        """Returns the path of the receipt of `shard`, such as `receipts/train-00000-of-00064.json`."""
        return f"{RECEIPTS_DIR}/{Path(shard).name.split('.')[0]}.json"

    def to_json(self) -> bytes:
        """Returns the receipt as JSON. Equal receipts give equal bytes."""
        return _to_json(self)

    @classmethod
    def from_json(cls, data: bytes, path: str) -> ShardReceipt:
        """Parses a receipt. Error messages name `path`.

        Raises:
          SchemaError: `data` is not JSON, a field is missing or has the wrong type, fields contradict each
            other, or the schema version is another one.
        """
        return _from_json(cls, data, path)


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset.

    Attributes:
      examples: number of examples.
      label_histogram: number of pixels per label, [K].
      edge_pixels: number of ones in the edge maps of each line style, [L].
      shards: the shards, in the order of their names.
    """

    examples: int
    label_histogram: list[int]
    edge_pixels: list[int]
    shards: list[ShardInfo]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Describes a complete dataset. It is written last, to `manifest.json` in the dataset directory.

    Attributes:
      schema_version: version of this format.
      tool: name and version of the program that wrote the dataset.
      fingerprint: the recipe fingerprint, a digest of the recipe.
      images_digest: digest of all planned keys, including those later rejected.
      image_size: S, the side of all maps in pixels; a multiple of 8.
      label_dtype: dtype of the label maps; uint16 is little-endian.
      lines: names of the L line styles, in the order of the edge maps in each record.
      compression: compression of all shards.
      palette: the colours of the labels.
      recipe: all fields of the recipe as JSON values.
      seed: seed of the split and of the order of examples.
      val_fraction: fraction of the images in the split `val`, 0..1.
      sources: the input patterns.
      splits: the splits by name; see `SPLITS`.
      rejects: number of rejected images per reason.

    Raises:
      SchemaError: fields contradict each other.
    """

    schema_version: int
    tool: str
    fingerprint: str
    images_digest: str
    image_size: int
    label_dtype: Literal["uint8", "uint16"]
    lines: list[str]
    compression: Compression
    palette: Palette
    recipe: dict[str, Any]
    seed: int
    val_fraction: float
    sources: list[str]
    splits: dict[str, Split]
    rejects: dict[str, int]

    def __post_init__(self) -> None:
        if self.image_size < 8 or self.image_size % 8:
            raise SchemaError(f"image_size must be a multiple of 8, got {self.image_size}")
        if np.dtype(self.label_dtype) != self.palette.label_dtype:
            raise SchemaError(
                f"expected {self.palette.label_dtype.name} labels for {len(self.palette)} colours, "
                f"got {self.label_dtype}"
            )
        if not self.lines or not all(re.fullmatch("[a-z_]+", name) for name in self.lines):
            raise SchemaError(f"lines: expected names of line styles (a-z and _), got {self.lines}")
        if len(set(self.lines)) != len(self.lines):
            raise SchemaError(f"lines: expected distinct line styles, got {self.lines}")
        for name, split in self.splits.items():
            self._check_layouts(split.shards)
            if len(split.edge_pixels) != len(self.lines):
                raise SchemaError(
                    f"{name}: expected edge_pixels of {len(self.lines)} line styles, "
                    f"got {len(split.edge_pixels)}"
                )
            if len(split.label_histogram) != len(self.palette):
                raise SchemaError(
                    f"{name}: expected a label histogram of {len(self.palette)} entries, "
                    f"got {len(split.label_histogram)}"
                )
            if (examples := sum(shard.examples for shard in split.shards)) != split.examples:
                raise SchemaError(f"{name}: expected {split.examples} examples in all shards, got {examples}")
            if sum(split.label_histogram) != split.examples * self.image_size**2:
                raise SchemaError(
                    f"{name}: the label histogram does not match the pixels of {split.examples} examples"
                )

    def _check_layouts(self, shards: list[ShardInfo]) -> None:
        """Checks that the edges and labels of each layout are those of the image size and line styles."""
        pixels = self.image_size**2
        sizes = (len(self.lines) * pixels // 8, pixels * np.dtype(self.label_dtype).itemsize)
        for shard in shards:
            layout = shard.layout
            if layout and (layout.edges_bytes, layout.labels_bytes) != sizes:
                raise SchemaError(
                    f"{shard.name}: the layout has {layout.edges_bytes} bytes of edges and "
                    f"{layout.labels_bytes} of labels, but {len(self.lines)} line styles and labels of "
                    f"{self.image_size} px have {sizes[0]} and {sizes[1]}"
                )

    @property
    def dataset_fingerprint(self) -> str:
        """Digest of the recipe and of all shards. Equal dataset fingerprints mean equal shards."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for name in sorted(self.splits):
            for shard in self.splits[name].shards:
                digest.update(f"{shard.name} {shard.sha256}\n".encode())
        return digest.hexdigest()[:16]

    def to_json(self) -> bytes:
        """Returns the manifest as JSON. Equal manifests give equal bytes."""
        return _to_json(self)

    @classmethod
    def from_json(cls, data: bytes, path: str = MANIFEST_NAME) -> Manifest:
        """Parses a manifest. Error messages name `path`.

        Raises:
          SchemaError: `data` is not JSON, a field is missing or has the wrong type, fields contradict each
            other, or the schema version is another one.
        """
        return _from_json(cls, data, path)

    @classmethod
    def load(cls, root: str | Path) -> Manifest:
        """Reads the manifest of the dataset at `root`, a local path or one that TensorFlow opens (gs://…).

        Raises:
          SchemaError: there is no manifest, or it is not a valid one of this schema version.
          OSError: the file cannot be read. A ConnectionError may pass, so that a retry makes sense.
        """
        path = f"{str(root).rstrip('/')}/{MANIFEST_NAME}"
        try:
            data = _read_bytes(path)
        except FileNotFoundError:
            raise SchemaError(
                f"no {MANIFEST_NAME} in {root}: it is not a dataset, or its preprocessing has not finished; "
                f"run python -m preprocess --input IMAGES --output {root}"
            ) from None
        return cls.from_json(data, path)


def _read_bytes(path: str) -> bytes:
    if "://" not in path:
        local = Path(path)
        if local.parent.is_file():
            raise SchemaError(f"expected a dataset directory, but {local.parent} is a file")
        return local.read_bytes()
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.OpError as e:
        raise storage_error(e, path) from e


# Codes (google.rpc.Code) of errors that may pass: CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED,
# ABORTED, INTERNAL, UNAVAILABLE.
_TRANSIENT = frozenset({1, 2, 4, 8, 10, 13, 14})
_NOT_FOUND, _PERMISSION_DENIED, _UNIMPLEMENTED, _UNAUTHENTICATED = 5, 7, 12, 16


def storage_error(error: tf.errors.OpError, path: str) -> OSError:
    """Converts TensorFlow's error about a remote file to Python's, with `path` as its file name.

    Returns:
      A ConnectionError if the error may pass, so that a retry makes sense; a FileNotFoundError or a
      PermissionError; an OSError with errno EPROTONOSUPPORT if TensorFlow cannot read this kind of path; or
      else a plain OSError.
    """
    reason = str(error.message).split("\n")[0].split("}} ")[-1].split(" [Op:")[0] or type(error).__name__
    code = error.error_code
    if code in _TRANSIENT:
        return ConnectionError(errno.EIO, reason, path)
    number = {
        _NOT_FOUND: errno.ENOENT,
        _PERMISSION_DENIED: errno.EACCES,
        _UNAUTHENTICATED: errno.EACCES,
        _UNIMPLEMENTED: errno.EPROTONOSUPPORT,
    }.get(code, errno.EIO)
    return OSError(number, reason, path)


def _to_json(value: Any) -> bytes:
    """Returns indented JSON in which each list of numbers is one line."""
    # A JSON string never contains a line break, so the pattern cannot match inside one.
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    return re.sub(rb"\[\n[\d,.\s-]+\]", lambda m: b" ".join(m[0].split()), text) + b"\n"


def _from_json(cls: type[T], data: bytes, path: str) -> T:
    """Decodes and validates JSON. It checks the version first, because the fields depend on it."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        version = fields.get("schema_version")
        if version == 1:
            return msgspec.convert(_from_schema_1(fields), type=cls)
        if version != SCHEMA_VERSION:
            known = (
                f"schema version {version}, but linewash {__version__} reads versions up to {SCHEMA_VERSION}"
            )
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise NewerSchemaError(f"{known}: install a newer version of linewash")
            raise SchemaError(
                f"{known}: install the version that wrote it, or preprocess the images again with "
                "python -m preprocess"
            )
        return msgspec.json.decode(data, type=cls)
    except NewerSchemaError as e:
        raise NewerSchemaError(f"{path}: {e}") from None
    except (msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError) as e:
        raise SchemaError(f"{path}: {e}") from None


def _from_schema_1(fields: dict[str, Any]) -> dict[str, Any]:
    """Converts a receipt or manifest of schema version 1, which had the line style `canny` and no other.

    Raises:
      SchemaError: a field that version 1 did not have.
    """
    if "lines" in fields:
        raise SchemaError("schema version 1 has no line styles, but there is a field `lines`")
    fields = _list_edge_pixels(fields) | {"schema_version": SCHEMA_VERSION}
    if isinstance(splits := fields.get("splits"), dict):
        fields["lines"] = ["canny"]
        fields["splits"] = {name: _list_edge_pixels(split) for name, split in splits.items()}
    return fields


def _list_edge_pixels(fields: Any) -> Any:
    """Converts `edge_pixels` from a number to a list of numbers, one for each line style."""
    if not isinstance(fields, dict) or "edge_pixels" not in fields:
        return fields
    return fields | {"edge_pixels": [fields["edge_pixels"]]}
