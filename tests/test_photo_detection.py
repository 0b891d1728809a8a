"""Photographs are told from drawings, whatever the paper is like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helper_networks import write_export
from helper_photos import textured_photo
from linewash.coloring.cli import main
from linewash.coloring.image_io import read_image
from linewash.coloring.photo_detection import looks_like_photo
from linewash.samples.sketches import (
    draw,
    encode_image,
    home,
    on_black,
    on_ruled_paper,
    on_white,
    pet,
    sea,
    simulate_pencil,
    simulate_photo,
    sketches,
    tower,
)


@pytest.mark.parametrize("sketch", sketches(seed=5), ids=lambda sketch: sketch.name)
def test_a_sketch_of_any_kind_is_a_drawing(sketch) -> None:
    assert not looks_like_photo(read_image(sketch.data))


@pytest.mark.parametrize("seed", range(6))
def test_a_photo_of_a_drawing_is_a_drawing(seed: int) -> None:
    ink = draw((home, sea, pet, tower)[seed % 4], 1000, 760, 4, seed=seed)
    sheet = on_white(ink)
    board = (on_black(ink) * 0.7 + (20, 55, 35)).astype(np.uint8)
    tinted = (sheet * np.random.default_rng(seed).uniform(0.6, 1, 3)).astype(np.uint8)
    for picture in (sheet, simulate_pencil(ink, seed), on_ruled_paper(sheet, 40), board, tinted):
        assert not looks_like_photo(picture)
        assert not looks_like_photo(simulate_photo(picture, seed, strength=0.25 * seed))


def test_a_coloured_in_drawing_is_a_drawing() -> None:
    ink = draw(home, 1000, 760, 5, seed=1)
    rows, columns = np.mgrid[:760, :1000]
    colors = np.array([(240, 200, 60), (90, 160, 220), (200, 90, 80), (110, 180, 100)], np.uint8)
    colored = colors[rows // 380 * 2 + columns // 500]
    picture = (colored.astype(np.uint16) * on_white(ink) // 255).astype(np.uint8)
    assert not looks_like_photo(picture)
    assert not looks_like_photo(simulate_photo(picture, 3))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(400, 300), (300, 500), (1600, 1200)])
def test_texture_of_many_colours_is_a_photograph(seed: int, size: tuple[int, int]) -> None:
    assert looks_like_photo(textured_photo(*size, seed=seed))


@pytest.mark.parametrize("shape", [(16, 16), (16, 900), (200, 300)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_even_picture_is_no_photograph(shape: tuple[int, int], value: int) -> None:
    assert not looks_like_photo(np.full((*shape, 3), value, np.uint8))


def test_the_command_advises_to_read_a_photograph_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = write_export(tmp_path / "network")
    (tmp_path / "photo.png").write_bytes(encode_image(textured_photo(320, 240, seed=1)))
    (tmp_path / "ink.png").write_bytes(encode_image(on_white(draw(home, 320, 240, 2, seed=1))))

    def color(name: str, *flags: str) -> tuple[str, bytes]:
        output = tmp_path / "out.png"
        assert main([str(tmp_path / name), "--run", str(network), "-o", str(output), *flags]) == 0
        return capsys.readouterr().err, output.read_bytes()

    advice, picture = color("photo.png")
    assert len(advice.splitlines()) == 1
    assert "photo.png: this looks like a photograph" in advice
    assert "--from photo" in advice
    assert color("photo.png", "--from", "drawing") == ("", picture)
    assert color("photo.png", "--from", "photo")[0] == ""
    assert color("ink.png")[0] == ""
