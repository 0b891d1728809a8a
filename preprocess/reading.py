"""Where an image lies in, its bytes out; patient with storage that fails now and then."""

from __future__ import annotations

import time

from preprocess import storage
from preprocess.decode import Rejected
from preprocess.sources import Image

TRIES = 3
PAUSE = 0.2  # seconds before the second try, doubled before the third


def read_image(image: Image) -> bytes:
    """The image's bytes.

    Raises:
      Rejected: `unreadable`, after a few tries.
    """
    for attempt in range(TRIES):
        try:
            return storage.read(image.path, image.offset, image.size)
        except FileNotFoundError as e:
            raise Rejected("unreadable", "the file is gone") from e
        except OSError as e:
            fault = e.strerror or str(e)
            time.sleep(PAUSE * 2**attempt if attempt + 1 < TRIES else 0)
    raise Rejected("unreadable", fault)
