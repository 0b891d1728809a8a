"""Runs preprocessing, training and serving side by side and checks that none of them grows or slows down.

    python scripts/bench/soak.py --output out/soak                an hour
    python scripts/bench/soak.py --output out/soak --minutes 5

The images are storybook scenes, hard-linked under so many names that the Beam job cannot finish early. The
job, an endless training and the page run as their users start them, while a client sends different drawings
to the page. Every few seconds the script reads the resident memory, open files and CPU time of each command
and its children from Linux's /proc. It counts finished work from the receipts, from history.csv and from the
page's responses. The measured time starts when each command has finished some work. At the end each command
gets Ctrl-C.

It writes soak.json and soak.png. The exit code is 1 if, compared with the start, the last tenth of the time
has over 5 % more memory, more open files, or over 5 % less work per CPU second. Memory and files are compared
with the second tenth, work with the first. The work per second of wall time is only shown, because it also
depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import duplicate_images
from bench.processes import descendants, python_command, run_timed, usage_of
from linewash.arguments import Parser, local_path, positive, run

from preprocess.cores import available_cores
from training.atomic_files import atomic_write
from training.errors import WorkError

NUM_SCENES = 1000
MAX_IMAGES_PER_CORE_SECOND = 500  # above what the job converts beside the other two commands
SAMPLE_SECONDS = 5.0
STOP_TIMEOUT = 120  # seconds
TOLERANCE = 0.05  # fraction by which memory may grow and throughput may fall


@dataclass
class MonitoredCommand:
    """A running command.

    Attributes:
      name: shown in the table; also the name of the log.
      unit: unit of the finished work.
      process: the process of the command.
      samples: (seconds, MB, open files, CPU seconds), summed over the command and its children.
      work: (seconds, amount) of each piece of finished work.
    """

    name: str
    unit: str
    process: subprocess.Popen[str]
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)
    work: list[tuple[float, float]] = field(default_factory=list)

    def sample(self, now: float) -> None:
        """Adds a sample."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        usages = [usage for usage in map(usage_of, pids) if usage]
        if usages:
            memory, files, cpu = (sum(column) for column in zip(*usages, strict=True))
            self.samples.append((now, memory, int(files), cpu))

    def start_clock_at(self, start: float) -> None:
        """Drops samples and work before `start` and makes times relative to it."""
        self.samples = [(t - start, *rest) for t, *rest in self.samples if t >= start]  # type: ignore[misc]
        self.work = [(t - start, amount) for t, amount in self.work if t >= start]


# ------------------------------------------------------------------------------------------ the commands


def prepare(folder: Path, minutes: float) -> int:
    """Writes the scenes, a dataset of them, and more links to them than the job can convert in time.

    Returns:
      The number of links.
    """
    scenes, dataset = folder / "scenes", folder / "dataset"
    run_timed(python_command("scripts/make_storybook.py", scenes, "--count", NUM_SCENES, "--seed", 0))
    run_timed(python_command("-m", "preprocess", "--input", scenes, "--output", dataset))
    count = round(MAX_IMAGES_PER_CORE_SECOND * available_cores() * 60 * (minutes + 5))
    duplicate_images(scenes, folder / "links", count)
    return count


def start(folder: Path, commands: list[MonitoredCommand]) -> str:
    """Starts preprocessing, training and serving, and returns the page's address.

    It adds each command to `commands` at once, so that the caller can stop it if a later one fails.

    Raises:
      WorkError: the page does not start.
    """

    def start_command(name: str, unit: str, *arguments: object) -> MonitoredCommand:
        log = (folder / f"{name}.log").open("w")
        stdout = subprocess.PIPE if name == "serving" else log
        process = subprocess.Popen(python_command(*arguments), cwd=ROOT, stdout=stdout, stderr=log, text=True)
        commands.insert(0, MonitoredCommand(name, unit, process))
        return commands[0]

    serving = start_command("serving", "drawings", "scripts/serve.py", "--port", 0)
    assert serving.process.stdout
    address = re.search(r"http://\S+?(?=/?\s)", serving.process.stdout.readline() + " ")
    if not address:
        raise WorkError(f"the page did not start: {end_of_log(folder / 'serving.log')}")
    job = ["-m", "preprocess", "--input", folder / "links", "--output", folder / "converted"]
    training = [
        "-m", "training", f"data.root={folder / 'dataset'}", "experiment=storybook", "trainer.epochs=null",
        "trainer.max_minutes=100000", f"hydra.run.dir={folder / 'run'}",
    ]  # fmt: skip
    start_command("training", "images", *training)
    start_command("preprocessing", "images", *job)
    return address[0]


# ------------------------------------------------------------------------------------- their finished work


def send_drawings(address: str, stop: threading.Event, on_response: Callable[[], None]) -> None:
    """Sends different drawings to the page, one after the other, until `stop` is set."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    while not stop.is_set():
        pixels = np.full((512, 512), 255, np.uint8)
        for _ in range(12):
            cv2.polylines(pixels, [generator.integers(0, 512, (4, 1, 2), np.int32)], False, 0, 3)
        drawing = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
        body = json.dumps({"drawing": drawing}).encode()
        request = urllib.request.Request(f"{address}/color", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                response.read()
        except OSError:
            if stop.is_set():
                return
            raise
        on_response()


def new_receipts(folder: Path, seen: set[str]) -> Iterator[tuple[float, float]]:
    """Yields the time of day and number of examples of each receipt not in `seen`, and adds it there."""
    from tfrecords_schema import ShardReceipt

    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.name.endswith(".json") and entry.name not in seen:
            seen.add(entry.name)
            receipt = ShardReceipt.from_json(Path(entry.path).read_bytes(), entry.path)
            yield entry.stat().st_mtime, receipt.shard.examples


def count_epochs(history: Path) -> int:
    """Returns the number of epochs in history.csv."""
    if not history.exists():
        return 0
    with history.open(newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def monitor(folder: Path, commands: list[MonitoredCommand], address: str, minutes: float) -> None:
    """Samples the commands for `minutes`, which begin when each command has finished some work."""
    from tfrecords_schema import RECEIPTS_DIR

    preprocessing, training, serving = commands
    stop = threading.Event()
    client = threading.Thread(
        target=send_drawings, args=(address, stop, lambda: serving.work.append((time.monotonic(), 1.0)))
    )
    client.start()
    seen: set[str] = set()
    clock_offset = time.time() - time.monotonic()  # the times of files are times of day
    examples = json.loads((folder / "dataset/manifest.json").read_text())["splits"]["train"]["examples"]
    started = None
    try:
        while started is None or time.monotonic() - started < minutes * 60:
            check(commands, client, folder)
            for command in commands:
                samples = command.samples
                if not samples or time.monotonic() - samples[-1][0] >= min(SAMPLE_SECONDS, minutes):
                    command.sample(time.monotonic())
            receipts = sorted(new_receipts(folder / "converted" / RECEIPTS_DIR, seen))
            preprocessing.work += [(t - clock_offset, count) for t, count in receipts]
            for _ in range(count_epochs(folder / "run/history.csv") - len(training.work)):
                training.work.append((time.monotonic(), examples))
            if started is None and all(command.work for command in commands):
                started = time.monotonic()
            time.sleep(1)
    finally:
        stop.set()
        client.join()
    for command in commands:
        command.start_clock_at(started)


def check(commands: list[MonitoredCommand], client: threading.Thread, folder: Path) -> None:
    """Checks that all commands and the client are running.

    Raises:
      WorkError: a command has ended, or the page did not respond to a drawing.
    """
    for command in commands:
        if command.process.poll() is not None:
            log = end_of_log(folder / f"{command.name}.log")
            raise WorkError(f"{command.name} ended by itself: {log}")
    if not client.is_alive():
        raise WorkError(f"the page did not respond to a drawing: {end_of_log(folder / 'serving.log')}")


def end_of_log(path: Path) -> str:
    """Returns the last 1,000 characters of a log."""
    return path.read_text(errors="replace")[-1000:].strip()


def stop_all(commands: list[MonitoredCommand]) -> dict[str, int | None]:
    """Sends Ctrl-C to each command. Returns the exit codes; None for a command that does not end."""
    for command in commands:
        command.process.send_signal(signal.SIGINT)
    codes: dict[str, int | None] = {}
    for command in commands:
        try:
            codes[command.name] = command.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            codes[command.name] = None
    return codes


# ------------------------------------------------------------------------------------------ the figures


def select_tenth(series: list[Any], number: int, seconds: float) -> list[Any]:
    """Returns the rows of a series in one tenth of the time, counted from 0."""
    return [row for row in series if number <= row[0] / seconds * 10 < number + 1]


def rates_by_tenth(command: MonitoredCommand, seconds: float) -> list[tuple[float, float]]:
    """Returns the work per second of wall time and per CPU second in each tenth of the time.

    A rate is measured between the first and the last piece of work of the tenth. It is NaN for fewer than
    two.
    """
    rates = []
    for number in range(10):
        events = select_tenth(command.work, number, seconds)
        if len(events) < 2:
            rates.append((float("nan"), float("nan")))
            continue
        first, last = events[0][0], events[-1][0]
        amount = sum(count for _, count in events[1:])
        cpu = cpu_at(command, last) - cpu_at(command, first)
        rates.append((amount / (last - first), amount / cpu if cpu else float("nan")))
    return rates


def cpu_at(command: MonitoredCommand, seconds: float) -> float:
    """Returns the CPU seconds that a command had used at a time, interpolated between samples."""
    import numpy as np

    times, _, _, cpu = zip(*command.samples, strict=True)
    return float(np.interp(seconds, np.array(times), np.array(cpu)))


def median_or_nan(values: list[float]) -> float:
    """Returns the median, or NaN if there are no values."""
    return statistics.median(values) if values else float("nan")


def summarize(command: MonitoredCommand, seconds: float) -> dict[str, Any]:
    """Returns the figures of one command; "wrong" lists what has grown or slowed down."""
    early, late = (select_tenth(command.samples, number, seconds) for number in (1, 9))
    memory = [median_or_nan([row[1] for row in rows]) for rows in (early, late)]
    files = [median_or_nan([row[2] for row in rows]) for rows in (early, late)]
    rates = rates_by_tenth(command, seconds)
    wrong = []
    if memory[1] > memory[0] * (1 + TOLERANCE):
        wrong.append(f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} MB")
    if files[1] > files[0]:
        wrong.append(f"open files grew from {files[0]:.0f} to {files[1]:.0f}")
    if not rates[9][1] >= rates[0][1] * (1 - TOLERANCE):
        wrong.append(f"work per CPU second fell from {rates[0][1]:.2f} to {rates[9][1]:.2f}")
    return {
        "unit": command.unit, "done": sum(count for _, count in command.work),
        "memory_mb": memory, "open_files": files,
        "peak_mb": max(row[1] for row in command.samples), "per_second": [rate for rate, _ in rates],
        "per_cpu_second": [rate for _, rate in rates], "wrong": wrong, "samples": command.samples,
    }  # fmt: skip


def table_lines(summaries: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table. "2nd", "1st" and "last" are tenths of the time."""
    yield (
        f"{'':15}{'done':>10}  {'MB 2nd, last':>20}{'files 2nd, last':>17}{'per s 1st, last':>18}"
        f"{'per CPU s 1st, last':>21}"
    )
    for name, row in summaries.items():
        both = [f"{a:,.0f} {b:,.0f}" for a, b in (row["memory_mb"], row["open_files"])]
        ends = [f"{row[key][0]:,.2f} {row[key][9]:,.2f}" for key in ("per_second", "per_cpu_second")]
        yield f"{name:15}{row['done']:10,.0f}  {both[0]:>20}{both[1]:>17}{ends[0]:>18}{ends[1]:>21}"
        yield from (f"    {reason}" for reason in row["wrong"])


def plot(summaries: dict[str, Any], path: Path) -> None:
    """Plots memory, open files and throughput of each command against minutes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6 * len(summaries)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(summaries), 3, sharex=True, squeeze=False)
    for row, (name, summary) in zip(axes, summaries.items(), strict=True):
        minutes = [sample[0] / 60 for sample in summary["samples"]]
        tenths = [(number + 0.5) * minutes[-1] / 10 for number in range(10)]
        row[0].plot(minutes, [sample[1] for sample in summary["samples"]], color="#1f5a85")
        row[0].set_ylabel(f"{name}, MB")
        row[1].plot(minutes, [sample[2] for sample in summary["samples"]], color="#1f5a85")
        row[1].set_ylabel("open files")
        row[2].plot(tenths, summary["per_second"], "o-", color="#9db4c8", label="second")
        row[2].plot(tenths, summary["per_cpu_second"], "o-", color="#1f5a85", label="CPU second")
        row[2].set_ylabel(f"{summary['unit']} per")
        for axis in row:
            axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][2].legend(frameon=False, loc="lower right")
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("bench/soak", __doc__)
    parser.add_argument(
        "-o", "--output", type=local_path, required=True, metavar="FOLDER", help="folder for the results"
    )
    parser.add_argument("--minutes", type=positive, default=60, help="measured time in minutes [60]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="all,demo")


def work(args: argparse.Namespace) -> int:
    """Runs the commands and writes the results. Returns 0, or 1 if a command has grown or slowed down."""
    args.output.mkdir(parents=True, exist_ok=True)
    # A shell ignores Ctrl-C for its background jobs, and the commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="linewash-soak-") as temporary:
        folder = Path(temporary)
        count = prepare(folder, args.minutes)
        print(f"{count:,} links to {NUM_SCENES:,} scenes; running {args.minutes:g} minutes", flush=True)
        commands: list[MonitoredCommand] = []
        try:
            address = start(folder, commands)
            monitor(folder, commands, address, args.minutes)
            summaries = {command.name: summarize(command, args.minutes * 60) for command in commands}
            plot(summaries, args.output / "soak.png")
            codes = stop_all(commands)
        finally:
            for command in commands:
                command.process.kill()
            for log in folder.glob("*.log"):
                (args.output / log.name).write_bytes(log.read_bytes())
    with atomic_write(args.output / "soak.json") as temporary_path:
        temporary_path.write_text(json.dumps({"exit_codes": codes, "commands": summaries}) + "\n")
    print("\n".join(table_lines(summaries)))
    print("exit codes after Ctrl-C: " + ", ".join(f"{name} {code}" for name, code in codes.items()))
    return int(any(summary["wrong"] for summary in summaries.values()))


if __name__ == "__main__":
    sys.exit(main())
