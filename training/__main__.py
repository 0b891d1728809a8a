"""python -m training data.root=DATASET [overrides]: the command line, where Hydra stops."""

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

from training.compose import CONF_DIR, CONFIG_NAME, explain, register_schemas, to_config
from training.dataset import open_dataset
from training.errors import LinewashError, WorkError
from training.quiet import start_tensorflow

# What shells report for a process ended by Ctrl-C.
INTERRUPTED = 130


def main(run: Callable[[DictConfig], int] | None = None) -> int:
    """Runs `run` (or else trains), or each job of a sweep; returns the exit code, the highest of them."""
    codes = [0]

    def job(composed: DictConfig) -> None:
        codes.append((run or run_job)(composed))

    register_schemas()
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(job)()
    except (HydraException, OmegaConfBaseException) as e:
        return complain(explain(e))
    except KeyboardInterrupt:
        return INTERRUPTED
    return max(codes)


def run_job(composed: DictConfig) -> int:
    """Trains once and returns its exit code; a sweep goes on to its next member after a failure."""
    try:
        config = to_config(composed)
        manifest = open_dataset(config.data.root)
        config.check_fits(manifest)
        # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
        start_tensorflow()
        from training.train import train

        run_dir = Path(HydraConfig.get().runtime.output_dir)
        summary = train(
            config,
            manifest,
            run_dir.relative_to(Path.cwd()) if run_dir.is_relative_to(Path.cwd()) else run_dir,
        )
    except LinewashError as e:
        return complain(e)
    except OSError as e:
        return complain(
            WorkError(f"{e.filename or 'a file'} could not be read or written: {e.strerror or e}")
        )
    return INTERRUPTED if summary.interrupted else 0


def complain(error: LinewashError) -> int:
    """Prints the one sentence; returns the exit code."""
    print(f"python -m training: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
