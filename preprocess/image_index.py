"""Assigns images to splits and sorts them in the order of the shards.

The images are kept in a temporary SQLite file, so that memory use does not depend on their number.
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

from preprocess.rejects import NO_COLOR, NO_DRAWING
from preprocess.sources import Image, Location, SourceError
from preprocess.text_files import read_text
from tfrecords_schema import user_path

HASH_BITS = 64
_SPLIT_FOLDERS = {"train": "train", "val": "val", "validation": "val", "valid": "val"}  # in lower case


@dataclasses.dataclass(frozen=True)
class Subset:
    """Which images are used; by default, all of them.

    Attributes:
      classes: comma-separated names, `first:N` for the first N in alphabetical order, or a file of names.
      fraction: the fraction of the images that is used, in (0, 1], chosen by a hash of their keys.
      limit: the maximum number of images, chosen by the same hash.
      class_limit: the maximum number of images of each class, chosen by the same hash.

    Raises:
      ValueError: a setting is out of range. The message contains its name and range.
    """

    classes: str | None = None
    fraction: float = 1.0
    limit: int | None = None
    class_limit: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction must be above 0 and up to 1, got {self.fraction}")
        for name, number in (("limit", self.limit), ("class_limit", self.class_limit)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image and its hash, which determines its position in the shards: uniform in 0..2^64-1."""

    hash: int
    image: Image


def hash_key(seed: int, key: str, purpose: str = "") -> int:
    """Returns a hash of `seed` and `key`, uniform in 0..2^64-1. Hashes of other purposes are independent."""
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8, person=purpose.encode())
    return int.from_bytes(digest.digest(), "big")


def series_of(key: str) -> str:
    """Returns the series of an image: its class and the words of its file name, without numbers.

    An artist's series is often numbered, as in `cat_jane_01.svg` and `cat_jane_02b.svg`. Words of one letter
    do not count, so that the playing cards `card_d_8.svg` and `card_h_k.svg` are of one series too.
    """
    folder, _, name = key.rpartition("/")
    words = re.findall(r"[^\W\d_]{2,}", name.partition(".")[0].lower())
    return f"{folder}/{' '.join(words)}"


class ImageIndex:
    """The images of a job by split; see `open_image_index`."""

    def __init__(self, database: sqlite3.Connection, has_drawings: bool = False) -> None:
        self._database = database
        self._has_drawings = has_drawings

    def count(self, split: str) -> int:
        """Returns the number of images of a split."""
        query = "SELECT count(*) FROM images WHERE split = ?"
        return self._database.execute(query, (split,)).fetchone()[0]

    def entries(self, split: str) -> Iterator[Entry]:
        """Yields the images of a split in the order of their hashes."""
        query = """SELECT hash, key, path, offset, size, fault, NULL, NULL, NULL, NULL FROM images
          WHERE split = ? ORDER BY hash, key"""
        if self._has_drawings:
            query = """SELECT hash, i.key, i.path, i.offset, i.size, i.fault,
                d.path, d.offset, d.size, d.fault
              FROM images AS i LEFT JOIN drawings AS d USING (stem) WHERE split = ? ORDER BY hash, i.key"""
        for digest, key, path, offset, size, fault, *drawing in self._database.execute(query, (split,)):
            location = None
            if drawing[0] is not None:
                drawing_path, drawing_offset, drawing_size, drawing_fault = drawing
                location = Location(_decode_path(drawing_path), drawing_offset, drawing_size)
                fault = fault or drawing_fault.replace(": ", ": the drawing: ", 1)
            image = Image(key, _decode_path(path), offset, size, fault=fault, drawing=location)
            yield Entry(int.from_bytes(digest, "big"), image)


@contextlib.contextmanager
def open_image_index(
    images: Iterable[Image],
    seed: int,
    subset: Subset,
    split_by: str,
    val_hash_end: int,
    keys_with_input: bool = False,
    drawings: Iterable[Image] | None = None,
) -> Iterator[ImageIndex]:
    """Reads all images, selects the subset, and assigns each image to its split.

    Args:
      images: the images that were found. One whose `split` is set is assigned to it.
      seed: the seed of the order, the splits and the subset.
      subset: which images are used.
      split_by: `hash`: an image with a hash below `val_hash_end` is in val, others are in train; `series`:
        the hash is that of its series, so that a series is whole in one split; `folder`: the first folder of
        the key, train or val, is the split, and is removed from the key.
      val_hash_end: the end of the range of hashes of val, in 0..2^64.
      keys_with_input: whether keys begin with the name of the input that the image was found by.
      drawings: the drawings of the images, which are joined to them by their stems. An image without a
        drawing, and a drawing without an image, are given a `fault`. None: the images have no drawings.

    Raises:
      SourceError: two images of a split have the same key, two images or drawings have the same stem, a class
        does not exist, or a folder is neither train nor val.
      OSError: the folder for temporary files is full.
    """
    with tempfile.TemporaryDirectory(prefix="linewash-") as folder:
        database = sqlite3.connect(f"{folder}/images.sqlite", isolation_level=None)
        try:
            for statement in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", _TABLE, "BEGIN"):
                database.execute(statement)
            rows = _rows(images, seed, split_by, val_hash_end, keys_with_input)
            if subset.fraction < 1:
                end = int(subset.fraction * 2**HASH_BITS).to_bytes(8, "big")
            if subset.fraction < 1 and drawings is None:
                rows = (row for row in rows if row[2] < end)
            _insert(database, "images", rows)
            if drawings is not None:
                _join_drawings(database, drawings, seed, split_by, val_hash_end, keys_with_input)
                # Only now, because the drawings of the images that are left out are no drawings too many.
                if subset.fraction < 1:
                    database.execute("DELETE FROM images WHERE subset_hash >= ?", (end,))
            if subset.classes is not None:
                _select_classes(database, subset.classes)
            if subset.class_limit is not None:
                _limit_classes(database, subset.class_limit)
            if subset.limit is not None:
                beyond = "SELECT rowid FROM images ORDER BY subset_hash, key LIMIT -1 OFFSET ?"
                database.execute(
                    f"DELETE FROM images WHERE rowid IN ({beyond})", (min(subset.limit, sys.maxsize),)
                )
            database.execute("CREATE INDEX in_order ON images (split, hash, key)")
            database.execute("COMMIT")
            _check_duplicates(database, keys_with_input)
            yield ImageIndex(database, drawings is not None)
        except sqlite3.OperationalError as e:
            raise OSError(
                f"cannot store the list of images in {folder}: {e}; set TMPDIR to another folder"
            ) from e
        finally:
            database.close()


_TABLE = """CREATE TABLE images
  (split TEXT, hash BLOB, subset_hash BLOB, class TEXT, key TEXT, path BLOB, offset INTEGER, size INTEGER,
  fault TEXT, input TEXT, stem TEXT)"""
_DRAWINGS_TABLE = """CREATE TABLE drawings
  (stem TEXT, key TEXT, path BLOB, offset INTEGER, size INTEGER, fault TEXT, input TEXT)"""

_Row = tuple[str, bytes, bytes, str, str, bytes, int, int, str, str, str]


def _insert(database: sqlite3.Connection, table: str, rows: Iterator[tuple]) -> None:
    while batch := list(islice(rows, 10_000)):
        values = ", ".join("?" * len(batch[0]))
        database.executemany(f"INSERT INTO {table} VALUES ({values})", batch)


def _rows(
    images: Iterable[Image], seed: int, split_by: str, val_hash_end: int, keys_with_input: bool
) -> Iterator[_Row]:
    """Yields the table row of each image."""
    folders: dict[str, Image] = {}  # top-level folder → its first image
    unassigned: Image | None = None  # the first image that is in no folder of a split
    for image in images:
        key, image_split = image.key, image.split
        if split_by == "folder" and image_split is None:
            folder, _, key = image.key.partition("/")
            folders.setdefault(folder, image)
            image_split = _SPLIT_FOLDERS.get(folder.lower())
            if image_split is None or "/" not in key:
                unassigned = unassigned or image
                continue
        if keys_with_input and image.input:
            key = f"{image.input}/{key}"
        key_hash = hash_key(seed, key)
        split_hash = hash_key(seed, series_of(key), "series") if split_by == "series" else key_hash
        image_split = image_split or ("val" if split_hash < val_hash_end else "train")
        subset_hash = hash_key(seed, key, "subset").to_bytes(8, "big")
        path = image.path.encode("utf-8", "surrogatepass")  # a path may contain any bytes
        yield (
            image_split, key_hash.to_bytes(8, "big"), subset_hash, class_of(key), key, path, image.offset,
            image.size, image.fault, image.input, image.stem,
        )  # fmt: skip
    if unassigned:
        raise SourceError(_explain_unassigned(unassigned, folders))


def _join_drawings(
    database: sqlite3.Connection,
    drawings: Iterable[Image],
    seed: int,
    split_by: str,
    val_hash_end: int,
    keys_with_input: bool,
) -> None:
    """Adds the table of drawings, and marks what has no other half: in the table of images, with a fault.

    Raises:
      SourceError: two drawings or two images have the same stem, or no image has a drawing.
    """
    database.execute(_DRAWINGS_TABLE)
    _insert(
        database,
        "drawings",
        (
            (d.stem, d.key, d.path.encode("utf-8", "surrogatepass"), d.offset, d.size, d.fault, d.input)
            for d in drawings
        ),
    )
    for table in ("drawings", "images"):
        database.execute(f"CREATE INDEX {table}_by_stem ON {table} (stem)")
        _check_stems(database, table)
    paired = "SELECT count(*) FROM images JOIN drawings USING (stem)"
    if not database.execute(paired).fetchone()[0]:
        raise SourceError(_explain_no_pair(database))
    # Images that cannot be read anyway keep their fault.
    database.execute(
        "UPDATE images SET fault = ? WHERE fault = '' AND stem NOT IN (SELECT stem FROM drawings)",
        (f"{NO_DRAWING}: no drawing has its name",),
    )
    lonely = database.execute(
        "SELECT key, path, offset, size, input FROM drawings WHERE stem NOT IN (SELECT stem FROM images)"
    )
    rejects = (
        Image(
            key, _decode_path(path), offset, size, fault=f"{NO_COLOR}: a drawing without its colouring",
            input=input_name, split="train" if split_by == "input" else None,
        )
        for key, path, offset, size, input_name in lonely
    )  # fmt: skip
    # All of them are read before the table of images, which the query reads, is changed.
    database.execute("CREATE TEMP TABLE lonely AS SELECT * FROM images LIMIT 0")
    _insert(database, "lonely", _rows(rejects, seed, split_by, val_hash_end, keys_with_input))
    # The inputs and the drawings may have the same key in different places. Both are listed.
    database.execute(
        """UPDATE lonely SET key = input || '/' || key WHERE input <> '' AND (key IN (SELECT key FROM images)
          OR key IN (SELECT key FROM lonely GROUP BY key HAVING count(*) > 1))"""
    )
    database.execute("INSERT INTO images SELECT * FROM lonely")


def _check_stems(database: sqlite3.Connection, table: str) -> None:
    query = f"""SELECT stem, min(path), max(path), min(key), max(key) FROM {table}
      GROUP BY stem HAVING count(*) > 1 LIMIT 1"""
    if duplicate := database.execute(query).fetchone():
        stem, *paths, first_key, last_key = duplicate
        first, last = map(_decode_path, paths)
        if first == last:
            first, last = f"{first_key} and {last_key}", f"{first}, or one of them found twice"
            location = f"{first} in {last}"
        else:
            location = f"{first} and {last}"
        noun = {"drawings": "drawings", "images": "images of --input"}[table]
        raise SourceError(
            f"two {noun} make a pair with the same name, {stem}: {location}; rename or move one"
        )


def _explain_no_pair(database: sqlite3.Connection) -> str:
    """Returns a message for drawings of which none has the stem of an image."""
    stems = [
        database.execute(f"SELECT min(stem) FROM {table}").fetchone()[0] for table in ("images", "drawings")
    ]
    if None in stems:
        return "there is no image, or no drawing, to make a pair of"
    return (
        f"no drawing has the name of an image: the first image is {stems[0]}, and the first drawing is "
        f"{stems[1]}. Below the paths of --input and of --drawings, both need the same folders and names, "
        "but for the extension"
    )


def _decode_path(stored: bytes) -> str:
    """Returns the path from a table row."""
    return stored.decode("utf-8", "surrogatepass")


def _explain_unassigned(image: Image, folders: dict[str, Image]) -> str:
    """Returns a message for an image that is not in the folder of a split, with flags to type instead."""
    train = _find_folder(folders, "train") or "FOLDER"
    val = _find_folder(folders, "val", "test", "dev", "eval") or "FOLDER"
    return (
        f"--split folder needs every image below train/CLASS/ or val/CLASS/, but {image.key} is not: instead "
        f"of --input and --split, type --train_input {train} --val_input {val}"
    )


def _find_folder(folders: dict[str, Image], *prefixes: str) -> str | None:
    """Returns the quoted path of the first folder with one of the prefixes, of which earlier ones win."""
    for prefix in prefixes:
        for name, image in sorted(folders.items()):
            # A folder in a tar has no path of its own.
            if name.lower().startswith(prefix) and image.path.endswith(image.key):
                return shlex.quote(image.path.removesuffix(image.key) + name)
    return None


def class_of(key: str) -> str:
    """Returns the name of the folder that contains an image, which in ImageNet is its class."""
    return key.rpartition("/")[0].rpartition("/")[2]


def _select_classes(database: sqlite3.Connection, classes: str) -> None:
    """Deletes the images of all other classes.

    Raises:
      SourceError: `classes` names a class without images, or cannot be parsed.
    """
    known = [name for (name,) in database.execute("SELECT DISTINCT class FROM images ORDER BY class")]
    selected = set(_parse_classes(classes, known))
    if missing := sorted(selected - set(known)):
        close = difflib.get_close_matches(missing[0], known, n=1)
        if close:
            hint = f"did you mean {close[0]}?"
        else:
            hint = f"there are {len(known)} classes, for example {known[0]}"
        raise SourceError(f"--classes: no image of the class {missing[0]}; {hint}")
    database.execute("CREATE TEMP TABLE selected (class TEXT PRIMARY KEY)")
    database.executemany("INSERT INTO selected VALUES (?)", [(name,) for name in selected])
    database.execute("DELETE FROM images WHERE class NOT IN (SELECT class FROM selected)")


def _limit_classes(database: sqlite3.Connection, limit: int) -> None:
    """Removes the images beyond the first `limit` of each folder, in the order of their subset hashes.

    Two inputs may have classes of one name; with `keys_with_input` they are two folders.
    """
    database.create_function("folder", 1, lambda key: key.rpartition("/")[0], deterministic=True)
    rank = "row_number() OVER (PARTITION BY folder(key) ORDER BY subset_hash, key)"
    beyond = f"SELECT id FROM (SELECT rowid AS id, {rank} AS rank FROM images) WHERE rank > ?"
    database.execute(f"DELETE FROM images WHERE rowid IN ({beyond})", (min(limit, sys.maxsize),))


def _parse_classes(classes: str, known: list[str]) -> list[str]:
    """Returns the classes that --classes selects: as spelled in `known` if they are there, else as typed."""
    kind, _, number = classes.partition(":")
    if kind == "first" and classes not in known:
        if not number.isdecimal() or not number.strip("0"):
            raise SourceError(f"--classes first:N takes a number of classes, got {classes}")
        return known[: int(number[:18])]
    # macOS stores an accented letter in a file name as two characters (NFD), keyboards give one (NFC).
    by_normalized = {unicodedata.normalize("NFC", name): name for name in known}
    lines = None if _normalize(classes) in by_normalized else _read_class_file(classes)
    candidates = [[name] for name in classes.split(",")] if lines is None else map(_names_in_line, lines)
    selected = []
    for names in candidates:
        matches = (by_normalized[name] for name in map(_normalize, names) if name in by_normalized)
        selected.append(next(matches, names[-1].strip()))
    return [name for name in selected if name]


def _normalize(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def _read_class_file(classes: str) -> list[str] | None:
    """Returns the lines of the file whose path is `classes`; None if it is not a path.

    Raises:
      SourceError: the file does not exist, cannot be read or is not text.
    """
    try:
        path = user_path(classes)
        if os.path.isfile(path):  # noqa: PTH113 -- Path.is_file raises for a name that is too long
            lines = read_text(path).splitlines()
            return [line for line in lines if line.strip() and not line.startswith("#")]
    except OSError as e:
        raise SourceError(f"--classes {classes} cannot be read: {e.strerror}") from None
    except ValueError as e:
        raise SourceError(f"--classes {classes} is not a list of names: {e}") from None
    if "," not in classes and ("/" in path or re.search(r"\.(txt|csv|tsv|lst|list)$", path, re.I)):
        raise SourceError(f"--classes {classes}: there is no such file")
    return None


def _names_in_line(line: str) -> list[str]:
    """Returns the possible class names in a line of a list: the whole line, its first field or first word.

    In lists of ImageNet classes, a description often follows the name. Messages use the last of these names.
    """
    return [line, line.split(",")[0], line.split()[0].rstrip(","), line.split()[0]]


def _check_duplicates(database: sqlite3.Connection, keys_with_input: bool) -> None:
    """Checks that no two images of a split have the same key.

    Raises:
      SourceError: two have. The message contains both paths.
    """
    query = """SELECT key, min(path), max(path), count(DISTINCT path || '/' || offset), count(DISTINCT input)
      FROM images GROUP BY split, hash, key HAVING count(*) > 1 LIMIT 1"""
    if duplicate := database.execute(query).fetchone():
        key, first, last, num_images, num_inputs = duplicate
        first, last = _decode_path(first), _decode_path(last)
        if first != last:
            advice = "rename one"
            if num_inputs > 1 and not keys_with_input:
                advice = f"type --keys_with_input to begin each key with the name of its input, or {advice}"
            reason = f"{first} and {last}; {advice}, or give fewer inputs"
        elif num_images > 1:
            reason = f"both in {first}; rename one"
        else:
            reason = f"{first}, found by two --input patterns; give it once"
        raise SourceError(f"two images have the key {key}: {reason}")
    # If one input contains another, images are found twice, but the names of the inputs make the keys differ.
    query = """SELECT path FROM images GROUP BY split, path, offset
      HAVING count(*) > 1 AND count(DISTINCT input) > 1 LIMIT 1"""
    if keys_with_input and (row := database.execute(query).fetchone()):
        raise SourceError(f"{_decode_path(row[0])} was found by two --input patterns; give it once")
