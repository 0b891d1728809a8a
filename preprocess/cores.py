"""Finds the number of CPU cores that this process may use, for every command that starts workers.

This module imports only the standard library.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path


def available_cores(process: Path = Path("/proc/self")) -> int:
    """Returns the minimum of the affinity mask and the CPU quota, rounded up to whole cores.

    Args:
      process: the procfs directory of the process.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return math.ceil(min(affinity, cpu_quota(process)))


def cpu_quota(process: Path = Path("/proc/self")) -> float:
    """Returns the CPU quota of the control groups of a process, in cores; infinity if there is none.

    The limit of a group applies to all groups inside it, so the quota is the minimum over the group of the
    process and all its ancestors. See cgroups(7), proc(5), and admin-guide/cgroup-v2 and scheduler/sched-bwc
    in the documentation of the Linux kernel.
    """
    try:
        directories = list(_cpu_groups(process))
    except OSError:
        return math.inf
    return min(map(_quota, directories), default=math.inf)


def _cpu_groups(process: Path) -> Iterator[Path]:
    """Yields the directories of the CPU control groups (version 1 or 2), from the innermost to the root."""
    mounts = [_mount(line) for line in (process / "mountinfo").read_text().splitlines()]
    for line in (process / "cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for kind, options, root, mount_point in mounts:
            if kind == ("cgroup" if controllers else "cgroup2") and (not controllers or "cpu" in options):
                yield from _with_ancestors(group, root, mount_point)


def _mount(line: str) -> tuple[str, list[str], str, str]:
    """Parses a line of mountinfo: file system type, its options, its mounted root, and the mount point."""
    fields, _, rest = line.partition(" - ")
    root, mount_point = (_unescape(field) for field in fields.split()[3:5])
    kind, _, options = rest.split(" ", 2)
    return kind, options.split(","), root, mount_point


def _unescape(field: str) -> str:
    """Decodes the octal escapes of mountinfo, such as \\040 for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _with_ancestors(group: str, root: str, mount_point: str) -> Iterator[Path]:
    """Yields the directories of `group` and its ancestors, where `root` is mounted at `mount_point`.

    Inside a container, `group` may be the name outside of it, which is not below `root`. In this case only
    the mount point is yielded, which is the group of the container.
    """
    relative = os.path.relpath(group, root)
    directory = Path(mount_point) if relative.startswith("..") else Path(mount_point, relative)
    while directory != Path(mount_point):
        yield directory
        directory = directory.parent
    yield Path(mount_point)


def _quota(group: Path) -> float:
    """Returns the limit of one group in cores; infinity if it has none."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except (OSError, ValueError):
            return math.inf
    try:  # "max" in version 2 and -1 in version 1 mean no limit
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (ValueError, ZeroDivisionError):
        return math.inf
