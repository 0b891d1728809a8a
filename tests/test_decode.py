"""Decoding of all kinds of files to upright RGB pixels, and the reasons of rejects."""

import io

import cv2
import helper_photos
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from preprocess.decode import decode
from preprocess.jpeg_segments import count_scans_and_length, exif_orientation, jpeg_shape
from preprocess.rejects import Rejected

IMAGE = helper_photos.make_image(1, height=150, width=200)
JPEG = helper_photos.jpeg(IMAGE)


def pixels(data, reduced=False):
    return decode(data, min_side=128, max_pixels=1 << 26, reduced=reduced)


def near(a, b):
    return a.shape == b.shape and np.abs(a.astype(int) - b).mean() < 4


def reason(data, **changes):
    with pytest.raises(Rejected) as e:
        decode(data, **{"min_side": 128, "max_pixels": 1 << 26, "reduced": False} | changes)
    assert e.value.detail
    return e.value.reason


def test_jpeg_and_png_are_recognised_by_their_bytes():
    assert near(pixels(JPEG), IMAGE)
    np.testing.assert_array_equal(pixels(helper_photos.png(IMAGE)), IMAGE)


def test_grey_jpeg_becomes_three_equal_channels():
    grey = IMAGE[..., 0]
    assert near(pixels(helper_photos.jpeg(grey)), np.stack([grey] * 3, axis=-1))


def test_cmyk_jpeg_becomes_rgb():
    inverted = np.concatenate([IMAGE, np.full((*IMAGE.shape[:2], 1), 255, np.uint8)], axis=-1)
    data = simplejpeg.encode_jpeg(inverted, colorspace="CMYK", quality=95)
    assert near(pixels(data), IMAGE)
    small = pixels(data, reduced=True)
    assert small.shape < IMAGE.shape
    assert near(small, cv2.resize(IMAGE, small.shape[1::-1], interpolation=cv2.INTER_AREA))


def test_sixteen_bit_png_is_scaled_to_eight():
    np.testing.assert_array_equal(pixels(helper_photos.png(IMAGE.astype(np.uint16) * 257)), IMAGE)


def test_reduced_decode_stays_at_or_above_the_smallest_side():
    large = helper_photos.jpeg(helper_photos.make_image(2, height=1000, width=1600))
    height, width, _ = pixels(large, reduced=True).shape
    assert 128 <= height < 1000
    assert 128 <= width < 1600


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_as_opencv_turns_it(orientation):
    data = helper_photos.with_orientation(JPEG, orientation)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert exif_orientation(data) == orientation
    assert near(pixels(data), expected)


def test_stray_bytes_between_segments_are_ignored():
    data = JPEG.replace(b"\xff\xda", b"\0\0\0\xff\xda", 1)
    assert near(pixels(data), IMAGE)


def test_size_comes_from_the_frame_header():
    assert jpeg_shape(JPEG) == (150, 200, 3)
    assert jpeg_shape(helper_photos.with_orientation(JPEG, 6)) == (150, 200, 3)


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
        (helper_photos.png(IMAGE)[:15], "corrupt"),
        (helper_photos.png(IMAGE)[:200], "corrupt"),
        (helper_photos.jpeg(IMAGE[:1, :1]), "too_small"),
        (helper_photos.jpeg(IMAGE[:127]), "too_small"),
        (helper_photos.with_size(JPEG, 150, 0), "too_small"),
        (helper_photos.with_size(JPEG, 65000, 65000), "too_large"),
        (helper_photos.png(np.zeros((128, 40000), np.uint8)), "too_large"),
    ],
)
def test_unusable_files_are_rejected_with_a_reason(data, expected):
    assert reason(data, max_pixels=5_000_000) == expected


def test_a_65000_pixel_wide_header_is_not_decoded_into_memory():
    assert reason(helper_photos.with_size(JPEG, 1000, 65000), reduced=True) in ("truncated", "corrupt")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, len(JPEG) - 1), st.booleans())
def test_damaged_jpegs_are_decoded_or_rejected(noise, at, reduced):
    data = JPEG[:at] + noise + JPEG[at + len(noise) :]
    try:
        assert decode(data, 8, 1 << 22, reduced).ndim == 3
    except Rejected as e:
        assert e.reason in ("empty", "format", "corrupt", "truncated", "too_small", "too_large")  # noqa: PT017


@given(st.binary(max_size=80))
def test_any_exif_data_give_an_orientation(noise):
    exif = b"Exif\0\0" + noise
    data = JPEG[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + JPEG[2:]
    assert 1 <= exif_orientation(data) <= 8


# ----------------------------------------------------------------------------------------- transparency

ALPHA = np.linspace(0, 255, IMAGE[..., 0].size).astype(np.uint8).reshape(IMAGE.shape[:2])
HIDDEN = (ALPHA < 128).astype(np.uint8)


def on_white(rgb, alpha):
    """Composites exactly on white and rounds: uint8 [H, W, 3]."""
    alpha = alpha[..., None].astype(int)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def stacked(*layers):
    return np.concatenate([layer.reshape(*IMAGE.shape[:2], -1) for layer in layers], axis=-1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colors", [1, 3])
def test_partial_transparency_is_composited_on_white(colors, bits):
    values = stacked(IMAGE[..., :colors], ALPHA).astype(int) * (257 if bits == 16 else 1)
    data = helper_photos.raw_png(values, bits, color_type={1: 4, 3: 6}[colors])
    rgb = np.broadcast_to(IMAGE[..., :colors], IMAGE.shape)
    np.testing.assert_array_equal(pixels(data), on_white(rgb, ALPHA))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_transparent_palette_colours_are_composited_on_white(bits):
    colors = np.random.default_rng(0).integers(0, 256, (2**bits, 3)).astype(np.uint8)
    alphas = np.random.default_rng(1).integers(0, 256, 2 ** (bits - 1)).astype(np.uint8)  # of the first half
    index = (IMAGE[..., 0] >> (8 - bits)).astype(int)
    data = helper_photos.raw_png(index[..., None], bits, color_type=3)
    data = helper_photos.with_chunk(
        helper_photos.with_chunk(data, b"PLTE", colors.tobytes()), b"tRNS", alphas.tobytes()
    )
    alpha = np.concatenate([alphas, np.full(len(colors) - len(alphas), 255, np.uint8)])
    np.testing.assert_array_equal(pixels(data), on_white(colors[index], alpha[index]))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_value_of_a_grey_png_is_white(bits):
    grey = (IMAGE[..., 0] >> max(8 - bits, 0)).astype(int) * (257 if bits == 16 else 1)
    hidden = int(grey[70, 90])
    data = helper_photos.with_chunk(
        helper_photos.raw_png(grey[..., None], bits, 0), b"tRNS", hidden.to_bytes(2, "big")
    )
    shown = grey * 255 // (2**bits - 1)
    expected = np.where(grey == hidden, 255, shown).astype(np.uint8)
    np.testing.assert_array_equal(pixels(data), np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_an_rgb_png_is_white(bits):
    scale = 257 if bits == 16 else 1
    flat = np.where(HIDDEN[..., None], np.array([9, 200, 30]), IMAGE).astype(int)
    key = b"".join((value * scale).to_bytes(2, "big") for value in (9, 200, 30))
    data = helper_photos.with_chunk(helper_photos.raw_png(flat * scale, bits, 2), b"tRNS", key)
    np.testing.assert_array_equal(pixels(data), np.where(HIDDEN[..., None], 255, flat))


@pytest.mark.parametrize("bits", [8, 16])
def test_an_opaque_alpha_changes_nothing(bits):
    deep = IMAGE.astype(int) * (256 if bits == 16 else 1) + (77 if bits == 16 else 0)
    opaque = np.full(IMAGE.shape[:2], 2**bits - 1)
    expected = pixels(helper_photos.raw_png(deep, bits, 2))
    np.testing.assert_array_equal(pixels(helper_photos.raw_png(stacked(deep, opaque), bits, 6)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_transparent_png_is_turned_upright_as_an_opaque_one_is(orientation):
    exif = helper_photos.orientation_tiff(orientation)
    plain = helper_photos.with_chunk(helper_photos.raw_png(IMAGE, 8, 2), b"eXIf", exif)
    clear = helper_photos.raw_png(stacked(IMAGE, np.full(IMAGE.shape[:2], 255)), 8, 6)
    upright = pixels(helper_photos.with_chunk(clear, b"eXIf", exif))
    assert upright.shape == (IMAGE.shape if orientation < 5 else IMAGE.swapaxes(0, 1).shape)
    np.testing.assert_array_equal(upright, pixels(plain))


# ---------------------------------------------------------------------------------- bytes after the end

TAILS = {
    "one byte": b"\n",
    "zeros": bytes(20_000),
    "fill bytes": b"\xff" * 20_000,
    "a film": b"\0\0\0\x18ftypmp42" + np.random.default_rng(0).bytes(60_000),
    "many scans": b"\xff\xda" * 200,
    "a picture": helper_photos.jpeg(IMAGE[:60, :60]) + helper_photos.png(IMAGE),
    "a cut picture": JPEG[:3000],
}


def pillow_jpeg(**options):
    buffer = io.BytesIO()
    Picture.fromarray(IMAGE).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def stray(data):
    """Inserts three bytes before the scan. libjpeg warns about them, so that OpenCV decodes the file."""
    return data.replace(b"\xff\xda", b"\0\0\0\xff\xda", 1)


JPEGS = {
    "baseline": JPEG,
    "progressive": pillow_jpeg(progressive=True),
    "restarts": pillow_jpeg(restart_marker_blocks=2),
    "fill bytes": JPEG.replace(b"\xff\xda", b"\xff\xff\xff\xff\xda", 1).replace(b"\xff\xd9", b"\xff\xff\xd9"),
    "thumbnail": JPEG[:2]
    + b"\xff\xe1"
    + (2 + len(JPEG[:40_000])).to_bytes(2, "big")
    + JPEG[:40_000]
    + JPEG[2:],
}
JPEGS |= {f"{name}, stray bytes": stray(data) for name, data in JPEGS.items() if name != "thumbnail"}


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("kind", JPEGS)
def test_bytes_after_the_end_of_a_jpeg_are_ignored(kind, tail):
    np.testing.assert_array_equal(pixels(JPEGS[kind] + TAILS[tail]), pixels(JPEGS[kind]))


@pytest.mark.parametrize("tail", TAILS)
def test_bytes_after_the_end_of_a_png_are_ignored(tail):
    np.testing.assert_array_equal(pixels(helper_photos.png(IMAGE) + TAILS[tail]), IMAGE)


@pytest.mark.parametrize(
    "tail", ["one byte", "zeros", "fill bytes", "many scans", "a picture", "a cut picture"]
)
@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("fraction", [0.8, 1])
def test_a_jpeg_without_an_end_marker_is_truncated_also_with_a_tail(kind, tail, fraction):
    data = JPEGS[kind]
    assert reason(data[: int((len(data) - 2) * fraction)] + TAILS[tail]) in ("truncated", "corrupt")


@pytest.mark.parametrize("kind", JPEGS)
def test_the_end_of_a_jpeg_is_not_that_of_its_thumbnail(kind):
    scans, length = count_scans_and_length(JPEGS[kind] + TAILS["a picture"])
    assert length == len(JPEGS[kind])
    assert scans == JPEGS[kind].count(b"\xff\xda") - (kind == "thumbnail")
    assert count_scans_and_length(JPEGS[kind][:-2])[1] == 0


def test_a_jpeg_of_too_many_scans_or_segments_is_rejected_before_it_is_decoded():
    scan = JPEG.index(b"\xff\xda")
    assert reason(JPEG[:-2] + JPEG[scan:-2] * 101 + b"\xff\xd9") == "corrupt"
    assert reason(JPEG[:scan] + b"\xff\xfe\0\2" * 10_001 + JPEG[scan:] + b"\xff\xda" * 200) == "corrupt"
