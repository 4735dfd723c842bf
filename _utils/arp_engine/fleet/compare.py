"""The databases' tables against the interfaces that the fleet really has: who disagrees. Pure.

wrong   somebody has the address, and no interface of his has the MAC that is held
twice   two machines say that they have the address
gone    nobody has it any more, and that is known: it was a machine's whose key is no longer
        accepted; or the MAC is a machine's that was asked and does not have it; or it lies in a
        network of which the operator says that all of it is the fleet's, and everybody was heard

Whatever else nobody has is a stranger's (a router, a machine without Salt): counted, no more. A
machine of which nothing is known is not gone, and as long as there is one, no address is nobody's.
Only machines whose key is accepted count. What was remembered gives way to what was answered: the
old id of a machine that was made again does not contest the new one's address.

One look at each address and each entry: the time is linear in their number. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import inventory
from .inventory import Facts, Network

Row = dict[str, Any]
OLDEST_S = 2**32  # the kernel's own ages are 32 bits of a smaller unit
NAMED = 5  # machines named of those that claim one address; their number is told
#: Owners of entries that no machine can be held against: they are of several, or of none.
NOBODYS = {"broadcast", "multicast", "anycast", "local", "proxy", "NOARP", "INCOMPLETE", "NONE"}


class Claim(NamedTuple):
    """An address as one machine has it."""

    machine: str
    dev: str
    mac: str
    facts: Facts


class Verdict(NamedTuple):
    """What came of it."""

    wrong: list[Row]
    twice: list[Row]
    gone: list[Row]
    counts: dict[str, int]
    malformed: dict[str, str]  # minion to what is the matter with its answer


class Scope(NamedTuple):
    """What the operator says of addresses."""

    networks: Sequence[Network] = ()  # all addresses in them are the fleet's
    exclude: Sequence[Network] = ()


ANYTHING = Scope()


class Fleet:
    """Who has what: built once, asked about each entry."""

    def __init__(
        self,
        facts: Mapping[str, Facts],
        accepted: Collection[str],
        former: Mapping[str, Facts] | None = None,
        scope: Scope = ANYTHING,
    ) -> None:
        """Take what is known of machines; ``former``: of those whose key is no longer accepted."""
        self.facts = {name: told for name, told in facts.items() if name in accepted}
        #: As long as there is one, no address is nobody's: what was remembered may have changed.
        self.unheard = [
            name for name in accepted if name not in self.facts or not self.facts[name].live
        ]
        self._scope = scope
        self.owners = _owners(self.facts)
        self._former = _owners(former or {})
        self._machines = {
            mac: name for name, told in self.facts.items() if told.live for mac in told.macs
        }
        self._known: dict[str, str] = {}  # an address as written to as the kernel writes it

    def address(self, written: Any) -> str:
        """Return an address that can be compared, or an empty string."""
        if not isinstance(written, str):
            return ""
        if written not in self._known:
            ip = inventory.address(written)
            left_out = ip and inventory.inside(ip, self._scope.exclude)
            self._known[written] = "" if left_out else ip
        return self._known[written]

    def is_flux(self, owners: list[Claim], mac: str) -> bool:
        """Tell whether it is another interface of the same machine that is held: no outage."""
        return any(mac in claim.facts.macs for claim in owners)

    def why_gone(self, ip: str, mac: str) -> str:
        """Return how it is known that nobody has an address any more, or an empty string."""
        if ip in self._former:
            return f"was {self._former[ip][0].machine}'s, whose key is no longer accepted"
        if mac in self._machines:
            return f"{self._machines[mac]} has this MAC, and was asked: it has no such address"
        if not self.unheard and inventory.inside(ip, self._scope.networks):
            return "all of this network is the fleet's, all were heard, and nobody has it"
        return ""


def _owners(facts: Mapping[str, Facts]) -> dict[str, list[Claim]]:
    """Return who has each address."""
    owners: dict[str, list[Claim]] = {}
    for machine, told in facts.items():
        for ip, dev, mac in told.addresses:
            owners.setdefault(ip, []).append(Claim(machine, dev, mac, told))
    for ip, several in owners.items():
        if len(several) > 1 and any(claim.facts.live for claim in several):
            owners[ip] = [claim for claim in several if claim.facts.live]
    return owners


def compare(tables: Mapping[str, Any], fleet: Fleet) -> Verdict:
    """Hold every entry against the fleet. ``tables``: minion to its rows of arp.list."""
    verdict = Verdict([], [], [], dict.fromkeys(_COUNTS, 0), {})
    held: dict[str, int] = {}  # addresses that two machines claim, to how often they are held
    for minion, rows in tables.items():
        try:
            for row in _rows(rows):
                _judge(minion, row, fleet, verdict, held)
        except ValueError as error:
            verdict.malformed[minion] = str(error)
    for ip, owners in fleet.owners.items():
        machines = sorted({claim.machine for claim in owners})
        if len(machines) > 1 and fleet.address(ip):
            verdict.twice.append(_twice(ip, machines, owners, held.get(ip, 0)))
    for rows in (verdict.wrong, verdict.gone):
        rows.sort(key=lambda row: (row["minion"], row["ip"], row["dev"]))
    verdict.twice.sort(key=lambda row: (-row["held"], row["ip"]))
    return verdict


_COUNTS = ("entries", "agree", "flux", "strangers", "not_compared")


def _rows(rows: Any) -> Iterable[Row]:
    if not isinstance(rows, list):
        raise ValueError(f"its table is no list ({type(rows).__name__})")
    for row in rows:
        if not isinstance(row, dict) or not all(
            isinstance(row.get(key), str) for key in ("ip", "mac", "dev", "state")
        ):
            raise ValueError("a row of its table lacks ip, mac, dev or state, or they are no text")
    return rows


def _judge(minion: str, row: Row, fleet: Fleet, verdict: Verdict, held: dict[str, int]) -> None:
    counts = verdict.counts
    counts["entries"] += 1
    ip, mac = fleet.address(row["ip"]), inventory.hardware(row["mac"])
    owner = str(row.get("owner", ""))
    if not ip or not mac or owner in NOBODYS:
        counts["not_compared"] += 1
        return
    owners = fleet.owners.get(ip)
    if owners is None:
        why = fleet.why_gone(ip, mac)
        if why:
            verdict.gone.append({**_entry(minion, ip, mac, owner, row), "why": why})
        else:
            counts["strangers"] += 1
        return
    if len(owners) > 1:
        held[ip] = held.get(ip, 0) + 1
    if any(claim.mac == mac for claim in owners):
        counts["agree"] += 1
    elif fleet.is_flux(owners, mac):
        counts["flux"] += 1
    else:
        verdict.wrong.append({**_entry(minion, ip, mac, owner, row), **_truth(owners)})


def _entry(minion: str, ip: str, mac: str, owner: str, row: Row) -> Row:
    """Return an entry as it is held: identical keys, whatever a minion sent."""
    age = row.get("updated_s")
    return {
        "minion": minion,
        "ip": ip,
        "dev": row["dev"],
        "mac": mac,
        "state": row["state"],
        "suspect": row.get("suspect") is True,
        "owner": owner,
        "unchanged_s": age if isinstance(age, (int, float)) and 0 <= age <= OLDEST_S else None,
    }


def _truth(owners: list[Claim]) -> Row:
    """Return whose an address is, and how old it is that we know."""
    ages = [claim.facts.age_s for claim in owners]
    return {
        "mac_true": _few({claim.mac for claim in owners}),
        "machine": _few({claim.machine for claim in owners}),
        "truth": "live" if all(claim.facts.live for claim in owners) else "cached",
        "truth_age_s": None if None in ages else max(ages),
    }


def _few(names: set[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(sorted(names)[:NAMED]) + more


def _twice(ip: str, machines: list[str], owners: list[Claim], held: int) -> Row:
    macs = sorted({claim.mac for claim in owners})
    return {
        "ip": ip,
        "machines": machines[:NAMED],
        "macs": macs[:NAMED],
        "count": len(machines),
        "held": held,
    }
