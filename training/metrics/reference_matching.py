"""Reference matching brings the colours of a picture nearer to a reference, without training again.

A network weighs a reference against what is likely, and the likeliest colour of each pixel then drops the
rare ones. Here one number for each colour is added to the logits of a picture, so that the fractions of the
colours become those that are wanted. These numbers are the dual variables of entropic optimal transport
between pixels and colours, found by Sinkhorn's iteration (Cuturi 2013, "Sinkhorn distances: lightspeed
computation of optimal transport"; Peyré and Cuturi 2019, "Computational optimal transport", chapter 4).
Saerens et al. 2002 adjust a classifier to new prior probabilities in the same way, at a temperature of 1.
"""

from __future__ import annotations

import numpy as np

DEFAULT_STRENGTH = 0.5
# Low, so that the fractions are nearly those of the likeliest colours, which are what is painted.
TEMPERATURE = 0.2
ITERATIONS = 20
MAX_BIAS = 8.0  # a colour that is not wanted may still be painted where the network is very sure of it
NEGLIGIBLE = 1e-4  # fraction of a picture; that of a colour that is not wanted has no logarithm
MAX_PIXELS = 4096  # fractions are counted on about so many pixels, for speed


def reference_bias(logits: np.ndarray, wanted: np.ndarray, strength: float) -> np.ndarray:
    """Returns what to add to the logits of one picture: float32 [K].

    Args:
      logits: of the colours, float [..., K]. A colour whose logits are all -inf is never painted.
      wanted: the wanted fraction of each colour, float [K]; zeros for no reference.
      strength: from 0, which changes nothing, to 1, with which the fractions are those that are wanted.
        Between them, the aim is the mean of the picture's own fractions and the wanted ones.
    """
    bias = np.zeros(len(wanted), np.float32)
    pixels = logits.reshape(-1, len(wanted))
    pixels = pixels[:: max(1, len(pixels) // MAX_PIXELS)].astype(np.float32)
    possible = np.isfinite(pixels).any(0) if len(pixels) else np.zeros(len(wanted), bool)
    reachable = np.where(possible, wanted, 0).astype(np.float64)
    if not strength or not reachable.sum():
        return bias
    pixels, reachable = pixels[:, possible], reachable[possible] / reachable.sum()
    found = np.zeros(len(reachable), np.float32)
    aim = np.maximum((1 - strength) * _mean_softmax(pixels) + strength * reachable, NEGLIGIBLE)
    aim /= aim.sum()
    for _ in range(ITERATIONS):
        fractions = np.maximum(_mean_softmax(pixels + found), NEGLIGIBLE**2)
        found = np.clip(found + TEMPERATURE * np.log(aim / fractions), -MAX_BIAS, MAX_BIAS).astype(np.float32)
    bias[possible] = found
    return bias


def _mean_softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp((logits - logits.max(-1, keepdims=True)) / TEMPERATURE)
    return (exponentials / exponentials.sum(-1, keepdims=True)).mean(0, dtype=np.float64)
