"""A queue of shards shared by the local workers, so that none is idle while work is left.

The queue also records which image each worker is processing, so that a worker's death can be traced to it.
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

# The content of a marker: the worker's process id and the number of its current image.
_MARKER = struct.Struct("<qq")
_NO_PROCESS = 0
_NO_IMAGE = -1


@dataclass(frozen=True)
class CurrentImage:
    """The image that a worker is processing; `image` is None before its first image and after its last."""

    shard: Shard
    number: int  # of the image in the shard, from 0
    image: Image | None

    def __str__(self) -> str:
        if self.image is None:
            return self.shard.name
        location = describe_location(self.image)
        return f"{location}, image {self.number + 1} of {self.shard.num_images} of {self.shard.name}"


def describe_location(image: Image) -> str:
    """Returns where an image is, for messages: its path, or its key and the path of its tar."""
    return image.path if image.size < 0 else f"{image.key} in {image.path}"


@dataclass(frozen=True)
class ShardQueue:
    """The shards of one run on one machine.

    `folder` is empty at first. A worker takes a shard by creating a marker file for it there.
    """

    shards: list[Shard]
    folder: str

    def take(self) -> Iterator[Shard]:
        """Yields the shards that no other process has taken, in order, taking each when it is requested."""
        for shard in self.shards:
            try:
                with self._marker(shard).open("xb") as marker:  # succeeds in one process only
                    marker.write(_MARKER.pack(os.getpid(), _NO_IMAGE))
            except FileExistsError:
                continue
            yield shard
            self._write(shard, _NO_PROCESS, _NO_IMAGE)

    def begin(self, shard: Shard, number: int) -> None:
        """Records that this process begins image `number` of a shard that it has taken."""
        self._write(shard, os.getpid(), number)

    def current_image(self, pid: int) -> CurrentImage | None:
        """Returns the image that the worker with this process id began last; None if it has no shard."""
        for shard in self.shards:
            with contextlib.suppress(OSError, struct.error):  # the shard is not taken yet
                owner, number = _MARKER.unpack(self._marker(shard).read_bytes())
                if owner == pid:
                    images = read_shard_list(shard.list_path)
                    return CurrentImage(shard, number, images[number] if 0 <= number < len(images) else None)
        return None

    def _marker(self, shard: Shard) -> Path:
        return Path(self.folder, shard.name.replace("/", "_"))

    def _write(self, shard: Shard, pid: int, number: int) -> None:
        """Overwrites a marker in place, which takes some µs and no disk space: it is done for every image."""
        with self._marker(shard).open("r+b", buffering=0) as marker:
            marker.write(_MARKER.pack(pid, number))
