"""Valid and hostile files for the targets of scripts/fuzz.py.

    python tests/helper_hostile.py       writes the small files into testdata/hostile/

The files of `large` are made when they are tested. Files that the fuzzer found are called found-….
"""

from __future__ import annotations

import io
import json
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from conftest import make_manifest
from helper_photos import jpeg, make_image, png, with_orientation, with_size
from PIL import Image

import tfrecords_schema as schema

CORPUS = Path(__file__).resolve().parent / "testdata" / "hostile"
MAX_FILE_BYTES = 1 << 16  # of a file in testdata
NESTING = 100_000
DIGEST_BYTES = 64  # at the end of a checkpoint
LAYOUT = schema.RecordLayout.from_sizes(8, 8, 64)

Cases = dict[str, bytes]


def deep(opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Returns JSON that is nested deeper than the stack of any parser."""
    return opening * NESTING + closing * NESTING


# -------------------------------------------------------------------------------------------------- images


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def giant_png(width: int, height: int, color: int = 2, depth: int = 8, content: bytes = b"") -> bytes:
    """Returns a PNG whose header declares this size; `content` is its compressed data."""
    head = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(content, 1)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """Encodes an image in one of Pillow's formats."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def scans(side: int, count: int) -> bytes:
    """Returns a progressive grey JPEG that repeats its last scan; decoders walk over all pixels for each."""
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def svg(body: str) -> bytes:
    """Returns an SVG of 40 px."""
    return f'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">{body}</svg>'.encode()


def multiplied_svg() -> bytes:
    """Returns an SVG in which each group uses the one before ten times."""
    uses = (f'<g id="a{i}">' + f'<use href="#a{i - 1}"/>' * 10 + "</g>" for i in range(1, 12))
    return svg('<path id="a0" d="M0 0h9"/>' + "".join(uses))


def drawings() -> Cases:
    """Returns drawings in every format that is read."""
    image = Image.fromarray(np.full((40, 40, 3), 255, np.uint8))
    image.paste((0, 0, 0), (5, 18, 35, 21))
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L").point(lambda value: 255 - value))
    return {
        "plain.png": saved(image, "PNG"),
        "clear.png": saved(clear, "PNG"),
        "plain.jpg": saved(image, "JPEG"),
        "palette.gif": saved(image.convert("P"), "GIF", transparency=0),
        "plain.webp": saved(clear, "WEBP", lossless=True),
        "plain.bmp": saved(image.convert("L"), "BMP"),
        "plain.tiff": saved(clear, "TIFF"),
        "grey16.png": saved(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
        "lab.tiff": saved(image.convert("RGB").convert("CMYK"), "TIFF"),
        "float.tiff": saved(image.convert("F"), "TIFF"),
        "plain.svg": svg('<path d="M5 20h30" stroke="#000" stroke-width="3"/>'),
    }


def hostile_drawings() -> Cases:
    """Returns drawings that declare huge or impossible sizes, or are damaged."""
    webp = bytearray(saved(Image.new("RGBA", (40, 40)), "WEBP", lossless=True))
    lab = saved(Image.new("LAB", (40, 40)), "TIFF")
    nan = saved(Image.fromarray(np.full((40, 40), np.nan, np.float32)), "TIFF")
    size = (16383 - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + size + size
    body = b"WEBP" + extended + bytes(webp[12:])
    animated = [Image.new("P", (20, 20), value) for value in range(3)]
    tiff = saved(Image.new("L", (40, 40)), "TIFF")
    return {
        "giant.png": giant_png(60_000, 60_000),
        "most.png": giant_png(2**31 - 1, 2**31 - 1),
        "nought.png": giant_png(0, 0),
        "giant.webp": b"RIFF" + struct.pack("<I", len(body)) + body,
        "giant.bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 90, 0, 54, 40, 60_000, 60_000, 1, 24, *[0] * 6),
        "giant.gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + b";",
        "lab.tiff": lab,
        "nan.tiff": nan,
        "text.png": _with_text(b"x" * (1 << 26)),
        "frames.gif": saved(animated[0], "GIF", save_all=True, append_images=animated[1:]),
        "loop.tiff": tiff[:4] + struct.pack("<I", 8) + tiff[8:],
        "narrow.png": saved(Image.new("L", (16, 3000), 255), "PNG"),
        "cut.png": drawings()["plain.png"][:-30],
        "giant.svg": svg("").replace(b'"40"', b'"1e30"'),
        "deep.svg": svg("<g>" * NESTING + "</g>" * NESTING),
        "uses.svg": multiplied_svg(),
        "file.svg": svg('<image width="40" height="40" href="/etc/passwd"/>'),
        "endless.svg": svg(
            '<filter id="f"><feTurbulence baseFrequency="0.1" numOctaves="1000000"/></filter>'
            '<path d="M0 0h40v40z" filter="url(#f)"/>'
        ),
        "cut.svg": drawings()["plain.svg"][:-5],
        "empty": b"",
    }


def _with_text(text: bytes) -> bytes:
    """Returns a PNG with a compressed comment."""
    plain = saved(Image.new("L", (40, 40)), "PNG")
    comment = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text, 9))
    return plain[:33] + comment + plain[33:]


def photos() -> Cases:
    """Returns images for preprocessing."""
    image = make_image(0, 40, 48)
    return {
        "plain.jpg": jpeg(image),
        "grey.jpg": jpeg(image[..., 0]),
        "turned.jpg": with_orientation(jpeg(image), 6),
        "progressive.jpg": saved(Image.fromarray(image), "JPEG", progressive=True),
        "inks.jpg": saved(Image.fromarray(image).convert("CMYK"), "JPEG"),
        "plain.png": png(image),
    }


def hostile_photos() -> Cases:
    """Returns images that declare huge or impossible sizes, or end early."""
    plain = photos()["plain.jpg"]
    return {
        "cut.jpg": plain[: len(plain) // 2],
        "giant.jpg": with_size(plain, 65_500, 65_500),
        "large.jpg": with_size(plain, 8_192, 8_192),
        "nought.jpg": with_size(plain, 0, 0),
        "giant.png": giant_png(60_000, 60_000),
        "most.png": giant_png(2**31 - 1, 2**31 - 1),
        "header.png": giant_png(8_000, 8_000),
        "short.png": photos()["plain.png"][:20],
        "half-header.png": photos()["plain.png"][:24],
        "short.jpg": b"\xff\xd8\xff",
        "scans.jpg": scans(512, 2_000),
        "orientation.jpg": with_orientation(plain, 65_535),
        "frames.jpg": plain[:2] + plain[2:-2] * 2 + plain[-2:],
        "empty": b"",
    }


# -------------------------------------------------------------------------------------------------- tars


def header(name: str = "a.jpg", size: int = 0, kind: bytes = b"0", **fields: object) -> bytes:
    """Returns the header of a tar member, with a valid checksum."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def with_field(block: bytes, offset: int, value: bytes) -> bytes:
    """Replaces bytes of a header and corrects its checksum."""
    block = block[:offset] + value + block[offset + len(value) :]
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    return block[:148] + f"{total:06o}\0 ".encode() + block[156:]


def padded(data: bytes) -> bytes:
    """Pads data to whole tar blocks."""
    return data + bytes(-len(data) % 512)


def member(name: str, data: bytes = b"x", kind: bytes = b"0", **fields: object) -> bytes:
    """Returns a tar member with its header."""
    return header(name, len(data), kind, **fields) + padded(data)


END = bytes(1024)  # of a tar


def nested(depth: int) -> bytes:
    """Returns an image in `depth` tars within each other."""
    data = member("n01/a.jpg") + END
    for _ in range(depth):
        data = member("n01.tar", data) + END
    return data


def pax(fields: dict[str, str]) -> bytes:
    """Returns a pax header with these fields."""
    lines = []
    for key, value in fields.items():
        rest = f" {key}={value}\n"
        length = len(rest) + 1
        while len(f"{length}{rest}") != length:
            length += 1
        lines.append(f"{length}{rest}".encode())
    return member("pax", b"".join(lines), b"x")


def tars() -> Cases:
    """Returns valid tars."""
    return {"plain.tar": member("n01/a.jpg") + member("b.png") + END, "nested.tar": nested(1)}


def hostile_tars() -> Cases:
    """Returns tars with members that are no files, lie outside of the folder, or have wrong sizes."""
    sparse = with_field(header("n01/a.jpg", 512, b"S"), 482, b"\x01")
    negative = b"\xff" * 10 + b"\xfc\x00"  # -1024 in the base-256 encoding
    return {
        "upwards.tar": member("../../evil.jpg") + END,
        "inner-upwards.tar": member("n01/../../evil.jpg") + END,
        "absolute.tar": member("/etc/evil.jpg") + END,
        "symlink.tar": header("n01/a.jpg", kind=b"2", linkname="/etc/passwd") + END,
        "hardlink.tar": header("n01/a.jpg", kind=b"1", linkname="../../secret") + END,
        "device.tar": header("n01/a.jpg", kind=b"3", devmajor=1, devminor=5) + END,
        "fifo.tar": header("n01/a.jpg", kind=b"6") + END,
        "sparse.tar": sparse,
        "sparse-size.tar": with_field(header("n01/a.jpg", 512, b"S"), 483, b"77777777777\0")
        + bytes(512)
        + END,
        "size.tar": with_field(header("n01/a.jpg"), 124, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7) + END,
        "negative.tar": member("n01/a.jpg", b"x" * 600)
        + with_field(header("n01/b.jpg"), 124, negative)
        + END,
        "negative-folder.tar": member("n01/a.jpg")
        + with_field(header("n01", kind=b"9"), 124, negative)
        + END,
        "longname.tar": with_field(header("x", kind=b"L"), 124, b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7),
        "longnames.tar": member("x", b"name", b"L") * 1_500 + member("n01/a.jpg") + END,
        "nested.tar": nested(60),
        "inner-size.tar": member("n01.tar", header("a.jpg", 1 << 30)) + member("n01/b.jpg") + END,
        "pax-size.tar": pax({"size": "-1024"}) + member("n01/a.jpg") + END,
        "pax-nan.tar": pax({"mtime": "nan", "size": "1e3"}) + member("n01/a.jpg") + END,
        "pax-path.tar": pax({"path": "../../evil.jpg"}) + member("n01/a.jpg") + END,
        "pax-sparse.tar": pax({"GNU.sparse.size": "x", "GNU.sparse.map": "1,2"}) + member("n01/a.jpg") + END,
        "pax-sparse1.tar": pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
        + member("n01/a.jpg")
        + END,
        "not.tar": b"text",
        "empty.tar": b"",
    }


# ------------------------------------------------------------------------------------------------ shards


def framed(length: int, body: bytes = b"") -> bytes:
    """Returns the start of a record that declares this length, with a valid checksum."""
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", schema._masked_crc(head)) + body


def record(key: bytes = b"n01/a.jp", edges: bytes = bytes(8), labels: bytes = bytes(64)) -> bytes:
    """Returns a record of an image of 8 px."""
    return schema.frame_record(schema.encode_example(key, edges, labels))


def shards() -> Cases:
    """Returns valid shards with images of 8 px."""
    return {"one": record(), "two": record() + record(b"n01/b.jp")}


def hostile_shards() -> Cases:
    """Returns shards with records that are longer than the file or have wrong contents."""
    return {
        "huge": framed(1 << 60),
        "large": framed(1 << 33, bytes(100)),
        "most": framed((1 << 64) - 1),
        "less": framed((1 << 64) - 4),
        "nothing": schema.frame_record(b""),
        "noise": schema.frame_record(bytes(range(256))),
        "key": record(b"\xff\xfe\xfd\xfc\xff\xff\xff\xff"),
        "short": record(edges=bytes(7)),
        "long": record(labels=bytes(6400)),
        "label": record(labels=b"\xff" * 64),
        "deep": schema.frame_record(b"\x0a\x7f" * 5_000),
        "cut": record()[:-7],
        "empty": b"",
    }


# ----------------------------------------------------------------------------------- manifest and receipt


def changed(content: dict, path: str, value: object) -> bytes:
    """Encodes `content` with another value at a dotted path."""
    *folders, last = path.split(".")
    content = json.loads(json.dumps(content))
    node = content
    for folder in folders:
        node = node[int(folder)] if isinstance(node, list) else node[folder]
    node[int(last) if isinstance(node, list) else last] = value
    return json.dumps(content).encode()


def manifests() -> Cases:
    """Returns a valid manifest."""
    return {"plain.json": json.dumps(plain_manifest()).encode()}


def plain_manifest() -> dict:
    """Returns the manifest of a dataset with one record."""
    content = json.loads(make_manifest(8).to_json())
    layout = {name: getattr(LAYOUT, name) for name in LAYOUT.__dataclass_fields__}
    shard = {
        "name": "train/train-00000-of-00001.tfrecord", "examples": 1, "bytes": LAYOUT.stride, "sha256": "",
        "layout": layout,
    }  # fmt: skip
    content["splits"]["train"]["shards"] = [shard]
    return content


def hostile_manifests() -> Cases:
    """Returns manifests with wrong numbers and names."""
    plain, shard = plain_manifest(), "splits.train.shards.0"
    return {
        "deep.json": deep(),
        "deep-recipe.json": json.dumps(plain).encode().replace(
            b'"recipe": {}', b'"recipe": ' + deep(b'{"a":', b"}").replace(b":}", b":0}")
        ),
        "upwards.json": changed(plain, f"{shard}.name", "../../../etc/passwd"),
        "absolute.json": changed(plain, f"{shard}.name", "/etc/passwd"),
        "remote.json": changed(plain, f"{shard}.name", "gs://evil/shard"),
        "nul.json": changed(plain, f"{shard}.name", "train/\0"),
        "key-bytes.json": changed(plain, f"{shard}.layout.key_bytes", 1 << 60),
        "no-key.json": changed(plain, f"{shard}.layout.key_bytes", 0),
        "negative.json": changed(plain, f"{shard}.layout.labels_bytes", -64),
        "examples.json": changed(plain, f"{shard}.examples", -1),
        "image-size.json": changed(plain, "image_size", 8 * 10**15),
        "long-number.json": json.dumps(plain).encode().replace(b'"seed": 0', b'"seed": ' + b"9" * 5_000),
        "nan.json": changed(plain, "val_fraction", float("nan")),
        "list.json": b"[1]",
        "utf16.json": json.dumps(plain).encode("utf-16"),
        "empty": b"",
    }  # fmt: skip


def plain_receipt() -> dict:
    """Returns the receipt of a shard with one record."""
    shard = plain_manifest()["splits"]["train"]["shards"][0]
    return {
        "schema_version": schema.SCHEMA_VERSION, "split": "train", "shard": shard, "fingerprint": "",
        "images_digest": "", "label_histogram": [64, 0], "edge_pixels": [0], "rejects": [],
    }  # fmt: skip


def hostile_receipts() -> Cases:
    """Returns invalid receipts."""
    return {
        "deep.json": deep(),
        "name.json": changed(plain_receipt(), "shard.name", "../../x"),
        "rejects.json": changed(plain_receipt(), "rejects", [{"key": 1}]),
        "empty": b"",
    }


# -------------------------------------------------------------------------------------- palettes and runs


def hostile_colors() -> Cases:
    """Returns invalid palettes in JSON."""
    return {
        "deep.json": deep(),
        "infinite.json": b"[[1e999, 0, 0], [0, 0, 0]]",
        "nan.json": b"[[NaN, 0, 0], [0, 0, 0]]",
        "digits.json": b"[[" + b"9" * 5_000 + b", 0, 0], [0, 0, 0]]",
        "objects.json": b'[{"r": 1}, null, [[1], 2, 3]]',
        "long.json": b"[[" + b"1," * 10_000 + b"1], [0, 0, 0]]",
        "bytes.json": b"\xff\xfe\0",
        "empty": b"",
    }


def plain_export() -> dict:
    """Returns the content of an export.json."""
    return {
        "format_version": 1, "model": "tiny", "image_size": 64, "stride": 8, "hints": False,
        "palette": {"name": "two", "colors": [[0, 0, 0], [255, 255, 255]]}, "recipe": {},
        "dataset_fingerprint": "", "files": {"onnx": "model.onnx"}, "scores": {}, "linewash_version": "0.1.0",
    }  # fmt: skip


def hostile_exports() -> Cases:
    """Returns export.json files with paths outside of the directory or huge sizes."""
    plain = plain_export()
    return {
        "deep.json": deep(),
        "deep-recipe.json": changed(plain, "recipe", "DEEP").replace(b'"DEEP"', b'{"a":' + deep() + b"}"),
        "upwards.json": changed(plain, "files.onnx", "../model.onnx"),
        "parent.json": changed(plain, "files.onnx", ".."),
        "itself.json": changed(plain, "files.onnx", ""),
        "nul.json": changed(plain, "files.onnx", "\0"),
        "stride.json": changed(plain, "stride", 10**12),
        "image-size.json": changed(plain, "image_size", 10**12),
        "empty": b"",
    }  # fmt: skip


def plain_run() -> dict:
    """Returns the content of a run.json, as far as it is read."""
    return {
        "config": {"model": {"name": "unet"}, "trainer": {"batch_size": 4, "panel_images": 4}},
        "dataset": {"root": "out/dataset", "fingerprint": "0", "examples": {"train": 4}},
        "image_size": 32,
        "palette": {"name": "two", "colors": [[0, 0, 0], [255, 255, 255]]},
        "model": {"name": "unet", "parameters": 1, "stride": 8, "gives_logits": True},
        "versions": {"linewash": "0.1.0"},
    }


def hostile_runs() -> Cases:
    """Returns run.json files with wrong values."""
    plain = plain_run()
    return {
        "deep.json": deep(),
        "infinite.json": changed(plain, "image_size", float("inf")),
        "stride.json": changed(plain, "model.stride", 0),
        "large-stride.json": changed(plain, "model.stride", 10**12),
        "batch.json": changed(plain, "config.trainer.batch_size", 0),
        "name.json": changed(plain, "config.model.name", ["unet"]),
        "root.json": changed(plain, "dataset.root", {"a": 1}),
        "versions.json": changed(plain, "versions", [1]),
        "target.json": changed(plain, "config.model._target_", "os.system"),
        "cycle.json": changed(plain, "config.data", {"root": "${data.root}", "shuffle_buffer": 1}),
        "secret.json": changed(plain, "config.data", {"root": "${oc.env:HOME}", "shuffle_buffer": 1}),
        "palette.json": changed(plain, "palette.colors", "##"),
        "palette-name.json": changed(plain, "palette.name", {"a": 1}),
        "halves.json": changed(plain, "palette.colors", [[0.5, 0, 0], [1, 1, 1]]),
        "model.json": changed(plain, "model", {"stride": 8, "gives_logits": True}),
        "examples.json": changed(plain, "dataset.examples", {"train": "many"}),
        "list.json": b"[1, 2]",
        "utf16.json": json.dumps(plain).encode("utf-16"),
        "empty": b"",
    }


def npy(descr: object = "<f4", shape: object = (2,), content: bytes = bytes(8), order: bool = False) -> bytes:
    """Returns an .npy file, whose header may contradict its content."""
    header = {"descr": descr, "fortran_order": order, "shape": shape}
    return npy_with_header(repr(header).encode(), content)


def npy_with_header(header: bytes, content: bytes = b"") -> bytes:
    """Returns an .npy file with the given header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + content


def plain_progress(**more: object) -> bytes:
    """Returns the progress.json of a run after two steps."""
    fields = {"epoch": 1, "step": 2, "steps_in_epoch": 2, "pixel_sums": [0.0], "history": []}
    return json.dumps(fields | more).encode()


def plain_checkpoint(
    *variables: bytes,
    progress: bytes | None = None,
    first: str = "progress.json",
    name: str = "w.npy",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Returns a checkpoint without its digest."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(first), plain_progress() if progress is None else progress)
        for index, variable in enumerate(variables):
            member = zipfile.ZipInfo(f"variables/{index:05d}/{name}")
            archive.writestr(member, variable, compression)
        archive.comment = bytes(DIGEST_BYTES)
    return file.getvalue()[:-DIGEST_BYTES]


def with_fields(checkpoint: bytes, *fields: tuple[int, str, int]) -> bytes:
    """Changes fields of the last member in the zip directory: (offset, struct format, value)."""
    changed, start = bytearray(checkpoint), checkpoint.rindex(b"PK\x01\x02")
    for offset, form, value in fields:
        struct.pack_into(form, changed, start + offset, value)
    return bytes(changed)


def with_copies(checkpoint: bytes, copies: int) -> bytes:
    """Lists the last member many times in the zip directory, so that its bytes would be read many times."""
    first, last = checkpoint.index(b"PK\x01\x02"), checkpoint.rindex(b"PK\x01\x02")
    end = checkpoint.index(b"PK\x05\x06")
    directory = checkpoint[first:last] + copies * checkpoint[last:end]
    counts = (0, 0, copies + 1, copies + 1, len(directory), first, DIGEST_BYTES)
    return checkpoint[:first] + directory + struct.pack("<4s4H2IH", b"PK\x05\x06", *counts)


def hostile_checkpoints() -> Cases:
    """Returns checkpoints that are wrong although their digest matches."""
    plain = plain_checkpoint(npy())
    return {
        "pickle": b"cos\nsystem\n(S'true'\ntR.",
        "objects": plain_checkpoint(npy("|O", (1,))),
        "pickled": plain_checkpoint(npy("|O", (), b"cos\nsystem\n(S'true'\ntR.")),
        "strings": plain_checkpoint(npy("|S8", (1,))),
        "records": plain_checkpoint(npy([("a", "<f4"), ("b", "<f4")], (1,))),
        "pairs": plain_checkpoint(npy("(2,)<f4", (1,))),
        "huge": plain_checkpoint(npy(shape=(1 << 40,))),
        "overflow": plain_checkpoint(npy(shape=(1 << 62, 4))),
        "negative": plain_checkpoint(npy(shape=(-1,))),
        "negatives": plain_checkpoint(npy(shape=(-1, -2))),
        "shape": plain_checkpoint(npy(shape=("2",))),
        "fortran": plain_checkpoint(npy(shape=(2, 1), order=True)),
        "dtype": plain_checkpoint(npy("no such")),
        "short": plain_checkpoint(npy(content=bytes(4))),
        "no-array": plain_checkpoint(b"w"),
        "version": plain_checkpoint(b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**32 - 1)),
        "deep-header": plain_checkpoint(npy_with_header(b"-" * 60_000)),
        "name": plain_checkpoint(npy(), name="w"),
        "first": plain_checkpoint(npy(), first="progress"),
        "no-member": struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0, 0, 0, 0, DIGEST_BYTES),
        "history": plain_checkpoint(progress=plain_progress(history=[{"number": 1}])),
        "extra": plain_checkpoint(progress=plain_progress(evil=1)),
        "list": plain_checkpoint(progress=b"[]"),
        "deep": plain_checkpoint(progress=deep()),
        "deflated": plain_checkpoint(npy(), compression=zipfile.ZIP_DEFLATED),
        "bzip2": plain_checkpoint(npy(content=bytes(1 << 22)), compression=zipfile.ZIP_BZIP2),
        "size": with_fields(plain, (20, "<I", 1 << 31), (24, "<I", 1 << 31)),
        "packed-size": with_fields(plain, (20, "<I", 1 << 31)),
        "encrypted": with_fields(plain, (8, "<H", 1)),
        "method": with_fields(plain, (10, "<H", 99)),
        "needs": with_fields(plain, (6, "<H", 99)),
        "offset": with_fields(plain, (42, "<I", 1 << 31)),
        "crc": with_fields(plain, (16, "<I", 0)),
        "overlap": with_copies(plain_checkpoint(npy(shape=(1 << 12,), content=bytes(1 << 14))), 300),
        "old": b"linewash state 1\n" + struct.pack("<Q", 2) + b"{}",
        "truncated": plain[: len(plain) // 2],
        "empty": b"",
    }


def plain_evaluation() -> dict:
    """Returns the content of an evaluation.json, as far as it is read."""
    return {
        "network": "run/checkpoints/best.keras", "fingerprint": "0", "split": "val", "examples": 4,
        "scores": {"network": {"loss": 1.0, "accuracy": None}},
    }  # fmt: skip


def hostile_evaluations() -> Cases:
    """Returns invalid evaluation.json files."""
    plain = plain_evaluation()
    return {
        "deep.json": deep(),
        "list.json": b"[1]",
        "number.json": b"7",
        "scores.json": changed(plain, "scores", 3),
        "row.json": changed(plain, "scores.network", [1, 2]),
        "loss.json": changed(plain, "scores.network.loss", {"a": [1]}),
        "word.json": changed(plain, "scores.network.accuracy", "good"),
        "huge.json": json.dumps(plain).encode().replace(b"1.0", b"9" * 4_000),
        "digits.json": json.dumps(plain).encode().replace(b"1.0", b"9" * 5_000),
        "examples.json": changed(plain, "examples", "many"),
        "network.json": changed(plain, "network", None),
        "bytes.json": b"\xff\xfe\0",
        "empty": b"",
    }


VALID: dict[str, Cases] = {
    "photo": photos(),
    "tar": tars(),
    "records": shards(),
    "shard": shards(),
    "manifest": manifests(),
    "receipt": {"plain.json": json.dumps(plain_receipt()).encode()},
    "gpl": {"plain.gpl": b"GIMP Palette\nName: x\n#\n  0   0   0 Black\n255 255 255\tWhite\n"},
    "hexes": {"plain.hex": b"000000\n#ffffff\n"},
    "colors": {"plain.json": b'[[0, 0, 0], "#ffffff"]'},
    "export_json": {"plain.json": json.dumps(plain_export()).encode()},
    "run_json": {"plain.json": json.dumps(plain_run()).encode()},
    "checkpoint": {"plain": plain_checkpoint(npy())},
    "page": drawings(),
    "layer": {"clear.png": drawings()["clear.png"], "palette.gif": drawings()["palette.gif"]},
    "drawing": {"plain.png": drawings()["plain.png"], "clear.png": drawings()["clear.png"]},
}

HOSTILE: dict[str, Cases] = {
    "photo": hostile_photos(),
    "tar": hostile_tars(),
    "records": hostile_shards(),
    "shard": hostile_shards(),
    "manifest": hostile_manifests(),
    "receipt": hostile_receipts(),
    "gpl": {
        "numbers.gpl": b"GIMP Palette\n" + b"9" * 5_000 + b" 0 0\n0 0 0\n",
        "digits.gpl": "GIMP Palette\n\u0661 \u00b2 0\n0 0 0\n".encode(),
        "bytes.gpl": b"GIMP Palette\n\xff\xfe",
        "nul.gpl": b"GIMP Palette\n0 0 0\n\0",
        "empty": b"",
    },
    "hexes": {"line.hex": b"f" * 10_000, "bytes.hex": b"\xff\xfe", "empty": b""},
    "colors": hostile_colors(),
    "export_json": hostile_exports(),
    "run_json": hostile_runs(),
    "checkpoint": hostile_checkpoints(),
    "page": hostile_drawings(),
    "layer": {"text.png": hostile_drawings()["text.png"], "giant.png": hostile_drawings()["giant.png"]},
    "drawing": {
        "narrow.png": hostile_drawings()["narrow.png"],
        "nan.tiff": hostile_drawings()["nan.tiff"],
        "black.png": saved(Image.new("L", (40, 40)), "PNG"),
    },
}


def large(target: str) -> Cases:
    """Returns the hostile files that are too large for testdata, and huge files of every kind."""
    return {name: data for name, data in HOSTILE[target].items() if len(data) > MAX_FILE_BYTES} | _huge(
        target
    )


def _huge(target: str) -> Cases:
    lines = [f"{i >> 16 & 255} {i >> 8 & 255} {i & 255}" for i in range(1_000_000)]
    if target == "gpl":
        return {"million.gpl": ("GIMP Palette\n" + "\n".join(lines)).encode()}
    if target == "hexes":
        return {"million.hex": "\n".join(f"{i:06x}" for i in range(1_000_000)).encode()}
    if target == "colors":
        return {"million.json": f"[[{'],['.join(line.replace(' ', ',') for line in lines)}]]".encode()}
    if target == "photo":
        return {"scans.jpg": scans(4096, 4_000)}
    if target in ("page", "layer"):
        return {
            "scans.jpg": scans(4096, 4_000),
            "clear.png": giant_png(8192, 8192, 6, 8, bytes(8192 * (8192 * 4 + 1))),
        }
    if target == "drawing":
        disc = np.hypot(*np.mgrid[-290:290, -290:290]) > 230
        return {"disc.png": saved(Image.fromarray(np.uint8(255 * disc)), "PNG")}
    return {}


def write() -> None:
    """Writes the small files into testdata."""
    for cases in (VALID, HOSTILE):
        for target, files in cases.items():
            (CORPUS / target).mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                prefix = "" if cases is HOSTILE else "valid-"
                if len(data) <= MAX_FILE_BYTES:
                    (CORPUS / target / f"{prefix}{name}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(write())
