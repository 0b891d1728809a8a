"""Paths in arguments of training: folders with any name, `~`, and moved datasets and runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import write_dataset
from helper_runs import SETTINGS
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from training import compare, preview
from training.__main__ import main
from training.config import TrainConfig
from training.errors import UsageError
from training.evaluate import __main__
from training.export.__main__ import open_run_dataset
from training.hydra_config import CONF_DIR, compose, from_run, register_schemas
from training.overrides import quote_paths
from training.run.run_info import RUN_NAME, RunInfo, check_same_run, write_run

# All folder names that Linux permits and that are UTF-8.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
AWKWARD = [
    "Bücher", "sets (2024)", "[old]", "a,b", "#1", "{x}", "${x}", "a=b", "it's", '"quoted"', "'quoted'",
    "back\\", "\\${x}", "$HOME", "~", "~not_a_user", "???", "null", "1e3", " space ", "new\nline", "+x", "@x",
    "a:b", "100%", "choice(a,b)", "tab\t", "\\'", "$", "\N{CLOSED BOOK}",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("names")


@settings(max_examples=30)  # each composes all of conf/ twice; the names that have gone wrong are in AWKWARD
@given(NAMES)
def test_folders_of_any_name_are_found(folder: Path, name: str) -> None:
    (folder / name).mkdir(exist_ok=True)
    for path in (f"{folder}/{name}", f"{folder}/{name}/"):
        assert compose([f"data.root={path}"]).data.root == path


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_folder_names_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As relative paths, and as the directory of a new run."""
    monkeypatch.chdir(tmp_path)
    if name != "~":  # which is the home folder
        Path(name).mkdir()
        root = compose([f"data.root={name}"]).data.root
        assert Path(root) == Path(name)
    if "${" not in name and name[0] not in "'\"":  # an interpolation, and a name quoted for Hydra
        for key in ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "+data.root", "++data.root"):
            assert composed(f"{key}=runs/{name}", key.lstrip("+")) == f"runs/{name}"


def composed(argument: str, key: str) -> str:
    """Returns the value of a setting after Hydra has parsed the argument."""
    register_schemas()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = hydra_compose("train", quote_paths([argument]), return_hydra_config=True)
    return str(OmegaConf.select(config, key))


def test_interpolations_are_resolved_by_hydra() -> None:
    assert composed("hydra.run.dir=runs/${trainer.batch_size}", "hydra.run.dir") == "runs/16"


@pytest.mark.parametrize(
    ("value", "roots"),
    [
        ("a,b", ["a", "b"]),
        ("Bücher,sets (2024)", ["Bücher", "sets (2024)"]),
        ("'a,b',c", ["a,b", "c"]),
        ("choice(a,b)", ["a", "b"]),
    ],
)
def test_a_sweep_over_several_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    value: str, roots: list[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["-m", f"data.root={value}", "hydra.sweep.dir=all (of=them)"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(roots)
    for root, line in zip(roots, lines, strict=True):
        assert f"data.root={root}: there is no such directory" in line


def test_a_tilde_is_expanded_to_the_home_folder(
    shared_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ds").symlink_to(shared_dataset)
    assert compose(["data.root=~/ds"]).data.root == str(tmp_path / "ds")
    assert composed("hydra.run.dir=~/x", "hydra.run.dir") == str(tmp_path / "x")
    for command, arguments in (
        (main, ["run=~/r"]),
        (__main__.main, ["run=~/r"]),
        (compare.main, ["~/r", "out=~/c.png"]),
        (preview.main, ["data.root=~/r", "out=~/c.png"]),
    ):
        assert command(arguments) == 2
        assert f"{tmp_path}/r" in capsys.readouterr().err
    assert preview.main(["data.root=~/ds", "out=~/sheet (1).png"]) == 0
    assert [path.name for path in tmp_path.glob("*.png")] == ["sheet (1).png"]


def test_a_tilde_without_home_folder_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # neither HOME nor an account
    for arguments in (["data.root=~/ds"], ["run=~/r"]):
        assert main(arguments) == 2
        assert "HOME is not set" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- moved datasets


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a run with its run.json only, started in tmp_path on the dataset D."""
    write_dataset(tmp_path / "D", train=8, val=2)
    monkeypatch.chdir(tmp_path)
    record(tmp_path / "run", compose(["data.root=D", *SETTINGS]))
    return tmp_path / "run"


def record(run_dir: Path, config: TrainConfig) -> None:
    from training.data.dataset import ShardedDataset
    from training.models import build_model

    dataset = ShardedDataset.open(config.data.root)
    write_run(run_dir, config, dataset, build_model(config.model, 8, seed=0))


def test_the_same_dataset_by_another_path_is_the_same_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.data.dataset import ShardedDataset

    Path("link").symlink_to("D")
    roots = ["D", "D/", "./D", str(run_dir.parent / "D"), "link", "run/../D"]
    Path("sub").mkdir()
    for root in roots:
        config = compose([f"data.root={root}", *SETTINGS])
        check_same_run(run_dir, config, ShardedDataset.open(root))
        assert from_run(run_dir, [f"data.root={root}"]) == config
    monkeypatch.chdir("sub")
    config = compose(["data.root=../D", *SETTINGS])
    check_same_run(run_dir, config, ShardedDataset.open("../D"))


def test_a_run_is_continued_from_another_directory(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for named in ("run", "run/", "./run"):
        assert from_run(Path(named), []).data.root == "D"  # as it was typed
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert from_run(Path("../run"), []).data.root == str(run_dir.parent / "D")
    assert RunInfo.read(Path("../run")).find_dataset() == str(run_dir.parent / "D")


def test_all_readers_of_a_run_ask_for_a_moved_dataset(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("D").rename("E")
    sentence = f"the dataset is no longer at {run_dir.parent / 'D'}: type data.root=WHERE"
    for command in (main, __main__.main):
        (run_dir / "checkpoints").mkdir(exist_ok=True)
        (run_dir / "checkpoints/best.keras").write_text("none")
        assert command([f"run={run_dir}"]) == 2
        assert sentence in capsys.readouterr().err
    dataset, notes = open_run_dataset(RunInfo.read(run_dir), None)
    assert dataset is None
    assert sentence in notes[0]
    assert open_run_dataset(RunInfo.read(run_dir), "E")[0]
    assert RunInfo.read(run_dir).find_dataset("E") == "E"
    assert from_run(run_dir, ["data.root=E"]).data.root == "E"


def test_another_dataset_is_refused(run_dir: Path) -> None:
    from training.data.dataset import ShardedDataset

    write_dataset(Path("other"), train=9, val=2)
    config = from_run(run_dir, ["data.root=other"])
    with pytest.raises(UsageError, match=r"dataset fingerprint .* began with .* data.root=WHERE"):
        check_same_run(run_dir, config, ShardedDataset.open("other"))


def test_runs_on_one_dataset_do_not_differ_by_its_path(run_dir: Path) -> None:
    twin = run_dir.with_name("twin")
    twin.mkdir()
    written = json.loads((run_dir / RUN_NAME).read_text())
    written["config"]["data"]["root"] = "elsewhere"
    (twin / RUN_NAME).write_text(json.dumps(written))
    runs = compare.find_runs([run_dir, twin])
    assert compare.differing_settings(runs) == [[], []]


def test_names_of_runs_are_drawn_without_markup(tmp_path: Path) -> None:
    from training.run.plots import write_comparison

    names = ["$a$b$c_{", "_old", "\udcff", "Bücher"]
    write_comparison(tmp_path / "x.png", {name: ([1.0], [0.5]) for name in names})
    assert (tmp_path / "x.png").stat().st_size


def test_several_datasets_without_multirun_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).mkdir()
    with pytest.raises(UsageError, match="--multirun"):
        compose(["data.root=a,b"])
    Path("a,b").mkdir()
    assert compose(["data.root=a,b"]).data.root == "a,b"
