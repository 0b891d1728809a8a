"""What a job on Google's Dataflow needs beyond any other: some flags, and linewash on the workers."""

from __future__ import annotations

from itertools import chain

from preprocess.cli import install_command
from preprocess.options import Options, UsageError, has_flag
from preprocess.runners import worker_wheel
from preprocess.storage import files

IMAGE_FLAGS = ("--sdk_container_image", "--worker_harness_container_image")
THREADS_FLAG = "--number_of_worker_harness_threads"


def is_meant(options: Options) -> bool:
    """True with --runner DataflowRunner."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    return "dataflow" in (PipelineOptions(options.beam).view_as(StandardOptions).runner or "").lower()


def check(options: Options) -> None:
    """Makes sure, before anything is listed, that a job for Dataflow can be handed in; passes any other.

    Raises:
      UsageError: a flag is missing, a path is on this machine, or linewash cannot be packed.
    """
    if not is_meant(options):
        return
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError:
        raise UsageError(f"DataflowRunner needs more: run {install_command('gcp,preprocess')}") from None
    for flag in ("--project", "--region", "--temp_location"):
        if not has_flag(options.beam, flag):
            raise UsageError(
                f"DataflowRunner needs {flag}: give --project ID --region NAME --temp_location gs://BUCKET/tmp"
            )
    for path in [*chain.from_iterable(options.inputs.values()), options.output]:
        if not files.is_remote(path):
            raise UsageError(
                f"Dataflow's machines do not see {path} on this one: copy it to a bucket and give gs://BUCKET/…"
                if path != options.output
                else f"Dataflow's machines cannot write to {path} on this one: give --output gs://BUCKET/…"
            )
    if not has_flag(options.beam, *IMAGE_FLAGS):
        try:
            worker_wheel.check()
        except worker_wheel.PackagingError as e:
            raise UsageError(str(e)) from None


def flags(options: Options, folder: str) -> list[str]:
    """What a job for Dataflow gets on top of its flags, linewash as a wheel in `folder`; others nothing."""
    if not is_meant(options):
        return []
    more = []
    if not has_flag(options.beam, *IMAGE_FLAGS):
        paths = [*chain.from_iterable(options.inputs.values()), options.output]
        also = ["boto3"] if any(path.startswith("s3://") for path in paths) else []
        more += ["--extra_package", worker_wheel.build_wheel(folder, also)]
    if not has_flag(options.beam, THREADS_FLAG):
        more += [THREADS_FLAG, "1"]  # a process a core is there already, and each reads ahead
    return more
