"""python -m training.evaluate run=RUN_DIR: evaluates a trained network and compares it with baselines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.cli import explain_out_of_memory, parse_key_values, run_text_command
from training.errors import UsageError
from training.tf_startup import start_tensorflow

if TYPE_CHECKING:
    from training.data.dataset import ShardedDataset
    from training.run.run_info import RunInfo

HELP = """\
Evaluates the network of a run, and three predictions that ignore the drawing.

Usage: python -m training.evaluate run=RUN_DIR [split=val] [checkpoint=best]
                                   [data.root=DATASET] [lines=STYLE]
                                   [vivid=TAU] [reference_strength=X]
                                   [batch_size=N]

  run=RUN_DIR        a directory made by python -m training
  split=val          val or train
  checkpoint=best    best or last
  data.root=DATASET  a dataset with the palette of the run; default: the one
                     that the network was trained on
  lines=STYLE        the line style of the drawings, one of those that the
                     dataset has; default: drawn, or the first
  vivid=TAU          from 0 to 3: how far colours that are rare in the training
                     data come forward, as with colorize --vivid; default: 0
  reference_strength=X
                     from 0 to 1: how far the colours are brought to a reference,
                     as with colorize --reference-strength; default: 0.5
  batch_size=N       images per batch; default: as in training. A smaller batch
                     needs less memory

Prints a table, and writes evaluation.json, evaluation.png and confusion.png
into RUN_DIR.
"""
CHOICES = {"split": ("val", "train"), "checkpoint": ("best", "last")}
KEYS = ("run", "split", "checkpoint", "data.root", "lines", "vivid", "reference_strength", "batch_size")


def evaluate_run(argv: Sequence[str]) -> str:
    """Evaluates the network that the arguments name, writes its files, and returns the text to print.

    Raises:
      UsageError: an argument is wrong, the run has no such network, or the dataset does not fit it.
      WorkError: a shard or the network is damaged.
    """
    # Imported late: if a package is missing, the command reports it in one sentence.
    from training.data.dataset import ShardedDataset
    from training.run.run_info import RunInfo, find_network

    arguments = parse_key_values(argv, KEYS, CHOICES)
    vivid = _parse_vivid(arguments.get("vivid", "0"))
    strength = _parse_strength(arguments.get("reference_strength"))
    run_dir = Path(arguments["run"])
    run = RunInfo.read(run_dir)
    network = find_network(run_dir, arguments["checkpoint"])
    root, split = run.find_dataset(arguments.get("data.root")), arguments["split"]
    if "://" in root:
        start_tensorflow()
    dataset = ShardedDataset.open(root)
    differences = run.compare_dataset(dataset)
    _require_examples(dataset, split)
    lines = dataset.manifest.lines[dataset.line_index(arguments.get("lines"))]
    frequencies = _find_frequencies(run, dataset) if vivid else None
    # Started late: TensorFlow takes seconds, and wrong arguments should be reported at once.
    start_tensorflow()
    from training.evaluate.evaluation import evaluate

    batch_size = run.choose_batch_size(arguments.get("batch_size"))
    with explain_out_of_memory(f"type batch_size={max(1, batch_size // 2)} (now {batch_size})"):
        evaluation = evaluate(run, network, dataset, split, batch_size, lines, vivid, frequencies, strength)
    files = evaluation.write(run_dir, differences)
    notes = [f"note       {sentence}" for sentence in differences]
    return "\n".join([*notes, evaluation.report(), f"written    {' and '.join(map(str, files))}"])


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_text_command("python -m training.evaluate", HELP, argv, evaluate_run)


def _parse_vivid(text: str) -> float:
    from training.metrics.logit_adjustment import MAX_TAU

    try:
        vivid = float(text)
    except ValueError:
        vivid = -1.0
    if not 0 <= vivid <= MAX_TAU:
        raise UsageError(f"vivid must be a number from 0 to {MAX_TAU:g}; got {text}")
    return vivid


def _parse_strength(text: str | None) -> float:
    from training.metrics.reference_matching import DEFAULT_STRENGTH

    try:
        strength = DEFAULT_STRENGTH if text is None else float(text)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise UsageError(f"reference_strength must be a number from 0 to 1; got {text}")
    return strength


def _find_frequencies(run: RunInfo, dataset: ShardedDataset) -> list[float]:
    """Returns how often each colour occurs in the training data of a run.

    Raises:
      UsageError: it is not known, because another dataset is evaluated and that of the run is not there.
    """
    from training.metrics.logit_adjustment import color_frequencies

    if dataset.manifest.dataset_fingerprint == run.dataset.fingerprint:
        frequencies = color_frequencies(dataset.manifest.splits["train"].label_histogram)
    else:
        frequencies = run.find_color_frequencies()
    if frequencies is None:
        raise UsageError(
            f"vivid needs the colour frequencies of the training data, but {dataset.root} is another "
            "dataset: type data.root=WHERE the one of the training is"
        )
    return frequencies


def _require_examples(dataset: ShardedDataset, split: str) -> None:
    if not dataset.examples(split):
        other = next((name for name in CHOICES["split"] if dataset.examples(name)), None)
        hint = f"type split={other}" if other else "preprocess more images"
        raise UsageError(f"split={split}: {dataset.root} has no examples in this split; {hint}")


if __name__ == "__main__":
    sys.exit(main())
