"""Uses the drawing page in headless Chromium: strokes, canvases, downloads.

Screenshots are written to the folder in the environment variable LINEWASH_SCREENSHOTS, if it is set.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Download, Page, expect, sync_playwright

from preprocess.svg import draw_picture

Points = list[tuple[float, float]]


@contextmanager
def launch_browser() -> Iterator[Browser]:
    """Starts Chromium; the test is skipped without one, except in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium: .ci/run installs it")
        pytest.skip("there is no Chromium: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser,
    ):
        yield browser


@contextmanager
def open_context(browser: Browser, address: str, **options: Any) -> Iterator[BrowserContext]:
    """Opens a context whose pages must not have script errors or requests to other servers."""
    errors: list[str] = []
    options = {"viewport": {"width": 1280, "height": 860}} | options
    with browser.new_context(**options) as context:
        context.on("weberror", lambda error: errors.append(str(error.error)))
        context.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        context.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:", "blob:")) else errors.append(r.url),
        )
        yield context
    # The page itself reports rejected files (status 4xx) and a server that has ended.
    assert [error for error in errors if "status of 4" not in error and "net::ERR" not in error] == []


def open_page(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#variants button")).to_have_count(4)
    expect(page.locator("body")).to_have_attribute("data-busy", "no")
    return page


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("LINEWASH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@contextmanager
def colored(page: Page) -> Iterator[None]:
    """Waits until the page is coloured anew after the block."""
    before = page.locator("body").get_attribute("data-settled") or ""
    yield
    body = page.locator("body")
    expect(body).not_to_have_attribute("data-settled", before, timeout=30_000)
    # The first answer may be that of an unfinished stroke.
    expect(body).to_have_attribute("data-busy", "no", timeout=30_000)


def position(page: Page, x: float, y: float) -> tuple[float, float]:
    """Returns a point of the sheet, given in fractions of it, in pixels of the window."""
    box = page.locator("#sheet").bounding_box()
    assert box
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def stroke(page: Page, points: Points, steps: int = 8) -> None:
    """Draws with the mouse through points, fractions of the sheet, and waits for the colours."""
    positions = [position(page, x, y) for x, y in points]
    with colored(page):
        page.mouse.move(*positions[0])
        page.mouse.down()
        for x, y in positions[1:]:
            page.mouse.move(x, y, steps=steps)
        page.mouse.up()


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 1.03, start: float = 0.0) -> Points:
    angles = 2 * np.pi * np.linspace(start, start + turn, max(6, round(24 * turn)))
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


def draw_all(page: Page, strokes: list[Points]) -> None:
    for points in strokes:
        stroke(page, points)


HOUSE = [
    [(0.0, 0.75), (0.3, 0.74), (0.7, 0.76), (1.0, 0.75)],
    [(0.3, 0.75), (0.3, 0.45), (0.6, 0.45), (0.6, 0.75)],
    [(0.26, 0.46), (0.45, 0.22), (0.64, 0.46), (0.26, 0.46)],
    ellipse(0.85, 0.2, 0.07, 0.09),
]
FACE = [
    ellipse(0.5, 0.52, 0.24, 0.36), ellipse(0.41, 0.44, 0.035, 0.04), ellipse(0.59, 0.44, 0.035, 0.04),
    ellipse(0.5, 0.6, 0.1, 0.12, 0.5), [(0.5, 0.48), (0.48, 0.57), (0.51, 0.58)],
    [(0.27, 0.4), (0.34, 0.1), (0.5, 0.2), (0.66, 0.08), (0.73, 0.4)],
]  # fmt: skip
CAR = [
    [(0.12, 0.66), (0.14, 0.5), (0.3, 0.48), (0.38, 0.32), (0.64, 0.32), (0.73, 0.48), (0.88, 0.52),
     (0.88, 0.66), (0.12, 0.66)],
    [(0.36, 0.47), (0.41, 0.36), (0.5, 0.36), (0.5, 0.47), (0.36, 0.47)],
    [(0.54, 0.47), (0.54, 0.36), (0.62, 0.36), (0.68, 0.47), (0.54, 0.47)],
    ellipse(0.3, 0.68, 0.07, 0.095), ellipse(0.72, 0.68, 0.07, 0.095),
]  # fmt: skip
FISH = [
    ellipse(0.45, 0.5, 0.27, 0.2, 1.0), [(0.71, 0.5), (0.88, 0.34), (0.84, 0.5), (0.88, 0.66), (0.71, 0.5)],
    ellipse(0.3, 0.46, 0.025, 0.033), [(0.4, 0.32), (0.48, 0.18), (0.56, 0.33)],
]  # fmt: skip


def canvas(page: Page, name: str) -> np.ndarray:
    """Returns the pixels of one of the page's canvases: uint8 [H, W, 4]."""
    data = page.locator(f"#{name}").evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGBA"))


def color_at(page: Page, x: float, y: float) -> tuple[int, ...]:
    """Returns the colour at a point in fractions of the sheet: RGBA."""
    pixels = canvas(page, "colors")
    return tuple(int(v) for v in pixels[int(y * len(pixels)), int(x * pixels.shape[1])])


def rgba(color: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue, 255


def choose_color(page: Page, color: str) -> None:
    """Chooses any colour; with the pen or another tool that draws, the tool that fills follows."""
    page.locator("#custom").fill(color)


def dab(page: Page, x: float, y: float, color: str) -> None:
    page.locator("[data-tool=fill]").click()
    choose_color(page, color)
    stroke(page, [(x, y)])


def drop(page: Page, selector: str, name: str, media_type: str, data: bytes) -> None:
    """Drops a file. A dropped file is a DataTransfer object, which only a script of the page can create."""
    page.locator(selector).evaluate(
        """(target, {name, type, bytes}) => {
            const transfer = new DataTransfer();
            const content = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
            transfer.items.add(new File([content], name, {type}));
            const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
            target.dispatchEvent(new DragEvent("drop", options));
        }""",
        {"name": name, "type": media_type, "bytes": base64.b64encode(data).decode()},
    )


def download(page: Page, action: Callable[[], None]) -> tuple[str, bytes]:
    """Returns the name and the bytes of the file that an action downloads."""
    with page.expect_download() as downloading:
        action()
    file: Download = downloading.value
    return file.suggested_filename, Path(file.path()).read_bytes()


def rendered(data: bytes, format_name: str) -> np.ndarray:
    """Returns what a downloaded file shows: uint8 [H, W, 4]."""
    if format_name == "svg":
        data = draw_picture(data, 512)
    elif format_name == "ora":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("mergedimage.png")
    return np.array(Image.open(io.BytesIO(data)).convert("RGBA"))


def wait_until_kept(page: Page) -> None:
    """Waits until the browser keeps the drawing as it is."""
    page.wait_for_function("() => document.body.dataset.busy === 'no'")
    page.wait_for_timeout(700)
