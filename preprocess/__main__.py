"""The command `linewash-preprocess`, also started as `python -m preprocess`."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from preprocess import cli

if TYPE_CHECKING:
    from preprocess.job import Summary
    from preprocess.options import Options

TEMPLATE_WRITTEN = (
    "the template is written; when Dataflow has run it, run the same command without --runner and "
    "--template_location: it finds the finished shards and writes the manifest"
)


def main(argv: list[str] | None = None) -> int:
    """Runs the job and returns the exit code, see `cli.run_command`."""
    return cli.run_command(lambda: _run(sys.argv[1:] if argv is None else argv))


def _run(argv: list[str]) -> int:
    # Imported here, so that a missing package is reported in a sentence.
    from preprocess import options

    try:
        parsed = options.parse(argv)
        _prepare(parsed)
    except options.UsageError as e:
        cli.print_error(str(e))
        return 2
    # These imports bring Beam along. --help and wrong flags of linewash must not wait for it.
    from preprocess import job, palettes, receipts, sources

    try:
        summary = job.run(parsed)
    except (sources.SourceError, receipts.OutputError, palettes.PaletteError) as e:
        cli.print_error(str(e))
        return 2
    except job.JobError as e:
        cli.print_error(str(e))
        return 1
    cli.print_text(_summary_text(summary, parsed.output) if summary else TEMPLATE_WRITTEN)
    return 0


def _prepare(options: Options) -> None:
    """Sets up logging, starts the server of the local workers, and checks Beam's flags.

    Raises:
      UsageError: a flag is unknown, or a flag that Dataflow needs is missing.
    """
    from preprocess.options import check_beam_flags
    from preprocess.runners import worker

    if options.local:
        # Beam logs pages about optional packages and failed workers. The command reports failures itself.
        logging.disable(logging.CRITICAL)
        worker.start_server()
    else:
        logging.basicConfig(level=logging.INFO)  # shows the id, console link and state of a remote job
        logging.getLogger("apache_beam.typehints").setLevel(logging.WARNING)
        logging.getLogger().handlers[0].addFilter(_is_single_line)
    check_beam_flags(options.beam)
    from preprocess.runners import dataflow

    dataflow.check(options)


def _is_single_line(record: logging.LogRecord) -> bool:
    """Filters out log records of several lines. The command reports a failure in one sentence."""
    record.exc_info = None
    return "\n" not in record.getMessage()


def _summary_text(summary: Summary, output: str) -> str:
    manifest = summary.manifest
    lines = []
    if summary.num_images:
        rate = summary.num_images / max(summary.seconds, 1e-9)
        lines.append(f"{summary.num_images:,} images in {summary.seconds:.1f} s ({rate:,.0f} images/s)")
    else:
        lines.append("Nothing to do: the dataset is complete.")
    if manifest.rejects:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejects.items())
        lines.append(f"rejected: {counts} (see {output}/rejects.jsonl)")
    if skipped := str(summary.skipped):
        lines.append(skipped)
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards)
        lines.append(
            f"{name:>5}: {split.examples:,} examples, {len(split.shards)} shards, {size / 1e6:,.1f} MB"
        )
    lines.append(
        f"recipe {manifest.fingerprint}: {manifest.image_size} px, {len(manifest.palette)} colours, "
        f"lines {', '.join(manifest.lines)}"
    )
    lines.append(f"dataset: {output}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
