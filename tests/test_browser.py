"""The page in a real browser: drawing, hints, undo, dropped images and downloads.

Screenshots are written to the folder in the environment variable LINEWASH_SCREENSHOTS, if it is set.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helper_servers import run_server
from linewash.coloring.model_loader import STARTER
from linewash.samples.sketches import draw, encode_image, on_white, sea, simulate_photo
from PIL import Image
from playwright.sync_api import Browser, Download, Page, expect, sync_playwright

from preprocess.svg import draw_picture
from tfrecords_schema import Palette
from training.export.metadata import ExportMetadata
from training.metrics.color_spaces import to_oklab

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Opens the page; the test fails on script errors and on requests to other servers."""
    errors: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:", "blob:")) else errors.append(r.url),
        )
        open_page(page, address)
        yield page
    # The page itself reports rejected files (status 422).
    assert [error for error in errors if "422" not in error] == []


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#variants button")).to_have_count(4)


def shoot(page: Page, name: str) -> None:
    if folder := os.environ.get("LINEWASH_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def settled(page: Page, before: str | None) -> None:
    """Waits until the requests since `before` have been answered."""
    body = page.locator("body")
    expect(body).not_to_have_attribute("data-settled", before or "", timeout=30_000)
    # The first answer may be that of an unfinished stroke.
    expect(body).to_have_attribute("data-busy", "no", timeout=30_000)


def stroke(page: Page, points: list[tuple[float, float]]) -> None:
    """Draws through points, fractions of the page, and waits for the colours."""
    before = page.locator("body").get_attribute("data-settled")
    box = page.locator("#sheet").bounding_box()
    assert box
    positions = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*positions[0])
    page.mouse.down()
    for x, y in positions[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
    settled(page, before)


def house(page: Page) -> None:
    stroke(page, [(0.0, 0.75), (0.3, 0.74), (0.7, 0.76), (1.0, 0.75)])
    stroke(page, [(0.3, 0.75), (0.3, 0.45), (0.6, 0.45), (0.6, 0.75)])
    stroke(page, [(0.26, 0.46), (0.45, 0.22), (0.64, 0.46), (0.26, 0.46)])
    ring = [(0.85 + 0.07 * np.cos(a), 0.2 + 0.09 * np.sin(a)) for a in np.linspace(0, 6.5, 20)]
    stroke(page, ring)


def canvas(page: Page, name: str) -> np.ndarray:
    """Returns the pixels of one of the page's canvases: uint8 [H, W, 4]."""
    data = page.locator(f"#{name}").evaluate("canvas => canvas.toDataURL()")
    return np.array(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1]))).convert("RGBA"))


def color_at(page: Page, x: float, y: float) -> tuple[int, ...]:
    pixels = canvas(page, "colors")
    return tuple(int(v) for v in pixels[int(y * len(pixels)), int(x * pixels.shape[1])])


def nearest(palette: Palette, rgb: tuple[int, int, int]) -> str:
    """Returns the palette colour nearest to another, as #rrggbb."""
    distance = ((to_oklab(palette.rgb) - to_oklab(np.array([rgb], np.uint8))) ** 2).sum(-1)
    return f"#{bytes(palette.colors[int(distance.argmin())]).hex()}"


def downloaded(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def rendered(data: bytes, format_name: str) -> np.ndarray:
    """Returns what a downloaded file shows: uint8 [H, W, 4]."""
    if format_name == "svg":
        data = draw_picture(data, 512)
    elif format_name == "ora":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read("mergedimage.png")
    return np.array(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_drawing_hints_undo_and_downloads(page: Page) -> None:
    palette = ExportMetadata.load(STARTER).palette
    expect(page.locator("#png")).to_be_disabled()
    shoot(page, "1-empty")
    house(page)
    colors = canvas(page, "colors")
    assert (colors[..., 3] == 255).all()
    assert {tuple(c) for c in np.unique(colors[::16, ::16, :3].reshape(-1, 3), axis=0)} & set(palette.colors)
    assert len(np.unique(colors[::8, ::8, :3].reshape(-1, 3), axis=0)) >= 3  # sky, meadow and another
    expect(page.locator("#status")).to_contain_text("coloured in")
    shoot(page, "2-house")

    red = nearest(palette, (200, 30, 30))
    before = color_at(page, 0.45, 0.38)
    page.locator(f"#palette button[data-color='{red}']").click()
    stroke(page, [(0.42, 0.36), (0.48, 0.36)])
    assert color_at(page, 0.45, 0.4) == (*bytes.fromhex(red[1:]), 255)
    shoot(page, "3-red-roof")

    answered = page.locator("body").get_attribute("data-settled")
    page.keyboard.press("Control+z")
    settled(page, answered)
    assert color_at(page, 0.45, 0.38) == before
    answered = page.locator("body").get_attribute("data-settled")
    page.keyboard.press("Control+Shift+Z")
    settled(page, answered)
    assert color_at(page, 0.45, 0.4) == (*bytes.fromhex(red[1:]), 255)

    with page.expect_download() as download:
        page.click("#png")
    assert download.value.suggested_filename == "drawing.png"
    image = np.array(Image.open(io.BytesIO(downloaded(download.value))).convert("RGB"))
    assert image.shape == (*canvas(page, "ink").shape[:2], 3)
    roof = image[int(0.4 * len(image)), int(0.45 * image.shape[1])]
    assert tuple(roof) == tuple(bytes.fromhex(red[1:]))
    with page.expect_download() as download:
        page.click("#svg")
    assert b'<g id="lines"' in downloaded(download.value)
    with page.expect_download() as download:
        page.click("#ora")
    with zipfile.ZipFile(io.BytesIO(downloaded(download.value))) as archive:
        assert any(name.startswith("data/layer") for name in archive.namelist())


def test_the_background_is_paint_paper_or_transparent(page: Page) -> None:
    ring = [(0.5 + 0.2 * np.cos(a), 0.5 + 0.25 * np.sin(a)) for a in np.linspace(0, 6.5, 30)]
    stroke(page, ring)
    expect(page.locator("#status")).to_contain_text("background: paper")  # what auto decided
    assert color_at(page, 0.05, 0.05) == (255, 255, 255, 255)
    inside = color_at(page, 0.5, 0.5)
    buttons = page.locator("#background button")
    expect(buttons.nth(0)).to_have_attribute("aria-checked", "true")
    assert [buttons.nth(index).get_attribute("tabindex") for index in range(4)] == ["0", "-1", "-1", "-1"]

    answered = page.locator("body").get_attribute("data-settled")
    page.get_by_role("radio", name="Transparent").click()
    settled(page, answered)
    assert color_at(page, 0.05, 0.05)[3] == 0
    assert color_at(page, 0.5, 0.5) == inside
    shoot(page, "12-transparent")
    for format_name in ("png", "svg", "ora"):
        with page.expect_download() as download:
            page.click(f"#{format_name}")
        alpha = rendered(downloaded(download.value), format_name)[..., 3]
        assert alpha[5, 5] == 0, format_name
        assert alpha[alpha.shape[0] // 2, alpha.shape[1] // 2] == 255, format_name

    answered = page.locator("body").get_attribute("data-settled")
    buttons.nth(3).focus()
    page.keyboard.press("ArrowLeft")  # to Paint
    settled(page, answered)
    expect(buttons.nth(2)).to_have_attribute("aria-checked", "true")
    assert color_at(page, 0.05, 0.05)[3] == 255
    expect(page.locator("#status")).not_to_contain_text("background")
    page.set_viewport_size({"width": 360, "height": 740})
    boxes = [buttons.nth(index).bounding_box() for index in range(4)]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= 360 for box in boxes)
    shoot(page, "13-background-360")


def test_variants_are_shown_chosen_and_resampled(page: Page) -> None:
    house(page)
    buttons = page.locator("#variants button:enabled")
    assert buttons.count() >= 2
    first = canvas(page, "colors")
    buttons.nth(1).click()
    second = canvas(page, "colors")
    assert (first != second).any(-1).mean() > 0.01
    page.keyboard.press("1")
    assert (canvas(page, "colors") == first).all()
    page.keyboard.press("2")
    answered = page.locator("body").get_attribute("data-settled")
    page.click("#others")
    settled(page, answered)
    assert (canvas(page, "colors") != second).any()
    shoot(page, "4-variants")


def test_the_eraser_erases_lines_and_hints(page: Page) -> None:
    house(page)
    drawn = (canvas(page, "ink")[..., 3] > 0).sum()
    page.locator("#palette button").first.click()
    stroke(page, [(0.42, 0.36), (0.48, 0.36)])
    page.keyboard.press("e")
    page.locator("#size").fill("8")
    stroke(page, [(0.2, 0.36), (0.7, 0.36)])
    assert (canvas(page, "ink")[..., 3] > 0).sum() < drawn
    assert (canvas(page, "hints")[..., 3] > 0).sum() == 0


def test_a_dropped_image_becomes_the_drawing_and_can_be_drawn_on(page: Page, tmp_path: Path) -> None:
    photo = tmp_path / "phone.jpg"
    photo.write_bytes(encode_image(simulate_photo(on_white(draw(sea, 1600, 1200, 6, seed=4)), 0), "JPEG"))
    answered = page.locator("body").get_attribute("data-settled")
    # A dropped file is a DataTransfer object, which only a script of the page can create.
    page.locator("body").evaluate(
        """(body, bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "phone.jpg", {type: "image/jpeg"}));
            body.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
        }""",
        list(photo.read_bytes()),
    )
    settled(page, answered)
    ink = canvas(page, "ink")
    assert ink.shape[:2] == (768, 1024)
    assert 0.005 < (ink[..., 3] > 128).mean() < 0.2
    assert len(np.unique(canvas(page, "colors")[::8, ::8, :3].reshape(-1, 3), axis=0)) >= 3
    shoot(page, "5-dropped")
    stroke(page, [(0.1, 0.1), (0.2, 0.1)])
    assert (canvas(page, "ink")[..., 3] > 128).sum() > (ink[..., 3] > 128).sum()

    wrong = tmp_path / "letter.png"
    wrong.write_bytes(b"Dear Sir or Madam")
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files(wrong)
    # AVIF follows where Pillow has a decoder for it.
    expect(page.locator("#status")).to_contain_text(
        "letter.png: not a readable image: save it as one of PNG, JPEG, WEBP, GIF, BMP, TIFF"
    )
    assert (canvas(page, "ink")[..., 3] > 128).sum() > 1000  # the drawing is unchanged


def test_drawing_with_the_keyboard_only(page: Page) -> None:
    page.locator("#sheet").focus()
    answered = page.locator("body").get_attribute("data-settled")
    page.keyboard.press("Space")
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        for _ in range(5):
            page.keyboard.press(f"Shift+{key}")
    page.keyboard.press("Space")
    settled(page, answered)
    ink = canvas(page, "ink")[..., 3] > 128
    rows, columns = np.nonzero(ink)
    assert abs(np.ptp(rows) - 200) < 12
    assert abs(np.ptp(columns) - 200) < 12
    expect(page.locator("#status")).to_contain_text("coloured")
    page.keyboard.press("Control+z")
    assert not (canvas(page, "ink")[..., 3] > 0).any()


def test_the_page_on_a_phone(browser: Browser, address: str) -> None:
    with browser.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2
    ) as context:
        page = context.new_page()
        open_page(page, address)
        assert page.locator("html").evaluate("html => html.scrollWidth") <= 390
        ink = canvas(page, "ink")
        assert ink.shape[0] > ink.shape[1]  # the page is upright, like the phone
        answered = page.locator("body").get_attribute("data-settled")
        page.locator("#example").tap()
        settled(page, answered)
        for button in page.locator("button:visible").all():
            box = button.bounding_box()
            assert box
            assert min(box["width"], box["height"]) >= 30, button.get_attribute("title")
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
        shoot(page, "6-phone")


def test_the_time_from_a_stroke_to_its_colours(page: Page) -> None:
    """Prints the time only, because it depends on the machine."""
    house(page)
    milliseconds = []
    for x in (0.1, 0.14, 0.18, 0.22, 0.26):
        stroke(page, [(x, 0.8), (x + 0.02, 0.9)])
        milliseconds.append(int(page.locator("body").get_attribute("data-ms") or 0))
    median = sorted(milliseconds)[len(milliseconds) // 2]
    print(f"from a stroke's end to its colours: {median} ms (median of {milliseconds})")
    assert min(milliseconds) > 0
