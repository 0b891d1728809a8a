"""The benchmarks and the long run, in small, through their real commands; their figures are not judged."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import helper_photos
import pytest
from bench import epochs, report
from helper_commands import run_main, run_script

script = partial(run_script, timeout=500)


def row(once: float, first: float, following: float) -> dict[str, float]:
    return {"once_s": once, "images": 1000, "first_ms": first, "next_ms": following}


def test_break_even_is_the_first_epoch_that_takes_no_longer() -> None:
    shards, online = row(10, 0, 0), row(0, 3, 3)
    assert epochs.break_even(shards, online) == 4  # 10 s against 3, 6, 9 and 12
    assert epochs.break_even(row(1, 0, 0), online) == 1
    assert epochs.break_even(row(10, 0, 3), online) is None


def test_a_report_says_what_is_not_faster(tmp_path: Path) -> None:
    rates = {"linewash": 100.0, "pool": 150.0, "canonical": 50.0}
    ways = {
        way: {"images_per_s": rate, "images_per_s_inside": rate, "launcher_mb": 1.0, "worker_mb": 1.0}
        for way, rate in rates.items()
    }
    (tmp_path / "preprocess.json").write_text(json.dumps({"ways": ways}))
    rows = [
        {"decode": "full", "way": "online", **row(0, 3, 3), "break_even": 4},
        {"decode": "full", "way": "shards", **row(10, 0, 0), "break_even": None},
    ]
    rows = [one | {f"epochs_{n}_s": epochs.seconds(one, n) for n in (1, 10)} for one in rows]
    (tmp_path / "epochs.json").write_text(json.dumps({"network": None, "rows": rows}))
    assert script("bench/report.py", tmp_path).returncode == 0
    page = (tmp_path / "bench.md").read_text()
    assert "Not faster than a bare multiprocessing.Pool, results thrown away: 0.67×." in page
    assert "Not faster than online, JPEGs in full, before epoch 4." in page
    assert "| online, JPEGs in full | 0.0 | 3.0 | 30.0 | 4 |" in page
    written = json.loads((tmp_path / "bench.json").read_text())
    assert set(written) == {"machine", "versions", "results", "tables"}
    assert written["machine"]["cores"] >= 1
    assert written["versions"]["python"].count(".") == 2


def test_a_report_of_nothing_is_a_sentence(tmp_path: Path) -> None:
    result = run_main(report.main, tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "run ./scripts/bench.sh PHOTOS first" in result.stderr


@pytest.mark.slow
def test_every_way_to_n_epochs_is_measured(tmp_path: Path) -> None:
    images, figures = helper_photos.folder(tmp_path / "images", 70), tmp_path / "epochs.json"
    result = script("bench/epochs.py", "--images", images, "--count", 70, "--json", figures)
    assert result.returncode == 0, result.stderr
    table = json.loads(figures.read_text())
    assert [one["way"] for one in table["rows"]] == [*epochs.WAYS, *list(epochs.WAYS)[1:]]
    assert all(0 < one["epochs_1_s"] <= one["epochs_10_s"] < one["epochs_100_s"] for one in table["rows"])


@pytest.mark.slow
def test_steps_and_inference_are_measured(tmp_path: Path) -> None:
    steps, inference = tmp_path / "step.json", tmp_path / "inference.json"
    result = script("bench/step.py", "--steps", 1, "--batch-size", 2, "--json", steps)
    assert result.returncode == 0, result.stderr
    assert [one["way"] for one in json.loads(steps.read_text())] == [
        "linewash",
        "fit, integers",
        "fit, one-hot",
    ]
    result = script("bench/inference.py", "--repeats", 1, "--json", inference)
    assert result.returncode == 0, result.stderr
    assert script("bench/report.py", tmp_path).returncode == 0
    assert (tmp_path / "bench.md").read_text().count("linewash") > 3


@pytest.mark.slow
def test_a_long_run_in_short_has_its_figures(tmp_path: Path) -> None:
    result = script("bench/soak.py", "--out", tmp_path, "--minutes", 0.5)
    assert result.returncode in (0, 1), result.stderr  # half a minute says nothing about growth
    told = json.loads((tmp_path / "soak.json").read_text())
    assert set(told["exit_codes"].values()) == {130}
    assert set(told["commands"]) == {"preprocessing", "training", "serving"}
    for one in told["commands"].values():
        assert one["peak_mb"] > 50
        assert len(one["samples"]) > 2
    assert told["commands"]["serving"]["done"] > 0  # the others may be in the middle of something
    assert (tmp_path / "soak.png").stat().st_size > 10_000
