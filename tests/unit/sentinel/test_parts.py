"""The sentinel's parts without a kernel: SYNs from bytes, who is asked first, what is merged."""

import itertools
import random
import re
import time

import pytest
from arp_engine.netlink import codec, model
from arp_engine.netlink.constants import PERMANENT, REACHABLE
from arp_engine.packets import bpf, tcp_syn
from arp_engine.reporting import throttle
from arp_engine.sentinel import calls as sentinel_calls
from arp_engine.sentinel import decide, neighbour_cache, question_queue
from arp_engine.sentinel import options as sentinel_options
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

V4 = {"src": "192.0.2.10", "dst": "192.0.2.1"}
V6 = {"src": "2001:db8::10", "dst": "2001:db8::1"}
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", 0), ("WScale", 7)]


def syn(ip=None, **tcp):
    return (ip or IP(**V4)) / TCP(**{"sport": 4000, "dport": 5432, "flags": "S", **tcp})


# --- packets/tcp_syn.py


@pytest.mark.parametrize("header", [IP(**V4), IPv6(**V6)], ids=["v4", "v6"])
@pytest.mark.parametrize("flags", ["S", "SEC"], ids=["plain", "ECN"])
def test_a_syn_is_understood_and_made_again_with_its_checksum(header, flags):
    right = bytes(syn(header, flags=flags, options=TCP_OPTIONS))
    found = tcp_syn.parse(right)
    assert (found.source_port, found.target_port) == (4000, 5432)
    assert found.source[-1] == 0x10 if len(found.source) == 16 else 10
    at = 40 if header.version == 6 else 20
    broken = right[: at + 16] + b"\x12\x34" + right[at + 18 :] + bytes(6)  # and padding behind it
    assert tcp_syn.again(broken) == right


@pytest.mark.parametrize("flags", ["SA", "A", "R", "SF", "", "SR"])
def test_other_flags_are_no_syn(flags):
    assert tcp_syn.parse(bytes(syn(flags=flags))) is None


def test_no_bytes_make_it_fail():
    chance = random.Random(12)
    whole = bytes(syn(options=TCP_OPTIONS)), bytes(syn(IPv6(**V6)))
    for _ in range(20_000):
        packet = bytearray(chance.choice(whole)[: chance.randrange(70)])
        for _change in range(chance.randrange(4)):
            if packet:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        again = tcp_syn.again(bytes(packet))
        assert again is None or tcp_syn.parse(again)


def test_data_is_not_sent_again():
    assert tcp_syn.parse(bytes(syn() / Raw(b"x")))
    assert tcp_syn.again(bytes(syn() / Raw(b"x"))) is None


# --- packets/bpf.py


def test_a_program_has_no_more_instructions_than_the_kernel_takes():
    many = {number.to_bytes(4, "big"): frozenset({bytes(6)}) for number in range(600)}
    with pytest.raises(ValueError, match="instructions, 4096 are allowed"):
        bpf.incoming(4, many)
    assert len(bpf.incoming(4, dict(list(many.items())[:500]))) <= 8 * 4096


# --- sentinel/question_queue.py


def doubts(rate=100.0, **waiting):
    made = question_queue.Doubts(rate)
    for key in waiting:
        made.put(key, "syn", 0.0)
    return made


def played(made, until, step=0.001, **next_words):
    """Return which key was asked about when."""
    asked, now = [], 0.0
    while now < until:
        doubt = made.next(now, **next_words)
        if doubt:
            asked.append((round(now, 3), doubt.key))
        else:
            now += step
    return asked


def test_one_address_is_asked_about_at_most_once_a_second():
    made, times, now = doubts(), [], 0.0
    while now < 5:
        made.put("a", "syn", now)
        if made.next(now):
            times.append(now)
        now += 0.01
    assert len(times) == 5
    assert min(b - a for a, b in itertools.pairwise(times)) >= 1


def test_never_more_than_the_rate_and_half_of_it_for_what_nobody_has_answered():
    made = doubts(rate=100.0)
    for number in range(1000):
        made.put(number, "syn", 0.0)
    assert 45 <= len(played(made, 1.0)) <= 55


def test_what_a_listener_has_answered_goes_first_through_a_flood():
    made = doubts()
    for number in range(2000):
        made.put(number, "syn", 0.0)
    assert len(made) == question_queue.MOST
    made.put(question_queue.MOST - 1, "syn", 0.0, answered=True)
    assert played(made, 0.1)[0][1] == question_queue.MOST - 1


def test_a_newcomer_finds_room_in_a_queue_that_forged_ones_have_filled():
    made = doubts()
    for number in range(2000):
        made.put(number, "syn", 0.0)
    newcomer = made.put("new", "no answer", 0.0, answered=True)
    assert newcomer
    assert played(made, 0.1)[0][1] == "new"


def test_who_is_silent_is_left_alone_for_longer():
    made = doubts(a=1)
    made.next(0.0)
    made.silent("a", 1.2)
    made.put("a", "syn", 1.3)
    assert not made.next(4.0)
    assert made.due(4.0) == pytest.approx(4.2)
    assert made.next(4.3)


def test_who_comes_after_silence_is_asked_about_once_a_second_as_any_other():
    made = doubts(a=1)
    made.next(0.0)
    made.silent("a", 1.2)
    made.put("a", "syn", 1.3)
    assert made.rests("a")
    assert "a" in made.busy(1.3)  # it waits
    made.wake("a")
    assert made.next(1.3)
    made.put("a", "syn", 1.4)
    made.wake("a")
    assert not made.next(2.2)
    assert made.next(2.31)
    made.silent("a", 2.4)
    assert "a" not in made.busy(2.5), "one SYN more may wake it"


def test_who_was_silent_does_not_go_first_until_somebody_answers():
    """SYNs of dead hosts, which a listener answers, keep no newcomer waiting."""
    made, dead = doubts(), [f"dead {number}" for number in range(20)]
    for key in dead:
        made.silent(key, 0.0)
        made.put(key, "syn", 5.0, answered=True)
    made.put("new", "syn", 5.0, answered=True)
    assert made.next(5.0).key == "new"
    assert not made.next(6.0, first_only=True)
    assert made.next(6.0).key == dead[0]
    made.loud(dead[7])
    made.put(dead[7], "syn", 7.0, answered=True)
    assert made.next(7.0).key == dead[7]


def test_silence_is_remembered_of_so_many_and_so_long():
    made = doubts()
    for number in range(2 * question_queue.MUTES):
        made.silent(number, 0.0)
    assert made.put(0, "syn", 5.0, answered=True).first
    last = 2 * question_queue.MUTES - 1
    assert not made.put(last, "syn", 5.0, answered=True).first
    assert made.put(last, "syn", question_queue.MUTE_S, answered=True).first


def test_what_is_due_is_due():
    """A loop that sleeps until ``due`` is never too early twice, and never late."""
    made = doubts(rate=10.0)
    for number in range(50):
        made.put(number, "syn", 0.0)
    now, asked, wakes = 0.0, 0, 0
    while len(made):
        wakes += 1
        now = made.due(now)
        while made.next(now):
            asked += 1
    assert asked == 50
    assert wakes <= 51


def test_of_one_address_only_so_many_syns_and_macs_are_kept():
    doubt = question_queue.Doubt("a", "syn")
    for number in range(100):
        doubt.add(bytes([number]), number)
    assert (len(doubt.macs), doubt.things[-1]) == (question_queue.SYNS, 99)
    assert len(doubt.things) == question_queue.SYNS


def test_aliases_are_bounded_and_forgotten():
    aliases = question_queue.Aliases()
    for number in range(10_000):
        assert aliases.add("a", number.to_bytes(6, "big"), number / 1000)
    assert len(aliases) == question_queue.ALIASES
    assert ("a", (9999).to_bytes(6, "big")) in aliases
    aliases.forget(10 + question_queue.ALIAS_S)
    assert not len(aliases)


def test_to_forget_those_of_one_address_costs_nothing_however_many_there_are():
    """Whoever announces himself makes us do it, thousands of times a second."""
    aliases, began = question_queue.Aliases(), time.process_time()
    for number in range(question_queue.ALIASES):
        aliases.add(number % 100, number.to_bytes(6, "big"), 0.0)
    for _ in range(20_000):
        aliases.forget(1.0, "another")
    assert time.process_time() - began < 1
    aliases.forget(1.0, 7)
    assert {key for key, _mac in aliases.pairs()} == {*range(100)} - {7}
    assert (7, (7).to_bytes(6, "big")) not in aliases
    assert aliases.add(7, (7).to_bytes(6, "big"), 1.0)


# --- sentinel/decide.py


class Here:
    def is_selected(self, _entry):
        return True

    def device(self, _ifindex):
        return model.Device("db0", 0)


def test_a_frame_that_does_not_say_whom_it_is_from_contradicts_nothing():
    """InfiniBand's do not, and its entries hold twenty bytes."""
    watch, source = decide.Watch(100, None, None, Here(), None), bytes([192, 0, 2, 1])
    entry = codec.Entry(ifindex=2, state=REACHABLE, kind=1, dst=source, mac=bytes([2] * 20))
    watch.known.read_anew([entry])
    syn = tcp_syn.Syn(source, 4000, bytes([192, 0, 2, 2]), 5432, b"")
    watch.came(2, b"", syn)
    assert not len(watch.doubts)
    watch.came(2, bytes([4] * 20), syn)
    assert len(watch.doubts) == 1


def test_under_a_flood_only_what_a_syn_could_change_is_looked_at():
    watch = decide.Watch(100, None, None, Here(), None)
    ours, owned, asked = (bytes([192, 0, 2, number]) for number in (1, 2, 3))
    states = {ours: REACHABLE, owned: PERMANENT, asked: REACHABLE}
    watch.known.read_anew(
        codec.Entry(ifindex=2, state=state, kind=1, dst=dst, mac=bytes([2] * 6))
        for dst, state in states.items()
    )
    watch.doubts.put((2, asked), "syn", 0.0)
    assert set(watch.filter_for_kernel(False, 100)) == {ours, owned, asked}
    assert set(watch.filter_for_kernel(True, 100)) == {ours}


# --- reporting/throttle.py


def test_a_flood_of_news_is_one_line_a_minute():
    said = []
    noted = []
    teller = throttle.Teller(
        lambda kind, line, facts: said.append(line), lambda *words: noted.append(words)
    )
    for number in range(60_000):
        teller.tell("healed", str(number), number / 1000)
    teller.flush(1000)
    assert len(said) == 11
    assert said[0] == "healed: 0"
    assert said[10] == "healed: 59990 more within 60 s, the latest: 59999"
    assert len(noted) == 60_000
    assert noted[-1] == ("healed", "healed: 59999", {"kind": "healed"})


def test_every_word_that_is_told_is_one_that_is_counted(repo):
    told = set()
    for path in (repo / "_utils" / "arp_engine").glob("*/*.py"):
        text = path.read_text(encoding="utf-8")
        told |= set(re.findall(r'(?:_teller|teller|self)\._?tell(?:_changed)?\(\s*"(\w+)"', text))
    told |= {"healed", "changed"}  # one of them, as it turns out
    assert told == set(throttle.WORDS)


# --- sentinel/neighbour_cache.py


def entry(**fields):
    fields = {"ifindex": 2, "state": PERMANENT, "dst": bytes(4), "mac": bytes(6), **fields}
    return codec.Entry(**fields)


def test_reading_anew_tells_what_has_changed_meanwhile():
    known = neighbour_cache.Known()
    assert known.read_anew([entry()]) == []
    [change] = known.read_anew([entry(mac=b"other!"), entry(ifindex=3)])
    assert (change.old.mac, change.new.mac) == (bytes(6), b"other!")
    assert {found.ifindex for found in known.at(bytes(4))} == {2, 3}
    known.forget_device(2)
    assert [found.ifindex for found in known.at(bytes(4))] == [3]


# --- sentinel/calls.py


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


# --- sentinel/options.py


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"rate": 0}, "rate: 0: the sentinel needs a limit"),
        ({"reinject": "no"}, "reinject: 'no' is neither True nor False"),
        ({"devices": "eth0"}, "sentinel: no option 'devices'; there are dev, ip"),
        ({"ip": "10.0.0.0/33"}, "ip: "),
    ],
)
def test_what_is_wrong_is_named(words, said):
    with pytest.raises(ValueError, match=said.replace("(", "\\(")):
        sentinel_options.parse(words)


def test_the_defaults():
    options = sentinel_options.parse()
    assert (options.rate, options.reinject, options.selectors.ip) == (100.0, True, None)
