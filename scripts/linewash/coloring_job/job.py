"""The whole job: plans the batches, runs the pipeline over them, and lists the rejected drawings."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from typing import Any

from linewash.coloring.colorizer import find_colors
from linewash.coloring_job import output
from linewash.coloring_job.batch_writer import RECEIPTS_DIR, Batch, count_batch, receipt_name
from linewash.coloring_job.drawings import NamedDrawing, check_output, find_drawings
from linewash.coloring_job.network_files import NetworkFiles, read_network
from linewash.coloring_job.options import Options
from preprocess import progress
from preprocess.file_types import Skipped
from preprocess.output_directory import output_directory
from preprocess.plan import Shard, digest_keys, write_shard_list
from preprocess.runners import dataflow
from preprocess.runners.launcher import Launcher, error_line, save_traceback
from preprocess.runners.shard_queue import ShardQueue
from preprocess.sources import SourceError
from preprocess.storage import files, registry
from tfrecords_schema import Reject

MAX_BATCH = 64  # drawings, which take about a minute of one core
MIN_BATCHES = 256  # so that all workers are busy to the end


class JobError(RuntimeError):
    """A job that could not be finished. The message says how much is finished and what to do."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a finished job.

    Attributes:
      num_drawings: of the input.
      num_new: coloured or rejected in this run.
      seconds: that this took.
      rejects: by reason.
      skipped: files that are not drawings.
    """

    num_drawings: int
    num_new: int
    seconds: float
    rejects: Counter[str]
    skipped: Skipped


def run(options: Options) -> Summary:
    """Colours the drawings, or those that an earlier run did not come to.

    Raises:
      UsageError, SourceError, OutputError: the network, the input or the output folder cannot be used;
        nothing was coloured.
      WorkError: the network is damaged.
      JobError: drawings are left, or too many were rejected. Finished pictures are kept.
    """
    registry.set_options(options.beam)
    network_files = read_network(options.run)
    network = network_files.check()
    if options.recipe.settings.reference is not None:
        network.require_reference()
    if options.recipe.settings.vivid:
        network.require_prior()
    if options.recipe.settings.only_colors is not None:
        find_colors(options.recipe.settings.only_colors, network.palette)  # a wrong one is reported first
    check_output(options.input, options.output)
    settings = {"network": network_files.sha256, **options.recipe.to_dict()}
    refusals = (SourceError,)
    with output_directory(options.output, _first_unknown_local_file, refusals):
        skipped = Skipped()
        drawings = find_drawings(options.input, options.output, skipped)
        names = output.file_names(options.output)
        output.check_settings(options.output, names, settings)
        rejects = _earlier_rejects(options, names, drawings)
        files.remove_folder(options.output, files.WORK_DIR)  # what a stopped run left
        todo = [
            drawing
            for drawing in drawings
            if drawing.image.key not in rejects and not _is_colored(drawing, names, options)
        ]
        start = time.monotonic()
        if todo:
            batches = _plan(todo, options.output)
            _color_batches(options, batches, network_files)
            rejects |= output.read_rejects(options.output, output.file_names(options.output))
        seconds = time.monotonic() - start
        output.write_rejects(options.output, rejects)
        files.remove_folder(options.output, files.WORK_DIR)
    reasons = Counter(reject.reason for reject in rejects.values())
    _check_rejects(options, reasons, len(drawings))
    return Summary(len(drawings), len(todo), seconds, reasons, skipped)


def _first_unknown_local_file(folder: str) -> str | None:
    return output.first_unknown_file(output.file_names(folder))


def _earlier_rejects(options: Options, names: set[str], drawings: list[NamedDrawing]) -> dict[str, Reject]:
    """Returns which of the drawings earlier runs rejected, by key, and saves those of a stopped run.

    They are not tried again, unless the command line asks for it.
    """
    keys = {drawing.image.key for drawing in drawings}
    rejects = output.read_rejects(options.output, names) if not options.retry_rejects else {}
    rejects = {key: reject for key, reject in rejects.items() if key in keys}
    output.write_rejects(options.output, rejects)
    return rejects


def _is_colored(drawing: NamedDrawing, names: set[str], options: Options) -> bool:
    """Returns whether all files of a drawing exist. They are whole, because each is written atomically."""
    return all(f"{drawing.stem}.{suffix}" in names for suffix in options.recipe.formats)


def _plan(drawings: list[NamedDrawing], folder: str) -> list[Batch]:
    """Divides the drawings into batches and writes their lists below `folder`/.work."""
    size = min(MAX_BATCH, -(-len(drawings) // MIN_BATCHES))
    batches = []
    for number, start in enumerate(range(0, len(drawings), size)):
        part = drawings[start : start + size]
        list_name = f"{files.WORK_DIR}/plan/{number:06d}.jsonl"
        write_shard_list(folder, list_name, [drawing.image for drawing in part])
        batches.append(
            Batch(
                split="",
                name=f"batch-{number:06d}",
                list_path=files.join(folder, list_name),
                num_images=len(part),
                images_digest=digest_keys(drawing.image.key for drawing in part),
                key_bytes=1,
                stems=tuple(drawing.stem for drawing in part),
            )
        )
    return batches


def _color_batches(options: Options, batches: list[Batch], network_files: NetworkFiles) -> None:
    """Runs the pipeline over the batches.

    Raises:
      JobError: it failed.
    """
    network_files.write(options.output)
    num_drawings = sum(batch.num_images for batch in batches)
    with progress.show_progress(options.output, num_drawings, folder=RECEIPTS_DIR, count=count_batch):
        try:
            _launcher(options).run(list(batches))
        except Exception as e:  # Beam wraps the errors of workers and services in exceptions of many types
            report = save_traceback(options.output, e)
            left = sum(batch.num_images for batch in _unfinished(options, list(batches)))
            raise JobError(
                f"the job failed: {error_line(e)}. {num_drawings - left} of {num_drawings} drawings are "
                f"finished and kept; run the same command again to continue{report}"
            ) from None
    if missing := _unfinished(options, list(batches)):
        raise JobError(f"{len(missing)} batches are missing: run the same command again")


def _launcher(options: Options) -> Launcher:
    """Returns what runs the pipeline of `options`."""

    def add_steps(beam_pipeline: Any, batches: list[Any], queue: ShardQueue | None) -> None:
        from linewash.coloring_job import pipeline  # this imports Beam

        pipeline.build(beam_pipeline, batches, options.recipe, options.output, queue)

    return Launcher(
        options.beam,
        add_steps,
        lambda batches: _unfinished(options, batches),
        lambda folder: dataflow.extra_flags(options, folder),
    )


def _unfinished(options: Options, batches: list[Shard]) -> list[Shard]:
    names = set(files.names(options.output, f"{RECEIPTS_DIR}/*.json"))
    return [batch for batch in batches if receipt_name(batch) not in names]


def _check_rejects(options: Options, reasons: Counter[str], num_drawings: int) -> None:
    if reasons.total() > options.max_reject_fraction * num_drawings:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        raise JobError(
            f"{reasons.total():,} of {num_drawings:,} drawings were rejected ({counts}), more than "
            f"--max_reject_fraction {options.max_reject_fraction}: the others are coloured; look at "
            f"{files.join(options.output, output.REJECTS_NAME)}"
        )
