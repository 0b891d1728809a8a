"""The colours of the storybook, and the moods (day, night, ...) that light them.

Colours are RGB in 0..255. Most are far from the borders of the 27-colour grid palette (42.5 and 127.5 per
channel), so that grain and shading do not change the label of a thing.
"""

from typing import NamedTuple

Colour = tuple[float, float, float]

WHITE: Colour = (250, 248, 240)
INK: Colour = (28, 22, 30)
GRASS: Colour = (98, 184, 82)
CROWN: Colour = (86, 160, 28)
CROWN_LIT: Colour = (112, 186, 34)
PINE: Colour = (24, 108, 70)
STEM: Colour = (28, 140, 60)
BARK: Colour = (146, 90, 30)
WOOD: Colour = (168, 104, 66)
SAND: Colour = (242, 210, 108)
EARTH: Colour = (156, 100, 28)
STONE: Colour = (106, 104, 110)
SNOW: Colour = (234, 242, 252)
SUN: Colour = (255, 208, 22)
MOON: Colour = (252, 236, 110)
LAMP: Colour = (255, 216, 92)
SEA: Colour = (24, 104, 186)
SHALLOW: Colour = (26, 160, 196)
RED: Colour = (200, 30, 34)
BRICK: Colour = (206, 88, 66)
PINK: Colour = (240, 104, 160)
ORANGE: Colour = (236, 104, 24)
GOLD: Colour = (244, 186, 26)
BLUE: Colour = (60, 100, 196)
PURPLE: Colour = (150, 78, 170)
GLASS: Colour = (104, 170, 220)

CLOTHES: tuple[Colour, ...] = (RED, BLUE, GOLD, PINK, STEM, PURPLE)
ROOFS: tuple[Colour, ...] = (BRICK, BRICK, BRICK, RED)
WALLS: tuple[Colour, ...] = ((246, 228, 178), (246, 228, 178), (244, 204, 100))
SKINS: tuple[Colour, ...] = ((244, 188, 110), (244, 188, 110), (160, 104, 66), (102, 66, 50))
HAIR: tuple[Colour, ...] = ((96, 60, 24), (30, 26, 28), (226, 170, 30))
LEAVES: tuple[Colour, ...] = (ORANGE, ORANGE, GOLD, RED)


class Mood(NamedTuple):
    """Time of day, season and weather of a scene. `sky.sky` draws the cue of each mood in the sky."""

    name: str
    sky: tuple[Colour, ...]  # from the top of the image to the horizon
    ground: Colour
    gain: Colour = (1, 1, 1)  # lit colour = colour * gain + lift
    lift: Colour = (0, 0, 0)


DAY = Mood("day", ((70, 158, 232), (92, 178, 240), (108, 190, 244), (158, 212, 246)), GRASS)
SUNSET = Mood(
    "sunset",
    ((116, 70, 160), (206, 84, 120), (236, 104, 84), (252, 150, 62)),
    GRASS,
    (0.86, 0.8, 0.8),
    (10, 4, 14),
)
NIGHT = Mood(
    "night",
    ((22, 56, 146), (26, 66, 158), (32, 80, 170), (66, 108, 186)),
    GRASS,
    (0.30, 0.52, 0.72),
    (4, 6, 44),
)
SNOWY = Mood("snowy", ((92, 106, 170), (96, 112, 178), (104, 120, 186), (146, 160, 206)), SNOW)
RAINY = Mood(
    "rainy",
    ((96, 100, 108), (102, 106, 114), (110, 114, 120), (138, 142, 146)),
    (80, 146, 84),
    (0.86, 0.86, 0.9),
    (4, 4, 8),
)
AUTUMN = Mood("autumn", ((164, 200, 226), (172, 208, 230), (190, 216, 224), (222, 222, 200)), (206, 168, 76))


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Interpolates linearly from `a` (t = 0) to `b` (t = 1)."""
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)
