"""The sentinel cannot be used against us: forged SYNs, closed ports, and its own death."""

import re
import socket
import struct
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from arp_engine.sentinel import doubt
from conftest import BORN, DEAD, HOST
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from sentry import (  # noqa: F401
    OURS,
    PAIR,
    PORT,
    SECOND_SYN_S,
    Server,
    connect,
    connect_at_once_within,
    connect_within,
    database,
    guard,
    healed_line,
    loopback,
    syn,
)
from stage import FIREWALL, ip
from wire import Wire, tagged

from lab.bare import missing

OTHER = "02:00:00:00:00:0c"
CLOSED = 5433


@pytest.fixture
def wire(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    wire = Wire()
    yield wire
    wire.close()


def anew(namespace, mac):
    """Let a worker go on with another MAC; who heard of it there is known to it still."""
    ip("-n", namespace, "link", "set", "w0", "address", mac)
    for known in (*OURS.values(), "fe80::1"):
        entry = [known, "lladdr", HOST, "nud", "permanent", "dev", "w0"]
        ip("-n", namespace, "neigh", "replace", *entry)


def healed(begun, wire, *frames):
    """Send frames of a worker whose entry is wrong; wait until it is right."""
    wire.say(*frames)
    begun.until("healed")
    time.sleep(0.1)


# --- what is sent once more, and what is not


def sent_again(scene, loopback):
    """Return all SYNs that are sent once more for one: a second time where no answer was seen."""
    seen = []
    scene.until(lambda: seen.extend(loopback.syns()) or seen)
    time.sleep(1)  # SECOND_TRY_S is 0.6
    return [*seen, *loopback.syns()]


@PAIR
def test_a_syn_that_a_listener_has_answered_is_reinjected(
    scene, wire, guard, database, loopback, address
):
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    healed(guard(), wire, syn(address))
    seen = sent_again(scene, loopback)
    assert {frame[TCP].sport for frame in seen} == {4000}
    assert len(seen) <= 2


@PAIR
def test_a_syn_to_a_closed_port_is_not_reinjected(scene, wire, guard, database, loopback, address):
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    healed(guard(), wire, syn(address, port=CLOSED))
    assert not loopback.syns()


def test_a_syn_to_a_device_bound_listener_is_not_reinjected(scene, wire, guard, loopback):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    server = Server("192.0.2.1", device="db0")
    healed(guard(), wire, syn("192.0.2.10"))
    server.close()
    assert not loopback.syns()


@pytest.mark.parametrize("always", [0, 2], ids=["no cookies", "cookies for all"])
def test_a_syn_under_syn_cookies_is_not_reinjected(scene, wire, guard, database, loopback, always):
    scene.sysctl("ipv4.tcp_syncookies", always)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    healed(guard(), wire, syn("192.0.2.10"))
    if always:
        assert not loopback.syns()
    else:
        assert len(sent_again(scene, loopback)) <= 2


def unusual(address="192.0.2.10"):
    """Return frames with SYNs that are not as a client's stack makes them."""
    ours = {"src": address, "dst": OURS[4]}
    link, tcp = Ether(src=BORN, dst=HOST), TCP(sport=4000, dport=PORT, flags="S")
    options = b"\x07\x07\x04" + bytes(4) + b"\0"  # record route
    source_route = b"\x83\x07\x04" + socket.inet_aton("192.0.2.1") + b"\0"
    return {
        "IP options": link / IP(**ours, options=[], ihl=7) / Raw(options + bytes(tcp)),
        "source route": link / IP(**ours, ihl=7) / Raw(source_route + bytes(tcp)),
        "data": link / IP(**ours) / tcp / Raw(b"x" * 10),
        "a first fragment": link / IP(**ours, flags="MF") / tcp,
        "a later fragment": link / IP(**ours, frag=1) / Raw(bytes(tcp)),
        "an unfinished header": link / IP(**ours) / Raw(bytes(tcp)[:13]),
        "options cut short": link / IP(**ours) / TCP(sport=4000, dport=PORT, dataofs=15, flags="S"),
        "SYN and FIN": link / IP(**ours) / TCP(sport=4000, dport=PORT, flags="SF"),
        "SYN and ACK": link / IP(**ours) / TCP(sport=4000, dport=PORT, flags="SA"),
        "UDP": link / IP(**ours) / UDP(sport=4000, dport=PORT) / Raw(bytes(tcp)),
        "a length beyond its end": link / IP(**ours, len=400) / tcp,
    }  # fmt: skip


@pytest.mark.parametrize("kind", unusual())
def test_an_unusual_syn_is_not_reinjected(scene, wire, guard, database, loopback, kind):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    begun = guard()
    wire.say(unusual()[kind])
    healed(begun, wire, syn("192.0.2.10", port=CLOSED, source_port=4001))
    assert not loopback.syns()
    assert begun.end() == [*begun.told("watching"), *begun.told("healed")]  # it has not failed


def test_a_syn_with_ipv6_extension_headers_is_not_reinjected(
    scene, wire, guard, database, loopback
):
    address = "2001:db8::10"
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    begun = guard()
    header = IPv6(src=address, dst=OURS[6]) / IPv6ExtHdrDestOpt()
    wire.say(Ether(src=BORN, dst=HOST) / header / TCP(sport=4000, dport=PORT, flags="S"))
    healed(begun, wire, syn(address, port=CLOSED, source_port=4001))
    assert not loopback.syns()


FAR = {"192.0.2.10": "198.51.100.7", "2001:db8::10": "2001:db8:1::7"}


@PAIR
def test_a_syn_answered_by_a_transparent_proxy_is_not_reinjected(
    scene, wire, guard, loopback, address
):
    """It would leave, and the client would connect with whom the proxy stands before."""
    far, version = FAR[address], "-6" if ":" in address else "-4"
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    gateway = "fe80::2" if ":" in address else "192.0.2.254"
    ip(version, "neigh", "replace", gateway, "lladdr", BORN, "nud", "permanent", "dev", "db0")
    ip(version, "route", "add", "default", "via", gateway, "dev", "db0")
    ip(version, "route", "add", "local", "default", "dev", "lo", "table", "100")
    ip(version, "rule", "add", "iif", "db0", "to", far, "lookup", "100")
    server = Server("::" if ":" in address else "0.0.0.0", transparent=True)
    frame = syn(address)
    frame[1].dst = far
    healed(guard(), wire, frame)
    server.close()
    assert " via " in ip(version, "-o", "route", "get", far)
    assert not [heard for heard in wire.heard() if TCP in heard and heard[TCP].flags == "S"]
    assert not loopback.syns()


def refused(address):
    """Tell whether a connection to the closed port fails, its second SYN included."""
    try:
        connect(address, port=CLOSED, patience=1.5)
    except TimeoutError:
        return True
    return False


@pytest.mark.timed
@pytest.mark.parametrize("network", ["192.0.2", "2001:db8:"], ids=["v4", "v6"])
def test_a_firewall_that_accepts_lo_is_not_opened(scene, wire, guard, database, loopback, network):
    """Listeners behind a port that no rule opens; workers with wrong entries knock."""
    if lacking := missing("nft"):
        pytest.skip(lacking)
    subprocess.run(["nft", "-f", "-"], input=FIREWALL, text=True, check=True)
    ours, dot = (OURS[6], ":") if ":" in network else (OURS[4], ".")
    addresses = [f"{network}{dot}{number}" for number in range(10, 120)]
    for address in addresses:
        scene.worker(address)
        scene.add(address, "reachable", DEAD)
    server = Server(ours, CLOSED)
    begun = guard()
    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(refused, addresses[:100]))
        assert begun.until("healed")
        assert not loopback.syns()
    connect_at_once_within(2, addresses[100:])  # and the open one is open
    server.close()
    assert loopback.syns()


# --- forged


@PAIR
def test_a_syn_of_an_unknown_vlan_is_not_examined(scene, wire, guard, address):
    scene.worker(address)
    scene.add(address, "reachable", BORN)
    begun = guard()
    wire.say(tagged(syn(address, OTHER), 7))
    time.sleep(0.3)
    assert not begun.told("alias")
    wire.say(syn(address, OTHER))
    begun.until("alias")


@pytest.mark.timed
def test_a_syn_flood_causes_a_bounded_number_of_probes(scene, wire, guard, database):
    """40 living hosts, every SYN from another MAC; and the newcomer among them is served."""
    living = [f"192.0.2.{number}" for number in range(100, 140)]
    for address in [*living, "192.0.2.10"]:
        scene.worker(address)
        scene.add(address, "reachable", BORN)
    scene.add("192.0.2.10", "reachable", DEAD)
    begun = guard('{"rate": 50}')
    frames = [bytearray(bytes(syn(address, port=CLOSED))) for address in living]
    wire.questions()
    began, sent = time.monotonic(), 0

    def connect_amid():
        time.sleep(1.5)
        connect_within(SECOND_SYN_S, "192.0.2.10")

    with ThreadPoolExecutor(1) as beside:
        newcomer = beside.submit(connect_amid)
        while time.monotonic() < began + 3 or sent <= 5000:
            for frame in frames:
                frame[6:12] = struct.pack("!HI", 0x0600, sent)
                wire.sock.send(frame)
                sent += 1
    asked = [question.pdst for question in wire.questions() if question.type == 0x0806]
    took = time.monotonic() - began
    assert len(asked) <= 50 * took + 10
    # once a second; and three frames to one of its claimants, and the kernel's own to its host
    assert max(asked.count(address) for address in living) <= took + 1 + 4
    newcomer.result()
    macs = {row.split()[0]: row.split()[2] for row in scene.table()}
    assert {macs[address] for address in living} == {BORN}
    lines = begun.end()
    assert len(lines) < 30, lines


@pytest.mark.timed
@PAIR
def test_syns_from_many_forged_macs_hide_no_new_worker(scene, wire, guard, database, address):
    """Somebody forges SYNs of a living host; later that one is made anew."""
    scene.worker(address)
    scene.add(address, "reachable", BORN)
    begun = guard()
    # no more than one question can be about
    many = [f"02:00:00:00:01:{number:02x}" for number in range(doubt.MAX_SYNS)]
    wire.say(*[syn(address, mac, source_port=5000 + at) for at, mac in enumerate(many)])
    begun.until("alias")  # one claimant of an address is asked in half a minute
    time.sleep(1.1)  # one address is asked about once a second
    anew("worker", OTHER)
    connect_within(SECOND_SYN_S, address)
    assert begun.until("healed") == [healed_line(address, macs=(BORN, OTHER))]


def test_syns_from_cached_macs_do_not_wake_the_sentinel(scene, wire, guard, database):
    """500 SYNs of a peer whose entry is right: none of them comes out of the kernel."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", BORN)
    begun = guard()
    frame = bytes(syn("192.0.2.10", port=CLOSED))

    def woken():
        before = wakes(begun)
        for _ in range(500):
            wire.sock.send(frame)
            time.sleep(0.001)
        return wakes(begun) - before

    scene.until(lambda: woken() < 100)  # once the kernel's filter knows the entry


def wakes(begun):
    with open(f"/proc/{begun.process.pid}/status", encoding="ascii") as file:
        [line] = [line for line in file if line.startswith("voluntary_ctxt")]
    return int(line.split()[1])


# --- its own end


@pytest.mark.parametrize("how", ["hung", "killed", "ended"])
def test_connections_work_while_the_sentinel_is_hung_or_dead(scene, guard, database, how):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", BORN)
    begun = guard()
    took = []
    for number in range(60):
        if number == 20 and how == "hung":
            subprocess.run(["kill", "-STOP", str(begun.process.pid)], check=True)
        elif number == 20:
            begun.process.kill() if how == "killed" else begun.process.terminate()
        took.append(connect("192.0.2.10"))
    # One stall makes one of them late; those that depended on a sentinel would all be.
    assert sum(took_s > SECOND_SYN_S for took_s in took[20:]) <= 2


def test_it_keeps_cap_net_raw_and_cap_net_admin_alone(guard):
    begun = guard()
    with open(f"/proc/{begun.process.pid}/status", encoding="ascii") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm")} == {1 << 12 | 1 << 13}
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_without_cap_net_raw_it_fails_with_one_line(guard):
    begun = guard(
        patch="from arp_engine.sentinel import privileges; privileges.keep_only()", ready="failed"
    )
    line = (
        "failed: not watching: no CAP_NET_RAW: its unit (arp-hygiene-sentinel or salt-minion) must "
        "grant it; next try in "
    )
    first, *more = begun.end()
    assert first == f"{line}1 s"
    assert all(re.fullmatch(re.escape(line) + r"\d+ s", each) for each in more), more
