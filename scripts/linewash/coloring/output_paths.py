"""Finds the drawings to colour and plans the output files of each, before anything is coloured."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from PIL import Image

from linewash.coloring.colorizer import ColoredImage
from linewash.coloring.file_signatures import SIGNATURE_BYTES, is_image
from linewash.coloring.image_io import FORMATS
from linewash.coloring.openraster import layer_names, layers, to_gpl, to_png, write_ora
from linewash.coloring.svg_writer import to_svg
from preprocess.file_types import Skipped, is_hidden
from tfrecords_schema import Palette
from training.atomic_files import UNFINISHED, atomic_write
from training.errors import UsageError

if TYPE_CHECKING:
    from linewash.coloring.progress import Progress

# Extensions that identify an image in a folder; a file with another one is examined (`file_signatures`).
EXTENSIONS = frozenset([
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".webp", ".gif", ".bmp", ".dib",
    ".tif", ".tiff", ".svg", *([".avif"] if "AVIF" in FORMATS else []),
])  # fmt: skip
P = TypeVar("P", bound=PurePath)
OWN_OUTPUT = "coloured by this command"
_LAYER_NAME = re.compile(r"(lines|\d+(-[a-z]+|-\d+)*-[0-9a-f]{6})\.png")


class DrawingFile(NamedTuple):
    """A drawing to colour, and its name relative to the folder that was given."""

    path: Path
    name: Path


@dataclass
class InputFiles:
    """The drawings to colour, and what was skipped.

    skipped: files that are not images. unlisted: folders that could not be listed, each with the reason.
    """

    drawings: list[DrawingFile] = field(default_factory=list)
    skipped: Skipped = field(default_factory=Skipped)
    unlisted: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True)
class OutputPaths:
    """The output files of one drawing: a PNG, and optionally layers, an OpenRaster file and an SVG."""

    png: Path
    layers: Path | None
    ora: Path | None
    svg: Path | None

    def write(
        self,
        images: list[ColoredImage],
        draws_lines: bool,
        numbered: bool,
        progress: Progress | None = None,
    ) -> None:
        """Writes the images, each file atomically; if `numbered`, as NAME-1, NAME-2, ..."""
        start_step, describe = (progress.start_step, progress.describe) if progress else (_ignore, _ignore)
        for number, image in enumerate(images, 1):
            suffix = f"-{number}" if numbered else ""
            png = _add_suffix(self.png, suffix)
            start_step("writing the image")
            _write(png, to_png(image, draws_lines))
            if self.ora:
                ora = _add_suffix(self.ora, suffix)
                start_step("writing OpenRaster")
                with atomic_write(ora) as temporary, temporary.open("wb") as file:
                    write_ora(image, file, describe)
            if self.svg:
                start_step("writing SVG")
                _write(_add_suffix(self.svg, suffix), to_svg(image, draws_lines))
            if self.layers:
                start_step("writing layers")
                _write_layers(self.layers / suffix.removeprefix("-"), image, describe)

    @property
    def num_steps(self) -> int:
        """Number of files or folders that are written for one image."""
        return 1 + sum(path is not None for path in (self.ora, self.svg, self.layers))


def find_drawings(paths: list[Path], outputs: Iterable[Path] = ()) -> InputFiles:
    """Finds the drawings among files, which are taken as they are, and folders, which are searched.

    Args:
      outputs: the paths to which the command writes. Inside a folder they are skipped, because the next run
        would colour them again.

    Raises:
      UsageError: a path does not exist, the folders hold no images, or a drawing is given twice.
    """
    inputs = InputFiles()
    excluded = frozenset(path.resolve() for path in outputs)
    for path in paths:
        if path.is_dir():
            _search(path, excluded, inputs)
        elif path.exists():
            inputs.drawings.append(DrawingFile(path, Path(path.name)))
        else:
            raise UsageError(f"{path} does not exist: give a drawing, or a folder of drawings")
    if not inputs.drawings and not inputs.unlisted:
        skipped = f" ({inputs.skipped})" if str(inputs.skipped) else ""
        raise UsageError(
            f"{', '.join(map(str, paths))} holds no images{skipped}: give drawings as {', '.join(FORMATS)} "
            "or SVG"
        )
    counts = Counter(drawing.path.resolve() for drawing in inputs.drawings)
    duplicates = [path for path, count in counts.items() if count > 1]
    if duplicates:
        raise UsageError(f"{duplicates[0]} is given twice")
    return inputs


def plan_outputs(
    drawings: list[DrawingFile],
    output: str,
    layers: Path | None,
    ora: str | None,
    svg: str | None,
    several: bool,
    other_inputs: Mapping[str, Path | None] | None = None,
) -> list[OutputPaths]:
    """Plans the output of each drawing: `output` itself, or with several drawings their names below it.

    Args:
      output, ora, svg: a folder if it ends in a slash.
      several: whether several drawings are coloured, or a folder was given.
      other_inputs: files that other flags name, by flag.

    Raises:
      UsageError: a name has the wrong extension, two drawings get the same name, or an input would be
        overwritten.
    """
    names = distinct_stems([drawing.name for drawing in drawings])
    outputs = [
        OutputPaths(
            _output_path(output, name, ".png", "--output", several),
            None if layers is None else layers / name if several else layers,
            None if ora is None else _output_path(ora, name, ".ora", "--ora", several),
            None if svg is None else _output_path(svg, name, ".svg", "--svg", several),
        )
        for name in names
    ]
    others = {path.resolve(): f"the file of {flag}" for flag, path in (other_inputs or {}).items() if path}
    inputs = others | {drawing.path.resolve(): "one of the drawings" for drawing in drawings}
    targets = Counter(paths.png.resolve() for paths in outputs)
    for paths in outputs:
        for flag, path in (("--output", paths.png), ("--svg", paths.svg)):
            if path is not None and path.resolve() in inputs:
                raise UsageError(
                    f"{flag} {path} is {inputs[path.resolve()]} and would be overwritten: type another name"
                )
        if targets[paths.png.resolve()] > 1:
            raise UsageError(f"two drawings would both be written to {paths.png}: colour them one at a time")
        if paths.layers and paths.layers.is_dir():
            _check_layers(paths.layers)
        elif paths.layers and paths.layers.exists():
            raise UsageError(f"--layers {paths.layers} is a file: type the name of a folder")
    return outputs


def distinct_stems(names: list[P]) -> list[P]:
    """Returns the names without extensions; names that would be equal, house.png and house.jpg, keep them."""
    stems = [name.with_suffix("") for name in names]
    counts = Counter(str(stem).lower() for stem in stems)
    return [stem if counts[str(stem).lower()] == 1 else name for stem, name in zip(stems, names, strict=True)]


def write_palette(path: Path, palette: Palette) -> None:
    """Writes a palette as .gpl."""
    _write(path, to_gpl(palette))


def _search(folder: Path, excluded: frozenset[Path], inputs: InputFiles) -> None:
    """Adds the drawings of `folder` and its subfolders to `inputs`, sorted by path."""
    if folder.resolve() in excluded:
        raise UsageError(
            f"{folder} is both searched for drawings and written to, and the next run would colour its own "
            f"output: type another folder to write to, such as {folder / 'colored'}"
        )
    for path in sorted(_visible_files(folder, excluded, inputs)):
        if path.resolve() in excluded:
            inputs.skipped.add_file(path.name, OWN_OUTPUT)
        elif _is_drawing(path):
            inputs.drawings.append(DrawingFile(path, path.relative_to(folder)))
        else:
            inputs.skipped.add_file(path.name)


def _visible_files(folder: Path, excluded: frozenset[Path], inputs: InputFiles) -> Iterator[Path]:
    """Yields the files below `folder` that are not hidden; records what is skipped in `inputs`."""

    def on_error(error: OSError) -> None:
        inputs.unlisted.append((Path(os.fsdecode(error.filename)), error.strerror or str(error)))

    for directory, subfolders, names in os.walk(folder, onerror=on_error):
        parent = Path(directory)
        for name in list(subfolders):
            if is_hidden(name):
                inputs.skipped.add_hidden_folder(str(parent / name))
            elif (parent / name).resolve() in excluded:
                inputs.skipped.folders[OWN_OUTPUT] += 1
            else:
                continue
            subfolders.remove(name)
        for name in names:
            if is_hidden(name):
                inputs.skipped.add_file(name, "hidden")
            else:
                yield parent / name


def _is_drawing(path: Path) -> bool:
    """Returns whether a file of a folder is an image by its extension or else by its first bytes."""
    if path.is_symlink() and not path.exists():
        return path.suffix.lower() in EXTENSIONS  # a broken link is reported when it is read
    if not path.is_file():  # reading a device or a pipe might never end
        return False
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        with path.open("rb") as file:
            return is_image(file.read(SIGNATURE_BYTES), FORMATS)
    except OSError:
        return False


def _output_path(argument: str, name: Path, extension: str, flag: str, several: bool) -> Path:
    path = Path(argument)
    is_folder = argument.endswith("/") or path.is_dir()
    if several and path.suffix.lower() == extension and not is_folder:
        raise UsageError(f"{flag} {argument} is one file for several drawings: type the name of a folder")
    if several or is_folder or not path.suffix:
        return path / name.with_name(name.name + extension)
    if path.suffix.lower() != extension:
        raise UsageError(f"{flag} {argument}: type a name that ends in {extension}, or the name of a folder")
    return path


def _add_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.stem + suffix + path.suffix)


def _check_layers(directory: Path) -> None:
    for path in directory.iterdir():
        # Unfinished files of a killed run are our own.
        if path.is_file() and not _LAYER_NAME.fullmatch(path.name) and not path.name.startswith(UNFINISHED):
            raise UsageError(
                f"--layers {directory} holds other files ({path.name}), among which layers would be hard "
                "to find: type the name of a new folder"
            )


def _write_layers(directory: Path, image: ColoredImage, report: Callable[[str], None]) -> None:
    names = [f"{name}.png" for name in layer_names(image)]
    for number, layer in enumerate(layers(image), 1):
        report(f"writing layer {number} of {len(names)}")
        path = directory / f"{layer.name}.png"
        with atomic_write(path) as temporary:
            Image.fromarray(layer.rgba).save(temporary, "PNG")
    # Layers of an earlier image are removed, so that each pixel is opaque in exactly one colour layer.
    for path in directory.iterdir():
        is_unfinished = path.name.startswith(UNFINISHED)
        if is_unfinished or (_LAYER_NAME.fullmatch(path.name) and path.name not in names):
            path.unlink()


def _ignore(description: str) -> None:
    """Replaces the progress display where there is none."""


def _write(path: Path, data: bytes) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)
