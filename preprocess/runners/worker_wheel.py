"""linewash as it runs here in, a wheel out: what machines need that have Beam but not linewash.

It is made the same way from a checkout and from an installed linewash, without tools or network, and the same
sources give the same bytes. It asks for exactly the versions that stand here, as pixels depend on them; Beam
itself is only in its extra `preprocess`, since Beam's containers bring the right one along.
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
FREE = ("protobuf>=5",)  # Beam's containers pin it
WHEEL = b"Wheel-Version: 1.0\nGenerator: linewash\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
ADVICE = "or give --sdk_container_image an image that has linewash (see scripts/dataflow/Dockerfile)"


class PackagingError(RuntimeError):
    """linewash cannot be packed; the message says why and what to do."""


def build_wheel(folder: str, also: Iterable[str] = ()) -> str:
    """Writes the wheel into `folder` and gives its path.

    Args:
      folder: where to; it must be there.
      also: more distributions that are asked for, at the versions that stand here.

    Raises:
      PackagingError: see `check`.
    """
    stem = f"{NAME}-{tfrecords_schema.__version__}"
    info = f"{stem}.dist-info"
    files = {
        **_sources(),
        f"{info}/METADATA": _metadata(also).encode(),
        f"{info}/WHEEL": WHEEL,
    }
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = f"{folder}/{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)  # its time is 1980 and not now
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return path


def check() -> None:
    """Makes sure that a wheel can be built.

    Raises:
      PackagingError: linewash does not run from source files, or something it needs is not installed.
    """
    _sources()
    _metadata()


def _sources() -> dict[str, bytes]:
    """The files of the package and the contract, by their names in a wheel."""
    package, contract = Path(str(preprocess.__file__)).parent, Path(tfrecords_schema.__file__)
    found = {str(path.relative_to(package.parent)): path for path in sorted(package.rglob("*.py"))}
    if not found or not contract.is_file():
        raise PackagingError(
            f"linewash cannot be packed for the workers, as {package} is no folder of source files: run it "
            f"from a checkout or from an installation by pip, {ADVICE}"
        )
    return {name: path.read_bytes() for name, path in found.items()} | {contract.name: contract.read_bytes()}


def _metadata(also: Iterable[str] = ()) -> str:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {tfrecords_schema.__version__}",
        "Summary: linewash's Beam job, for workers.",
        "Requires-Python: >=3.11",
        *(f"Requires-Dist: {requirement}" for requirement in (*FREE, *map(_pinned, (*PINNED, *also)))),
        "Provides-Extra: preprocess",
        f'Requires-Dist: {_pinned("apache-beam")}; extra == "preprocess"',
    ]
    return "\n".join(lines) + "\n"


def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        raise PackagingError(
            f"linewash cannot be packed for the workers, as {name} is not installed here and they must have "
            f"the same version: pip install {name}, {ADVICE}"
        ) from None


def _digest(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
