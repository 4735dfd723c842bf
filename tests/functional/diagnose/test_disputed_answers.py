"""arp.diagnose: whose word counts. Slow holders, twins, proxies, and filters that hide answers."""

import socket
import time

import pytest
from arp_engine.diagnose import evidence
from arp_engine.netlink import codec, listener, sock_diag
from arp_engine.netlink.constants import RTNLGRP_NEIGH
from arp_engine.resolve import kernel_probes, look_back
from conftest import BORN, DEAD, HOST, ip
from diagnosing import PAIR, V4, V6, other
from pace import pace  # noqa: F401
from wire import answer, packed
from wire import namespace as wire_namespace

from lab import machines
from lab.bare import missing
from lab.machines import run

FAMILY = {False: socket.AF_INET, True: socket.AF_INET6}


def slow_holder_and_twin(pace, address, delay_s):
    """Return answers of a holder that is slow, once, and of a twin that answers at once."""
    wakes = []

    def respond(asked, to_all, _number):
        wakes.append(pace.monotonic() + delay_s)
        holder = asked == address and pace.monotonic() >= wakes[0]
        said = [answer(asked, DEAD)] if holder else []
        return [*said, answer(asked, BORN)] if to_all and asked == address else said

    return respond


@PAIR
def test_holder_that_our_probe_robbed_has_its_entry_back(
    arp, scene, wire, pace, address, monkeypatch
):
    """Paused for a second; the twin answered our broadcast."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 10.0)
    scene.add(address, "reachable", DEAD)
    with wire.answering(slow_holder_and_twin(pace, address, 1.0)):
        told = arp.diagnose(address)
    assert (told["verdict"], told["cure"]) == ("duplicate address", "")
    assert set(told["answers_ms"]) == {DEAD, BORN}
    assert told["entry_after"]["mac"] == DEAD
    assert scene.table()[0].split()[2] == DEAD


@PAIR
@pytest.mark.usefixtures("pace")
def test_holder_that_has_its_entry_back_unheard_is_asked_once_more(
    arp, scene, wire, address, monkeypatch
):
    """It wakes between the twin's answer and our look at the entry, and announces itself."""
    scene.add(address, "reachable", DEAD)
    is_awake, settled = [], evidence._Diagnosis._settled

    def wake(diagnosis, answers):
        is_awake.append(True)
        wire.say(answer(address, DEAD))
        scene.until(lambda: scene.table()[0].split()[2] == DEAD)
        return settled(diagnosis, answers)

    def respond(asked, to_all, _number):
        if asked != address:
            return []
        return [answer(asked, BORN)] if to_all else [answer(asked, DEAD)] * bool(is_awake)

    monkeypatch.setattr(evidence._Diagnosis, "_settled", wake)
    with wire.answering(respond):
        told = arp.diagnose(address)
    assert (told["verdict"], told["cure"]) == ("duplicate address", "")
    assert set(told["answers_ms"]) == {DEAD, BORN}
    assert scene.table()[0].split()[2] == DEAD


@pytest.mark.usefixtures("pace")
def test_holder_that_answers_keeps_its_entry_all_the_time(arp, scene, wire):
    """Our broadcast, which the twin answers first, moves it for no moment (once it did)."""
    scene.sysctl("ipv4.neigh.db0.locktime", 300)
    scene.add(V4, "reachable", DEAD)
    time.sleep(3.1)  # an entry as young as that takes no answer anyway
    seen = set()

    def respond(asked, to_all, _number):
        macs = [BORN, DEAD] if to_all else [DEAD]
        return [answer(asked, mac) for mac in macs] if asked == V4 else []

    with wire.answering(respond), listener.Listener((RTNLGRP_NEIGH,)) as heard:
        told = arp.diagnose(V4)
        for datagram in heard.drain(1000)[0]:
            entry = codec.parse(datagram)
            if entry and entry.dst == socket.inet_aton(V4):
                seen.add(entry.mac.hex(":"))
    assert (told["verdict"], set(told["answers_ms"])) == ("duplicate address", {DEAD, BORN})
    assert seen == {DEAD}
    assert scene.table()[0].split()[2] == DEAD


PROXY = "02:00:00:00:00:99"


def beside_proxy(wire, address, hosts):
    """Return answers of hosts, and of a proxy that answers for every address."""

    def respond(asked, to_all, _number):
        macs = [*(hosts if asked == address else []), PROXY]
        return [answer(asked, mac) for mac in macs if to_all or mac == wire.asked_mac]

    return respond


@pytest.mark.usefixtures("late_second_answers", "pace")
@pytest.mark.parametrize(
    ("cached", "hosts", "verdict", "after"),
    [
        (BORN, [BORN], "proxy", BORN),
        (PROXY, [BORN], "wrong, now corrected by asking", BORN),
        (DEAD, [], "proxy", PROXY),
    ],
    ids=["right", "the proxy's", "dead"],
)
def test_proxy_is_named_and_takes_no_entry(arp, scene, wire, cached, hosts, verdict, after):
    scene.add("192.0.2.254", "stale", PROXY)
    scene.add(V4, "reachable", cached)
    with wire.answering(beside_proxy(wire, V4, hosts)):
        told = arp.diagnose(V4)
    assert (told["verdict"], told["proxies"], told["cure"]) == (verdict, [PROXY], "")
    assert "proxy ARP" in told["sentence"]
    assert told["entry_after"]["mac"] == after


@pytest.mark.usefixtures("late_second_answers", "pace")
@pytest.mark.parametrize(
    ("address", "state"),
    [(V6, "reachable"), (V4, "permanent"), (V6, "permanent")],
    ids=["v6 without Override", "v4 by hand", "v6 by hand"],
)
def test_entry_beside_a_proxy_that_alone_answers_is_offered_to_nobody(
    arp, scene, wire, address, state
):
    """Its host is silent for a moment: a router that proxies must not get the entry by our word."""

    def respond(asked, _to_all, _number):
        return [answer(asked, PROXY, **({"O": 0} if ":" in asked else {}))]

    scene.add(other(address, 254), "stale", PROXY)
    scene.add(address, state, DEAD)
    with wire.answering(respond):
        told = arp.diagnose(address)
    assert (told["verdict"], told["proxies"], told["cure"]) == ("proxy", [PROXY], "")
    assert told["entry_after"]["mac"] == DEAD


@pytest.mark.usefixtures("late_second_answers", "pace")
@pytest.mark.parametrize("address", ["192.0.2.254", "2001:db8::254"], ids=["v4", "v6"])
def test_own_address_of_a_proxying_router_stays_its_own(arp, scene, wire, address):
    ip("-6" if ":" in address else "-4", "route", "add", "default", "via", address)
    for each in (address, other(address, 20)):
        scene.add(each, "reachable", PROXY)
    with wire.answering(beside_proxy(wire, address, [BORN])):
        told = arp.diagnose(address)
    assert (told["verdict"], told["proxies"], told["cure"]) == ("proxy", [PROXY], "")
    assert told["entry_after"]["mac"] == PROXY


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
def test_arp_filter_of_this_host_is_named(arp, scene):
    scene.worker(V4)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(V4, "reachable", DEAD)
    rules = "table arp f { chain in { type filter hook input priority 0; policy drop; }\n}"
    run("nft", "-f", "-", stdin=rules)
    told = arp.diagnose(V4)
    assert told["verdict"] == "wrong, and asking did not correct it"
    assert "the ARP filter of this host" in told["sentence"]
    assert told["cure"] == "look at: nft list ruleset arp"


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@pytest.mark.parametrize("state", ["failed", "incomplete"])
def test_arp_filter_is_named_where_the_entry_has_no_mac(arp, scene, state):
    """Then no locktime holds: the kernel would have taken the answer."""
    scene.worker(V4)
    scene.sysctl("ipv4.neigh.db0.locktime", 360_000)
    rules = "table arp f { chain in { type filter hook input priority 0; policy drop; }\n}"
    run("nft", "-f", "-", stdin=rules)
    scene.add(V4, state, None)
    told = arp.diagnose(V4)
    assert told["verdict"] == "wrong, and asking did not correct it"
    assert "the ARP filter of this host" in told["sentence"]
    assert told["cure"] == "look at: nft list ruleset arp"


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
def test_filter_that_drops_advertisements_is_not_cured_by_a_flush(arp, scene):
    scene.worker(V6)
    scene.add(V6, "reachable", DEAD)
    rules = "table ip6 f { chain in { type filter hook input priority 0; "
    run("nft", "-f", "-", stdin=rules + "icmpv6 type nd-neighbor-advert drop; }\n}")
    told = arp.diagnose(V6)
    assert told["verdict"] == "wrong, and asking did not correct it"
    assert told["cure"] == "look at: nft list ruleset"
    [line] = arp.revalidate(V6)["warnings"]
    assert "nft list ruleset" in line
    assert "arp.flush" not in line


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@PAIR
def test_peer_that_talks_is_not_called_dead(arp, scene, monkeypatch, address):
    """A static entry, and a host that answers no ARP."""
    monkeypatch.setattr(kernel_probes, "WORKS_S", 3600)
    scene.worker(address)
    scene.add(address, "permanent", BORN)
    rules = "table netdev f { chain in { type filter hook ingress device w0 priority 0; "
    rules += (
        "ether type arp drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop; }\n}"
    )
    with wire_namespace("worker"):
        ip("neigh", "replace", other(address, 1), "lladdr", HOST, "nud", "permanent", "dev", "w0")
        run("nft", "-f", "-", stdin=rules)
        service = socket.create_server((address, 5432), family=FAMILY[":" in address])
    with service, socket.create_connection((address, 5432), 5):
        told = arp.diagnose(address)
    assert told["verdict"] == "nobody answers"
    assert "1 TCP connection to it was acknowledged in the last seconds" in told["sentence"]
    assert "traffic may flow" in told["sentence"]


@PAIR
def test_idle_connections_to_a_dead_host_are_no_sign_of_life(arp, scene, monkeypatch, address):
    """A pool to a dead worker: nothing was sent, so nothing is unanswered."""
    monkeypatch.setattr(kernel_probes, "WORKS_S", 0.2)
    scene.worker(address)
    with wire_namespace("worker"):
        service = socket.create_server((address, 5432), family=FAMILY[":" in address])
    with service, socket.create_connection((address, 5432), 5):
        ip("-n", "worker", "address", "flush", "dev", "w0")
        scene.until(lambda: not acknowledged(address))
        scene.add(address, "stale", BORN)
        told = arp.diagnose(address)
    assert told["verdict"] == "nobody answers"
    assert "alive" not in told["sentence"]


def acknowledged(address):
    with sock_diag.Sockets() as sockets:
        found = sockets.acknowledged(kernel_probes.WORKS_S)
    return [each for each in found if each.peer == packed(address)]


def test_connections_on_another_link_are_no_sign_of_life(arp, scene, monkeypatch):
    """A link-local address is another host on each link."""
    monkeypatch.setattr(kernel_probes, "WORKS_S", 3600)
    ip("link", "add", "x0", "type", "veth", "peer", "name", "x1", "netns", "worker")
    for words, dev in ((), "x0"), (("-n", "worker"), "x1"):
        ip(*words, "link", "set", dev, "addrgenmode", "none", "up")
    machines.wait_until_up("x0")
    machines.give("fe80::1", "x0")
    machines.give("fe80::77", "x1", "worker")
    with wire_namespace("worker"):
        service = socket.socket(socket.AF_INET6)
        service.bind(("fe80::77", 5432, 0, socket.if_nametoindex("x1")))
        service.listen()
    with service, socket.create_connection(("fe80::77%x0", 5432), 30):
        assert len(acknowledged("fe80::77")) == 1
        told = {dev: arp.diagnose("fe80::77", dev=dev) for dev in ("db0", "x0")}
    assert (told["db0"]["verdict"], told["x0"]["verdict"]) == ("nobody answers", "right")
    assert "alive" not in told["db0"]["sentence"]
