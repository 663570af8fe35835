"""Processors: how many this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path


def count_cpus(root: str | os.PathLike[str] = "/") -> int:
    """Return how many processors this process may use, at least 1.

    That is the number it may be scheduled on, bounded by the quota of its control group, rounded
    up: a container that gets one and a half processors of a machine with 64 counts two.

    Args:
        root: Where ``proc`` and ``sys`` are found.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        allowed = os.cpu_count() or 1
    quota = cgroup_quota(root)
    if quota is not None:
        allowed = min(allowed, math.ceil(quota))
    return max(allowed, 1)


def cgroup_quota(root: str | os.PathLike[str] = "/") -> float | None:
    """Return the processors that this process's control group is granted, or None for no bound.

    The smallest quota on the way from the group up to the root of the hierarchy counts.  Version 2
    says ``max 100000`` or ``150000 100000`` in ``cpu.max``, version 1 has a file for each number,
    -1 meaning no bound.

    Source: the kernel's ``Documentation/admin-guide/cgroup-v2.rst``, "CPU Interface Files".
    """
    base = Path(root)
    try:
        lines = (base / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            mount = base / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            mount = base / "sys/fs/cgroup/cpu"
        else:
            continue
        folder = mount / group.lstrip("/")
        # Inside a container the path may be the host's; the container's own root is the mount.
        for place in (folder, *folder.parents):
            quota = _read_quota(place)
            if quota is not None:
                quotas.append(quota)
            if place == mount:
                break
    return min(quotas, default=None)


def _read_quota(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        granted = int(limit) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return granted if granted > 0 else None
