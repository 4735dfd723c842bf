"""Findings that the operator knows and accepts: shown apart, and no reason for an exit code. Pure.

A file that the master's configuration names lists them; the surface reads the YAML::

    - address: 10.0.1.5          # or a network, or mac:
      why: VIP of the old load balancer
      until: 2027-06-30          # the last day; without it: for ever

Standard library alone.
"""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any, NamedTuple

from ..table import parse
from . import inventory
from .compare import Comparison, Row
from .inventory import Network

_KEYS = {"address", "mac", "why", "until"}


class Acknowledgement(NamedTuple):
    """One known finding."""

    about: str  # the addresses or the MAC, as text
    networks: list[Network]
    mac: str
    why: str
    until: datetime.date | None

    def covers(self, row: Row) -> bool:
        """Tell whether a row is about this address or MAC."""
        macs = row.get("macs", [row.get("mac")])
        return self.mac in macs if self.mac else inventory.is_inside(row["ip"], self.networks)

    def is_expired(self, today: datetime.date) -> bool:
        """Tell whether it counts no longer."""
        return self.until is not None and today > self.until


def parse_all(value: Any) -> list[Acknowledgement]:
    """Return what a file lists; ValueError with one line names a bad item."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("acknowledged: the file is not a list")
    return [_parse(number, item) for number, item in enumerate(value, 1)]


def _parse(number: int, item: Any) -> Acknowledgement:
    where = f"acknowledged: item {number}"
    if not isinstance(item, dict) or set(item) - _KEYS or ("address" in item) == ("mac" in item):
        raise ValueError(f"{where}: needs either address or mac, and why; until is optional")
    if not isinstance(item.get("why"), str) or not item["why"].strip():
        raise ValueError(f"{where}: why is missing")
    mac = ""
    if "mac" in item:
        mac = parse.macs(f"{where}: mac", item["mac"])[0].hex(":")
    networks = parse.networks(f"{where}: address", item["address"]) if "address" in item else []
    about = mac or ", ".join(str(net).removesuffix(f"/{net.max_prefixlen}") for net in networks)
    until = None
    if item.get("until") is not None:
        try:
            until = datetime.date.fromisoformat(str(item["until"])[:10])
        except ValueError:
            text = f"{where}: until: {parse.shown(item['until'])} is not a date (2027-06-30)"
            raise ValueError(text) from None
    return Acknowledgement(about, networks, mac, item["why"], until)


def take_out(
    result: Comparison, known: list[Acknowledgement], today: datetime.date
) -> tuple[Comparison, list[Row], list[Row]]:
    """Return the findings without the acknowledged ones, these, and what has expired.

    The last: a row for each acknowledgement that has, and that findings are about.
    """
    left: dict[str, list[Row]] = {}
    acknowledged: list[Row] = []
    expired = Counter[int]()  # number of an acknowledgement to findings
    for name in ("wrong", "twice", "gone", "unproven"):
        left[name] = []
        for row in getattr(result, name):
            covering = [number for number, each in enumerate(known) if each.covers(row)]
            valid = [known[number] for number in covering if not known[number].is_expired(today)]
            if valid:
                acknowledged.append(_row(row, name, valid[0]))
            else:
                left[name].append(row)
                expired.update(covering)
    rows = [
        {
            "about": known[number].about,
            "why": known[number].why,
            "until": str(known[number].until),
            "findings": count,
        }
        for number, count in sorted(expired.items())
    ]
    return result._replace(**left), acknowledged, rows


def _row(row: Row, finding: str, known: Acknowledgement) -> Row:
    return {
        "minion": row.get("minion", ""),
        "ip": row["ip"],
        "mac": row.get("mac", ", ".join(row.get("macs", []))),
        "finding": finding,
        "why": known.why,
        "until": str(known.until or ""),
    }
