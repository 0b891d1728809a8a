"""The storybook on disk: writes pictures as JPEGs into class folders, atomically and resumably."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from linewash.storybook.scenes import draw, scene_name

QUALITY = 90
MARK = ".storybook.json"  # says whose folder OUT is: which drawing code and which seed
EDITION = 2  # raise when the drawings change, so that two editions never mix in one folder
_BATCH = 28


class BookError(Exception):
    """A reason, in one sentence, why the book cannot be written."""


def page_path(index: int) -> Path:
    """Where picture ``index`` goes inside the book: ``<class>/<class>_00012.JPEG``."""
    name = scene_name(index)
    return Path(name) / f"{name}_{index:05d}.JPEG"


def encode(pixels: np.ndarray) -> bytes:
    """The JPEG bytes of an (h, w, 3) uint8 RGB picture."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    ok, jpeg = cv2.imencode(".JPEG", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not ok:
        raise BookError("OpenCV could not encode a JPEG.")
    return jpeg.tobytes()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, then rename, so that no half-written file is ever seen."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_pages(out: Path, seed: int, indices: list[int]) -> int:
    """Draw and write some pictures of a book; how many.  Runs in a worker process."""
    cv2.setNumThreads(1)  # the processes are the parallelism
    for index in indices:
        path = out / page_path(index)
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, encode(draw(seed, index)))
    return len(indices)


def claim(out: Path, seed: int, count: int) -> None:
    """Make ``out`` this book's folder; refuse a folder that holds anything else."""
    ours = json.dumps({"storybook": EDITION, "seed": seed})
    mark = out / MARK
    if out.exists() and not out.is_dir():
        raise BookError(f"{out} is not a folder.")
    if mark.exists():
        if mark.read_bytes() != ours.encode():
            raise BookError(f"{out} holds a storybook of another seed or edition; choose another folder.")
        pages = sum(1 for _ in out.glob("*/*.JPEG"))
        if pages > count:
            raise BookError(f"{out} holds {pages} pictures already, more than {count}.")
    else:
        if out.exists() and any(out.iterdir()):
            raise BookError(f"{out} is not empty and is not a storybook; choose another folder.")
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, ours.encode())


def write_book(out: Path, count: int, seed: int, workers: int) -> int:
    """Write pictures 0..count-1 of a seed under ``out``, save those already there; how many were drawn.

    The same seed gives the same bytes whatever ``count`` and ``workers`` are.
    """
    claim(out, seed, count)
    missing = [i for i in range(count) if not (out / page_path(i)).exists()]
    batches = [missing[k : k + _BATCH] for k in range(0, len(missing), _BATCH)]
    drawn = count - len(missing)
    with tqdm(total=count, initial=drawn, desc="storybook", unit="picture", disable=None) as bar:
        for done in _run(partial(write_pages, out, seed), batches, workers):
            bar.update(done)
    return len(missing)


def _run(work: "partial[int]", batches: list[list[int]], workers: int) -> Iterator[int]:
    workers = min(workers, len(batches))
    if workers <= 1:
        yield from map(work, batches)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_signals) as pool:
        try:
            for future in as_completed([pool.submit(work, batch) for batch in batches]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # only what is under way is finished
            raise


def _ignore_signals() -> None:
    """Ctrl-C, and a terminal that is closed, reach every process of it: only the first is to answer."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
