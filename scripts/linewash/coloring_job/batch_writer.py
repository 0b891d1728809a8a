"""Colours the drawings of a batch, writes their pictures, and then a receipt."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import msgspec

from linewash.coloring.model_loader import Network
from linewash.coloring_job.painter import color_drawing
from linewash.coloring_job.recipe import ColoringRecipe
from preprocess.image_reader import read_images
from preprocess.plan import Shard, read_shard_list
from preprocess.rejects import Rejected
from preprocess.runners.shard_queue import CurrentImage
from preprocess.storage import files
from tfrecords_schema import Reject, SchemaError

RECEIPTS_DIR = f"{files.WORK_DIR}/receipts"


@dataclasses.dataclass(frozen=True)
class Batch(Shard):
    """Some of the drawings of a job: a shard list, and for each drawing the name of its pictures.

    stems: below the output folder, without an extension.
    """

    stems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class BatchReceipt:
    """The result of a batch."""

    colored: int
    rejects: list[Reject]


class DrawingError(RuntimeError):
    """An unexpected error while a drawing was coloured."""


def color_batch(
    batch: Batch,
    network: Network,
    recipe: ColoringRecipe,
    output: str,
    begin: Callable[[int], None] = lambda number: None,
) -> BatchReceipt:
    """Colours the drawings of `batch` and writes their pictures below `output`, and then the receipt.

    Each file is written atomically. A batch that has a receipt is not coloured again, so that a restarted
    runner continues where it failed.

    Args:
      begin: called with the number of each drawing before it is read, and with their count after the last.

    Raises:
      OSError: the output cannot be written. (A drawing that cannot be read is rejected, which is no error.)
      DrawingError: an unexpected error while a drawing was coloured.
    """
    name = receipt_name(batch)
    if files.size(files.join(output, name)) >= 0:
        return parse_receipt(files.read(files.join(output, name)), name)
    images, rejects = read_shard_list(batch.list_path), []
    number = 0
    begin(number)
    try:
        for image, data in read_images(images, recipe.max_pixels):
            try:
                if isinstance(data, Rejected):
                    raise data
                for suffix, content in color_drawing(data.image, network, recipe).items():
                    files.write(output, f"{batch.stems[number]}.{suffix}", content)
            except Rejected as e:
                rejects.append(Reject(image.key, e.reason, e.detail))
            number += 1
            begin(number)
    except OSError:
        raise
    except Exception as e:
        current = CurrentImage(batch, number, images[number] if number < len(images) else None)
        cause = " ".join(f"{type(e).__name__}: {e}".split()).removesuffix(":")
        raise DrawingError(
            f"{current}: {cause}; if this happens again, move the drawing out of the input"
        ) from e
    receipt = BatchReceipt(len(images) - len(rejects), rejects)
    files.write(output, name, msgspec.json.encode(receipt))
    return receipt


def receipt_name(batch: Shard) -> str:
    """Returns the name of a batch's receipt, relative to the output folder."""
    return f"{RECEIPTS_DIR}/{batch.name}.json"


def parse_receipt(data: bytes, name: str) -> BatchReceipt:
    """Parses the receipt with this name.

    Raises:
      SchemaError: it is damaged.
    """
    try:
        return msgspec.json.decode(data, type=BatchReceipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise SchemaError(f"{name}: {e}") from None


def count_batch(data: bytes, name: str) -> tuple[int, int]:
    """Returns the number of coloured and of rejected drawings of the receipt with this name and content."""
    receipt = parse_receipt(data, name)
    return receipt.colored, len(receipt.rejects)
