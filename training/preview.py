"""python -m training.preview data.root=DATASET [out=FILE] [overrides]: all augmentations on a sheet."""

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

HELP = f"{__doc__}\nThe settings are those of python -m training; see its --help, under augment.\n"
ROWS = 6
# Columns and the settings that belong to each.
ALONE = {
    "flip": ("flip",), "crop": ("scale", "translate"), "thickness": ("thickness", "thickness_max"),
    "gaps": ("gaps",), "jitter": ("jitter",), "drop specks": ("drop_specks",), "pencil": ("pencil",),
}  # fmt: skip


def columns(config: AugmentConfig, none: AugmentConfig, hands: AugmentConfig) -> dict[str, AugmentConfig]:
    """Title to settings: each augmentation alone as configured, or as in `hands` where it is off."""
    alone = {}
    for title, keys in ALONE.items():
        off = all(getattr(config, key) == getattr(none, key) for key in keys)
        source = hands if off else config
        alone[title] = dataclasses.replace(none, **{key: getattr(source, key) for key in keys})
    together = hands if config in (none, alone["flip"]) else config
    return {"drawing": none, **alone, "together": together}


def preview(
    config: TrainConfig, dataset: ShardedDataset, none: AugmentConfig, hands: AugmentConfig
) -> np.ndarray:
    """The contact sheet of the first training examples, as epoch 1 sees them: uint8 [H, W, 3]."""
    import numpy as np
    import tensorflow as tf

    from training.data.augment import augment
    from training.data.stateless_random import StatelessRandom
    from training.data.unpack import unpack_edges
    from training.run.sample_grid import INK, draw_sheet

    packed, labels, ids = next(dataset.eval("train", ROWS))
    edges = unpack_edges(packed, dataset.manifest.image_size)
    draws = StatelessRandom(config.trainer.seed, tf.constant(1), ids)
    sheet = {}
    for title, settings in columns(config.augment, none, hands).items():
        drawn, moved = augment(edges, labels, draws, settings)
        sheet[title] = (255 - drawn.numpy() * (255 - np.array(INK))).astype(np.uint8)
    sheet["labels"] = dataset.manifest.palette.to_rgb(moved.numpy())
    return draw_sheet(sheet)


def draw_preview(words: Sequence[str]) -> str:
    """Does what was typed; returns what is to be printed.

    Raises:
      UsageError: a setting, the dataset or the name of the picture is wrong.
      WorkError: the picture cannot be written.
    """
    # Only here: where Hydra is not installed, its absence is reported as a sentence.
    from training.data.dataset import ShardedDataset
    from training.hydra_config import compose
    from training.overrides import check_words

    typed = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    out = Path(parse_path(typed[-1]) if typed else "preview.png")
    overrides = [word for word in words if not word.startswith("out=")]
    check_words(overrides)
    config = compose(overrides)
    none, hands = (compose(["data.root=x", f"augment={name}"]).augment for name in ("none", "hands"))
    if "://" in config.data.root:
        start_tensorflow()
    dataset = ShardedDataset.open(config.data.root)
    if not dataset.examples("train"):
        raise UsageError(f"data.root={config.data.root}: no training examples; preprocess more images")
    start_tensorflow()
    from PIL import Image

    _save(Image.fromarray(preview(config, dataset, none, hands)), out)
    return f"look at    {out}"


def main(words: Sequence[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    return run_text_command("python -m training.preview", HELP, words, draw_preview)


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
