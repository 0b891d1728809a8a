"""Shards in, each handed to the first local worker that asks: none waits while another has a queue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.plan import Shard


@dataclass(frozen=True)
class Claims:
    """The shards of one run on one machine, and the empty folder in which their names are staked out."""

    shards: list[Shard]
    folder: str

    def take(self) -> Iterator[Shard]:
        """Yields shards, in order, that no other process has taken; each as late as can be."""
        for shard in self.shards:
            stake = Path(self.folder, shard.name.replace("/", "_"))
            try:
                stake.open("x").close()  # the file system lets only one of them make it
            except FileExistsError:
                continue
            yield shard
