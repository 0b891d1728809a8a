"""Hints, paper, gaps and regions, on drawings that are made by hand in code, some of them with gaps."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from helper_networks import PALETTE, write_export
from linewash.coloring import gap_closing, label_decoding
from linewash.coloring.cli import main
from linewash.coloring.colorizer import ColoredImage, Settings, colorize
from linewash.coloring.line_extraction import Drawing, read_drawing
from linewash.coloring.model_loader import Network, load
from linewash.coloring.openraster import layer_names, to_png
from linewash.coloring.paper import Background
from linewash.samples.sketches import encode_image
from linewash.serving.service import ColorizeRequest, color_preview

from training.errors import UsageError

WHITE = (255, 255, 255)
RED, BLUE, SKIN = (214, 24, 31), (20, 60, 200), (251, 213, 177)  # none is in the palette
SIDE = 400


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return load(write_export(tmp_path_factory.mktemp("networks") / "hinted", hints=True))


def blank() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), 255, np.uint8)


def circle(gap: int = 0) -> np.ndarray:
    """Returns a circle around the middle, with a gap of so many degrees on its right."""
    image = blank()
    cv2.ellipse(image, (200, 200), (120, 120), 0, gap / 2, 360 - gap / 2, (0, 0, 0), 4)
    return image


def frame() -> np.ndarray:
    image = blank()
    cv2.rectangle(image, (12, 12), (SIDE - 13, SIDE - 13), (0, 0, 0), 4)
    return image


def horizon() -> np.ndarray:
    image = blank()
    cv2.line(image, (0, 240), (SIDE, 250), (0, 0, 0), 4)
    return image


def bust() -> np.ndarray:
    """Returns a head on shoulders that are open below."""
    image = blank()
    cv2.circle(image, (200, 130), 60, (0, 0, 0), 4)
    cv2.ellipse(image, (200, 320), (110, 130), 0, 180, 360, (0, 0, 0), 4)
    return image


def dumbbell() -> np.ndarray:
    """Returns two rooms that are joined by a passage in a wall left of the middle."""
    image = blank()
    cv2.rectangle(image, (40, 100), (360, 300), (0, 0, 0), 4)
    cv2.line(image, (130, 100), (130, 175), (0, 0, 0), 4)
    cv2.line(image, (130, 225), (130, 300), (0, 0, 0), 4)
    return image


def two_circles() -> np.ndarray:
    image = blank()
    cv2.circle(image, (110, 200), 80, (0, 0, 0), 4)
    cv2.circle(image, (290, 200), 80, (0, 0, 0), 4)
    return image


def dabs(*points: tuple[int, int, tuple[int, int, int]]) -> np.ndarray:
    """Returns hints: a dab for each (x, y, colour)."""
    image = np.zeros((SIDE, SIDE, 4), np.uint8)
    for x, y, color in points:
        cv2.circle(image, (x, y), 6, (*color, 255), -1)
    return image


def paint(
    image: np.ndarray, network: Network, *points: tuple[int, int, tuple[int, int, int]],
    background: Background = "auto", variants: int = 1,
) -> list[ColoredImage]:  # fmt: skip
    settings = Settings(background=background, variants=variants)
    return colorize(read_drawing(encode_image(image)), network, settings, dabs(*points) if points else None)


def off_lines(image: np.ndarray) -> np.ndarray:
    return cv2.erode(image[..., 0], np.ones((7, 7), np.uint8)) > 250


def part(image: np.ndarray, x: int, y: int) -> np.ndarray:
    """Returns the pixels off the lines that are connected to (x, y) within them: bool [H, W]."""
    _, parts = cv2.connectedComponents((image[..., 0] > 200).astype(np.uint8), connectivity=4)
    return (parts == parts[y, x]) & off_lines(image)


def has_color(image: ColoredImage, color: tuple[int, int, int]) -> np.ndarray:
    return np.asarray((image.rgb(lines=False) == color).all(-1))


# ------------------------------------------------------------------------------------------------- hints


@pytest.mark.parametrize("background", ["auto", "paint", "paper"])
@pytest.mark.parametrize(
    ("image", "x", "y"),
    [(circle(), 200, 200), (frame(), 60, 300), (horizon(), 50, 60), (horizon(), 350, 350)],
)
def test_a_hint_fills_its_region_to_the_lines_and_not_beyond(
    network: Network, image: np.ndarray, x: int, y: int, background: Background
) -> None:
    (colored,) = paint(image, network, (x, y, RED), background=background)
    red, region = has_color(colored, RED), part(image, x, y)
    assert red[region].all()
    assert not red[off_lines(image) & ~region].any()


@pytest.mark.parametrize("gap", [8, 16])
def test_a_gap_in_an_outline_is_closed_along_its_strokes(network: Network, gap: int) -> None:
    (colored,) = paint(circle(gap), network, (200, 200, RED), background="paint")
    red, region = has_color(colored, RED), part(circle(), 200, 200)
    assert red[region].mean() > 0.99
    assert red[part(circle(), 5, 5)].mean() < 0.01


def test_a_chord_closes_an_outline_that_is_open_on_one_side(network: Network) -> None:
    image = bust()
    (colored,) = paint(image, network, (200, 260, BLUE))
    blue = has_color(colored, BLUE)
    assert blue[230:300, 170:230].all()
    assert not blue[340:].any()
    assert not blue[:, :60].any()


def test_an_arc_is_not_closed() -> None:
    lines = np.zeros((300, 300), np.uint8)
    cv2.ellipse(lines, (150, 100), (80, 30), 0, 0, 180, 1, 1)  # a smile
    assert not gap_closing.close_gaps(lines).any()


def test_hints_in_one_region_meet_at_the_gap_and_not_halfway(network: Network) -> None:
    image = dumbbell()
    (colored,) = paint(image, network, (85, 200, RED), (330, 200, BLUE), background="paint")
    red, blue = has_color(colored, RED), has_color(colored, BLUE)
    assert red[110:290, 50:120].all()
    assert blue[110:290, 142:350].all()


def test_later_hints_undo_no_earlier_region(network: Network) -> None:
    image = two_circles()
    points = [(10, 10, SKIN), (110, 200, RED), (290, 200, BLUE), (110, 150, RED), (200, 380, SKIN)]
    for count in range(1, len(points) + 1):
        (colored,) = paint(image, network, *points[:count])
        for x, y, color in points[:count]:
            assert has_color(colored, color)[part(image, x, y)].all()


def test_what_no_hint_touches_keeps_its_colour(network: Network) -> None:
    image = two_circles()
    (without,) = paint(image, network, background="paint")
    (hinted,) = paint(image, network, (110, 200, RED), background="paint")
    untouched = off_lines(image) & ~part(image, 110, 200)
    assert np.array_equal(without.labels[untouched], hinted.labels[untouched])


def test_around_figures_a_region_without_a_hint_takes_the_colour_of_the_nearest(network: Network) -> None:
    image = blank()
    cv2.circle(image, (200, 200), 120, (0, 0, 0), 4)
    cv2.circle(image, (200, 200), 40, (0, 0, 0), 4)
    colored, *others = paint(image, network, (200, 110, RED), variants=3)
    assert has_color(colored, RED)[part(image, 200, 200)].all()
    assert has_color(colored, WHITE)[part(image, 5, 5)].all()
    for other in others:
        assert has_color(other, RED)[part(image, 200, 110)].all()
        assert not has_color(other, RED)[part(image, 200, 200)].any()


@pytest.mark.parametrize("background", ["paint", "paper"])
def test_no_variant_breaks_a_hint(network: Network, background: Background) -> None:
    image = two_circles()
    variants = paint(image, network, (110, 200, RED), (10, 10, BLUE), background=background, variants=8)
    for variant in variants:
        assert has_color(variant, RED)[part(image, 110, 200)].all()
        assert has_color(variant, BLUE)[part(image, 10, 10)].all()


def test_the_temperature_of_the_variants_is_limited() -> None:
    regions = np.zeros((20, 20), np.int32)
    sure = label_decoding.Segmentation(
        regions, np.zeros(1, int), np.array([[1 - 1e-12, 1e-12]]), np.array([0, 1])
    )
    assert len(sure.variants(4, seed=0)) == 1


def test_a_foreign_colour_is_kept_exactly_and_follows_into_all_outputs(network: Network) -> None:
    (colored,) = paint(circle(), network, (200, 200, SKIN))
    assert colored.palette.colors[: len(PALETTE)] == PALETTE.colors
    assert set(colored.palette.colors[len(PALETTE) :]) == {SKIN, WHITE}
    assert colored.labels.dtype == np.uint16
    assert any(name.endswith(bytes(SKIN).hex()) for name in layer_names(colored))
    decoded = cv2.imdecode(np.frombuffer(to_png(colored), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded[200, 200].tolist() == list(SKIN)[::-1]


def test_the_network_gets_the_nearest_palette_colour(network: Network) -> None:
    inputs: list[np.ndarray] = []

    def spy(stack: np.ndarray) -> np.ndarray:
        inputs.append(stack)
        return np.zeros((*stack.shape[:3], len(PALETTE)), np.float32)

    silent = Network(network.palette, network.image_size, network.stride, True, network.path, spy)
    colors = np.array(PALETTE.colors)
    near = tuple(int(v) for v in np.clip(colors[3] + [2, -1, 1], 0, 255))
    paint(circle(), silent, (200, 200, (near[0], near[1], near[2])))
    hinted = inputs[-1][0][inputs[-1][0][..., 4] > 0]
    assert len(hinted)
    assert np.allclose(hinted[:, 1:4], colors[3] / 255, atol=1e-6)


def test_the_soft_rim_of_a_stroke_is_no_colour_of_its_own(network: Network) -> None:
    large = np.zeros((SIDE * 4, SIDE * 4, 4), np.uint8)
    cv2.circle(large, (800, 800), 30, (*RED, 255), -1)
    cv2.circle(large, (860, 800), 30, (*BLUE, 255), -1)
    soft = cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    (colored,) = colorize(read_drawing(encode_image(circle())), network, hints=soft)
    assert set(colored.palette.colors[len(PALETTE) :]) == {RED, BLUE, WHITE}


# ------------------------------------------------------------------------------------------------- paper


def test_paper_around_figures_stays_white_and_holes_in_them_do_not(network: Network) -> None:
    image = two_circles()
    cv2.line(image, (110, 120), (290, 120), (0, 0, 0), 4)  # encloses a hole between both
    cv2.line(image, (110, 280), (290, 280), (0, 0, 0), 4)
    (colored,) = paint(image, network)
    assert colored.background_mode == "paper"
    white = has_color(colored, WHITE)
    assert white[part(image, 5, 5)].all()
    for x in (110, 200, 290):
        assert not white[part(image, x, 200)].any()


@pytest.mark.parametrize(
    ("image", "mode"),
    [(circle(), "paper"), (circle(12), "paper"), (bust(), "paper"), (two_circles(), "paper"),
     (frame(), "paper"), (horizon(), "paint")],
)  # fmt: skip
def test_auto_keeps_the_paper_unless_the_border_closes_the_figures(
    network: Network, image: np.ndarray, mode: str
) -> None:
    assert paint(image, network)[0].background_mode == mode


def test_the_edges_of_a_photo_are_painted(network: Network) -> None:
    photo = cv2.GaussianBlur(np.where(circle() == 0, np.uint8(60), np.uint8(180)), (0, 0), 1)
    (colored,) = colorize(read_drawing(encode_image(photo), source="photo"), network)
    assert colored.background_mode == "paint"


def test_paint_colours_the_ground_and_transparent_leaves_it_out(network: Network) -> None:
    image = circle()
    ground = part(image, 5, 5)
    (painted,) = paint(image, network, background="paint")
    assert not has_color(painted, WHITE)[ground].any()
    assert painted.background is None
    (left_out,) = paint(image, network, background="transparent")
    assert left_out.background is not None
    assert left_out.background[ground].all()
    assert not left_out.background[part(image, 200, 200)].any()
    (hinted,) = paint(image, network, (10, 10, BLUE), background="transparent")
    assert hinted.background is not None
    assert not hinted.background.any()


def test_a_hint_on_the_ground_colours_all_of_it_and_no_figure(network: Network) -> None:
    image = circle()
    (colored,) = paint(image, network, (30, 200, BLUE))
    blue = has_color(colored, BLUE)
    assert blue[part(image, 5, 5)].all()
    assert not blue[part(image, 200, 200)].any()


def test_a_hint_in_a_figure_with_a_wide_opening_leaves_the_paper_white(network: Network) -> None:
    image = blank()  # a flask whose neck is open
    cv2.polylines(
        image,
        [np.array([(185, 60), (185, 150), (90, 330), (310, 330), (215, 150), (215, 60)])],
        False,
        (0, 0, 0),
        4,
    )
    (colored,) = paint(image, network, (200, 270, RED))
    red = has_color(colored, RED)
    assert red[200:320, 180:220].all()
    assert not red[:, :60].any()
    assert has_color(colored, WHITE)[:, :60].all()


def test_an_unknown_background_is_reported() -> None:
    with pytest.raises(UsageError, match="auto, paper, paint, transparent; got blue"):
        Settings(background="blue")  # type: ignore[arg-type]


def test_the_command_says_what_auto_decided(
    tmp_path: Path, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, image in (("circle", circle()), ("horizon", horizon())):
        (tmp_path / f"{name}.png").write_bytes(encode_image(image))
    run = ["--run", str(network.path), "-o", str(tmp_path / "out.png")]
    assert main([*run, str(tmp_path / "circle.png")]) == 0
    assert "background: paper" in capsys.readouterr().out
    assert main([*run, str(tmp_path / "horizon.png")]) == 0
    assert "background: paint" in capsys.readouterr().out
    assert main([*run, str(tmp_path / "circle.png"), "--background", "paint"]) == 0
    assert "background" not in capsys.readouterr().out
    both = [str(tmp_path / "circle.png"), str(tmp_path / "horizon.png")]
    assert main(["--run", str(network.path), "-o", str(tmp_path / "out"), *both]) == 0
    assert "background: paint in 1, paper in 1" in capsys.readouterr().out


def test_the_page_may_choose_the_background(network: Network) -> None:
    drawing = encode_image(circle())
    colors = {}
    for background in ("auto", "paper", "paint"):
        preview = color_preview(ColorizeRequest(drawing, background=background), network)  # type: ignore[arg-type]
        (colors[background],) = preview.colors
        assert preview.background == ("paper" if background == "auto" else background)
    assert colors["auto"] == colors["paper"] != colors["paint"]
    assert json.dumps(ColorizeRequest(drawing).background) == '"auto"'


# ----------------------------------------------------------------------------------------------- regions


def test_regions_can_be_recoloured_and_rendered_again(network: Network) -> None:
    image = two_circles()
    (colored,) = paint(image, network, (110, 200, RED))
    regions = colored.regions
    covered = np.sum([region.mask for region in regions], axis=0)
    assert (covered == 1).all()
    for region in regions:
        assert has_color(colored, region.color)[region.mask].all()
        probabilities = [probability for _, probability in region.likeliest]
        assert 0.99 < sum(probabilities) <= 1.01 or len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
    by_point = {
        name: next(r for r in regions if r.mask[y, x])
        for name, x, y in (("left", 110, 200), ("right", 290, 200), ("ground", 5, 5))
    }
    assert {name: region.origin for name, region in by_point.items()} == {
        "left": "hint", "right": "network", "ground": "paper"
    }  # fmt: skip
    changed = colored.recolor({by_point["right"].number: BLUE, by_point["ground"].number: PALETTE.colors[0]})
    assert has_color(changed, BLUE)[by_point["right"].mask].all()
    assert has_color(changed, PALETTE.colors[0])[by_point["ground"].mask].all()
    assert has_color(changed, RED)[by_point["left"].mask].all()
    assert BLUE not in colored.palette.colors
    with pytest.raises(ValueError, match="numbers of regions"):
        colored.recolor({10_000: BLUE})


def test_equal_calls_give_equal_images(network: Network) -> None:
    first, second = (paint(bust(), network, (200, 260, BLUE), variants=4) for _ in range(2))
    assert [image.labels.tobytes() for image in first] == [image.labels.tobytes() for image in second]


def test_a_drawing_of_lines_only_needs_no_ink() -> None:
    lines = np.zeros((128, 160), np.uint8)
    cv2.rectangle(lines, (30, 30), (120, 100), 1, 1)
    drawing = Drawing(np.full((128, 160, 3), 255, np.uint8), lines, np.zeros_like(lines), True)
    areas = label_decoding.Areas.find(drawing.line_map, drawing.stroke_mask)
    assert areas.regions.max() == 1
