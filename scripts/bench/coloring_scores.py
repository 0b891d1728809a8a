"""Scores of a coloured drawing: how near it is to the wanted picture, and whether hints are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from bench.coloring_cases import PAPER, Case, Dabs, Region

from training.metrics.ciede2000 import ciede2000
from training.metrics.color_spaces import to_cielab

EXACT = 1.0  # CIEDE2000; below it, two colours look the same


class Score(NamedTuple):
    """Scores off the lines. Those that have no pixels or no hints are NaN.

    all, object, background: mean CIEDE2000 to the wanted picture, on the page, the object and beside it.
    exact: fraction of the page with a difference below `EXACT`.
    filled: mean over the regions of the object with a dab: fraction that has exactly the dab's colour.
    spilled: fraction of the background that has the colour of a dab on the object.
    """

    all: float
    object: float
    background: float
    exact: float
    filled: float
    spilled: float


def score(case: Case, dabs: Dabs, rgb: np.ndarray) -> Score:
    """Compares a coloured drawing, uint8 [H, W, 3], with the wanted picture."""
    off_lines, objects = case.off_lines, [region for region in dabs.regions if region.is_object]
    difference = _differences(case.truth[off_lines], _paper_as_wanted(rgb[off_lines], case))
    is_object = case.is_object[off_lines]
    beside = rgb[off_lines & ~case.is_object]
    colors = {region.color for region in objects} - {case.paper}
    spilled = [(beside == np.array(color, np.uint8)).all(-1) for color in colors]
    return Score(
        _mean(difference),
        _mean(difference[is_object]),
        _mean(difference[~is_object]),
        _mean(difference < EXACT),
        _mean([filled(region, rgb) for region in objects]),
        _mean(np.any(spilled, axis=0)) if spilled else float("nan"),
    )


class Guess(NamedTuple):
    """Scores off the lines of a drawing that was coloured without hints.

    all, object: mean CIEDE2000 to the wanted picture, on the page and on the object.
    paper: fraction of the background that is white.
    merged: fraction of the object that has the commonest colour of the background.
    """

    all: float
    object: float
    paper: float
    merged: float


def judge_guess(case: Case, rgb: np.ndarray) -> Guess:
    """Compares a drawing that was coloured without hints, uint8 [H, W, 3], with the wanted picture."""
    off_lines, is_object = case.off_lines, case.is_object
    difference = _differences(case.truth[off_lines], _paper_as_wanted(rgb[off_lines], case))
    beside = rgb[off_lines & ~is_object]
    merged = float("nan")
    if len(beside):
        colors, counts = np.unique(beside, axis=0, return_counts=True)
        merged = _mean((rgb[off_lines & is_object] == colors[counts.argmax()]).all(-1))
    return Guess(
        _mean(difference), _mean(difference[is_object[off_lines]]), _mean((beside == PAPER).all(-1)), merged
    )


def filled(region: Region, rgb: np.ndarray) -> float:
    """Returns the fraction of a region that has exactly its wanted colour."""
    return float((rgb[region.mask] == np.array(region.color, np.uint8)).all(-1).mean())


def _paper_as_wanted(rgb: np.ndarray, case: Case) -> np.ndarray:
    """Replaces pure white by the wanted colour of paper: a page that was left white is no error."""
    return np.where((rgb == PAPER).all(-1, keepdims=True), np.array(case.paper, np.uint8), rgb)


def _differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns CIEDE2000 of each pair of colours, uint8 [N, 3]. Each distinct pair is computed once."""
    pairs = np.concatenate([first, second], axis=-1).astype(np.int64) @ (1 << np.arange(40, -1, -8))
    codes, indices = np.unique(pairs, return_inverse=True)
    channels = (codes[:, None] >> np.arange(40, -1, -8) & 255).astype(np.uint8)
    return ciede2000(to_cielab(channels[:, :3]), to_cielab(channels[:, 3:]))[indices.ravel()]


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


class Step(NamedTuple):
    """What one more dab did to the picture.

    lost: the largest fraction that a region with an earlier dab lost of its wanted colour, at least 0.
    lost_parted: the same for the regions that lines, even with gaps, part from the region of the new dab.
    lost_across_lines: the same for the regions that lines part from the new dab without any gap.
    repainted: fraction of the page off the lines that changed its colour although no dab lies in its area.
    """

    lost: float
    lost_parted: float
    lost_across_lines: float
    repainted: float


def compare_step(case: Case, dabs: Dabs, before: np.ndarray, more_dabs: Dabs, after: np.ndarray) -> Step:
    """Compares the pictures before and after one dab was added.

    Args:
      dabs: the earlier dabs.
      before, after: uint8 [H, W, 3].
      more_dabs: the same dabs and one more.
    """
    new_areas = np.unique(case.line_areas[more_dabs.labels == len(more_dabs.regions)])
    lost, parted, across = [0.0], [0.0], [0.0]
    new_area = _area_of(case, more_dabs, len(more_dabs.regions))
    for number, region in enumerate(dabs.regions, 1):
        loss = filled(region, before) - filled(region, after)
        lost.append(loss)
        if _area_of(case, dabs, number) != new_area:
            parted.append(loss)
        if not np.isin(case.line_areas[dabs.labels == number], new_areas).any():
            across.append(loss)
    hinted_areas = np.unique(case.line_areas[more_dabs.labels > 0])
    untouched = case.off_lines & ~np.isin(case.line_areas, hinted_areas)
    repainted = (before[untouched] != after[untouched]).any(-1).sum() / case.off_lines.sum()
    return Step(max(lost), max(parted), max(across), float(repainted))


def _area_of(case: Case, dabs: Dabs, number: int) -> int:
    """Returns the parted area in which most of a dab lies."""
    return int(np.bincount(case.parted_areas[dabs.labels == number]).argmax())


def breaks_hint(dabs: Dabs, picture: np.ndarray, variant: np.ndarray) -> bool:
    """Returns whether a variant changes what the dabs coloured in the first picture, both uint8 [H, W, 3].

    What they coloured are the pixels of their regions that have exactly their colour there.
    """
    for region in dabs.regions:
        color = np.array(region.color, np.uint8)
        colored = region.mask & (picture == color).all(-1)
        if (variant[colored] != color).any():
            return True
    return False
