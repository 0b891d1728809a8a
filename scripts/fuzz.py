"""Hostile bytes for everything that reads a file of somebody else's: fuzzing guided by coverage, and replays.

    pip install --editable '.[all,fuzz]'
    python scripts/fuzz.py TARGET [--seconds N]
    python scripts/fuzz.py TARGET --replay FILE...

A target may return, or refuse with one of the project's own errors; anything else is a finding, and so are
more than 5 seconds or a gigabyte. What is found is kept in tests/testdata/hostile/TARGET, where the tests
(and the next fuzzing, as its seeds) find it. Without atheris only --replay works.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from linewash.coloring.arguments import Parser, at_least, local_path, run

CORPUS = ROOT / "tests" / "testdata" / "hostile"
SECONDS = 5  # for one input
MEGABYTES = 1024  # for one input, beyond what stood before
LARGEST = 1 << 16  # bytes of the inputs that are tried
INSTRUMENTED = ["preprocess", "training", "linewash", "tfrecords_schema", "tarfile", "PIL"]

Target = Callable[[bytes], None]

# Every target imports what it needs when it is first called, so that atheris can put its probes in.


def photo(data: bytes) -> None:
    """An image of `python -m preprocess`, by both recipes."""
    from preprocess.recipe import Recipe
    from preprocess.rejects import Rejected
    from preprocess.transform import transform

    for decode in ("reduced", "full"):
        with contextlib.suppress(Rejected):
            transform(data, Recipe(image_size=16, decode=decode))


def tar(data: bytes) -> None:
    """An archive of images: what is found lies in it, under a name that does not point out of it."""
    from preprocess.file_types import Skipped
    from preprocess.tars import TarError, members

    with contextlib.suppress(TarError):
        for member in members(io.BytesIO(data), "photos/class.tar", Skipped()):
            assert 0 <= member.offset <= member.offset + member.size <= len(data), member
            assert ".." not in member.name.split("/"), member
            assert not member.name.startswith("/"), member


def records(data: bytes) -> None:
    """A shard, as verify_shards.py reads it, and as the trainer reads its blocks."""
    import numpy as np

    import tfrecords_schema as schema
    from training.data import fixed_length_reader

    with contextlib.suppress(schema.SchemaError):
        for record in schema.read_records(io.BytesIO(data)):
            schema.decode_example(record)
    layout = schema.RecordLayout.from_sizes(8, 8, 64)
    examples = -(-len(data) // layout.stride)
    path = _folder() / "shard.tfrecord"
    path.write_bytes(data)
    info = schema.ShardInfo("train/shard.tfrecord", examples, examples * layout.stride, "", layout)
    with contextlib.suppress(schema.SchemaError):
        for part in fixed_length_reader.split_shard(str(path), info):
            buffer = np.empty(part.records * layout.stride, np.uint8)
            fixed_length_reader.read_chunk(
                [part], lambda keys: np.zeros(len(keys)), np.random.default_rng(0), buffer
            )


def shard(data: bytes) -> None:
    """A shard as TensorFlow reads it to judge a network: of 8 px and two colours."""
    from tfrecords_schema import Manifest, Palette, ShardInfo, Split
    from training.data.dataset import ShardedDataset
    from training.errors import WorkError

    root = _folder()
    (root / "train").mkdir(exist_ok=True)
    info = ShardInfo("train/shard.tfrecord", 1, len(data), "", None)
    (root / info.name).write_bytes(data)
    manifest = Manifest(
        schema_version=1, tool="", fingerprint="", images_digest="", image_size=8, label_dtype="uint8",
        compression="none", palette=Palette("two", ((0, 0, 0), (9, 9, 9))), recipe={}, seed=0,
        val_fraction=0, sources=[], splits={"train": Split(1, [64, 0], 0, [info])}, rejects={},
    )  # fmt: skip
    with contextlib.suppress(WorkError):
        for _ in ShardedDataset(str(root), manifest).eval("train", batch_size=2):
            pass


def manifest(data: bytes) -> None:
    """manifest.json, and the layouts of the shards that it names."""
    from tfrecords_schema import Manifest, SchemaError
    from training.data.fixed_length_reader import split_shard

    with contextlib.suppress(SchemaError):
        found = Manifest.from_json(data)
        assert found.dataset_fingerprint
        for split in found.splits.values():
            for info in split.shards:
                assert ".." not in Path(info.name).parts, info
                assert not Path(info.name).is_absolute(), info
                if info.layout:
                    split_shard(info.name, info)


def receipt(data: bytes) -> None:
    """A shard's receipt."""
    from tfrecords_schema import SchemaError, ShardReceipt

    with contextlib.suppress(SchemaError):
        ShardReceipt.from_json(data, "receipts/shard.json")


def gpl(data: bytes) -> None:
    """A palette of GIMP's."""
    _palette("palette.gpl", data)


def hexes(data: bytes) -> None:
    """A palette of one #rrggbb a line."""
    _palette("palette.hex", data)


def colors(data: bytes) -> None:
    """A palette as a JSON list."""
    _palette("palette.json", data)


def _palette(name: str, data: bytes) -> None:
    from preprocess.palettes import PaletteError, load

    path = _folder() / name
    path.write_bytes(data)
    with contextlib.suppress(PaletteError):
        load(str(path))


def export_json(data: bytes) -> None:
    """export.json, and where it says that the network lies."""
    from training.errors import LinewashError
    from training.export.metadata import EXPORT_NAME, ExportMetadata

    root = _folder() / "export"
    root.mkdir(exist_ok=True)
    (root / EXPORT_NAME).write_bytes(data)
    with contextlib.suppress(LinewashError):
        found = ExportMetadata.load(root)
        assert found.file(root, "onnx").resolve().parent == root.resolve()


def run_json(data: bytes) -> None:
    """run.json, as it is read to judge, to compare, and to go on."""
    from training.errors import LinewashError
    from training.hydra_config import from_run
    from training.run.run_info import RUN_NAME, RunInfo, read_run

    root = _folder()
    (root / RUN_NAME).write_bytes(data)
    for reads in (RunInfo.read, read_run, lambda path: from_run(path, [])):
        with contextlib.suppress(LinewashError):
            reads(root)


def state(data: bytes) -> None:
    """The state of a run, with the digest that makes it look whole."""
    from training.loop.checkpoint_file import DamagedCheckpointError, read_state

    path = _folder() / "1.state"
    path.write_bytes(data + hashlib.sha256(data).digest())
    with contextlib.suppress(DamagedCheckpointError):
        read_state(path)


def page(data: bytes) -> None:
    """A drawing that somebody sends."""
    from linewash.coloring.image_io import read_page

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        read_page(data)


def layer(data: bytes) -> None:
    """A picture of hints that somebody sends."""
    from linewash.coloring.image_io import read_layer

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        read_layer(data)


def drawing(data: bytes) -> None:
    """The lines of a small drawing."""
    from linewash.coloring.image_io import read_page
    from linewash.coloring.line_extraction import read_drawing

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        if read_page(data).size < 1 << 20:
            found = read_drawing(data)
            assert found.ink.shape == found.shape


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        photo, tar, records, shard, manifest, receipt, gpl, hexes, colors, export_json, run_json, state, page,
        layer, drawing,
    )
}  # fmt: skip


def corpus(target: str) -> list[Path]:
    """What is kept for a target."""
    return sorted((CORPUS / target).glob("*"))


def replay(target: str, paths: list[Path]) -> list[dict[str, object]]:
    """Gives each file to the target; its name, and the seconds (of a CPU) and megabytes that it took."""
    TARGETS[target](b"")  # imports
    rows: list[dict[str, object]] = []
    for path in paths:
        data = path.read_bytes()
        before, started = _fresh_peak(), time.process_time()
        TARGETS[target](data)
        seconds, megabytes = time.process_time() - started, _peak() - before
        rows.append({"file": path.name, "seconds": round(seconds, 3), "megabytes": round(megabytes)})
    return rows


def fuzz(target: str, seconds: int) -> None:
    """Tries inputs until the time is over or one is a finding; never returns."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        for path in corpus(target):
            TARGETS[target](path.read_bytes())
    fresh = tempfile.mkdtemp(prefix=f"fuzz-{target}-")
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    flags = {
        "max_total_time": seconds, "timeout": SECONDS, "rss_limit_mb": 2 * MEGABYTES, "max_len": LARGEST,
        "artifact_prefix": f"{CORPUS / target}/", "print_final_stats": 1, "verbosity": 1,
    }  # fmt: skip
    words = [f"-{name}={value}" for name, value in flags.items()]
    atheris.Setup([sys.argv[0], *words, fresh, str(CORPUS / target)], TARGETS[target])
    atheris.Fuzz()


@cache
def _folder() -> Path:
    """A folder for what can only be read as a file; it goes with the process."""
    kept = tempfile.TemporaryDirectory(prefix="hostile-")
    _kept.append(kept)
    return Path(kept.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _fresh_peak() -> float:
    """What is in memory now, in megabytes; the peak counts from here on (on Linux alone)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parser() -> Parser:
    """Every flag."""
    made = Parser("fuzz", __doc__)
    add = made.add_argument
    add("target", choices=TARGETS, help="what is fuzzed")
    add("--seconds", type=at_least(1), default=60, metavar="N", help="how long [60]")
    add("--replay", type=local_path, nargs="+", metavar="FILE", help="try just these, and measure")
    return made


def main(words: list[str] | None = None) -> int:
    """Answers the command line; returns the exit code."""
    return run(parser(), work, words, extra="fuzz")


def work(args: argparse.Namespace) -> int:
    """Fuzzes or replays; 0."""
    if args.replay:
        print(json.dumps(replay(args.target, args.replay)))
    else:
        fuzz(args.target, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
