"""scripts/fetch_art.sh: whole folders or nothing, one sentence for each mistake, and licences named."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helper_art import make_deb, make_iconify_package, make_npm_package, path_without, write_program
from helper_commands import ROOT
from helper_jobs import file_contents

SCRIPT = ROOT / "scripts/fetch_art.sh"
OPENCLIPART = {"animals/frog_bob_01.svg", "food/fruit/pear_bob_01.svg", "SOURCE.txt", "COPYRIGHT.txt"}
OPENMOJI = {
    "openmoji.json", "SOURCE.txt", "COPYRIGHT.txt",
    *(f"{style}/{name}.svg" for style in ("black", "color")
      for name in ("animals-nature/1F400", "animals-nature/1F401", "food-drink/1F34E")),
}  # fmt: skip


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Programs for $PATH, without apt-get and npm: a test writes its own, which reach no network."""
    return path_without("apt-get", "npm", folder=tmp_path / "programs")


def fetch(programs: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "PATH": str(programs)}
    return subprocess.run(command, capture_output=True, text=True, cwd=programs.parent, env=environment)


def assert_one_sentence(result: subprocess.CompletedProcess[str], code: int, *parts: str) -> None:
    assert result.returncode == code, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for part in parts:
        assert part in result.stderr


def remaining(folder: Path, *but: str) -> list[str]:
    """The names in a folder, except those of the test itself."""
    return sorted(p.name for p in folder.iterdir() if p.name not in {"programs", "root", *but})


def test_openclipart_is_fetched_by_apt_get_once(tmp_path: Path, programs: Path) -> None:
    package = make_deb(tmp_path)
    write_program(
        programs, "apt-get", f"echo W: unsandboxed >&2; echo $* >> {tmp_path}/calls; cp {package} ."
    )
    first, second = (fetch(programs, "openclipart", "new/art") for _ in range(2))
    for result in (first, second):
        assert (result.returncode, result.stderr) == (0, "")
        for part in ("openclipart-svg 1:0.1-2", "public domain", "2 SVGs", "2 more names", "--input new/art"):
            assert part in result.stdout
    assert (tmp_path / "calls").read_text() == "--quiet download openclipart-svg\n"
    assert set(file_contents(tmp_path / "new/art")) == OPENCLIPART
    assert remaining(tmp_path / "new") == ["art"]


def test_openclipart_is_unpacked_without_dpkg(tmp_path: Path, programs: Path) -> None:
    package = make_deb(tmp_path)
    assert fetch(programs, "openclipart", "art", package.name).returncode == 0
    (programs / "dpkg-deb").unlink()
    assert fetch(programs, "openclipart", "other", package.name).returncode == 0
    assert file_contents(tmp_path / "art") == file_contents(tmp_path / "other")
    (programs / "ar").unlink()
    assert_one_sentence(fetch(programs, "openclipart", "third", package.name), 1, "binutils")


def test_openmoji_is_sorted_into_its_groups(tmp_path: Path, programs: Path) -> None:
    package = make_npm_package(tmp_path)
    write_program(programs, "npm", f"echo npm notice >&2; cp {package} openmoji-17.0.0.tgz")
    result = fetch(programs, "openmoji", "my art/")
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("openmoji 1.2.3", "CC BY-SA 4.0", "same licence", "6 SVGs", "cannot judge",
                 r"--input my\ art/color --drawings my\ art/black"):  # fmt: skip
        assert part in result.stdout
    assert set(file_contents(tmp_path / "my art")) == OPENMOJI
    assert (tmp_path / "my art/black/food-drink/1F34E.svg").read_text() == "<svg><!-- black 1F34E --></svg>"


def test_emoji_have_one_tone_of_skin_and_no_flags(tmp_path: Path, programs: Path) -> None:
    package = make_iconify_package(tmp_path, "@iconify-json/twemoji")
    assert_one_sentence(fetch(programs, "fluent", "art", package), 2, "holds @iconify-json/twemoji")
    result = fetch(programs, "twemoji", "art", package)
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("Twemoji", "CC BY 4.0", "2 SVGs", "--input art"):
        assert part in result.stdout
    files = file_contents(tmp_path / "art")
    assert set(files) == {"SOURCE.txt", "COPYRIGHT.txt", "animals-nature/cat.svg", "people-body/boy.svg"}
    assert b"viewBox=\"0 0 20 32\"><g id='cat'/></svg>" in files["animals-nature/cat.svg"]
    assert b"'boy-dark'" in files["people-body/boy.svg"] or b"'boy-light'" in files["people-body/boy.svg"]
    assert files["COPYRIGHT.txt"] == b"Ann, home\nMIT, licence\n"


@pytest.mark.parametrize(
    ("art", "program", "name"),
    [
        ("openclipart", "apt-get", "openclipart-svg_0.18+dfsg-19_all.deb"),
        ("openmoji", "npm", "openmoji-17.0.0.tgz"),
        ("fluent", "npm", "iconify-json-fluent-emoji-flat-1.2.6.tgz"),
        ("twemoji", "npm", "iconify-json-twemoji-1.2.5.tgz"),
    ],
)
def test_what_to_download_is_said_where_it_cannot_be_fetched(
    tmp_path: Path, programs: Path, art: str, program: str, name: str
) -> None:
    advice = f"{SCRIPT} {art} a\\ b {name}"
    assert_one_sentence(fetch(programs, art, "a b"), 1, f"{program} is not installed", advice)
    write_program(programs, program, "echo npm notice >&2; echo E: no network >&2; exit 100")
    assert_one_sentence(fetch(programs, art, "a b"), 1, "no network", advice)
    assert remaining(tmp_path) == []


def test_a_wrong_package_leaves_nothing(tmp_path: Path, programs: Path) -> None:
    openmoji = make_npm_package(tmp_path, complete=False)
    other = make_deb(tmp_path, "other")
    for art, archive in (("openclipart", openmoji), ("openclipart", other), ("openmoji", other)):
        assert_one_sentence(fetch(programs, art, "art", archive), 2, archive.name)
    assert_one_sentence(fetch(programs, "openmoji", "art", openmoji), 2, "1F402.svg is missing")
    assert remaining(tmp_path) == sorted([openmoji.name, other.name])


def test_other_files_are_not_touched(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/cat.svg").write_text("mine")
    (tmp_path / "moji").mkdir()
    (tmp_path / "moji/SOURCE.txt").write_text("OpenMoji\n")
    (tmp_path / "file").write_text("")
    for folder in ("mine", "moji", "file"):
        assert_one_sentence(fetch(programs, "openclipart", folder), 2, f"{folder} holds something else")
    assert (tmp_path / "mine/cat.svg").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert fetch(programs, "openmoji", "empty", make_npm_package(tmp_path)).returncode == 0
    assert set(file_contents(tmp_path / "empty")) == OPENMOJI


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ((), 2, "usage:"), (("photos", "art"), 2, "usage:"), (("openmoji",), 2, "usage:"),
        (("openmoji", ""), 2, "DIR is empty"), (("openmoji", "art", "none.tgz"), 2, "no file none.tgz"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence(
    tmp_path: Path, programs: Path, arguments: tuple[str, ...], code: int, part: str
) -> None:
    assert_one_sentence(fetch(programs, *arguments), code, part)
    assert fetch(programs, "--help").stdout.startswith("usage:")
    assert remaining(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_half_folder(tmp_path: Path, programs: Path, number: signal.Signals) -> None:
    package = make_npm_package(tmp_path)
    write_program(programs, "npm", f"echo $PPID > {tmp_path}/started; sleep 0.7")
    command = [str(SCRIPT), "openmoji", "art"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PATH": str(programs)})
    while not (tmp_path / "started").is_file():
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(20) != 0
    left = remaining(tmp_path, "started", package.name)
    assert left == ([f"art.fetching.{process.pid}"] if number is signal.SIGKILL else [])
    assert fetch(programs, "openmoji", "art", package).returncode == 0
    assert remaining(tmp_path, "started", package.name) == ["art"]
