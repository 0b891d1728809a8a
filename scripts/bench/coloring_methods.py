"""The methods that the benchmark of hints compares: linewash, G'MIC, and what a painting program may do.

A method takes a drawing and its dabs and returns a `Picture`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from bench.coloring_cases import Case, Dabs, encode_png, on_white
from linewash.coloring import Drawing, Network, Settings, colorize, read_drawing
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from preprocess.nearest_pixel import fill_from_nearest
from training.atomic_files import atomic_write
from training.errors import WorkError

MAX_GAP = 0.025  # the bucket closes gaps up to this fraction of the side
# The filter "Colorize lineart [smart coloring]" with its own defaults, except for the type of output.
GMIC_FILTER = "fx_colorize_lineart_smart", "1,95,0,0,1,24,200,0,75,2,60,20,90,1,10,1,0"
GMIC_COLORS = "000002"  # the third of the output layers has the colours without lines
GMIC_TIMEOUT = 600  # seconds
SECONDS_KEY = "seconds"


class Picture(NamedTuple):
    """A coloured drawing: uint8 [H, W, 3], and the seconds that it took."""

    rgb: np.ndarray
    seconds: float


Method = Callable[[Case, Dabs], Picture]


def timed(function: Callable[[Case, Dabs], np.ndarray]) -> Method:
    """Returns a method that measures the time of `function`."""

    def method(case: Case, dabs: Dabs) -> Picture:
        started = time.perf_counter()
        rgb = function(case, dabs)
        return Picture(rgb, time.perf_counter() - started)

    return method


@dataclass
class Linewash:
    """linewash through its Python API, from the bytes of a file. The time does not include reading them."""

    network: Network
    settings: Settings
    _drawings: dict[bytes, Drawing] = field(default_factory=dict, repr=False)  # only the latest one

    def __call__(self, case: Case, dabs: Dabs) -> Picture:
        """Colours a drawing; without dabs, as the network likes."""
        if case.png not in self._drawings:
            self._drawings = {case.png: read_drawing(case.png)}
        drawing, hints = self._drawings[case.png], dabs.rgba if dabs.regions else None
        started = time.perf_counter()
        rgb = colorize(drawing, self.network, self.settings, hints)[0].rgb(lines=False)
        return Picture(rgb, time.perf_counter() - started)


def white_page(case: Case, dabs: Dabs) -> np.ndarray:
    """Returns the page without any colour."""
    return np.full_like(case.truth, case.paper)


def flood_by_watershed(case: Case, dabs: Dabs) -> np.ndarray:
    """Floods the page from the dabs: dark pixels and pixels near to lines are reached last."""
    from skimage.segmentation import watershed

    darkness = 255.0 - case.drawing.min(-1)
    distance = cv2.distanceTransform((~case.ink).astype(np.uint8), cv2.DIST_L2, 5)
    return dabs.colors[watershed(darkness + distance.max() - distance, dabs.labels)]


def fill_by_bucket(case: Case, dabs: Dabs) -> np.ndarray:
    """Pours each dab into its area, as a paint bucket that closes gaps in the lines does.

    The lines are closed by a disc (a morphological closing). The areas between them then grow back over what
    the closing added and to the middle of the lines. A later dab replaces an earlier one of the same area.
    """
    diameter = max(3, round(MAX_GAP * len(case.ink)) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter, diameter))
    closed = cv2.morphologyEx(case.ink.astype(np.uint8), cv2.MORPH_CLOSE, disc)
    _, areas = cv2.connectedComponents(1 - closed, connectivity=4)
    areas = fill_from_nearest(areas, areas > 0)
    rgb = white_page(case, dabs)
    for number, color in enumerate(dabs.colors[1:], 1):
        area = np.bincount(areas[dabs.labels == number]).argmax()
        rgb[areas == area] = color
    return rgb


@dataclass(frozen=True)
class Gmic:
    """G'MIC's smart colouring of line art.

    A drawing takes seconds, so each result is kept as a PNG, with its time as text, and used again.

    command: the path of the program.
    cache: the folder of the results.
    """

    command: str
    cache: Path

    @classmethod
    def find(cls, cache: Path) -> Gmic | None:
        """Returns None if gmic is not installed."""
        command = shutil.which("gmic")
        return cls(command, cache) if command else None

    def __call__(self, case: Case, dabs: Dabs) -> Picture:
        """Colours a drawing.

        Raises:
          WorkError: gmic fails.
        """
        content = repr((GMIC_FILTER, case.drawing.shape)).encode() + case.drawing.tobytes()
        content += dabs.rgba.tobytes()
        path = self.cache / f"{hashlib.sha256(content).hexdigest()[:32]}.png"
        if not path.is_file():
            picture, text = self._run(case, dabs), PngInfo()
            text.add_text(SECONDS_KEY, f"{picture.seconds:.3f}")
            with atomic_write(path, sync=False) as temporary:
                Image.fromarray(picture.rgb).save(temporary, pnginfo=text)
        with Image.open(path) as image:
            return Picture(np.array(image.convert("RGB")), float(image.info[SECONDS_KEY]))

    def _run(self, case: Case, dabs: Dabs) -> Picture:
        with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
            folder = Path(temporary)
            (folder / "hints.png").write_bytes(encode_png(dabs.rgba))
            (folder / "lineart.png").write_bytes(encode_png(case.drawing))
            arguments = ["hints.png", "lineart.png", *GMIC_FILTER, "-o", "out.png"]
            started = time.perf_counter()
            try:
                result = subprocess.run(
                    [self.command, *arguments], cwd=folder, capture_output=True, timeout=GMIC_TIMEOUT
                )
            except subprocess.TimeoutExpired:
                raise WorkError(f"gmic did not colour {case.name} within {GMIC_TIMEOUT} s") from None
            seconds = time.perf_counter() - started
            path = folder / f"out_{GMIC_COLORS}.png"
            if result.returncode or not path.is_file():
                reason = result.stderr.decode(errors="replace").strip()[-500:]
                raise WorkError(f"gmic could not colour {case.name}: {reason or 'no third layer'}")
            with Image.open(path) as image:
                return Picture(on_white(np.array(image.convert("RGBA"))), seconds)
