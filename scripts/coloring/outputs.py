"""Which files a colouring is written to: named before anything is coloured, each written whole."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from coloring.layers import encode_png, layers, to_gpl, to_ora, to_png
from coloring.picture import Picture
from tfrecords_schema import Palette
from training.atomic import replacing
from training.errors import UsageError

EXTENSIONS = frozenset([".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"])
_LAYER_NAME = re.compile(r"(lines|\d+-[0-9a-f]{6})\.png")


@dataclass(frozen=True)
class Output:
    """What becomes of one drawing: the PNG, and if asked for the folder of layers and the OpenRaster file."""

    png: Path
    layers: Path | None
    ora: Path | None

    def write(self, pictures: list[Picture], overlay: bool, numbered: bool) -> None:
        """Writes the pictures; when `numbered` (variants) under NAME-1, NAME-2, ..."""
        for number, picture in enumerate(pictures, 1):
            ending = f"-{number}" if numbered else ""
            _write(_suffixed(self.png, ending), to_png(picture, overlay))
            if self.ora:
                _write(_suffixed(self.ora, ending), to_ora(picture))
            if self.layers:
                _write_layers(self.layers / ending.removeprefix("-"), picture)


def find_drawings(paths: list[Path]) -> list[tuple[Path, Path]]:
    """Drawings, each with its name below the folder that was typed: files as they are, folders searched.

    Raises:
      UsageError: a path that is not there, a folder without pictures, or the same drawing twice.
    """
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = [p for p in sorted(path.rglob("*")) if _is_picture(p, path)]
            if not inside:
                raise UsageError(f"{path} holds no picture ({', '.join(sorted(EXTENSIONS))})")
            found += [(p, p.relative_to(path)) for p in inside]
        elif path.is_file():
            found.append((path, Path(path.name)))
        else:
            raise UsageError(f"{path} is not there: give a drawing, or a folder of drawings")
    twice = [path for path, count in Counter(p.resolve() for p, _ in found).items() if count > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given twice")
    return found


def plan(
    drawings: list[tuple[Path, Path]], out: Path, layers: Path | None, ora: Path | None, many: bool
) -> list[Output]:
    """Where each drawing goes: into `out`, or with several drawings into the same names below it.

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


def _is_picture(path: Path, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(below).parts)
    return path.suffix.lower() in EXTENSIONS and path.is_file() and not hidden


def _place(typed: Path, name: Path, suffix: str, flag: str, many: bool) -> Path:
    if many and typed.suffix.lower() == suffix and not typed.is_dir():
        raise UsageError(f"{flag} {typed} is one file for several drawings: type the name of a folder")
    if many or typed.is_dir() or not typed.suffix:
        return typed / name.with_name(name.name + suffix)
    if typed.suffix.lower() != suffix:
        raise UsageError(f"{flag} {typed}: type a name that ends in {suffix}, or the name of a folder")
    return typed


def _suffixed(path: Path, ending: str) -> Path:
    return path.with_name(path.stem + ending + path.suffix)


def _check_layers(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_file() and not _LAYER_NAME.fullmatch(path.name):
            raise UsageError(
                f"--layers {directory} holds other files ({path.name}), among which layers would be hard "
                "to tell: type the name of a new folder"
            )


def _write_layers(directory: Path, picture: Picture) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    stack = layers(picture)
    for layer in stack:
        _write(directory / f"{layer.name}.png", encode_png(layer.rgba))
    names = {f"{layer.name}.png" for layer in stack}
    for path in directory.iterdir():  # colours of an earlier picture would no longer cover each pixel once
        if _LAYER_NAME.fullmatch(path.name) and path.name not in names:
            path.unlink()


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)
