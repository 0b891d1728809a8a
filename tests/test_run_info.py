"""run.json: what it records, how it is read, and what a resumed run keeps of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helper_hostile import plain_run

from training.errors import UsageError
from training.run import run_info
from training.run.run_info import RunInfo, find_network, write_run


def write(run_dir: Path, content: dict) -> Path:
    run_dir.mkdir(exist_ok=True)
    (run_dir / "run.json").write_text(json.dumps(content, indent=2) + "\n")
    return run_dir


def test_reading_and_writing_are_inverse(tmp_path: Path) -> None:
    content = plain_run()
    content["config"]["data"] = {"root": "a/\udcff"}  # a path that is not UTF-8
    content["dataset"]["root"] = "/home/a/\udcff"
    before = (write(tmp_path, content) / "run.json").read_bytes()
    run = RunInfo.read(tmp_path)
    run.write(tmp_path)
    assert (tmp_path / "run.json").read_bytes() == before
    assert (run.root, run.batch_size, run.model.stride) == ("/home/a/\udcff", 4, 8)


def test_a_resumed_run_keeps_the_versions_that_began_it(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data.dataset import ShardedDataset
    from training.hydra_config import compose
    from training.models import build_model

    config = compose([f"data.root={shared_dataset}", "experiment=smoke"])
    net = build_model(config.model, 8, seed=0)

    def start_with(keras: str) -> RunInfo:
        monkeypatch.setattr(run_info, "_installed_versions", lambda: {"linewash": "1", "keras": keras})
        write_run(tmp_path, config, ShardedDataset.open(str(shared_dataset)), net)
        return RunInfo.read(tmp_path)

    first = start_with("3.1")
    assert first.versions == {"linewash": "1", "keras": "3.1"}
    assert "resumed_versions" not in json.loads((tmp_path / "run.json").read_text())
    assert start_with("3.1") == first
    for _ in range(2):
        resumed = start_with("3.2")
        assert resumed.versions == first.versions
        assert resumed.resumed_versions == [{"linewash": "1", "keras": "3.2"}]
    assert [versions["keras"] for versions in start_with("3.3").resumed_versions] == ["3.2", "3.3"]
    assert start_with("3.1").versions == first.versions


def test_runs_of_older_versions_are_read(tmp_path: Path) -> None:
    content = plain_run()
    content["config"]["data"] = {"root": "typed"}
    del content["versions"], content["dataset"]["root"], content["dataset"]["examples"]
    run = RunInfo.read(write(tmp_path, content))
    assert (run.root, run.versions, run.dataset.examples) == ("typed", {}, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [("stride", 0), ("stride", 1 << 21), ("batch_size", None), ("batch_size", "8"), ("panel_images", 0)],
)
def test_sizes_out_of_range_are_named(tmp_path: Path, key: str, value: object) -> None:
    content = plain_run()
    (content["model"] if key == "stride" else content["config"]["trainer"])[key] = value
    with pytest.raises(UsageError, match=rf"run\.json is not .*{key} must be a whole number from 1 to"):
        RunInfo.read(write(tmp_path, content))


@pytest.mark.parametrize(
    ("argument", "batch_size"), [(None, 4), ("1", 1), ("12", 12), ("9" * 5_000, 1 << 20)]
)
def test_batch_size_of_an_evaluation(tmp_path: Path, argument: str | None, batch_size: int) -> None:
    assert RunInfo.read(write(tmp_path, plain_run())).choose_batch_size(argument) == batch_size


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run=.*/nowhere: there is no such directory; type run=RUN_DIR"):
        RunInfo.read(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"holds no run\.json"):
        RunInfo.read(tmp_path)
    with pytest.raises(UsageError, match=r"checkpoints/best\.keras is missing"):
        find_network(tmp_path, "best")
    run = RunInfo.read(write(tmp_path, plain_run()))
    with pytest.raises(UsageError, match=r"no longer at out/dataset: type data\.root=WHERE"):
        run.find_dataset()
    assert run.find_dataset("elsewhere") == "elsewhere"
