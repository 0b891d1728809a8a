"""python -m training.compare: the table, the picture and the error messages."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from helper_hostile import plain_run
from PIL import Image

from training.compare import MAX_COLUMNS, find_runs, format_table, main


def write_run(
    run_dir: Path,
    losses: list[float],
    *,
    val: bool = True,
    fingerprint: str = "f" * 16,
    name: str = "muon",
    rate: float = 0.01,
    widths: tuple[int, ...] = (8, 16),
) -> Path:
    """Writes the files of a run that are compared."""
    run_dir.mkdir(parents=True)
    run = plain_run()
    run["config"]["optimizer"] = {"name": name, "learning_rate": rate}
    run["config"]["model"] = {"name": "unet", "widths": widths}
    run["dataset"]["fingerprint"] = fingerprint
    (run_dir / "run.json").write_text(json.dumps(run))
    if losses:
        lines = ["epoch,step,train_loss,train_accuracy,val_loss,val_accuracy,new_column"]
        for epoch, loss in enumerate(losses, 1):
            start, scores = f"{epoch},{1200 * epoch}", f"{loss},{1 - loss / 4}"
            lines.append(f"{start},9,0.1,{scores},1" if val else f"{start},{scores},,,1")
        (run_dir / "history.csv").write_text("\r\n".join(lines) + "\r\n")
    return run_dir


def test_table_shows_differing_settings_and_best_epochs(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/2", [2.0, 1.0, 1.5])
    write_run(tmp_path / "sweep/10", [3.0, 2.5], rate=0.1, val=False)
    write_run(tmp_path / "sweep/11", [], name="adamw")
    assert format_table(find_runs([tmp_path / "sweep"])).splitlines() == [
        "run  steps  best   loss  accuracy  settings",
        "2    3,600     2  1.000     0.750  optimizer.name=muon  learning_rate=0.01",
        "10   2,400     2  2.500     0.375  optimizer.name=muon  learning_rate=0.1",
        "11       -     -      -         -  optimizer.name=adamw  learning_rate=0.01",
    ]


def test_table_fits_80_columns(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a" / ("long" * 20), [1.0], widths=tuple(range(100, 120))),
        write_run(tmp_path / "b", [123456.0], name="x" * 90, fingerprint="0" * 16),
    ]
    lines = format_table(find_runs(runs)).splitlines()
    assert max(map(len, lines)) <= MAX_COLUMNS
    assert lines[1].startswith("…onglong")
    assert "same dataset" in lines[-1]


def test_what_a_run_began_from_is_a_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [2.0])
    run_dir = write_run(tmp_path / "b", [1.0])
    run = json.loads((run_dir / "run.json").read_text())
    run["start"] = {"init": "starter", "file": "model.keras", "sha256": "0" * 64, "note": "9 layers copied"}
    (run_dir / "run.json").write_text(json.dumps(run))
    rows = format_table(find_runs([tmp_path])).splitlines()
    assert not rows[1].endswith("starter")
    assert rows[2].endswith("0.750  init=starter")


def test_equal_runs_have_no_differing_settings(tmp_path: Path) -> None:
    runs = find_runs([write_run(tmp_path / name, [1.0]) for name in ("one", "two")])
    assert format_table(runs).splitlines()[1:] == [
        "one  1,200     1  1.000     0.750",
        "two  1,200     1  1.000     0.750",
    ]


def test_curves_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        write_run(tmp_path / f"runs/{number}", [2 / epoch + number / 10 for epoch in range(1, 9)])
    out = tmp_path / "runs.png"
    assert main([str(tmp_path / "runs"), f"out={out}"]) == 0
    assert f"written    {out}" in capsys.readouterr().out
    with Image.open(out) as image:
        assert min(image.size) > 500


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([flag]) == 0
    assert "RUN_DIR... [out=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "sentence"),
    [
        ([], 2, "type python -m training.compare RUN_DIR..."),
        (["--verbose"], 2, "type python -m training.compare RUN_DIR..."),
        (["nowhere"], 2, "nowhere holds no run"),
        (["foreign"], 2, "run.json is not what python -m training writes"),
        (["broken"], 2, "history.csv is not what python -m training writes"),
        (["young"], 1, "no epoch has ended"),
        (["run", "out=x.docx"], 1, "out=x.docx could not be written"),
        (["run", "out=run.json/x.png"], 1, "could not be written"),
    ],
)
def test_wrong_arguments_give_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    argv: list[str], code: int, sentence: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", [1.0])
    write_run(tmp_path / "young", [])
    (write_run(tmp_path / "broken", [1.0]) / "history.csv").write_text("epoch,step\n1,2\n")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/run.json").write_text('{"learning_rate": 1}')
    (tmp_path / "run.json").write_text("{}")
    assert main(argv) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert sentence in line


@pytest.mark.parametrize("column", ["step", "epoch", "val_accuracy"])
@pytest.mark.parametrize("value", ["many", "x" * 200_000, None])
def test_invalid_history_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: str | None
) -> None:
    run = write_run(tmp_path / "run", [1.0])
    (row,) = csv.DictReader((run / "history.csv").read_text().splitlines())
    names = [name for name in row if name != column] + [
        column
    ]  # the tested column is last, so that its value can be missing
    values = [row[name] for name in names[:-1]] + ([] if value is None else [value])
    (run / "history.csv").write_text(f"{','.join(names)}\n{','.join(values)}\n")
    assert main([str(run)]) == 2
    assert "history.csv is not what python -m training writes" in capsys.readouterr().err
