"""Packs the running linewash as a wheel, for machines that have Beam but not linewash.

The wheel is built without tools or network access, from a checkout or from an installed linewash. The same
source files give the same bytes. The wheel requires exactly the versions installed here, as pixels depend on
them. Only its extra `preprocess` requires Beam, since Beam's containers already have the right version.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import preprocess
import tfrecords_schema

NAME = "linewash"
PINNED = ("google-crc32c", "msgspec", "numpy", "opencv-python-headless", "simplejpeg", "tqdm")
OPTIONAL = ("resvg-py",)  # pinned where it is installed; it reads SVGs
UNPINNED = ("protobuf>=5",)  # Beam's containers pin it
WHEEL = b"Wheel-Version: 1.0\nGenerator: linewash\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ADVICE = "or give --sdk_container_image an image that has linewash (see scripts/dataflow/Dockerfile)"


class PackagingError(RuntimeError):
    """linewash cannot be packed. The message contains the reason and what to do."""


def build_wheel(folder: str, extra_packages: Iterable[str] = ()) -> str:
    """Writes the wheel and returns its path.

    Args:
      folder: an existing folder for the wheel.
      extra_packages: installed packages that the wheel requires in addition to `PINNED`.

    Raises:
      PackagingError: see `check`.
    """
    stem = f"{NAME}-{tfrecords_schema.__version__}"
    info = f"{stem}.dist-info"
    files = {
        **_source_files(),
        f"{info}/METADATA": _metadata(extra_packages).encode(),
        f"{info}/WHEEL": WHEEL,
    }
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = f"{folder}/{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # dated 1980, so that the bytes do not depend on the time
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def check() -> None:
    """Checks that a wheel can be built.

    Raises:
      PackagingError: linewash does not run from source files, or a required package is not installed.
    """
    _source_files()
    _metadata()


def _source_files() -> dict[str, bytes]:
    """Returns the files of `preprocess` and `tfrecords_schema` by their names in the wheel."""
    package, schema = Path(str(preprocess.__file__)).parent, Path(tfrecords_schema.__file__)
    paths = {str(path.relative_to(package.parent)): path for path in sorted(package.rglob("*.py"))}
    if not paths or not schema.is_file():
        raise PackagingError(
            f"linewash cannot be packed for the workers, as {package} is no folder of source files: run it "
            f"from a checkout or from an installation by pip, {ADVICE}"
        )
    return {name: path.read_bytes() for name, path in paths.items()} | {schema.name: schema.read_bytes()}


def _metadata(extra_packages: Iterable[str] = ()) -> str:
    installed = [name for name in OPTIONAL if any(metadata.distributions(name=name))]
    requirements = (*UNPINNED, *map(_pinned, (*PINNED, *installed, *extra_packages)))
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {tfrecords_schema.__version__}",
        "Summary: linewash's Beam job, for workers.",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {requirement}" for requirement in requirements),
        "Provides-Extra: preprocess",
        f'Requires-Dist: {_pinned("apache-beam")}; extra == "preprocess"',
    ]
    return "\n".join(lines) + "\n"


def _pinned(name: str) -> str:
    """Returns the requirement for the installed version of a package."""
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        raise PackagingError(
            f"linewash cannot be packed for the workers, as {name} is not installed here and they must have "
            f"the same version: pip install {name}, {ADVICE}"
        ) from None


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
