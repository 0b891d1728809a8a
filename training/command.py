"""Trains as the command line says. Hydra stops here: what is below knows dataclasses only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Hydra then raises what went wrong instead of printing it, and the sentence is ours to write.
os.environ["HYDRA_FULL_ERROR"] = "1"

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from training.compose import CONF_DIR, CONFIG_NAME, explain, from_run, register_schemas, to_config
from training.config import TrainConfig
from training.dataset import open_dataset
from training.errors import UsageError
from training.quiet import start_tensorflow
from training.record import check_same_run
from training.words import complain, explain_error

COMMAND = "python -m training"


def run(words: Sequence[str]) -> int:
    """Trains, once or for each job of a sweep; returns the exit code, the highest of a sweep.

    Raises:
      LinewashError: Hydra refuses the words.
      KeyboardInterrupt: the run was interrupted; its state is saved.
    """
    # Hydra would unpickle the file that is named, which can do anything; and --e is short for it.
    if any(word.startswith("--e") for word in words):
        raise UsageError("--experimental-rerun runs whatever its file holds: type run=RUN_DIR")
    typed = [word for word in words if word.startswith("run=")]
    if typed:
        return go_on(Path(typed[-1].removeprefix("run=")), [word for word in words if word not in typed])
    register_schemas()
    codes = [0]

    def job(composed: DictConfig) -> None:
        codes.append(run_job(composed))

    try:
        with _typed(words):
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(job)()
    except (HydraException, OmegaConfBaseException) as e:
        raise explain(e) from e
    except YAMLError as e:  # among them tags that would make Python objects
        raise UsageError(f"a file of settings cannot be read: {' '.join(str(e).split())}") from e
    except SystemExit as e:  # Hydra's --help, --version and wrong flags, after they were printed
        return e.code if isinstance(e.code, int) else 0
    return max(codes)


def run_job(composed: DictConfig) -> int:
    """Trains once and returns its exit code; a sweep continues with its next member after a failure."""
    return answer(lambda: to_config(composed), Path(HydraConfig.get().runtime.output_dir))


def go_on(run_dir: Path, overrides: list[str]) -> int:
    """Resumes the run in `run_dir` and returns its exit code; Hydra is not asked, its run.json knows all."""
    return answer(lambda: from_run(run_dir, overrides), run_dir.resolve())


def answer(configure: Callable[[], TrainConfig], run_dir: Path) -> int:
    """Trains; an error that is no bug is printed as one sentence.

    Raises:
      KeyboardInterrupt: when the run was interrupted, so that a sweep ends with it.
    """
    if run_dir.is_relative_to(Path.cwd()):
        run_dir = run_dir.relative_to(Path.cwd())
    try:
        config = configure()
        manifest = open_dataset(config.data.root)
        config.check_fits(manifest)
        check_same_run(run_dir, config, manifest)
        # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
        start_tensorflow(find_devices=config.trainer.strategy != "multi_worker")
        from training.train import train

        summary = train(config, manifest, run_dir)
    except Exception as e:
        error = explain_error(e)
        if error is None:
            raise
        return complain(COMMAND, error)
    if summary.interrupted:
        raise KeyboardInterrupt
    return 0


@contextmanager
def _typed(words: Sequence[str]) -> Iterator[None]:
    """Puts `words` where Hydra reads them: it knows no other place than sys.argv."""
    before, sys.argv = sys.argv, [COMMAND, *words]
    try:
        yield
    finally:
        sys.argv = before
