"""Shards are taken once each, whoever asks and however often."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from preprocess.plan import Shard
from preprocess.runners.shard_queue import ShardQueue


def some_shards(count: int) -> list[Shard]:
    return [Shard("train", f"train/{i:05d}", f"plan/{i}", 1, "0", 1) for i in range(count)]


def test_takes_everything_in_order(tmp_path: Path) -> None:
    shards = some_shards(5)
    assert list(ShardQueue(shards, str(tmp_path)).take()) == shards
    assert list(ShardQueue(shards, str(tmp_path)).take()) == []


def test_two_askers_in_turn_share(tmp_path: Path) -> None:
    shards = some_shards(6)
    one, two = (ShardQueue(shards, str(tmp_path)).take() for _ in range(2))
    assert [next(one), next(two), next(two), next(one)] == shards[:4], "none is taken before it is asked for"
    assert list(one) == shards[4:]
    assert list(two) == []


def take_names(claims: ShardQueue) -> list[str]:
    return [shard.name for shard in claims.take()]


def test_processes_at_once_take_each_shard_once(tmp_path: Path) -> None:
    shards = some_shards(300)
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        taken = pool.map(take_names, [ShardQueue(shards, str(tmp_path))] * 4, chunksize=1)
    assert sorted(name for names in taken for name in names) == [shard.name for shard in shards]
