"""The command line, where Hydra stops.

python -m training data.root=DATASET [overrides]    trains
python -m training run=RUN_DIR [trainer.epochs=N]   goes on with a run that was stopped
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
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
from training.errors import LinewashError, UsageError, WorkError
from training.quiet import start_tensorflow
from training.record import check_same_run
from training.words import INTERRUPTED


def main() -> int:
    """Trains, once or for each job of a sweep; returns the exit code, the highest of them."""
    codes = [0]

    def job(composed: DictConfig) -> None:
        codes.append(run_job(composed))

    # Hydra would unpickle the file that is named, which can do anything; and --e is short for it.
    if any(word.startswith("--e") for word in sys.argv[1:]):
        return complain(UsageError("--experimental-rerun runs whatever its file holds: type run=RUN_DIR"))
    typed = [word for word in sys.argv[1:] if word.startswith("run=")]
    if typed:
        return go_on(Path(typed[-1].removeprefix("run=")), [w for w in sys.argv[1:] if w not in typed])
    register_schemas()
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(job)()
    except (HydraException, OmegaConfBaseException) as e:
        return complain(explain(e))
    except YAMLError as e:  # among them tags that would make Python objects
        return complain(UsageError(f"a file of settings cannot be read: {' '.join(str(e).split())}"))
    except KeyboardInterrupt:
        return INTERRUPTED
    return max(codes)


def run_job(composed: DictConfig) -> int:
    """Trains once and returns its exit code; a sweep goes on to its next member after a failure."""
    return answer(lambda: to_config(composed), Path(HydraConfig.get().runtime.output_dir))


def go_on(run_dir: Path, overrides: list[str]) -> int:
    """Resumes the run in `run_dir` and returns its exit code; Hydra is not asked, its run.json knows all."""
    try:
        return answer(lambda: from_run(run_dir, overrides), run_dir.resolve())
    except KeyboardInterrupt:
        return INTERRUPTED


def answer(configure: Callable[[], TrainConfig], run_dir: Path) -> int:
    """Trains; what goes wrong is one sentence.

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
    except LinewashError as e:
        return complain(e)
    except OSError as e:
        return complain(
            WorkError(f"{e.filename or 'a file'} could not be read or written: {e.strerror or e}")
        )
    if summary.interrupted:
        raise KeyboardInterrupt
    return 0


def complain(error: LinewashError) -> int:
    """Prints the one sentence; returns the exit code."""
    print(f"python -m training: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
