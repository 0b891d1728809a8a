"""How many processor cores this process may use. Every command that starts workers asks here.

Imports the standard library only.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path


def available_cores(process: Path = Path("/proc/self")) -> int:
    """The lesser of the cores in the affinity mask and of the CPU quota of the container; at least 1.

    Args:
      process: the folder of this process in procfs.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(affinity, cpu_quota(process)))


def cpu_quota(process: Path = Path("/proc/self")) -> float:
    """The CPU time that control groups grant a process, in cores; infinity without a limit or off Linux.

    A group may set a limit for all groups inside it, so the least of those from our own group up to the root
    counts. See cgroups(7), proc(5), and the kernel's admin-guide/cgroup-v2 and scheduler/sched-bwc.
    """
    try:
        folders = list(_cpu_groups(process))
    except OSError:
        return math.inf
    return min(map(_quota, folders), default=math.inf)


def _cpu_groups(process: Path) -> Iterator[Path]:
    """The folders of the process's CPU control groups, of version 1 or 2, from its own up to the root."""
    mounts = [_mount(line) for line in (process / "mountinfo").read_text().splitlines()]
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for kind, options, root, folder in mounts:
            if kind == ("cgroup" if controllers else "cgroup2") and (not controllers or "cpu" in options):
                yield from _upwards(group, root, folder)


def _mount(line: str) -> tuple[str, list[str], str, str]:
    """File system, its options, the root inside it and the mount point, of a line of mountinfo."""
    fields, _, rest = line.partition(" - ")
    root, folder = (_unescape(field) for field in fields.split()[3:5])
    kind, _, options = rest.split(" ", 2)
    return kind, options.split(","), root, folder


def _unescape(field: str) -> str:
    """Spaces and the like are written as \\040 in mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _upwards(group: str, root: str, folder: str) -> Iterator[Path]:
    """The folders of `group` and of those around it, in a mount of `root` at `folder`.

    Inside a container `group` may be its name outside, which the mount does not show: then only the mount's
    own folder is left, which is the container's group.
    """
    inside = os.path.relpath(group, root)
    here = Path(folder) if inside.startswith("..") else Path(folder, inside)
    while here != Path(folder):
        yield here
        here = here.parent
    yield Path(folder)


def _quota(group: Path) -> float:
    """The limit that one group sets, in cores."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except (OSError, ValueError):
            return math.inf
    try:  # "max" in version 2 and -1 in version 1 say that there is none
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (ValueError, ZeroDivisionError):
        return math.inf
