"""Fuzzes the code that reads files from elsewhere, guided by coverage, or replays single files.

    pip install --editable '.[all,fuzz]'
    python scripts/fuzz.py TARGET [--seconds N]
    python scripts/fuzz.py TARGET --replay FILE...

A target may return or raise one of the project's own errors. Any other exception, more than 5 seconds or more
than a gigabyte is a failure. The input of a failure is written to tests/testdata/hostile/TARGET, where the
tests replay it and later runs start from it. --replay also works without atheris.
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

from linewash.arguments import Parser, at_least, local_path, run

CORPUS = ROOT / "tests" / "testdata" / "hostile"
MAX_SECONDS = 5  # per input
MAX_MEGABYTES = 1024  # per input, in addition to the memory of the process before
MAX_INPUT_BYTES = 1 << 16
INSTRUMENTED = ["preprocess", "training", "linewash", "tfrecords_schema", "tarfile", "PIL"]

Target = Callable[[bytes], None]

# Each target imports what it needs in its first call, so that atheris can instrument these imports.


def photo(data: bytes) -> None:
    """Transforms an image with reduced and with full decoding."""
    from preprocess.recipe import Recipe
    from preprocess.rejects import Rejected
    from preprocess.transform import transform

    for decode in ("reduced", "full"):
        with contextlib.suppress(Rejected):
            transform(data, Recipe(image_size=16, decode=decode))


def tar(data: bytes) -> None:
    """Lists a tar and checks that all members lie inside the file and have safe names."""
    from preprocess.file_types import Skipped
    from preprocess.tars import TarError, image_members

    with contextlib.suppress(TarError):
        for member in image_members(io.BytesIO(data), "photos/class.tar", Skipped()):
            assert 0 <= member.offset <= member.offset + member.size <= len(data), member
            assert ".." not in member.name.split("/"), member
            assert not member.name.startswith("/"), member


def records(data: bytes) -> None:
    """Reads a shard record by record, as verify_shards.py does."""
    import tfrecords_schema as schema

    with contextlib.suppress(schema.SchemaError):
        for record in schema.read_records(io.BytesIO(data)):
            schema.decode_example(record)


def shard(data: bytes) -> None:
    """Reads a shard of 8 px and two colours with TensorFlow, as the trainer does."""
    from tfrecords_schema import SCHEMA_VERSION, Manifest, Palette, ShardInfo, Split
    from training.data.dataset import ShardedDataset, read_batches
    from training.errors import WorkError

    root = _temporary_folder()
    (root / "train").mkdir(exist_ok=True)
    info = ShardInfo("train/shard.tfrecord", 1, len(data), "", None)
    (root / info.name).write_bytes(data)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION, tool="", fingerprint="", images_digest="", image_size=8,
        label_dtype="uint8", lines=["canny"], compression="none",
        palette=Palette("two", ((0, 0, 0), (9, 9, 9))), recipe={}, seed=0, val_fraction=0, sources=[],
        splits={"train": Split(1, [64, 0], [0], [info])}, rejects={},
    )  # fmt: skip
    with contextlib.suppress(WorkError):
        batches = ShardedDataset(str(root), manifest).eval("train", batch_size=2)
        for _ in read_batches(batches, str(root)):
            pass


def manifest(data: bytes) -> None:
    """Parses manifest.json and checks the names of its shards."""
    from tfrecords_schema import Manifest, SchemaError

    with contextlib.suppress(SchemaError):
        manifest = Manifest.from_json(data)
        assert manifest.dataset_fingerprint
        for split in manifest.splits.values():
            for info in split.shards:
                assert ".." not in Path(info.name).parts, info
                assert not Path(info.name).is_absolute(), info


def receipt(data: bytes) -> None:
    """Parses the receipt of a shard."""
    from tfrecords_schema import SchemaError, ShardReceipt

    with contextlib.suppress(SchemaError):
        ShardReceipt.from_json(data, "receipts/shard.json")


def gpl(data: bytes) -> None:
    """Loads a palette in GIMP's format."""
    _load_palette("palette.gpl", data)


def hexes(data: bytes) -> None:
    """Loads a palette with one #rrggbb per line."""
    _load_palette("palette.hex", data)


def colors(data: bytes) -> None:
    """Loads a palette from a JSON list."""
    _load_palette("palette.json", data)


def _load_palette(name: str, data: bytes) -> None:
    from preprocess.palettes import PaletteError, load

    path = _temporary_folder() / name
    path.write_bytes(data)
    with contextlib.suppress(PaletteError):
        load(str(path))


def export_json(data: bytes) -> None:
    """Loads export.json and checks that the path of its network is inside the export."""
    from training.errors import LinewashError
    from training.export.metadata import EXPORT_NAME, ExportMetadata

    root = _temporary_folder() / "export"
    root.mkdir(exist_ok=True)
    (root / EXPORT_NAME).write_bytes(data)
    with contextlib.suppress(LinewashError):
        metadata = ExportMetadata.load(root)
        assert metadata.file(root, "onnx").resolve().parent == root.resolve()


def run_json(data: bytes) -> None:
    """Reads run.json, as the commands do and as resuming does."""
    from training.errors import LinewashError
    from training.hydra_config import from_run
    from training.run.run_info import RUN_NAME, RunInfo

    root = _temporary_folder()
    (root / RUN_NAME).write_bytes(data)
    for read in (RunInfo.read, lambda path: from_run(path, [])):
        with contextlib.suppress(LinewashError):
            read(root)


def checkpoint(data: bytes) -> None:
    """Reads the checkpoint of a run, with a digest that matches its bytes."""
    from training.loop.checkpoint_file import DamagedCheckpointError, read_checkpoint

    path = _temporary_folder() / "step-00000001.npz"
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())
    with contextlib.suppress(DamagedCheckpointError):
        read_checkpoint(path)


def page(data: bytes) -> None:
    """Reads a drawing."""
    from linewash.coloring.image_io import read_image

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        read_image(data)


def layer(data: bytes) -> None:
    """Reads an image of hint strokes."""
    from linewash.coloring.image_io import read_hints

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        read_hints(data)


def drawing(data: bytes) -> None:
    """Extracts the lines of a small drawing."""
    from linewash.coloring.image_io import read_image
    from linewash.coloring.line_extraction import read_drawing

    from training.errors import LinewashError

    with contextlib.suppress(LinewashError):
        if read_image(data).size < 1 << 20:
            drawing = read_drawing(data)
            assert drawing.line_opacity.shape == drawing.shape


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        photo, tar, records, shard, manifest, receipt, gpl, hexes, colors, export_json, run_json,
        checkpoint, page, layer, drawing,
    )
}  # fmt: skip


def corpus(target: str) -> list[Path]:
    """Returns the stored inputs of a target."""
    return sorted((CORPUS / target).glob("*"))


def replay(target: str, paths: list[Path]) -> list[dict[str, object]]:
    """Passes each file to the target. Returns the name, CPU seconds and additional megabytes of each."""
    TARGETS[target](b"")  # so that the first file is not charged for the imports
    rows: list[dict[str, object]] = []
    for path in paths:
        data = path.read_bytes()
        before, started = reset_peak_mb(), time.process_time()
        TARGETS[target](data)
        seconds, megabytes = time.process_time() - started, peak_mb() - before
        rows.append({"file": path.name, "seconds": round(seconds, 3), "megabytes": round(megabytes)})
    return rows


def fuzz(target: str, seconds: int) -> None:
    """Tries inputs until the time is over or an input fails. It never returns: atheris ends the process."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        for path in corpus(target):
            TARGETS[target](path.read_bytes())
    new_inputs = tempfile.mkdtemp(prefix=f"fuzz-{target}-")
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    flags = {
        "max_total_time": seconds,
        "timeout": MAX_SECONDS,
        "rss_limit_mb": 2 * MAX_MEGABYTES,
        "max_len": MAX_INPUT_BYTES,
        "artifact_prefix": f"{CORPUS / target}/",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    arguments = [f"-{name}={value}" for name, value in flags.items()]
    atheris.Setup([sys.argv[0], *arguments, new_inputs, str(CORPUS / target)], TARGETS[target])
    atheris.Fuzz()


@cache
def _temporary_folder() -> Path:
    """Returns a folder for targets that read from a path. It is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="hostile-")
    _open_folders.append(folder)
    return Path(folder.name)


_open_folders: list[tempfile.TemporaryDirectory[str]] = []


def reset_peak_mb() -> float:
    """Resets the peak memory of this process, which works on Linux alone, and returns it in megabytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def peak_mb() -> float:
    """Returns the peak resident memory of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_parser() -> Parser:
    """Returns the parser of the command line."""
    parser = Parser("fuzz", __doc__)
    add = parser.add_argument
    add("target", choices=TARGETS, help="code to test")
    add("--seconds", type=at_least(1), default=60, metavar="N", help="duration [60]")
    add("--replay", type=local_path, nargs="+", metavar="FILE", help="only run these files and measure them")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    return run(make_parser(), work, argv, extra="fuzz")


def work(args: argparse.Namespace) -> int:
    """Fuzzes the target, or replays files and prints their figures as JSON. Returns 0."""
    if args.replay:
        print(json.dumps(replay(args.target, args.replay)))
    else:
        fuzz(args.target, args.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
