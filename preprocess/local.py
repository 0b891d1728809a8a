"""The default runner: Beam's own local one, with a process a core, that notices when one of them dies."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo, FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from preprocess import worker


def run(graph: beam.Pipeline) -> None:
    """Runs the pipeline to its end.

    It runs in a thread of its own: when a worker process dies, Beam's runner waits for it for ever, and only
    the thread that started the worker is told.

    Raises:
      WorkerDiedError: a worker process ended early; what it had in hand is lost, what it had finished is not.
      Exception: whatever else Beam raises.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            graph.run().wait_until_finish()
            ended.put(None)
        except BaseException as e:
            ended.put(e)

    def thread_failed(args: threading.ExceptHookArgs) -> None:
        if args.thread and args.thread.name == "run_worker":  # Beam's name for the thread that waits for one
            ended.put(worker.WorkerDiedError(str(args.exc_value)))

    before, threading.excepthook = threading.excepthook, thread_failed
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        os.environ[worker.PIDS_VARIABLE] = folder
        try:
            threading.Thread(target=work, daemon=True).start()
            if fault := ended.get():
                raise fault
        finally:
            _kill(folder)  # after a fault the other workers would work on for nobody
            threading.excepthook = before


def _kill(folder: str) -> None:
    """Ends the workers that have left their process ids in `folder`."""
    for file in Path(folder).iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.name), signal.SIGKILL)


# An image's pixels are asked for and given back a few hundred times a second. glibc would return them to the
# kernel each time and fetch them anew, page by page: 7 % of all the time in a measured job.
_MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(16 << 20),
}


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def runner(options: PipelineOptions) -> FnApiRunner:
    """A runner whose workers are processes of `preprocess.worker`, as many as --direct_num_workers says.

    The same as `direct_running_mode=multi_processing`, but that the worker's command is ours and that the
    workers are told the pipeline's options (file systems take their credentials from them).
    """
    _let_workers_import_us()
    given = options.get_all_options(drop_default=True)
    # JSON's numbers are floats, which Beam's parser of the worker's options would refuse for an integer.
    texts = {name: str(value) if type(value) is int else value for name, value in given.items()}
    provision = beam_provision_api_pb2.ProvisionInfo(
        retrieval_token="unused-retrieval-token", pipeline_options=dict_to_struct(texts)
    )
    for name, value in _MALLOC.items():
        os.environ.setdefault(name, value)
    # Ctrl-C reaches every process of a terminal, also one just starting; it is the launcher's to handle.
    command = f"trap '' INT; exec {shlex.quote(sys.executable)} -m preprocess.worker"
    return FnApiRunner(
        default_environment=SubprocessSDKEnvironment.from_command_string(command),
        provision_info=ExtendedProvisionInfo(provision),
    )


def _let_workers_import_us() -> None:
    """Workers are fresh interpreters: they must find this package also when it is not installed."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
