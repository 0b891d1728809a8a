"""The page in a real browser: drawing, filling, changing the result, on desks and phones."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helper_networks import write_export
from helper_page import (
    CAR,
    FACE,
    FISH,
    HOUSE,
    Points,
    canvas,
    choose_color,
    color_at,
    colored,
    dab,
    draw_all,
    ellipse,
    open_context,
    open_page,
    position,
    rgba,
    shoot,
    stroke,
)  # fmt: skip
from helper_servers import run_server
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
AXE = "axe-core@4.11.0"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with run_server() as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with open_context(browser, address) as context:
        yield open_page(context, address)


@pytest.mark.parametrize(
    ("name", "strokes", "inside"),
    [
        ("house", HOUSE, (0.45, 0.38)), ("face", FACE, (0.5, 0.8)), ("car", CAR, (0.2, 0.58)),
        ("fish", FISH, (0.5, 0.55)),
    ],
)  # fmt: skip
def test_a_dab_fills_exactly_its_area(
    page: Page, name: str, strokes: list[Points], inside: tuple[float, float]
) -> None:
    expect(page.locator("#png")).to_be_disabled()
    draw_all(page, strokes)
    expect(page.locator("#status")).to_contain_text("coloured in")
    before = canvas(page, "colors")
    color = "#c0ffee"  # of no palette
    dab(page, *inside, color)
    after = canvas(page, "colors")
    assert color_at(page, *inside) == rgba(color)
    filled = (after == rgba(color)).all(-1)
    assert 0.01 < filled.mean() < 0.4
    # Outside of the area nothing changes, except where colours mix at its border.
    corner = np.s_[:40, :40]
    assert (after[corner] == before[corner]).all()
    lines = canvas(page, "ink")[..., 3] > 0
    near = np.zeros_like(lines)
    for shift in range(-12, 13):
        near |= np.roll(filled, shift, 0) | np.roll(filled, shift, 1)
    changed = (after != before).any(-1) & ~filled
    assert (changed & ~near & ~lines).mean() < 0.02
    shoot(page, f"drawn-{name}")


def test_the_area_lights_up_before_the_click(page: Page) -> None:
    draw_all(page, HOUSE)
    page.locator("[data-tool=fill]").click()
    choose_color(page, "#00ff00")
    page.mouse.move(*position(page, 0.45, 0.38))
    overlay = canvas(page, "overlay")
    height, width = overlay.shape[:2]
    assert overlay[int(0.38 * height), int(0.45 * width), 3] > 0
    assert overlay[int(0.9 * height), int(0.5 * width), 3] == 0
    shoot(page, "highlight")


def test_a_fill_is_shown_before_the_server_answers(page: Page) -> None:
    draw_all(page, HOUSE)
    page.locator("[data-tool=fill]").click()
    choose_color(page, "#123456")
    page.route("**/color", lambda route: None)  # the server does not answer
    page.mouse.move(*position(page, 0.45, 0.38))
    page.mouse.down()
    page.mouse.up()
    assert color_at(page, 0.45, 0.38) == rgba("#123456")
    milliseconds = page.locator("body").get_attribute("data-fill-ms")
    print(f"a dab is shown after {milliseconds} ms")
    page.unroute("**/color")


def test_undo_redo_and_the_two_erasers(page: Page) -> None:
    draw_all(page, HOUSE)
    before = color_at(page, 0.45, 0.38)
    dab(page, 0.45, 0.38, "#c0ffee")
    with colored(page):
        page.keyboard.press("Control+z")
    assert color_at(page, 0.45, 0.38) == before
    with colored(page):
        page.keyboard.press("Control+Shift+Z")
    assert color_at(page, 0.45, 0.38) == rgba("#c0ffee")
    drawn = (canvas(page, "ink")[..., 3] > 0).sum()
    page.locator("#size").fill("8")
    page.keyboard.press("h")
    stroke(page, [(0.3, 0.38), (0.6, 0.38)])
    assert (canvas(page, "hints")[..., 3] > 0).sum() == 0
    assert (canvas(page, "ink")[..., 3] > 0).sum() == drawn
    assert color_at(page, 0.45, 0.38) == before
    page.keyboard.press("e")
    stroke(page, [(0.2, 0.36), (0.7, 0.36)])
    assert (canvas(page, "ink")[..., 3] > 0).sum() < drawn


def test_an_area_gets_a_likely_colour_or_its_neighbours(page: Page) -> None:
    draw_all(page, HOUSE)
    page.locator("[data-tool=area]").click()
    page.mouse.click(*position(page, 0.45, 0.6))
    likeliest = page.locator("#area-colors button")
    assert likeliest.count() >= 2
    expect(likeliest.first).to_contain_text("%")
    wanted = likeliest.nth(1).get_attribute("data-color")
    with colored(page):
        likeliest.nth(1).click()
    assert wanted
    assert color_at(page, 0.45, 0.6) == rgba(wanted)
    shoot(page, "area")
    neighbour = page.locator("#area-neighbours button").first
    wanted = neighbour.get_attribute("data-color")
    with colored(page):
        neighbour.click()
    assert wanted
    assert color_at(page, 0.45, 0.6) == rgba(wanted)


def test_a_colour_is_replaced_everywhere(page: Page) -> None:
    draw_all(page, [ellipse(0.25, 0.5, 0.12, 0.2), ellipse(0.7, 0.5, 0.12, 0.2)])
    dab(page, 0.25, 0.5, "#aa0000")
    dab(page, 0.7, 0.5, "#aa0000")
    page.locator("[data-tool=area]").click()
    page.mouse.click(*position(page, 0.25, 0.5))
    page.locator("#everywhere").check()
    with colored(page):
        choose_color(page, "#00aa00")
    assert color_at(page, 0.25, 0.5) == color_at(page, 0.7, 0.5) == rgba("#00aa00")
    # A later hint has the colour that is chosen, also if this colour has been replaced before.
    page.locator("#everywhere").uncheck()
    dab(page, 0.7, 0.5, "#aa0000")
    assert color_at(page, 0.7, 0.5) == rgba("#aa0000")
    assert color_at(page, 0.25, 0.5) == rgba("#00aa00")


def test_a_split_divides_an_area_and_is_not_drawn(page: Page) -> None:
    draw_all(page, [[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.2)]])
    ink = canvas(page, "ink")
    page.locator("[data-tool=divider]").click()
    stroke(page, [(0.5, 0.17), (0.5, 0.83)])
    dab(page, 0.35, 0.5, "#aa0000")
    dab(page, 0.65, 0.5, "#0000aa")
    assert color_at(page, 0.35, 0.5) == color_at(page, 0.46, 0.3) == rgba("#aa0000")
    assert color_at(page, 0.65, 0.5) == color_at(page, 0.54, 0.7) == rgba("#0000aa")
    assert (canvas(page, "ink") == ink).all()
    shoot(page, "split")


def test_locked_colours_stay_while_drawing_on(page: Page) -> None:
    draw_all(page, HOUSE)
    dab(page, 0.45, 0.38, "#c0ffee")
    page.locator("#lock").click()
    expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")
    with colored(page):
        page.keyboard.press("p")
        page.locator("#others").click()
    before = canvas(page, "colors")
    stroke(page, [(0.38, 0.52), (0.46, 0.52), (0.46, 0.62), (0.38, 0.62), (0.38, 0.52)])
    after = canvas(page, "colors")
    outside = np.ones(after.shape[:2], bool)
    outside[
        int(0.48 * len(after)) : int(0.66 * len(after)),
        int(0.35 * after.shape[1]) : int(0.49 * after.shape[1]),
    ] = 0
    assert (after != before).any(-1)[outside].mean() < 0.02
    page.locator("#lock").click()
    expect(page.locator("#lock")).to_have_attribute("aria-pressed", "false")


def test_the_picker_takes_a_colour_that_becomes_recent(page: Page) -> None:
    draw_all(page, HOUSE)
    expected = "#" + bytes(color_at(page, 0.45, 0.38)[:3]).hex()
    page.keyboard.press("i")
    page.mouse.click(*position(page, 0.45, 0.38))
    assert page.locator("#custom").input_value() == expected
    expect(page.locator("[data-tool=fill]")).to_have_attribute("aria-checked", "true")
    stroke(page, [(0.85, 0.2)])
    expect(page.locator(f"#recent button[data-color='{expected}']")).to_be_visible()
    assert color_at(page, 0.85, 0.2) == rgba(expected)


def test_variants_are_shown_chosen_and_resampled(page: Page) -> None:
    draw_all(page, HOUSE)
    buttons = page.locator("#variants button:enabled")
    assert buttons.count() >= 2
    first = canvas(page, "colors")
    buttons.nth(1).click()
    second = canvas(page, "colors")
    assert (first != second).any(-1).mean() > 0.01
    page.keyboard.press("1")
    assert (canvas(page, "colors") == first).all()
    page.keyboard.press("2")
    with colored(page):
        page.click("#others")
    assert (canvas(page, "colors") != second).any()


def test_a_dab_in_a_small_region_that_is_zoomed_in(page: Page) -> None:
    draw_all(page, [ellipse(0.5, 0.5, 0.3, 0.4), ellipse(0.6, 0.4, 0.02, 0.027)])
    dab(page, 0.5, 0.7, "#aa5500")
    page.mouse.move(*position(page, 0.6, 0.4))
    page.mouse.wheel(0, -1000)
    assert int((page.locator("#actual").text_content() or "0").split()[0]) > 250
    dab(page, 0.6, 0.4, "#c0ffee")
    assert color_at(page, 0.6, 0.4) == rgba("#c0ffee")
    assert color_at(page, 0.5, 0.7) == rgba("#aa5500")
    shoot(page, "zoomed")
    x, y = position(page, 0.6, 0.4)
    page.mouse.move(x, y)
    page.locator("#stage").focus()
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=3)
    page.mouse.up()
    page.keyboard.up("Space")
    moved = position(page, 0.6, 0.4)
    assert moved == pytest.approx((x + 60, y + 30), abs=1)
    page.keyboard.press("0")
    box, stage = page.locator("#sheet").bounding_box(), page.locator("#stage").bounding_box()
    assert box
    assert stage
    assert box["x"] >= stage["x"]
    assert box["height"] <= stage["height"]


def test_boxes_stay_boxes_and_shift_draws_straight(page: Page) -> None:
    """Checks that fast strokes keep their corners, and that a shaky one with Shift is straight."""
    draw_all(page, [])
    stroke(page, [(0.2, 0.2), (0.5, 0.2), (0.5, 0.5)], steps=4)
    ink = canvas(page, "ink")[..., 3] > 128
    height, width = ink.shape
    assert ink[
        round(0.2 * height) - 4 : round(0.2 * height) + 5, round(0.5 * width) - 4 : round(0.5 * width) + 5
    ].any()
    page.keyboard.down("Shift")
    page.mouse.move(*position(page, 0.2, 0.8))
    page.mouse.down()
    for x, y in ((0.4, 0.7), (0.6, 0.9), (0.8, 0.8)):
        page.mouse.move(*position(page, x, y))
    page.mouse.up()
    page.keyboard.up("Shift")
    ink = canvas(page, "ink")[..., 3] > 128
    assert not ink[round(0.85 * height) :].any()


def test_the_background_is_paint_paper_or_transparent(page: Page) -> None:
    stroke(page, ellipse(0.5, 0.5, 0.2, 0.25))
    expect(page.locator("#status")).to_contain_text("background: paper")  # what auto decided
    assert color_at(page, 0.05, 0.05) == (255, 255, 255, 255)
    inside = color_at(page, 0.5, 0.5)
    buttons = page.locator("#background button")
    expect(buttons.nth(0)).to_have_attribute("aria-checked", "true")
    assert [buttons.nth(index).get_attribute("tabindex") for index in range(4)] == ["0", "-1", "-1", "-1"]
    with colored(page):
        buttons.nth(3).click()
    assert color_at(page, 0.05, 0.05)[3] == 0
    assert color_at(page, 0.5, 0.5) == inside
    with colored(page):
        page.keyboard.press("ArrowLeft")  # to Paint
    expect(buttons.nth(2)).to_have_attribute("aria-checked", "true")
    assert color_at(page, 0.05, 0.05)[3] == 255


def test_drawing_and_filling_with_the_keyboard_only(page: Page) -> None:
    page.locator("#stage").focus()
    with colored(page):
        page.keyboard.press("Enter")
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            for _ in range(5):
                page.keyboard.press(f"Shift+{key}")
        page.keyboard.press("Enter")
    rows, columns = np.nonzero(canvas(page, "ink")[..., 3] > 128)
    assert abs(np.ptp(rows) - 200) < 12
    assert abs(np.ptp(columns) - 200) < 12
    page.keyboard.press("f")
    for key in ("ArrowRight", "ArrowDown"):
        for _ in range(2):
            page.keyboard.press(f"Shift+{key}")
    with colored(page):
        page.keyboard.press("Enter")
    wanted = page.locator("#custom").input_value()
    assert color_at(page, 0.58, 0.6) == rgba(wanted)
    shoot(page, "keyboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_on_a_phone(browser: Browser, address: str, scheme: str) -> None:
    with open_context(
        browser, address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True,
        device_scale_factor=2, color_scheme=scheme,
    ) as context:  # fmt: skip
        page = open_page(context, address)
        ink = canvas(page, "ink")
        assert ink.shape[0] > ink.shape[1]  # the page is upright, like the phone
        with colored(page):
            page.locator("#example").tap()
        page.locator("[data-tool=fill]").tap()
        page.locator("#palette button").nth(6).tap()
        wanted = page.locator("#custom").input_value()
        page.locator("#stage").scroll_into_view_if_needed()
        with colored(page):
            page.touchscreen.tap(*position(page, 0.4, 0.5))
        assert color_at(page, 0.4, 0.5) == rgba(wanted)
        assert page.locator("html").evaluate("html => html.scrollWidth") <= 360
        for button in page.locator("button:visible").all():
            box = button.bounding_box()
            assert box
            assert min(box["width"], box["height"]) >= 24, button.get_attribute("title")
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
        background = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        assert (max(map(int, background[4:-1].split(", "))) < 80) == (scheme == "dark")
        shoot(page, f"phone-{scheme}")


def touch(
    page: Page, middle: tuple[float, float], moves: list[dict[int, tuple[float, float]]], pause: float = 0
) -> None:
    """Moves fingers, each with its number, to points around `middle`; fingers that are missing are lifted."""
    session = page.context.new_cdp_session(page)
    for before, fingers in pairwise([{}, *moves]):
        is_new, is_lifted = fingers.keys() - before, before.keys() - fingers
        kind = "touchStart" if is_new else "touchEnd" if is_lifted else "touchMove"
        points = [{"x": middle[0] + x, "y": middle[1] + y, "id": id_} for id_, (x, y) in fingers.items()]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(pause)


@pytest.mark.parametrize("tool", ["pen", "fill", "area", "picker"])
def test_two_fingers_zoom_and_change_nothing(browser: Browser, address: str, tool: str) -> None:
    with open_context(browser, address, has_touch=True) as context:
        page = open_page(context, address)
        draw_all(page, HOUSE)
        page.locator(f"[data-tool={tool}]").click()
        before = canvas(page, "ink"), canvas(page, "hints"), canvas(page, "colors")
        chosen = page.locator("#custom").input_value()
        width = page.locator("#sheet").evaluate("sheet => sheet.getBoundingClientRect().width")
        middle = position(page, 0.45, 0.38)
        # The fingers land one after the other, spread to three times their distance, and move by (60, 30).
        spread = [{0: (-40 - 8 * i, -20 - 4 * i), 1: (40 + 8 * i, 20 + 4 * i)} for i in range(11)]
        moved = [{0: (-60, -30), 1: (180, 90)}, {1: (180, 90)}, {1: (220, 90)}, {}]
        touch(page, middle, [{0: (-40, -20)}, *spread, *moved])
        assert position(page, 0.45, 0.38) == pytest.approx((middle[0] + 60, middle[1] + 30), abs=2)
        zoomed = page.locator("#sheet").evaluate("sheet => sheet.getBoundingClientRect().width")
        assert zoomed == pytest.approx(3 * width, rel=0.02)
        for name, pixels in zip(("ink", "hints", "colors"), before, strict=True):
            assert (canvas(page, name) == pixels).all(), name
        assert page.locator("#custom").input_value() == chosen
        expect(page.locator("#area-section")).to_be_hidden()


def test_a_stroke_that_becomes_a_pinch_leaves_nothing(browser: Browser, address: str) -> None:
    with open_context(browser, address, has_touch=True) as context:
        page = open_page(context, address)
        middle = position(page, 0.5, 0.5)
        circle = [{0: (100 * x, 100 * y)} for x, y in ellipse(0, 0, 1, 1)]
        touch(page, middle, circle, 60)  # the page colours strokes in progress now and then
        expect(page.locator("#status")).to_contain_text("coloured in")
        touch(page, middle, [circle[-1] | {1: (0, 0)}, circle[-1] | {1: (20, 0)}, {}])
        assert not canvas(page, "ink").any()
        expect(page.locator("#png")).to_be_disabled()
        assert not canvas(page, "colors").any()
        expect(page.locator("#undo")).to_be_disabled()
        expect(page.locator("#empty")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(browser: Browser, tmp_path: Path, scheme: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to fetch axe-core")
    command = [npm, "install", "--silent", "--prefix", str(tmp_path), AXE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("axe-core cannot be fetched")
    source = (tmp_path / "node_modules" / "axe-core" / "axe.min.js").read_text()
    # A network that shows all parts of the page.
    export = write_export(tmp_path / "export", hints=True, reference=True, prior=[1 / 6] * 6)
    with (
        run_server("--run", export) as address,
        open_context(browser, address, color_scheme=scheme) as context,
    ):
        page = open_page(context, address)
        with colored(page):
            page.locator("#example").click()
        with colored(page):
            page.locator("#reference-add").click()
        page.locator("[data-tool=area]").click()
        page.mouse.click(*position(page, 0.4, 0.6))
        shoot(page, f"desk-{scheme}")
        page.evaluate(source)
        found = page.evaluate("() => axe.run()")
        serious = [
            f"{fault['id']}: {[node['target'] for node in fault['nodes']]}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        assert serious == []


def test_the_time_from_a_stroke_to_its_colours(page: Page) -> None:
    """Prints the time only, because it depends on the machine."""
    draw_all(page, HOUSE)
    milliseconds = []
    for x in (0.1, 0.14, 0.18, 0.22, 0.26):
        stroke(page, [(x, 0.8), (x + 0.02, 0.9)])
        milliseconds.append(int(page.locator("body").get_attribute("data-ms") or 0))
    median = sorted(milliseconds)[len(milliseconds) // 2]
    print(f"from a stroke's end to its colours: {median} ms (median of {milliseconds})")
    assert min(milliseconds) > 0
