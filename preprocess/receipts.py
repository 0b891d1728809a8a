"""Reads receipts, decides which shards are finished, and writes the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import numpy as np

from preprocess.image_reader import UNREADABLE
from preprocess.plan import Shard, Sharding, digest_keys
from preprocess.recipe import Recipe
from preprocess.storage import files
from tfrecords_schema import (
    MANIFEST_NAME,
    RECEIPTS_DIR,
    REJECTS_NAME,
    SCHEMA_VERSION,
    SPLITS,
    Manifest,
    Reject,
    SchemaError,
    ShardInfo,
    ShardReceipt,
    Split,
    __version__,
)


class OutputError(ValueError):
    """An output directory that this job must not write to; the message says what it holds."""


@dataclasses.dataclass(frozen=True)
class Receipt:
    """A `ShardReceipt` without its histogram, which with many colours is nearly all of it."""

    split: str
    shard: ShardInfo
    fingerprint: str
    images_digest: str
    edge_pixels: int
    rejects: list[Reject]


class Receipts(dict[str, Receipt]):
    """Receipts by their shard's name, and the sums of their histograms.

    `histograms` has, for each split and number K of colours, the pixels of all shards by label, int64 [K].
    """

    def __init__(self) -> None:
        super().__init__()
        self.histograms: dict[tuple[str, int], np.ndarray] = {}

    def add(self, receipt: ShardReceipt) -> None:
        """Takes in a receipt, and adds its histogram to that of its split.

        Raises:
          SchemaError: the histogram has a number that is too large.
        """
        try:
            counts = np.array(receipt.label_histogram, np.int64)
        except OverflowError as e:
            raise SchemaError(f"label_histogram: {e}") from None
        total = self.histograms.setdefault((receipt.split, len(counts)), np.zeros_like(counts))
        total += counts
        names = [field.name for field in dataclasses.fields(Receipt)]
        self[receipt.shard.name] = Receipt(**{name: getattr(receipt, name) for name in names})


def load(output: str, shards: Collection[str] | None = None) -> Receipts:
    """The receipts below `output`; with `shards`, only those of the shards of these names.

    One that cannot be read counts as absent, and so does one that stands in another's place.
    """
    found = Receipts()
    names = files.names(output, f"{RECEIPTS_DIR}/*.json")
    contents = files.read_each(files.join(output, name) for name in names)
    for name, data in zip(names, contents, strict=True):
        with contextlib.suppress(SchemaError):
            receipt = ShardReceipt.from_json(data, name)
            wanted = shards is None or receipt.shard.name in shards
            if wanted and ShardReceipt.name(receipt.shard.name) == name:
                found.add(receipt)
    return found


def check_output(output: str, receipts: Receipts, shards: list[Shard], recipe: Recipe) -> None:
    """Makes sure that what stands in `output` belongs to this very job.

    Raises:
      OutputError: shards of another recipe, of other images, or shared out in another way stand there.
    """
    planned = {shard.name: shard for shard in shards}
    other = f"give another --output, or remove {output}"
    fingerprint = recipe.fingerprint  # costs milliseconds with many colours
    for receipt in receipts.values():
        if receipt.fingerprint != fingerprint:
            raise OutputError(
                f"{output} holds shards of recipe {receipt.fingerprint}, and this is recipe "
                f"{fingerprint}{_difference(output, receipt.fingerprint, recipe)}: {other}"
            )
        shard = planned.get(receipt.shard.name)
        if shard is None or shard.images_digest != receipt.images_digest:
            raise OutputError(
                f"{output} holds {receipt.shard.name} made from other images, or with another --seed, "
                f"--val_fraction, --num_shards or --compression: {other}"
            )


def _difference(output: str, fingerprint: str, recipe: Recipe) -> str:
    """In what a dataset's recipe differs from `recipe`; without a manifest only a version is known."""
    if fingerprint == recipe.version_1_fingerprint:
        return f" (version 1 (now {recipe.version}))"
    with contextlib.suppress(SchemaError, OSError):
        manifest = Manifest.from_json(files.read(files.join(output, MANIFEST_NAME)))
        if manifest.fingerprint == fingerprint:
            then, now = manifest.recipe, recipe.as_dict()
            found = [f"{key} {then[key]} (now {now.get(key)})" for key in then if then[key] != now.get(key)]
            return f" ({', '.join(found) or 'the palette has other colours'})"
    return ""


def first_unknown_file(output: str) -> str | None:
    """Something in a local directory that no job of ours has left there; None in a dataset, begun or done.

    Names that begin with a dot do not count.
    """
    top = {path.name for path in Path(output).iterdir()}
    if top & {MANIFEST_NAME, RECEIPTS_DIR, files.WORK_DIR, files.INDEX_DIR}:
        return None
    others = top - {*SPLITS, REJECTS_NAME}
    for split in SPLITS:
        others |= {
            f"{split}/{path.name}" for path in Path(output, split).glob("*") if ".tfrecord" not in path.name
        }
    return min((name for name in others if Path(name).name[0] != "."), default=None)


def finished_shards(output: str, receipts: Receipts, shards: list[Shard]) -> set[str]:
    """The names of the planned shards that are done: receipt there, shard there, of the size it says."""
    sizes: dict[str, int] = {}
    for split in SPLITS if receipts else ():
        sizes |= files.sizes(output, f"{split}/*")
    return {
        shard.name
        for shard in shards
        if (receipt := receipts.get(shard.name)) and sizes.get(shard.name) == receipt.shard.bytes
    }


def shards_with_unreadable(receipts: Receipts) -> set[str]:
    """The names of the shards that lack images for no fault of the image's own: storage did not give them."""
    return {
        name
        for name, receipt in receipts.items()
        if any(reject.reason == UNREADABLE for reject in receipt.rejects)
    }


def rejected(receipts: Receipts) -> Counter[str]:
    """How many images were left out, by reason, commonest first."""
    reasons = Counter(reject.reason for receipt in receipts.values() for reject in receipt.rejects)
    return Counter(dict(reasons.most_common()))


def write_rejects(output: str, receipts: Receipts) -> None:
    """Writes the ledger: one JSON line for each image left out, in the order of shards."""
    lines = [
        msgspec.json.encode(reject) + b"\n"
        for _, receipt in sorted(receipts.items())
        for reject in receipt.rejects
    ]
    files.write(output, REJECTS_NAME, b"".join(lines))


def write_manifest(
    output: str, receipts: Receipts, recipe: Recipe, layout: Sharding, sources: list[str]
) -> Manifest:
    """Writes the manifest: from here on the dataset is complete."""
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        tool=f"linewash {__version__}",
        fingerprint=recipe.fingerprint,
        images_digest=digest_keys(receipt.images_digest for _, receipt in sorted(receipts.items())),
        image_size=recipe.image_size,
        label_dtype="uint8" if recipe.palette.label_dtype.itemsize == 1 else "uint16",
        compression=layout.compression,
        palette=recipe.palette,
        recipe=recipe.as_dict(),
        seed=layout.seed,
        val_fraction=layout.val_fraction,
        sources=sources,
        splits=dict(_splits(receipts, len(recipe.palette))),
        rejects=dict(rejected(receipts)),
    )
    files.write(output, MANIFEST_NAME, manifest.to_json())
    return manifest


def _splits(receipts: Receipts, num_colors: int) -> Iterator[tuple[str, Split]]:
    """Sums the receipts up by split; both splits are always there, an empty one with zeros."""
    for name in SPLITS:
        mine = [receipt for _, receipt in sorted(receipts.items()) if receipt.split == name]
        histogram = receipts.histograms.get((name, num_colors), np.zeros(num_colors, np.int64))
        yield (
            name,
            Split(
                examples=sum(receipt.shard.examples for receipt in mine),
                label_histogram=histogram.tolist(),
                edge_pixels=sum(receipt.edge_pixels for receipt in mine),
                shards=[receipt.shard for receipt in mine],
            ),
        )
