"""Truth from elsewhere: the addresses of all machines as a file that the operator provides. Pure.

CSV with a heading; NetBox, a cloud's API or Kubernetes can be exported to it::

    address,mac,machine,age_s
    10.0.1.90,02:00:00:00:00:0b,worker9,60

``age_s`` may be empty or missing; it was true when the file was written, so the file's own age is
added. A row that is too old contradicts nobody. Standard library alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

from . import inventory
from .inventory import HostInventory

MAX_ROWS = 1_000_000
MAX_BYTES = 100_000_000
_COLUMNS = {"address", "mac", "machine"}
_AGE = re.compile("[0-9]{1,10}")


def parse_truth(text: str, oldest_s: float, file_age_s: int = 0) -> dict[str, HostInventory]:
    """Return inventories by machine; ValueError names a bad line, and nothing that is in it.

    Whoever may call arp.audit must not learn from a refusal what another file holds. Rows that are
    older than ``oldest_s`` give no address; a machine with no other has their age.
    """
    addresses: dict[str, list[tuple[str, str, str]]] = {}
    ages: dict[str, int | None] = {}
    too_old: dict[str, int] = {}
    outdated: dict[str, set[str]] = {}
    for number, row in _rows(text):
        ip, mac = inventory.parse_address(row["address"]), inventory.parse_mac(row["mac"])
        machine, age = row["machine"], row.get("age_s") or ""
        if not ip or not mac or not machine or (age and not _AGE.fullmatch(age)):
            raise ValueError(f"truth: line {number} is not address, mac, machine, age in seconds")
        if number > MAX_ROWS:
            raise ValueError(f"truth: more than {MAX_ROWS} lines")
        age_s = int(age or 0) + file_age_s if age or file_age_s else None
        if age_s is not None and age_s > oldest_s:
            too_old[machine] = age_s
            outdated.setdefault(machine, set()).add(ip)
            continue
        addresses.setdefault(machine, []).append((ip, "", mac))
        oldest = ages.setdefault(machine, age_s)
        ages[machine] = None if None in (oldest, age_s) else max(oldest, age_s)
    hosts = {}
    for machine in addresses.keys() | too_old.keys():
        found = addresses.get(machine, [])
        macs, old = frozenset(mac for *_, mac in found), frozenset(outdated.get(machine, ()))
        age_s = ages[machine] if found else too_old[machine]
        hosts[machine] = HostInventory(found, macs, "file", age_s, outdated=old)
    return hosts


def _rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the fields of each line after the heading."""
    rows = csv.DictReader(io.StringIO(text, newline=None))
    try:
        if not rows.fieldnames or not set(rows.fieldnames) >= _COLUMNS:
            raise ValueError("truth: line 1 does not name the columns address, mac, machine")
        for row in rows:
            yield rows.line_num, row
    except csv.Error:  # a field of 128 KiB; a NUL before Python 3.11
        raise ValueError(f"truth: line {rows.line_num} is not CSV") from None
