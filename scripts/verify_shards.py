"""Checks every byte of a dataset and names the file, record and key of the first fault.

    python scripts/verify_shards.py DATASET

The manifest against the receipts, each shard's size and SHA-256, both CRCs of each record, each record's
three features, the range of the labels, the histograms, and that no key stands twice in a split.
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

from linewash.coloring.arguments import Parser, at_least, local_path, run

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
    # The worker processes import this file too, so that its imports cannot wait for `work`.
    error = cli.explain_error(missing, "preprocess")
    if error is None or __name__ != "__main__":
        raise
    sys.exit(cli.report_error("verify_shards", error))

CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the manifest says of every shard: that is all that a shard's task is given of it.

    The manifest names all shards, so that sending it would grow with the square of their number.
    """

    fingerprint: str
    image_size: int
    colors: int
    label_dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Found:
    """What one shard holds: pixels by label [K], line pixels, a 64-bit digest of each key, uint64 [N].

    `images_digest` is that of its receipt.
    """

    label_histogram: np.ndarray
    edge_pixels: int
    keys: np.ndarray
    images_digest: str


class Totals:
    """Sums over the shards of one split."""

    def __init__(self, colors: int) -> None:
        self.label_histogram = np.zeros(colors, np.int64)
        self.edge_pixels = 0

    def add(self, found: Found) -> None:
        """Counts a shard in."""
        self.label_histogram += found.label_histogram
        self.edge_pixels += found.edge_pixels


def check_dataset(root: Path, workers: int) -> tuple[int, int]:
    """Checks the dataset at `root`; gives the numbers of examples and bytes.

    Raises:
      SchemaError: the first fault, in the order of splits, shards and records.
    """
    manifest = Manifest.load(root)
    shards = [(split, shard) for split, part in manifest.splits.items() for shard in part.shards]
    _check_names(root, [shard.name for _, shard in shards])
    _agree(
        f"{MANIFEST_NAME}: fingerprint", manifest.fingerprint, fingerprint(manifest.recipe, manifest.palette)
    )
    palette = manifest.palette
    expected = Expected(manifest.fingerprint, manifest.image_size, len(palette), palette.label_dtype)
    totals = {name: Totals(len(palette)) for name in manifest.splits}
    keys, digests = [], {}
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        jobs = pool.map(functools.partial(_check_shard, root, expected), *zip(*shards, strict=True))
        bar = tqdm(jobs, total=len(shards), unit=" shards", disable=not sys.stderr.isatty(), leave=False)
        for (split, shard), found in zip(shards, bar, strict=True):
            totals[split].add(found)
            keys.append(found.keys)
            digests[shard.name] = found.images_digest
    for name, part in manifest.splits.items():
        histogram = totals[name].label_histogram.tolist()
        _agree(f"{MANIFEST_NAME}: {name}.label_histogram", part.label_histogram, histogram)
        _agree(f"{MANIFEST_NAME}: {name}.edge_pixels", part.edge_pixels, totals[name].edge_pixels)
    digest = digest_keys(digests[name] for name in sorted(digests))
    _agree(f"{MANIFEST_NAME}: images_digest", manifest.images_digest, digest)
    _check_keys(root, keys, [shard for _, shard in shards])
    return sum(s.examples for _, s in shards), sum(s.bytes for _, s in shards)


def _check_names(root: Path, named: list[str]) -> None:
    """Every shard and receipt that lies there is in the manifest."""
    paths = [*root.glob("*/*.tfrecord*"), *root.glob(f"{RECEIPTS_DIR}/*.json")]
    there = {path.relative_to(root).as_posix() for path in paths}
    if stray := sorted(there - {*named, *map(ShardReceipt.name, named)}):
        raise SchemaError(f"{stray[0]} is not in {MANIFEST_NAME}")


def _check_shard(root: Path, expected: Expected, split: str, shard: ShardInfo) -> Found:
    try:
        receipt = _receipt(root, shard)
        _agree("the receipt's split", receipt.split, split)
        _agree("the receipt's shard", receipt.shard, shard)
        _agree("the receipt's recipe", receipt.fingerprint, expected.fingerprint)
        _check_file(root / shard.name, shard)
        found = _check_records(root / shard.name, expected, shard, receipt.images_digest)
        if shard.layout:
            _agree("size in records", shard.layout.stride * shard.examples, shard.bytes)
        _agree("label_histogram in the receipt", receipt.label_histogram, found.label_histogram.tolist())
        _agree("edge_pixels in the receipt", receipt.edge_pixels, found.edge_pixels)
    except (SchemaError, OSError, EOFError, zlib.error) as e:
        raise SchemaError(f"{shard.name}: {e}") from None
    return found


def _receipt(root: Path, shard: ShardInfo) -> ShardReceipt:
    path = root / ShardReceipt.name(shard.name)
    return ShardReceipt.from_json(path.read_bytes(), ShardReceipt.name(shard.name))


def _check_file(path: Path, shard: ShardInfo) -> None:
    _agree("size in bytes", shard.bytes, path.stat().st_size)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # A wrong digest alone does not say where; reading the records finds the place, if there is one.
    if digest != shard.sha256:
        for _ in _records(path, shard):
            pass
        raise SchemaError(f"SHA-256 is {digest}, but {MANIFEST_NAME} says {shard.sha256}")


def _records(path: Path, shard: ShardInfo) -> Iterator[bytes]:
    opened: Readable
    with (gzip.open if shard.name.endswith(".gz") else open)(path, "rb") as opened:
        yield from read_records(opened)


def _check_records(path: Path, expected: Expected, shard: ShardInfo, images_digest: str) -> Found:
    colors = expected.colors
    pixels = expected.image_size**2
    histogram = np.zeros(colors, np.int64)
    edge_pixels = number = 0
    keys = array("Q")  # not as many as the manifest says: it may say anything
    for number, record in enumerate(_records(path, shard), 1):
        where = f"record {number - 1}"
        key, edges, labels = decode_example(record)
        where = f"{where}, key {key}"
        if number > shard.examples:
            raise SchemaError(f"{where}: more records than the {shard.examples} that {MANIFEST_NAME} says")
        _agree(f"{where}: bytes of edges", pixels // 8, len(edges))
        _agree(f"{where}: bytes of labels", pixels * expected.label_dtype.itemsize, len(labels))
        values = np.frombuffer(labels, expected.label_dtype)
        counts = label_histogram(values, 256**values.itemsize)
        if counts[colors:].any():
            label = colors + int(np.flatnonzero(counts[colors:])[0])
            raise SchemaError(f"{where}: label {label}, but the palette has {colors} colours")
        histogram += counts[:colors]
        edge_pixels += int.from_bytes(edges, "big").bit_count()
        keys.append(_digest(key))
    _agree("records", shard.examples, number)
    return Found(histogram, edge_pixels, np.array(keys, np.uint64), images_digest)


def _check_keys(root: Path, keys: list[np.ndarray], infos: list[ShardInfo]) -> None:
    """Checks that no key stands twice in a split; `keys` are the digests of each shard's, uint64 [N]."""
    for split in sorted({info.name.partition("/")[0] for info in infos}):
        mine = [(k, info) for k, info in zip(keys, infos, strict=True) if info.name.startswith(f"{split}/")]
        ordered = np.sort(np.concatenate([k for k, _ in mine]))
        twice = ordered[1:][ordered[1:] == ordered[:-1]]
        if not twice.size:
            continue
        places = [
            (info.name, number, key)
            for info in (info for k, info in mine if twice[0] in k)
            for number, record in enumerate(_records(root / info.name, info))
            if _digest(key := decode_example(record)[0]) == twice[0]
        ]
        (first, at, _), (second, number, key) = places[:2]
        raise SchemaError(f"{second}: record {number}, key {key}: the same key as record {at} of {first}")


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _agree(what: str, said: object, is_now: object) -> None:
    if said != is_now:
        raise SchemaError(f"{what}: expected {_short(said)}, found {_short(is_now)}")


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def parser() -> Parser:
    """Every flag."""
    made = Parser("verify_shards", __doc__)
    made.add_argument("dataset", type=local_path, help="a dataset directory made by python -m preprocess")
    made.add_argument(
        "--workers", type=at_least(1), default=available_cores(), metavar="N", help="processes [all cores]"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Checks; returns the exit code of `training.cli.run_command`, 1 for a fault of the dataset."""
    return run(parser(), work, argv, extra="preprocess")


def work(args: argparse.Namespace) -> int:
    """Checks the dataset that was typed, and prints what was checked; 0.

    Raises:
      WorkError: a fault of the dataset, or a worker process was killed.
    """
    started = time.monotonic()
    try:
        examples, size = check_dataset(args.dataset, args.workers)
    except SchemaError as e:
        raise WorkError(str(e)) from None
    except concurrent.futures.process.BrokenProcessPool:
        raise WorkError(
            "a worker process was killed, as the kernel does when memory runs out: give fewer with --workers"
        ) from None
    megabytes = size / 1e6
    rate = megabytes / (time.monotonic() - started)
    print(f"{args.dataset} is whole: {examples:,} examples, {megabytes:,.1f} MB, {rate:,.0f} MB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
