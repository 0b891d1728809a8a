"""Verifying datasets through the command: a dataset without faults passes, and every fault is reported."""

import gzip
import json
import shutil
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import helper_photos
import pytest
import verify_shards
from helper_commands import run_script
from helper_jobs import verify

from preprocess import receipts, sources
from preprocess.lines import styles
from preprocess.plan import Sharding, make_plan
from preprocess.recipe import Recipe
from preprocess.shard_writer import write_shard
from tfrecords_schema import Manifest, decode_example, encode_example, frame_record, read_records


def make(root, lines=("canny",), **layout):
    """Makes a small dataset with the job's functions, without a runner."""
    images = helper_photos.make_image_folder(root / "images", 24)
    recipe, layout = Recipe(image_size=32, lines=lines), Sharding(val_fraction=0.3, num_shards=2, **layout)
    output = str(root / "dataset")
    for shard in make_plan(sources.images([str(images)], output), layout, output):
        write_shard(shard, recipe, layout.compression, output)
    receipts.write_manifest(output, receipts.load(output), recipe, layout, ["images"])
    return root / "dataset"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return make(tmp_path_factory.mktemp("packed"), compression="gzip")


@pytest.fixture
def dataset(plain, tmp_path):
    """A copy of a small dataset."""
    return shutil.copytree(plain, tmp_path / "dataset")


SHARD = "train/train-00000-of-00002.tfrecord"
RECEIPT = "receipts/train-00000-of-00002.json"


def rewrite(path, change):
    """Replaces each record by `change(number, key, edges, labels)` and frames it again."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        records = [decode_example(record) for record in read_records(file)]
    longest = max(len(key) for key, _, _ in records)
    padded = [(k.encode().ljust(longest, b"\0"), e, la) for k, e, la in records]
    framed = [frame_record(encode_example(*change(i, *record))) for i, record in enumerate(padded)]
    with opened(path, "wb") as file:
        file.write(b"".join(framed))


def forge(root):
    """Puts the new sizes and digests of the changed shards into the manifest and the receipts."""
    import hashlib

    for name in [RECEIPT, "manifest.json"]:
        content = json.loads((root / name).read_text())
        shards = [content["shard"]] if "shard" in content else content["splits"]["train"]["shards"]
        for shard in shards:
            data = (root / shard["name"]).read_bytes()
            shard |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (root / name).write_text(json.dumps(content))


def test_a_dataset_without_faults_passes(plain, packed):
    for root, run in ((plain, verify), (packed, verify), (plain, verify_in_processes)):
        result = run(root)
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"{root} has no faults: 24 examples, ")


def verify_in_processes(root):
    """Runs the command in a process of its own, with worker processes."""
    return run_script("verify_shards.py", root, "--workers", 2)


def assert_fault(root, *texts, verify=verify):
    result = verify(root)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("verify_shards: ")
    assert result.stderr.count("\n") == 1
    for text in texts:
        assert text in result.stderr


def test_a_flipped_bit_is_reported_with_its_record(dataset):
    stride = Manifest.load(dataset).splits["train"].shards[0].layout.stride
    data = bytearray((dataset / SHARD).read_bytes())
    data[2 * stride + stride // 2] ^= 4
    (dataset / SHARD).write_bytes(data)
    for run in (verify, verify_in_processes):
        assert_fault(dataset, SHARD, "record 2: the checksum of its bytes is wrong", verify=run)


def test_a_truncated_shard_is_reported(dataset):
    (dataset / SHARD).write_bytes((dataset / SHARD).read_bytes()[:-7])
    assert_fault(dataset, SHARD, "size in bytes")


def test_swapped_shards_are_reported(dataset):
    other = dataset / SHARD.replace("00000-of", "00001-of")
    first, second = (dataset / SHARD).read_bytes(), other.read_bytes()
    (dataset / SHARD).write_bytes(second)
    other.write_bytes(first)
    assert_fault(dataset, SHARD)


def test_a_label_outside_the_palette_is_reported_with_its_key(dataset):
    rewrite(dataset / SHARD, lambda i, k, e, la: (k, e, b"\xff" + la[1:] if i == 1 else la))
    forge(dataset)
    colors = len(Manifest.load(dataset).palette)
    assert_fault(dataset, SHARD, "record 1, key n0000000", f"label 255, but the palette has {colors} colours")


def test_the_histogram_reveals_changed_labels(dataset):
    rewrite(dataset / SHARD, lambda i, k, e, la: (k, e, bytes(len(la)) if i == 1 else la))
    forge(dataset)
    assert_fault(dataset, SHARD, "label_histogram in the receipt")


def test_the_number_of_edge_pixels_reveals_changed_edges(dataset):
    rewrite(dataset / SHARD, lambda i, k, e, la: (k, b"\xff" * len(e) if i == 1 else e, la))
    forge(dataset)
    assert_fault(dataset, SHARD, "edge_pixels in the receipt")


@pytest.fixture(scope="module", params=["none", "gzip"])
def several_styles(request, tmp_path_factory):
    """A dataset of two line styles: canny, and the same lines upside down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            styles.LINE_STYLES, "turned", lambda rgb, *others: styles.LINE_STYLES["canny"](rgb, *others)[::-1]
        )
        root = tmp_path_factory.mktemp("styles")
        return make(root, ("canny", "turned"), compression=request.param)


def test_a_dataset_of_several_styles_passes(several_styles):
    result = verify(several_styles)
    assert result.returncode == 0, result.stderr
    manifest = Manifest.load(several_styles)
    assert manifest.lines == manifest.recipe["lines"] == ["canny", "turned"]
    first, second = manifest.splits["train"].edge_pixels
    assert first == second > 0


def test_changed_edges_of_the_second_style_are_reported(plain, several_styles, tmp_path):
    """The number of edge pixels is compared for each style: a pixel that moves to another map is noticed."""
    root = shutil.copytree(several_styles, tmp_path / "dataset")
    name = Manifest.load(root).splits["train"].shards[0].name
    half = 32 * 32 // 8

    def move_pixels(i, k, e, la):
        total = int.from_bytes(e, "big").bit_count()
        first = ((1 << total) - 1).to_bytes(half, "little")
        return k, first + bytes(half) if i == 1 else e, la

    rewrite(root / name, move_pixels)
    forge(root)
    assert_fault(root, name, "edge_pixels in the receipt: expected [")


@pytest.mark.parametrize("fault", ["fewer maps", "more maps", "empty maps"])
def test_another_number_of_maps_is_reported_with_its_key(several_styles, tmp_path, fault):
    root = shutil.copytree(several_styles, tmp_path / "dataset")
    (name,) = {shard.name for shard in Manifest.load(root).splits["train"].shards[:1]}
    size = {"fewer maps": 128, "more maps": 384, "empty maps": 0}[fault]
    rewrite(root / name, lambda i, k, e, la: (k, (e + e)[:size], la))
    forge(root)
    assert_fault(root, name, "record 0, key n0000000", f"bytes of edges: expected 256, found {size}")


def test_a_manifest_with_styles_in_another_order_is_reported(several_styles, tmp_path):
    root = shutil.copytree(several_styles, tmp_path / "dataset")
    path = root / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"lines": ["turned", "canny"]}))
    assert_fault(root, "manifest.json", "lines")


def test_short_edges_are_reported_with_their_key(dataset):
    rewrite(dataset / SHARD, lambda i, k, e, la: (k, e[:-1], la + b"\0"))
    forge(dataset)
    assert_fault(dataset, SHARD, "record 0, key n0000000", "bytes of edges: expected 128, found 127")


def test_a_duplicate_key_is_reported(dataset):
    keys = []
    rewrite(dataset / SHARD, lambda i, k, e, la: (keys.append(k) or keys[max(0, i - 1)], e, la))
    forge(dataset)
    assert_fault(dataset, f"{SHARD}: record 1, key n0000000", f"the same key as record 0 of {SHARD}")


def test_both_splits_may_have_the_same_key(tmp_path):
    """train/cats/1.jpg and val/cats/1.jpg may be different images."""
    for split, seed in (("train", 1), ("val", 2)):
        path = tmp_path / "images" / split / "cats/1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(helper_photos.jpeg(helper_photos.make_image(seed)))
    recipe, layout, output = Recipe(image_size=32), Sharding(split_by="folder"), str(tmp_path / "dataset")
    for shard in make_plan(sources.images([str(tmp_path / "images")], output), layout, output):
        write_shard(shard, recipe, layout.compression, output)
    receipts.write_manifest(output, receipts.load(output), recipe, layout, ["images"])
    assert verify_shards.check_dataset(tmp_path / "dataset", 1)[0] == 2


def damage_stream(data):
    """Gives a deflate stream a block of an invalid type."""
    return data[:10] + b"\xff" * 20 + data[30:]


@pytest.mark.parametrize("change", [damage_stream, lambda d: d[:-9], lambda d: d[:5], lambda d: b"x" + d])
@pytest.mark.parametrize("forged", [False, True])
def test_a_damaged_compressed_shard_is_reported(packed, tmp_path, change, forged):
    root, shard = shutil.copytree(packed, tmp_path / "dataset"), f"{SHARD}.gz"
    (root / shard).write_bytes(change((root / shard).read_bytes()))
    if forged:
        forge(root)
    assert_fault(root, shard)


def test_a_number_of_examples_beyond_any_memory_is_reported(dataset):
    manifest, receipt = (json.loads((dataset / name).read_text()) for name in ["manifest.json", RECEIPT])
    split = manifest["splits"]["train"]
    added = 10**15 - receipt["shard"]["examples"]
    split["examples"] += added
    split["label_histogram"][0] += added * 32**2
    for shard in (split["shards"][0], receipt["shard"]):
        shard |= {"examples": 10**15, "layout": None}
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    (dataset / RECEIPT).write_text(json.dumps(receipt))
    assert_fault(dataset, SHARD, "records: expected 1000000000000000")


@pytest.mark.parametrize("name", [SHARD, RECEIPT, "manifest.json"])
def test_a_missing_file_is_reported(dataset, name):
    (dataset / name).unlink()
    assert_fault(dataset, Path(name).name)


@pytest.mark.parametrize("name", [RECEIPT, "manifest.json"])
def test_a_truncated_json_file_is_reported(dataset, name):
    (dataset / name).write_bytes((dataset / name).read_bytes()[:100])
    assert_fault(dataset, name)


def test_a_shard_outside_the_manifest_is_reported(dataset):
    (dataset / "train/train-00000-of-00009.tfrecord").write_bytes(b"")
    assert_fault(dataset, "train-00000-of-00009.tfrecord is not in manifest.json")


# ---------------------------------------------------------------------------------------- exit codes


def run(monkeypatch, capsys, *arguments):
    """Runs the command in this process and returns its exit code and stderr."""
    monkeypatch.setattr(sys, "argv", ["verify_shards.py", *map(str, arguments)])
    try:
        code = verify_shards.main()
    except SystemExit as e:
        code = e.code
    return code, capsys.readouterr().err


def test_the_error_for_a_killed_worker_is_one_sentence(dataset, monkeypatch, capsys):
    def broken(root, workers):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")

    monkeypatch.setattr(verify_shards, "check_dataset", broken)
    code, stderr = run(monkeypatch, capsys, dataset)
    assert code == 1
    assert stderr.count("\n") == 1
    assert "--workers" in stderr


@pytest.mark.parametrize("error", [MemoryError(), PermissionError(13, "Permission denied", "/a/shard")])
def test_the_error_of_the_operating_system_is_one_sentence(error, dataset, monkeypatch, capsys):
    def refuse(root, workers):
        raise error

    monkeypatch.setattr(verify_shards, "check_dataset", refuse)
    code, stderr = run(monkeypatch, capsys, dataset)
    assert code == 1
    assert stderr.count("\n") == 1
    assert (getattr(error, "filename", None) or "memory") in stderr


def test_the_home_folder_is_expanded(dataset, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(dataset.parent))
    assert run(monkeypatch, capsys, "~/dataset", "--workers", 1)[0] == 0
