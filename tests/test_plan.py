"""The key of an image and the seed decide its shard."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.image_index import Subset
from preprocess.plan import Sharding, default_num_shards, make_plan, read_shard_list
from preprocess.sources import Image, SourceError
from preprocess.storage import files


def make_images(count):
    return [Image(f"n{i % 7}/{i}.JPEG", f"/photos/n{i % 7}/{i}.JPEG") for i in range(count)]


def planned(images, output, **settings):
    """Returns the keys of each shard."""
    shards = make_plan(images, Sharding(**settings), str(output))
    return {shard.name: [image.key for image in read_shard_list(shard.list_path)] for shard in shards}


def test_the_order_of_listing_does_not_matter(tmp_path):
    images = make_images(500)
    shuffled = random.Random(1).sample(images, len(images))
    assert planned(images, tmp_path / "a") == planned(shuffled, tmp_path / "b")


def test_every_image_is_in_exactly_one_shard(tmp_path):
    shards = planned(make_images(500), tmp_path, num_shards=7)
    assert sorted(key for keys in shards.values() for key in keys) == sorted(i.key for i in make_images(500))
    assert sorted(shards) == [f"train/train-{i:05d}-of-00007.tfrecord" for i in range(7)] + [
        "val/val-00000-of-00001.tfrecord"
    ]


def test_shards_and_splits_have_about_the_expected_sizes(tmp_path):
    shards = planned(make_images(8000), tmp_path, num_shards=8, val_fraction=0.2)
    sizes = {name: len(keys) for name, keys in shards.items()}
    assert all(600 < size < 1000 for size in sizes.values()), sizes
    assert 1450 < sum(size for name, size in sizes.items() if name.startswith("val/")) < 1750


def test_a_larger_val_split_contains_the_smaller_one(tmp_path):
    def val(fraction):
        shards = planned(make_images(500), tmp_path / str(fraction), val_fraction=fraction, num_shards=1)
        return {key for name, keys in shards.items() if name.startswith("val/") for key in keys}

    assert val(0.05) < val(0.1) < val(0.5)
    assert val(0) == set()


def test_the_seed_changes_the_shards(tmp_path):
    assert planned(make_images(200), tmp_path / "a") != planned(make_images(200), tmp_path / "b", seed=1)


def test_shards_may_be_empty(tmp_path):
    shards = planned(make_images(3), tmp_path, num_shards=9, val_fraction=0)
    assert len(shards) == 9
    assert sum(map(len, shards.values())) == 3


def test_the_digest_depends_on_the_keys(tmp_path):
    def digests(images):
        return [shard.images_digest for shard in make_plan(images, Sharding(num_shards=1), str(tmp_path))]

    moved = [dataclasses.replace(image, path="/elsewhere") for image in make_images(100)]
    assert digests(make_images(100)) == digests(moved)
    assert digests(make_images(100)) != digests(make_images(101))


def test_two_images_with_one_key_are_both_named(tmp_path):
    images = [*make_images(20), Image("n1/1.JPEG", "/other/n1/1.JPEG")]
    with pytest.raises(SourceError, match=r"key n1/1.JPEG: /other/n1/1.JPEG and /photos/n1/1.JPEG"):
        planned(images, tmp_path)


def test_an_image_of_two_inputs_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"/photos/n1/1.JPEG, found by two --input patterns"):
        planned([*make_images(20), make_images(2)[1]], tmp_path)


def test_an_empty_split_is_an_error_with_advice(tmp_path):
    with pytest.raises(SourceError, match=r"no image of 2 went to the val split .* --val_fraction 0"):
        planned(make_images(2), tmp_path, val_fraction=0.001)


@given(st.integers(1, 20_000_000))
def test_the_default_number_of_shards_fits(images):
    shards = default_num_shards(images)
    assert images / shards <= 1024
    assert shards <= max(32, images / 1024 + 1)


@pytest.mark.parametrize("settings", [{"val_fraction": -0.1}, {"val_fraction": 0.95}, {"num_shards": -1}])
def test_a_sharding_out_of_range_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Sharding(**settings)


def test_a_failed_write_leaves_no_file(tmp_path):
    def write_half():
        with files.atomic_write(str(tmp_path), "a/b") as file:
            file.write(b"half")
            raise RuntimeError("as if killed")

    with pytest.raises(RuntimeError, match="as if killed"):
        write_half()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ----------------------------------------------------------------------------------- subsets and splits


def subset(images, output, **settings):
    """Returns the keys of the images in a subset."""
    shards = make_plan(images, Sharding(num_shards=2), str(output), Subset(**settings))
    return {image.key for shard in shards for image in read_shard_list(shard.list_path)}


def test_classes_by_names_number_and_file(tmp_path):
    images = make_images(700)
    expected = {image.key for image in images if image.key.startswith(("n0/", "n1/"))}
    (tmp_path / "names.txt").write_text("# two of them\nn1 goldfish\n\nn0\n")
    for classes in ("n0,n1", "first:2", str(tmp_path / "names.txt")):
        assert subset(images, tmp_path, classes=classes) == expected


@pytest.mark.parametrize(
    ("classes", "message"),
    [("n0,n11", "class n11; did you mean n1"), ("first:few", "first:N takes a number")],
)
def test_unknown_classes_are_named(tmp_path, classes, message):
    with pytest.raises(SourceError, match=message):
        subset(make_images(70), tmp_path, classes=classes)


def test_a_fraction_and_a_limit_are_chosen_by_key(tmp_path):
    images = make_images(2000)
    half = subset(images, tmp_path, fraction=0.5)
    assert 900 < len(half) < 1100
    assert subset(images[::-1], tmp_path, fraction=0.5) == half
    few = subset(images, tmp_path, limit=300)
    assert len(few) == 300
    assert few < subset(images, tmp_path, limit=400) < {image.key for image in images}
    assert few < half, "both take the smallest hashes"


def test_a_limit_of_each_class(tmp_path):
    images = [
        Image(f"{name}/{i}.svg", f"{name}{i}") for name, n in (("cats", 9), ("flags", 400)) for i in range(n)
    ]
    some = subset(images, tmp_path, class_limit=20)
    assert sum(key.startswith("cats/") for key in some) == 9
    assert sum(key.startswith("flags/") for key in some) == 20
    assert some < subset(images[::-1], tmp_path, class_limit=30)
    assert len(subset(images, tmp_path, class_limit=200, limit=150)) == 150
    two_artists = [Image(f"{artist}/cats/{i}.svg", "") for artist in ("ann", "bob") for i in range(60)]
    assert len(subset(two_artists, tmp_path, class_limit=50)) == 100


def test_a_series_is_whole_in_one_split(tmp_path):
    names = ("cat_jane_{}", "cat-bob{}", "card_h_{}", "{}", "tree_{}b")
    images = [Image(f"a/{name.format(i)}.svg", f"{name}{i}") for name in names for i in range(8)]
    images += [Image(f"b/zebra{chr(97 + i // 26)}{chr(97 + i % 26)}.svg", f"b{i}") for i in range(400)]
    shards = make_plan(images, Sharding(split_by="series", val_fraction=0.3), str(tmp_path))
    split_of = {image.key: shard.split for shard in shards for image in read_shard_list(shard.list_path)}
    assert len(split_of) == len(images)
    for name in names:
        assert len({split_of[f"a/{name.format(i)}.svg"] for i in range(8)}) == 1
    assert 80 < sum(split == "val" for key, split in split_of.items() if key.startswith("b/")) < 160
    few = [Image(f"a/cat{i}.svg", f"{i}") for i in range(20)]
    with pytest.raises(SourceError, match="no image of 20 went to the val split"):
        make_plan(few, Sharding(split_by="series", val_fraction=0.01), str(tmp_path))


def test_the_split_by_folder(tmp_path):
    images = [Image(f"{split}/n1/{i}.JPEG", f"{split}{i}") for split, i in (("train", 1), ("validation", 2))]
    shards = make_plan(images, Sharding(split_by="folder"), str(tmp_path))
    assert {s.split: [i.key for i in read_shard_list(s.list_path)] for s in shards if s.num_images} == {
        "train": ["n1/1.JPEG"],
        "val": ["n1/2.JPEG"],
    }
    with pytest.raises(SourceError, match=r"below train/CLASS/ or val/CLASS/, but n0/0.JPEG is not"):
        make_plan(make_images(2), Sharding(split_by="folder"), str(tmp_path))


def test_the_split_by_input(tmp_path):
    images = [dataclasses.replace(image, split="val") for image in make_images(30)]
    with pytest.raises(SourceError, match="no image of 30 is in the train split"):
        make_plan(images, Sharding(split_by="input"), str(tmp_path))
    images += [Image(f"n9/{i}.JPEG", "", split="train") for i in range(5)]
    shards = make_plan(images, Sharding(split_by="input"), str(tmp_path))
    assert {split: sum(s.num_images for s in shards if s.split == split) for split in ("train", "val")} == {
        "train": 5,
        "val": 30,
    }


def test_a_key_is_unique_within_its_split(tmp_path):
    by_folder = [Image("train/n1/a.JPEG", "train/a"), Image("val/n1/a.JPEG", "val/a")]
    by_input = [Image("n1/a.JPEG", name, split=name) for name in ("train", "val")]
    for images, split in (by_folder, "folder"), (by_input, "input"):
        shards = make_plan(images, Sharding(split_by=split), str(tmp_path))
        planned = [(shard.split, image.key) for shard in shards for image in read_shard_list(shard.list_path)]
        assert planned == [("train", "n1/a.JPEG"), ("val", "n1/a.JPEG")]
    clash = [*by_folder, Image("valid/n1/a.JPEG", "valid/a")]
    with pytest.raises(SourceError, match=r"key n1/a.JPEG: val/a and valid/a"):
        make_plan(clash, Sharding(split_by="folder"), str(tmp_path))
