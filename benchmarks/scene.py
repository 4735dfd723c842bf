"""A database host with one Ethernet device, and as many neighbours as one likes.

The kernel counts neighbours of all namespaces together against one limit (1,024 by default) that
a private namespace cannot raise. PERMANENT entries are not counted, and an entry that becomes
STALE later stays: so every entry is written twice.
"""

import functools
import subprocess

from lab.machines import poll, run

DEAD = "02:00:00:00:00:0a"  # nobody has this MAC
BORN = "02:00:00:00:00:0b"  # the worker has this one
# Twenty entries of a database with routers beside it, in the order in which its hash shows them:
# none. The last two have owners; zebra's has an attribute more, FAILED ones have no MAC.
MIXED = (
    *("nud stale",) * 7,
    *("nud reachable",) * 4,
    *("nud failed",) * 3,
    *("nud permanent", "nud noarp", "nud delay", "nud probe"),
    *("nud stale extern_learn", "nud reachable protocol zebra"),
)


def stage():
    """Lay the cable: ``db0`` here, ``w0`` in the namespace ``worker``."""
    for words in (
        "netns add worker",
        "link add db0 type veth peer name w0 netns worker",
        "link set db0 addrgenmode none up",
        "address add 192.0.2.1/24 dev db0",
        "address add fe80::1/64 dev db0 nodad",
        f"-n worker link set w0 addrgenmode none address {BORN} up",
        "-n worker address add fe80::2/64 dev w0 nodad",
        "-n worker route add local 10.0.0.0/8 dev lo",  # the worker has every one of these
        "route add 10.0.0.0/8 dev db0",
    ):
        run("ip", *words.split())
    for family in ("ipv4", "ipv6"):
        _set(family, "mcast_resolicit", 3)
        _set(family, "gc_stale_time", 36000)  # nothing ages while we measure


def slow_timers(slow):
    """Let no state change by itself while a mixed table is measured; or as it is by default."""
    for family in ("ipv4", "ipv6"):
        _set(family, "base_reachable_time_ms", 36_000_000 if slow else 30_000)
        _set(family, "retrans_time_ms", 600_000 if slow else 1000)
        _set(family, "delay_first_probe_time", 600 if slow else 5)


def _set(family, name, value):
    with open(f"/proc/sys/net/{family}/neigh/db0/{name}", "w", encoding="ascii") as file:
        file.write(str(value))


def address(number, family=4):
    """Return the address of one of many."""
    if family == 4:
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f"2001:db8::1:{number >> 16:x}:{number & 65535:x}"


@functools.lru_cache(maxsize=8)
def _orders(count, family, how, mac):
    names = [address(number, family) for number in range(count)]
    writing = [f"neigh replace {name} lladdr {mac} nud permanent dev db0" for name in names]
    for number, name in enumerate(names):
        word = how[number % len(how)]
        lladdr = "" if "failed" in word else f"lladdr {mac} "
        writing.append(f"neigh replace {name} {lladdr}{word} dev db0")
    return "\n".join(writing).encode()


def fill(count, family=4, how=("nud stale",), mac=DEAD):
    """Make the table hold ``count`` entries."""
    batch(_orders(count, family, tuple(how), mac))


def batch(orders, check=True):
    """Give many orders to one ``ip``."""
    subprocess.run(["ip", "-batch", "-"], input=orders, capture_output=True, check=check)


def empty():
    """Remove every entry, whoever owns it."""
    for family in ("-4", "-6"):
        run("ip", family, "neigh", "flush", "nud", "all", check=False)


def left(*states):
    """Return how many unicast entries there are (in some states)."""
    lines = run("ip", "neigh", "show", "nud", *(states or ["all"])).splitlines()
    return sum(not line.startswith(("ff0", "224.")) for line in lines)


def settled(count, *states):
    """Wait until so many entries are in a state."""
    poll(f"{count} entries {states}", 10, lambda: left(*states) == count, every_s=0.002)
