"""Composes conf/ and the overrides of the command line to a `TrainConfig`, and explains Hydra's errors.

Hydra checks types against the schemas that are registered here. They are copies of the dataclasses of
`config` that are not frozen, because OmegaConf does not override frozen ones.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import YAMLError

from tfrecords_schema import __version__, user_path
from training.cli import closest_match, command_name, did_you_mean
from training.config import MODELS, ModelConfig, TrainConfig
from training.errors import LinewashError, UsageError
from training.line_styles import DRAWN
from training.overrides import (
    explain_unreadable,
    known_groups,
    known_settings,
    nearest_setting,
    quote_paths,
)
from training.run.run_info import MAY_CHANGE, RUN_NAME, RunInfo
from training.settings_help import help_text

# conf/ lies beside the package, both in a checkout and in site-packages.
CONF_DIR = Path(__file__).resolve().parent.parent / "conf"
CONFIG_NAME = "train"
# The default option for datasets that have the line style drawn.
AUGMENT_OF_DRAWINGS = "augment=hands"


def register_schemas() -> None:
    """Registers the types of all settings, and the resolvers of conf/train.yaml, with Hydra.

    Calling it again has no effect.
    """
    OmegaConf.register_new_resolver("command_name", command_name, replace=True)
    OmegaConf.register_new_resolver("help_text", _help_template, replace=True)
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=_unfrozen(TrainConfig))
    for name, config in MODELS.items():
        store.store(group="schema/model", name=name, node=_unfrozen(config))  # type: ignore[arg-type]  # a type can be hashed


def compose(overrides: list[str], styles: Sequence[str] = ()) -> TrainConfig:
    """Composes conf/train.yaml with `overrides`, as the command line does. For tests and notebooks.

    Args:
      overrides: as they are typed.
      styles: the line styles of the dataset, which decide about the default of `augment`.

    Raises:
      UsageError: an override is refused by Hydra or by the checks of the settings.
    """
    register_schemas()
    quoted = quote_paths(overrides)
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            composed = hydra_compose(CONFIG_NAME, quoted, return_hydra_config=True)
            if DRAWN in styles and has_default_augment(composed.hydra.runtime.choices, quoted):
                return compose_in_hydra([*quoted, AUGMENT_OF_DRAWINGS])
            del composed.hydra
            return to_config(composed)
    except (HydraException, OmegaConfBaseException) as e:
        raise explain(e) from e


def compose_in_hydra(overrides: list[str]) -> TrainConfig:
    """Composes the settings while Hydra is running, as in a job of the command."""
    return to_config(hydra_compose(CONFIG_NAME, overrides))


def has_default_augment(choices: Mapping[str, Any], overrides: Sequence[str]) -> bool:
    """Returns whether neither `overrides` nor a preset has chosen the option of the group augment.

    Args:
      choices: the option of each group, as Hydra composed them.
      overrides: as they are typed.
    """
    return choices["augment"] == "flip" and not any(text.startswith("augment=") for text in overrides)


def to_config(composed: DictConfig) -> TrainConfig:
    """Converts the settings that Hydra composed to dataclasses, which check their values.

    Raises:
      UsageError: an unknown key (added with +), or a value that is missing or not allowed.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as e:
        raise explain(e) from e
    assert isinstance(plain, dict)
    _refuse_unknown(plain)
    return _build(plain)


def from_run(run_dir: Path, overrides: list[str]) -> TrainConfig:
    """Returns the settings of the run in `run_dir`, changed by `overrides`.

    Raises:
      UsageError: `run_dir` holds no run, a setting was given that must not change, or the dataset was moved.
    """
    allowed = [key for key in MAY_CHANGE if key != "data.root"]
    for override in overrides:
        if override.partition("=")[0] not in MAY_CHANGE or "=" not in override:
            raise UsageError(
                f"{override}: with run={run_dir} only {', '.join(allowed[:-1])} and {allowed[-1]} can be "
                f"given, and data.root=DATASET if the dataset was moved; all else comes from {RUN_NAME}"
            )
    run = RunInfo.read(run_dir)
    roots = [text.removeprefix("data.root=") for text in overrides if text.startswith("data.root=")]
    try:
        # OmegaConf would look for interpolations in a path.
        # Runs that began before references existed lack that group.
        config: dict[str, Any] = {"reference": {}} | run.config | {"data": run.config["data"] | {"root": "-"}}
        model: Any = MODELS[config["model"]["name"]]
        saved = OmegaConf.merge(_unfrozen(TrainConfig), {"model": _unfrozen(model)}, config)
        assert isinstance(saved, DictConfig)
        to_config(saved)
    except (LookupError, TypeError, ValueError, RecursionError, OmegaConfBaseException, UsageError) as e:
        version = run.versions.get("linewash", "an older one")
        raise UsageError(
            f"{run_dir / RUN_NAME} has other settings than linewash {__version__} ({_first_line(e)}): "
            f"continue with the version that wrote it, {version}"
        ) from e
    try:
        changes = [text for text in overrides if not text.startswith("data.root=")]
        changed = OmegaConf.merge(saved, OmegaConf.from_dotlist(changes))
    except OmegaConfBaseException as e:
        raise explain(e) from e
    except YAMLError as e:
        raise UsageError(f"cannot read {' '.join(changes)}: {' '.join(str(e).split())}") from e
    assert isinstance(changed, DictConfig)
    built = to_config(changed)
    try:
        root = user_path(roots[-1]) if roots else run.find_configured_dataset()
    except ValueError as e:
        raise UsageError(str(e)) from e
    return dataclasses.replace(built, data=dataclasses.replace(built.data, root=root))


def explain(error: Exception) -> LinewashError:
    """Returns one sentence for an error of Hydra or OmegaConf, with a suggestion if there is one."""
    if isinstance(error, LinewashError):
        return error
    if isinstance(error, MissingConfigException):
        return _explain_missing_option(error)
    if isinstance(error, OverrideParseException):
        return UsageError(explain_unreadable(error.override or ""))
    cause = error.__cause__ or error
    if match := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        return UsageError(f"{match[1]} holds several values: add --multirun to train once with each of them")
    if isinstance(cause, MissingMandatoryValue):
        return _explain_missing_value(cause)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_key(cause.full_key)
    if isinstance(cause, ValidationError) and cause.full_key:
        return _explain_type(cause)
    if _first_line(error).startswith("Error merging override "):
        setting = _first_line(error).removeprefix("Error merging override ")
        return UsageError(f"{setting} has not the type of this setting, which --help describes")
    return UsageError(_first_line(error))


def _help_template(*, _root_: DictConfig) -> str:
    """The text of --help for the composed settings, as a template in which `$` is escaped.

    OmegaConf passes the settings. Hydra is running, so that the settings of each network can be composed.
    """
    models = {name: hydra_compose(CONFIG_NAME, [f"model={name}"]).model for name in MODELS}
    choices = _root_.hydra.runtime.choices
    return help_text(_root_.hydra.help.app_name, CONF_DIR, _root_, choices, models).replace("$", "$$")


def _build(plain: dict[Any, Any]) -> TrainConfig:
    """Makes the dataclasses from plain values whose types Hydra has checked."""
    _refuse_not_finite(plain)
    kinds = get_type_hints(TrainConfig) | {"model": _model_kind(plain["model"])}
    return TrainConfig(**{group: kind(**plain[group]) for group, kind in kinds.items()})


def _model_kind(plain: dict[str, Any]) -> type[ModelConfig]:
    kind = MODELS.get(plain["name"])
    if kind is None or {field.name for field in dataclasses.fields(kind)} != plain.keys():
        options = ", ".join(sorted(MODELS))
        raise UsageError(
            f"model.name={plain['name']} does not fit the other settings of the network: "
            f"choose a network with model=NAME, one of {options}"
        )
    return kind


@functools.cache
def _unfrozen(kind: type) -> type:
    """Copies a dataclass, and the dataclasses of its fields, without the property of being frozen."""
    hints = get_type_hints(kind)
    types = {
        field.name: _unfrozen(hints[field.name])
        if dataclasses.is_dataclass(hints[field.name])
        else hints[field.name]
        for field in dataclasses.fields(kind)
    }
    # Defaults are copied: runs that began before a setting existed do not have it.
    fields = [(f.name, types[f.name], dataclasses.field(default=f.default)) for f in dataclasses.fields(kind)]
    bases = tuple(_unfrozen(base) for base in kind.__bases__ if dataclasses.is_dataclass(base))
    return dataclasses.make_dataclass(kind.__name__, fields, bases=bases, kw_only=True)


def _refuse_not_finite(plain: dict[Any, Any]) -> None:
    for group, values in plain.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
                raise UsageError(f"{group}.{key} must be a finite number; got {value}")


def _refuse_unknown(plain: dict[Any, Any]) -> None:
    known = {*known_groups(), *known_settings()}
    for group, values in plain.items():
        for key in [group] if not isinstance(values, dict) else (f"{group}.{key}" for key in values):
            if key not in known:
                raise _unknown_key(str(key))


def _explain_missing_option(error: MissingConfigException) -> UsageError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not group or not options:
        return UsageError(_first_line(error))
    hint = did_you_mean(closest_match(option, options, cutoff=0.65))
    return UsageError(f"{group}={option} does not exist{hint} {group} can be {', '.join(options)}")


def _explain_missing_value(error: MissingMandatoryValue) -> UsageError:
    key = error.full_key or "a setting"
    if key == "data.root":
        return UsageError(
            "data.root is missing: type data.root=DATASET, a directory made by python -m preprocess"
        )
    value = "OPTION, with an option from --help" if key in known_groups() else "VALUE"
    return UsageError(f"{key} has no value: type {key}={value}")


def _explain_type(error: ValidationError) -> UsageError:
    key, message = error.full_key or "", _first_line(error)
    if match := re.match(r"Value '(.*)' of type '.*' could not be converted to (\w+)", message):
        expected = {"Integer": "a whole number", "Float": "a number"}.get(match[2], match[2].lower())
        return UsageError(f"{key} must be {expected}; got {match[1]}")
    if match := re.match(r"Value '(.*)' is not a valid bool", message):
        return UsageError(f"{key} must be true or false; got {match[1]}")
    if "not a subclass" in message:
        return UsageError(
            f"{key} is a group: type {key}=OPTION with an option from --help, or {key}.NAME=VALUE"
        )
    if "is not a ListConfig" in message:
        return UsageError(f"{key} must be a list in brackets, as [VALUE,VALUE]")
    return UsageError(f"{key}: {message}")


def _unknown_key(key: str) -> UsageError:
    group = None if "." in key else closest_match(key, known_groups(), cutoff=0.75)
    hint = did_you_mean(group or nearest_setting(key))
    flag = "--hydra-help" if key.startswith("hydra.") else "--help"
    return UsageError(f"there is no setting {key}{hint} {flag} lists them all")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
