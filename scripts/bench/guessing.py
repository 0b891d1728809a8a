"""Measures how well networks guess the colours of other people's drawings, without any hint.

    python scripts/bench/guessing.py -o out/bench/guessing
    python scripts/bench/guessing.py --networks runs/new runs/old -o out/bench/guessing

The drawings are those of scripts/bench/coloring.py: pictograms of OpenMoji, of which one half is kept unseen.
Each is coloured by each network without any help, and with the colours of the wanted picture as reference if
the network takes one. A page that stays white is measured beside them. Off the lines only; the scores:

  all, object  mean CIEDE2000 to the wanted picture, on the page and on the object
  paper        fraction of the background that stays white
  merged       drawings in which over half of the object has the colour that most of the background has

It writes guessing.json and guesses.png: each drawing, the wanted picture, and what each network made of it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.coloring import choose_cases, write_sheet
from bench.harness import write_results
from linewash.arguments import Parser, at_least, local_path, run

if TYPE_CHECKING:
    import numpy as np
    from bench.coloring_cases import Case
    from bench.coloring_scores import Guess
    from linewash.coloring import Drawing, Network

COUNT, SIZE = 48, 512
WHITE, STARTER = "white page", "starter"
MERGED = 0.5  # fraction of the object from which it is merged with the background


def make_guesses(case: Case, drawing: Drawing, networks: dict[str, Network]) -> dict[str, np.ndarray]:
    """Returns the pictures, uint8 [H, W, 3], by the name of the network and of what it was told."""
    from bench.coloring_cases import place_dabs
    from bench.coloring_methods import white_page
    from linewash.coloring import Settings, colorize

    told = {"": Settings(), ", reference": Settings(reference=_reference(case))}
    pictures = {WHITE: white_page(case, place_dabs(case, 0, False))}
    for name, network in networks.items():
        for suffix, settings in told.items():
            if settings.reference is None or network.takes_reference:
                (colored,) = colorize(drawing, network, settings)
                pictures[name + suffix] = colored.rgb(lines=False)
    return pictures


def _reference(case: Case) -> Any:
    """Returns the colours of the wanted picture."""
    import numpy as np
    from linewash.coloring.reference import Reference

    rgb, counts = np.unique(case.truth.reshape(-1, 3), axis=0, return_counts=True)
    return Reference(rgb, counts.astype(np.float64))


def summarize(guesses: list[dict[str, Guess]]) -> list[dict[str, Any]]:
    """Returns the mean scores of each kind of guess over all drawings."""
    rows = []
    for name in guesses[0]:
        group = [guess[name] for guess in guesses]
        means = {
            key: statistics.fmean(getattr(guess, key) for guess in group)
            for key in ("all", "object", "paper")
        }
        merged = [guess.merged for guess in group]
        rows.append(
            {
                "guess": name,
                **means,
                "merged": sum(m > MERGED for m in merged),
                "mean_merged": statistics.fmean(merged),
            }
        )
    return rows


def table_lines(rows: list[dict[str, Any]], num_drawings: int) -> Iterator[str]:
    """Yields the lines of the table. The ratios are to the white page."""
    (white,) = (row for row in rows if row["guess"] == WHITE)
    yield f"{num_drawings} drawings, no hints"
    yield f"{'':28}{'all':>7}{'ratio':>7}{'object':>8}{'ratio':>7}{'paper':>7}{'merged':>8}"
    for row in rows:
        yield (
            f"{row['guess'][:28]:28}{row['all']:7.2f}{row['all'] / white['all']:7.2f}{row['object']:8.2f}"
            f"{row['object'] / white['object']:7.2f}{row['paper']:7.3f}{row['merged']:8}"
        )


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("bench/guessing", __doc__)
    add = parser.add_argument
    add("-o", "--output", type=local_path, required=True, metavar="FOLDER", help="folder for the results")
    add(
        "--networks", type=local_path, nargs="+", default=[], metavar="RUN",
        help="runs or exports to measure [the starter model]",
    )  # fmt: skip
    add(
        "--cache", type=local_path, default=Path("out/bench/openmoji"), metavar="FOLDER",
        help="folder for OpenMoji [out/bench/openmoji]",
    )  # fmt: skip
    add("--count", type=at_least(1), default=COUNT, help=f"number of drawings [{COUNT}]")
    add("--seed", type=at_least(0), default=0, help="seed of the choice of drawings [0]")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="bench,demo")


def work(args: argparse.Namespace) -> int:
    """Measures all networks, prints the table and writes the results. Returns 0.

    Raises:
      WorkError: there is no OpenMoji, or a network cannot be read.
    """
    import numpy as np
    from bench.coloring_scores import judge_guess
    from linewash.coloring import load, read_drawing

    networks = {path.name: load(path) for path in args.networks} or {STARTER: load()}
    guesses, sheets = [], []
    for case in choose_cases(args.cache, args.count, args.seed, SIZE, None):
        pictures = make_guesses(case, read_drawing(case.png), networks)
        guesses.append({name: judge_guess(case, rgb) for name, rgb in pictures.items()})
        lines = case.drawing / np.float32(255)
        shown = [case.truth, *(rgb for name, rgb in pictures.items() if name != WHITE)]
        sheets.append((case.name, [case.drawing, *((rgb * lines).astype(np.uint8) for rgb in shown)]))
    rows = summarize(guesses)
    drawings = [
        {"name": name, "guesses": {key: guess._asdict() for key, guess in guess_of.items()}}
        for (name, _), guess_of in zip(sheets, guesses, strict=True)
    ]
    results = {"seed": args.seed, "rows": rows, "drawings": drawings}
    write_results(table_lines(rows, len(guesses)), results, args.output / "guessing.json")
    write_sheet(args.output / "guesses.png", sheets)
    return 0


if __name__ == "__main__":
    sys.exit(main())
