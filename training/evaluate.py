"""python -m training.evaluate run=RUN_DIR: how good a trained network is, beside what needs no drawing."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfrecords_schema import Manifest, Palette, SchemaError
from training.dataset import examples, open_dataset
from training.errors import UsageError
from training.quiet import start_tensorflow
from training.words import answer, parse_words

HELP = """\
Judges the network of a run beside three predictions that never look at the drawing.

Usage: python -m training.evaluate run=RUN_DIR [split=val] [checkpoint=best] [data.root=DATASET]

  run=RUN_DIR        a directory made by python -m training
  split=val          val or train
  checkpoint=best    best or last
  data.root=DATASET  another dataset of the same palette; the run's own if left out

Prints a table, and writes evaluation.json, evaluation.png and confusion.png into RUN_DIR.
"""
CHOICES = {"split": ("val", "train"), "checkpoint": ("best", "last")}
KEYS = ("run", "split", "checkpoint", "data.root")


@dataclass(frozen=True)
class Run:
    """What run.json says of a run that must be known to judge its network."""

    directory: Path
    root: str
    fingerprint: str
    palette: Palette
    image_size: int
    stride: int
    gives_logits: bool
    batch_size: int
    panel_images: int

    @classmethod
    def read(cls, directory: Path) -> Run:
        """Reads `directory`/run.json.

        Raises:
          UsageError: there is no run, or its run.json is not one of ours.
        """
        path = directory / "run.json"
        hint = "type run=RUN_DIR, a directory made by python -m training"
        if not path.is_file():
            what = "holds no run.json" if directory.is_dir() else "there is no such directory"
            raise UsageError(f"run={directory}: {what}; {hint}")
        try:
            run = json.loads(path.read_text())
            palette = run["palette"]
            return cls(
                directory,
                run["dataset"]["root"],
                run["dataset"]["fingerprint"],
                Palette(palette["name"], tuple(tuple(color) for color in palette["colors"])),
                int(run["image_size"]),
                int(run["model"]["stride"]),
                bool(run["model"]["gives_logits"]),
                int(run["config"]["trainer"]["batch_size"]),
                int(run["config"]["trainer"]["panel_images"]),
            )
        except (ValueError, LookupError, TypeError, SchemaError) as e:
            raise UsageError(
                f"{path} is not what python -m training writes ({type(e).__name__}: {e}); {hint}"
            ) from e

    def network(self, checkpoint: str) -> Path:
        """The path of its network, `checkpoint` being best or last.

        Raises:
          UsageError: it is not there.
        """
        path = self.directory / "checkpoints" / f"{checkpoint}.keras"
        if not path.is_file():
            raise UsageError(f"{path} is missing: the run has saved no network; train it for an epoch")
        return path

    def differences(self, root: str, manifest: Manifest) -> list[str]:
        """Sentences on how the dataset at `root` differs from the one that the run was trained on.

        Raises:
          UsageError: it has other colours, or a size that the network cannot take.
        """
        here, there = manifest.palette, self.palette
        if here.colors != there.colors:
            raise UsageError(
                f"data.root={root}: its palette is {here.name} of {len(here)} colours, but the network "
                f"knows {there.name} of {len(there)}: give a dataset of the same palette as {self.root}"
            )
        if manifest.image_size % self.stride:
            raise UsageError(
                f"data.root={root}: the network takes multiples of {self.stride} px, but these images "
                f"are {manifest.image_size} px: preprocess with --image_size {self.image_size}"
            )
        found = []
        if manifest.image_size != self.image_size:
            found.append(f"images of {manifest.image_size} px; the network was trained on {self.image_size}")
        if manifest.dataset_fingerprint != self.fingerprint:
            found.append(
                f"another dataset ({manifest.dataset_fingerprint}) than it was trained on "
                f"({self.fingerprint}): what is judged here may be what it learnt from"
            )
        return found


def evaluate(run: Run, checkpoint: str, split: str, root: str) -> str:
    """Judges the network, writes its files into the run's directory, and returns what is to be printed.

    Raises:
      UsageError: the dataset is none, has no such examples, or does not go with the network.
      WorkError: a shard or the network is damaged.
    """
    network = run.network(checkpoint)
    manifest = open_dataset(root)
    differences = run.differences(root, manifest)
    if not examples(manifest, split):
        other = next((name for name in CHOICES["split"] if examples(manifest, name)), None)
        hint = f"type split={other}" if other else "preprocess more images"
        raise UsageError(f"split={split}: there are no such examples in {root}; {hint}")
    # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
    start_tensorflow()
    from training.evaluation import judge

    evaluation = judge(run, network, root, manifest, split)
    written = evaluation.write(run.directory, differences)
    notes = [f"note       {sentence}" for sentence in differences]
    return "\n".join([*notes, evaluation.report(), f"look at    {' and '.join(map(str, written))}"])


def evaluate_run(words: Sequence[str]) -> str:
    """Does what was typed; returns what is to be printed.

    Raises:
      UsageError, WorkError: as `evaluate`; and what was typed cannot be meant.
    """
    typed = parse_words(words, KEYS, CHOICES)
    run = Run.read(Path(typed["run"]))
    if "data.root" not in typed and not Path(run.root).is_dir() and "://" not in run.root:
        raise UsageError(f"the run was trained on {run.root}, which is not there: type data.root=DATASET")
    return evaluate(run, typed["checkpoint"], typed["split"], typed.get("data.root", run.root))


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    return answer("python -m training.evaluate", HELP, words, evaluate_run)


if __name__ == "__main__":
    sys.exit(main())
