"""Import rules: what the halves and their rooms may import, no circles, and which modules need no framework.

A room is a folder of modules inside a half (`training/loop`) or inside scripts/linewash. Modules at the top
of a half belong to no room: the commands import the rooms, and the rooms import basic modules such as
`errors`.
"""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each room and the rooms that it may import. They must appear above it, so that the table has no circle.
ALLOWED_IMPORTS = {
    "preprocess/lines": [],
    "preprocess/storage": [],
    "preprocess/runners": ["storage"],
    "training/metrics": [],
    "training/models": [],
    "training/data": ["metrics"],
    "training/run": ["metrics", "models", "data"],
    "training/loop": ["metrics", "models", "data", "run"],
    "training/evaluate": ["metrics", "models", "data", "run", "loop"],
    "training/export": ["metrics", "models", "data", "run", "evaluate"],
    "linewash/samples": [],
    "linewash/storybook": [],
    "linewash/coloring": ["lines", "metrics", "models", "run", "evaluate", "export"],
    "linewash/serving": ["samples", "coloring"],
    "linewash/coloring_job": ["storage", "runners", "export", "coloring"],
}

# It imports the pipeline only to have it in memory before workers are forked; nothing imports this module.
PRELOAD = "preprocess.runners.preload"


@cache
def sources():
    """Returns the path of every module of the project by its name."""
    paths = [ROOT / "tfrecords_schema.py"]
    for folder in ("preprocess", "training", "scripts"):
        paths += sorted((ROOT / folder).rglob("*.py"))
    return {module_name(path): path for path in paths}


def module_name(path):
    relative = path.relative_to(ROOT / "scripts" if ROOT / "scripts" in path.parents else ROOT)
    return ".".join(relative.with_suffix("").parts).removesuffix(".__init__")


def room_of(module):
    """Returns the room of a module, or None."""
    room = "/".join(module.split(".")[:2])
    return room if room in ALLOWED_IMPORTS else None


def imported_names(path):
    """Yields the full names of all imports in a file, also of those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imports():
    """Returns all pairs (module, module of the project that it imports)."""
    pairs = set()
    for module, path in sources().items():
        for name in imported_names(path):
            while name and name not in sources():
                name = name.rpartition(".")[0]
            if name and name != module:
                pairs.add((module, name))
    return pairs


def find_circle(pairs):
    """Returns a circle in the graph of these pairs, or an empty list."""
    graph = {}
    for module, imported in pairs:
        graph.setdefault(module, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        return e.args[1]
    return []


# ------------------------------------------------------------------------------------------ the rooms


def test_every_room_is_in_the_table_below_those_it_may_import():
    rooms = {room_of(module) or f"no room: {module}" for module in sources() if module.count(".") >= 2}
    assert rooms == set(ALLOWED_IMPORTS)
    above = set()
    for room, allowed in ALLOWED_IMPORTS.items():
        assert set(allowed) <= above, room
        above.add(room.partition("/")[2])


@pytest.mark.parametrize("room", ALLOWED_IMPORTS)
def test_a_room_imports_only_rooms_that_the_table_allows(room):
    allowed = {room, *(r for r in ALLOWED_IMPORTS if r.partition("/")[2] in ALLOWED_IMPORTS[room])}
    wrong = [
        f"{module} imports {imported}"
        for module, imported in imports()
        if room_of(module) == room and room_of(imported) and room_of(imported) not in allowed
    ]
    assert wrong == []


def test_modules_import_each_other_without_circles():
    assert find_circle(imports()) == []


def test_rooms_and_the_modules_outside_them_import_each_other_without_circles():
    nodes = {
        (room_of(module) or module, room_of(imported) or imported)
        for module, imported in imports()
        if module != PRELOAD
    }
    assert find_circle({(node, other) for node, other in nodes if node != other}) == []


def test_a_circle_is_detected():
    assert find_circle({("a", "b"), ("b", "c")}) == []
    assert set(find_circle({("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")})) == {"a", "b", "c"}


# ------------------------------------------------------------------------------------------ the halves


@pytest.mark.parametrize(
    ("half", "barred"),
    [
        ("preprocess", {"training", "tensorflow", "keras", "hydra", "linewash", "bench"}),
        ("training", {"preprocess", "apache_beam", "cv2", "simplejpeg", "linewash", "bench"}),
    ],
)
def test_no_file_of_a_half_imports_what_is_barred_for_it(half, barred):
    wrong = {
        (path.name, name)
        for path in (ROOT / half).rglob("*.py")
        for name in imported_names(path)
        if name.partition(".")[0] in barred
    }
    assert wrong == set()


# Imports of barred packages fail and are recorded, because code may catch the failure.
IMPORT_WITH_BARRIERS = """
import importlib, sys

class Barrier:
    attempts = set()
    def find_spec(self, name, path=None, target=None):
        package = name.partition(".")[0]
        if package in {barred}:
            self.attempts.add(package)
            raise ImportError(name + " is barred")

sys.meta_path.insert(0, Barrier())
sys.path.insert(0, "scripts")
for name in {modules}:
    importlib.import_module(name)
attempts = Barrier.attempts - {ignored}
assert not attempts, attempts
"""


def import_with_barriers(modules, barred, ignored=frozenset()):
    """Imports the modules in one new process, in which imports of barred packages fail."""
    code = IMPORT_WITH_BARRIERS.format(barred=set(barred), modules=modules, ignored=set(ignored))
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def modules_below(*packages):
    return [
        name
        for name in sources()
        if name.startswith(tuple(f"{package}." for package in packages)) and not name.endswith("__main__")
    ]


@pytest.mark.parametrize(
    ("half", "barred", "ignored"),
    [
        ("preprocess", {"training", "tensorflow", "keras"}, set()),
        # Keras itself tries to import cv2.
        ("training", {"preprocess", "apache_beam", "cv2", "simplejpeg"}, {"cv2"}),
    ],
)
def test_a_half_can_be_imported_without_what_is_barred_for_it(half, barred, ignored):
    import_with_barriers(modules_below(half), barred, ignored)


def test_the_modules_that_colouring_needs_import_neither_tensorflow_nor_beam():
    modules = ["training.errors", "training.export.metadata", "training.metrics.color_spaces"]
    modules += modules_below("preprocess.lines", "linewash.coloring")
    import_with_barriers(modules, {"tensorflow", "keras", "apache_beam"})


def test_the_schema_imports_neither_half_and_no_framework():
    import_with_barriers(
        ["tfrecords_schema"], {"tensorflow", "keras", "apache_beam", "cv2", "preprocess", "training"}
    )


def test_the_top_level_has_only_the_agreed_files():
    agreed = {"pyproject.toml", "tfrecords_schema.py", "README.md", "LICENSE"}
    agreed |= {"conf", "preprocess", "training", "scripts", "tests"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    names = {path.partition("/")[0] for path in tracked if path and not path.startswith(".")}
    assert names <= agreed
