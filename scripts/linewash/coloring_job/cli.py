"""The command line of scripts/colorize_bucket.py and linewash-colorize-bucket."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from preprocess import cli

if TYPE_CHECKING:
    from linewash.coloring_job.job import Summary
    from linewash.coloring_job.options import Options

PROGRAM = "colorize_bucket.py"
STOPPED = "stopped; finished pictures are kept, run the same command again to continue"


def main(argv: list[str] | None = None) -> int:
    """Runs the job and returns the exit code, see `preprocess.cli.run_command`."""
    arguments = sys.argv[1:] if argv is None else argv
    return cli.run_command(lambda: _run(arguments), PROGRAM, STOPPED)


def _run(argv: list[str]) -> int:
    # Imported here, so that a missing package is reported in a sentence.
    from linewash.coloring_job import options
    from preprocess.__main__ import prepare
    from preprocess.options import UsageError

    try:
        parsed = options.parse(argv)
        _check_workers(parsed)  # first, because preparing asks Google's cloud
        prepare(parsed, "linewash.coloring_job.preload", options.build_parser())
    except UsageError as e:
        cli.print_error(str(e))
        return 2
    # These imports bring OpenCV and Beam along. --help and wrong flags must not wait for them.
    from linewash.coloring_job import job
    from preprocess.output_directory import OutputError
    from preprocess.sources import SourceError
    from training.errors import LinewashError

    try:
        summary = job.run(parsed)
    except (SourceError, OutputError) as e:
        cli.print_error(str(e))
        return 2
    except LinewashError as e:
        cli.print_error(str(e))
        return e.exit_code
    except job.JobError as e:
        cli.print_error(str(e))
        return 1
    cli.print_text(_summary_text(summary, parsed.output))
    return 0


def _check_workers(options: Options) -> None:
    """Refuses Dataflow's own image for workers: it gets linewash's preprocess, but not the colouring."""
    from preprocess.options import UsageError, has_flag
    from preprocess.runners import dataflow

    if dataflow.is_selected(options) and not has_flag(options.beam, *dataflow.IMAGE_FLAGS):
        raise UsageError(
            "on Dataflow, give --sdk_container_image an image that has linewash[preprocess,onnx]"
        )


def _summary_text(summary: Summary, output: str) -> str:
    num_rejects = summary.rejects.total()
    lines = [
        f"{summary.num_drawings - num_rejects:,} of {summary.num_drawings:,} drawings coloured: {output}"
    ]
    if summary.num_new:
        rate = summary.num_new / max(summary.seconds, 1e-9)
        lines.append(
            f"{summary.num_new:,} of them in this run: {summary.seconds:.1f} s ({rate:.2f} drawings/s)"
        )
    else:
        lines.append("Nothing to do: all drawings are coloured or rejected.")
    if num_rejects:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in summary.rejects.most_common())
        lines.append(f"rejected: {counts} (see {output}/rejects.jsonl)")
    if skipped := str(summary.skipped):
        lines.append(skipped)
    return "\n".join(lines)
