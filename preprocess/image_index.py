"""Sorts the images that were found into splits and into the order of the shards, however many there are.

They go through an SQLite file in the system's folder for temporary files, so that memory stays flat.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import os
import re
import shlex
import sqlite3
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

from preprocess.sources import Image, SourceError
from preprocess.text_files import read_text
from tfrecords_schema import user_path

HASH_BITS = 64
_FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val"}  # in lower case


@dataclasses.dataclass(frozen=True)
class Subset:
    """Which of the images found are used: all of the default's.

    Raises:
      ValueError: a setting is out of range; the message says which, and the range.
    """

    classes: str | None = (
        None  # names with commas between, `first:N` in alphabetical order, or a file of names
    )
    fraction: float = 1.0  # of the images, chosen by a hash of their keys
    limit: int | None = None  # images at most, chosen in the same way

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and up to 1, got {self.fraction}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, got {self.limit}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image and its place in the order: `hash` is spread evenly over 0..2^64-1."""

    hash: int
    image: Image


def hash_key(seed: int, key: str, purpose: str = "") -> int:
    """A number in 0..2^64-1, spread evenly; another `purpose` gives one that has nothing to do with it."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8, person=purpose.encode())
    return int.from_bytes(digest.digest(), "big")


class ImageIndex:
    """The images of a job, each in its split. Made by `open_image_index`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def count(self, split: str) -> int:
        """How many images a split has."""
        query = "SELECT count(*) FROM images WHERE split = ?"
        return self._database.execute(query, (split,)).fetchone()[0]

    def entries(self, split: str) -> Iterator[Entry]:
        """A split's images in the order of their hashes."""
        query = "SELECT hash, key, path, offset, size, fault FROM images WHERE split = ? ORDER BY hash, key"
        for digest, key, path, offset, size, fault in self._database.execute(query, (split,)):
            image = Image(key, _path(path), offset, size, fault=fault)
            yield Entry(int.from_bytes(digest, "big"), image)


@contextlib.contextmanager
def open_image_index(
    images: Iterable[Image],
    seed: int,
    subset: Subset,
    split: str,
    boundary: int,
    keys_with_input: bool = False,
) -> Iterator[ImageIndex]:
    """Takes in all images, keeps the subset, and puts each into its split.

    Args:
      images: an image that already says its split stays there.
      seed: of the order, the split and the subset.
      split: `hash`: hashes below `boundary` are val; `folder`: the first folder of the key, train or val,
        says it, and leaves the key.
      keys_with_input: keys begin with the name of the input that the image was found by.

    Raises:
      SourceError: two images of a split have one key, a class is not there, or a folder is neither train nor
        val.
      OSError: the folder for temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        database = sqlite3.connect(f"{folder}/images.sqlite", isolation_level=None)
        try:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", _TABLE, "BEGIN"):
                database.execute(statement)
            rows = _rows(images, seed, split, boundary, keys_with_input)
            if subset.fraction < 1:
                chosen = int(subset.fraction * 2**HASH_BITS).to_bytes(8, "big")
                rows = (row for row in rows if row[2] < chosen)
            while batch := list(islice(rows, 10_000)):
                database.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", batch)
            if subset.classes is not None:
                _keep_classes(database, subset.classes)
            if subset.limit is not None:
                worst = "SELECT rowid FROM images ORDER BY pick, key LIMIT -1 OFFSET ?"
                database.execute(
                    f"DELETE FROM images WHERE rowid IN ({worst})", (min(subset.limit, sys.maxsize),)
                )
            database.execute("CREATE INDEX in_order ON images (split, hash, key)")
            database.execute("COMMIT")
            _check_duplicates(database, keys_with_input)
            yield ImageIndex(database)
        except sqlite3.OperationalError as e:
            raise OSError(
                f"cannot keep the list of images in {folder}: {e}; set TMPDIR to another place"
            ) from e
        finally:
            database.close()


_TABLE = """CREATE TABLE images
  (split TEXT, hash BLOB, pick BLOB, class TEXT, key TEXT, path BLOB, offset INTEGER, size INTEGER,
  fault TEXT, input TEXT)"""

_Row = tuple[str, bytes, bytes, str, str, bytes, int, int, str, str]


def _rows(
    images: Iterable[Image], seed: int, split: str, boundary: int, keys_with_input: bool
) -> Iterator[_Row]:
    """Yields the table's row of each image."""
    folders: dict[str, Image] = {}  # of the first image in each folder that could say a split
    stray: Image | None = None  # the first image that lies in no folder of a split
    for image in images:
        key, named = image.key, image.split
        if split == "folder" and named is None:
            first, _, key = image.key.partition("/")
            folders.setdefault(first, image)
            named = _FOLDERS.get(first.lower())
            if named is None or "/" not in key:
                stray = stray or image
                continue
        if keys_with_input and image.input:
            key = f"{image.input}/{key}"
        place = hash_key(seed, key)
        named = named or ("val" if place < boundary else "train")
        pick = hash_key(seed, key, "subset").to_bytes(8, "big")
        path = image.path.encode("utf-8", "surrogatepass")  # any bytes may stand in a path
        yield (
            named, place.to_bytes(8, "big"), pick, class_of(key), key, path, image.offset, image.size,
            image.fault, image.input,
        )  # fmt: skip
    if stray:
        raise SourceError(_no_split(stray, folders))


def _path(stored: bytes) -> str:
    """The path that stands in a row."""
    return stored.decode("utf-8", "surrogatepass")


def _no_split(stray: Image, folders: dict[str, Image]) -> str:
    """What to type where folders do not say the split of every image."""
    train = _best(folders, "train") or "FOLDER"
    val = _best(folders, "val", "test", "dev", "eval") or "FOLDER"
    return (
        f"with --split folder every image lies below train/CLASS/ or val/CLASS/; {stray.key} does not: "
        f"in place of --input and --split type --train_input {train} --val_input {val}"
    )


def _best(folders: dict[str, Image], *beginnings: str) -> str | None:
    """The path of the first of `folders` whose name begins with the first possible of `beginnings`."""
    for beginning in beginnings:
        for name, image in sorted(folders.items()):
            # What lies in a tar has no folder that could be named.
            if name.lower().startswith(beginning) and image.path.endswith(image.key):
                return shlex.quote(image.path.removesuffix(image.key) + name)
    return None


def class_of(key: str) -> str:
    """The folder an image lies in: in ImageNet, its class."""
    return key.rpartition("/")[0].rpartition("/")[2]


def _keep_classes(database: sqlite3.Connection, classes: str) -> None:
    known = [name for (name,) in database.execute("SELECT DISTINCT class FROM images ORDER BY class")]
    wanted = set(_class_names(classes, known))
    if missing := sorted(wanted - set(known)):
        near = difflib.get_close_matches(missing[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {len(known)} classes, as {known[0]}"
        raise SourceError(f"--classes: no image of the class {missing[0]}{hint}")
    database.execute("CREATE TEMP TABLE wanted (class TEXT PRIMARY KEY)")
    database.executemany("INSERT INTO wanted VALUES (?)", [(name,) for name in wanted])
    database.execute("DELETE FROM images WHERE class NOT IN (SELECT class FROM wanted)")


def _class_names(classes: str, known: list[str]) -> list[str]:
    """The classes that --classes asks for; those of them that are not `known` as they were written."""
    kind, _, number = classes.partition(":")
    if kind == "first" and classes not in known:
        if not number.isdecimal() or not number.strip("0"):
            raise SourceError(f"--classes first:N takes a number of classes, got {classes}")
        return known[: int(number[:18])]
    # macOS writes the letters of file names in parts (e and its accent), keyboards write them in one.
    same = {unicodedata.normalize("NFC", name): name for name in known}
    listed = None if _normal(classes) in same else _listed(classes)
    written = [[name] for name in classes.split(",")] if listed is None else map(_names_in_line, listed)
    found = [
        next((same[n] for n in map(_normal, names) if n in same), names[-1].strip()) for names in written
    ]
    return [name for name in found if name]


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _listed(classes: str) -> list[str] | None:
    """The lines of the file of names that `classes` is the path of; None where it is no path."""
    try:
        path = user_path(classes)
        if os.path.isfile(path):  # noqa: PTH113 -- Path.is_file raises for a name that is too long
            lines = read_text(path).splitlines()
            return [line for line in lines if line.strip() and not line.startswith("#")]
    except OSError as e:
        raise SourceError(f"--classes {classes} cannot be read: {e.strerror}") from None
    except ValueError as e:
        raise SourceError(f"--classes {classes} is no list of names: {e}") from None
    if "," not in classes and ("/" in path or re.search(r"\.(txt|csv|tsv|lst|list)$", path, re.I)):
        raise SourceError(f"--classes {classes}: there is no such file")
    return None


def _names_in_line(line: str) -> list[str]:
    """What may be the class in a line of a list: all of it, or the first word or field.

    Lists of ImageNet classes often go on with what the classes are. The last is what a message names.
    """
    return [line, line.split(",")[0], line.split()[0].rstrip(","), line.split()[0]]


def _check_duplicates(database: sqlite3.Connection, keys_with_input: bool) -> None:
    query = """SELECT key, min(path), max(path), count(DISTINCT path || '/' || offset), count(DISTINCT input)
      FROM images GROUP BY split, hash, key HAVING count(*) > 1 LIMIT 1"""
    if duplicate := database.execute(query).fetchone():
        key, first, last, places, inputs = duplicate
        first, last = _path(first), _path(last)
        if first != last:
            way = "type --keys_with_input to begin each key with the name of its input"
            way = f"{way}, or rename one" if inputs > 1 and not keys_with_input else "rename one"
            where = f"{first} and {last}; {way}, or name fewer inputs"
        elif places > 1:
            where = f"both in {first}; rename one"
        else:
            where = f"{first}, found by two --input patterns; name it once"
        raise SourceError(f"two images have the key {key}: {where}")
    # Two inputs of which one lies in the other find an image twice, and the names of inputs hide that.
    query = """SELECT path FROM images GROUP BY split, path, offset
      HAVING count(*) > 1 AND count(DISTINCT input) > 1 LIMIT 1"""
    if keys_with_input and (twice := database.execute(query).fetchone()):
        raise SourceError(f"{_path(twice[0])} was found by two --input patterns; name it once")
