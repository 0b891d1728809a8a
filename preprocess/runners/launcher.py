"""Runs a pipeline over shards, on the cores of this machine or on the runner that Beam's flags name.

A local run is repeated for the unfinished shards when a worker process dies.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import re
import shutil
import signal
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from preprocess import cli
from preprocess.cores import available_cores
from preprocess.options import has_flag, is_local, is_template
from preprocess.plan import Shard
from preprocess.runners import preflight
from preprocess.runners.shard_queue import ShardQueue, describe_location
from preprocess.runners.worker import WorkerDiedError
from preprocess.storage import files

if TYPE_CHECKING:
    from apache_beam.runners.runner import PipelineResult

ATTEMPTS = 3  # runs of the pipeline within one command, when local workers die
DEBUG_ADVICE = "LINEWASH_DEBUG=1 in the environment shows the output of the workers"
MAX_ERROR_CHARS = 1000  # enough for two long paths


class WorkersDiedError(RuntimeError):
    """Local workers died in every attempt. The message says why, if that is known."""


@dataclasses.dataclass(frozen=True)
class Launcher:
    """Runs the pipeline of one job.

    Attributes:
      beam_flags: of the command line.
      add_steps: adds the steps of the pipeline over some shards. With a queue, workers take shards from it.
      unfinished: returns those of some shards that are not finished.
      extra_flags: returns flags to add for a named runner; it may write files to the folder that it is given.
    """

    beam_flags: list[str]
    add_steps: Callable[[Any, list[Shard], ShardQueue | None], object]
    unfinished: Callable[[list[Shard]], list[Shard]]
    extra_flags: Callable[[str], list[str]]

    def run(self, shards: list[Shard]) -> PipelineResult | None:
        """Runs the pipeline, and runs it again for the unfinished shards when a local worker dies.

        Returns:
          The result of the last run if it was local, with its metrics.

        Raises:
          WorkersDiedError: workers died in all `ATTEMPTS` runs.
          Exception: any error that Beam raises.
        """
        deaths: list[WorkerDiedError] = []
        while len(deaths) < ATTEMPTS:
            try:
                return self.run_once(shards)
            except WorkerDiedError as e:
                deaths.append(e)
                if len(deaths) < ATTEMPTS:
                    cli.print_error(f"{e}; starting again with the unfinished shards")
                    shards = self.unfinished(shards)
        raise WorkersDiedError(
            f"{deaths[-1]}; workers died in all {ATTEMPTS} attempts{_advice(deaths)}; {DEBUG_ADVICE}"
        )

    def run_once(self, shards: list[Shard]) -> PipelineResult | None:
        """Runs the pipeline once; on Dataflow, it may only be written as a template.

        Returns:
          The result if the run was local.

        Raises:
          WorkerDiedError: a local worker process ended early.
        """
        if is_local(self.beam_flags):
            return self._run_locally(shards)
        self._run_on_named_runner(shards)
        return None

    def _run_locally(self, shards: list[Shard]) -> PipelineResult:
        """Runs the pipeline on the cores of this machine."""
        from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

        from preprocess.runners import local

        # An explicit list, because without one Beam parses the command line of this process.
        beam_options = PipelineOptions(self.beam_flags)
        direct = beam_options.view_as(DirectOptions)
        if not has_flag(self.beam_flags, "--direct_num_workers") or not direct.direct_num_workers:
            direct.direct_num_workers = available_cores()  # Beam's default is 1
        with temporary_folder() as folder:
            queue = ShardQueue(shards, folder)
            try:
                return local.run(
                    self._build_pipeline(shards, beam_options, local.runner(beam_options), queue)
                )
            except WorkerDiedError as e:
                raise WorkerDiedError(e.pid, e.code, queue.current_image(e.pid)) from None

    def _run_on_named_runner(self, shards: list[Shard]) -> None:
        """Runs the pipeline on the runner named on the command line, or writes it as a template."""
        from apache_beam.options.pipeline_options import PipelineOptions

        # At its exit, Beam stops the job servers that it has started, and needs their files for it.
        with temporary_folder(until_exit=True) as folder, keep_interrupt_handler():
            beam_options = PipelineOptions([*self.beam_flags, *self.extra_flags(folder)])
            result = self._build_pipeline(shards, beam_options).run()
        if is_template(self.beam_flags):
            return
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            threading.excepthook = lambda _: None  # Beam's threads would report that connections are closed
            with contextlib.suppress(Exception):  # the service may be unreachable
                result.cancel()
            raise

    def _build_pipeline(
        self, shards: list[Shard], beam_options: Any, runner: Any = None, queue: ShardQueue | None = None
    ) -> Any:
        """Returns the Beam pipeline over `shards`. Without `runner`, `beam_options` name one."""
        import apache_beam as beam

        pipeline = beam.Pipeline(runner=runner, options=beam_options)
        self.add_steps(pipeline, shards, queue)
        return pipeline


def _advice(deaths: list[WorkerDiedError]) -> str:
    """Returns what to do when workers died: move an image out of the input, or use less memory."""
    images = Counter(
        death.current_image.image for death in deaths if death.current_image and death.current_image.image
    )
    for image, times in images.most_common(1):
        if times > 1:
            location = describe_location(image)
            return f": {times} of {len(deaths)} died while converting {location}: move it out of the input"
    if all(death.code == -signal.SIGKILL for death in deaths):
        return ": if memory ran out, use fewer workers, for example --direct_num_workers 1"
    return ""


@contextlib.contextmanager
def temporary_folder(until_exit: bool = False) -> Iterator[str]:
    """Makes a folder for temporary files, also for Beam's, which Beam leaves behind when a pipeline fails.

    Args:
      until_exit: keeps the folder until this process ends, and not just until the block does.
    """
    folder = tempfile.mkdtemp(prefix="linewash-")
    remove = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    if until_exit:
        atexit.register(remove)
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        yield folder
    finally:
        tempfile.tempdir = before
        if not until_exit:
            remove()


@contextlib.contextmanager
def keep_interrupt_handler() -> Iterator[None]:
    """Restores the handler of Ctrl-C after the block.

    Beam's handler stops the job server that Beam has started, which then can no longer cancel the job.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # only that one may set signal handlers
            signal.signal(signal.SIGINT, handler)


# ------------------------------------------------------------------------------------------------- errors


def error_line(error: Exception) -> str:
    """Returns the last line of Beam's report that names an error, without Beam's additions."""
    if isinstance(error, WorkersDiedError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    error_lines = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    text = (error_lines or lines or [type(error).__name__])[-1]
    additions = r"^RuntimeError: (?=\w+(Error|Exception):)|([\w.]+\.)?ImageError: |\s*\[while running.*"
    return preflight.explain(re.sub(additions, "", text))[:MAX_ERROR_CHARS].rstrip(".")


def save_traceback(output: str, error: Exception) -> str:
    """Saves Beam's whole report below `output`. Returns the end of the message, which says where."""
    name = f"{files.WORK_DIR}/error.txt"
    try:
        files.write(output, name, "".join(traceback.format_exception(error)).encode())
    except OSError:
        return ""
    return f" (full report: {files.join(output, name)})"
