"""Checks the arguments of the command line and quotes its paths before Hydra parses them.

In Hydra's grammar, commas, brackets, `=`, spaces and non-ASCII letters have a meaning or are errors. A path
may contain any of them, so paths are quoted first.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Quote, QuotedString

from tfrecords_schema import user_path
from training.cli import closest_match, did_you_mean
from training.config import MODELS, ModelConfig, TrainConfig
from training.errors import UsageError

# The settings that are paths. A sweep can go over several values of the first only.
PATH_KEYS = ("data.root", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
# Hydra's functions for several values.
SWEEP = re.compile(r"(choice|shuffle|sort|range|glob|interval|tag)\(.*\)", re.S)
# Names that other trainers use for some of the settings.
OTHER_NAMES = {
    "dataset": "data.root", "input": "data.root", "output": "hydra.run.dir", "out": "hydra.run.dir",
    "rundir": "hydra.run.dir", "minutes": "trainer.max_minutes", "steps": "trainer.steps_per_epoch",
}  # fmt: skip
# Hydra's flags. Long ones may be abbreviated.
SHORT_FLAGS = ("-h", "-c", "-p", "-r", "-m", "-sc", "-cp", "-cn", "-cd", "-i")
LONG_FLAGS = (
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
    "--shell-completion", "--config-path", "--config-name", "--config-dir", "--info",
)  # fmt: skip
FLAGS_WITH_VALUES = (
    "--config-path", "--config-name", "--config-dir", "-cp", "-cn", "-cd", "--cfg", "-c", "--info", "-i",
)  # fmt: skip


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with every path quoted for Hydra's grammar, and `~` expanded.

    A value that is quoted for Hydra already keeps its meaning, and so does an interpolation (`${…}`), unless
    a file of exactly this name exists. In a sweep (-m), commas outside of quotes separate several datasets.

    Raises:
      UsageError: `~` cannot be expanded.
    """
    is_sweep = any(
        argument in ("-m", "hydra.mode=MULTIRUN") or (len(argument) > 3 and "--multirun".startswith(argument))
        for argument in arguments
    )
    return [_quote_argument(argument, is_sweep) for argument in arguments]


def check_arguments(arguments: Sequence[str]) -> None:
    """Checks flags and the form key=value; for wrong ones Hydra would print a page about its own flags.

    Raises:
      UsageError: an unknown flag, or an argument without `=`. The message says what to type.
    """
    previous = ""
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("-") and argument != "-":
            is_long = argument.startswith("--")
            is_known = any(flag.startswith(key) for flag in LONG_FLAGS) if is_long else False
            if not is_known and not (argument[1] != "-" and argument.startswith(SHORT_FLAGS)):
                setting = nearest_setting(key.lstrip("-").replace("-", "_"))
                hint = did_you_mean(f"{setting}={value if equals else 'VALUE'}" if setting else None)
                raise UsageError(
                    f"there is no flag {key}{hint} settings are typed without dashes; see --help"
                )
        elif not equals and not argument.startswith("~") and previous not in FLAGS_WITH_VALUES:
            raise UsageError(_explain_bare_word(argument))
        previous = argument


def explain_unreadable(argument: str) -> str:
    """Returns the sentence about an argument that Hydra cannot parse, with an example to type."""
    key, equals, value = argument.partition("=")
    if not equals:
        return _explain_bare_word(argument)
    example = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"cannot read the override {argument}: write group.key=value, as in {example}"


def nearest_setting(key: str) -> str | None:
    """Returns the setting (group.key) that was most likely meant by an unknown key, or None.

    It knows abbreviations (`lr`), missing or wrong groups (`epochs`), and the names in `OTHER_NAMES`.
    """
    settings = hydra_settings() if key.startswith("hydra.") else known_settings()
    last = _normalized(key.rpartition(".")[2])
    if last in OTHER_NAMES and not key.startswith("hydra."):
        return OTHER_NAMES[last]
    ends: dict[str, list[str]] = {}
    for setting in settings:
        end = setting.rpartition(".")[2]
        for form in {_normalized(end), _initials(end)}:
            ends.setdefault(form, []).append(setting)
    if last in ends:
        return max(ends[last], key=lambda setting: _similarity(setting, key))
    similar_end = closest_match(last, ends, cutoff=0.7)
    similar_key = closest_match(key, settings, cutoff=0.65)
    if similar_end and not ("." in key and similar_key):
        return max(ends[similar_end], key=lambda setting: _similarity(setting, key))
    return similar_key


def known_settings() -> list[str]:
    """Returns all settings of the trainer, as group.key."""
    settings: dict[str, None] = {}
    for group, kind in get_type_hints(TrainConfig).items():
        for config in MODELS.values() if kind is ModelConfig else [kind]:
            settings |= dict.fromkeys(f"{group}.{field.name}" for field in dataclasses.fields(config))
    return list(settings)


def known_groups() -> list[str]:
    """Returns the names of all groups, for GROUP=OPTION."""
    return [*get_type_hints(TrainConfig), "experiment"]


@functools.cache
def hydra_settings() -> list[str]:
    """Returns the settings of Hydra itself, as hydra.group.key."""
    return list(_flat_keys("hydra", HydraConf))


def quoted(text: str) -> str:
    """Returns `text` in quotes, as one value of Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def _quote_argument(argument: str, is_sweep: bool) -> str:
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    if name not in PATH_KEYS or not value:
        return argument
    if not (is_sweep and name == "data.root"):
        if name == "data.root":
            _refuse_several_datasets(value)
        return f"{key}={_quote_path(value)}"
    if SWEEP.fullmatch(value):
        return argument
    return f"{key}={','.join(map(_quote_path, _split_at_commas(value)))}"


def _refuse_several_datasets(value: str) -> None:
    parts = value.split(",")
    if len(parts) > 1 and not os.path.lexists(value) and all(map(os.path.isdir, parts)):
        raise UsageError("data.root holds several values: add --multirun to train once with each of them")


def _quote_path(text: str) -> str:
    try:
        path = user_path(text)
        if not os.path.lexists(path) and (inside := _unquote(text)) is not None:
            path = user_path(inside)
    except ValueError as e:
        raise UsageError(str(e)) from e
    if "${" in path and os.path.lexists(path):  # escaped, so that OmegaConf sees no interpolation
        path = re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", path)
    return quoted(f"./{path}" if path == "???" else path)  # ??? alone means a missing value


def _unquote(text: str) -> str | None:
    """Returns the text between Hydra's quotes, or None if there are none."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        return None
    return text[1:-1].replace(f"\\{text[0]}", text[0])


def _split_at_commas(value: str) -> list[str]:
    """Splits at commas outside of quotes."""
    parts = re.findall(r"""((?:'[^']*'|"[^"]*"|[^,])*)(?:,|$)""", value)
    return [part.strip() for part in parts if part.strip()]


def _explain_bare_word(word: str) -> str:
    """Returns the sentence about an argument without `=`, often a folder without the name of its setting."""
    if os.path.isfile(os.path.join(word, "run.json")):  # noqa: PTH113, PTH118 - may be no valid path
        return f"cannot read {word}: type {shlex.quote(f'run={word}')} to continue that run"
    if os.path.isdir(word):  # noqa: PTH112
        return f"cannot read {word}: type {shlex.quote(f'data.root={word}')} to train on that dataset"
    if setting := nearest_setting(word.lstrip("+")):
        return f"cannot read the override {word}: write group.key=value, as in {setting}=VALUE"
    return f"cannot read the override {word}: write group.key=value; --help lists all settings"


def _normalized(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _initials(name: str) -> str:
    """Returns the initials, as `lr` of learning_rate; a single word is returned whole."""
    parts = name.split("_")
    return "".join(part[0] for part in parts if part) if len(parts) > 1 else name


def _similarity(first: str, second: str) -> float:
    return difflib.SequenceMatcher(None, first, second).ratio()


def _flat_keys(name: str, kind: Any) -> Iterable[str]:
    if not dataclasses.is_dataclass(kind):
        if "Dict" not in str(kind) and kind is not Any:  # a group
            yield name
        return
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield from _flat_keys(f"{name}.{field.name}", hints[field.name])
