"""The fingerprint and version of recipes, and datasets of earlier versions."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import helper_photos
import pytest

from preprocess import receipts, sources
from preprocess.options import parse
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import ARTICLE, DEFAULT, RECIPES, VERSION, Learnt, Recipe
from preprocess.shard_writer import write_shard
from tfrecords_schema import Palette

SHARDING = Sharding(val_fraction=0.3, num_shards=2)


def test_every_setting_changes_the_fingerprint():
    other = {
        "image_size": 64,
        "palette": Palette.grid(4),
        "fit": "crop",
        "decode": "full",
        "resize": "bilinear",
        "stretch": "truncate",
        "lines": ("xdog",),
        "pairs": "files",
        "min_colored": 0.5,
    }
    other |= {"max_pixels": 1 << 20, "bilateral_diameter": 5, "bilateral_sigma_color": 1.0}
    other |= {"bilateral_sigma_space": 1.0, "canny_spread": 0.5, "version": 99}
    assert set(other) == {field.name for field in dataclasses.fields(Recipe)}
    prints = {dataclasses.replace(DEFAULT, **{name: value}).fingerprint for name, value in other.items()}
    assert len(prints | {DEFAULT.fingerprint}) == len(other) + 1


@pytest.mark.parametrize(
    ("recipe", "version", "known"),
    [
        (DEFAULT, 1, "5ca0c9b5b5fdb741"),
        (ARTICLE, 1, "f1a48ad9594096f7"),
        (DEFAULT, 2, "be865414c0cf7e93"),
        (ARTICLE, 2, "cef26f4bbac92ccc"),
    ],
)
def test_fingerprints_of_earlier_versions_are_known(recipe, version, known):
    recipe = dataclasses.replace(recipe, palette=Palette.grid(3))
    assert recipe.earlier_fingerprint(version) == known
    assert recipe.fingerprint != known


def test_a_fingerprint_is_computed_once():
    """It is read for every receipt, and 65,536 colours take long to hash."""
    recipe = Recipe(palette=Palette.grid(16))
    assert recipe.fingerprint is recipe.fingerprint
    smaller = dataclasses.replace(recipe, image_size=64)
    assert smaller.fingerprint != recipe.fingerprint
    assert smaller.fingerprint == Recipe(palette=Palette.grid(16), image_size=64).fingerprint


def test_a_palette_that_is_still_to_be_learnt_has_no_fingerprint():
    recipe = parse(["--input", "x", "--output", "y", "--palette", "kmeans:9"]).recipe
    assert recipe == Recipe(palette=Learnt(9))
    with pytest.raises(TypeError, match="9 colours is not learnt yet"):
        _ = recipe.fingerprint
    learnt = dataclasses.replace(recipe, palette=Palette.grid(2))
    assert learnt.fingerprint == Recipe(palette=Palette.grid(2)).fingerprint


# ----------------------------------------------------------------------------- datasets of earlier versions


def rewrite(path, version, **changes):
    """Changes fields of a receipt or manifest, and converts it to the schema of the recipe's version."""
    fields = json.loads(path.read_text()) | changes
    if version < 3:  # schema 1
        fields["schema_version"] = 1
        fields.pop("lines", None)
        for part in (fields, *fields.get("splits", {}).values()):
            if "edge_pixels" in part:
                (part["edge_pixels"],) = part["edge_pixels"]
    path.write_text(json.dumps(fields))


@pytest.fixture(params=[1, 2])
def old(request, tmp_path):
    """A dataset of an earlier version, whose recipe has fewer settings. Both were written with schema 1."""
    version = request.param
    recipe, output = Recipe(image_size=32), str(tmp_path / "old")
    images = helper_photos.make_image_folder(tmp_path / "images", 24)
    shards = make_plan(sources.images([str(images)], output), SHARDING, output)
    for shard in shards:
        write_shard(shard, recipe, "none", output)
    receipts.write_manifest(output, receipts.load(output), recipe, SHARDING, ["images"])
    settings = recipe.as_dict() | {"version": version}
    for name in ("lines", "pairs", "min_colored", *(["stretch"] if version == 1 else [])):
        del settings[name]
    fingerprint = recipe.earlier_fingerprint(version)
    for path in Path(output, "receipts").iterdir():
        rewrite(path, version, fingerprint=fingerprint)
    rewrite(Path(output, "manifest.json"), version, fingerprint=fingerprint, recipe=settings)
    return Path(output), shards, recipe, version


def test_a_dataset_of_an_earlier_version_can_be_verified(old, monkeypatch, capsys):
    import verify_shards

    monkeypatch.setattr(sys, "argv", ["verify_shards", str(old[0]), "--workers", "1"])
    assert verify_shards.main() == 0, capsys.readouterr().err


def test_a_dataset_of_an_earlier_version_can_be_trained_on(old):
    from training.data.dataset import ShardedDataset

    manifest = ShardedDataset.open(str(old[0])).manifest
    assert manifest.recipe["version"] == old[3]
    assert "lines" not in manifest.recipe
    assert manifest.lines == ["canny"]


@pytest.mark.parametrize("complete", [True, False])
def test_shards_of_an_earlier_version_are_not_mixed_with_others(old, complete):
    output, shards, recipe, version = old
    if not complete:
        (output / "manifest.json").unlink()
    with pytest.raises(
        receipts.OutputError, match=rf"\(version {version} \(now {VERSION}\)\): give another --output"
    ):
        receipts.check_output(str(output), receipts.load(str(output)), shards, recipe)


def test_the_error_names_other_differences_to_a_dataset_of_an_earlier_version(old):
    output, shards, recipe, version = old
    other = dataclasses.replace(recipe, fit="crop", image_size=64)
    with pytest.raises(
        receipts.OutputError, match=rf"image_size 32 \(now 64\), .*fit squash \(now crop\).*version {version}"
    ):
        receipts.check_output(str(output), receipts.load(str(output)), shards, other)


# ------------------------------------------------------------------------------------------ golden bytes

# Of a change that alters them, `VERSION` must be raised.
GOLDEN_SHARDS = {
    "default": "35c5393ab03410817d017ec8045162c60a053c421adaae9c0212bea118927960",
    "article": "d6c285b38803452988cd6501c15cd4fe2aa66f87dd8bbfb6b7ccf58c03984768",
}


@pytest.mark.parametrize("name", GOLDEN_SHARDS)
def test_the_bytes_of_a_shard_are_known(tmp_path, name):
    for seed in range(6):
        (tmp_path / f"{seed}.png").write_bytes(helper_photos.png(helper_photos.make_image(seed)))
    output = str(tmp_path / "out")
    for shard in make_plan(sources.images([str(tmp_path)], output), SHARDING, output):
        write_shard(shard, RECIPES[name], "none", output)
    data = b"".join(path.read_bytes() for path in sorted(Path(output).glob("*/*.tfrecord")))
    assert hashlib.sha256(data).hexdigest() == GOLDEN_SHARDS[name]
