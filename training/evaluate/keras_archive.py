"""What a .keras archive declares, looked at before anything of the size that it declares is made.

Keras makes every weight before it reads the first, and its own checks came release by release: these hold
with any of them.
"""

from __future__ import annotations

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
CHANNELS = (1, 5)  # of a drawing, without hints and with them
WEIGHT_BYTES = 4  # float32: what the trainer saves


class ArchiveError(ValueError):
    """An archive that the trainer did not write; the message says what is wrong with it."""


def check_archive(path: Path) -> None:
    """Refuses what would run code, take memory that its bytes do not account for, or colour no drawing.

    Raises:
      ArchiveError: other members than Keras writes, packed ones, more weights than are stored, or no network
        from a drawing [B, H, W, 1 or 5] to scores [B, H, W, K].
      Exception: whatever zipfile raises for no archive, and Keras for a config that it does not know.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if sorted(info.filename for info in infos) != sorted(MEMBERS):
            raise ArchiveError(f"it holds other files than {', '.join(sorted(MEMBERS))}")
        if any(info.file_size != info.compress_size for info in infos):
            raise ArchiveError("its files are packed")
        config = json.loads(archive.read(CONFIG))
        stored = archive.getinfo(WEIGHTS).file_size
    # Keras keeps a list, for each thread, of the variables that it means to make later: not for ours.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_network, config, stored).result()


def _check_network(config: dict[str, Any], stored: int) -> None:
    with keras.StatelessScope(initialize_variables=False):  # shapes alone
        net = keras.saving.deserialize_keras_object(config, safe_mode=True)
    if not isinstance(net, keras.Model) or not net.built:
        raise ArchiveError("it holds no network")
    if net.count_params() * WEIGHT_BYTES > stored:
        raise ArchiveError(f"it declares {net.count_params():,} weights, but stores {stored:,} bytes")
    shapes = [tuple(tensor.shape) for tensor in (*net.inputs, *net.outputs)]
    if list(map(len, shapes)) != [4, 4] or shapes[0][-1] not in CHANNELS:
        raise ArchiveError(f"it goes from and to {' and '.join(map(str, shapes))}")
