"""Runs commands and measures their time, CPU time and memory. Process trees are read from Linux's /proc."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.errors import WorkError

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.05
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def python_command(*arguments: object) -> list[str]:
    """Returns the command that runs the current Python interpreter with these arguments."""
    return [sys.executable, *map(str, arguments)]


def run_timed(command: list[str]) -> float:
    """Runs a command in the project's root and returns its wall time in seconds.

    Raises:
      WorkError: it ends with another exit code than 0.
    """
    started = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
    if result.returncode:
        raise _failure(command, result.stderr)
    return time.monotonic() - started


class ProcessFigures(NamedTuple):
    """Stdout and wall time of a command, and peak memory of it (launcher) and of its largest descendant."""

    stdout: str
    wall_s: float
    launcher_mb: float
    worker_mb: float


def measure_process(command: list[str]) -> ProcessFigures:
    """Runs a command in the project's root to its end and polls the memory of its process tree.

    Raises:
      WorkError: it ends with another exit code than 0.
    """
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as stderr:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)
        while process.poll() is None:
            for pid in [process.pid, *descendants(process.pid)]:
                peaks[pid] = max(peaks.get(pid, 0), peak_mb_of(pid))
            time.sleep(POLL_SECONDS)
        wall = time.monotonic() - started
        if process.returncode:
            stderr.seek(0)
            raise _failure(command, stderr.read())
    stdout = process.stdout.read() if process.stdout else ""
    workers = [mb for pid, mb in peaks.items() if pid != process.pid]
    return ProcessFigures(stdout, wall, peaks[process.pid], max(workers, default=0))


def _failure(command: list[str], stderr: str) -> WorkError:
    return WorkError(f"{' '.join(command)} failed: {stderr[-2000:].strip()}")


def descendants(pid: int) -> Iterator[int]:
    """Yields the ids of all living descendants of a process."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += (task / "children").read_text().split()
    except OSError:
        return
    for child in {int(c) for c in children}:
        yield child
        yield from descendants(child)


class Usage(NamedTuple):
    """Resources of a process: resident MB, open files, and CPU seconds with those of its ended children."""

    memory_mb: float
    open_files: int
    cpu_s: float


def usage_of(pid: int) -> Usage | None:
    """Returns what a process uses, or None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Usage(
            int(stat[21]) * PAGE_BYTES / 1e6,
            sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
            sum(map(int, stat[11:15])) / CLOCK_TICKS_PER_SECOND,
        )
    except OSError:
        return None


def peak_mb_of(pid: int) -> float:
    """Returns the peak resident memory of a process in MiB, or 0 if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = re.search(r"VmHWM:\s+(\d+)", status)
    return int(peak[1]) / 1024 if peak else 0


def own_peak_mb() -> float:
    """Returns the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def own_cpu_seconds() -> float:
    """Returns the CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
