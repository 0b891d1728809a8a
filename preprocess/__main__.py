"""The command `linewash-preprocess`, also started as `python -m preprocess`."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from preprocess import cli

if TYPE_CHECKING:
    import argparse

    from preprocess.job import Summary
    from preprocess.runners.dataflow import BeamJob

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
        prepare(parsed)
    except options.UsageError as e:
        cli.print_error(str(e))
        return 2
    # These imports bring Beam along. --help and wrong flags of linewash must not wait for it.
    from preprocess import job, output_directory, palettes, sources

    try:
        summary = job.run(parsed)
    except (sources.SourceError, output_directory.OutputError, palettes.PaletteError) as e:
        cli.print_error(str(e))
        return 2
    except job.JobError as e:
        cli.print_error(str(e))
        return 1
    cli.print_text(_summary_text(summary, parsed.output) if summary else TEMPLATE_WRITTEN)
    return 0


def prepare(
    options: BeamJob, preload: str | None = None, own_parser: argparse.ArgumentParser | None = None
) -> None:
    """Sets up logging, starts the server of the local workers, and checks Beam's flags.

    Args:
      options: of a job of any command.
      preload: the module that local workers import; that of preprocess by default.
      own_parser: of the command; that of preprocess by default.

    Raises:
      UsageError: a flag is unknown, or one that the runner needs is missing or wrong.
      ConnectionError: a service that the runner needs does not answer.
    """
    from preprocess.options import check_beam_flags, is_local
    from preprocess.runners import worker

    if is_local(options.beam):
        # Beam logs pages about optional packages and failed workers. The command reports failures itself.
        logging.disable(logging.CRITICAL)
        worker.start_server(preload or worker.PRELOAD)
    else:
        logging.basicConfig(level=logging.INFO)  # shows the id, console link and state of a remote job
        for logger in ("typehints", "runners.worker", "runners.portability.local_job_service"):
            logging.getLogger(f"apache_beam.{logger}").setLevel(logging.WARNING)
        logging.getLogger().handlers[0].addFilter(_is_single_line)
    check_beam_flags(options.beam, own_parser)
    from preprocess.runners import dataflow, preflight

    dataflow.check(options)
    preflight.check(options)


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
    if stages := summary.stage_milliseconds:
        lines.append("per image: " + ", ".join(f"{stage} {ms:.2g} ms" for stage, ms in stages.items()))
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
