"""python -m training.preview data.root=DATASET [out=FILE] [overrides]: all augmentations on a sheet."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from training import __main__ as command
from training.compose import compose, to_config
from training.config import AugmentConfig, TrainConfig
from training.dataset import open_dataset
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


def run_job(composed: DictConfig, out: Path, none: AugmentConfig, hands: AugmentConfig) -> int:
    """Draws the sheet and returns the exit code."""
    try:
        config = to_config(composed)
        manifest = open_dataset(config.data.root)
        config.check_fits(manifest)
        start_tensorflow()
        from PIL import Image

        sheet = Image.fromarray(preview(config, manifest, none, hands))
        _save(sheet, out)
    except LinewashError as e:
        return command.complain(e)
    print(f"look at    {out}")
    return 0


def main() -> int:
    """Takes `out=FILE` from the command line; the rest is Hydra's, as for python -m training."""
    outs = [word for word in sys.argv[1:] if word.startswith("out=")]
    out = Path((outs or ["out=preview.png"])[-1].removeprefix("out="))
    sys.argv = [word for word in sys.argv if word not in outs]
    sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]
    # Before Hydra starts: it composes one configuration at a time.
    none, hands = (compose(["data.root=x", f"augment={name}"]).augment for name in ("none", "hands"))
    return command.main(lambda composed: run_job(composed, out, none, hands))


def _save(sheet: Image.Image, out: Path) -> None:
    try:
        sheet.save(out)
    except OSError as e:
        raise WorkError(f"out={out} could not be written: {e.strerror or e}") from e
    except ValueError as e:
        raise UsageError(f"out={out}: name a picture file, such as out=preview.png") from e


if __name__ == "__main__":
    sys.exit(main())
