"""Draws the objects of the storybook: houses, boats, cars, lamps, fences, beach toys."""

import numpy as np

from linewash.storybook import palette as pal
from linewash.storybook.canvas import Canvas, Spot, points
from linewash.storybook.palette import Colour


def window(c: Canvas, p: Spot, x: float, y: float, w: float, h: float) -> None:
    """Draws a window with a cross bar, centred on (x, y) in the spot's units. It is lit at night."""
    night = c.mood.name == "night"
    c.shape(p.box(x - w, y - h, x + w, y + h), pal.LAMP if night else pal.GLASS, glow=night)
    if p.s * w > 6:
        c.stroke(p((x, y - h), (x, y + h)), pal.WOOD)
        c.stroke(p((x - w, y), (x + w, y)), pal.WOOD)


def house(c: Canvas, p: Spot) -> None:
    """Draws a house with a pointed roof, a chimney, a door and windows. In winter, snow covers the roof."""
    rng = c.rng
    half, eaves = rng.uniform(0.36, 0.5), rng.uniform(0.5, 0.6)
    snowy = c.mood.name == "snowy"
    c.shape(p.box(0.2, 0.7, 0.32, 0.98), pal.BRICK)
    if c.chance(0.4):
        for i, (dx, dy) in enumerate(((0.28, 1.06), (0.34, 1.17), (0.44, 1.3))):
            c.shape(p.oval(dx, dy, 0.05 + 0.02 * i), (226, 226, 230), rim=0.8, shade=0)
    c.shape(p.box(-half, 0, half, eaves + 0.02), c.pick(*pal.WALLS), shade=0.1)
    over = half + 0.08
    roof = pal.SNOW if snowy else c.pick(*pal.ROOFS)
    c.shape(p((-over, eaves), (over, eaves), (rng.uniform(0, 0.12), 1), (-rng.uniform(0, 0.12), 1)), roof)
    c.shape(p.box(-0.08, 0, 0.08, 0.28), c.pick(pal.EARTH, pal.EARTH, pal.BLUE, pal.RED))
    for side in (-1, 1):
        window(c, p, side * 0.62 * half, 0.33, 0.075, 0.085)


def church(c: Canvas, p: Spot) -> None:
    """Draws a church with a nave and a pointed spire."""
    c.shape(p.box(-0.1, 0, 0.5, 0.3), pal.WALLS[0])
    c.shape(p.path("-.1,.3 .54,.3 .46,.48 -.1,.48"), pal.BRICK)
    c.shape(p.box(-0.3, 0, 0, 0.58), pal.WALLS[0])
    c.shape(p.path("-.34,.58 .04,.58 -.15,1"), pal.BRICK)
    c.shape(p.oval(-0.15, 0.46, 0.06), pal.WHITE)
    window(c, p, 0.15, 0.15, 0.04, 0.08)
    window(c, p, 0.35, 0.15, 0.04, 0.08)


def barn(c: Canvas, p: Spot) -> None:
    """Draws a red barn with a bent roof and a braced white door."""
    c.shape(p.path("-.5,0 .5,0 .5,.5 .3,.82 0,.97 -.3,.82 -.5,.5"), pal.RED)
    c.stroke(p.path("-.56,.46 -.32,.85 0,1.02 .32,.85 .56,.46"), pal.STONE, 0.06 * p.s)
    c.shape(p.box(-0.18, 0, 0.18, 0.4), pal.WHITE)
    c.stroke(p.path("-.18,0 .18,.4"), pal.RED, 0.03 * p.s)
    c.stroke(p.path(".18,0 -.18,.4"), pal.RED, 0.03 * p.s)
    window(c, p, 0, 0.64, 0.08, 0.08)


def windmill(c: Canvas, p: Spot) -> None:
    """Draws a windmill with four sails."""
    c.shape(p.path("-.17,0 .17,0 .1,.62 -.1,.62"), pal.WALLS[0])
    c.shape(p.path("-.13,.6 .13,.6 0,.78"), pal.BRICK)
    window(c, p, 0, 0.3, 0.035, 0.05)
    first = c.rng.uniform(0, np.pi / 2)
    for turn in first + np.arange(4) * np.pi / 2:
        cos, sin = np.cos(turn), np.sin(turn)
        corners = (0.06, 0), (0.4, 0), (0.4, 0.1), (0.06, 0.06)
        sail = [(a * cos - b * sin, a * sin + b * cos) for a, b in corners]
        c.shape(p.on(0, 0.62, 1)(*sail), pal.WHITE)


def lighthouse(c: Canvas, p: Spot) -> None:
    """Draws a red-and-white ringed lighthouse."""
    for i in range(5):
        lo, hi = 0.16 * i, 0.16 * (i + 1)
        a, b = 0.16 - 0.1 * lo, 0.16 - 0.1 * hi
        c.shape(p((-a, lo), (a, lo), (b, hi), (-b, hi)), pal.WHITE if i % 2 else pal.RED, shade=0.1)
    c.shape(p.box(-0.1, 0.8, 0.1, 0.9), pal.LAMP, glow=True)
    c.shape(p.path("-.13,.9 .13,.9 0,1"), pal.RED)


def block(c: Canvas, p: Spot, wide: float) -> None:
    """Draws a tall town house or tower with rows of windows. `wide` is half its width in pixels."""
    k = wide / p.s
    gabled = c.chance(0.5)
    paint = c.pick(pal.GOLD, pal.WALLS[0]) if gabled else c.pick(pal.BRICK, pal.STONE)
    c.shape(p.box(-k, 0, k, 1), paint, shade=0.12)
    if gabled:
        c.shape(p((-k * 1.1, 1), (k * 1.1, 1), (0, 1 + 0.5 * k)), pal.BRICK)
    rows = max(2, min(5, int(p.s / (0.09 * c.h))))
    cols = 2 if k * p.s < 0.08 * c.w else 3
    for y in np.linspace(0.22, 0.88, rows):
        for x in np.linspace(-0.62, 0.62, cols) * k:
            window(c, p, x, y, 0.2 * k, 0.26 / rows)


def car(c: Canvas, p: Spot) -> None:
    """Draws a small car seen from the side."""
    paint = c.pick(*pal.CLOTHES)
    c.shape(p.blob("-.6,.4 .5,.4 .3,1.05 -.4,1.05"), paint)
    c.shape(p.path("-.36,.56 -.08,.56 -.08,.86 -.26,.86"), pal.GLASS)
    c.shape(p.path("0,.56 .3,.56 .18,.86 0,.86"), pal.GLASS)
    c.shape(p.blob("-1,.15 1,.15 1,.55 .5,.62 -.95,.6"), paint)
    c.shape(p.oval(0.86, 0.42, 0.07), pal.LAMP, glow=True)
    for dx in (-0.52, 0.52):
        c.shape(p.oval(dx, 0.18, 0.2), pal.INK, rim=1)
        c.shape(p.oval(dx, 0.18, 0.09), (200, 200, 204), rim=1)


def street_lamp(c: Canvas, p: Spot) -> None:
    """Draws a street lamp, which is always lit."""
    c.stroke(p.path("0,0 0,.8"), pal.INK, 0.035 * p.s)
    c.shape(p.path("-.06,.8 .06,.8 .1,.95 -.1,.95"), pal.LAMP, glow=True)
    c.shape(p.path("-.12,.95 .12,.95 0,1.02"), pal.INK, rim=1)


def umbrella(c: Canvas, p: Spot, stick: float = 0.6) -> None:
    """Draws a parasol or umbrella of three gores in two colours."""
    paint = c.pick(*pal.CLOTHES)
    c.stroke(p((0, 0), (0, stick + 0.2)), pal.WOOD, 0.04 * p.s)
    for half, fill in ((0.55, paint), (0.2, pal.WHITE if c.chance(0.6) else paint)):
        dome = [(half * np.cos(t), stick + 0.4 * np.sin(t)) for t in np.linspace(0, np.pi, 15)]
        c.shape(p(*dome), fill, shade=0.1)


def sailing_boat(c: Canvas, p: Spot) -> None:
    """Draws a sailing boat with two pale sails and a pennant. The hull may have any colour."""
    c.stroke(p.path("0,.15 0,1"), pal.EARTH, 0.03 * p.s)
    sail = c.pick(pal.WHITE, pal.WHITE, (250, 200, 100))
    c.shape(p.path(".04,.26 .46,.26 .04,.93"), sail, shade=0.08)
    c.shape(p.path("-.04,.26 -.34,.26 -.04,.85"), sail, shade=0.08)
    c.shape(p.path("0,.95 0,1.06 .16,1"), pal.RED)
    c.shape(p.path("-.36,0 .36,0 .54,.22 -.5,.22"), c.pick(pal.RED, pal.EARTH, pal.WHITE, pal.BLUE))


def steamer(c: Canvas, p: Spot) -> None:
    """Draws a little steamer with a funnel and portholes."""
    c.shape(p.box(-0.4, 0.3, 0.35, 0.56), pal.WHITE)
    c.shape(p.box(-0.12, 0.56, 0.1, 0.86), pal.RED)
    c.shape(p.oval(-0.1, 1.0, 0.1), (226, 226, 230), rim=0.8)
    c.shape(p.oval(-0.3, 1.12, 0.14), (226, 226, 230), rim=0.8)
    c.shape(p.path("-.7,0 .62,0 .86,.34 -.78,.34"), c.pick(pal.INK, pal.RED, pal.BLUE, pal.EARTH))
    for dx in (-0.4, 0, 0.4):
        c.shape(p.oval(dx, 0.18, 0.06), pal.LAMP, glow=True)


def fence(c: Canvas, y: float, s: float) -> None:
    """Draws a picket fence across the image. Its foot is at `y` pixels, its height is `s` pixels."""
    for dy in (0.3, 0.65):
        c.shape(Spot(0, y, s).box(-1, dy, c.w / s + 1, dy + 0.13), pal.WHITE)
    step = 0.62 * s
    for x in np.arange(c.rng.uniform(0, step), c.w + step, step):
        c.shape(Spot(x, y, s).path("-.15,0 .15,0 .15,.85 0,1.05 -.15,.85"), pal.WHITE, shade=0.06)


def ball(c: Canvas, p: Spot) -> None:
    """Draws a beach ball with a coloured belt."""
    paint = c.pick(*pal.CLOTHES)
    c.shape(p.oval(0, 0.5, 0.5), paint)
    c.shape(p.oval(0, 0.5, 0.2, 0.5), pal.WHITE, rim=0.6)


def sandcastle(c: Canvas, p: Spot) -> None:
    """Draws a sandcastle of three towers with a flag."""
    sand: Colour = (226, 184, 84)
    for dx, top in ((-0.38, 0.6), (0.38, 0.6), (0, 0.8)):
        tower = p.on(dx, top, 1).path(f"-.2,{-top} .2,{-top} .2,0 .07,0 .07,-.1 -.07,-.1 -.07,0 -.2,0")
        c.shape(tower, sand, rim=0.5)
    c.stroke(p.path("0,.7 0,1.1"), pal.EARTH)
    c.shape(p.path("0,1.1 .25,1.02 0,.94"), pal.RED)


def haystack(c: Canvas, p: Spot) -> None:
    """Draws a rounded haystack with straws."""
    c.shape(p.blob("-.7,0 .7,0 .6,.6 .2,1.1 -.2,1.1 -.6,.6"), pal.GOLD)
    for dx in (-0.35, 0, 0.35):
        c.stroke(p((dx, 0.15), (dx * 0.7, 0.75)), pal.EARTH)


def pumpkin(c: Canvas, p: Spot) -> None:
    """Draws a ribbed pumpkin."""
    for half in (0.6, 0.38, 0.14):
        c.shape(p.oval(0, 0.42, half, 0.42), pal.ORANGE, shade=0.12)
    c.stroke(p.path("0,.8 .06,1"), pal.EARTH, 0.1 * p.s)


def field_rows(c: Canvas, top: float, bottom: float) -> None:
    """Draws ploughed rows in perspective between two heights, as fractions of the image's height."""
    corners = (0, bottom * c.h), (c.w, bottom * c.h), (0.72 * c.w, top * c.h), (0.28 * c.w, top * c.h)
    c.shape(points(*corners), pal.EARTH)
    for k in np.linspace(0.08, 0.92, 7):
        ends = (k * c.w, bottom * c.h), ((0.28 + 0.44 * k) * c.w, top * c.h)
        c.stroke(points(*ends), pal.SAND, 0.006 * c.w)
