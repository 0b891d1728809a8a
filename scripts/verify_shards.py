"""Checks every byte of a dataset and reports the file, record and key of the first fault.

    python scripts/verify_shards.py DATASET

It compares the manifest with the receipts, and checks each shard's size and SHA-256, both CRCs and the three
features of each record, the range of the labels, the histograms, and that keys are unique within a split.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import concurrent.futures.process
import dataclasses
import functools
import gzip
import hashlib
import sys
import time
import zlib
from array import array
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from linewash.arguments import Parser, at_least, local_path, run

from training import cli
from training.errors import WorkError

try:
    import numpy as np
    from tqdm import tqdm

    from preprocess.cores import available_cores
    from preprocess.plan import digest_keys
    from preprocess.posterize import label_histogram
    from preprocess.recipe import fingerprint
    from tfrecords_schema import (
        MANIFEST_NAME,
        RECEIPTS_DIR,
        Manifest,
        Readable,
        SchemaError,
        ShardInfo,
        ShardReceipt,
        decode_example,
        read_records,
    )
except ModuleNotFoundError as missing:
    # Worker processes import this file too, so its imports cannot move into `work`.
    error = cli.explain_error(missing, "preprocess")
    if error is None or __name__ != "__main__":
        raise
    sys.exit(cli.report_error("verify_shards", error))


@dataclasses.dataclass(frozen=True)
class ExpectedFormat:
    """The fields of the manifest that each task of the pool needs.

    The whole manifest lists all shards. Sending it with each shard would cost time quadratic in their number.
    """

    fingerprint: str
    image_size: int
    num_lines: int
    num_colors: int
    label_dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class ShardContent:
    """The content of one shard.

    Attributes:
      label_histogram: number of pixels per label, int64 [K].
      edge_pixels: number of ones in the edge maps of each line style, int64 [L].
      keys: 64-bit digests of the keys, uint64 [N].
      images_digest: the digest of the planned keys, from the receipt.
    """

    label_histogram: np.ndarray
    edge_pixels: np.ndarray
    keys: np.ndarray
    images_digest: str


class Totals:
    """Sums over the shards of one split."""

    def __init__(self, num_colors: int, num_lines: int) -> None:
        self.label_histogram = np.zeros(num_colors, np.int64)
        self.edge_pixels = np.zeros(num_lines, np.int64)

    def add(self, content: ShardContent) -> None:
        """Adds the counts of a shard."""
        self.label_histogram += content.label_histogram
        self.edge_pixels += content.edge_pixels


def check_dataset(root: Path, workers: int) -> tuple[int, int]:
    """Checks the dataset at `root` in `workers` processes, and returns the numbers of examples and bytes.

    Raises:
      SchemaError: the dataset has a fault. The message names the first, by split, shard and record.
    """
    manifest = Manifest.load(root)
    shards = [(name, shard) for name, split in manifest.splits.items() for shard in split.shards]
    _check_names(root, [shard.name for _, shard in shards])
    _check_equal(
        f"{MANIFEST_NAME}: fingerprint", manifest.fingerprint, fingerprint(manifest.recipe, manifest.palette)
    )
    # Recipes of earlier versions have no `lines`.
    _check_equal(f"{MANIFEST_NAME}: lines", manifest.recipe.get("lines", ["canny"]), manifest.lines)
    palette, num_lines = manifest.palette, len(manifest.lines)
    expected = ExpectedFormat(
        manifest.fingerprint, manifest.image_size, num_lines, len(palette), palette.label_dtype
    )
    totals = {name: Totals(len(palette), num_lines) for name in manifest.splits}
    keys, digests = [], {}
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        contents = pool.map(functools.partial(_check_shard, root, expected), *zip(*shards, strict=True))
        bar = tqdm(contents, total=len(shards), unit=" shards", disable=not sys.stderr.isatty(), leave=False)
        for (name, shard), content in zip(shards, bar, strict=True):
            totals[name].add(content)
            keys.append(content.keys)
            digests[shard.name] = content.images_digest
    for name, split in manifest.splits.items():
        histogram, edge_pixels = totals[name].label_histogram, totals[name].edge_pixels
        _check_equal(f"{MANIFEST_NAME}: {name}.label_histogram", split.label_histogram, histogram.tolist())
        _check_equal(f"{MANIFEST_NAME}: {name}.edge_pixels", split.edge_pixels, edge_pixels.tolist())
    digest = digest_keys(digests[name] for name in sorted(digests))
    _check_equal(f"{MANIFEST_NAME}: images_digest", manifest.images_digest, digest)
    _check_keys(root, keys, [shard for _, shard in shards])
    return sum(s.examples for _, s in shards), sum(s.bytes for _, s in shards)


def _check_names(root: Path, shard_names: list[str]) -> None:
    """Checks that the directory has no other shards and receipts than those of the manifest."""
    paths = [*root.glob("*/*.tfrecord*"), *root.glob(f"{RECEIPTS_DIR}/*.json")]
    names = {path.relative_to(root).as_posix() for path in paths}
    if unknown := sorted(names - {*shard_names, *map(ShardReceipt.name, shard_names)}):
        raise SchemaError(f"{unknown[0]} is not in {MANIFEST_NAME}")


def _check_shard(root: Path, expected: ExpectedFormat, split: str, shard: ShardInfo) -> ShardContent:
    try:
        receipt = _load_receipt(root, shard)
        _check_equal("the receipt's split", receipt.split, split)
        _check_equal("the receipt's shard", receipt.shard, shard)
        _check_equal("the receipt's recipe", receipt.fingerprint, expected.fingerprint)
        _check_file(root / shard.name, shard)
        content = _check_records(root / shard.name, expected, shard, receipt.images_digest)
        if shard.layout:
            _check_equal("size in records", shard.layout.stride * shard.examples, shard.bytes)
        histogram = content.label_histogram.tolist()
        _check_equal("label_histogram in the receipt", receipt.label_histogram, histogram)
        _check_equal("edge_pixels in the receipt", receipt.edge_pixels, content.edge_pixels.tolist())
    except (SchemaError, OSError, EOFError, zlib.error) as e:
        raise SchemaError(f"{shard.name}: {e}") from None
    return content


def _load_receipt(root: Path, shard: ShardInfo) -> ShardReceipt:
    path = root / ShardReceipt.name(shard.name)
    return ShardReceipt.from_json(path.read_bytes(), ShardReceipt.name(shard.name))


def _check_file(path: Path, shard: ShardInfo) -> None:
    _check_equal("size in bytes", shard.bytes, path.stat().st_size)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != shard.sha256:
        for _ in _read_shard(path, shard):  # raises at the damaged record, if a checksum shows which one
            pass
        raise SchemaError(f"SHA-256: expected {shard.sha256} as in {MANIFEST_NAME}, found {digest}")


def _read_shard(path: Path, shard: ShardInfo) -> Iterator[bytes]:
    file: Readable
    with (gzip.open if shard.name.endswith(".gz") else open)(path, "rb") as file:
        yield from read_records(file)


def _check_records(
    path: Path, expected: ExpectedFormat, shard: ShardInfo, images_digest: str
) -> ShardContent:
    num_colors, num_lines = expected.num_colors, expected.num_lines
    pixels = expected.image_size**2
    histogram, edge_pixels = np.zeros(num_colors, np.int64), np.zeros(num_lines, np.int64)
    number = 0
    keys = array("Q")  # grows with the records: the number in the manifest may be wrong and huge
    for number, record in enumerate(_read_shard(path, shard), 1):
        context = f"record {number - 1}"
        key, edges, labels = decode_example(record)
        context = f"{context}, key {key}"
        if number > shard.examples:
            raise SchemaError(
                f"{context}: expected {shard.examples} records as in {MANIFEST_NAME}, found more"
            )
        _check_equal(f"{context}: bytes of edges", num_lines * pixels // 8, len(edges))
        _check_equal(f"{context}: bytes of labels", pixels * expected.label_dtype.itemsize, len(labels))
        values = np.frombuffer(labels, expected.label_dtype)
        counts = label_histogram(values, 256**values.itemsize)
        if counts[num_colors:].any():
            label = num_colors + int(np.flatnonzero(counts[num_colors:])[0])
            raise SchemaError(f"{context}: label {label}, but the palette has {num_colors} colours")
        histogram += counts[:num_colors]
        for line in range(num_lines):
            line_map = edges[line * pixels // 8 : (line + 1) * pixels // 8]
            edge_pixels[line] += int.from_bytes(line_map, "big").bit_count()
        keys.append(_digest(key))
    _check_equal("records", shard.examples, number)
    return ShardContent(histogram, edge_pixels, np.array(keys, np.uint64), images_digest)


def _check_keys(root: Path, keys: list[np.ndarray], shards: list[ShardInfo]) -> None:
    """Checks that keys are unique within a split. `keys` are the key digests of each shard, uint64 [N]."""
    for split in sorted({shard.name.partition("/")[0] for shard in shards}):
        split_shards = [
            (digests, shard)
            for digests, shard in zip(keys, shards, strict=True)
            if shard.name.startswith(f"{split}/")
        ]
        ordered = np.sort(np.concatenate([digests for digests, _ in split_shards]))
        duplicates = ordered[1:][ordered[1:] == ordered[:-1]]
        if not duplicates.size:
            continue
        records = [
            (shard.name, number, key)
            for shard in (shard for digests, shard in split_shards if duplicates[0] in digests)
            for number, record in enumerate(_read_shard(root / shard.name, shard))
            if _digest(key := decode_example(record)[0]) == duplicates[0]
        ]
        (first_shard, first, _), (second_shard, second, key) = records[:2]
        raise SchemaError(
            f"{second_shard}: record {second}, key {key}: the same key as record {first} of {first_shard}"
        )


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _check_equal(name: str, expected: object, actual: object) -> None:
    if expected != actual:
        raise SchemaError(f"{name}: expected {_shorten(expected)}, found {_shorten(actual)}")


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("verify_shards", __doc__)
    add = parser.add_argument
    add("dataset", type=local_path, help="dataset directory made by python -m preprocess")
    add("--workers", type=at_least(1), default=available_cores(), metavar="N", help="processes [all cores]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code: 1 if the dataset has a fault."""
    return run(make_parser(), work, argv, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Checks the dataset and prints its size. Returns 0.

    Raises:
      WorkError: the dataset has a fault, or a worker process was killed.
    """
    started = time.monotonic()
    try:
        examples, size = check_dataset(args.dataset, args.workers)
    except SchemaError as e:
        raise WorkError(str(e)) from None
    except concurrent.futures.process.BrokenProcessPool:
        raise WorkError(
            "a worker process was killed, probably because memory ran out: type a smaller --workers"
        ) from None
    megabytes = size / 1e6
    rate = megabytes / (time.monotonic() - started)
    print(f"{args.dataset} has no faults: {examples:,} examples, {megabytes:,.1f} MB, {rate:,.0f} MB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
