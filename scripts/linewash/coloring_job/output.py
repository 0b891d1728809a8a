"""The output folder of a job: its settings, the finished pictures, and the rejected drawings."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from linewash.coloring_job.batch_writer import RECEIPTS_DIR, parse_receipt
from preprocess.output_directory import OutputError
from preprocess.storage import files
from tfrecords_schema import REJECTS_NAME, Reject, SchemaError, __version__

SETTINGS_NAME = "coloring.json"  # written before the first picture


def file_names(output: str) -> set[str]:
    """Returns the names of all files below a local or remote folder, relative to it."""
    if files.is_remote(output):
        return set(files.names(output, "**"))
    return {
        (Path(folder) / name).relative_to(output).as_posix()
        for folder, _, names in os.walk(output)
        for name in names
    }


def first_unknown_file(names: Iterable[str]) -> str | None:
    """Returns the first of the files that no colouring job writes, or None.

    Pictures are known by the settings file beside them. Names that begin with a dot are ignored.
    """
    visible = [name for name in names if not name.startswith(".")]
    return None if SETTINGS_NAME in visible else min(visible, default=None)


def check_settings(output: str, names: set[str], settings: dict[str, Any]) -> None:
    """Writes the settings file, or compares it with `settings`, so that all pictures are coloured alike.

    Raises:
      OutputError: pictures were coloured with other settings, or there are files of something else.
    """
    if name := first_unknown_file(names):
        raise OutputError(f"--output {output} holds other files ({name}): type the name of a new folder")
    if SETTINGS_NAME not in names:
        files.write(output, SETTINGS_NAME, msgspec.json.encode({"linewash": __version__, **settings}))
        return
    path = files.join(output, SETTINGS_NAME)
    try:
        before = msgspec.json.decode(files.read(path), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise OutputError(f"{path} is damaged ({e}): type another --output") from None
    differences = [
        f"{name} {_short(before.get(name))} (now {_short(settings[name])})"
        for name in settings
        if before.get(name) != settings[name]
    ]
    if differences:
        raise OutputError(
            f"the pictures in {output} were coloured with {', '.join(differences)}: give another --output"
        )


def _short(value: object) -> str:
    return str(value)[:16]


def read_rejects(output: str, names: set[str]) -> dict[str, Reject]:
    """Returns what earlier runs rejected, by key: from rejects.jsonl, and from the receipts of a stopped run.

    Raises:
      OutputError: rejects.jsonl is damaged.
    """
    rejects: list[Reject] = []
    if REJECTS_NAME in names:
        path = files.join(output, REJECTS_NAME)
        try:
            rejects += (msgspec.json.decode(line, type=Reject) for line in files.read(path).splitlines())
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise OutputError(f"{path} is damaged ({e}): remove it") from None
    for name in names:
        if name.startswith(f"{RECEIPTS_DIR}/") and name.endswith(".json"):
            try:
                rejects += parse_receipt(files.read(files.join(output, name)), name).rejects
            except SchemaError:  # a power cut may damage it; its drawings are tried again
                continue
    return {reject.key: reject for reject in rejects}


def write_rejects(output: str, rejects: dict[str, Reject]) -> None:
    """Writes rejects.jsonl, with one line for each rejected drawing, in the order of the keys."""
    lines = [msgspec.json.encode(reject) + b"\n" for _, reject in sorted(rejects.items())]
    files.write(output, REJECTS_NAME, b"".join(lines))
