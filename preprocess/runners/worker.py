"""Runs a Beam SDK worker as a local process, forked from a preloaded server. It exits with the launcher.

A worker imports Beam and OpenCV, which takes over a second of a core. So that is done once, in a server that
has nothing else to do while the launcher is busy with its own imports and the listing; workers are its forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path

from preprocess.runners.shard_queue import CurrentImage

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
    """A worker process ended before its work did: killed, or out of memory.

    Args:
      process: its id.
      code: its exit code, -N after signal N.
      in_hand: the image and the shard that it was at work on, where they are known.
    """

    def __init__(self, process: int, code: int | None, current_image: CurrentImage | None = None) -> None:
        super().__init__(process, code, current_image)
        self.process = process
        self.code = code
        self.current_image = current_image

    def __str__(self) -> str:
        how = f"ended with code {self.code}"
        if self.code is not None and self.code < 0:
            with contextlib.suppress(ValueError):  # a real-time signal has no name
                how = f"was ended by {signal.Signals(-self.code).name}"
        if self.code == -signal.SIGKILL:
            how += " (as the kernel does when memory runs out)"
        return f"a worker process {how}" + (
            f" while it had in hand {self.current_image}" if self.current_image else ""
        )


class NoServerError(OSError):
    """The server that workers are forked from cannot be started."""


def is_debugging() -> bool:
    """True with LINEWASH_DEBUG=1 in the environment: what workers print on stderr is then shown."""
    return os.environ.get("LINEWASH_DEBUG", "") not in ("", "0")


def warm_up() -> None:
    """Starts the server that workers are forked from, unless it runs; it imports while the caller goes on.

    Raises:
      NoServerError: its socket cannot be made where temporary files are.
    """
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    _let_server_import_us()
    _FORKS.set_forkserver_preload(["preprocess.runners.preload"])
    # Ctrl-C and a closed terminal reach every process of the terminal, a service manager's SIGTERM every
    # process of the service, also one just starting. The launcher handles them. What is blocked here stays
    # blocked in the server and its forks; what came meanwhile, the launcher still gets.
    resource_tracker.ensure_running()  # it would unblock the signals again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        forkserver.ensure_running()
    except OSError as e:  # a socket's name may be some 100 characters long
        folder = tempfile.tempdir or "a folder for temporary files"  # e says which were tried
        raise NoServerError(
            f"no process can be started below {folder} ({e}): set TMPDIR to a folder with a short name and "
            "some room"
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
    if is_debugging():
        faulthandler.enable()  # prints the stack when a library crashes
    else:
        # Errors travel to the launcher in the reply, with their traceback; what else is said here (Beam's
        # copy of that traceback, libjpeg's warnings of images that are rejected anyway) would tear the bar.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
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
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH", "")
    if root not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
