"""arp.diagnose: each verdict by its real cause, IPv4 and IPv6."""

import functools
import importlib
import socket

import pytest
from arp_engine.diagnose import evidence
from arp_engine.packets.probe_schedule import FAST
from arp_engine.resolve import look_back_run
from asking import waiting_long
from conftest import BORN, DEAD, ip
from diagnosing import PAIR, SECOND, V4, V6
from pace import pace  # noqa: F401
from salt.exceptions import SaltInvocationError

from lab.machines import wait_until_up


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


@PAIR
def test_entry_whose_former_holder_could_not_be_asked_is_not_told_as_corrected(
    arp, hygiene, scene, monkeypatch, address
):
    """It may only have paused: nothing is on record."""

    def not_asked(table, changes, _rate):
        table_now = table.read_again([change.key for change in changes])
        return {
            key: look_back_run.Outcome(False, current, "no carrier")
            for key, current in table_now.items()
        }

    monkeypatch.setattr(look_back_run, "look_back", not_asked)
    scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    told = arp.diagnose(address)
    assert (told["verdict"], hygiene.healed()) == ("cannot be asked here", [])
    assert told["entry_after"]["mac"] == BORN
    assert f"{DEAD} could not be asked again (no carrier): not known which" in told["sentence"]


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
    wait_until_up("w0", "w1", namespace="worker")
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
