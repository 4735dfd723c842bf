"""A database host with one Ethernet device and any number of neighbours."""

import functools

from lab import cable
from lab.cable import BORN, fill  # noqa: F401
from lab.machines import run

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
    """Build the network; no entry ages while we measure."""
    cable.lay()
    cable.inhabit("10.0.0.0/8")
    # IPv6 answers for no network: one living address, and one of ours to ask it from
    cable.ip("address add 2001:db8:1::ffff:1/64 dev db0 nodad")
    cable.ip(f"address add {cable.many(0, 6)}/64 dev w0 nodad", namespace="worker")
    for family in ("ipv4", "ipv6"):
        _set(family, "gc_stale_time", 36000)


def pairs(count):
    """Make so many devices where we stand: pairs that are each other's cable."""
    cable.ip(
        *(f"link add m{n} type veth peer name m{n + 1}" for n in range(0, count, 2)),
        *(f"link set m{n} addrgenmode none up" for n in range(count)),
    )


def spread(count, each):
    """Write ``each`` STALE entries on each of so many devices."""
    run("ip", "-batch", "-", stdin=_spread(count, each))


@functools.lru_cache(maxsize=1)
def _spread(count, each):
    return "\n".join(  # twice, as in cable.fill
        f"neigh replace {cable.many(number)} lladdr {cable.DEAD} nud {state} dev m{number // each}"
        for state in ("permanent", "stale")
        for number in range(count * each)
    )


def slow_timers(slow):
    """Let no state change by itself while a mixed table is measured; or as it is by default."""
    for family in ("ipv4", "ipv6"):
        _set(family, "base_reachable_time_ms", 36_000_000 if slow else 30_000)
        _set(family, "retrans_time_ms", 600_000 if slow else 1000)
        _set(family, "delay_first_probe_time", 600 if slow else 5)


def _set(family, name, value):
    with open(f"/proc/sys/net/{family}/neigh/db0/{name}", "w", encoding="ascii") as file:
        file.write(str(value))


def empty():
    """Remove every entry, also those with an owner."""
    for family in ("-4", "-6"):
        run("ip", family, "neigh", "flush", "nud", "all", check=False)


def left(*states):
    """Return how many unicast entries there are (in some states)."""
    lines = run("ip", "neigh", "show", "nud", *(states or ["all"])).splitlines()
    return sum(not line.startswith(("ff0", "224.")) for line in lines)
