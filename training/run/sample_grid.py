"""panel.png: drawing, truth and prediction side by side, for the same validation images every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrecords_schema import Palette, unpack_edges
from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.models.predict import predict_labels

HEADINGS = ("drawing", "truth", "prediction")
GROUPS = 2  # examples side by side
TILE = 224  # pixels a picture at least, so that it can be looked at
SMALL_TILE = 128  # the same on a contact sheet, which has many columns
GAP = 6  # between the three pictures of an example
SPACE = 30  # between examples side by side, and around everything
HEAD = 34  # height of the headings
PAPER, INK, FRAME = (250, 249, 246), (70, 70, 74), (214, 211, 204)


@dataclass(frozen=True)
class SampleGrid:
    """The examples shown: edges uint8 [N, S, S] in {0, 1} and labels [N, S, S]."""

    edges: np.ndarray
    labels: np.ndarray
    palette: Palette
    stride: int

    @classmethod
    def of(cls, config: TrainConfig, dataset: ShardedDataset) -> SampleGrid:
        """The first examples of the split that judges: any ones, since shards are in hash order."""
        count = config.trainer.panel_images
        packed, labels, _ = next(dataset.eval(dataset.selection_split, count))
        size = dataset.manifest.image_size
        edges = np.stack([unpack_edges(row.tobytes(), size) for row in packed.numpy()])
        return cls(edges, labels.numpy(), dataset.manifest.palette, config.model.stride)

    def draw(self, net: keras.Model) -> np.ndarray:
        """Colours the drawings with `net` and draws the panel: uint8 [H, W, 3]."""
        return draw_sample_grid(
            self.edges, self.labels, predict_labels(net, self.edges, self.stride), self.palette
        )


def draw_sample_grid(
    edges: np.ndarray, labels: np.ndarray, predicted: np.ndarray, palette: Palette
) -> np.ndarray:
    """Draws the panel.

    Args:
      edges: uint8 [N, S, S] in {0, 1}; drawn as dark lines on white paper.
      labels, predicted: palette indices [N, S, S].

    Returns:
      uint8 [H, W, 3].
    """
    drawings = np.where(edges[..., None] == 1, INK, 255).astype(np.uint8)
    rows = list(zip(drawings, palette.to_rgb(labels), palette.to_rgb(predicted), strict=True))
    scale = max(1, -(-TILE // edges.shape[1]))
    side = edges.shape[1] * scale
    groups = min(GROUPS, len(rows))
    group_width = 3 * side + 2 * GAP
    down = -(-len(rows) // groups)
    sheet = Image.new(
        "RGB",
        (SPACE + groups * (group_width + SPACE), HEAD + SPACE // 2 + down * (side + GAP * 2) + SPACE // 2),
        PAPER,
    )
    for group in range(groups):
        left = SPACE + group * (group_width + SPACE)
        _write_headings(sheet, left, side)
        for row, pictures in enumerate(rows[group * down : (group + 1) * down]):
            for column, pixels in enumerate(pictures):
                place = (left + column * (side + GAP), HEAD + SPACE // 2 + row * (side + GAP * 2))
                _paste(sheet, pixels, place, side)
    return np.asarray(sheet)


def draw_sheet(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Draws titled columns of pictures, each uint8 [N, S, S, 3], beside each other: uint8 [H, W, 3]."""
    count, size = next(iter(columns.values())).shape[:2]
    side = size * max(1, -(-SMALL_TILE // size))
    sheet = Image.new(
        "RGB",
        (2 * SPACE + len(columns) * (side + GAP) - GAP, HEAD + SPACE + count * (side + GAP)),
        PAPER,
    )
    _write_headings(sheet, SPACE, side, tuple(columns))
    for column, pictures in enumerate(columns.values()):
        for row, pixels in enumerate(pictures):
            _paste(
                sheet, pixels, (SPACE + column * (side + GAP), HEAD + SPACE // 2 + row * (side + GAP)), side
            )
    return np.asarray(sheet)


def _write_headings(sheet: Image.Image, left: int, side: int, headings: tuple[str, ...] = HEADINGS) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=18)
    for column, heading in enumerate(headings):
        center = left + column * (side + GAP) + side // 2
        draw.text((center, HEAD // 2 + SPACE // 4), heading, fill=INK, font=font, anchor="mm")


def _paste(sheet: Image.Image, pixels: np.ndarray, place: tuple[int, int], side: int) -> None:
    # Nearest: a label map has hard borders, and smoothing would flatter the prediction.
    picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
    x, y = place
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + side, y + side), outline=FRAME)
    sheet.paste(picture, place)
