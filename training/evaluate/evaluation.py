"""Evaluates a network on a split: its scores and those of baselines, by line width, hints and colour."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from PIL import Image

from tfrecords_schema import Palette
from training.atomic_files import atomic_write
from training.data.dataset import Batch, ShardedDataset, read_batches
from training.errors import WorkError
from training.evaluate.by_reference import Obedience, measure_obedience
from training.evaluate.confusion_plot import write_confusion
from training.evaluate.keras_archive import ArchiveError, check_archive
from training.loop.step import OWN, REFERENCES, EvalCondition, make_eval_steps
from training.metrics.baselines import (
    MAX_TABLE_SIZE,
    count_labels_by_position,
    score_best_constant_picture,
    score_commonest_color,
    score_position_prior,
)
from training.metrics.logit_adjustment import logit_offset
from training.metrics.losses import EPSILON
from training.metrics.reference_matching import DEFAULT_STRENGTH
from training.metrics.scores import Scores, Tally, sum_tallies
from training.models.inputs import takes_hints, takes_reference
from training.run.progress import ProgressBar
from training.run.sample_grid import SampleGrid

if TYPE_CHECKING:
    from training.run.run_info import RunInfo

LINE_WIDTHS = (1, 2, 3, 4)  # pixels; 1 leaves the drawing as it is
HINT_COUNTS = (0, 1, 4, 16, 64)  # hints of 3×3 pixels per example, for networks that take hints
PRIOR_IMAGES = 10_000  # training images that the position prior is estimated from; they are read in seconds
NETWORK, COMMONEST, PRIOR, BEST_CONSTANT_PICTURE = (
    "network", "commonest colour", "position prior", "best constant picture",
)  # fmt: skip
# The columns of the table: heading, format, field of Scores.
COLUMNS = (
    ("loss", "7.3f", "loss"), ("bits", "7.3f", "bits"), ("accuracy", "10.3f", "accuracy"),
    ("balanced", "10.3f", "balanced_accuracy"), ("top 3", "8.3f", "top3_accuracy"), ("ΔE", "8.2f", "delta_e"),
)  # fmt: skip


@dataclass(frozen=True)
class Evaluation:
    """The results of evaluating a network on a split.

    Attributes:
      subject: the first fields of evaluation.json: network, root, fingerprint (of the dataset),
        split, lines, examples, vivid and reference_strength (None if the network takes no reference).
      dataset: the evaluated dataset.
      scores: scores of the network, then of the baselines, by name.
      by_line_width: scores of the network by line width in pixels.
      by_lines: scores of the network by line style; empty if the dataset has one style.
      by_hints: scores of the network by number of hints; empty if it takes none.
      by_reference: scores of the network by reference, without hints; empty if it takes none.
      by_hints_and_reference: scores by number of hints, with the histogram of the example as the reference;
        empty if the network does not take both.
      obedience: how well the network follows each kind of reference.
      tally: counts of the network for lines of 1 px and without hints.
      sample_grid: examples with the predictions of the network, uint8 [H, W, 3].
    """

    subject: dict[str, Any]
    dataset: ShardedDataset
    scores: dict[str, Scores]
    by_line_width: dict[int, Scores]
    by_lines: dict[str, Scores]
    by_hints: dict[int, Scores]
    by_reference: dict[str, Scores]
    by_hints_and_reference: dict[int, Scores]
    obedience: dict[str, Obedience]
    tally: Tally
    sample_grid: np.ndarray

    def report(self) -> str:
        """Returns the tables to print, at most 80 columns wide."""
        subject = self.subject
        lines = [
            f"network    {subject['network']}",
            f"dataset    {subject['root']}: {subject['examples']:,} {subject['split']} examples, "
            f"lines {subject['lines']}",
            *([f"vivid      {subject['vivid']:g}"] if subject["vivid"] else []),
            "",
            format_table("", self.scores),
            "",
            format_table(
                "network, by line width", {f"{width} px": row for width, row in self.by_line_width.items()}
            ),
            "",
        ]
        if self.by_lines:
            lines += [format_table("network, by line style", self.by_lines), ""]
        if self.by_hints:
            lines += [format_table("network, by colour hints", _by_count(self.by_hints)), ""]
        if self.by_reference:
            strength = f"reference strength {subject['reference_strength']:g}"
            lines += [strength, format_table("network, by reference", self.by_reference), ""]
            lines += [_format_obedience(self.obedience), ""]
        if self.by_hints_and_reference:
            rows = _by_count(self.by_hints_and_reference)
            lines += [format_table("own reference and hints", rows), ""]
        loss = self.scores[NETWORK].loss
        lines += [
            f"NOT beaten {name}: its loss is lower than that of the network"
            for name, row in self.scores.items()
            if name != NETWORK and row.loss <= loss
        ]
        if BEST_CONSTANT_PICTURE not in self.scores:
            lines.append(f"skipped    {PRIOR}, {BEST_CONSTANT_PICTURE}: too many pixels and colours")
        return "\n".join(lines)

    def content(self, differences: list[str]) -> dict[str, Any]:
        """Returns the content of evaluation.json."""
        hits, counts = self.tally.hits.numpy(), self.tally.counts.numpy()
        colors = [
            {"rgb": list(rgb), "pixels": int(count), "found": int(hit)}
            for rgb, count, hit in zip(self.dataset.manifest.palette.colors, counts, hits, strict=True)
        ]
        return self.subject | {
            "differences": differences,
            "scores": {name: _score_fields(row) for name, row in self.scores.items()},
            "line_widths": {str(width): _score_fields(row) for width, row in self.by_line_width.items()},
            "line_styles": {style: _score_fields(row) for style, row in self.by_lines.items()},
            "hints": {str(count): _score_fields(row) for count, row in self.by_hints.items()},
            "references": {
                kind: _score_fields(row) | _obedience_fields(self.obedience.get(kind))
                for kind, row in self.by_reference.items()
            },
            "hints_and_own_reference": {
                str(count): _score_fields(row) for count, row in self.by_hints_and_reference.items()
            },
            "colors": colors,
        }

    def write(self, directory: Path, differences: list[str]) -> list[Path]:
        """Writes evaluation.json, evaluation.png and, for up to 256 colours, confusion.png.

        Args:
          directory: directory of the files.
          differences: sentences on how the dataset differs from the one of the training, for the record.

        Returns:
          The paths of the pictures.
        """
        with atomic_write(directory / "evaluation.json") as temporary:
            temporary.write_text(json.dumps(self.content(differences), indent=2) + "\n")
        pictures = [directory / "evaluation.png"]
        with atomic_write(pictures[0]) as temporary:
            Image.fromarray(self.sample_grid).save(temporary)
        if self.tally.confusion.shape[0]:
            pictures.append(directory / "confusion.png")
            with atomic_write(pictures[1]) as temporary:
                write_confusion(temporary, self.tally.confusion.numpy(), self.dataset.manifest.palette)
        return pictures


def evaluate(
    run: RunInfo,
    network: Path,
    dataset: ShardedDataset,
    split: str,
    batch_size: int,
    lines: str,
    vivid: float = 0.0,
    frequencies: Sequence[float] | None = None,
    reference_strength: float = DEFAULT_STRENGTH,
) -> Evaluation:
    """Evaluates a network on all examples of a split, once for each line width, hint count and reference.

    Args:
      run: the run that trained the network.
      network: path of the .keras file.
      dataset: a dataset with the palette of the run.
      split: train or val, with at least one example.
      batch_size: images per batch.
      lines: name of the line style of the drawings.
      vivid: τ of the logit adjustment, see training/metrics/logit_adjustment.py.
      frequencies: of the colours in the training data, [K]; needed if `vivid` is not 0.
      reference_strength: how far colours are brought to a reference, see
        training/metrics/reference_matching.py.

    Raises:
      WorkError: a shard or the network is damaged, or the loss is not finite.
    """
    net, gives_logits = load_network(network, run.palette), run.model.gives_logits
    if vivid:
        assert frequencies is not None
        net, gives_logits = _adjust_logits(net, gives_logits, logit_offset(frequencies, vivid)), True
    judged = _Judged(net, gives_logits, dataset, split, batch_size, lines, reference_strength)
    normal, widths = EvalCondition(), [EvalCondition(line_width=width) for width in LINE_WIDTHS]
    counts = HINT_COUNTS if takes_hints(net) else ()
    kinds = REFERENCES if takes_reference(net) else ()
    hints = [EvalCondition(hints=count) for count in counts]
    references = [EvalCondition(reference=kind) for kind in ("", *kinds) if kinds]
    both = [EvalCondition(hints=count, reference=OWN) for count in counts if kinds]
    conditions = list(dict.fromkeys([*widths, *hints, *references, *both]))  # `normal` is in several lists
    tallies = judged.tally(conditions)
    scores = {condition: Scores.from_tally(tally) for condition, tally in tallies.items()}
    if not math.isfinite(scores[normal].loss):
        raise WorkError(
            f"{network}: its loss is {scores[normal].loss}: train again with a lower learning rate"
        )
    return Evaluation(
        subject={
            "network": str(network),
            "root": dataset.root,
            "fingerprint": dataset.manifest.dataset_fingerprint,
            "split": split,
            "lines": lines,
            "examples": dataset.examples(split),
            "vivid": vivid,
            "reference_strength": reference_strength if kinds else None,
        },
        dataset=dataset,
        scores={NETWORK: scores[normal], **_baselines(dataset, split, batch_size)},
        by_line_width={condition.line_width: scores[condition] for condition in widths},
        by_lines=_score_styles(judged, scores[normal]),
        by_hints={condition.hints: scores[condition] for condition in hints},
        by_reference={condition.reference or "none": scores[condition] for condition in references},
        by_hints_and_reference={condition.hints: scores[condition] for condition in both},
        obedience={kind: judged.measure_obedience(kind) for kind in kinds},
        tally=tallies[normal],
        sample_grid=SampleGrid.read(dataset, split, run.panel_images, run.model.stride, lines).draw(net),
    )


@dataclass(frozen=True)
class _Judged:
    """A network, and the examples that it is evaluated on. `lines` is the line style of the drawings."""

    net: keras.Model
    gives_logits: bool
    dataset: ShardedDataset
    split: str
    batch_size: int
    lines: str
    reference_strength: float

    def tally(self, conditions: list[EvalCondition]) -> dict[EvalCondition, Tally]:
        """Counts over all examples, once for each condition."""
        steps = make_eval_steps(
            self.net,
            self.dataset.manifest,
            self.gives_logits,
            conditions=conditions,
            reference_strength=self.reference_strength,
        )
        return {
            condition: sum_tallies(step(*batch) for batch in self._batches(str(condition)))
            for condition, step in zip(conditions, steps, strict=True)
        }

    def measure_obedience(self, kind: str) -> Obedience:
        """Measures how well the network follows a kind of reference."""
        batches = self._batches(f"{kind} reference followed")
        return measure_obedience(
            self.net, self.dataset.manifest, kind, batches, self.gives_logits, self.reference_strength
        )

    def _batches(self, title: str) -> Iterator[Batch]:
        title = f"{self.split}, {title}"
        return _batches(self.dataset, self.split, self.batch_size, title, lines=self.lines)


def _score_styles(judged: _Judged, scores: Scores) -> dict[str, Scores]:
    """Returns the scores by line style if the dataset has several; `scores` are those of `judged.lines`."""
    styles, normal = judged.dataset.manifest.lines, EvalCondition()
    if len(styles) == 1:
        return {}
    return {
        style: scores
        if style == judged.lines
        else Scores.from_tally(dataclasses.replace(judged, lines=style).tally([normal])[normal])
        for style in styles
    }


def format_table(heading: str, rows: dict[str, Scores]) -> str:
    """Formats scores by name, one line each below the headings of the columns; 76 columns wide."""

    def width(form: str) -> int:
        return int(form.split(".")[0])

    lines = [f"{heading:26}" + "".join(f"{name:>{width(form)}}" for name, form, _ in COLUMNS)]
    for name, row in rows.items():
        lines.append(f"{name:26}" + "".join(f"{getattr(row, score):{form}}" for _, form, score in COLUMNS))
    return "\n".join(lines)


def load_network(network: Path, palette: Palette | None) -> keras.Model:
    """Opens a saved network, after checking its file for code and for its size.

    Args:
      network: the .keras file.
      palette: the colours that its run.json tells; None if they are not known.

    Raises:
      WorkError: the file is damaged, or the network has another number of colours than the palette.
    """
    try:
        check_archive(network)
        net = keras.models.load_model(network, compile=False, safe_mode=True)
    except ArchiveError as e:
        raise WorkError(f"{network} is damaged: {e}; train again") from e
    # Keras raises a dozen types of errors for files that are cut off, no archives, or hold code.
    except Exception as e:
        raise WorkError(f"{network} is damaged ({type(e).__name__}): train again") from e
    if palette is not None and net.output_shape[-1] != len(palette):
        raise WorkError(
            f"{network} has {net.output_shape[-1]} colours, but its run.json has {len(palette)}: "
            "one of them belongs to another run"
        )
    return net


def _adjust_logits(net: keras.Model, gives_logits: bool, offset: np.ndarray) -> keras.Model:
    """Returns a network that gives the logits of `net` minus `offset`, float32 [K]."""
    # `net` becomes one layer of a new graph: in its own graph names of operations would collide.
    inputs = [keras.Input(tensor.shape[1:], name=tensor.name) for tensor in net.inputs]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    logits = net(inputs)
    if not gives_logits:
        logits = keras.ops.log(keras.ops.clip(logits, EPSILON, 1 - EPSILON))  # as losses.to_logits
    return keras.Model(inputs, keras.ops.cast(logits, "float32") - offset, name=net.name)


def _baselines(dataset: ShardedDataset, split: str, batch_size: int) -> dict[str, Scores]:
    """Returns the scores of the baselines by name; the last two only if their tables fit in memory."""
    manifest = dataset.manifest
    palette, size = manifest.palette, manifest.image_size

    def count(counted_split: str, max_images: int | None) -> np.ndarray:
        batches = _batches(dataset, counted_split, batch_size, f"baselines, {counted_split}", max_images)
        return count_labels_by_position((labels.numpy() for _, labels, _ in batches), size, len(palette))

    rows = {COMMONEST: score_commonest_color(manifest.splits[split].label_histogram, palette)}
    if size**2 * len(palette) <= MAX_TABLE_SIZE:
        train_counts, split_counts = count("train", PRIOR_IMAGES), count(split, None)
        rows[PRIOR] = score_position_prior(train_counts, split_counts, palette)
        rows[BEST_CONSTANT_PICTURE] = score_best_constant_picture(split_counts, palette)
    return rows


def _batches(
    dataset: ShardedDataset,
    split: str,
    batch_size: int,
    title: str,
    max_images: int | None = None,
    lines: str | None = None,
) -> Iterator[Batch]:
    """Reads a split, or the batches of its first `max_images`, and shows a progress bar with `title`."""
    num_images = min(max_images or sys.maxsize, dataset.examples(split))
    with ProgressBar(title, num_images, note="compiling") as bar:
        batches = read_batches(dataset.eval(split, batch_size, lines), dataset.root)
        for batch in itertools.islice(batches, -(-num_images // batch_size)):
            yield batch
            bar.update(len(batch.ids))


def _by_count(rows: dict[int, Scores]) -> dict[str, Scores]:
    return {f"{count} hint{'s' * (count != 1)}": row for count, row in rows.items()}


def _format_obedience(rows: dict[str, Obedience]) -> str:
    """Formats how far the histograms of the pictures are from the references."""
    heading = "earth mover's distance in OKLab from the colours of the picture to the reference"
    lines = [heading, f"{'':26}{'followed':>10}{'not given':>11}{'moved':>8}"]
    lines += [
        f"{kind:26}{row.distance:10.3f}{row.distance_without:11.3f}{row.moved:8.0%}"
        for kind, row in rows.items()
    ]
    return "\n".join(lines)


def _obedience_fields(row: Obedience | None) -> dict[str, float]:
    return dataclasses.asdict(row) | {"moved": row.moved} if row else {}


def _score_fields(scores: Scores) -> dict[str, float]:
    return {**dataclasses.asdict(scores), "bits": scores.bits}
