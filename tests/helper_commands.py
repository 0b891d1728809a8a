"""The project's commands: as a process of their own, or as their `main` in this one, which starts at once.

One real process shows that a command starts, and kills and signals need one. All else that a command says and
leaves is the same in this process, without the seconds that Python, Beam or TensorFlow take to be imported.
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
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)

# What Python shows and hides by default; pytest collects all of it.
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def run_module(
    module: str, *words: object, timeout: int = 300, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m MODULE WORDS` to its end; `more` are arguments of `subprocess.run`."""
    return _run(["-m", module, *words], timeout, more)


def run_script(
    name: str, *words: object, timeout: int = 300, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Runs `python scripts/NAME WORDS` to its end; `more` are arguments of `subprocess.run`."""
    return _run([ROOT / "scripts" / name, *words], timeout, more)


def _run(words: list[object], timeout: int, more: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    settings = {"cwd": ROOT, "capture_output": True, "text": True, "check": False, **more}
    return subprocess.run(command, timeout=timeout, **settings)


def run_main(
    main: Callable[[], int | None], *words: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command's `main` in this process, with `words` in sys.argv, and returns what `run_module` would.

    What it changes of the process is changed back: standard streams (caught at their file descriptors, so
    that C++ and forked workers are heard too), environment, directory, signal handlers, logging, warnings.

    Args:
      main: returns the exit code, or raises SystemExit as argparse does.
      words: what is typed after the command's name.
      cwd: where it is typed.
      env: the whole environment; None: this process's.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        with _as_a_process(cwd, env), _caught("stdout", out), _caught("stderr", errors):
            sys.argv[:] = [inspect.getfile(main), *map(str, words)]
            code = _exit_code(main)
        said = [(file.seek(0), file.read().decode())[1] for file in (out, errors)]
    return subprocess.CompletedProcess(list(map(str, words)), code, *said)


def training_main() -> int:
    """`main` of `python -m training`, for `run_main`."""
    # The command sets this when it is imported, which happens once in this process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    from training.__main__ import main

    return main()


def _exit_code(main: Callable[[], int | None]) -> int:
    """What the interpreter would exit with."""
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
def _caught(name: str, file: IO[bytes]) -> Iterator[None]:
    """Sends a standard stream into `file`, whether Python, C++ or a child process writes to it."""
    ordinary: IO[str] = getattr(sys, name)
    number = {"stdout": 1, "stderr": 2}[name]
    ordinary.flush()
    kept = os.dup(number)
    os.dup2(file.fileno(), number)
    # Not closed: a handler of some logger may keep it, and then writes to whatever the stream is by then.
    errors = "backslashreplace" if name == "stderr" else "strict"
    stream = open(number, "w", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
    setattr(sys, name, stream)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            stream.flush()
        setattr(sys, name, ordinary)
        os.dup2(kept, number)
        os.close(kept)


@contextlib.contextmanager
def _as_a_process(cwd: Path, env: Mapping[str, str] | None) -> Iterator[None]:
    """What a command may change of its process is as in a new one, and afterwards as it was before."""
    root, environment = logging.getLogger(), dict(os.environ)
    handlers, level, disabled = root.handlers[:], root.level, logging.root.manager.disable
    heard = {number: signal.getsignal(number) for number in HEARD}
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
            for number, handler in heard.items():
                signal.signal(number, handler)
            sys.excepthook, threading.excepthook = hooks
            sys.argv[:] = argv


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    print(warnings.formatwarning(message, category, filename, lineno), end="", file=sys.stderr)
