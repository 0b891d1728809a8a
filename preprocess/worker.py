"""`python -m preprocess.worker`: Beam's SDK worker as one local process, quiet, gone with its launcher."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

PIDS_VARIABLE = "LINEWASH_WORKERS"  # names the folder where each worker leaves its process id
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerDiedError(RuntimeError):
    """A worker process ended before its work did: killed, or out of memory."""


def main() -> None:
    """Serves the launcher until it says that there is no more to do."""
    _die_with_launcher()
    # Errors travel to the launcher in the reply, with their traceback; what else is said here (Beam's copy of
    # that traceback, libjpeg's warnings of images that are in the ledger anyway) would tear the bar.
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    Path(os.environ[PIDS_VARIABLE], str(os.getpid())).touch()  # fails when the launcher has just given up
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def _die_with_launcher() -> None:
    """A worker left over by a killed launcher would go on writing beside the next run's."""
    if sys.platform == "linux":
        launcher = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(1)


if __name__ == "__main__":
    main()
