"""Draws the landscape of the storybook: hills, trees, flowers, water. Near things are the larger ones."""

import numpy as np

from linewash.storybook import palette as pal
from linewash.storybook.canvas import Canvas, Spot, points, ridge, smooth, star
from linewash.storybook.palette import Colour, mix
from linewash.storybook.sky import leaf


def scatter(c: Canvas, n: int, top: float, bottom: float, near: float, far: float = 0.4) -> list[Spot]:
    """Returns `n` random spots in a band of the image, spread sideways, the farthest first.

    Args:
      c: the canvas.
      n: number of spots.
      top, bottom: heights of the band, as fractions of the image's height.
      near: size of a thing at the bottom of the band, as a fraction of the image's height.
      far: size at the top of the band, as a fraction of `near`.
    """
    rng = c.rng
    across = (rng.permutation(n) + rng.uniform(0.15, 0.85, n)) / max(n, 1)
    depth = np.sort(rng.uniform(0, 1, n))
    size = near * (far + (1 - far) * depth) * rng.uniform(0.85, 1.15, n) * min(c.h, 1.2 * c.w)
    flip = rng.choice([-1, 1], n)
    return [
        Spot(x * c.w, (top + (bottom - top) * d) * c.h, s, int(f))
        for x, d, s, f in zip(across, depth, size, flip, strict=True)
    ]


def hills(c: Canvas, horizon: float, layers: int = 2, swing: float = 0.04) -> None:
    """Draws `layers` ridges of hills below `horizon`, a fraction of the height. Far ridges are hazier."""
    for i in range(layers):
        t = i / layers
        haze: Colour = (196, 212, 240) if c.mood is pal.SNOWY else (120, 176, 150)
        paint = c.mood.ground if i == layers - 1 else mix(c.mood.ground, haze, 0.55 * (1 - t) ** 2)
        line = ridge(c.rng, c.w, (horizon + (0.92 - horizon) * 0.55 * t) * c.h, swing * c.h * (1 - 0.4 * t))
        c.below(line, paint, rim=0.5)


def mountains(c: Canvas, horizon: float, n: int) -> None:
    """Draws `n` peaks with snow caps on `horizon`, a fraction of the height."""
    rng = c.rng
    for x in (rng.permutation(n) + rng.uniform(0.2, 0.8, n)) / n * c.w:
        high, wide = rng.uniform(0.26, 0.42) * c.h, rng.uniform(0.2, 0.32) * c.w
        p = Spot(x, horizon * c.h + 3, high)
        k = wide / high
        paint = mix((108, 106, 152), (70, 74, 106), rng.uniform(0, 0.6))
        c.shape(p((-k, 0), (-0.5 * k, 0.52), (0, 1), (0.4 * k, 0.6), (k, 0)), paint, shade=0.2)
        cap = p.path("0,1 -.34,.67 -.2,.58 -.08,.7 .06,.56 .16,.7 .28,.72")
        c.shape((cap - (p.x, 0)) * (k, 1) + (p.x, 0), pal.SNOW, rim=0.7, shade=0.05)


def sea(c: Canvas, top: float, bottom: float, paint: Colour) -> None:
    """Draws water with rows of waves between two heights, as fractions of the image's height."""
    far, deep = c.lit(mix(paint, pal.SHALLOW, 0.7)), c.lit(paint)
    c.backdrop((far, deep, deep, deep), top * c.h, bottom * c.h)
    c.stroke(points((0, top * c.h), (c.w, top * c.h)), mix(paint, (0, 0, 0), 0.4))
    for p in scatter(c, c.count(12, 21), top + 0.04, bottom - 0.03, 0.05):
        bend = [(dx / 2, 0.25 * (1 - abs(dx % 2 - 1))) for dx in range(-3, 4)]
        c.stroke(p(*bend), mix(paint, pal.WHITE, 0.62))


def path(c: Canvas, top: float, paint: Colour = pal.SAND) -> None:
    """Draws a winding, narrowing path from the bottom edge to `top`, a fraction of the height."""
    rng = c.rng
    t = np.linspace(0, 1, 24)
    y = c.h * (1.05 - (1.05 - top) * t)
    centre = c.w * (rng.uniform(0.25, 0.75) + 0.12 * (1 - t) * np.sin(5 * t + rng.uniform(0, 6)) + 0.1 * t)
    half = c.w * (0.13 * (1 - t) ** 1.5 + 0.012)
    sides = np.stack([centre - half, y], axis=1), np.stack([centre + half, y], axis=1)[::-1]
    c.shape(np.concatenate(sides), paint, rim=0.65)


def tufts(c: Canvas, n: int, top: float) -> None:
    """Draws tufts of grass blades."""
    for p in scatter(c, n, top, 0.98, 0.035):
        for dx in (-0.5, 0, 0.5):
            c.stroke(p((dx * 0.4, 0), (dx, 1 - abs(dx))), mix(c.mood.ground, (20, 60, 20), 0.5))


def trunk(c: Canvas, p: Spot, half: float, top: float) -> None:
    """Draws a tree trunk with flared roots."""
    right = [(1.6 * half, 0), (half, 0.1), (0.8 * half, top)]
    c.shape(p(*right, *[(-x, y) for x, y in reversed(right)]), pal.BARK)


def tree(c: Canvas, p: Spot) -> None:
    """Draws a leafy tree with a lobed green crown, lit from the left."""
    trunk(c, p, 0.055, 0.5)
    wide = c.rng.uniform(0.27, 0.36)
    c.shape(p.scallop(0, 0.66, wide, 0.34, c.count(8, 11)), pal.CROWN, shade=0.22)
    c.shape(p.scallop(-0.08 * p.flip, 0.74, 0.55 * wide, 0.17, 7), pal.CROWN_LIT, rim=0.8)


def apple_tree(c: Canvas, p: Spot) -> None:
    """Draws a leafy tree bearing apples."""
    tree(c, p)
    for _ in range(7):
        c.shape(p.oval(c.rng.uniform(-0.22, 0.22), c.rng.uniform(0.46, 0.86), 0.036), pal.RED)


def autumn_tree(c: Canvas, p: Spot) -> None:
    """Draws a tree in autumn, with a round crown of pointed leaves."""
    trunk(c, p, 0.055, 0.55)
    c.shape(p.oval(0, 0.68, 0.33, 0.31), pal.ORANGE)
    for _ in range(26):
        turn, r = c.rng.uniform(0, 2 * np.pi), np.sqrt(c.rng.uniform(0.02, 1)) * 0.31
        ((x, y),) = p((r * np.cos(turn), 0.68 + r * np.sin(turn)))
        leaf(c, x, y, 0.075 * p.s)


def pine(c: Canvas, p: Spot, snow: bool = False) -> None:
    """Draws a pine with three tiers. `snow` covers the top of each."""
    trunk(c, p, 0.045, 0.3)
    for base, half, high in ((0.16, 0.31, 0.42), (0.4, 0.25, 0.36), (0.62, 0.18, 0.38)):
        layers = (pal.PINE, half, base), (pal.SNOW, 0.45 * half, base + 0.55 * high)
        for paint, k, low in layers[: 1 + snow]:
            hem = [(-k, low), (-0.45 * k, low + 0.04), (0, low - 0.03), (0.5 * k, low + 0.04), (k, low)]
            c.shape(p(*hem, (0, base + high)), paint, shade=0.18)


def palm(c: Canvas, p: Spot) -> None:
    """Draws a bent palm with drooping fronds."""
    c.shape(p.path("-.06,0 .06,0 .14,.4 .25,.75 .19,.76 .06,.4"), pal.BARK)
    for dx, dy in ((-0.32, -0.12), (-0.34, 0.1), (-0.14, 0.24), (0.16, 0.24), (0.36, 0.08), (0.3, -0.14)):
        frond = (0, 0), (0.55 * dx, 0.08 + dy), (dx, dy - 0.04), (0.5 * dx, 0.8 * dy - 0.02)
        c.shape(smooth(p.on(0.22, 0.76, 1)(*frond)), pal.STEM)


def bush(c: Canvas, p: Spot) -> None:
    """Draws a low lobed bush with a flat foot."""
    c.shape(p.scallop(0, 0.4, 0.75, 0.55, 8), pal.CROWN)


def mushroom(c: Canvas, p: Spot) -> None:
    """Draws a toadstool with white dots on a red cap."""
    c.shape(p.blob("-.2,0 .2,0 .14,.6 -.14,.6"), pal.WHITE)
    c.shape(p.blob("-.55,.45 .55,.45 .5,.85 .15,1.1 -.15,1.1 -.5,.85"), pal.RED)
    for dx, dy in ((-0.22, 0.65), (0.05, 0.85), (0.26, 0.62)):
        c.shape(p.oval(dx, dy, 0.09), pal.WHITE, rim=1)


def _petals(c: Canvas, p: Spot, n: int, r: float, paint: Colour) -> None:
    """Draws `n` round petals around the centre of a flower, at (0, 1 - r) in the spot's units."""
    for turn in np.linspace(0, 2 * np.pi, n, endpoint=False) + c.rng.uniform(0, 1):
        x, y = 0.62 * r * np.cos(turn), 1 - r + 0.62 * r * np.sin(turn)
        c.shape(p.oval(x, y, 0.42 * r, 0.42 * r * min(1, 5 / n), turn), paint, shade=0)


def stalk(c: Canvas, p: Spot, top: float) -> None:
    """Draws a flower's stalk with two leaves."""
    c.stroke(p((0, 0), (0, top)), pal.STEM, 0.05 * p.s)
    for side in (-1, 1):
        leaf_shape = Spot(p.x, p.y, p.s, side).blob("0,.05 .2,.3 .26,.5 .06,.28")
        c.shape(leaf_shape, pal.STEM, shade=0)


def flower(c: Canvas, p: Spot, kind: int) -> None:
    """Draws a flower. `kind` is 0 tulip, 1 daisy, 2 sunflower, 3 pink rose or 4 bluebell.

    Each kind has one colour, so that a network can learn the colour from the shape.
    """
    stalk(c, p, 0.75)
    if kind == 0:
        c.shape(p.path("-.15,.6 .15,.6 .22,.8 .2,1.02 .08,.88 0,1.04 -.08,.88 -.2,1.02 -.22,.8"), pal.RED)
    elif kind == 1:
        _petals(c, p, 9, 0.24, pal.WHITE)
        c.shape(p.oval(0, 0.76, 0.09), pal.GOLD)
    elif kind == 2:
        c.shape(star(p.x, p.y - 0.72 * p.s, 0.32 * p.s, 13, 0.62), pal.SUN, rim=0.65, shade=0)
        c.shape(p.oval(0, 0.72, 0.15), pal.EARTH)
    elif kind == 3:
        _petals(c, p, 5, 0.26, pal.PINK)
        c.shape(p.oval(0, 0.74, 0.08), pal.SUN)
    else:
        for side, y in ((-1, 0.62), (1, 0.76), (-0.1, 0.9)):
            c.shape(p.on(0.1 * side, y, 1).path("-.1,-.14 .1,-.14 .05,.08 -.05,.08"), pal.BLUE)


def seaweed(c: Canvas, p: Spot) -> None:
    """Draws a wavy ribbon of seaweed."""
    t = np.linspace(0, 1, 14)
    sway = 0.07 * np.sin(9 * t + c.rng.uniform(0, 6))
    wide = 0.06 * (1 - t) + 0.008
    left, right = np.stack([sway - wide, t], axis=1), np.stack([sway + wide, t], axis=1)[::-1]
    c.shape(p(*np.concatenate([left, right])), pal.STEM)


def coral(c: Canvas, p: Spot) -> None:
    """Draws a branching coral."""
    left = "0,0 -.1,.4 -.4,.6 -.5,.85", "-.1,.4 -.14,1"
    right = "0,0 .12,.45 .14,.8", "0,.1 .3,.4 .5,.5 .55,.8", ".3,.4 .32,.9"
    for paint, wide in ((mix(pal.PINK, pal.INK, 0.6), 2.5 * c.line), (pal.PINK, 0.0)):
        for twig in left + right:
            c.stroke(p.path(twig), paint, 0.11 * p.s + wide)


def rock(c: Canvas, p: Spot) -> None:
    """Draws a grey rock."""
    c.shape(p.path("-.9,0 -.7,.55 -.25,.95 .3,.8 .75,.5 .95,0"), pal.STONE, shade=0.2)


def starfish(c: Canvas, p: Spot) -> None:
    """Draws a starfish lying on the sand."""
    c.shape(star(p.x, p.y, 0.5 * p.s, 5, 0.42, c.rng.uniform(0, 1)), pal.ORANGE)


def butterfly(c: Canvas, p: Spot) -> None:
    """Draws a butterfly with two pairs of wings."""
    paint = c.pick(pal.PURPLE, pal.ORANGE, pal.BLUE)
    for side in (-1, 1):
        c.shape(p.oval(side * 0.3, 0.65, 0.3, 0.26, side * 0.5), paint)
        c.shape(p.oval(side * 0.22, 0.25, 0.2, 0.2), paint)
    c.shape(p.oval(0, 0.5, 0.06, 0.4), (40, 30, 30), rim=1)
