"""The databases' tables against the interfaces that the fleet really has. Pure.

wrong     a machine has the address, and none of its cards that may answer has the cached MAC
twice     two machines, with two MACs, have the address; by cached grains alone it is unproven
gone      no machine has it any more, and that is known: it lies in a network that the operator
          declared to be all the fleet's, every machine answered, and the MAC is none's
unproven  the entry disagrees with what nobody confirmed: with cached grains of a machine that did
          not answer; with the machine that has the MAC, and not the address on a card that is up
          (MetalLB, a VPN pool, or an address that moved); with an address on a device without ARP.
          Or it has MAC and address that a machine whose key is no longer accepted had by its
          cached grains
fabric    the MAC stands for many machines: the network itself answers for every address

Any other address that no machine has is a stranger's (a router, a machine without Salt): counted,
no more. A machine of which nothing is known is not gone, and as long as there is one, no address is
known to be free. Only machines whose key is accepted count. Cached grains are memory, not truth: a
live answer overrides them, and what agrees with them alone is counted apart.

One pass over addresses and entries: the time is linear in their number. Standard library alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from ..table import naming
from . import inventory
from .bindings import Binding, Bindings

Row = dict[str, Any]
#: Database, its device, an IP version, and a MAC that it has learned there. Proxy ARP is of IPv4
#: alone: the same MAC for an IPv6 address is another matter.
Port = tuple[str, str, int, str]
MAX_AGE_S = 2**32  # the kernel's own ages are 32 bits of a smaller unit
MAX_DEV = 127  # characters: of the kernel's alternative names
MAX_NAMES = 5  # machines named of those that have one address; their number is returned too
#: Owners of entries that belong to no single machine.
NOT_COMPARED = {
    "broadcast", "multicast", "anycast", "local", "proxy", "NOARP", "INCOMPLETE", "NONE",
}  # fmt: skip
#: Bridges whose networks are the host's own: many hosts have the same addresses behind them.
_HOST_BRIDGE = re.compile(
    r"docker[0-9]+|br-[0-9a-f]{12}|(virbr|lxcbr|lxdbr|podman|cni-podman|cni|cbr)[0-9]+"
)
NOBODY: frozenset[str] = frozenset()
COUNTS = (
    "entries", "agree", "agree_cached", "flux", "fabric", "strangers", "not_compared",
)  # fmt: skip
#: A MAC in the entries of so many machines may be the network's own; and that share of a device's.
FABRIC_MACHINES, FABRIC_SHARE = 3, 0.5
MAX_FABRIC_PORTS = 16  # on one database


class Comparison(NamedTuple):
    """The entries that disagree, and how many of each kind there are."""

    wrong: list[Row]
    twice: list[Row]
    gone: list[Row]
    unproven: list[Row]
    counts: dict[str, int]
    malformed: dict[str, str]  # minion to why its table cannot be compared
    #: Minion, device, IP version to the number of entries of addresses that are known.
    compared: Counter[tuple[str, str, int]]


def compare(
    tables: Mapping[str, Any], known: Bindings, fabric: Collection[Port] = ()
) -> Comparison:
    """Compare every entry with the fleet.

    tables
        Minion to its rows of arp.list.
    fabric
        Where the network answers for every address, and with which MAC.
    """
    result = Comparison([], [], [], [], dict.fromkeys(COUNTS, 0), {}, Counter())
    held: dict[str, int] = {}  # addresses that two machines have, to how many entries there are
    gateways: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for minion, dev, version, mac in fabric:
        gateways[minion, dev, version].add(mac)
    for minion, rows in tables.items():
        try:
            for row in _rows(rows):
                at = NOBODY
                if gateways:
                    at = gateways.get((minion, row["dev"], _version(row["ip"])), NOBODY)
                _compare_entry(minion, row, known, result, held, at)
        except ValueError as error:
            result.malformed[minion] = str(error)
    for ip, bindings in known.by_ip.items():
        machines = sorted({binding.machine for binding in bindings})
        macs = sorted({binding.mac for binding in bindings})
        if len(machines) > 1 and len(macs) > 1 and known.comparable(ip):
            source = bindings[0].host.source  # of all: a live answer replaces cached grains
            result.twice.append(_twice(ip, machines, macs, held.get(ip, 0), source))
    for rows in (result.wrong, result.gone, result.unproven):
        rows.sort(key=lambda row: (row["minion"], row["ip"], row["dev"]))
    result.twice.sort(key=lambda row: (-row["held"], row["ip"]))
    return result


def settled(
    entries: Collection[str],
    tables: Mapping[str, Any],
    known: Bindings,
    fabric: Collection[Port],
) -> set[str]:
    """Return which entries are known to disagree no more, of ``minion dev ip``.

    Not in the table any more, or right by a live answer. Where the machine is silent, or the
    address was left out this time, nothing is known.
    """
    by_minion: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        by_minion[entry.split(" ", 1)[0]].add(entry)
    found: set[str] = set()
    for minion in set(by_minion) & set(tables):
        try:
            rows = _rows(tables[minion])
        except ValueError:
            continue
        found |= by_minion[minion]
        for row in rows:
            entry = f"{minion} {row['dev']} {known.comparable(row['ip']) or row['ip']}"
            if entry in by_minion[minion] and not _is_right(minion, row, known, fabric):
                found.discard(entry)
    return found


def _is_right(minion: str, row: Row, known: Bindings, fabric: Collection[Port]) -> bool:
    alone = Comparison([], [], [], [], dict.fromkeys(COUNTS, 0), {}, Counter())
    at = minion, row["dev"], _version(row["ip"])
    gateways = {mac for *where, mac in fabric if tuple(where) == at}
    _compare_entry(minion, row, known, alone, {}, gateways)
    return alone.counts["agree"] + alone.counts["flux"] + alone.counts["fabric"] > 0


def port(row: Row) -> Port:
    """Return where an entry's MAC was learned."""
    return row["minion"], row["dev"], _version(row["ip"]), row["mac"]


def fabric_candidates(result: Comparison, declared: Collection[str] = ()) -> list[list[Row]]:
    """Return the wrong rows of each MAC that may be the network's own: many machines have it.

    A dead node whose addresses have moved to several others looks the same: ask before believing.
    Of one database a few ports count, or one that lies could have any number of questions asked.
    ``declared``: MACs of which nobody has to be asked.
    """
    by_mac: dict[tuple[str, int], dict[Port, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in result.wrong:
        if row["mac"] not in declared:
            by_mac[row["mac"], _version(row["ip"])][port(row)].append(row)
    found, taken = [], Counter[str]()
    for ports in sorted(by_mac.values(), key=lambda each: -sum(map(len, each.values()))):
        rows, compared, asked = [], 0, Counter[str]()
        for (minion, dev, version, _), several in ports.items():
            if taken[minion] + asked[minion] < MAX_FABRIC_PORTS:
                asked[minion] += 1
                rows += several
                compared += result.compared[minion, dev, version]
        many = len({row["machine"] for row in rows}) >= FABRIC_MACHINES
        if many and len(rows) >= FABRIC_SHARE * compared:
            found.append(rows)
            taken += asked
    return found


def _version(ip: str) -> int:
    return 6 if ":" in ip else 4


def expand(compact: Any) -> list[Row]:
    """Return the rows of a compact return of arp.list."""
    given = compact if isinstance(compact, dict) else {}
    columns, rows = given.get("columns"), given.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise ValueError(
            f"malformed arp.list return: no columns or rows ({type(compact).__name__})"
        )
    if not all(isinstance(column, str) for column in columns):
        raise ValueError("malformed arp.list return: a column that is no text")
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise ValueError("malformed arp.list return: a row that does not fit the columns")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _rows(rows: Any) -> Iterable[Row]:
    if not isinstance(rows, list):
        raise ValueError(f"malformed arp.list return: not a list ({type(rows).__name__})")
    for row in rows:
        if not isinstance(row, dict) or not all(
            isinstance(row.get(key), str) for key in ("ip", "mac", "dev", "state")
        ):
            raise ValueError("malformed arp.list return: a row without ip, mac, dev or state")
        if len(row["dev"]) > MAX_DEV:
            raise ValueError("malformed arp.list return: a device with too long a name")
    return rows


def _compare_entry(
    minion: str,
    row: Row,
    known: Bindings,
    result: Comparison,
    held: dict[str, int],
    gateways: Collection[str],
) -> None:
    """Judge one entry; ``gateways``: MACs with which the network answers to this database."""
    counts = result.counts
    counts["entries"] += 1
    ip, mac = known.comparable(row["ip"]), inventory.parse_mac(row["mac"])
    owner = str(row.get("owner", ""))
    if not ip or not mac or owner in NOT_COMPARED or _HOST_BRIDGE.fullmatch(row["dev"]):
        counts["not_compared"] += 1
        return
    bindings = known.by_ip.get(ip, [])
    if len(bindings) > 1:
        held[ip] = held.get(ip, 0) + 1
    if bindings:
        result.compared[minion, row["dev"], _version(ip)] += 1
    agreeing = [binding.host for binding in bindings if binding.mac == mac]
    agreeing += [host for host in known.unbound(ip) if mac in host.macs and not bindings]
    if agreeing:
        counts["agree" if any(host.live for host in agreeing) else "agree_cached"] += 1
    elif bindings and mac in gateways:
        counts["fabric"] += 1
    elif bindings and all(binding.host.is_flux(ip, mac) for binding in bindings):
        # another card of the same machine: no outage. Of each machine that has the address: one
        # that claims it too must not hide the wrong entry of another
        counts["flux"] += 1
    elif any(binding.host.source == "file" and mac in binding.host.macs for binding in bindings):
        why = {"why": "a MAC of the same machine, on a card that may not answer for this address"}
        entry = _entry(minion, ip, mac, owner, row)
        result.unproven.append({**entry, **_truth(bindings, gateways), **why})
    elif bindings and bindings[0].host.live:
        entry = _entry(minion, ip, mac, owner, row)
        result.wrong.append({**entry, **_truth(bindings, gateways)})
    elif bindings:
        why = {"why": "disagrees with cached grains; the machine did not answer"}
        entry = _entry(minion, ip, mac, owner, row)
        result.unproven.append({**entry, **_truth(bindings, gateways), **why})
    else:
        _note_unclaimed(minion, row, ip, mac, known, result, gateways)


def _note_unclaimed(
    minion: str,
    row: Row,
    ip: str,
    mac: str,
    known: Bindings,
    result: Comparison,
    gateways: Collection[str],
) -> None:
    """Note an entry of an address that no machine has on a card.

    A network that answers for every address answers for those that nobody has, too.
    """
    if mac in gateways and not known.unbound(ip):
        result.counts["strangers"] += 1
        return
    entry = _entry(minion, ip, mac, str(row.get("owner", "")), row)
    gone, former = known.why_gone(ip, mac), known.former(ip, mac)
    machine, unproven = known.why_unproven(ip, mac)
    truth = {"mac_true": "", "machine": machine, "truth": "", "truth_age_s": None}
    if gone:
        result.gone.append({**entry, "why": gone})
    elif former:
        unproven = f"belonged to {former.machine}, whose key is no longer accepted: cached grains"
        truth |= {"machine": former.machine, "truth": "cached", "truth_age_s": former.host.age_s}
        result.unproven.append({**entry, **truth, "why": unproven})
    elif unproven:
        result.unproven.append({**entry, **truth, "why": unproven})
    else:
        result.counts["strangers"] += 1


def _entry(minion: str, ip: str, mac: str, owner: str, row: Row) -> Row:
    """Return a cached entry with identical keys, whatever a minion sent."""
    age = row.get("updated_s")
    return {
        "minion": minion,
        "ip": ip,
        "dev": row["dev"],
        "mac": mac,
        "state": row["state"],
        "suspect": row.get("suspect") is True,
        "owner": owner,
        "unchanged_s": age if isinstance(age, (int, float)) and 0 <= age <= MAX_AGE_S else None,
    }


def _truth(bindings: list[Binding], gateways: Collection[str]) -> Row:
    """Return which machine has an address, how old that knowledge is, and the right MAC.

    Where the network answers for every address, a database can learn the network's MAC only.
    """
    ages = [binding.host.age_s for binding in bindings]
    macs = set(gateways) or {binding.mac for binding in bindings}
    return {
        "mac_true": naming.examples(macs, MAX_NAMES),
        "machine": naming.examples({binding.machine for binding in bindings}, MAX_NAMES),
        "truth": bindings[0].host.source,
        "truth_age_s": None if None in ages else max(ages),
    }


def _twice(ip: str, machines: list[str], macs: list[str], held: int, source: str) -> Row:
    return {
        "ip": ip,
        "machines": machines[:MAX_NAMES],
        "macs": macs[:MAX_NAMES],
        "count": len(machines),
        "held": held,
        "truth": source,
    }
