"""Beam's SDK worker as one local process: forked from a warm one, quiet, gone with its launcher.

A worker imports Beam and OpenCV, which takes over a second of a core. So that is done once, in a server that
has nothing else to do while the launcher is busy with its own imports and the listing; workers are its forks.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FORKS = multiprocessing.get_context("forkserver")

# An image's pixels are asked for and given back a few hundred times a second. glibc would return them to the
# kernel each time and fetch them anew, page by page: 7 % of all the time in a measured job.
_MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}


class WorkerDiedError(RuntimeError):
    """A worker process ended before its work did: killed, or out of memory."""


class NoServerError(OSError):
    """The server that workers are forked from cannot be started."""


def warm_up() -> None:
    """Starts the server that workers are forked from, unless it runs; it imports while the caller goes on.

    Raises:
      NoServerError: its socket cannot be made where temporary files are.
    """
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    _let_server_import_us()
    _FORKS.set_forkserver_preload(["preprocess.forks"])
    # Ctrl-C reaches every process of a terminal, also one just starting; it is the launcher's to handle. What
    # is blocked here stays so in the server and its forks; what came meanwhile, the launcher still gets.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    except OSError as e:  # a socket's name may be some 100 characters long
        raise NoServerError(
            f"no process can be started below {tempfile.gettempdir()} ({e}): set TMPDIR to a folder with a "
            "short name and some room"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(environment: dict[str, str]) -> BaseProcess:
    """Starts a worker; `environment` is what Beam tells one about its launcher."""
    warm_up()
    process = _FORKS.Process(target=_serve, args=(environment,), name="linewash-worker", daemon=True)
    process.start()
    return process


def _serve(environment: dict[str, str]) -> None:
    """Serves the launcher until it says that there is no more to do."""
    _die_with_launcher()
    # Errors travel to the launcher in the reply, with their traceback; what else is said here (Beam's copy of
    # that traceback, libjpeg's warnings of images that are in the ledger anyway) would tear the bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    from apache_beam.runners.worker import sdk_worker_main

    os.environ.update(environment)
    sdk_worker_main.main(sys.argv)


def _die_with_launcher() -> None:
    """A worker left over by a killed launcher would go on writing beside the next run's.

    The server ends with the launcher by itself, and this process then with the server.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    launcher = multiprocessing.parent_process()
    if launcher is None or not launcher.is_alive():
        os._exit(1)


def _let_server_import_us() -> None:
    """The server is a fresh interpreter: it must find this package also when it is not installed."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    if root not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
