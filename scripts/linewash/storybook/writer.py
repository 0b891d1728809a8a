"""Writes the images of a storybook into class folders. An interrupted run can be continued."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from tqdm import tqdm

from linewash.storybook.scenes import draw, draw_svg, scene_name
from training.atomic_files import atomic_write, remove_unfinished

JPEG_QUALITY = 90
MARKER_NAME = ".storybook.json"  # in the folder: the edition and the seed of its images
EDITION = 2  # to be raised when the drawing code changes, so that a folder never mixes two editions
_BATCH_IMAGES = 28
Format = Literal["jpeg", "svg"]
EXTENSIONS: dict[Format, str] = {"jpeg": ".JPEG", "svg": ".svg"}


class StorybookError(Exception):
    """The storybook cannot be written. The message is one sentence for the user."""


def image_path(index: int, image_format: Format = "jpeg") -> Path:
    """Returns the path of image `index` in the folder: `<class>/<class>_00012.JPEG`, or `.svg`."""
    name = scene_name(index)
    return Path(name) / f"{name}_{index:05d}{EXTENSIONS[image_format]}"


def encode_jpeg(pixels: np.ndarray) -> bytes:
    """Encodes RGB, uint8 [H, W, 3], as a JPEG."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    ok, jpeg = cv2.imencode(".JPEG", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise StorybookError("OpenCV could not encode a JPEG")
    return jpeg.tobytes()


def write_images(folder: Path, seed: int, image_format: Format, indices: list[int]) -> int:
    """Draws and writes these images in a worker process, and returns their number."""
    cv2.setNumThreads(1)  # the worker processes already use all cores
    for index in indices:
        data = draw_svg(seed, index) if image_format == "svg" else encode_jpeg(draw(seed, index))
        # A sync takes longer than drawing, and a lost image is drawn again.
        with atomic_write(folder / image_path(index, image_format), sync=False) as temporary:
            temporary.write_bytes(data)
    return len(indices)


def prepare_folder(folder: Path, seed: int, count: int, image_format: Format) -> None:
    """Makes `folder` and marks it with edition, seed and format, unless it is marked already.

    Raises:
      StorybookError: `folder` has other content, another seed, edition or format, or more than `count`
        images.
    """
    marked = {"storybook": EDITION, "seed": seed}
    marker = json.dumps(marked if image_format == "jpeg" else marked | {"format": image_format})
    path = folder / MARKER_NAME
    if folder.exists() and not folder.is_dir():
        raise StorybookError(f"{folder} is not a folder: type another one")
    if path.exists():
        remove_unfinished(folder)
        if path.read_bytes() != marker.encode():
            raise StorybookError(
                f"{folder} has a storybook of another seed, edition or format: type another folder"
            )
        images = sum(1 for _ in folder.glob(f"*/*{EXTENSIONS[image_format]}"))
        if images > count:
            raise StorybookError(
                f"{folder} has {images} images already, more than {count}: type --count {images}"
            )
    else:
        if folder.exists() and any(folder.iterdir()):
            raise StorybookError(f"{folder} is not empty and is not a storybook: type another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(marker.encode())


def write_storybook(folder: Path, count: int, seed: int, workers: int, image_format: Format = "jpeg") -> int:
    """Writes those of the images 0..count-1 of a seed that `folder` does not have yet.

    The bytes of an image depend on seed, number and format alone, not on `count` and `workers`. An SVG is
    flat, so that its lines tell where its colours change; a JPEG has light, shade and grain.

    Returns:
      The number of images written by this call.

    Raises:
      StorybookError: `folder` cannot hold this storybook.
    """
    prepare_folder(folder, seed, count, image_format)
    missing = [i for i in range(count) if not (folder / image_path(i, image_format)).exists()]
    batches = [missing[k : k + _BATCH_IMAGES] for k in range(0, len(missing), _BATCH_IMAGES)]
    with tqdm(
        total=count, initial=count - len(missing), desc="storybook", unit="image", disable=None
    ) as progress_bar:
        for num_images in _map_in_processes(
            partial(write_images, folder, seed, image_format), batches, workers
        ):
            progress_bar.update(num_images)
    return len(missing)


def _map_in_processes(function: "partial[int]", batches: list[list[int]], workers: int) -> Iterator[int]:
    workers = min(workers, len(batches))
    if workers <= 1:
        yield from map(function, batches)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_ignore_signals) as pool:
        try:
            for future in as_completed([pool.submit(function, batch) for batch in batches]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # waits only for the batches in progress
            raise


def _ignore_signals() -> None:
    """Ignores Ctrl-C and SIGHUP, which a terminal sends to all its processes: the first one handles them."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
