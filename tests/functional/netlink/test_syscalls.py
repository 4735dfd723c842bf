"""How many system calls a flush and a list make. Counts do not depend on the machine's load."""

import socket
from collections import Counter

import pytest
from conftest import ip
from pace import late_verdicts  # noqa: F401

MANY = 10_000  # PERMANENT: no limit counts them
SOME = 384  # STALE: below the limit that all namespaces of the machine share
ENTRIES = 370  # that surely fit into one answer of 32 KiB, IPv6 ones too
FLUSHED = 90  # the same for flush.CHUNK
FIXED = 40  # two sockets, their options, two families, the last look


class Counting:
    """A socket that counts what it is asked to do."""

    def __init__(self, sock, calls):
        self._sock, self._calls = sock, calls

    def __getattr__(self, name):
        self._calls[name] += 1
        return getattr(self._sock, name)


@pytest.fixture
def calls(arp, monkeypatch):
    """How often each call was made on the engine's sockets; the table is filled before."""
    from arp_engine.netlink import rtnetlink

    calls, real = Counter(), rtnetlink.Channel.__init__

    def count(channel, **words):
        real(channel, **words)
        channel._sock = Counting(channel._sock, calls)

    monkeypatch.setattr(rtnetlink.Channel, "__init__", count)
    return calls


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_flush_sends_one_batch_for_each_chunk(arp, scene, calls, family, monkeypatch):
    from arp_engine.table import flush

    monkeypatch.setattr(flush, "FRESH_S", float("inf"))  # a busy machine reads entries twice
    scene.fill(SOME, family=family)
    assert arp.flush(state="STALE")["flushed"] == SOME
    # three looks; the last chunk, which is not full; it may be so small that it is read again
    assert calls["send"] <= SOME / FLUSHED + 3 + 2
    assert calls.total() <= 3 * SOME / FLUSHED + FIXED


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_flush_with_nothing_to_do_dumps_the_table_once(arp, scene, calls, family):
    scene.fill(MANY, "permanent", family)
    assert arp.flush()["kept"]["PERMANENT"] == MANY
    assert calls["send"] <= 3
    assert calls.total() <= MANY / FLUSHED + FIXED


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_list_dumps_the_table_once(arp, scene, calls, family):
    scene.fill(MANY, "permanent", family)
    assert len(arp.list(state="PERMANENT")) == MANY
    assert calls["send"] == 2  # one dump for each family
    assert calls.total() <= MANY / ENTRIES + FIXED


def test_a_device_without_neighbours_is_not_looked_up(arp, scene, monkeypatch):
    """A host of containers has hundreds."""
    from arp_engine.netlink import rtnetlink

    for number in range(5):
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
    asked, original = [], rtnetlink.Channel.device

    def device(channel, ifindex):
        asked.append(socket.if_indextoname(ifindex))
        return original(channel, ifindex)

    monkeypatch.setattr(rtnetlink.Channel, "device", device)
    scene.fill(3)
    assert arp.flush()["flushed"] == 3
    assert set(asked) <= {"db0", "lo"}
    assert len(asked) == len(set(asked))


def test_the_timers_of_all_devices_are_one_dump(arp, scene, late_verdicts, monkeypatch):
    from arp_engine.netlink import rtnetlink

    for number in range(4):
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", f"w{number}")
        for name in (f"v{number}", f"w{number}"):
            ip("link", "set", name, "up")
        ip("address", "add", f"198.51.{number}.1/24", "dev", f"v{number}")
        scene.quick(f"v{number}")
        scene.add(f"198.51.{number}.9", dev=f"v{number}")
    asked, original = [], rtnetlink.Channel.timers

    def timers(channel, family):
        asked.append(family)
        return original(channel, family)

    monkeypatch.setattr(rtnetlink.Channel, "timers", timers)
    assert len(arp.revalidate(family="ipv4")["gone"]) == 4
    assert len(asked) == 2  # when it judges, and when the kernel is made to prove
