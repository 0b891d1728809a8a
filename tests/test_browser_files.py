"""The page in a real browser: what it keeps, opens, saves and downloads, and colours from a reference."""

from __future__ import annotations

import base64
import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helper_networks import PALETTE, write_export
from helper_page import (
    HOUSE,
    canvas,
    color_at,
    colored,
    dab,
    download,
    draw_all,
    drop,
    ellipse,
    open_context,
    open_page,
    rendered,
    rgba,
    shoot,
    stroke,
    wait_until_kept,
)  # fmt: skip
from helper_servers import ROOT, SCRIPT, run_server
from linewash.coloring.colorizer import MAX_VIVID
from linewash.samples.sketches import draw, encode_image, on_white, sea, simulate_photo
from PIL import Image
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
PRIOR = [0.5, 0.2, 0.15, 0.1, 0.05 - 1e-12, 1e-12]  # high vividness paints everything in the last colour
CAT = b"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">
<g fill="none" stroke="#000" stroke-width="2" stroke-linejoin="round" stroke-linecap="round">
<path d="M20 60V28l-6-14 12 8h20l12-8-6 14v32z"/><circle cx="29" cy="36" r="3"/>
<circle cx="43" cy="36" r="3"/><path d="M33 45h6l-3 4zM30 53q6 4 12 0"/></g></svg>"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as address:
        yield address


@pytest.fixture(scope="module")
def guided_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose network follows its reference to the letter, and can be vivid."""
    folder = tmp_path_factory.mktemp("guided")
    export = write_export(folder / "export", hints=True, reference=True, prior=PRIOR)
    with run_server("--run", export) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with open_context(browser, address) as context:
        yield open_page(context, address)


def drop_drawing(page: Page, name: str, media_type: str, data: bytes) -> None:
    with colored(page):
        drop(page, "body", name, media_type, data)


def test_downloads_show_what_the_page_shows(page: Page) -> None:
    stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
    with colored(page):
        page.locator("[data-background=transparent]").click()
    dab(page, 0.5, 0.5, "#c0ffee")
    for format_name in ("png", "svg", "ora"):
        name, data = download(page, page.locator(f"#{format_name}").click)
        assert name == f"drawing.{format_name}"
        image = rendered(data, format_name)
        assert image[5, 5, 3] == 0, format_name
        middle = image[image.shape[0] // 2, image.shape[1] // 2]
        assert tuple(middle) == rgba("#c0ffee"), format_name
    page.locator("#show-colors").uncheck()
    image = rendered(download(page, page.locator("#png").click)[1], "png")
    assert image[image.shape[0] // 2, image.shape[1] // 2, 3] == 0  # lines alone
    assert (image[..., 3] > 200).any()
    page.locator("#show-colors").check()
    page.locator("#show-lines").uncheck()
    image = rendered(download(page, page.locator("#png").click)[1], "png")
    shown = image[image[..., 3] == 255]
    assert (shown == rgba("#c0ffee")).all()  # colours alone, on transparency


def test_borders_without_a_line_are_as_smooth_as_in_a_download(page: Page) -> None:
    box = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9), (0.1, 0.1)]
    draw_all(page, [box])
    page.locator("[data-tool=divider]").click()
    stroke(page, [(0.3, 0.07), (0.6, 0.5), (0.35, 0.93)])
    dab(page, 0.2, 0.5, "#aa0000")
    dab(page, 0.75, 0.5, "#0000aa")
    page.locator("#show-lines").uncheck()
    file = rendered(download(page, page.locator("#png").click)[1], "png")
    shown, inside = canvas(page, "colors"), np.s_[100:-100, 200:-200]
    assert shown.shape == file.shape
    is_red = file[inside] == rgba("#aa0000")
    assert (is_red.all(-1) | (file[inside] == rgba("#0000aa")).all(-1)).all()
    red = shown[inside][..., 0] / 0xAA
    assert ((red > 0.5) != is_red.all(-1)).sum() < 0.1 * len(red)  # a tenth of a pixel in each row
    is_mixed = (red > 0) & (red < 1)
    assert 0.5 * len(red) < is_mixed.sum() < 3 * len(red)  # the border is antialiased, not blurred
    assert (shown[inside][..., 3] == 255).all()


def test_the_clipboard_gets_the_coloured_picture(browser: Browser, address: str) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    with open_context(browser, address, permissions=permissions) as context:
        page = open_page(context, address)
        expect(page.locator("#copy")).to_be_disabled()
        stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
        dab(page, 0.5, 0.5, "#c0ffee")
        page.locator("#copy").click()
        expect(page.locator("#status")).to_have_text("the picture is on the clipboard")
        types, data = page.evaluate(
            """async () => {
                const [item] = await navigator.clipboard.read();
                const bytes = new Uint8Array(await (await item.getType("image/png")).arrayBuffer());
                return [item.types, btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))];
            }"""
        )
        assert types == ["image/png"]
        image = rendered(base64.b64decode(data), "png")
        height, width = image.shape[:2]
        assert (height, width) == (768, 1024)
        assert tuple(image[height // 2, width // 2]) == rgba("#c0ffee")
        assert tuple(image[5, 5]) == color_at(page, 0.01, 0.01)
        line = image[height // 2, round(0.3 * width) - 4 : round(0.3 * width) + 5]
        assert line[:, :3].max(-1).min() < 80


def test_a_reload_loses_nothing(browser: Browser, address: str) -> None:
    with open_context(browser, address) as context:
        page = open_page(context, address)
        draw_all(page, HOUSE)
        dab(page, 0.45, 0.38, "#c0ffee")
        with colored(page):
            page.locator("[data-background=paint]").click()
        wait_until_kept(page)
        before = canvas(page, "ink"), canvas(page, "colors")
        page.reload()
        expect(page.locator("#status")).to_contain_text("coloured in")
        expect(page.locator("body")).to_have_attribute("data-busy", "no")
        assert (canvas(page, "ink") == before[0]).all()
        assert (canvas(page, "colors") == before[1]).all()
        expect(page.locator("[data-background=paint]")).to_have_attribute("aria-checked", "true")
        expect(page.locator("#undo")).to_be_enabled()
        page.close()
        page = open_page(context, address)  # a closed tab
        expect(page.locator("#status")).to_contain_text("coloured in")
        assert (canvas(page, "ink") == before[0]).all()


def test_an_emptied_page_stays_empty_over_a_reload(browser: Browser, address: str) -> None:
    with open_context(browser, address) as context:
        page = open_page(context, address)
        stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
        drawn = canvas(page, "ink")
        wait_until_kept(page)
        with colored(page):
            page.keyboard.press("Control+z")
        wait_until_kept(page)
        reload(page)
        assert not canvas(page, "ink").any()
        assert not canvas(page, "colors").any()
        expect(page.locator("#undo")).to_be_disabled()
        with colored(page):
            page.keyboard.press("Control+Shift+Z")
        assert (canvas(page, "ink") == drawn).all()
        wait_until_kept(page)
        with colored(page):
            page.locator("#new").click()
        reload(page)  # a page that was never drawn on
        assert not canvas(page, "ink").any()
        expect(page.locator("#redo")).to_be_disabled()
        page.locator("#drawings").click()
        expect(page.locator(".drawing")).to_have_count(1)


def test_a_kept_drawing_moves_up_only_when_it_changes(page: Page) -> None:
    for name in ("first", "second", "third"):
        drop_drawing(page, f"{name}.svg", "image/svg+xml", CAT)
        wait_until_kept(page)
    assert kept_drawings(page) == ["third", "second", "first"]
    with colored(page):
        page.get_by_role("button", name="Open first").click()
    wait_until_kept(page)
    assert kept_drawings(page) == ["third", "second", "first"]
    page.locator("#drawings-close").click()
    stroke(page, [(0.1, 0.1), (0.2, 0.1)])
    wait_until_kept(page)
    assert kept_drawings(page) == ["first", "third", "second"]
    with colored(page):
        page.get_by_role("button", name="Open second").click()
    page.locator("#variants button").nth(1).click()  # another colouring is a change, too
    wait_until_kept(page)
    assert kept_drawings(page) == ["second", "first", "third"]


def kept_drawings(page: Page) -> list[str]:
    """Opens the list of drawings and returns their names."""
    page.locator("#drawings").click()
    expect(page.locator("#drawings-dialog")).to_be_visible()
    return [text.split(" ·")[0] for text in page.locator(".drawing p").all_text_contents()]


def reload(page: Page) -> None:
    page.reload()
    expect(page.locator("#variants button")).to_have_count(4)
    expect(page.locator("body")).to_have_attribute("data-busy", "no")


def test_several_drawings_are_kept_with_thumbnails(page: Page) -> None:
    stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
    first = canvas(page, "ink")
    with colored(page):
        page.locator("#new").click()
    assert not canvas(page, "ink")[..., 3].any()
    stroke(page, ellipse(0.3, 0.3, 0.1, 0.1))
    wait_until_kept(page)
    page.locator("#drawings").click()
    entries = page.locator(".drawing")
    expect(entries).to_have_count(2)
    expect(entries.locator("img")).to_have_count(2)
    shoot(page, "drawings")
    with colored(page):
        entries.nth(1).locator("button").first.click()
    assert (canvas(page, "ink") == first).all()
    page.locator("#drawings").click()
    delete = entries.locator(".delete:enabled")
    delete.click()
    delete.click()  # asks once
    expect(entries).to_have_count(1)


def test_a_drawing_is_saved_to_a_file_and_opened_elsewhere(browser: Browser, address: str) -> None:
    with open_context(browser, address) as context:
        page = open_page(context, address)
        draw_all(page, HOUSE)
        dab(page, 0.45, 0.38, "#c0ffee")
        page.locator("#lock").click()
        expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")
        wait_until_kept(page)
        before = canvas(page, "ink"), color_at(page, 0.45, 0.38)
        name, data = download(page, lambda: page.keyboard.press("Control+s"))
        assert name == "drawing.linewash"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:  # any ZIP reader reads it
        assert archive.testzip() is None
        assert {"ink.png", "hints.png", "dividers.png", "settings.json"} == set(archive.namelist())
        assert json.loads(archive.read("settings.json"))["version"] == 1
    with open_context(browser, address) as context:  # another browser, which keeps nothing yet
        page = open_page(context, address)
        drop_drawing(page, name, "", data)
        assert (canvas(page, "ink") == before[0]).all()
        assert color_at(page, 0.45, 0.38) == before[1] == rgba("#c0ffee")
        expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")
        drop(page, "body", "cut.linewash", "", data[: len(data) // 2])
        expect(page.locator("#status")).to_contain_text("cut.linewash: the file is damaged")
        assert (canvas(page, "ink") == before[0]).all()


def test_a_wrong_value_in_a_file_is_named_and_changes_nothing(page: Page) -> None:
    draw_all(page, HOUSE)
    _, data = download(page, lambda: page.keyboard.press("Control+s"))
    before = canvas(page, "ink")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    settings = json.loads(parts["settings.json"])
    choices = settings["choices"]
    wrong: list[tuple[dict[str, object], str]] = [
        (
            settings | {"version": 2},
            "has version 2, but 1 (for a later one, use a newer linewash)",
        ),
        (settings | {"width": -3}, "has width -3, but a whole number from 1 to 4096 is expected"),
        ({k: v for k, v in settings.items() if k != "replace"}, "has no replace, but a list"),
        (settings | {"replace": [["red", "#00ff00"]]}, "has replace"),
        (settings | {"locked": "aGVsbG8="}, "locked in settings.json is no PNG"),
        (
            settings | {"choices": choices | {"background": "blue"}},
            'has choices.background "blue", but one of',
        ),
        (settings | {"choices": choices | {"reference": None}}, "has choices.reference null, but an object"),
        (settings | {"choices": choices | {"vivid": "much"}}, 'has choices.vivid "much", but a number'),
        (
            settings | {"choices": choices | {"reference": {"on": True, "colors": [["#ff0000", -1]]}}},
            "has choices.reference.colors",
        ),
    ]
    for value, message in wrong:
        drop(page, "body", "x.linewash", "", zip_of(parts | {"settings.json": json.dumps(value).encode()}))
        expect(page.locator("#status")).to_contain_text(message)
    drop(page, "body", "x.linewash", "", zip_of(parts | {"settings.json": b"{"}))
    expect(page.locator("#status")).to_contain_text("settings.json in the file is no JSON")
    drop(page, "body", "x.linewash", "", zip_of(parts | {"ink.png": b"no PNG"}))
    expect(page.locator("#status")).to_contain_text("ink.png in the file is no PNG")
    assert (canvas(page, "ink") == before).all()
    for name in ("strength", "vivid"):  # files of older versions lack them
        del choices[name]
    drop_drawing(page, "old.linewash", "", zip_of(parts | {"settings.json": json.dumps(settings).encode()}))
    assert (canvas(page, "ink") == before).all()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_two_tabs_do_not_overwrite_each_other(browser: Browser, address: str) -> None:
    with open_context(browser, address) as context:
        first = open_page(context, address)
        stroke(first, ellipse(0.5, 0.5, 0.2, 0.25))
        wait_until_kept(first)
        second = open_page(context, address)
        assert not canvas(second, "ink")[..., 3].any()  # a page of its own
        second.locator("#drawings").click()
        second.locator(".drawing button").first.click()
        expect(second.locator(".drawing p").first).to_contain_text("open in another tab")


def test_the_server_ends_and_comes_back(browser: Browser) -> None:
    with run_server() as address, open_context(browser, address) as context:
        page = open_page(context, address)
        stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
    port = address.rpartition(":")[2]
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        start = [sys.executable, str(SCRIPT), "--port", port]
        server = subprocess.Popen(start, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert server.stdout
        server.stdout.readline()
        page = open_page(context, address)
        stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
        server.send_signal(signal.SIGKILL)
        server.wait()
        stroke(page, ellipse(0.2, 0.2, 0.1, 0.1))
        expect(page.locator("#status")).to_contain_text("no response from the server")
        shoot(page, "no-server")
        server = subprocess.Popen(start, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            expect(page.locator("#status")).to_contain_text("coloured in", timeout=30_000)
        finally:
            server.terminate()
            server.wait(20)
        assert (canvas(page, "ink")[..., 3] > 0).sum() > 1000


def test_a_dropped_svg_is_coloured_and_named_after_itself(page: Page) -> None:
    drop_drawing(page, "cat.svg", "image/svg+xml", CAT)
    expect(page.locator("#status")).to_contain_text("background: paper")
    assert color_at(page, 0.03, 0.03) == (255, 255, 255, 255)
    dab(page, 0.5, 0.82, "#e0ad45")
    assert color_at(page, 0.5, 0.82) == rgba("#e0ad45")
    assert color_at(page, 0.03, 0.03) == (255, 255, 255, 255)
    assert download(page, page.locator("#png").click)[0] == "cat-colored.png"
    shoot(page, "cat")


def test_a_photo_of_a_drawing_is_downloaded_in_its_own_size(page: Page) -> None:
    photo = encode_image(simulate_photo(on_white(draw(sea, 2400, 1800, 8, seed=4)), 0), "JPEG")
    drop_drawing(page, "phone.jpg", "image/jpeg", photo)
    ink = canvas(page, "ink")
    assert ink.shape[:2] == (1536, 2048)
    assert 0.005 < (ink[..., 3] > 128).mean() < 0.2
    shoot(page, "photo-of-a-drawing")
    name, data = download(page, page.locator("#png").click)
    assert name == "phone-colored.png"
    assert Image.open(io.BytesIO(data)).size == (2400, 1800)


def test_a_photograph_is_asked_about(page: Page) -> None:
    noise = np.random.default_rng(0).uniform(0, 1, (9, 12, 3))
    colors = np.array(
        Image.fromarray((noise * 255).astype(np.uint8)).resize((800, 600), Image.Resampling.BICUBIC)
    )
    drop(page, "body", "beach.jpg", "image/jpeg", encode_image(colors, "JPEG"))
    expect(page.locator("#photo-dialog")).to_be_visible()
    shoot(page, "photograph")
    page.locator("#as-photo").click()
    expect(page.locator("#photo-dialog")).not_to_be_visible()
    # A blurred picture may have no edges; then the page says so.
    expect(page.locator("#status")).to_contain_text("beach.jpg")


def test_a_file_that_is_no_picture_changes_nothing(page: Page) -> None:
    stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
    before = canvas(page, "ink")
    drop(page, "body", "letter.png", "image/png", b"Dear Sir or Madam")
    expect(page.locator("#status")).to_contain_text("letter.png: not a readable image")
    assert (canvas(page, "ink") == before).all()


def test_a_picture_of_48_megapixels_is_scaled_down(page: Page) -> None:
    sheet = on_white(draw(sea, 1000, 750, 4, seed=4))
    large = Image.fromarray(sheet).resize((8000, 6000))
    data = io.BytesIO()
    large.save(data, "JPEG", quality=80)
    sizes: list[int] = []
    page.on("request", lambda r: sizes.append(len(r.post_data_buffer or b"")) if "lines" in r.url else None)
    drop_drawing(page, "scan.jpg", "image/jpeg", data.getvalue())
    assert canvas(page, "ink").shape[:2] == (1536, 2048)
    assert sizes
    _, png = download(page, page.locator("#png").click)
    width, height = Image.open(io.BytesIO(png)).size
    assert width * height <= 25_000_000
    assert width / height == pytest.approx(4 / 3, rel=0.01)


def test_the_colours_follow_a_dropped_reference(
    browser: Browser, guided_address: str, tmp_path: Path
) -> None:
    with open_context(browser, guided_address) as context:
        page = open_page(context, guided_address)
        draw_all(page, HOUSE)
        with colored(page):
            page.locator("[data-background=paint]").click()
        without = color_at(page, 0.45, 0.6)
        picture = io.BytesIO()
        Image.new("RGB", (40, 30), (98, 184, 82)).save(picture, "PNG")
        with colored(page):
            drop(page, "#reference-picture", "leaf.png", "image/png", picture.getvalue())
        expect(page.locator("#reference-thumbnail")).to_be_visible()
        expect(page.locator("#reference-on")).to_be_checked()
        assert color_at(page, 0.45, 0.6) == rgba("#62b852") != without
        shoot(page, "reference")
        with colored(page):
            page.locator("#reference-on").uncheck()
        assert color_at(page, 0.45, 0.6) == without
        page.locator("#palette button").nth(3).click()
        wanted = page.locator("#custom").input_value()
        with colored(page):
            page.locator("#reference-clear").click()
        with colored(page):
            page.locator("#reference-add").click()
        expect(page.locator("#reference-colors input")).to_have_count(1)
        assert color_at(page, 0.45, 0.6) == rgba(wanted)
        wait_until_kept(page)
        page.reload()
        expect(page.locator("#reference-colors input")).to_have_count(1)


def test_sliders_say_how_closely_a_reference_is_followed_and_how_vivid_colours_are(
    browser: Browser, guided_address: str, tmp_path: Path
) -> None:
    with open_context(browser, guided_address) as context:
        page = open_page(context, guided_address)
        bodies: list[dict[str, object]] = []
        page.on("request", lambda r: bodies.append(r.post_data_json) if r.url.endswith("/color") else None)
        draw_all(page, HOUSE)
        with colored(page):
            page.locator("[data-background=paint]").click()
        strength, vivid = page.get_by_label("How closely"), page.get_by_label("Vividness")
        expect(strength).to_be_hidden()
        assert (bodies[-1]["reference_strength"], bodies[-1]["vivid"]) == (0.5, 0)
        assert vivid.get_attribute("max") == f"{MAX_VIVID:g}"
        vivid.focus()
        with colored(page):
            page.keyboard.press("End")
        assert color_at(page, 0.45, 0.6) == (*PALETTE.colors[-1], 255)
        expect(page.locator("#vivid-value")).to_have_text("3.00")
        with colored(page):
            page.locator("#reference-add").click()
        strength.focus()
        with colored(page):
            page.keyboard.press("ArrowRight")
        expect(page.locator("#strength-value")).to_have_text("55 %")
        assert (bodies[-1]["reference_strength"], bodies[-1]["vivid"]) == (0.55, 3)
        shoot(page, "sliders")
        wait_until_kept(page)
        page.reload()
        expect(strength).to_have_value("0.55")
        expect(vivid).to_have_value("3")
        data = download(page, lambda: page.keyboard.press("Control+s"))[1]
        page.locator("#reference-on").uncheck()
        expect(strength).to_be_hidden()
        with colored(page):
            page.locator("#new").click()
        expect(vivid).to_have_value("0")
        drop_drawing(page, "house.linewash", "", data)
        expect(strength).to_have_value("0.55")
        expect(vivid).to_have_value("3")
    # A network that takes no reference and has no frequencies.
    plain = write_export(tmp_path / "plain")
    with run_server("--run", plain) as address, open_context(browser, address) as context:
        page = open_page(context, address)
        drop_drawing(page, "house.linewash", "", data)
        expect(page.locator("#status")).to_contain_text("coloured in")
        expect(page.get_by_label("Vividness")).to_be_hidden()
