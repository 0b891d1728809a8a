"""Every image found in, each split's images in shard order out, however many there are.

They go through an SQLite file in the system's folder for temporary files, so that memory stays flat.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from preprocess.sources import Image, SourceError

HASH_BITS = 64
_FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val"}


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


class Catalog:
    """The images of a job, each in its split. Made by `open_catalog`."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def count(self, split: str) -> int:
        """How many images a split has."""
        query = "SELECT count(*) FROM images WHERE split = ?"
        return self._database.execute(query, (split,)).fetchone()[0]

    def entries(self, split: str) -> Iterator[Entry]:
        """A split's images in the order of their hashes."""
        query = "SELECT hash, key, path, offset, size FROM images WHERE split = ? ORDER BY hash, key"
        for digest, *image in self._database.execute(query, (split,)):
            yield Entry(int.from_bytes(digest, "big"), Image(*image))


@contextlib.contextmanager
def open_catalog(
    images: Iterable[Image], seed: int, subset: Subset, split: str, boundary: int
) -> Iterator[Catalog]:
    """Takes in all images, keeps the subset, and puts each into its split.

    Args:
      images: an image that already says its split stays there.
      seed: of the order, the split and the subset.
      split: `hash`: hashes below `boundary` are val; `folder`: the first folder of the key, train or val,
        says it, and leaves the key.

    Raises:
      SourceError: two images have one key, a class is not there, or a folder is neither train nor val.
      OSError: the folder for temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        database = sqlite3.connect(f"{folder}/images.sqlite", isolation_level=None)
        try:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", _TABLE, "BEGIN"):
                database.execute(statement)
            rows = (_row(image, seed, split, boundary) for image in images)
            if subset.fraction < 1:
                chosen = int(subset.fraction * 2**HASH_BITS).to_bytes(8, "big")
                rows = (row for row in rows if row[2] < chosen)
            while batch := list(islice(rows, 10_000)):
                database.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
            if subset.classes is not None:
                _keep_classes(database, subset.classes)
            if subset.limit is not None:
                worst = "SELECT rowid FROM images ORDER BY pick, key LIMIT -1 OFFSET ?"
                database.execute(f"DELETE FROM images WHERE rowid IN ({worst})", (subset.limit,))
            database.execute("CREATE INDEX in_order ON images (split, hash, key)")
            database.execute("COMMIT")
            _check_duplicates(database)
            yield Catalog(database)
        except sqlite3.OperationalError as e:
            raise OSError(
                f"cannot keep the list of images in {folder}: {e}; set TMPDIR to another place"
            ) from e
        finally:
            database.close()


_TABLE = """CREATE TABLE images
  (split TEXT, hash BLOB, pick BLOB, class TEXT, key TEXT, path TEXT, offset INTEGER, size INTEGER)"""


def _row(
    image: Image, seed: int, split: str, boundary: int
) -> tuple[str, bytes, bytes, str, str, str, int, int]:
    key, named = image.key, image.split
    if split == "folder" and named is None:
        first, _, key = image.key.partition("/")
        named = _FOLDERS.get(first)
        if named is None or "/" not in key:
            raise SourceError(
                f"with --split folder every image lies below train/CLASS/ or val/CLASS/; {image.key} does not"
            )
    place = hash_key(seed, key)
    named = named or ("val" if place < boundary else "train")
    pick = hash_key(seed, key, "subset").to_bytes(8, "big")
    return (
        named, place.to_bytes(8, "big"), pick, class_of(key), key, image.path, image.offset, image.size,
    )  # fmt: skip


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
    kind, _, number = classes.partition(":")
    if kind == "first":
        if not number.isdecimal() or int(number) < 1:
            raise SourceError(f"--classes first:N takes a number of classes, got {classes}")
        return known[: int(number)]
    # Only the first word of each line: lists of ImageNet classes often go on with what they are.
    if Path(classes).is_file():
        lines = Path(classes).read_text().splitlines()
        return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
    return [name.strip() for name in classes.split(",") if name.strip()]


def _check_duplicates(database: sqlite3.Connection) -> None:
    query = """SELECT key, min(path), max(path), count(DISTINCT path || '/' || offset)
      FROM images GROUP BY hash, key HAVING count(*) > 1 LIMIT 1"""
    if duplicate := database.execute(query).fetchone():
        key, first, last, places = duplicate
        if first != last:
            where = f"{first} and {last}; rename one, or name fewer inputs"
        elif places > 1:
            where = f"both in {first}; rename one"
        else:
            where = f"{first}, found by two --input patterns; name it once"
        raise SourceError(f"two images have the key {key}: {where}")
