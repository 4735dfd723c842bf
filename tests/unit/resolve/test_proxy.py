"""Which addresses a suspected proxy is asked for."""

import contextlib
from types import SimpleNamespace

import pytest
from arp_engine.resolve import interface_facts, proxy
from arp_engine.resolve.question import ProbeResult

MAC = bytes([2, 0, 0, 0, 0, 9])
OWN = interface_facts.Address(bytes([10, 0, 0, 1]), 24, 0, 0)
DEVICE = interface_facts.Interface(2, "db0", 1, 0, MAC, b"\xff" * 6, 0, False, (OWN,))


class Nothing:
    """No interface is known."""

    def get(self, _ifindex):
        return None

    def close(self):
        pass


@pytest.mark.parametrize("free", [{77, 200}, {5, 77, 200}, {77}, set()], ids=str)
def test_the_last_free_addresses_of_a_full_network_are_found(free):
    used = {(2, bytes([10, 0, 0, last])) for last in range(2, 255) if last not in free}
    claim = proxy.Claim(2, bytes([10, 0, 0, 10]), MAC)
    for _ in range(20):
        found = {dst[-1] for dst in proxy.unused(None, DEVICE, claim, used)}
        assert found <= free
        assert len(found) == (proxy.ADDRESSES if len(free) > 1 else 0)


@pytest.mark.parametrize("is_reversed", [False, True], ids=["global last", "global first"])
def test_host_with_a_link_local_address_is_asked_in_its_global_network(monkeypatch, is_reversed):
    """A proxy answers for no link-local address of others."""
    far, near = bytes.fromhex("20010db8") + bytes(11) + b"\1", b"\xfe\x80" + bytes(13) + b"\1"
    claims = [proxy.Claim(2, dst, MAC) for dst in sorted((far, near), reverse=is_reversed)]
    asked = []
    monkeypatch.setattr(proxy.rtnetlink, "Channel", lambda: contextlib.nullcontext())
    monkeypatch.setattr(proxy.interfaces, "Interfaces", Nothing)
    monkeypatch.setattr(proxy, "ask", lambda *_words, **_more: {})
    monkeypatch.setattr(proxy, "unused", lambda *words: asked.append(words[2].dst) or [])
    assert proxy.find(claims, (), 0.0) == set()
    assert asked == [far]


def test_addresses_that_another_host_is_asked_for_are_left_out():
    used = {(2, bytes([10, 0, 0, last])) for last in range(2, 255) if last not in (5, 77, 200)}
    claim = proxy.Claim(2, bytes([10, 0, 0, 10]), MAC)
    found = proxy.unused(None, DEVICE, claim, used, {bytes([10, 0, 0, 5])})
    assert {dst[-1] for dst in found} == {77, 200}
    assert proxy.unused(None, DEVICE, claim, used, {*found}) == []


@pytest.mark.parametrize(
    ("results", "found"),
    [
        ([ProbeResult(1, 0, {MAC: 0.1}), ProbeResult(1, 0, {MAC: 0.1})], ({MAC}, {})),
        ([ProbeResult(2, 0, {})], (set(), {})),
        ([ProbeResult(0, 0, {}, "no carrier")], (set(), {MAC: "no carrier"})),
        ([ProbeResult(0, 0, {})], (set(), {MAC: "no probe was sent"})),
        (
            [ProbeResult(1, 0, {MAC: 0.1}), ProbeResult(1, 0, {}, "no carrier for a while")],
            (set(), {MAC: "no carrier for a while"}),
        ),
    ],
    ids=["a proxy", "silent", "unasked", "unasked, and nobody knows why", "unasked once"],
)
def test_host_that_could_not_be_asked_is_not_taken_for_a_silent_one(monkeypatch, results, found):
    left = iter(results)
    reader = SimpleNamespace(get=lambda _ifindex: DEVICE, close=lambda: None)
    monkeypatch.setattr(proxy.interfaces, "Interfaces", lambda: reader)
    monkeypatch.setattr(proxy.rtnetlink, "Channel", contextlib.nullcontext)
    monkeypatch.setattr(
        proxy, "ask", lambda some, *_of, **_words: {each[:2]: next(left) for each in some}
    )
    unasked = {}
    claim = proxy.Claim(2, bytes([10, 0, 0, 10]), MAC)
    proxies = {host[2] for host in proxy.find([claim], set(), 0.0, unasked)}
    assert (proxies, {host[2]: why for host, why in unasked.items()}) == found


class FullNetwork:
    """A network with few free addresses, in which some hosts answer for all of them."""

    def __init__(self, monkeypatch, free, proxies):
        reader = SimpleNamespace(get=lambda _ifindex: DEVICE, close=lambda: None)
        monkeypatch.setattr(proxy.interfaces, "Interfaces", lambda: reader)
        monkeypatch.setattr(proxy.rtnetlink, "Channel", contextlib.nullcontext)
        monkeypatch.setattr(proxy, "ask", self._ask)
        addresses = [bytes([10, 0, 0, last]) for last in range(2, 255)]
        self._used = {(2, dst) for dst in addresses if dst[-1] not in free}
        self._proxies, self.turns = proxies, 0

    def _ask(self, questions, *_of, **_words):
        by_dst = {each[:2]: each for each in questions}
        self.turns += bool(by_dst)
        return {
            key: ProbeResult(1, 0, {each.mac: 0.1} if each.mac in self._proxies else {})
            for key, each in by_dst.items()
        }

    def find(self, macs, is_stopped=lambda: False):
        """Return which of some hosts are proxies, and why others could not be asked."""
        claims = [proxy.Claim(2, bytes([10, 0, 0, 10]), mac) for mac in macs]
        unasked = {}
        found = proxy.find(claims, self._used, 0.0, unasked, is_stopped)
        assert len(unasked.keys() | found) == len(unasked) + len(found)
        return {host[2] for host in found}, {host[2]: why for host, why in unasked.items()}


MACS = [bytes([2, 0, 0, 0, 0, last]) for last in range(1, 41)]


@pytest.mark.parametrize("free", [{5, 77}, {5, 77, 200}, {5, 6, 77, 200}], ids=len)
def test_hosts_that_share_few_free_addresses_are_asked_in_turn(monkeypatch, free):
    network = FullNetwork(monkeypatch, free, {MACS[1], MACS[4]})
    assert network.find(MACS[:5]) == ({MACS[1], MACS[4]}, {})


def test_host_that_has_no_turn_is_told_as_unasked(monkeypatch):
    """One turn takes 0.15 s, and the look backs wait meanwhile."""
    found, unasked = FullNetwork(monkeypatch, {5, 77}, set()).find(MACS)
    assert (found, len(unasked)) == (set(), len(MACS) - proxy.MAX_TURNS)
    assert {*unasked.values()} == {"too few addresses are free to ask so many hosts"}


def test_network_without_free_addresses_knows_no_proxy(monkeypatch):
    assert FullNetwork(monkeypatch, {5}, {*MACS}).find(MACS) == (set(), {})


@pytest.mark.parametrize("turns", [0, 1, 2], ids=["at once", "after an answer", "between two"])
def test_hosts_that_a_stopped_run_did_not_ask_are_told_as_unasked(monkeypatch, turns):
    network = FullNetwork(monkeypatch, {5, 77}, {MACS[0]})
    found = network.find(MACS[:2], lambda: network.turns >= turns)
    asked = {MACS[0]} if turns == 2 else set()
    assert found == (asked, dict.fromkeys({*MACS[:2]} - asked, proxy.STOPPED))
