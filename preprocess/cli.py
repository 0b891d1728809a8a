"""Runs the preprocess command: its name, exit codes, one-sentence errors and signals.

This module imports only the standard library, so that a missing package can be reported in a sentence.
`training/cli.py` does the same for the trainer; neither half imports the other.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

PROGRAM = "python -m preprocess"
STOPPED = "stopped; finished shards are kept, run the same command again to continue"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OWN_PACKAGES = {"conf", "linewash", "preprocess", "tfrecords_schema", "training"}
_EXTRAS = {
    "boto3": "aws",
    "botocore": "aws",
    "google": "gcp",
    "PIL": "onnx",
    "resvg_py": "preprocess,art",
    "scipy": "onnx",
    "skimage": "onnx",
}
_program = PROGRAM


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received. It is handled like Ctrl-C; only the exit code differs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def command_name() -> str:
    """Returns the name that the user started, for the usage line and at the beginning of messages."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name if name.startswith("linewash-") else _program


def run_command(work: Callable[[], int], program: str = PROGRAM, stopped: str = STOPPED) -> int:
    """Runs the body of the command. Prints an expected error as one sentence on stderr.

    Args:
      work: returns the exit code.
      program: the name of the command, unless it was started as linewash-....
      stopped: the sentence after a signal.

    Returns:
      0 on success, 1 if the work failed, 2 on wrong usage, 128 + N after signal N (130 Ctrl-C, 143 SIGTERM,
      129 SIGHUP).
    """
    global _program
    _program = program
    _open_closed_streams()
    try:
        with raise_on_termination():
            try:
                code = work()
            except SystemExit as e:  # raised by argparse after --help and --version
                code = e.code if isinstance(e.code, int) else 0
            print_text("")
            return code
    except KeyboardInterrupt as e:
        print_error(stopped)
        return 128 + (e.signum if isinstance(e, Terminated) else signal.SIGINT)
    except Exception as e:
        explanation = explain_error(e)
        if explanation is None:
            raise
        code, sentence = explanation
        print_error(sentence)
        return code


def print_text(text: str) -> None:
    """Prints `text`, if it is not empty, and flushes stdout.

    Raises:
      OSError: stdout cannot be written, for example because the device is full. A closed pipe (`| head`) is
        not an error.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        if text:
            print(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as e:
        # At its exit the interpreter flushes the buffer again, and would print a traceback.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(e, BrokenPipeError):
            raise OSError(e.errno, e.strerror, "the standard output") from None


def print_error(sentence: str) -> None:
    """Prints the name of the command and a sentence on stderr."""
    line = f"{command_name()}: {sentence}".encode("utf-8", "backslashreplace").decode()
    with suppress(OSError):  # stderr is closed or its device is full; the exit code still reports the failure
        print(line, file=sys.stderr, flush=True)


def explain_error(error: Exception) -> tuple[int, str] | None:
    """Returns the exit code and the sentence for an error that is not a bug, or None.

    Such errors are missing packages, errors of the file system, text in an unknown encoding, and a lack of
    memory.
    """
    if isinstance(error, ImportError):
        return _explain_import(error)
    if isinstance(error, OSError):
        return 1, _explain_os_error(error)
    if isinstance(error, UnicodeError):
        return 1, _explain_text(error)
    if isinstance(error, MemoryError):
        return 1, f"there is not enough memory{f': {error}' if str(error) else ''}"
    return None


def _explain_import(error: ImportError) -> tuple[int, str] | None:
    package = (error.name or "").partition(".")[0]
    if not package or package in _OWN_PACKAGES or package in sys.stdlib_module_names:
        return None  # a bug, or an incomplete installation of Python
    install = install_command(_EXTRAS.get(package, "preprocess"))
    if isinstance(error, ModuleNotFoundError):
        return 2, f"{error.name} is not installed: run {install}"
    return 1, f"{package} is installed but cannot be imported ({error}): run {install}"


def _explain_os_error(error: OSError) -> str:
    if error.filename is not None:
        name = os.fsdecode(error.filename) if not isinstance(error.filename, int) else "a file"
        return f"{name} could not be read or written: {error.strerror or error}"
    try:
        Path.cwd()
    except FileNotFoundError:
        return "the working directory was removed: change to another one (cd), and run the command again"
    if error.errno is None:  # raised by linewash, with a complete message
        return str(error)
    return f"a file, or the standard output, could not be read or written: {error.strerror or error}"


def _explain_text(error: UnicodeError) -> str:
    if isinstance(error, UnicodeEncodeError):  # Python represents bytes that are not UTF-8 as surrogates
        name = error.object[max(0, error.start - 200) : error.end + 200]
        return f"{name!a} is not UTF-8: give the file or folder another name"
    return f"text could not be read as {getattr(error, 'encoding', 'UTF-8')}: {error}"


def install_command(extras: str) -> str:
    """Returns the shell command that installs linewash with `extras`, from the source of this installation.

    linewash is not on a package index, so the command names the checkout or the file it was installed from.
    """
    root = Path(__file__).resolve().parent.parent
    pip = f"{shlex.quote(sys.executable or 'python3')} -m pip install"
    if (root / "pyproject.toml").is_file():
        return f"{pip} --editable {shlex.quote(f'{root}[{extras}]')}"
    try:
        direct_url = importlib.metadata.distribution("linewash").read_text("direct_url.json")
        url = json.loads(direct_url or "{}").get("url", "")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        url = ""
    source = f"linewash[{extras}] @ {url}" if url else f"PATH_TO_LINEWASH[{extras}]"
    return f"{pip} {shlex.quote(source)}"


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise `Terminated` inside the block, so that files are removed as on Ctrl-C.

    A signal that is ignored stays ignored (nohup ignores SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():  # only that one may set signal handlers
        yield
        return
    handled = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in handled:
        signal.signal(number, _raise_terminated)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    # A closed terminal sends both signals. The second one must not interrupt the removal of temporary files.
    for other in _SIGNALS:
        if signal.getsignal(other) is _raise_terminated:
            signal.signal(other, signal.SIG_IGN)
    raise Terminated(number)


def _restore_signals_in_fork() -> None:
    """Gives forked processes the default actions of the signals that this module handles.

    A `multiprocessing.Pool` ends its workers with SIGTERM. A handler in Python runs only when the interpreter
    resumes, so a worker that waits for a lock would never end, and the pool would wait for it.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is _raise_terminated:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_restore_signals_in_fork)


def _open_closed_streams() -> None:
    """Opens /dev/null for each standard stream that is closed (`>&-`).

    Otherwise a shard could get file descriptor 1 or 2, and the output of a library would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
