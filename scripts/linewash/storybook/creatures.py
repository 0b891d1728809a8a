"""Draws the living things of the storybook: children, farm and forest animals, fish. Also a snowman."""

from linewash.storybook import palette as pal
from linewash.storybook.canvas import Canvas, Spot
from linewash.storybook.palette import Colour


def child(c: Canvas, p: Spot, warm: bool = False) -> None:
    """Draws a child in a dress, or in a jumper and trousers. `warm` adds a bobble hat and a scarf."""
    skin, hair, top = c.pick(*pal.SKINS), c.pick(*pal.HAIR), c.pick(*pal.CLOTHES)
    dress = c.chance(0.5)
    for dx in (-0.09, 0.09):
        c.stroke(p((dx, 0.35), (dx * 1.2, 0.02)), skin if dress and not warm else (52, 64, 110), 0.09 * p.s)
    raised = c.rng.uniform(-0.1, 0.25)
    for side, dy in ((-1, -0.12), (1, raised)):
        c.stroke(p((side * 0.1, 0.56), (side * 0.27, 0.5 + dy)), skin if not warm else top, 0.075 * p.s)
    hem = 0.26 if dress else 0.15
    c.shape(p((-hem, 0.28), (hem, 0.28), (0.11, 0.64), (-0.11, 0.64)), top)
    if dress:
        c.shape(p.blob("-.22,.6 .22,.6 .22,1.03 -.22,1.03"), hair)
    c.shape(p.oval(0, 0.8, 0.17, 0.18), skin, shade=0.06)
    if warm:
        hat = c.pick(*pal.CLOTHES)
        c.shape(p.path("-.18,.86 .18,.86 .1,1.05 -.1,1.05"), hat)
        c.shape(p.oval(0, 1.08, 0.05), pal.WHITE)
        c.shape(p.box(-0.14, 0.58, 0.14, 0.66), pal.RED)
    else:
        c.shape(p.blob("-.2,.82 -.1,.93 .2,.84 .2,1.02 -.2,1.04"), hair)
    if p.s > 45:
        for dx in (-0.07, 0.07):
            c.shape(p.oval(dx, 0.79, 0.018, 0.025), pal.INK, rim=1)
        c.stroke(p.path("-.06,.71 0,.69 .06,.71"), pal.BRICK)


def sheep(c: Canvas, p: Spot) -> None:
    """Draws a woolly sheep."""
    for dx in (-0.3, -0.15, 0.2, 0.35):
        c.stroke(p((dx, 0.35), (dx, 0)), pal.INK, 0.09 * p.s)
    c.shape(p.scallop(0, 0.55, 0.56, 0.4, 10), pal.WHITE, rim=0.6, shade=0.08)
    c.shape(p.oval(0.55, 0.68, 0.17, 0.22, -0.4), (70, 56, 60))
    c.shape(p.oval(0.4, 0.82, 0.12, 0.06, 0.5), (70, 56, 60))


def cow(c: Canvas, p: Spot) -> None:
    """Draws a brown-and-white cow."""
    for dx in (-0.5, -0.34, 0.26, 0.42):
        c.shape(p.box(dx - 0.06, 0, dx + 0.06, 0.4), pal.WHITE, rim=0.5)
    c.stroke(p.path("-.6,.75 -.74,.45"), pal.BARK, 0.04 * p.s)
    c.shape(p.blob("-.66,.3 .56,.3 .62,.6 .56,.86 -.6,.86 -.7,.6"), pal.WHITE, rim=0.5, shade=0.1)
    for dx, dy, rx in ((-0.35, 0.65, 0.17), (0.1, 0.5, 0.15), (0.3, 0.72, 0.12)):
        c.shape(p.oval(dx, dy, rx, 0.13), pal.EARTH, rim=0.7)
    c.shape(p.blob(".5,.55 .95,.5 .98,.72 .8,.98 .5,.95"), pal.EARTH)
    c.shape(p.oval(0.9, 0.6, 0.13, 0.1), pal.PINK, shade=0)
    c.shape(p.oval(0.48, 0.92, 0.12, 0.06, 0.4), pal.EARTH, shade=0)


def rabbit(c: Canvas, p: Spot) -> None:
    """Draws a sitting rabbit."""
    fur: Colour = (206, 160, 112)
    c.shape(p.oval(-0.3, 0.15, 0.1), pal.WHITE)
    c.shape(p.oval(0, 0.27, 0.3, 0.28), fur)
    for dx, tilt in ((0.13, 1.8), (0.26, 1.4)):
        c.shape(p.oval(dx, 0.84, 0.2, 0.065, tilt), fur)
    c.shape(p.oval(0.2, 0.56, 0.19, 0.17), fur)
    c.shape(p.oval(0.27, 0.6, 0.03), pal.INK, rim=1)


def fox(c: Canvas, p: Spot) -> None:
    """Draws a sitting fox with a bushy tail."""
    c.shape(p.blob("-.1,.02 -.55,.02 -.8,.35 -.7,.62 -.45,.3 -.1,.2"), pal.ORANGE)
    c.shape(p.blob("-.26,0 .26,0 .2,.6 -.1,.62"), pal.ORANGE)
    c.shape(p.oval(0.1, 0.25, 0.1, 0.2), pal.WHITE, rim=0.8)
    for dx in (-0.12, 0.2):
        c.shape(p((dx - 0.1, 0.82), (dx + 0.1, 0.82), (dx, 1.08)), pal.ORANGE)
    c.shape(p.blob("-.26,.9 .34,.9 .34,.72 .05,.46 -.26,.72"), pal.ORANGE)
    for dx in (-0.06, 0.15):
        c.shape(p.oval(dx, 0.74, 0.03), pal.INK, rim=1)


def duck(c: Canvas, p: Spot) -> None:
    """Draws a yellow duck."""
    c.shape(p.blob("-.65,.5 -.4,.02 .35,.02 .5,.35 .1,.5"), pal.GOLD)
    c.shape(p.oval(0.38, 0.7, 0.25), pal.GOLD)
    c.shape(p.path(".58,.6 .9,.64 .58,.76"), pal.ORANGE)
    c.shape(p.oval(0.45, 0.76, 0.04), pal.INK, rim=1)


def cat(c: Canvas, p: Spot) -> None:
    """Draws a sitting cat seen from behind, with a curled tail."""
    fur = c.pick(pal.ORANGE, pal.STONE, (60, 54, 58))
    c.stroke(p.path(".2,.05 .48,.1 .52,.35 .4,.45"), fur, 0.1 * p.s)
    c.shape(p.blob("-.3,0 .3,0 .2,.6 -.2,.6"), fur)
    for dx in (-0.15, 0.15):
        c.shape(p((dx - 0.08, 0.85), (dx + 0.08, 0.85), (dx * 1.3, 1.05)), fur)
    c.shape(p.oval(0, 0.73, 0.23, 0.19), fur)


def fish(c: Canvas, p: Spot) -> None:
    """Draws a fish. A striped fish is orange; a plain one may have any colour."""
    striped = c.chance(0.5)
    paint = pal.ORANGE if striped else c.pick(pal.GOLD, pal.PINK, pal.RED, pal.PURPLE)
    c.shape(p.path("-.5,.5 -.95,.9 -.85,.5 -.95,.1"), paint)
    c.shape(p.blob("-.2,.75 .25,.78 .05,1.1 -.25,1.05"), paint)
    c.shape(p.oval(0, 0.5, 0.66, 0.4), paint)
    if striped:
        for x in (-0.28, 0.2):
            c.shape(p.box(x, 0.14, x + 0.13, 0.86), pal.WHITE, rim=0.6, shade=0.05)
    c.shape(p.oval(0.44, 0.6, 0.1), pal.WHITE, rim=0.4)
    c.shape(p.oval(0.46, 0.6, 0.05), pal.INK, rim=1)


def crab(c: Canvas, p: Spot) -> None:
    """Draws a red crab with raised claws."""
    for side in (-1, 1):
        for dx in (0.35, 0.5, 0.62):
            c.stroke(p((side * 0.3, 0.3), (side * dx, 0.3), (side * (dx + 0.1), 0)), pal.RED, 0.07 * p.s)
        c.stroke(p((side * 0.4, 0.4), (side * 0.7, 0.75)), pal.RED, 0.09 * p.s)
        c.shape(p.oval(side * 0.72, 0.85, 0.17), pal.RED)
        c.stroke(p((side * 0.15, 0.5), (side * 0.17, 0.8)), pal.INK)
    c.shape(p.oval(0, 0.38, 0.5, 0.3), pal.RED)


def snowman(c: Canvas, p: Spot) -> None:
    """Draws a snowman with a hat, a scarf and a carrot."""
    for side in (-1, 1):
        c.stroke(p((side * 0.2, 0.48), (side * 0.5, 0.65)), pal.BARK, 0.03 * p.s)
    c.shape(p.oval(0, 0.2, 0.27, 0.22), pal.WHITE, rim=0.6, shade=0.1)
    c.shape(p.oval(0, 0.5, 0.2, 0.18), pal.WHITE, rim=0.6, shade=0.1)
    c.shape(p.oval(0, 0.74, 0.15, 0.14), pal.WHITE, rim=0.6, shade=0.1)
    c.shape(p.box(-0.16, 0.58, 0.16, 0.65), pal.RED)
    c.shape(p.box(0.06, 0.42, 0.14, 0.6), pal.RED)
    c.shape(p.path("-.2,.84 .2,.84 .2,.88 .12,.88 .12,1.05 -.12,1.05 -.12,.88 -.2,.88"), pal.INK, rim=1)
    c.shape(p.path(".02,.74 .22,.72 .02,.7"), pal.ORANGE)
    for dx, dy in ((-0.06, 0.79), (0.06, 0.79), (0, 0.53), (0, 0.45)):
        c.shape(p.oval(dx, dy, 0.02), pal.INK, rim=1)


def owl(c: Canvas, p: Spot) -> None:
    """Draws an owl with round shining eyes."""
    c.shape(p.blob("-.35,0 .35,0 .45,.6 .38,1.05 0,.85 -.38,1.05 -.45,.6"), pal.EARTH)
    for dx in (-0.17, 0.17):
        c.shape(p.oval(dx, 0.66, 0.16), pal.GOLD, glow=True)
        c.shape(p.oval(dx, 0.66, 0.06), pal.INK, rim=1)
    c.shape(p.path("-.06,.54 .06,.54 0,.4"), pal.ORANGE)


def whale(c: Canvas, p: Spot) -> None:
    """Draws a whale blowing."""
    c.shape(p.blob("-.9,.75 -.6,.4 -.2,.05 .6,0 .9,.3 .7,.7 .1,.7 -.5,.55 -.7,.95"), pal.BLUE)
    c.stroke(p.path(".35,.72 .35,.95 .2,1.05"), pal.WHITE)
    c.stroke(p.path(".35,.95 .5,1.05"), pal.WHITE)
    c.shape(p.oval(0.6, 0.35, 0.04), pal.INK, rim=1)
