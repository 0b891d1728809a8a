"""How fast the trainer's input is beside the article's way and beside the loaders that others use.

    python scripts/bench/input.py                    10,000 random examples of 128 px
    python scripts/bench/input.py --dataset DATASET  the training split of a dataset

Every way delivers the same examples in shuffled batches of packed edges and labels. Each setting of each way
is a process of its own, held to the same cores, which reads the data once to warm up and then some epochs
more; the best setting of a way counts. The loaders come with pip install --editable '.[bench]'; one that is
not installed is said to be missing. The article's ways have no shards: they start from photographs of
500 × 375 and deliver what it delivers, edges and labels as float32, from threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import json
import os
import random
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from bench.harness import WayFailedError, in_own_process, options, tell
from linewash.coloring.arguments import Parser, at_least, local_path, run

from training.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    import tfrecords_schema as schema

# ------------------------------------------------------------------------------------------------ data

SHARD_EXAMPLES = 1000
SIZE = 128


def random_dataset(folder: Path, count: int) -> None:
    """Writes a dataset of `count` random examples: noise, since nothing here looks at the pixels."""
    import numpy as np

    import tfrecords_schema as schema

    generator, palette = np.random.default_rng(0), schema.Palette.grid(4)
    histogram, edge_pixels, shards = np.zeros(len(palette), np.int64), 0, []
    of = -(-count // SHARD_EXAMPLES)
    (folder / "train").mkdir(parents=True)
    for index in range(of):
        numbers = range(index * SHARD_EXAMPLES, min(count, (index + 1) * SHARD_EXAMPLES))
        content = bytearray()
        for number in numbers:
            edges = (generator.random((SIZE, SIZE)) < 0.1).astype(np.uint8)
            labels = generator.integers(0, len(palette), (SIZE, SIZE), np.uint8)
            histogram += np.bincount(labels.ravel(), minlength=len(palette))
            edge_pixels += int(edges.sum())
            key = f"n{number % 1000:08d}/{number:08d}.JPEG".encode()
            content += schema.frame_record(
                schema.encode_example(key, schema.pack_edges(edges), labels.tobytes())
            )
        name, digest = schema.shard_name("train", index, of), hashlib.sha256(content).hexdigest()
        (folder / name).write_bytes(content)
        layout = schema.RecordLayout.from_sizes(len(key), SIZE**2 // 8, SIZE**2)
        shards.append(schema.ShardInfo(name, len(numbers), len(content), digest, layout))
    split = schema.Split(count, histogram.tolist(), edge_pixels, shards)
    manifest = schema.Manifest(
        schema_version=schema.SCHEMA_VERSION, tool="bench/input", fingerprint="0" * 16,
        images_digest="0" * 16, image_size=SIZE, label_dtype="uint8", compression="none",
        palette=palette, recipe={}, seed=0, val_fraction=0, sources=[], splits={"train": split}, rejects={},
    )  # fmt: skip
    (folder / schema.MANIFEST_NAME).write_bytes(manifest.to_json())


@dataclasses.dataclass(frozen=True)
class Data:
    """The dataset under test, and a folder where a way keeps its own copy of it."""

    root: Path
    manifest: schema.Manifest
    folder: Path
    batch_size: int

    @property
    def shards(self) -> list[Path]:
        """The training shards."""
        return [self.root / shard.name for shard in self.manifest.splits["train"].shards]

    @property
    def examples(self) -> int:
        """How many training examples there are."""
        return self.manifest.splits["train"].examples

    def records(self) -> Iterator[bytes]:
        """The training examples, still encoded."""
        import tfrecords_schema as schema

        for path in self.shards:
            with path.open("rb") as file:
                yield from schema.read_records(file)

    def parts(self) -> Iterator[tuple[str, bytes, bytes]]:
        """The training examples as key, edges and labels."""
        from tfrecords_schema import decode_example

        return map(decode_example, self.records())

    def once(self, name: str) -> tuple[Path, bool]:
        """A folder for the copy `name`, and whether it is new."""
        copy = self.folder / name
        new = not copy.exists()
        copy.mkdir(exist_ok=True)
        return copy, new


# An epoch: its number in, batches out, of which the first member counts.
Epoch = Callable[[int], Iterable[Any]]
SHUFFLED = 2048  # records mixed at a time, wherever a loader asks


# ------------------------------------------------------------------------------------------- the ways


def linewash(data: Data, _: int) -> Epoch:
    """Ours."""
    from training.data.dataset import ShardedDataset

    dataset = ShardedDataset(str(data.root), data.manifest)

    def epoch(number: int) -> Iterable[Any]:
        return dataset.train(data.batch_size, seed=0, epoch=number, shuffle_buffer=SHUFFLED)

    return epoch


def tf_data(data: Data, _: int) -> Epoch:
    """Ours for compressed shards, which is the usual way: TFRecordDataset, shuffle, batch, parse_example."""
    train = data.manifest.splits["train"]
    bare = [dataclasses.replace(shard, layout=None) for shard in train.shards]
    splits = {"train": dataclasses.replace(train, shards=bare)}
    return linewash(dataclasses.replace(data, manifest=dataclasses.replace(data.manifest, splits=splits)), 0)


def webdataset(data: Data, workers: int) -> Epoch:
    """Tars of raw bytes, a shuffle buffer, batches made in the worker."""
    import torch
    import webdataset as wds

    copy, new = data.once("webdataset")
    if new:
        with wds.ShardWriter(f"{copy}/%05d.tar", maxcount=SHARD_EXAMPLES, verbose=0) as sink:
            for number, (_, edges, labels) in enumerate(data.parts()):
                sink.write({"__key__": f"{number:08d}", "edges": edges, "labels": labels})
    urls = sorted(str(path) for path in copy.glob("*.tar"))

    def stack(samples: list[tuple[bytes, bytes]]) -> tuple[np.ndarray, ...]:
        edges, labels = zip(*samples, strict=True)
        return _stacked(edges), _stacked(labels)

    def epoch(number: int) -> Iterable[Any]:
        batches = (
            wds.WebDataset(urls, shardshuffle=len(urls), seed=number, empty_check=False)
            .shuffle(SHUFFLED)
            .to_tuple("edges", "labels")
            .batched(data.batch_size, collation_fn=stack, partial=True)
        )
        return torch.utils.data.DataLoader(
            batches, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
        )

    return epoch


def mosaicml(data: Data, workers: int) -> Epoch:
    """Uncompressed MDS shards in a DataLoader."""
    import torch
    from streaming import MDSWriter, StreamingDataset

    copy, new = data.once("mosaicml")
    if new:
        with MDSWriter(out=str(copy), columns={"edges": "bytes", "labels": "bytes"}) as sink:
            for _, edges, labels in data.parts():
                sink.write({"edges": edges, "labels": labels})
    dataset = StreamingDataset(
        local=str(copy), shuffle=True, shuffle_seed=0, batch_size=data.batch_size, num_canonical_nodes=1
    )
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=data.batch_size, num_workers=workers, collate_fn=_stack_dicts,
        persistent_workers=workers > 0,
    )  # fmt: skip
    return lambda number: loader


def lit_data(data: Data, workers: int) -> Epoch:
    """LitData's chunks of 64 MB in its own loader."""
    import litdata

    copy, new = data.once("litdata")
    if new:
        from litdata.streaming.cache import Cache

        cache = Cache(str(copy), chunk_bytes="64MB")
        for number, (_, edges, labels) in enumerate(data.parts()):
            cache[number] = {"edges": edges, "labels": labels}
        cache.done()
        cache.merge()
    dataset = litdata.StreamingDataset(str(copy), shuffle=True, seed=0)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=data.batch_size, num_workers=workers, collate_fn=_stack_dicts,
        persistent_workers=workers > 0,
    )  # fmt: skip
    return lambda number: loader


def grain(data: Data, workers: int) -> Epoch:
    """ArrayRecord read at random places, globally shuffled; threads here, or worker processes."""
    import grain.python as pygrain
    from array_record.python.array_record_module import ArrayRecordWriter

    copy, new = data.once("grain")
    if new:
        sink = ArrayRecordWriter(str(copy / "train.array_record"), "group_size:1,uncompressed")
        for _, edges, labels in data.parts():
            sink.write(edges + labels)
        sink.close()
    source = pygrain.ArrayRecordDataSource([str(copy / "train.array_record")])
    cut = data.manifest.image_size**2 // 8

    def split(records: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = _stacked(records)
        return rows[:, :cut], rows[:, cut:]

    def epoch(number: int) -> Iterable[Any]:
        batches = pygrain.MapDataset.source(source).seed(number).shuffle()
        batches = batches.batch(data.batch_size, batch_fn=split)
        threads = pygrain.ReadOptions(num_threads=2 if workers == 0 else 1, prefetch_buffer_size=16)
        iterable = batches.to_iter_dataset(threads)
        if workers:
            iterable = iterable.mp_prefetch(pygrain.MultiprocessingOptions(num_workers=workers))
        return iterable

    return epoch


def dali(data: Data, threads: int) -> Epoch:
    """NVIDIA DALI's TFRecord reader on the CPU, with its shuffle buffer, on our own shards."""
    import nvidia.dali.tfrecord as tfrec
    from nvidia.dali import fn, pipeline_def

    copy, new = data.once("dali")
    indices = [copy / f"{path.name}.idx" for path in data.shards]
    if new:
        for path, index, shard in zip(
            data.shards, indices, data.manifest.splits["train"].shards, strict=True
        ):
            stride = path.stat().st_size // shard.examples
            index.write_text("".join(f"{i * stride} {stride}\n" for i in range(shard.examples)))
    features = {name: tfrec.FixedLenFeature((), tfrec.string, "") for name in ("edges", "labels")}

    @pipeline_def(batch_size=data.batch_size, num_threads=threads, device_id=None, seed=0)
    def pipeline() -> Any:
        read = fn.readers.tfrecord(
            path=[str(path) for path in data.shards], index_path=[str(index) for index in indices],
            features=features, random_shuffle=True, initial_fill=SHUFFLED, name="reader",
        )  # fmt: skip
        return read["edges"], read["labels"]

    running = pipeline(prefetch_queue_depth=4)
    running.build()

    def epoch(_: int) -> Iterator[Any]:
        for _ in range(data.examples // data.batch_size):
            edges, labels = running.run()
            yield edges.as_array(), labels.as_array()

    return epoch


def article_table(data: Data, threads: int) -> Epoch:
    """The article's generator with posterization by table in place of its loop over pixels."""
    from preprocess.posterize import to_labels

    return _article(data, threads, lambda rgb: to_labels(rgb, data.manifest.palette))


def article(data: Data, threads: int) -> Epoch:
    """The article's generator: Canny and, pixel by pixel in Python, the nearest colour."""
    import numpy as np

    colors = [tuple(color) for color in data.manifest.palette.colors]

    def nearest(rgb: np.ndarray) -> np.ndarray:
        labels = [
            min(
                range(len(colors)),
                key=lambda i: sum((a - b) ** 2 for a, b in zip(colors[i], pixel, strict=True)),
            )
            for pixel in rgb.reshape(-1, 3).tolist()
        ]
        return np.array(labels).reshape(rgb.shape[:2])

    return _article(data, threads, nearest)


def _article(data: Data, threads: int, posterize: Callable[[np.ndarray], np.ndarray]) -> Epoch:
    """Threads that decode photographs, draw edges and posterize, over a queue of batches."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    size, count = data.manifest.image_size, 4 if posterize.__name__ == "nearest" else 512
    batch_size = min(count, data.batch_size)
    copy, new = data.once("photographs")
    if new:
        generator = np.random.default_rng(0)
        for number in range(512):
            coarse = generator.integers(0, 256, (12, 16, 3), np.uint8)
            cv2.imwrite(
                f"{copy}/{number:04d}.jpg", cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC)
            )
    paths = sorted(copy.glob("*.jpg"))[:count]

    def example(path: Path) -> tuple[np.ndarray, np.ndarray]:
        bgr = cv2.resize(cv2.imread(str(path)), (size, size), interpolation=cv2.INTER_AREA)
        edges = cv2.Canny(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), 100, 200)
        return edges.astype(np.float32) / 255, posterize(bgr[..., ::-1].copy()).astype(np.float32)

    def epoch(number: int) -> Iterator[Any]:
        shuffled = random.Random(number).sample(paths, len(paths))
        todo = [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
        batches: Queue[Any] = Queue(maxsize=8)

        def work(mine: list[list[Path]]) -> None:
            for some in mine:
                batches.put(tuple(map(np.stack, zip(*map(example, some), strict=True))))

        for i in range(threads):
            threading.Thread(target=work, args=(todo[i::threads],), daemon=True).start()
        for _ in todo:
            yield batches.get()

    return epoch


def _stacked(rows: Iterable[bytes]) -> np.ndarray:
    import numpy as np

    parts = list(rows)
    return np.frombuffer(b"".join(parts), np.uint8).reshape(len(parts), -1)


def _stack_dicts(samples: list[dict[str, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    return _stacked(s["edges"] for s in samples), _stacked(s["labels"] for s in samples)


@dataclasses.dataclass(frozen=True)
class Way:
    """How to open the data, the module needed, and the settings (workers or threads) to try."""

    open: Callable[[Data, int], Epoch]
    module: str
    settings: tuple[int, ...]


WAYS = {
    "linewash": Way(linewash, "tensorflow", (0,)),
    "tf.data, parsed": Way(tf_data, "tensorflow", (0,)),
    "NVIDIA DALI": Way(dali, "nvidia.dali", (1, 2)),
    "litdata": Way(lit_data, "litdata", (0, 1, 2)),
    "mosaicml-streaming": Way(mosaicml, "streaming", (0, 1, 2)),
    "webdataset": Way(webdataset, "webdataset", (0, 1, 2)),
    "grain, ArrayRecord": Way(grain, "grain", (0, 1, 2)),
    "article, by table": Way(article_table, "cv2", (1, 2)),
    "article, by pixel": Way(article, "cv2", (2,)),
}


# ------------------------------------------------------------------------------------------ measuring


def time_way(way: Way, data: Data, setting: int, epochs: int) -> dict[str, float]:
    """Medians over `epochs` after one to warm up: images/s, and microseconds of processor time an image."""
    epoch = way.open(data, setting)
    rates, costs = [], []
    for number in range(epochs + 1):
        started, used, count = time.perf_counter(), _cpu_seconds(), 0
        for batch in epoch(number):
            count += len(batch[0])
        rates.append(count / (time.perf_counter() - started))
        costs.append((_cpu_seconds() - used) / count * 1e6)
    return {"images_per_s": statistics.median(rates[1:]), "cpu_us": statistics.median(costs[1:])}


def _cpu_seconds() -> float:
    """Processor time of this process, and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def compare(root: Path, folder: Path, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The best setting of each way, or why there is none."""
    table: dict[str, dict[str, Any]] = {}
    for name, way in WAYS.items():
        if args.only and name.split(",")[0].split()[-1].lower() not in args.only:
            continue
        if not _installed(way.module):
            table[name] = {"missing": f"{way.module} is not installed"}
            continue
        found = []
        for setting in way.settings:
            words = ["--setting", setting, "--folder", folder, "--dataset", root, "--cores", args.cores]
            words += ["--batch-size", args.batch_size, "--epochs", args.epochs]
            try:
                found.append({"setting": setting, **in_own_process(__file__, name, *words)})
            except WayFailedError as failed:
                table[name] = {"missing": str(failed).splitlines()[-1]}
        if found:
            table[name] = max(found, key=lambda row: row["images_per_s"])
        print(f"{name}: {table[name]}", file=sys.stderr, flush=True)
    return table


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def show(table: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The table's lines; the ratio is ours to theirs."""
    ours = table.get("linewash", {}).get("images_per_s", float("nan"))
    yield f"{'way':22}{'images/s':>10}{'ours is':>10}{'CPU µs/image':>14}{'setting':>9}"
    for name, row in table.items():
        if "missing" in row:
            yield f"{name:22}{'missing':>10}  {row['missing']}"
            continue
        rate = row["images_per_s"]
        yield f"{name:22}{rate:10,.0f}{ours / rate:9.1f}×{row['cpu_us']:14.1f}{row['setting']:9d}"


def parser() -> Parser:
    """Every flag."""
    made = options("bench/input", __doc__)
    add = made.add_argument
    add("--dataset", type=local_path, help="a dataset directory [random examples]")
    add("--count", type=at_least(1), default=10_000, help="random examples [10000]")
    add("--batch-size", type=at_least(1), default=64, help="[64]")
    add("--epochs", type=at_least(1), default=5, help="timed, of each setting [5]")
    add("--cores", type=at_least(1), default=2, help="every way is held to as many [2]")
    add("--only", nargs="*", help="last words of ways, such as linewash dali")
    for hidden in ("--setting", "--folder"):  # one setting of one way, as a process of its own
        add(hidden, help=argparse.SUPPRESS)
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="all")


def work(args: argparse.Namespace) -> int:
    """Prints the table; writes JSON with --json; 0.

    Raises:
      UsageError: no such dataset.
    """
    from tfrecords_schema import Manifest, SchemaError

    if args.way:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
        data = Data(args.dataset, Manifest.load(args.dataset), Path(args.folder), args.batch_size)
        print(json.dumps(time_way(WAYS[args.way], data, int(args.setting), args.epochs)))
        return 0
    if args.dataset:
        try:
            Manifest.load(args.dataset)
        except SchemaError as e:
            raise UsageError(str(e)) from None
    with tempfile.TemporaryDirectory(prefix="linewash-bench-") as temporary:
        folder, root = Path(temporary), args.dataset or Path(temporary, "dataset")
        if not args.dataset:
            random_dataset(root, args.count)
        table = compare(root, folder, args)
    print(f"batches of {args.batch_size}, {args.cores} cores, medians of {args.epochs} epochs")
    tell(show(table), table, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
