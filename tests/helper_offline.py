"""Runs commands where nothing is at home: an empty HOME, an empty working directory, and no network.

Python's own sockets are watched by a hook, which refuses and records whatever is not on this machine. What
native code asks for is seen where the system grants a network of its own (`unshare`): the kernel counts there
what finds no way out.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Loaded by every Python that is started, as sitecustomize.
GUARD = """
import os, socket

def _record(what):
    with open(os.environ["LINEWASH_TEST_ASKED"], "a") as file:
        file.write(f"{what}\\n")
    raise OSError(101, "Network is unreachable")

def _is_here(host):
    host = host.decode() if isinstance(host, bytes) else host
    return host in (None, "", "localhost", "0.0.0.0", "::", "::1") or host.startswith("127.")

def _guard_method(name, position):
    ordinary = getattr(socket.socket, name)
    def guarded(self, *args):
        address = args[position] if len(args) > position else args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            _record(f"{name} {address}")
        return ordinary(self, *args)
    setattr(socket.socket, name, guarded)

def _guard_function(name):
    ordinary = getattr(socket, name)
    def guarded(host, *args, **more):
        if not _is_here(host):
            _record(f"{name} {host}")
        return ordinary(host, *args, **more)
    setattr(socket, name, guarded)

for name, position in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
    _guard_method(name, position)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    _guard_function(name)
"""

# Started in a network namespace of its own: brings up the loopback, runs the command, prints what was sent.
INSIDE = """
import fcntl, socket, struct, subprocess, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    up = struct.pack("16sH22x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as counted:
    for name in ("/proc/net/snmp", "/proc/net/snmp6"):
        try:
            counted.write(open(name).read())
        except OSError:
            pass
sys.exit(code)
"""


@dataclass(frozen=True)
class Away:
    """The empty places. `keep` holds what commands may write: it is named in their arguments."""

    home: Path
    cwd: Path
    temporary: Path
    keep: Path
    hook: Path

    @classmethod
    def make(cls, root: Path) -> Away:
        """Makes them below `root`."""
        away = cls(*(root / name for name in ("home", "cwd", "tmp", "keep", "hook")))
        for folder in (away.home, away.cwd, away.temporary, away.keep, away.hook):
            folder.mkdir()
        (away.hook / "sitecustomize.py").write_text(GUARD)
        return away

    @property
    def environment(self) -> dict[str, str]:
        """Where there is nothing that could say where else to write."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": f"{self.hook}{os.pathsep}{ROOT}{os.pathsep}{ROOT / 'scripts'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LINEWASH_TEST_ASKED": str(self.hook / "asked"),
        }

    def command(self, *words: object) -> list[str]:
        """`python WORDS` in a network of its own, if this system grants one."""
        own = [sys.executable, *map(str, words)]
        if not can_unshare():
            return own
        counted = self.hook / f"counted-{uuid.uuid4().hex}"
        return ["unshare", "--net", sys.executable, "-S", "-c", INSIDE, str(counted), *own]

    def run(self, *words: object, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Runs `python WORDS` to its end."""
        return subprocess.run(
            self.command(*words), cwd=self.cwd, env=self.environment, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def assert_untouched(self) -> None:
        """Nothing was written but in `keep`, and nothing was asked of a network."""
        for place in (self.home, self.cwd, self.temporary):
            found = [str(path.relative_to(place)) for path in sorted(place.rglob("*"))]
            assert found == [], f"left in {place.name}"
        asked = self.hook / "asked"
        assert not asked.exists(), asked.read_text()
        counted = sum(_without_a_way_out(path.read_text()) for path in self.hook.glob("counted-*"))
        assert counted == 0, "native code asked for what is not on this machine"


def _without_a_way_out(counters: str) -> int:
    """The kernel's counts of packets without a way out, and of datagrams (a name server may be here)."""
    found = re.findall(r"^(?:Ip6OutNoRoutes|Udp6OutDatagrams)\s+(\d+)", counters, re.MULTILINE)
    total = sum(map(int, found))
    for protocol, name in (("Ip", "OutNoRoutes"), ("Udp", "OutDatagrams")):
        names, values = re.findall(rf"^{protocol}: (.*)$", counters, re.MULTILINE)
        total += int(dict(zip(names.split(), values.split(), strict=True))[name])
    return total


@functools.cache
def can_unshare() -> bool:
    """True where a process may have a network of its own."""
    try:
        return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
