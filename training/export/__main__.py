"""python -m training.export run=RUN_DIR: writes a trained network as files for other runtimes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.atomic_files import atomic_directory
from training.cli import (
    closest_match,
    did_you_mean,
    explain_out_of_memory,
    install_command,
    parse_key_values,
    run_text_command,
)
from training.errors import LinewashError, UsageError, WorkError
from training.tf_startup import start_tensorflow

if TYPE_CHECKING:
    from training.data.dataset import ShardedDataset
    from training.run.run_info import RunInfo

HELP = """\
Exports the network of a run for other runtimes, and checks that each file gives
the same results as Keras.

Usage: python -m training.export run=RUN_DIR [out=DIR]
                                 [formats=keras,saved_model,onnx,litert]
                                 [checkpoint=best] [data.root=DATASET]
                                 [batch_size=N] [about=FILE]

  run=RUN_DIR        a directory made by python -m training
  out=DIR            a new directory; default: RUN_DIR/export
  formats=...        one or more of these, separated by commas; default: all
  checkpoint=best    best or last
  data.root=DATASET  where the dataset of the run is now, if it has moved; it is
                     needed for scores and pictures
  batch_size=N       images per batch of an evaluation; default: as in training
  about=FILE         Markdown for the model card: the sources of the data and
                     their licences, what the network is good and bad at

Writes model.keras, saved_model/, model.onnx and model.tflite; export.json for
programs; and README.md, the model card, with its pictures. A network that has
not been evaluated is evaluated first, if its dataset is there.
"""
KEYS = ("run", "out", "formats", "checkpoint", "data.root", "batch_size", "about")
CHOICES = {"checkpoint": ("best", "last")}
# The packages that a format needs beyond those for training.
NEEDS = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def parse_formats(text: str | None) -> list[str]:
    """Returns the formats in a list separated by commas, in the order of `FORMATS`; all of them for None.

    Raises:
      UsageError: there is no such format.
      WorkError: a format needs a package that is not installed.
    """
    from training.export.metadata import FORMATS

    formats = text.split(",") if text else list(FORMATS)
    for name in formats:
        if name not in FORMATS:
            raise UsageError(
                f"there is no format {name}{_suggest_format(name)} formats can be {', '.join(FORMATS)}"
            )
    for name in formats:
        missing = [package for package in NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]
        if missing:
            raise WorkError(
                f"{name} needs {' and '.join(missing)}: run {install_command('export')}, or choose other "
                f"formats, such as formats={','.join(name for name in FORMATS if name not in NEEDS)}"
            )
    return [name for name in FORMATS if name in formats]


def open_run_dataset(run: RunInfo, root: str | None) -> tuple[ShardedDataset | None, list[str]]:
    """Opens the dataset of a run, at `root` if it is given.

    Returns:
      The dataset and no notes. Without `root`: None, and a sentence on why the dataset cannot be used.

    Raises:
      UsageError, WorkError: there is no dataset at `root`, it is damaged, or it is another one.
    """
    from training.data.dataset import ShardedDataset

    if "://" in (root or run.root):
        start_tensorflow()
    try:
        dataset = ShardedDataset.open(run.find_dataset(root))
    except LinewashError as e:
        if root:
            raise
        return None, [f"The dataset could not be read ({e})."]
    fingerprint = dataset.manifest.dataset_fingerprint
    if fingerprint == run.dataset.fingerprint:
        return dataset, []
    problem = f"is another dataset (dataset fingerprint {fingerprint}) than in training"
    if root:
        raise UsageError(
            f"data.root={root} {problem} ({run.dataset.fingerprint}): type data.root=WHERE that one is"
        )
    return None, [f"{run.root} {problem}."]


def check_output(out: Path) -> None:
    """Refuses to overwrite files.

    Raises:
      UsageError: `out` is a file, or a directory that is not empty.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise UsageError(f"out={out} already exists: remove it, or type out=ANOTHER")


def read_about(path: str | None) -> str:
    """Returns the text of a file for the model card, or nothing for None.

    Raises:
      UsageError: the file cannot be read, or is not text.
    """
    if path is None:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as e:
        problem = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise UsageError(
            f"about={path} cannot be read ({problem}): type the path of a Markdown file"
        ) from None


def export_run(argv: Sequence[str]) -> str:
    """Exports the network that the arguments name, and returns the text to print.

    Raises:
      UsageError: an argument is wrong, the run has no such network, or the output exists.
      WorkError: a package is missing, a file is damaged, or an exported file differs from Keras.
    """
    # Imported late: if a package is missing, the command reports it in one sentence.
    from training.run.run_info import RunInfo, find_network

    arguments = parse_key_values(argv, KEYS, CHOICES)
    formats = parse_formats(arguments.get("formats"))
    run_dir = Path(arguments["run"])
    run = RunInfo.read(run_dir)
    network = find_network(run_dir, arguments["checkpoint"])
    out = Path(arguments.get("out", run_dir / "export"))
    check_output(out)
    about = read_about(arguments.get("about"))
    dataset, notes = open_run_dataset(run, arguments.get("data.root"))
    # Started late: TensorFlow takes seconds, and wrong arguments should be reported at once.
    start_tensorflow()
    from training.export.formats import TrainedNetwork, export

    batch_size = run.choose_batch_size(arguments.get("batch_size"))
    trained = TrainedNetwork(run_dir, run, network, dataset, batch_size)
    hint = f"type batch_size={max(1, batch_size // 2)} (now {batch_size})"
    with explain_out_of_memory(hint), atomic_directory(out) as directory:
        table = export(trained, formats, directory, notes, about)
    return "\n".join([*(f"note       {note}" for note in notes), table, f"written    {out / 'README.md'}"])


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_text_command("python -m training.export", HELP, argv, export_run)


def _suggest_format(name: str) -> str:
    """Returns a suggestion for a misspelt format, or for the suffix of a file."""
    from training.export.metadata import FORMATS

    spellings = {spelling: key for key, file in FORMATS.items() for spelling in (key, file)}
    spelling = closest_match(f"model.{name}", spellings, 0.8) or closest_match(name, spellings, 0.5)
    return did_you_mean(spelling and spellings[spelling])


if __name__ == "__main__":
    sys.exit(main())
