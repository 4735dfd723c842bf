"""Our own SYNs that get no answer."""

import itertools

import pytest
from arp_engine.netlink.tcp_counters import TcpCounters
from arp_engine.packets import tcp_syn
from arp_engine.sentinel import signals
from scapy.layers.inet import IP, TCP

V4 = {"src": "192.0.2.10", "dst": "192.0.2.1"}


def syn(**tcp):
    return IP(**V4) / TCP(**{"sport": 4000, "dport": 5432, "flags": "S", **tcp})


def test_each_outbound_syn_times_out_once():
    syns = signals.OutboundSyns()
    for port in range(1000):
        sent = tcp_syn.parse(bytes(syn(sport=port)))
        syns.put(sent, 2, 0.0)
        syns.put(sent, 2, 0.04)  # retransmitted
    assert len(syns) == signals.MAX_SYNS
    assert syns.pop_timed_out(0.049) == []
    assert len(syns.pop_timed_out(0.051)) == signals.MAX_SYNS
    assert syns.next_due() == float("inf")


def test_a_syn_that_leaves_again_after_it_timed_out_is_repeated():
    syns = signals.OutboundSyns()
    first, other = (tcp_syn.parse(bytes(syn(seq=number))) for number in (7, 8))
    syns.put(first, 2, 0.0)
    assert not syns.is_repeated(2, first, 0.01)  # a second socket, or the VLAN's device below
    syns.pop_timed_out(1.0)
    assert syns.is_repeated(2, first, 1.0)
    assert not syns.is_repeated(3, first, 1.0)
    assert not syns.is_repeated(2, other, 1.0)  # the same ports, another connection
    assert not syns.is_repeated(2, first, 1.0 + signals.SECOND_SYN_S)


class Stuck:
    """A list of sockets with one that retransmits; to list them may take long."""

    def __init__(self, listing):
        self.listing, self.listed = listing, 0

    def unanswered(self):
        self.listed += 1
        self.listing()
        return [Row("ESTABLISHED", b"", 0, b"", 0, 0, "retransmit", 1, 0, 0)]


Row = signals.sock_diag.TcpSocket


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "busy"])
def test_the_rest_after_a_listing_is_measured_in_cpu_time(monkeypatch, is_stopped):
    """After SIGSTOP, or on a host that is busy otherwise, a listing took long and cost nothing."""
    now, cpu = [0.0], [0.0]

    def listing():
        now[0] += 10.0
        cpu[0] += 0.0 if is_stopped else 10.0

    monkeypatch.setattr(signals.time, "thread_time", lambda: cpu[0])
    moved = itertools.count()
    sockets = Stuck(listing)
    found = signals.Retransmissions(sockets, lambda rows: {row.state for row in rows})
    assert found.step(now[0], (next(moved),)) == {"ESTABLISHED"}
    now[0] += 1.0
    assert found.step(now[0], (next(moved),)) == ({"ESTABLISHED"} if is_stopped else set())
    assert sockets.listed == 1 + is_stopped


class HalfOpen:
    """A list of half-open sockets, by the time until their SYN/ACK is sent again."""

    def __init__(self):
        self.expires_ms, self.listed = [], 0

    def unanswered(self, opening_only):
        assert opening_only
        self.listed += 1
        return [
            Row("SYN_RECV", b"", 0, b"", 0, 0, "retransmit", 0, ms, cookie)
            for cookie, ms in enumerate(self.expires_ms)
        ] + [Row("SYN_SENT", b"", 0, b"", 0, 0, "retransmit", 0, 0, 99)]


@pytest.fixture
def half_open(monkeypatch):
    """Return ``(sockets, step, segments)``; step tells which sockets are new evidence."""
    segments, sockets = [0], HalfOpen()
    monkeypatch.setattr(signals.time, "thread_time", lambda: 0.0)
    found = signals.HalfOpenConnections(sockets, lambda rows: {row.cookie for row in rows})

    def step():
        return found.step(0.0, segments[0])

    return sockets, step, segments


def test_syn_ack_that_waits_is_evidence_once(half_open):
    sockets, step, segments = half_open
    assert step() == set()
    segments[0] += 1
    sockets.expires_ms = [990]  # a client across the world
    assert step() == set()
    sockets.expires_ms = [800, 900]  # no segment has come: the list is read again all the same
    assert step() == {0}
    sockets.expires_ms = [600, 700]
    assert step() == {1}
    assert step() == set()


def test_sockets_are_not_listed_while_no_segment_comes(half_open):
    sockets, step, segments = half_open
    step()
    for _ in range(5):
        step()
    assert sockets.listed == 1
    segments[0] += 1
    step()
    assert sockets.listed == 2


@pytest.mark.parametrize(
    ("costs_s", "looks"),
    [([0.005, *[1e-4] * 9], 10), ([0.001] * 10, 10), ([0.05], 1)],
    ids=["cold caches at first", "a busy host", "many sockets"],
)
def test_listings_of_half_open_connections_have_cpu_time_to_spend(monkeypatch, costs_s, looks):
    """The first one costs most: it is not the reason why a connection after it is late."""
    cpu, sockets, costs = [0.0], HalfOpen(), iter(costs_s)

    def hops_of(rows):
        cpu[0] += next(costs)
        return {row.cookie for row in rows}

    monkeypatch.setattr(signals.time, "thread_time", lambda: cpu[0])
    found = signals.HalfOpenConnections(sockets, hops_of)
    sockets.expires_ms = [500]
    found.step(0.0, 0)
    for number in range(1, 10):
        sockets.expires_ms = [*[2000] * number, 500]  # another one each time
        found.step(0.2 * number, number)
    assert sockets.listed == looks


def test_the_counters_are_read_once_in_a_wake_for_both():
    now, reads = [0.0], []

    class Quiet:
        def unanswered(self, **_words):
            return []

    def read():
        reads.append(now[0])
        return TcpCounters(0, 0, 0, 0)

    found = signals.Unanswered(Quiet(), read, lambda _rows: set(), lambda: now[0])
    for now[0] in (0.0, 0.1, 0.19, 0.2):
        assert found.step() == (set(), set())
    assert reads == [0.0, 0.2]
    assert found.next_due() == 0.2 + signals.COUNTERS_INTERVAL_S


def test_without_a_list_of_sockets_nothing_is_due():
    found = signals.Unanswered(None, None, None, lambda: 1.0)
    assert found.step() == (set(), set())
    assert found.next_due() == float("inf")
