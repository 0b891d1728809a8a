"""Keeps libraries out of the home folder: a command writes what it was told to write, and nothing else.

Imports the standard library only. Each setting must stand before its library is imported, and is left alone
if the user has made it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def keep_libraries_out() -> None:
    """Sets what Keras, ONNX Runtime and matplotlib read from the environment."""
    # Keras makes ~/.keras and writes its defaults there. Below a file it can do neither, and goes on.
    os.environ.setdefault("KERAS_HOME", os.devnull)
    # ONNX Runtime keeps a device id and a database of events below ~/.cache, and sends them.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if "MPLCONFIGDIR" not in os.environ and not _has_matplotlib_cache():
        # matplotlib keeps the list of fonts, and makes this folder only when it is imported.
        with suppress(OSError):  # there may be no folder for temporary files
            folder = str(Path(tempfile.gettempdir(), f"linewash-matplotlib-{os.getpid()}"))
            os.environ["MPLCONFIGDIR"] = folder
            atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _has_matplotlib_cache() -> bool:
    """True for a user of matplotlib: its list of fonts, which takes seconds to make, is used then."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(cache, "matplotlib").is_dir()
