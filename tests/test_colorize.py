"""scripts/colorize.py: network, decoding, output files and the real command."""

from __future__ import annotations

import inspect
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import cv2
import linewash.coloring
import numpy as np
import pytest
from helper_networks import PALETTE, STRIDE, write_export
from hypothesis import example, given
from hypothesis import strategies as st
from linewash.coloring import label_decoding
from linewash.coloring.cli import main
from linewash.coloring.color_names import layer_name
from linewash.coloring.colorizer import ColoredImage, Settings, colorize, network_shape, resize_labels
from linewash.coloring.hint_strokes import resize_strokes
from linewash.coloring.line_extraction import read_drawing
from linewash.coloring.model_loader import Network, load
from linewash.coloring.openraster import layers, to_ora, to_png
from linewash.coloring.paper import Ground
from linewash.coloring.segmentation import segment
from linewash.samples.sketches import draw, encode_image, hint_strokes, home, on_white
from PIL import Image

from tfrecords_schema import Palette, __version__
from training.errors import UsageError, WorkError

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "colorize.py"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "plain")


@pytest.fixture(scope="module")
def hinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "hinted", hints=True)


@pytest.fixture(scope="module")
def house_png() -> bytes:
    return encode_image(on_white(draw(home, 320, 250, 2, seed=1)))


@pytest.fixture
def house(tmp_path: Path, house_png: bytes) -> Path:
    path = tmp_path / "house.png"
    path.write_bytes(house_png)
    return path


@pytest.fixture(scope="module")
def colored(export: Path, house_png: bytes) -> ColoredImage:
    return colorize(read_drawing(house_png), load(export))[0]


def run_main(capsys: pytest.CaptureFixture[str], exit_code: int, *argv: object) -> str:
    """Runs the command in this process, checks its exit code and returns its stderr."""
    actual_code = main([str(argument) for argument in argv])
    output = capsys.readouterr()
    assert actual_code == exit_code, output
    assert "Traceback" not in output.err
    return output.err


# ------------------------------------------------------------------------------------------------ network


def test_drawings_are_padded_to_the_stride_and_scores_are_cropped(export: Path) -> None:
    network = load(export)
    drawing = (np.random.default_rng(0).random((37, 50)) < 0.1).astype(np.float32)
    logits = network.logits(drawing)
    assert logits.shape == (37, 50, len(PALETTE))
    assert logits.dtype == np.float32
    padded = np.pad(drawing, ((0, -37 % STRIDE), (0, -50 % STRIDE)))
    assert np.allclose(network.logits(padded)[:37, :50], logits, atol=1e-4)


def test_hints_are_encoded_as_in_training(hinted: Path) -> None:
    network = load(hinted)
    inputs: list[np.ndarray] = []
    object.__setattr__(
        network, "predict", lambda x: inputs.append(x) or np.zeros((*x.shape[:3], len(PALETTE)))
    )
    hints = np.zeros((16, 16), int)
    hints[3, 4] = 3
    network.logits(np.zeros((16, 16)), hints)
    assert np.allclose(inputs[0][0, 3, 4], [0, *(PALETTE.rgb[2] / 255), 1])
    assert np.count_nonzero(inputs[0]) == 4


def test_a_run_directory_works_as_its_export_does(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    inputs = keras.Input((None, None, 1))
    net = keras.Model(inputs, keras.layers.Conv2D(len(PALETTE), 3, padding="same")(inputs))
    (tmp_path / "checkpoints").mkdir()
    net.save(tmp_path / "checkpoints" / "best.keras")
    (tmp_path / "run.json").write_bytes(
        b'{"image_size": 64, "palette": {"name": "p", "colors": [%s]}, "more": 1,'
        b' "config": {"model": {}, "trainer": {"batch_size": 1, "panel_images": 1}},'
        b' "dataset": {"root": "gone", "fingerprint": "0"},'
        b' "model": {"name": "x", "stride": 8, "gives_logits": true}}'
        % ",".join(str(list(color)) for color in PALETTE.colors).encode()
    )
    network = load(tmp_path)
    assert (network.palette.colors, network.takes_hints) == (PALETTE.colors, False)
    drawing = np.eye(20, dtype=np.float32)
    expected = net(np.pad(drawing, ((0, 4), (0, 4)))[None, ..., None])[0, :20, :20]
    assert np.allclose(network.logits(drawing), expected, atol=1e-4)
    write_export(tmp_path / "export")
    assert load(tmp_path).path == tmp_path / "export"


def test_a_missing_or_damaged_network_is_reported(tmp_path: Path, export: Path) -> None:
    with pytest.raises(UsageError, match="there is no such directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"neither export\.json nor run\.json"):
        load(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="is not what python -m training writes"):
        load(tmp_path)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "export.json").write_bytes((export / "export.json").read_bytes())
    (damaged / "model.onnx").write_bytes((export / "model.onnx").read_bytes()[:500])
    with pytest.raises(WorkError, match="is damaged"):
        load(damaged)


# ------------------------------------------------------------------------------------------------- decode


def test_regions_end_at_lines_and_small_gaps_are_closed() -> None:
    lines = np.zeros((200, 200), np.uint8)
    cv2.rectangle(lines, (50, 50), (150, 150), 1, 1)
    lines[150, 95:99] = 0  # a small gap
    regions = segment(lines, max_gap=8)
    assert regions[100, 100] != regions[20, 20]
    assert (regions[60:140, 60:140] == regions[100, 100]).all()
    assert (regions[:45] == regions[20, 20]).all()
    assert set(np.unique(regions)) == set(range(regions.max() + 1))
    assert segment(np.zeros((20, 30), np.uint8), 4).max() == 0


def noisy_house() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns lines, true labels, and noisy logits that are right on average."""
    lines, truth = np.zeros((128, 128), np.uint8), np.zeros((128, 128), int)
    truth[80:] = 1
    cv2.line(lines, (0, 80), (127, 80), 1, 1)
    truth[50:100, 40:90] = 3
    cv2.rectangle(lines, (40, 50), (89, 99), 1, 1)
    truth[60:75, 50:65] = 2
    cv2.rectangle(lines, (50, 60), (64, 74), 1, 1)
    rng = np.random.default_rng(0)
    logits = 1.3 * np.eye(len(PALETTE))[truth] + rng.normal(0, 1, (128, 128, len(PALETTE)))
    return lines, truth, logits.astype(np.float32)


def speckle(labels: np.ndarray) -> float:
    """Returns the fraction of the pixels in patches of fewer than 12."""
    count = 0
    for label in np.unique(labels):
        _, parts, stats, _ = cv2.connectedComponentsWithStats(
            (labels == label).astype(np.uint8), connectivity=4
        )
        sizes = stats[parts, cv2.CC_STAT_AREA]
        count += int(((sizes < 12) & (parts > 0)).sum())
    return count / labels.size


def test_the_vote_has_no_speckle_and_is_more_accurate() -> None:
    lines, truth, logits = noisy_house()
    scores = label_decoding.ColorProbabilities.from_logits(logits)
    plain = label_decoding.decode_by_argmax(scores, 128, 128).labels
    vote = label_decoding.decode_by_vote(scores, PALETTE, lines, lines).labels
    assert np.array_equal(plain, logits.argmax(-1))
    assert speckle(plain) > 0.1
    assert speckle(vote) == 0
    away = cv2.dilate(lines, np.ones((3, 3))) == 0
    assert np.mean((vote == truth)[away]) > 0.99


def test_an_open_region_may_have_two_colours() -> None:
    logits = np.zeros((96, 128, len(PALETTE)), np.float32)
    logits[:48, :, 0] = logits[48:, :, 1] = 2
    lines = np.zeros((96, 128), np.uint8)
    lines[10, 10:20] = 1
    labels = label_decoding.decode_by_vote(
        label_decoding.ColorProbabilities.from_logits(logits), PALETTE, lines, lines
    ).labels
    assert (labels[:40] == 0).all()
    assert (labels[56:] == 1).all()


def test_a_hesitating_vote_chooses_what_is_never_far_off() -> None:
    rgb = np.array([(230, 30, 30), (240, 140, 30), (250, 220, 60), (30, 60, 220)], np.uint8)
    unsure, sure = [0.3, 0.24, 0.28, 0.18], [0.7, 0.2, 0.05, 0.05]
    assert label_decoding.choose_colors(np.array([unsure, sure]), rgb).tolist() == [1, 0]


@pytest.mark.parametrize("margin", [0, 0.2])
def test_figures_and_scenes_are_not_left_white(margin: float) -> None:
    """The network is a constant that prefers white a little to red, as on pages that are mostly paper."""
    colors = {(255, 255, 255): 0.5, (220, 40, 40): 0.3, (60, 60, 60): 0.2}
    palette = Palette("three", tuple(colors))
    logits = np.log(np.array(list(colors.values()), np.float32))

    def predict(drawing: np.ndarray) -> np.ndarray:
        return np.broadcast_to(logits, (*drawing.shape[:3], 3))

    network = Network(palette, 64, 1, False, Path("constant"), predict)
    page = np.full((200, 200, 3), 255, np.uint8)
    start = int(margin * 200)
    cv2.rectangle(page, (start, start), (199 - start, 199 - start), (0, 0, 0), 4)
    settings = Settings(background="auto" if margin else "paint")
    (colored,) = colorize(read_drawing(encode_image(page)), network, settings)
    middle = colored.rgb(lines=False)[100, 100].tolist()
    assert middle == [220, 40, 40]
    assert (colored.rgb(lines=False)[2, 100].tolist() == [255, 255, 255]) == bool(margin)


def test_a_grey_is_not_taken_for_the_white_of_paper() -> None:
    """The article's palette has no white; its lightest grey is as likely as the network says."""
    palette = Palette("two", ((170, 170, 170), (85, 0, 0)))
    logits = np.log(np.array([0.6, 0.4], np.float32))
    network = Network(
        palette, 64, 1, False, Path("constant"), lambda x: np.broadcast_to(logits, (*x.shape[:3], 2))
    )
    page = np.full((200, 200, 3), 255, np.uint8)
    cv2.rectangle(page, (0, 0), (199, 199), (0, 0, 0), 4)
    (colored,) = colorize(read_drawing(encode_image(page)), network, Settings(background="paint"))
    assert colored.rgb(lines=False)[100, 100].tolist() == [170, 170, 170]


@pytest.mark.parametrize(
    ("shape", "is_paper"), [("egg", True), ("kite", True), ("horizon", False), ("room", False)]
)
def test_a_cropped_figure_lies_on_paper_and_a_scene_does_not(shape: str, is_paper: bool) -> None:
    """An egg and a kite are cropped; a horizon and a corner of a room run off the image."""
    page = np.full((200, 260), 255, np.uint8)
    if shape == "egg":
        cv2.ellipse(page, (130, 100), (128, 98), 0, 0, 360, 0, 4)
    elif shape == "kite":
        corners = [(2, 120), (150, 2), (257, 60), (90, 197)]
        cv2.polylines(page, [np.array(corners)], True, 0, 4)
    else:
        cv2.line(page, (0, 120), (259, 110), 0, 4)
        cv2.circle(page, (130, 60), 30, 0, 4)
    if shape == "room":
        cv2.line(page, (90, 0), (90, 115), 0, 4)
    drawing = read_drawing(encode_image(page))
    areas = label_decoding.Areas.find(drawing.line_map, drawing.stroke_mask)
    assert Ground.find(areas.regions).is_paper == is_paper


def test_the_annealed_mean_lies_between_mode_and_mean() -> None:
    scores = label_decoding.ColorProbabilities.from_logits(noisy_house()[2])
    cold = label_decoding.decode_by_mean(scores, PALETTE, 128, 128, temperature=0.01).labels
    assert np.mean(cold == label_decoding.decode_by_argmax(scores, 128, 128).labels) > 0.97
    assert speckle(
        label_decoding.decode_by_mean(scores, PALETTE, 128, 128, temperature=1.0).labels
    ) < speckle(cold)


def test_of_a_large_palette_only_the_likeliest_colours_are_considered() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (8, 8, 512)).astype(np.float32)
    logits[..., 400] += 9
    scores = label_decoding.ColorProbabilities.from_logits(logits)
    assert len(scores.colors) == label_decoding.MAX_COLORS
    assert np.allclose(scores.probabilities.sum(-1), 1)
    assert (label_decoding.decode_by_argmax(scores, 8, 8).labels == 400).all()


def test_resized_labels_have_smooth_borders_and_no_new_values() -> None:
    labels = np.zeros((40, 60), np.uint16)
    cv2.circle(labels, (30, 20), 12, 3, -1)
    for height, width in ((40, 60), (20, 30), (400, 600), (123, 197)):
        resized = resize_labels(labels, height, width)
        assert resized.shape == (height, width)
        assert set(np.unique(resized)) == {0, 3}
        assert abs(np.mean(resized == 3) - np.mean(labels == 3)) < 0.02
    assert speckle(resized) == 0


@given(st.integers(8, 60), st.integers(8, 60), st.integers(8, 900), st.integers(8, 900))
@example(11, 100, 25, 111)
def test_labels_are_resized_to_any_size(height: int, width: int, new_height: int, new_width: int) -> None:
    labels = np.arange(height)[:, None] // 4 + np.zeros((1, width), np.int64)
    resized = resize_labels(labels, new_height, new_width)
    assert resized.shape == (new_height, new_width)
    if new_height >= height:
        rows = ((np.arange(new_height) + 0.5) * height / new_height).astype(int)
        assert np.abs(resized[:, new_width // 2] - rows // 4).max() <= 1


def undecided(regions: np.ndarray) -> label_decoding.Segmentation:
    """Returns a segmentation with the first of four equally likely colours in every region."""
    count = int(regions.max()) + 1
    return label_decoding.Segmentation(
        regions, np.zeros(count, int), np.full((count, 4), 0.25), np.array([2, 5, 7, 9])
    )


def test_a_hint_colours_its_region_but_not_one_that_it_slightly_overlaps() -> None:
    regions = np.zeros((100, 100), np.int32)
    regions[:, 60:] = 1
    hints = np.zeros((100, 100), np.int64)
    hints[50:53, 40:62] = 8  # label 7, a little over the border
    areas = label_decoding.Areas(regions, np.zeros_like(regions))
    hinted = label_decoding.apply_hints(undecided(regions), areas, hints)
    assert (hinted.labels[:, :60] == 7).all()
    assert (hinted.labels[:, 60:] == 2).all()
    for other in hinted.variants(4, seed=0):
        assert (other[:, :60] == 7).all()


def test_a_region_with_two_hints_is_split_between_them() -> None:
    hints = np.zeros((100, 100), np.int64)
    hints[20:24, 50:54], hints[76:80, 50:54] = 6, 10
    flat = np.zeros((100, 100), np.int32)
    labels = label_decoding.apply_hints(undecided(flat), label_decoding.Areas(flat, flat), hints).labels
    assert (labels[:48] == 5).all()
    assert (labels[52:] == 9).all()


# ------------------------------------------------------------------------------------------- output files


@pytest.mark.parametrize("size", [(320, 250), (60, 200), (41, 37), (900, 300)])
def test_coloured_images_have_the_size_of_the_drawing(export: Path, size: tuple[int, int]) -> None:
    drawing = read_drawing(encode_image(on_white(draw(home, *size, 2, seed=1))))
    for name in ("vote", "argmax", "mean"):
        (image,) = colorize(drawing, load(export), Settings(decode=name))  # type: ignore[arg-type]
        assert image.labels.shape == size[::-1] == drawing.shape
        assert image.rgb().shape == (*size[::-1], 3)
    height, width = network_shape(*drawing.shape, 64)
    assert abs(height * width - 64**2) < 300
    assert abs(np.log(height / width * size[0] / size[1])) < 0.1


def test_variants_differ_and_are_reproducible(export: Path, house_png: bytes) -> None:
    drawing, network = read_drawing(house_png), load(export)
    variants, repeated, others = (
        colorize(drawing, network, Settings(variants=4, seed=seed)) for seed in (1, 1, 2)
    )
    assert len(variants) == 4
    for index, variant in enumerate(variants):
        assert np.array_equal(variant.labels, repeated[index].labels)
        for previous in variants[:index]:
            assert np.mean(variant.labels != previous.labels) > 0.01
    assert np.array_equal(variants[0].labels, others[0].labels)  # the likeliest does not depend on the seed
    assert any(not np.array_equal(a.labels, b.labels) for a, b in zip(variants[1:], others[1:], strict=True))
    assert speckle(variants[3].labels) < 0.002  # whole regions change, not pixels


def test_only_the_given_colours_are_chosen(export: Path, hinted: Path, house_png: bytes) -> None:
    drawing = read_drawing(house_png)
    for name in ("vote", "argmax", "mean"):
        settings = Settings(decode=name, variants=3, temperature=3, only_colors=(1, 3))  # type: ignore[arg-type]
        for image in colorize(drawing, load(export), settings):
            assert set(np.unique(image.labels)) <= {1, 3}
    near = "#" + bytes(min(value + 4, 255) for value in PALETTE.colors[2]).hex()
    (image,) = colorize(drawing, load(export), Settings(only_colors=(near,)))
    assert (image.labels == 2).all()
    strokes = np.zeros((250, 320, 4), np.uint8)
    strokes[138:146, 112:130] = (*PALETTE.colors[3], 255)
    (image,) = colorize(drawing, load(hinted), Settings(only_colors=(0, 1)), strokes)
    assert image.labels[142, 120] == 3  # a hint is obeyed in any case
    assert set(np.unique(image.labels)) <= {0, 1, 3}


@pytest.mark.parametrize(
    ("colors", "message"),
    [
        ((), "at least one colour"),
        (("red",), "'red' is neither a number in the palette nor a colour like #ff8800"),
        (("#ff880",), "'#ff880' is neither"),
        (("",), "'' is neither"),
        ((99,), f"the colours 0 to {len(PALETTE) - 1}; got 99"),
        ((-1,), "got -1"),
    ],
)
def test_wrong_colours_are_reported(
    colors: tuple[int | str, ...], message: str, export: Path, house_png: bytes
) -> None:
    with pytest.raises(UsageError, match=message):
        colorize(read_drawing(house_png), load(export), Settings(only_colors=colors))


def test_each_pixel_is_in_exactly_one_colour_layer(colored: ColoredImage) -> None:
    lines, *colors = layers(colored)
    assert lines.name == "lines"
    alpha = np.stack([layer.rgba[..., 3] for layer in colors])
    assert set(np.unique(alpha)) <= {0, 255}
    assert ((alpha == 255).sum(0) == 1).all()
    merged = sum(layer.rgba[..., :3].astype(int) * (layer.rgba[..., 3:] // 255) for layer in colors)
    assert np.array_equal(merged, colored.rgb(lines=False))
    assert [layer.name for layer in colors] == [
        layer_name(PALETTE, int(label))
        for label in sorted(np.unique(colored.labels), key=lambda k: np.sum(colored.labels == k))
    ]


def test_a_png_has_the_palettes_colours_only(colored: ColoredImage) -> None:
    with Image.open(io.BytesIO(to_png(colored, lines=False))) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image.convert("RGB")), colored.rgb(lines=False))
    with Image.open(io.BytesIO(to_png(colored))) as image:
        assert np.array_equal(np.asarray(image), colored.rgb())
    inked = colored.drawing.line_opacity > 0.9
    assert colored.rgb()[inked].mean() < 60


@pytest.fixture(scope="module")
def cut_out(colored: ColoredImage) -> ColoredImage:
    """The image without its most frequent colour."""
    label = int(np.bincount(colored.labels.ravel()).argmax())
    return replace(colored, background=colored.labels == label)


def test_a_background_is_transparent_in_every_file(cut_out: ColoredImage) -> None:
    background = cut_out.background
    assert background is not None
    plain = np.array(Image.open(io.BytesIO(to_png(cut_out, lines=False))).convert("RGBA"))
    assert np.array_equal(plain[..., 3], np.where(background, 0, 255))
    assert np.array_equal(plain[~background][:, :3], cut_out.rgb(lines=False)[~background])
    with_lines = np.array(Image.open(io.BytesIO(to_png(cut_out))))
    opacity = cut_out.drawing.line_opacity
    assert np.array_equal(with_lines, cut_out.rgba())
    assert np.abs(with_lines[background][:, 3] / 255 - opacity[background]).max() < 0.003
    assert (with_lines[~background][:, 3] == 255).all()
    assert np.array_equal(with_lines[~background][:, :3], cut_out.rgb()[~background])
    _, *colors = layers(cut_out)
    assert np.array_equal(sum((layer.rgba[..., 3] > 0).astype(int) for layer in colors), ~background)
    with zipfile.ZipFile(io.BytesIO(to_ora(cut_out))) as archive:
        merged = np.array(Image.open(io.BytesIO(archive.read("mergedimage.png"))))
        assert np.array_equal(merged, with_lines)
        assert len(archive.namelist()) == 5 + len(colors)  # the lines, and four files that are no layers


def test_openraster_follows_its_specification(colored: ColoredImage) -> None:
    data = to_ora(colored)
    assert (
        data[30:54] == b"mimetypeimage/openraster"
    )  # first, stored, no extra field: the type is readable from its bytes
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        root = ElementTree.fromstring(archive.read("stack.xml"))
        height, width = colored.labels.shape
        assert (root.tag, root.get("w"), root.get("h")) == ("image", str(width), str(height))
        stack = root.find("stack")
        assert stack is not None
        merged = Image.new("RGBA", (width, height))
        for layer in reversed(stack):  # the first is on top
            assert layer.get("src") in names
            with Image.open(io.BytesIO(archive.read(str(layer.get("src"))))) as image:
                merged.alpha_composite(image)
        with Image.open(io.BytesIO(archive.read("mergedimage.png"))) as image:
            shown = np.asarray(image).astype(int)
        assert np.abs(np.asarray(merged.convert("RGB")) - shown).max() <= 2
        with Image.open(io.BytesIO(archive.read("Thumbnails/thumbnail.png"))) as image:
            assert max(image.size) <= 256
    assert to_ora(colored) == data


def test_hints_colour_the_regions_they_lie_on(hinted: Path, house_png: bytes) -> None:
    drawing, network = read_drawing(house_png), load(hinted)
    strokes = np.zeros((250, 320, 4), np.uint8)
    roof = (slice(138, 146), slice(112, 130))
    strokes[roof] = (*PALETTE.colors[3], 255)
    without_hints = colorize(drawing, network)[0].labels
    (hinted_image,) = colorize(drawing, network, hints=strokes)
    assert (hinted_image.labels[roof] == 3).all()
    assert np.mean(hinted_image.labels == 3) < 0.7
    assert not np.array_equal(without_hints, hinted_image.labels)
    half = cv2.resize(strokes, (160, 125), interpolation=cv2.INTER_NEAREST)
    assert (colorize(drawing, network, hints=half)[0].labels[141:144, 114:126] == 3).all()
    with pytest.raises(WorkError, match="the hints are 250 x 320, but the drawing is 320 x 250"):
        colorize(drawing, network, hints=np.ascontiguousarray(strokes.transpose(1, 0, 2)))
    with pytest.raises(WorkError, match="no stroke"):
        colorize(drawing, network, hints=np.zeros_like(strokes))


def test_strokes_survive_any_resizing() -> None:
    labels = np.zeros((100, 80), np.int64)
    labels[10, 10], labels[50:60, 40:60] = 2, 1
    for height, width in ((10, 8), (33, 47), (100, 80), (250, 200)):
        small = resize_strokes(labels, height, width)
        assert small.shape == (height, width)
        assert set(np.unique(small)) == {0, 1, 2}


# -------------------------------------------------------------------------------------------- the command


def run_script(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_writes_all_requested_files(tmp_path: Path, export: Path, house: Path) -> None:
    out = tmp_path / "out"
    done = run_script(
        "--run", export, house, "-o", out / "a.png", "--layers", out / "layers", "--ora",
        out / "a.ora", "--palette-out", out / "p.gpl",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"written: {out / 'a.png'}\nbackground: ")
    assert sorted(p.name for p in out.iterdir()) == ["a.ora", "a.png", "layers", "p.gpl"]
    with Image.open(out / "a.png") as image:
        assert image.size == (320, 250)
    assert (out / "p.gpl").read_text().splitlines()[4].split() == ["24", "104", "186", "blue", "1868ba"]
    assert (out / "layers" / "lines.png").is_file()
    before = {p: p.read_bytes() for p in out.rglob("*.*")}
    assert run_script("--run", export, house, "-o", out / "a.png").returncode == 0
    assert (out / "a.png").read_bytes() == before[out / "a.png"]


def test_an_unreadable_file_is_named_and_skipped(tmp_path: Path, export: Path, house_png: bytes) -> None:
    folder = tmp_path / "drawings"
    (folder / "below").mkdir(parents=True)
    (folder / "good.png").write_bytes(house_png)
    (folder / "below" / "good.png").write_bytes(house_png)
    (folder / "bad.jpg").write_bytes(b"not an image")
    (folder / "notes.txt").write_bytes(b"no drawing")
    done = run_script("--run", export, folder, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith(f"colorize.py: {folder / 'bad.jpg'}: not a readable image")
    assert done.stderr.count("\n") == 1  # no bar where stderr is not a terminal
    assert "2 of 3 drawings coloured" in done.stdout
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert written == {"good.png", "below/good.png"}


def test_variants_are_numbered(
    tmp_path: Path, export: Path, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, layered = tmp_path / "out", tmp_path / "layers"
    assert (
        run_main(capsys, 0, "--run", export, house, "-o", out / "x.png", "--variants", 3, "--layers", layered)
        == ""
    )
    assert sorted(p.name for p in out.iterdir()) == ["x-1.png", "x-2.png", "x-3.png"]
    assert sorted(p.name for p in layered.iterdir()) == ["1", "2", "3"]


def test_layers_of_an_earlier_image_are_removed(
    tmp_path: Path, export: Path, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "layers"
    folder.mkdir()
    (folder / "5-1c161e.png").write_bytes(b"old")
    (folder / "4-000000.png").write_bytes(b"old")
    (folder / "13-light-blue-8cacd4.png").write_bytes(b"old")
    (folder / "14-light-blue-2-8cacd6.png").write_bytes(b"old")
    argv = ("--run", export, house, "-o", tmp_path / "x.png", "--layers", folder)
    assert run_main(capsys, 0, *argv) == ""
    assert not any(p.read_bytes() == b"old" for p in folder.iterdir())
    (folder / "novel.txt").write_bytes(b"mine")
    assert "holds other files (novel.txt)" in run_main(capsys, 2, *argv)


def test_wrong_arguments_are_reported(
    tmp_path: Path, export: Path, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"

    def error(*argv: object) -> str:
        return run_main(capsys, 2, "--run", export, "-o", out, *argv)

    assert "nowhere.png does not exist" in error("nowhere.png")
    assert "--variants must be 1 to 64; got 0" in error(house, "--variants", 0)
    assert "--size must be 32 to 1024 pixels; got 7" in error(house, "--size", 7)
    assert "invalid choice: 'best'" in error(house, "--decode", "best")
    assert "one file for several drawings" in error(house, SCRIPT)
    assert "is given twice" in error(house, house)
    assert "the hints have no transparency" in error(house, "--hints", house)
    assert "type a name that ends in .gpl" in error(house, "--palette-out", "p.txt")
    assert "type a name that ends in .ora" in error(house, "--ora", "a.kra")
    assert "is one of the drawings and would be overwritten" in error(house, "-o", house)
    assert "type a name that ends in .png" in error(house, "-o", "a.jpg")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no images" in error(empty)
    assert "holds neither" in error(house, "--run", empty)
    assert not out.exists()


@pytest.mark.parametrize("kind", ["hinted", "export"])
def test_hints_of_the_command(
    tmp_path: Path, kind: str, house: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """They are obeyed also with a network that takes none, as that of `export`."""
    network: Path = request.getfixturevalue(kind)
    hints = tmp_path / "strokes.png"
    hints.write_bytes(hint_strokes(320, 250, [("0.36,0.57 0.42,0.58", (206, 88, 66))]))
    argv = ("--run", network, house, "-o", tmp_path / "x.png", "--hints", hints)
    assert run_main(capsys, 0, *argv) == ""
    hints.write_bytes(encode_image(np.full((250, 320, 3), 255, np.uint8)))
    assert "no transparency" in run_main(capsys, 2, *argv)
    hints.write_bytes(hint_strokes(100, 250, [("0.1,0.1 0.5,0.5", (0, 0, 0))]))
    assert "the hints are 100 x 250" in run_main(capsys, 1, *argv)


def test_for_an_empty_drawing_the_flag_of_the_polarity_is_named(
    tmp_path: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(encode_image(np.full((100, 100, 3), 255, np.uint8)))
    argv = ("--run", export, empty, "-o", tmp_path / "x.png")
    error = run_main(capsys, 1, *argv)
    assert "there are no lines" in error
    assert "--lines dark" in error
    assert "there are no edges" in run_main(capsys, 1, *argv, "--from", "photo")


def test_an_output_that_cannot_be_written_is_reported(
    tmp_path: Path, export: Path, house: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    error = run_main(capsys, 1, "--run", export, house, "-o", tmp_path / "file" / "x.png")
    assert "could not be read or written" in error


def test_an_export_needs_neither_tensorflow_nor_beam(tmp_path: Path, export: Path, house: Path) -> None:
    program = (
        "import sys\nfrom linewash.coloring.cli import main\n"
        f"assert main(['--run', {str(export)!r}, {str(house)!r}, '-o', {str(tmp_path / 'x.png')!r}]) == 0\n"
        "barred = {'tensorflow', 'keras', 'apache_beam', 'simplejpeg', 'hydra', 'matplotlib'}\n"
        "assert not barred & set(sys.modules), barred & set(sys.modules)"
    )
    run_python(program, tmp_path)


def run_python(program: str, cwd: Path) -> None:
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_example_of_the_python_api_runs(tmp_path: Path) -> None:
    (tmp_path / "drawing.jpg").write_bytes(encode_image(on_white(draw(home, 160, 120, 2, seed=1)), "JPEG"))
    assert linewash.coloring.__doc__
    lines = linewash.coloring.__doc__.splitlines()
    run_python("\n".join(line[4:] for line in lines if line.startswith("    ")), tmp_path)
    with Image.open(tmp_path / "colored.png") as image:
        assert image.size == (160, 120)
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) >= 3


def test_importing_the_python_api_imports_no_heavy_packages(tmp_path: Path) -> None:
    heavy = "{'tensorflow', 'keras', 'cv2', 'onnxruntime', 'PIL'}"
    run_python(f"import sys, linewash.coloring\nassert not {heavy} & set(sys.modules)", tmp_path)


def test_every_public_name_of_the_python_api_exists() -> None:
    for name in linewash.coloring.__all__:
        assert not inspect.ismodule(getattr(linewash.coloring, name)), name
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        linewash.coloring.paint  # noqa: B018


@pytest.mark.parametrize(
    ("started_as", "name"),
    [("/usr/bin/linewash-colorize", "linewash-colorize"), ("scripts/colorize.py", "colorize.py")],
)
def test_messages_begin_with_the_name_by_which_the_command_was_started(
    started_as: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [started_as])
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{name} {__version__}\n"
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: {name} ")
    assert f"  {name} drawing.jpg -o colored.png" in output
    assert main(["--nonsense"]) == 2
    assert capsys.readouterr().err.startswith(f"{name}: ")
