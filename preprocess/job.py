"""The whole job: plans the shards, runs the pipeline over the unfinished ones, and writes the manifest."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from preprocess import palettes, progress, receipts, sources
from preprocess.file_types import Skipped
from preprocess.options import Options
from preprocess.output_directory import output_directory
from preprocess.plan import Shard, digest_keys, make_plan, read_shard_list
from preprocess.recipe import GRID, Learnt
from preprocess.runners import dataflow
from preprocess.runners.launcher import Launcher, error_line, save_traceback
from preprocess.runners.shard_queue import ShardQueue, describe_location
from preprocess.storage import files, registry
from tfrecords_schema import (
    MANIFEST_NAME,
    RECEIPTS_DIR,
    REJECTS_NAME,
    Manifest,
    Palette,
    SchemaError,
    ShardReceipt,
)


class JobError(RuntimeError):
    """A job that could not be finished. The message says how much is finished and what to do."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a finished job: the manifest, and the work of this run."""

    manifest: Manifest
    num_images: int  # converted or rejected in this run
    seconds: float
    skipped: Skipped = dataclasses.field(default_factory=Skipped)  # files that are not images
    stage_milliseconds: dict[str, float] = dataclasses.field(default_factory=dict)  # mean time of an image


def run(options: Options) -> Summary | None:
    """Makes the dataset, or continues one that is unfinished. A complete dataset stays unchanged.

    Returns:
      The summary, or None if the job was written as a Dataflow template instead of being run.

    Raises:
      SourceError, OutputError, PaletteError: the input, the output directory or the palette cannot be used;
        no shard was written.
      JobError: shards are missing, or too many images were rejected. Finished shards are kept.
    """
    registry.set_options(options.beam)
    refusals = (sources.SourceError, palettes.PaletteError)
    with output_directory(options.output, receipts.first_unknown_file, refusals):
        skipped = Skipped()
        images, drawings = _find_images(options, skipped)
        shards = make_plan(images, options.sharding, options.output, options.subset, drawings)
        if isinstance(options.recipe.palette, Learnt):
            palette = _learnt_palette(options, options.recipe.palette.colors, shards)
            recipe = dataclasses.replace(options.recipe, palette=palette)
            options = dataclasses.replace(options, recipe=recipe)
        existing = receipts.load(options.output)
        receipts.check_output(options.output, existing, shards, options.recipe)
        finished = receipts.finished_shards(options.output, existing, shards, options.recipe)
        if options.retry_rejects:
            finished -= receipts.shards_with_unreadable(existing)
        unfinished = [shard for shard in shards if shard.name not in finished]
        start = time.monotonic()
        stage_milliseconds: dict[str, float] = {}
        if unfinished:
            stage_milliseconds = _write_shards(options, unfinished, finished)
            if options.template:
                return None
        seconds = time.monotonic() - start
        manifest = _finish(options, shards)
        files.remove_folder(options.output, files.WORK_DIR)
        num_images = sum(shard.num_images for shard in unfinished)
        return Summary(manifest, num_images, seconds, skipped, stage_milliseconds)


def _find_images(
    options: Options, skipped: Skipped
) -> tuple[Iterable[sources.Image], Iterable[sources.Image] | None]:
    """Returns the images of all inputs, and their drawings if they have any.

    An index of each tar file is kept in the dataset directory.
    """
    num_inputs = sum(map(len, options.inputs.values()))
    # A drawing is looked for in the pattern at the place of its input, if there are as many.
    by_place = num_inputs == len(options.drawings) > 1
    prefixes = iter([f"{number}:" if by_place else "" for number in range(num_inputs)])
    images = (
        sources.images(
            patterns, options.output, split, skipped,
            list(islice(prefixes, len(patterns))) if options.drawings else None,
        )
        for split, patterns in options.inputs.items()
    )  # fmt: skip
    counted = progress.count_images(chain.from_iterable(images), "listing")
    if not options.drawings:
        return counted, None
    places = [f"{number}:" if by_place else "" for number in range(len(options.drawings))]
    drawings = sources.images(options.drawings, options.output, None, skipped, places)
    return counted, progress.count_images(drawings, "listing the drawings")


def _learnt_palette(options: Options, num_colors: int, shards: list[Shard]) -> Palette:
    """Returns the palette learnt from the first train images in the order of their hashes.

    The palette is saved in the dataset directory. A later run loads it, because another machine may compute
    slightly different colours.
    """
    shard_lists = (read_shard_list(shard.list_path) for shard in shards if shard.split == "train")
    sample = list(islice(chain.from_iterable(shard_lists), palettes.SAMPLE_IMAGES))
    # The file name depends on the recipe. GRID takes the place of the palette, which is not learnt yet.
    settings = dataclasses.replace(options.recipe, palette=GRID).fingerprint
    digest = digest_keys([settings, *(image.key for image in sample)])
    name = f"{files.INDEX_DIR}/kmeans-{num_colors}-{digest}.json"
    path = files.join(options.output, name)
    if files.size(path) < 0:
        files.write(options.output, name, msgspec.json.encode(_learn_palette(options, num_colors, sample)))
    return palettes.load_learnt_palette(files.read(path), path)


def _learn_palette(options: Options, num_colors: int, sample: list[sources.Image]) -> Palette:
    """Learns the palette from the images of `sample`.

    Raises:
      PaletteError: the images have too few different colours.
      JobError: memory ran out; the message names the image that was being read.
    """
    current_image = ""

    def images() -> Iterator[sources.Image]:
        nonlocal current_image
        for image in progress.count_images(sample, "learning the palette", len(sample)):
            current_image = f" while reading {describe_location(image)}"
            yield image
        current_image = ""

    try:
        return palettes.learn_from_images(images(), options.recipe, num_colors, options.sharding.seed)
    except MemoryError:
        raise JobError(f"there is not enough memory to learn the palette{current_image}") from None


def _write_shards(options: Options, unfinished: list[Shard], finished: set[str]) -> dict[str, float]:
    """Runs the pipeline over the unfinished shards, after removing their receipts and the manifest.

    Returns:
      The mean time of an image in each stage, in milliseconds, if the runner reports it.
    """
    for name in [MANIFEST_NAME, *(ShardReceipt.name(shard.name) for shard in unfinished)]:
        files.remove(options.output, name)
    num_images = sum(shard.num_images for shard in unfinished)
    old_receipts = {ShardReceipt.name(name) for name in finished}
    with progress.show_progress(options.output, num_images, old_receipts):
        try:
            from preprocess.pipeline import stage_milliseconds

            result = _launcher(options).run(unfinished)
            return stage_milliseconds(result) if result else {}
        except Exception as e:  # Beam wraps the errors of workers and services in exceptions of many types
            report = save_traceback(options.output, e)
            now_finished = _load_finished(options, unfinished)
            raise JobError(
                f"the job failed: {error_line(e)}. {len(now_finished) + len(finished)} of "
                f"{len(unfinished) + len(finished)} shards are finished and kept; run the same command again "
                f"to continue{report}"
            ) from None


def _load_finished(options: Options, shards: list[Shard]) -> set[str]:
    """Returns the names of those shards that are finished."""
    return receipts.finished_shards(options.output, receipts.load(options.output), shards, options.recipe)


def _launcher(options: Options) -> Launcher:
    """Returns what runs the pipeline of `options`."""

    def add_steps(beam_pipeline: Any, shards: list[Shard], queue: ShardQueue | None) -> None:
        from preprocess import pipeline  # this imports Beam

        recipe, compression = options.recipe, options.sharding.compression
        pipeline.build(beam_pipeline, shards, recipe, compression, options.output, queue)

    def unfinished(shards: list[Shard]) -> list[Shard]:
        finished = _load_finished(options, shards)
        return [shard for shard in shards if shard.name not in finished]

    return Launcher(options.beam, add_steps, unfinished, lambda folder: dataflow.extra_flags(options, folder))


def _finish(options: Options, shards: list[Shard]) -> Manifest:
    """Writes rejects.jsonl, checks the fraction of rejects, and writes the manifest."""
    names = {shard.name for shard in shards}
    existing = receipts.load(options.output, names)
    if missing := names - receipts.finished_shards(options.output, existing, shards, options.recipe):
        raise JobError(f"{len(missing)} shards are missing, {min(missing)} first: run the same command again")
    receipts.write_rejects(options.output, existing)
    _check_rejects(options, existing, sum(shard.num_images for shard in shards))
    try:
        return receipts.write_manifest(
            options.output, existing, options.recipe, options.sharding, _patterns(options)
        )
    except SchemaError as e:
        folder = files.join(options.output, RECEIPTS_DIR)
        raise JobError(f"a receipt in {folder} is damaged ({e}): remove the folder and run again") from None


def _patterns(options: Options) -> list[str]:
    """Returns the input patterns for the manifest: UTF-8, with other bytes escaped."""
    prefixes = {None: "", "train": "train: ", "val": "val: "}
    texts = [prefixes[split] + pattern for split, patterns in options.inputs.items() for pattern in patterns]
    texts += [f"drawings: {pattern}" for pattern in options.drawings]
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _check_rejects(options: Options, existing: receipts.Receipts, num_images: int) -> None:
    reasons = receipts.count_rejects(existing)
    num_examples = num_images - reasons.total()
    if reasons.total() > options.max_reject_fraction * num_images or not num_examples:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        advice = (
            "nothing is left to train on"
            if not num_examples
            else f"look at {files.join(options.output, REJECTS_NAME)}, then run again with a larger "
            "--max_reject_fraction to accept them (no image is converted again)"
        )
        raise JobError(
            f"{reasons.total():,} of {num_images:,} images were rejected ({counts}), more than "
            f"--max_reject_fraction {options.max_reject_fraction}: {advice}"
        )
