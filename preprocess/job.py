"""The whole job: plans the shards, runs the pipeline over the unfinished ones, and writes the manifest."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import re
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from preprocess import cli, palettes, progress, receipts, sources
from preprocess.cores import available_cores
from preprocess.file_types import Skipped
from preprocess.options import Options, has_flag
from preprocess.plan import Shard, digest_keys, make_plan, read_shard_list
from preprocess.recipe import GRID, Learnt
from preprocess.runners import dataflow
from preprocess.runners.shard_queue import ShardQueue, describe_location
from preprocess.runners.worker import WorkerDiedError
from preprocess.storage import files, registry
from preprocess.storage.base import StorageError
from tfrecords_schema import (
    MANIFEST_NAME,
    RECEIPTS_DIR,
    REJECTS_NAME,
    Manifest,
    Palette,
    SchemaError,
    ShardReceipt,
)

ATTEMPTS = 3  # runs of the pipeline within one command, when local workers die
DEBUG_ADVICE = "LINEWASH_DEBUG=1 in the environment shows the output of the workers"
MAX_ERROR_CHARS = 1000  # enough for two long paths


class JobError(RuntimeError):
    """A job that could not be finished. The message says how much is finished and what to do."""


class WorkersDiedError(RuntimeError):
    """Local workers died in every attempt. The message says why, if that is known."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """The result of a finished job: the manifest, and the work of this run."""

    manifest: Manifest
    num_images: int  # converted or rejected in this run
    seconds: float
    skipped: Skipped = dataclasses.field(default_factory=Skipped)  # files that are not images


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
    with _output_directory(options.output):
        skipped = Skipped()
        images, drawings = _find_images(options, skipped)
        shards = make_plan(images, options.sharding, options.output, options.subset, drawings)
        if isinstance(options.recipe.palette, Learnt):
            palette = _learnt_palette(options, options.recipe.palette.colors, shards)
            recipe = dataclasses.replace(options.recipe, palette=palette)
            options = dataclasses.replace(options, recipe=recipe)
        existing = receipts.load(options.output)
        receipts.check_output(options.output, existing, shards, options.recipe)
        finished = receipts.finished_shards(options.output, existing, shards)
        if options.retry_rejects:
            finished -= receipts.shards_with_unreadable(existing)
        unfinished = [shard for shard in shards if shard.name not in finished]
        start = time.monotonic()
        if unfinished:
            _write_shards(options, unfinished, finished)
            if options.template:
                return None
        seconds = time.monotonic() - start
        manifest = _finish(options, shards)
        files.remove_folder(options.output, files.WORK_DIR)
        return Summary(manifest, sum(shard.num_images for shard in unfinished), seconds, skipped)


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
    found = progress.count_images(chain.from_iterable(images), "listing")
    if not options.drawings:
        return found, None
    places = [f"{number}:" if by_place else "" for number in range(len(options.drawings))]
    drawings = sources.images(options.drawings, options.output, None, skipped, places)
    return found, progress.count_images(drawings, "listing the drawings")


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


def _write_shards(options: Options, unfinished: list[Shard], finished: set[str]) -> None:
    """Runs the pipeline over the unfinished shards, after removing their receipts and the manifest."""
    for name in [MANIFEST_NAME, *(ShardReceipt.name(shard.name) for shard in unfinished)]:
        files.remove(options.output, name)
    num_images = sum(shard.num_images for shard in unfinished)
    old_receipts = {ShardReceipt.name(name) for name in finished}
    with progress.show_progress(options.output, num_images, old_receipts):
        try:
            _run_with_retries(options, unfinished)
        except Exception as e:  # Beam wraps the errors of workers and services in exceptions of many types
            report = _save_traceback(options.output, e)
            now_finished = receipts.finished_shards(options.output, receipts.load(options.output), unfinished)
            raise JobError(
                f"the job failed: {_error_line(e)}. {len(now_finished) + len(finished)} of "
                f"{len(unfinished) + len(finished)} shards are finished and kept; run the same command again "
                f"to continue{report}"
            ) from None


def _run_with_retries(options: Options, shards: list[Shard]) -> None:
    """Runs the pipeline, and runs it again for the unfinished shards when a local worker dies.

    Raises:
      WorkersDiedError: workers died in all `ATTEMPTS` runs.
    """
    deaths: list[WorkerDiedError] = []
    while len(deaths) < ATTEMPTS:
        try:
            _run_pipeline(options, shards)
            return
        except WorkerDiedError as e:
            deaths.append(e)
            if len(deaths) < ATTEMPTS:
                cli.print_error(f"{e}; starting again with the unfinished shards")
                finished = receipts.finished_shards(options.output, receipts.load(options.output), shards)
                shards = [shard for shard in shards if shard.name not in finished]
    raise WorkersDiedError(
        f"{deaths[-1]}; workers died in all {ATTEMPTS} attempts{_advice(deaths)}; {DEBUG_ADVICE}"
    )


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


def _run_pipeline(options: Options, shards: list[Shard]) -> None:
    if options.local:
        _run_locally(options, shards)
    else:
        _run_on_named_runner(options, shards)


def _run_locally(options: Options, shards: list[Shard]) -> None:
    """Runs the pipeline on the cores of this machine."""
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

    from preprocess.runners import local

    # An explicit list, because without one Beam parses the command line of this process.
    beam_options = PipelineOptions(options.beam)
    direct = beam_options.view_as(DirectOptions)
    if not has_flag(options.beam, "--direct_num_workers") or not direct.direct_num_workers:
        direct.direct_num_workers = available_cores()  # Beam's default is 1
    with _temporary_folder() as folder:
        queue = ShardQueue(shards, folder)
        try:
            local.run(_build_pipeline(options, shards, beam_options, local.runner(beam_options), queue))
        except WorkerDiedError as e:
            raise WorkerDiedError(e.pid, e.code, queue.current_image(e.pid)) from None


def _run_on_named_runner(options: Options, shards: list[Shard]) -> None:
    """Runs the pipeline on the runner named on the command line, or writes it as a template."""
    from apache_beam.options.pipeline_options import PipelineOptions

    with _temporary_folder() as folder:
        beam_options = PipelineOptions([*options.beam, *dataflow.extra_flags(options, folder)])
        result = _build_pipeline(options, shards, beam_options).run()
    if options.template:
        return
    try:
        result.wait_until_finish()
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # the service may be unreachable
            result.cancel()
        raise


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """Makes a folder for temporary files, also for Beam's, which Beam leaves behind when a pipeline fails."""
    with tempfile.TemporaryDirectory(prefix="linewash-", ignore_cleanup_errors=True) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _build_pipeline(
    options: Options,
    shards: list[Shard],
    beam_options: Any,
    runner: Any = None,
    queue: ShardQueue | None = None,
) -> Any:
    """Returns the Beam pipeline over `shards`. Without `runner`, `beam_options` name one."""
    import apache_beam as beam

    from preprocess import pipeline

    beam_pipeline = beam.Pipeline(runner=runner, options=beam_options)
    pipeline.build(beam_pipeline, shards, options.recipe, options.sharding.compression, options.output, queue)
    return beam_pipeline


def _finish(options: Options, shards: list[Shard]) -> Manifest:
    """Writes rejects.jsonl, checks the fraction of rejects, and writes the manifest."""
    names = {shard.name for shard in shards}
    existing = receipts.load(options.output, names)
    if missing := names - receipts.finished_shards(options.output, existing, shards):
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


@contextlib.contextmanager
def _output_directory(output: str) -> Iterator[None]:
    """Makes the output directory, locks it during the block, and checks that files can be written to it.

    A local job that is refused before it writes a shard removes the folders that it made, unless a palette or
    an index was saved in them. Buckets have no lock.

    Raises:
      OutputError: the directory cannot be used; the message says why.
    """
    if files.is_remote(output):
        _check_writable(output)
        yield
        return
    new_folders = _make_directory(output)
    with _lock(output):
        try:
            _check_writable(output)
            yield
        except (sources.SourceError, receipts.OutputError, palettes.PaletteError):
            files.remove_folder(output, files.WORK_DIR)
            with contextlib.suppress(OSError):  # the folder is not empty
                for folder in new_folders:
                    folder.rmdir()
            raise


def _make_directory(output: str) -> list[Path]:
    """Makes the local output directory, and refuses one that contains files which are not of a dataset.

    Such files would be lost when a later message advises to remove the directory.

    Returns:
      The folders that were made, the innermost first.
    """
    missing = [folder for folder in (Path(output), *Path(output).parents) if not folder.exists()]
    try:
        files.make_folder(Path(output))
    except OSError as e:
        raise receipts.OutputError(
            f"--output {output} is not a directory that can be made: {e.strerror}"
        ) from None
    if name := receipts.first_unknown_file(output):
        raise receipts.OutputError(
            f"--output {output} holds other files ({name}): type the name of a new directory"
        )
    return missing


@contextlib.contextmanager
def _lock(output: str) -> Iterator[None]:
    """Keeps a second job out of a local output directory. The kernel releases the lock when the process ends.

    Raises:
      OutputError: another job holds the lock.
    """
    # The directory itself is locked, so that no lock file can be left behind.
    try:
        descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise receipts.OutputError(f"cannot write to --output {output}: {e.strerror}") from None
    try:
        if not _try_lock(descriptor, output):
            raise receipts.OutputError(f"another job is writing to {output}: wait until it is done")
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, output: str) -> bool:
    """Returns False if another job holds the lock, or held it and then removed the directory."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), Path(output).stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _check_writable(output: str) -> None:
    """Writes a small file, so that a directory without write access is refused before the long listing."""
    try:
        files.write(output, f"{files.WORK_DIR}/writable", b"")
    except StorageError as e:
        raise receipts.OutputError(str(e)) from None
    except OSError as e:
        raise receipts.OutputError(f"cannot write to --output {output}: {e.strerror or e}") from None


def _error_line(error: Exception) -> str:
    """Returns the last line of Beam's report that names an error, without Beam's additions."""
    if isinstance(error, WorkersDiedError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    error_lines = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    text = (error_lines or lines or [type(error).__name__])[-1]
    additions = r"^RuntimeError: (?=\w+(Error|Exception):)|([\w.]+\.)?ImageError: |\s*\[while running.*"
    return re.sub(additions, "", text)[:MAX_ERROR_CHARS]


def _save_traceback(output: str, error: Exception) -> str:
    """Saves Beam's whole report. Returns the end of the message, which says where."""
    name = f"{files.WORK_DIR}/error.txt"
    try:
        files.write(output, name, "".join(traceback.format_exception(error)).encode())
    except OSError:
        return ""
    return f" (full report: {files.join(output, name)})"
