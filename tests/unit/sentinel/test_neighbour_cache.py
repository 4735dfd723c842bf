"""The cache that follows the kernel's notifications."""

from arp_engine.netlink import codec
from arp_engine.netlink.constants import PERMANENT
from arp_engine.sentinel import neighbour_cache


def entry(**fields):
    fields = {"ifindex": 2, "state": PERMANENT, "dst": bytes(4), "mac": bytes(6), **fields}
    return codec.Entry(**fields)


def test_reading_anew_returns_the_changes_of_mac():
    cache = neighbour_cache.NeighbourCache()
    assert cache.read_anew([entry()]) == []
    [change] = cache.read_anew([entry(mac=b"other!"), entry(ifindex=3)])
    assert (change.old.mac, change.new.mac) == (bytes(6), b"other!")
    assert {found.ifindex for found in cache.at(bytes(4))} == {2, 3}
    cache.forget_device(2)
    assert [found.ifindex for found in cache.at(bytes(4))] == [3]
