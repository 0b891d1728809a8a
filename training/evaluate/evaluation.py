"""Judges a network on a split: its scores and the baselines', by line width, by hints, colour by colour."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from PIL import Image

from tfrecords_schema import Palette, unpack_edges
from training.atomic_files import atomic_write
from training.data.dataset import Batch, ShardedDataset
from training.errors import WorkError
from training.evaluate.confusion_plot import write_confusion
from training.evaluate.keras_archive import ArchiveError, check_archive
from training.loop.step import EvalCondition, make_eval_steps
from training.metrics.baselines import (
    LARGEST_TABLE,
    best_map,
    commonest_everywhere,
    count_places,
    position_prior,
)
from training.metrics.scores import Scores, Tally, total
from training.models.predict import predict_labels
from training.run.progress import ProgressBar
from training.run.sample_grid import draw_sample_grid

if TYPE_CHECKING:
    from training.run.run_info import RunInfo

LINE_WIDTHS = (1, 2, 3, 4)  # pixels; 1 is the drawing as it is
HINTS = (0, 1, 4, 16, 64)  # dabs of 3×3 pixels an example, for networks that take hints
PRIOR_IMAGES = 10_000  # are enough for a frequency at each pixel, and take seconds to read
NETWORK, COMMONEST, PRIOR, BEST_MAP = (
    "network", "commonest colour", "position prior", "best constant picture",
)  # fmt: skip
# The columns of the table: heading, format, score.
COLUMNS = (
    ("loss", "7.3f", "loss"), ("bits", "7.3f", "bits"), ("accuracy", "10.3f", "accuracy"),
    ("balanced", "10.3f", "balanced_accuracy"), ("top 3", "8.3f", "top3_accuracy"), ("ΔE", "8.2f", "delta_e"),
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """What is known of a network on a split: `rows` are scores by name, the network's own first.

    `widths` are its scores with lines so many pixels wide, `hints` those with so many hints (empty when it
    takes none); `panel` is uint8 [H, W, 3].
    """

    what: dict[str, Any]
    dataset: ShardedDataset
    rows: dict[str, Scores]
    widths: dict[int, Scores]
    hints: dict[int, Scores]
    tally: Tally
    panel: np.ndarray

    def report(self) -> str:
        """What is printed: the table, at most 80 columns wide."""
        what = self.what
        lines = [
            f"network    {what['network']}",
            f"judged on  {what['examples']:,} {what['split']} examples of {what['root']}",
            "",
            table("", self.rows),
            "",
            table("network, by line width", {f"{width} px": row for width, row in self.widths.items()}),
            "",
        ]
        if self.hints:
            rows = {f"{count} hints": row for count, row in self.hints.items()}
            lines += [table("network, by colour hints", rows), ""]
        own = self.rows[NETWORK].loss
        lines += [
            f"NOT beaten {name}: its loss is lower"
            for name, row in self.rows.items()
            if name != NETWORK and row.loss <= own
        ]
        if BEST_MAP not in self.rows:
            lines.append(f"left out   {PRIOR}, {BEST_MAP}: too many pixels and colours")
        return "\n".join(lines)

    def content(self, differences: list[str]) -> dict[str, Any]:
        """What evaluation.json holds."""
        hits, counts = self.tally.hits.numpy(), self.tally.counts.numpy()
        colors = [
            {"rgb": list(rgb), "pixels": int(count), "found": int(hit)}
            for rgb, count, hit in zip(self.dataset.manifest.palette.colors, counts, hits, strict=True)
        ]
        return self.what | {
            "differences": differences,
            "scores": {name: _plain(row) for name, row in self.rows.items()},
            "line_widths": {str(width): _plain(row) for width, row in self.widths.items()},
            "hints": {str(count): _plain(row) for count, row in self.hints.items()},
            "colors": colors,
        }

    def write(self, directory: Path, differences: list[str]) -> list[Path]:
        """Writes evaluation.json and the pictures (up to 256 colours, confusion.png too); returns those."""
        with atomic_write(directory / "evaluation.json") as temporary:
            temporary.write_text(json.dumps(self.content(differences), indent=2) + "\n")
        pictures = [directory / "evaluation.png"]
        with atomic_write(pictures[0]) as temporary:
            Image.fromarray(self.panel).save(temporary)
        if self.tally.confusion.shape[0]:
            pictures.append(directory / "confusion.png")
            with atomic_write(pictures[1]) as temporary:
                write_confusion(temporary, self.tally.confusion.numpy(), self.dataset.manifest.palette)
        return pictures


def judge(run: RunInfo, network: Path, dataset: ShardedDataset, split: str) -> Evaluation:
    """Takes every example of the split, once for each line width and number of hints.

    Raises:
      WorkError: a shard or the network is damaged.
    """
    net = load_network(network, run.palette)
    widths = [EvalCondition(line_width=width) for width in LINE_WIDTHS]
    hints = [EvalCondition(hints=count) for count in HINTS if count and net.input_shape[-1] > 1]
    ways = [*widths, *hints]
    tallies = {}
    steps = make_eval_steps(net, dataset.manifest, run.gives_logits, ways=ways)
    for way, step in zip(ways, steps, strict=True):
        batches = _batches(run, dataset, split, f"{split}, {way}")
        tallies[way] = total(step(*batch) for batch in batches)
    scores = {way: Scores.of_tally(tally) for way, tally in tallies.items()}
    plain = EvalCondition()
    if not math.isfinite(scores[plain].loss):
        raise WorkError(
            f"{network}: its loss is {scores[plain].loss}: train again with a lower learning rate"
        )
    what = {
        "network": str(network),
        "root": dataset.root,
        "fingerprint": dataset.manifest.dataset_fingerprint,
        "split": split,
        "examples": dataset.examples(split),
    }
    return Evaluation(
        what,
        dataset,
        {NETWORK: scores[plain], **_baselines(run, dataset, split)},
        {way.line_width: scores[way] for way in widths},
        {way.hints: scores[way] for way in [plain, *hints] if hints},
        tallies[plain],
        _panel(net, run, dataset, split),
    )


def _baselines(run: RunInfo, dataset: ShardedDataset, split: str) -> dict[str, Scores]:
    """Scores by name; the last two only where their tables fit in memory."""
    manifest = dataset.manifest
    palette, size = manifest.palette, manifest.image_size

    def count(of: str, images: int | None) -> np.ndarray:
        batches = _batches(run, dataset, of, f"places, {of}", images)
        return count_places((labels.numpy() for _, labels, _ in batches), size, len(palette))

    rows = {COMMONEST: commonest_everywhere(manifest.splits[split].label_histogram, palette)}
    if size**2 * len(palette) <= LARGEST_TABLE:
        learnt, judged = count("train", PRIOR_IMAGES), count(split, None)
        rows[PRIOR] = position_prior(learnt, judged, palette)
        rows[BEST_MAP] = best_map(judged, palette)
    return rows


def _batches(
    run: RunInfo, dataset: ShardedDataset, split: str, what: str, images: int | None = None
) -> Iterator[Batch]:
    """All batches of a split, or (rounded up to whole batches) those of its first `images`."""
    count = -(-min(images or sys.maxsize, dataset.examples(split)) // run.batch_size)
    total = min(images or sys.maxsize, dataset.examples(split))
    with ProgressBar(what, total, starting="compiling") as meter:
        for batch in itertools.islice(dataset.eval(split, run.batch_size), count):
            yield batch
            meter.update(len(batch.ids))


def table(heading: str, rows: dict[str, Scores]) -> str:
    """Scores by name, a line each under the names of the columns; 76 columns wide."""

    def width(form: str) -> int:
        return int(form.split(".")[0])

    lines = [f"{heading:26}" + "".join(f"{name:>{width(form)}}" for name, form, _ in COLUMNS)]
    for name, row in rows.items():
        lines.append(f"{name:26}" + "".join(f"{getattr(row, score):{form}}" for _, form, score in COLUMNS))
    return "\n".join(lines)


def _plain(scores: Scores) -> dict[str, float]:
    return {**dataclasses.asdict(scores), "bits": scores.bits}


def load_network(network: Path, palette: Palette) -> keras.Model:
    """Opens a saved network.

    Raises:
      WorkError: it is damaged, or of another palette.
    """
    try:
        check_archive(network)
        net = keras.models.load_model(network, compile=False, safe_mode=True)
    except ArchiveError as e:
        raise WorkError(f"{network} is damaged: {e}; train again") from e
    # Keras raises a dozen kinds for a file that is cut off, is no archive, or holds code.
    except Exception as e:
        raise WorkError(f"{network} is damaged ({type(e).__name__}): train again") from e
    if net.output_shape[-1] != len(palette):
        raise WorkError(
            f"{network} knows {net.output_shape[-1]} colours, but its run.json has {len(palette)}: "
            "one of them is of another run"
        )
    return net


def _panel(net: keras.Model, run: RunInfo, dataset: ShardedDataset, split: str) -> np.ndarray:
    manifest = dataset.manifest
    packed, labels, _ = next(dataset.eval(split, run.panel_images))
    edges = np.stack([unpack_edges(row.tobytes(), manifest.image_size) for row in packed.numpy()])
    return draw_sample_grid(edges, labels.numpy(), predict_labels(net, edges, run.stride), manifest.palette)
