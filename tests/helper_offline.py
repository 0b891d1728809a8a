"""Runs commands with an empty HOME, an empty working directory and no network.

A hook in Python's sockets refuses and records every connection to another machine. Connections of native
code are counted by the kernel where the system permits a separate network namespace (`unshare`).
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

# The code of sitecustomize, which every Python process loads.
SITECUSTOMIZE = """
import os, socket

def _record(connection):
    with open(os.environ["LINEWASH_TEST_NETWORK_LOG"], "a") as file:
        file.write(f"{connection}\\n")
    raise OSError(101, "Network is unreachable")

def _is_local(host):
    host = host.decode() if isinstance(host, bytes) else host
    return host in (None, "", "localhost", "0.0.0.0", "::", "::1") or host.startswith("127.")

def _guard_method(name, position):
    original = getattr(socket.socket, name)
    def guarded(self, *args):
        address = args[position] if len(args) > position else args[-1]
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
            _record(f"{name} {address}")
        return original(self, *args)
    setattr(socket.socket, name, guarded)

def _guard_function(name):
    original = getattr(socket, name)
    def guarded(host, *args, **keywords):
        if not _is_local(host):
            _record(f"{name} {host}")
        return original(host, *args, **keywords)
    setattr(socket, name, guarded)

for name, position in (("connect", 0), ("connect_ex", 0), ("sendto", -1)):
    _guard_method(name, position)
for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
    _guard_function(name)
"""

# Runs in a new network namespace: brings up the loopback, runs the command, writes the kernel's counters.
NAMESPACE_PROGRAM = """
import fcntl, socket, struct, subprocess, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    up = struct.pack("16sH22x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as counters:
    for name in ("/proc/net/snmp", "/proc/net/snmp6"):
        try:
            counters.write(open(name).read())
        except OSError:
            pass
sys.exit(code)
"""


@dataclass(frozen=True)
class IsolatedMachine:
    """The folders of a command. It may write only to `output`, which its arguments name."""

    home: Path
    cwd: Path
    temporary: Path
    output: Path
    hook: Path

    @classmethod
    def make(cls, root: Path) -> IsolatedMachine:
        """Makes the folders below `root`."""
        machine = cls(*(root / name for name in ("home", "cwd", "tmp", "keep", "hook")))
        for folder in (machine.home, machine.cwd, machine.temporary, machine.output, machine.hook):
            folder.mkdir()
        (machine.hook / "sitecustomize.py").write_text(SITECUSTOMIZE)
        return machine

    @property
    def environment(self) -> dict[str, str]:
        """An environment without variables that name other folders to write to."""
        inherited = {
            name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ
        }
        return {
            **inherited,
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": f"{self.hook}{os.pathsep}{ROOT}{os.pathsep}{ROOT / 'scripts'}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LINEWASH_TEST_NETWORK_LOG": str(self.hook / "network.log"),
        }

    def command(self, *arguments: object) -> list[str]:
        """Returns `python ARGUMENTS`, in a new network namespace if the system permits one."""
        command = [sys.executable, *map(str, arguments)]
        if not can_unshare():
            return command
        counters = self.hook / f"counters-{uuid.uuid4().hex}"
        return ["unshare", "--net", sys.executable, "-S", "-c", NAMESPACE_PROGRAM, str(counters), *command]

    def run(self, *arguments: object, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        """Runs `python ARGUMENTS` to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=self.cwd, env=self.environment, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def assert_untouched(self) -> None:
        """Checks that files were written only to `output`, and that no network was used."""
        for folder in (self.home, self.cwd, self.temporary):
            names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
            assert names == [], f"left in {folder.name}"
        log = self.hook / "network.log"
        assert not log.exists(), log.read_text()
        num_unroutable = sum(_count_unroutable(path.read_text()) for path in self.hook.glob("counters-*"))
        assert num_unroutable == 0, "native code tried to reach another machine"


def _count_unroutable(counters: str) -> int:
    """Sums the kernel's counts of unroutable packets and of datagrams (a name server may be local)."""
    counts = re.findall(r"^(?:Ip6OutNoRoutes|Udp6OutDatagrams)\s+(\d+)", counters, re.MULTILINE)
    total = sum(map(int, counts))
    for protocol, name in (("Ip", "OutNoRoutes"), ("Udp", "OutDatagrams")):
        names, values = re.findall(rf"^{protocol}: (.*)$", counters, re.MULTILINE)
        total += int(dict(zip(names.split(), values.split(), strict=True))[name])
    return total


@functools.cache
def can_unshare() -> bool:
    """Returns whether the system permits a new network namespace."""
    try:
        return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False
