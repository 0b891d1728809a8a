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


class WayFailedError(SystemExit):
    """One way could not be measured; what it said last is the message."""


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`, and the hidden `--way`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--way", help=argparse.SUPPRESS)  # one way, as a process of its own
    return parser


def in_own_process(script: str, way: str, *arguments: object, given: str = "") -> Any:
    """The figures of one way, from `script --way WAY ARGUMENTS` with `given` on its standard input.

    Raises WayFailedError, which ends the benchmark where it is not caught.
    """
    command = [sys.executable, script, "--way", way, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = done.stderr.strip()[-2000:] or f"exit {done.returncode}"
        raise WayFailedError(f"{Path(script).stem}, {way}: {said}")
    return json.loads(done.stdout.splitlines()[-1])


def tell(lines: Iterable[str], figures: Any, path: Path | None) -> None:
    """Prints a table; writes its figures where `path` says."""
    print("\n".join(lines))
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n")
