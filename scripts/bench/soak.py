"""Preprocessing, training and serving side by side for an hour: does anything grow, or slow down?

    python scripts/bench/soak.py --out out/soak                an hour
    python scripts/bench/soak.py --out out/soak --minutes 5

Storybook scenes are drawn, and linked under so many names that the Beam job cannot end too soon. Then the
job, a training without end and the page run as their users start them, while drawings, each another, are sent
to the page one after the other. Every few seconds the resident memory, the open files and the processor
time of each and of its children are read from the kernel (so this needs Linux); what they got done is told by
the receipts, by history.csv and by the answers. The clock starts once each has got something done. At the end
each gets a Ctrl-C.

It leaves soak.json and soak.png, and ends with 1 if the last tenth of the time shows over 5 % more
memory than the second, more open files, or less done for a second of processor time than the first.
Per second of the clock is shown too: it also depends on what else the machine does.
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

from bench.preprocess import copies, descendants
from linewash.coloring.arguments import Parser, local_path, positive, run

from preprocess.cores import available_cores
from training.atomic_files import atomic_write
from training.errors import WorkError

SCENES = 1000
RATE = 500  # images a second and core, more than are converted beside the other two
TICK = 5.0  # seconds
STOPPING = 120  # seconds that a command may take to end
GROWTH = 0.05  # share by which memory may grow and throughput fall
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watched:
    """A command at work: samples of (seconds, MB, open files, CPU seconds), and (seconds, amount) done."""

    name: str
    unit: str
    process: subprocess.Popen[str]
    samples: list[tuple[float, float, int, float]] = field(default_factory=list)
    done: list[tuple[float, float]] = field(default_factory=list)

    def sample(self, now: float) -> None:
        """Adds up the command and its children."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        found = [usage for usage in map(usage_of, pids) if usage]
        if found:
            memory, files, cpu = (sum(column) for column in zip(*found, strict=True))
            self.samples.append((now, memory, int(files), cpu))

    def begin_at(self, began: float) -> None:
        """Counts time from then, and forgets what was before."""
        self.samples = [(at - began, *rest) for at, *rest in self.samples if at >= began]  # type: ignore[misc]
        self.done = [(at - began, amount) for at, amount in self.done if at >= began]


def usage_of(pid: int) -> tuple[float, int, float] | None:
    """Resident MB, open files, and CPU seconds (its own, and of its children that have ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (
            int(stat[21]) * PAGE_BYTES / 1e6,
            sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
            sum(map(int, stat[11:15])) / TICKS_A_SECOND,
        )
    except OSError:  # it has ended
        return None


# ------------------------------------------------------------------------------------------ the commands


def python(*words: object) -> list[str]:
    """A command of this project."""
    return [sys.executable, *map(str, words)]


def prepare(folder: Path, minutes: float) -> int:
    """Draws the scenes and makes their dataset; then the links, more than the job can convert in time."""
    scenes, dataset = folder / "scenes", folder / "dataset"
    draw = python("scripts/make_storybook.py", scenes, "--count", SCENES, "--seed", 0)
    convert = python("-m", "preprocess", "--input", scenes, "--output", dataset)
    for command in (draw, convert):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise WorkError(f"{' '.join(command)} failed: {done.stderr[-1000:].strip()}")
    count = round(RATE * available_cores() * 60 * (minutes + 5))
    copies(scenes, folder / "links", count)
    return count


def start(folder: Path, watched: list[Watched]) -> str:
    """Starts preprocessing, training and serving, adds them to `watched`, and returns the page's address.

    Raises:
      WorkError: the page does not start.
    """

    def command(name: str, unit: str, *words: object) -> Watched:
        log = (folder / f"{name}.log").open("w")
        out = subprocess.PIPE if name == "serving" else log
        started = subprocess.Popen(python(*words), cwd=ROOT, stdout=out, stderr=log, text=True)
        watched.insert(0, Watched(name, unit, started))
        return watched[0]

    serving = command("serving", "drawings", "scripts/serve.py", "--port", 0)
    assert serving.process.stdout
    address = re.search(r"http://\S+?(?=/?\s)", serving.process.stdout.readline() + " ")
    if not address:
        raise WorkError(f"the page did not start: {tail(folder / 'serving.log')}")
    job = ["-m", "preprocess", "--input", folder / "links", "--output", folder / "converted"]
    training = [
        "-m", "training", f"data.root={folder / 'dataset'}", "experiment=storybook", "trainer.epochs=null",
        "trainer.max_minutes=100000", f"hydra.run.dir={folder / 'run'}",
    ]  # fmt: skip
    command("training", "images", *training)
    command("preprocessing", "images", *job)
    return address[0]


# ---------------------------------------------------------------------------------------- what they do


def send_drawings(address: str, over: threading.Event, told: Callable[[], None]) -> None:
    """Sends drawings until it is over, each another."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    while not over.is_set():
        page = np.full((512, 512), 255, np.uint8)
        for _ in range(12):
            cv2.polylines(page, [generator.integers(0, 512, (4, 1, 2), np.int32)], False, 0, 3)
        drawing = base64.b64encode(cv2.imencode(".png", page)[1].tobytes()).decode()
        body = json.dumps({"drawing": drawing}).encode()
        request = urllib.request.Request(f"{address}/color", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                answer.read()
        except OSError:
            if over.is_set():
                return
            raise
        told()


def new_receipts(folder: Path, seen: set[str]) -> Iterator[tuple[float, float]]:
    """When shards were done since the last call, and with how many images."""
    from tfrecords_schema import ShardReceipt

    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        if entry.name.endswith(".json") and entry.name not in seen:
            seen.add(entry.name)
            receipt = ShardReceipt.from_json(Path(entry.path).read_bytes(), entry.path)
            yield entry.stat().st_mtime, receipt.shard.examples


def epochs_done(history: Path) -> int:
    """How many epochs training has written down."""
    if not history.exists():
        return 0
    with history.open(newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def watch(folder: Path, watched: list[Watched], address: str, minutes: float) -> None:
    """Samples for so many minutes from when each has got something done; what was before is forgotten."""
    from tfrecords_schema import RECEIPTS_DIR

    preprocessing, training, serving = watched
    over = threading.Event()
    sender = threading.Thread(
        target=send_drawings, args=(address, over, lambda: serving.done.append((time.monotonic(), 1.0)))
    )
    sender.start()
    seen: set[str] = set()
    since_boot = time.time() - time.monotonic()  # files have the time of day
    examples = json.loads((folder / "dataset/manifest.json").read_text())["splits"]["train"]["examples"]
    began = None
    try:
        while began is None or time.monotonic() - began < minutes * 60:
            check(watched, sender, folder)
            for one in watched:
                if not one.samples or time.monotonic() - one.samples[-1][0] >= min(TICK, minutes):
                    one.sample(time.monotonic())
            receipts = sorted(new_receipts(folder / "converted" / RECEIPTS_DIR, seen))
            preprocessing.done += [(at - since_boot, count) for at, count in receipts]
            for _ in range(epochs_done(folder / "run/history.csv") - len(training.done)):
                training.done.append((time.monotonic(), examples))
            if began is None and all(one.done for one in watched):
                began = time.monotonic()
            time.sleep(1)
    finally:
        over.set()
        sender.join()
    for one in watched:
        one.begin_at(began)


def check(watched: list[Watched], sender: threading.Thread, folder: Path) -> None:
    """Looks whether all are at work.

    Raises:
      WorkError: one of the commands has ended, or a drawing was not answered.
    """
    for one in watched:
        if one.process.poll() is not None:
            raise WorkError(f"{one.name} ended by itself: {tail(folder / f'{one.name}.log')}")
    if not sender.is_alive():
        raise WorkError(f"a drawing was not answered: {tail(folder / 'serving.log')}")


def tail(log: Path) -> str:
    """The end of what a command has said."""
    return log.read_text(errors="replace")[-1000:].strip()


def stop(watched: list[Watched]) -> dict[str, int | None]:
    """A Ctrl-C for each; the exit codes, None for one that goes on."""
    for one in watched:
        one.process.send_signal(signal.SIGINT)
    codes: dict[str, int | None] = {}
    for one in watched:
        try:
            codes[one.name] = one.process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            codes[one.name] = None
    return codes


# ------------------------------------------------------------------------------------------ the figures


def tenth(series: list[Any], number: int, seconds: float) -> list[Any]:
    """What of a series falls into a tenth of the time, counted from 0."""
    return [row for row in series if number <= row[0] / seconds * 10 < number + 1]


def rates(one: Watched, seconds: float) -> list[tuple[float, float]]:
    """For each tenth: done per second of the clock, and per second of CPU, between its first and last."""
    found = []
    for number in range(10):
        events = tenth(one.done, number, seconds)
        if len(events) < 2:
            found.append((float("nan"), float("nan")))
            continue
        first, last = events[0][0], events[-1][0]
        amount = sum(count for _, count in events[1:])
        used = cpu_at(one, last) - cpu_at(one, first)
        found.append((amount / (last - first), amount / used if used else float("nan")))
    return found


def cpu_at(one: Watched, moment: float) -> float:
    """CPU seconds that it had used by then."""
    import numpy as np

    moments, _, _, cpu = zip(*one.samples, strict=True)
    return float(np.interp(moment, np.array(moments), np.array(cpu)))


def middle(values: list[float]) -> float:
    """The median; of none, NaN."""
    return statistics.median(values) if values else float("nan")


def judge(one: Watched, seconds: float) -> dict[str, Any]:
    """The figures of one command, and what is wrong with them."""
    early, late = (tenth(one.samples, number, seconds) for number in (1, 9))
    memory = [middle([row[1] for row in rows]) for rows in (early, late)]
    files = [middle([row[2] for row in rows]) for rows in (early, late)]
    by_tenth = rates(one, seconds)
    wrong = []
    if memory[1] > memory[0] * (1 + GROWTH):
        wrong.append(f"memory grew from {memory[0]:.0f} to {memory[1]:.0f} MB")
    if files[1] > files[0]:
        wrong.append(f"open files grew from {files[0]:.0f} to {files[1]:.0f}")
    if not by_tenth[9][1] >= by_tenth[0][1] * (1 - GROWTH):
        wrong.append(f"done per CPU second fell from {by_tenth[0][1]:.2f} to {by_tenth[9][1]:.2f}")
    return {
        "unit": one.unit, "done": sum(count for _, count in one.done),
        "memory_mb": memory, "open_files": files,
        "peak_mb": max(row[1] for row in one.samples), "per_second": [rate for rate, _ in by_tenth],
        "per_cpu_second": [rate for _, rate in by_tenth], "wrong": wrong, "samples": one.samples,
    }  # fmt: skip


def show(found: dict[str, Any]) -> Iterator[str]:
    """The table's lines."""
    yield (
        f"{'':15}{'done':>10}  {'MB 2nd, last tenth':>20}{'open files':>13}{'per s 1st, last':>18}"
        f"{'per CPU s 1st, last':>21}"
    )
    for name, row in found.items():
        both = [f"{a:,.0f} {b:,.0f}" for a, b in (row["memory_mb"], row["open_files"])]
        ends = [f"{row[key][0]:,.2f} {row[key][9]:,.2f}" for key in ("per_second", "per_cpu_second")]
        yield f"{name:15}{row['done']:10,.0f}  {both[0]:>20}{both[1]:>13}{ends[0]:>18}{ends[1]:>21}"
        yield from (f"    {what}" for what in row["wrong"])


def plot(found: dict[str, Any], path: Path) -> None:
    """Memory, open files and throughput against minutes, a row for each command."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(found), 3, sharex=True, squeeze=False)
    for row, (name, one) in zip(axes, found.items(), strict=True):
        minutes = [sample[0] / 60 for sample in one["samples"]]
        tenths = [(number + 0.5) * minutes[-1] / 10 for number in range(10)]
        row[0].plot(minutes, [sample[1] for sample in one["samples"]], color="#1f5a85")
        row[0].set_ylabel(f"{name}, MB")
        row[1].plot(minutes, [sample[2] for sample in one["samples"]], color="#1f5a85")
        row[1].set_ylabel("open files")
        row[2].plot(tenths, one["per_second"], "o-", color="#9db4c8", label="second")
        row[2].plot(tenths, one["per_cpu_second"], "o-", color="#1f5a85", label="CPU second")
        row[2].set_ylabel(f"{one['unit']} a")
        for axis in row:
            axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][2].legend(frameon=False, loc="lower right")
    for axis in axes[-1]:
        axis.set_xlabel("minutes")
    figure.savefig(path, dpi=110)


def parser() -> Parser:
    """Every flag."""
    made = Parser("bench/soak", __doc__)
    made.add_argument(
        "-o", "--out", "--output", type=local_path, required=True, help="a folder for the figures"
    )
    made.add_argument("--minutes", type=positive, default=60, help="[60]")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="all,demo")


def work(args: argparse.Namespace) -> int:
    """Runs it all; 0, or 1 if something grew or slowed down."""
    args.out.mkdir(parents=True, exist_ok=True)
    # A shell that starts this in the background has Ctrl-C ignored, which commands would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="linewash-long-") as temporary:
        folder = Path(temporary)
        print(
            f"{prepare(folder, args.minutes):,} names for {SCENES:,} scenes; {args.minutes:g} minutes begin",
            flush=True,
        )
        watched: list[Watched] = []
        try:
            address = start(folder, watched)
            watch(folder, watched, address, args.minutes)
            found = {one.name: judge(one, args.minutes * 60) for one in watched}
            plot(found, args.out / "soak.png")
            codes = stop(watched)
        finally:
            for one in watched:
                one.process.kill()
            for log in folder.glob("*.log"):
                (args.out / log.name).write_bytes(log.read_bytes())
    with atomic_write(args.out / "soak.json") as written:
        written.write_text(json.dumps({"exit_codes": codes, "commands": found}) + "\n")
    print("\n".join(show(found)))
    print("exit codes after Ctrl-C: " + ", ".join(f"{name} {code}" for name, code in codes.items()))
    return int(any(one["wrong"] for one in found.values()))


if __name__ == "__main__":
    sys.exit(main())
