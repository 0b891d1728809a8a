"""The default runner: Beam's local runner with one process per core, which detects when a process dies."""

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
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms.environments import SubprocessSDKEnvironment
from google.protobuf import json_format, text_format

from preprocess.runners import worker


def run(graph: beam.Pipeline) -> PipelineResult:
    """Runs a pipeline to its end and returns its result, which has the metrics.

    The pipeline runs in a thread: if a worker process dies, Beam's runner waits for it for ever, whereas this
    function raises an error.

    Raises:
      WorkerDiedError: a worker process ended early. Its current shard is lost; finished shards are kept.
      Exception: any error that Beam raises.
    """
    results: queue.SimpleQueue[PipelineResult | BaseException] = queue.SimpleQueue()
    workers: list[_Worker] = []

    def run_graph() -> None:
        try:
            result = graph.run()
            result.wait_until_finish()
            results.put(result)
        except BaseException as e:
            results.put(e)

    create_worker = functools.partial(_Worker, workers, results.put)
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(create_worker)
    threading.excepthook = _ignore_broken_connections
    threading.Thread(target=run_graph, daemon=True).start()
    try:
        result = results.get()
        if isinstance(result, BaseException):
            raise result
        return result
    except BaseException:  # also Ctrl-C: Beam's threads would print long reports of closed connections
        threading.excepthook = lambda _: None
        raise
    finally:
        for handler in workers:
            handler.stop_worker()  # after an error the other workers would continue


def _ignore_broken_connections(args: threading.ExceptHookArgs) -> None:
    """Reports the exception of a thread, but no broken connection: `_Worker` reports a dead worker."""
    if not isinstance(args.exc_value, grpc.RpcError):
        threading.__excepthook__(args)


class _Worker(GrpcWorkerHandler):
    """Starts, watches and stops one worker process for Beam's runner. Beam's own class would start a shell.

    Args:
      workers: the list that this object adds itself to.
      report_death: called when the process ends without `stop_worker`.
      connection: what Beam gives to the constructor of its own class.
    """

    def __init__(
        self,
        workers: list[_Worker],
        report_death: Callable[[worker.WorkerDiedError], None],
        _: bytes,
        *connection: Any,
    ) -> None:
        super().__init__(*connection)
        self._report_death = report_death
        self._process: BaseProcess | None = None
        self._stopped = False
        workers.append(self)

    def start_worker(self) -> None:
        """Overrides Beam's method. Starts the process."""
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
        """Overrides Beam's method, which is called when all results have arrived. Kills the process."""
        self._stopped = True
        if self._process:
            self._process.kill()

    def _watch(self, process: BaseProcess) -> None:
        process.join()
        if not self._stopped:
            self._report_death(worker.WorkerDiedError(process.pid or 0, process.exitcode))


def runner(options: PipelineOptions) -> FnApiRunner:
    """Returns a runner with --direct_num_workers processes of `preprocess.runners.worker`.

    This is `direct_running_mode=multi_processing` with our own worker processes. They also get the
    options of the pipeline, from which file systems take their credentials.
    """
    given = options.get_all_options(drop_default=True)
    # The options are passed as JSON, whose numbers are floats: Beam's parser in the worker refuses these for
    # integers.
    texts = {name: str(value) if type(value) is int else value for name, value in given.items()}
    provision = beam_provision_api_pb2.ProvisionInfo(
        retrieval_token="unused-retrieval-token", pipeline_options=dict_to_struct(texts)
    )
    return FnApiRunner(
        default_environment=SubprocessSDKEnvironment.from_command_string("preprocess.runners.worker"),
        provision_info=ExtendedProvisionInfo(provision),
    )
