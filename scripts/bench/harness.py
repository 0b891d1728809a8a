"""What the benchmarks share: their options, a process for each way that is measured, and where figures go.

A way is one of those that are compared. It is measured in a process of its own, which is the same script with
`--way`; what that prints as its last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from linewash.coloring.arguments import Parser, local_path

from training.atomic_files import atomic_write
from training.errors import WorkError


class WayFailedError(WorkError):
    """One way could not be measured; what it said last is the message."""


def options(prog: str, description: str | None) -> Parser:
    """A parser with `--json`, and the hidden `--way`."""
    parser = Parser(prog, description)
    parser.add_argument("--json", type=local_path, help="where to write the figures")
    parser.add_argument("--way", help=argparse.SUPPRESS)  # one way, as a process of its own
    return parser


def in_own_process(script: str, way: str, *arguments: object, given: str = "") -> Any:
    """The figures of one way, from `script --way WAY ARGUMENTS` with `given` on its standard input.

    Raises:
      WayFailedError: it ended with another exit code than 0, or printed no figures.
    """
    command = [sys.executable, script, "--way", way, *map(str, arguments)]
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, encoding="utf-8", errors="surrogateescape"
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip()[-2000:] or f"it ended with exit code {done.returncode}"
        raise WayFailedError(f"{Path(script).stem}, {way}: {said}")
    return json.loads(lines[-1])


def tell(lines: Iterable[str], figures: Any, path: Path | None) -> None:
    """Prints a table; writes its figures where `path` says."""
    print("\n".join(lines))
    if path:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(figures, indent=2) + "\n")
