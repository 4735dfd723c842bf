"""Connections that conntrack knows, also where it is loaded later."""

import pytest
from arp_engine.netlink import codec, conntrack

CONNECTION = bytes([10, 0, 0, 2]), 40000, bytes([10, 0, 0, 1]), 5432


class Kernel:
    """Knows each connection as translated, and answered; counts its channels."""

    def __init__(self, _family):
        Kernel.opened += 1

    def request(self, *_of):
        state = codec.attribute(conntrack._TCP_STATE, bytes([conntrack._SYN_RECV]))
        info = codec.attribute(conntrack._INFO_TCP, state)
        status = codec.attribute(conntrack._STATUS, conntrack._IPS_DST_NAT.to_bytes(4, "big"))
        head = bytes(codec.HEADER.size + conntrack._NFGENMSG.size)
        return head + status + codec.attribute(conntrack._PROTOCOL_INFO, info)

    def close(self):
        Kernel.opened -= 1


@pytest.fixture
def in_use(monkeypatch, tmp_path):
    """A file that exists while connections are tracked."""
    Kernel.opened = 0
    monkeypatch.setattr(conntrack.rtnetlink, "Channel", Kernel)
    monkeypatch.setattr(conntrack, "_IN_USE", tmp_path / "nf_conntrack_count")
    return tmp_path / "nf_conntrack_count"


def test_a_published_port_is_known_where_conntrack_is_loaded_later(in_use):
    """Docker loads it, after the sentinel has started."""
    tracked = conntrack.Conntrack()
    assert not tracked.is_translated_syn_recv(*CONNECTION)
    assert not Kernel.opened, "it would have begun to track"
    in_use.touch()
    assert tracked.is_translated_syn_recv(*CONNECTION)
    assert tracked.is_translated_syn_recv(*CONNECTION)
    assert Kernel.opened == 1
    tracked.close()
    assert not Kernel.opened


def test_a_kernel_without_such_a_list_knows_no_connection(in_use, monkeypatch):
    def refuse(_family):
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(conntrack.rtnetlink, "Channel", refuse)
    in_use.touch()
    tracked = conntrack.Conntrack()
    assert not tracked.is_translated_syn_recv(*CONNECTION)
    tracked.close()
