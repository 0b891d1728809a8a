"""Images are found in folders, files, globs and tars, with the same keys on every route."""

import errno
import gzip
import io
import os
import re
import tarfile
from functools import partial
from pathlib import Path

import pytest
from helper_photos import tar

from preprocess.file_types import Skipped
from preprocess.keys import image_key
from preprocess.sources import SourceError, images
from preprocess.storage import files


@pytest.fixture
def photos_folder(tmp_path):
    root = tmp_path / "train"
    for name in ("n01/a.JPEG", "n01/b.jpg", "n02/c.png", "n02/notes.txt", "n02/.hidden"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.fixture
def forbid(monkeypatch):
    """Makes a folder unreadable, also for root, whom permissions do not restrict."""

    def read(real, folder, number, path):
        if Path(path) == folder:
            raise OSError(number, os.strerror(number), str(path))
        return real(path)

    def forbid(folder, number=errno.EACCES):
        for name in ("scandir", "listdir"):
            monkeypatch.setattr(os, name, partial(read, getattr(os, name), folder, number))

    return forbid


def find_images(*patterns, output="nowhere", skipped=None):
    patterns = [str(pattern) for pattern in patterns]
    return sorted(images(patterns, str(output), skipped=skipped), key=lambda image: image.key)


def keys(*patterns, **kwargs):
    return [image.key for image in find_images(*patterns, **kwargs)]


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
    for image in find_images(photos_folder):
        assert Path(image.path).read_bytes() == b"x"


def test_links_are_followed_once(photos_folder, tmp_path):
    linked = tmp_path / "subset"
    linked.mkdir()
    (linked / "n01").symlink_to(photos_folder / "n01")
    (photos_folder / "n01" / "loop").symlink_to(photos_folder)
    assert keys(linked)[:2] == ["n01/a.JPEG", "n01/b.jpg"]


@pytest.mark.parametrize("pattern", ["nowhere", "nowhere/*.JPEG", "train/n01/*.gif"])
def test_a_pattern_that_matches_nothing_is_an_error(photos_folder, monkeypatch, pattern):
    monkeypatch.chdir(photos_folder.parent)
    with pytest.raises(SourceError, match=r"matches nothing: give a folder"):
        keys(pattern)


def test_the_error_for_a_folder_without_images_lists_the_extensions(tmp_path):
    with pytest.raises(SourceError, match=r"no image in the folder .* looked for .jpeg, .jpg, .png, .tar"):
        keys(tmp_path)


def test_a_named_folder_that_cannot_be_read_is_an_error(photos_folder, forbid):
    forbid(photos_folder)
    with pytest.raises(SourceError, match=r"cannot read the folder .*train: Permission denied"):
        keys(photos_folder)


@pytest.mark.parametrize("pattern", [".", "*", "n0*/*", "**", "**/*"])
def test_a_subfolder_without_permission_is_skipped_and_reported(photos_folder, forbid, pattern):
    forbid(photos_folder / "n01")
    skipped = Skipped()
    assert keys(photos_folder / pattern, skipped=skipped) == ["n02/c.png"]
    assert f"1 folder skipped: {photos_folder / 'n01'} (Permission denied) 1" in str(skipped)


@pytest.mark.parametrize("pattern", [".", "*"])
def test_a_disk_error_ends_the_search(photos_folder, forbid, pattern):
    """The error may be temporary; the next run would find other images."""
    forbid(photos_folder / "n01", errno.EIO)
    with pytest.raises(SourceError, match=r"cannot read the folder .*n01: Input/output error"):
        keys(photos_folder / pattern)


@pytest.mark.parametrize("name", [b"\xff.JPEG", b"a\nb.JPEG", b"a\rb.JPEG"])
def test_a_name_that_is_not_one_line_of_utf8_is_a_fault_of_that_file(photos_folder, name):
    (photos_folder / "n01" / "a.JPEG").rename(os.fsdecode(os.fsencode(photos_folder) + b"/n01/" + name))
    images = {image.key: image for image in find_images(photos_folder)}
    faulty = next(key for key in images if images[key].fault)
    assert faulty.encode().isascii()
    assert faulty.isprintable()
    assert faulty.startswith("n01/")
    assert images[faulty].fault.startswith("name: ")
    assert [key for key in images if not images[key].fault] == ["n01/b.jpg", "n02/c.png"]


def test_remote_keys_follow_the_same_rule():
    assert image_key("gs://b/train/n01/a.JPEG", "gs://b/train") == "n01/a.JPEG"
    assert image_key("gs://b/train/n01/a.JPEG", "gs://b/train/n01/") == "n01/a.JPEG"


# ----------------------------------------------------------------------------------------------- tars


@pytest.fixture
def archives(photos_folder, tmp_path):
    """The images of `photos_folder` as class tars and as a tar of class tars."""
    inner = {}
    for folder in sorted(photos_folder.iterdir()):
        inner[f"{folder.name}.tar"] = tar({p.name: p.name.encode() for p in sorted(folder.iterdir())})
    root = tmp_path / "tars"
    root.mkdir()
    for name, data in inner.items():
        (root / name).write_bytes(data)
    (tmp_path / "ILSVRC2012_img_train.tar").write_bytes(tar(inner))
    return tmp_path


def test_tars_give_the_same_keys_as_folders(photos_folder, archives, tmp_path):
    expected = keys(photos_folder)
    for pattern in ("tars", "tars/*.tar", "tars/n0*", "ILSVRC2012_img_train.tar"):
        assert keys(archives / pattern, output=tmp_path / "out") == expected


@pytest.mark.parametrize("pattern", ["tars", "ILSVRC2012_img_train.tar"])
def test_the_bytes_are_at_the_offsets(archives, tmp_path, pattern):
    for image in find_images(archives / pattern, output=tmp_path / "out"):
        assert files.read(image.path, image.offset, image.size) == image.key.rpartition("/")[2].encode()


def test_a_tar_is_indexed_once(archives, tmp_path):
    path = archives / "ILSVRC2012_img_train.tar"
    first = find_images(path, output=tmp_path / "out")
    state = path.stat()
    path.write_bytes(b"\0" * state.st_size)  # the index is valid as long as size and time are the same
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert find_images(path, output=tmp_path / "out") == first
    path.write_bytes(tar({"n09/z.jpg": b"z"}))
    assert keys(path, output=tmp_path / "out") == ["n09/z.jpg"]


@pytest.mark.parametrize("damage", [".gz", "cut", "text", "escape"])
def test_the_error_for_a_damaged_tar_contains_its_name(tmp_path, damage):
    whole = tar({"a.jpg": b"x" * 5000, "../up.jpg": b""} if damage == "escape" else {"a.jpg": b"x" * 5000})
    contents = {".gz": gzip.compress(whole), "cut": whole[:300], "text": b"not a tar " * 100, "escape": whole}
    (tmp_path / "n01.tar").write_bytes(contents[damage])
    reason = "points out of it" if damage == "escape" else "cannot be read as an uncompressed tar"
    with pytest.raises(SourceError, match=rf"n01.tar .*{reason}"):
        keys(tmp_path / "n01.tar", output=tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_link_out_of_a_tar_is_a_fault(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("passwd.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("a.jpg"))
    (tmp_path / "n01.tar").write_bytes(buffer.getvalue())
    a, passwd = find_images(tmp_path / "n01.tar", output=tmp_path / "out")
    assert (a.key, a.fault) == ("n01/a.jpg", "")
    assert (passwd.key, passwd.size) == ("n01/passwd.jpg", 0)
    assert "/etc/passwd" in passwd.fault


def test_reading_past_the_end_of_a_file_is_an_error(tmp_path):
    (tmp_path / "short").write_bytes(b"12345")
    assert files.read(str(tmp_path / "short"), 2, 3) == b"345"
    with pytest.raises(OSError, match="ends before byte 8"):
        files.read(str(tmp_path / "short"), 4, 4)


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[", b"7", b'["n01/a.jpg", 1, "2"]', b'["n01/a.jpg", 0]', b'["n01/a.jpg", NaN, 1]',
        b'["n01/a.jpg", 1e999, 1]', b'["n01/a.jpg", -5, 1]', b'["n01/a.jpg", 0, -1]', b"\xff\xfe",
        b'["n01/a.jpg", 0, 1000000000000000]', b'["n01/a.jpg", ' + b"9" * 5_000 + b", 1]",
        b'["../../a.jpg", 0, 1]', b"[" * 100_000,
    ],
)  # fmt: skip
def test_the_error_for_a_damaged_index_contains_its_path(archives, tmp_path, line):
    output, path = tmp_path / "dataset", archives / "ILSVRC2012_img_train.tar"
    assert find_images(path, output=output)
    (index,) = (output / files.INDEX_DIR).iterdir()
    index.write_bytes(line + b"\n")
    with pytest.raises(SourceError, match=re.escape(f"{index} is damaged: remove it")):
        find_images(path, output=output)
