"""How many processors a process may use: its affinity mask and the quotas of its control groups."""

import os

import pytest

from lfm2_retrieval.platform import processors
from lfm2_retrieval.platform.processors import cpus, quota

V1_MOUNT = "32 27 0:27 {root} {at} rw,relatime - cgroup cgroup rw,cpu,cpuacct"
V2_MOUNT = "42 27 0:29 {root} {at} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"


def process(tmp_path, groups, mounts):
    folder = tmp_path / "proc"
    folder.mkdir(exist_ok=True)
    (folder / "cgroup").write_text("\n".join(groups) + "\n")
    noise = [
        "22 27 0:21 / /proc rw - proc proc rw",
        "",
        "broken",
        "50 27 0:30 / /x rw - cgroup cgroup rw,memory",
    ]
    (folder / "mountinfo").write_text("\n".join([*noise, *mounts]) + "\n")
    return folder


def second(folder, value):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(value)


def first(folder, granted, period):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{granted}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("nested", "expected"),
    [
        ({"": "max 100000", "a": "max 100000", "a/b": "max 100000"}, None),
        ({"a/b": "150000 100000\n"}, 1.5),
        ({"": "400000 100000", "a": "50000 100000", "a/b": "max 100000"}, 0.5),  # the least of the nested
        ({"a/b": "300000"}, None),  # what isn't understood is no limit
        ({"a/b": "nonsense 100000"}, None),
        ({"a/b": "100000 0"}, None),
        ({"a/b": "-1 100000"}, None),
        ({"other": "100000 100000"}, None),
    ],
)
def test_quotas_of_version_2(tmp_path, nested, expected):
    at = tmp_path / "cgroup"
    for name, value in nested.items():
        second(at / name, value)
    proc = process(tmp_path, ["0::/a/b"], [V2_MOUNT.format(root="/", at=at)])
    assert quota(proc) == expected


def test_quotas_of_version_1(tmp_path):
    at = tmp_path / "cpu,cpuacct"
    first(at, -1, 100000)
    first(at / "docker", 600000, 100000)
    first(at / "docker/one", 250000, 100000)
    mounts = [V1_MOUNT.format(root="/", at=at)]
    groups = ["9:memory:/docker/one", "4:cpu,cpuacct:/docker/one", "1:name=systemd:/docker/one"]
    assert quota(process(tmp_path, groups, mounts)) == 2.5
    first(at / "docker/one", -1, 100000)
    assert quota(process(tmp_path, groups, mounts)) == 6.0


def test_a_container_sees_its_own_group_only(tmp_path):
    """Its group is mounted as the root, while the path still is that of the host, or leads out of it."""
    at = tmp_path / "here with space"
    first(at, 200000, 100000)
    written = str(at).replace(" ", "\\040")
    for path in ("/docker/abc", "/", "/docker/abc/init", "/elsewhere", "/../../x"):
        groups = [f"4:cpu,cpuacct:{path}"]
        assert quota(process(tmp_path, groups, [V1_MOUNT.format(root="/docker/abc", at=written)])) == 2.0


def test_both_versions_beside_each_other(tmp_path):
    first(tmp_path / "one/g", 300000, 100000)
    second(tmp_path / "two/g", "200000 100000")
    mounts = [V1_MOUNT.format(root="/", at=tmp_path / "one"), V2_MOUNT.format(root="/", at=tmp_path / "two")]
    assert quota(process(tmp_path, ["4:cpu:/g", "0::/g"], mounts)) == 2.0
    assert quota(process(tmp_path, ["4:cpu:/g", "0::/"], mounts)) == 3.0


def test_where_the_system_does_not_tell(tmp_path):
    assert quota(tmp_path / "nothing") is None
    assert quota(process(tmp_path, [""], [])) is None


@pytest.mark.parametrize(
    ("mask", "granted", "expected"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.1, 1), (1, 4.0, 1), (2, 64.0, 2)],
)
def test_the_lesser_of_mask_and_quota_counts(monkeypatch, mask, granted, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(mask)), raising=False)
    monkeypatch.setattr(processors, "_granted", lambda: granted)
    assert cpus() == expected


def test_where_there_are_no_masks(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(processors, "_granted", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus() == 1
