"""arp.diagnose: each verdict by its real cause, IPv4 and IPv6."""

import functools
import importlib
import json
import socket
import time

import pytest
from arp_engine.diagnose import evidence
from arp_engine.netlink import codec, listener
from arp_engine.netlink.constants import RTNLGRP_NEIGH
from arp_engine.packets.probe_schedule import FAST
from arp_engine.resolve import look_back
from asking import waiting_long
from conftest import BORN, DEAD, HOST, ip
from pace import pace  # noqa: F401
from salt.exceptions import SaltInvocationError
from wire import answer
from wire import namespace as wire_namespace

from lab.bare import missing
from lab.machines import run

V4, V6 = "192.0.2.10", "2001:db8::10"
SECOND = "02:00:00:00:00:0c"  # the MAC of one more NIC on the link
FAMILY = {False: socket.AF_INET, True: socket.AF_INET6}
PAIR = pytest.mark.parametrize("address", [V4, V6], ids=["v4", "v6"])


def other(address, last):
    return f"{address.rpartition(':')[0] or '192.0.2'}{':' if ':' in address else '.'}{last}"


def own(address, dev, namespace="worker"):
    """Give a device of the other side an address."""
    length, extra = ("64", ["nodad"]) if ":" in address else ("24", [])
    ip("-n", namespace, "address", "add", f"{address}/{length}", "dev", dev, *extra)


@pytest.fixture
def second(late_second_answers, scene):
    """One more NIC on the link, ``m0``; in the worker until it is moved to a machine of its own."""
    words = f"link add link w0 name m0 address {SECOND} type macvlan mode bridge"
    ip("-n", "worker", *words.split())
    ip("-n", "worker", "link", "set", "m0", "addrgenmode", "none", "up")
    ip("netns", "del", "copy", check=False)
    ip("netns", "add", "copy")
    yield scene
    ip("netns", "del", "copy")


def move_to_another_machine():
    ip("-n", "worker", "link", "set", "m0", "netns", "copy")
    ip("-n", "copy", "link", "set", "m0", "addrgenmode", "none", "up")


@PAIR
def test_right_entry(arp, scene, address, monkeypatch):
    ask_long = functools.partial(evidence.ask, schedule=waiting_long(FAST))
    monkeypatch.setattr(evidence, "ask", ask_long)  # each answer comes, beside other work late
    scene.worker(address)
    scene.add(address, "stale", BORN)
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["cure"]) == ("right", "")
    assert set(answer["answers_ms"]) == {BORN}
    assert answer["route"]["dev"] == "db0"
    assert answer["entry"]["state"] == "STALE"
    assert answer["entry_after"]["mac"] == BORN
    assert answer["asked"] == {"unicast": 1, "broadcast": 2}


def test_dev_overrides_the_route(arp, scene):
    """Blanks round a word are no part of it, here as everywhere."""
    ip("link", "add", "db1", "type", "veth", "peer", "name", "w1")
    for name in ("db1", "w1"):
        ip("link", "set", name, "up")
    ip("address", "add", "198.51.100.1/24", "dev", "db1")
    for dev in ("db1", " db1"):
        route = arp.diagnose(V4, dev=dev, test=True)["route"]
        assert (route["dev"], route["source"]) == ("db1", "198.51.100.1")


@PAIR
def test_wrong_entry_is_corrected_by_the_probe(arp, scene, address):
    scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    with scene.confirming(address):
        answer = arp.diagnose(address)
    assert answer["verdict"] == "wrong, now corrected by asking"
    assert (answer["entry"]["mac"], answer["entry_after"]["mac"]) == (DEAD, BORN)
    assert scene.table() == [f"{address} db0 {BORN} REACHABLE"]


def test_entry_changed_within_locktime_is_corrected(arp, scene):
    scene.worker(V4)
    scene.add(V4, "reachable", DEAD)
    assert arp.diagnose(V4)["verdict"] == "wrong, now corrected by asking"
    assert scene.table() == [f"{V4} db0 {BORN} REACHABLE"]


@PAIR
def test_failed_entry(arp, scene, address):
    """IPv6 takes no answer into a FAILED entry (ndisc_recv_na); the next packet asks anew."""
    scene.worker(address)
    scene.add(address, "failed", None)
    verdict = {V4: "wrong, now corrected by asking", V6: "no entry"}[address]
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["cure"]) == (verdict, "")
    assert "(FAILED)" in answer["sentence"]


def test_long_locktime_leaves_the_entry_wrong(arp, scene):
    scene.worker(V4)
    scene.sysctl("ipv4.neigh.db0.locktime", 6000)
    scene.add(V4, "reachable", DEAD)
    answer = arp.diagnose(V4)
    assert answer["verdict"] == "wrong, and asking did not correct it"
    assert answer["cure"] == f"salt-call --local arp.flush {V4} dev=db0"
    assert set(answer["answers_ms"]) == {BORN}
    assert arp.flush(V4, "db0")["flushed"] == 1


def test_nd_proxy_without_override_leaves_the_entry_wrong(arp, scene):
    """RFC 4861, 7.2.8: who answers in the name of another does not set the Override flag."""
    scene.sysctl("ipv6.conf.w0.proxy_ndp", 1, "worker")
    scene.sysctl("ipv6.conf.w0.forwarding", 1, "worker")
    scene.sysctl("ipv6.neigh.w0.proxy_delay", 0, "worker")
    ip("-n", "worker", "neigh", "add", "proxy", V6, "dev", "w0")
    scene.add(V6, "reachable", DEAD)
    answer = arp.diagnose(V6)
    assert answer["verdict"] == "wrong, and asking did not correct it"
    assert answer["entry_after"]["mac"] == DEAD


@PAIR
def test_witness_proves_two_machines(arp, second, address):
    """Each has an address of its own beside it: the witness."""
    move_to_another_machine()
    for dev, namespace, last in (("w0", "worker", 20), ("m0", "copy", 30)):
        own(address, dev, namespace)
        own(other(address, last), dev, namespace)
    second.add(address, "stale", BORN)
    second.add(other(address, 20), "stale", BORN)
    second.add(other(address, 30), "stale", SECOND)
    answer = arp.diagnose(address)
    assert answer["verdict"] == "duplicate address"
    assert set(answer["answers_ms"]) == {BORN, SECOND}
    assert answer["witnesses"] == {other(address, 20): [BORN], other(address, 30): [SECOND]}
    assert "so they are two machines" in answer["sentence"]


def test_router_that_proxies_for_one_address_is_offered_no_command(arp, second):
    """By a route to the host behind it: for what nobody has it does not answer."""
    second.worker(V4)
    move_to_another_machine()
    own(other(V4, 30), "m0", "copy")
    ip("-n", "copy", "link", "add", "tap0", "type", "veth", "peer", "tap1")
    for name in ("tap0", "tap1"):
        ip("-n", "copy", "link", "set", name, "up")
    ip("-n", "copy", "route", "add", f"{V4}/32", "dev", "tap0")
    for name in ("conf.m0.proxy_arp", "conf.m0.forwarding"):
        second.sysctl(f"ipv4.{name}", 1, "copy")
    second.sysctl("ipv4.neigh.m0.proxy_delay", 0, "copy")
    second.add(V4, "stale", BORN)
    second.add(other(V4, 30), "stale", SECOND)
    told = arp.diagnose(V4)
    assert (told["verdict"], told["proxies"]) == ("duplicate address", [])
    assert told["witnesses"] == {other(V4, 30): [SECOND]}
    assert "one may be a router that answers for a host behind it" in told["sentence"]
    assert told["cure"] == ""


@PAIR
def test_without_witness_two_machines_are_assumed(arp, second, address):
    own(address, "w0")
    own(address, "m0")
    second.add(address, "stale", BORN)
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["witnesses"]) == ("duplicate address", {})
    assert "no other address of theirs is known" in answer["sentence"]


@PAIR
def test_two_nics_of_one_machine_are_flux(arp, second, address):
    """IPv4: each NIC answers for the other's address. IPv6: only if both have it."""
    for dev in ["w0", "m0"] if address == V6 else ["w0"]:
        own(address, dev)
        own(other(address, 20), dev)
    second.add(address, "stale", BORN)
    second.add(other(address, 20), "stale", BORN)
    answer = arp.diagnose(address)
    assert answer["verdict"] == "flux"
    assert set(answer["answers_ms"]) == {BORN, SECOND}
    assert set(answer["witnesses"][other(address, 20)]) == {BORN, SECOND}


@PAIR
@pytest.mark.usefixtures("late_second_answers", "pace")
def test_witness_with_a_late_answer_is_probed_again(arp, scene, wire, address):
    witness = other(address, 20)
    for each in (address, witness):
        scene.add(each, "stale", BORN)

    def respond(ip, _to_all, number):
        late = ip == witness and not number
        macs = ([BORN] if late else [BORN, SECOND]) if ip in (address, witness) else []
        return [answer(ip, mac) for mac in macs]

    with wire.answering(respond):
        told = arp.diagnose(address)
    assert (told["verdict"], sorted(told["witnesses"][witness])) == ("flux", [BORN, SECOND])


@PAIR
@pytest.mark.parametrize("state", ["stale", "failed", None])
def test_no_host_answers(arp, scene, address, state):
    if state:
        scene.add(address, state, DEAD if state == "stale" else None)
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["answers_ms"]) == ("nobody answers", {})
    assert answer["asked"]["broadcast"] >= 3
    assert answer["asked"]["unicast"] == (state == "stale")
    assert "down" not in answer["sentence"]


@PAIR
def test_upper_layer_confirmation_without_an_answer(arp, scene, address):
    scene.add(address, "reachable", DEAD)
    with scene.confirming(address):
        answer = arp.diagnose(address)
    assert answer["verdict"] == "silent but vouched for"
    assert answer["cure"] == "", "alive and told to ignore ARP, the host would lose its entry"
    assert "MSG_CONFIRM" in answer["kept_alive_by"]
    assert answer["entry_after"]["mac"] == DEAD


@PAIR
def test_no_entry_and_a_host_that_answers(arp, scene, address):
    scene.worker(address)
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["entry"], answer["cure"]) == ("no entry", None, "")
    assert scene.table() == []


@PAIR
def test_permanent_entry_disagrees_with_the_wire(arp, scene, address):
    scene.worker(address)
    scene.add(address, "permanent", DEAD)
    answer = arp.diagnose(address)
    assert answer["verdict"] == "owned entry disagrees with the wire"
    assert answer["kept_alive_by"] == "its owner (PERMANENT)"
    assert scene.table() == [f"{address} db0 {DEAD} PERMANENT"]
    condition, command = answer["cure"].split(": ", 1)
    assert condition == "unless it is meant so"
    ip(*command.split()[1:])
    assert scene.table() == []


@PAIR
@pytest.mark.parametrize("mark", [["extern_learn"], ["protocol", "zebra"]], ids=" ".join)
def test_owned_entry_is_not_probed(arp, scene, address, mark):
    scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    ip("neigh", "add", address, "lladdr", DEAD, "nud", "reachable", "dev", "db0", *mark)
    before = scene.table()
    answer = arp.diagnose(address)
    assert answer["verdict"] == "cannot be asked here"
    assert mark[-1] in answer["cannot_ask"]
    assert answer["asked"] == {"unicast": 0, "broadcast": 0}
    assert scene.table() == before


@PAIR
@pytest.mark.parametrize(
    ("mac", "verdict"),
    [(BORN, "not on this link, next hop judged"), (DEAD, "wrong, now corrected by asking")],
    ids=["right", "wrong"],
)
def test_next_hop_is_judged_for_a_routed_address(arp, scene, address, mac, verdict):
    scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    ip("route", "add", "default", "via", address)
    scene.add(address, "stale", mac)
    far = "2001:db8:99::1" if ":" in address else "198.51.100.1"
    answer = arp.diagnose(far)
    assert (answer["verdict"], answer["address"], answer["judged"]) == (verdict, far, address)
    assert answer["route"]["gateway"] == address


def test_ipv4_address_behind_an_ipv6_router(arp, scene):
    scene.worker(V6)
    ip("route", "add", "198.51.100.0/24", "via", "inet6", V6, "dev", "db0")
    scene.add(V6, "stale", BORN)
    answer = arp.diagnose("198.51.100.1")
    assert (answer["verdict"], answer["judged"]) == ("not on this link, next hop judged", V6)


@PAIR
def test_table_full(arp, scene, address, monkeypatch):
    """gc_thresh3 holds for all namespaces: a table that is really full takes the host's along."""
    scene.worker(address)
    arp.stats()  # loads the engine
    engine = importlib.import_module("arp_engine.diagnose.readings")
    limits = engine.rtnetlink.limits

    def small(families):
        found = limits(families).items()
        words = {"forced_gc_runs": 1, "last_collected_s": 0.0}
        return {
            at: one._replace(gc_thresh3=one.entries_all_namespaces, **words) for at, one in found
        }

    scene.fill(5, family=6 if ":" in address else 4)
    monkeypatch.setattr(engine.rtnetlink, "limits", small)
    monkeypatch.setattr(engine, "refused", lambda _family: 0)  # whatever this machine has seen
    assert arp.diagnose(address)["verdict"] == "no entry"  # nobody has been refused one
    monkeypatch.setattr(engine, "refused", lambda _family: 3)
    answer = arp.diagnose(address)
    assert answer["verdict"] == "table full"
    assert answer["table"]["entries"] == answer["table"]["gc_thresh3"] >= 5
    assert "gc_thresh3=" in answer["cure"]


@PAIR
def test_permanent_entries_do_not_fill_the_table(arp, scene, address):
    scene.worker(address)
    before = arp.diagnose(address)["table"]["never_collected"]
    scene.fill(7, "permanent", family=6 if ":" in address else 4)
    assert arp.diagnose(address)["table"]["never_collected"] == before + 7


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("198.51.100.1", "no route leads there (ENETUNREACH)"),
        ("2001:db8:99::1", "no route leads there (ENETUNREACH)"),
        ("192.0.2.1", "this machine's own address"),
        ("2001:db8::1", "this machine's own address"),
        ("192.0.2.255", "broadcast address"),
        ("224.0.0.5", "multicast address"),
        ("ff02::5", "multicast address"),
        ("203.0.113.1", "blackhole"),
        ("2001:db8:66::1", "blackhole"),
    ],
)
def test_address_without_a_neighbour_cannot_be_probed(arp, scene, address, why):
    ip("route", "add", "blackhole", "203.0.113.0/24")
    ip("route", "add", "blackhole", "2001:db8:66::/64")
    ip("route", "add", "224.0.0.0/4", "dev", "db0")
    answer = arp.diagnose(address)
    assert answer["verdict"] == "cannot be asked here"
    assert why in answer["route"]["why_not"]
    assert answer["judged"] == ""
    assert answer["table"]["gc_thresh3"] > 0


@PAIR
def test_device_is_down(arp, scene, address):
    ip("link", "set", "db0", "down")
    assert "no route leads there" in arp.diagnose(address)["sentence"]
    assert arp.diagnose(address, dev="db0")["route"]["why_not"] == "db0 is down"


@PAIR
def test_device_without_carrier(arp, scene, address):
    scene.add(address, "permanent", DEAD)
    ip("-n", "worker", "link", "set", "w0", "down")
    scene.until(lambda: "NO-CARRIER" in ip("link", "show", "db0"))
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["cannot_ask"]) == (
        "cannot be asked here",
        "no carrier",
    )


def test_ipv6_device_without_link_local_address_asks_from_a_global_one(arp, scene):
    scene.worker(V6)
    ip("address", "del", "fe80::1/64", "dev", "db0")
    assert arp.diagnose(V6)["verdict"] == "no entry"
    ip("-6", "address", "flush", "dev", "db0")
    ip("-6", "route", "add", "2001:db8::/64", "dev", "db0")
    assert arp.diagnose(V6)["cannot_ask"] == "no address to ask from"


def test_link_local_address_with_dev(arp, scene):
    scene.add("fe80::2", "stale", BORN)
    assert arp.diagnose("fe80::2", dev="db0")["verdict"] == "right"


@PAIR
def test_test_mode_sends_no_probe(arp, scene, address):
    scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    answer = arp.diagnose(address, test=True)
    assert (answer["verdict"], answer["answers_ms"]) == ("not asked", {})
    assert answer["asked"] == {"unicast": 0, "broadcast": 0}
    assert answer["cure"] == f"salt-call --local arp.diagnose {address} dev=db0"
    assert scene.table() == [f"{address} db0 {DEAD} REACHABLE"]


@PAIR
def test_without_an_entry_test_mode_decides_nothing(arp, scene, address):
    answer = arp.diagnose(address, test=True)
    assert (answer["verdict"], answer["entry"]) == ("not asked", None)


# --- whose word counts


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
def test_peer_that_talks_is_not_called_dead(arp, scene, address):
    """A static entry, and a host that answers no ARP."""
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
    assert "1 TCP connection to it has nothing unanswered" in told["sentence"]
    assert "traffic may flow" in told["sentence"]


# --- which way


def gateways(scene, *macs):
    """Route by two routers on the link; both answer, and the second entry is wrong."""
    for address in ("192.0.2.11", "192.0.2.12"):
        scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    hops = ("192.0.2.11", "192.0.2.12")
    ip("route", "add", "default", *(w for hop in hops for w in ("nexthop", "via", hop)))
    for hop, mac in zip(hops, macs, strict=True):
        scene.add(hop, "reachable", mac)


CLIENTS = [f"198.51.100.{number}" for number in range(1, 9)]


def test_next_hop_that_the_clients_packets_take_is_judged(arp, scene):
    gateways(scene, BORN, BORN)
    for client in CLIENTS:
        words = ip("route", "get", client, "from", "192.0.2.1").split()
        told = arp.diagnose(client)
        assert told["judged"] == words[words.index("via") + 1]
        [hop] = told["other_hops"]
        assert told["other_hops"][hop] == "not judged"
        assert hop in told["sentence"]


def test_each_next_hop_is_judged_where_the_ports_decide(arp, scene):
    gateways(scene, BORN, DEAD)
    scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
    told = arp.diagnose(CLIENTS[0])
    assert (told["judged"], told["verdict"]) == ("192.0.2.12", "wrong, now corrected by asking")
    assert told["other_hops"] == {"192.0.2.11 on db0": "not on this link, next hop judged"}


def second_card(address):
    """Lay a second cable to the worker; give its end an address, and ours one of db0's network."""
    ip("link", "add", "db1", "type", "veth", "peer", "w1", "netns", "worker")
    ip("link", "set", "db1", "addrgenmode", "none", "up")
    ip("-n", "worker", "link", "set", "w1", "up")
    ip("-n", "worker", "address", "add", f"{address}/32", "dev", "w1")
    ip("address", "add", "192.0.2.2/24", "dev", "db1")
    (link,) = json.loads(ip("-n", "worker", "-json", "link", "show", "w1"))
    return link["address"]


def test_wrong_entry_of_a_second_card_is_judged(arp, scene):
    """No socket tells which card the packets take; that of the first card is right."""
    scene.worker(V4)
    mac = second_card(V4)
    scene.add(V4, "reachable", BORN)
    scene.add(V4, "reachable", DEAD, "db1")
    scene.sysctl("ipv4.neigh.db1.locktime", 0)
    told = arp.diagnose(V4)
    assert (told["verdict"], told["route"]["dev"]) == ("wrong, now corrected by asking", "db1")
    assert told["entry_after"]["mac"] == mac
    assert told["other_hops"] == {f"{V4} on db0": "right"}


@pytest.mark.parametrize("state", ["permanent", "noarp"])
def test_entry_of_a_second_card_that_is_set_by_hand_is_judged(arp, scene, state):
    """No answer changes it. Packets with that card's source address are lost."""
    scene.worker(V4)
    mac = second_card(V4)
    scene.add(V4, "reachable", BORN)
    scene.add(V4, state, DEAD, "db1")
    before = scene.table()
    told = arp.diagnose(V4)
    assert told["verdict"] == "owned entry disagrees with the wire"
    assert (told["route"]["dev"], set(told["answers_ms"])) == ("db1", {mac})
    assert told["other_hops"] == {f"{V4} on db0": "right"}
    assert [row.split()[2] for row in scene.table()] == [row.split()[2] for row in before]


@pytest.mark.parametrize("mark", [["extern_learn"], ["protocol", "zebra"]], ids=" ".join)
def test_entry_of_a_second_card_that_may_not_be_asked_about_is_named(arp, scene, mark):
    scene.worker(V4)
    second_card(V4)
    scene.add(V4, "reachable", BORN)
    ip("neigh", "add", V4, "lladdr", DEAD, "nud", "reachable", "dev", "db1", *mark)
    told = arp.diagnose(V4)
    assert (told["verdict"], told["route"]["dev"]) == ("right", "db0")
    assert told["other_hops"] == {f"{V4} on db1": "not judged"}
    assert f"other next hops: {V4} on db1 (not judged)" in told["sentence"]


def test_owned_entry_without_a_route_is_named_with_its_owner(arp, scene):
    address = "203.0.113.9"
    second_card(address)
    ip("neigh", "add", address, "lladdr", DEAD, "nud", "stale", "dev", "db1", "protocol", "zebra")
    told = arp.diagnose(address)
    assert (told["verdict"], told["route"]["dev"]) == ("cannot be asked here", "db1")
    assert "protocol zebra" in told["cannot_ask"]


@pytest.mark.parametrize("address", ["224.0.0.5", "192.0.2.255"])
def test_address_that_is_no_neighbours_has_no_other_next_hops(arp, scene, address):
    """The kernel's own entries for it are none."""
    second_card(V4)
    for dev in ("db0", "db1"):
        scene.add(address, "permanent", DEAD, dev)
    told = arp.diagnose(address, test=True)
    assert (told["verdict"], told["other_hops"]) == ("cannot be asked here", {})


def test_entry_without_a_route_is_judged_on_its_device(arp, scene):
    """As in a VRF, whose table a lookup without a device does not ask."""
    address = "203.0.113.9"
    mac = second_card(address)
    assert arp.diagnose(address)["verdict"] == "cannot be asked here"
    scene.add(address, "reachable", DEAD, "db1")
    scene.sysctl("ipv4.neigh.db1.locktime", 0)
    told = arp.diagnose(address)
    assert (told["verdict"], told["entry_after"]["mac"]) == ("wrong, now corrected by asking", mac)


def test_stuck_socket_shows_the_next_hop(arp, scene):
    """By its ports."""
    gateways(scene, BORN, BORN)
    scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
    for _attempt in range(4):
        with socket.socket() as caller:
            caller.setblocking(False)
            caller.connect_ex((CLIENTS[0], 5432))
            words = f"from 192.0.2.1 ipproto tcp sport {caller.getsockname()[1]} dport 5432"
            kernel = ip("route", "get", CLIENTS[0], *words.split()).split()
            told = arp.diagnose(CLIENTS[0], test=True)
        assert told["judged"] == kernel[kernel.index("via") + 1]


def test_stuck_sockets_mark_shows_the_next_hop(arp, scene):
    gateways(scene, BORN, BORN)
    ip("route", "add", "default", "via", "192.0.2.13", "table", "7")
    ip("rule", "add", "fwmark", "7", "table", "7")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        caller.setblocking(False)
        caller.connect_ex((CLIENTS[0], 5432))
        told = arp.diagnose(CLIENTS[0], test=True)
    assert told["judged"] == "192.0.2.13"


def test_port_of_a_bridge_leads_to_the_bridge(arp, scene):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    ip("link", "set", "br0", "up")
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    scene.worker(V4)
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    told = arp.diagnose(V4, dev="db0")
    assert told["route"]["dev"] == "br0"
    assert "db0 is a port of br0, which has the entries" in told["sentence"]


@pytest.mark.parametrize("dev", ["db0", "br0"])
@pytest.mark.parametrize("gateway", ["", "192.0.2.254", "2001:db8::254"], ids=str)
def test_device_below_the_one_with_the_entries_is_not_asked_by(arp, scene, dev, gateway):
    """A card in a bridge (or bond), and a macvlan (or VLAN) on that with the addresses."""
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("address", "flush", "dev", "db0")
    ip("link", "add", "link", "br0", "name", "on0", "type", "macvlan", "mode", "bridge")
    ip("link", "set", "on0", "addrgenmode", "none", "up")
    for own in ("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"):
        ip("address", "add", own, "dev", "on0", *["nodad"] * (":" in own))
    ip("-n", "worker", "neigh", "flush", "all", "nud", "permanent")  # the addresses moved
    address = V4
    if gateway:
        address = "198.51.100.9" if "." in gateway else "2001:db8:9::9"
        ip(*["-6"] * (":" in gateway), "route", "add", "default", "via", gateway)
    for host in (gateway or V4, V6):
        scene.worker(host)
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    told = arp.diagnose(address, dev=dev)
    assert (told["route"]["dev"], told["route"]["gateway"]) == ("on0", gateway)
    assert set(told["answers_ms"]) == {BORN}
    assert f"on0, on top of {dev}, has the entries" in told["sentence"]


def test_entry_on_top_of_a_named_device_is_judged_without_a_route(arp, scene):
    ip("address", "flush", "dev", "db0")
    ip("link", "add", "link", "db0", "name", "on0", "up", "type", "macvlan", "mode", "bridge")
    ip("address", "add", "198.51.100.1/24", "dev", "on0")
    scene.add(V4, "stale", BORN, "on0")
    assert arp.diagnose(V4, dev="db0", test=True)["entry"]["dev"] == "on0"


@PAIR
def test_sockets_without_an_answer_are_listed(arp, scene, address):
    scene.add(address, "permanent", DEAD)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as caller:
        caller.setblocking(False)
        caller.connect_ex((address, 5432))
        answer = arp.diagnose(address, test=True)
    [found] = answer["sockets"]
    assert (found["state"], found["peer"], found["peer_port"]) == ("SYN_SENT", address, 5432)
    assert answer["totals"] == {"sockets": 1}


def test_own_nic_that_answers_is_named(arp, scene):
    """Proxy ARP on a second NIC of ours, which is on the same link."""
    ip("-n", "worker", "link", "add", "br0", "type", "bridge")
    ip("link", "add", "db1", "address", SECOND, "type", "veth", "peer", "w1", "netns", "worker")
    for words in ("link set w0 master br0", "link set w1 master br0", "link set w1 up"):
        ip("-n", "worker", *words.split())
    ip("-n", "worker", "link", "set", "br0", "up")
    ip("link", "set", "db1", "addrgenmode", "none", "up")
    scene.sysctl("ipv4.conf.db1.proxy_arp", 1)
    scene.sysctl("ipv4.conf.db1.forwarding", 1)
    scene.sysctl("ipv4.conf.db1.rp_filter", 0)
    scene.sysctl("ipv4.conf.db1.accept_local", 1)
    scene.sysctl("ipv4.neigh.db1.proxy_delay", 0)
    answer = arp.diagnose(V4)
    assert set(answer["answers_ms"]) == {SECOND}
    assert f"{SECOND} belongs to this host (db1)" in answer["sentence"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"ip": "192.0.2.0/24"}, "name one address"),
        ({"ip": ["192.0.2.1"]}, "name one address"),
        ({"ip": "192.0.2.1,192.0.2.2"}, "name one address"),
        ({"ip": "worker"}, "'worker' is not an IPv4 or IPv6 address"),
        ({"ip": 7}, "quote it in YAML"),
        ({"ip": None}, "name one address"),
        ({"ip": "fe80::2"}, "link-local address: name its device with dev"),
        ({"ip": V4, "dev": "no0"}, "no device 'no0' here"),
        ({"ip": V4, "dev": ["db0"]}, "name one device"),
        ({"ip": V4, "test": "maybe"}, "neither true nor false"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_in_one_line(arp, scene, words, line):
    with pytest.raises(SaltInvocationError, match=r"^arp\.diagnose: ") as raised:
        arp.diagnose(**words)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
