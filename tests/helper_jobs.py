"""Runs the preprocessing job and the verifier, and reads their output.

In this process Beam is imported once, and all jobs share the server that forks their workers.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import verify_shards
from helper_commands import ROOT, run_main, run_module

from preprocess.__main__ import main

preprocess = partial(run_main, main)
preprocess_in_a_process = partial(run_module, "preprocess")


def verify(root):
    """Runs scripts/verify_shards.py in this process, with threads in place of its processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(concurrent.futures, "ProcessPoolExecutor", concurrent.futures.ThreadPoolExecutor)
        return run_main(verify_shards.main, root, "--workers", 1)


def kill_after_a_receipt(arguments, output):
    """Starts a job with one worker in a process, and kills all of it when its first shard is finished."""
    job = subprocess.Popen(
        [sys.executable, "-m", "preprocess", *arguments, "--direct_num_workers", "1"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while job.poll() is None and not list(output.glob("receipts/*.json")):
        time.sleep(0.002)
    os.killpg(job.pid, signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL, "the job finished before it could be killed"
    assert not (output / "manifest.json").exists()


def file_contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def assert_one_sentence(result, code, *parts):
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("python -m preprocess: ")
    for part in parts:
        assert part in lines[0]


def workers(job):
    """Returns the process ids of the job's workers, which are the forks of its server."""
    return [fork for child in children(job.pid) for fork in children(child)]


def children(pid):
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            pids.append(int(status.parent.name))
    return pids
