"""The smallest network: one cable from the current namespace to the namespace ``worker``.

The worker is a living machine with the MAC ``BORN``. Also fills the host's neighbour table.
"""

import functools
import ipaddress

from lab.machines import run, wait_until_taken, wait_until_up

HOST = "02:00:00:00:00:01"  # the host's own
DEAD = "02:00:00:00:00:0a"  # a network card that no longer exists
BORN = "02:00:00:00:00:0b"  # the new one that has its address now
_FIRST = {4: ipaddress.ip_address("10.0.0.0"), 6: ipaddress.ip_address("2001:db8:1::1")}


def ip(*lines, namespace=None):
    """Run many lines by one iproute2."""
    there = ["-n", namespace] if namespace else []
    return run("ip", *there, "-batch", "-", stdin="\n".join(lines))


def lay(dev="db0", address="192.0.2.1"):
    """Create it: ``dev`` here, ``w0`` there, without duplicate detection and announcements."""
    run("ip", "netns", "del", "worker", check=False)  # from a run before
    run("ip", "link", "del", dev, check=False)
    run("ip", "netns", "add", "worker")
    ip(
        f"link add {dev} type veth peer name w0 netns worker",
        "link set lo up",
        f"link set {dev} addrgenmode none address {HOST}",
        f"link set {dev} up",
        f"address add {address}/24 dev {dev}",
        f"address add 2001:db8::1/64 dev {dev} nodad",
        f"address add fe80::1/64 dev {dev} nodad",  # solicitations need a link-local source
    )
    ip(
        f"link set w0 addrgenmode none address {BORN}",
        "link set w0 up",
        "address add fe80::2/64 dev w0 nodad",
        # so that the worker answers also while a test fills the kernel's table
        *(
            f"neigh add {known} lladdr {HOST} nud permanent dev w0"
            for known in (address, "2001:db8::1", "fe80::1")
        ),
        namespace="worker",
    )
    wait_until_up(dev)
    wait_until_up("w0", namespace="worker")
    wait_until_taken("2001:db8::1", "fe80::1")
    wait_until_taken("fe80::2", namespace="worker")


def cut(dev="db0"):
    """Remove it."""
    run("ip", "link", "del", dev)
    run("ip", "netns", "del", "worker")


def inhabit(network, dev="db0", link=""):
    """Give the worker every address of a network.

    link: the network that the link has, if it is a wider one. A host that answers for every address
    of its link is taken for a proxy.
    """
    ip(f"route add {link or network} dev {dev}")
    ip(f"route add local {network} dev lo", namespace="worker")


def many(number, family=4):
    """Return the address of one of many."""
    return str(_FIRST[family] + number)


@functools.lru_cache(maxsize=8)
def _orders(count, family, how, mac, first):
    names = [many(number, family) for number in range(first, first + count)]
    orders = [f"neigh replace {name} lladdr {mac} nud permanent dev db0" for name in names]
    for number, name in enumerate(names if how != ("nud permanent",) else ()):
        word = how[number % len(how)]
        lladdr = "" if "failed" in word else f"lladdr {mac} "
        orders.append(f"neigh replace {name} {lladdr}{word} dev db0")
    return names, "\n".join(orders)


def fill(count, family=4, how=("nud stale",), mac=DEAD, first=0):
    """Write many entries, in the states and with the owners of ``how`` in turn; return whose.

    The kernel counts neighbours of all namespaces together, the host's included, against a limit
    (1,024 by default) that cannot be raised from a private one. PERMANENT ones are not counted, and
    one that becomes STALE later stays: so each is written twice. Where nobody should be disturbed,
    stay below the limit with all but PERMANENT, or the host learns no neighbour.
    """
    names, orders = _orders(count, family, tuple(how), mac, first)
    run("ip", "-batch", "-", stdin=orders)
    return names
