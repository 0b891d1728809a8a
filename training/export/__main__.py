"""python -m training.export run=RUN_DIR: a trained network as files for other programs, with a model card."""

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
Writes the network of a run as files for other programs, and checks that all of them say what Keras says.

Usage: python -m training.export run=RUN_DIR [out=DIR] [formats=keras,saved_model,onnx,litert]
                                 [checkpoint=best] [data.root=DATASET] [batch_size=N]

  run=RUN_DIR        a directory made by python -m training
  out=DIR            a new directory; RUN_DIR/export if left out
  formats=...        some of these, with commas between; all if left out
  checkpoint=best    best or last
  data.root=DATASET  where its dataset stands now, if it was moved: for scores and pictures
  batch_size=N       images judged at a time, fewer of which need less memory; as in training if left out

Writes model.keras, saved_model/, model.onnx and model.tflite, export.json for programs, and README.md, the
model card, with its pictures. A network without evaluation.json is judged first, if its dataset is there.
"""
KEYS = ("run", "out", "formats", "checkpoint", "data.root", "batch_size")
CHOICES = {"checkpoint": ("best", "last")}
# What each format needs beyond the trainer itself.
NEEDS = {"onnx": ("tf2onnx", "onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}


def chosen_formats(typed: str | None) -> list[str]:
    """Formats out of words with commas between, or all of them.

    Raises:
      UsageError: a word that is none.
      WorkError: a format needs a package that is not installed.
    """
    from training.export.metadata import FORMATS

    words = typed.split(",") if typed else list(FORMATS)
    for word in words:
        if word not in FORMATS:
            known = [*FORMATS, *FORMATS.values()]
            file_name = closest_match(f"model.{word}", known, cutoff=0.8) or closest_match(word, known, 0.5)
            suggestion = next((name for name, file in FORMATS.items() if file_name in (name, file)), None)
            hint = did_you_mean(suggestion)
            raise UsageError(f"there is no format {word}{hint} formats can be {', '.join(FORMATS)}")
    for word in words:
        missing = [name for name in NEEDS.get(word, ()) if importlib.util.find_spec(name) is None]
        if missing:
            raise WorkError(
                f"{word} needs {' and '.join(missing)}: run {install_command('export')}, or choose other "
                f"formats, such as formats={','.join(name for name in FORMATS if name not in NEEDS)}"
            )
    return [name for name in FORMATS if name in words]


def find_dataset(run: RunInfo, typed: str | None) -> tuple[ShardedDataset | None, list[str]]:
    """The dataset that the run was trained on, or None and a sentence on why not.

    Raises:
      UsageError, WorkError: `typed`, where it is said to be, is no dataset, or another or a damaged one.
    """
    from training.data.dataset import ShardedDataset

    root = typed or run.root
    if "://" in root:
        start_tensorflow()
    try:
        dataset = ShardedDataset.open(run.find_root(typed))
    except LinewashError as e:
        if typed:
            raise
        return None, [f"Its dataset could not be read ({e})."]
    fingerprint = dataset.manifest.dataset_fingerprint
    if fingerprint == run.fingerprint:
        return dataset, []
    found = f"{root} is another dataset ({fingerprint}) than it was trained on"
    if typed:
        raise UsageError(f"data.root={found} ({run.fingerprint}): leave data.root out, or give the very same")
    return None, [f"{found}."]


def check_free(out: Path) -> None:
    """Refuses to write where something stands.

    Raises:
      UsageError: `out` is a file, or a directory with something in it.
    """
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() or out.is_symlink():
        raise UsageError(f"out={out} is already there: remove it, or type out=ANOTHER")


def export_run(words: Sequence[str]) -> str:
    """Does what was typed; returns what is to be printed.

    Raises:
      UsageError: there is no such run, checkpoint or format, or something stands where it is to be written.
      WorkError: a package is missing, a file is damaged, or a format is not what Keras is.
    """
    # Only here: where a package is not installed, its absence is reported as a sentence.
    from training.run.run_info import RunInfo, read_run

    typed = parse_key_values(words, KEYS, CHOICES)
    formats = chosen_formats(typed.get("formats"))
    run = RunInfo.read(Path(typed["run"])).in_batches(typed.get("batch_size"))
    record = read_run(run.directory)
    network = run.network(typed["checkpoint"])
    out = Path(typed.get("out", run.directory / "export"))
    check_free(out)
    dataset, notes = find_dataset(run, typed.get("data.root"))
    # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
    start_tensorflow()
    from training.export.formats import Source, export

    source = Source(run, record, network, dataset)
    less = f"type batch_size={max(1, run.batch_size // 2)} (now {run.batch_size})"
    with explain_out_of_memory(less), atomic_directory(out) as directory:
        table = export(source, formats, directory, notes)
    return "\n".join([*(f"note       {note}" for note in notes), table, f"look at    {out / 'README.md'}"])


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    return run_text_command("python -m training.export", HELP, words, export_run)


if __name__ == "__main__":
    sys.exit(main())
