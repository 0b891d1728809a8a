"""Fixtures that many tests share: small complete datasets, and the count of injected faults."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helper_page import launch_browser
from hypothesis import settings
from playwright.sync_api import Browser

import tfrecords_schema as schema

# No deadline: the first example of a test also imports modules and builds look-up tables.
settings.register_profile("linewash", deadline=None)
settings.load_profile("linewash")

# absl's logger stores sys.stderr at import and closes it when Hydra configures logging. It must not be
# pytest's.
with contextlib.redirect_stderr(sys.__stderr__):
    import absl.logging  # noqa: F401

# Shells ignore Ctrl-C for background jobs, and nohup ignores SIGHUP. Tests of these signals need the
# defaults.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TinyDataset = Callable[..., Path]


def draw_example(seed: int, size: int, palette: schema.Palette) -> tuple[np.ndarray, np.ndarray]:
    """Draws a sky, a ground and one house, so that position and shape determine the label of a pixel.

    Returns:
      Edges, uint8 [S, S] in {0, 1}, and labels, [S, S] of the palette's dtype.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), palette.label_dtype)
    horizon = int(rng.integers(size // 3, 2 * size // 3))
    labels[horizon:] = 1
    left, top = int(rng.integers(size // 2)), int(rng.integers(horizon // 2, horizon))
    labels[top : horizon + size // 8, left : left + size // 3] = len(palette) - 1
    below, right = np.roll(labels, -1, 0) != labels, np.roll(labels, -1, 1) != labels
    edges = (below | right).astype(np.uint8)
    edges[-1], edges[:, -1] = 0, 0
    return edges, labels


def write_dataset(
    root: Path,
    *,
    train: int = 48,
    val: int = 16,
    size: int = 32,
    shards: int = 3,
    num_values: int = 2,
    compression: schema.Compression = "none",
    lines: tuple[str, ...] = ("canny",),
) -> Path:
    """Writes a complete dataset directory and returns it. The same arguments give the same bytes.

    Of several line styles, number i shows the drawing moved down by i pixels.
    """
    palette, num_lines = schema.Palette.grid(num_values), len(lines)
    splits = {
        "train": _write_split(root, "train", range(train), shards, size, palette, num_lines, compression),
        "val": _write_split(
            root, "val", range(10_000, 10_000 + val), 1, size, palette, num_lines, compression
        ),
    }
    manifest = schema.Manifest(
        schema_version=schema.SCHEMA_VERSION,
        tool="tests",
        fingerprint="0" * 16,
        images_digest="0" * 16,
        image_size=size,
        label_dtype="uint8" if len(palette) <= 256 else "uint16",
        lines=list(lines),
        compression=compression,
        palette=palette,
        recipe={},
        seed=0,
        val_fraction=0.25,
        sources=["tests"],
        splits=splits,
        rejects={},
    )
    (root / schema.MANIFEST_NAME).write_bytes(manifest.to_json())
    return root


def _write_split(
    root: Path,
    split: str,
    seeds: range,
    shards: int,
    size: int,
    palette: schema.Palette,
    num_lines: int,
    compression: schema.Compression,
) -> schema.Split:
    (root / split).mkdir(parents=True)
    histogram, edge_pixels, infos = np.zeros(len(palette), int), np.zeros(num_lines, int), []
    for index in range(shards):
        frames, key = [], b""
        for seed in seeds[index::shards]:
            edges, labels = draw_example(seed, size, palette)
            histogram += np.bincount(labels.ravel(), minlength=len(palette))
            maps = np.stack([np.roll(edges, line, axis=0) for line in range(num_lines)])
            edge_pixels += maps.sum(axis=(1, 2), dtype=int)
            key = f"scene/{seed:06d}.png".encode()
            record = schema.encode_example(key, schema.pack_edges(maps), labels.tobytes())
            frames.append(schema.frame_record(record))
        content = b"".join(frames)
        if compression == "gzip":
            content = gzip.compress(content, mtime=0)
        name = schema.shard_name(split, index, shards, compression)
        (root / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        sizes = (len(key), num_lines * size**2 // 8, size**2 * palette.label_dtype.itemsize)
        layout = schema.RecordLayout.from_sizes(*sizes) if compression == "none" else None
        infos.append(schema.ShardInfo(name, len(frames), len(content), digest, layout))
    return schema.Split(len(seeds), histogram.tolist(), edge_pixels.tolist(), infos)


def make_manifest(size: int) -> schema.Manifest:
    """Returns a manifest of one example with `size` px and a palette of five greys."""
    palette = schema.Palette("greys", tuple((value, value, value) for value in range(0, 250, 50)))
    split = schema.Split(1, [size * size - 4, 1, 1, 1, 1], [0], [schema.ShardInfo("train", 1, 0, "", None)])
    return schema.Manifest(
        schema_version=schema.SCHEMA_VERSION, tool="tests", fingerprint="", images_digest="",
        image_size=size, label_dtype="uint8", lines=["canny"], compression="none", palette=palette,
        recipe={}, seed=0, val_fraction=0.0, sources=[], splits={"train": split}, rejects={},
    )  # fmt: skip


# Files with the longest tests. They run first, so that no process is left with one of them at the end.
LONG = ("test_readme", "test_faults", "test_resume", "test_models", "test_distribution", "test_export")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {f"{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONG)))


Count = Callable[[str], None]


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Counts one injected fault of a kind. The sums are printed at the end of the session."""
    return lambda kind: record_property("fault", kind)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the number of faults of each kind, summed over all processes of pytest-xdist."""
    reports = [report for category in terminalreporter.stats.values() for report in category]
    calls = (report for report in reports if getattr(report, "when", None) == "call")
    properties = (item for report in calls for item in report.user_properties)
    faults = Counter(kind for name, kind in properties if name == "fault")
    for kind, number in sorted(faults.items()):
        terminalreporter.write_line(f"faults: {number} {kind}")


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> TinyDataset:
    """Returns `write_dataset` for a new directory."""

    def write(**options: object) -> Path:
        return write_dataset(tmp_path / "dataset", **options)  # type: ignore[arg-type]

    return write


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window. It ends with the module: its event loop would disturb other tests."""
    with launch_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def shared_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 48 + 16 examples of 32 px and 8 colours, for tests that only read it."""
    return write_dataset(tmp_path_factory.mktemp("shared") / "dataset")
