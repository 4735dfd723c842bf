"""The whole table, read in slices while it changes."""

import socket

import pytest
from arp_engine.netlink import codec, listener, rtnetlink
from arp_engine.reporting import throttle
from arp_engine.sentinel import limits, neighbour_cache, table_reader
from arp_engine.table import selectors
from conftest import BORN

from lab import cable

ENTRIES = 3000  # of PERMANENT ones, which no limit counts
NOW = 100.0


class Read:
    """A reader, its cache, the notifications, and what both have told."""

    def __init__(self, said):
        self.cache, self.changes, self.suspects = neighbour_cache.NeighbourCache(), [], []
        self.heard = listener.Listener()
        self.channel = rtnetlink.Channel()
        families = [socket.AF_INET, socket.AF_INET6]
        room = limits.Limits(throttle.Teller(lambda *words: said.append(words)), families)
        self.reader = table_reader.TableReader(
            self.channel,
            families,
            selectors.parse_selectors(verb="watch"),
            self.cache,
            room,
            self.changes.append,
            self.suspects.append,
        )

    def hear(self):
        for datagram in self.heard.drain(10_000)[0]:
            list(self.cache.take(datagram))

    def read_whole(self, between):
        """Read until it is over, and do something between two slices; return how many they were."""
        count, self.reader.due = 0, NOW
        while self.reader.due <= NOW:
            self.reader.read(NOW)
            between()
            count += 1
        return count

    def close(self):
        self.heard.close()
        self.channel.close()


@pytest.fixture
def read(scene, monkeypatch):
    monkeypatch.setattr(table_reader, "SLICE_S", 0)
    scene.fill(ENTRIES, "permanent")
    said = []
    read = Read(said)
    read.reader.read(0.0)
    assert len(read.cache) >= ENTRIES, "the first time all of it is read at once"
    yield read
    read.close()
    assert said == []


def of(cache):
    """Return the unicast entries as ``ip dev mac``."""
    rows = [
        (codec.address(each.dst), socket.if_indextoname(each.ifindex), each.mac.hex(":") or "-")
        for each in cache.entries()
    ]
    return sorted(" ".join(row) for row in rows if not row[0].startswith("ff0"))


def of_kernel(scene):
    """Return the same as iproute2 shows it."""
    return sorted(" ".join(row.split()[:3]) for row in scene.table())


def test_a_table_that_changes_between_two_slices_is_read_right(scene, read):
    names = scene.fill(ENTRIES, "permanent")
    turns = iter(range(0, ENTRIES, 7))

    def change():
        first, second, third = (names[(next(turns) + at) % ENTRIES] for at in (0, 900, 1900))
        cable.ip(
            f"neigh replace {first} lladdr {BORN} dev db0 nud permanent",
            f"neigh del {second} dev db0",
        )
        read.hear()
        cable.ip(f"neigh replace {third} lladdr {BORN} dev db0 nud permanent")

    assert read.read_whole(change) > 5
    read.hear()
    assert of(read.cache) == of_kernel(scene)
    assert len(set(of(read.cache))) < ENTRIES


def test_what_was_lost_is_found(scene, read):
    """As after ENOBUFS: nothing was announced."""
    names = scene.fill(ENTRIES, "permanent")
    cable.ip(*[f"neigh del {name} dev db0" for name in names[:1000]])
    cable.ip(
        *[f"neigh replace {name} lladdr {BORN} dev db0 nud permanent" for name in names[1000:1300]]
    )
    read.read_whole(lambda: None)
    assert of(read.cache) == of_kernel(scene)
    assert len(read.changes) == 300
    assert {change.new.mac.hex(":") for change in read.changes} == {BORN}


def test_an_entry_that_the_dump_has_not_shown_is_requested_alone(scene, read, monkeypatch):
    """The kernel dumps by position: an entry behind one that goes meanwhile is left out."""
    before, dump = of(read.cache), read.channel.neighbours
    monkeypatch.setattr(read.channel, "neighbours", lambda family: [*dump(family)][1:])
    read.read_whole(lambda: None)
    assert of(read.cache) == before


def test_notifications_lost_during_a_reading_make_it_read_again(read):
    read.read_whole(read.reader.on_loss)
    assert NOW <= read.reader.due < NOW + 10
    read.read_whole(lambda: None)
    assert read.reader.due >= NOW + table_reader.RESYNC_S
