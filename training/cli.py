"""Endings of the commands of training and scripts: exit codes, one-sentence errors, signals, "did you mean".

Imports only the standard library, so that a missing package is still reported in one sentence.
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from training.errors import LinewashError, UsageError, WorkError

# The keys of `parse_key_values` whose values are paths.
PATH_KEYS = ("run", "out", "data.root")
# The name of the trainer, unless it was started as linewash-train.
TRAINER = "python -m training"
# Distinguishes TensorFlow's out-of-memory errors from its other errors.
OUT_OF_MEMORY = re.compile(r"\bOOM\b|out of memory|failed to allocate", re.IGNORECASE)
OWN_PACKAGES = {"training", "preprocess", "linewash", "conf", "tfrecords_schema"}


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived. Code that handles Ctrl-C handles it too; only the exit code differs."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


# ------------------------------------------------------------------------------------------------- endings


def run_command(command: str, work: Callable[[], int], extra: str = "train") -> int:
    """Runs `work` as the body of a command and returns the exit code. Errors become one sentence on stderr.

    Args:
      command: the name at the beginning of each error sentence.
      work: returns the exit code of a run without errors. It imports what the command needs, so that missing
        packages are reported.
      extra: the extra of linewash that installs the packages of this command.

    Returns:
      0 done, 1 the work failed, 2 wrong usage, 128 + N after signal N (130 Ctrl-C, 143 SIGTERM, 129 SIGHUP).
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escape characters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        with raise_on_termination():
            try:
                code = work()
            except SystemExit as e:  # argparse has printed the help or the version
                code = e.code if isinstance(e.code, int) else 0
            try:
                _flush_stdout()
            except BrokenPipeError:
                if not code:
                    raise
                _redirect_stdout_to_devnull()
            return code
    except KeyboardInterrupt as e:
        with suppress(OSError):  # after SIGHUP the terminal no longer exists
            _flush_stdout()
        return signal_exit_code(e)
    except Exception as e:
        if isinstance(e, BrokenPipeError) and _stdout_has_no_reader():  # for example `| head`
            _redirect_stdout_to_devnull()
            return 0
        try:
            _flush_stdout()
        except OSError as full:  # an OSError without a file name comes from the full device as well
            e = full if isinstance(e, OSError) and not e.filename else e
        error = explain_error(e, extra)
        if error is None:
            raise
        return report_error(command, error)


def run_text_command(
    command: str,
    help_text: str,
    argv: Sequence[str],
    work: Callable[[Sequence[str]], str],
    extra: str = "train",
) -> int:
    """Runs a command whose `work` returns the text to print; answers --help and --version itself.

    Returns:
      The exit code of `run_command`.
    """

    def print_text() -> int:
        if {"--help", "-h"} & set(argv):
            print(help_text, end="")
        elif "--version" in argv:
            print(version_line(command))
        else:
            print(work(argv))
        return 0

    return run_command(command, print_text, extra)


def command_name(default: str) -> str:
    """Returns the name by which this process was started: an installed linewash-... command, or `default`."""
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name if name.startswith("linewash-") else default


def version_line(command: str) -> str:
    """The answer to --version: the command and the version of linewash."""
    from tfrecords_schema import __version__  # imported here: a missing package must be reported

    return f"{command} {__version__}"


def report_error(command: str, error: LinewashError) -> int:
    """Prints the sentence of an error on stderr and returns its exit code."""
    with suppress(OSError):  # stderr is closed or its device is full; the exit code still reports the error
        print(f"{command}: {error}".encode("utf-8", "backslashreplace").decode(), file=sys.stderr, flush=True)
    return error.exit_code


def explain_error(error: Exception, extra: str = "train") -> LinewashError | None:
    """Returns the sentence for an error that is no bug: files, missing packages, encodings, memory.

    Args:
      error: any exception.
      extra: the extra of linewash that installs the packages of this command.

    Returns:
      None if the error may be a bug of linewash.
    """
    if isinstance(error, LinewashError):
        return error
    if isinstance(error, ImportError) and _is_third_party(error.name):
        if isinstance(error, ModuleNotFoundError):
            return UsageError(f"{error.name} is not installed: run {install_command(extra)}")
        # For example OpenCV without a system library.
        return WorkError(
            f"{error.name} is installed but cannot be imported ({error}): run {install_command(extra)}"
        )
    if isinstance(error, OSError):
        return _explain_os_error(error)
    if isinstance(error, UnicodeError):
        return WorkError(
            f"text could not be read or written as {getattr(error, 'encoding', 'UTF-8')}: {error}"
        )
    if isinstance(error, MemoryError):
        return WorkError(f"there is not enough memory{f': {error}' if str(error) else ''}")
    return _explain_tensorflow_error(error)


@contextmanager
def explain_out_of_memory(advice: str) -> Iterator[None]:
    """Turns an out-of-memory error of the host or the device into a sentence that ends with `advice`.

    Raises:
      WorkError: there was not enough memory.
    """
    try:
        yield
    except Exception as e:
        reason = _first_line(e) or type(e).__name__
        errors = getattr(sys.modules.get("tensorflow"), "errors", None)
        is_memory = isinstance(e, MemoryError) or (
            errors is not None and isinstance(e, errors.OpError) and OUT_OF_MEMORY.search(reason)
        )
        if not is_memory:
            raise
        raise WorkError(f"there is not enough memory ({reason}): {advice}") from e


def install_command(extra: str) -> str:
    """Returns the shell command that installs linewash with `extra` from where this linewash came from.

    linewash is on no package index, so the command names a checkout or the file that was installed.
    """
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():
        return f"{_python()} -m pip install --editable {shlex.quote(f'{root}[{extra}]')}"
    try:
        direct_url = importlib.metadata.distribution("linewash").read_text("direct_url.json")
        url = json.loads(direct_url or "{}").get("url", "")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        url = ""
    source = f"linewash[{extra}] @ {url}" if url else f"PATH_TO_LINEWASH[{extra}]"
    return f"{_python()} -m pip install {shlex.quote(source)}"


# ------------------------------------------------------------------------------------------------- signals


@contextmanager
def raise_on_termination() -> Iterator[None]:
    """While entered, SIGTERM and SIGHUP raise `Terminated`, so that files are cleaned up as on Ctrl-C.

    An ignored signal stays ignored (nohup ignores SIGHUP).
    """
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only there
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGHUP)}
    default = {signum: handler for signum, handler in before.items() if handler is signal.SIG_DFL}
    for signum in default:
        signal.signal(signum, _raise_terminated)
    try:
        yield
    finally:
        for signum, handler in default.items():
            signal.signal(signum, handler)


def signal_exception(signum: int) -> KeyboardInterrupt:
    """Returns the exception for a signal: KeyboardInterrupt for SIGINT, `Terminated` for the others."""
    return KeyboardInterrupt() if signum == signal.SIGINT else Terminated(signum)


def signal_exit_code(interrupt: KeyboardInterrupt) -> int:
    """Returns 128 + N for the signal N that raised `interrupt`."""
    return 128 + (interrupt.signum if isinstance(interrupt, Terminated) else signal.SIGINT)


# ----------------------------------------------------------------------------------------------- arguments


def closest_match(name: str, options: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Returns the option that is most similar to `name`, or None if none reaches the similarity `cutoff`."""
    return next(iter(difflib.get_close_matches(name, list(options), n=1, cutoff=cutoff)), None)


def did_you_mean(suggestion: str | None) -> str:
    """Returns what follows an unknown name in a message: `: did you mean X?`, or `:` without suggestion."""
    return f": did you mean {suggestion}?" if suggestion else ":"


def parse_path(text: str) -> str:
    """Returns a path of the command line with `~` expanded, as `tfrecords_schema.user_path` does.

    Raises:
      UsageError: `~` cannot be expanded.
    """
    from tfrecords_schema import user_path  # imported here: a missing package must be reported

    try:
        return user_path(text)
    except ValueError as e:
        raise UsageError(str(e)) from e


def parse_key_values(
    argv: Sequence[str], keys: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Parses arguments of the form key=value.

    Args:
      argv: the arguments.
      keys: the allowed keys. The key `run` is required, `batch_size` takes an integer of at least 1, and
        those in `PATH_KEYS` take paths.
      choices: the allowed values of some keys, the default first.

    Returns:
      The given values by key, and the defaults of `choices`.

    Raises:
      UsageError: an argument is not key=value, a key is unknown, repeated or without a value, a value is not
        allowed, or `run` is missing.
    """
    values: dict[str, str] = {}
    for argument in argv:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(
                f"cannot read {argument}: type run=RUN_DIR, a directory made by python -m training"
            )
        if key not in keys:
            hint = did_you_mean(closest_match(key, keys, cutoff=0.5))
            raise UsageError(f"there is no setting {key}{hint} --help lists them all")
        if not value:
            raise UsageError(f"{key} has no value: type {key}=VALUE")
        if key in values:
            raise UsageError(f"{key} is given twice: {key}={values[key]} and {argument}")
        if value not in choices.get(key, (value,)):
            raise UsageError(f"{key} must be one of {', '.join(choices[key])}; got {value}")
        if key == "batch_size" and not (value.isascii() and value.isdecimal() and int(value[:9]) >= 1):
            raise UsageError(f"batch_size must be a whole number, at least 1; got {value}")
        values[key] = parse_path(value) if key in PATH_KEYS else value
    if "run" not in values:
        raise UsageError("run is missing: type run=RUN_DIR, a directory made by python -m training")
    return {key: options[0] for key, options in choices.items()} | values


# ------------------------------------------------------------------------------------------------ internals


def _explain_os_error(error: OSError) -> LinewashError:
    file = error.filename
    if isinstance(error, FileNotFoundError) and file is None and not _has_working_directory():
        return UsageError("the working directory no longer exists: change to another one with cd")
    name = (
        os.fsdecode(file)
        if isinstance(file, (str, bytes, os.PathLike))
        else "a file, or the standard output,"
    )
    return WorkError(f"{name} could not be read or written: {error.strerror or error}")


def _explain_tensorflow_error(error: Exception) -> LinewashError | None:
    """Returns the sentence for TensorFlow's errors of files, memory and devices; None for possible bugs."""
    errors = getattr(sys.modules.get("tensorflow"), "errors", None)
    if errors is None or not isinstance(error, errors.OpError):
        return None
    reason = str(error.message).strip().split("\n")[0]
    if scheme := re.search(r"File system scheme '(\w*)' not implemented", reason):
        return UsageError(
            f"TensorFlow cannot read {scheme[1]}:// ({reason}): copy the dataset to a local folder or to gs://"
        )
    if isinstance(error, errors.ResourceExhaustedError) and "space" not in reason:
        return WorkError(f"there is not enough memory: {reason}")
    if isinstance(error, errors.InvalidArgumentError | errors.OutOfRangeError):
        return None
    return WorkError(f"TensorFlow failed ({type(error).__name__}): {reason}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _has_working_directory() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _python() -> str:
    """Returns the path of the running interpreter: a plain `python` may be another one."""
    return shlex.quote(sys.executable or "python3")


def _is_third_party(name: str | None) -> bool:
    """Returns False for modules of linewash and of Python: a missing one is a bug or a broken Python."""
    package = (name or "").partition(".")[0]
    return bool(package) and package not in OWN_PACKAGES and package not in sys.stdlib_module_names


def _raise_terminated(signum: int, frame: FrameType | None) -> None:
    for termination in (signal.SIGTERM, signal.SIGHUP):  # a second signal must not interrupt the cleanup
        signal.signal(termination, signal.SIG_IGN)
    raise Terminated(signum)


def _restore_signals_in_fork() -> None:
    """Gives forked processes the default actions of the signals that this module handles.

    A `multiprocessing.Pool` ends its workers with SIGTERM. A handler in Python runs only when the interpreter
    resumes, so a worker that waits for a lock would never end, and the pool would wait for it.
    """
    for termination in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(termination) is _raise_terminated:
            signal.signal(termination, signal.SIG_DFL)


os.register_at_fork(after_in_child=_restore_signals_in_fork)


def _open_closed_streams() -> None:
    """Opens /dev/null for each closed standard stream (`>&-`): otherwise a file could take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _flush_stdout() -> None:
    """Flushes stdout. At interpreter exit, a full device would cause a traceback of Python itself."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as e:
        _redirect_stdout_to_devnull()
        raise OSError(e.errno, e.strerror, "the standard output") from None


def _stdout_has_no_reader() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _redirect_stdout_to_devnull() -> None:
    """Discards what stdout still buffers, so that the flush at interpreter exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
