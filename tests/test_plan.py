"""Which shard an image goes to follows from its key and the seed, and from nothing else."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.image_index import Subset
from preprocess.plan import Sharding, default_num_shards, make_plan, read_plan
from preprocess.sources import Image, SourceError
from preprocess.storage import files


def some(count):
    return [Image(f"n{i % 7}/{i}.JPEG", f"/photos/n{i % 7}/{i}.JPEG") for i in range(count)]


def planned(images, output, **layout):
    shards = make_plan(images, Sharding(**layout), str(output))
    return {shard.name: [image.key for image in read_plan(shard.plan)] for shard in shards}


def test_the_order_of_listing_does_not_matter(tmp_path):
    images = some(500)
    shuffled = random.Random(1).sample(images, len(images))
    assert planned(images, tmp_path / "a") == planned(shuffled, tmp_path / "b")


def test_every_image_stands_in_exactly_one_shard(tmp_path):
    found = planned(some(500), tmp_path, num_shards=7)
    assert sorted(key for keys in found.values() for key in keys) == sorted(i.key for i in some(500))
    assert sorted(found) == [f"train/train-{i:05d}-of-00007.tfrecord" for i in range(7)] + [
        "val/val-00000-of-00001.tfrecord"
    ]


def test_shards_and_splits_are_about_even(tmp_path):
    found = planned(some(8000), tmp_path, num_shards=8, val_fraction=0.2)
    sizes = {name: len(keys) for name, keys in found.items()}
    assert all(600 < size < 1000 for size in sizes.values()), sizes
    assert 1450 < sum(size for name, size in sizes.items() if name.startswith("val/")) < 1750


def test_a_larger_val_split_keeps_what_was_in_it(tmp_path):
    def val(fraction):
        found = planned(some(500), tmp_path / str(fraction), val_fraction=fraction, num_shards=1)
        return {key for name, keys in found.items() if name.startswith("val/") for key in keys}

    assert val(0.05) < val(0.1) < val(0.5)
    assert val(0) == set()


def test_the_seed_deals_anew(tmp_path):
    assert planned(some(200), tmp_path / "a") != planned(some(200), tmp_path / "b", seed=1)


def test_more_shards_than_images_leaves_some_empty(tmp_path):
    found = planned(some(3), tmp_path, num_shards=9, val_fraction=0)
    assert len(found) == 9
    assert sum(map(len, found.values())) == 3


def test_the_digest_tells_lists_of_images_apart(tmp_path):
    def digests(images):
        return [shard.images_digest for shard in make_plan(images, Sharding(num_shards=1), str(tmp_path))]

    moved = [dataclasses.replace(image, path="/elsewhere") for image in some(100)]
    assert digests(some(100)) == digests(moved)
    assert digests(some(100)) != digests(some(101))


def test_one_key_for_two_images_names_both(tmp_path):
    images = [*some(20), Image("n1/1.JPEG", "/other/n1/1.JPEG")]
    with pytest.raises(SourceError, match=r"key n1/1.JPEG: /other/n1/1.JPEG and /photos/n1/1.JPEG"):
        planned(images, tmp_path)


def test_one_image_named_twice_says_so(tmp_path):
    with pytest.raises(SourceError, match=r"/photos/n1/1.JPEG, found by two --input patterns"):
        planned([*some(20), some(2)[1]], tmp_path)


def test_an_empty_split_is_an_error_that_says_what_to_type(tmp_path):
    with pytest.raises(SourceError, match=r"no image of 2 went to the val split .* --val_fraction 0"):
        planned(some(2), tmp_path, val_fraction=0.001)


@given(st.integers(1, 20_000_000))
def test_the_default_number_of_shards_fits(images):
    shards = default_num_shards(images)
    assert images / shards <= 1024
    assert shards <= max(32, images / 1024 + 1)


@pytest.mark.parametrize("layout", [{"val_fraction": -0.1}, {"val_fraction": 0.95}, {"num_shards": -1}])
def test_a_layout_out_of_range_is_refused(layout):
    with pytest.raises(ValueError, match=next(iter(layout))):
        Sharding(**layout)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def write_half():
        with files.atomic_write(str(tmp_path), "a/b") as file:
            file.write(b"half")
            raise RuntimeError("as if killed")

    with pytest.raises(RuntimeError, match="as if killed"):
        write_half()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ----------------------------------------------------------------------------------- subsets and splits


def subset(images, output, **wanted):
    shards = make_plan(images, Sharding(num_shards=2), str(output), Subset(**wanted))
    return {image.key for shard in shards for image in read_plan(shard.plan)}


def test_classes_by_name_by_number_and_by_file(tmp_path):
    images = some(700)
    expected = {image.key for image in images if image.key.startswith(("n0/", "n1/"))}
    (tmp_path / "names.txt").write_text("# two of them\nn1 goldfish\n\nn0\n")
    for classes in ("n0,n1", "first:2", str(tmp_path / "names.txt")):
        assert subset(images, tmp_path, classes=classes) == expected


@pytest.mark.parametrize(
    ("classes", "words"), [("n0,n11", "class n11; did you mean n1"), ("first:few", "first:N takes a number")]
)
def test_classes_that_are_not_there_are_named(tmp_path, classes, words):
    with pytest.raises(SourceError, match=words):
        subset(some(70), tmp_path, classes=classes)


def test_a_fraction_and_a_limit_are_chosen_by_key(tmp_path):
    images = some(2000)
    half = subset(images, tmp_path, fraction=0.5)
    assert 900 < len(half) < 1100
    assert subset(images[::-1], tmp_path, fraction=0.5) == half
    few = subset(images, tmp_path, limit=300)
    assert len(few) == 300
    assert few < subset(images, tmp_path, limit=400) < {image.key for image in images}
    assert few < half, "both take the first by the same hash"


def test_folders_can_say_the_split(tmp_path):
    images = [Image(f"{split}/n1/{i}.JPEG", f"{split}{i}") for split, i in (("train", 1), ("validation", 2))]
    shards = make_plan(images, Sharding(split="folder"), str(tmp_path))
    assert {s.split: [i.key for i in read_plan(s.plan)] for s in shards if s.images} == {
        "train": ["n1/1.JPEG"],
        "val": ["n1/2.JPEG"],
    }
    with pytest.raises(SourceError, match=r"below train/CLASS/ or val/CLASS/; n0/0.JPEG does not"):
        make_plan(some(2), Sharding(split="folder"), str(tmp_path))


def test_the_command_line_can_say_the_split(tmp_path):
    images = [dataclasses.replace(image, split="val") for image in some(30)]
    with pytest.raises(SourceError, match="no image of 30 is in the train split"):
        make_plan(images, Sharding(split="input"), str(tmp_path))
    images += [Image(f"n9/{i}.JPEG", "", split="train") for i in range(5)]
    shards = make_plan(images, Sharding(split="input"), str(tmp_path))
    assert {split: sum(s.images for s in shards if s.split == split) for split in ("train", "val")} == {
        "train": 5,
        "val": 30,
    }


def test_a_key_is_unique_within_its_split(tmp_path):
    by_folder = [Image("train/n1/a.JPEG", "train/a"), Image("val/n1/a.JPEG", "val/a")]
    by_input = [Image("n1/a.JPEG", name, split=name) for name in ("train", "val")]
    for images, split in (by_folder, "folder"), (by_input, "input"):
        shards = make_plan(images, Sharding(split=split), str(tmp_path))
        planned = [(shard.split, image.key) for shard in shards for image in read_plan(shard.plan)]
        assert planned == [("train", "n1/a.JPEG"), ("val", "n1/a.JPEG")]
    clash = [*by_folder, Image("valid/n1/a.JPEG", "valid/a")]
    with pytest.raises(SourceError, match=r"key n1/a.JPEG: val/a and valid/a"):
        make_plan(clash, Sharding(split="folder"), str(tmp_path))
