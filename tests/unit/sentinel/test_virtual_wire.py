"""Random histories of a holder beside a proxy and a twin: nobody waits for ever, no proxy wins."""

import random

import pytest
from arp_engine.packets import tcp_syn
from test_decide import NEW, OLD, OTHER
from virtual_wire import Host, Wire

HOLDER, PROXY, TWIN = OLD, NEW, OTHER
SLOW_S, FAST_S = (0.0003, 0.0003, 0.02, 0.05, 0.12, 0.3, 0.5), (0.0003, 0.001, 0.01, 0.03, 0.06)
HISTORIES = 150


def happen(wire, key, what):
    other = next(mac for mac in wire.hosts if mac != HOLDER)
    if what == "retransmits":
        wire.sources.on_retransmit(key)
    elif what == "connects":
        wire.sources.on_connect_timeout(2, tcp_syn.Syn(bytes(4), 5432, key[1], 4000, b""))
    elif what == "ages":
        wire.sources.on_upper_layer_confirmation(key)
    elif what == "is called by another":
        wire.syn(key, other)
    elif what == "calls":
        wire.syn(key, HOLDER)
    elif what == "announces itself" and wire.mac(key) != HOLDER:
        wire.write(key, HOLDER)
    elif what == "pauses":
        wire.hosts[HOLDER].paused_until = wire.now + wire.chance.choice([0.1, 0.5, 1.5])


WHAT = ["retransmits", "connects", "ages", "is called by another", "calls", "announces itself",
        "pauses"]  # fmt: skip


def play(seed, others, locktime_s):
    """Return a wire after a minute; up to five things happen in its first four seconds."""
    chance = random.Random(seed)
    hosts = {HOLDER: Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], SLOW_S, loss=0.1)}
    if PROXY in others:
        hosts[PROXY] = Host([], FAST_S, is_proxy=True)
    if TWIN in others:
        hosts[TWIN] = Host([bytes([0, 0, 0, 1])], FAST_S, loss=0.1)
    wire = Wire(seed, locktime_s, HOLDER, hosts)
    for _ in range(chance.randrange(1, 6)):
        key, what = chance.choice(wire.keys), chance.choice(WHAT)
        wire.at(chance.uniform(0, 4), lambda key=key, what=what: happen(wire, key, what))
    wire.run(60)
    return wire


@pytest.mark.parametrize("locktime_s", [1.0, 0.0], ids=["v4", "v6"])
@pytest.mark.parametrize("others", [[PROXY], [PROXY, TWIN], [TWIN]], ids=["proxy", "both", "twin"])
def test_in_random_histories_nobody_waits_for_ever_and_no_proxy_wins(others, locktime_s):
    to_twin = 0
    for seed in range(HISTORIES):
        wire = play(seed, others, locktime_s)
        decider = wire.decider
        open_ones = len(decider.queue), decider._in_flight, decider._looking_back
        assert not any([*open_ones, len(decider._former), decider._disputes._checks]), seed
        macs = [wire.mac(key) for key in wire.keys]
        assert PROXY not in macs, seed
        if TWIN in macs:
            to_twin += 1
            assert "duplicate" in wire.said, seed
    assert to_twin < HISTORIES * 0.05  # two hosts that live: which is right, nobody can know


@pytest.mark.parametrize(("locktime_s", "most"), [(1.0, 0.02), (0.0, 0.25)], ids=["v4", "v6"])
@pytest.mark.parametrize(("proxy", "twin"), [(NEW, OTHER), (OTHER, NEW)], ids=["low", "high"])
def test_paused_holder_has_its_entry_back_from_a_proxy_and_from_a_twin(
    locktime_s, most, proxy, twin
):
    """While it pauses, the twin seems to be its successor. Without locktime each answer moves it.

    (A real IPv6 host that is asked alone does not name its MAC, and moves nothing.)
    """
    to_twin = 0
    for seed in range(HISTORIES):
        hosts = {OLD: Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], FAST_S)}
        hosts |= {proxy: Host([], FAST_S, is_proxy=True)}
        hosts |= {twin: Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], FAST_S)}
        wire = Wire(seed, locktime_s, OLD, hosts)
        hosts[OLD].paused_until = wire.chance.uniform(0.1, 5)
        for at, key in enumerate(wire.keys):
            wire.at(at, lambda wire=wire, key=key: wire.syn(key, twin))
        wire.run(60)
        macs = [wire.mac(key) for key in wire.keys]
        assert proxy not in macs, seed
        to_twin += twin in macs
    assert to_twin < HISTORIES * most


@pytest.mark.parametrize("locktime_s", [1.0, 0.0], ids=["v4", "v6"])
@pytest.mark.parametrize(("proxy", "born"), [(NEW, OTHER), (OTHER, NEW)], ids=["low", "high"])
def test_successor_of_a_dead_host_gets_its_entry_beside_an_unknown_proxy(locktime_s, proxy, born):
    """Both answer the broadcast, the proxy mostly first; the dead host is not said to answer."""
    for seed in range(HISTORIES):
        hosts = {proxy: Host([], FAST_S, is_proxy=True)}
        hosts[born] = Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], FAST_S)
        wire = Wire(seed, locktime_s, OLD, hosts)
        for at, key in enumerate(wire.keys):
            wire.at(at, lambda wire=wire, key=key: wire.syn(key, born))
        wire.run(60)
        assert [wire.mac(key) for key in wire.keys] == [born, born], seed
        assert not any(OLD.hex(":") in facts.get("answers", ()) for facts in wire.all_facts), seed
        told = {facts["ip"] for facts in wire.all_facts if "ip" in facts}
        assert told == {"0.0.0.1", "0.0.0.2"}, seed


@pytest.mark.parametrize("locktime_s", [1.0, 0.0], ids=["v4", "v6"])
@pytest.mark.parametrize("slow_s", [0.45, 0.6, 0.79, 0.95, 1.3])
def test_a_slow_holder_that_a_twin_displaces_keeps_its_entry_and_is_not_silent(locktime_s, slow_s):
    """Its answer comes when the question is over, and moves the entry: nobody else wrote that."""
    for seed in range(5):
        hosts = {HOLDER: Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], (slow_s,))}
        hosts[TWIN] = Host([bytes([0, 0, 0, 1])], FAST_S)
        wire = Wire(seed, locktime_s, HOLDER, hosts)
        key = wire.keys[0]
        wire.at(0.5, lambda wire=wire, key=key: wire.syn(key, TWIN))
        wire.run(60)
        assert wire.mac(key) == HOLDER
        assert wire.said[-1] == "duplicate"
        assert set(wire.said) <= {"changed", "duplicate"}


@pytest.mark.parametrize("locktime_s", [1.0, 0.0], ids=["v4", "v6"])
@pytest.mark.parametrize("times", [1, 2, 1000])
def test_a_program_that_writes_a_dead_host_back_is_told_and_not_fought(locktime_s, times):
    dead, born = OLD, OTHER
    for seed in range(30):
        hosts = {born: Host([bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])], FAST_S)}
        wire = Wire(seed, locktime_s, dead, hosts)
        key, moved = wire.keys[0], []

        def write_back(wire=wire, key=key, moved=moved):
            if wire.mac(key) == born and len(moved) < times:
                moved.append(wire.now)
                wire.write(key, dead)
            wire.at(wire.now + 2.0, write_back)

        wire.at(0.5, lambda wire=wire, key=key: wire.syn(key, born))
        wire.at(wire.chance.uniform(0.6, 3), write_back)
        wire.run(90)
        assert wire.said.count("disagreement") == min(times, 2), seed
        assert len(moved) == min(times, 2), "it is asked about once more, and then left alone"
        assert wire.mac(key) == (born if times == 1 else dead)
        assert (wire.said[-1] == "healed") == (times == 1)
