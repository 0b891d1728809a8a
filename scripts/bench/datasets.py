"""Data for the benchmarks: images of a folder, copies of them, synthetic images, datasets, and OpenMoji."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.file_types import HEAD_BYTES, JPEG_MAGIC, Kind, is_hidden, is_image, kind_by_name
from training.errors import UsageError, WorkError

if TYPE_CHECKING:
    from preprocess.sources import Image

RANDOM_SHARD_EXAMPLES = 1000
RANDOM_IMAGE_SIZE = 128  # px
NUM_CLASSES = 1000  # as many as ImageNet has
FETCH_ART = Path(__file__).resolve().parents[1] / "fetch_art.sh"


def list_images(folder: Path, jpeg_only: bool = False) -> list[Path]:
    """Returns the JPEGs and PNGs in `folder` and below, sorted. Hidden and system files are skipped.

    Files are recognized as in `python -m preprocess`: by the suffix if it is an image's, else by the first
    bytes. With `jpeg_only`, the first bytes alone decide.

    Raises:
      UsageError: `folder` is not a folder.
      WorkError: it has no image.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder: type one that holds images")
    images = sorted(path for path in _visible_files(folder) if _is_image(path, jpeg_only))
    if not images:
        raise WorkError(f"no {'JPEG' if jpeg_only else 'usable image'} in {folder}")
    return images


def _visible_files(folder: Path) -> Iterator[Path]:
    for directory, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not is_hidden(name)]
        yield from (Path(directory, name) for name in names if not is_hidden(name))


def _is_image(path: Path, jpeg_only: bool) -> bool:
    kind = kind_by_name(path.name)
    if not path.is_file() or kind in (Kind.TAR, Kind.OTHER):
        return False
    if kind is Kind.IMAGE and not jpeg_only:
        return True
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return head.startswith(JPEG_MAGIC) if jpeg_only else is_image(head)


def is_accepted(data: bytes) -> bool:
    """Returns whether the default recipe accepts the image."""
    from preprocess.recipe import DEFAULT
    from preprocess.rejects import Rejected
    from preprocess.transform import transform

    try:
        transform(data, DEFAULT)
    except Rejected:
        return False
    return True


def duplicate_images(source: Path, folder: Path, count: int) -> None:
    """Fills `folder` with `count` images: copies of the JPEGs in `source`, then hard links to these copies.

    Each image keeps the name of its folder, as its class.
    """
    images = list_images(source, jpeg_only=True)
    for i in range(count):
        path = images[i % len(images)]
        class_folder = folder / path.parent.name
        copy = class_folder / f"{path.stem}_0000.JPEG"
        if i < len(images):
            class_folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        else:
            (class_folder / f"{path.stem}_{i // len(images):04d}.JPEG").hardlink_to(copy)


def synthetic_images(count: int) -> Iterator[Image]:
    """Yields `count` references to images in class tars, as an image index does. The tars do not exist."""
    from preprocess.sources import Image

    for i in range(count):
        name, number = f"n{i % NUM_CLASSES:08d}", i // NUM_CLASSES
        yield Image(
            f"{name}/{name}_{number}.JPEG", f"gs://bucket/imagenet/{name}.tar", number * 110_000, 110_000
        )


def write_random_dataset(folder: Path, count: int, num_lines: int = 1) -> None:
    """Writes a dataset of `count` random training examples of 128 px, 64 colours and `num_lines` line styles.

    The maps are noise, because no benchmark of the input or of a training step depends on the pixels.
    """
    import numpy as np

    import tfrecords_schema as schema

    size = RANDOM_IMAGE_SIZE
    generator, palette = np.random.default_rng(0), schema.Palette.grid(4)
    histogram, edge_pixels = np.zeros(len(palette), np.int64), np.zeros(num_lines, np.int64)
    shards = []
    num_shards = -(-count // RANDOM_SHARD_EXAMPLES)
    (folder / "train").mkdir(parents=True)
    for index in range(num_shards):
        numbers = range(index * RANDOM_SHARD_EXAMPLES, min(count, (index + 1) * RANDOM_SHARD_EXAMPLES))
        content = bytearray()
        for number in numbers:
            edges = (generator.random((num_lines, size, size)) < 0.1).astype(np.uint8)
            labels = generator.integers(0, len(palette), (size, size), np.uint8)
            histogram += np.bincount(labels.ravel(), minlength=len(palette))
            edge_pixels += edges.sum(axis=(1, 2), dtype=np.int64)
            key = f"n{number % 1000:08d}/{number:08d}.JPEG".encode()
            record = schema.encode_example(key, schema.pack_edges(edges), labels.tobytes())
            content += schema.frame_record(record)
        name, digest = schema.shard_name("train", index, num_shards), hashlib.sha256(content).hexdigest()
        (folder / name).write_bytes(content)
        layout = schema.RecordLayout.from_sizes(len(key), num_lines * size**2 // 8, size**2)
        shards.append(schema.ShardInfo(name, len(numbers), len(content), digest, layout))
    split = schema.Split(count, histogram.tolist(), edge_pixels.tolist(), shards)
    lines = [f"noise_{chr(ord('a') + line)}" for line in range(num_lines)]
    manifest = schema.Manifest(
        schema_version=schema.SCHEMA_VERSION, tool="bench/input", fingerprint="0" * 16,
        images_digest="0" * 16, image_size=size, label_dtype="uint8", lines=lines, compression="none",
        palette=palette, recipe={}, seed=0, val_fraction=0, sources=[], splits={"train": split}, rejects={},
    )  # fmt: skip
    (folder / schema.MANIFEST_NAME).write_bytes(manifest.to_json())


def fetch_openmoji(cache: Path) -> Path:
    """Returns the folder with the SVGs of OpenMoji. scripts/fetch_art.sh downloads them the first time.

    Raises:
      WorkError: npm is not installed, or it cannot download the package.
    """
    folder = cache / "art"
    result = subprocess.run([FETCH_ART, "openmoji", folder], capture_output=True, text=True, errors="replace")
    if result.returncode:
        lines = result.stderr.strip().splitlines() or ["it ended without a reason"]
        raise WorkError(lines[-1].removeprefix(f"{FETCH_ART}: "))
    return folder
