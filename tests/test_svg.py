"""SVG in and out: what is drawn, how it comes back from a renderer, and files that are meant to do harm."""

from __future__ import annotations

import base64
import io
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import resvg_py
from helper_networks import PALETTE, write_export
from linewash.coloring import contours, file_signatures, svg_reader
from linewash.coloring.cli import main
from linewash.coloring.color_names import layer_name
from linewash.coloring.colorizer import ColoredImage, colorize
from linewash.coloring.image_io import read_image
from linewash.coloring.line_extraction import Drawing, read_drawing
from linewash.coloring.model_loader import load
from linewash.coloring.openraster import encode_png
from linewash.coloring.svg_writer import to_svg
from linewash.samples.sketches import draw, encode_image, home, on_white, sea
from PIL import Image

from preprocess import svg
from training.errors import WorkError

SVG = "{http://www.w3.org/2000/svg}"
INKSCAPE = "{http://www.inkscape.org/namespaces/inkscape}"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "plain")


@pytest.fixture(scope="module")
def colored(export: Path) -> ColoredImage:
    return colorize(read_drawing(encode_image(on_white(draw(home, 480, 360, 2.5, seed=1)))), load(export))[0]


def paint(labels: np.ndarray, ink: np.ndarray | None = None) -> ColoredImage:
    """Returns an image with these labels; `ink`, bool [H, W], are its lines."""
    height, width = labels.shape
    rgb = np.full((height, width, 3), 255, np.uint8)
    mask = np.zeros((height, width), np.uint8) if ink is None else ink.astype(np.uint8)
    rgb[mask == 1] = 0
    return ColoredImage(labels.astype(np.uint16), PALETTE, Drawing(rgb, mask, mask, True))


def render(svg: bytes, zoom: int = 1) -> np.ndarray:
    """Returns what a browser would show: uint8 [H, W, 4]."""
    png = resvg_py.svg_to_bytes(svg_string=svg.decode(), zoom=zoom, dpi=96)
    return np.array(Image.open(io.BytesIO(png)).convert("RGBA"))


def groups(svg: bytes) -> dict[str, ElementTree.Element]:
    """Returns the groups of an SVG by their names, from bottom to top."""
    return {str(group.get(f"{INKSCAPE}label")): group for group in ElementTree.fromstring(svg)}


def document(body: str, attributes: str = 'viewBox="0 0 60 40"') -> bytes:
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<svg {namespaces} {attributes}>{body}</svg>".encode()


# ------------------------------------------------------------------------------------------------ writing


@pytest.mark.parametrize("lines", [True, False])
def test_an_svg_looks_like_the_png(colored: ColoredImage, lines: bool) -> None:
    shown = render(to_svg(colored, lines))
    assert shown[..., 3].min() > 230
    difference = np.abs(shown[..., :3].astype(int) - colored.rgb(lines)).max(-1)
    assert np.mean(difference > 40) < 0.015
    assert difference.mean() < 2


def test_there_is_a_path_per_region_in_a_group_per_colour(colored: ColoredImage) -> None:
    svg = to_svg(colored)
    assert to_svg(colored) == svg
    root = ElementTree.fromstring(svg)
    assert (root.tag, root.get("viewBox")) == (f"{SVG}svg", "0 0 480 360")
    *colors, lines = groups(svg).items()
    assert lines[0] == "lines"
    frequency = []
    for name, group in colors:
        label = int(name.split("-")[0])
        assert name == layer_name(PALETTE, label)
        assert group.get("fill") == f"#{bytes(PALETTE.colors[label]).hex()}"
        count = cv2.connectedComponents((colored.labels == label).astype(np.uint8), connectivity=4)[0] - 1
        assert len(group) == count
        frequency.append(np.sum(colored.labels == label))
    assert frequency == sorted(frequency, reverse=True)  # small regions lie on large ones
    assert len({element.get("id") for element in root.iter()}) == len(list(root.iter()))


def test_holes_show_what_is_in_them() -> None:
    labels = np.zeros((90, 120), np.int32)
    cv2.circle(labels, (60, 45), 38, 1, -1)
    cv2.circle(labels, (60, 45), 20, 2, -1)
    image = paint(labels)
    ring = groups(to_svg(image))[layer_name(PALETTE, 1)]
    assert len(ring) == 1
    assert str(ring[0].get("d")).count("Z") == 2
    only_ring = document(ElementTree.tostring(ring).decode(), 'viewBox="0 0 120 90" width="120" height="90"')
    opacity = render(only_ring)[..., 3]
    assert opacity[45, 60] == 0
    assert opacity[45, 30] == 255
    assert opacity[5, 5] == 0


def test_neighbours_share_their_borders() -> None:
    """Without the strokes that cover seams, nothing is left uncovered and nothing covered twice."""
    labels = np.zeros((120, 160), np.int32)
    labels[:, 90:] = 1
    cv2.circle(labels, (85, 60), 35, 2, -1)
    cv2.ellipse(labels, (40, 100), (50, 30), 20, 0, 360, 3, -1)
    regions = np.zeros(labels.shape, np.int32)
    for label in range(4):
        _, parts = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=4)
        regions += np.where(parts > 0, parts + regions.max(), 0).astype(np.int32)
    pieces: dict[int, list[np.ndarray]] = {}
    for loop in contours.trace(regions):
        pieces.setdefault(loop.region, []).append(loop.curves)
        assert np.array_equal(loop.curves[1:, 0], loop.curves[:-1, 3])
        assert np.array_equal(loop.curves[0, 0], loop.curves[-1, 3])
    curves = [curve for loops in pieces.values() for loop in loops for curve in loop]
    numbers = {curve.tobytes() for curve in curves}
    on_border = [any(np.isclose(curve, end).all(0).any() for end in ((0, 0), (160, 120))) for curve in curves]
    shared = [curve[::-1].tobytes() in numbers for curve in curves]
    assert [a != b for a, b in zip(shared, on_border, strict=True)] == [True] * len(curves)
    areas = {region: abs(sum(map(area, loops))) for region, loops in pieces.items()}
    assert sum(areas.values()) == pytest.approx(labels.size)
    for region, size in areas.items():
        assert size == pytest.approx(np.sum(regions == region), rel=0.01, abs=0.6)


def area(curves: np.ndarray) -> float:
    """Returns the signed area inside a loop of cubic curves."""
    times = np.linspace(0, 1, 50)
    points = np.concatenate([contours._points(curve, times[:-1]) for curve in curves])
    x, y = points.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


def test_borders_are_smooth_curves_of_few_nodes() -> None:
    labels = np.zeros((400, 400), np.int32)
    cv2.circle(labels, (200, 200), 150, 1, -1)
    (loop,) = (loop for loop in contours.trace(labels) if loop.region == 1)
    assert 4 <= len(loop.curves) <= 24
    times = np.linspace(0, 1, 20)
    points = np.concatenate([contours._points(curve, times) for curve in loop.curves])
    radius = np.hypot(*(points - 200.5).T)
    assert np.abs(radius - 150.3).max() < 0.8
    leaving = loop.curves[:, 1] - loop.curves[:, 0]
    reaching = np.roll(loop.curves[:, 3] - loop.curves[:, 2], 1, axis=0)
    cosine = (leaving * reaching).sum(1) / np.hypot(*leaving.T) / np.hypot(*reaching.T)
    assert cosine.min() > 0.999


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_dots_keep_their_size(radius: int) -> None:
    labels = np.zeros((30, 30), np.int32)
    cv2.circle(labels, (15, 15), radius, 1, -1)
    (loop,) = (loop for loop in contours.trace(labels) if loop.region == 1)
    assert abs(area(loop.curves)) == pytest.approx(labels.sum(), rel=0.2, abs=1.6)


@pytest.mark.parametrize("seed", range(4))
def test_any_regions_can_be_traced(seed: int) -> None:
    """Noise has every kind of corner: specks, diagonals, holes in holes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (17 + seed, 23)) * (rng.random((17 + seed, 23)) < 0.8)
    for loop in contours.trace(labels):
        assert np.isfinite(loop.curves).all()
        assert loop.curves.min() > -1
        assert loop.curves[..., 0].max() < 24
    image = paint(labels)
    assert render(to_svg(image)).shape == (*labels.shape, 4)
    assert len(list(contours.trace(np.ones((1, 1), np.int32)))) == 1
    assert not list(contours.trace(np.zeros((3, 4), np.int32)))


def test_a_transparent_background_stays_transparent() -> None:
    labels = np.zeros((80, 100), np.int32)
    cv2.circle(labels, (50, 40), 25, 1, -1)
    ink = np.zeros((80, 100), bool)
    ink[10:13, 5:95] = True
    image = paint(labels, ink)
    image = ColoredImage(image.labels, PALETTE, image.drawing, background=labels == 0)
    opacity = render(to_svg(image))[..., 3]
    assert opacity[70, 5] == 0
    assert opacity[40, 50] == 255
    assert opacity[11, 50] == 255
    assert len(groups(to_svg(image, lines=False))) == 1


def test_a_large_image_is_traced_at_a_bounded_size() -> None:
    labels = np.zeros((3000, 5000), np.uint16)
    cv2.circle(labels, (2500, 1500), 1200, 1, -1)
    ink = cv2.Canny((labels * 255).astype(np.uint8), 1, 2) > 0
    image = paint(labels, cv2.dilate(ink.astype(np.uint8), np.ones((9, 9))) > 0)
    svg = to_svg(image)
    assert b'viewBox="0 0 5000 3000"' in svg
    assert len(svg) < 20_000
    shown = np.array(
        Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg.decode(), dpi=96, width=1000))).convert(
            "RGB"
        )
    )
    expected = cv2.resize(image.rgb(), (1000, 600), interpolation=cv2.INTER_AREA)
    assert np.mean(np.abs(shown.astype(int) - expected).max(-1) > 60) < 0.01


def test_the_command_writes_svgs(tmp_path: Path, export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sketch = encode_image(on_white(draw(sea, 200, 150, 2, seed=1)))
    (tmp_path / "a.png").write_bytes(sketch)
    argv = ["--run", str(export), str(tmp_path / "a.png"), "-o", str(tmp_path / "o.png"), "--svg"]
    assert main([*argv, str(tmp_path / "o.svg"), "--variants", "2", "--no-lines"]) == 0
    assert b'id="lines"' not in (tmp_path / "o-1.svg").read_bytes()
    assert (tmp_path / "o-2.svg").is_file()
    assert main([*argv, str(tmp_path / "svgs") + "/"]) == 0
    assert b'id="lines"' in (tmp_path / "svgs" / "a.svg").read_bytes()
    assert main([*argv, str(tmp_path / "o.ai")]) == 2
    assert "type a name that ends in .svg" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ reading

CIRCLE = '<circle cx="30" cy="20" r="12" fill="none" stroke="#000"/>'


def test_an_svg_is_coloured_like_a_png(
    tmp_path: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = tmp_path / "in" / "a.svg"
    drawing.parent.mkdir()
    drawing.write_bytes(document(CIRCLE))
    (tmp_path / "in" / "without").write_bytes(document(CIRCLE))
    argv = ["--run", str(export), str(drawing.parent), "-o", str(tmp_path / "out")]
    assert main(argv) == 0, capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "without.png"]
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.size == (svg_reader.SIDE, round(svg_reader.SIDE * 40 / 60) + 1)
    assert main([*argv[:2], str(drawing), "-o", str(tmp_path / "o.png"), "--svg", str(drawing)]) == 2
    assert "would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    "attributes",
    [
        'width="60" height="40"',
        'width="60mm" height="40mm"',
        'viewBox="0 0 60 40"',
        'width="6e7" height="4e7"',
    ],
)
def test_the_longer_side_does_not_depend_on_the_units(attributes: str) -> None:
    height, width = read_image(document(CIRCLE, attributes)).shape[:2]
    assert width == svg_reader.SIDE
    assert height == pytest.approx(width * 2 / 3, abs=3)
    assert max(read_image(document(CIRCLE, attributes), max_pixels=90_000).shape) == 300


def test_without_resvg_the_message_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
    with pytest.raises(WorkError, match=r"resvg-py reads: run .*pip install .*\[art\]"):
        read_drawing(document(CIRCLE))


def test_other_files_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode_png(np.full((40, 60, 3), (200, 0, 0), np.uint8)))
    monkeypatch.chdir(tmp_path)
    assert render(document(f'<image width="60" height="40" xlink:href="{secret}"/>'))[..., 0].max() == 200
    nested = base64.b64encode(document(f'<image width="60" height="40" xlink:href="{secret}"/>')).decode()
    for body in (
        f'<image width="60" height="40" xlink:href="{secret}"/>',
        '<image width="60" height="40" href="secret.png"/>',
        f'<image width="60" height="40" href="file://{secret}"/>',
        f'<image width="60" height="40" href="data:image/svg+xml;base64,{nested}"/>',
        f'<filter id="f"><feImage href="{secret}"/></filter><path d="M0 0h60v40z" filter="url(#f)"/>',
        f'<use href="{secret}#a"/><style>@import url("{secret}");</style>',
    ):
        assert (read_image(document(body), background=255) == 255).all(), body
    entity = f"<!DOCTYPE svg [<!ENTITY i \"<image width='60' height='40' xlink:href='{secret}'/>\">]>"
    assert (read_image(entity.encode() + document("&i;"), background=255) == 255).all()
    external = f'<!DOCTYPE svg [<!ENTITY i SYSTEM "{secret}">]>'.encode()
    with pytest.raises(WorkError, match="SVG is damaged"):
        read_image(external + document("&i;"))


def test_an_embedded_image_is_drawn() -> None:
    png = base64.b64encode(encode_png(np.full((4, 6, 3), (0, 0, 200), np.uint8))).decode()
    body = f'<image width="60" height="40" href="data:image/png;base64,{png}"/>'
    assert (read_image(document(body), background=255)[500:600, 500:600] == (0, 0, 200)).all()


MULTIPLIED = "".join(f'<g id="a{i}">' + f'<use xlink:href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 12))
ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))


@pytest.mark.parametrize(
    "data",
    [
        document("<g>" * 100_000 + "</g>" * 100_000),
        document(f'<path id="a0" d="M0 0h9"/>{MULTIPLIED}'),
        f'<!DOCTYPE svg [<!ENTITY e0 "aaaaaaaaaa">{ENTITIES}]>'.encode() + document("<text>&e11;</text>"),
        document('<image width="60" height="40" href="data:image/png;base64,AAAA"/>', 'viewBox="0 0 0 0"'),
        document(CIRCLE)[:-30],
        b"<svg",
        b"<svg xmlns='http://www.w3.org/2000/svg'>\xff\xfe</svg>",
        document(CIRCLE + " " * svg.MAX_BYTES),
    ],
    ids=["deep", "uses", "entities", "nothing", "cut", "short", "bytes", "large"],
)
def test_hostile_files_get_one_sentence(data: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(WorkError) as error:
        read_drawing(data)
    assert time.monotonic() - started < 30
    assert "\n" not in str(error.value)
    assert re.search("SVG|no lines", str(error.value))


def test_an_endless_svg_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    turbulence = '<feTurbulence baseFrequency="0.1" numOctaves="1000000"/>'
    data = document(f'<filter id="f">{turbulence}</filter><path d="M0 0h60v40z" filter="url(#f)"/>')
    monkeypatch.setattr(svg_reader, "LIMITS", svg.Limits(seconds=0.5))
    with pytest.raises(WorkError, match="too complex"):
        read_image(data)
    monkeypatch.setattr(svg_reader, "LIMITS", svg.Limits(seconds=60, wait=1))
    with pytest.raises(WorkError, match="too complex"):
        read_image(data)


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg_reader, "LIMITS", svg.Limits(memory=24 << 20))
    with pytest.raises(WorkError, match="too complex"):
        read_image(document(CIRCLE))


@pytest.mark.parametrize(
    "head",
    [
        b"<svg>", b"<svg/>", b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg ", b"<!-- made by -->\n<svg\nwidth=",
        b'<?xml version="1.0"?><!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd"><svg:svg ',
    ],
)  # fmt: skip
def test_svgs_are_recognized(head: bytes) -> None:
    assert file_signatures.is_image(head, ())


def test_other_xml_is_no_svg() -> None:
    for head in (
        b"<html><svg>",
        b"<!doctype html><svg>",
        b"<svgx>",
        b"text <svg>",
        b"<?xml version='1.0'?><gpx>",
    ):
        assert not file_signatures.is_svg(head), head
