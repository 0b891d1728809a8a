"""Reads receipts, decides which shards are finished, and writes rejects.jsonl and the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import numpy as np

from preprocess.image_reader import UNREADABLE
from preprocess.output_directory import OutputError
from preprocess.plan import Shard, Sharding, digest_keys
from preprocess.recipe import VERSION, Recipe
from preprocess.storage import files
from tfrecords_schema import (
    MANIFEST_NAME,
    RECEIPTS_DIR,
    REJECTS_NAME,
    SCHEMA_VERSION,
    SPLITS,
    Manifest,
    NewerSchemaError,
    Reject,
    SchemaError,
    ShardInfo,
    ShardReceipt,
    Split,
    __version__,
)


@dataclasses.dataclass(frozen=True)
class Receipt:
    """A `ShardReceipt` without its histogram, which takes most of the memory when there are many colours."""

    split: str
    shard: ShardInfo
    fingerprint: str
    images_digest: str
    num_colors: int
    edge_pixels: list[int]
    rejects: list[Reject]


class Receipts(dict[str, Receipt]):
    """Receipts by the name of their shard, and the sums of their histograms.

    Attributes:
      histograms: the pixels of all shards by label, int64 [K], for each split and number K of colours.
    """

    def __init__(self) -> None:
        super().__init__()
        self.histograms: dict[tuple[str, int], np.ndarray] = {}

    def add(self, receipt: ShardReceipt) -> None:
        """Adds a receipt, and its histogram to that of its split.

        Raises:
          SchemaError: a number in the histogram does not fit into 64 bits.
        """
        try:
            counts = np.array(receipt.label_histogram, np.int64)
        except OverflowError as e:
            raise SchemaError(f"label_histogram: {e}") from None
        total = self.histograms.setdefault((receipt.split, len(counts)), np.zeros_like(counts))
        total += counts
        self[receipt.shard.name] = Receipt(
            receipt.split, receipt.shard, receipt.fingerprint, receipt.images_digest, len(counts),
            receipt.edge_pixels, receipt.rejects,
        )  # fmt: skip


def load(output: str, shards: Collection[str] | None = None) -> Receipts:
    """Reads the receipts below `output`. Damaged receipts and receipts with a wrong name are ignored.

    Args:
      output: the dataset directory.
      shards: names of shards; the receipts of other shards are ignored. None: all receipts are read.

    Raises:
      OutputError: a newer version of linewash wrote a receipt, and its shard must not be overwritten.
    """
    receipts = Receipts()
    names = files.names(output, f"{RECEIPTS_DIR}/*.json")
    contents = files.read_each(files.join(output, name) for name in names)
    for name, data in zip(names, contents, strict=True):
        try:
            receipt = ShardReceipt.from_json(data, name)
            is_selected = shards is None or receipt.shard.name in shards
            if is_selected and ShardReceipt.name(receipt.shard.name) == name:
                receipts.add(receipt)
        except NewerSchemaError as e:
            raise OutputError(f"{output}: {e}, or give another --output") from None
        except SchemaError:  # damaged
            continue
    return receipts


def check_output(output: str, receipts: Receipts, shards: list[Shard], recipe: Recipe) -> None:
    """Checks that the shards already in `output` belong to this job.

    Raises:
      OutputError: `output` has shards of another recipe, of other images, or with another sharding.
    """
    planned = {shard.name: shard for shard in shards}
    advice = f"give another --output, or remove {output}"
    fingerprint = recipe.fingerprint
    for receipt in receipts.values():
        if receipt.fingerprint != fingerprint:
            raise OutputError(
                f"{output} holds shards with the recipe fingerprint {receipt.fingerprint}, and this job has "
                f"{fingerprint}{_recipe_difference(output, receipt.fingerprint, recipe)}: {advice}"
            )
        shard = planned.get(receipt.shard.name)
        if shard is None or shard.images_digest != receipt.images_digest:
            raise OutputError(
                f"{output} holds {receipt.shard.name} made from other images, or with another --seed, "
                f"--val_fraction, --num_shards or --compression: {advice}"
            )


def _recipe_difference(output: str, fingerprint: str, recipe: Recipe) -> str:
    """Describes how the recipe of a dataset differs from `recipe`; "" if the dataset has no manifest."""
    for version in range(1, VERSION):
        if fingerprint == recipe.earlier_fingerprint(version):
            return f" (version {version} (now {VERSION}))"
    with contextlib.suppress(SchemaError, OSError):
        manifest = Manifest.from_json(files.read(files.join(output, MANIFEST_NAME)))
        if manifest.fingerprint == fingerprint:
            old, new = manifest.recipe, recipe.as_dict()
            changes = [f"{key} {old[key]} (now {new.get(key)})" for key in old if old[key] != new.get(key)]
            return f" ({', '.join(changes) or 'the palette has other colours'})"
    return ""


def first_unknown_file(output: str) -> str | None:
    """Returns the first name in a local directory that no preprocessing job writes, or None.

    Other files are allowed in a dataset, finished or not. Names that begin with a dot are ignored.
    """
    names = {path.name for path in Path(output).iterdir()}
    if names & {MANIFEST_NAME, RECEIPTS_DIR, files.WORK_DIR, files.INDEX_DIR}:
        return None
    unknown = names - {*SPLITS, REJECTS_NAME}
    for split in SPLITS:
        unknown |= {
            f"{split}/{path.name}" for path in Path(output, split).glob("*") if ".tfrecord" not in path.name
        }
    return min((name for name in unknown if Path(name).name[0] != "."), default=None)


def finished_shards(output: str, receipts: Receipts, shards: list[Shard], recipe: Recipe) -> set[str]:
    """Returns the names of the shards that have a receipt and a file of the size in the receipt.

    A receipt with other numbers of colours or line styles than the recipe is damaged and does not count.
    """
    numbers = (len(recipe.known_palette), len(recipe.lines))
    sizes: dict[str, int] = {}
    for split in SPLITS if receipts else ():
        sizes |= files.sizes(output, f"{split}/*")
    return {
        shard.name
        for shard in shards
        if (receipt := receipts.get(shard.name))
        and sizes.get(shard.name) == receipt.shard.bytes
        and (receipt.num_colors, len(receipt.edge_pixels)) == numbers
    }


def shards_with_unreadable(receipts: Receipts) -> set[str]:
    """Returns the names of the shards with images that were rejected as `UNREADABLE`."""
    return {
        name
        for name, receipt in receipts.items()
        if any(reject.reason == UNREADABLE for reject in receipt.rejects)
    }


def count_rejects(receipts: Receipts) -> Counter[str]:
    """Returns the number of rejected images by reason, in descending order."""
    reasons = Counter(reject.reason for receipt in receipts.values() for reject in receipt.rejects)
    return Counter(dict(reasons.most_common()))


def write_rejects(output: str, receipts: Receipts) -> None:
    """Writes rejects.jsonl, with one line for each rejected image, in the order of the shards."""
    lines = [
        msgspec.json.encode(reject) + b"\n"
        for _, receipt in sorted(receipts.items())
        for reject in receipt.rejects
    ]
    files.write(output, REJECTS_NAME, b"".join(lines))


def write_manifest(
    output: str, receipts: Receipts, recipe: Recipe, sharding: Sharding, sources: list[str]
) -> Manifest:
    """Writes the manifest, which makes the dataset complete."""
    palette = recipe.known_palette
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        tool=f"linewash {__version__}",
        fingerprint=recipe.fingerprint,
        images_digest=digest_keys(receipt.images_digest for _, receipt in sorted(receipts.items())),
        image_size=recipe.image_size,
        label_dtype="uint8" if palette.label_dtype.itemsize == 1 else "uint16",
        lines=list(recipe.lines),
        compression=sharding.compression,
        palette=palette,
        recipe=recipe.as_dict(),
        seed=sharding.seed,
        val_fraction=sharding.val_fraction,
        sources=sources,
        splits=dict(_splits(receipts, len(palette), len(recipe.lines))),
        rejects=dict(count_rejects(receipts)),
    )
    files.write(output, MANIFEST_NAME, manifest.to_json())
    return manifest


def _splits(receipts: Receipts, num_colors: int, num_lines: int) -> Iterator[tuple[str, Split]]:
    """Yields the name and the totals of both splits, also of an empty one."""
    for name in SPLITS:
        split_receipts = [receipt for _, receipt in sorted(receipts.items()) if receipt.split == name]
        histogram = receipts.histograms.get((name, num_colors), np.zeros(num_colors, np.int64))
        yield (
            name,
            Split(
                examples=sum(receipt.shard.examples for receipt in split_receipts),
                label_histogram=histogram.tolist(),
                edge_pixels=[
                    sum(receipt.edge_pixels[line] for receipt in split_receipts) for line in range(num_lines)
                ],
                shards=[receipt.shard for receipt in split_receipts],
            ),
        )
