"""Reads image bytes, with retries, and reads ahead from remote storage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

from preprocess.recipe import DEFAULT
from preprocess.rejects import Rejected
from preprocess.sources import Image, Location
from preprocess.storage import files

# The reject reason of images whose bytes cannot be read, because storage fails or the file is gone. In a tar,
# also of links that lead out of it, sparse files and other members that are not regular files (see `tars`).
UNREADABLE = "unreadable"
MAX_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.2  # before the second attempt; it is doubled before the third
EXTRA_BYTES = 64 << 20  # that a file may have in addition to its pixels
CONCURRENT_READS = 16  # from remote storage, whose latency is high


class ImageBytes(NamedTuple):
    """The bytes of an image, and of its drawing if it has one in another file."""

    image: bytes
    drawing: bytes | None = None


def max_file_bytes(max_pixels: int) -> int:
    """Returns the file size in bytes above which a file is not read.

    The largest encoding of `max_pixels` is an incompressible 16-bit RGBA PNG: 8 bytes a pixel. `EXTRA_BYTES`
    more are for other data in the file, such as the film of a motion photo.
    """
    return 8 * max_pixels + EXTRA_BYTES


def read_images(
    images: Iterable[Image], max_pixels: int = DEFAULT.max_pixels
) -> Iterator[tuple[Image, ImageBytes | Rejected]]:
    """Yields each image with its bytes, and those of its drawing, or with the reason why it is rejected.

    They are yielded in the given order.
    Reads `CONCURRENT_READS` images at the same time if the first one is remote. Does not read files that are
    too large for an image of `max_pixels`.
    """
    read = partial(_read_or_reject, max_bytes=max_file_bytes(max_pixels))
    images = iter(images)
    first = next(images, None)
    if first is None:
        return
    is_remote = any(files.is_remote(file.path) for file in (first, first.drawing) if file)
    if not is_remote:
        yield first, read(first)
        yield from ((image, read(image)) for image in images)
        return
    with ThreadPoolExecutor(CONCURRENT_READS, thread_name_prefix="read") as pool:
        pending: deque[tuple[Image, Future[ImageBytes | Rejected]]] = deque()
        for image in [first, *islice(images, CONCURRENT_READS - 1)]:
            pending.append((image, pool.submit(read, image)))
        while pending:
            image, future = pending.popleft()
            data = future.result()
            if (following := next(images, None)) is not None:
                pending.append((following, pool.submit(read, following)))
            yield image, data


def read_image(image: Image, max_bytes: int = max_file_bytes(DEFAULT.max_pixels)) -> bytes:
    """Returns the bytes of an image.

    Raises:
      Rejected: with the reason in `image.fault`, if there is one; with `too_large` if it has more than
        `max_bytes`, without reading it; or with `UNREADABLE` if it cannot be read in `MAX_ATTEMPTS` attempts.
    """
    if image.fault:
        reason, _, detail = image.fault.partition(": ")
        raise Rejected(reason, detail)
    return _read(Location(image.path, image.offset, image.size), max_bytes)


def _read_drawing(image: Image, max_bytes: int) -> bytes | None:
    """Returns the bytes of an image's drawing; None if it has none in another file."""
    try:
        return _read(image.drawing, max_bytes) if image.drawing else None
    except Rejected as e:
        raise Rejected(e.reason, f"the drawing: {e.detail}") from e


def _read(file: Location, max_bytes: int) -> bytes:
    for attempt in range(MAX_ATTEMPTS):
        try:
            size = file.size if file.size >= 0 else files.size(file.path)
            if size > max_bytes:
                raise Rejected("too_large", f"a file of {size:,} bytes, over {max_bytes:,}")
            return files.read(file.path, file.offset, file.size)
        except FileNotFoundError as e:
            raise Rejected(UNREADABLE, "the file is gone") from e
        except OSError as e:
            error_text = e.strerror or str(e)
            time.sleep(FIRST_PAUSE_SECONDS * 2**attempt if attempt + 1 < MAX_ATTEMPTS else 0)
    raise Rejected(UNREADABLE, error_text)


def _read_or_reject(image: Image, max_bytes: int) -> ImageBytes | Rejected:
    try:
        return ImageBytes(read_image(image, max_bytes), _read_drawing(image, max_bytes))
    except Rejected as e:
        return e
