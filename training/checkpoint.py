"""Saves the network whole or not at all: under a temporary name first, then renamed."""

from __future__ import annotations

from pathlib import Path

import keras

LAST = "last.keras"
BEST = "best.keras"


def save_net(net: keras.Model, path: Path) -> None:
    """Writes the plain functional network; what stood there stays until the new file is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Keras insists on the suffix.
    temporary = path.with_name(f".{path.stem}.writing.keras")
    net.save(temporary)
    temporary.replace(path)
