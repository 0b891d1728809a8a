"""What is done to the words of the command line before Hydra reads them, and what is said of wrong ones.

Hydra reads every word with a grammar in which commas, brackets, `=`, spaces and letters beyond ASCII mean
something or nothing at all. A path may hold any of them, so paths are quoted before Hydra sees them.
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

# The settings that are paths. Of these a sweep can go over the first alone.
PATHS = ("data.root", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
# Hydra's own sweeps over several values, and its interpolations.
SWEEP = re.compile(r"(choice|shuffle|sort|range|glob|interval|tag)\(.*\)", re.S)
# What other trainers call some of the settings.
OTHER_NAMES = {
    "dataset": "data.root", "input": "data.root", "output": "hydra.run.dir", "out": "hydra.run.dir",
    "rundir": "hydra.run.dir", "minutes": "trainer.max_minutes", "steps": "trainer.steps_per_epoch",
}  # fmt: skip
# Flags of Hydra. Long ones may be shortened.
SHORT_FLAGS = ("-h", "-c", "-p", "-r", "-m", "-sc", "-cp", "-cn", "-cd", "-i")
LONG_FLAGS = (
    "--help", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
    "--shell-completion", "--config-path", "--config-name", "--config-dir", "--info",
)  # fmt: skip
PLACES = ("--config-path", "--config-name", "--config-dir", "-cp", "-cn", "-cd")


def quote_paths(words: Sequence[str]) -> list[str]:
    """The words with every path quoted for Hydra's grammar, and `~` expanded.

    A value that somebody has quoted for Hydra keeps its meaning, and so does an interpolation (`${…}`);
    except that the name of something that is there is taken as it stands. In a sweep (-m) commas separate
    several datasets, unless they are within quotes.

    Raises:
      UsageError: `~` in a path has no meaning here.
    """
    sweeps = any(
        word in ("-m", "hydra.mode=MULTIRUN") or (len(word) > 3 and "--multirun".startswith(word))
        for word in words
    )
    return [_quoted_word(word, sweeps) for word in words]


def check_words(words: Sequence[str]) -> None:
    """Refuses words that Hydra would answer with a page of its own flags, or not understand.

    Raises:
      UsageError: an unknown flag, or a word without `=`; the message has the word to type.
    """
    before = ""
    for word in words:
        key, equals, value = word.partition("=")
        if word.startswith("-") and word != "-":
            known = any(flag.startswith(key) for flag in LONG_FLAGS) if word.startswith("--") else False
            if not known and not (word[1] != "-" and word.startswith(SHORT_FLAGS)):
                near = nearest_setting(key.lstrip("-").replace("-", "_"))
                hint = did_you_mean(f"{near}={value if equals else 'VALUE'}" if near else None)
                raise UsageError(
                    f"there is no flag {key}{hint} settings are typed without dashes; see --help"
                )
        elif (
            not equals and not word.startswith("~") and before not in (*PLACES, "--cfg", "-c", "--info", "-i")
        ):
            raise UsageError(_explain_bare(word))
        before = word


def explain_unreadable(word: str) -> str:
    """The sentence for a word that Hydra's grammar refuses, with the line to type."""
    key, equals, value = word.partition("=")
    if not equals:
        return _explain_bare(word)
    example = shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
    return f"cannot read the override {word}: write group.key=value, as in {example}"


def nearest_setting(found: str) -> str | None:
    """The setting (group.key, never a group) that was most likely meant by the unknown key `found`."""
    settings = hydra_settings() if found.startswith("hydra.") else known_settings()
    last = _squashed(found.rpartition(".")[2])
    if last in OTHER_NAMES and not found.startswith("hydra."):
        return OTHER_NAMES[last]
    ends: dict[str, list[str]] = {}
    for setting in settings:
        end = setting.rpartition(".")[2]
        for form in {_squashed(end), _initials(end)}:
            ends.setdefault(form, []).append(setting)
    if last in ends:
        return max(ends[last], key=lambda setting: _alike(setting, found))
    likely = closest_match(last, ends, cutoff=0.7)
    whole = closest_match(found, settings, cutoff=0.65)
    if likely and not ("." in found and whole):
        return max(ends[likely], key=lambda setting: _alike(setting, found))
    return whole


def known_settings() -> list[str]:
    """All settings, group.key."""
    settings: dict[str, None] = {}
    for group, kind in get_type_hints(TrainConfig).items():
        for one in MODELS.values() if kind is ModelConfig else [kind]:
            settings |= dict.fromkeys(f"{group}.{field.name}" for field in dataclasses.fields(one))
    return list(settings)


def known_groups() -> list[str]:
    """All groups: what GROUP=OPTION can be typed for."""
    return [*get_type_hints(TrainConfig), "experiment"]


@functools.cache
def hydra_settings() -> list[str]:
    """The settings of Hydra itself, hydra.group.key."""
    return list(_flat("hydra", HydraConf))


def quoted(text: str) -> str:
    """`text` as one value of Hydra's grammar, between quotes."""
    return QuotedString(text, Quote.single).with_quotes()


def _quoted_word(word: str, sweeps: bool) -> str:
    key, _, value = word.partition("=")
    name = key.lstrip("+")
    if name not in PATHS or not value:
        return word
    if not (sweeps and name == "data.root"):
        if name == "data.root":
            _refuse_several(value)
        return f"{key}={_quoted_path(value)}"
    if SWEEP.fullmatch(value):
        return word
    return f"{key}={','.join(map(_quoted_path, _split(value)))}"


def _refuse_several(value: str) -> None:
    parts = value.split(",")
    if len(parts) > 1 and not os.path.lexists(value) and all(map(os.path.isdir, parts)):
        raise UsageError("data.root holds several values: add --multirun to train once with each of them")


def _quoted_path(typed: str) -> str:
    try:
        path = user_path(typed)
        if not os.path.lexists(path) and (inside := _unquoted(typed)) is not None:
            path = user_path(inside)
    except ValueError as e:
        raise UsageError(str(e)) from e
    if "${" in path and os.path.lexists(path):  # no interpolation, for OmegaConf
        path = re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", path)
    return quoted(f"./{path}" if path == "???" else path)  # ??? alone is a value that is missing


def _unquoted(typed: str) -> str | None:
    """What is between the quotes that were typed for Hydra; None where there are none."""
    if len(typed) < 2 or typed[0] != typed[-1] or typed[0] not in "'\"":
        return None
    return typed[1:-1].replace(f"\\{typed[0]}", typed[0])


def _split(value: str) -> list[str]:
    """The parts between commas; a comma within quotes is part of a name."""
    parts = re.findall(r"""((?:'[^']*'|"[^"]*"|[^,])*)(?:,|$)""", value)
    return [part.strip() for part in parts if part.strip()]


def _explain_bare(word: str) -> str:
    """The sentence for a word without `=`: often a folder whose setting was left out."""
    if os.path.isfile(os.path.join(word, "run.json")):  # noqa: PTH113, PTH118 - a word need not be a legal path
        return f"cannot read {word}: type {shlex.quote(f'run={word}')} to continue that run"
    if os.path.isdir(word):  # noqa: PTH112
        return f"cannot read {word}: type {shlex.quote(f'data.root={word}')} to train on that dataset"
    if near := nearest_setting(word.lstrip("+")):
        return f"cannot read the override {word}: write group.key=value, as in {near}=VALUE"
    return f"cannot read the override {word}: write group.key=value; --help lists all settings"


def _squashed(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _initials(name: str) -> str:
    """`lr` of learning_rate; of a single word the word itself."""
    parts = name.split("_")
    return "".join(part[0] for part in parts if part) if len(parts) > 1 else name


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _flat(name: str, kind: Any) -> Iterable[str]:
    if not dataclasses.is_dataclass(kind):
        if "Dict" not in str(kind) and kind is not Any:  # those are groups
            yield name
        return
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield from _flat(f"{name}.{field.name}", hints[field.name])
