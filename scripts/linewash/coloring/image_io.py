"""An image file's bytes in, an upright page of RGB pixels out; or one sentence on why not."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

from linewash.coloring.file_kinds import what_else
from linewash.coloring.ink import find_strokes, grey_of, page_side, remove_shading, resized
from linewash.coloring.segmentation import nearest
from linewash.coloring.thinning import thin
from preprocess.jpeg_segments import MAX_SCANS, scans_and_end
from preprocess.rejects import Rejected
from training.errors import WorkError

# Pillow reads AVIF where it was built with a decoder.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()))
# As many as preprocess takes of a photograph (preprocess/recipe.py): a phone's largest picture passes.
MAX_PIXELS = 1 << 26
MAX_BYTES = 9 * MAX_PIXELS  # of a file: so many pixels without any compression, at 16 bits a channel
MIN_SIDE = 16
STRIP = 512  # rows that are worked on at a time: what is between takes several times the memory
OPAQUE = 128  # alpha from which a pixel counts as drawn
# Ours is the stricter limit, and it gives a sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

PAPER_CHOICE_SIDE = 512  # px of the page's side at which white and black paper are compared
THIN = 0.02  # half-width of the broadest stroke, as a share of that side: what is broader is an area
BORDER = 4  # px of that side: how deep the border of an area is
FEW = 0.03  # strokes of less than this share of a light border's length are not what the picture is about
BLACK_WINS = 1.5  # black paper must show so many times the strokes that white shows
FRINGE = 0.9  # a pixel of less than this share of the alpha beside it belongs to the rim of a stroke


def read_file(path: Path) -> bytes:
    """The bytes of a picture file.

    Raises:
      WorkError: it cannot be read, or it is larger than any picture that would be taken.
    """
    try:
        # A device or a pipe has no size: the rest of it is left alone.
        if path.stat().st_size <= MAX_BYTES:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) <= MAX_BYTES:
                return data
    except OSError as e:
        raise WorkError(f"it could not be read: {e.strerror or e}") from None
    raise WorkError(
        f"it has over {MAX_BYTES >> 20} MB, more than any picture of {MAX_PIXELS:,} pixels: make it smaller"
    )


def read_page(data: bytes, most: int = MAX_PIXELS, paper: int | None = None) -> np.ndarray:
    """Decodes a picture: EXIF orientation applied, transparency laid on paper.

    Args:
      most: pixels that it may have.
      paper: 255 for white paper, 0 for black; None for the one on which the drawing is seen (`paper_of`).

    Returns:
      uint8 [H, W, 3].

    Raises:
      WorkError: no picture of a format we read, damaged, too large (by its header: nothing large is
        decoded) or too small.
    """
    pixels = _pixels(data, most)
    return flatten(pixels, paper) if pixels.shape[2] == 4 else pixels


def read_layer(data: bytes, most: int = MAX_PIXELS) -> np.ndarray:
    """Decodes a picture with its transparency: uint8 [H, W, 4], upright, of `most` pixels.

    Raises:
      WorkError: as `read_page`, or it has no transparency.
    """
    pixels = _pixels(data, most)
    if pixels.shape[2] != 4:
        raise WorkError("it has no transparency, so nobody can tell strokes from paper: save it as a PNG "
                        "with a transparent background")  # fmt: skip
    return pixels


def flatten(rgba: np.ndarray, paper: int | None = None) -> np.ndarray:
    """Lays uint8 [H, W, 4] on paper, 255 white or 0 black, or `paper_of` it: uint8 [H, W, 3]."""
    if paper is None:
        paper = paper_of(rgba)
    page = np.empty((*rgba.shape[:2], 3), np.uint8)
    for top in range(0, len(rgba), STRIP):
        strip = rgba[top : top + STRIP]
        alpha = strip[..., 3:].astype(np.uint16)
        page[top : top + STRIP] = (strip[..., :3] * alpha + paper * (255 - alpha) + 127) // 255
    return page


def paper_of(rgba: np.ndarray) -> int:
    """The paper that a picture with transparency was drawn for, uint8 [H, W, 4]: 255 white, or 0 black.

    Strokes on nothing: white, unless black clearly shows more of them. Light strokes, made for dark screens,
    would be lost on white. What is broader than strokes (paper with transparent margins, a sticker, a
    blackboard) has a ground of its own: see `_is_board`.
    """
    if rgba[..., 3].min() == 255:
        return 255
    small = _small(rgba)
    colors, alpha = _without_fringe(small), small[..., 3]
    white = _stroke_length(_laid_on(colors, alpha, 255), dark=True)
    black = _stroke_length(_laid_on(colors, alpha, 0), dark=False)
    depth = cv2.distanceTransform((alpha >= OPAQUE).astype(np.uint8), cv2.DIST_L2, 5)
    reach = THIN * page_side(alpha.shape)
    if _is_broad(depth, reach):
        grey = grey_of(np.ascontiguousarray(colors), True)
        return 0 if _is_board(grey, depth, white, black) else 255
    return 0 if black > BLACK_WINS * white else 255


def _small(rgba: np.ndarray) -> np.ndarray:
    """`rgba` shrunk by a whole number to about `PAPER_CHOICE_SIDE`, colours weighted by alpha."""
    side = page_side(rgba.shape[:2])
    factor = side // PAPER_CHOICE_SIDE
    if factor < 2:
        return rgba
    rows = max(STRIP // factor, 1) * factor
    strips = (rgba[top : top + rows] for top in range(0, len(rgba), rows))
    return np.concatenate([np.asarray(Image.fromarray(strip).reduce(factor)) for strip in strips])


def _without_fringe(rgba: np.ndarray) -> np.ndarray:
    """The colours of uint8 [H, W, 4], at the rims of strokes those of their middle: uint8 [H, W, 3].

    Rims may be darkened (premultiplied alpha), or be of a colour that nobody has seen.
    """
    alpha = rgba[..., 3]
    rim = alpha < FRINGE * cv2.dilate(alpha, np.ones((5, 5), np.uint8)).astype(np.float32)
    return _spread(rgba[..., :3], ~rim & (alpha > 0))


def _spread(colors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Gives each pixel of uint8 [H, W, 3] the colour of the nearest known one, bool [H, W]."""
    places = np.arange(known.size, dtype=np.int32).reshape(known.shape)
    return colors.reshape(-1, 3)[nearest(places, known)]


def _is_broad(depth: np.ndarray, reach: float) -> bool:
    """Whether most of what is drawn is broader than 2 x `reach`; depth: px to the next transparent pixel."""
    cores = (depth > reach).astype(np.uint8)
    broad = cv2.distanceTransform(1 - cores, cv2.DIST_L2, 5) <= reach
    return bool(cores.any() and (broad & (depth > 0)).sum() > (depth > 0).sum() / 2)


def _is_board(grey: np.ndarray, depth: np.ndarray, white: float, black: float) -> bool:
    """Whether broad areas are better seen on black paper than on white.

    A border that is like the paper is lost on it. That is as it should be for light paper and for a sticker
    with a white border, if dark strokes lie on them, and for a blackboard with light strokes.

    Args:
      grey: float32 [H, W], 0 to 1. depth: float32 [H, W], px to the nearest transparent pixel.
      white, black: length of the strokes that are seen on either.
    """
    scale = max(1.0, PAPER_CHOICE_SIDE / page_side(grey.shape))
    border = ((depth > 0) & (depth < 2)).sum() * scale
    light_border = np.median(grey[(depth > 0) & (depth < BORDER)]) > 0.5
    low, middle, high = np.percentile(grey[depth > 0], (0.5, 50, 99.5))
    if light_border:
        return bool(white < FEW * border and black > white)
    return bool(middle - low < high - middle and black > border / 2)


def _laid_on(colors: np.ndarray, alpha: np.ndarray, paper: int) -> np.ndarray:
    share = alpha[..., None] / np.float32(255)
    return np.rint(paper + (colors - np.float32(paper)) * share).astype(np.uint8)


def _stroke_length(page: np.ndarray, dark: bool, where: np.ndarray | None = None) -> float:
    """How long the thin strokes on uint8 [H, W, 3] are, dark or light ones: pixels of their centre lines.

    With `where`, bool [H, W], those alone that lie there.
    """
    scale = PAPER_CHOICE_SIDE / page_side(page.shape[:2])
    height, width = (round(side * max(scale, 1.0)) for side in page.shape[:2])
    strokes = find_strokes(remove_shading(resized(grey_of(page, dark), height, width)))
    broad = cv2.distanceTransform(strokes, cv2.DIST_L2, 5) > THIN * page_side(strokes.shape)
    found = (thin(strokes) == 1) & ~broad
    if where is not None:
        found &= cv2.resize(where.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) == 1
    # What is seen as an area alone has no thin strokes, but still counts for more than nothing.
    return float(found.sum() + strokes.any())


def _has_too_many_scans(data: bytes) -> bool:
    """Each scan is a walk over the whole picture. What follows the picture (a film) does not count."""
    if data.count(b"\xff\xda") <= MAX_SCANS:  # quick, and never too small
        return False
    try:
        return scans_and_end(data)[0] > MAX_SCANS
    except Rejected:
        return True


def _open(data: bytes, most: int) -> Image.Image:
    """Reads the header alone, and refuses what should not be decoded."""
    if not data:
        raise WorkError("it is empty")
    if data.startswith(b"\xff\xd8") and _has_too_many_scans(data):
        raise WorkError(f"it is a JPEG of over {MAX_SCANS} scans: save it again")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise WorkError(what_else(data, FORMATS)) from None
    except Image.DecompressionBombError:
        raise WorkError(f"it has over {most:,} pixels: make it smaller") from None
    except Exception as e:  # Pillow's readers raise whatever they meet in a damaged header
        raise WorkError(f"it is damaged ({e}): save it again") from None
    width, height = image.size
    if width * height > most:
        raise WorkError(f"it is {width} x {height}, over {most:,} pixels: make it smaller")
    if min(width, height) < MIN_SIDE:
        raise WorkError(f"it is {width} x {height}, but a drawing needs {MIN_SIDE} pixels a side at least")
    return image


def _pixels(data: bytes, most: int) -> np.ndarray:
    """The picture upright: uint8 [H, W, 4], or [H, W, 3] if it has no transparency."""
    image = _upright(_open(data, most))
    if not _has_alpha(image):
        return np.array(_eight_bits(image).convert("RGB"))
    return np.array(image if image.mode == "RGBA" else image.convert("RGBA"))


def _upright(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as e:  # as above
        raise WorkError(f"it is damaged ({e}): save it again") from None


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys brought to 8 bits; Pillow's own conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(values // 257 if values.max() > 255 else values, 0, 255).astype(np.uint8))
