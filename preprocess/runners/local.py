"""The default runner: Beam's local runner with a process per core. It notices when one of them dies."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_provision_api_pb2, endpoints_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo, FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format

from preprocess.runners import worker


def run(graph: beam.Pipeline) -> None:
    """Runs the pipeline to its end.

    It runs in a thread of its own: when a worker process dies, Beam's runner waits for it for ever, and only
    who started the worker can tell.

    Raises:
      WorkerDiedError: a worker process ended early; what it had in hand is lost, what it had finished is not.
      Exception: whatever else Beam raises.
    """
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
    workers: list[_Worker] = []

    def work() -> None:
        try:
            graph.run().wait_until_finish()
            ended.put(None)
        except BaseException as e:
            ended.put(e)

    make = functools.partial(_Worker, workers, ended.put)
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(make)
    threading.excepthook = _hook
    threading.Thread(target=work, daemon=True).start()
    try:
        if fault := ended.get():
            raise fault
    except BaseException:  # Ctrl-C too: Beam's threads would print pages about connections that are gone
        threading.excepthook = lambda _: None
        raise
    finally:
        for each in workers:
            each.stop_worker()  # after a fault the other workers would work on for nobody


def _hook(args: threading.ExceptHookArgs) -> None:
    """Passes over connections that broke: they do when a worker dies, which `_Worker` notices and tells."""
    if not isinstance(args.exc_value, grpc.RpcError):
        threading.__excepthook__(args)


class _Worker(GrpcWorkerHandler):
    """The launcher's end of a worker process, as Beam's runner wants it; Beam's own start a shell each."""

    def __init__(
        self,
        workers: list[_Worker],
        died: Callable[[worker.WorkerDiedError], None],
        _: bytes,
        *connection: Any,
    ) -> None:
        super().__init__(*connection)
        self._died = died
        self._process: BaseProcess | None = None
        self._stopped = False
        workers.append(self)

    def start_worker(self) -> None:
        """Beam calls this."""
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        options = self.provision_info.provision_info.pipeline_options
        self._process = worker.start(
            {
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
                "PIPELINE_OPTIONS": json_format.MessageToJson(options),
                "WORKER_ID": self.worker_id,
            }
        )
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()

    def stop_worker(self) -> None:
        """Beam calls this when all results are in: there is nothing left that a worker could lose."""
        self._stopped = True
        if self._process:
            self._process.kill()

    def _watch(self, process: BaseProcess) -> None:
        process.join()
        if not self._stopped:
            self._died(worker.WorkerDiedError(process.pid or 0, process.exitcode))


def runner(options: PipelineOptions) -> FnApiRunner:
    """A runner whose workers are processes of `preprocess.runners.worker`: --direct_num_workers of them.

    The same as `direct_running_mode=multi_processing`, but that the workers are ours and are told the
    pipeline's options (file systems take their credentials from them).
    """
    given = options.get_all_options(drop_default=True)
    # JSON's numbers are floats, which Beam's parser of the worker's options would refuse for an integer.
    texts = {name: str(value) if type(value) is int else value for name, value in given.items()}
    provision = beam_provision_api_pb2.ProvisionInfo(
        retrieval_token="unused-retrieval-token", pipeline_options=dict_to_struct(texts)
    )
    return FnApiRunner(
        default_environment=SubprocessSDKEnvironment.from_command_string("preprocess.runners.worker"),
        provision_info=ExtendedProvisionInfo(provision),
    )
