"""Small real image files for tests: plain photographs of coloured shapes, and every kind of odd one."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import simplejpeg


def picture(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """Coloured discs on a gradient: uint8 [height, width, 3], RGB."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, width, dtype=np.float32)
    image = np.stack(
        [np.tile(np.roll(ramp, int(rng.integers(width))), (height, 1)) for _ in range(3)], axis=-1
    )
    for _ in range(5):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(
            image, centre, int(rng.integers(10, 50)), rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA
        )
    return image.clip(0, 255).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    """A high-quality baseline JPEG of an RGB or grey (one channel) image."""
    image = np.ascontiguousarray(image)
    if image.ndim == 2:
        return simplejpeg.encode_jpeg(
            image[..., None], colorspace="GRAY", colorsubsampling="Gray", quality=95
        )
    return simplejpeg.encode_jpeg(image, quality=95)


def png(image: np.ndarray) -> bytes:
    """A PNG of an RGB or grey image, 8 or 16 bits."""
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def with_orientation(data: bytes, orientation: int) -> bytes:
    """The JPEG `data` with an EXIF segment that says `orientation`."""
    tiff = b"MM\0\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def with_size(data: bytes, height: int, width: int) -> bytes:
    """The JPEG `data` with another size in its frame header."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def folder(root: Path, count: int, classes: int = 3) -> Path:
    """Fills `root` with `count` JPEGs in class folders, as ImageNet's are."""
    for i in range(count):
        name = f"n{i % classes:08d}"
        path = root / name / f"{name}_{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(picture(i)))
    return root
