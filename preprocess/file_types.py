"""Distinguishes images, tars and other files: by common names, else by their first bytes.

`Skipped` counts the files that a search for images skips, for the summary at the end of the job.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import zlib
from collections import Counter
from enum import Enum, auto

JPEG_MAGIC = b"\xff\xd8\xff"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 1024  # enough to recognize all types; the magic of a tar is at byte 257
GZIP_MAGIC = b"\x1f\x8b"
# An SVG may begin with declarations and comments, for example of the program that wrote it.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?|<!--.*?)?(?:<!doctype svg.*?)?<svg[\s/>:]",
    re.DOTALL | re.IGNORECASE,
)
_SVG_HEAD_BYTES = 4096  # that are examined, if there are so many

SVG_SUFFIXES = (".svg", ".svgz")
IMAGE_SUFFIXES = (
    ".jpeg", ".jpg", ".png", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", *SVG_SUFFIXES
)  # fmt: skip
TAR_SUFFIX = ".tar"

# Extensions of files that often lie beside images and are never images. Such files are not opened.
_NOT_IMAGES = """
txt text md rst log csv tsv json jsonl ndjson geojson xml html htm xhtml yaml yml toml ini cfg conf aae
xmp url lnk desktop py pyc ipynb js css sh bat npy npz mat pkl pt pth h5 hdf5 parquet arrow tfrecord
tfrecords rec idx lst db sqlite mdb zip gz tgz bz2 tbz tbz2 xz txz zst lz4 7z rar iso dmg mp4 mov avi mkv
webm m4v mpg mpeg mp3 wav flac ogg m4a pdf doc docx xls xlsx ppt pptx odt md5 sha1 sha256 sig
asc exe dll so bak orig old tmp temp part partial crdownload download
"""
# Backup copies of editors; exiftool uses the last three.
_BACKUPS = ("~", ".jpg_original", ".jpeg_original", ".png_original")
_NEVER_IMAGES = (*(f".{name}" for name in _NOT_IMAGES.split()), *_BACKUPS)

# Files and folders that operating systems, network drives and cameras create, in lower case. Names that begin
# with a dot (.DS_Store, .ipynb_checkpoints, .Trash-0, .thumbnails, ._x.jpg, .@__thumb) are hidden anyway.
_SYSTEM_NAMES = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "#recycle", "#snapshot",
    "$recycle.bin", "$extend", "recycler", "recycled", "system volume information", "found.000", "lost+found",
    "lost.dir", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "__macosx",
    "network trash folder", "temporary items", "thevolumesettingsfolder",
})  # fmt: skip

# Magic bytes → name of the format, command that unpacks it.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_COMPRESSED_TAR = re.compile(r"(\.tar|\.tar\.\w{1,4}|\.t(gz|az|bz|bz2|xz|zst))$", re.IGNORECASE)
# Offset, magic bytes, description.
_OTHER_IMAGES = (
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (0, b"II*\0", "a TIFF or raw camera image"),
    (0, b"MM\0*", "a TIFF or raw camera image"),
    (8, b"WEBP", "a WebP image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftypavif", "an AVIF image"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop image"),
)
_MAX_LISTED = 12  # reasons listed in a summary; the counts of the others are added up


class Kind(Enum):
    """The kind of a file, as far as its name shows it."""

    IMAGE = auto()
    TAR = auto()
    OTHER = auto()
    UNSURE = auto()  # the first bytes decide


def kind_by_name(name: str) -> Kind:
    """Returns the kind of a file by the extension of its name."""
    lower = name.lower()
    if lower.endswith(IMAGE_SUFFIXES):
        return Kind.IMAGE
    if lower.endswith(TAR_SUFFIX):
        return Kind.TAR
    return Kind.OTHER if lower.endswith(_NEVER_IMAGES) else Kind.UNSURE


def is_image(head: bytes) -> bool:
    """Returns True if `head`, the first bytes of a file, is that of a JPEG, PNG or SVG."""
    return head.startswith((JPEG_MAGIC, PNG_MAGIC)) or is_svg(head)


def is_svg(head: bytes) -> bool:
    """Returns True if `head`, the first bytes of a file, is that of an SVG or of a compressed one (SVGZ)."""
    head = head[:_SVG_HEAD_BYTES]
    if head.startswith(GZIP_MAGIC):
        try:
            head = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _SVG_HEAD_BYTES)
        except zlib.error:
            return False
    return bool(_SVG.match(head))


def is_tar(head: bytes) -> bool:
    """Returns True if `head`, the first `HEAD_BYTES` of a file, is that of an uncompressed tar."""
    return head[257:262] == b"ustar"


def is_hidden(name: str) -> bool:
    """Returns True for the name of a hidden or system file or folder (a name, not a path)."""
    return name[:1] == "." or name.lower() in _SYSTEM_NAMES


def describe(name: str, head: bytes) -> str:
    """Returns a predicate for messages: what the file `name` is, and what to use instead.

    `head` holds the first bytes of the file, which is neither a JPEG, PNG or SVG nor a tar.
    """
    if not head:
        return "is empty"
    for magic, (format_name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            return _describe_compressed(name, format_name, command)
    quoted = shlex.quote(name)
    if head.startswith(b"PK\x03\x04"):
        folder = shlex.quote(re.sub(r"\.zip$", "", name, flags=re.IGNORECASE) + "-unpacked")
        return f"is a zip archive: type unzip {quoted} -d {folder}, and give {folder}"
    if head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")):
        return "is an archive of a type that cannot be read: unpack it, and give the folder"
    if _is_text(head):
        return (
            "is a text file: give a folder, an image, a tar or a quoted glob (if it lists images, one a "
            f"line: --input $(cat {quoted}); a list of class names goes to --classes)"
        )
    for offset, magic, description in _OTHER_IMAGES:
        if head[offset : offset + len(magic)] == magic:
            return f"is {description}: only JPEG, PNG and SVG are read, so convert it first"
    return f"is neither an image (JPEG, PNG or SVG) nor a tar: it begins with {head[:8]!r}"


def _describe_compressed(name: str, format_name: str, command: str) -> str:
    if not _COMPRESSED_TAR.search(name):
        return f"is compressed by {format_name}: unpack it with {command}, and give its contents"
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
    """The numbers of files and folders that a search for images skipped, by extension or reason."""

    files: Counter[str] = dataclasses.field(default_factory=Counter)
    folders: Counter[str] = dataclasses.field(default_factory=Counter)
    _hidden_folders: set[str] = dataclasses.field(default_factory=set, repr=False)

    def add_file(self, name: str, reason: str = "") -> None:
        """Counts a file by `reason`, or else by the extension of its `name`."""
        self.files[reason or _extension(name)] += 1

    def add_hidden(self, name: str, below: str = "") -> bool:
        """Counts the file at the path `name` below `below` if it, or one of its folders, is hidden.

        A hidden folder is counted once. This is for tars and buckets, whose listings contain files only.

        Returns:
          True if the file is hidden.
        """
        parts = name.split("/")
        depth = next((i for i, part in enumerate(parts, 1) if is_hidden(part)), 0)
        if depth == len(parts):
            self.files["hidden"] += 1
        elif depth:
            self.add_hidden_folder("/".join([below, *parts[:depth]]))
        return bool(depth)

    def add_hidden_folder(self, path: str) -> None:
        """Counts a hidden folder; further calls with the same path are ignored."""
        self.folders["hidden"] += path not in self._hidden_folders
        self._hidden_folders.add(path)

    def add(self, other: Skipped) -> None:
        """Adds the counts of another search."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    def __str__(self) -> str:
        """Returns, for example, "13 files skipped: .webp 8, .bmp 5"; empty if nothing was skipped."""
        counted = (("file", self.files), ("folder", self.folders))
        return "; ".join(_summarize(noun, counts) for noun, counts in counted if counts.total())


def _summarize(noun: str, counts: Counter[str]) -> str:
    ordered = sorted((+counts).items(), key=lambda item: (-item[1], item[0]))
    named, rest = ordered[:_MAX_LISTED], sum(count for _, count in ordered[_MAX_LISTED:])
    listed = [f"{reason} {count:,}" for reason, count in named] + ([f"others {rest:,}"] if rest else [])
    total = counts.total()
    return f"{total:,} {noun}{'s' * (total > 1)} skipped: {', '.join(listed)}"


def _extension(name: str) -> str:
    """Returns the extension of a file name in lower case (`.tar.gz` in full), or "no extension"."""
    match = re.search(r"[^/](\.tar\.\w{1,4}|\.[\w~+-]{1,16})$", name.lower(), re.ASCII)
    return match[1] if match else "no extension"
