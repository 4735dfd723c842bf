"""The databases' tables against the interfaces that the fleet really has. Pure.

wrong   a machine has the address, and none of its interfaces has the cached MAC
twice   two machines have the address
gone    no machine has it any more, and that is known: it belonged to a machine whose key is no
        longer accepted; or the MAC is that of a machine that answered and does not have it; or it
        lies in a network that the operator declared to be all the fleet's, and every machine
        answered

Any other address that no machine has is a stranger's (a router, a machine without Salt): counted,
no more. A machine of which nothing is known is not gone, and as long as there is one, no address is
known to be free. Only machines whose key is accepted count. A live answer overrides cached grains:
the old id of a re-created machine does not contest the new id's address.

One pass over addresses and entries: the time is linear in their number. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import inventory
from .inventory import HostInventory, Network

Row = dict[str, Any]
MAX_AGE_S = 2**32  # the kernel's own ages are 32 bits of a smaller unit
MAX_NAMES = 5  # machines named of those that have one address; their number is returned too
#: Owners of entries that belong to no single machine.
NOT_COMPARED = {
    "broadcast", "multicast", "anycast", "local", "proxy", "NOARP", "INCOMPLETE", "NONE",
}  # fmt: skip
COUNTS = ("entries", "agree", "flux", "strangers", "not_compared")


class Binding(NamedTuple):
    """An address as one machine has it."""

    machine: str
    dev: str
    mac: str
    host: HostInventory


class Comparison(NamedTuple):
    """The entries that disagree, and how many of each kind there are."""

    wrong: list[Row]
    twice: list[Row]
    gone: list[Row]
    counts: dict[str, int]
    malformed: dict[str, str]  # minion to why its table cannot be compared


class Scope(NamedTuple):
    """Which addresses the operator declared to be the fleet's, and which are left out."""

    networks: Sequence[Network] = ()  # every address in them is the fleet's
    exclude: Sequence[Network] = ()


EVERYWHERE = Scope()


class Bindings:
    """Which machine has which address: built once, looked up for each entry."""

    def __init__(
        self,
        hosts: Mapping[str, HostInventory],
        accepted: Collection[str],
        former: Mapping[str, HostInventory] | None = None,
        scope: Scope = EVERYWHERE,
    ) -> None:
        """Index machines by address; ``former``: those whose key is no longer accepted."""
        self.hosts = {name: host for name, host in hosts.items() if name in accepted}
        #: As long as there is one, no address is known to be free: cached grains may be outdated.
        self.unheard = [
            name for name in accepted if name not in self.hosts or not self.hosts[name].live
        ]
        self._scope = scope
        self.by_ip = _by_ip(self.hosts)
        self._former = _by_ip(former or {})
        self._live_macs = {
            mac: name for name, host in self.hosts.items() if host.live for mac in host.macs
        }
        self._parsed: dict[str, str] = {}  # an address as it was sent, to how the kernel writes it

    def comparable(self, sent: Any) -> str:
        """Return an address as the kernel writes it, or "" if it cannot be compared."""
        if not isinstance(sent, str):
            return ""
        if sent not in self._parsed:
            ip = inventory.parse_address(sent)
            excluded = ip and inventory.is_inside(ip, self._scope.exclude)
            self._parsed[sent] = "" if excluded else ip
        return self._parsed[sent]

    def why_gone(self, ip: str, mac: str) -> str:
        """Return how it is known that no machine has an address any more, or ""."""
        if ip in self._former:
            return f"belonged to {self._former[ip][0].machine}, whose key is no longer accepted"
        if mac in self._live_macs:
            return f"{self._live_macs[mac]} has this MAC, answered, and has no such address"
        if not self.unheard and inventory.is_inside(ip, self._scope.networks):
            return "the network is all the fleet's, every machine answered, and none has it"
        return ""


def _by_ip(hosts: Mapping[str, HostInventory]) -> dict[str, list[Binding]]:
    bindings: dict[str, list[Binding]] = {}
    for machine, host in hosts.items():
        for ip, dev, mac in host.addresses:
            bindings.setdefault(ip, []).append(Binding(machine, dev, mac, host))
    for ip, several in bindings.items():
        if len(several) > 1 and any(binding.host.live for binding in several):
            bindings[ip] = [binding for binding in several if binding.host.live]
    return bindings


def compare(tables: Mapping[str, Any], known: Bindings) -> Comparison:
    """Compare every entry with the fleet. ``tables``: minion to its rows of arp.list."""
    result = Comparison([], [], [], dict.fromkeys(COUNTS, 0), {})
    held: dict[str, int] = {}  # addresses that two machines have, to how many entries there are
    for minion, rows in tables.items():
        try:
            for row in _rows(rows):
                _compare_entry(minion, row, known, result, held)
        except ValueError as error:
            result.malformed[minion] = str(error)
    for ip, bindings in known.by_ip.items():
        machines = sorted({binding.machine for binding in bindings})
        if len(machines) > 1 and known.comparable(ip):
            result.twice.append(_twice(ip, machines, bindings, held.get(ip, 0)))
    for rows in (result.wrong, result.gone):
        rows.sort(key=lambda row: (row["minion"], row["ip"], row["dev"]))
    result.twice.sort(key=lambda row: (-row["held"], row["ip"]))
    return result


def _rows(rows: Any) -> Iterable[Row]:
    if not isinstance(rows, list):
        raise ValueError(f"malformed arp.list return: not a list ({type(rows).__name__})")
    for row in rows:
        if not isinstance(row, dict) or not all(
            isinstance(row.get(key), str) for key in ("ip", "mac", "dev", "state")
        ):
            raise ValueError("malformed arp.list return: a row without ip, mac, dev or state")
    return rows


def _compare_entry(
    minion: str, row: Row, known: Bindings, result: Comparison, held: dict[str, int]
) -> None:
    counts = result.counts
    counts["entries"] += 1
    ip, mac = known.comparable(row["ip"]), inventory.parse_mac(row["mac"])
    owner = str(row.get("owner", ""))
    if not ip or not mac or owner in NOT_COMPARED:
        counts["not_compared"] += 1
        return
    bindings = known.by_ip.get(ip)
    if bindings is None:
        why = known.why_gone(ip, mac)
        if why:
            result.gone.append({**_entry(minion, ip, mac, owner, row), "why": why})
        else:
            counts["strangers"] += 1
        return
    if len(bindings) > 1:
        held[ip] = held.get(ip, 0) + 1
    if any(binding.mac == mac for binding in bindings):
        counts["agree"] += 1
    elif any(mac in binding.host.macs for binding in bindings):
        counts["flux"] += 1  # another interface of the same machine: no outage
    else:
        result.wrong.append({**_entry(minion, ip, mac, owner, row), **_truth(bindings)})


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


def _truth(bindings: list[Binding]) -> Row:
    """Return which machine has an address, and how old that knowledge is."""
    ages = [binding.host.age_s for binding in bindings]
    return {
        "mac_true": _join({binding.mac for binding in bindings}),
        "machine": _join({binding.machine for binding in bindings}),
        "truth": "live" if all(binding.host.live for binding in bindings) else "cached",
        "truth_age_s": None if None in ages else max(ages),
    }


def _join(names: set[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(sorted(names)[:MAX_NAMES]) + more


def _twice(ip: str, machines: list[str], bindings: list[Binding], held: int) -> Row:
    macs = sorted({binding.mac for binding in bindings})
    return {
        "ip": ip,
        "machines": machines[:MAX_NAMES],
        "macs": macs[:MAX_NAMES],
        "count": len(machines),
        "held": held,
    }
