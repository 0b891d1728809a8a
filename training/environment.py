"""Environment variables that keep libraries from writing into the home folder and from sending data.

Imports only the standard library. Each variable must be set before its library is imported; one that the
user has set is left alone.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def protect_home() -> None:
    """Sets the variables of Keras, ONNX Runtime and matplotlib."""
    # Keras would create ~/.keras and write its defaults there. Below a file it cannot, and continues.
    os.environ.setdefault("KERAS_HOME", os.devnull)
    # ONNX Runtime would keep a device id and a database of events below ~/.cache, and send them.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if "MPLCONFIGDIR" not in os.environ and not _has_matplotlib_cache():
        # matplotlib stores its list of fonts there. It creates the folder only when it is imported.
        with suppress(OSError):  # there may be no folder for temporary files
            folder = str(Path(tempfile.gettempdir(), f"linewash-matplotlib-{os.getpid()}"))
            os.environ["MPLCONFIGDIR"] = folder
            atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _has_matplotlib_cache() -> bool:
    """True for a user of matplotlib, whose list of fonts is then used: a new one takes seconds."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(cache, "matplotlib").is_dir()
