"""Checks and adds the flags that a job on Google's Dataflow needs, and packs linewash for its workers."""

from __future__ import annotations

import math
import re
from typing import Protocol

from preprocess.cli import install_command
from preprocess.options import UsageError, has_flag
from preprocess.runners import worker_wheel
from preprocess.storage import files

IMAGE_FLAGS = ("--sdk_container_image", "--worker_harness_container_image")
THREADS_FLAG = "--number_of_worker_harness_threads"

# The memory of a worker process (measured: 147 to 181 MB), and what each pixel of an image adds at most. A
# 16-bit PNG with transparency adds most: 8 bytes in the file, and three copies of the pixels (measured: 32).
WORKER_BYTES = 200_000_000
BYTES_PER_PIXEL = 32


class BeamRecipe(Protocol):
    """The largest image of a job."""

    @property
    def max_pixels(self) -> int:
        """A larger image is rejected."""


class BeamJob(Protocol):
    """The options of a command that runs a Beam job."""

    @property
    def input_patterns(self) -> list[str]:
        """All input patterns."""

    @property
    def output(self) -> str:
        """The output directory."""

    @property
    def recipe(self) -> BeamRecipe:
        """The settings that decide how much memory a worker needs."""

    @property
    def beam(self) -> list[str]:
        """The flags that are passed to Beam."""


def is_selected(options: BeamJob) -> bool:
    """Returns True with --runner DataflowRunner."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    return "dataflow" in (PipelineOptions(options.beam).view_as(StandardOptions).runner or "").lower()


def check(options: BeamJob) -> None:
    """Checks, before any image is listed, that a job for Dataflow can be submitted. Accepts any other job.

    Raises:
      UsageError: a flag or a package is missing, a path is local, or linewash cannot be packed.
    """
    if not is_selected(options):
        return
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError:
        raise UsageError(
            f"DataflowRunner needs more packages: run {install_command('gcp,preprocess')}"
        ) from None
    for flag in ("--project", "--region", "--temp_location"):
        if not has_flag(options.beam, flag):
            raise UsageError(
                f"DataflowRunner needs {flag}: give --project ID --region NAME --temp_location gs://BUCKET/tmp"
            )
    _check_locations(options)
    for path in options.input_patterns:
        if not files.is_remote(path):
            raise UsageError(
                f"Dataflow's machines cannot read {path} on this machine: copy it to a bucket and give gs://BUCKET/…"
            )
    if not files.is_remote(options.output):
        raise UsageError(
            f"Dataflow's machines cannot write to {options.output} on this machine: give --output gs://BUCKET/…"
        )
    if not has_flag(options.beam, *IMAGE_FLAGS):
        try:
            worker_wheel.check()
        except worker_wheel.PackagingError as e:
            raise UsageError(str(e)) from None


def _check_locations(options: BeamJob) -> None:
    """Refuses folders for temporary files that are no buckets. In their place, Beam would create a bucket."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

    flags = PipelineOptions(options.beam).view_as(GoogleCloudOptions)
    for name in ("temp_location", "staging_location"):
        path = getattr(flags, name)
        if path is not None and not re.match("gs://[^/]", path):
            raise UsageError(f"DataflowRunner needs --{name} gs://BUCKET/tmp, got {path}")


def extra_flags(options: BeamJob, folder: str) -> list[str]:
    """Returns the flags to add to a job for Dataflow; none for any other job.

    Unless the job has an image for its workers, linewash is packed as a wheel in `folder`.
    """
    if not is_selected(options):
        return []
    flags = []
    if not has_flag(options.beam, *IMAGE_FLAGS):
        paths = [*options.input_patterns, options.output]
        clients = ["boto3"] if any(path.startswith("s3://") for path in paths) else []
        flags += ["--extra_package", worker_wheel.build_wheel(folder, clients)]
    if not has_flag(options.beam, THREADS_FLAG):
        flags += [THREADS_FLAG, "1"]  # there is one process per core, and each reads ahead
    # The hint is for the whole pipeline. If only the writing step had it, Beam would give the other steps an
    # environment of their own, and Dataflow other machines. FlexRS does not support hints.
    if not has_flag(options.beam, "--resource_hint", "--resource_hints", "--flexrs_goal"):
        flags += ["--resource_hints", f"min_ram={min_ram_gigabytes(options.recipe)}GB"]
    return flags


def min_ram_gigabytes(recipe: BeamRecipe) -> int:
    """Returns the memory in GB that a machine needs to convert one image of the recipe's `max_pixels`."""
    return math.ceil((WORKER_BYTES + BYTES_PER_PIXEL * recipe.max_pixels) / 1e9)
