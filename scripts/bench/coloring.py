"""Measures how well hints colour drawings of other people, and compares linewash with other methods.

    python scripts/bench/coloring.py -o out/bench

The drawings are pictograms of OpenMoji, whose coloured versions are the wanted pictures. npm fetches them the
first time. Three trivial drawings are made in code: a circle, a frame and a horizon. Without npm, only these
are coloured; without gmic, G'MIC is left out. Of OpenMoji only one half is used; the other is kept unseen.

The k largest regions of the object get a dab of colour in their middle. Everything is measured with and
without one more dab on the background, and off the lines only. Colours are those of the network's palette,
unless --exact-colors is given. The scores:

  all, object, background  mean CIEDE2000 to the wanted picture
  exact                    fraction of the page with a difference below 1
  filled                   fraction of a region with a dab that has exactly the dab's colour (of the object)
  spilled                  fraction of the background that has the colour of a dab on the object

It writes coloring.json and, with OpenMoji, worst.png and good.png: the drawings with the largest and with the
smallest difference, each with its dabs, beside the wanted picture and those of linewash and G'MIC. The times
are wall times; those of linewash leave out reading the drawing, which is measured apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.datasets import fetch_openmoji
from bench.harness import run_variant, write_results
from bench.processes import own_peak_mb
from linewash.arguments import Parser, at_least, local_path, run

from training.atomic_files import atomic_write
from training.errors import WorkError

if TYPE_CHECKING:
    import numpy as np
    from bench.coloring_cases import Case
    from bench.coloring_methods import Method
    from bench.coloring_scores import Step
    from linewash.coloring import Drawing, Network

COUNTS = (0, 1, 3, 8)  # dabs on the object
LINEWASH, GMIC, WATERSHED, BUCKET, WHITE = "linewash", "G'MIC smart", "watershed", "bucket", "white page"
BACKGROUND_MODES = ("paper", "paint")  # measured beside the default of Settings.background
SHEET_COUNT = 3  # dabs on the object in the pictures, and for the variants
NUM_WORST, NUM_GOOD = 12, 6
PANEL_SIDE = 256  # px
VARIANTS = 4
MIN_LOSS = 0.001  # fraction of a region; smaller losses are a few pixels of its border
# The targets of linewash.
MIN_FILLED = 0.95
MIN_TRIVIAL_FILLED = 0.995  # 1.00 when rounded
MAX_COLOR_MS, MAX_STROKE_MS = 150, 300  # with two cores
MAX_LARGE_SECONDS, MAX_LARGE_MB = 6, 1500
PAGE_SIDE = 1024  # px of a drawing on the page
LARGE_PAGE = (6000, 4000)  # px, height and width
SIZE = 512


# ----------------------------------------------------------------------------------------------- methods


def make_methods(network: Network, cache: Path) -> tuple[dict[str, Method], list[str]]:
    """Returns the methods by name, linewash first, and a sentence about each that is not installed."""
    from bench.coloring_methods import Gmic, Linewash, fill_by_bucket, flood_by_watershed, timed, white_page
    from linewash.coloring import Settings

    methods: dict[str, Method] = {LINEWASH: Linewash(network, Settings())}
    if "background" in {field.name for field in dataclasses.fields(Settings)}:
        for mode in BACKGROUND_MODES:
            background: dict[str, Any] = {"background": mode}
            methods[f"{LINEWASH}, {mode}"] = Linewash(network, Settings(**background))
    gmic, missing = Gmic.find(cache / "gmic"), []
    if gmic is None:
        missing.append("gmic is not installed, so G'MIC is left out: apt-get install gmic")
    else:
        methods[GMIC] = gmic
    methods |= {WATERSHED: timed(flood_by_watershed), BUCKET: timed(fill_by_bucket), WHITE: timed(white_page)}
    return methods, missing


def needs_dabs(name: str) -> bool:
    """Returns whether a method can do nothing without dabs."""
    return name in (GMIC, WATERSHED, BUCKET)


# ---------------------------------------------------------------------------------------------- drawings


def choose_cases(cache: Path, count: int, seed: int, size: int, palette: Any) -> Iterator[Case]:
    """Yields `count` pictograms whose wanted picture has another colour than paper in a region of the object.

    Their order depends on `seed` alone: a larger `count` adds drawings to those of a smaller one.

    Raises:
      WorkError: OpenMoji is neither in `cache` nor can it be fetched.
    """
    from bench.coloring_cases import read_openmoji, visible_openmoji

    art = fetch_openmoji(cache)
    names = visible_openmoji(art)
    names.sort(key=lambda name: hashlib.sha256(f"{seed}:{name.stem}".encode()).digest())
    for name in names:
        if not count:
            return
        case = read_openmoji(art, name, size, palette)
        if any(region.is_object and region.color != case.paper for region in case.regions):
            count -= 1
            yield case


# ----------------------------------------------------------------------------------------------- measure


def measure_drawing(
    case: Case, methods: dict[str, Method], counts: tuple[int, ...] = COUNTS
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Colours a drawing by all methods with each number of dabs on the object.

    Returns:
      A row of scores for each, and by the name of a method its picture with `SHEET_COUNT` dabs and one on the
      background.
    """
    from bench.coloring_cases import place_dabs
    from bench.coloring_scores import score

    rows, pictures = [], {}
    for on_background in (True, False):
        for count in counts:
            dabs = place_dabs(case, count, on_background)
            for name, method in methods.items():
                if needs_dabs(name) and not dabs.regions:
                    continue
                picture = method(case, dabs)
                row = {"method": name, "dabs": count, "background_dab": on_background}
                rows.append(
                    row | score(case, dabs, picture.rgb)._asdict() | {"ms": round(picture.seconds * 1e3, 1)}
                )
                if on_background and count == SHEET_COUNT:
                    pictures[name] = picture.rgb
    return rows, pictures


def measure_steps(case: Case, method: Method) -> list[Step]:
    """Adds dabs one by one and returns what each of them did to the picture before it."""
    from bench.coloring_cases import place_dabs
    from bench.coloring_scores import compare_step

    steps = []
    dabs = place_dabs(case, 0, True)
    before = method(case, dabs).rgb
    for count in range(1, max(COUNTS) + 1):
        more_dabs = place_dabs(case, count, True)
        if len(more_dabs.regions) == len(dabs.regions):
            break
        after = method(case, more_dabs).rgb
        steps.append(compare_step(case, dabs, before, more_dabs, after))
        dabs, before = more_dabs, after
    return steps


def measure_variants(case: Case, network: Network) -> dict[str, int]:
    """Returns the number of other colourings, and of those that change what the dabs coloured."""
    from bench.coloring_cases import place_dabs
    from bench.coloring_scores import breaks_hint
    from linewash.coloring import Settings, colorize, read_drawing

    dabs = place_dabs(case, SHEET_COUNT, True)
    pictures = colorize(read_drawing(case.png), network, Settings(variants=VARIANTS), dabs.rgba)
    first, *others = (picture.rgb(lines=False) for picture in pictures)
    return {"variants": len(others), "breaking": sum(breaks_hint(dabs, first, other) for other in others)}


def mean_rows(drawings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns for each method and number of dabs the means over all drawings, and the median time.

    A score that no drawing has is None.
    """
    groups: dict[tuple[bool, int, str], list[dict[str, Any]]] = {}
    for drawing in drawings:
        for row in drawing["rows"]:
            groups.setdefault((row["background_dab"], row["dabs"], row["method"]), []).append(row)
    rows = []
    for (on_background, count, method), group in groups.items():
        mean: dict[str, Any] = {"method": method, "dabs": count, "background_dab": on_background}
        for name in ("all", "object", "background", "exact", "filled", "spilled"):
            values = [row[name] for row in group if row[name] is not None]
            mean[name] = statistics.fmean(values) if values else None
        rows.append(mean | {"ms": statistics.median(row["ms"] for row in group)})
    return rows


def check_targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Compares linewash with its targets: for each its name, the value, the bound, and whether it is met."""
    means = {(row["dabs"], row["method"]): row for row in results["means"] if row["background_dab"]}
    targets = []
    for count in COUNTS[1:] if means else ():
        ours = means[count, LINEWASH]
        if (count, GMIC) in means:
            gmic = means[count, GMIC]
            best = min(gmic["object"], means[count, WATERSHED]["object"])
            targets += [
                _target(f"all, k={count}, at most G'MIC's", ours["all"], gmic["all"]),
                _target(f"object, k={count}, at most G'MIC's and the watershed's", ours["object"], best),
            ]
        targets.append(_target(f"filled, k={count}, at least", ours["filled"], MIN_FILLED, at_least=True))
    for drawing in results["trivial"]:
        for row in drawing["rows"]:
            if row["method"] == LINEWASH:
                name = f"{_trivial_name(drawing, row['background_dab'])}, filled, at least"
                targets.append(_target(name, row["filled"], MIN_TRIVIAL_FILLED, at_least=True))
    keeping, speed = results["keeping"], results["speed"]
    targets += [
        _target(
            "dabs that take colour from an earlier one's region behind a line, at most",
            keeping["steps_with_loss_of_parted"],
            0,
        ),
        _target("colourings that change what a dab coloured, at most", keeping["breaking_variants"], 0),
        _target("ms of colouring, at most", speed["color_ms"], MAX_COLOR_MS),
        _target("ms of a stroke on the page, at most", speed["page_stroke_ms"], MAX_STROKE_MS),
    ]
    if "large_page" in speed:
        large = speed["large_page"]
        targets += [
            _target("s of the large page, at most", large["seconds"], MAX_LARGE_SECONDS),
            _target("MB of the large page, at most", large["peak_mb"], MAX_LARGE_MB),
        ]
    return targets


def _target(name: str, value: float, bound: float, at_least: bool = False) -> dict[str, Any]:
    met = value >= bound if at_least else value <= bound
    return {"target": name, "value": value, "bound": bound, "met": met}


# ------------------------------------------------------------------------------------------------- speed


def measure_speed(cases: list[Case], network: Network) -> dict[str, float]:
    """Returns the median milliseconds of reading and colouring a drawing, and of a stroke on the page."""
    import cv2
    from bench.coloring_cases import encode_png, place_dabs
    from linewash.coloring import colorize, read_drawing
    from linewash.serving.service import ColorizeRequest, color_preview, warm_up

    times: dict[str, list[float]] = {"read_ms": [], "color_ms": [], "page_stroke_ms": []}

    def measure(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        result = function(*arguments)
        times[name].append((time.perf_counter() - started) * 1e3)
        return result

    def color(drawing: Drawing, hints: np.ndarray) -> np.ndarray:
        return colorize(drawing, network, hints=hints)[0].rgb(lines=False)

    warm_up(network)
    size = PAGE_SIDE, PAGE_SIDE
    for case in cases:
        hints = place_dabs(case, SHEET_COUNT, True).rgba
        measure("color_ms", color, measure("read_ms", read_drawing, case.png), hints)
        page = encode_png(cv2.resize(case.drawing, size, interpolation=cv2.INTER_LINEAR))
        page_hints = encode_png(cv2.resize(hints, size, interpolation=cv2.INTER_NEAREST))
        measure("page_stroke_ms", color_preview, ColorizeRequest(page, page_hints), network)
    return {name: statistics.median(values) for name, values in times.items()}


def measure_large_page() -> dict[str, float]:
    """Returns the seconds and the peak MB of a process that colours a page of `LARGE_PAGE`."""
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as folder:
        write_large_page(Path(folder))
        return run_variant(__file__, "large", "-o", folder)


def write_large_page(folder: Path) -> None:
    """Writes drawing.png, a page of overlapping outlines, and hints.png with eight dabs on it."""
    import cv2
    import numpy as np
    from bench.coloring_cases import encode_png

    (height, width), generator = LARGE_PAGE, np.random.default_rng(0)
    drawing = np.full((height, width, 3), 255, np.uint8)
    hints = np.zeros((height, width, 4), np.uint8)
    for index in range(60):
        centre = int(generator.integers(0, width)), int(generator.integers(0, height))
        axes = int(generator.integers(100, 700)), int(generator.integers(100, 700))
        cv2.ellipse(
            drawing, centre, axes, int(generator.integers(0, 180)), 0, 360, (0, 0, 0), 12, cv2.LINE_AA
        )
        if index < 8:
            cv2.circle(hints, centre, 60, (*generator.integers(0, 256, 3).tolist(), 255), -1)
    (folder / "drawing.png").write_bytes(encode_png(drawing))
    (folder / "hints.png").write_bytes(encode_png(hints))


def color_large_page(folder: Path) -> dict[str, float]:
    """Colours what `write_large_page` wrote, from bytes to pixels."""
    from linewash.coloring import colorize, load, read_drawing, read_hints

    network = load()
    drawing, hints = (folder / "drawing.png").read_bytes(), (folder / "hints.png").read_bytes()
    started = time.perf_counter()
    colorize(read_drawing(drawing), network, hints=read_hints(hints))[0].rgb(lines=False)
    return {"seconds": time.perf_counter() - started, "peak_mb": own_peak_mb()}


# ------------------------------------------------------------------------------------------------ output


def table_lines(results: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of all tables."""
    for on_background in (True, False):
        rows = [row for row in results["means"] if row["background_dab"] == on_background]
        if rows:
            yield f"{len(results['drawings'])} drawings, {_background_words(on_background)}"
            yield f"{'':22}{'k':>3}{'all':>8}{'object':>8}{'backgr.':>9}{'exact':>8}{'filled':>8}{'ms':>8}"
        for row in rows:
            numbers = [_number(row[name], 2) for name in ("all", "object", "background")]
            fractions = [_number(row[name], 3) for name in ("exact", "filled")]
            yield (
                f"{row['method']:22}{row['dabs']:3}{numbers[0]:>8}{numbers[1]:>8}{numbers[2]:>9}"
                f"{fractions[0]:>8}{fractions[1]:>8}{row['ms']:8.0f}"
            )
    yield from _trivial_lines(results["trivial"])
    yield from _sentences(results)


def _trivial_lines(trivial: list[dict[str, Any]]) -> Iterator[str]:
    """Yields a line for each trivial drawing: what each method filled and, in brackets, spilled."""
    for drawing in trivial:
        for on_background in (True, False):
            rows = [r for r in drawing["rows"] if r["background_dab"] == on_background]
            if drawing is trivial[0] and on_background:
                yield f"{'filled (spilled)':30}" + "".join(f"{row['method']:>18}" for row in rows)
            name = _trivial_name(drawing, on_background)
            values = [f"{_number(row['filled'], 3)} ({_number(row['spilled'], 3)})" for row in rows]
            yield f"{name:30}" + "".join(f"{value:>18}" for value in values)


def _trivial_name(drawing: dict[str, Any], on_background: bool) -> str:
    return f"{drawing['name']}, {'two dabs' if on_background else 'one dab'}"


def _sentences(results: dict[str, Any]) -> Iterator[str]:
    keeping, speed = results["keeping"], results["speed"]
    if results["drawings"]:
        yield (
            f"one more dab: {keeping['steps_with_loss']} of {keeping['steps']} take colour from the region "
            f"of an earlier one, at most {keeping['largest_loss']:.1%} of it; "
            f"{keeping['steps_with_loss_of_parted']} do so although a line, even with gaps, parts both; "
            f"{keeping['steps_with_loss_across_lines']} through a line without a gap"
        )
        yield f"one more dab changes {keeping['mean_repainted']:.2%} of the page in areas without any dab"
        broken = f"{keeping['breaking_variants']} of {keeping['variants']}"
        yield f"other colourings: {broken} change what a dab coloured"
    size = results["size"]
    yield f"median ms at {size} px: reading {speed['read_ms']:.0f}, colouring {speed['color_ms']:.0f}"
    yield f"median ms of a stroke on the page, {PAGE_SIDE} px: {speed['page_stroke_ms']:.0f}"
    if "large_page" in speed:
        seconds, megabytes = speed["large_page"]["seconds"], speed["large_page"]["peak_mb"]
        yield f"a page of {LARGE_PAGE[1]:,} x {LARGE_PAGE[0]:,}: {seconds:.1f} s, peak {megabytes:,.0f} MB"
    for target in results["targets"]:
        verdict = "met" if target["met"] else "MISSED"
        yield f"target {verdict}: {target['target']} {target['bound']:.4g}; linewash {target['value']:.4g}"


def _background_words(on_background: bool) -> str:
    return "k dabs on the object and one on the background" if on_background else "k dabs on the object"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def summarize_keeping(drawings: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts over all drawings how often more hints or other colourings undo what a hint coloured."""
    steps = [step for drawing in drawings for step in drawing["steps"]]
    return {
        "steps": len(steps),
        "steps_with_loss": sum(step["lost"] > MIN_LOSS for step in steps),
        "steps_with_loss_of_parted": sum(step["lost_parted"] > MIN_LOSS for step in steps),
        "steps_with_loss_across_lines": sum(step["lost_across_lines"] > MIN_LOSS for step in steps),
        "largest_loss": max((step["lost"] for step in steps), default=0.0),
        "mean_repainted": statistics.fmean(step["repainted"] for step in steps) if steps else 0.0,
        "variants": sum(drawing["variants"] for drawing in drawings),
        "breaking_variants": sum(drawing["breaking"] for drawing in drawings),
    }


def write_sheet(path: Path, sheets: list[tuple[str, list[np.ndarray]]]) -> None:
    """Writes a contact sheet, two drawings a row: a caption above the panels, uint8 [H, W, 3], of each."""
    import cv2
    import numpy as np
    from bench.coloring_cases import encode_png

    blocks = []
    for caption, panels in sheets:
        size = (PANEL_SIDE, PANEL_SIDE)
        row = np.hstack([cv2.resize(panel, size, interpolation=cv2.INTER_AREA) for panel in panels])
        head = np.full((24, row.shape[1], 3), 255, np.uint8)
        cv2.putText(head, caption, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        blocks.append(np.pad(np.vstack([head, row]), ((0, 6), (0, 12), (0, 0)), constant_values=255))
    if len(blocks) % 2:
        blocks.append(np.full_like(blocks[0], 255))
    rows = [np.hstack(blocks[index : index + 2]) for index in range(0, len(blocks), 2)]
    with atomic_write(path) as temporary:
        temporary.write_bytes(encode_png(np.vstack(rows)))


def panels(case: Case, pictures: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the drawing with its dabs, the wanted picture, and the pictures, with the lines on top."""
    import numpy as np
    from bench.coloring_cases import place_dabs

    dabs = place_dabs(case, SHEET_COUNT, True)
    drawing = case.drawing.copy()
    # The rims around the dabs show those whose colour is that of paper.
    for number in range(1, len(dabs.regions) + 1):
        _draw_dab(drawing, dabs.labels == number, dabs.colors[number])
    lines = case.drawing / np.float32(255)
    return [drawing, *((rgb * lines).astype(np.uint8) for rgb in (case.truth, *pictures.values()))]


def _draw_dab(drawing: np.ndarray, mask: np.ndarray, color: np.ndarray) -> None:
    import cv2
    import numpy as np

    rim = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)) == 1
    drawing[rim] = (128, 128, 128)
    drawing[mask] = color


# ----------------------------------------------------------------------------------------------- command


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("bench/coloring", __doc__)
    add = parser.add_argument
    add("-o", "--output", type=local_path, required=True, metavar="FOLDER", help="folder for the results")
    add(
        "--cache", type=local_path, default=Path("out/bench/openmoji"), metavar="FOLDER",
        help="folder for OpenMoji and for what G'MIC coloured [out/bench/openmoji]",
    )  # fmt: skip
    add("--count", type=at_least(0), default=24, help="drawings of OpenMoji; 0: the trivial ones only [24]")
    add("--seed", type=at_least(0), default=0, help="seed of the choice of drawings [0]")
    add("--size", type=at_least(64), default=SIZE, help=f"side of the drawings in pixels [{SIZE}]")
    add(
        "--exact-colors", action="store_true", help="keep the wanted colours instead of the palette's nearest"
    )
    add(
        "--no-large-page",
        action="store_true",
        help=f"do not measure a page of {LARGE_PAGE[1]} x {LARGE_PAGE[0]}",
    )
    add("--variant", help=argparse.SUPPRESS)  # set in the process that colours the large page
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="bench,demo")


def work(args: argparse.Namespace) -> int:
    """Measures all methods on all drawings, prints the tables and writes the results. Returns 0."""
    if args.variant:
        print(json.dumps(color_large_page(args.output)))
        return 0
    from bench.coloring_cases import trivial_cases
    from linewash.coloring import load

    network = load()
    palette = None if args.exact_colors else network.palette
    methods, missing = make_methods(network, args.cache)
    trivial = trivial_cases(args.size, palette)
    cases: list[Case] = []
    if args.count:
        try:
            cases = list(choose_cases(args.cache, args.count, args.seed, args.size, palette))
        except WorkError as e:
            missing.append(f"only the trivial drawings are coloured: {e}")
    for sentence in missing:
        print(sentence, file=sys.stderr, flush=True)

    drawings, pictures = [], {}
    for case in cases:
        rows, pictures[case.name] = measure_drawing(case, methods)
        steps = [step._asdict() for step in measure_steps(case, methods[LINEWASH])]
        drawings.append({"name": case.name, "rows": rows, "steps": steps, **measure_variants(case, network)})
        print(f"{len(drawings)} of {len(cases)}: {case.name}", file=sys.stderr, flush=True)
    results: dict[str, Any] = {
        "size": args.size,
        "seed": args.seed,
        "exact_colors": args.exact_colors,
        "missing": missing,
        "drawings": drawings,
        "trivial": [{"name": case.name, "rows": measure_drawing(case, methods, (1,))[0]} for case in trivial],
        "speed": measure_speed(cases or trivial[:1], network),
    }
    if not args.no_large_page:
        results["speed"]["large_page"] = measure_large_page()
    results = _without_nan(results)
    results["means"] = mean_rows(results["drawings"])
    results["keeping"] = summarize_keeping(results["drawings"])
    results["targets"] = check_targets(results)
    write_results(table_lines(results), results, args.output / "coloring.json")
    if cases:
        _write_sheets(args.output, {case.name: case for case in cases}, results["drawings"], pictures)
    return 0


def _write_sheets(
    folder: Path,
    cases: dict[str, Case],
    drawings: list[dict[str, Any]],
    pictures: dict[str, dict[str, np.ndarray]],
) -> None:
    """Writes the drawings with the largest and the smallest difference to the wanted picture."""
    keys = {"dabs": SHEET_COUNT, "background_dab": True}
    differences = {
        (drawing["name"], row["method"]): row["all"]
        for drawing in drawings
        for row in drawing["rows"]
        if keys.items() <= row.items()
    }

    names = sorted(cases, key=lambda name: differences[name, LINEWASH], reverse=True)
    for file, chosen in (("worst.png", names[:NUM_WORST]), ("good.png", names[: -NUM_GOOD - 1 : -1])):
        sheets = []
        for name in chosen:
            shown = {key: pictures[name][key] for key in (LINEWASH, GMIC) if key in pictures[name]}
            caption = f"{name}: drawing | wanted"
            caption += "".join(f" | {key} {differences[name, key]:.1f}" for key in shown)
            sheets.append((caption, panels(cases[name], shown)))
        write_sheet(folder / file, sheets)


def _without_nan(value: Any) -> Any:
    """Replaces NaN, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
