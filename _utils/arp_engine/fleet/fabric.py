"""MACs with which the network answers for every address: asked about, and told. Knows no Salt.

A MAC that answers for an address of three machines need not be the network's: a host that was
evacuated, or a switch that answers for it (EVPN ARP suppression), does the same. The network's
answers for an address that nobody has, too. Standard library alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from . import compare, summary
from .compare import Row
from .returns import Returns

QUESTIONS = 2  # addresses, on each device of a database
#: Azure's virtual network answers every ARP request of a VM with it (Microsoft's own
#: azure-container-networking has it as the MAC of each default gateway): no host has it, so it need
#: not answer for an address that nobody has.
AZURE = "12:34:56:78:9a:bc"


def answering_for_all(
    asked: Returns, rows: list[Row]
) -> tuple[set[compare.Port], set[compare.Port]]:
    """Have each database ask about two addresses of a device; return where its MAC is believed.

    And where it answers for both, and is not known to answer for an address that nobody has. Each
    database decides for its own entries alone: one that lies must not make the others' wrong
    entries right.
    """
    common = Counter((row["dev"], row["ip"]) for row in rows)
    by_port: dict[compare.Port, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: -common[row["dev"], row["ip"]]):
        by_port[compare.port(row)].append(row)
    databases: dict[tuple[str, str], list[str]] = defaultdict(list)  # of a device and an address
    for several in by_port.values():
        for row in several[:QUESTIONS]:
            databases[row["dev"], row["ip"]].append(row["minion"])
    jobs = {
        (dev, ip): asked.publish(names, "list", "arp.diagnose", {"ip": ip, "dev": dev})
        for (dev, ip), names in databases.items()
    }
    asked.gather(jobs.values())
    believed, doubted = set[compare.Port](), set[compare.Port]()
    for at, several in by_port.items():
        mac, some = several[0]["mac"], several[:QUESTIONS]
        told = [_right(jobs[row["dev"], row["ip"]].answers.get(row["minion"]), mac) for row in some]
        if all(told):
            is_networks = mac == AZURE or all(_is_proxy(each, mac) for each in told)
            (believed if is_networks else doubted).add(at)
    return believed, doubted


def _right(answer: Row | None, mac: str) -> Row | None:
    """Return what arp.diagnose has told, if it heard this MAC alone and found the entry right."""
    returned = None if summary.failure(answer) else answer["ret"]
    if not isinstance(returned, dict) or returned.get("verdict") != "right":
        return None
    heard = returned.get("answers_ms")
    return returned if isinstance(heard, dict) and list(heard) == [mac] else None


def _is_proxy(told: Row, mac: str) -> bool:
    """Tell whether a MAC answered for addresses that nobody has; an older version did not say."""
    proxies = told.get("proxies")
    return isinstance(proxies, list) and mac in proxies


def lines(doubted: Collection[compare.Port]) -> list[str]:
    """Return a line for each MAC that answers, and that is not believed to be the network's."""
    databases: dict[str, set[str]] = defaultdict(set)
    for minion, _, _, mac in doubted:
        databases[mac].add(minion)
    return [
        f"{mac} answers {summary.number(len(minions), 'database')} for addresses of several "
        "machines, and is not known to answer for one that nobody has: not taken for the network's "
        f"own. If it is, declare it: fabric={mac}."
        for mac, minions in sorted(databases.items())
    ]


def rows_of(rows: list[Row]) -> list[Row]:
    """Return a row for each of the MACs that entries have."""
    by_mac: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_mac[row["mac"]].append(row)
    return [
        {
            "mac": mac,
            "machines": len({row["machine"] for row in several}),
            "addresses": len({row["ip"] for row in several}),
            "databases": len({row["minion"] for row in several}),
        }
        for mac, several in by_mac.items()
    ]
