"""Tests of the number of CPUs in containers: cgroup versions 1 and 2, of the process and its parents."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.cpu_limits import usable_cpus


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V2 = {"proc/self/cgroup": "0::/"}
V1 = {"proc/self/cgroup": "4:memory:/\n1:cpu,cpuacct:/"}
HOST = {"proc/self/cgroup": "1:cpu:/kubepods/burstable/pod1/abc"}
CPU = "sys/fs/cgroup/cpu"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        (V2, 64),
        (V2 | {"sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        (V2 | {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "250000 100000"}, 2),
        (V2 | {"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        (V2 | {"sys/fs/cgroup/cpu.max": "12800000 100000"}, 64),
        (V2 | {"sys/fs/cgroup/cpu.max": "unreadable"}, 64),
        # The cgroup of a parent also limits the process.
        (
            {
                "proc/self/cgroup": "0::/outer.slice/inner.scope",
                "sys/fs/cgroup/outer.slice/cpu.max": "300000 100000",
                "sys/fs/cgroup/outer.slice/inner.scope/cpu.max": "max 100000",
            },
            3,
        ),
        (V1, 64),
        (V1 | {f"{CPU}/cpu.cfs_quota_us": "-1", f"{CPU}/cpu.cfs_period_us": "100000"}, 64),
        (V1 | {f"{CPU}/cpu.cfs_quota_us": "400000", f"{CPU}/cpu.cfs_period_us": "100000"}, 4),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000",
            },
            3,
        ),
        # Without a cgroup namespace, the path is that of the host, and the container's cgroup is mounted.
        (HOST | {f"{CPU}/cpu.cfs_quota_us": "200000", f"{CPU}/cpu.cfs_period_us": "100000"}, 2),
        # Versions 1 and 2 are mounted at the same time.
        (
            {
                "proc/self/cgroup": "1:cpu:/\n0::/",
                f"{CPU}/cpu.cfs_quota_us": "500000",
                f"{CPU}/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/unified/cpu.max": "max 100000",
            },
            5,
        ),
    ],
)
def test_the_smallest_limit_counts(files: dict[str, str], expected: int, tmp_path: Path) -> None:
    assert usable_cpus(root=write(tmp_path, files), available=64) == expected


def test_the_affinity_of_this_process_counts() -> None:
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}})\n"
    code += "from serve_app.cpu_limits import usable_cpus; print(usable_cpus())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "1"
