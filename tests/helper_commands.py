"""Runs the project's commands, either in a new process or by calling their `main` in this one.

A new process is needed for kills and signals, and to test that a command starts. All other output and files
are the same in this process, which saves the seconds in which Python, Beam or TensorFlow are imported.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

# Warnings that Python hides by default. pytest collects all warnings.
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_module(
    module: str, *arguments: object, timeout: int = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE ARGUMENTS` to its end; `options` go to `subprocess.run`."""
    return _run(["-m", module, *arguments], timeout, options)


def run_script(
    name: str, *arguments: object, timeout: int = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `python scripts/NAME ARGUMENTS` to its end; `options` go to `subprocess.run`."""
    return _run([ROOT / "scripts" / name, *arguments], timeout, options)


def _run(arguments: list[object], timeout: int, options: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    settings = {"cwd": ROOT, "capture_output": True, "text": True, "check": False, **options}
    return subprocess.run(command, timeout=timeout, **settings)


def run_main(
    main: Callable[[], int | None], *arguments: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command's `main` in this process and returns the same as `run_module`.

    The state of the process is restored: standard streams (captured at their file descriptors, to include
    C++ and forked workers), environment, working directory, signal handlers, logging and warnings.

    Args:
      main: returns the exit code, or raises SystemExit as argparse does.
      arguments: the arguments of the command, for sys.argv.
      cwd: the working directory.
      env: the whole environment; None: that of this process.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with _isolated_process_state(cwd, env), _captured("stdout", out), _captured("stderr", errors):
            sys.argv[:] = [inspect.getfile(main), *map(str, arguments)]
            code = _exit_code(main)
        outputs = [(file.seek(0), file.read().decode())[1] for file in (out, errors)]
    return subprocess.CompletedProcess(list(map(str, arguments)), code, *outputs)


def training_main() -> int:
    """Calls `main` of `python -m training`, for `run_main`."""
    # training.command sets it when it is imported, which happens only once in this process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    from training.__main__ import main

    return main()


def _exit_code(main: Callable[[], int | None]) -> int:
    """Returns the exit code of the interpreter."""
    try:
        code: object = main()
    except SystemExit as e:
        code = e.code
    except Exception:
        traceback.print_exc()
        return 1
    if code is None or isinstance(code, int):
        return int(code or 0)
    print(code, file=sys.stderr)  # as sys.exit("a sentence") does
    return 1


@contextlib.contextmanager
def _captured(name: str, file: IO[bytes]) -> Iterator[None]:
    """Redirects a standard stream into `file`, also for C++ and child processes."""
    original: IO[str] = getattr(sys, name)
    number = {"stdout": 1, "stderr": 2}[name]
    original.flush()
    saved = os.dup(number)
    os.dup2(file.fileno(), number)
    # Not closed: the handler of a logger may keep it.
    errors = "backslashreplace" if name == "stderr" else "strict"
    stream = open(number, "w", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            stream.flush()
        setattr(sys, name, original)
        os.dup2(saved, number)
        os.close(saved)


@contextlib.contextmanager
def _isolated_process_state(cwd: Path, env: Mapping[str, str] | None) -> Iterator[None]:
    """Gives a command the state of a new process, and restores that of this process afterwards."""
    root, environment = logging.getLogger(), dict(os.environ)
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    signal_handlers = {number: signal.getsignal(number) for number in SIGNALS}
    hooks, argv = (sys.excepthook, threading.excepthook), sys.argv[:]
    with contextlib.chdir(cwd), warnings.catch_warnings():
        try:
            warnings.simplefilter("default")
            for category in HIDDEN:
                warnings.simplefilter("ignore", category)
            warnings.showwarning = _show_warning
            root.handlers[:] = []
            if env is not None:
                _set_environment(env)
            yield
        finally:
            _set_environment(environment)
            root.handlers[:] = handlers
            root.setLevel(level)
            logging.disable(disabled)
            for number, handler in signal_handlers.items():
                signal.signal(number, handler)
            sys.excepthook, threading.excepthook = hooks
            sys.argv[:] = argv


def _set_environment(environment: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)
