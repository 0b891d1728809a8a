"""Where images lie in, their bytes out; patient with storage that fails, and ahead of storage that is far."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from preprocess import storage
from preprocess.decode import Rejected
from preprocess.sources import Image

UNREADABLE = "unreadable"  # the reason when storage is to blame, not the image
TRIES = 3
PAUSE = 0.2  # seconds before the second try, doubled before the third
AHEAD = 16  # images on their way at a time from remote storage, where each takes long and many take no longer


def read_all(images: Iterable[Image]) -> Iterator[tuple[Image, bytes | Rejected]]:
    """Yields each image with its bytes, or with why there are none, in the order given.

    From remote storage `AHEAD` of them are read at a time; a local file is there at once.
    """
    images = iter(images)
    first = next(images, None)
    if first is None:
        return
    ahead = AHEAD if storage.is_remote(first.path) else 0
    if not ahead:
        yield first, _read_or_say(first)
        yield from ((image, _read_or_say(image)) for image in images)
        return
    with ThreadPoolExecutor(ahead, thread_name_prefix="read") as pool:
        under_way: deque[tuple[Image, Future[bytes | Rejected]]] = deque()
        for image in [first, *islice(images, ahead - 1)]:
            under_way.append((image, pool.submit(_read_or_say, image)))
        while under_way:
            image, result = under_way.popleft()
            data = result.result()
            if (following := next(images, None)) is not None:
                under_way.append((following, pool.submit(_read_or_say, following)))
            yield image, data


def read_image(image: Image) -> bytes:
    """The image's bytes.

    Raises:
      Rejected: `UNREADABLE`, after a few tries.
    """
    for attempt in range(TRIES):
        try:
            return storage.read(image.path, image.offset, image.size)
        except FileNotFoundError as e:
            raise Rejected(UNREADABLE, "the file is gone") from e
        except OSError as e:
            fault = e.strerror or str(e)
            time.sleep(PAUSE * 2**attempt if attempt + 1 < TRIES else 0)
    raise Rejected(UNREADABLE, fault)


def _read_or_say(image: Image) -> bytes | Rejected:
    try:
        return read_image(image)
    except Rejected as e:
        return e
