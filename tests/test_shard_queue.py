"""Each shard is taken once, however many workers share the queue."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from preprocess.plan import Shard
from preprocess.runners.shard_queue import ShardQueue


def some_shards(count: int) -> list[Shard]:
    return [Shard("train", f"train/{i:05d}", f"plan/{i}", 1, "0", 1) for i in range(count)]


def test_one_worker_takes_all_shards_in_order(tmp_path: Path) -> None:
    shards = some_shards(5)
    assert list(ShardQueue(shards, str(tmp_path)).take()) == shards
    assert list(ShardQueue(shards, str(tmp_path)).take()) == []


def test_two_workers_share_the_shards(tmp_path: Path) -> None:
    shards = some_shards(6)
    first, second = (ShardQueue(shards, str(tmp_path)).take() for _ in range(2))
    taken = [next(first), next(second), next(second), next(first)]
    assert taken == shards[:4], "no shard is taken before it is requested"
    assert list(first) == shards[4:]
    assert list(second) == []


def take_names(queue: ShardQueue) -> list[str]:
    return [shard.name for shard in queue.take()]


def test_concurrent_processes_take_each_shard_once(tmp_path: Path) -> None:
    shards = some_shards(300)
    with multiprocessing.get_context("forkserver").Pool(4) as pool:
        taken = pool.map(take_names, [ShardQueue(shards, str(tmp_path))] * 4, chunksize=1)
        # SIGTERM, by which a pool terminates its workers, is blocked in a server that `worker` has started.
        pool.close()
        pool.join()
    assert sorted(name for names in taken for name in names) == [shard.name for shard in shards]
