"""The READMEs are true: each command in them runs as it is written, and each name in them exists.

`Reader` plays the reader. It has a copy of the checkout, small images where the READMEs have ImageNet, and a
`python` that makes long commands short by appending arguments to what was typed (`SMALLER`).
"""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import boto3
import helper_photos
import pytest
from helper_commands import ROOT
from moto.server import ThreadedMotoServer
from PIL import Image, ImageDraw

from preprocess.options import UsageError, build_parser, check_beam_flags
from tfrecords_schema import Manifest, SchemaError
from training.errors import LinewashError
from training.hydra_config import compose

# In the order of reading: commands of one file use what the commands of the files before it wrote.
PATHS = (
    "README.md",
    "preprocess/README.md",
    "training/README.md",
    "scripts/linewash/README.md",
    "scripts/bench/README.md",
)
READMES = {path: (ROOT / path).read_text() for path in PATHS}
ALL = "\n".join(READMES.values())

# Fenced blocks, headings and inline code, in the order of the file.
PIECES = re.compile(
    r"^```(?P<kind>\w*)\n(?P<block>.*?)^```$|^#+ (?P<heading>[^\n]*)$|(?<!`)`(?P<code>[^`]+)`", re.M | re.S
)
# Inline code is a command if it begins with a program, followed by something unless it is a script of ours.
COMMAND = re.compile(
    r"(\w+=\S+ )*(\./scripts/\w+\.sh\b|(python3?|pip|source|tensorboard|git|docker|gcloud|linewash-\w+|"
    r"\.venv/bin/\w+) \S)"
)

SVG = (
    '<svg viewBox="0 0 128 128" xmlns="http://www.w3.org/2000/svg">'
    '<circle cx="64" cy="64" r="{radius}" fill="{fill}" stroke="black" stroke-width="3"/></svg>'
)
NETWORK = "installs from the network; that the extra exists: test_extras_exist"
GO = "built with Go: test_runners.py::test_prism_writes_the_same_bytes"
GOOGLE = "Google's cloud: test_dataflow.py::test_the_request_contains_the_values_of_the_flags"
FLINK = "Java and Maven: test_flink.py::test_flink_writes_the_same_bytes"
# The commands that `test_commands_run` does not run, and the reason. A test named here must exist.
EXCEPTED = {
    "./scripts/test.sh": "it runs this test",
    "source .venv/bin/activate": "venv's own; the reader here has .venv/bin in PATH",
    "python3 -m venv .venv && .venv/bin/pip install --editable '.[demo]'": NETWORK,
    "python3 -m venv .venv && source .venv/bin/activate": "venv's own",
    "pip install --constraint scripts/constraints.txt --editable '.[all,demo]'": NETWORK,
    "pip install --constraint scripts/constraints.txt --editable '.[export]'": NETWORK,
    "pip install --editable '.[demo]'": NETWORK,
    "pip install '.[preprocess]'": NETWORK,
    "pip install '.[gpu]'": NETWORK,
    "pip install '.[preprocess,aws]'": NETWORK,
    "pip install '.[onnx]'": NETWORK,
    "pip install '.[bench,demo]'": NETWORK,
    "./scripts/bench.sh photos": "it makes an environment: test_bench.py runs what it runs",
    "python scripts/bench/input.py": "needs the loaders of the extra bench",
    "python scripts/bench/step.py": "test_bench.py::test_steps_and_inference_are_measured",
    "python scripts/bench/inference.py": "test_bench.py::test_steps_and_inference_are_measured",
    "python scripts/bench/epochs.py --images photos": (
        "test_bench.py::test_every_variant_of_n_epochs_is_measured"
    ),
    "python scripts/bench/epochs.py --images photos --train unet": (
        "test_bench.py::test_every_variant_of_n_epochs_is_measured"
    ),
    "python scripts/bench/coloring.py -o out/bench/coloring": (
        "test_bench.py::test_trivial_drawings_are_coloured_without_npm_and_gmic"
    ),
    "python scripts/bench/guessing.py -o out/bench/guessing": (
        "downloads: test_bench.py::test_only_one_half_of_openmoji_is_used"
    ),
    "python scripts/bench/soak.py -o out/soak": (
        "an hour: test_bench.py::test_a_short_soak_test_writes_its_figures"
    ),
    "./scripts/fetch_art.sh openclipart openclipart": (
        "downloads: test_fetch_art.py::test_openclipart_is_fetched_by_apt_get_once"
    ),
    "./scripts/fetch_art.sh fluent DIR": (
        "downloads: test_fetch_art.py::test_emoji_have_one_tone_of_skin_and_no_flags"
    ),
    "./scripts/fetch_art.sh openmoji DIR": (
        "downloads: test_fetch_art.py::test_openmoji_is_sorted_into_its_groups"
    ),
    "./scripts/build_starter.sh": "two hours: test_starter.py::test_its_accuracy_is_as_measured checks it",
    "python scripts/verify_shards.py DATASET": "no such dataset; it is run with another name",
    "python -m preprocess --runner DataflowRunner --project ID --region NAME --temp_location gs://BUCKET/tmp "
    "--input gs://BUCKET/images --output gs://BUCKET/dataset --max_num_workers 50": (GOOGLE),
    "python -m preprocess --runner DataflowRunner --project ID --region NAME --temp_location gs://BUCKET/tmp "
    "--input gs://BUCKET/ILSVRC2012_img_train.tar --output gs://BUCKET/imagenet100 --classes first:100 "
    "--palette kmeans:64": GOOGLE,
    "./scripts/flink_local.sh run --input photos --output out/photos": (FLINK),
    "./scripts/flink_local.sh run --input ILSVRC2012_img_train.tar --output out/imagenet100 "
    "--classes first:100 --palette kmeans:64": (FLINK),
    "python -m apache_beam.runners.worker.worker_pool_main --service_port=50000": (
        "it stays up: test_flink.py::test_an_external_worker_pool_writes_the_same_bytes starts it"
    ),
    "python -m preprocess --input photos --output out/photos --runner PrismRunner "
    "--prism_location ~/go/bin/prism": GO,
    "gcloud storage cp --recursive gs://BUCKET/imagenet100 out/": "Google's cloud and tool",
}

SHORT = "trainer.epochs=1 trainer.steps_per_epoch=1 trainer.batch_size=8 trainer.panel_images=2"
# Shell patterns of the arguments after `python`, and the arguments that are appended. The first match counts.
SMALLER = {
    "-m training --help*": "",
    "-m training run=*trainer.epochs=60*": "trainer.epochs=2",
    "-m training run=*": "",
    # XLA takes a minute to compile on a CPU.
    "-m training *experiment=imagenet100*": (
        f"{SHORT} model.widths=[8,16] model.blocks=1 model.attention=1 trainer.jit_compile=false"
    ),
    "-m training *model=article*": f"{SHORT} model.width=0.01",
    "-m training *": f"{SHORT} model.full_width=8 model.widths=[8,16] model.blocks=[0,0]",
    "scripts/make_storybook.py *": "--count 64",
    "scripts/bench/preprocess.py *": "--count 24 --runs 1",
    "scripts/bench/planning.py *": "--millions 0.002",
    "scripts/bench/prefetch.py *": "--delay 1",
    "scripts/serve.py *": "--port 0",
    "-m tensorboard.main *": "--port 0",
}
# A command without this argument is a name: it is written without `python -m`.
NEEDED = {
    "-m training.evaluate": "run=",
    "-m training.export": "run=",
    "-m training.preview": "data.root=",
    "scripts/compare_lines.py": "--images",
}
# A word in capitals is a value to fill in, which `test_commands_run` cannot run.
PLACEHOLDER = re.compile(r"(?:^|[ =/])[A-Z][A-Z_]+(?:$|[ /])")
SERVERS = re.compile(r"scripts/serve\.py|^tensorboard")
OPTIONS_OF_OTHERS = {"--runner"}  # named without a value


@dataclass(frozen=True)
class Command:
    """A command of a README, on one line and without its comment."""

    section: str
    text: str


def commands() -> list[Command]:
    """All commands, in order."""
    section, listed = "", []
    for piece in PIECES.finditer(ALL):
        section = piece["heading"] or section
        if piece["block"] is not None:
            lines = join_lines(piece["block"]) if piece["kind"] == "bash" else []
        else:
            code = " ".join((piece["code"] or "").split())
            lines = [code] if COMMAND.match(code) else []
        listed += [Command(section, line) for line in lines]
    return listed


def programs() -> list[str]:
    """The Python programs: blocks of one section follow on each other."""
    sections: dict[str, str] = {}
    section = ""
    for piece in PIECES.finditer(ALL):
        section = piece["heading"] or section
        if piece["kind"] == "py":
            sections[section] = sections.get(section, "") + piece["block"]
    return list(sections.values())


def join_lines(block: str) -> list[str]:
    joined = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
    return [bare for line in joined if (bare := re.sub(r"(^|\s+)#\s.*$", "", line))]


def inline_codes() -> list[str]:
    """Inline code that is no command: names, flags, settings."""
    codes = [" ".join(piece["code"].split()) for piece in PIECES.finditer(ALL) if piece["code"]]
    return [code for code in codes if not COMMAND.match(code)]


def invocations(text: str) -> Iterator[list[str]]:
    """The programs that a command starts, each with its arguments."""
    for part in text.split(" && "):
        arguments = shlex.split(part)
        while re.match(r"\w+=", arguments[0]):
            del arguments[0]
        yield arguments


# ----------------------------------------------------------------------------------- it is all accounted for


def test_exceptions_are_in_the_readme() -> None:
    texts = {command.text for command in commands()}
    assert not sorted(EXCEPTED.keys() - texts), "these are no longer in a README"


def test_tests_named_as_reasons_exist() -> None:
    for file, test in re.findall(r"(test_\w+\.py)::(test_\w+)", " ".join(EXCEPTED.values())):
        assert f"def {test}(" in (ROOT / "tests" / file).read_text()


def test_blocks_with_commands_are_marked_as_bash() -> None:
    """A fenced block that holds a command is marked as bash, so that `commands` sees it."""
    for piece in PIECES.finditer(ALL):
        if piece["block"] and piece["kind"] != "bash":
            assert not [line for line in join_lines(piece["block"]) if COMMAND.match(line.lstrip("!$ "))]


def test_commands_have_no_placeholders() -> None:
    texts = {command.text for command in commands()} - EXCEPTED.keys()
    assert not sorted(text for text in texts if PLACEHOLDER.search(text))


# ------------------------------------------------------------------------------------ what is named is there


@pytest.mark.parametrize("text", sorted({command.text for command in commands()}))
def test_arguments_exist(text: str) -> None:
    for program, *arguments in invocations(text):
        if program == "./scripts/flink_local.sh":
            check_preprocess(arguments[1:])
        elif program.endswith(".sh"):
            check_help((ROOT / program).read_text(), arguments)
        elif program.endswith(("python", "python3")):
            check_python(arguments)


def check_python(arguments: list[str]) -> None:
    module = arguments.pop(0) if arguments[0] != "-m" else " ".join((arguments.pop(0), arguments.pop(0)))
    if module == "-m preprocess" and arguments != ["--help"]:
        check_preprocess(arguments)
    elif module == "-m training":
        settings = [word for word in arguments if not word.startswith(("-", "init="))]
        if not settings or settings[0].startswith("run="):
            return
        sweep = "-m" in arguments
        compose([word.split(",")[0] if sweep else word for word in settings if "hydra." not in word])
    elif module != "-m venv":
        check_help(help_of(module), arguments)
        if required := NEEDED.get(module):
            assert any(word.startswith(required) for word in arguments), f"{module} needs {required}"


def check_preprocess(arguments: list[str]) -> None:
    known, rest = build_parser().parse_known_args(arguments)
    assert known.output
    check_beam_flags(rest)


def check_help(text: str, arguments: list[str]) -> None:
    for word in arguments:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){word.split('=')[0]}(?![\w-])", text), word
        elif "=" in word:
            assert f"{word.split('=')[0].split('.')[0]}" in text, word


@cache
def help_of(module: str) -> str:
    """What `python MODULE --help` prints."""
    command = [sys.executable, *module.split(), "--help"]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "scripts")))
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_inline_flags_exist() -> None:
    ours = ["-m preprocess", "scripts/colorize.py", "scripts/serve.py"]
    known = " ".join(map(help_of, ours))
    for code in inline_codes():
        arguments = [] if code in OPTIONS_OF_OTHERS else code.split()
        for flag, *value in (
            arguments[i : i + 2] for i, word in enumerate(arguments) if re.match("--?[a-zA-Z]", word)
        ):
            if not re.search(rf"(?<![\w-]){flag}(?![\w-])", known):
                check_beam_flag(flag, value)


def check_beam_flag(flag: str, value: list[str]) -> None:
    try:
        check_beam_flags(["--runner", "FlinkRunner", flag, *value])
    except UsageError as e:
        if "expected one argument" not in str(e):  # that is: known, and named here without a value
            raise


def test_inline_settings_compose() -> None:
    """Each `key=value` is a setting of some model, or belongs to a command whose help has it."""
    helps = help_of("-m training.export") + help_of("-m training.evaluate")
    arguments = [
        word for code in inline_codes() for word in code.split() if re.fullmatch(r"[a-z][\w.]*=\S+", word)
    ]
    assert len(arguments) > 10
    for word in arguments:
        key, _, value = word.partition("=")
        if key.startswith(("hydra.", "group")) or f"{key}=" in helps or value == "…":
            continue
        assert any(composes(word, model) for model in ("unet", "article_logits", "resunet")), word


def composes(word: str, model: str) -> bool:
    others = [] if word.startswith("model=") else [f"model={model}"]
    try:
        compose(["data.root=x", *others, word])
    except LinewashError:
        return False
    return True


def test_options_of_the_table_are_the_files_of_conf() -> None:
    table = READMES["training/README.md"].partition("| group | options |")[2].partition("\n\n")[0]
    group, named = "", set()
    for row in table.splitlines()[2:]:
        first, options = row.split("|")[1:3]
        group = first.strip(" `") or group
        named |= {f"{group}/{option}" for option in re.findall(r"`(\w+)`", options)}
    files = {path.relative_to(ROOT / "conf").with_suffix("") for path in (ROOT / "conf").glob("*/*.yaml")}
    assert named == {path.as_posix() for path in files} - {"data/shards"}


def anchors(text: str) -> set[str]:
    headings = [piece["heading"] for piece in PIECES.finditer(text) if piece["heading"]]
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PATHS)
def test_links_lead_somewhere(path: str) -> None:
    """Links are relative to the file that holds them; anchors are headings of their target."""
    for target in re.findall(r"\]\(([^)\s]+)\)", READMES[path]):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / path).parent / name if name else ROOT / path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


def settings_table() -> str:
    """The settings of `python -m training --help` as a Markdown table. Shared ones are listed once."""
    rows, listed, model = ["| setting | default | |", "|---|---|---|"], set(), ""
    lines = help_of("-m training").splitlines()
    for number, line in enumerate(lines):
        if heading := re.match(r"(?:  with model=(\w+):|(\w+): )", line):
            model = heading[1] or ""
        if setting := re.match(r"  (\w+\.\w+)=(\S+)(.*)", line):
            tail = [setting[3]]
            tail += itertools.takewhile(lambda text: text.startswith(" " * 20), lines[number + 1 :])
            sentence = " ".join(" ".join(tail).split())
            name = f"`{setting[1]}`" + (f" (`model={model}`)" if model not in ("", "unet") else "")
            default = "(required)" if sentence.endswith(" (required)") else setting[2]
            if (setting[1], sentence) not in listed:
                rows.append(f"| {name} | {default} | {sentence.removesuffix(' (required)')} |")
            listed.add((setting[1], sentence))
    return "\n".join(rows)


def test_the_table_of_settings_is_that_of_help() -> None:
    assert settings_table() in READMES["training/README.md"], "replace it with this table"


def test_files_exist() -> None:
    named = [
        code
        for code in inline_codes()
        if re.match(r"(conf|preprocess|training|scripts|tests|\.github)/", code)
    ]
    named += re.findall(r"(?:scripts|tests|conf)/[\w/]+\.\w+", " ".join(c.text for c in commands()))
    named += [f"tests/{code}" for code in inline_codes() if re.fullmatch(r"test_\w+\.py", code)]
    for name in named:
        assert list(ROOT.glob(name.replace("NAME", "*").rstrip("/"))), name


@pytest.mark.parametrize("folder", ["preprocess", "training", "scripts/linewash", "scripts/bench"])
def test_the_list_of_files_is_complete(folder: str) -> None:
    """The section "Files" names every module of its folder, and no other."""
    listing = READMES[f"{folder}/README.md"].rpartition("## Files\n")[2]
    listed, room = set(), ""
    for line in listing.partition("```\n")[2].partition("```")[0].splitlines():
        head = re.match(r"(\w+)/ ", line)
        room = f"{head[1]}/" if head else room if line.startswith(" ") else ""
        listed |= {room + name for name in re.findall(r"\w+\.py\b", line)}
    modules = {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob("*.py")}
    assert listed == {module for module in modules if not module.endswith("__init__.py")}


def test_the_readme_is_short() -> None:
    assert len(READMES["README.md"].splitlines()) <= 250


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for group in re.findall(r"\.\[([\w,]+)\]", ALL) for name in group.split(",")}
    assert named
    assert named <= extras.keys()


# ---------------------------------------------------------------------------------------- what errors say


@cache
def sentences() -> list[str]:
    """All text in the code, with a NUL wherever a value is put in."""
    texts = []
    for folder in ("preprocess", "training", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [v.value if isinstance(v, ast.Constant) else "\0" for v in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return texts


def quoted_errors() -> list[str]:
    table = READMES["README.md"].partition("| it says |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.M)


@pytest.mark.parametrize("quoted", quoted_errors())
def test_errors_say_what_is_quoted(quoted: str) -> None:
    """Every word of a quoted message is in the code, or a value is in its place."""
    arguments = [
        rf"(?:{re.escape(word).replace('…', '.*?')}|\S*\0\S*)" for word in quoted.split() if word != "…"
    ]
    pattern = re.compile(
        r"(?:\s+|\s.*?\s)".join(arguments) if " … " in quoted else r"\s+".join(arguments), re.S
    )
    assert any(pattern.search(sentence) for sentence in sentences())


def test_errors_are_quoted() -> None:
    assert len(quoted_errors()) >= 4


# ---------------------------------------------------------------------------------------- what runs


class Reader:
    """A person with a checkout, a folder of photographs and a bucket."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.folder, self.checkout = folder, folder / "linewash"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTEST_"))},
            "HOME": str(folder / "home"),
            "PATH": f"{self.checkout / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            # As an editable install has it, but of this copy.
            "PYTHONPATH": os.pathsep.join(map(str, (self.checkout, self.checkout / "scripts"))),
            "BROWSER": "true",  # a browser that opens nothing
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._copy_checkout()
        self._make_environment()
        self._take_photographs()
        self._draw_art()

    def _copy_checkout(self) -> None:
        without = shutil.ignore_patterns("__pycache__")
        for name in (".github", "conf", "preprocess", "scripts", "training"):
            shutil.copytree(ROOT / name, self.checkout / name, ignore=without)
        for name in ("pyproject.toml", "tfrecords_schema.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, self.checkout / name)

    def _make_environment(self) -> None:
        """A .venv that scripts/venv.sh finds up to date, whose python adds `SMALLER`."""
        bin_dir = self.checkout / ".venv/bin"
        bin_dir.mkdir(parents=True)
        cases = "".join(
            f'{shell_pattern(pattern)}) set -- "$@" {more} ;;\n' for pattern, more in SMALLER.items()
        )
        python = f'#!/bin/sh\ncase "$* " in\n{cases}esac\nexec {sys.executable} "$@"\n'
        scripts = {
            "python": python,
            "python3": python,
            "tensorboard": '#!/bin/sh\nexec "$(dirname "$0")/python" -m tensorboard.main "$@"\n',
        }
        for name, text in scripts.items():
            (bin_dir / name).write_text(text)
            (bin_dir / name).chmod(0o755)
        stamp = "cat pyproject.toml scripts/constraints.txt | cksum > .venv/.linewash-all,demo"
        subprocess.run(stamp, shell=True, cwd=self.checkout, check=True)

    def _take_photographs(self) -> None:
        train = helper_photos.make_image_folder(self.checkout / "imagenet/train", 48)
        shutil.copytree(train, self.checkout / "imagenette/train")
        helper_photos.make_image_folder(self.checkout / "photos", 24)
        helper_photos.make_image_folder(self.folder / "home/Pictures", 48)
        (self.checkout / "mine.gpl").write_text("GIMP Palette\n0 0 0 ink\n250 240 220 paper\n200 40 40 red\n")
        self._pack_imagenet(train)

    def _draw_art(self) -> None:
        """Pairs of drawing and colouring in all ways that preprocess takes them."""
        for number in range(60):
            fill, radius = f"hsl({number * 6}, 90%, 60%)", 24 + number % 30
            svg = self.checkout / f"openclipart/animals/{number:02d}.svg"
            svg.parent.mkdir(parents=True, exist_ok=True)
            svg.write_text(SVG.format(radius=radius, fill=fill))
            drawing, color = (Image.new("RGB", (128, 128), "white") for _ in range(2))
            for image, inside in ((drawing, "white"), (color, fill)):
                ImageDraw.Draw(image).circle((64, 64), radius, inside, "black", 3)
            halves = Image.new("RGB", (256, 128))
            halves.paste(drawing, (0, 0))
            halves.paste(color, (128, 0))
            name = f"{number:02d}.png"
            for image, folders in (
                (drawing, ("drawn/a", "film/a/line")),
                (color, ("painted/a", "film/a/gt")),
                (halves, ("pix2pix/a",)),
            ):
                for folder in folders:
                    (self.checkout / folder).mkdir(parents=True, exist_ok=True)
                    image.save(self.checkout / folder / name)

    def _pack_imagenet(self, train: Path) -> None:
        """As it is distributed: a tar of class tars; here, and in the bucket."""
        whole = self.checkout / "ILSVRC2012_img_train.tar"
        with tarfile.open(whole, "w") as outer:
            for folder in sorted(train.iterdir()):
                inner = self.folder / f"{folder.name}.tar"
                with tarfile.open(inner, "w") as tar:
                    for path in sorted(folder.iterdir()):
                        tar.add(path, path.name)
                outer.add(inner, inner.name)
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=self.env["AWS_ENDPOINT_URL"], **keys)
        for bucket in ("photos", "datasets"):
            client.create_bucket(Bucket=bucket)
        client.upload_file(str(whole), "photos", whole.name)

    def run(self, text: str) -> str:
        """Runs a command to its end, or one that stays until its page was seen; returns what is wrong."""
        env = self.env | (cluster_of_one() if "multi_worker" in text else {})
        command = ["bash", "-euo", "pipefail", "-c", text]
        # Ctrl-C must reach it also where these tests run in the background, which ignores it.
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        }
        with subprocess.Popen(command, cwd=self.checkout, env=env, text=True, **streams) as process:  # type: ignore[call-overload]
            watch = threading.Timer(900, process.kill)  # a busy machine may take its time
            watch.start()
            try:
                if SERVERS.search(text):
                    return visit(process)
                output = process.communicate()[0]
            finally:
                watch.cancel()
                process.kill()  # where it has ended this does nothing
        if process.returncode or "Traceback" in output:
            return f"exit code {process.returncode}: {output[-1500:]}"
        absent = [name for name in output_paths(text) if not (self.checkout / name).exists()]
        return f"{absent} not there: {output[-1500:]}" if absent else ""


def shell_pattern(pattern: str) -> str:
    return re.sub(r"[^*]+", lambda literal: shlex.quote(literal[0]), pattern)


def cluster_of_one() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        worker = f"127.0.0.1:{free.getsockname()[1]}"
    config = {"cluster": {"worker": [worker]}, "task": {"type": "worker", "index": 0}}
    return {"TF_CONFIG": json.dumps(config)}


def visit(process: subprocess.Popen[str]) -> str:
    """Waits for the address, asks for the page, and stops what serves it as Ctrl-C does."""
    output, address = "", None
    while not address:
        line = process.stdout.readline()  # type: ignore[union-attr]
        output += line
        if not line:
            return f"it ended without an address: {output[-1500:]}"
        address = re.search(r"http://[\w.]+:\d+", line)
    with urllib.request.urlopen(address[0], timeout=20) as page:
        served = page.read().decode()
    process.send_signal(signal.SIGINT)
    output += process.communicate(timeout=30)[0]
    if "<html" not in served.lower() or "Traceback" in output:
        return f"served {served[:200]!r}, printed {output[-1500:]}"
    return (
        "" if process.returncode in (0, 130, -signal.SIGINT) else f"exit code {process.returncode}: {output}"
    )


def output_paths(line: str) -> list[str]:
    """The local files and folders that a command writes."""
    matches = re.findall(
        r"(?:--output|--out|-o|--ora|--palette-out) ([^\s-]\S*)|(?:^|\s)(?:out|hydra\.run\.dir)=(\S+)", line
    )
    names = [name for pair in matches for name in pair if name and "://" not in name]
    if "--variants" in line:  # each gets a number
        return [str(Path(name).with_stem(f"{Path(name).stem}-1")) for name in names]
    return names


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield Reader(tmp_path_factory.mktemp("reader"), f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    finally:
        server.stop()


@pytest.mark.slow
def test_commands_run(reader: Reader) -> None:
    """One test, because the commands of a section use what the commands before them wrote."""
    wrong, seen = {}, set()
    for command in commands():
        if command.text in EXCEPTED or command.text in seen:
            continue
        seen.add(command.text)
        started = time.monotonic()
        fault = reader.run(command.text)
        print(f"{time.monotonic() - started:5.1f} s  {'FAILED ' if fault else ''}{command.text}", flush=True)
        if fault:
            wrong[f"{command.section}: {command.text}"] = fault
    for program in programs():
        if fault := reader.run(f"python -c {shlex.quote(program)}"):
            wrong[program] = fault
    assert not wrong, "\n\n".join(f"{text}\n{fault}" for text, fault in wrong.items())
    for name in ("out/imagenet", "out/imagenette", "out/storybook", "out/quickstart/dataset"):
        try:
            assert Manifest.load(reader.checkout / name).splits
        except SchemaError as e:
            pytest.fail(str(e))
