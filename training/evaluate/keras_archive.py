"""Checks .keras archives before they are loaded, as a network may come from a stranger.

Keras allocates every declared weight before it reads the first, and its own safety checks differ from release
to release. These checks do not depend on the release.
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
CHANNELS = (1, 5)  # of the input, without and with hints
WEIGHT_BYTES = 4  # float32, as training saves them


class ArchiveError(ValueError):
    """An archive that training did not write; the message is the reason."""


def check_archive(path: Path) -> None:
    """Refuses archives that would run code or exhaust memory, and networks that do not colour drawings.

    Raises:
      ArchiveError: the archive has other members than Keras writes, compressed members, or fewer stored bytes
        than its weights need; or the network does not map [B, H, W, 1 or 5], and a reference [B, K] if it
        takes one, to [B, H, W, K].
      Exception: an error of zipfile if the file is no archive, or of Keras if it does not know the config.
    """
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if sorted(info.filename for info in infos) != sorted(MEMBERS):
            raise ArchiveError(f"its files are not {', '.join(sorted(MEMBERS))}")
        if any(info.file_size != info.compress_size for info in infos):
            raise ArchiveError("its files are compressed")
        config = json.loads(archive.read(CONFIG))
        stored_bytes = archive.getinfo(WEIGHTS).file_size
    # In a thread of its own: Keras keeps a list per thread of the variables that it will create later.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_check_network, config, stored_bytes).result()


def _check_network(config: dict[str, Any], stored_bytes: int) -> None:
    with keras.StatelessScope(initialize_variables=False):  # creates shapes only
        net = keras.saving.deserialize_keras_object(config, safe_mode=True)
    if not isinstance(net, keras.Model) or not net.built:
        raise ArchiveError("it holds no network")
    if net.count_params() * WEIGHT_BYTES > stored_bytes:
        raise ArchiveError(f"it declares {net.count_params():,} weights, but stores {stored_bytes:,} bytes")
    inputs, outputs = ([tuple(tensor.shape) for tensor in tensors] for tensors in (net.inputs, net.outputs))
    colors = outputs[0][-1]
    if (
        list(map(len, outputs)) != [4]
        or list(map(len, inputs)) not in ([4], [4, 2])
        or inputs[0][-1] not in CHANNELS
        or inputs[1:] not in ([], [(None, colors)])
    ):
        shapes = " to ".join(" and ".join(map(str, shapes)) for shapes in (inputs, outputs))
        raise ArchiveError(f"its network maps {shapes}, not a drawing to colours")
