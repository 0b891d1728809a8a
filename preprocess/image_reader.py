"""Reads the bytes of images: tries again where storage fails, and reads ahead where storage is remote."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

from preprocess.recipe import DEFAULT
from preprocess.rejects import Rejected
from preprocess.sources import Image
from preprocess.storage import files

UNREADABLE = "unreadable"  # the reason when storage is to blame, not the image
TRIES = 3
PAUSE = 0.2  # seconds before the second try, doubled before the third
EXTRA_BYTES = 64 << 20  # of a file, beside its pixels
AHEAD = 16  # images on their way at a time from remote storage, where each takes long and many take no longer


def max_file_bytes(max_pixels: int) -> int:
    """The size in bytes above which no file is read. No image of `max_pixels` is larger.

    Its largest form is a PNG of 16 bits that cannot be compressed: eight bytes a pixel. What comes on top is
    for all that files hold beside the image, such as the film of a motion photo.
    """
    return 8 * max_pixels + EXTRA_BYTES


def read_all(
    images: Iterable[Image], max_pixels: int = DEFAULT.max_pixels
) -> Iterator[tuple[Image, bytes | Rejected]]:
    """Yields each image with its bytes, or with why there are none, in the order given.

    From remote storage `AHEAD` of them are read at a time; a local file is there at once. A file that is too
    large for an image of `max_pixels` is not read.
    """
    read = partial(_read_or_say, most=max_file_bytes(max_pixels))
    images = iter(images)
    first = next(images, None)
    if first is None:
        return
    ahead = AHEAD if files.is_remote(first.path) else 0
    if not ahead:
        yield first, read(first)
        yield from ((image, read(image)) for image in images)
        return
    with ThreadPoolExecutor(ahead, thread_name_prefix="read") as pool:
        under_way: deque[tuple[Image, Future[bytes | Rejected]]] = deque()
        for image in [first, *islice(images, ahead - 1)]:
            under_way.append((image, pool.submit(read, image)))
        while under_way:
            image, result = under_way.popleft()
            data = result.result()
            if (following := next(images, None)) is not None:
                under_way.append((following, pool.submit(read, following)))
            yield image, data


def read_image(image: Image, most: int = max_file_bytes(DEFAULT.max_pixels)) -> bytes:
    """The image's bytes, which are `most` at most.

    Raises:
      Rejected: the image's own fault; `too_large`, before anything is read; `UNREADABLE`, after a few tries.
    """
    if image.fault:
        reason, _, detail = image.fault.partition(": ")
        raise Rejected(reason, detail)
    for attempt in range(TRIES):
        try:
            size = image.size if image.size >= 0 else files.size(image.path)
            if size > most:
                raise Rejected("too_large", f"a file of {size:,} bytes, over {most:,}")
            return files.read(image.path, image.offset, image.size)
        except FileNotFoundError as e:
            raise Rejected(UNREADABLE, "the file is gone") from e
        except OSError as e:
            fault = e.strerror or str(e)
            time.sleep(PAUSE * 2**attempt if attempt + 1 < TRIES else 0)
    raise Rejected(UNREADABLE, fault)


def _read_or_say(image: Image, most: int) -> bytes | Rejected:
    try:
        return read_image(image, most)
    except Rejected as e:
        return e
