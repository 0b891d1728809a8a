"""Decoding of images and extraction of lines, for various pens, papers, lighting and file formats."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from linewash.coloring.image_io import FORMATS, read_file, read_hints, read_image
from linewash.coloring.line_extraction import Drawing, read_drawing
from linewash.coloring.transparency import choose_background
from linewash.samples.sketches import (
    Pen,
    draw,
    encode_image,
    home,
    on_black,
    on_transparent,
    on_white,
    sea,
    simulate_pencil,
    simulate_photo,
    sketches,
)
from PIL import Image

from preprocess.lines import thinning
from preprocess.lines.drawn import find_lines, line_map_shape, resize_lines
from preprocess.lines.stroke_detection import is_dark_on_light, remove_shading
from preprocess.lines.thinning import prune, thin
from training.errors import WorkError


def agreement(first: Drawing, second: Drawing, tolerance: int = 3) -> float:
    """Returns the fraction of the line pixels that have one of the other drawing within `tolerance` px."""
    disc = np.ones((2 * tolerance + 1,) * 2, np.uint8)
    a, b = first.line_map, second.line_map
    near = (a & cv2.dilate(b, disc)).sum() + (b & cv2.dilate(a, disc)).sum()
    return near / (a.sum() + b.sum())


@pytest.fixture(scope="module")
def ink() -> np.ndarray:
    return draw(home, 600, 480, 3, seed=1)


@pytest.fixture(scope="module")
def plain(ink: np.ndarray) -> Drawing:
    return read_drawing(encode_image(on_white(ink)))


# ----------------------------------------------------------------------------------------------- thinning


@pytest.mark.parametrize("method", [thinning._thin_by_tables, thinning._thin_words])
@given(mask=arrays(np.uint8, (20, 24), elements=st.integers(0, 1)))
def test_thinning_preserves_connectivity_and_is_idempotent(method: Callable, mask: np.ndarray) -> None:
    lines = method(mask)
    assert (lines <= mask).all()
    assert set(np.unique(lines)) <= {0, 1}
    assert np.array_equal(method(lines), lines)
    count, parts = cv2.connectedComponents(mask, connectivity=8)
    assert set(np.unique(parts[lines == 1])) == set(range(1, count))  # no part vanishes
    assert cv2.connectedComponents(lines, connectivity=8)[0] == count  # and none breaks


def is_removed(mask: np.ndarray, y: int, x: int, is_second: bool) -> bool:
    """The rule of Guo and Hall 1989, algorithm A1, for one pixel inside the border."""
    ring = [bool(mask[y + dy, x + dx]) for dy, dx in RING]
    north, north_east, east, south_east, south, south_west, west, north_west = ring
    crossings = sum(not ring[i] and (ring[i + 1] or ring[(i + 2) % 8]) for i in (0, 2, 4, 6))
    pairs = min(
        sum(ring[i - 1] or ring[i] for i in (0, 2, 4, 6)), sum(ring[i] or ring[i + 1] for i in (0, 2, 4, 6))
    )
    first = (south or south_west or not north_west) and west
    second = (north or north_east or not south_east) and east
    return crossings == 1 and 2 <= pairs <= 3 and not (second if is_second else first)


RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


@pytest.mark.parametrize("method", [thinning._thin_by_tables, thinning._thin_words])
@pytest.mark.parametrize("width", [1, 63, 64, 65, 130])
def test_thinning_follows_guo_and_hall_pixel_by_pixel(width: int, method: Callable) -> None:
    rng = np.random.default_rng(width)
    noise = cv2.GaussianBlur(rng.random((24, width), np.float32), (0, 0), 1.5)
    mask = (noise > np.median(noise) - 0.02).astype(np.uint8)
    expected = np.pad(mask, 1)
    removed = [(0, 0)]
    while removed:
        removed = []
        for is_second in (False, True):
            pixels = list(zip(*np.nonzero(expected), strict=True))
            removable = [(y, x) for y, x in pixels if is_removed(expected, y, x, is_second)]
            for pixel in removable:
                expected[pixel] = 0
            removed += removable
    np.testing.assert_array_equal(method(mask), expected[1:-1, 1:-1])


def test_a_bar_becomes_its_centre_line_and_a_ring_stays_a_ring() -> None:
    bar = np.zeros((21, 60), np.uint8)
    bar[6:15, 5:55] = 1
    assert set(np.nonzero(thin(bar)[:, 15:45])[0]) <= {9, 10}
    ring = cv2.circle(np.zeros((60, 60), np.uint8), (30, 30), 20, 1, 7)
    lines = thin(ring)
    assert cv2.connectedComponents(1 - lines, connectivity=4)[0] == 3  # inside, outside, and the line
    assert abs(lines.sum() - 2 * np.pi * 20) < 30


def test_pruning_removes_spurs_but_not_ends_dashes_or_rings() -> None:
    lines = np.zeros((40, 80), np.uint8)
    lines[20, 5:75] = 1
    lines[17:20, 40] = 1  # a spur
    lines[35, 5:9] = 1  # a dash
    pruned = prune(lines, 5)
    assert pruned[17, 40] == 0
    assert pruned[20, 5:75].all()
    assert pruned[35, 5:9].all()


def test_lines_stay_thin_and_unbroken_at_any_size(plain: Drawing) -> None:
    for height, width in ((51, 64), (102, 128), (480, 600), (700, 900)):
        lines = resize_lines(plain.line_map, height, width)
        assert lines.shape == (height, width)
        assert np.array_equal(thin(lines), lines)
    diagonal = cv2.line(np.zeros((300, 300), np.uint8), (10, 20), (290, 250), 1, 1)
    assert cv2.connectedComponents(resize_lines(diagonal, 47, 60), connectivity=8)[0] == 2
    assert cv2.connectedComponents(resize_lines(diagonal, 500, 460), connectivity=8)[0] == 2


# ----------------------------------------------------------------------------------------------- drawings


def test_every_kind_of_drawing_gives_the_same_lines(ink: np.ndarray, plain: Drawing) -> None:
    rgba = on_transparent(ink)
    white_on_transparent = rgba.copy()
    white_on_transparent[..., :3] = 240
    drawings = {
        "jpeg": encode_image(on_white(ink), "JPEG"),
        "board": encode_image(on_black(ink)),
        "alpha": encode_image(rgba),
        "light ink on transparency": encode_image(white_on_transparent),
        "grey": encode_image(np.asarray(Image.fromarray(on_white(ink)).convert("L"))),
        "faint": encode_image((255 - 0.25 * (255 - on_white(ink))).astype(np.uint8)),
        "pencil": encode_image(simulate_pencil(ink, seed=3)),
        "coloured paper": encode_image((on_white(ink) * np.array([0.9, 0.75, 0.5])).astype(np.uint8)),
    }
    for name, data in drawings.items():
        assert agreement(plain, read_drawing(data)) > 0.97, name
    assert not read_drawing(drawings["board"]).dark_on_light
    assert plain.dark_on_light


def test_sixteen_bits_are_read(ink: np.ndarray, plain: Drawing) -> None:
    file = io.BytesIO()
    Image.fromarray(((1 - ink) * 65535).astype(np.uint16)).save(file, "PNG")
    assert agreement(plain, read_drawing(file.getvalue())) > 0.97


def test_lighting_does_not_matter() -> None:
    image = on_white(draw(sea, 1000, 750, 4, seed=2))
    lit, shaded = (read_drawing(encode_image(simulate_photo(image, 5, s), "JPEG")) for s in (0.0, 1.0))
    assert agreement(lit, shaded) > 0.98
    assert agreement(read_drawing(encode_image(image)), shaded) > 0.97


def test_shading_is_removed_and_strokes_stay_dark() -> None:
    image = np.tile(np.linspace(0.35, 0.9, 400, dtype=np.float32), (300, 1))
    image[100:105, 20:380] *= 0.2
    darkness = remove_shading(image)
    assert darkness[100:105, 30:370].min() > 0.7
    assert np.quantile(np.delete(darkness, slice(96, 109), axis=0), 0.99) < 0.05


def test_a_marker_and_a_thin_pen_draw_the_same_lines() -> None:
    thin_pen, marker = (
        read_drawing(encode_image(on_white(draw(sun_only, 600, 600, w, seed=4)))) for w in (2, 18)
    )
    assert agreement(thin_pen, marker, tolerance=9) > 0.95
    for drawing in (thin_pen, marker):
        assert np.array_equal(thin(drawing.line_map), drawing.line_map)
    assert (
        0.6 < thin_pen.line_map.sum() / marker.line_map.sum() < 1.6
    )  # one line per stroke, not one on each side


def sun_only(pen: Pen) -> None:
    from linewash.samples.sketches import house

    house(pen, 0.2, 0.85, 0.6, 0.4)


def test_a_filled_area_is_outlined() -> None:
    image = np.full((400, 400, 3), 255, np.uint8)
    cv2.rectangle(image, (100, 120), (300, 320), (0, 0, 0), -1)
    cv2.line(image, (20, 60), (380, 60), (0, 0, 0), 3)
    drawing = read_drawing(encode_image(image))
    scale = drawing.line_map.shape[0] / 400
    middle = slice(round(150 * scale), round(290 * scale))
    assert not drawing.line_map[middle, middle].any()
    assert cv2.connectedComponents(1 - drawing.line_map, connectivity=4)[0] == 3  # paper, and the square
    assert drawing.line_opacity[200, 200] > 0.95


def test_the_polarity_can_be_given() -> None:
    image = encode_image(on_white(draw(home, 300, 240, 2, seed=1)))
    assert read_drawing(image, lines="auto").dark_on_light
    assert not read_drawing(image, lines="light").dark_on_light


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_exif_orientation_is_applied(ink: np.ndarray, orientation: int, turns: int) -> None:
    image = Image.fromarray(on_white(ink))
    exif = image.getexif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95)
    rotated = read_image(file.getvalue())
    assert np.abs(rotated.astype(int) - np.rot90(on_white(ink), turns)).mean() < 2


def test_a_photo_is_drawn_by_the_recipe() -> None:
    from preprocess.lines.canny import to_edges
    from preprocess.recipe import DEFAULT

    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8), (320, 240))
    photo[:2, :2] = [[(0, 0, 0), (255, 255, 255)]] * 2
    drawing = read_drawing(encode_image(photo), source="photo")
    assert np.array_equal(drawing.line_map, to_edges(photo, DEFAULT))
    assert drawing.line_opacity.max() == 0


# ---------------------------------------------------------------------------------------- rejected images


def bomb(width: int, height: int) -> bytes:
    """Returns a PNG that has only a header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"a letter", "not a readable image"),
        (bomb(60_000, 60_000), "over 67,108,864 pixels"),
        (bomb(9_000, 9_000), "9000 x 9000, over 67,108,864 pixels"),
        (encode_image(np.full((8, 300, 3), 255, np.uint8)), "300 x 8, but a drawing needs at least 16"),
        (encode_image(np.full((300, 300, 3), 255, np.uint8)), "there are no lines"),
        (encode_image(np.zeros((300, 300, 4), np.uint8)), "there are no lines"),
        (encode_image(np.zeros((300, 300, 3), np.uint8)), "there are no lines"),
        (encode_image(on_white(np.zeros((200, 200), np.float32)))[:90], "the image is damaged"),
    ],
)
def test_unusable_files_are_reported(data: bytes, message: str) -> None:
    with pytest.raises(WorkError, match=message):
        read_drawing(data)


def test_noisy_empty_paper_has_no_lines() -> None:
    image = simulate_photo(np.full((400, 500, 3), 255, np.uint8), seed=1)
    with pytest.raises(WorkError, match="there are no lines"):
        read_drawing(encode_image(image, "JPEG"))


def test_hints_without_transparency_are_rejected() -> None:
    with pytest.raises(WorkError, match="no transparency"):
        read_hints(encode_image(np.full((40, 40, 3), 255, np.uint8)))


@pytest.mark.slow
def test_sketches_are_reproducible() -> None:
    first, second = sketches(3), sketches(3)
    assert first == second
    assert len({sketch.name for sketch in first}) == len(first) >= 10
    for sketch in first:
        assert read_drawing(sketch.data).line_map.any()


# ----------------------------------------------------------------------------- background of transparency


def on_transparency(ink: np.ndarray, color: tuple[int, int, int], hidden: int = 0) -> np.ndarray:
    """Returns strokes of one colour; `hidden` is the value of transparent pixels."""
    rgba = np.full((*ink.shape, 4), hidden, np.uint8)
    rgba[ink > 0, :3] = color
    rgba[..., 3] = np.rint(ink * 255)
    return rgba


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    """Premultiplies the colours, as some programs do: the rims of strokes become dark."""
    rgb = np.rint(rgba[..., :3] * (rgba[..., 3:] / 255)).astype(np.uint8)
    return np.dstack([rgb, rgba[..., 3]])


def cut_out(rgb: np.ndarray, opaque: np.ndarray, hidden: int = 0) -> np.ndarray:
    """Returns `rgb` where `opaque`, bool [H, W], and transparency elsewhere."""
    return np.dstack([np.where(opaque[..., None], rgb, hidden), opaque * 255]).astype(np.uint8)


def transparent_pictures(ink: np.ndarray) -> dict[str, tuple[np.ndarray, int]]:
    """Returns images with transparency, and the background for which each was drawn."""
    height, width = ink.shape
    parts = cv2.connectedComponents((ink < 0.3).astype(np.uint8), connectivity=4)[1]
    outside = (parts == parts[0, 0]) & (ink < 0.3)
    margins = np.zeros(ink.shape, bool)
    margins[height // 6 : -height // 6, width // 6 : -width // 6] = True
    hole = cv2.ellipse(
        np.ones(ink.shape, np.uint8), (width // 2, height // 2), (width // 3, height // 4), 0, 0, 360, 0, -1
    )
    colors = np.random.default_rng(0).integers(60, 256, (parts.max() + 1, 3))
    art = (colors[parts] * (1 - ink[..., None])).astype(np.uint8)
    art[outside] = 255
    ring = cv2.dilate((~outside).astype(np.uint8), np.ones((13, 13), np.uint8)) == 1
    mixed = on_transparency(ink, (255, 255, 255))
    mixed[: height // 3, :, :3] = (220, 40, 40)
    return {
        "black ink": (on_transparency(ink, (0, 0, 0)), 255),
        "black ink, white hidden": (on_transparency(ink, (0, 0, 0), 255), 255),
        "red ink": (on_transparency(ink, (220, 30, 30)), 255),
        "grey ink": (on_transparency(ink, (128, 128, 128)), 255),
        "light ink": (on_transparency(ink, (250, 245, 225)), 0),
        "light ink, white hidden": (on_transparency(ink, (250, 245, 225), 255), 0),
        "light ink, premultiplied": (premultiplied(on_transparency(ink, (250, 250, 250))), 0),
        "black ink, premultiplied": (premultiplied(on_transparency(ink, (0, 0, 0))), 255),
        "light ink at half opacity": (on_transparency(ink * 0.5, (255, 255, 255)), 0),
        "light and some red strokes": (mixed, 0),
        "paper with transparent margins": (cut_out(on_white(ink), margins), 255),
        "paper with transparent margins, white hidden": (cut_out(on_white(ink), margins, 255), 255),
        "paper with a transparent hole": (cut_out(on_white(ink), hole == 1), 255),
        "paper transparent between lines": (cut_out(on_white(ink), (parts % 2 == 0) | (ink > 0.3)), 255),
        "paper transparent outside": (cut_out(on_white(ink), ~outside), 255),
        "board with transparent margins": (cut_out(on_black(ink), margins), 0),
        "board with a transparent hole": (cut_out(on_black(ink), hole == 1), 0),
        "sticker with a white border": (cut_out(art, ring), 255),
    }


TRANSPARENT = transparent_pictures(draw(home, 600, 480, 3, seed=1))


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_gets_the_background_for_which_it_was_drawn(name: str, plain: Drawing) -> None:
    rgba, background = TRANSPARENT[name]
    assert choose_background(rgba) == background
    drawing = read_drawing(encode_image(rgba))
    assert drawing.dark_on_light == (background == 255)
    assert (drawing.rgb[rgba[..., 3] == 0] == background).all()
    if "ink" in name:  # nothing is cut out, so all lines are there
        assert agreement(plain, drawing) > 0.97


def test_large_and_small_images_get_the_same_background() -> None:
    for width, line in ((160, 1.4), (2000, 7)):
        ink = draw(home, width, width * 3 // 4, line, seed=1)
        assert choose_background(on_transparency(ink, (250, 250, 240))) == 0
        assert choose_background(on_transparency(ink, (20, 40, 90))) == 255
        inside = np.zeros(ink.shape, bool)
        inside[width // 8 : -width // 8, width // 8 : -width // 8] = True
        assert choose_background(cut_out(on_white(ink), inside)) == 255


def test_little_ink_or_none_is_enough_to_choose_the_background() -> None:
    image = np.zeros((1000, 1000), np.float32)
    cv2.line(image, (450, 450), (560, 500), 1.0, 4)
    assert choose_background(on_transparency(image, (255, 255, 255))) == 0
    assert choose_background(on_transparency(image, (0, 0, 0))) == 255
    assert choose_background(np.zeros((300, 300, 4), np.uint8)) == 255
    silhouette = cv2.circle(np.zeros((300, 300), np.float32), (150, 150), 90, 1.0, -1)
    assert choose_background(on_transparency(silhouette, (255, 255, 255))) == 0
    assert choose_background(on_transparency(silhouette, (0, 0, 0))) == 255


def test_the_background_follows_a_given_polarity(ink: np.ndarray) -> None:
    data = encode_image(on_transparency(ink, (128, 128, 128)))
    assert (read_drawing(data, lines="light").rgb[0, 0] == 0).all()
    assert (read_drawing(data, lines="dark").rgb[0, 0] == 255).all()


# ------------------------------------------------------------------------------ strips and large drawings


def circles(width: int, height: int, line: int) -> np.ndarray:
    """Draws circles as a program does: no grain, hard edges."""
    image, radius = np.full((height, width, 3), 255, np.uint8), min(width, height) // 3
    for x in range(width // 2 % (3 * radius), width, 3 * radius):
        for y in range(height // 2 % (3 * radius), height, 3 * radius):
            cv2.circle(image, (x, y), radius, (0, 0, 0), line)
    return image


@pytest.mark.parametrize(
    ("width", "height", "line"),
    [(320, 8000, 2), (8000, 320, 2), (7000, 2000, 1), (60, 3000, 1), (24, 24, 1)],
    ids=["tall strip", "long strip", "fine lines, large", "narrow strip", "very small"],
)
def test_lines_of_strips_and_large_drawings_are_complete(width: int, height: int, line: int) -> None:
    image = circles(width, height, line)
    drawing = read_drawing(encode_image(image))
    rows, columns = np.nonzero(image[..., 0] == 0)
    near = cv2.dilate(drawing.line_map, np.ones((13, 13), np.uint8))
    map_rows, map_columns = (
        (2 * indices + 1) * small // (2 * large)
        for indices, small, large in zip((rows, columns), near.shape, (height, width), strict=True)
    )
    assert near[map_rows, map_columns].mean() > 0.98
    assert drawing.line_opacity[rows, columns].mean() > 0.5
    assert drawing.line_map.size <= 4 * 1024**2


def test_the_shape_of_the_line_map() -> None:
    assert line_map_shape(3000, 4000) == (768, 1024)
    assert line_map_shape(100, 400) == (128, 512)
    assert line_map_shape(600, 700, 384) == (329, 384)


def test_a_thick_frame_does_not_hide_thin_lines() -> None:
    image = circles(6600, 2000, 1)
    cv2.rectangle(image, (40, 40), (6560, 1960), (0, 0, 0), 20)
    lines = read_drawing(encode_image(image)).line_map
    assert cv2.connectedComponents(lines, connectivity=8)[0] > 3  # the frame, and circles inside it


@pytest.mark.parametrize(
    ("head", "description"),
    [
        (b"8BPS\0\1", "Photoshop"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"<?xml version='1.0'?>\n<!-- made -->\n<svg xmlns='http://www.w3.org/2000/svg'>", "SVG is damaged"),
        (b"%PDF-1.7", "PDF"),
        (b"gimp xcf v011", "GIMP"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/x-krita", "Krita"),
        (b"PK\x03\x04" + bytes(60), "archive"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_the_type_of_another_file_is_named(head: bytes, description: str) -> None:
    with pytest.raises(WorkError, match=description):
        read_drawing(head)


def test_avif_is_read_where_pillow_can(
    ink: np.ndarray, plain: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "AVIF" in FORMATS:
        assert agreement(plain, read_drawing(encode_image(on_white(ink), "AVIF"))) > 0.97
    monkeypatch.setattr("linewash.coloring.image_io.FORMATS", ("PNG", "JPEG"))
    with pytest.raises(WorkError, match="no decoder"):
        read_drawing(b"\0\0\0\x18ftypavif" + bytes(20))


def test_a_file_too_large_for_any_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(60 << 30)  # sparse: takes no room on the disk
    with pytest.raises(WorkError, match="576 MB"):
        read_file(path)
    monkeypatch.setattr("linewash.coloring.image_io.MAX_BYTES", 3 << 20)
    with pytest.raises(WorkError, match="3 MB"):
        read_file(Path("/dev/zero"))


def test_a_video_after_a_photo_is_ignored() -> None:
    """Motion photos end in a video whose bytes may look like the starts of hundreds of scans."""
    photo = encode_image(on_white(draw(sea, 320, 240, 4, seed=2)), "JPEG")
    video = b"\0\0\0\x18ftypmp42" + b"\xff\xda\x12\x34" * 500
    np.testing.assert_array_equal(read_image(photo + video), read_image(photo))


def test_a_jpeg_with_too_many_scans_is_rejected() -> None:
    photo = encode_image(on_white(draw(sea, 320, 240, 4, seed=2)), "JPEG")
    scan = photo.index(b"\xff\xda")
    many = photo[:scan] + photo[scan:-2] * 101 + photo[-2:]
    with pytest.raises(WorkError, match="over 100 scans"):
        read_image(many)


def test_the_lines_of_a_pair_are_those_that_colouring_finds(plain: Drawing) -> None:
    for size in (64, 128, 600):
        drawing_lines = resize_lines(find_lines(plain.rgb, is_dark_on_light(plain.rgb))[0], size, size)
        np.testing.assert_array_equal(drawing_lines, plain.lines(size, size))
