"""How `python -m preprocess` ends: exit codes, one-sentence errors, signals.

Imports the standard library only, so that a missing package can still be reported in a sentence.
`training/cli.py` does the same for the other half, which this half must not import.
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

COMMAND = "preprocess"
STOPPED = "stopped; finished shards stay, run the same command to go on"
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OURS = {"training", "preprocess", "coloring", "serving", "storybook", "conf", "tfrecords_schema"}
_EXTRAS = {"boto3": "aws", "botocore": "aws", "google": "gcp"}


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. Handled wherever Ctrl-C is; only the exit code differs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def exit_code(work: Callable[[], int]) -> int:
    """Runs `work` as the body of the command. An error becomes a sentence on stderr.

    Returns:
      0 done, 1 the work failed, 2 wrong usage, 128 + N after signal N (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP).
    """
    _open_closed_streams()
    try:
        with termination_as_interrupt():
            try:
                code = work()
            except SystemExit as e:  # argparse printed the help
                code = e.code if isinstance(e.code, int) else 0
            say("")
            return code
    except KeyboardInterrupt as e:
        complain(STOPPED)
        return 128 + (e.signum if isinstance(e, Terminated) else signal.SIGINT)
    except Exception as e:
        told = explain(e)
        if told is None:
            raise
        code, sentence = told
        complain(sentence)
        return code


def say(text: str) -> None:
    """Prints a text, which may be empty, and everything printed before, on stdout.

    Raises:
      OSError: stdout cannot be written, as on a full device. A reader that left (`| head`) is no error.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        if text:
            print(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as e:
        # What is still buffered would fail again, as a traceback of Python's own, when the interpreter exits.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(e, BrokenPipeError):
            raise OSError(e.errno, e.strerror, "the standard output") from None


def complain(sentence: str) -> None:
    """Prints a sentence on stderr."""
    with suppress(OSError):  # stderr is closed or its device is full: the exit code still says it
        print(
            f"{COMMAND}: {sentence}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True
        )


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit code and sentence for an error that is not a bug: a package, the file system, text, or memory."""
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
    if not package or package in _OURS or package in sys.stdlib_module_names:  # a bug, or a broken Python
        return None
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
    if error.errno is None:  # of our own making: its text says what it is about
        return str(error)
    return f"a file, or the standard output, could not be read or written: {error.strerror or error}"


def _explain_text(error: UnicodeError) -> str:
    if isinstance(error, UnicodeEncodeError):  # Python holds the bytes of such a file name as lone surrogates
        name = error.object[max(0, error.start - 200) : error.end + 200]
        return f"{name!a} is not UTF-8: give the file or folder another name"
    return f"text could not be read as {getattr(error, 'encoding', 'UTF-8')}: {error}"


def install_command(extras: str) -> str:
    """The shell command that installs linewash with `extras`, from where this linewash came from.

    linewash is on no package index, so that the command names a checkout or the file it was installed from.
    """
    root = Path(__file__).resolve().parent.parent
    pip = f"{shlex.quote(sys.executable or 'python3')} -m pip install"
    if (root / "pyproject.toml").is_file():
        return f"{pip} --editable {shlex.quote(f'{root}[{extras}]')}"
    try:
        told = importlib.metadata.distribution("linewash").read_text("direct_url.json")
        url = json.loads(told or "{}").get("url", "")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        url = ""
    source = f"linewash[{extras}] @ {url}" if url else f"PATH_TO_LINEWASH[{extras}]"
    return f"{pip} {shlex.quote(source)}"


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise `Terminated`: files are closed and removed as on Ctrl-C.

    A signal that is ignored stays ignored (nohup ignores SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in that one alone
        yield
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in heard:
        signal.signal(number, _raise_terminated)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    # A closed terminal sends both: the second must not interrupt the removal of temporary files.
    for each in _SIGNALS:
        if signal.getsignal(each) is _raise_terminated:
            signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


def _open_closed_streams() -> None:
    """Opens /dev/null for each standard stream that was closed (`>&-`).

    Otherwise a shard could be opened as file 1 or 2, and what a library prints would be written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
