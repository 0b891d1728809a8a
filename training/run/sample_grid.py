"""The sample grid (panel.png): drawing, truth and prediction for the same validation images every epoch.

For a network that takes a reference it has a fourth column: the prediction with the colours of the truth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrecords_schema import Palette, unpack_edges
from training.data.dataset import ShardedDataset, read_batches
from training.data.reference import label_fractions
from training.models.inputs import takes_reference
from training.models.predict import predict_labels

DRAWING, TRUTH, PREDICTION, WITH_REFERENCE = ("drawing", "truth", "prediction", "with reference")
MAX_GROUPS = 2  # examples side by side
MIN_TILE = 224  # pixels per side of a picture, so that details are visible
MIN_SMALL_TILE = 128  # the same on a contact sheet, which has many columns
GAP = 6  # pixels between the pictures of an example
MARGIN = 30  # between examples side by side, and around the grid
HEADING_HEIGHT = 34
PAPER, INK, FRAME = (250, 249, 246), (70, 70, 74), (214, 211, 204)


@dataclass(frozen=True)
class SampleGrid:
    """Examples of a dataset, to be drawn with the predictions of a network.

    Attributes:
      edges: uint8 [N, S, S] in {0, 1}.
      labels: uint8 or uint16 [N, S, S], indices into the palette.
      palette: palette of the dataset.
      stride: stride of the network.
    """

    edges: np.ndarray
    labels: np.ndarray
    palette: Palette
    stride: int

    @classmethod
    def read(
        cls, dataset: ShardedDataset, split: str, max_examples: int, stride: int, lines: str | None = None
    ) -> SampleGrid:
        """Reads the first examples of a split. They are a random sample, since shards are in hash order.

        `lines` names the line style of the drawings, by default that of `judged_style`.
        """
        packed, labels, _ = next(read_batches(dataset.eval(split, max_examples, lines), dataset.root))
        size = dataset.manifest.image_size
        edges = unpack_edges(packed.numpy().tobytes(), size, len(packed))
        return cls(edges, labels.numpy(), dataset.manifest.palette, stride)

    def draw(self, net: keras.Model) -> np.ndarray:
        """Returns the grid with the predictions of `net`: uint8 [H, W, 3]."""
        predicted = {PREDICTION: predict_labels(net, self.edges, self.stride)}
        if takes_reference(net):
            reference = label_fractions(self.labels, len(self.palette)).numpy()
            predicted[WITH_REFERENCE] = predict_labels(net, self.edges, self.stride, reference)
        return draw_sample_grid(self.edges, self.labels, predicted, self.palette)


def draw_sample_grid(
    edges: np.ndarray, labels: np.ndarray, predicted: dict[str, np.ndarray], palette: Palette
) -> np.ndarray:
    """Draws a sample grid.

    Args:
      edges: uint8 [N, S, S] in {0, 1}; drawn as dark lines on white.
      labels: palette indices [N, S, S].
      predicted: columns of predictions by heading, each palette indices [N, S, S].

    Returns:
      uint8 [H, W, 3].
    """
    drawings = np.where(edges[..., None] == 1, INK, 255).astype(np.uint8)
    columns = {DRAWING: drawings} | {
        heading: palette.to_rgb(column) for heading, column in ({TRUTH: labels} | predicted).items()
    }
    rows = list(zip(*columns.values(), strict=True))
    scale = max(1, -(-MIN_TILE // edges.shape[1]))
    side = edges.shape[1] * scale
    groups = min(MAX_GROUPS, len(rows))
    group_width = len(columns) * (side + GAP) - GAP
    rows_per_group = -(-len(rows) // groups)
    sheet = Image.new(
        "RGB",
        (
            MARGIN + groups * (group_width + MARGIN),
            HEADING_HEIGHT + MARGIN // 2 + rows_per_group * (side + GAP * 2) + MARGIN // 2,
        ),
        PAPER,
    )
    for group in range(groups):
        left = MARGIN + group * (group_width + MARGIN)
        _write_headings(sheet, left, side, columns)
        for row, pictures in enumerate(rows[group * rows_per_group : (group + 1) * rows_per_group]):
            for column, pixels in enumerate(pictures):
                corner = (left + column * (side + GAP), HEADING_HEIGHT + MARGIN // 2 + row * (side + GAP * 2))
                _paste(sheet, pixels, corner, side)
    return np.asarray(sheet)


def draw_contact_sheet(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Draws a contact sheet, uint8 [H, W, 3], of columns by title, each uint8 [N, S, S, 3]."""
    count, size = next(iter(columns.values())).shape[:2]
    side = size * max(1, -(-MIN_SMALL_TILE // size))
    sheet = Image.new(
        "RGB",
        (2 * MARGIN + len(columns) * (side + GAP) - GAP, HEADING_HEIGHT + MARGIN + count * (side + GAP)),
        PAPER,
    )
    _write_headings(sheet, MARGIN, side, columns)
    for column, pictures in enumerate(columns.values()):
        for row, pixels in enumerate(pictures):
            _paste(
                sheet,
                pixels,
                (MARGIN + column * (side + GAP), HEADING_HEIGHT + MARGIN // 2 + row * (side + GAP)),
                side,
            )
    return np.asarray(sheet)


def _write_headings(sheet: Image.Image, left: int, side: int, headings: Iterable[str]) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=18)
    for column, heading in enumerate(headings):
        center = left + column * (side + GAP) + side // 2
        draw.text((center, HEADING_HEIGHT // 2 + MARGIN // 4), heading, fill=INK, font=font, anchor="mm")


def _paste(sheet: Image.Image, pixels: np.ndarray, corner: tuple[int, int], side: int) -> None:
    # Nearest: a label map has hard borders, and smoothing would make the prediction look better.
    picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
    x, y = corner
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + side, y + side), outline=FRAME)
    sheet.paste(picture, corner)
