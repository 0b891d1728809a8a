"""The loaders that bench/input.py compares: how each opens a dataset and delivers an epoch in batches.

Every loader delivers the same examples in shuffled batches of packed edges and labels. Of several line
styles, linewash's loader delivers one for each example, and the others deliver all. A loader with a format of
its own first writes a copy of the dataset in that format. The functions of the article have no shards: they
start from images of 500 × 375 px and deliver edges and labels as float32, as the article's code does.
"""

from __future__ import annotations

import dataclasses
import gzip
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

from bench.datasets import RANDOM_SHARD_EXAMPLES

if TYPE_CHECKING:
    import numpy as np

    import tfrecords_schema as schema


@dataclasses.dataclass(frozen=True)
class BenchmarkDataset:
    """The dataset, and a folder for the copies that loaders make of it in their own formats."""

    root: Path
    manifest: schema.Manifest
    folder: Path
    batch_size: int

    @property
    def shards(self) -> list[Path]:
        """The paths of the training shards."""
        return [self.root / shard.name for shard in self.manifest.splits["train"].shards]

    @property
    def examples(self) -> int:
        """The number of training examples."""
        return self.manifest.splits["train"].examples

    def records(self) -> Iterator[bytes]:
        """Yields the training examples as serialized records."""
        import tfrecords_schema as schema

        for path in self.shards:
            with path.open("rb") as file:
                yield from schema.read_records(file)

    def parts(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Yields the training examples as key, packed edges and label bytes."""
        from tfrecords_schema import decode_example

        return map(decode_example, self.records())

    def copy_folder(self, name: str) -> tuple[Path, bool]:
        """Returns the folder for the copy `name`, and whether this call has made it."""
        folder = self.folder / name
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        return folder, is_new


# Takes the number of an epoch and returns its batches. len(batch[0]) is the number of examples.
Epoch = Callable[[int], Iterable[Any]]
SHUFFLE_BUFFER = 2048  # records


# -------------------------------------------------------------------------------------------- loaders


def linewash(data: BenchmarkDataset, _: int) -> Epoch:
    """Reads the shards as the trainer does."""
    from training.data.dataset import ShardedDataset

    dataset = ShardedDataset(str(data.root), data.manifest)

    def epoch(number: int) -> Iterable[Any]:
        return dataset.train(data.batch_size, seed=0, epoch=number, shuffle_buffer=SHUFFLE_BUFFER)

    return epoch


def linewash_gzip(data: BenchmarkDataset, _: int) -> Epoch:
    """Reads a copy of the shards that is compressed as by preprocess --compression gzip."""
    copy, is_new = data.copy_folder("gzip")
    train = data.manifest.splits["train"]
    shards = [dataclasses.replace(shard, name=f"{shard.name}.gz", layout=None) for shard in train.shards]
    if is_new:
        (copy / "train").mkdir()  # as in the dataset, because a shard's name includes the folder
        for path, shard in zip(data.shards, shards, strict=True):
            (copy / shard.name).write_bytes(gzip.compress(path.read_bytes(), 6))
    splits = {"train": dataclasses.replace(train, shards=shards)}
    manifest = dataclasses.replace(data.manifest, compression="gzip", splits=splits)
    return linewash(dataclasses.replace(data, root=copy, manifest=manifest), 0)


def linewash_skip(data: BenchmarkDataset, _: int) -> Epoch:
    """Skips to the last batch of the epoch, as a run that is resumed does."""
    from training.data.dataset import ShardedDataset

    dataset = ShardedDataset(str(data.root), data.manifest)
    skip = data.examples // data.batch_size - 1

    def epoch(number: int) -> Iterator[Any]:
        yield from dataset.train(
            data.batch_size, seed=0, epoch=number, skip=skip, shuffle_buffer=SHUFFLE_BUFFER
        )
        yield (range(skip * data.batch_size),)  # stands for the skipped examples

    return epoch


def webdataset(data: BenchmarkDataset, workers: int) -> Epoch:
    """Reads tars of raw bytes with a shuffle buffer. The workers make the batches."""
    import torch
    import webdataset as wds

    copy, is_new = data.copy_folder("webdataset")
    if is_new:
        with wds.ShardWriter(f"{copy}/%05d.tar", maxcount=RANDOM_SHARD_EXAMPLES, verbose=0) as sink:
            for number, (_, edges, labels) in enumerate(data.parts()):
                sink.write({"__key__": f"{number:08d}", "edges": edges, "labels": labels})
    urls = sorted(str(path) for path in copy.glob("*.tar"))

    def stack(samples: list[tuple[bytes, bytes]]) -> tuple[np.ndarray, ...]:
        edges, labels = zip(*samples, strict=True)
        return _stack_rows(edges), _stack_rows(labels)

    def epoch(number: int) -> Iterable[Any]:
        batches = (
            wds.WebDataset(urls, shardshuffle=len(urls), seed=number, empty_check=False)
            .shuffle(SHUFFLE_BUFFER)
            .to_tuple("edges", "labels")
            .batched(data.batch_size, collation_fn=stack, partial=True)
        )
        return torch.utils.data.DataLoader(
            batches, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
        )

    return epoch


def mosaicml(data: BenchmarkDataset, workers: int) -> Epoch:
    """Reads uncompressed MDS shards through PyTorch's DataLoader."""
    import torch
    from streaming import MDSWriter, StreamingDataset

    copy, is_new = data.copy_folder("mosaicml")
    if is_new:
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


def lit_data(data: BenchmarkDataset, workers: int) -> Epoch:
    """Reads LitData's chunks of 64 MB through its own loader."""
    import litdata

    copy, is_new = data.copy_folder("litdata")
    if is_new:
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


def grain(data: BenchmarkDataset, workers: int) -> Epoch:
    """Reads ArrayRecord in a global random order, in threads of this process or in worker processes."""
    import grain.python as pygrain
    from array_record.python.array_record_module import ArrayRecordWriter

    copy, is_new = data.copy_folder("grain")
    if is_new:
        sink = ArrayRecordWriter(str(copy / "train.array_record"), "group_size:1,uncompressed")
        for _, edges, labels in data.parts():
            sink.write(edges + labels)
        sink.close()
    source = pygrain.ArrayRecordDataSource([str(copy / "train.array_record")])
    edges_bytes = len(data.manifest.lines) * data.manifest.image_size**2 // 8

    def split(records: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        rows = _stack_rows(records)
        return rows[:, :edges_bytes], rows[:, edges_bytes:]

    def epoch(number: int) -> Iterable[Any]:
        batches = pygrain.MapDataset.source(source).seed(number).shuffle()
        batches = batches.batch(data.batch_size, batch_fn=split)
        threads = pygrain.ReadOptions(num_threads=2 if workers == 0 else 1, prefetch_buffer_size=16)
        iterable = batches.to_iter_dataset(threads)
        if workers:
            iterable = iterable.mp_prefetch(pygrain.MultiprocessingOptions(num_workers=workers))
        return iterable

    return epoch


def dali(data: BenchmarkDataset, threads: int) -> Epoch:
    """Reads the shards with NVIDIA DALI's TFRecord reader and its shuffle buffer, on the CPU."""
    import nvidia.dali.tfrecord as tfrec
    from nvidia.dali import fn, pipeline_def

    copy, is_new = data.copy_folder("dali")
    indices = [copy / f"{path.name}.idx" for path in data.shards]
    if is_new:
        for path, index, shard in zip(
            data.shards, indices, data.manifest.splits["train"].shards, strict=True
        ):
            stride = path.stat().st_size // shard.examples
            index.write_text("".join(f"{i * stride} {stride}\n" for i in range(shard.examples)))
    spec = {name: tfrec.FixedLenFeature((), tfrec.string, "") for name in ("edges", "labels")}

    @pipeline_def(batch_size=data.batch_size, num_threads=threads, device_id=None, seed=0)
    def pipeline() -> Any:
        features = fn.readers.tfrecord(
            path=[str(path) for path in data.shards], index_path=[str(index) for index in indices],
            features=spec, random_shuffle=True, initial_fill=SHUFFLE_BUFFER, name="reader",
        )  # fmt: skip
        return features["edges"], features["labels"]

    reader = pipeline(prefetch_queue_depth=4)
    reader.build()

    def epoch(_: int) -> Iterator[Any]:
        for _ in range(data.examples // data.batch_size):
            edges, labels = reader.run()
            yield edges.as_array(), labels.as_array()

    return epoch


def article_table(data: BenchmarkDataset, threads: int) -> Epoch:
    """Computes edges and labels as the article does, but posterizes with look-up tables."""
    from preprocess.posterize import to_labels

    return _article(data, threads, lambda rgb: to_labels(rgb, data.manifest.palette), num_images=512)


def article(data: BenchmarkDataset, threads: int) -> Epoch:
    """Computes edges and labels as the article does, with the nearest colour of each pixel in Python."""
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

    return _article(data, threads, nearest, num_images=4)  # it takes about a second per image


def _article(
    data: BenchmarkDataset, threads: int, posterize: Callable[[np.ndarray], np.ndarray], num_images: int
) -> Epoch:
    """Decodes, draws edges and posterizes in threads, which put batches into a queue."""
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    size, batch_size = data.manifest.image_size, min(num_images, data.batch_size)
    copy, is_new = data.copy_folder("images")
    if is_new:
        generator = np.random.default_rng(0)
        for number in range(512):
            coarse = generator.integers(0, 256, (12, 16, 3), np.uint8)
            cv2.imwrite(
                f"{copy}/{number:04d}.jpg", cv2.resize(coarse, (500, 375), interpolation=cv2.INTER_CUBIC)
            )
    paths = sorted(copy.glob("*.jpg"))[:num_images]

    def example(path: Path) -> tuple[np.ndarray, np.ndarray]:
        bgr = cv2.resize(cv2.imread(str(path)), (size, size), interpolation=cv2.INTER_AREA)
        edges = cv2.Canny(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), 100, 200)
        return edges.astype(np.float32) / 255, posterize(bgr[..., ::-1].copy()).astype(np.float32)

    def epoch(number: int) -> Iterator[Any]:
        shuffled = random.Random(number).sample(paths, len(paths))
        path_batches = [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
        batches: Queue[Any] = Queue(maxsize=8)

        def make_batches(path_batches: list[list[Path]]) -> None:
            for batch in path_batches:
                batches.put(tuple(map(np.stack, zip(*map(example, batch), strict=True))))

        for i in range(threads):
            threading.Thread(target=make_batches, args=(path_batches[i::threads],), daemon=True).start()
        for _ in path_batches:
            yield batches.get()

    return epoch


def _stack_rows(rows: Iterable[bytes]) -> np.ndarray:
    """Stacks byte strings of one length to uint8 [N, length]."""
    import numpy as np

    values = list(rows)
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def _stack_dicts(samples: list[dict[str, bytes]]) -> tuple[np.ndarray, np.ndarray]:
    return _stack_rows(s["edges"] for s in samples), _stack_rows(s["labels"] for s in samples)


@dataclasses.dataclass(frozen=True)
class Loader:
    """A function that opens the dataset, the module that it needs, and the numbers of workers to try."""

    open: Callable[[BenchmarkDataset, int], Epoch]
    module: str
    num_workers: tuple[int, ...]


LOADERS = {
    "linewash": Loader(linewash, "tensorflow", (0,)),
    "linewash, gzip": Loader(linewash_gzip, "tensorflow", (0,)),
    "linewash, skipping": Loader(linewash_skip, "tensorflow", (0,)),
    "NVIDIA DALI": Loader(dali, "nvidia.dali", (1, 2)),
    "litdata": Loader(lit_data, "litdata", (0, 1, 2)),
    "mosaicml-streaming": Loader(mosaicml, "streaming", (0, 1, 2)),
    "webdataset": Loader(webdataset, "webdataset", (0, 1, 2)),
    "grain, ArrayRecord": Loader(grain, "grain", (0, 1, 2)),
    "article, by table": Loader(article_table, "cv2", (1, 2)),
    "article, by pixel": Loader(article, "cv2", (2,)),
}
