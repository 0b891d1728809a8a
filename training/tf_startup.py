"""Starts TensorFlow without the messages that it prints before its logging can be configured."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

# TensorFlow prints these lines at every start without a GPU. They report no problem.
HARMLESS_LINES = re.compile(
    r"^(WARNING: All log messages before absl|[IW]\d{4} |To enable the following|E\d{4} .*cuInit)"
)

# Loggers whose info messages Hydra's root logger would print.
NOISY_LOGGERS = ("absl", "matplotlib", "tensorflow")


def start_tensorflow(*, find_devices: bool = True) -> None:
    """Imports TensorFlow and lists its devices. Of its messages on stderr, only errors are shown.

    Args:
      find_devices: False for processes that train together: they must connect before each lists its devices.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    if "tensorflow" in sys.modules:
        return
    with show_status("starting TensorFlow"), show_only_errors():
        import tensorflow as tf

        if find_devices:
            tf.config.list_logical_devices()


@contextmanager
def show_status(text: str) -> Iterator[None]:
    """Shows a status line on the terminal while entered. Prints nothing if stderr is no terminal."""
    is_shown = is_terminal(sys.stderr)
    line = f"{text} ..."
    if is_shown:
        with suppress(OSError):
            print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if is_shown:
            with suppress(OSError):
                print(" " * len(line), end="\r", file=sys.stderr, flush=True)


def is_terminal(stream: TextIO) -> bool:
    """Returns whether the stream writes to a terminal; False if it is closed."""
    try:
        return stream.isatty()
    except ValueError:
        return False


@contextmanager
def show_only_errors() -> Iterator[None]:
    """Holds back stderr while entered, and then prints the lines that report errors."""
    with tempfile.TemporaryFile() as captured:
        try:
            with capture_stderr(captured):
                yield
        finally:
            captured.seek(0)
            _print_errors(captured.read().decode(errors="replace"))


@contextmanager
def capture_stderr(file: IO[bytes]) -> Iterator[None]:
    """Redirects stderr into `file` while entered, at the level of file descriptors: C++ writes to it too."""
    stderr = os.dup(2)
    sys.stderr.flush()
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)


def _print_errors(captured: str) -> None:
    for line in captured.splitlines():
        if line.strip() and not HARMLESS_LINES.match(line):
            print(line, file=sys.stderr)
