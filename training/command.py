"""Trains as the command line says. Hydra stops here: what is below knows dataclasses only."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

# Hydra then raises what went wrong instead of printing it, and the sentence is ours to write.
os.environ["HYDRA_FULL_ERROR"] = "1"

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from training.cli import explain_error, parse_path, report_error, signal_exception
from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.errors import LinewashError, UsageError, WorkError
from training.hydra_config import CONF_DIR, CONFIG_NAME, explain, from_run, register_schemas, to_config
from training.overrides import check_words, quote_paths
from training.run.run_info import check_same_run, continuing
from training.tf_startup import start_tensorflow

COMMAND = "python -m training"


def run(words: Sequence[str]) -> int:
    """Trains, once or for each job of a sweep; returns the exit code, the highest of a sweep.

    Raises:
      LinewashError: Hydra refuses the words.
      KeyboardInterrupt: a signal ended the run; its state is saved.
    """
    # Hydra would unpickle the file that is named, which can do anything; and --e is short for it.
    if any(len(word) > 2 and "--experimental-rerun".startswith(word.partition("=")[0]) for word in words):
        raise UsageError("--experimental-rerun runs whatever its file holds: type run=RUN_DIR")
    typed = [word.removeprefix("run=") for word in words if word.startswith("run=")]
    if typed:
        if len(typed) > 1:
            raise UsageError(f"run is given twice: run={typed[0]} and run={typed[1]}")
        if not typed[0]:
            raise UsageError("run has no value: type run=RUN_DIR, a directory made by python -m training")
        return go_on(Path(parse_path(typed[0])), [word for word in words if not word.startswith("run=")])
    check_words(words)
    register_schemas()
    try:
        return _run_hydra(quote_paths(words))
    except (HydraException, OmegaConfBaseException) as e:
        raise explain(e) from e
    except YAMLError as e:  # among them tags that would make Python objects
        raise UsageError(f"a file of settings cannot be read: {' '.join(str(e).split())}") from e


class MadeDirectories(Callback):
    """Knows which directories Hydra is about to make, so that those of a refused command can be removed."""

    made: ClassVar[list[Path]] = []  # the deepest first

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Hydra calls this before it makes the directory of a run."""
        self._note(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Hydra calls this before it makes the directory of a sweep."""
        self._note(Path(config.hydra.sweep.dir))

    @classmethod
    def remove_unused(cls, *more: Path) -> None:
        """Removes those of them, and of `more`, in which Hydra's own file at most was written."""
        for directory in [*more, *cls.made]:
            with suppress(OSError):  # it is not there, or holds something
                if {path.name for path in directory.iterdir()} <= {"multirun.yaml"}:
                    (directory / "multirun.yaml").unlink(missing_ok=True)
                    directory.rmdir()

    @classmethod
    def _note(cls, directory: Path) -> None:
        directory = directory.absolute()
        cls.made = [path for path in (directory, *directory.parents) if not path.exists()]


def _run_hydra(words: Sequence[str]) -> int:
    """Has Hydra compose the settings of `words`, and trains with them, once or for each job of a sweep."""
    codes: list[int] = []
    before = Path.cwd()
    MadeDirectories.made = []

    def job(composed: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        run_dir, sweeps = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.MULTIRUN
        if sweeps:
            print(f"job        {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}", flush=True)
        os.chdir(before)  # with hydra.job.chdir=true it is another one, but paths were typed from here
        codes.append(1)  # unless it ends
        try:
            codes[-1] = train_run(lambda: to_config(composed), run_dir)
        except KeyboardInterrupt:
            if sweeps:
                _explain_ended_sweep(hydra_config)
            raise
        if codes[-1] and sweeps:
            MadeDirectories.remove_unused(run_dir)

    try:
        with _typed(words):
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(job)()
    except SystemExit as e:  # Hydra's --help, --version and wrong flags, after they were printed
        return e.code if isinstance(e.code, int) else 0
    except ValueError as e:
        if codes:
            raise
        raise UsageError(str(e).split("\n")[0]) from e  # of Hydra: flags that do not go together
    finally:
        MadeDirectories.remove_unused()
    return max(codes, default=0)


def go_on(run_dir: Path, overrides: list[str]) -> int:
    """Resumes the run in `run_dir` and returns its exit code; Hydra is not asked, its run.json knows all."""
    return train_run(lambda: from_run(run_dir, overrides), run_dir.resolve())


def train_run(configure: Callable[[], TrainConfig], run_dir: Path) -> int:
    """Trains; an error that is no bug is printed as one sentence.

    Raises:
      KeyboardInterrupt: when the run was interrupted, so that a sweep ends with it.
    """
    if run_dir.is_relative_to(Path.cwd()):
        run_dir = run_dir.relative_to(Path.cwd())
    try:
        config = configure()
        find_devices = config.trainer.strategy != "multi_worker"
        if "://" in config.data.root:
            start_tensorflow(find_devices=find_devices)
        dataset = ShardedDataset.open(config.data.root)
        config.check_fits(dataset.manifest)
        check_same_run(run_dir, config, dataset)
        # Only now: TensorFlow takes seconds to start, and an answer to a slip should not.
        start_tensorflow(find_devices=find_devices)
        from training.loop.train import train

        summary = train(config, dataset, run_dir)
    except Exception as e:
        error = explain_error(e)
        if error is None:
            raise
        if not isinstance(e, LinewashError) and any(run_dir.glob("checkpoints/*.state")):
            error = WorkError(f"{error}; once that is mended, continue with {continuing(run_dir)}")
        return report_error(COMMAND, error)
    if summary.interrupted:
        raise signal_exception(summary.interrupted)
    return 0


def _explain_ended_sweep(config: DictConfig) -> None:
    place = shlex.quote(f"hydra.sweep.dir={config.sweep.dir}")
    sentence = f"the sweep ended with job {config.job.num}: to continue it, repeat the command with {place}"
    with suppress(OSError):  # after SIGHUP the terminal is gone
        print(f"{COMMAND}: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def _typed(words: Sequence[str]) -> Iterator[None]:
    """Puts `words` where Hydra reads them: it knows no other place than sys.argv."""
    before, sys.argv = sys.argv, [COMMAND, *words]
    try:
        yield
    finally:
        sys.argv = before
