"""Runs the benchmarks and the soak test at small sizes through their commands. Speeds are not checked."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import helper_photos
import pytest
from bench import epochs, report
from helper_commands import run_main, run_script

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
