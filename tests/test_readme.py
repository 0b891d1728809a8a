"""The README: every command in it works when pasted, and what it quotes is what the commands say."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import photos
import pytest

from preprocess import options
from training.compose import compose

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()

# What a pasted command gets on top, to be done in seconds; the first that begins it counts.
SMALLER = {
    "python -m training --help": "",
    "python -m training run=": "",
    "python -m training data.root=": "trainer.epochs=1 trainer.steps_per_epoch=2 trainer.batch_size=4",
    "python -m preprocess --input imagenet": "--val_fraction 0.2 --max_reject_fraction 0.5",
}
SUBSTITUTES = {
    "./scripts/quickstart.sh": "MINUTES=0.05 ./scripts/quickstart.sh imagenet/train",
    "--count 8000": "--count 20 --runs 1 --ways linewash",
    "--millions 0.25 1 4": "--millions 0.01",
    "bench_reading.py --images photos": "bench_reading.py --images imagenet/train/n00000000",
    "--count 1000": "--count 60",
    "experiment=imagenet100": "experiment=imagenet100 trainer.batch_size=2 model=unet trainer.jit_compile=false"
    " trainer.precision=float32",
    "trainer.max_minutes=2": "trainer.max_minutes=0.05",
    "--classes first:100 --palette kmeans:64": "--classes first:2 --palette kmeans:8 --val_fraction 0.2",
    "model=article_logits": "model=article_logits model.width=0.02",
    "tensorboard --logdir": "tensorboard --inspect --logdir",  # does not stay
}
# Commands that other ones need, done before them wherever the README has them.
FIRST = (
    "python -m preprocess --input imagenet/train --output out/imagenet",
    "python -m training data.root=out/imagenet model=unet hydra.run.dir=runs/unet",
    "python -m training data.root=out/imagenet model=article_logits",
)
# What cannot be done here, why, and what is looked at instead.
NOT_RUN = {
    "./scripts/test.sh": "it runs this test",
    "./scripts/bench.sh": "takes half an hour; test_bench.py does it in small",
    "python scripts/long_run.py": "takes an hour; test_bench.py does it in small",
    "python3 -m venv": "needs the network, as test.sh does, which makes its environment in the same way",
    "pip install": "needs the network; the extras it names must be there",
    "python -m preprocess --input s3://": "needs a bucket; test_storage.py has one",
    "python -m preprocess --runner DataflowRunner": "needs Google; test_dataflow.py stands in for it",
    "./scripts/flink_local.sh": "starts a cluster; test_flink.py does",
    "python -m training data.root=out/imagenet trainer.strategy=mi": "needs GPUs; test_replicas.py stands in",
    "python -m training data.root=out/imagenet trainer.strategy=mu": "needs machines; test_replicas.py too",
}
STAYS = "scripts/serve.py"


def commands() -> Iterator[str]:
    """Every command of the blocks marked bash, lines that go on joined, comments left out."""
    for block in re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if words := line.split("  #")[0].strip():
                yield re.sub(r"\s+", " ", words)


def is_not_run(command: str) -> bool:
    return any(command.startswith(start) for start in NOT_RUN)


def smaller(command: str) -> str:
    more = next((more for start, more in SMALLER.items() if command.startswith(start)), "")
    for found, instead in SUBSTITUTES.items():
        command = command.replace(found, instead)
    return f"{command} {more}".strip()


def test_commands_are_found_and_every_exception_is_one() -> None:
    found = list(commands())
    assert len(found) > 35
    for start in [*NOT_RUN, *FIRST]:
        assert any(command.startswith(start) for command in found), f"{start} is no longer there"
    for start in [*SMALLER, *SUBSTITUTES]:
        assert any(start in command for command in found), f"{start} is no longer there"


@pytest.mark.parametrize("command", sorted(filter(is_not_run, commands())))
def test_what_is_not_run_would_be_understood(command: str, tmp_path: Path) -> None:
    words = shlex.split(command.replace("'.[", "'[").removeprefix("./"))
    if "-m preprocess" in command or "flink_local.sh run" in command:
        flags = words[words.index("preprocess") + 1 :] if "preprocess" in words else words[2:]
        options.parse(flags)
    elif "-m training" in command:
        compose([word for word in words[3:] if not word.startswith("hydra.")])
    elif "pip install" in command:
        extras = re.search(r"\[([\w,]+)\]", command)
        declared = (ROOT / "pyproject.toml").read_text()
        assert extras and all(f"\n{extra} = [" in declared for extra in extras[1].split(","))
    else:
        script = ROOT / words[1 if words[0] == "python" else 0]
        check = ["bash", "-n", script] if script.suffix == ".sh" else [sys.executable, script, "--help"]
        subprocess.run(check, check=True, capture_output=True)


@pytest.fixture
def reader(tmp_path: Path) -> Path:
    """A fresh checkout with an environment, and photographs under the names that the README gives them."""
    home = tmp_path / "linewash"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", ".github/")):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    (home / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".linewash"):
            (home / ".venv" / entry.name).symlink_to(entry)
    made_from = subprocess.run(
        "cat pyproject.toml scripts/constraints.txt | cksum",
        shell=True,
        cwd=home,
        capture_output=True,
        check=True,
    ).stdout
    (home / ".venv/.linewash-all,demo").write_bytes(made_from)
    images = photos.folder(home / "imagenet/train", 60)
    for name in ("imagenette/train", "photos"):
        shutil.copytree(images, home / name)
    tars = home / "tars"
    tars.mkdir()
    for folder in images.iterdir():
        shutil.make_archive(str(tars / folder.name), "tar", folder)
    shutil.make_archive(str(home / "ILSVRC2012_img_train"), "tar", tars)
    (home / "mine.gpl").write_text("GIMP Palette\n0 0 0 ink\n255 255 255 paper\n200 60 40 red\n")
    return home


def paste(command: str, home: Path, environment: dict[str, str]) -> str:
    """Runs it as a shell would; what went wrong, or nothing."""
    settings = {"cwd": home, "env": environment, "text": True}
    if STAYS in command:
        return paste_and_interrupt(command, settings)
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=400, **settings)
    faulty = done.returncode or "Traceback" in done.stderr
    return f"$ {command}\n{done.returncode}: {done.stdout[-500:]}{done.stderr[-1500:]}" if faulty else ""


def paste_and_interrupt(command: str, settings: dict[str, object]) -> str:
    """The same for a page that is served: it is asked for, and then it gets a Ctrl-C."""
    command = f"exec {command} --port 0"
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, **settings)  # type: ignore[call-overload]
    try:
        told = process.stdout.readline()
        address = re.search(r"http://[\w.:]+", told)
        if not address:
            return f"$ {command}\nsaid {told!r}"
        with urllib.request.urlopen(address[0], timeout=20) as answer:
            page = answer.read().decode()
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    finally:
        process.kill()
    return "" if "<canvas" in page and code == 130 else f"$ {command}\n{code}: {page[:200]}"


@pytest.mark.slow
def test_every_command_works_when_pasted(reader: Path) -> None:
    environment = {
        **os.environ, "PATH": f"{reader / '.venv/bin'}:{os.environ['PATH']}", "BROWSER": "true",
        "VIRTUAL_ENV": str(reader / ".venv"), "PYTHONPATH": "",
    }  # fmt: skip
    wanted = [command for command in commands() if not is_not_run(command)]
    wanted.sort(key=lambda command: not command.startswith(FIRST))
    assert len(wanted) > 25
    faults = [fault for command in wanted if (fault := paste(smaller(command), reader, environment))]
    assert not faults, "\n\n".join(faults)
    print(f"README: {len(wanted)} commands pasted")


# ------------------------------------------------------------------------------- what it says of itself


def sentences() -> set[str]:
    """Every text in the source, with … for what is filled in."""
    found = set()
    for folder in ("preprocess", "training", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
                elif isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                    found.add("".join(map(str, parts)))
    return found


def test_quoted_errors_are_what_the_commands_say() -> None:
    table = README.partition("## When something is wrong")[2].partition("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(quoted) > 8
    said = sentences()
    for text in quoted:
        parts = [part.strip(" ()") for part in re.split(r"…|[\d.:]+\d|(?<=the )val|ANOTHER", text)]
        for part in filter(lambda part: len(part) > 3, parts):
            assert any(part in sentence for sentence in said), f"no command says {part!r} (of {text!r})"


def test_every_file_and_setting_it_names_is_there() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), f"{target} is linked, and is not there"
    for name in re.findall(
        r"`((?:scripts|preprocess|training|conf)/[\w/.]+\.(?:py|sh|json|yaml|md))`", README
    ):
        assert "NAME" in name or (ROOT / name).exists(), f"{name} is named, and is not there"
    for name in re.findall(r"`(test_\w+\.py)`", README):
        assert (ROOT / "tests" / name).exists(), f"{name} is named, and is not there"
    settings = re.findall(r"`((?:trainer|model|optimizer|augment|loss|hints)(?:\.\w+)?=[\w.\[\]]+)`", README)
    assert len(settings) > 10
    for setting in settings:
        compose(["data.root=none", setting])


def test_every_flag_of_preprocess_is_told_of() -> None:
    flags = re.findall(r"`(--\w+)", README.partition("## Preprocess")[2].partition("\n### Buckets")[0])
    known = subprocess.run(
        [sys.executable, "-m", "preprocess", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert len(flags) > 10
    beams = {"--direct_num_workers", "--runner"}
    assert set(flags) - beams <= set(re.findall(r"--\w+", known))
