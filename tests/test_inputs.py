"""Every route to an image and every spelling of its path give the same result; skipped files are counted."""

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import subprocess
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import cv2
import helper_photos
import numpy as np
import pytest
from apache_beam.io.localfilesystem import LocalFileSystem
from helper_jobs import preprocess
from helper_photos import tar
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import image_reader
from preprocess.file_types import Skipped
from preprocess.image_index import Subset
from preprocess.options import UsageError, check_beam_flags, parse
from preprocess.plan import Sharding, make_plan, read_shard_list
from preprocess.rejects import Rejected
from preprocess.sources import Image, SourceError, images
from preprocess.storage import files


class FarFileSystem(LocalFileSystem):
    """far://PATH: the local files, as a remote file system of Beam."""

    @classmethod
    def scheme(cls):
        return "far"

    def match(self, patterns, limits=None):
        results = super().match([pattern.removeprefix("far:/") for pattern in patterns], limits)
        for metadata in (metadata for result in results for metadata in result.metadata_list):
            metadata.path = f"far:/{metadata.path}"
        return results

    def open(self, path, *args, **kwargs):
        return super().open(path.removeprefix("far:/"), *args, **kwargs)


JPEG = helper_photos.jpeg(helper_photos.make_image(1, 40, 40))
PNG = helper_photos.png(helper_photos.make_image(2, 40, 40))
WEBP = b"RIFF\x20\0\0\0WEBPVP8 "
BMP = b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0"


def write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def find_images(*patterns, output="nowhere", **options):
    return sorted(images([str(p) for p in patterns], str(output), **options), key=lambda image: image.key)


def keys(*patterns, **options):
    return [image.key for image in find_images(*patterns, **options)]


def planned(patterns, output, **layout):
    shards = make_plan(images(patterns, str(output)), Sharding(val_fraction=0, **layout), str(output))
    return [image for shard in shards for image in read_shard_list(shard.list_path)]


# ------------------------------------------------------------------------------- taken and skipped files

MIXED = {
    "n01/a.jfif": JPEG, "n01/b.JPE": JPEG, "n01/c.pjpeg": JPEG, "n01/d": JPEG, "n01/e.webp": JPEG,
    "n01/f.jpg?w=300": PNG, "n02/g.PNG": PNG, "n02/text.jpg": b"no image at all",
    "n01/h.webp": WEBP, "n01/i.webp": WEBP, "n02/j.bmp": BMP, "n02/k.txt": b"a caption", "n02/l": b"what?",
    "n02/m.tar.gz": gzip.compress(b""), "n02/n.jpg_original": JPEG,
    "n01/._a.jpg": b"\0\5\x16\7", "n02/Thumbs.db": b"x", "n01/.ipynb_checkpoints/copy.jpg": JPEG,
    ".Trash-0/files/gone.jpg": JPEG, "n02/@eaDir/g.PNG/SYNOPHOTO_THUMB_M.jpg": JPEG,
    "__MACOSX/n01/._a.jpg": JPEG, "lost+found/1.jpg": JPEG, "$RECYCLE.BIN/2.jpg": JPEG,
}  # fmt: skip
TAKEN = [
    "n01/a.jfif", "n01/b.JPE", "n01/c.pjpeg", "n01/d", "n01/e.webp", "n01/f.jpg?w=300", "n02/g.PNG",
    "n02/text.jpg",
]  # fmt: skip
SKIPPED = (
    "9 files skipped: .webp 2, hidden 2, .bmp 1, .jpg_original 1, .tar.gz 1, .txt 1, no extension 1; "
    "6 folders skipped: hidden 6"
)


def as_folder(root):
    return root / "photos"


def as_glob(root):
    return root / "photos" / "*"


def as_deep_glob(root):
    return root / "photos" / "**"


def as_deepest_glob(root):
    return root / "photos" / "**" / "*"


def as_tar(root):
    """A tar as macOS writes it, with ./ before each name."""
    files = {path.relative_to(root / "photos"): path for path in (root / "photos").rglob("*")}
    members = {f"./{name}": path.read_bytes() for name, path in files.items() if path.is_file()}
    (root / "photos.tar").write_bytes(tar(members))
    return root / "photos.tar"


def as_tar_of_tars(root):
    inner = {f"n0{i}.tar": {} for i in (1, 2)}
    outer = {}
    for name, data in MIXED.items():
        folder, _, rest = name.partition("/")
        (inner.get(f"{folder}.tar", outer))[rest if f"{folder}.tar" in inner else name] = data
    (root / "all.tar").write_bytes(tar(outer | {name: tar(files) for name, files in inner.items()}))
    return root / "all.tar"


def as_bucket(root):
    return f"far:/{root / 'photos'}"


def as_bucket_glob(root):
    return f"far:/{root / 'photos'}/**"


ROUTES = [
    as_folder, as_glob, as_deep_glob, as_deepest_glob, as_tar, as_tar_of_tars, as_bucket, as_bucket_glob,
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_takes_and_counts_the_same(route, tmp_path):
    write(tmp_path / "photos", MIXED)
    output = tmp_path / "out"
    pattern = route(tmp_path)
    for _ in "first run", "second run, which uses the index of a tar":
        skipped = Skipped()
        assert keys(pattern, output=output, skipped=skipped) == TAKEN
        assert str(skipped) == SKIPPED


def test_images_found_by_content_have_the_right_offsets(tmp_path):
    write(tmp_path / "photos", MIXED)
    for image in find_images(as_tar_of_tars(tmp_path), output=tmp_path / "out"):
        assert files.read(image.path, image.offset, image.size) == MIXED[image.key]


@pytest.mark.parametrize("name", [".cache", "@eaDir", "lost+found", "Temporary Items"])
def test_a_hidden_folder_is_searched_if_the_pattern_names_it(tmp_path, monkeypatch, name):
    write(tmp_path / name / "pics", {"n01/a.jpg": JPEG, "n01/.b.jpg": JPEG})
    expected = ["n01/a.jpg"]
    assert keys(tmp_path / name / "pics") == keys(tmp_path / name / "pics" / "*" / "*.jpg") == expected
    assert keys(f"far:/{tmp_path / name / 'pics'}") == expected
    assert keys(tmp_path / name / "pics/n01/.b.jpg") == ["n01/.b.jpg"]
    monkeypatch.chdir(tmp_path / name / "pics")
    assert keys(".") == expected


@pytest.mark.parametrize("far", ["", "far:/"])
def test_a_glob_matches_hidden_names_if_it_begins_like_one(tmp_path, far):
    write(tmp_path, {"n01/.thumbs/a.jpg": JPEG, "n01/.trash/a.jpg": JPEG, "n01/b.jpg": JPEG})
    assert keys(f"{far}{tmp_path}/*/.thumbs/*.jpg") == ["n01/.thumbs/a.jpg"]
    assert keys(f"{far}{tmp_path}/n01/.th*/*") == [".thumbs/a.jpg"]


def test_the_dataset_itself_is_not_searched(tmp_path):
    write(tmp_path, {"n01/a.jpg": JPEG, "out/receipts/x.json": b"{}", "out/train/odd": JPEG})
    for pattern in (tmp_path, tmp_path / "*", tmp_path / "**" / "*", f"far:/{tmp_path}"):
        far = str(pattern).startswith("far")
        skipped = Skipped()
        output = f"far:/{tmp_path}/out" if far else tmp_path / "out"
        assert keys(pattern, output=output, skipped=skipped) == ["n01/a.jpg"]
        assert str(skipped) == ""


def test_files_with_common_extensions_are_not_opened(tmp_path, monkeypatch):
    write(tmp_path, {"n01/a.JPEG": JPEG, "n01/b.png": PNG, "n01/c.json": b"{}", "n01/d.txt": b""})
    monkeypatch.setattr(files, "open_binary", None)
    monkeypatch.setattr(files, "read", None)
    assert keys(tmp_path) == keys(f"far:/{tmp_path}") == ["n01/a.JPEG", "n01/b.png"]


def test_the_counts_of_rare_extensions_are_added_up():
    skipped = Skipped()
    for number in range(1, 31):
        for _ in range(number):
            skipped.add_file(f"a.x{number}")
    line = str(skipped)
    assert line.startswith("465 files skipped: .x30 30, .x29 29, ")
    assert line.endswith("others 171")


def test_the_error_without_images_contains_the_skipped_files(tmp_path):
    write(tmp_path / "n01", {"a.webp": WEBP, "b.webp": WEBP})
    for pattern in (tmp_path, tmp_path / "*" / "*", f"far:/{tmp_path}"):
        with pytest.raises(SourceError, match=r"no image .*2 files skipped: \.webp 2"):
            find_images(pattern)


def test_a_job_and_its_rerun_print_the_skipped_files(tmp_path):
    helper_photos.make_image_folder(tmp_path / "photos", 4)
    write(
        tmp_path / "photos/n1", {"._x.jpg": b"x", "a.webp": WEBP, "n\u202fm.jpg": JPEG, "\u3000.jfif": JPEG}
    )
    shutil.move(tmp_path / "photos/n1/a.webp", os.fsencode(tmp_path) + b"/photos/n1/\xff.jpg")
    args = ["--input", tmp_path / "photos", "--output", tmp_path / "out", "--image_size", 32]
    for first in "6 images in", "Nothing to do":
        result = preprocess(*args, "--val_fraction", 0, "--max_reject_fraction", 0.3)
        assert result.returncode == 0, result.stderr
        assert first in result.stdout or "7 images in" in result.stdout
        assert "1 file skipped: hidden 1" in result.stdout
    assert '"name"' in (tmp_path / "out/rejects.jsonl").read_text()


# --------------------------------------------------------------------------------- spellings of a path


@pytest.fixture(scope="module")
def photos_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("typed").resolve()
    write(root, {"flat/x.jpg": JPEG, "all/n01/a.jpg": JPEG, "all/n02/b.jpg": JPEG, "here/.keep": b""})
    (root / "n03.tar").write_bytes(tar({"./c.jpg": JPEG, "n04//./d.jpg": JPEG, "n05/../n06/e.jpg": JPEG}))
    return root


TARGETS = {
    "flat": ["flat/x.jpg"], "flat/x.jpg": ["flat/x.jpg"], "flat/*": ["flat/x.jpg"], "all/n01": ["n01/a.jpg"],
    "all": ["n01/a.jpg", "n02/b.jpg"], "all/*/*.jpg": ["n01/a.jpg", "n02/b.jpg"],
    "a*/n02": ["all/n02/b.jpg"], "n03.tar": ["n03/c.jpg", "n04/d.jpg", "n06/e.jpg"],
}  # fmt: skip


SLASHES = st.sampled_from(["/", "//", "/./", "//././/"])
DETOURS = st.sampled_from(["", "flat/../", "all/n01/../../", "here/.././"])


@given(
    target=st.sampled_from(sorted(TARGETS)),
    start=st.sampled_from(["absolute", "here", "parent", "bucket"]),
    detour=DETOURS,
    slashes=st.lists(SLASHES, min_size=4, max_size=4),
    end=st.sampled_from(["", "/", "//", "/.", "/./"]),
)
@settings(max_examples=200)
def test_keys_do_not_depend_on_how_a_path_is_typed(photos_root, target, start, detour, slashes, end):
    first, *rest = target.split("/")
    path = slashes[0] + detour + first + "".join(map(str.__add__, slashes[1:], rest))
    path += end if (photos_root / target).is_dir() else ""
    before = Path.cwd()
    os.chdir(photos_root / "here" if start == "parent" else photos_root)
    try:
        beginning = {
            "absolute": str(photos_root),
            "here": ".",
            "parent": "..",
            "bucket": f"far:/{photos_root}",
        }[start]
        assert keys(beginning + path, output=photos_root / "out") == TARGETS[target]
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    "path", [".", "./", "../flat", "../flat/.", "./../flat//", "in/..", "../*/../flat/x.jpg"]
)
def test_a_flat_folder_has_its_name_from_inside(tmp_path, monkeypatch, path):
    write(tmp_path / "flat", {"x.jpg": JPEG, "in/.keep": b""})
    monkeypatch.chdir(tmp_path / "flat")
    assert keys(path) == ["flat/x.jpg"]
    monkeypatch.chdir(tmp_path / "flat" / "in")
    assert keys("..") == ["flat/x.jpg"]


def test_keys_use_the_shells_name_of_a_working_directory_behind_a_link(tmp_path, monkeypatch):
    write(tmp_path / "real", {"x.jpg": JPEG})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert keys(".") == keys("../link") == keys(tmp_path / "link") == ["link/x.jpg"]
    monkeypatch.setenv("PWD", "/somewhere/else")
    assert keys(".") == ["real/x.jpg"]


def test_two_dots_after_a_link_follow_the_operating_system(tmp_path):
    write(tmp_path, {"a/there/inner/x.jpg": JPEG, "a/there/y.jpg": PNG, "b/y.jpg": JPEG})
    (tmp_path / "b/link").symlink_to(tmp_path / "a/there/inner")
    (image,) = find_images(tmp_path / "b/link/../y.jpg")
    assert Path(image.path).read_bytes() == PNG
    assert image.key == "there/y.jpg"


def test_a_folder_whose_name_looks_like_a_glob_is_a_folder(tmp_path):
    write(tmp_path, {"sets [24]/n01/a.jpg": JPEG, "sets 2/n01/b.jpg": JPEG})
    for pattern in ("sets [24]", "sets [24]/*", "sets [24]/*/a.jpg"):
        assert keys(tmp_path / pattern) == ["n01/a.jpg"]


def test_a_deep_glob_finds_each_file_once(tmp_path):
    write(tmp_path, {"n01/in/a.jpg": JPEG, "n01/b.jpg": JPEG})
    for pattern in ("**/*", "**/**/*", "n01/../**/*.jpg", "**/n01", "**"):
        assert keys(tmp_path / pattern) == ["n01/b.jpg", "n01/in/a.jpg"]


@pytest.mark.parametrize("flag", ["--input", "--train_input", "--val_input", "--output"])
def test_the_home_folder_is_expanded_in_every_path(monkeypatch, flag, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pair = {"--input": ["--input=~/a", "--output=~/b"]}.get(
        flag, ["--train_input=~/a", "--val_input=~/a", "--output=~/b"]
    )
    options = parse(pair)
    assert {path for paths in options.inputs.values() for path in paths} == {f"{tmp_path}/a"}
    assert options.output == f"{tmp_path}/b"
    with pytest.raises(UsageError, match=f"{flag} is empty"):
        parse([*(argument for argument in pair if not argument.startswith(f"{flag}=")), f"{flag}="])


def test_the_home_folder_is_expanded_in_palettes_and_lists(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.hex").write_text("000000\nffffff\n")
    assert len(parse(["--input=x", "--output=y", "--palette=~/mine.hex"]).recipe.palette) == 2
    (tmp_path / "names.txt").write_text("n01\n")
    assert classes(tmp_path, ["n01", "n02"], "~/names.txt") == ["n01"]


# --------------------------------------------------------------------------------------------- links in tars


def tar_of(folder, path, *arcnames):
    with tarfile.open(path, "w") as archive:
        for name in arcnames or sorted(p.name for p in folder.iterdir()):
            archive.add(folder / name, name)
    return path


@pytest.mark.parametrize("far", ["", "far:/"])
def test_links_in_a_tar_are_followed_within_it(tmp_path, far):
    folder = write(tmp_path / "in", {"n01/a.jpg": JPEG, "blobs/5f": PNG, "n00/.keep": b"", "n02/.keep": b""})
    os.link(folder / "n01/a.jpg", folder / "n02/hard.jpg")
    (folder / "n00/early.jpg").symlink_to("../n01/a.jpg")  # before its target
    (folder / "n02/blob.jpg").symlink_to("../blobs/5f")
    (folder / "n02/chain.jpg").symlink_to("blob.jpg")
    (folder / "linked").symlink_to("n01")
    (folder / "n02/through.jpg").symlink_to("../linked/a.jpg")
    (folder / "n02/away.jpg").symlink_to("../../elsewhere.jpg")
    (folder / "n02/gone.jpg").symlink_to("gone")
    (folder / "n02/itself.jpg").symlink_to("itself.jpg")
    (folder / "n02/name").symlink_to("../n01/a.jpg")
    path = tar_of(folder, tmp_path / "photos.tar")
    for output in (tmp_path / "out", tmp_path / "out"):
        skipped = Skipped()
        images = {image.key: image for image in find_images(f"{far}{path}", output=output, skipped=skipped)}
        sound = {key: files.read(i.path, i.offset, i.size) for key, i in images.items() if not i.fault}
        assert sound == {
            "blobs/5f": PNG, "n00/early.jpg": JPEG, "n01/a.jpg": JPEG, "n02/hard.jpg": JPEG, "n02/name": JPEG,
            "n02/blob.jpg": PNG, "n02/chain.jpg": PNG, "n02/through.jpg": JPEG,
        }  # fmt: skip
        assert {key for key, image in images.items() if image.fault} == {
            f"n02/{name}.jpg" for name in ("away", "gone", "itself")
        }
        assert str(skipped) == "3 files skipped: hidden 2, links 1"
    with pytest.raises(
        Rejected, match=r"unreadable: a link to \.\./\.\./elsewhere\.jpg, which is not in the"
    ):
        image_reader.read_image(images["n02/away.jpg"])


def test_hard_links_in_a_tar_of_tars(tmp_path):
    folder = write(tmp_path / "in", {"a.jpg": JPEG, "b.jpg": b""})
    (folder / "b.jpg").unlink()
    os.link(folder / "a.jpg", folder / "b.jpg")
    inner = tar_of(folder, tmp_path / "n01.tar").read_bytes()
    (tmp_path / "all.tar").write_bytes(tar({"n01.tar": inner}))
    images = find_images(tmp_path / "all.tar", output=tmp_path / "out")
    assert [image.key for image in images] == ["n01/a.jpg", "n01/b.jpg"]
    assert {files.read(i.path, i.offset, i.size) for i in images} == {JPEG}


@pytest.mark.skipif(not shutil.which("tar"), reason="Python's tarfile writes no sparse files")
@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_file_in_a_tar_is_a_fault(tmp_path, form):
    write(tmp_path / "in", {"n01/a.jpg": JPEG})
    with (tmp_path / "in/n01/b.jpg").open("wb") as file:
        file.write(JPEG)
        file.truncate(1 << 20)
    command = ["tar", "--sparse", f"--format={form}", "-cf", tmp_path / "x.tar", "-C", tmp_path / "in", "n01"]
    subprocess.run(command, check=True)
    a, b = find_images(tmp_path / "x.tar", output=tmp_path / "out")
    assert (a.key, a.fault) == ("n01/a.jpg", "")
    assert b.key == "n01/b.jpg"
    assert "--sparse" in b.fault


def test_class_tars_in_a_tar_keep_their_folder(tmp_path):
    inner = tar({"1.jpg": JPEG})
    (tmp_path / "all.tar").write_bytes(tar({"train/n01.tar": inner, "val/n01.tar": inner}))
    assert keys(tmp_path / "all.tar", output=tmp_path / "out") == ["train/n01/1.jpg", "val/n01/1.jpg"]
    sources = images([str(tmp_path / "all.tar")], str(tmp_path / "out"))
    shards = make_plan(sources, Sharding(split_by="folder"), str(tmp_path / "out"))
    assert {s.split: [i.key for i in read_shard_list(s.list_path)] for s in shards if s.num_images} == {
        "train": ["n01/1.jpg"],
        "val": ["n01/1.jpg"],
    }


# ---------------------------------------------------------------------------------------- duplicate keys


def test_keys_with_input_distinguishes_inputs_with_the_same_keys(tmp_path, monkeypatch):
    write(tmp_path, {"a/cats/1.jpg": JPEG, "b/cats/1.jpg": PNG, "b/2.jpg": PNG})
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with pytest.raises(SourceError, match=r"key cats/1.jpg: .*a/cats/1.jpg and .*type --keys_with_input"):
        planned([a, b], tmp_path / "out")
    expected = {"a/cats/1.jpg": JPEG, "b/cats/1.jpg": PNG, "b/2.jpg": PNG}
    monkeypatch.chdir(tmp_path / "a")
    for inputs in ([a, b], [f"{b}/", "."], ["../b/**", "../a/*"], [f"far:/{a}", f"far:/{b}"]):
        got = {i.key: files.read(i.path) for i in planned(inputs, tmp_path / "out", keys_with_input=True)}
        assert got == expected


def test_inputs_of_the_same_name_are_distinguished_by_their_parent_folders(tmp_path):
    write(tmp_path, {"x/cats/1.jpg": JPEG, "y/cats/1.jpg": PNG})
    inputs = [str(tmp_path / "x/cats"), str(tmp_path / "y/cats")]
    got = sorted(image.key for image in planned(inputs, tmp_path / "out", keys_with_input=True))
    assert got == ["x/cats/1.jpg", "y/cats/1.jpg"]


def test_an_image_found_by_two_inputs_is_an_error(tmp_path):
    write(tmp_path, {"a/cats/1.jpg": JPEG, "a/dogs/1.jpg": PNG})
    with pytest.raises(SourceError, match=r"cats/1.jpg was found by two --input patterns"):
        planned([str(tmp_path / "a"), str(tmp_path / "a/cats")], tmp_path / "out", keys_with_input=True)


def test_names_of_inputs_come_after_the_folder_of_the_split(tmp_path):
    write(tmp_path, {f"{i}/{s}/n01/1.jpg": JPEG for i in "ab" for s in ("train", "val")})
    inputs = images([str(tmp_path / "a"), str(tmp_path / "b")], "nowhere")
    shards = make_plan(inputs, Sharding(split_by="folder", keys_with_input=True), str(tmp_path / "out"))
    got = sorted((shard.split, image.key) for shard in shards for image in read_shard_list(shard.list_path))
    assert got == [(s, f"{i}/n01/1.jpg") for s in ("train", "val") for i in "ab"]


@pytest.mark.parametrize(
    ("folders", "train", "val"),
    [
        (["train/n01", "val"], "train", "val"),
        (["train/n01", "val/n01", "test"], "train", "val"),
        (["train2017", "val2017"], "train2017", "val2017"),
        (["Training set/n01", "test/n01"], "'.*/Training set'", "test"),
        (["n01", "n02"], "FOLDER", "FOLDER"),
    ],
)
def test_the_error_for_folders_without_a_split_suggests_flags(tmp_path, folders, train, val):
    write(tmp_path, {f"{folder}/1.jpg": JPEG for folder in folders})
    with pytest.raises(SourceError, match=rf"--train_input \S*{train} --val_input \S*{val}$"):
        planned([str(tmp_path)], tmp_path / "out", split_by="folder")


def test_split_folders_are_recognized_in_any_case(tmp_path):
    write(tmp_path, {"Train/n01/1.jpg": JPEG, "VAL/n01/1.jpg": JPEG})
    shards = make_plan(images([str(tmp_path)], "nowhere"), Sharding(split_by="folder"), str(tmp_path / "out"))
    assert sorted(shard.split for shard in shards if shard.num_images) == ["train", "val"]


# --------------------------------------------------------------------------------- faults of single files


@pytest.mark.parametrize("name", ["a\u202fb", "a\u00a0b", "\u3000", "x\u200dy", "\u0085", "\u202e", "\u2028"])
@pytest.mark.parametrize("route", [as_folder, as_tar, as_bucket])
def test_a_name_with_unusual_characters_is_no_fault(tmp_path, name, route):
    write(tmp_path / "photos", {f"n01/{name}.jpg": JPEG})
    (image,) = planned([str(route(tmp_path))], tmp_path / "out")
    assert (image.key, image.fault) == (f"n01/{name}.jpg", "")
    assert image_reader.read_image(image) == JPEG


def test_a_name_in_another_encoding_in_a_tar_is_a_reject(tmp_path):
    (tmp_path / "n01.tar").write_bytes(tar({"a.jpg": JPEG, "\udcff.jpg": JPEG, "b\nc.jpg": JPEG}))
    got = {i.key: i.fault for i in planned([str(tmp_path / "n01.tar")], tmp_path / "out")}
    assert got.pop("n01/a.jpg") == ""
    assert sorted(got) == ["n01/\\udcff.jpg", "n01/b\\nc.jpg"]
    assert all(fault.startswith("name: ") for fault in got.values())


@pytest.mark.parametrize("below", ["", "/n01"])
def test_an_input_folder_in_another_encoding_is_read(tmp_path, below):
    root = os.fsdecode(os.fsencode(tmp_path) + b"/b\xfccher")
    write(Path(root), {"n01/a.jpg": JPEG, "flat.jpg": PNG})
    (tmp_path / "n02.tar").write_bytes(tar({"t.jpg": JPEG}))
    shutil.move(tmp_path / "n02.tar", f"{root}/n\udcfc.tar")
    got = {i.key: i for i in planned([f"{root}{below}"], tmp_path / "out")}
    assert image_reader.read_image(got["n01/a.jpg"]) == JPEG
    if not below:
        assert image_reader.read_image(got["b\\udcfccher/flat.jpg"]) == PNG
        assert got["n\\udcfc/t.jpg"].fault == ""


@pytest.mark.parametrize("pattern", ["in", "in/*", "in/*/*", "in/**", "in/*/broken.jpg", "in/n01/broken.jpg"])
def test_a_broken_link_is_a_reject_on_every_route(tmp_path, pattern):
    write(tmp_path / "in", {"n01/a.jpg": JPEG})
    (tmp_path / "in/n01/broken.jpg").symlink_to("nowhere")
    got = {image.key: image for image in find_images(tmp_path / pattern)}
    with pytest.raises(Rejected, match="unreadable: the file is gone"):
        image_reader.read_image(got["n01/broken.jpg"])


def test_links_and_pipes_without_an_images_name_are_counted(tmp_path):
    write(tmp_path, {"n01/a.jpg": JPEG})
    (tmp_path / "n01/broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "n01/pipe")
    skipped = Skipped()
    assert keys(tmp_path, skipped=skipped) == ["n01/a.jpg"]
    assert str(skipped) == "2 files skipped: broken links 1, not regular files 1"


def test_a_file_is_not_skipped_because_of_a_temporary_error(tmp_path, monkeypatch):
    write(tmp_path, {"n01/a.jpg": JPEG, "n01/b": JPEG})

    def fail(path):
        raise OSError(errno.EIO, "Input/output error", path)

    monkeypatch.setattr(files, "open_binary", fail)
    with pytest.raises(SourceError, match=r"cannot read .*n01/b: Input/output error"):
        find_images(tmp_path)


LARGE = 60 * 10**9


def test_a_huge_file_is_rejected_before_it_is_read(tmp_path, monkeypatch):
    write(tmp_path, {"n01/a.jpg": JPEG, "n01/huge.jpg": JPEG})
    os.truncate(tmp_path / "n01/huge.jpg", LARGE)
    with (tmp_path / "n02.tar").open("wb") as file:
        info = tarfile.TarInfo("huge.jpg")
        info.size = LARGE
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + LARGE + 1024)
    faults = {}
    for pattern in (tmp_path, f"far:/{tmp_path}"):
        for image in planned([str(pattern)], tmp_path / "out"):
            try:
                assert image_reader.read_image(image, image_reader.max_file_bytes(1 << 20)) == JPEG
            except Rejected as e:
                faults[image.key] = e
        assert {key: fault.reason for key, fault in faults.items()} == {
            "n01/huge.jpg": "too_large",
            "n02/huge.jpg": "too_large",
        }
        assert "60,000,000,000 bytes" in faults["n01/huge.jpg"].detail


def test_no_sound_image_is_larger_than_the_limit():
    noise = np.random.default_rng(0).integers(0, 1 << 16, (256, 256, 4), np.uint16)
    assert len(cv2.imencode(".png", noise)[1]) < image_reader.max_file_bytes(256 * 256)


# -------------------------------------------------------------------------------- files named by a pattern


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jpg", JPEG)
    return buffer.getvalue()


NAMED = {
    "p.tgz": (gzip.compress(tar({"a.jpg": JPEG})), ["gzip", "gunzip < ", "p.tgz > ", "p.tar"]),
    "my photos.tar.bz2": (bz2.compress(b"x"), ["bzip2", "bunzip2 < '", "my photos.tar'"]),
    "p.tar.xz": (lzma.compress(b"x"), ["xz", "unxz < ", "p.tar"]),
    "p.tar.zst": (b"\x28\xb5\x2f\xfdxx", ["zstd", "unzstd < ", "p.tar"]),
    "p.tar": (gzip.compress(tar({"a.jpg": JPEG})), ["p.tar", "gunzip < ", "p-unpacked.tar"]),
    "list.gz": (gzip.compress(b"x"), ["compressed by gzip", "gunzip"]),
    "p.zip": (zipped(), ["a zip archive", "unzip ", "p-unpacked"]),
    "p.7z": (b"7z\xbc\xaf\x27\x1c", ["archive", "unpack"]),
    "list.txt": (b"n01/a.jpg\nn01/b.jpg\n", ["a text file", "--input $(cat ", "--classes"]),
    "windows.txt": ("n01/a.jpg\r\n".encode("utf-16"), ["a text file"]),
    "a.webp": (WEBP, ["a WebP image", "JPEG, PNG and SVG"]),
    "a.heic": (b"\0\0\0\x18ftypheic", ["a HEIC image"]),
    "a.gif": (b"GIF89a\1\0\1\0", ["a GIF image"]),
    "nothing": (b"", ["is empty"]),
    "odd.bin": (b"\1\2\3\4", ["neither an image", r"b'\x01\x02\x03\x04'"]),
}


@pytest.mark.parametrize("far", ["", "far:/"])
@pytest.mark.parametrize("name", NAMED)
def test_the_error_for_a_file_that_is_no_image_describes_it(tmp_path, name, far):
    data, expected = NAMED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError) as raised:
        find_images(f"{far}{tmp_path / name}", output=tmp_path / "out")
    assert name in str(raised.value)
    for text in expected:
        assert text in str(raised.value)


def test_the_suggested_command_unpacks_a_compressed_tar(tmp_path):
    (tmp_path / "my p.tgz").write_bytes(gzip.compress(tar({"a.jpg": JPEG})))
    with pytest.raises(SourceError) as raised:
        find_images(tmp_path / "my p.tgz")
    command = str(raised.value).partition("type ")[2].partition(", and give ")
    subprocess.run(command[0], shell=True, check=True)
    assert keys(command[2].strip("'"), output=tmp_path / "out") == ["my p/a.jpg"]


@pytest.mark.parametrize("name", ["photo", "photo.dat", "photo.txt"])
def test_a_file_named_by_a_pattern_is_recognized_by_content(tmp_path, name):
    (tmp_path / name).write_bytes(JPEG)
    assert keys(tmp_path / name) == [f"{tmp_path.name}/{name}"]
    (tmp_path / name).write_bytes(tar({"n01/a.jpg": JPEG}))
    assert keys(tmp_path / name, output=tmp_path / "out") == ["n01/a.jpg"]


# --------------------------------------------------------------------------------------------------- classes


def classes(output, known, wanted):
    """Returns the classes in `known` that --classes `wanted` selects."""
    some = [Image(f"{name}/1.jpg", f"/{name}/1.jpg") for name in known]
    shards = make_plan(some, Sharding(val_fraction=0), str(output), Subset(classes=wanted))
    return sorted(
        image.key.partition("/")[0] for shard in shards for image in read_shard_list(shard.list_path)
    )


HUNDRED = [f"n{i:08d}" for i in range(100)]


def test_a_hundred_names_are_not_taken_for_a_path(tmp_path):
    assert classes(tmp_path, [*HUNDRED, "n9"], ",".join(HUNDRED)) == HUNDRED
    assert classes(tmp_path, [*HUNDRED, "n9"], ", ".join(HUNDRED)) == HUNDRED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_of_names_in_any_encoding(tmp_path, encoding, end):
    (tmp_path / "names.txt").write_bytes(
        end.join(["# a list", "bücher", "n01 goldfish", ""]).encode(encoding)
    )
    assert classes(tmp_path / "o", ["bücher", "n01", "n02"], str(tmp_path / "names.txt")) == ["bücher", "n01"]


def test_names_with_spaces_fields_and_accents_in_parts(tmp_path):
    (tmp_path / "names.csv").write_text("golden retriever\nn01,tench\nn02, goldfish\ncafé\n")
    known = ["golden retriever", "n01", "n02", unicodedata.normalize("NFD", "café"), "n03"]
    assert classes(tmp_path / "o", known, str(tmp_path / "names.csv")) == sorted(known[:-1])
    assert classes(tmp_path / "o", known, "café,golden retriever") == sorted([known[0], known[3]])


def test_a_class_has_precedence_over_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats").write_text("dogs\n")
    assert classes(tmp_path / "o", ["cats", "dogs"], "cats") == ["cats"]


@pytest.mark.parametrize("path", ["nothere.txt", "lists/nothere", "./nothere", "~/nothere.csv"])
def test_a_missing_list_is_an_error(tmp_path, path):
    with pytest.raises(SourceError, match=r"nothere.*: there is no such file"):
        classes(tmp_path, ["n01"], path)


@pytest.mark.parametrize("data", [b"n01\0\0", "\ufeff".encode("utf-16-le") + b"\0\xd8"])
def test_a_list_that_is_not_text_is_an_error(tmp_path, data):
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(SourceError, match=r"--classes .*names.txt is not a list of names: "):
        classes(tmp_path / "o", ["n01"], str(tmp_path / "names.txt"))


# ----------------------------------------------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--image_size", 0), ("--image_size", -8), ("--image_size", 10**30), ("--num_values", 1),
        ("--num_shards", -1), ("--num_shards", 10**30), ("--val_fraction", "nan"), ("--val_fraction", "inf"),
        ("--val_fraction", -0.1), ("--fraction", "nan"), ("--fraction", "inf"), ("--fraction", 0),
        ("--max_reject_fraction", "nan"), ("--max_reject_fraction", "inf"), ("--seed", 10**30),
        ("--seed", -(10**30)), ("--limit", 0), ("--limit", -3), ("--max_pixels", 1),
        ("--max_pixels", 10**30), ("--palette", "kmeans:" + "9" * 5_000), ("--palette", "kmeans:1"),
    ],
)  # fmt: skip
def test_the_error_for_a_number_out_of_range_contains_the_range(flag, value):
    with pytest.raises(UsageError, match=rf"{flag}\b.* (from|at least|at most|must be|takes) .*\d"):
        parse(["--input", "x", "--output", "y", f"{flag}={value}"])


@pytest.mark.parametrize("seed", [2**63 - 1, 3_000_000_000, -1])
def test_the_largest_numbers_are_accepted(tmp_path, seed):
    flags = [f"--seed={seed}", f"--limit={10**30}", "--val_fraction=0"]
    options = parse(["--input", "x", "--output", "y", *flags])
    write(tmp_path, {"n01/a.jpg": JPEG})
    shards = make_plan(images([str(tmp_path)], ""), options.sharding, str(tmp_path / "out"), options.subset)
    assert sum(shard.num_images for shard in shards) == 1


@pytest.mark.parametrize("value", [-1, -100, 10**6, 10**30])
@pytest.mark.parametrize("flag", ["--direct_num_workers", "--direct_runner_bundle_repeat"])
def test_flags_of_the_local_runner_have_ranges(flag, value):
    for argv in ([flag, str(value)], [f"{flag}={value}"]):
        with pytest.raises(UsageError, match=rf"{flag} must be from 0 to 1000, got {value}"):
            check_beam_flags(argv)
    check_beam_flags([flag, "2"])


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["--workers", "4"], "did you mean --direct_num_workers"),
        (["--jobs=4"], "did you mean --direct_num_workers"),
        (["-j", "4"], "did you mean --direct_num_workers"),
        (["--runner=DataflowRunner", "--workers", "4"], "did you mean --num_workers"),
        (["--keys-with-input"], "did you mean --keys_with_input"),
        (["n02"], "n02 belongs to no flag: put a value with spaces"),
    ],
)
def test_an_unknown_flag_is_answered_with_the_right_one(argv, hint):
    with pytest.raises(UsageError, match=hint):
        check_beam_flags(argv)
