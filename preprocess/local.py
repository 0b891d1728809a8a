"""The default runner: Beam's own local one, told to use a process a core, without its chatter."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.job.utils import dict_to_struct
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo, FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def runner(options: PipelineOptions) -> FnApiRunner:
    """A runner whose workers are processes of `preprocess.worker`, as many as --direct_num_workers says.

    The same as `direct_running_mode=multi_processing`, but that the worker's command is ours and that the
    workers are told the pipeline's options (file systems take their credentials from them).
    """
    _let_workers_import_us()
    provision = beam_provision_api_pb2.ProvisionInfo(
        retrieval_token="unused-retrieval-token",
        pipeline_options=dict_to_struct(options.get_all_options(drop_default=True)),
    )
    command = f"exec {shlex.quote(sys.executable)} -m preprocess.worker"
    return FnApiRunner(
        default_environment=SubprocessSDKEnvironment.from_command_string(command),
        provision_info=ExtendedProvisionInfo(provision),
    )


def _let_workers_import_us() -> None:
    """Workers are fresh interpreters: they must find this package also when it is not installed."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{path}" if path else root
