"""Makes small image files for tests: ordinary JPEGs and PNGs, and files with unusual features."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import simplejpeg


def make_image(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """Draws coloured discs on a gradient. Returns RGB, uint8 [height, width, 3]."""
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


def textured_photo(width: int, height: int, seed: int) -> np.ndarray:
    """Returns what has the tones of a photograph: soft shapes of many colours with texture at all scales."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128, np.float32)
    for size in (4, 8, 16, 32, 64, 128):
        coarse = rng.normal(0, 30, (max(2, size * height // width), size, 3)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def jpeg(image: np.ndarray) -> bytes:
    """Encodes an RGB or grey image, uint8 [H, W, 3] or [H, W], as a baseline JPEG of quality 95."""
    image = np.ascontiguousarray(image)
    if image.ndim == 2:
        return simplejpeg.encode_jpeg(
            image[..., None], colorspace="GRAY", colorsubsampling="Gray", quality=95
        )
    return simplejpeg.encode_jpeg(image, quality=95)


def png(image: np.ndarray) -> bytes:
    """Encodes an RGB or grey image of 8 or 16 bits as a PNG."""
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def with_orientation(data: bytes, orientation: int) -> bytes:
    """Inserts an EXIF segment with this orientation into a JPEG."""
    exif = b"Exif\0\0" + orientation_tiff(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def orientation_tiff(orientation: int) -> bytes:
    """Returns EXIF data with this orientation, as the eXIf chunk of a PNG holds them."""
    return b"MM\0\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def with_size(data: bytes, height: int, width: int) -> bytes:
    """Replaces the size in the frame header of a JPEG."""
    offset = data.index(b"\xff\xc0") + 5
    return data[:offset] + struct.pack(">HH", height, width) + data[offset + 4 :]


def make_image_folder(root: Path, count: int, classes: int = 3) -> Path:
    """Fills `root` with `count` JPEGs in class folders like ImageNet's, and returns it."""
    for i in range(count):
        name = f"n{i % classes:08d}"
        path = root / name / f"{name}_{i}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(make_image(i)))
    return root


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Inserts a chunk before the pixels of a PNG."""
    offset = data.index(b"IDAT") - 4
    return data[:offset] + _chunk(name, content) + data[offset:]


def raw_png(values: np.ndarray, bits: int, color_type: int) -> bytes:
    """Encodes `values`, integers [H, W, channels], as a PNG without converting them.

    Args:
      values: the samples as they are stored.
      bits: bits per value, 1, 2, 4, 8 or 16. Below 8 there is one channel, and a row fills whole bytes.
      color_type: 0 grey, 2 RGB, 3 palette (needs a PLTE chunk), 4 grey and alpha, 6 RGB and alpha.
    """
    height, width, _ = values.shape
    if bits < 8:
        flat = np.unpackbits(values.reshape(height, width, 1).astype(np.uint8), axis=2)[..., 8 - bits :]
        rows = np.packbits(flat.reshape(height, -1), axis=1)
    else:
        rows = values.astype(f">u{bits // 8}").reshape(height, -1).view(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    unfiltered = np.insert(rows, 0, 0, axis=1).tobytes()
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(unfiltered)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tar(files: dict[str, bytes]) -> bytes:
    """Returns the bytes of a tar with these files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
