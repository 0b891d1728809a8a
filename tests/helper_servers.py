"""scripts/serve.py as a process of its own, for tests that ask it over HTTP or in a browser."""

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
def served(*words: object) -> Iterator[str]:
    """Starts the command at a free port and yields the page's address; it ends with the block."""
    command = [sys.executable, SCRIPT, "--port", 0, *words]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout
        told = process.stdout.readline()
        found = re.search(r"http://\S+", told)
        assert found, f"it said {told!r}"
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)
