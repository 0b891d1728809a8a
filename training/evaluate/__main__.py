"""python -m training.evaluate run=RUN_DIR: how good a trained network is, beside what needs no drawing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.cli import explain_out_of_memory, parse_key_values, run_text_command
from training.errors import UsageError
from training.tf_startup import start_tensorflow

if TYPE_CHECKING:
    from training.run.run_info import RunInfo

HELP = """\
Judges the network of a run beside three predictions that never look at the drawing.

Usage: python -m training.evaluate run=RUN_DIR [split=val] [checkpoint=best] [data.root=DATASET]
                                   [batch_size=N]

  run=RUN_DIR        a directory made by python -m training
  split=val          val or train
  checkpoint=best    best or last
  data.root=DATASET  another dataset of the same palette, or where its own is now; the run's own if left out
  batch_size=N       images at a time, fewer of which need less memory; as in training if left out

Prints a table, and writes evaluation.json, evaluation.png and confusion.png into RUN_DIR.
"""
CHOICES = {"split": ("val", "train"), "checkpoint": ("best", "last")}
KEYS = ("run", "split", "checkpoint", "data.root", "batch_size")


def evaluate(run: RunInfo, checkpoint: str, split: str, root: str) -> str:
    """Judges the network, writes its files into the run's directory, and returns what is to be printed.

    Raises:
      UsageError: the dataset is none, has no such examples, or does not go with the network.
      WorkError: a shard or the network is damaged.
    """
    # Only here: where a package is not installed, its absence is reported as a sentence.
    from training.data.dataset import ShardedDataset

    network = run.network(checkpoint)
    if "://" in root:
        start_tensorflow()
    dataset = ShardedDataset.open(root)
    differences = run.differences(dataset)
    if not dataset.examples(split):
        other = next((name for name in CHOICES["split"] if dataset.examples(name)), None)
        hint = f"type split={other}" if other else "preprocess more images"
        raise UsageError(f"split={split}: there are no such examples in {root}; {hint}")
    # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
    start_tensorflow()
    from training.evaluate.evaluation import judge

    evaluation = judge(run, network, dataset, split)
    written = evaluation.write(run.directory, differences)
    notes = [f"note       {sentence}" for sentence in differences]
    return "\n".join([*notes, evaluation.report(), f"look at    {' and '.join(map(str, written))}"])


def evaluate_run(words: Sequence[str]) -> str:
    """Does what was typed; returns what is to be printed.

    Raises:
      UsageError, WorkError: as `evaluate`; and what was typed cannot be meant.
    """
    from training.run.run_info import RunInfo

    typed = parse_key_values(words, KEYS, CHOICES)
    run = RunInfo.read(Path(typed["run"])).in_batches(typed.get("batch_size"))
    with explain_out_of_memory(f"type batch_size={max(1, run.batch_size // 2)} (now {run.batch_size})"):
        return evaluate(run, typed["checkpoint"], typed["split"], run.find_root(typed.get("data.root")))


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    return run_text_command("python -m training.evaluate", HELP, words, evaluate_run)


if __name__ == "__main__":
    sys.exit(main())
