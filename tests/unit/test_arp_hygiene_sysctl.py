"""Which kernel settings a host has: what a network namespace of the tests cannot show.

``net.ipv4.neigh.default`` exists in the first namespace alone: its tree is staged in a directory.
"""

import importlib.util
import pathlib

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def plan(tmp_path):
    """Return the plan for a host whose settings are the given paths below /proc/sys/net."""
    spec = importlib.util.spec_from_file_location("surface", REPO / "_modules" / "arp_hygiene.py")
    surface = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(surface)
    surface._PROC = str(tmp_path)

    def run(paths, wanted):
        for path in paths:
            key = tmp_path / path
            key.parent.mkdir(parents=True, exist_ok=True)
            key.write_text("0")
        told = surface._sysctl(wanted)
        return [f"{key['name']}={key['value']}" for key in told["settings"]], told["skipped"]

    return run


HOST = [
    f"{family}/neigh/{scope}/{key}"
    for family in ("ipv4", "ipv6")
    for scope, keys in {
        "default": ("mcast_resolicit", "gc_thresh1"),
        "eth0": ("mcast_resolicit",),
        "lo": ("mcast_resolicit",),
    }.items()
    for key in keys
]


def test_a_host_has_defaults_for_both_families(plan):
    settings, skipped = plan(
        HOST, {"mcast_resolicit": {"default": 3}, "gc_thresh1": {"default": 0}}
    )
    assert settings == [
        "net.ipv4.neigh.default.mcast_resolicit=3",
        "net.ipv6.neigh.default.mcast_resolicit=3",
        "net.ipv4.neigh.default.gc_thresh1=0",
        "net.ipv6.neigh.default.gc_thresh1=0",
    ]
    assert skipped == []


def test_a_container_has_devices_only(plan):
    container = [path for path in HOST if "default" not in path and "ipv4" in path]
    settings, skipped = plan(
        container, {"mcast_resolicit": {"default": 3}, "gc_thresh1": {"default": 0}}
    )
    assert settings == ["net.ipv4.neigh.eth0.mcast_resolicit=3"]
    assert skipped == [
        "net.ipv6.neigh.default.mcast_resolicit: this network namespace has no such key",
        "net.ipv4.neigh.default.gc_thresh1: this network namespace has no such key",
        "net.ipv6.neigh.default.gc_thresh1: this network namespace has no such key",
    ]
