"""Small packages shaped like those that scripts/fetch_art.sh fetches, and folders of programs for $PATH."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path


def path_without(*names: str, folder: Path) -> Path:
    """Fills `folder` with links to all programs of $PATH but those in `names`, and returns it."""
    folder.mkdir(parents=True)
    for directory in os.environ["PATH"].split(os.pathsep):
        for program in Path(directory).glob("*"):
            if program.name not in names and not (folder / program.name).is_symlink():
                (folder / program.name).symlink_to(program)
    return folder


def write_program(folder: Path, name: str, text: str) -> None:
    """Writes an executable shell script, in place of the link to a program of that name."""
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def make_deb(folder: Path, name: str = "openclipart-svg") -> Path:
    """Builds a Debian package with two drawings, and two links to one of them."""
    root = folder / "root"
    art = root / "usr/share/openclipart/svg"
    for path in (art / "animals/frog_bob_01.svg", art / "food/fruit/pear_bob_01.svg"):
        path.parent.mkdir(parents=True)
        path.write_text(f"<svg><!-- {path.name} --></svg>")
    (art / "animals/frog_bob_02.svg").symlink_to("frog_bob_01.svg")
    (art / "unsorted").mkdir()
    (art / "unsorted/frog.svg").symlink_to("../animals/frog_bob_01.svg")
    documentation = root / f"usr/share/doc/{name}"
    documentation.mkdir(parents=True)
    (documentation / "copyright").write_text("public domain\n")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 1:0.1-2\nArchitecture: all\nMaintainer: me <a@b.c>\nDescription: art\n"
    )
    package = folder / f"{name}_0.1-2_all.deb"
    # Like Debian, and unlike Ubuntu, xz.
    command = ["dpkg-deb", "-Zxz", "--root-owner-group", "--build", str(root), str(package)]
    subprocess.run(command, check=True, capture_output=True)
    return package


def make_npm_package(folder: Path, complete: bool = True) -> Path:
    """Packs three pictograms as npm packs OpenMoji; the list names one more if it is not `complete`."""
    codes = {"1F400": "animals-nature", "1F401": "animals-nature", "1F34E": "food-drink"}
    rows = [{"hexcode": code, "group": group, "skintone": ""} for code, group in codes.items()]
    contents = {
        f"{style}/svg/{code}.svg": f"<svg><!-- {style} {code} --></svg>"
        for code in codes
        for style in ("black", "color")
    }
    if not complete:
        rows.append({"hexcode": "1F402", "group": "animals-nature", "skintone": ""})
    contents |= {
        "data/openmoji.json": json.dumps(rows), "package.json": json.dumps({"version": "1.2.3"}),
        "LICENSE.txt": "CC BY-SA", "src/large.svg": "not ours",
    }  # fmt: skip
    return _pack(folder / "openmoji-1.2.3.tgz", contents)


def make_iconify_package(folder: Path, name: str) -> Path:
    """Packs six emoji as Iconify packs a set: a cat, a flag, a person in three tones, and two people."""
    people = ["boy", "boy-dark", "boy-light", "men-dark-skin-tone-light-skin-tone"]
    names = {"Animals & Nature": ["cat"], "Flags": ["flag-japan"], "People & Body": people}
    icons = {icon: {"body": f"<g id='{icon}'/>"} for group in names.values() for icon in group}
    icons["cat"]["width"] = "20"
    contents = {
        "icons.json": json.dumps({"icons": icons, "width": 32, "height": 32}),
        "metadata.json": json.dumps({"categories": names}),
        "package.json": json.dumps({"name": name, "version": "1.2.3"}),
        "info.json": json.dumps(
            {"license": {"title": "MIT", "url": "licence"}, "author": {"name": "Ann", "url": "home"}}
        ),
    }
    return _pack(folder / "set.tgz", contents)


def _pack(package: Path, contents: dict[str, str]) -> Path:
    with tarfile.open(package, "w:gz") as archive:
        for name, text in contents.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return package
