"""python -m training.compare RUN_DIR... [out=FILE]: runs side by side, as a table and as curves.

A directory of runs, such as one of a sweep, stands for all runs in it. Each run is judged as it was while it
trained: by its validation loss, or else by its training loss.
"""

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

WIDTH = 80  # columns of the table
LONGEST_NAME = 24
USAGE = "python -m training.compare RUN_DIR... [out=comparison.png]"


@dataclass(frozen=True)
class RunHistory:
    """What a run left: its flat settings, its dataset's fingerprint, and the rows of its history.csv."""

    name: str
    settings: dict[str, Any]
    fingerprint: str
    rows: list[dict[str, str]]

    def curve(self, score: str) -> list[float]:
        """A score, `loss` or `accuracy`, of every epoch, on the split that judges."""
        has_val = bool(self.rows) and all(row["val_loss"] for row in self.rows)
        return [float(row[f"{'val' if has_val else 'train'}_{score}"]) for row in self.rows]

    @property
    def best(self) -> int | None:
        """The index of the epoch with the lowest loss; None before the first has ended."""
        losses = self.curve("loss")
        return losses.index(min(losses)) if losses else None


def find_runs(directories: list[Path]) -> list[RunHistory]:
    """Reads the runs in the order given, and those of one directory by their numbers.

    Raises:
      UsageError: a directory without a run, or with files that python -m training did not write.
    """
    # Only here: where a package is not installed, its absence is reported as a sentence.
    from training.run.run_info import RUN_NAME

    found: dict[Path, None] = {}
    for directory in directories:
        records = [directory / RUN_NAME] if (directory / RUN_NAME).is_file() else directory.rglob(RUN_NAME)
        run_dirs = sorted((record.parent for record in records), key=_by_number)
        if not run_dirs:
            raise UsageError(f"{directory} holds no run: name directories that python -m training made")
        found |= dict.fromkeys(run_dirs)
    resolved = [run_dir.resolve() for run_dir in found]
    above = os.path.commonpath([run_dir.parent for run_dir in resolved])
    return [
        _read(run_dir, os.path.relpath(place, above)) for run_dir, place in zip(found, resolved, strict=True)
    ]


def table(runs: list[RunHistory]) -> str:
    """One row a run, `WIDTH` columns at most; the last column has the settings that are not all equal."""
    names = [_shortened(run.name) for run in runs]
    steps = [f"{int(run.rows[-1]['step']):,}" if run.rows else "-" for run in runs]
    head = [max(map(len, ["run", *names])), max(map(len, ["steps", *steps]))]
    lines = [f"{'run':{head[0]}}  {'steps':>{head[1]}}  best   loss  accuracy  settings"]
    for run, name, step, differing in zip(runs, names, steps, differing_settings(runs), strict=True):
        row = f"{name:{head[0]}}  {step:>{head[1]}}  {_scores(run)}  "
        wrapped = textwrap.wrap(
            "  ".join(differing), WIDTH, initial_indent=row, subsequent_indent=" " * len(row)
        )
        lines += wrapped or [row.rstrip()]
    if len({run.fingerprint for run in runs}) > 1:
        lines.append("Not all runs saw the same dataset: their scores do not compare.")
    return "\n".join(lines)


def differing_settings(runs: list[RunHistory]) -> list[list[str]]:
    """For each run `key=value` of the settings that differ among the runs, in the shortest clear form."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    if len({run.fingerprint for run in runs}) == 1:  # the same dataset, wherever it stood
        keys.pop("data.root", None)
    differing = [
        key for key in keys if len({json.dumps(run.settings.get(key, "no such setting")) for run in runs}) > 1
    ]
    last = [key.partition(".")[2] for key in differing]
    short = {
        key: name if last.count(name) == 1 and name != "name" else key
        for key, name in zip(differing, last, strict=True)
    }
    return [
        [f"{short[key]}={_typed(run.settings[key])}" for key in differing if key in run.settings]
        for run in runs
    ]


def compare(words: Sequence[str]) -> str:
    """Prints the table and draws the curves; returns what is to be printed at the end.

    Raises:
      UsageError: what was typed cannot be meant, or is no run.
      WorkError: no epoch has ended yet, or the picture cannot be written.
    """
    typed = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    out = Path(parse_path(typed[-1]) if typed else "comparison.png")
    # run=RUN_DIR, as the other commands have it, will do too.
    places = [word.removeprefix("run=") for word in words if not word.startswith("out=")]
    if not places or any(place.startswith("-") for place in places):
        raise UsageError(f"type {USAGE}")
    runs = find_runs([Path(parse_path(place)) for place in places])
    print(table(runs), flush=True)
    ended = {run.name: run for run in runs if run.rows}
    if not ended:
        raise WorkError("no epoch has ended in any of these runs: there are no curves to draw yet")
    start_tensorflow()
    from training.run.plots import write_comparison

    curves = {name: (run.curve("loss"), run.curve("accuracy")) for name, run in ended.items()}
    try:
        write_comparison(out, curves)
    except OSError as e:
        raise WorkError(f"out={out} could not be written: {e.strerror or e}") from e
    except ValueError as e:  # matplotlib's, with the formats that it knows
        raise WorkError(f"out={out} could not be written: {e}") from e
    return f"look at    {out}"


def main(words: Sequence[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    words = sys.argv[1:] if words is None else words
    return run_text_command("python -m training.compare", f"{(__doc__ or '').strip()}\n", words, compare)


def _read(run_dir: Path, name: str) -> RunHistory:
    from training.run.run_info import read_run, settings

    run, path = read_run(run_dir), run_dir / "history.csv"
    try:
        rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
        read = RunHistory(name, settings(run["config"]), run["dataset"]["fingerprint"], rows)
        read.curve("loss"), read.curve("accuracy")
        [int(row[name]) for row in rows for name in ("epoch", "step")]
    except (KeyError, TypeError, ValueError, csv.Error) as e:
        raise UsageError(f"{path} is not what python -m training wrote: it cannot be read") from e
    return read


def _scores(run: RunHistory) -> str:
    if run.best is None:
        return f"{'-':>4}  {'-':>5}  {'-':>8}"
    loss, accuracy = run.curve("loss")[run.best], run.curve("accuracy")[run.best]
    return f"{run.rows[run.best]['epoch']:>4}  {loss:5.3f}  {accuracy:8.3f}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]


def _typed(value: Any) -> str:
    """As it would be typed on the command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _by_number(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


if __name__ == "__main__":
    sys.exit(main())
