"""The number of workers is limited by the affinity mask and by the CPU quota of the container."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from preprocess.cores import available_cores, cpu_quota


def process(folder: Path, groups: str, mounts: str, **files: str) -> Path:
    """Makes the procfs directory of a process, and control groups in `folder`/sys.

    The keyword a__cpu_max gives the content of sys/a/cpu.max.
    """
    for name, text in files.items():
        path = folder / "sys" / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "self").mkdir()
    (folder / "self/cgroup").write_text(groups)
    (folder / "self/mountinfo").write_text(mounts.format(sys=folder / "sys"))
    return folder / "self"


V2 = "25 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 / {sys} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
V1 = (
    "33 32 0:30 /docker/ab {sys}/mem rw - cgroup cgroup rw,memory\n"
    "34 32 0:31 /docker/ab {sys}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
)


def test_the_quota_of_version_2(tmp_path: Path) -> None:
    assert cpu_quota(process(tmp_path, "0::/\n", V2, cpu_max="150000 100000\n")) == 1.5


def test_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(process(tmp_path, "0::/a\n", V2, a__cpu_max="max 100000\n")) == math.inf


def test_the_minimum_quota_of_nested_groups_counts(tmp_path: Path) -> None:
    files = {"pod__cpu_max": "200000 100000\n", "pod__box__cpu_max": "max 100000\n"}
    assert cpu_quota(process(tmp_path, "0::/pod/box\n", V2, **files)) == 2
    own = tmp_path / "sys/pod/box/cpu.max"
    own.write_text("50000 100000\n")
    assert cpu_quota(tmp_path / "self") == 0.5


def test_a_group_that_is_not_visible_in_the_container(tmp_path: Path) -> None:
    """Without a namespace, the process reads the name of its group outside the container."""
    assert cpu_quota(process(tmp_path, "0::/../../else/where\n", V2, cpu_max="300000 100000\n")) == 3


def test_the_quota_of_version_1(tmp_path: Path) -> None:
    files = {
        "cpu__cpu_cfs_quota_us": "400000\n", "cpu__cpu_cfs_period_us": "100000\n",
        "cpu__in__cpu_cfs_quota_us": "-1\n", "cpu__in__cpu_cfs_period_us": "100000\n",
    }  # fmt: skip
    groups = "5:memory:/docker/ab/in\n4:cpu,cpuacct:/docker/ab/in\n1:name=systemd:/x\n"
    assert cpu_quota(process(tmp_path, groups, V1, **files)) == 4


@pytest.mark.parametrize("text", ["", "nonsense\n", "0 0\n"])
def test_unreadable_files_limit_nothing(tmp_path: Path, text: str) -> None:
    assert cpu_quota(process(tmp_path, "0::/\n", V2, cpu_max=text)) == math.inf
    assert cpu_quota(tmp_path / "nowhere") == math.inf


def test_cores_are_rounded_up_and_limited_by_the_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = process(tmp_path, "0::/\n", V2, cpu_max="150000 100000\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert available_cores(folder) == 2
    (tmp_path / "sys/cpu.max").write_text("10000 100000\n")
    assert available_cores(folder) == 1
    (tmp_path / "sys/cpu.max").write_text("max 100000\n")
    assert available_cores(folder) == 8
