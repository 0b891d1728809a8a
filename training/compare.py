"""Compares runs in a table and in a picture: `python -m training.compare`."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.cli import parse_path, run_text_command
from training.errors import UsageError, WorkError
from training.tf_startup import start_tensorflow

MAX_COLUMNS = 80  # of the table
MAX_NAME_LENGTH = 24  # characters
USAGE = "python -m training.compare RUN_DIR... [out=comparison.png]"
HELP = f"""\
Compares runs in a table, and draws their curves into one picture.

Usage: {USAGE}

  RUN_DIR  a directory made by python -m training, or one that contains several,
           such as that of a sweep
  out=...  the picture; its suffix chooses the format

The scores are those recorded in training: on the validation split, or else on
the training split.
"""


@dataclass(frozen=True)
class RunHistory:
    """The recorded history of a run.

    Attributes:
      name: name in the table and in the picture.
      settings: flat, `group.key` to value.
      dataset_fingerprint: two runs with the same one used the same dataset.
      rows: rows of history.csv.
    """

    name: str
    settings: dict[str, Any]
    dataset_fingerprint: str
    rows: list[dict[str, str]]

    def curve(self, score: str) -> list[float]:
        """Returns a score, `loss` or `accuracy`, of every epoch on the selection split."""
        has_val = bool(self.rows) and all(row["val_loss"] for row in self.rows)
        return [float(row[f"{'val' if has_val else 'train'}_{score}"]) for row in self.rows]

    @property
    def best_index(self) -> int | None:
        """The index of the row with the lowest loss; None if no epoch has ended."""
        losses = self.curve("loss")
        return losses.index(min(losses)) if losses else None


def find_runs(directories: list[Path]) -> list[RunHistory]:
    """Reads the runs in some directories, those within one directory in the order of their numbers.

    Raises:
      UsageError: a directory contains no run, or files that training did not write.
    """
    # Imported late: if a package is missing, the command reports it in one sentence.
    from training.run.run_info import RUN_NAME

    run_dirs: dict[Path, None] = {}
    for directory in directories:
        files = [directory / RUN_NAME] if (directory / RUN_NAME).is_file() else directory.rglob(RUN_NAME)
        parents = sorted((file.parent for file in files), key=_natural_order)
        if not parents:
            raise UsageError(f"{directory} holds no run: name directories that python -m training made")
        run_dirs |= dict.fromkeys(parents)
    resolved = [run_dir.resolve() for run_dir in run_dirs]
    common = os.path.commonpath([run_dir.parent for run_dir in resolved])
    return [
        _read(run_dir, os.path.relpath(path, common))
        for run_dir, path in zip(run_dirs, resolved, strict=True)
    ]


def format_table(runs: list[RunHistory]) -> str:
    """Formats one row per run, at most `MAX_COLUMNS` wide, with the settings that are not the same in all."""
    names = [_shorten(run.name) for run in runs]
    steps = [f"{int(run.rows[-1]['step']):,}" if run.rows else "-" for run in runs]
    widths = [max(map(len, ["run", *names])), max(map(len, ["steps", *steps]))]
    lines = [f"{'run':{widths[0]}}  {'steps':>{widths[1]}}  best   loss  accuracy  settings"]
    for run, name, step, differing in zip(runs, names, steps, differing_settings(runs), strict=True):
        row = f"{name:{widths[0]}}  {step:>{widths[1]}}  {_format_scores(run)}  "
        wrapped = textwrap.wrap(
            "  ".join(differing), MAX_COLUMNS, initial_indent=row, subsequent_indent=" " * len(row)
        )
        lines += wrapped or [row.rstrip()]
    if len({run.dataset_fingerprint for run in runs}) > 1:
        lines.append("The runs did not use the same dataset: their scores cannot be compared.")
    return "\n".join(lines)


def differing_settings(runs: list[RunHistory]) -> list[list[str]]:
    """Returns for each run the settings that are not the same in all runs, as `key=value`.

    The group of a key is omitted where the rest is unambiguous.
    """
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    if len({run.dataset_fingerprint for run in runs}) == 1:  # the same dataset, at whatever path
        keys.pop("data.root", None)
    differing = [
        key for key in keys if len({json.dumps(run.settings.get(key, "no such setting")) for run in runs}) > 1
    ]
    names = [key.rpartition(".")[2] for key in differing]
    short = {
        key: name if names.count(name) == 1 and name != "name" else key
        for key, name in zip(differing, names, strict=True)
    }
    return [
        [f"{short[key]}={_as_typed(run.settings[key])}" for key in differing if key in run.settings]
        for run in runs
    ]


def compare(argv: Sequence[str]) -> str:
    """Prints the table, writes the picture, and returns the text to print at the end.

    Raises:
      UsageError: an argument is wrong, or is no run.
      WorkError: no epoch has ended yet, or the picture cannot be written.
    """
    outputs = [argument.removeprefix("out=") for argument in argv if argument.startswith("out=")]
    out = Path(parse_path(outputs[-1]) if outputs else "comparison.png")
    # run=RUN_DIR is accepted, because the other commands use it.
    paths = [argument.removeprefix("run=") for argument in argv if not argument.startswith("out=")]
    if not paths or any(path.startswith("-") for path in paths):
        raise UsageError(f"type {USAGE}")
    runs = find_runs([Path(parse_path(path)) for path in paths])
    print(format_table(runs), flush=True)
    started = {run.name: run for run in runs if run.rows}
    if not started:
        raise WorkError("no epoch has ended in any of these runs: there are no curves to draw yet")
    start_tensorflow()
    from training.run.plots import write_comparison

    curves = {name: (run.curve("loss"), run.curve("accuracy")) for name, run in started.items()}
    try:
        write_comparison(out, curves)
    except OSError as e:
        raise WorkError(f"out={out} could not be written: {e.strerror or e}") from e
    except ValueError as e:  # of matplotlib, which lists the formats that it supports
        raise WorkError(f"out={out} could not be written: {e}") from e
    return f"written    {out}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    return run_text_command("python -m training.compare", HELP, argv, compare)


def _read(run_dir: Path, name: str) -> RunHistory:
    from training.run.run_info import RunInfo, flat_settings

    run, path = RunInfo.read(run_dir), run_dir / "history.csv"
    try:
        rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        start = {"init": run.start.init} if run.start else {}
        settings = flat_settings(run.config) | start
        history = RunHistory(name, settings, run.dataset.fingerprint, rows)
        # Fails now if a column that is needed later is missing or no number.
        history.curve("loss"), history.curve("accuracy")
        [int(row[column]) for row in rows for column in ("epoch", "step")]
    except (KeyError, TypeError, ValueError, csv.Error) as e:
        raise UsageError(
            f"{path} is not what python -m training writes ({type(e).__name__}): name another run"
        ) from e
    return history


def _format_scores(run: RunHistory) -> str:
    if run.best_index is None:
        return f"{'-':>4}  {'-':>5}  {'-':>8}"
    loss, accuracy = run.curve("loss")[run.best_index], run.curve("accuracy")[run.best_index]
    return f"{run.rows[run.best_index]['epoch']:>4}  {loss:5.3f}  {accuracy:8.3f}"


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME_LENGTH else "…" + name[1 - MAX_NAME_LENGTH :]


def _as_typed(value: Any) -> str:
    """Formats a value as it is typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Returns a sort key by which 2 comes before 10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


if __name__ == "__main__":
    sys.exit(main())
