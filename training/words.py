"""Commands that are not Hydra's: what is typed after them, words of the form key=value, and how they end."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from training.errors import LinewashError, UsageError, WorkError

# What shells report for a process ended by Ctrl-C.
INTERRUPTED = 130


def answer(command: str, help_text: str, words: Sequence[str], work: Callable[[Sequence[str]], str]) -> int:
    """Prints the help, or what `work` makes of the words; a mistake is a sentence. Returns the exit code."""

    def say() -> int:
        _say(help_text if {"--help", "-h"} & set(words) else work(words) + "\n")
        return 0

    return exit_code(command, say)


def exit_code(command: str, work: Callable[[], int]) -> int:
    """What `work` gives, or if it fails what shells shall see; a mistake is a sentence."""
    try:
        return work()
    except OSError as e:
        return _complain(
            command, WorkError(f"{e.filename or 'a file'} could not be read or written: {e.strerror or e}")
        )
    except LinewashError as e:
        return _complain(command, e)
    except KeyboardInterrupt:
        return INTERRUPTED


def parse_words(
    words: Sequence[str], keys: Sequence[str], choices: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """The settings typed, and the first of its choices for each that was not.

    Args:
      words: as they were typed. keys: those that may be; `run`, among them, must be. choices: what some of
        them may be; any value will do for the others.

    Raises:
      UsageError: not key=value, an unknown key, a key typed twice or without a value, a value that is none
        of its choices, or no run.
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
        typed[key] = value
    if "run" not in typed:
        raise UsageError("run is missing: type run=RUN_DIR, a directory made by python -m training")
    return {key: options[0] for key, options in choices.items()} | typed


def _say(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # as with | head: whoever listened has heard enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(command: str, error: LinewashError) -> int:
    print(f"{command}: {error}", file=sys.stderr)
    return error.exit_code
