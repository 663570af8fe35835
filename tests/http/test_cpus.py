"""Processors: the affinity of the process, and the quota of its control group."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http._cpus import cgroup_quota, count_cpus


@pytest.fixture(name="root")
def _root(tmp_path):
    """Return what writes files below a root of our own: ``root({path: text})`` returns it."""

    def write(files):
        for path, text in files.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return tmp_path

    return write


@pytest.fixture(name="allowed")
def _allowed(monkeypatch):
    """Say on how many processors this process may be scheduled."""

    def allow(count):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(count)), raising=False)

    return allow


def version_2(path, **groups):
    """The files of a version 2 hierarchy: our group is *path*."""
    files = {"proc/self/cgroup": f"0::{path}\n"}
    for group, text in groups.items():
        place = "" if group == "root" else group.replace("__", "/") + "/"
        files[f"sys/fs/cgroup/{place}cpu.max"] = text
    return files


def version_1(path, groups):
    """The files of a version 1 hierarchy, with quotas and periods by group."""
    lines = ["12:devices:/elsewhere", f"4:cpu,cpuacct:{path}", "1:name=systemd:/elsewhere"]
    files = {"proc/self/cgroup": "\n".join(lines) + "\n"}
    for group, (quota, period) in groups.items():
        files[f"sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us"] = f"{quota}\n"
        files[f"sys/fs/cgroup/cpu{group}/cpu.cfs_period_us"] = f"{period}\n"
    return files


# -- the quota


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 1.5),
        ("50000 100000\n", 0.5),
        ("800000 200000\n", 4.0),
        ("", None),
        ("nonsense\n", None),
        ("100000 0\n", None),
        ("-1 100000\n", None),
    ],
)
def test_version_2_says_quota_and_period_in_one_file(root, text, expected):
    """``max`` and whatever makes no sense is no bound."""
    assert cgroup_quota(root(version_2("/", root=text))) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"), [(-1, 100000, None), (250000, 100000, 2.5), (0, 100000, None)]
)
def test_version_1_says_quota_and_period_in_two_files(root, quota, period, expected):
    """``-1`` is no bound."""
    assert cgroup_quota(root(version_1("/", {"": (quota, period)}))) == expected


def test_the_smallest_quota_on_the_way_up_counts(root):
    """A group gets no more than the groups it is in."""
    groups = {
        "system__shop": "800000 100000",
        "system": "200000 100000",
        "root": "400000 100000",
        "other": "100000 100000",
    }

    assert cgroup_quota(root(version_2("/system/shop", **groups))) == 2.0


def test_the_smallest_quota_counts_in_version_1_too(root):
    """A group without one of its own has that of the group it is in."""
    groups = {"/docker": (300000, 100000), "/docker/4711": (-1, 100000)}

    assert cgroup_quota(root(version_1("/docker/4711", groups))) == 3.0


def test_a_path_of_the_host_leads_to_the_root_of_the_container(root):
    """Inside, only the container's own group can be seen, as the root of the hierarchy."""
    files = version_2("/kubepods/pod1/shop", root="100000 100000")

    assert cgroup_quota(root(files)) == 1.0


def test_a_path_above_the_root_of_the_container_is_harmless(root):
    """The kernel shows it so to a process that was moved there from outside."""
    assert cgroup_quota(root(version_2("/../other", root="100000 100000"))) == 1.0


def test_both_versions_at_once_are_both_looked_at(root):
    """As systemd's hybrid set-up has them."""
    files = version_1("/shop", {"/shop": (150000, 100000)})
    files["proc/self/cgroup"] += "0::/shop\n"
    files["sys/fs/cgroup/shop/cpu.max"] = "max 100000"

    assert cgroup_quota(root(files)) == 1.5


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": ""},
        {"proc/self/cgroup": "nonsense\n\n:::\n"},
        {"proc/self/cgroup": "3:memory:/shop\n"},
        {"proc/self/cgroup": "0::/shop\n"},
        {"proc/self/cgroup": "4:cpu:/shop\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000"},
    ],
    ids=["nothing", "empty", "nonsense", "no cpu", "no files", "half of it"],
)
def test_without_control_groups_there_is_no_bound(root, files):
    """Other systems, old kernels, odd mounts."""
    assert cgroup_quota(root(files)) is None


# -- the number


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [
        (4, "max 100000", 4),
        (4, "150000 100000", 2),
        (4, "50000 100000", 1),
        (64, "400000 100000", 4),
        (2, "800000 100000", 2),
        (1, "max 100000", 1),
    ],
)
def test_the_number_is_the_affinity_within_the_quota_rounded_up(
    root, allowed, affinity, quota, expected
):
    """One and a half processors are two workers' worth; nobody gets less than one."""
    allowed(affinity)

    assert count_cpus(root(version_2("/", root=quota))) == expected


def test_without_affinity_all_processors_count(tmp_path, monkeypatch):
    """As on macOS; and where not even their number is known there is one."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cpus(tmp_path) == 6

    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert count_cpus(tmp_path) == 1


def test_this_machine_has_at_least_one():
    """Whatever it is."""
    assert 1 <= count_cpus() <= (os.cpu_count() or 1)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_the_files_say_there_is_a_number(tmp_path_factory, text):
    """A service must start on the oddest of machines."""
    root = tmp_path_factory.mktemp("root")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::/\n{text}", encoding="utf-8")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text(text, encoding="utf-8")

    assert count_cpus(root) >= 1
