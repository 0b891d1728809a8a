"""The whole job, from patterns to manifest: plan, run what is not done yet, add the receipts up."""

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
from typing import IO, Any

import msgspec

from preprocess import cli, palettes, progress, receipts, sources
from preprocess.cores import available_cores
from preprocess.file_types import Skipped
from preprocess.options import Options, has_flag
from preprocess.plan import Shard, digest_keys, make_plan, read_plan
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
DEBUG_ADVICE = "LINEWASH_DEBUG=1 in the environment shows what the workers print"
LONGEST_CAUSE = 1000  # characters; two long paths fit
LOCK = "lock"  # in the folder of unfinished things
LOCK_TRIES = 10


class JobError(RuntimeError):
    """Work that could not be finished; the message says what stands and what to do."""


class WorkersDiedError(RuntimeError):
    """Local workers died again and again; the message says of what, as far as it is known."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """A finished job: the manifest, and what this run added to it."""

    manifest: Manifest
    images: int  # converted or rejected in this run
    seconds: float
    skipped: Skipped = dataclasses.field(default_factory=Skipped)  # what is not taken for an image


def run(options: Options) -> Summary | None:
    """Makes the dataset, or finishes it; does nothing to one that is complete.

    None: the work was written down as a Dataflow template, and is yet to be done.

    Raises:
      SourceError, OutputError: the input or the output cannot be used; nothing was written.
      JobError: shards are missing or too many images were rejected; what is done stays done.
    """
    registry.set_options(options.beam)
    made = _check_directory(options.output)
    with _lock(options.output, made):
        skipped = Skipped()
        shards = make_plan(_images(options, skipped), options.layout, options.output, options.subset)
        if options.learn_colors:
            options = _with_learnt_palette(options, shards)
        found = receipts.load(options.output)
        receipts.check_output(options.output, found, shards, options.recipe)
        done = receipts.finished_shards(options.output, found, shards)
        if options.retry_rejects:
            done -= receipts.shards_with_unreadable(found)
        todo = [shard for shard in shards if shard.name not in done]
        started = time.monotonic()
        if todo:
            _write(options, todo, done)
            if options.template:
                return None
        summary = _finish(options, shards, sum(s.images for s in todo), time.monotonic() - started)
        _remove_work(options.output)
        return dataclasses.replace(summary, skipped=skipped)


def _images(options: Options, skipped: Skipped) -> Iterable[sources.Image]:
    """All images of all inputs. Where they lie in their tars is kept beside the dataset."""
    named = options.inputs.items()
    found = (sources.images(patterns, options.output, split, skipped) for split, patterns in named)
    return progress.counted(chain.from_iterable(found), "listing")


def _with_learnt_palette(options: Options, shards: list[Shard]) -> Options:
    """Learns the palette from the first images in the order of their hashes, or finds what was learnt before.

    It is kept beside the dataset: a rerun, also on a machine that computes a little differently, must not
    come to other colours.
    """
    lists = (read_plan(shard.plan) for shard in shards if shard.split == "train")
    sample = list(islice(chain.from_iterable(lists), palettes.SAMPLE_IMAGES))
    of = digest_keys([options.recipe.fingerprint, *(image.key for image in sample)])
    name = f"{files.INDEX_DIR}/kmeans-{options.learn_colors}-{of}.json"
    saved = files.join(options.output, name)
    if files.size(saved) < 0:
        files.write(options.output, name, msgspec.json.encode(_learn(options, sample)))
    palette = palettes.load_learnt_palette(files.read(saved), saved)
    return dataclasses.replace(options, recipe=dataclasses.replace(options.recipe, palette=palette))


def _learn(options: Options, sample: list[sources.Image]) -> Palette:
    """Learns the palette from `sample`.

    Raises:
      PaletteError: too few different colours to learn from.
      JobError: memory ran out; the message names the image that was in hand.
    """
    current_image = ""

    def each() -> Iterator[sources.Image]:
        nonlocal current_image
        for image in progress.counted(sample, "learning the palette", len(sample)):
            current_image = f": in hand was {describe_location(image)}"
            yield image
        current_image = ""

    try:
        return palettes.learn_from(each(), options.recipe, options.learn_colors, options.layout.seed)
    except MemoryError:
        raise JobError(f"there is not enough memory to learn the palette{current_image}") from None


def _write(options: Options, todo: list[Shard], done: set[str]) -> None:
    """Runs the pipeline over `todo`. Receipts that cannot be trusted go first, and so does the manifest."""
    for stale in [MANIFEST_NAME, *(ShardReceipt.name(shard.name) for shard in todo)]:
        files.remove(options.output, stale)
    images = sum(shard.images for shard in todo)
    with progress.shown(options.output, images, {ShardReceipt.name(name) for name in done}):
        try:
            _run_with_retries(options, todo)
        except Exception as e:  # Beam wraps whatever went wrong, in a worker or a service, in its own kinds
            log = _save_traceback(options.output, e)
            finished = receipts.finished_shards(options.output, receipts.load(options.output), todo)
            raise JobError(
                f"the job failed: {_error_line(e)}. {len(finished) + len(done)} of {len(todo) + len(done)} "
                f"shards are finished and kept; run the same command again to continue{log}"
            ) from None


def _run_with_retries(options: Options, todo: list[Shard]) -> None:
    """Runs the pipeline; a local worker that dies costs the shards in flight, not the job.

    Raises:
      WorkersDiedError: workers died in all `ATTEMPTS` runs.
    """
    deaths: list[WorkerDiedError] = []
    while len(deaths) < ATTEMPTS:
        try:
            _run_pipeline(options, todo)
            return
        except WorkerDiedError as e:
            deaths.append(e)
            if len(deaths) < ATTEMPTS:
                cli.complain(f"{e}; starting again with what is missing")
                done = receipts.finished_shards(options.output, receipts.load(options.output), todo)
                todo = [shard for shard in todo if shard.name not in done]
    raise WorkersDiedError(
        f"{deaths[-1]}; workers died in all {ATTEMPTS} attempts{_advice(deaths)}; {DEBUG_ADVICE}"
    )


def _advice(deaths: list[WorkerDiedError]) -> str:
    """What to do about workers that died: leave out the image that ended several, or use less memory."""
    current = [death.current_image for death in deaths if death.current_image]
    images = Counter(each.image for each in current if each.image)
    for image, times in images.most_common(1):
        if times > 1:
            return f": {times} of {len(deaths)} died of {describe_location(image)}: move it out of the input"
    if all(death.code == -signal.SIGKILL for death in deaths):
        return ": if memory ran out, give fewer workers, as with --direct_num_workers 1"
    return ""


def _run_pipeline(options: Options, todo: list[Shard]) -> None:
    if options.local:
        _run_locally(options, todo)
    else:
        _run_on_named_runner(options, todo)


def _run_locally(options: Options, todo: list[Shard]) -> None:
    """Runs the pipeline on the cores of this machine."""
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

    from preprocess.runners import local

    # An explicit list: without one Beam would parse this program's own command line.
    flags = PipelineOptions(options.beam)
    direct = flags.view_as(DirectOptions)
    if not has_flag(options.beam, "--direct_num_workers") or not direct.direct_num_workers:
        direct.direct_num_workers = available_cores()  # Beam's own default is one
    with _temporary_folder() as folder:
        queue = ShardQueue(todo, folder)
        try:
            local.run(_graph(options, todo, flags, local.runner(flags), queue))
        except WorkerDiedError as e:
            raise WorkerDiedError(e.process, e.code, queue.current_image(e.process)) from None


def _run_on_named_runner(options: Options, todo: list[Shard]) -> None:
    """Runs the pipeline on the runner that was named, or writes it down as a template."""
    from apache_beam.options.pipeline_options import PipelineOptions

    with _temporary_folder() as folder:
        flags = PipelineOptions([*options.beam, *dataflow.flags(options, folder)])
        running = _graph(options, todo, flags).run()
    if options.template:
        return
    try:
        running.wait_until_finish()
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # best effort: the service may be what is gone
            running.cancel()
        raise


@contextlib.contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder for temporary files, Beam's too: it forgets its own when a pipeline does not end by itself."""
    with tempfile.TemporaryDirectory(prefix="linewash-", ignore_cleanup_errors=True) as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def _graph(
    options: Options, todo: list[Shard], flags: Any, runner: Any = None, queue: ShardQueue | None = None
) -> Any:
    """The Beam pipeline over `todo`; without `runner`, for the one that `flags` name."""
    import apache_beam as beam

    from preprocess import pipeline

    graph = beam.Pipeline(runner=runner, options=flags)
    pipeline.build(graph, todo, options.recipe, options.layout.compression, options.output, queue)
    return graph


def _finish(options: Options, shards: list[Shard], images: int, seconds: float) -> Summary:
    """Adds the receipts up: the rejects ledger, the check of their share, the manifest."""
    names = {shard.name for shard in shards}
    found = receipts.load(options.output, names)
    if missing := names - receipts.finished_shards(options.output, found, shards):
        raise JobError(f"{len(missing)} shards are missing, {min(missing)} first: run the same command again")
    receipts.write_rejects(options.output, found)
    _check_rejects(options, found, sum(shard.images for shard in shards))
    try:
        manifest = receipts.write_manifest(
            options.output, found, options.recipe, options.layout, _patterns(options)
        )
    except SchemaError as e:
        folder = files.join(options.output, RECEIPTS_DIR)
        raise JobError(f"a receipt in {folder} is damaged ({e}): remove the folder and run again") from None
    return Summary(manifest, images, seconds)


def _patterns(options: Options) -> list[str]:
    """What the command line named, as the manifest tells it: in UTF-8, other bytes escaped."""
    named = {None: "", "train": "train: ", "val": "val: "}
    texts = [named[split] + pattern for split, patterns in options.inputs.items() for pattern in patterns]
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _check_rejects(options: Options, found: receipts.Receipts, images: int) -> None:
    reasons = receipts.rejected(found)
    kept = images - reasons.total()
    if reasons.total() > options.max_reject_fraction * images or not kept:
        counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        advice = (
            "nothing is left to train on"
            if not kept
            else f"look at {files.join(options.output, REJECTS_NAME)}, then run again with a larger "
            "--max_reject_fraction to accept them (no image is converted again)"
        )
        raise JobError(
            f"{reasons.total():,} of {images:,} images were rejected ({counts}), more than "
            f"--max_reject_fraction {options.max_reject_fraction}: {advice}"
        )


def _check_directory(output: str) -> list[Path]:
    """Makes it; refuses one that holds somebody's files, which "remove it and run again" would take along.

    Returns:
      The local folders that were made, the innermost first.
    """
    if files.is_remote(output):
        try:  # before a long listing, not after it
            files.write(output, f"{files.WORK_DIR}/writable", b"")
        except StorageError as e:
            raise receipts.OutputError(str(e)) from None
        return []
    missing = [folder for folder in (Path(output), *Path(output).parents) if not folder.exists()]
    try:
        files.make_folder(Path(output))
    except OSError as e:
        raise receipts.OutputError(
            f"--output {output} is not a directory that can be made: {e.strerror}"
        ) from None
    if other := receipts.first_unknown_file(output):
        raise receipts.OutputError(
            f"--output {output} holds other things ({other}): type the name of a new directory"
        )
    return missing


@contextlib.contextmanager
def _lock(output: str, made: list[Path]) -> Iterator[None]:
    """Keeps a second job out of a local dataset directory; the kernel lets go when the holder dies.

    A job that is refused before it begins leaves nothing: empty folders in `made` are removed.
    """
    if files.is_remote(output):
        yield
        return
    with _locked_file(output):
        try:
            yield
        except (sources.SourceError, receipts.OutputError, palettes.PaletteError):
            _remove_work(output)  # nothing was begun
            with contextlib.suppress(OSError):  # one that is not empty: a palette or an index was kept
                for folder in made:
                    folder.rmdir()
            raise


def _locked_file(output: str) -> IO[str]:
    """The lock of a local dataset directory, held until the file is closed."""
    path = Path(output, files.WORK_DIR, LOCK)
    busy = receipts.OutputError(f"another job is writing to {output}: wait until it is done")
    for _ in range(LOCK_TRIES):
        try:
            path.parent.mkdir(exist_ok=True)
            file = path.open("w")
        except FileNotFoundError:  # a job that was done removed the folder just now
            continue
        except OSError as e:
            raise receipts.OutputError(f"cannot write to --output {output}: {e.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise busy from None
        # Who locks the file of a job that was done, which removed it, keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()
    raise busy


def _remove_work(output: str) -> None:
    """Removes the folder of unfinished things; of a local one the lock last, for then another may begin."""
    if not files.is_remote(output):
        for path in Path(output, files.WORK_DIR).iterdir():
            if path.is_dir():
                files.remove_folder(output, f"{files.WORK_DIR}/{path.name}")
            elif path.name != LOCK:
                files.remove(output, f"{files.WORK_DIR}/{path.name}")
    files.remove_folder(output, files.WORK_DIR)


def _error_line(error: Exception) -> str:
    """The last line of Beam's report that names an error, without the words around it."""
    if isinstance(error, WorkersDiedError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    text = (named or lines or [type(error).__name__])[-1]
    around = r"^RuntimeError: (?=\w+(Error|Exception):)|([\w.]+\.)?ImageError: |\s*\[while running.*"
    return re.sub(around, "", text)[:LONGEST_CAUSE]


def _save_traceback(output: str, error: Exception) -> str:
    """Saves Beam's whole report for who wants it; gives the words that say where."""
    name = f"{files.WORK_DIR}/error.txt"
    try:
        files.write(output, name, "".join(traceback.format_exception(error)).encode())
    except OSError:
        return ""
    return f" (full report: {files.join(output, name)})"
