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


# What is barred is not there for whoever asks; who asked for what must not even be asked for is told.
IMPORT_ALL = """
import importlib, sys

class Barred:
    asked = set()
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {barred}:
            self.asked.add(top)
            raise ImportError(name + " is barred")

sys.meta_path.insert(0, Barred())
for name in {names}:
    importlib.import_module(name)
asked = Barred.asked - {elsewhere}
assert not asked, asked
"""


@pytest.mark.parametrize(
    ("package", "barred", "elsewhere"),
    [
        ("preprocess", {"training", "tensorflow", "keras"}, set()),
        # Keras itself imports cv2 where it finds it.
        ("training", {"preprocess", "apache_beam", "cv2", "simplejpeg"}, {"cv2"}),
    ],
)
def test_importing_a_whole_half_brings_nothing_barred_along(package, barred, elsewhere):
    names = [name for name in modules(package) if not name.endswith("__main__")]
    code = IMPORT_ALL.replace("{barred}", repr(barred)).replace("{names}", repr(names))
    code = code.replace("{elsewhere}", repr(elsewhere))
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
