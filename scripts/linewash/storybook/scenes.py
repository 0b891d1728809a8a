"""Composes the scenes of the storybook, one function per class. Each draws from the sky to the foreground."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from linewash.storybook import creatures, landscape, objects
from linewash.storybook import palette as pal
from linewash.storybook.canvas import Canvas, Spot, points, ridge
from linewash.storybook.landscape import hills, scatter, sea
from linewash.storybook.palette import Colour, mix
from linewash.storybook.sky import cloud, hot_air_balloon, leaf_fall, rainbow, rainfall, sky, snowfall
from linewash.storybook.svg_canvas import SvgCanvas

AnyCanvas = TypeVar("AnyCanvas", bound=Canvas)
DrawFunction = Callable[[Canvas, Spot], None]


def _crowd(c: Canvas, n: int, top: float, bottom: float, near: float, *things: DrawFunction) -> None:
    """Draws `n` things, each chosen from `things`, over a band of the image; for the band see `scatter`."""
    for p in scatter(c, n, top, bottom, near):
        things[c.count(0, len(things) - 1)](c, p)


def _flower(c: Canvas, p: Spot) -> None:
    landscape.flower(c, p, c.count(0, 4))


def meadow(c: Canvas) -> None:
    """Draws hills with trees, grazing animals and flowers."""
    y = c.rng.uniform(0.4, 0.55)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.SUNSET), y * c.h)
    if c.mood is pal.DAY and c.chance(0.25):
        rainbow(c, c.rng.uniform(0.2, 0.8) * c.w, y * c.h, 0.42 * c.w)
    hills(c, y, c.count(2, 3), 0.05)
    _crowd(c, c.count(2, 5), y + 0.05, y + 0.18, 0.42, landscape.tree)
    grazer = (creatures.sheep, creatures.cow)[c.count(0, 1)]
    _crowd(c, c.count(1, 4), y + 0.2, 0.85, 0.2, grazer, grazer, creatures.rabbit)
    if c.chance(0.5):
        _crowd(c, 1, 0.82, 0.9, 0.34, creatures.child)
    landscape.tufts(c, 7, y + 0.2)
    kind = c.count(0, 4)
    _crowd(c, c.count(4, 9), 0.88, 1.02, 0.2, lambda c, p: landscape.flower(c, p, kind), _flower)


def village(c: Canvas) -> None:
    """Draws houses along a winding path, with a church behind them."""
    y = c.rng.uniform(0.38, 0.48)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.SUNSET, pal.NIGHT), y * c.h)
    hills(c, y, 2)
    objects.church(c, scatter(c, 1, y + 0.06, y + 0.1, 0.5)[0])
    landscape.path(c, y + 0.14)
    _crowd(
        c, c.count(3, 6), y + 0.12, 0.82, 0.42, objects.house, objects.house, objects.house, landscape.tree
    )
    _crowd(c, c.count(1, 3), 0.85, 0.96, 0.27, creatures.child, creatures.cat, landscape.bush)


def harbour(c: Canvas) -> None:
    """Draws a harbour with a lighthouse on a rock, boats and a quay."""
    y = c.rng.uniform(0.4, 0.5)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.SUNSET), y * c.h)
    quay = c.rng.uniform(0.8, 0.88)
    sea(c, y, 1.0, pal.SEA)
    if c.chance(0.7):
        x, k = c.rng.choice([0.14, 0.86]) * c.w, c.rng.uniform(0.85, 0.98) * y * c.h
        landscape.rock(c, Spot(x, (y + 0.1) * c.h, 0.16 * c.h))
        objects.lighthouse(c, Spot(x, (y + 0.02) * c.h, k))
    _crowd(
        c,
        c.count(2, 5),
        y + 0.06,
        quay - 0.06,
        0.42,
        objects.sailing_boat,
        objects.sailing_boat,
        objects.steamer,
    )
    if c.chance(0.7):
        c.below(points((-9, quay * c.h), (c.w + 9, quay * c.h)), pal.WOOD)
        for x in np.arange(c.rng.uniform(0, 0.1), 1, 0.11) * c.w:
            c.stroke(points((x, quay * c.h), (x - 0.02 * c.w, c.h)), pal.EARTH)
        _crowd(c, c.count(1, 3), 0.94, 1.0, 0.3, creatures.child, creatures.child, creatures.cat)


def forest(c: Canvas) -> None:
    """Draws a forest glade with toadstools and animals between rows of trees."""
    y = c.rng.uniform(0.4, 0.5)
    sky(c, pal.DAY, y * c.h)
    back = ridge(c.rng, c.w, (y - 0.05) * c.h, 0.03 * c.h, 6)
    c.below(back, (24, 108, 70))
    hills(c, y + 0.08, 1, 0.02)
    if c.chance(0.5):
        landscape.path(c, y + 0.12)
    needles = c.chance(0.6)
    _crowd(
        c,
        c.count(6, 9),
        y + 0.1,
        y + 0.25,
        0.64,
        landscape.pine,
        landscape.pine if needles else landscape.tree,
    )
    _crowd(c, c.count(2, 3), y + 0.3, 0.85, 0.62, landscape.pine if needles else landscape.tree)
    _crowd(c, c.count(2, 4), 0.85, 0.97, 0.17, creatures.fox, creatures.rabbit, landscape.bush)
    _crowd(c, c.count(2, 5), 0.9, 1.0, 0.13, landscape.mushroom, landscape.mushroom, _flower)


def autumn(c: Canvas) -> None:
    """Draws autumn trees, falling leaves, and pumpkins on straw-coloured ground."""
    y = c.rng.uniform(0.4, 0.52)
    sky(c, pal.AUTUMN, y * c.h)
    hills(c, y, 2)
    if c.chance(0.4):
        _crowd(c, 1, y + 0.1, y + 0.2, 0.5, objects.house)
    _crowd(c, c.count(3, 6), y + 0.08, 0.8, 0.7, landscape.autumn_tree)
    _crowd(
        c, c.count(2, 4), 0.85, 0.97, 0.22, creatures.child, objects.pumpkin, objects.pumpkin, creatures.fox
    )
    leaf_fall(c, c.count(14, 26))


def mountains(c: Canvas) -> None:
    """Draws snow-capped peaks and pines, with a lake or a house in front."""
    y = c.rng.uniform(0.5, 0.6)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.SUNSET), y * c.h)
    landscape.mountains(c, y, c.count(3, 5))
    hills(c, y, 2, 0.025)
    if c.chance(0.6):
        lake = Spot(c.rng.uniform(0.25, 0.75) * c.w, (y + 0.2) * c.h, c.h)
        wide = c.rng.uniform(0.28, 0.45)
        c.shape(lake.oval(0, 0, wide * c.w / c.h, 0.085), pal.SHALLOW)
        for p in scatter(c, 3, y + 0.17, y + 0.23, 0.3):
            x = lake.x + (p.x - 0.5 * c.w) * 0.8 * wide
            c.stroke(Spot(x, p.y, 0.04 * c.h).path("-1,0 1,0"), pal.WHITE)
    else:
        _crowd(c, 1, y + 0.15, y + 0.22, 0.42, objects.house)
    _crowd(c, c.count(5, 9), y + 0.05, 0.98, 0.5, landscape.pine)
    _crowd(c, c.count(1, 3), 0.88, 0.98, 0.2, creatures.child, creatures.sheep, landscape.rock)


def garden(c: Canvas) -> None:
    """Draws a flower bed in the foreground, a picket fence and butterflies."""
    y = c.rng.uniform(0.4, 0.5)
    sky(c, pal.DAY, y * c.h)
    hills(c, y, 1, 0.02)
    _crowd(c, c.count(1, 2), y + 0.06, y + 0.14, 0.62, objects.house, landscape.tree, landscape.apple_tree)
    objects.fence(c, (y + 0.2) * c.h, 0.15 * c.h)
    if c.chance(0.6):
        _crowd(c, c.count(1, 2), 0.8, 0.86, 0.4, creatures.child, creatures.cat, creatures.rabbit)
    bed = ridge(c.rng, c.w, 0.88 * c.h, 0.015 * c.h, 2)
    c.below(bed, pal.EARTH)
    kind = c.count(0, 4)
    for p in scatter(c, c.count(5, 8), 0.9, 1.02, c.rng.uniform(0.36, 0.46), 0.75):
        landscape.flower(c, p, kind if c.chance(0.6) else c.count(0, 4))
    _crowd(c, c.count(1, 3), 0.2, 0.6, 0.13, landscape.butterfly)


def night(c: Canvas) -> None:
    """Draws moon and stars over sleeping houses with lit windows."""
    y = c.rng.uniform(0.5, 0.62)
    sky(c, pal.NIGHT, y * c.h)
    hills(c, y, 2, 0.05)
    _crowd(c, c.count(2, 4), y + 0.08, 0.8, 0.42, objects.house, objects.house, landscape.tree)
    _crowd(c, c.count(3, 6), y + 0.1, 0.98, 0.4, landscape.pine, landscape.tree)
    _crowd(c, c.count(1, 3), 0.88, 0.97, 0.2, creatures.owl, creatures.cat, creatures.sheep)


def beach(c: Canvas) -> None:
    """Draws the sea and a beach with parasols, children, balls and sandcastles."""
    y = c.rng.uniform(0.32, 0.42)
    shore = y + c.rng.uniform(0.14, 0.24)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.DAY, pal.SUNSET), y * c.h)
    sea(c, y, shore + 0.05, pal.SEA)
    _crowd(
        c,
        c.count(1, 3),
        y + 0.05,
        shore - 0.03,
        0.24,
        objects.sailing_boat,
        objects.sailing_boat,
        creatures.whale,
    )
    line = ridge(c.rng, c.w, shore * c.h, 0.015 * c.h, 2)
    c.below(line, mix(pal.WHITE, pal.SHALLOW, 0.1))  # the last wave, running up the sand
    c.below(line + np.array([0, 0.025 * c.h]), pal.SAND, rim=0.7)
    if c.chance(0.5):
        landscape.palm(c, Spot(c.rng.choice([0.1, 0.85]) * c.w, 0.85 * c.h, 0.65 * c.h))
    _crowd(c, c.count(1, 3), shore + 0.14, 0.85, 0.4, objects.umbrella)
    _crowd(c, c.count(2, 4), 0.75, 0.95, 0.3, creatures.child, creatures.child, objects.sandcastle)
    _crowd(c, c.count(2, 5), 0.8, 0.98, 0.11, objects.ball, landscape.starfish, creatures.crab)


def winter(c: Canvas) -> None:
    """Draws snowmen, snow-covered pines and children in hats in falling snow."""
    y = c.rng.uniform(0.42, 0.55)
    sky(c, pal.SNOWY, y * c.h)
    hills(c, y, c.count(2, 3), 0.04)
    _crowd(c, c.count(1, 3), y + 0.08, y + 0.2, 0.5, objects.house)
    _crowd(c, c.count(3, 6), y + 0.08, 0.85, 0.6, lambda c, p: landscape.pine(c, p, snow=True))
    _crowd(c, c.count(1, 2), 0.82, 0.94, 0.42, creatures.snowman)
    _crowd(c, c.count(1, 3), 0.84, 0.98, 0.32, lambda c, p: creatures.child(c, p, warm=True))
    snowfall(c)


def city(c: Canvas) -> None:
    """Draws town houses on a street with cars and lamps, by day, at night or in rain."""
    y = c.rng.uniform(0.62, 0.7)
    sky(c, c.pick(pal.DAY, pal.NIGHT, pal.RAINY), y * c.h)
    n = c.count(4, 7)
    for i, x in enumerate(c.rng.permutation(n)):
        high = c.rng.uniform(0.3, 0.55) * (1 - 0.25 * i / n)
        p = Spot((x + 0.5) / n * c.w, (y + 0.03) * c.h, high * c.h)
        objects.block(c, p, c.rng.uniform(0.5, 0.68) * c.w / n)
    pavement: Colour = (206, 190, 150)
    for top, paint in ((y + 0.02, pavement), (y + 0.1, pal.STONE), (0.94, pavement)):
        c.below(points((-9, top * c.h), (c.w + 9, top * c.h)), paint, shade=0.08)
    for x in np.arange(0, 1, 0.16) * c.w:
        c.shape(Spot(x, (y + 1.03) / 2 * c.h, 0.02 * c.w).box(0, 0, 4, 0.6), pal.WHITE, rim=0.8)
    _crowd(c, c.count(1, 3), y + 0.09, y + 0.1, 0.25, landscape.tree, objects.street_lamp)
    _crowd(c, c.count(2, 4), y + 0.14, 0.93, 0.17, objects.car)
    for p in scatter(c, c.count(1, 3), 0.97, 1.0, 0.27):
        creatures.child(c, p)
        if c.mood is pal.RAINY:
            objects.umbrella(c, Spot(p.x + 0.2 * p.s, p.y - 0.4 * p.s, 0.75 * p.s))
    if c.mood is pal.RAINY:
        rainfall(c)


def reef(c: Canvas) -> None:
    """Draws fish, seaweed, coral and bubbles over a sandy floor under water."""
    c.mood = pal.DAY
    c.backdrop(((60, 190, 214), (30, 160, 206), (24, 112, 190), (22, 96, 176)), 0, c.h)
    for p in scatter(c, 3, 0.0, 0.02, 1.0):
        c.shape(p.path("-.08,.1 .08,.1 .42,-.75 .15,-.75"), (70, 190, 216), rim=0.85)
    y = c.rng.uniform(0.78, 0.88)
    _crowd(c, c.count(2, 4), y, y + 0.04, 0.2, landscape.rock)
    c.below(ridge(c.rng, c.w, y * c.h, 0.03 * c.h, 2), pal.SAND)
    _crowd(c, c.count(5, 9), y + 0.03, 1.0, 0.42, landscape.seaweed)
    _crowd(c, c.count(1, 4), y + 0.03, 1.0, 0.26, landscape.coral)
    for p in scatter(c, c.count(4, 8), 0.15, y - 0.05, c.rng.uniform(0.14, 0.24), 0.5):
        creatures.fish(c, p)
    _crowd(c, c.count(1, 3), 0.92, 0.98, 0.12, landscape.starfish, creatures.crab)
    for p in scatter(c, c.count(6, 12), 0.05, y, 0.03):
        c.shape(p.oval(0, 0, 0.8), (170, 226, 240), rim=0.7)


def farm(c: Canvas) -> None:
    """Draws a red barn or a windmill, ploughed rows, haystacks and animals."""
    y = c.rng.uniform(0.4, 0.5)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.DAY, pal.SUNSET), y * c.h)
    hills(c, y, 2)
    if c.chance(0.5):
        objects.field_rows(c, y + 0.12, y + 0.32)
    _crowd(c, c.count(1, 2), y + 0.1, y + 0.16, 0.64, objects.barn, objects.windmill)
    _crowd(c, c.count(2, 4), y + 0.1, y + 0.25, 0.35, landscape.tree, objects.haystack)
    if c.chance(0.4):
        objects.fence(c, (y + 0.33) * c.h, 0.1 * c.h)
    _crowd(c, c.count(2, 5), y + 0.3, 0.97, 0.24, creatures.cow, creatures.sheep, creatures.duck)
    if c.chance(0.5):
        _crowd(c, 1, 0.9, 0.97, 0.34, creatures.child)


def balloons(c: Canvas) -> None:
    """Draws hot-air balloons drifting over low hills."""
    y = c.rng.uniform(0.68, 0.78)
    sky(c, c.pick(pal.DAY, pal.DAY, pal.SUNSET), y * c.h, clouds=c.count(1, 4))
    hills(c, y, 3, 0.04)
    _crowd(c, c.count(2, 5), y + 0.06, 0.9, 0.26, landscape.tree, landscape.tree, objects.house)
    for p in scatter(c, c.count(2, 5), 0.42, y - 0.03, c.rng.uniform(0.34, 0.5), 0.5):
        hot_air_balloon(c, p)
    if c.chance(0.5):
        cloud(c, c.rng.uniform(0.1, 0.9) * c.w, c.rng.uniform(0.3, 0.55) * c.h, 0.05 * c.h)


_ALL = (
    meadow, village, harbour, forest, autumn, mountains, garden,
    night, beach, winter, city, reef, farm, balloons,
)  # fmt: skip
SCENES: dict[str, Callable[[Canvas], None]] = {scene.__name__: scene for scene in _ALL}

SIDES = (200, 500)  # bounds of an image's width and height, px
_ASPECTS = (4 / 3, 4 / 3, 3 / 2, 1.0, 5 / 4, 3 / 4)  # width over height


def scene_name(index: int) -> str:
    """Returns the class of image `index`. The classes take turns."""
    return list(SCENES)[index % len(SCENES)]


def draw(seed: int, index: int) -> np.ndarray:
    """Draws image `index` of a storybook.

    Args:
      seed: seed of the storybook, at least 0.
      index: number of the image, at least 0. The image depends on these two arguments alone.

    Returns:
      RGB, uint8 [H, W, 3], where H and W are within `SIDES`.
    """
    return _draw_on(Canvas, seed, index).pixels


def draw_svg(seed: int, index: int) -> bytes:
    """Draws scene `index` in flat colours, as an SVG file; the arguments are those of `draw`."""
    return _draw_on(SvgCanvas, seed, index).svg()


def _draw_on(canvas_class: type[AnyCanvas], seed: int, index: int) -> AnyCanvas:
    rng = np.random.default_rng([seed, index])
    aspect = _ASPECTS[int(rng.integers(len(_ASPECTS)))] * rng.uniform(0.95, 1.05)
    area = rng.uniform(250, 400) ** 2
    width, height = (int(np.clip(side, *SIDES)) for side in (np.sqrt(area * aspect), np.sqrt(area / aspect)))
    canvas = canvas_class(width, height, rng)
    SCENES[scene_name(index)](canvas)
    canvas.grain()
    return canvas
