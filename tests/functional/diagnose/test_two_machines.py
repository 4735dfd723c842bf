"""arp.diagnose: two MACs that answer are two machines, or two NICs of one. Witnesses tell."""

import pytest
from conftest import BORN, ip
from diagnosing import PAIR, SECOND, V4, V6, other
from pace import pace  # noqa: F401
from wire import answer

from lab.machines import give


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
def test_witness_proves_two_machines(arp, second, address):
    """Each has an address of its own beside it: the witness."""
    move_to_another_machine()
    for dev, namespace, last in (("w0", "worker", 20), ("m0", "copy", 30)):
        give(address, dev, namespace)
        give(other(address, last), dev, namespace)
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
    give(other(V4, 30), "m0", "copy")
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
    give(address, "w0", "worker")
    give(address, "m0", "worker")
    second.add(address, "stale", BORN)
    answer = arp.diagnose(address)
    assert (answer["verdict"], answer["witnesses"]) == ("duplicate address", {})
    assert "no other address of theirs is known" in answer["sentence"]


@PAIR
def test_two_nics_of_one_machine_are_flux(arp, second, address):
    """IPv4: each NIC answers for the other's address. IPv6: only if both have it."""
    for dev in ["w0", "m0"] if address == V6 else ["w0"]:
        give(address, dev, "worker")
        give(other(address, 20), dev, "worker")
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
