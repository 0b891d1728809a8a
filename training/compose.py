"""From conf/ and what was typed to a `TrainConfig`, and from Hydra's exceptions to one sentence each.

Hydra checks types against the dataclasses of `config`, which are registered here. They are frozen, and
OmegaConf would refuse overrides of anything frozen, so their schemas are thawed while Hydra composes.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
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

from tfrecords_schema import __version__
from training.config import MODELS, ModelConfig, TrainConfig
from training.errors import LinewashError, UsageError
from training.record import MAY_CHANGE, RUN_NAME, read_run

# Beside the package, in a source checkout and in site-packages alike.
CONF_DIR = Path(__file__).resolve().parent.parent / "conf"
CONFIG_NAME = "train"


def register_schemas() -> None:
    """Tells Hydra the types of every setting (once a process; again does no harm)."""
    OmegaConf.register_new_resolver("groups_and_options", _groups_and_options, replace=True)
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=_thawed(TrainConfig))
    for name, config in MODELS.items():
        store.store(group="schema/model", name=name, node=_thawed(config))


def compose(overrides: list[str]) -> TrainConfig:
    """Composes conf/train.yaml with `overrides`, as the command line does; for tests and notebooks.

    Raises:
      UsageError: an override that Hydra or the settings themselves refuse.
    """
    register_schemas()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return to_config(hydra_compose(CONFIG_NAME, overrides))
    except (HydraException, OmegaConfBaseException) as e:
        raise explain(e) from e


def to_config(composed: DictConfig) -> TrainConfig:
    """Turns what Hydra composed into dataclasses, which check their values.

    Raises:
      UsageError: a key nobody reads (added with +), a value missing or out of range.
    """
    plain = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(plain, dict)
    _refuse_unknown(plain)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as e:
        raise explain(e) from e
    assert isinstance(config, TrainConfig)
    return config


def from_run(run_dir: Path, typed: list[str]) -> TrainConfig:
    """The config of the run in `run_dir`, changed as `typed`.

    Raises:
      UsageError: no run is there, or something was typed that must not change.
    """
    allowed = f"{', '.join(MAY_CHANGE[:-1])} and {MAY_CHANGE[-1]}"
    for word in typed:
        if word.partition("=")[0] not in MAY_CHANGE or "=" not in word:
            raise UsageError(
                f"{word}: beside run={run_dir} only {allowed} can be given; {RUN_NAME} has the rest"
            )
    run = read_run(run_dir)
    try:
        kind = {"model": _thawed(MODELS[run["config"]["model"]["name"]])}
        saved = OmegaConf.merge(_thawed(TrainConfig), kind, run["config"])
        assert isinstance(saved, DictConfig)
        to_config(saved)
    except (LookupError, TypeError, ValueError, RecursionError, OmegaConfBaseException, UsageError) as e:
        versions = run.get("versions")
        wrote = versions.get("linewash", "an older one") if isinstance(versions, dict) else "an older one"
        raise UsageError(
            f"{run_dir / RUN_NAME} has other settings than linewash {__version__} ({_first_line(e)}): "
            f"go on with the version that wrote it, {wrote}"
        ) from e
    try:
        changed = OmegaConf.merge(saved, OmegaConf.from_dotlist(typed))
    except OmegaConfBaseException as e:
        raise explain(e) from e
    assert isinstance(changed, DictConfig)
    return to_config(changed)


def explain(error: Exception) -> LinewashError:
    """One sentence for whatever Hydra or OmegaConf says, with the nearest right word where there is one."""
    if isinstance(error, LinewashError):
        return error
    if isinstance(error, MissingConfigException):
        return _explain_missing_option(error)
    if isinstance(error, OverrideParseException):
        return UsageError(f"cannot read the override {error.override}: write group.key=value")
    cause = error.__cause__ or error
    if match := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        return UsageError(f"{match[1]} holds several values: add --multirun to train once with each of them")
    if isinstance(cause, MissingMandatoryValue):
        return _explain_missing_value(cause)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_key(cause.full_key)
    if isinstance(cause, ValidationError) and cause.full_key:
        return _explain_type(cause)
    return UsageError(_first_line(error))


def _groups_and_options() -> str:
    """For --help: what stands in conf/ (Hydra's own list would show the schemas too)."""
    groups = sorted(path for path in CONF_DIR.iterdir() if path.is_dir() and any(path.glob("*.yaml")))
    options = {group.name: sorted(file.stem for file in group.glob("*.yaml")) for group in groups}
    return "\n".join(f"  {group}: {', '.join(names)}" for group, names in options.items())


def _thawed(config: type) -> DictConfig:
    schema = OmegaConf.structured(config)
    pending = [schema]
    while pending:
        node = pending.pop()
        node._set_flag("readonly", None)
        children = (node._get_node(key) for key in node) if not node._is_missing() else ()
        pending.extend(child for child in children if isinstance(child, DictConfig))
    assert isinstance(schema, DictConfig)
    return schema


def _refuse_unknown(plain: dict[Any, Any]) -> None:
    known = _known_keys()
    for group, values in plain.items():
        for key in [group] if not isinstance(values, dict) else (f"{group}.{key}" for key in values):
            if key not in known:
                raise _unknown_key(str(key))


def _explain_missing_option(error: MissingConfigException) -> UsageError:
    group, _, option = (error.missing_cfg_file or "").rpartition("/")
    options = sorted(error.options or [])
    if not group or not options:
        return UsageError(_first_line(error))
    hint = _did_you_mean(option, options) or ":"
    return UsageError(f"{group}={option} does not exist{hint} {group} can be {', '.join(options)}")


def _explain_missing_value(error: MissingMandatoryValue) -> UsageError:
    key = error.full_key or "a setting"
    if key == "data.root":
        what = "a directory made by python -m preprocess"
        return UsageError(f"data.root is missing: type data.root=DATASET, {what}")
    return UsageError(f"{key} has no value: type {key}=VALUE")


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
    return UsageError(f"{key}: {message}")


def _unknown_key(key: str) -> UsageError:
    hint = _did_you_mean(key, sorted(_known_keys())) or ":"
    return UsageError(f"there is no setting {key}{hint} --help lists them all")


def _known_keys() -> set[str]:
    keys = {"experiment"}
    for group, kind in get_type_hints(TrainConfig).items():
        kinds = MODELS.values() if kind is ModelConfig else [kind]
        keys.add(group)
        keys |= {f"{group}.{field.name}" for kind in kinds for field in dataclasses.fields(kind)}
    return keys


def _did_you_mean(found: str, options: list[str]) -> str:
    near = difflib.get_close_matches(found, options, n=1, cutoff=0.65)
    return f": did you mean {near[0]}?" if near else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
