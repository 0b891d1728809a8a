"""The project's commands as their users start them: `python -m MODULE WORDS`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def run_module(
    module: str, *words: object, timeout: int = 120, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; `more` are arguments of `subprocess.run`."""
    command = [sys.executable, "-m", module, *map(str, words)]
    settings = {"cwd": ROOT, "capture_output": True, "text": True, "check": False, **more}
    return subprocess.run(command, timeout=timeout, **settings)
