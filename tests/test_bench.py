"""Runs the benchmarks and the soak test at small sizes through their commands. Speeds are not checked."""

from __future__ import annotations

import json
import os
import zlib
from functools import partial
from pathlib import Path

import helper_photos
import numpy as np
import pytest
from bench import coloring, epochs, guessing, report
from bench.coloring_cases import make_case, place_dabs, read_openmoji, trivial_cases, visible_openmoji
from bench.coloring_methods import Gmic, fill_by_bucket, flood_by_watershed, white_page
from bench.coloring_scores import breaks_hint, compare_step, judge_guess, score
from bench.datasets import fetch_openmoji
from helper_art import path_without
from helper_commands import run_main, run_script

from tfrecords_schema import Palette
from training.errors import WorkError

script = partial(run_script, timeout=500)


def epochs_row(once: float, first: float, following: float) -> dict[str, float]:
    return {"once_s": once, "images": 1000, "first_ms": first, "next_ms": following}


def test_break_even_is_the_first_epoch_by_which_shards_are_no_slower() -> None:
    shards, online = epochs_row(10, 0, 0), epochs_row(0, 3, 3)
    assert epochs.break_even(shards, online) == 4  # 10 s against 3, 6, 9 and 12
    assert epochs.break_even(epochs_row(1, 0, 0), online) == 1
    assert epochs.break_even(epochs_row(10, 0, 3), online) is None


def test_the_report_lists_what_linewash_does_not_beat(tmp_path: Path) -> None:
    rates = {"linewash": 100.0, "pool": 150.0, "canonical": 50.0}
    variants = {
        variant: {"images_per_s": rate, "images_per_s_inside": rate, "launcher_mb": 1.0, "worker_mb": 1.0}
        for variant, rate in rates.items()
    }
    (tmp_path / "preprocess.json").write_text(json.dumps({"variants": variants}))
    rows = [
        {"decode": "full", "variant": "online", **epochs_row(0, 3, 3), "break_even": 4},
        {"decode": "full", "variant": "shards", **epochs_row(10, 0, 0), "break_even": None},
    ]
    rows = [row | {f"epochs_{n}_s": epochs.seconds_to(n, row) for n in (1, 10)} for row in rows]
    (tmp_path / "epochs.json").write_text(json.dumps({"network": None, "rows": rows}))
    assert script("bench/report.py", tmp_path).returncode == 0
    page = (tmp_path / "bench.md").read_text()
    assert "Not faster than a multiprocessing.Pool that discards its results: 0.67×." in page
    assert "Not faster than online, full-scale JPEGs, before epoch 4." in page
    assert "| online, full-scale JPEGs | 0.0 | 3.0 | 30.0 | 4 |" in page
    assert "1 epoch, s | 10 epochs, s" in page
    report_json = json.loads((tmp_path / "bench.json").read_text())
    assert set(report_json) == {"machine", "versions", "results", "tables"}
    assert report_json["machine"]["cores"] >= 1
    assert report_json["versions"]["python"].count(".") == 2


def test_a_report_without_results_is_one_sentence(tmp_path: Path) -> None:
    result = run_main(report.main, tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "run ./scripts/bench.sh IMAGES first" in result.stderr


# ---------------------------------------------------------------------------------------------- hints


def test_trivial_drawings_are_coloured_without_npm_and_gmic(tmp_path: Path) -> None:
    programs = path_without("npm", "gmic", folder=tmp_path / "programs")
    arguments = ["-o", tmp_path, "--cache", tmp_path / "cache", "--size", 128, "--no-large-page"]
    result = run_main(coloring.main, *arguments, env={**os.environ, "PATH": str(programs)})
    assert result.returncode == 0, result.stderr
    assert "apt-get install npm" in result.stderr
    assert "apt-get install gmic" in result.stderr
    results = json.loads((tmp_path / "coloring.json").read_text())
    assert (results["drawings"], results["means"]) == ([], [])
    assert [drawing["name"] for drawing in results["trivial"]] == ["circle", "frame", "horizon"]
    for drawing in results["trivial"]:
        rows = {row["method"]: row for row in drawing["rows"] if row["background_dab"]}
        assert set(rows) == {coloring.WATERSHED, coloring.BUCKET, coloring.WHITE} | {
            method for method in rows if method.startswith(coloring.LINEWASH)
        }
        assert rows[coloring.BUCKET]["filled"] == rows[coloring.WATERSHED]["filled"] == 1
        assert rows[coloring.LINEWASH]["filled"] > 0
        assert drawing["name"] in result.stdout
    assert "target met: circle, two dabs, filled" in result.stdout
    assert not list(tmp_path.glob("*.png"))
    assert script("bench/report.py", tmp_path).returncode == 0
    assert (
        "| horizon: bucket | 1 | 0.00 | 0.00 | 0.00 | 1.000 | 1.000 |" in (tmp_path / "bench.md").read_text()
    )


def test_a_guess_is_judged_by_colour_by_paper_and_by_what_it_merges() -> None:
    circle = trivial_cases(96, None)[0]
    white, red = np.full_like(circle.truth, 255), np.full_like(circle.truth, (200, 40, 40))
    assert judge_guess(circle, circle.truth)[:4] == (0, 0, 1, 0)
    assert judge_guess(circle, white).merged == judge_guess(circle, red).merged == 1
    assert (judge_guess(circle, red).object, judge_guess(circle, red).paper) == (0, 0)
    assert judge_guess(circle, white).object > judge_guess(circle, white).all > 0


def test_dabs_lie_in_the_largest_regions_and_rivals_fill_them() -> None:
    for case in trivial_cases(96, None):
        dabs = place_dabs(case, 8, on_background=True)
        assert [region.is_object for region in dabs.regions] == [False, True]
        assert set(np.unique(dabs.labels)) == {0, 1, 2}
        for number, region in enumerate(dabs.regions, 1):
            assert region.mask[dabs.labels == number].all()
        assert np.array_equal(np.unique(dabs.rgba[..., 3]), [0, 255])
        for fill in (fill_by_bucket, flood_by_watershed):
            assert score(case, dabs, fill(case, dabs))[:5] == (0, 0, 0, 1, 1), case.name


def test_results_of_gmic_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "gmic"
    program.write_text(f"#!/bin/sh\necho $3 >> {tmp_path}/calls\ncp lineart.png out_000002.png\n")
    program.chmod(0o755)
    gmic, case = Gmic.find(tmp_path / "cache"), trivial_cases(96, None)[0]
    assert gmic is not None
    for count, calls in ((1, 1), (1, 1), (0, 2)):
        picture = gmic(case, place_dabs(case, count, on_background=True))
        assert np.array_equal(picture.rgb, case.drawing)
        assert picture.seconds > 0
        assert (tmp_path / "calls").read_text().split() == ["fx_colorize_lineart_smart"] * calls
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    with pytest.raises(WorkError, match="out of memory"):
        gmic(case, place_dabs(case, 1, on_background=False))


def test_scores_of_a_hinted_drawing() -> None:
    case = trivial_cases(96, Palette("two", ((200, 30, 50), (240, 240, 230))))[0]
    assert case.paper == (240, 240, 230)
    dabs = place_dabs(case, 1, on_background=False)
    assert score(case, dabs, case.truth) == (0, 0, 0, 1, 1, 0)
    unhinted = score(case, place_dabs(case, 0, on_background=True), case.truth)
    assert np.isnan([unhinted.filled, unhinted.spilled]).all()
    white = score(case, dabs, np.full_like(case.truth, 255))  # a page left white is paper
    assert white == score(case, dabs, white_page(case, dabs))
    assert (white.background, white.filled, white.spilled) == (0, 0, 0)
    assert white.object > 40
    flooded = score(case, dabs, np.full_like(case.truth, (200, 30, 50)))
    assert (flooded.object, flooded.filled, flooded.spilled) == (0, 1, 1)
    assert flooded.all == pytest.approx(flooded.background * np.mean(~case.is_object[case.off_lines]))


def test_what_later_dabs_and_variants_undo_is_counted() -> None:
    case = trivial_cases(96, None)[0]
    dabs, more_dabs = (place_dabs(case, count, on_background=True) for count in (0, 1))
    picture = case.truth.copy()
    assert compare_step(case, dabs, picture, more_dabs, picture) == (0, 0, 0, 0)
    spoilt = picture.copy()
    spoilt[:48][~case.is_object[:48]] = (0, 0, 255)
    step = compare_step(case, dabs, picture, more_dabs, spoilt)
    assert step.lost == step.lost_parted == step.lost_across_lines == pytest.approx(0.5, abs=0.02)
    assert step.repainted == 0  # every area has a dab
    assert breaks_hint(dabs, picture, spoilt)
    assert not breaks_hint(dabs, spoilt, picture)
    assert not breaks_hint(place_dabs(case, 1, on_background=False), picture, spoilt)


def test_two_colours_are_parted_by_a_line_with_a_gap_but_not_by_nothing() -> None:
    wanted = np.full((96, 96, 4), 255, np.uint8)
    wanted[:, :30], wanted[:, 30:60], wanted[:, 60:] = (9, 9, 9, 255), (200, 0, 0, 255), (0, 200, 0, 255)
    drawing = np.full((96, 96, 3), 255, np.uint8)
    drawing[:40, 58:62] = drawing[50:, 58:62] = 0  # a line with a gap between red and green
    areas = make_case("case", drawing, wanted, None).parted_areas
    assert areas[48, 10] == areas[48, 40] != areas[48, 80]


SVG = """<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">
<circle cx="36" cy="36" r="20" fill="{fill}" stroke="black" stroke-width="2"/></svg>"""


def test_only_one_half_of_openmoji_is_used(tmp_path: Path) -> None:
    codes = [f"1F{number:03X}" for number in range(40)]
    rows = [{"hexcode": code, "skintone": "", "group": "animals-nature"} for code in codes]
    rows[0]["skintone"] = "1"
    rows[1]["group"] = "flags"
    rows[2]["group"] = "extras-openmoji"
    art = tmp_path / "art"
    for style, fill in (("black", "none"), ("color", "#e03030")):
        (art / style / "animals-nature").mkdir(parents=True)
        for code in codes[3:]:
            (art / style / f"animals-nature/{code}.svg").write_text(SVG.format(fill=fill))
    (art / "openmoji.json").write_text(json.dumps(rows))
    (art / "SOURCE.txt").write_text("OpenMoji\n")
    assert fetch_openmoji(tmp_path) == art
    expected = [code for code in codes[3:] if zlib.crc32(code.encode()) % 2 == 0]
    names = visible_openmoji(art)
    assert [name.stem for name in names] == expected
    case = read_openmoji(art, names[0], 128, None)
    assert case.name == expected[0]
    assert [(region.color, region.is_object) for region in case.regions] == [
        ((255, 255, 255), False),
        ((0xE0, 0x30, 0x30), True),
    ]
    chosen = [[case.name for case in coloring.choose_cases(tmp_path, n, 0, 64, None)] for n in (2, 5)]
    assert chosen[1][:2] == chosen[0]
    result = run_main(guessing.main, "-o", tmp_path / "out", "--cache", tmp_path, "--count", 3)
    assert (result.returncode, result.stderr) == (0, "")
    rows = {row["guess"]: row for row in json.loads((tmp_path / "out/guessing.json").read_text())["rows"]}
    assert set(rows) == {"white page", "starter", "starter, reference"}
    assert (rows["white page"]["paper"], rows["white page"]["merged"]) == (1, 3)
    assert rows["starter, reference"]["object"] < rows["white page"]["object"]
    assert (tmp_path / "out/guesses.png").is_file()


def test_without_npm_openmoji_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(path_without("npm", folder=tmp_path / "programs")))
    with pytest.raises(WorkError, match="npm is not installed"):
        fetch_openmoji(tmp_path / "cache")


# -------------------------------------------------------------------------------------- whole benchmarks


@pytest.mark.slow
def test_every_variant_of_n_epochs_is_measured(tmp_path: Path) -> None:
    images, results = helper_photos.make_image_folder(tmp_path / "images", 70), tmp_path / "epochs.json"
    result = script("bench/epochs.py", "--images", images, "--count", 70, "--json", results)
    assert result.returncode == 0, result.stderr
    rows, variants = json.loads(results.read_text())["rows"], list(epochs.VARIANTS)
    assert [row["variant"] for row in rows] == [*variants, *variants[1:]]
    assert all(0 < row["epochs_1_s"] <= row["epochs_10_s"] < row["epochs_100_s"] for row in rows)


@pytest.mark.slow
def test_steps_and_inference_are_measured(tmp_path: Path) -> None:
    steps, inference = tmp_path / "step.json", tmp_path / "inference.json"
    result = script("bench/step.py", "--steps", 1, "--batch-size", 2, "--json", steps)
    assert result.returncode == 0, result.stderr
    assert [row["variant"] for row in json.loads(steps.read_text())] == [
        "linewash",
        "fit, integers",
        "fit, one-hot",
    ]
    result = script("bench/inference.py", "--repeats", 1, "--json", inference)
    assert result.returncode == 0, result.stderr
    assert script("bench/report.py", tmp_path).returncode == 0
    assert (tmp_path / "bench.md").read_text().count("linewash") > 3


@pytest.mark.slow
def test_a_short_soak_test_writes_its_figures(tmp_path: Path) -> None:
    result = script("bench/soak.py", "--output", tmp_path, "--minutes", 0.5)
    assert result.returncode in (0, 1), result.stderr  # half a minute is too short to detect growth
    results = json.loads((tmp_path / "soak.json").read_text())
    assert set(results["exit_codes"].values()) == {130}
    assert set(results["commands"]) == {"preprocessing", "training", "serving"}
    for summary in results["commands"].values():
        assert summary["peak_mb"] > 50
        assert len(summary["samples"]) > 2
    assert results["commands"]["serving"]["done"] > 0  # the other two may not finish a unit in this time
    assert (tmp_path / "soak.png").stat().st_size > 10_000
