"""Common parts of the benchmarks: their options, one process per variant, and the output of results.

A variant is one of the implementations that a benchmark compares. Each is measured in a process of its own,
so that imports, caches and peak memory of one do not affect another. The process is the same script with
`--variant`, and the last line that it prints is JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from linewash.arguments import Parser, local_path

from training.atomic_files import atomic_write
from training.errors import WorkError


class VariantFailedError(WorkError):
    """A variant could not be measured. The message holds the end of its stderr."""


def benchmark_parser(prog: str, description: str | None) -> Parser:
    """Returns a parser with `--json` and the hidden `--variant`."""
    parser = Parser(prog, description)
    parser.add_argument("--json", type=local_path, help="file to write the results to")
    parser.add_argument("--variant", help=argparse.SUPPRESS)  # set in the process that measures it
    return parser


def run_variant(script: str, variant: str, *arguments: object, stdin: str = "") -> Any:
    """Runs `script --variant VARIANT ARGUMENTS` and returns the JSON value in the last line that it prints.

    `stdin` is the text on the standard input of the process. It is for arguments that would be too long for a
    command line.

    Raises:
      VariantFailedError: the process ends with another exit code than 0, or prints nothing.
    """
    command = [sys.executable, script, "--variant", variant, *map(str, arguments)]
    result = subprocess.run(
        command, input=stdin, capture_output=True, text=True, encoding="utf-8", errors="surrogateescape"
    )
    lines = result.stdout.splitlines()
    if result.returncode or not lines:
        reason = result.stderr.strip()[-2000:] or f"exit code {result.returncode} and no output"
        raise VariantFailedError(f"{Path(script).stem}, {variant}: {reason}")
    return json.loads(lines[-1])


def write_results(table: Iterable[str], results: Any, path: Path | None) -> None:
    """Prints the lines of `table`, and writes `results` as JSON to `path` if there is one."""
    print("\n".join(table))
    if path:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n")
