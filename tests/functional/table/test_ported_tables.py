"""Scenes of other projects' tests, played on our database: what is listed, what a flush takes.

Each test names its source; the code and what is asserted are ours.
"""

import errno
import socket
import struct

import pytest
from arp_engine.netlink import codec, rtnetlink
from arp_engine.netlink.constants import (
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_LLADDR,
    NTF_EXT_EXT_VALIDATED,
    NTF_EXT_MANAGED,
)
from conftest import BORN, DEAD, HOST, ip
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_STALE
from wire import packed

V4, V6 = "192.0.2.10", "2001:db8::10"
PAIR = pytest.mark.parametrize("address", [V4, V6], ids=["v4", "v6"])
NTF_USE = 1  # include/uapi/linux/neighbour.h


def write(address, ext=0, flags=0, mac=BORN):
    """Write a STALE entry with flags that iproute2 may not know yet."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    body = codec.NDMSG.pack(family, socket.if_nametoindex("db0"), NUD_STALE, flags, 0)
    body += codec.attribute(NDA_DST, packed(address))
    body += codec.attribute(NDA_LLADDR, bytes.fromhex(mac.replace(":", "")))
    body += codec.attribute(NDA_FLAGS_EXT, codec.U32.pack(ext)) if ext else b""
    with rtnetlink.Channel() as channel:
        channel.request(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body)


@pytest.fixture
def valid(scene):
    """Write entries that a control plane vouches for."""

    def write_valid(address, ext=0, flags=0):
        try:
            write(address, NTF_EXT_EXT_VALIDATED | ext, flags)
        except OSError as error:
            if error.errno == errno.EINVAL:
                pytest.skip("this kernel has no extern_valid (since Linux 6.18)")
            raise

    return write_valid


def owners(arp, address):
    return [row["owner"] for row in arp.list(address)]


# --- Linux, tools/testing/selftests/net/test_neigh.sh


@PAIR
def test_extern_valid_entry_is_shown_kept_and_not_asked(arp, scene, wire, valid, address):
    valid(address)
    before = scene.table()
    assert owners(arp, address) == ["extern_valid"]
    assert arp.flush(address) == {"flushed": 0, "kept": {"extern_valid": 1}}
    assert arp.revalidate(address)["kept"] == {"extern_valid": 1}
    assert (scene.table(), wire.questions()) == (before, [])


@PAIR
def test_extern_valid_entry_that_is_also_managed_is_kept(arp, scene, valid, address):
    valid(address)
    valid(address, ext=NTF_EXT_MANAGED)
    assert arp.flush(address)["flushed"] == 0


@PAIR
def test_entry_is_ours_when_extern_valid_is_taken_back(arp, scene, valid, address):
    valid(address)
    write(address)
    assert owners(arp, address) == [""]
    assert arp.flush(address)["flushed"] == 1


@PAIR
def test_extern_valid_entry_without_an_answer_is_kept(arp, scene, valid, address):
    """The kernel asks by itself and gives up: the entry is STALE again, not FAILED."""
    for family in ("ipv4", "ipv6"):  # PROBE lasts three seconds
        scene.sysctl(f"{family}.neigh.db0.delay_first_probe_time", 1)
    valid(address)
    valid(address, flags=NTF_USE)
    for state in ("PROBE", "STALE"):
        scene.until(lambda state=state: scene.table() == [f"{address} db0 {BORN} {state}"])
        assert (owners(arp, address), arp.flush()["flushed"]) == (["extern_valid"], 0)


# --- NetBSD, tests/net/arp/t_arp.sh and tests/net/ndp/t_ndp.sh


def test_static_entries_of_a_list_stay_and_temporary_ones_go(arp, scene):
    """arp_command, ndp_commands: entries from a file, and one with ``temp``."""
    for last in range(11, 16):
        scene.add(f"192.0.2.{last}", "permanent", f"02:00:00:00:00:{last}")
        scene.add(f"2001:db8::{last}", "permanent", f"02:00:00:00:00:{last}")
    static = scene.table()
    scene.add(V4, "reachable")
    scene.add(V6, "reachable")
    listed = {row["ip"]: row["owner"] for row in arp.list() if row["owner"] != "multicast"}
    assert sorted(listed) == sorted(row.split()[0] for row in scene.table())
    assert {listed[V4], listed[V6]} == {""}
    assert arp.flush()["flushed"] == 2
    assert scene.table() == static


@PAIR
def test_stray_entries_on_two_devices_go_together_or_alone(arp, scene, address):
    """arp_stray_entries, ndp_stray_entries: two NICs on one segment learn the same host."""
    ip("link", "add", "db1", "type", "veth", "peer", "name", "w1", "netns", "worker")
    ip("link", "set", "db1", "addrgenmode", "none", "up")
    for once in ("db1", "db0"):
        scene.add(address, "stale", BORN)
        scene.add(address, "reachable", BORN, "db1")
        assert arp.flush(address, dev=once)["flushed"] == 1
        [left] = scene.table()
        assert left.split()[1] != once
    scene.add(address, "stale", BORN)
    scene.add(address, "reachable", BORN, "db1")
    assert arp.flush(address)["flushed"] == 2
    assert scene.table() == []


def test_device_that_goes_down_leaves_nothing_to_flush(arp, scene):
    """arp_purge_on_ifdown; sonic-mgmt, tests/arp/test_neighbor_mac_aging.py."""
    for address in (V4, V6):
        scene.add(address, "reachable", BORN)
    scene.add("192.0.2.11", "permanent", BORN)
    ip("link", "set", "db0", "down")
    assert scene.table() == []
    assert [row for row in arp.list() if row["dev"] == "db0"] == []
    assert arp.flush()["flushed"] == 0
    told = arp.revalidate()
    assert (told["checked"], told["gone"], told["warnings"]) == (0, [], [])
    assert "failed" not in told


def test_entry_stays_ours_when_its_route_moves_away(arp, scene):
    """arp_purge_on_route_change: Linux keeps the stray entry that NetBSD removes."""
    ip("link", "add", "db1", "type", "veth", "peer", "name", "w1", "netns", "worker")
    ip("link", "set", "db1", "up")
    scene.add(V4, "reachable", DEAD)
    ip("route", "add", f"{V4}/32", "dev", "db1")
    [row] = arp.list(V4)
    assert (row["dev"], row["owner"]) == ("db0", "")
    assert arp.diagnose(V4, test=True)["route"]["dev"] == "db1"
    assert arp.flush(V4)["flushed"] == 1


# --- sonic-mgmt, tests/arp/


@PAIR
def test_mac_that_an_operator_changed_twice_is_kept(arp, scene, address):
    """test_neighbor_mac_noptf.py: without ``nud`` iproute2 writes PERMANENT."""
    for verb, mac in (("add", DEAD), ("change", DEAD), ("change", BORN)):
        ip("neigh", verb, address, "lladdr", mac, "dev", "db0")
    [row] = arp.list(address)
    assert (row["mac"], row["owner"]) == (BORN, "PERMANENT")
    assert arp.flush(address)["flushed"] == 0
    assert scene.table() == [f"{address} db0 {BORN} PERMANENT"]


def test_flood_of_gratuitous_arp_is_flushed_each_time(arp, scene, wire):
    """test_stress_arp.py: many addresses, a MAC each, cleared, and again."""
    scene.sysctl("ipv4.conf.db0.arp_accept", 1)
    scene.until(lambda: not scene.table())
    frames = []
    for number in range(250):
        mac, own = bytes.fromhex(f"0200000100{number:02x}"), packed(f"192.0.2.{number + 2}")
        head = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 2)
        frames.append(head + mac + own + b"\xff" * 6 + own)
    for _round in range(2):
        for frame in frames:
            wire.sock.send(frame)
        scene.until(lambda: len(scene.table()) == 250)
        rows = arp.list(family="ipv4")
        assert {row["mac"][:14] for row in rows} == {"02:00:00:01:00"}
        assert HOST not in {row["mac"] for row in rows}
        assert arp.flush()["flushed"] == 250
        assert scene.table() == []
