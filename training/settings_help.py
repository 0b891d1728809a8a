"""The text of `python -m training --help`: the options of each group, and a sentence on each setting.

Sentences and allowed values come from `config`, options and values from conf/.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from training.config import MODELS, ModelConfig, Settings, TrainConfig, allowed_text

WIDTH = 80  # columns of the terminal
TEXT_COLUMN = 30  # where sentences begin
INTRODUCTION = """\
Trains a network that colours line drawings.

Usage: {command} data.root=DATASET [GROUP=OPTION ...] [KEY=VALUE ...]
       {command} data.root=DATASET init=RUN_DIR|FILE.keras|starter
                               (begins with the weights of that network)
       {command} run=RUN_DIR [KEY=VALUE ...]   (continues a run)

Each group of settings has options, which are files in conf/ and set all values
of the group. * marks the chosen option; the values below are those it sets.

Examples:
  {command} data.root=out/storybook
  {command} data.root=out/storybook experiment=storybook
  {command} data.root=out/storybook augment=hands trainer.epochs=5
  {command} -m data.root=out/storybook model=unet,resunet
  {command} run=runs/2026-07-01/12-00-00 trainer.epochs=40

Flags: -m trains once with each of several values; --cfg job prints all values,
--version the version, --hydra-help all flags.
"""


def help_text(
    command: str, conf_dir: Path, config: DictConfig, choices: Mapping[str, Any], models: Mapping[str, Any]
) -> str:
    """Returns the help: an introduction and a section for each group, at most `WIDTH` columns wide.

    Args:
      command: the name of the command, for usage and examples.
      conf_dir: the directory of the groups.
      config: the composed settings, whose values are shown.
      choices: the chosen option of each group.
      models: the settings of each network, by its name.
    """
    sections = [INTRODUCTION.format(command=command)]
    for group, kind in get_type_hints(TrainConfig).items():
        lines = [_title(group, kind), *_options(conf_dir / group, choices[group])]
        if kind is ModelConfig:
            for name, model in MODELS.items():
                values = config.model if name == choices[group] else models[name]
                lines += ["", f"  with model={name}:", *_settings(model, values)]
        else:
            lines += ["", *_settings(kind, config[group])]
        sections.append("\n".join(lines) + "\n")
    title = "experiment: settings of several groups at once"
    options = _options(conf_dir / "experiment", choices.get("experiment"))
    return "\n".join([*sections, "\n".join([title, *options])])


def _title(group: str, kind: type) -> str:
    """Returns the name of a group and the beginning of the docstring of its class."""
    sentence = re.split(r"[:.](?=\s|$)", inspect.getdoc(kind) or "")[0]
    return f"{group}: {sentence[0].lower()}{sentence[1:]}"


def _options(folder: Path, choice: Any) -> Iterator[str]:
    """Yields a line for each option of a group: its name, and the first comment of its file."""
    for path in sorted(folder.glob("*.yaml")):
        comments = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
        star = "*" if path.stem == choice else " "
        sentence = next(comment for comment in comments if not comment.startswith("@package"))
        yield _row(f"{star} {folder.name}={path.stem}", sentence)


def _settings(kind: type[Settings], values: DictConfig) -> Iterator[str]:
    """Yields a line for each setting of a group: its value, what it means, and the allowed values."""
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # every subclass is a dataclass
        is_required = OmegaConf.is_missing(values, field.name)
        value = field.metadata["placeholder"] if is_required else _as_typed(values[field.name])
        allowed = "required" if is_required else allowed_text(kind, field.name)
        sentence = f"{field.metadata['help']} ({allowed})" if allowed else field.metadata["help"]
        yield _row(f"  {kind.group}.{field.name}={value}", sentence)


def _row(left: str, sentence: str) -> str:
    indent = " " * TEXT_COLUMN
    text = textwrap.fill(
        sentence, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return f"{left:{TEXT_COLUMN}}{text[TEXT_COLUMN:]}" if len(left) < TEXT_COLUMN - 1 else f"{left}\n{text}"


def _as_typed(value: Any) -> str:
    """Returns a value as it is typed on the command line."""
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"))
