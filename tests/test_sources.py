"""Folders, files and globs in; images with stable keys out."""

import os
from pathlib import Path

import pytest

from preprocess.sources import SourceError, images, key_of


@pytest.fixture
def photos_folder(tmp_path):
    root = tmp_path / "train"
    for name in ("n01/a.JPEG", "n01/b.jpg", "n02/c.png", "n02/notes.txt", "n02/.hidden"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def keys(*patterns):
    return sorted(image.key for image in images([str(p) for p in patterns]))


def test_a_folder_is_searched_for_images(photos_folder):
    assert keys(photos_folder) == ["n01/a.JPEG", "n01/b.jpg", "n02/c.png"]


def test_every_route_to_an_image_gives_the_same_key(photos_folder, monkeypatch):
    expected = ["n01/a.JPEG", "n01/b.jpg"]
    assert keys(photos_folder / "n01") == expected
    assert keys(photos_folder / "n01" / "*") == expected
    assert keys(photos_folder / "n0[1]") == expected
    assert keys(photos_folder / "*1" / "*.*") == expected
    assert keys(photos_folder / "n01" / "a.JPEG", photos_folder / "n01" / "b.jpg") == expected
    assert keys(photos_folder.parent / "train" / "**" / "[ab].*") == expected
    monkeypatch.chdir(photos_folder)
    assert keys("n01") == keys("./n01/") == keys("n01/*") == expected
    monkeypatch.chdir(photos_folder / "n01")
    assert keys(".") == expected


def test_the_path_leads_to_the_file(photos_folder):
    for image in images([str(photos_folder)]):
        assert Path(image.path).read_bytes() == b"x"


def test_links_are_followed_once(photos_folder, tmp_path):
    linked = tmp_path / "subset"
    linked.mkdir()
    (linked / "n01").symlink_to(photos_folder / "n01")
    (photos_folder / "n01" / "loop").symlink_to(photos_folder)
    assert keys(linked)[:2] == ["n01/a.JPEG", "n01/b.jpg"]


@pytest.mark.parametrize("pattern", ["nowhere", "nowhere/*.JPEG", "train/n01/*.gif"])
def test_a_pattern_that_matches_nothing_says_so(photos_folder, monkeypatch, pattern):
    monkeypatch.chdir(photos_folder.parent)
    with pytest.raises(SourceError, match=r"matches nothing: give a folder"):
        keys(pattern)


def test_a_folder_without_images_says_what_was_looked_for(tmp_path):
    with pytest.raises(SourceError, match=r"no image in the folder .* looked for .jpeg, .jpg, .png"):
        keys(tmp_path)


def test_an_unreadable_folder_is_named(photos_folder, monkeypatch):
    def walk(top, onerror, followlinks):
        onerror(PermissionError(13, "Permission denied", f"{top}/n01"))

    monkeypatch.setattr(os, "walk", walk)  # permissions do not bind root, and tests may run as root
    with pytest.raises(SourceError, match=r"cannot read the folder .*n01: Permission denied"):
        keys(photos_folder)


def test_a_name_that_is_not_text_is_refused(photos_folder):
    (photos_folder / "n01" / "a.JPEG").rename(os.fsdecode(os.fsencode(photos_folder) + b"/n01/\xff.JPEG"))
    with pytest.raises(SourceError, match="rename the file"):
        keys(photos_folder)


def test_remote_keys_follow_the_same_rule():
    assert key_of("gs://b/train/n01/a.JPEG", "gs://b/train") == "n01/a.JPEG"
    assert key_of("gs://b/train/n01/a.JPEG", "gs://b/train/n01/") == "n01/a.JPEG"
