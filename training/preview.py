"""Draws the augmentations of a dataset on a contact sheet: `python -m training.preview`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.atomic_files import atomic_write
from training.cli import parse_path, run_text_command
from training.errors import UsageError, WorkError
from training.tf_startup import start_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from training.config import AugmentConfig, TrainConfig
    from training.data.dataset import ShardedDataset

HELP = """\
Draws training examples with each augmentation alone, and with all together.

Usage: python -m training.preview data.root=DATASET [out=preview.png]
                                  [SETTING=VALUE...]

The settings are those of python -m training: see augment in its --help.
"""
NUM_EXAMPLES = 6
# The columns of the sheet, and the settings that each of them shows.
COLUMNS = {
    "flip": ("flip",), "crop": ("scale", "translate"), "thickness": ("thickness", "thickness_max"),
    "gaps": ("gaps",), "jitter": ("jitter",), "drop specks": ("drop_specks",), "pencil": ("pencil",),
}  # fmt: skip


def columns(config: AugmentConfig, none: AugmentConfig, hands: AugmentConfig) -> dict[str, AugmentConfig]:
    """Returns the augmentation of each column, by title.

    Args:
      config: the chosen settings.
      none: the settings of augment=none.
      hands: the settings of augment=hands. They are shown for augmentations that `config` turns off.
    """
    single = {}
    for title, keys in COLUMNS.items():
        is_off = all(getattr(config, key) == getattr(none, key) for key in keys)
        source = hands if is_off else config
        single[title] = dataclasses.replace(none, **{key: getattr(source, key) for key in keys})
    together = hands if config in (none, single["flip"]) else config
    return {"drawing": none, **single, "together": together}


def preview(
    config: TrainConfig, dataset: ShardedDataset, none: AugmentConfig, hands: AugmentConfig
) -> np.ndarray:
    """Draws the first training examples as they are augmented in epoch 1: uint8 [H, W, 3].

    If the dataset has several line styles, each has a column of its own. They stand before those of the
    augmentations, which show the style that is drawn for each example in epoch 1.
    """
    import numpy as np
    import tensorflow as tf

    from training.data.augment import augment
    from training.data.dataset import draw_styles, read_batches
    from training.data.stateless_random import StatelessRandom
    from training.data.unpack import unpack_edges
    from training.line_styles import style_probabilities
    from training.run.sample_grid import INK, draw_contact_sheet

    def in_ink(drawings: tf.Tensor) -> np.ndarray:
        return (255 - drawings.numpy() * (255 - np.array(INK))).astype(np.uint8)

    size, styles = dataset.manifest.image_size, dataset.manifest.lines
    batches = [
        next(read_batches(dataset.eval("train", NUM_EXAMPLES, style), dataset.root)) for style in styles
    ]
    sheet = {}
    if len(styles) > 1:
        sheet = {
            style: in_ink(unpack_edges(batch.edges, size))
            for style, batch in zip(styles, batches, strict=True)
        }
    _, labels, ids = batches[0]
    seed = config.trainer.seed
    maps = tf.stack([batch.edges for batch in batches], axis=1)
    probabilities = style_probabilities(config.augment.line_weights, styles)
    edges = unpack_edges(draw_styles(maps, ids, probabilities, seed, 1), size)
    random = StatelessRandom(seed, tf.constant(1), ids)
    for title, settings in columns(config.augment, none, hands).items():
        drawings, moved_labels = augment(edges, labels, random, settings)
        sheet[title] = in_ink(drawings)
    sheet["labels"] = dataset.manifest.palette.to_rgb(moved_labels.numpy())
    return draw_contact_sheet(sheet)


def draw_preview(argv: Sequence[str]) -> str:
    """Writes the contact sheet that the arguments ask for, and returns the text to print.

    Raises:
      UsageError: a setting, the dataset or the name of the picture is wrong.
      WorkError: the picture cannot be written.
    """
    # Imported late: if a package is missing, the command reports it in one sentence.
    from training.data.dataset import ShardedDataset
    from training.hydra_config import compose
    from training.overrides import check_arguments

    outputs = [argument.removeprefix("out=") for argument in argv if argument.startswith("out=")]
    out = Path(parse_path(outputs[-1]) if outputs else "preview.png")
    overrides = [argument for argument in argv if not argument.startswith("out=")]
    check_arguments(overrides)
    config = compose(overrides)
    none, hands = (compose(["data.root=x", f"augment={name}"]).augment for name in ("none", "hands"))
    if "://" in config.data.root:
        start_tensorflow()
    dataset = ShardedDataset.open(config.data.root)
    config = compose(overrides, dataset.manifest.lines)
    if not dataset.examples("train"):
        raise UsageError(
            f"data.root={config.data.root}: there are no training examples; preprocess more images"
        )
    start_tensorflow()
    from PIL import Image

    _save(Image.fromarray(preview(config, dataset, none, hands)), out)
    return f"written    {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_text_command("python -m training.preview", HELP, argv, draw_preview)


def _save(sheet: Image.Image, out: Path) -> None:
    try:
        with atomic_write(out) as temporary:
            sheet.save(temporary)
    except OSError as e:
        raise WorkError(f"out={out} could not be written: {e.strerror or e}") from e
    except ValueError as e:
        raise UsageError(f"out={out}: name a picture file, such as out=preview.png") from e


if __name__ == "__main__":
    sys.exit(main())
