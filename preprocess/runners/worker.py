"""Runs a Beam SDK worker as a local process, forked from a preloaded server. It exits with the launcher.

To import Beam and OpenCV takes over a second of a core. The server does it once, while the launcher is busy
with its own imports and the listing of images. Its forks share the modules.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib.util
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
PRELOAD = "preprocess.runners.preload"
_FORKSERVER = multiprocessing.get_context("forkserver")

# Pixel buffers are allocated and freed a few hundred times a second. By default, glibc returns them to the
# kernel each time and gets them back page by page, which took 7 % of the time of a measured job.
_MALLOC_SETTINGS = {
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}


class WorkerDiedError(RuntimeError):
    """A worker process ended before its work did, for example because memory ran out.

    Args:
      pid: its process id.
      code: its exit code; -N after signal N.
      current_image: the image that it was processing, if known.
    """

    def __init__(self, pid: int, code: int | None, current_image: CurrentImage | None = None) -> None:
        super().__init__(pid, code, current_image)
        self.pid = pid
        self.code = code
        self.current_image = current_image

    def __str__(self) -> str:
        cause = f"ended with code {self.code}"
        if self.code is not None and self.code < 0:
            with contextlib.suppress(ValueError):  # real-time signals have no names
                cause = f"was ended by {signal.Signals(-self.code).name}"
        if self.code == -signal.SIGKILL:
            cause += " (as the kernel does when memory runs out)"
        work = f" while processing {self.current_image}" if self.current_image else ""
        return f"a worker process {cause}{work}"


class ForkServerError(OSError):
    """The server that workers are forked from cannot be started."""


def is_debugging() -> bool:
    """Returns True if LINEWASH_DEBUG is set, for example to 1: the stderr of workers is then shown."""
    return os.environ.get("LINEWASH_DEBUG", "") not in ("", "0")


def start_server(preload: str = PRELOAD) -> None:
    """Starts the server that workers are forked from, if it is not running. It imports in the background.

    Args:
      preload: the module that it imports, with all that the workers need.

    Raises:
      ForkServerError: its socket cannot be created in the folder for temporary files.
    """
    for name, value in _MALLOC_SETTINGS.items():
        os.environ.setdefault(name, value)
    _add_packages_to_pythonpath(preload)
    _FORKSERVER.set_forkserver_preload([preload])
    # Only the launcher is to handle these signals, but a terminal or service manager sends them to all of its
    # processes. The server and its forks inherit that the signals are blocked. If one arrives meanwhile, the
    # launcher receives it when they are unblocked.
    resource_tracker.ensure_running()  # it would unblock the signals if it were started below
    previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        forkserver.ensure_running()
    except OSError as e:  # for example, the path of a socket is limited to about 100 characters
        folder = tempfile.tempdir or "a folder for temporary files"  # the error names those that were tried
        raise ForkServerError(
            f"no process can be started below {folder} ({e}): set TMPDIR to a folder with a short name and "
            "free space"
        ) from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)


def start(environment: dict[str, str]) -> BaseProcess:
    """Starts a worker. `environment` contains the variables by which Beam gives it its launcher's address."""
    start_server()
    process = _FORKSERVER.Process(
        target=_run_worker, args=(environment,), name="linewash-worker", daemon=True
    )
    process.start()
    return process


def _run_worker(environment: dict[str, str]) -> None:
    """Serves the launcher until it ends the connection."""
    _exit_with_launcher()
    if is_debugging():
        faulthandler.enable()  # prints the stack if a library crashes
    else:
        # The launcher receives errors with their tracebacks. All other output (Beam's copy of a traceback,
        # warnings of libjpeg about images that are rejected) would only break the progress bar.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    from apache_beam.runners.worker import sdk_worker_main

    os.environ.update(environment)
    sdk_worker_main.main(sys.argv)


def _exit_with_launcher() -> None:
    """Makes the kernel kill this process when the server ends, which ends when the launcher does.

    A worker that outlived a killed launcher would write the same files as the next run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    launcher = multiprocessing.parent_process()
    if launcher is None or not launcher.is_alive():
        os._exit(1)


def _add_packages_to_pythonpath(preload: str) -> None:
    """Lets the server, a new interpreter, import this package and that of `preload` without installation."""
    for package in {__name__.partition(".")[0], preload.partition(".")[0]}:
        spec = importlib.util.find_spec(package)
        root = str(Path(spec.origin).parents[1]) if spec and spec.origin else ""
        path = os.environ.get("PYTHONPATH", "")
        if root and root not in path.split(os.pathsep):
            os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
