"""Colouring with a reference: a picture or picked colours to weights, and networks that follow them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helper_commands import run_main
from helper_networks import PALETTE, write_export
from hypothesis import given, settings
from hypothesis import strategies as st
from linewash.coloring import (
    Settings,
    cli,
    colorize,
    load,
    parse_colors,
    read_drawing,
    read_reference,
    to_png,
)
from linewash.coloring.model_loader import Network
from linewash.coloring_job import cli as job_cli
from linewash.samples.sketches import draw, encode_image, home, on_white
from PIL import Image

from preprocess.posterize import label_histogram, to_labels
from tfrecords_schema import Palette
from training.errors import UsageError, WorkError

PALETTES = [PALETTE, Palette.linewash(), Palette.grid(3)]
COLORS = st.tuples(*[st.integers(0, 255)] * 3)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("networks") / "plain")


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export that takes hints and a reference."""
    return write_export(tmp_path_factory.mktemp("networks") / "guided", hints=True, reference=True)


@pytest.fixture(scope="module")
def network(guided: Path) -> Network:
    return load(guided)


@pytest.fixture(scope="module")
def house_png() -> bytes:
    return encode_image(on_white(draw(home, 320, 250, 2, seed=1)))


@pytest.fixture
def house(tmp_path: Path, house_png: bytes) -> Path:
    path = tmp_path / "house.png"
    path.write_bytes(house_png)
    return path


def encode(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def picture_of(*labels: int) -> bytes:
    """Returns a picture with equal stripes of palette colours."""
    return encode(np.repeat(np.repeat(PALETTE.rgb[list(labels)], 20, axis=0)[:, None], 30, axis=1))


# ------------------------------------------------------------------------------------- pictures to weights


@given(st.lists(COLORS, min_size=1, max_size=40), st.sampled_from(PALETTES))
@settings(max_examples=30)
def test_a_small_picture_has_the_histogram_of_its_labels(
    colors: list[tuple[int, int, int]], palette: Palette
) -> None:
    pixels = np.array(colors, np.uint8)[None]
    expected = label_histogram(to_labels(pixels, palette), len(palette)) / len(colors)
    weights = read_reference(encode(pixels)).weights(palette)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_large_picture_has_the_colours_of_a_small_one(kind: str) -> None:
    rng = np.random.default_rng(0)
    small = PALETTE.rgb[rng.integers(0, len(PALETTE), (6, 8))]
    large = np.kron(small, np.ones((200, 200, 1), np.uint8))
    expected = read_reference(encode(small)).weights(PALETTE)
    np.testing.assert_allclose(read_reference(encode(large, kind)).weights(PALETTE), expected, atol=0.02)


@pytest.mark.parametrize("side", [40, 1200])
def test_transparent_pixels_do_not_count(side: int) -> None:
    pixels = np.zeros((side, side, 4), np.uint8)
    pixels[..., :3] = PALETTE.rgb[5]  # the colour below the transparency
    pixels[: side // 2, : side // 2] = (*PALETTE.rgb[2], 255)
    weights = read_reference(encode(pixels)).weights(PALETTE)
    np.testing.assert_allclose(weights, np.eye(len(PALETTE))[2], atol=1e-6)
    pixels[..., 3] = 0
    with pytest.raises(WorkError, match="transparent everywhere"):
        read_reference(encode(pixels))


def test_an_svg_is_a_reference() -> None:
    color = bytes(PALETTE.rgb[3]).hex()
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="3" fill="#{color}"/></svg>'
    np.testing.assert_allclose(read_reference(svg.encode()).weights(PALETTE), np.eye(len(PALETTE))[3])


def test_a_colour_far_from_the_palette_counts_for_the_nearest() -> None:
    palette = Palette("two", ((0, 0, 0), (255, 255, 255)))
    np.testing.assert_allclose(parse_colors("#ff0,#200").weights(palette), [0.5, 0.5])


# -------------------------------------------------------------------------------------- colours to weights


@pytest.mark.parametrize(
    ("text", "colors"),
    [
        ("#f4c542,#2b6", {(0xF4, 0xC5, 0x42): 0.5, (0x22, 0xBB, 0x66): 0.5}),
        (" #F4C542:3 , navy ", {(0xF4, 0xC5, 0x42): 0.75, (0, 0, 128): 0.25}),
        ("#000:0.1,#000:0.3,#fff:0.4", {(0, 0, 0): 0.5, (255, 255, 255): 0.5}),
        ("light blue,light steel blue", {(0x8D, 0xA7, 0xC8): 0.5, (0xB0, 0xC4, 0xDE): 0.5}),
    ],
)
def test_colours_are_parsed(text: str, colors: dict[tuple[int, int, int], float]) -> None:
    palette = Palette("exact", (*colors, (1, 2, 3)))
    np.testing.assert_allclose(parse_colors(text).weights(palette), [*colors.values(), 0], atol=1e-6)


@given(st.lists(st.tuples(COLORS, st.floats(1e-3, 1e6)), min_size=1, max_size=64))
def test_weights_add_up_to_one(colors: list[tuple[tuple[int, int, int], float]]) -> None:
    text = ",".join(f"#{bytes(color).hex()}:{weight!r}" for color, weight in colors)
    weights = parse_colors(text).weights(PALETTE)
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert (weights >= 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no colour: type #rrggbb, #rgb or a name such as navy"),
        ("#f4c54", "'#f4c54' is no colour: type"),
        ("bleu", "'bleu' is no colour: did you mean blue? type"),
        ("#fff,,#000", "'' is no colour"),
        ("rgb(1", "is no colour"),
        ("#fff:", "the weight of a colour must be a number above 0, got ''; such as #f4c542:3"),
        ("#fff:many", "got 'many'"),
        ("#fff:0", "the weight of #fff must be above 0, up to 1,000,000; got 0"),
        ("#fff:-1", "got -1"),
        ("#fff:nan", "got nan"),
        ("#fff:inf", "got inf"),
        (",".join(["#fff"] * 65), "takes 1 to 64 colours, got 65"),
    ],
)  # fmt: skip
def test_wrong_colours_are_reported(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_colors(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------ networks


def test_without_a_reference_the_network_gets_zeros(network: Network, export: Path) -> None:
    drawing = (np.random.default_rng(0).random((24, 33)) < 0.1).astype(np.float32)
    plain = network.logits(drawing)
    np.testing.assert_array_equal(network.logits(drawing, reference=np.zeros(len(PALETTE))), plain)
    wanted = network.logits(drawing, reference=np.eye(len(PALETTE))[1])
    np.testing.assert_allclose((wanted - plain)[..., 1], 100, atol=1e-3)
    np.testing.assert_allclose(np.delete(wanted - plain, 1, -1), 0, atol=1e-3)


def test_a_network_without_a_reference_refuses_one(export: Path, house_png: bytes) -> None:
    plain = load(export)
    assert not plain.takes_reference
    for reference in (parse_colors("#fff"), read_reference(picture_of(1))):
        with pytest.raises(UsageError, match=r"takes no reference: train a network .*experiment=reference"):
            colorize(read_drawing(house_png), plain, Settings(reference=reference))


def test_the_picture_has_the_colours_of_the_reference(network: Network, house_png: bytes) -> None:
    drawing = read_drawing(house_png)
    for label in range(len(PALETTE)):
        wanted = f"#{bytes(PALETTE.rgb[label]).hex()}"
        for reference in (parse_colors(wanted), read_reference(picture_of(label))):
            (image,) = colorize(drawing, network, Settings(reference=reference, background="paint"))
            assert (image.labels == label).all()


def test_hints_are_obeyed_beside_a_reference(network: Network, house_png: bytes) -> None:
    strokes = np.zeros((250, 320, 4), np.uint8)
    strokes[138:146, 112:130] = (*PALETTE.colors[3], 255)
    wanted = Settings(reference=read_reference(picture_of(1)), background="paint")
    (image,) = colorize(read_drawing(house_png), network, wanted, strokes)
    assert image.labels[142, 120] == 3
    assert set(np.unique(image.labels)) == {1, 3}


def test_without_a_reference_nothing_changes(export: Path, tmp_path: Path, house_png: bytes) -> None:
    """A network that takes a reference, but gets none, colours as the same network without it."""
    drawing = read_drawing(house_png)
    same = write_export(tmp_path / "same", reference=True)
    for variants in (1, 3):
        pictures = [
            [to_png(image) for image in colorize(drawing, load(path), Settings(variants=variants))]
            for path in (export, same)
        ]
        assert pictures[0] == pictures[1]


def test_a_run_directory_takes_a_reference_as_its_export_does(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    drawing = keras.Input((None, None, 1), name="edges")
    reference = keras.Input((len(PALETTE),), name="reference")
    scores = keras.layers.Conv2D(len(PALETTE), 3, padding="same")(drawing)
    wanted = keras.layers.Dense(len(PALETTE), use_bias=False)(reference)
    net = keras.Model([drawing, reference], scores + keras.ops.expand_dims(wanted, (1, 2)))
    (tmp_path / "checkpoints").mkdir()
    net.save(tmp_path / "checkpoints" / "best.keras")
    colors = ",".join(str(list(color)) for color in PALETTE.colors)
    (tmp_path / "run.json").write_text(
        f'{{"image_size": 64, "palette": {{"name": "p", "colors": [{colors}]}},'
        ' "config": {"model": {}, "trainer": {"batch_size": 1, "panel_images": 1}},'
        ' "dataset": {"root": "gone", "fingerprint": "0"},'
        ' "model": {"name": "x", "stride": 8, "gives_logits": true}}'
    )
    network = load(tmp_path)
    assert network.takes_reference
    edges, weights = np.eye(16, dtype=np.float32), np.full(len(PALETTE), 1 / len(PALETTE), np.float32)
    for given_weights, batch in ((weights, weights[None]), (None, np.zeros((1, len(PALETTE)), np.float32))):
        expected = net([edges[None, ..., None], batch])[0]
        np.testing.assert_allclose(network.logits(edges, None, given_weights), expected, atol=1e-5)


# ------------------------------------------------------------------------------------------------ commands


@pytest.fixture
def color(guided: Path, house: Path, tmp_path: Path) -> Callable[..., tuple[int, str, Path]]:
    def run(*flags: object) -> tuple[int, str, Path]:
        out = tmp_path / "out.png"
        out.unlink(missing_ok=True)
        done = run_main(cli.main, "--run", guided, house, "-o", out, *flags)
        return done.returncode, done.stderr, out

    return run


def colors_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as image:
        return set(map(tuple, np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0).tolist()))


def test_colorize_takes_a_picture_or_colours(
    color: Callable[..., tuple[int, str, Path]], tmp_path: Path
) -> None:
    mood = tmp_path / "mood.png"
    mood.write_bytes(picture_of(2))
    flags = ("--no-lines", "--background", "paint")
    for reference in (("--reference", mood), ("--colors", f"#{bytes(PALETTE.rgb[2]).hex()}:2")):
        code, stderr, out = color(*flags, *reference)
        assert (code, stderr) == (0, "")
        assert colors_of(out) == {PALETTE.colors[2]}
    _, _, out = color(*flags)
    assert len(colors_of(out)) > 1


def test_wrong_references_of_the_command_are_reported(
    color: Callable[..., tuple[int, str, Path]], export: Path, tmp_path: Path
) -> None:
    mood, text = tmp_path / "mood.png", tmp_path / "notes.txt"
    mood.write_bytes(picture_of(2))
    text.write_text("not a picture")
    for flags, message in (
        (("--reference", mood, "--colors", "#fff"), "exclude each other: type one of them"),
        (("--reference", tmp_path / "nowhere.png"), "nowhere.png: the file could not be read: No such file"),
        (("--reference", tmp_path), f"--reference {tmp_path}: "),
        (("--reference", text), "notes.txt: not a readable image"),
        (("--reference", "gs://bucket/mood.png"), "is not on this machine"),
        (("--colors", "blu"), "did you mean blue?"),
        (("--run", export, "--colors", "#fff"), "takes no reference: train a network that does"),
    ):
        code, stderr, out = color(*flags)
        assert code == 2, flags
        assert message in stderr
        assert stderr.count("\n") == 1
        assert not out.exists()
    before = mood.read_bytes()
    code, stderr, _ = color("--reference", mood, "-o", mood)
    assert code == 2
    assert "is the file of --reference and would be overwritten" in stderr
    assert mood.read_bytes() == before


def test_the_job_takes_a_picture_or_colours(guided: Path, house: Path, tmp_path: Path) -> None:
    mood = tmp_path / "mood.png"
    mood.write_bytes(picture_of(2))
    arguments = ["--input", house, "--run", guided, "--no_lines", "--background", "paint"]
    arguments += ["--direct_num_workers", 1]
    hexadecimal = f"#{bytes(PALETTE.rgb[2]).hex()}"
    for name, flags in (("a", ("--reference", mood)), ("b", ("--colors", hexadecimal))):
        done = run_main(job_cli.main, *arguments, "-o", tmp_path / name, *flags)
        assert done.returncode == 0, done.stderr
        assert colors_of(tmp_path / name / "house.png") == {PALETTE.colors[2]}
    other = run_main(job_cli.main, *arguments, "-o", tmp_path / "b", "--colors", "#fff")
    assert other.returncode == 2
    assert "were coloured with reference" in other.stderr
    for flags, message in (
        (("--reference", mood, "--colors", "#fff"), "exclude each other"),
        (("--reference", tmp_path / "nowhere.png"), "nowhere.png: No such file"),
        (("--colors", "blu"), "did you mean blue?"),
        (("--colors", "#fff", "--run", write_export(tmp_path / "plain")), "takes no reference"),
    ):
        done = run_main(job_cli.main, *arguments, "-o", tmp_path / "c", *flags)
        assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
