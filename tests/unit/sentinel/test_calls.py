"""Our own SYNs that wait for an answer."""

from arp_engine.packets import tcp_syn
from arp_engine.sentinel import calls as sentinel_calls
from scapy.layers.inet import IP, TCP

V4 = {"src": "192.0.2.10", "dst": "192.0.2.1"}


def syn(**tcp):
    return IP(**V4) / TCP(**{"sport": 4000, "dport": 5432, "flags": "S", **tcp})


def test_calls_wait_for_their_answer_and_no_longer():
    calls = sentinel_calls.Calls()
    for port in range(1000):
        found = tcp_syn.parse(bytes(syn(sport=port)))
        calls.put(found, 2, 0.0)
        calls.put(found, 2, 0.04)  # sent again
    assert len(calls) == sentinel_calls.MOST
    assert calls.waited(0.049) == []
    assert len(calls.waited(0.051)) == sentinel_calls.MOST
    assert calls.next_due() == float("inf")
