"""Whose packets get lost is not always a neighbour: routers, forwarded and device-bound flows."""

import contextlib
import socket
import subprocess

import pytest
import stalls
from conftest import BORN, DEAD, ip
from sentry import (  # noqa: F401
    OURS,
    PORT,
    SECOND_SYN_S,
    Server,
    call_within,
    connect,
    connect_within,
    database,
    family,
    guard,
    healed_line,
)
from wire import namespace

from lab.bare import missing
from lab.machines import give, run, wait_until_taken, wait_until_up

THIRD_SYN_S = 1.9
PAIR = pytest.mark.parametrize(
    ("router", "remote"),
    [("192.0.2.20", "203.0.113.9"), ("2001:db8::20", "2001:db8:9::9")],
    ids=["v4", "v6"],
)


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)


def replace_router(scene, router, remote):
    """Route to a remote host by the worker, and let the entry of that router be wrong."""
    version = f"-{family(router)}"
    scene.worker(router)
    ip("-n", "worker", "address", "add", remote, "dev", "lo")
    if ":" in remote:
        wait_until_taken(remote, namespace="worker")
    ip(version, "route", "replace", "default", "via", router)
    scene.add(router, "reachable", DEAD)


@pytest.mark.timed
@PAIR
def test_a_client_behind_a_replaced_router_connects(scene, guard, database, router, remote):
    begun = guard()
    replace_router(scene, router, remote)
    connect_within(THIRD_SYN_S, remote)
    assert begun.until("healed") == [healed_line(router, "half open")]


@pytest.mark.timed
@PAIR
def test_a_call_of_ours_through_a_replaced_router_is_not_late(scene, guard, router, remote):
    begun = guard()
    replace_router(scene, router, remote)
    with namespace("worker"):
        server = Server(remote)
    with contextlib.closing(server):
        call_within(SECOND_SYN_S, remote)
    assert begun.until("healed") == [
        f"healed: {router} on db0: {DEAD} -> {BORN} (noticed by a SYN of ours without answer)"
    ]


@pytest.mark.timed
@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
def test_a_device_bound_call_is_doubted_before_its_second_syn(scene, guard, address):
    """It is sent again as a frame: whichever way its device chose, it takes it again."""
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    begun = guard()
    with namespace("worker"):
        server = Server(address)
    with (
        contextlib.closing(server),
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"db0")
        sock.settimeout(30)
        with stalls.within(SECOND_SYN_S):
            sock.connect((address, PORT))
        assert begun.until("healed")


@pytest.fixture
def container(scene):
    """A network namespace behind this host, with 172.17.0.2 and 2001:db8:17::2."""
    for own in ("192.0.2.99", "2001:db8::99"):  # or there is no way to this host
        scene.worker(own)
    ip("-n", "worker", "route", "add", "172.17.0.0/16", "via", "192.0.2.1")
    ip("-n", "worker", "route", "add", "2001:db8:17::/64", "via", "2001:db8::1")
    ip("netns", "del", "container", check=False)
    ip("netns", "add", "container")
    ip("link", "add", "ct0", "up", "type", "veth", "peer", "name", "eth0", "netns", "container")
    ip("address", "add", "172.17.0.1/16", "dev", "ct0")
    ip("address", "add", "2001:db8:17::1/64", "dev", "ct0", "nodad")
    ip("-n", "container", "link", "set", "eth0", "up")
    wait_until_up("ct0")
    ip("-n", "container", "address", "add", "172.17.0.2/16", "dev", "eth0")
    give("2001:db8:17::2", "eth0", "container")
    ip("-n", "container", "route", "add", "default", "via", "172.17.0.1")
    ip("-n", "container", "route", "add", "default", "via", "2001:db8:17::1")
    scene.sysctl("ipv4.ip_forward", 1)
    scene.sysctl("ipv6.conf.all.forwarding", 1)
    yield
    subprocess.run(["ip", "netns", "del", "container"], check=True)


@pytest.mark.timed
@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
def test_a_forwarded_syn_seen_twice_heals_the_entry(scene, guard, container, address):
    """A container calls a worker: its socket is in another namespace."""
    scene.worker(address)
    with namespace("worker"):
        server = Server(address)
    scene.add(address, "reachable", DEAD)
    begun = guard()
    with contextlib.closing(server):
        with namespace("container"):
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        with sock, stalls.within(THIRD_SYN_S):
            sock.settimeout(30)
            sock.connect((address, PORT))
    [line] = begun.until("healed")
    assert line.endswith("(noticed by a SYN that left twice without answer)")


@pytest.mark.timed
@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@pytest.mark.parametrize(
    ("address", "inner"),
    [("192.0.2.10", "172.17.0.2"), ("2001:db8::10", "2001:db8:17::2")],
    ids=["v4", "v6"],
)
def test_a_published_port_answers_a_newcomer_before_its_second_syn(
    scene, guard, container, address, inner
):
    """Its listener is in a container: conntrack knows the connection, no socket of ours does."""
    kind, to = ("ip6", f"[{inner}]") if ":" in address else ("ip", inner)
    ours = OURS[family(address)]
    rules = f"""table {kind} n {{
      chain pre {{
        type nat hook prerouting priority -100;
        {kind} daddr {ours} tcp dport {PORT} dnat to {to}
      }}
    }}"""
    run("nft", "-f", "-", stdin=rules)
    scene.worker(address)
    with namespace("container"):
        server = Server(inner)
    begun = guard()
    with contextlib.closing(server):
        connect(address)
        scene.add(address, "reachable", DEAD)
        connect_within(SECOND_SYN_S, address)
    assert begun.until("healed") == [healed_line(address)]
