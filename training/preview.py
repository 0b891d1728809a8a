"""python -m training.preview data.root=DATASET [out=FILE] [overrides]: all augmentations on a sheet."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from training.compose import compose
from training.config import AugmentConfig, TrainConfig
from training.dataset import examples, open_dataset
from training.errors import LinewashError, UsageError, WorkError
from training.quiet import start_tensorflow

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from tfrecords_schema import Manifest

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


def preview(config: TrainConfig, manifest: Manifest, none: AugmentConfig, hands: AugmentConfig) -> np.ndarray:
    """The contact sheet of the first training examples, as epoch 1 sees them: uint8 [H, W, 3]."""
    import numpy as np
    import tensorflow as tf

    from training.augment import augment
    from training.dataset import eval_dataset, read
    from training.draws import Draws
    from training.panel import INK, draw_sheet
    from training.pixels import unpack_edges

    dataset = eval_dataset(config.data.root, manifest, split="train", batch_size=ROWS)
    packed, labels, ids = next(read(dataset, config.data.root))
    edges = unpack_edges(packed, manifest.image_size)
    draws = Draws(config.trainer.seed, tf.constant(1), ids)
    sheet = {}
    for title, settings in columns(config.augment, none, hands).items():
        drawn, moved = augment(edges, labels, draws, settings)
        sheet[title] = (255 - drawn.numpy() * (255 - np.array(INK))).astype(np.uint8)
    sheet["labels"] = manifest.palette.to_rgb(moved.numpy())
    return draw_sheet(sheet)


def main(words: list[str]) -> int:
    """Draws the sheet; returns the exit code."""
    if {"-h", "--help"} & set(words):
        print(f"{__doc__}\nThe settings are those of python -m training; see its --help, under augment.")
        return 0
    out = Path(([w.removeprefix("out=") for w in words if w.startswith("out=")] or ["preview.png"])[-1])
    try:
        config = compose([word for word in words if not word.startswith("out=")])
        none, hands = (compose(["data.root=x", f"augment={name}"]).augment for name in ("none", "hands"))
        manifest = open_dataset(config.data.root)
        if not examples(manifest, "train"):
            raise UsageError(f"data.root={config.data.root}: no training examples; preprocess more images")
        start_tensorflow()
        from PIL import Image

        _save(Image.fromarray(preview(config, manifest, none, hands)), out)
    except LinewashError as e:
        print(f"python -m training.preview: {e}", file=sys.stderr)
        return e.exit_code
    print(f"look at    {out}")
    return 0


def _save(sheet: Image.Image, out: Path) -> None:
    try:
        sheet.save(out)
    except OSError as e:
        raise WorkError(f"out={out} could not be written: {e.strerror or e}") from e
    except ValueError as e:
        raise UsageError(f"out={out}: name a picture file, such as out=preview.png") from e


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
