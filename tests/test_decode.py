"""Whatever bytes come: upright RGB pixels, or a reason."""

import cv2
import numpy as np
import photos
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.decode import Rejected, decode, exif_orientation, jpeg_shape

IMAGE = photos.picture(1, height=150, width=200)
JPEG = photos.jpeg(IMAGE)


def pixels(data, reduced=False):
    return decode(data, min_side=128, max_pixels=1 << 26, reduced=reduced)


def near(a, b):
    return a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 4


def reason(data, **changes):
    with pytest.raises(Rejected) as e:
        decode(data, **{"min_side": 128, "max_pixels": 1 << 26, "reduced": False} | changes)
    assert e.value.detail
    return e.value.reason


def test_jpeg_and_png_are_told_by_their_bytes():
    assert near(pixels(JPEG), IMAGE)
    np.testing.assert_array_equal(pixels(photos.png(IMAGE)), IMAGE)


def test_grey_jpeg_becomes_three_equal_channels():
    grey = IMAGE[..., 0]
    assert near(pixels(photos.jpeg(grey)), np.stack([grey] * 3, axis=-1))


def test_cmyk_jpeg_becomes_rgb():
    inverted = np.concatenate([IMAGE, np.full((*IMAGE.shape[:2], 1), 255, np.uint8)], axis=-1)
    data = simplejpeg.encode_jpeg(inverted, colorspace="CMYK", quality=95)
    assert near(pixels(data), IMAGE)
    small = pixels(data, reduced=True)
    assert small.shape < IMAGE.shape
    assert near(small, cv2.resize(IMAGE, small.shape[1::-1], interpolation=cv2.INTER_AREA))


def test_sixteen_bit_png_is_scaled_to_eight():
    np.testing.assert_array_equal(pixels(photos.png(IMAGE.astype(np.uint16) * 257)), IMAGE)


def test_reduced_decode_stays_at_or_above_the_smallest_side():
    large = photos.jpeg(photos.picture(2, height=1000, width=1600))
    height, width, _ = pixels(large, reduced=True).shape
    assert 128 <= height < 1000
    assert 128 <= width < 1600


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_as_opencv_turns_it(orientation):
    data = photos.with_orientation(JPEG, orientation)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert exif_orientation(data) == orientation
    assert near(pixels(data), expected)


def test_stray_bytes_between_segments_do_no_harm():
    data = JPEG.replace(b"\xff\xda", b"\0\0\0\xff\xda", 1)
    assert near(pixels(data), IMAGE)


def test_size_comes_from_the_frame_header():
    assert jpeg_shape(JPEG) == (150, 200, 3)
    assert jpeg_shape(photos.with_orientation(JPEG, 6)) == (150, 200, 3)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"GIF89a and so on", "format"),
        (b"just some text", "format"),
        (JPEG[:20], "corrupt"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (JPEG[:-2], "truncated"),
        (JPEG[:3000] + b"\xff\xd5" * 40 + JPEG[3080:], "corrupt"),
        (photos.png(IMAGE)[:15], "corrupt"),
        (photos.png(IMAGE)[:200], "corrupt"),
        (photos.jpeg(IMAGE[:1, :1]), "too_small"),
        (photos.jpeg(IMAGE[:127]), "too_small"),
        (photos.with_size(JPEG, 150, 0), "too_small"),
        (photos.with_size(JPEG, 65000, 65000), "too_large"),
        (photos.png(np.zeros((128, 40000), np.uint8)), "too_large"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(data, expected):
    assert reason(data, max_pixels=5_000_000) == expected


def test_a_65000_pixel_wide_header_is_not_decoded_into_memory():
    assert reason(photos.with_size(JPEG, 1000, 65000), reduced=True) in ("truncated", "corrupt")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(JPEG) - 1), st.booleans())
def test_damaged_jpegs_are_decoded_or_rejected_and_nothing_else(noise, at, reduced):
    data = JPEG[:at] + noise + JPEG[at + len(noise) :]
    try:
        assert decode(data, 8, 1 << 22, reduced).ndim == 3
    except Rejected as e:
        assert e.reason in ("empty", "format", "corrupt", "truncated", "too_small", "too_large")  # noqa: PT017


@given(st.binary(max_size=80))
def test_any_exif_gives_an_orientation(noise):
    exif = b"Exif\0\0" + noise
    data = JPEG[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + JPEG[2:]
    assert 1 <= exif_orientation(data) <= 8
