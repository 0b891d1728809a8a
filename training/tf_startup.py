"""Starts TensorFlow without the paragraph it prints before its logging can be configured."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TextIO

# Said at every start on a machine without a GPU; nothing is wrong then.
HARMLESS = re.compile(
    r"^(WARNING: All log messages before absl|[IW]\d{4} |To enable the following|E\d{4} .*cuInit)"
)

# Loggers that tell of their daily work; Hydra has the root logger print it.
TALKATIVE = ("absl", "matplotlib", "tensorflow")


def start_tensorflow(*, find_devices: bool = True) -> None:
    """Imports TensorFlow and finds its devices; what it prints meanwhile is shown only if it is an error.

    Several processes that train together must meet before each looks for its devices: not `find_devices`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    if "tensorflow" in sys.modules:
        return
    with announced("starting TensorFlow"), show_only_errors():
        import tensorflow as tf

        if find_devices:
            tf.config.list_logical_devices()


@contextmanager
def announced(what: str) -> Iterator[None]:
    """Shows what is being done on the terminal while it is, and erases it then; elsewhere nothing."""
    shown = is_terminal(sys.stderr)
    line = f"{what} ..."
    if shown:
        with suppress(OSError):
            print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            with suppress(OSError):
                print(" " * len(line), end="\r", file=sys.stderr, flush=True)


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody may look on while it is written."""
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


@contextmanager
def show_only_errors() -> Iterator[None]:
    """What is said on stderr meanwhile is shown afterwards, and only if it is an error."""
    with tempfile.TemporaryFile() as noise:
        try:
            with capture_stderr(noise):
                yield
        finally:
            noise.seek(0)
            _show_errors(noise.read().decode(errors="replace"))


@contextmanager
def capture_stderr(noise: IO[bytes]) -> Iterator[None]:
    """What is said on stderr meanwhile goes into a file."""
    stderr = os.dup(2)
    sys.stderr.flush()
    # At the level of file descriptors, since it is C++ that speaks.
    os.dup2(noise.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)


def _show_errors(noise: str) -> None:
    for line in noise.splitlines():
        if line.strip() and not HARMLESS.match(line):
            print(line, file=sys.stderr)
