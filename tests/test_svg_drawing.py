"""An SVG becomes a drawing of its own shapes, and flats below it, whatever the file holds."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from pathlib import Path

import helper_pairs
import numpy as np
import pytest
from helper_pairs import document
from helper_photos import png

from preprocess import svg, svg_drawing
from preprocess.decode import decode
from preprocess.rejects import Rejected

SIDE = 200
RED = (255, 0, 0)


def draw(data: bytes, fit: str = "squash") -> tuple[np.ndarray, np.ndarray]:
    """Returns the darkness of the drawing in 0..1, and the colours on white."""
    drawing, colors = svg.draw_pair(data, fit, SIDE, SIDE)
    rgb, colors_rgb = (decode(image, 1, 1 << 20, reduced=False) for image in (drawing, colors))
    return 1 - rgb.mean(axis=2) / 255, colors_rgb


def inks(data: bytes) -> list[int]:
    """Returns where the middle row of the drawing is dark: the first column of each run, in percent."""
    row = draw(data)[0][SIDE // 2] > 0.5
    return [round(100 * x / SIDE) for x in np.flatnonzero(row & ~np.roll(row, 1))]


def test_a_filled_shape_is_outlined_and_hides_what_is_below() -> None:
    below = '<rect x="20" y="0" width="30" height="100" fill="green"/>'
    above = '<rect x="40" y="20" width="40" height="60" fill="#f00" stroke="#111" stroke-width="1"/>'
    data = document(below + above, 'viewBox="0 0 100 100"')
    assert inks(data) == pytest.approx([19, 39, 79], abs=1)  # not at 50, where the red one is above
    colors = draw(data)[1]
    assert tuple(colors[SIDE // 2, int(0.402 * SIDE)]) == RED  # the outline is not in the colours
    assert tuple(colors[SIDE // 2, SIDE // 4]) == (0, 128, 0)
    assert (colors[5, -5] == 255).all()


@pytest.mark.parametrize(
    "shape",
    [
        '<path d="M40 20h40v60h-40z" style="fill:none;stroke:none"/>',
        '<g fill="none"><path d="M40 20h40v60h-40z"/></g>',
        '<path class="a" d="M40 20h40v60h-40z"/><style>.a{fill:none}</style>',
        '<path d="M40 20h40v60h-40z" fill-opacity="0.2"/>',
        '<g opacity="0.6"><g opacity="0.6"><path d="M40 20h40v60h-40z"/></g></g>',
        '<g display="none"><path d="M40 20h40v60h-40z"/></g>',
        '<defs><path d="M40 20h40v60h-40z"/></defs>',
        '<linearGradient id="g"><stop/><stop offset="1" stop-opacity="0"/></linearGradient>'
        '<linearGradient id="h" xlink:href="#g"/><path d="M40 20h40v60h-40z" opacity=".9" fill="url(#h)"/>',
        '<filter id="f"><feGaussianBlur stdDeviation="9"/></filter>'
        '<path d="M40 20h40v60h-40z" filter="url(#f)"/>',
        "<text x='40' y='50' font-size='40'>text</text>",
    ],
    ids=["style", "group", "class", "faint", "groups", "hidden", "unused", "gradient", "blurred", "text"],
)
def test_what_is_transparent_or_soft_is_not_drawn(shape: str) -> None:
    assert inks(document(shape, 'viewBox="0 0 100 100"')) == []


def test_ink_stays_ink() -> None:
    area = '<rect x="20" y="20" width="20" height="60" fill="#222"/>'
    line = '<path d="M70 0v100" stroke="#231f20" stroke-width="6"/>'
    darkness, _ = draw(document(area + line, 'viewBox="0 0 100 100"'))
    row = darkness[SIDE // 2] > 0.5
    assert row[SIDE * 21 // 100 : SIDE * 39 // 100].all()
    assert row.sum() == pytest.approx(0.26 * SIDE, abs=2)


def test_a_broad_stroke_in_colour_is_an_area_and_a_narrow_one_a_line() -> None:
    broad = '<path d="M30 0v100" stroke="red" stroke-width="20"/>'
    narrow = '<path d="M70 0v100" stroke="red" stroke-width="0.1"/>'
    data = document(broad + narrow, 'viewBox="0 0 100 100"')
    assert inks(data) == pytest.approx([20, 39, 69], abs=1)
    assert tuple(draw(data)[1][SIDE // 2, int(0.3 * SIDE)]) == RED


@pytest.mark.parametrize(
    "shape",
    [
        '<g transform="scale(10)"><rect x="4" y="2" width="4" height="6" fill="red"/></g>',
        '<g transform="matrix(.01 0 0 .01 0 0)">'
        '<rect x="4000" y="2000" width="4000" height="6000" fill="red"/></g>',
        '<svg width="100" height="100" viewBox="0 0 1 1">'
        '<rect x=".4" y=".2" width=".4" height=".6" fill="red"/></svg>',
        '<defs><rect id="a" width="4" height="6" /></defs><g fill="red">'
        '<use xlink:href="#a" x="4" y="2" transform="scale(10)"/></g>',
        '<symbol id="s" viewBox="0 0 4 6" overflow="visible"><rect width="4" height="6" fill="red"/></symbol>'
        '<use href="#s" x="40" y="20" width="40" height="60"/>',
    ],
    ids=["scale", "matrix", "svg", "use", "symbol"],
)
def test_the_pen_is_equally_wide_in_all_units(shape: str) -> None:
    darkness, colors = draw(document(shape, 'viewBox="0 0 100 100"'))
    assert inks(document(shape, 'viewBox="0 0 100 100"')) == pytest.approx([39, 79], abs=1)
    pen = svg_drawing.PEN_WIDTH * SIDE
    assert darkness.sum() == pytest.approx(2 * (40 + 60) / 100 * SIDE * pen, rel=0.15)
    assert tuple(colors[SIDE // 2, SIDE // 2]) == RED


@pytest.mark.parametrize(
    ("attributes", "unit"),
    [
        ('viewBox="0 0 200 100"', 1.0),
        ('width="200" height="100"', 1.0),
        ('width="200mm" height="100mm"', 96 / 25.4),
        ('viewBox="0 0 200 100" width="60pt" height="30pt"', 1.0),
        ('viewBox="0 0 200 100" width="60%" height="30%"', 1.0),
    ],
)
def test_the_size_may_be_given_in_any_way(attributes: str, unit: float) -> None:
    x, y, width, height = (unit * value for value in (80, 20, 80, 60))
    data = document(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" fill="red"/>', attributes)
    assert inks(data) == pytest.approx([39, 79], abs=1)
    assert tuple(draw(data, "crop")[1][SIDE // 2, SIDE // 2]) == RED


def test_crop_cuts_the_longer_side() -> None:
    ends = '<path d="M0 0h50v100h-50z" fill="blue"/><path d="M50 0h100v100h-100z" fill="red"/>'
    colors = draw(document(ends, 'viewBox="0 0 200 100"'), "crop")[1]
    assert (colors == RED).all()


def test_a_style_sheet_and_a_root_style_count() -> None:
    body = '<style>rect { fill: red } #a { fill: none }</style><rect id="a" width="9" height="9"/>'
    body += '<rect x="40" y="20" width="40" height="60"/><path d="M10 0v100"/>'
    data = document(body, 'viewBox="0 0 100 100" style="stroke:black;stroke-width:2"')
    assert inks(data) == pytest.approx([9, 39, 79], abs=1)


@pytest.mark.parametrize("start", ["", "<?xml version='1.0' encoding='iso-8859-1'?>", "\ufeff"])
def test_compressed_files_and_encodings_are_read(start: str) -> None:
    encoding = "latin-1" if "iso" in start else "utf-8"
    body = helper_pairs.make_svg(1).decode().replace("<circle", "<title>é</title><circle", 1)
    data = (start + body).encode(encoding)
    assert draw(gzip.compress(data))[0].sum() == draw(data)[0].sum() > 0


def test_a_document_without_namespace_is_drawn() -> None:
    data = b'<svg viewBox="0 0 100 100"><rect x="40" y="20" width="40" height="60" fill="red"/></svg>'
    assert inks(data) == pytest.approx([39, 79], abs=1)


# ------------------------------------------------------------------------------------------------ hostile

MULTIPLIED = "".join(f'<g id="a{i}">' + f'<use xlink:href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 12))
ENTITIES = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
TURBULENCE = '<filter id="f"><feTurbulence baseFrequency="0.1" numOctaves="1000000"/></filter>'
BOMB = gzip.compress(b"<svg>" + b" " * (svg.MAX_BYTES + 1))

HOSTILE = {
    "deep": (document("<g>" * 100_000 + "</g>" * 100_000), "too_deep"),
    "uses": (document(f'<path id="a0" d="M0 0h9"/>{MULTIPLIED}'), "too_large"),
    "clip": (
        document(f'<clipPath id="c"><path id="a0" d="M0 0h9v9z"/>{MULTIPLIED}</clipPath>'
                 '<rect clip-path="url(#c)" width="60" height="40"/>'), "too_complex"),
    "entities": (
        f'<!DOCTYPE svg [<!ENTITY e0 "aaaaaaaaaa">{ENTITIES}]>'.encode() + document("<text>&e11;</text>"),
        "corrupt"),
    "external": (b'<!DOCTYPE svg [<!ENTITY e SYSTEM "/etc/passwd">]>' + document("&e;"), "corrupt"),
    "endless": (document(f'{TURBULENCE}<path d="M0 0h60v40z" filter="url(#f)"/>'), "too_complex"),
    "cut": (document("<path/>")[:-9], "corrupt"),
    "empty": (b"<svg", "corrupt"),
    "html": (b"<html><svg/></html>", "corrupt"),
    "encoding": (b"<?xml version='1.0' encoding='no-such'?><svg/>", "corrupt"),
    "large": (document(" " * svg.MAX_BYTES), "too_large"),
    "bomb": (BOMB, "too_large"),
    "cut svgz": (gzip.compress(document("<path/>"))[:-12], "truncated"),
    "no svgz": (b"\x1f\x8bnot gzip", "corrupt"),
    "no size": (document('<path d="M0 0h9v9z"/>', ""), "no_size"),
    "nothing": (document("<path/>", 'viewBox="0 0 0 0"'), "no_size"),
    "not finite": (document("<path/>", 'viewBox="0 0 1e999 1e999"'), "no_size"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_rejected_with_a_reason(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(Rejected) as error:
        svg.draw_pair(data, "squash", SIDE, SIDE, svg.Limits(seconds=2))
    assert error.value.reason == reason
    assert error.value.detail
    assert "\n" not in error.value.detail
    # The next one is drawn, if need be in a new process.
    assert draw(helper_pairs.make_svg(1))[0].sum() > 0


def test_huge_pictures_are_drawn_at_the_size_that_is_asked_for() -> None:
    rect = '<rect x="40000" y="20000" width="40000" height="60000" fill="red"/>'
    assert inks(document(rect, 'width="100000" height="100000"')) == pytest.approx([39, 79], abs=1)


def test_circular_references_end() -> None:
    body = '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g><use id="c" href="#c"/>'
    body += '<linearGradient id="g" href="#h"/><linearGradient id="h" href="#g"/>'
    body += '<rect x="40" y="20" width="40" height="60" fill="url(#g) red"/>'
    draw(document(body, 'viewBox="0 0 100 100"'))


def test_other_files_are_not_opened_and_scripts_not_run(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(np.full((40, 60, 3), (200, 0, 0), np.uint8)))
    for body in (
        f'<image width="60" height="40" xlink:href="{secret}"/>',
        f'<image width="60" height="40" href="file://{secret}"/>',
        f'<pattern id="p" width="60" height="40"><image width="60" height="40" href="{secret}"/></pattern>'
        '<path d="M0 0h60v40z" fill="url(#p)"/>',
        f'<use href="{secret}#a"/><style>@import url("{secret}");</style>',
        "<script>document.documentElement.setAttribute('fill', 'red')</script>",
    ):
        assert (draw(document(body))[1] == 255).all(), body


def test_one_process_draws_all_and_is_replaced_when_it_dies() -> None:
    limits = svg.Limits(seconds=3)
    renderer = svg._renderer(os.getpid(), limits)
    data = helper_pairs.make_svg(2)
    first = svg.draw_pair(data, "squash", SIDE, SIDE, limits)
    process = renderer._process
    assert process is not None
    assert svg.draw_pair(data, "squash", SIDE, SIDE, limits) == first
    assert renderer._process is process
    process.kill()
    process.wait()
    with pytest.raises(Rejected, match="too_complex"):  # nobody can tell this from a crash of resvg
        svg.draw_pair(data, "squash", SIDE, SIDE, limits)
    assert svg.draw_pair(data, "squash", SIDE, SIDE, limits) == first


def test_memory_is_limited_and_given_back() -> None:
    limits = svg.Limits(memory=64 << 20)
    with pytest.raises(Rejected, match="too_complex"):
        svg.draw_picture(document("<path d='M0 0h60v40z'/>"), 8000, limits)
    assert svg.draw_picture(document("<path d='M0 0h60v40z'/>"), 60, svg.Limits())


def test_no_process_is_left_when_its_parent_ends() -> None:
    program = (
        "import os; from preprocess import svg; svg.draw_picture(b'<svg viewBox=\"0 0 1 1\"/>', 9)\n"
        "print(svg._renderer(os.getpid(), svg.Limits())._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    status = Path(f"/proc/{int(result.stdout)}/stat")
    deadline = time.monotonic() + 20
    while status.exists() and " Z " not in status.read_text():
        assert time.monotonic() < deadline, "the process is still there"
        time.sleep(0.05)
