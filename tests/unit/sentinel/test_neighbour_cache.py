"""The cache that follows the kernel's notifications, and a table that is read meanwhile."""

import random
from collections import deque

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import PERMANENT
from arp_engine.sentinel import neighbour_cache
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_NEWNEIGH

OLD, NEW = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


def entry(**fields):
    fields = {"ifindex": 2, "state": PERMANENT, "dst": bytes(4), "mac": OLD, **fields}
    return codec.Entry(**fields)


def announced(cache, entry, kind=RTM_NEWNEIGH):
    """Let the kernel announce an entry."""
    body = codec.NDMSG.pack(2, entry.ifindex, entry.state, 0, 0)
    body += codec.attribute(1, entry.dst) + codec.attribute(2, entry.mac)
    return list(cache.take(codec.request(kind, 0, body)))


@pytest.fixture
def cache():
    cache = neighbour_cache.NeighbourCache()
    cache.merge([entry(), entry(ifindex=3)])
    cache.pop_changed()
    return cache


def test_what_is_read_is_taken_and_its_changes_of_mac_are_returned(cache):
    [change] = cache.merge([entry(mac=NEW), entry(ifindex=4)])
    assert (change.old.mac, change.new.mac) == (OLD, NEW)
    assert {found.ifindex for found in cache.at(bytes(4))} == {2, 3, 4}
    assert cache.pop_changed() == {(2, bytes(4)), (4, bytes(4))}
    cache.forget_device(2)
    assert [found.ifindex for found in cache.at(bytes(4))] == [3, 4]


def test_what_is_announced_during_a_reading_is_newer_than_what_is_read(cache):
    cache.begin_reading()
    announced(cache, entry(mac=NEW))
    announced(cache, entry(ifindex=3), RTM_DELNEIGH)
    assert cache.merge([entry(), entry(ifindex=3)]) == []
    assert cache.unread() == []
    cache.end_reading()
    assert [found.mac for found in cache.at(bytes(4))] == [NEW]


def test_what_was_neither_read_nor_announced_is_forgotten_at_the_end(cache):
    cache.begin_reading()
    cache.merge([entry()])
    assert cache.unread() == [(3, bytes(4))]
    cache.end_reading()
    assert [found.ifindex for found in cache.at(bytes(4))] == [2]
    assert cache.pop_changed() == {(3, bytes(4))}


def test_a_device_that_goes_during_a_reading_stays_gone(cache):
    cache.begin_reading()
    cache.forget_device(2)
    cache.merge([entry(), entry(ifindex=3)])
    cache.end_reading()
    assert [found.ifindex for found in cache.at(bytes(4))] == [3]


class Kernel:
    """A table that changes at random; each change is announced, and heard later."""

    def __init__(self, rng, cache):
        self.table = {number: rng.choice((OLD, NEW)) for number in rng.sample(range(20), 10)}
        self._rng, self._cache, self._queue = rng, cache, deque()

    def change(self, times):
        for _ in range(times):
            number, mac = self._rng.randrange(20), self._rng.choice((OLD, NEW))
            if self._rng.random() < 0.6:
                self.table[number] = mac
                self._queue.append((of(number, mac), RTM_NEWNEIGH))
            elif mac := self.table.pop(number, None):
                self._queue.append((of(number, mac), RTM_DELNEIGH))

    def hear(self, most):
        for _ in range(min(most, len(self._queue))):
            announced(self._cache, *self._queue.popleft())

    def dump(self):
        """Yield slices by position: an entry behind one that goes meanwhile may not be shown."""
        at = 0
        while at < len(self.table):
            size = self._rng.randint(1, 4)
            yield [of(*each) for each in list(self.table.items())[at : at + size]]
            at += size

    def request(self, key):
        mac = self.table.get(key[1][3])
        return [of(key[1][3], mac)] if mac else []


def of(number, mac):
    return entry(dst=bytes([0, 0, 0, number]), mac=mac)


@pytest.mark.parametrize("seed", range(100))
def test_after_a_reading_the_cache_is_the_kernel_table_whatever_changed_meanwhile(seed):
    """Before it notifications were lost: of MACs that changed, and of entries that went."""
    rng, cache = random.Random(seed), neighbour_cache.NeighbourCache()
    kernel = Kernel(rng, cache)
    known = {*kernel.table, *rng.sample(range(20), 5)}
    cache.merge(of(number, rng.choice((OLD, NEW))) for number in known)
    cache.begin_reading()
    for shown in kernel.dump():
        kernel.change(rng.randrange(4))  # after it was dumped, before it is taken
        kernel.hear(rng.randrange(3))
        cache.merge(shown)
    for key in cache.unread():
        cache.merge(kernel.request(key))
        kernel.change(1)
        kernel.hear(rng.randrange(2))
    cache.end_reading()
    kernel.hear(1000)
    assert {found.dst[3]: found.mac for found in cache.entries()} == kernel.table
