"""Runs scripts/serve.py as a process, for tests that use it over HTTP or in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "serve.py"


@contextmanager
def run_server(*argv: object) -> Iterator[str]:
    """Starts the command on a free port, yields the page's address, and stops the command at the end."""
    command = [sys.executable, SCRIPT, "--port", 0, *argv]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, f"no address in {line!r}"
        yield address[0]
    finally:
        process.terminate()
        process.wait(20)
