"""Scenes of other projects' tests, played beside the sentinel: Pods that are made anew.

Each test names its source; the code and what is asserted are ours.
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import stalls
from conftest import BORN, DEAD, ip
from scapy.layers.l2 import ARP, Ether
from sentry import PAIR, Server, call, call_within, database, guard, healed_line, syn  # noqa: F401
from wire import BROADCAST, Wire, namespace

from lab.machines import give

MACS = [f"02:00:00:00:00:2{number}" for number in range(3)]


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)  # an entry just written shall be as good as an old


class Pod:
    """A namespace with one NIC on the worker's cable, an address and a service."""

    def __init__(self, name, mac):
        self.name, self.mac, self.server = name, mac, None
        ip("netns", "del", name, check=False)
        ip("netns", "add", name)
        words = f"link add link w0 name {name} netns {name} address {mac} type macvlan mode bridge"
        ip("-n", "worker", *words.split())
        ip("-n", name, "link", "set", name, "addrgenmode", "none", "up")
        give(f"fe80::{mac[-2:]}", name, name)

    def serve(self, address):
        give(address, self.name, self.name)
        with namespace(self.name):
            self.server = Server(address)

    def delete(self):
        if self.server:
            self.server.close()
        ip("-n", self.name, "link", "del", self.name)  # its namespace goes later
        ip("netns", "del", self.name)


@pytest.fixture
def pods(scene):
    with contextlib.ExitStack() as ends:

        def make(name, mac, address):
            pod = Pod(name, mac)
            ends.callback(ip, "netns", "del", name, check=False)
            pod.serve(address)
            return pod

        yield make


PATIENCE_S = 1.0  # curl --connect-timeout 1 --max-time 1


@pytest.mark.timed
@PAIR
def test_first_request_to_a_re_created_pod_with_a_fixed_address(scene, guard, pods, address):
    """kube-ovn, test/e2e/kube-ovn/pod/fixed_ip_recreation.go: the client's cache is primed."""
    first = pods("pod", MACS[0], address)
    call(address)
    begun = guard()
    first.delete()
    second = pods("pod", MACS[1], address)
    call_within(PATIENCE_S, address)
    assert begun.until("healed") == [healed_line(address, "no answer", macs=MACS[:2])]
    second.delete()


@pytest.mark.timed
@pytest.mark.parametrize("net", ["192.0.2.", "2001:db8::"], ids=["v4", "v6"])
def test_first_requests_to_pods_that_swapped_their_addresses(scene, guard, pods, net):
    """kube-ovn, test/e2e/ip/static_ip.go: a pool of three, all Pods deleted at once."""
    pool = [f"{net}{last}" for last in (20, 21, 22)]
    before = [pods(f"pod{n}", mac, pool[n]) for n, mac in enumerate(MACS)]
    for address in pool:
        call(address)
    guard()
    for pod in before:
        pod.delete()
    after = [pods(f"pod{n}", mac, pool[n - 1]) for n, mac in enumerate(MACS)]
    with stalls.within(PATIENCE_S) as claim, ThreadPoolExecutor(3) as clients:
        claim.took_s = max(clients.map(call, pool))
    rows = {row.split()[0]: row.split()[2] for row in scene.table()}
    assert {a: rows[a] for a in pool} == {pool[n - 1]: mac for n, mac in enumerate(MACS)}
    for pod in after:
        pod.delete()


def test_move_told_by_gratuitous_arp_is_no_heal_of_ours(scene, guard, database):
    """sonic-mgmt, tests/arp/test_arpall.py, GarpUpdate: the kernel needed nobody's help."""
    scene.sysctl("ipv4.neigh.db0.delay_first_probe_time", 60)  # the kernel itself asks later
    scene.add("192.0.2.10", "reachable", DEAD)
    begun = guard()
    wire = Wire()
    with contextlib.closing(wire):
        said = ARP(op=2, hwsrc=BORN, psrc="192.0.2.10", hwdst=BORN, pdst="192.0.2.10")
        wire.say(Ether(src=BORN, dst=BROADCAST) / said)
        scene.until(lambda: scene.table() == [f"192.0.2.10 db0 {BORN} REACHABLE"]
                    or scene.table() == [f"192.0.2.10 db0 {BORN} STALE"])  # fmt: skip
        wire.say(syn("192.0.2.10", BORN, port=9))  # closed: no SYN/ACK waits
        # the sentinel has worked through all that when it heals the next one
        scene.worker("192.0.2.11")
        scene.add("192.0.2.11", "reachable", DEAD)
        wire.say(syn("192.0.2.11", BORN))
        begun.until("healed")
        asked = {frame[ARP].pdst for frame in wire.questions() if ARP in frame}
    assert "192.0.2.11" in asked
    assert "192.0.2.10" not in asked
    told = [line for line in begun.lines if "192.0.2.10" in line]
    assert told == [f"changed: 192.0.2.10 on db0: {DEAD} -> {BORN}"]
