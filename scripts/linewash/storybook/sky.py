"""Draws the skies of the storybook: gradient, cue (sun, moon, snow, ...) and weather of each mood."""

import numpy as np

from linewash.storybook import palette as pal
from linewash.storybook.canvas import Canvas, Spot, points, scallop, star
from linewash.storybook.palette import Colour, Mood, mix


def sky(c: Canvas, mood: Mood, horizon: float, clouds: int | None = None) -> None:
    """Sets the canvas's mood and draws its sky, cue, clouds and birds down to `horizon`, in pixels."""
    rng = c.rng
    c.mood = mood
    tint = rng.normal(0, 6, 3)
    rows = [(r + tint[0], g + tint[1], b + tint[2]) for r, g, b in mood.sky]
    c.backdrop(rows, 0, horizon + 0.09 * c.h)  # a rolling horizon dips below its mean
    if mood.name == "sunset":
        half_sun(c, rng.uniform(0.2, 0.8) * c.w, horizon, rng.uniform(0.10, 0.16) * c.h)
    elif mood.name == "night":
        stars(c, horizon)
        moon(c, rng.uniform(0.12, 0.88) * c.w, rng.uniform(0.13, 0.2) * c.h, rng.uniform(0.07, 0.11) * c.h)
    elif mood.name == "day" and c.chance(0.9):
        x = 0.5 + c.pick(-1, 1) * rng.uniform(0.2, 0.4)
        sun(c, x * c.w, 0.18 * c.h, rng.uniform(0.07, 0.1) * c.h)
    few = {"day": 3, "sunset": 1, "night": 1, "snowy": 1, "rainy": 5, "autumn": 2}[mood.name]
    for _ in range(int(rng.integers(0, few + 1)) if clouds is None else clouds):
        cloud(c, rng.uniform(0, 1) * c.w, rng.uniform(0.08, 0.75) * horizon, rng.uniform(0.05, 0.1) * c.h)
    if mood.name in ("day", "sunset", "autumn") and c.chance(0.5):
        for _ in range(c.count(1, 4)):
            x, y = rng.uniform(0.1, 0.9) * c.w, rng.uniform(0.1, 0.7) * horizon
            bird(c, x, y, rng.uniform(0.02, 0.04) * c.h)


def sun(c: Canvas, x: float, y: float, r: float) -> None:
    """Draws a round sun with pointed rays, sometimes smiling."""
    rays = star(x, y, r * c.rng.uniform(1.7, 2.1), c.count(9, 13), 0.62, c.rng.uniform(0, 1))
    c.shape(rays, (255, 190, 24), shade=0, rim=0.45)
    p = Spot(x, y, r)
    c.shape(p.oval(0, 0, 1), pal.SUN, shade=0.05, rim=0.55)
    if c.chance(0.5):
        for side in (-0.35, 0.35):
            c.shape(p.oval(side, 0.15, 0.1, 0.16), pal.INK, rim=1)
        c.stroke(p.path("-.45,-.2 -.22,-.45 .22,-.45 .45,-.2"), pal.BRICK)


def half_sun(c: Canvas, x: float, y: float, r: float) -> None:
    """Draws a half-set sun with long rays over the whole sky."""
    rng = c.rng
    n = c.count(7, 10)
    reach = 1.6 * max(c.w, c.h)
    for turn in np.linspace(0, np.pi, n) + rng.uniform(-0.1, 0.1):
        ends = [(x + reach * np.cos(turn + d), y - reach * np.sin(turn + d)) for d in (-0.09, 0.09)]
        c.shape(points((x, y), *ends), (250, 168, 74), shade=0.1, rim=0.86, glow=True)
    c.shape(Spot(x, y, r).oval(0, 0, 1.25), (255, 190, 90), rim=0.8, glow=True)
    c.shape(Spot(x, y, r).oval(0, 0, 1), pal.SUN, rim=0.7, shade=0.05, glow=True)


def moon(c: Canvas, x: float, y: float, r: float) -> None:
    """Draws a full or a crescent moon."""
    p = Spot(x, y, r, int(c.rng.choice([-1, 1])))
    if c.chance(0.4):
        c.shape(p.oval(0, 0, 1), pal.MOON, rim=0.7, shade=0.05, glow=True)
        for dx, dy, dr in ((0.3, 0.35, 0.2), (-0.35, -0.1, 0.25), (0.25, -0.4, 0.15)):
            c.shape(p.oval(dx, dy, dr), mix(pal.MOON, pal.INK, 0.18), rim=0.85, glow=True)
        return
    # Two arcs between the horns at (0.71, ±0.71): the rim, and back along a smaller circle around (0.45, 0).
    arcs = (0.0, 1.0, np.linspace(0.785, 5.498, 20)), (0.45, 0.753, np.linspace(5.06, 1.22, 20))
    rim = [(x0 + r0 * np.cos(t), r0 * np.sin(t)) for x0, r0, turns in arcs for t in turns]
    c.shape(p(*rim), pal.MOON, rim=0.7, shade=0.05, glow=True)


def stars(c: Canvas, horizon: float) -> None:
    """Draws five-pointed stars, spread evenly across the sky."""
    rng = c.rng
    n = c.count(14, 24)
    for x in (rng.permutation(n) + rng.uniform(0.1, 0.9, n)) / n * c.w:
        r = rng.uniform(0.014, 0.03) * c.h
        y, tilt = rng.uniform(0.04, 0.85) * horizon, rng.uniform(0, 1)
        c.shape(star(x, y, r, tilt=tilt), pal.MOON, rim=1, glow=True)


def cloud(c: Canvas, x: float, y: float, r: float) -> None:
    """Draws a cloud of rounded lobes. It is dark in rain and pink at sunset."""
    paint: Colour = (132, 136, 142) if c.mood.name == "rainy" else pal.WHITE
    if c.mood.name == "sunset":
        paint = (250, 196, 200)
    wide = c.rng.uniform(1.8, 2.6)
    c.shape(scallop(x, y, r * wide, r, c.count(7, 10), 0.2), paint, rim=0.8, shade=0.1)


def bird(c: Canvas, x: float, y: float, s: float) -> None:
    """Draws a distant bird as one bent stroke."""
    c.stroke(Spot(x, y, s).path("-1,.3 -.5,.6 0,0 .5,.6 1,.3"), pal.INK)


def snowfall(c: Canvas) -> None:
    """Draws snowflakes over the image: small ones as dots, large ones with six arms."""
    rng = c.rng
    for _ in range(c.count(18, 33)):
        x, y, r = rng.uniform(0, c.w), rng.uniform(0, 0.8 * c.h), rng.uniform(0.006, 0.02) * c.h
        if r < 0.013 * c.h:
            c.shape(Spot(x, y, r).oval(0, 0, 1), pal.WHITE, rim=1, glow=True)
        else:
            for turn in (0, np.pi / 3, 2 * np.pi / 3):
                arm = 1.6 * r * np.array([np.cos(turn), np.sin(turn)])
                c.stroke(points((x - arm[0], y - arm[1]), (x + arm[0], y + arm[1])), pal.WHITE, glow=True)


def rainfall(c: Canvas) -> None:
    """Draws slanted strokes of rain over the image."""
    rng = c.rng
    lean = rng.uniform(-0.3, 0.3)
    for _ in range(c.count(30, 49)):
        x, y, s = rng.uniform(0, c.w), rng.uniform(0.05, 0.95) * c.h, rng.uniform(0.03, 0.05) * c.h
        c.stroke(points((x, y), (x + lean * s, y + s)), (196, 214, 226))


def leaf_fall(c: Canvas, n: int) -> None:
    """Draws `n` loose autumn leaves in the air and on the ground."""
    for _ in range(n):
        leaf(c, c.rng.uniform(0, c.w), c.rng.uniform(0.2, 1) * c.h, c.rng.uniform(0.015, 0.026) * c.h)


def leaf(c: Canvas, x: float, y: float, s: float) -> None:
    """Draws one pointed autumn leaf at a random angle."""
    turn = c.rng.uniform(0, 2 * np.pi)
    a, b = s * np.cos(turn), s * np.sin(turn)
    diamond = points((x + a, y + b), (x - 0.5 * b, y + 0.5 * a), (x - a, y - b), (x + 0.5 * b, y - 0.5 * a))
    c.shape(diamond, c.pick(*pal.LEAVES), shade=0, rim=0.55)


def rainbow(c: Canvas, x: float, y: float, r: float) -> None:
    """Draws a rainbow of five bands around (x, y), with the outer radius `r`, in pixels."""
    for i, paint in enumerate((pal.CLOTHES[0], (240, 110, 30), pal.GOLD, pal.STEM, pal.CLOTHES[1], None)):
        c.shape(Spot(x, y, r * (1 - 0.09 * i)).oval(0, 0, 1), paint or c.mood.sky[2], shade=0, rim=0.8)


def hot_air_balloon(c: Canvas, p: Spot) -> None:
    """Draws a striped hot-air balloon. The spot is the foot of its basket."""
    first, second = (pal.CLOTHES[int(i)] for i in c.rng.permutation(len(pal.CLOTHES))[:2])
    for dx in (-0.07, 0.07):
        c.stroke(p((dx, 0.12), (dx * 3, 0.34)), pal.INK)
    c.shape(p.path("-.09,0 .09,0 .1,.14 -.1,.14"), pal.WOOD)
    for half, paint in ((1.0, first), (0.66, second), (0.3, first)):
        gore = p.blob("-.1,.28 .1,.28 .34,.55 .36,.86 .16,1.02 -.16,1.02 -.36,.86 -.34,.55")
        c.shape((gore - (p.x, 0)) * (half, 1) + (p.x, 0), paint)
