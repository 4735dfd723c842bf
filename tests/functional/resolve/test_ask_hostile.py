"""A hostile wire: an invalid answer changes nothing, and every wait ends."""

import contextlib
import errno
import gc
import itertools
import select
import socket
import subprocess
import sys

import pytest
from arp_engine.packets import packet_socket
from arp_engine.packets.probe_schedule import FAST
from arp_engine.resolve import ask as resolve_ask
from asking import OTHER, PAIR, Clock, ask, do, play, question, told
from conftest import BORN, DEAD, HOST
from scapy.layers.l2 import ARP
from wire import BROADCAST, Wire, answer, packed, tagged

from lab.machines import wait_until_up

GROUP = "33:33:00:00:00:01"
ZERO = "00:00:00:00:00:00"


def other(address):
    return address[:-1] + "1"


def cut(frame):
    """Return a frame that ends too early: in the target's address, or within the option."""
    return bytes(frame)[: 14 + 27 if ARP in frame else -4]


LIES = {
    "an address not asked about": lambda a: [answer(other(a))],
    "our own MAC": lambda a: [answer(a, HOST, source=BORN), answer(a, BORN, source=HOST)],
    "the broadcast MAC": lambda a: [answer(a, BROADCAST, source=BORN)],
    "a multicast MAC": lambda a: [answer(a, GROUP, source=BORN)],
    "no MAC": lambda a: [answer(a, ZERO, source=BORN)],
    "cut short": lambda a: [cut(answer(a))],
    "for another host": lambda a: [answer(a, to=OTHER)],
    "for another VLAN": lambda a: [tagged(answer(a), 5)],
    "a question": lambda a: [answer(a, op=1) if "." in a else answer(a, type=135)],
    "handed on by a router": lambda a: [answer(a, hlim=64)] if ":" in a else [],
    "a wrong sum": lambda a: [answer(a, cksum=0xBAD)] if ":" in a else [],
}


@PAIR
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_invalid_answer_is_dropped(scene, wire, address, lie):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question(address))
        asker.step()
        for frame in lie(address):
            wire.sock.send(bytes(frame))
        [heard] = play(asker, clock).values()
    assert told(heard) == (1, 10, [], "")


@PAIR
def test_socket_keeps_nothing_from_before_it_had_its_filter(scene, wire, address, monkeypatch):
    attach = packet_socket._attach

    def late(*of):
        wire.say(*LIES["a question"](address))
        wire.settle()
        attach(*of)

    monkeypatch.setattr(packet_socket, "_attach", late)
    family = socket.AF_INET if "." in address else socket.AF_INET6
    with contextlib.closing(packet_socket.ProbeSocket(family)) as port:
        assert port.drain(100) == []


@PAIR
def test_socket_filter_passes_answers_only(scene, wire, address):
    """A busy network must not wake us for the probes of every host."""
    family = socket.AF_INET if "." in address else socket.AF_INET6
    noise = [
        *LIES["for another host"](address),
        *LIES["for another VLAN"](address),
        *LIES["a question"](address),
        *LIES["handed on by a router"](address),
    ]
    with contextlib.closing(packet_socket.ProbeSocket(family)) as port:
        with contextlib.closing(resolve_ask.Asker(clock=Clock())) as asker:
            asker.put(question(address))
            asker.step()  # outgoing packets are no answers either
        for frame in [*noise, answer(address), *noise, answer(address)]:  # the last one ends it
            wire.sock.send(bytes(frame))
        passed = []
        while len(passed) < 2 and select.select([port], [], [], 30)[0]:
            passed += port.drain(100)
    assert [packet for packet, _sender in passed] == [bytes(answer(address).payload)] * 2
    assert {(sender[0], sender[4].hex(":")) for _packet, sender in passed} == {("db0", BORN)}


def test_full_device_queue_is_named(scene, wire):
    do("link set db0 txqueuelen 0")
    subprocess.run(["tc", "qdisc", "add", "dev", "db0", "root", "pfifo", "limit", "0"], check=True)
    heard = ask(question("192.0.2.10"), schedule=FAST)
    assert heard == [(0, 0, [], "the device's queue is full (ENOBUFS)")]


@PAIR
def test_refused_frame_loses_no_answer_to_another_one(scene, wire, monkeypatch, address):
    """The device's queue is full for one frame; who was asked before it has answered meanwhile."""
    clock, send, refused = Clock(), packet_socket.ProbeSocket.send, other(address)

    def refuse(port, device, mac, packet):
        if packed(refused) in packet:
            raise OSError(errno.ENOBUFS, "full")
        send(port, device, mac, packet)

    monkeypatch.setattr(packet_socket.ProbeSocket, "send", refuse)
    wire.when_asked(lambda a, _all, _n: [answer(a, BORN)])
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question(address, BORN))
        asker.put(question(refused, BORN))
        heard = play(asker, clock, wire)
    assert told(heard[question(address)[:2]]) == (1, 0, [BORN], "")
    assert told(heard[question(refused)[:2]])[:3] == (0, 0, [])


@PAIR
def test_priority_tag_is_accepted(scene, wire, address):
    """A priority tag: VLAN 0."""
    wire.when_asked(lambda a, _all, _n: [tagged(answer(a), 0)])
    assert ask(question(address, BORN), wire=wire) == [(1, 0, [BORN], "")]


@PAIR
def test_answer_on_another_device_is_dropped(scene, wire, address):
    do("link add db1 type veth peer name w1 netns worker")
    do("link set db1 addrgenmode none up")
    do("address add 198.51.100.1/24 dev db1")
    do("address add fe80::11/64 dev db1 nodad")
    do("-n worker link set w1 up")
    wait_until_up("db1")
    aside = Wire("w1")
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker, contextlib.closing(aside):
        asker.put(question(address))
        asker.put(question(other(address), dev="db1"))  # so that both devices are known
        asker.step()
        [there] = [frame.src for frame in aside.questions()]
        aside.say(answer(address, to=there))
        wire.say(answer(address, OTHER))
        heard = play(asker, clock)
    assert told(heard[question(address)[:2]]) == (1, 10, [OTHER], "")
    assert told(heard[question(other(address), dev="db1")[:2]]) == (1, 10, [], "")


@PAIR
def test_answers_from_100_macs_are_bounded(scene, wire, address):
    """The cached MAC is among them, however late its answer comes."""
    liars = [f"02:00:00:00:66:{n:02x}" for n in range(100)]

    def shout(address, to_all, _number):
        return [*(answer(address, liar) for liar in liars), answer(address)] if to_all else []

    wire.when_asked(shout)
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        asker.put(question(address, BORN))
        [heard] = play(asker, clock, wire).values()
    assert heard.answers.keys() > {bytes.fromhex(BORN.replace(":", ""))}
    assert len(heard.answers) == resolve_ask.MAX_MACS + 1


FLOOD = """
import socket, sys, time
frames = [bytes.fromhex(line) for line in sys.stdin.read().split()]
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind(("w0", 0))
print("begun", flush=True)
begun, sent = time.monotonic(), 0
while True:
    for frame in frames:
        wire.send(frame)
    sent += len(frames)
    time.sleep(max(0, begun + sent / 10_000 - time.monotonic()))
"""


@contextlib.contextmanager
def flood(*frames):
    """Send frames 10,000 times a second from the worker's namespace until the block ends."""
    words = ["ip", "netns", "exec", "worker", sys.executable, "-c", FLOOD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes) as process:
        process.stdin.write("\n".join(bytes(frame).hex() for frame in frames))
        process.stdin.close()
        assert process.stdout.readline() == "begun\n"
        try:
            yield
        finally:
            process.kill()


@PAIR
def test_flood_of_other_answers_hides_no_living_host(scene, wire, address):
    scene.worker(address)
    net = address[:-2]
    asked = [question(address), *(question(f"{net}{number}") for number in range(20, 60))]
    lies = [
        *(answer(f"{net}{number}", f"02:00:00:00:66:{number:02x}") for number in range(100, 200)),
        answer(f"{net}20", HOST, source=BORN),
        answer(f"{net}21", BROADCAST, source=BORN),
        answer(f"{net}22", GROUP, source=BORN),
    ]
    scene.add(address, "stale", DEAD)
    before = len(gc.get_objects())
    with flood(*lies):
        heard = ask(*asked, schedule=FAST)
    assert heard[0][2:] == ([BORN], "")
    assert heard[1:] == [(1, 10, [], "")] * 40
    assert len(gc.get_objects()) - before < 5_000
    assert [row.split()[:3] for row in scene.table()] == [[address, "db0", BORN]]


def test_flood_of_matching_answers_ends(scene, wire):
    liars = [answer("192.0.2.10", f"02:00:00:00:66:{number:02x}") for number in range(200)]
    with flood(*liars):
        [(_alone, asked, macs, why)] = ask(question("192.0.2.10"))
    assert (asked, len(macs), why) == (1, resolve_ask.MAX_MACS, "")


# --- in an event loop


def test_pending_address_is_not_added_twice(scene, wire):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        assert asker.put(question("192.0.2.10"))
        assert not asker.put(question("192.0.2.10", BORN))
        play(asker, clock)
        assert asker.put(question("192.0.2.10"))


def test_first_goes_before_waiting_questions(scene, wire):
    with contextlib.closing(resolve_ask.Asker(rate=1, clock=Clock())) as asker:
        asker.put(question("192.0.2.10"))
        asker.put(question("192.0.2.11"), first=True)
        asker.step()
        assert [frame[ARP].pdst for frame in wire.questions()] == ["192.0.2.11"]


@PAIR
def test_idle_asker_sleeps_and_drops_old_answers(scene, wire, address):
    clock = Clock()
    with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
        assert asker.next_due() is None
        asker.put(question(address))
        play(asker, clock)
        assert asker.next_due() is None
        old = bytes(answer(address, OTHER))
        for _ in range(resolve_ask.READ_BATCH + 100):
            wire.sock.send(old)
        assert select.select([asker], [], [], 0.05)[0] == []
        asker.put(question(address))
        [heard] = play(asker, clock).values()
        assert told(heard) == (1, 10, [], "")


@PAIR
def test_event_loop_receives_the_answer(scene, wire, address):
    scene.worker(address)
    with contextlib.closing(resolve_ask.Asker(rate=100)) as asker:
        asker.put(question(address))
        done = asker.step()
        for _ in range(1000):
            if done:
                break
            due = asker.next_due()
            select.select([asker], [], [], max(0, due - asker._clock()))
            done = asker.step()
    [(asked, heard)] = done
    assert (asked, told(heard)) == (question(address), (1, 1, [BORN], ""))


def test_tick_reports_progress(scene, wire):
    said = []
    asked = [question(f"192.0.2.{n}") for n in (10, 11)]
    ask(*asked, schedule=FAST, tick=lambda *words: said.append(words))
    assert said[0] == (0, 2)


def test_ask_closes_its_sockets(scene, wire):
    def packet_sockets():
        with open("/proc/net/packet", encoding="ascii") as file:
            return len(file.readlines())

    for address in ("192.0.2.10", "2001:db8::10"):
        scene.worker(address)
    before = packet_sockets()
    for _ in range(5):
        heard = ask(question("192.0.2.10", BORN), question("2001:db8::10", BORN))
        assert heard == [(1, 0, [BORN], "")] * 2
    scene.until(lambda: packet_sockets() == before)


def test_both_families_at_once(scene, wire):
    """Of each: a host with the cached MAC, one with another MAC, and nobody."""
    of_each = [
        (f"{network}{last}", mac)
        for network in ("192.0.2.", "2001:db8::")
        for last, mac in ((10, BORN), (11, DEAD), (12, DEAD))
    ]
    silent = {address for address, _mac in of_each if address.endswith("12")}

    def respond(address, to_all, _number):
        is_heard = to_all or wire.asked_mac == BORN
        return [answer(address)] if is_heard and address not in silent else []

    wire.when_asked(respond)
    heard = ask(*itertools.starmap(question, of_each), wire=wire)
    assert heard == 2 * [(1, 0, [BORN], ""), (1, 1, [BORN], ""), (1, 10, [], "")]
