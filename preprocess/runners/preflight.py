"""Checks, before any image is listed, that the runner named on the command line can be started."""

from __future__ import annotations

import difflib
import shutil
import socket
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from preprocess.options import UsageError, is_local

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.runner import PipelineRunner

    from preprocess.runners.dataflow import BeamJob

RUNNERS = ("DirectRunner", "PrismRunner", "FlinkRunner", "SparkRunner", "PortableRunner", "DataflowRunner")
# Their value is a file on this machine or a URL.
_FILE_FLAGS = ("--flink_job_server_jar", "--spark_job_server_jar", "--prism_location")
_FLINK_ON_THIS_MACHINE = ("[local]", "[auto]")
CONNECT_SECONDS = 10.0
PRISM_MODULE = "github.com/apache/beam/sdks/v2/go/cmd/prism"


def check(options: BeamJob) -> None:
    """Checks the runner, and that the services and files in its flags are there. Accepts a local job.

    Raises:
      UsageError: there is no such runner, or one of its flags is missing or wrong.
      ConnectionError: a service that a flag names does not answer.
    """
    if is_local(options.beam):
        return
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator

    flags = PipelineOptions(options.beam)
    name = flags.view_as(StandardOptions).runner
    runner = _create_runner(StandardOptions.DEFAULT_RUNNER if name is None else name)
    for error in PipelineOptionsValidator(flags, runner).validate():
        raise UsageError(" ".join(error.split()))
    for flag in _FILE_FLAGS:
        _check_file(flag, flags.get_all_options().get(flag.removeprefix("--")))
    _check_services(type(runner).__name__, flags)


def _create_runner(name: str) -> PipelineRunner:
    from apache_beam.runners.runner import create_runner

    try:
        return create_runner(name)
    except ValueError:
        near = difflib.get_close_matches(name, RUNNERS, n=1, cutoff=0.85)
        advice = f"did you mean {near[0]}?" if near else f"use {', '.join(RUNNERS[:-1])} or {RUNNERS[-1]}"
        raise UsageError(f"Beam has no runner {name!r}: {advice}") from None
    except (ImportError, AttributeError) as e:
        raise UsageError(f"--runner {name} cannot be imported: {e}") from None


def _check_file(flag: str, path: str | None) -> None:
    if path and not urllib.parse.urlparse(path).scheme and not Path(path).is_file():
        raise UsageError(f"{flag} {path} is not a file")


def _check_services(runner: str, flags: PipelineOptions) -> None:
    """Checks the services that a runner needs. Beam waits for some of them for minutes or for ever."""
    given = flags.get_all_options()
    if endpoint := given["job_endpoint"]:
        if endpoint != "embed":
            _connect("--job_endpoint", endpoint)
        return
    if runner == "PortableRunner":
        raise UsageError("PortableRunner needs --job_endpoint HOST:PORT, the address of a job server")
    if runner in ("FlinkRunner", "SparkRunner"):
        java = given["job_server_java_launcher"]
        uses_job_server = not given[f"{runner.removesuffix('Runner').lower()}_submit_uber_jar"]
        if uses_job_server and not shutil.which(java):
            raise UsageError(
                f"{runner} needs Java, but there is no program {java}: install Java 11 or newer, or give "
                "--job_server_java_launcher PATH"
            )
    if runner == "FlinkRunner" and given["flink_master"] not in _FLINK_ON_THIS_MACHINE:
        _connect("--flink_master", given["flink_master"])


def _connect(flag: str, address: str) -> None:
    """Connects to `address`, HOST:PORT or a URL, and disconnects.

    Raises:
      UsageError: it is no address.
      ConnectionError: nothing answers.
    """
    url = urllib.parse.urlparse(address if "://" in address else f"//{address}")
    try:
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except (KeyError, ValueError):
        raise UsageError(f"{flag} must be HOST:PORT, got {address}") from None
    try:
        socket.create_connection((url.hostname or "", port), CONNECT_SECONDS).close()
    except OSError as e:
        reason = e.strerror or e
        raise ConnectionError(f"{flag} {address} does not answer ({reason}): is it running?") from None


def explain(error_line: str) -> str:
    """Returns a sentence with advice if Beam could not download a runner's program; else `error_line`."""
    from apache_beam.version import __version__ as beam_version

    url = next((word.rstrip(":") for word in error_line.split() if "://" in word), "")
    if "Unable to fetch remote prism binary" in error_line:
        return (
            f"Prism could not be downloaded from {url}: give --prism_location FILE (with Go, `go install "
            f"{PRISM_MODULE}@v{beam_version}` builds it in ~/go/bin)"
        )
    if "Unable to fetch remote job server jar" in error_line:
        return (
            f"the job server could not be downloaded from {url}: give --flink_job_server_jar FILE "
            "(`./scripts/flink_local.sh fetch` makes one for Flink 1.19) or --spark_job_server_jar FILE"
        )
    return error_line
