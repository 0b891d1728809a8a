"""Plain names of colours, for the page, for layers and for groups of an SVG."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import ImageColor
from scipy.optimize import linear_sum_assignment

from tfrecords_schema import LINEWASH_COLORS, Palette
from training.metrics.color_spaces import to_oklab

# Names of CSS, as words, whose colours are what the words say.
_CSS_NAMES = (
    "alice blue", "aquamarine", "blue", "cadet blue", "chartreuse", "coral", "cornflower blue", "crimson",
    "cyan", "dark blue", "dark cyan", "dark goldenrod", "dark green", "dark magenta", "dark olive green",
    "dark orange", "dark orchid", "dark red", "dark salmon", "dark sea green", "dark slate blue",
    "dark turquoise", "deep pink", "deep sky blue", "forest green", "gold", "goldenrod", "green",
    "green yellow", "hot pink", "indian red", "indigo", "ivory", "lavender", "lawn green", "light blue",
    "light coral", "light cyan", "light green", "light pink", "light salmon", "light sea green",
    "light sky blue", "light steel blue", "light yellow", "lime green", "linen", "magenta", "maroon",
    "medium aquamarine", "medium orchid", "medium purple", "medium sea green", "medium slate blue",
    "medium turquoise", "midnight blue", "misty rose", "navy", "olive", "olive drab", "orange",
    "orange red", "orchid", "pale goldenrod", "pale green", "pale turquoise", "pale violet red",
    "peach puff", "pink", "plum", "powder blue", "purple", "red", "rosy brown", "royal blue",
    "saddle brown", "salmon", "sandy brown", "sea green", "sienna", "sky blue", "slate grey",
    "spring green", "steel blue", "tan", "teal", "thistle", "tomato", "turquoise", "wheat", "yellow",
    "yellow green",
)  # fmt: skip
# Further names, and further colours that have one of the names above.
_OTHER_COLORS = (
    ("amber", "#ffbf00"), ("apricot", "#f9b98a"), ("aubergine", "#3d1c35"), ("azure", "#1c90f0"),
    ("blue", "#1868ba"), ("blue", "#2050c8"), ("blue green", "#5d9098"), ("blue grey", "#8a9bab"),
    ("bottle green", "#0a5c3c"), ("brick red", "#b04636"), ("bright green", "#00ff00"),
    ("bronze", "#a5763a"), ("brown", "#96602f"), ("burgundy", "#7d1236"), ("caramel", "#c27f3e"),
    ("chestnut", "#74402a"), ("cool grey", "#8b919c"), ("cool grey", "#b4bac4"), ("copper", "#b8693c"),
    ("cream", "#fbf3d5"), ("dark beige", "#bfa588"), ("dark blue", "#1e2a60"), ("dark brown", "#3a2416"),
    ("dark cool grey", "#2c3440"), ("dark cool grey", "#454b55"), ("dark green", "#1e5d45"),
    ("dark moss green", "#3d4f24"), ("dark olive", "#4a4526"), ("dark pink", "#b03a70"),
    ("dark purple", "#4b1f5c"), ("dark rose", "#a05058"), ("dark taupe", "#6e6450"),
    ("dark turquoise", "#0f8088"), ("dark warm grey", "#4d4640"), ("dark warm grey", "#5f564c"),
    ("dark yellow", "#aaaa00"), ("denim", "#2b4a74"), ("dusty green", "#6f8f78"), ("dusty pink", "#cc9aa0"),
    ("dusty violet", "#83769c"), ("emerald", "#14a46c"), ("fuchsia", "#e0208c"), ("gold", "#e0ad45"),
    ("grass green", "#5aa820"), ("grey blue", "#5f7388"), ("grey brown", "#7d6e63"),
    ("grey green", "#667a68"), ("grey green", "#8b9a86"), ("ice blue", "#d3ecf6"), ("jade", "#3c9a78"),
    ("leaf green", "#5fb04c"), ("lemon", "#fff44f"), ("light brown", "#b07a4c"),
    ("light grey blue", "#b5c2cf"), ("light olive", "#a8ad68"), ("light orange", "#fcb565"),
    ("light purple", "#b48ad0"), ("light taupe", "#aca08c"), ("light turquoise", "#8fe0d8"),
    ("light violet", "#a98bf0"), ("lime", "#a0e030"), ("magenta", "#d020d0"), ("mahogany", "#5e1f14"),
    ("mint green", "#a8e6c1"), ("moss green", "#4c813b"), ("mustard", "#c9a227"), ("night blue", "#101a3c"),
    ("ochre", "#b8903f"), ("olive green", "#7d8540"), ("orange", "#e06a30"), ("pale blue", "#c3d6f2"),
    ("pale green", "#cfe9c4"), ("pale lime", "#d6e88c"), ("pale orange", "#fbd3a2"),
    ("pale pink", "#fbe0e6"), ("pale violet", "#d9cdf2"), ("pale warm grey", "#dcd3c8"),
    ("pale yellow", "#f8f0a8"), ("peach", "#ffc9a0"), ("petrol", "#0d5a6c"), ("pine green", "#16402c"),
    ("purple", "#814692"), ("raspberry", "#b8204c"), ("rose", "#c65d7d"), ("rust", "#a44a1c"),
    ("sage", "#b2bd96"), ("salmon", "#ec9589"), ("sand", "#e2cda4"), ("sea blue", "#1b7ca0"),
    ("sky blue", "#54adea"), ("slate grey", "#56626e"), ("steel blue", "#4a76ad"), ("taupe", "#a08f80"),
    ("teal", "#3e656a"), ("terracotta", "#cc6b4e"), ("turquoise", "#30c8a0"), ("ultramarine", "#2a1fb0"),
    ("umber", "#6b5138"), ("vermilion", "#f04a24"), ("violet", "#8f4fe0"), ("warm grey", "#8c847a"),
    ("warm grey", "#b9b0a6"), ("wine red", "#8c2438"), ("yellow", "#ffe200"),
)  # fmt: skip
# Colours without hue have these names only, and no other colour has one of them.
_GREYS = (
    ("white", "#ffffff"), ("off-white", "#f2f2f2"), ("pale grey", "#dcdcdc"), ("silver", "#c0c0c0"),
    ("light grey", "#a3a3a3"), ("medium grey", "#868686"), ("grey", "#5f5f5f"), ("grey", "#808080"),
    ("dark grey", "#393939"), ("charcoal", "#262626"), ("near black", "#151515"), ("black", "#000000"),
)  # fmt: skip
_GREY_NAMES = frozenset(name for name, _ in _GREYS)
MAX_GREY_CHROMA = 0.02  # in OKLab: a colour below it has no hue that is worth a name ...
MIN_HUE_CHROMA = 0.045  # ... and one above it is no grey; in between it may have either name
HUE_WEIGHT = 2.0  # of a difference in hue and chroma: a name of another hue is worse than one too light
WRONG_KIND = 10.0  # distance between a grey and the name of a hue
NUMBER_DISTANCE = 0.06  # how much farther a name may be than one that is in use and would need a number


def _table() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the names; the index of a name and the colour of each entry: int [E], uint8 [E, 3]."""
    entries = [
        *LINEWASH_COLORS.items(),
        *((name, ImageColor.colormap[name.replace(" ", "")]) for name in _CSS_NAMES),
        *_OTHER_COLORS,
        *_GREYS,
    ]
    names = list(dict.fromkeys(name for name, _ in entries))
    colors = np.array([ImageColor.getrgb(str(color)) for _, color in entries], np.uint8)
    return names, np.array([names.index(name) for name, _ in entries]), colors


_NAMES, _NAME_OF_ENTRY, _ENTRIES = _table()
_EXACT = {color: name for name, color in LINEWASH_COLORS.items()}


def color_name(rgb: tuple[int, int, int]) -> str:
    """Returns the name of the nearest named colour, such as "light blue"."""
    return (
        _EXACT.get(f"#{bytes(rgb).hex()}") or _NAMES[int(_distances(np.array([rgb], np.uint8))[0].argmin())]
    )


def color_names(palette: Palette) -> list[str]:
    """Returns a different name for each colour, such as "light blue", with a number where names run out.

    Colours of the built-in palette keep their names. The others get those that are nearest to them in total.
    The distance is that in OKLab, in which hue and chroma count `HUE_WEIGHT` times.
    """
    return list(_names_of(palette.colors))


@lru_cache(maxsize=64)
def _names_of(colors: tuple[tuple[int, int, int], ...]) -> tuple[str, ...]:
    names = [_EXACT.get(f"#{bytes(color).hex()}", "") for color in colors]
    others = [index for index, name in enumerate(names) if not name]
    if others:
        distances = _distances(np.array(colors, np.uint8)[others])
        taken = np.isin(_NAMES, [name for name in names if name])
        for index, name in zip(others, _assign(distances, taken), strict=True):
            names[index] = name
    return tuple(names)


def _distances(colors: np.ndarray) -> np.ndarray:
    """Returns the distance of each colour, uint8 [N, 3], to each of `_NAMES`: float [N, M]."""
    table, own = to_oklab(_ENTRIES), to_oklab(colors)
    by_entry = np.sqrt((((own[:, None] - table) * (1, HUE_WEIGHT, HUE_WEIGHT)) ** 2).sum(-1))
    distances = np.full((len(colors), len(_NAMES)), np.inf)
    np.minimum.at(distances.T, _NAME_OF_ENTRY, by_entry.T)
    chroma = np.hypot(own[:, 1], own[:, 2])[:, None]
    is_grey = np.array([name in _GREY_NAMES for name in _NAMES])
    is_wrong = np.where(is_grey, chroma > MIN_HUE_CHROMA, chroma < MAX_GREY_CHROMA)
    return distances + WRONG_KIND * is_wrong


def _assign(distances: np.ndarray, taken: np.ndarray) -> list[str]:
    """Returns a different name for each row of float [N, M]; bool [M] says which names are taken already."""
    if len(distances) > len(_NAMES):
        nearest = distances.argmin(1)
        return _number(nearest, taken)
    # Each name is offered several times, at a higher cost each time.
    nearest = distances.argmin(1)
    most = int(np.bincount(nearest).max())
    costs = np.concatenate(
        [distances + NUMBER_DISTANCE * (copy + taken) for copy in range(min(most, len(distances)))], axis=1
    )
    rows, columns = linear_sum_assignment(costs)
    return _number(columns[np.argsort(rows)] % len(_NAMES), taken)


def _number(indices: np.ndarray, taken: np.ndarray) -> list[str]:
    """Returns the names of `indices`, with a number from 2 for each name that is used again."""
    counts = taken.astype(int)
    names = []
    for index in indices.tolist():
        counts[index] += 1
        names.append(_NAMES[index] if counts[index] == 1 else f"{_NAMES[index]} {counts[index]}")
    return names


def layer_name(palette: Palette, label: int) -> str:
    """Returns a sortable name of a colour without spaces, such as 13-light-blue-8cacd4."""
    digits = len(str(len(palette) - 1))
    name = color_names(palette)[label].replace(" ", "-")
    return f"{label:0{digits}d}-{name}-{bytes(palette.colors[label]).hex()}"
