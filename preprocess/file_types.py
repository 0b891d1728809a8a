"""Tells images, tars and everything else apart: by name where the name is usual, else by the first bytes.

Also counts what a search for images skips, so that the job can say so at its end.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from enum import Enum, auto

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 512  # of a file that is looked at; a tar says what it is in byte 257

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp")
TAR_SUFFIX = ".tar"

# Files that stand beside images by the million and are never images themselves: they are not opened.
_NOT_IMAGES = """
txt text md rst log csv tsv json jsonl ndjson geojson xml html htm xhtml yaml yml toml ini cfg conf aae
xmp url lnk desktop py pyc ipynb js css sh bat npy npz mat pkl pt pth h5 hdf5 parquet arrow tfrecord
tfrecords rec idx lst db sqlite mdb zip gz tgz bz2 tbz tbz2 xz txz zst lz4 7z rar iso dmg mp4 mov avi mkv
webm m4v mpg mpeg mp3 wav flac ogg m4a pdf doc docx xls xlsx ppt pptx odt svg svgz md5 sha1 sha256 sig
asc exe dll so bak orig old tmp temp part partial crdownload download
"""
# exiftool keeps the picture as it was under the last three.
_COPIES = ("~", ".jpg_original", ".jpeg_original", ".png_original")
_NEVER_IMAGES = (*(f".{name}" for name in _NOT_IMAGES.split()), *_COPIES)

# What operating systems, network drives and cameras put into folders by themselves, in lower case. Names that
# begin with a dot need no list (.DS_Store, .ipynb_checkpoints, .Trash-0, .thumbnails, ._x.jpg, .@__thumb).
_SYSTEM_NAMES = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "#recycle", "#snapshot",
    "$recycle.bin", "$extend", "recycler", "recycled", "system volume information", "found.000", "lost+found",
    "lost.dir", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx",
    "network trash folder", "temporary items", "thevolumesettingsfolder",
})  # fmt: skip

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_COMPRESSED_TAR = re.compile(r"(\.tar|\.tar\.\w{1,4}|\.t(gz|az|bz|bz2|xz|zst))$", re.IGNORECASE)
_OTHERS = (
    (0, b"GIF8", "a GIF picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF or raw camera picture"),
    (0, b"MM\0*", "a TIFF or raw camera picture"),
    (8, b"WEBP", "a WebP picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIC picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"8BPS", "a Photoshop picture"),
)
_LISTED = 12  # kinds of skipped files that are named; the others are summed


class Kind(Enum):
    """What a file is taken for by its name."""

    IMAGE = auto()
    TAR = auto()
    OTHER = auto()
    UNSURE = auto()  # its first bytes decide


def kind_by_name(name: str) -> Kind:
    """What the file called `name` is taken for before it is opened."""
    lower = name.lower()
    if lower.endswith(IMAGE_SUFFIXES):
        return Kind.IMAGE
    if lower.endswith(TAR_SUFFIX):
        return Kind.TAR
    return Kind.OTHER if lower.endswith(_NEVER_IMAGES) else Kind.UNSURE


def is_image(head: bytes) -> bool:
    """True when a file that begins with `head` is a JPEG or PNG, the formats that are decoded."""
    return head.startswith((JPEG_MAGIC, PNG_MAGIC))


def is_tar(head: bytes) -> bool:
    """True when a file that begins with `head` (`HEAD_BYTES` long) is an uncompressed tar (POSIX or GNU)."""
    return head[257:262] == b"ustar"


def is_hidden(name: str) -> bool:
    """True for the name of one file or folder that users do not see or did not make."""
    return name[:1] == "." or name.lower() in _SYSTEM_NAMES


def describe(name: str, head: bytes) -> str:
    """Says what the file `name` is that begins with `head`, and what to give in its place.

    `head` must be neither that of an image nor that of a tar.
    """
    if not head:
        return "is empty"
    for magic, (format_name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            return _compressed(name, format_name, command)
    quoted = shlex.quote(name)
    if head.startswith(b"PK\x03\x04"):
        folder = shlex.quote(re.sub(r"\.zip$", "", name, flags=re.IGNORECASE) + "-unpacked")
        return f"is a zip archive: type unzip {quoted} -d {folder}, and give {folder}"
    if head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")):
        return "is an archive that is not read here: unpack it, and give the folder"
    if _is_text(head):
        return (
            "is a text file: give a folder, an image, a tar or a quoted glob (if it lists images, one a "
            f"line: --input $(cat {quoted}); a list of class names goes to --classes)"
        )
    for at, magic, what in _OTHERS:
        if head[at : at + len(magic)] == magic:
            return f"is {what}: only JPEG and PNG are read, so convert it first"
    return f"is neither an image (JPEG or PNG) nor a tar: it begins with {head[:8]!r}"


def _compressed(name: str, format_name: str, command: str) -> str:
    """As `describe`, for a compressed file, in which images have no place of their own."""
    if not _COMPRESSED_TAR.search(name):
        return f"is compressed by {format_name}: unpack it with {command}, and give what is in it"
    stem = _COMPRESSED_TAR.sub("", name)
    unpacked = f"{stem}.tar" if f"{stem}.tar" != name else f"{stem}-unpacked.tar"
    return (
        f"is a tar compressed by {format_name}, and only plain tars are read: type {command} "
        f"< {shlex.quote(name)} > {shlex.quote(unpacked)}, and give {shlex.quote(unpacked)}"
    )


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, as Windows writes it
        return True
    return not set(head) & {*range(9), *range(14, 27), *range(28, 32)}


@dataclasses.dataclass
class Skipped:
    """How many files and folders a search for images skipped, by extension or reason."""

    files: Counter[str] = dataclasses.field(default_factory=Counter)
    folders: Counter[str] = dataclasses.field(default_factory=Counter)
    _hidden_folders: set[str] = dataclasses.field(default_factory=set, repr=False)

    def add_file(self, name: str, reason: str = "") -> None:
        """Counts one file: by `reason`, or else by the extension of its `name`."""
        self.files[reason or _extension(name)] += 1

    def add_hidden(self, name: str, below: str = "") -> bool:
        """True, and counted, if the file `name`, a path below `below`, or one of its folders is hidden.

        A hidden folder counts once. For listings that name every file, as those of tars and buckets.
        """
        parts = name.split("/")
        at = next((i for i, part in enumerate(parts, 1) if is_hidden(part)), 0)
        if at == len(parts):
            self.files["hidden"] += 1
        elif at:
            self.add_hidden_folder("/".join([below, *parts[:at]]))
        return bool(at)

    def add_hidden_folder(self, path: str) -> None:
        """Counts a hidden folder, once."""
        self.folders["hidden"] += path not in self._hidden_folders
        self._hidden_folders.add(path)

    def add(self, other: Skipped) -> None:
        """Adds the counts of another search."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    def __str__(self) -> str:
        """As "46 files skipped: .webp 8, .bmp 5"; empty when nothing was skipped."""
        counted = (("file", self.files), ("folder", self.folders))
        return "; ".join(_in_words(what, counts) for what, counts in counted if counts.total())


def _in_words(what: str, counts: Counter[str]) -> str:
    ordered = sorted((+counts).items(), key=lambda item: (-item[1], item[0]))
    named, rest = ordered[:_LISTED], sum(count for _, count in ordered[_LISTED:])
    listed = [f"{reason} {count:,}" for reason, count in named] + ([f"others {rest:,}"] if rest else [])
    total = counts.total()
    return f"{total:,} {what}{'s' * (total > 1)} skipped: {', '.join(listed)}"


def _extension(name: str) -> str:
    """The extension of a file's name in lower case, that of `x.tar.gz` in full; "no extension" without."""
    found = re.search(r"[^/](\.tar\.\w{1,4}|\.[\w~+-]{1,16})$", name.lower(), re.ASCII)
    return found[1] if found else "no extension"
