"""How commands end: exit codes, one-sentence errors, signals. Also the key=value arguments of some commands.

Imports the standard library only, so that a missing package can still be reported in a sentence.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import io
import json
import os
import re
import select
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from training.errors import LinewashError, UsageError, WorkError

# The settings of `parse_words` that are paths.
PATHS = ("run", "out", "data.root")


# How TensorFlow's errors of memory are told from its others.
OUT_OF_MEMORY = re.compile(r"\bOOM\b|out of memory|failed to allocate", re.IGNORECASE)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. Handled wherever Ctrl-C is; only the exit code differs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def answer(
    command: str,
    help_text: str,
    words: Sequence[str],
    work: Callable[[Sequence[str]], str],
    extra: str = "train",
) -> int:
    """Prints the help, or the text that `work` returns for `words`; returns the exit code of `exit_code`."""

    def say() -> int:
        print(help_text if {"--help", "-h"} & set(words) else work(words) + "\n", end="")
        return 0

    return exit_code(command, say, extra)


def exit_code(command: str, work: Callable[[], int], extra: str = "train") -> int:
    """Runs `work` as the body of a command and returns the exit code. An error becomes a sentence on stderr.

    Args:
      command: the name that begins each sentence.
      work: returns the exit code when nothing fails.
      extra: the extra of linewash that installs the packages this command needs.

    Returns:
      0 done, 1 the work failed, 2 wrong usage, 128 + N after signal N (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP).
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name, or a Δ, that it cannot encode ends no work
            stream.reconfigure(errors="backslashreplace")
    try:
        with termination_as_interrupt():
            code = work()
            try:
                _flush_stdout()
            except BrokenPipeError:
                if not code:
                    raise
                _drop_stdout()
            return code
    except KeyboardInterrupt as e:
        with suppress(OSError):  # after SIGHUP the terminal is gone
            _flush_stdout()
        return interrupted_code(e)
    except Exception as e:
        if isinstance(e, BrokenPipeError) and _stdout_has_no_reader():  # as with `| head`: it has read enough
            _drop_stdout()
            return 0
        try:
            _flush_stdout()
        except OSError as full:  # a full device: if the error names no file, it is this one
            e = full if isinstance(e, OSError) and not e.filename else e
        error = explain_error(e, extra)
        if error is None:
            raise
        return complain(command, error)


def explain_error(error: Exception, extra: str = "train") -> LinewashError | None:
    """The sentence for an error that is not a bug: of the file system, a missing package, text, or memory."""
    if isinstance(error, LinewashError):
        return error
    if isinstance(error, ImportError) and _is_third_party(error.name):
        if isinstance(error, ModuleNotFoundError):
            return UsageError(f"{error.name} is not installed: run {install_command(extra)}")
        # As OpenCV says of a missing system library.
        return WorkError(
            f"{error.name} is installed but cannot be imported ({error}): run {install_command(extra)}"
        )
    if isinstance(error, OSError):
        file = error.filename
        if isinstance(error, FileNotFoundError) and file is None and not _has_working_directory():
            return UsageError("the working directory no longer exists: change to another one with cd")
        file = (
            os.fsdecode(file)
            if isinstance(file, (str, bytes, os.PathLike))
            else "a file, or the standard output,"
        )
        return WorkError(f"{file} could not be read or written: {error.strerror or error}")
    if isinstance(error, UnicodeError):
        return WorkError(
            f"text could not be read or written as {getattr(error, 'encoding', 'UTF-8')}: {error}"
        )
    if isinstance(error, MemoryError):
        return WorkError(f"there is not enough memory{f': {error}' if str(error) else ''}")
    return _explain_tensorflow(error)


@contextmanager
def lowering(hint: str) -> Iterator[None]:
    """Has an error of memory, the host's or the device's, say `hint`: what to type to need less of it.

    Raises:
      WorkError: there was not enough memory.
    """
    try:
        yield
    except Exception as e:
        said = str(e).strip().split("\n")[0] or type(e).__name__
        errors = getattr(sys.modules.get("tensorflow"), "errors", None)
        is_memory = isinstance(e, MemoryError) or (
            errors is not None and isinstance(e, errors.OpError) and OUT_OF_MEMORY.search(said)
        )
        if not is_memory:
            raise
        raise WorkError(f"there is not enough memory ({said}): {hint}") from e


def complain(command: str, error: LinewashError) -> int:
    """Prints the sentence of an error on stderr and returns its exit code."""
    with suppress(OSError):  # stderr is closed or its device is full: the exit code still says it
        print(f"{command}: {error}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    return error.exit_code


def interrupt(signum: int) -> KeyboardInterrupt:
    """What the signal raises: Ctrl-C (SIGINT), SIGTERM or SIGHUP."""
    return KeyboardInterrupt() if signum == signal.SIGINT else Terminated(signum)


def interrupted_code(interrupt: KeyboardInterrupt) -> int:
    """128 + N for the signal N that raised `interrupt`."""
    return 128 + (interrupt.signum if isinstance(interrupt, Terminated) else signal.SIGINT)


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise `Terminated`: files are closed and removed as on Ctrl-C.

    A signal that is ignored stays ignored (nohup ignores SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in that one alone
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heard = {number: handler for number, handler in before.items() if handler is signal.SIG_DFL}
    for number in heard:
        signal.signal(number, _raise_terminated)
    try:
        yield
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)


def install_command(extra: str) -> str:
    """The shell command that installs linewash with `extra`, from where this linewash came from.

    linewash is on no package index, so that the command names a checkout or the file it was installed from.
    """
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f"{_python()} -m pip install --editable {shlex.quote(f'{root}[{extra}]')}"
    try:
        told = importlib.metadata.distribution("linewash").read_text("direct_url.json")
        url = json.loads(told or "{}").get("url", "")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        url = ""
    source = f"linewash[{extra}] @ {url}" if url else f"PATH_TO_LINEWASH[{extra}]"
    return f"{_python()} -m pip install {shlex.quote(source)}"


def _explain_tensorflow(error: Exception) -> LinewashError | None:
    """The sentence for what TensorFlow says of files, memory and devices; None if it may be a bug of ours."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    said = str(error.message).strip().split("\n")[0]
    if scheme := re.search(r"File system scheme '(\w*)' not implemented", said):
        return UsageError(
            f"TensorFlow cannot read {scheme[1]}:// ({said}): copy the dataset to a local folder or to gs://"
        )
    if isinstance(error, errors.ResourceExhaustedError) and "space" not in said:
        return WorkError(f"there is not enough memory: {said}")
    if isinstance(error, errors.InvalidArgumentError | errors.OutOfRangeError):
        return None
    return WorkError(f"TensorFlow failed ({type(error).__name__}): {said}")


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _python() -> str:
    """How the running interpreter is called: by its path when a plain `python` would be another one."""
    return shlex.quote(sys.executable or "python3")


def _is_third_party(name: str | None) -> bool:
    """False for modules of our own and of Python's: their absence is a bug or a broken Python."""
    top = (name or "").partition(".")[0]
    ours = {"training", "preprocess", "coloring", "serving", "storybook", "conf", "tfrecords_schema"}
    return bool(top) and top not in ours and top not in sys.stdlib_module_names


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):  # a second one must not interrupt the cleaning up
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)


def _open_closed_streams() -> None:
    """Opens /dev/null for each closed standard stream (`>&-`): a file of ours could take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _flush_stdout() -> None:
    """Writes what is buffered now: at interpreter exit a full device would be a traceback of Python's own."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        _drop_stdout()
        raise OSError(e.errno, e.strerror, "the standard output") from None


def _stdout_has_no_reader() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _drop_stdout() -> None:
    """Sends stdout to nowhere, so that nothing fails again when the interpreter flushes it at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def typed_path(text: str) -> str:
    """The path that a user typed, as `tfrecords_schema.user_path` reads it.

    Raises:
      UsageError: `~` has no meaning here.
    """
    from tfrecords_schema import user_path  # only here: it needs packages, whose absence is a sentence

    try:
        return user_path(text)
    except ValueError as e:
        raise UsageError(str(e)) from e


def parse_words(
    words: Sequence[str], keys: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The settings typed, and the first of its choices for each that was not.

    Args:
      words: as they were typed. keys: those that may be; `run`, among them, must be. choices: what some of
        them may be; any value will do for the others.

    Raises:
      UsageError: not key=value, an unknown key, a key typed twice or without a value, a value that is none
        of its choices, a batch_size that is no number from 1, or no run.
    """
    typed: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"cannot read {word}: type run=RUN_DIR, a directory made by python -m training")
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1, cutoff=0.5)
            hint = f": did you mean {near[0]}?" if near else ":"
            raise UsageError(f"there is no setting {key}{hint} --help lists them all")
        if not value:
            raise UsageError(f"{key} has no value: type {key}=VALUE")
        if key in typed:
            raise UsageError(f"{key} is given twice: {key}={typed[key]} and {word}")
        if value not in choices.get(key, (value,)):
            raise UsageError(f"{key} must be one of {', '.join(choices[key])}; got {value}")
        if key == "batch_size" and not (value.isascii() and value.isdecimal() and int(value[:9]) >= 1):
            raise UsageError(f"batch_size must be a whole number, at least 1; got {value}")
        typed[key] = typed_path(value) if key in PATHS else value
    if "run" not in typed:
        raise UsageError("run is missing: type run=RUN_DIR, a directory made by python -m training")
    return {key: options[0] for key, options in choices.items()} | typed
