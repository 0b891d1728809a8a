"""What is typed after a command that is not Hydra's: words of the form key=value."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from training.errors import UsageError


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
