"""Trains as the command line says. Hydra is used here, and not in the modules that do the work."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

# Hydra then raises its errors instead of printing them, so that `explain` can turn them into a sentence.
os.environ["HYDRA_FULL_ERROR"] = "1"

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from training.cli import TRAINER, command_name, explain_error, parse_path, report_error, signal_exception
from training.config import TrainConfig
from training.data.dataset import ShardedDataset
from training.errors import LinewashError, UsageError, WorkError
from training.hydra_config import (
    AUGMENT_OF_DRAWINGS,
    CONF_DIR,
    CONFIG_NAME,
    compose_in_hydra,
    explain,
    from_run,
    has_default_augment,
    register_schemas,
    to_config,
)
from training.initial_weights import InitialWeights
from training.line_styles import DRAWN
from training.overrides import check_arguments, quote_paths
from training.run.run_info import check_same_run, resume_command
from training.tf_startup import start_tensorflow


def run(argv: Sequence[str]) -> int:
    """Trains, once or for each job of a sweep; returns the exit code, the highest one of a sweep.

    Args:
      argv: the arguments of the command.

    Raises:
      LinewashError: Hydra refuses the arguments.
      KeyboardInterrupt: a signal ended the run; its checkpoint is saved.
    """
    # This flag of Hydra unpickles a file, which can run any code. --e is short for it.
    if any(len(word) > 2 and "--experimental-rerun".startswith(word.partition("=")[0]) for word in argv):
        raise UsageError("--experimental-rerun can run any code in its file: type run=RUN_DIR")
    runs = [argument.removeprefix("run=") for argument in argv if argument.startswith("run=")]
    if runs:
        if len(runs) > 1:
            raise UsageError(f"run is given twice: run={runs[0]} and run={runs[1]}")
        if not runs[0]:
            raise UsageError("run has no value: type run=RUN_DIR, a directory made by python -m training")
        return resume(
            Path(parse_path(runs[0])), [argument for argument in argv if not argument.startswith("run=")]
        )
    initial, argv = _take_init(argv)
    check_arguments(argv)
    register_schemas()
    try:
        return _run_hydra(quote_paths(argv), initial)
    except (HydraException, OmegaConfBaseException) as e:
        raise explain(e) from e
    except YAMLError as e:  # for example a tag that would make a Python object
        raise UsageError(f"a settings file cannot be read: {' '.join(str(e).split())}") from e


def _take_init(argv: Sequence[str]) -> tuple[InitialWeights | None, list[str]]:
    """Takes init=... out of the arguments and adds the settings of its network, which typed ones replace."""
    texts = [argument.removeprefix("init=") for argument in argv if argument.startswith("init=")]
    typed = [argument for argument in argv if not argument.startswith("init=")]
    if not texts:
        return None, typed
    if len(texts) > 1:
        raise UsageError(f"init is given twice: init={texts[0]} and init={texts[1]}")
    if not texts[0]:
        raise UsageError("init has no value: type init=RUN_DIR, init=FILE.keras or init=starter")
    initial = InitialWeights.find(texts[0])
    return initial, [*typed, *initial.overrides(typed)]


class MadeDirectories(Callback):
    """Records which directories Hydra makes, so that those of a refused command can be removed."""

    made: ClassVar[list[Path]] = []  # the deepest first

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before it makes the directory of a run."""
        self._record(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before it makes the directory of a sweep."""
        self._record(Path(config.hydra.sweep.dir))

    @classmethod
    def remove_unused(cls, *others: Path) -> None:
        """Removes the recorded directories and `others` if they hold nothing but Hydra's own file."""
        for directory in [*others, *cls.made]:
            with suppress(OSError):  # it does not exist, or is not empty
                if {path.name for path in directory.iterdir()} <= {"multirun.yaml"}:
                    (directory / "multirun.yaml").unlink(missing_ok=True)
                    directory.rmdir()

    @classmethod
    def _record(cls, directory: Path) -> None:
        directory = directory.absolute()
        cls.made = [path for path in (directory, *directory.parents) if not path.exists()]


def _run_hydra(argv: Sequence[str], initial: InitialWeights | None) -> int:
    """Composes the settings with Hydra and trains with them, once or for each job of a sweep."""
    codes: list[int] = []
    working_dir = Path.cwd()
    MadeDirectories.made = []

    def job(composed: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        run_dir, is_sweep = Path(hydra_config.runtime.output_dir), hydra_config.mode == RunMode.MULTIRUN
        if is_sweep:
            print(f"job        {hydra_config.job.num}: {' '.join(hydra_config.overrides.task)}", flush=True)
        os.chdir(working_dir)  # hydra.job.chdir=true has changed it, but the user's paths are relative to it
        codes.append(1)  # until the job ends
        try:
            task = list(hydra_config.overrides.task)
            for_drawings = None
            if has_default_augment(hydra_config.runtime.choices, task):
                for_drawings = partial(compose_in_hydra, [*task, AUGMENT_OF_DRAWINGS])
            codes[-1] = train_run(lambda: to_config(composed), run_dir, for_drawings, initial)
        except KeyboardInterrupt:
            if is_sweep:
                _report_ended_sweep(hydra_config)
            raise
        if codes[-1] and is_sweep:
            MadeDirectories.remove_unused(run_dir)

    try:
        with _system_arguments(argv):
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=CONFIG_NAME)(job)()
    except SystemExit as e:  # after Hydra's --help, or after its message about a wrong flag
        return e.code if isinstance(e.code, int) else 0
    except ValueError as e:
        if codes:
            raise
        raise UsageError(str(e).split("\n")[0]) from e  # from Hydra: flags that exclude each other
    finally:
        MadeDirectories.remove_unused()
    return max(codes, default=0)


def resume(run_dir: Path, overrides: list[str]) -> int:
    """Continues the run in `run_dir` and returns the exit code. Its settings come from run.json."""
    return train_run(lambda: from_run(run_dir, overrides), run_dir.resolve())


def train_run(
    configure: Callable[[], TrainConfig],
    run_dir: Path,
    for_drawings: Callable[[], TrainConfig] | None = None,
    initial: InitialWeights | None = None,
) -> int:
    """Trains one run and returns its exit code. Errors are reported here, so that a sweep continues.

    Args:
      configure: returns the settings, or raises an error about them.
      run_dir: the directory of the run, new or with a run to continue.
      for_drawings: the same for a dataset with the line style drawn; None: as `configure`.
      initial: the network from which a new run begins; None: random weights.

    Raises:
      KeyboardInterrupt: a signal ended the run; it ends a sweep too.
    """
    if run_dir.is_relative_to(Path.cwd()):
        run_dir = run_dir.relative_to(Path.cwd())
    try:
        config = configure()
        find_devices = config.trainer.strategy != "multi_worker"
        if "://" in config.data.root:
            start_tensorflow(find_devices=find_devices)
        dataset = ShardedDataset.open(config.data.root)
        if for_drawings and DRAWN in dataset.manifest.lines:
            config = for_drawings()
            print("augment    hands, because the dataset has drawings; augment=flip keeps their lines")
        config.check_fits(dataset.manifest)
        check_same_run(run_dir, config, dataset, initial.text if initial else None)
        # TensorFlow takes seconds to start: mistakes are reported before.
        start_tensorflow(find_devices=find_devices)
        from training.loop.train import train

        summary = train(config, dataset, run_dir, initial.load_into if initial else None)
    except Exception as e:
        error = explain_error(e)
        if error is None:
            raise
        if not isinstance(e, LinewashError) and any(run_dir.glob("checkpoints/step-*.npz")):
            error = WorkError(f"{error}; when this is fixed, continue with {resume_command(run_dir)}")
        return report_error(command_name(TRAINER), error)
    if summary.interrupted:
        raise signal_exception(summary.interrupted)
    return 0


def _report_ended_sweep(config: DictConfig) -> None:
    argument = shlex.quote(f"hydra.sweep.dir={config.sweep.dir}")
    sentence = (
        f"job {config.job.num} was interrupted: to continue the sweep, repeat the command with {argument}"
    )
    with suppress(OSError):  # after SIGHUP the terminal no longer exists
        print(f"{command_name(TRAINER)}: {sentence}", file=sys.stderr, flush=True)


@contextmanager
def _system_arguments(argv: Sequence[str]) -> Iterator[None]:
    """Sets sys.argv, from which alone hydra.main reads arguments."""
    before, sys.argv = sys.argv, [command_name(TRAINER), *argv]
    try:
        yield
    finally:
        sys.argv = before
