"""The walls of the house: the halves never import each other, nor what is not theirs to carry."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def modules(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    return [
        str(p.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__") for p in paths
    ]


def imported(path):
    """Top-level names of all modules that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(
    ("package", "barred"),
    [
        ("preprocess", {"training", "tensorflow", "keras", "hydra"}),
        ("training", {"preprocess", "apache_beam", "cv2", "simplejpeg"}),
    ],
)
def test_no_file_of_a_half_imports_beyond_its_wall(package, barred):
    found = {(p.name, name) for p in (ROOT / package).rglob("*.py") for name in imported(p) if name in barred}
    assert found == set()


@pytest.mark.parametrize(
    ("package", "barred"),
    [
        ("preprocess", ["training", "tensorflow", "keras"]),
        # Not cv2: Keras itself imports it where it finds it.
        ("training", ["preprocess", "apache_beam"]),
    ],
)
def test_importing_a_whole_half_brings_nothing_barred_along(package, barred):
    names = [name for name in modules(package) if not name.endswith("__main__")]
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += f"found = [name for name in {barred} if name in sys.modules]\nassert not found, found"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_contract_stands_alone():
    code = "import sys, tfrecords_schema\n"
    code += "assert not {'tensorflow', 'apache_beam', 'cv2', 'preprocess', 'training'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_top_level_holds_what_was_agreed():
    agreed = {"pyproject.toml", "tfrecords_schema.py", "README.md", "LICENSE"}
    agreed |= {"conf", "preprocess", "training", "scripts", "tests"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    found = {path.partition("/")[0] for path in tracked if path and not path.startswith(".")}
    assert found <= agreed
