"""The contract between the two halves: what a dataset directory holds, byte for byte.

`preprocess` writes what is described here and `training` reads it; neither imports the other. Images go in
as uint8 arrays (`edges` in {0, 1}, `labels` in 0..K-1) and come out of `parse` as tensors. TensorFlow is
imported only inside `parse`, so that the writing half never pays for it.
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

SCHEMA_VERSION = 1
SPLITS = ("train", "val")
MANIFEST_NAME = "manifest.json"
RECEIPTS_DIR = "receipts"
REJECTS_NAME = "rejects.jsonl"

# What one tf.train.Example holds. All three are bytes features of exactly one value.
FEATURES = {
    "key": "where the image came from (class/file name), UTF-8, padded with NULs to its shard's longest",
    "edges": "S*S/8 bytes: one bit a pixel, row-major, most significant bit first; 1 is a line",
    "labels": "S*S palette indices, row-major: uint8, or little-endian uint16 above 256 colours",
}

Compression = Literal["none", "gzip"]
T = TypeVar("T")


class SchemaError(ValueError):
    """A dataset file that does not hold what this module describes; the message says what to do."""


def user_path(text: str) -> str:
    """The path that a user typed, with a leading `~` or `~NAME` expanded; every command calls this.

    Shells expand `~` only at the start of a word: `--output=~/ds` and `data.root=~/ds` arrive as typed.
    Remote paths (gs://…) and `~NAME` of an unknown user are returned as they are.

    Raises:
      ValueError: `~` has no meaning here, because neither HOME nor the user's account names a home folder.
    """
    if "://" in text:
        return text
    path = os.path.expanduser(text)  # noqa: PTH111 -- Path.expanduser raises for a file named ~x
    if path == "~" or path.startswith("~/"):
        raise ValueError(f"{text}: the home folder is unknown because HOME is not set: type the whole path")
    return path


# ---------------------------------------------------------------------------------------------- edges


def pack_edges(edges: np.ndarray) -> bytes:
    """Packs `edges`, uint8 [S, S] in {0, 1}, into S*S/8 bytes (S a multiple of 8)."""
    return np.packbits(edges).tobytes()


def unpack_edges(packed: bytes, image_size: int) -> np.ndarray:
    """Inverse of `pack_edges`: uint8 [S, S] in {0, 1}.

    Raises:
      SchemaError: `packed` is not image_size² / 8 bytes long.
    """
    if len(packed) * 8 != image_size**2:
        raise SchemaError(
            f"edges: expected {image_size**2 // 8} bytes for {image_size} px, got {len(packed)}"
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(image_size, image_size)


# -------------------------------------------------------------------------------------------- palette


@dataclasses.dataclass(frozen=True)
class Palette:
    """The colours a label may stand for: label i is `colors[i]`, an (R, G, B) triple in 0..255.

    Raises:
      SchemaError: not 2 to 65,536 distinct triples of 0..255.
    """

    name: str
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not 2 <= len(self.colors) <= 65_536:
            raise SchemaError(f"palette {self.name}: expected 2 to 65536 colours, got {len(self.colors)}")
        if not all(len(c) == 3 and all(0 <= v <= 255 for v in c) for c in self.colors):
            raise SchemaError(f"palette {self.name}: each colour must be three numbers from 0 to 255")
        if len(set(self.colors)) != len(self.colors):
            raise SchemaError(f"palette {self.name}: the same colour stands in it twice")

    @classmethod
    def grid(cls, num_values: int) -> Palette:
        """All num_values³ combinations of `arange(0, 255, 255/num_values)`; label = r·n² + g·n + b.

        Raises:
          SchemaError: num_values is not in 2..16.
        """
        if not 2 <= num_values <= 16:
            raise SchemaError(f"a grid palette takes 2 to 16 values a channel, got {num_values}")
        values = [round(i * 255 / num_values) for i in range(num_values)]
        return cls(f"grid:{num_values}", tuple((r, g, b) for r in values for g in values for b in values))

    def __len__(self) -> int:
        return len(self.colors)

    def __hash__(self) -> int:
        # Tables are cached by palette and asked for once an image: do not hash thousands of colours.
        return hash((self.name, len(self.colors)))

    @cached_property
    def rgb(self) -> np.ndarray:
        """The colours as uint8 [K, 3]."""
        return np.array(self.colors, np.uint8)

    @property
    def label_dtype(self) -> np.dtype:
        """uint8 up to 256 colours, little-endian uint16 above."""
        return np.dtype("u1") if len(self) <= 256 else np.dtype("<u2")

    def to_rgb(self, labels: np.ndarray) -> np.ndarray:
        """Colours `labels`, integers [...] in 0..K-1, to uint8 [..., 3]."""
        return self.rgb[labels]


# -------------------------------------------------------------------------------------------- example


def _example_class() -> Any:
    """`tf.train.Example` built from protobuf alone.

    The pool is private, so the class never meets TensorFlow's own registration of the same name.
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
    """Serializes one record, byte for byte as `tf.train.Example(...).SerializeToString(deterministic=True)`.

    Args:
      key: UTF-8, already padded to its shard's key length.
      edges: what `pack_edges` gives.
      labels: the label map's bytes in the palette's `label_dtype`.
    """
    example = _Example()
    feature = example.features.feature
    feature["key"].bytes_list.value.append(key)
    feature["edges"].bytes_list.value.append(edges)
    feature["labels"].bytes_list.value.append(labels)
    return example.SerializeToString(deterministic=True)


def decode_example(record: bytes) -> tuple[str, bytes, bytes]:
    """Inverse of `encode_example`: the key without its padding, and the edges' and labels' bytes.

    Raises:
      SchemaError: the bytes are not an Example, or one of the three features is missing.
    """
    try:
        feature = _Example.FromString(record).features.feature
        values = [feature[name].bytes_list.value[0] for name in ("key", "edges", "labels") if name in feature]
        key, edges, labels = values
        return key.rstrip(b"\0").decode(), edges, labels
    except Exception as e:  # protobuf's DecodeError, a missing feature or value, a key that is not UTF-8
        raise SchemaError(f"not a record of ours ({type(e).__name__}: {e})") from None


def parse(serialized: tf.Tensor, image_size: int, label_dtype: str) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Parses a whole batch at once, inside tf.data (one record at a time is several times slower).

    Args:
      serialized: string [B], one serialized Example each.
      image_size: S, from the manifest.
      label_dtype: "uint8" or "uint16", from the manifest.

    Returns:
      keys string [B] (still padded with NULs), packed edges uint8 [B, S*S/8], labels [B, S, S].
    """
    import tensorflow as tf

    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in FEATURES}
    example = tf.io.parse_example(serialized, spec)
    dtype = tf.dtypes.as_dtype(label_dtype)
    pixels = image_size**2
    edges = tf.io.decode_raw(example["edges"], tf.uint8)
    labels = tf.io.decode_raw(example["labels"], dtype, little_endian=True)
    # decode_raw pads or cuts silently when told a fixed length; here a wrong length is an error.
    edges = tf.ensure_shape(edges, [None, pixels // 8])
    labels = tf.reshape(tf.ensure_shape(labels, [None, pixels]), [-1, image_size, image_size])
    return example["key"], edges, labels


@dataclasses.dataclass(frozen=True)
class RecordLayout:
    """Where things lie in each record of an uncompressed shard, in bytes from the record's frame on.

    All records of a shard have one length, so a shard is also an array: record i starts at i * stride.
    """

    stride: int
    key_offset: int
    key_bytes: int
    edges_offset: int
    edges_bytes: int
    labels_offset: int
    labels_bytes: int

    @classmethod
    def of(cls, key_bytes: int, edges_bytes: int, labels_bytes: int) -> RecordLayout:
        """Measures the layout on a probe record whose three values are easily told apart."""
        values = [
            bytes([n]) * size for n, size in ((252, key_bytes), (253, edges_bytes), (254, labels_bytes))
        ]
        record = frame_record(encode_example(*values))
        key, edges, labels = (record.index(value) for value in values)
        return cls(len(record), key, key_bytes, edges, edges_bytes, labels, labels_bytes)


# ------------------------------------------------------------------------------------ TFRecord framing


def _masked_crc(data: bytes | np.ndarray) -> int:
    """CRC32C, masked as the TFRecord format wants it."""
    return _masked(google_crc32c.value(data))


def _masked(crc: Any) -> Any:
    """Rotated right by 15 bits plus a constant (TensorFlow core/lib/hash/crc32c.h): an int, or uint64 [N]."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_record(record: bytes) -> bytes:
    """One TFRecord: length, its masked CRC, the bytes, their masked CRC (the TFRecord format)."""
    head = struct.pack("<Q", len(record))
    crcs = [struct.pack("<I", _masked_crc(data)) for data in (head, record)]
    return b"".join((head, crcs[0], record, crcs[1]))


def check_frames(records: np.ndarray, first: int = 0) -> None:
    """Checks the length and both CRCs of framed records of one length, uint8 [N, stride].

    Raises:
      SchemaError: at the first fault, naming the record's number; that of the first is `first`.
    """
    length = struct.pack("<Q", records.shape[1] - 16)
    head = np.frombuffer(length + struct.pack("<I", _masked_crc(length)), np.uint8)
    wrong = np.flatnonzero((records[:, :12] != head).any(axis=1))
    if wrong.size:
        raise SchemaError(f"record {first + wrong[0]}: its length or the checksum of it is wrong")
    found = _masked(np.fromiter(map(google_crc32c.value, records[:, 12:-4]), np.uint64, len(records)))
    wrong = np.flatnonzero(found != np.ascontiguousarray(records[:, -4:]).view("<u4")[:, 0])
    if wrong.size:
        raise SchemaError(f"record {first + wrong[0]}: the checksum of its bytes is wrong")


class Readable(Protocol):
    """A binary file, or what reads like one (a GzipFile is no IO[bytes])."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def read_records(file: Readable, max_bytes: int = 1 << 27) -> Iterator[bytes]:
    """Yields the records of an uncompressed TFRecord stream, checking both CRCs of each.

    Raises:
      SchemaError: at the first fault, naming the record's number and what is wrong with it.
    """
    number = 0
    while head := file.read(12):
        if len(head) < 12:
            raise SchemaError(f"record {number}: the file ends inside its length")
        (length, crc) = struct.unpack("<QI", head)
        if _masked_crc(head[:8]) != crc:
            raise SchemaError(f"record {number}: the checksum of its length is wrong")
        if length > max_bytes:
            raise SchemaError(f"record {number}: {length:,} bytes long, more than {max_bytes:,}")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise SchemaError(f"record {number}: the file ends inside it")
        if _masked_crc(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            raise SchemaError(f"record {number}: the checksum of its bytes is wrong")
        yield body[:-4]
        number += 1


# -------------------------------------------------------------------------------- receipts, manifest


def shard_name(split: str, index: int, of: int, compression: Compression = "none") -> str:
    """`train/train-00000-of-00064.tfrecord`, relative to the dataset directory."""
    suffix = ".gz" if compression == "gzip" else ""
    return f"{split}/{split}-{index:05d}-of-{of:05d}.tfrecord{suffix}"


@dataclasses.dataclass(frozen=True)
class Reject:
    """An image left out: its key, a reason out of a short list, and what exactly was wrong."""

    key: str
    reason: str
    detail: str


@dataclasses.dataclass(frozen=True)
class ShardInfo:
    """One finished shard. `layout` is None when the shard is compressed: it then has no fixed stride.

    Raises:
      SchemaError: a name that may lie outside the dataset, or a number below nought.
    """

    name: str
    examples: int
    bytes: int
    sha256: str
    layout: RecordLayout | None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*", self.name) or ".." in self.name.split("/"):
            raise SchemaError(f"{self.name!r} is no name of a shard within the dataset")
        if min(self.examples, self.bytes) < 0:
            raise SchemaError(f"{self.name}: {self.examples} examples in {self.bytes} bytes cannot be")


@dataclasses.dataclass(frozen=True)
class ShardReceipt:
    """Says that a shard stands, what is in it, and for which recipe and images it was written.

    `fingerprint` is the recipe's; `images_digest` is that of the keys planned for the shard;
    `label_histogram` counts pixels by label, [K]; `edge_pixels` counts the ones in `edges`.
    """

    schema_version: int
    split: str
    shard: ShardInfo
    fingerprint: str
    images_digest: str
    label_histogram: list[int]
    edge_pixels: int
    rejects: list[Reject]

    def __post_init__(self) -> None:
        layout, examples = self.shard.layout, self.shard.examples
        if layout and sum(self.label_histogram) != examples * layout.edges_bytes * 8:
            raise SchemaError(f"the histogram does not add up to {examples} images")

    @staticmethod
    def name(shard: str) -> str:
        """The receipt's place for a shard's: `receipts/train-00000-of-00064.json`."""
        return f"{RECEIPTS_DIR}/{Path(shard).name.split('.')[0]}.json"

    def to_json(self) -> bytes:
        """JSON bytes, the same for the same receipt."""
        return _to_json(self)

    @classmethod
    def from_json(cls, data: bytes, where: str) -> ShardReceipt:
        """Reads a receipt; `where` is the path to name in an error.

        Raises:
          SchemaError: not JSON, a field missing or of the wrong type, or another schema version.
        """
        return _from_json(cls, data, where)


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset: its shards, and its pixels counted by label, [K]."""

    examples: int
    label_histogram: list[int]
    edge_pixels: int
    shards: list[ShardInfo]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Stands at the root of a complete dataset: everything a reader must know about it.

    `recipe` is the whole recipe as plain values and `fingerprint` its digest; `images_digest` is that of
    all planned keys; `rejects` counts the images left out by reason.
    """

    schema_version: int
    tool: str
    fingerprint: str
    images_digest: str
    image_size: int
    label_dtype: Literal["uint8", "uint16"]
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
            raise SchemaError(f"{len(self.palette)} colours do not go with {self.label_dtype} labels")
        for name, split in self.splits.items():
            if len(split.label_histogram) != len(self.palette):
                raise SchemaError(f"{name}: the histogram does not have {len(self.palette)} entries")
            if sum(shard.examples for shard in split.shards) != split.examples:
                raise SchemaError(f"{name}: the shards do not add up to {split.examples} examples")
            if sum(split.label_histogram) != split.examples * self.image_size**2:
                raise SchemaError(f"{name}: the histogram does not add up to {split.examples} images")

    @property
    def dataset_fingerprint(self) -> str:
        """A digest of everything in the shards: two datasets with the same one are the same dataset."""
        digest = hashlib.sha256(self.fingerprint.encode())
        for name in sorted(self.splits):
            for shard in self.splits[name].shards:
                digest.update(f"{shard.name} {shard.sha256}\n".encode())
        return digest.hexdigest()[:16]

    def to_json(self) -> bytes:
        """JSON bytes, the same for the same manifest."""
        return _to_json(self)

    @classmethod
    def from_json(cls, data: bytes, where: str = MANIFEST_NAME) -> Manifest:
        """Reads a manifest; `where` is the path to name in an error.

        Raises:
          SchemaError: not JSON, a field missing or of the wrong type, numbers that contradict each other,
            or another schema version.
        """
        return _from_json(cls, data, where)

    @classmethod
    def load(cls, root: str | Path) -> Manifest:
        """Reads the manifest of the dataset at `root` (a local path, or one TensorFlow can open: gs://…).

        Raises:
          SchemaError: there is no complete dataset of this schema version there.
          OSError: the file cannot be read; a ConnectionError if a further try makes sense.
        """
        path = f"{str(root).rstrip('/')}/{MANIFEST_NAME}"
        try:
            data = _read_bytes(path)
        except FileNotFoundError:
            raise SchemaError(
                f"no {MANIFEST_NAME} in {root}: not a dataset, or a preprocessing job that has not finished; "
                f"run (again): python -m preprocess --input IMAGES --output {root}"
            ) from None
        return cls.from_json(data, path)


def _read_bytes(path: str) -> bytes:
    if "://" not in path:
        local = Path(path)
        if local.parent.is_file():  # NotADirectoryError says less
            raise SchemaError(f"{local.parent} is a file, not a dataset directory")
        return local.read_bytes()
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.OpError as e:
        raise storage_error(e, path) from e


# What a store or the network answers while something is wrong that may pass (google.rpc.Code): CANCELLED,
# UNKNOWN, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, INTERNAL, UNAVAILABLE.
_PASSING = frozenset({1, 2, 4, 8, 10, 13, 14})
_NOT_FOUND, _PERMISSION_DENIED, _UNIMPLEMENTED, _UNAUTHENTICATED = 5, 7, 12, 16


def storage_error(error: tf.errors.OpError, path: str) -> OSError:
    """What TensorFlow says of a remote file, as the error that Python has for it, with `path` as its file.

    Returns:
      ConnectionError: what may pass, so that another try makes sense. FileNotFoundError, PermissionError:
      as they say. An OSError with errno EPROTONOSUPPORT: TensorFlow cannot read this kind of path. An
      OSError: all else.
    """
    reason = str(error.message).split("\n")[0].split("}} ")[-1].split(" [Op:")[0] or type(error).__name__
    code = error.error_code
    if code in _PASSING:
        return ConnectionError(errno.EIO, reason, path)
    number = {
        _NOT_FOUND: errno.ENOENT,
        _PERMISSION_DENIED: errno.EACCES,
        _UNAUTHENTICATED: errno.EACCES,
        _UNIMPLEMENTED: errno.EPROTONOSUPPORT,
    }.get(code, errno.EIO)
    return OSError(number, reason, path)


def _to_json(value: Any) -> bytes:
    """Indented, but lists of numbers on one line each. (A line break is never part of a JSON string.)"""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    return re.sub(rb"\[\n[\d,.\s-]+\]", lambda m: b" ".join(m[0].split()), text) + b"\n"


def _from_json(cls: type[T], data: bytes, where: str) -> T:
    """Decodes and validates; the version is looked at first, since all else may differ with it."""
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("schema_version")
        if version != SCHEMA_VERSION:
            raise SchemaError(
                f"schema version {version}, but linewash {__version__} reads {SCHEMA_VERSION}: install the "
                "linewash that wrote it, or make the dataset anew with python -m preprocess"
            )
        return msgspec.json.decode(data, type=cls)
    except (msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError) as e:
        raise SchemaError(f"{where}: {e}") from None
