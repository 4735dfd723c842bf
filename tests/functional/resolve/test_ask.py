"""Probes: an answer corrects the kernel's table, silence changes nothing."""

import contextlib
import random
import select
import socket
import subprocess
import sys

import pytest
from arp_engine.netlink import rtnetlink
from arp_engine.packets import packet_socket
from arp_engine.packets.probe_schedule import FAST
from arp_engine.resolve import ask as resolve_ask
from arp_engine.resolve import in_flight, interface_facts, interfaces, patience, send_queue
from arp_engine.resolve.question import Question
from asking import OTHER, PAIR, Clock, ask, do, play, question, told
from conftest import BORN, DEAD, HOST, ip
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP
from wire import answer, asked, is_to_all, packed

# --- one question


@PAIR
def test_probe_corrects_an_upper_layer_confirmed_entry(scene, wire, address):
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    with scene.confirming(address) if "." in address else contextlib.nullcontext():
        assert ask(question(address)) == [(1, 1, [BORN], "")]
        assert scene.table() == [f"{address} db0 {BORN} REACHABLE"]


@PAIR
def test_right_entry_costs_one_unicast_frame(scene, wire, address):
    scene.worker(address)
    scene.add(address, "stale", BORN)
    assert ask(question(address, BORN)) == [(1, 0, [BORN], "")]
    assert [frame.dst for frame in wire.questions()] == [BORN]
    assert scene.table() == [f"{address} db0 {BORN} REACHABLE"]


@PAIR
def test_unanswered_probe_changes_nothing(scene, wire, address):
    scene.add(address, "reachable", DEAD)
    before = scene.table()
    assert ask(question(address), schedule=FAST) == [(1, 10, [], "")]
    assert scene.table() == before
    seen = wire.questions()
    assert [is_to_all(frame) for frame in seen] == [False] + [True] * 10
    assert {frame.src for frame in seen} == {HOST}
    for number, frame in enumerate(seen):
        if "." in address:
            arp = frame[ARP]
            assert (arp.hwsrc, arp.psrc, arp.hwdst) == (HOST, "192.0.2.1", "00:00:00:00:00:00")
        else:
            group = "ff02::1:ff00:10" if is_to_all(frame) else address
            source = "fe80::1" if number % 2 else "2001:db8::1"
            assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (source, group, 255)
            assert frame[ICMPv6NDOptSrcLLAddr].lladdr == HOST
            assert frame[ICMPv6ND_NS].cksum == IPv6(bytes(without_sum(frame)))[ICMPv6ND_NS].cksum


def without_sum(frame):
    copy = frame[IPv6].copy()
    del copy[ICMPv6ND_NS].cksum
    return copy


@PAIR
def test_without_cached_mac_the_first_frame_is_broadcast(scene, wire, address):
    scene.worker(address)
    assert ask(Question(socket.if_nametoindex("db0"), packed(address))) == [(0, 1, [BORN], "")]
    assert [is_to_all(frame) for frame in wire.questions()] == [True]


@PAIR
def test_two_hosts_with_one_address_are_both_heard(scene, wire, address):
    wire.when_asked(lambda a, all_, _n: [answer(a), answer(a, OTHER)] if all_ else [])
    assert ask(question(address), wire=wire) == [(1, 1, [BORN, OTHER], "")]


@PAIR
def test_second_answer_within_collect_s_is_heard(scene, wire, address):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question(address, ""))
        asker.step()
        for mac in (BORN, OTHER):
            wire.say(answer(address, mac))
            assert select.select([asker], [], [], 1)[0]
            assert asker.step() == []
            clock.now += 0.9 * resolve_ask.COLLECT_S
        [(_question, heard)] = asker.step()
    assert told(heard) == (0, 1, [BORN, OTHER], "")


@PAIR
def test_unicast_answer_from_another_mac_leads_to_broadcast(scene, wire, address):
    wire.when_asked(lambda a, all_, _n: [answer(a, BORN if all_ else OTHER)])
    assert ask(question(address), wire=wire) == [(1, 1, [BORN, OTHER], "")]


def test_advertisement_without_mac_option_is_an_answer(scene, wire):
    """Allowed in the answer to a unicast solicitation: the sender's MAC is taken."""

    def silent_about_it(address, all_, _number):
        frame = answer(address)
        frame[IPv6].payload.remove_payload()
        del frame[IPv6].plen
        return [] if all_ else [frame]

    wire.when_asked(silent_about_it)
    assert ask(question("2001:db8::10", BORN), wire=wire) == [(1, 0, [BORN], "")]


# --- fabrics


@PAIR
def test_no_unicast_answer_and_every_second_broadcast_lost(scene, wire, address):
    wire.when_asked(lambda a, all_, n: [answer(a)] if all_ and n % 2 else [])
    assert ask(question(address, BORN), wire=wire) == [(1, 2, [BORN], "")]


def test_half_of_all_broadcasts_lost_at_random(scene, wire):
    """One in 1,024 living hosts is missed where half of all are lost; here, none of a hundred."""
    dice = {f"192.0.2.{n}": random.Random(n).choices([0, 1], k=10) for n in range(10, 110)}
    assert all(map(any, dice.values()))
    assert 0.5 ** len(FAST.broadcast_waits_s) < 1 / 1000
    wire.when_asked(lambda a, all_, n: [answer(a)] if all_ and dice[a][n] else [])
    heard = ask(*[question(address) for address in dice], wire=wire)
    assert [(asked, macs) for _one, asked, macs, _why in heard] == [
        (dice[address].index(1) + 1, [BORN]) for address in dice
    ]


def test_4000_living_hosts_are_all_found(scene):
    do("-n worker link set lo up")
    do("-n worker route add local 10.0.0.0/16 dev lo")
    device, held = socket.if_nametoindex("db0"), bytes.fromhex(BORN.replace(":", ""))
    for mac in (b"", held):
        questions = [Question(device, packed(f"10.0.{n >> 8}.{n & 255}"), mac) for n in range(4000)]
        heard = resolve_ask.ask(questions)
        assert {tuple(one.answers) for one in heard.values()} == {(held,)}
        assert {one[:2] for one in heard.values()} == {(1, 0) if mac else (0, 1)}
    assert len(heard) == 4000
    assert scene.table() == []  # an answer creates no entry


# --- where no probe can be sent


@pytest.mark.parametrize(
    ("address", "words", "why"),
    [
        ("192.0.2.10", "link set db0 down", "device is down"),
        ("2001:db8::10", "link set db0 down", "device is down"),
        ("192.0.2.10", "-n worker link set w0 down", "no carrier"),
        ("2001:db8::10", "-n worker link set w0 down", "no carrier"),
        ("192.0.2.10", "address flush dev db0", "no address to ask from"),
        ("2001:db8::10", "-6 address flush dev db0", "no address to ask from"),
        ("192.0.2.10", "link set db0 arp off", "device does no ARP"),
        ("192.0.2.1", "link set db0 up", "our own address"),
        ("2001:db8::1", "link set db0 up", "our own address"),
    ],
)
def test_reason_why_no_probe_is_sent(scene, wire, address, words, why):
    asked = question(address)
    do(words)
    assert ask(asked) == [(0, 0, [], why)]
    if "down" not in words:
        assert wire.questions() == []


def test_tentative_address_is_no_sender(scene, wire):
    do("address del fe80::1/64 dev db0")
    scene.sysctl("ipv6.conf.db0.dad_transmits", 1000)
    do("address del 2001:db8::1/64 dev db0")
    do("address add fe80::1/64 dev db0")
    assert ask(question("2001:db8::10")) == [(0, 0, [], "no address to ask from")]


def test_removed_device_is_named(scene):
    asked = question("192.0.2.10"), question("2001:db8::10")
    ip("link", "del", "db0")
    assert ask(*asked) == [(0, 0, [], "device is gone")] * 2


def test_loopback_is_not_probed(scene):
    ip("link", "set", "lo", "up")
    assert ask(question("127.0.0.2", dev="lo")) == [(0, 0, [], "device does no ARP")]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["link del db0"], "device is gone"),
        (["link set db0 down"], "device is down"),
        (["-n worker link set w0 down"], "no carrier"),
        (["-n worker link set w0 down", "-n worker link set w0 up"], "no carrier for a while"),
    ],
    ids=["gone", "down", "no carrier", "no carrier for a while"],
)
@PAIR
def test_silence_without_carrier_has_a_reason(scene, wire, address, words, why):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question(address))
        assert asker.step() == []
        for line in words:
            do(line)
        if "while" in why:  # it takes the kernel a moment
            scene.until(lambda: "state UP" in ip("link", "show", "db0"))
        [heard] = play(asker, clock).values()
        assert (heard.answers, heard.why) == ({}, why)


def test_missing_cap_net_raw_is_named(scene, repo):
    program = (
        "import socket\nfrom arp_engine.resolve import ask, question\n"
        "q = question.Question(socket.if_nametoindex('db0'), socket.inet_aton('192.0.2.10'))\n"
        "print(ask.ask([q])[q[:2]].why)"
    )
    words = ["setpriv", "--bounding-set=-net_raw", sys.executable, "-c", program]
    done = subprocess.run(
        words, cwd=repo / "_utils", capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("no CAP_NET_RAW\n", "")


def test_infiniband_address_is_too_long():
    """No such device can be made here: InfiniBand."""
    mac = bytes(range(20))
    device = interface_facts.Interface(7, "ib0", 32, 0x41, mac, b"\xff" * 20, 0, False, ())
    for family in (socket.AF_INET, socket.AF_INET6):
        why = interfaces.why_unusable(device, family)
        assert why == "cannot be asked here: addresses of 20 bytes"


# --- sender address


@pytest.mark.parametrize(
    ("dev", "arp_announce", "source"),
    [("db0", 0, "10.9.9.9"), ("db0", 2, "192.0.2.1"), ("all", 1, "192.0.2.1")],
)
def test_sender_is_the_kernels_choice(scene, wire, dev, arp_announce, source):
    """One route names an address on lo; arp_announce keeps to the device's own."""
    for words in (
        "link set lo up",
        "address add 192.0.2.2/24 dev db0",
        "address add 198.51.100.1/24 dev db0",
        "address add 198.51.100.2/24 dev db0",
        "address add 10.9.9.9/32 dev lo",
        "route add 198.51.100.128/25 dev db0 src 192.0.2.2",
        "route add 203.0.113.0/24 dev db0 src 10.9.9.9",
        "route add 203.0.113.128/25 via 198.51.100.77",
    ):
        do(words)
    targets = ["192.0.2.10", "198.51.100.10", "198.51.100.200", "203.0.113.200", "100.64.0.1"]
    kernel = {}
    for target in targets:
        words = ip("route", "get", target, "oif", "db0").split()
        kernel[target] = words[words.index("src") + 1]
    assert set(kernel.values()) == {"192.0.2.1", "198.51.100.1", "192.0.2.2"}
    kernel["203.0.113.10"] = source
    scene.sysctl(f"ipv4.conf.{dev}.arp_announce", arp_announce)
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        for target in kernel:
            asker.put(question(target))
        play(asker, clock)
    assert {frame[ARP].pdst: frame[ARP].psrc for frame in wire.questions()} == kernel


def test_routes_are_read_with_a_small_buffer(scene, monkeypatch):
    """net.core.rmem_max can be as small as 2304, and a container may not exceed it."""
    do("address add 198.51.100.1/24 dev db0")
    enlarge = rtnetlink.Channel._enlarge_buffer

    def enlarge_buffer(channel):
        full = enlarge(channel)
        assert full > 2
        channel._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        return (
            channel._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // rtnetlink.ANSWER_ROOM
        )

    monkeypatch.setattr(rtnetlink.Channel, "_enlarge_buffer", enlarge_buffer)
    with contextlib.closing(interfaces.Interfaces()) as devices:
        device = devices.get(socket.if_nametoindex("db0"))
        targets = [bytes([198, 51, 100, number]) for number in range(2, 66)]
        senders = devices.choose_senders(device, targets)
    assert senders == 64 * [(socket.inet_aton("198.51.100.1"),)]


PEERS = [f"192.0.2.{number}" for number in range(10, 40)]


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        (f"link set db0 address {OTHER}", (HOST, "192.0.2.1"), (OTHER, "192.0.2.1")),
        ("address del 192.0.2.1/24 dev db0", (HOST, "192.0.2.1"), (HOST, "192.0.2.7")),
    ],
    ids=["MAC", "address"],
)
def test_no_frame_after_a_change_says_what_was_true_before(
    scene, wire, monkeypatch, change, before, after
):
    """Not even within one batch: the device is changed between two frames of it."""
    do("address add 192.0.2.7/24 dev db0")
    scene.sysctl("ipv4.conf.db0.promote_secondaries", 1)
    sent, send = [], packet_socket.ProbeSocket.send

    def send_and_change(port, *words):
        send(port, *words)
        sent.append(words)
        if len(sent) == 5:
            do(change)

    monkeypatch.setattr(packet_socket.ProbeSocket, "send", send_and_change)
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        for address in PEERS:
            asker.put(question(address))
        asker.step()
        asker.step()
    said = [(frame[ARP].hwsrc, frame[ARP].psrc) for frame in wire.questions()]
    assert said == [before] * 5 + [after] * (len(PEERS) - 5)


def test_after_lost_notifications_devices_are_read_again(scene, wire, monkeypatch):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question("192.0.2.10"))
        asker.step()
        do(f"link set db0 address {OTHER}")
        drain = asker._interfaces._listener.drain
        monkeypatch.setattr(asker._interfaces._listener, "drain", lambda n: ([], bool(drain(n)[0])))
        play(asker, clock)
    first, *rest = [frame[ARP].hwsrc for frame in wire.questions() if frame[ARP].pdst[-2:] == "10"]
    assert (first, set(rest)) == (HOST, {OTHER})


@pytest.mark.parametrize("has_other", [False, True], ids=["unnumbered", "unrelated /32"])
def test_unnumbered_host_asks_in_the_name_of_lo(scene, wire, has_other):
    for words in ("link set lo up", "address flush dev db0", "address add 192.0.2.1/32 dev lo"):
        do(words)
    do("route add 192.0.2.0/24 dev db0 scope link src 192.0.2.1")
    if has_other:
        do("address add 10.9.9.9/32 dev db0")
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    assert ask(question("192.0.2.10")) == [(1, 1, [BORN], "")]
    assert {frame[ARP].psrc for frame in wire.questions()} == {"192.0.2.1"}
    assert scene.table() == [f"192.0.2.10 db0 {BORN} REACHABLE"]


def test_without_a_route_an_address_of_another_device_is_taken(scene, wire):
    for words in ("link set lo up", "address flush dev db0", "address add 192.0.2.1/32 dev lo"):
        do(words)
    assert ask(question("198.51.100.10"), schedule=FAST)[0][:2] == (1, 10)
    assert {frame[ARP].psrc for frame in wire.questions()} == {"192.0.2.1"}


@pytest.mark.parametrize("device", ["db0", "lo"])
def test_ipv6_without_link_local_address_asks_from_a_global_one(scene, wire, device):
    """On the device itself; or unnumbered, the address on lo."""
    for words in ("link set lo up", "-6 address flush dev db0"):
        do(words)
    do(f"address add 2001:db8::1/{64 if device == 'db0' else 128} dev {device} nodad")
    if device == "lo":
        do("route add 2001:db8::/64 dev db0")
    scene.worker("2001:db8::10")
    scene.add("2001:db8::10", "reachable", DEAD)
    assert ask(question("2001:db8::10")) == [(1, 1, [BORN], "")]
    assert {frame[IPv6].src for frame in wire.questions()} == {"2001:db8::1"}
    assert scene.table() == [f"2001:db8::10 db0 {BORN} REACHABLE"]


@pytest.mark.parametrize(
    ("target", "accepted", "broadcasts"),
    [
        ("2001:db8::10", "2001:db8::1", 0),
        ("2001:db8::10", "fe80::1", 1),
        ("2001:db8:9::10", "fe80::1", 0),
        ("2001:db8:9::10", "2001:db8::1", 1),
        ("fe80::10", "fe80::1", 0),
    ],
)
def test_peer_that_refuses_one_kind_of_sender_is_heard(scene, wire, target, accepted, broadcasts):
    def respond(address, _all, _number):
        return [answer(address)] if wire.frame[IPv6].src == accepted else []

    wire.when_asked(respond)
    assert ask(question(target, BORN), wire=wire) == [(1, broadcasts, [BORN], "")]


# --- rate and limits


def test_rate_holds_and_every_question_ends(scene, wire):
    clock, sent = Clock(), []
    with contextlib.closing(resolve_ask.Asker(rate=100, clock=clock)) as asker:
        for number in range(20):
            asker.put(question(f"192.0.2.{10 + number}"))
        while len(asker):
            asker.step()
            sent += [clock.now] * len(wire.questions())
            clock.now = max(clock.now, asker.next_due() or 0)
    assert len(sent) == 20 * FAST.frames
    for first in range(0, len(sent) - 100):
        assert sent[first + 100] - sent[first] > 0.97


def test_first_frames_of_all_leave_before_a_late_one(scene, wire):
    clock, sent = Clock(), []
    with contextlib.closing(resolve_ask.Asker(rate=20, burst=8, clock=clock)) as asker:
        for number in range(20):
            asker.put(question(f"192.0.2.{10 + number}"))
        while len(set(sent)) < 20:
            clock.now = max(clock.now, asker.next_due() or 0)
            asker.step()
            sent += map(asked, wire.questions())
    assert max(map(sent.count, sent)) <= send_queue.LATE


def test_late_frames_leave_a_part_of_the_burst_to_others(scene, wire):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(rate=1, burst=8, clock=clock)) as asker:
        asker.put(question("192.0.2.10"))
        while asker.room() > 2:
            clock.now += 0.01
            asker.step()
        for _ in range(50):
            clock.now += 0.01
            asker.step()
        assert asker.room() == 2


def test_a_dropped_question_has_no_result(scene, wire):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        for is_sent in (False, True):
            first, second = question("192.0.2.10"), question("192.0.2.11")
            asker.put(first)
            asker.put(second)
            if is_sent:
                asker.step()
            asker.drop(first[:2])
            assert asker.put(first)
            asker.drop(first[:2])
            wire.when_asked(lambda *_words: [])
            heard = play(asker, clock, wire)
            assert list(heard) == [second[:2]]


@PAIR
def test_the_wait_for_a_unicast_answer_is_learned(scene, wire, address):
    learned = patience.Patience()
    for _ in range(20):
        learned.add(question(address).ifindex, 0.04)
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock, learned=learned)) as asker:
        asker.put(question(address))
        asker.step()
        assert asker.next_due() == pytest.approx(
            clock.now + learned.wait_s(question(address).ifindex)
        )


def test_in_flight_limit_holds(scene, wire):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        for number in range(1000):
            asker.put(question(f"10.0.{number >> 8}.{number & 255}"))
        for _ in range(100):
            asker.step()
        assert len(wire.questions()) == in_flight.UNKNOWN_BACKLOG_LIMIT
        assert asker.next_due() == pytest.approx(clock.now + in_flight.ANSWER_WINDOW_S)


def test_silence_is_judged_by_what_the_device_is_now(scene):
    """The kernel may tell of a lost carrier a second later; meanwhile a device is read once."""
    clock, ifindex = Clock(), socket.if_nametoindex("db0")
    with contextlib.closing(interfaces.Interfaces(clock)) as reader:
        before = reader.get(ifindex)
        do("-n worker link set w0 down")
        do("-n worker link set w0 up")
        clock.now += interfaces.FRESH_S / 2
        assert reader.get_fresh(ifindex) == before
        clock.now += interfaces.FRESH_S
        assert reader.get(ifindex) == before
        assert reader.get_fresh(ifindex).carrier_changes > before.carrier_changes
