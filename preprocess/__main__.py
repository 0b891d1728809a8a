"""`python -m preprocess`: the command line of the Beam job."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from preprocess import cli

if TYPE_CHECKING:
    from preprocess.job import Summary
    from preprocess.options import Options

HANDED_OVER = (
    "the job is written down; when Dataflow has run it, run the same command without --runner and "
    "--template_location: it finds the shards done, and writes the manifest"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the job; returns the exit code of `cli.exit_code`."""
    return cli.exit_code(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> int:
    # Imported here, so that a missing package is a sentence.
    from preprocess import options

    try:
        chosen = options.parse(argv)
        _prepare(chosen)
    except options.UsageError as e:
        cli.complain(str(e))
        return 2
    # From here on Beam is needed; --help and wrong flags of ours must not wait for it.
    from preprocess import job, palettes, receipts, sources

    try:
        summary = job.run(chosen)
    except (sources.SourceError, receipts.OutputError, palettes.PaletteError) as e:
        cli.complain(str(e))
        return 2
    except job.JobError as e:
        cli.complain(str(e))
        return 1
    cli.say(_describe(summary, chosen.output) if summary else HANDED_OVER)
    return 0


def _prepare(chosen: Options) -> None:
    """Sets up logging, begins to import Beam in the workers' server, and checks Beam's flags.

    Raises:
      UsageError: a flag is unknown, or what Dataflow needs is missing.
    """
    from preprocess import options
    from preprocess.runners import worker

    if chosen.local:
        # Beam warns of all it could not find, and reports a failed worker in pages: a sentence follows.
        logging.disable(logging.CRITICAL)
        worker.start_server()
    else:
        logging.basicConfig(level=logging.INFO)  # a service's job id, its console link, its state
        logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
        logging.getLogger().handlers[0].addFilter(_short)
    options.check_beam_flags(chosen.beam)
    from preprocess.runners import dataflow

    dataflow.check(chosen)


def _short(record: logging.LogRecord) -> bool:
    """Passes lines on but no pages: a sentence follows a failure, and says where the whole report is."""
    record.exc_info = None
    return "\n" not in record.getMessage()


def _describe(summary: Summary, output: str) -> str:
    manifest = summary.manifest
    lines = []
    if summary.images:
        rate = summary.images / max(summary.seconds, 1e-9)
        lines.append(f"{summary.images:,} images in {summary.seconds:.1f} s ({rate:,.0f} images/s)")
    else:
        lines.append("Nothing to do: the dataset is complete.")
    if manifest.rejects:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejects.items())
        lines.append(f"left out: {counts} (see {output}/rejects.jsonl)")
    if skipped := str(summary.skipped):
        lines.append(skipped)
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        lines.append(
            f"{name:>5}: {split.examples:,} examples, {len(split.shards)} shards, {size / 1e6:,.1f} MB"
        )
    lines.append(f"recipe {manifest.fingerprint}: {manifest.image_size} px, {len(manifest.palette)} colours")
    lines.append(f"dataset: {output}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
