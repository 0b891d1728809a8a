"""scripts/serve.py: the requests of the page, error messages, access control and connection limits."""

from __future__ import annotations

import asyncio
import base64
import http.client
import inspect
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from helper_networks import PALETTE, write_export
from helper_photos import textured_photo, with_orientation
from helper_servers import ROOT, SCRIPT, run_server
from linewash.coloring.model_loader import Network, load
from linewash.samples.sketches import (
    draw,
    encode_image,
    hint_strokes,
    home,
    on_black,
    on_white,
    pet,
    sea,
    simulate_photo,
)
from linewash.serving import app, cli, connection_limits, service
from linewash.serving.cli import main
from linewash.serving.service import PREVIEW_SIDE, ColorizeRequest, color_preview
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from training.cli import install_command

WIDTH, HEIGHT = 400, 300


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "hinted", hints=True)


@pytest.fixture(scope="module")
def network(hinted: Path) -> Network:
    return load(hinted)


@pytest.fixture(scope="module")
def client(network: Network) -> TestClient:
    return TestClient(app.make_app(network), base_url="http://localhost")


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A client of a page whose network takes a reference."""
    network = load(write_export(tmp_path_factory.mktemp("networks") / "guided", reference=True))
    return TestClient(app.make_app(network), base_url="http://localhost")


@pytest.fixture(scope="module")
def house_png() -> bytes:
    return encode_image(on_white(draw(home, WIDTH, HEIGHT, 2, seed=1)))


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def request_colors(client: TestClient | httpx.Client, drawing: bytes, **more: object) -> dict[str, Any]:
    """Returns what the page would get."""
    response = client.post("/color", content=json.dumps({"drawing": text(drawing), **more}))
    assert response.status_code == 200, response.text
    return response.json()


def numbers(png: str) -> np.ndarray:
    """Returns the numbers in a map of regions or areas: int [H, W]."""
    return pixels(base64.b64decode(png)).astype(int) @ [1, 1 << 8, 1 << 16]


def paint(answer: dict[str, Any], variant: int = 0) -> np.ndarray:
    """Paints a colouring as the page does: uint8 [H, W, 4]."""
    table = [[0, 0, 0, 0] if c is None else [*bytes.fromhex(c[1:]), 255] for c in answer["colors"][variant]]
    return np.array(table, np.uint8)[numbers(answer["regions"])]


def pixels(data: bytes, mode: str = "RGB") -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert(mode))


def assert_error(response: httpx.Response, status: int, *parts: str) -> None:
    """Checks the status of a response and that its error is one line that contains `parts`."""
    assert response.status_code == status, response.text
    message = response.json()["error"]
    assert "\n" not in message
    for part in parts:
        assert part in message


# ---- colouring -------------------------------------------------------------------------------------


def test_the_map_of_regions_has_the_aspect_ratio_of_the_drawing_and_the_palettes_colours(
    client: TestClient, house_png: bytes
) -> None:
    answer = request_colors(client, house_png, variants=3, background="paint")
    assert 1 <= len(answer["colors"]) <= 3
    assert len({tuple(colors) for colors in answer["colors"]}) == len(answer["colors"])
    regions, areas = numbers(answer["regions"]), numbers(answer["areas"])
    assert regions.shape == areas.shape == (PREVIEW_SIDE * HEIGHT // WIDTH, PREVIEW_SIDE)
    assert regions.max() < len(answer["origins"]) == len(answer["likeliest"])
    assert set(answer["origins"]) == {"network"}
    for variant in range(len(answer["colors"])):
        assert len(answer["colors"][variant]) == len(answer["origins"])
        assert {tuple(color) for color in paint(answer, variant)[..., :3].reshape(-1, 3)} <= set(
            PALETTE.colors
        )


def test_the_alternatives_of_a_region_begin_with_its_colour(client: TestClient, house_png: bytes) -> None:
    answer = request_colors(client, house_png, background="paper")
    for color, origin, likeliest in zip(
        answer["colors"][0], answer["origins"], answer["likeliest"], strict=True
    ):
        shares = [share for _, share in likeliest]
        assert shares[1:] == sorted(shares[1:], reverse=True)
        assert 0 < sum(shares) <= 1.001
        if origin == "paper":
            assert (color, likeliest[0][0]) == ("#ffffff", "#ffffff")
        else:
            assert color == likeliest[0][0]


def test_one_dab_fills_an_area(client: TestClient, house_png: bytes) -> None:
    areas = numbers(request_colors(client, house_png, background="paint")["areas"])
    sizes = np.bincount(areas.ravel())
    for area in np.argsort(-sizes)[:4]:
        depth = cv2.distanceTransform((areas == area).astype(np.uint8), cv2.DIST_L2, 5)
        y, x = np.unravel_index(depth.argmax(), depth.shape)
        dab = f"{x / areas.shape[1]:.3f},{y / areas.shape[0]:.3f}"
        strokes = hint_strokes(WIDTH, HEIGHT, [(f"{dab} {dab}", (1, 2, 3))])
        answer = request_colors(client, house_png, hints=text(strokes), background="paint")
        filled = (paint(answer)[..., :3] == (1, 2, 3)).all(-1)
        assert (filled == (areas == area)).mean() > 0.99


def test_equal_requests_get_equal_responses(client: TestClient, house_png: bytes) -> None:
    assert request_colors(client, house_png, variants=4, seed=5) == request_colors(
        client, house_png, variants=4, seed=5
    )


@pytest.mark.parametrize("kind", ["client", "guided"])
def test_hints_colour_the_region_they_lie_on(
    kind: str, house_png: bytes, request: pytest.FixtureRequest
) -> None:
    """Also with a network that takes no hints, as that of `guided`."""
    client: TestClient = request.getfixturevalue(kind)
    assert client.get("/about").json()["hints"] == (kind == "client")
    color = PALETTE.colors[3]
    strokes = hint_strokes(WIDTH, HEIGHT, [("0.1,0.25 0.3,0.25", color)])
    answer = request_colors(client, house_png, hints=text(strokes), variants=3)
    for variant in range(len(answer["colors"])):
        with_hints = paint(answer, variant)
        y, x = with_hints.shape[0] // 4, with_hints.shape[1] // 5
        assert tuple(with_hints[y, x]) == (*color, 255)
    assert answer["origins"][numbers(answer["regions"])[y, x]] == "hint"


def test_a_transparent_background_has_no_colour(client: TestClient, house_png: bytes) -> None:
    answer = request_colors(client, house_png, background="transparent")
    assert answer["background"] == "transparent"
    for color, origin in zip(answer["colors"][0], answer["origins"], strict=True):
        assert (color is None) == (origin == "paper")
    assert "paper" in answer["origins"]


def test_an_empty_drawing_has_no_colours(client: TestClient) -> None:
    assert request_colors(client, encode_image(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))) == {
        "regions": None, "areas": None, "colors": [], "origins": [], "likeliest": [], "background": None
    }  # fmt: skip


# ---- downloads -------------------------------------------------------------------------------------


def request_download(client: TestClient, drawing: bytes, **more: object) -> httpx.Response:
    return client.post("/download", content=json.dumps({"drawing": text(drawing), **more}))


@pytest.mark.parametrize("show", ["picture", "colors"])
@pytest.mark.parametrize("size", [{}, {"width": 1200, "height": 900}, {"width": 201, "height": 151}], ids=str)
def test_a_download_is_what_the_page_shows(
    client: TestClient, house_png: bytes, show: str, size: dict[str, int]
) -> None:
    choices = {"variants": 2, "seed": 1, "background": "transparent"}
    shown = paint(request_colors(client, house_png, **choices), 1)
    response = request_download(client, house_png, variant=1, show=show, **choices, **size)
    assert response.headers["content-disposition"] == 'attachment; filename="drawing.png"'
    download = pixels(response.content, "RGBA")
    width, height = size.get("width", WIDTH), size.get("height", HEIGHT)
    assert download.shape == (height, width, 4)
    enlarged = cv2.resize(shown, (width, height), interpolation=cv2.INTER_NEAREST)
    # A transparent pixel may have any colour.
    equal = ((enlarged == download).all(-1) | ((enlarged[..., 3] == 0) & (download[..., 3] == 0))).mean()
    assert equal > 0.96 if show == "colors" else 0.7 < equal < 0.96


def test_lines_are_downloaded_alone_and_smooth(client: TestClient, house_png: bytes) -> None:
    ink = pixels(request_download(client, house_png, show="lines").content, "RGBA")
    large = pixels(
        request_download(client, house_png, show="lines", width=4 * WIDTH, height=4 * HEIGHT).content, "RGBA"
    )
    assert 0.01 < (ink[..., 3] > 128).mean() < 0.2
    assert large[large[..., 3] > 0][:, :3].max() < 60
    again = cv2.resize(large[..., 3], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(int)
    assert abs(again - ink[..., 3]).mean() < 3
    # No pixel of the small picture became a square: neighbours differ gradually.
    assert abs(np.diff(large[..., 3].astype(int), axis=1)).max() < 128


def test_the_size_of_the_drawing_that_is_sent_does_not_matter(client: TestClient) -> None:
    large = on_white(draw(home, 2000, 1500, 9, seed=2))
    small = cv2.resize(large, (1024, 768), interpolation=cv2.INTER_AREA)
    shown = paint(request_colors(client, encode_image(small)))
    size = {"width": shown.shape[1], "height": shown.shape[0]}
    download = pixels(request_download(client, encode_image(large), show="colors", **size).content)
    assert (shown[..., :3] == download).all(-1).mean() > 0.995


def test_a_download_has_the_right_size(client: TestClient, house_png: bytes) -> None:
    assert_error(
        request_download(client, house_png, width=400, height=400), 422, "400 x 400", "400 x 300", "shape"
    )
    assert_error(
        request_download(client, house_png, width=8000, height=6000), 422, "8000 x 6000", "25,000,000"
    )
    assert_error(request_download(client, house_png, width=400), 400, "belong together")
    assert_error(request_download(client, house_png, width=0, height=0), 400, "load the page again")


def test_layers_are_downloaded_as_openraster(client: TestClient, house_png: bytes) -> None:
    response = request_download(client, house_png, format="ora")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.read("mimetype") == b"image/openraster"
        assert pixels(archive.read("mergedimage.png")).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("show", "has_lines", "has_colors"),
    [("picture", True, True), ("colors", False, True), ("lines", True, False)],
)
def test_svgs_and_layers_show_lines_colours_or_both(
    client: TestClient, house_png: bytes, show: str, has_lines: bool, has_colors: bool
) -> None:
    response = request_download(client, house_png, format="svg", show=show, width=800, height=600)
    assert response.headers["content-type"] == "image/svg+xml"
    assert response.headers["content-disposition"] == 'attachment; filename="drawing.svg"'
    assert 'viewBox="0 0 800 600"' in response.text
    assert ('<g id="lines"' in response.text) == has_lines
    assert ('<g id="color-' in response.text) == has_colors
    response = request_download(client, house_png, format="ora", show=show)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        names = re.findall(r'<layer name="([^"]+)"', archive.read("stack.xml").decode())
        merged = pixels(archive.read("mergedimage.png"), "RGBA")
    assert ("lines" in names) == has_lines
    assert (len(names) > 1) == has_colors
    assert (merged[..., 3] == 255).all() == has_colors


def test_dividers_locks_and_replaced_colours_reach_the_page_and_the_file(
    client: TestClient, house_png: bytes
) -> None:
    free = request_colors(client, house_png, variants=3, background="paint")
    locked = paint(free)[..., :3]
    first, second = free["colors"][0][0], next(c for c in free["colors"][0] if c != free["colors"][0][0])
    dividers = hint_strokes(WIDTH, HEIGHT, [("0,0.1 1,0.1", (1, 2, 3))])
    changes = {
        "variants": 3, "background": "paint", "locked": text(encode_image(locked)),
        "replace": [[first, second.upper()], [second, "#010203"]], "dividers": text(dividers),
    }  # fmt: skip
    answer = request_colors(client, house_png, **changes)
    table = {first: second, second: "#010203"}
    shown = [
        c for c, origin in zip(answer["colors"][0], answer["origins"], strict=True) if origin == "locked"
    ]
    assert set(shown) <= {table.get(c, c) for c in free["colors"][0]}
    assert "#010203" in shown
    areas = numbers(answer["areas"])
    assert areas[5, 200] != areas[50, 200]  # above and below the divider
    for variant in range(len(answer["colors"])):
        is_locked = np.array([origin == "locked" for origin in answer["origins"]])[numbers(answer["regions"])]
        assert (paint(answer, variant) == paint(answer))[is_locked].all()
    download = pixels(request_download(client, house_png, show="colors", **changes).content)
    enlarged = cv2.resize(paint(answer)[..., :3], (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    assert (enlarged == download).all(-1).mean() > 0.96
    plain = request_download(client, house_png, show="lines", **changes)
    assert plain.content == request_download(client, house_png, show="lines").content


def test_wrong_dividers_locks_and_replacements_are_rejected(client: TestClient, house_png: bytes) -> None:
    square = text(encode_image(np.zeros((100, 100, 4), np.uint8)))
    for status, parts, more in (
        (422, ["the dividers are 100 x 100"], {"dividers": square}),
        (422, ["the locked colours are 100 x 100"], {"locked": square}),
        (422, ["the dividers have no transparency"], {"dividers": text(house_png)}),
        (422, ["the locked colours cannot be used", "empty"], {"locked": ""}),
        (400, ["load the page again"], {"replace": [["red", "#000000"]]}),
        (400, ["load the page again"], {"replace": [["#000000"]]}),
        (400, ["load the page again"], {"replace": [["#000000", "#fffffff"]]}),
    ):
        request = {"drawing": text(house_png), **more}
        assert_error(client.post("/color", content=json.dumps(request)), status, *parts)


# ---- opened images ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "width"),
    [
        (encode_image(on_black(draw(sea, 820, 640, 4, seed=1))), 820),
        (
            encode_image(simulate_photo(on_white(draw(sea, 2000, 1500, 7, seed=4)), 0), "JPEG"),
            2000,
        ),
        (encode_image(on_white(draw(home, 3000, 2400, 9, seed=1))), service.LINES_SIDE),
    ],
    ids=["light on black", "a phone's photo", "a large scan"],
)
def test_an_image_becomes_ink_on_transparency(client: TestClient, file: bytes, width: int) -> None:
    response = client.post("/lines", content=file)
    assert response.headers["linewash-looks-like"] == "drawing"
    ink = pixels(response.content, "RGBA")
    assert ink.shape[1] == width
    drawn = ink[..., 3] >= 128
    assert 0.005 < drawn.mean() < 0.2
    assert ink[drawn][:, :3].max() < 60  # the page's pen is dark, whatever the original


def test_an_svg_is_opened(client: TestClient) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 30"><circle r="9" cx="20" cy="15" ' \
        b'fill="none" stroke="#000"/></svg>'  # fmt: skip
    response = client.post("/lines", content=svg)
    assert response.headers["linewash-size"] == "2048x1536"
    ink = pixels(response.content, "RGBA")
    assert ink.shape[:2] == (1536, 2048)
    assert (ink[..., 3] > 128).any()


def test_the_edges_of_a_photo_are_drawn(client: TestClient) -> None:
    photo = np.full((200, 300, 3), (90, 160, 220), np.uint8)
    photo[120:] = (30, 90, 30)
    response = client.post("/lines?source=photo", content=encode_image(photo, "JPEG"))
    assert response.headers["linewash-size"] == "300x200"
    ink = pixels(response.content, "RGBA")
    assert ink.shape[1] == service.PAGE_SIDE
    drawn = np.flatnonzero((ink[..., 3] > 128).any(1)) / len(ink)
    assert drawn.size
    assert 0.57 < drawn.min() <= drawn.max() < 0.63  # only where sky and meadow meet


def test_a_photograph_is_answered_as_a_drawing_and_named(client: TestClient) -> None:
    photo = textured_photo(640, 480, seed=0)
    for source in ("", "?source=auto", "?source=photo"):
        response = client.post(f"/lines{source}", content=encode_image(photo, "JPEG"))
        assert response.headers["linewash-looks-like"] == "photo"
    as_drawing = client.post("/lines?source=drawing", content=encode_image(photo, "JPEG"))
    if as_drawing.status_code == 200:
        assert as_drawing.content == client.post("/lines", content=encode_image(photo, "JPEG")).content


def test_a_photograph_without_any_line_is_an_empty_drawing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "looks_like_photo", lambda rgb: True)
    plain = encode_image(np.full((300, 400, 3), 200, np.uint8))
    response = client.post("/lines", content=plain)
    assert response.headers["linewash-looks-like"] == "photo"
    assert not pixels(response.content, "RGBA")[..., 3].any()
    assert_error(client.post("/lines?source=drawing", content=plain), 422, "no lines")


def test_the_size_of_an_opened_image_is_that_of_the_upright_picture(client: TestClient) -> None:
    data = with_orientation(encode_image(on_white(draw(home, 640, 480, 4, seed=1)), "JPEG"), 6)
    response = client.post("/lines?source=drawing", content=data)
    assert response.headers["linewash-size"] == "480x640"
    assert pixels(response.content).shape == (640, 480, 3)


@pytest.mark.parametrize("name", service.EXAMPLES)
def test_examples_are_drawings_that_can_be_coloured(client: TestClient, name: str) -> None:
    response = client.get(f"/examples/{name}")
    assert response.headers["content-type"] == "image/png"
    assert len(request_colors(client, response.content)["colors"]) == 1


# ---- errors ----------------------------------------------------------------------------------------


def header_of_a_bomb() -> bytes:
    """Returns a PNG whose header claims 60,000 x 60,000 pixels."""
    data = bytearray(encode_image(np.zeros((16, 16, 3), np.uint8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ["empty"]),
        (b"%PDF-1.7 hello", ["not a readable image", "PDF", "PNG"]),
        (encode_image(np.zeros((40, 40, 3), np.uint8))[:60], ["damaged"]),
        (encode_image(np.zeros((8, 8, 3), np.uint8)), ["8 x 8", "16"]),
        (header_of_a_bomb(), ["pixels", "smaller"]),
        (encode_image(np.zeros((8200, 8200), np.uint8)), ["8200 x 8200", "67,108,864"]),
        (encode_image(np.full((64, 64, 3), 250, np.uint8)), ["no lines"]),
    ],
    ids=["nothing", "a PDF", "half a PNG", "tiny", "a bomb", "too many pixels", "an empty drawing"],
)
def test_unusable_files_are_reported(client: TestClient, data: bytes, parts: list[str]) -> None:
    assert_error(client.post("/lines", content=data), 422, *parts)


def test_too_large_bodies_are_not_read_to_the_end(client: TestClient) -> None:
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(100):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    assert_error(client.post("/lines", content=chunks()), 413, "32 MB")
    assert_error(client.post("/color", content=b"x" * (app.MAX_REQUEST_BYTES + 1)), 413, "16 MB")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"drawing": 3}', b'{"drawing": "%%%"}', b"[" * 200_000, b"\xff\xfe",
        b'{"drawing": "", "variants": 9}', b'{"drawing": "", "variants": 1e99}',
        b'{"drawing": "", "seed": -1}',
        b'{"drawing": "", "path": "/etc/passwd"}',
    ],
    ids=range(11),
)  # fmt: skip
def test_invalid_requests_are_rejected(client: TestClient, body: bytes) -> None:
    assert_error(client.post("/color", content=body), 400, "load the page again")


def test_wrong_hints_are_rejected(client: TestClient, house_png: bytes) -> None:
    def with_hints(data: bytes) -> httpx.Response:
        return client.post("/color", content=json.dumps({"drawing": text(house_png), "hints": text(data)}))

    assert_error(with_hints(b"nothing"), 422, "not a readable image")
    assert_error(with_hints(house_png), 422, "transparency")
    assert_error(with_hints(hint_strokes(300, 300, [("0.1,0.1 0.5,0.5", (1, 2, 3))])), 422, "300 x 300")


def request_reference(client: TestClient, drawing: bytes, **more: object) -> httpx.Response:
    return client.post(
        "/color", content=json.dumps({"drawing": text(drawing), "background": "paint", **more})
    )


def test_a_reference_is_a_picture_or_a_list_of_colours(guided: TestClient, house_png: bytes) -> None:
    color = PALETTE.colors[2]
    mood = encode_image(np.full((8, 8, 3), color, np.uint8))
    for reference in ({"reference": text(mood)}, {"colors": [[f"#{bytes(color).hex()}", 2.5]]}):
        answer = request_reference(guided, house_png, **reference).json()
        assert set(answer["colors"][0]) == {f"#{bytes(color).hex()}"}
        download = request_download(guided, house_png, background="paint", show="colors", **reference)
        assert {tuple(c) for c in pixels(download.content).reshape(-1, 3)} == {color}
    assert len(set(request_reference(guided, house_png).json()["colors"][0])) > 1


def test_the_colours_of_a_picture_become_a_list_for_the_page(guided: TestClient, client: TestClient) -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[:], picture[:30], picture[0, 0] = PALETTE.colors[1], PALETTE.colors[4], PALETTE.colors[2]
    response = guided.post("/reference", content=encode_image(picture))
    colors = response.json()["colors"]
    assert [color for color, _ in colors] == [f"#{bytes(PALETTE.colors[label]).hex()}" for label in (1, 4)]
    weights = [weight for _, weight in colors]
    assert weights == pytest.approx([0.7, 0.3], abs=0.001)
    assert sum(weights) == pytest.approx(1, abs=1e-6)
    assert_error(guided.post("/reference", content=b"Dear Sir"), 422, "the reference cannot be used")
    assert_error(client.post("/reference", content=encode_image(picture)), 400, "takes no reference")


def test_the_strength_of_a_reference_reaches_the_colours(
    guided: TestClient, house_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    strengths = []

    def bias(logits: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
        strengths.append(strength)
        return np.zeros_like(wanted)

    monkeypatch.setattr("linewash.coloring.colorizer.reference_bias", bias)
    colors = [["#fff", 1]]
    for more in ({}, {"reference_strength": 0.25}, {"reference_strength": 0}):
        assert request_reference(guided, house_png, colors=colors, **more).status_code == 200
        assert request_download(guided, house_png, colors=colors, **more).status_code == 200
    assert strengths == [0.5, 0.5, 0.25, 0.25]
    for wrong in (-0.1, 1.1, "much", None):
        response = request_reference(guided, house_png, colors=colors, reference_strength=wrong)
        assert_error(response, 400, "reference_strength")


def test_the_page_is_told_whether_the_network_takes_a_reference(
    guided: TestClient, client: TestClient
) -> None:
    assert guided.get("/about").json()["reference"] is True
    assert client.get("/about").json()["reference"] is False


def test_wrong_references_are_rejected(guided: TestClient, client: TestClient, house_png: bytes) -> None:
    mood = text(encode_image(np.zeros((8, 8, 3), np.uint8)))
    transparent = text(encode_image(np.zeros((8, 8, 4), np.uint8)))
    for status, parts, reference in (
        (400, ["exclude each other"], {"reference": mood, "colors": [["#fff", 1]]}),
        (400, ["load the page again"], {"colors": []}),
        (400, ["load the page again"], {"colors": [["#fff"]]}),
        (400, ["load the page again"], {"colors": [["#fff", "much"]]}),
        (400, ["'#ff'", "#rrggbb"], {"colors": [["#ff", 1]]}),
        (400, ["weight of #fff", "got -1"], {"colors": [["#fff", -1]]}),
        (422, ["the reference cannot be used", "empty"], {"reference": ""}),
        (422, ["the reference cannot be used", "transparent"], {"reference": transparent}),
        (422, ["the reference cannot be used"], {"reference": text(header_of_a_bomb())}),
    ):
        assert_error(request_reference(guided, house_png, **reference), status, *parts)
    assert_error(request_reference(client, house_png, reference=mood), 400, "takes no reference")


def test_unknown_variants_sources_examples_and_methods_are_rejected(
    client: TestClient, house_png: bytes
) -> None:
    request = {"drawing": text(house_png), "variants": 1, "variant": 3}
    assert_error(client.post("/download", content=json.dumps(request)), 422, "choose another")
    assert_error(client.post("/lines?source=video", content=house_png), 400, "drawing or photo", "'video'")
    assert_error(client.get("/examples/castle"), 404, "castle", "home")
    assert_error(client.get("/color"), 405, "GET")


@pytest.mark.parametrize(
    "path",
    [
        "/page/index.html", "/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/server.py",
        "//etc/passwd", "/examples/..%2f..%2fserver.py", "/page.js/../../server.py", "/server.py",
    ],
)  # fmt: skip
def test_only_the_pages_own_files_are_served(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert set(response.json()) == {"error"}


def test_every_file_of_the_page_is_served(client: TestClient) -> None:
    folder = ROOT / "scripts/linewash/serving/static"
    media_types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for path in folder.iterdir():
        response = client.get(f"/{path.name}")
        assert response.content == path.read_bytes(), path.name
        assert response.headers["content-type"].startswith(media_types[path.suffix[1:]])
    assert client.get("/").content == (folder / "index.html").read_bytes()


def test_the_page_loads_nothing_from_other_servers(client: TestClient) -> None:
    for path in ("/", *(f"/{path.name}" for path in app.static_files())):
        response = client.get(path)
        assert "default-src 'self'" in response.headers["content-security-policy"]
        links = response.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in links
        assert "https://" not in links


def test_other_hosts_and_sites_are_rejected(client: TestClient, house_png: bytes) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    cross_site = {"Sec-Fetch-Site": "cross-site"}
    assert_error(client.post("/lines", content=house_png, headers=cross_site), 403, "another site")


# ---- concurrency -----------------------------------------------------------------------------------


def test_fifty_concurrent_requests_get_their_own_responses(hinted: Path, network: Network) -> None:
    scenes = [home, sea, pet]
    drawings = [encode_image(on_white(draw(scenes[i % 3], 200 + i, 160, 2, seed=i))) for i in range(10)]
    expected = [color_preview(ColorizeRequest(drawing, variants=2), network).colors for drawing in drawings]
    with run_server("--run", hinted) as address, httpx.Client(base_url=address, timeout=120) as client:
        barrier = threading.Barrier(50)

        def request(number: int) -> list[list[str]]:
            barrier.wait(60)
            return request_colors(client, drawings[number % 10], variants=2)["colors"]

        with ThreadPoolExecutor(50) as pool:
            responses = list(pool.map(request, range(50)))
    assert responses == [expected[number % 10] for number in range(50)]


def test_a_full_queue_rejects_requests(
    network: Network, house_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "available_cores", lambda: 1)
    with (
        TestClient(app.make_app(network, max_waiting=1), base_url="http://localhost") as client,
        ThreadPoolExecutor(12) as pool,
    ):
        body = json.dumps({"drawing": text(house_png)})
        responses = list(pool.map(lambda _: client.post("/color", content=body), range(12)))
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 503}
    assert_error(next(r for r in responses if r.status_code == 503), 503, "try again")
    assert len({r.content for r in responses if r.status_code == 200}) == 1


def post(
    application: Starlette, path: str, headers: dict[str, str], body: Callable[[], Any]
) -> tuple[int, str]:
    """Returns the status and the error of a POST whose body is read by calling `body`."""
    return asyncio.run(post_async(application, path, headers, body))


async def post_async(
    application: Starlette, path: str, headers: dict[str, str], body: Callable[[], Any]
) -> tuple[int, str]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await body()

    async def send(message: Any) -> None:
        sent.append(message)

    raw_headers = [
        (name.lower().encode(), value.encode()) for name, value in ({"Host": "localhost"} | headers).items()
    ]
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": raw_headers, "http_version": "1.1", "scheme": "http", "server": ("localhost", 80),
    }  # fmt: skip
    await application(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])["error"]


async def never_read() -> Any:
    raise AssertionError("the body was read")


POSTS = ["/lines", "/color", "/download", "/reference"]


@pytest.mark.parametrize("path", POSTS)
def test_a_full_queue_rejects_requests_before_reading_the_body(
    network: Network, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(app, "available_cores", lambda: 1)
    application = app.make_app(network, max_waiting=1)

    async def post_three_times() -> None:
        started, end = asyncio.Semaphore(0), asyncio.Event()

        async def slow() -> Any:
            started.release()
            await end.wait()
            return {"type": "http.disconnect"}

        both = [asyncio.create_task(post_async(application, path, {}, slow)) for _ in range(2)]
        for _ in both:  # both bodies are being read: all slots are used
            await started.acquire()
        assert await post_async(application, path, {}, never_read) == (503, TOO_MANY)
        end.set()
        assert [status for status, _ in await asyncio.gather(*both)] == [400, 400]
        third = asyncio.create_task(post_async(application, path, {}, slow))  # a slot is free again
        await started.acquire()
        await third

    asyncio.run(post_three_times())


TOO_MANY = "too many drawings are waiting: try again in a few seconds"


@pytest.mark.parametrize("path", POSTS)
def test_a_body_with_a_too_large_content_length_is_not_read(network: Network, path: str) -> None:
    status, message = post(
        app.make_app(network), path, {"Content-Length": str(app.MAX_FILE_BYTES + 1)}, never_read
    )
    assert (status, "make it smaller" in message) == (413, True)


# ---- hosts and origins -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "localhost.evil.example", "8.8.8.8"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_host_is_told_the_flag_that_allows_it(client: TestClient, host: str, method: str) -> None:
    response = client.request(method, "/" if method == "GET" else "/color", headers={"Host": host})
    assert_error(response, 400, f"--allowed-host {host.partition(':')[0]}")


@pytest.mark.parametrize("host", ["", "a b", "a/b", "user@localhost", "[::1", "localhost:x", "<script>"])
def test_an_invalid_host_is_rejected(client: TestClient, host: str) -> None:
    assert_error(client.get("/", headers={"Host": host}), 400, "Host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8765", "[::1]:8765", "[::1]"])
def test_local_hosts_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


OURS, FORWARDED = "localhost:8765", "draw.example.org"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost:8765.evil.example"},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8765"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://draw.example.org"},
        {"Sec-Fetch-Site": "nonsense"},
    ],
    ids=str,
)
def test_cross_site_requests_are_rejected(network: Network, path: str, headers: dict[str, str]) -> None:
    application = app.make_app(network, forwarded_hosts=[FORWARDED])
    status, message = post(application, path, {"Host": OURS} | headers, never_read)
    assert status == 403
    assert "--allowed-host" in message


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:8765"},
        {"Origin": "HTTP://LOCALHOST:8765", "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost", "Origin": "http://localhost"},
        {"Host": "localhost:80", "Origin": "http://localhost"},
        {"Host": FORWARDED, "Origin": f"https://{FORWARDED}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"https://{FORWARDED}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=str,
)
def test_requests_of_the_page_and_of_other_programs_are_accepted(
    network: Network, headers: dict[str, str]
) -> None:
    application = app.make_app(network, forwarded_hosts=[FORWARDED])
    client = TestClient(application, base_url="http://localhost")
    assert client.post("/color", content=b"", headers={"Host": OURS} | headers).status_code == 400
    assert client.get("/", headers={"Host": OURS} | headers).status_code == 200


def test_on_a_wildcard_address_every_host_is_accepted_but_not_every_site(network: Network) -> None:
    client = TestClient(app.make_app(network, [app.ANY_HOST]), base_url="http://localhost")
    assert client.get("/", headers={"Host": "studio.lan:8765"}).status_code == 200
    cross_site = {"Host": "studio.lan:8765", "Origin": "http://evil.example"}
    assert_error(client.post("/color", content=b"", headers=cross_site), 403, "another site")


# ---- connection limits -----------------------------------------------------------------------------


@pytest.fixture
def port(network: Network, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server in a thread of this process, which accepts three connections."""
    monkeypatch.setattr(connection_limits, "MAX_CONNECTIONS", 3)
    is_listening = threading.Event()
    with cli._listen("127.0.0.1", 0) as listener:
        server = cli._make_server(network, "127.0.0.1", [], is_listening.set)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert is_listening.wait(60)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join(60)


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests must arrive within 0.4 seconds."""
    monkeypatch.setattr(connection_limits, "REQUEST_SECONDS", 0.4)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def receive_all(connection: socket.socket) -> bytes:
    """Receives until the server closes the connection."""
    received = b""
    with suppress(ConnectionError):
        while data := connection.recv(1 << 16):
            received += data
    return received


def receive_response(connection: socket.socket) -> tuple[int, bytes]:
    """Returns the status and the body of one response; the connection stays open."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.status, response.read()


HEAD = b"POST /color HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize(
    "start", [b"PO", HEAD, HEAD + b"Content-Length: 100\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\n{"]
)
def test_an_incomplete_request_gets_an_error(port: int, start: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(start)
        response = receive_all(connection)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.4 seconds" in response


def send_slowly(connection: socket.socket) -> None:
    """Sends one byte at a time until the server closes the connection."""
    while True:
        connection.sendall(b"x")
        threading.Event().wait(0.02)


@pytest.mark.usefixtures("short_timeout")
def test_a_slow_body_is_not_read_to_the_end(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        with pytest.raises(ConnectionError):  # no error if each byte restarted the timer
            send_slowly(connection)


@pytest.mark.usefixtures("short_timeout")
def test_an_idle_connection_is_closed(port: int) -> None:
    with connect(port) as connection:
        assert receive_all(connection) == b""


@pytest.mark.usefixtures("short_timeout")
def test_a_request_that_is_rejected_early_still_times_out(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
        assert receive_response(connection)[0] == 413
        assert receive_all(connection) == b""


def test_a_connection_over_the_limit_gets_an_error(port: int) -> None:
    get = b"GET /about HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(port) as first, connect(port) as second, connect(port) as third:
        for connection in (first, second, third):
            connection.sendall(get)
            assert receive_response(connection)[0] == 200
        with connect(port) as fourth:
            fourth.sendall(get)
            response = receive_all(fourth)
            assert response.startswith(b"HTTP/1.1 503 ")
            assert b"too many connections" in response
        first.sendall(get)
        assert receive_response(first)[0] == 200


def test_a_long_head_gets_an_error(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(
            HEAD + b"X: " + b"x" * connection_limits.MAX_HEAD_BYTES
        )  # the head is not complete
        status, body = receive_response(connection)
    assert status == 400
    assert b"16 KB" in body


def test_uvicorn_has_the_names_that_the_limits_use() -> None:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

    names_by_class = {
        H11Protocol: [
            "connection_made", "data_received", "on_response_complete", "connection_lost",
            "send_400_response", "conn", "connections", "cycle", "loop", "transport",
        ],
        RequestResponseCycle: ["response_started", "response_complete"],
        uvicorn.Server: ["startup", "capture_signals", "should_exit", "force_exit"],
    }  # fmt: skip
    missing = [
        f"{kind.__name__}.{name}"
        for kind, names in names_by_class.items()
        for name in names
        if not hasattr(kind, name) and name not in inspect.getsource(kind)
    ]
    assert not missing, (
        f"uvicorn {uvicorn.__version__} has no {missing}: see scripts/linewash/serving/connection_limits.py"
    )


# ---- the command -----------------------------------------------------------------------------------


def start_server(hinted: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, SCRIPT, "--port", "0", "--run", hinted],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_right_after_the_address_ends_the_server(hinted: Path, number: int, code: int) -> None:
    process = start_server(hinted)
    assert process.stdout
    assert "draw at http://127.0.0.1:" in process.stdout.readline()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (code, "")


def test_a_signal_while_the_network_is_loading_ends_the_command(hinted: Path, tmp_path: Path) -> None:
    """The metadata file of the network is a pipe, so the command blocks there until the signal."""
    slow = tmp_path / "slow"
    slow.mkdir()
    os.mkfifo(slow / "export.json")
    code = f"import sys; sys.argv[1:] = ['--port', '0', '--run', {str(slow)!r}]\n"
    code += "from pathlib import Path\nPath.is_file = lambda self: True\n"
    code += f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with (slow / "export.json").open("w"):  # opens when the command does
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)
    assert (process.returncode, *output) == (130, "", "")


class FakeServer:
    """The attributes of a server that the signal handlers set."""

    should_exit = force_exit = False


@pytest.mark.parametrize("number", cli.SIGNALS)
def test_a_signal_ends_the_server_and_a_second_one_forces_it(number: int) -> None:
    server, before = FakeServer(), signal.getsignal(number)
    with cli.SignalHandlers() as signals:
        signals.attach(server)  # type: ignore[arg-type]
        signal.raise_signal(number)
        assert (server.should_exit, server.force_exit) == (True, False)
        signal.raise_signal(number)
        assert (server.should_exit, server.force_exit) == (True, True)
    assert signals.received == [number, number]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", cli.SIGNALS)
def test_before_the_server_runs_a_signal_ends_the_process(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr("os._exit", codes.append)
    with cli.SignalHandlers() as signals:
        signals.attach = None  # type: ignore[assignment]
        with suppress(AttributeError):  # because the replaced os._exit returns
            signal.raise_signal(number)
    assert codes == [128 + number]


def test_an_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with cli.SignalHandlers() as signals:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
        assert signals.received == []
    finally:
        signal.signal(signal.SIGHUP, before)


BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from linewash.serving.cli import main
sys.exit(main(["--port", "0"]))
"""


@pytest.mark.parametrize(
    "package", ["anyio", "cv2", "msgspec", "numpy", "onnxruntime", "PIL", "starlette", "uvicorn"]
)
def test_the_error_for_a_missing_package_names_the_command_that_installs_it(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, package], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1
    for part in (package, install_command("demo")):
        assert part in done.stderr


@pytest.mark.parametrize("host", ["nowhere.invalid", "8.8.8.8", "a" * 80, "::1::", "", "1.2.3.4.5"])
def test_an_invalid_host_address_is_reported(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--host", host, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert f"--host {host}".strip() in error


@pytest.mark.parametrize("name", ["http://draw.example.org", "draw.example.org:80", "a b", "", "*"])
def test_an_invalid_allowed_host_is_reported(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--allowed-host", name]) == 2
    assert "--allowed-host" in capsys.readouterr().err


@pytest.mark.parametrize(
    "open_browser", [lambda address: False, lambda address: (_ for _ in ()).throw(OSError("no display"))]
)
def test_without_a_browser_the_address_is_printed(
    open_browser: Callable[[str], bool], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", open_browser)
    cli._open_browser("http://127.0.0.1:8765", "serve.py")
    error = capsys.readouterr().err
    assert error.startswith("serve.py: ")
    assert "no browser" in error
    assert "http://127.0.0.1:8765" in error


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--allowed-host NAME" in capsys.readouterr().out


def test_wrong_arguments_are_reported(
    hinted: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert main(["--run", str(hinted), "--port", str(port)]) == 1
        assert "type another --port" in capsys.readouterr().err
    assert main(["--port", "70000"]) == 2
    assert "0 to 65535" in capsys.readouterr().err
    assert main(["--port", "0", "--run", str(tmp_path / "none")]) == 2
    assert "there is no such directory" in capsys.readouterr().err
