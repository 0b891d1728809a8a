"""Which drawings are coloured, and which files each becomes: named before anything is coloured."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from linewash.coloring.colorize import Picture
from linewash.coloring.file_kinds import HEAD, is_picture
from linewash.coloring.image_io import FORMATS
from linewash.coloring.openraster import layer_names, layers, to_gpl, to_png, write_ora
from preprocess.file_types import Skipped, is_hidden
from tfrecords_schema import Palette
from training.atomic_files import UNFINISHED, atomic_write
from training.errors import UsageError

if TYPE_CHECKING:
    from linewash.coloring.progress import Progress

# What a file of a folder is taken for a picture by; without one of these its first bytes decide.
EXTENSIONS = frozenset([
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", *([".avif"] if "AVIF" in FORMATS else []),
])  # fmt: skip
OURS = "coloured by this command"
_LAYER_NAME = re.compile(r"(lines|\d+-[0-9a-f]{6})\.png")


@dataclass(frozen=True)
class Output:
    """What becomes of one drawing: the PNG, and if asked for the folder of layers and the OpenRaster file."""

    png: Path
    layers: Path | None
    ora: Path | None

    def write(
        self,
        pictures: list[Picture],
        overlay: bool,
        numbered: bool,
        progress: Progress | None = None,
    ) -> None:
        """Writes the pictures; when `numbered` (variants) under NAME-1, NAME-2, ...

        Every file is written whole or not at all.
        """
        step, detail = (progress.step, progress.detail) if progress else (_silent, _silent)
        for number, picture in enumerate(pictures, 1):
            ending = f"-{number}" if numbered else ""
            png = _suffixed(self.png, ending)
            step("writing the picture")
            _write(png, to_png(picture, overlay))
            if self.ora:
                ora = _suffixed(self.ora, ending)
                step("writing OpenRaster")
                with atomic_write(ora) as temporary, temporary.open("wb") as file:
                    write_ora(picture, file, detail)
            if self.layers:
                step("writing layers")
                _write_layers(self.layers / ending.removeprefix("-"), picture, detail)

    @property
    def steps(self) -> int:
        """Files or folders that are written for one picture."""
        return 1 + (self.ora is not None) + (self.layers is not None)


@dataclass
class Drawings:
    """The drawings to colour, each with its name below the folder that was typed, and what was left out.

    skipped: files of folders that are no pictures. unreadable: folders, and why each could not be listed.
    """

    found: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)


def find_drawings(paths: list[Path], ours: tuple[Path | None, ...] = ()) -> Drawings:
    """The drawings among the files and folders that were typed: files as they are, folders searched.

    Args:
      ours: where the command writes. What lies there is skipped in a folder: it would be coloured again by
        the next run.

    Raises:
      UsageError: a path that is not there, nothing but folders without pictures, or the same drawing twice.
    """
    drawings = Drawings()
    written = frozenset(path.resolve() for path in ours if path is not None)
    for path in paths:
        if path.is_dir():
            _search(path, written, drawings)
        elif path.exists():
            drawings.found.append((path, Path(path.name)))
        else:
            raise UsageError(f"{path} is not there: give a drawing, or a folder of drawings")
    if not drawings.found and not drawings.unreadable:
        listed = f" ({drawings.skipped})" if str(drawings.skipped) else ""
        raise UsageError(
            f"{', '.join(map(str, paths))} holds no picture{listed}: give drawings as {', '.join(FORMATS)}"
        )
    twice = [path for path, count in Counter(p.resolve() for p, _ in drawings.found).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice")
    return drawings


def plan(
    drawings: list[tuple[Path, Path]], out: str, layers: Path | None, ora: str | None, many: bool
) -> list[Output]:
    """Where each drawing goes: into `out`, or with several drawings into the same names below it.

    `out` and `ora` are folders where they end in a slash.

    Raises:
      UsageError: a name that does not fit what is written there, two drawings of one name, or a drawing
        that would be overwritten.
    """
    names = [name.with_suffix("") for _, name in drawings]
    taken = Counter(str(name).lower() for name in names)
    # A house.png beside a house.jpg: both keep their whole names.
    names = [
        name if taken[str(name).lower()] == 1 else full
        for name, (_, full) in zip(names, drawings, strict=True)
    ]
    outputs = [
        Output(
            _place(out, name, ".png", "-o", many),
            None if layers is None else layers / name if many else layers,
            None if ora is None else _place(ora, name, ".ora", "--ora", many),
        )
        for name in names
    ]
    inputs = {path.resolve() for path, _ in drawings}
    targets = Counter(o.png.resolve() for o in outputs)
    for output in outputs:
        if output.png.resolve() in inputs:
            raise UsageError(f"-o {output.png} is a drawing itself and would be lost: type another name")
        if targets[output.png.resolve()] > 1:
            raise UsageError(f"two drawings would both become {output.png}: colour them one at a time")
        if output.layers and output.layers.is_dir():
            _check_layers(output.layers)
        elif output.layers and output.layers.exists():
            raise UsageError(f"--layers {output.layers} is a file: type the name of a folder")
    return outputs


def write_palette(path: Path, palette: Palette) -> None:
    """Writes a palette as .gpl."""
    _write(path, to_gpl(palette))


def _search(folder: Path, written: frozenset[Path], drawings: Drawings) -> None:
    """Adds what is in `folder` and below, in the order of paths."""
    if folder.resolve() in written:
        raise UsageError(
            f"{folder} is both searched for drawings and written to, and the next run would colour its own "
            f"pictures: type another folder to write to, such as {folder / 'colored'}"
        )
    files = sorted(_files(folder, written, drawings))
    for path in files:
        if path.resolve() in written:
            drawings.skipped.add_file(path.name, OURS)
        elif _is_picture(path):
            drawings.found.append((path, path.relative_to(folder)))
        else:
            drawings.skipped.add_file(path.name)


def _files(folder: Path, written: frozenset[Path], drawings: Drawings) -> Iterator[Path]:
    """Yields the files below `folder` that users see, and takes down what is passed over."""

    def on_error(error: OSError) -> None:
        drawings.unreadable.append((Path(os.fsdecode(error.filename)), error.strerror or str(error)))

    for place, folders, names in os.walk(folder, onerror=on_error):
        below = Path(place)
        for name in list(folders):
            if is_hidden(name):
                drawings.skipped.add_hidden_folder(str(below / name))
            elif (below / name).resolve() in written:
                drawings.skipped.folders[OURS] += 1
            else:
                continue
            folders.remove(name)
        for name in names:
            if is_hidden(name):
                drawings.skipped.add_file(name, "hidden")
            else:
                yield below / name


def _is_picture(path: Path) -> bool:
    """Whether a file of a folder is taken for a drawing: by its extension, or else by its first bytes."""
    if path.is_symlink() and not path.exists():
        return path.suffix.lower() in EXTENSIONS  # a broken link: said when it is read
    if not path.is_file():  # a device or a pipe might never end
        return False
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        with path.open("rb") as file:
            return is_picture(file.read(HEAD), FORMATS)
    except OSError:
        return False


def _place(typed: str, name: Path, suffix: str, flag: str, many: bool) -> Path:
    path = Path(typed)
    folder = typed.endswith("/") or path.is_dir()
    if many and path.suffix.lower() == suffix and not folder:
        raise UsageError(f"{flag} {typed} is one file for several drawings: type the name of a folder")
    if many or folder or not path.suffix:
        return path / name.with_name(name.name + suffix)
    if path.suffix.lower() != suffix:
        raise UsageError(f"{flag} {typed}: type a name that ends in {suffix}, or the name of a folder")
    return path


def _suffixed(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending + path.suffix)


def _check_layers(directory: Path) -> None:
    for path in directory.iterdir():
        # What a killed run left unfinished is not somebody else's.
        if path.is_file() and not _LAYER_NAME.fullmatch(path.name) and not path.name.startswith(UNFINISHED):
            raise UsageError(
                f"--layers {directory} holds other files ({path.name}), among which layers would be hard "
                "to tell: type the name of a new folder"
            )


def _write_layers(directory: Path, picture: Picture, say: Callable[[str], None]) -> None:
    names = [f"{name}.png" for name in layer_names(picture)]
    for number, layer in enumerate(layers(picture), 1):
        say(f"writing layer {number} of {len(names)}")
        path = directory / f"{layer.name}.png"
        with atomic_write(path) as temporary:
            Image.fromarray(layer.rgba).save(temporary, "PNG")
    for path in directory.iterdir():  # colours of an earlier picture would no longer cover each pixel once
        unfinished = path.name.startswith(UNFINISHED)
        if unfinished or (_LAYER_NAME.fullmatch(path.name) and path.name not in names):
            path.unlink()


def _silent(doing: str) -> None:
    """In place of a progress display."""


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
