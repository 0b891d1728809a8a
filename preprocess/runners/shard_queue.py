"""A queue of shards shared by the local workers, so that none is idle while work is left.

It also tells which image a worker had in hand when it died.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.plan import Shard, read_shard_list
from preprocess.sources import Image

# What a stake holds: a worker's process id, and the number of the image in hand.
_STAKE = struct.Struct("<qq")
_NOBODY = 0
_NO_IMAGE = -1


@dataclass(frozen=True)
class CurrentImage:
    """What a worker was at work on. `image` is None before its first image and after its last."""

    shard: Shard
    number: int  # of the image in the shard, from 0
    image: Image | None

    def __str__(self) -> str:
        if self.image is None:
            return self.shard.name
        return f"{place(self.image)}, image {self.number + 1} of {self.shard.images} of {self.shard.name}"


def place(image: Image) -> str:
    """Where an image is, for a user: its path, or its name in a tar."""
    return image.path if image.size < 0 else f"{image.key} in {image.path}"


@dataclass(frozen=True)
class ShardQueue:
    """The shards of one run on one machine, and the empty folder in which their names are staked out."""

    shards: list[Shard]
    folder: str

    def take(self) -> Iterator[Shard]:
        """Yields shards, in order, that no other process has taken; each as late as can be."""
        for shard in self.shards:
            try:
                with self._marker(shard).open("xb") as stake:  # the file system lets only one of them make it
                    stake.write(_STAKE.pack(os.getpid(), _NO_IMAGE))
            except FileExistsError:
                continue
            yield shard
            self._write(shard, _NOBODY, _NO_IMAGE)

    def begin(self, shard: Shard, number: int) -> None:
        """Notes that this process begins image `number` of a shard that it took."""
        self._write(shard, os.getpid(), number)

    def current_image(self, process: int) -> CurrentImage | None:
        """What the worker with that process id is, or was, at work on; None if it has no shard."""
        for shard in self.shards:
            with contextlib.suppress(OSError, struct.error):  # not taken yet
                owner, number = _STAKE.unpack(self._marker(shard).read_bytes())
                if owner == process:
                    images = read_shard_list(shard.list_path)
                    return CurrentImage(shard, number, images[number] if 0 <= number < len(images) else None)
        return None

    def _marker(self, shard: Shard) -> Path:
        return Path(self.folder, shard.name.replace("/", "_"))

    def _write(self, shard: Shard, process: int, number: int) -> None:
        """Overwrites a stake in place: quick enough for each image (some µs), and it takes no room."""
        with self._marker(shard).open("r+b", buffering=0) as stake:
            stake.write(_STAKE.pack(process, number))
