"""The neighbour table as rows (arp.list) and counts (arp.stats). Touches and sends nothing."""

import socket
import zlib
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.constants import FAMILY_NAMES, REACHABLE, TICKS
from ..netlink.model import Head
from . import capacity, ownership
from .gc_pause import gc_paused
from .selectors import Selectors
from .view import TableView

_OCTETS = [str(byte) for byte in range(256)]

Row = dict[str, Any]

#: What a compact row holds: what a comparison with the fleet needs.
COMPACT = ("ip", "mac", "dev", "state", "suspect", "owner", "updated_s")
MAX_SORTED = 1000  # rows; more are for programs, which need no order and would wait for it


def list_entries(selectors: Selectors) -> list[Row]:
    """Return the table as rows."""
    with rtnetlink.Channel() as channel, gc_paused():
        table = TableView(channel, selectors, is_read_only=True)
        listing = Listing(table)
        for _read in table.until_complete():
            for owner, block in table.judged():
                listing.add(owner, block)
        return listing.rows()


def in_part(rows: list[Row], part: tuple[int, int]) -> list[Row]:
    """Return the rows of one part of the table, the same part for an address each time."""
    which, parts = part
    if parts == 1:
        return rows
    return [row for row in rows if zlib.crc32(row["ip"].encode()) % parts == which - 1]


def compact(rows: list[Row]) -> dict[str, list[Any]]:
    """Return rows as lists of values, the names of the columns once."""
    return {
        "columns": list(COMPACT),
        "rows": [[row[column] for column in COMPACT] for row in rows],
    }


class Listing:
    """Entries as rows, by device and address: a dump during a hash resize shows some twice."""

    def __init__(self, table: TableView) -> None:
        self._table = table
        self._found: defaultdict[int, dict[bytes, Row]] = defaultdict(dict)
        self._templates: dict[tuple[str, Head], Row] = {}
        self._macs, self._networks = _Macs(), _Networks()

    def add(self, owner: str, block: table_dump.Block) -> None:
        """Add a block of entries with one owner; an empty owner: ours to touch."""
        heads = block.heads()
        if len(heads) == 1:
            self._write(owner, *heads, block.tails())
        else:
            for head, tail in zip(block.each_head(), block.tails(), strict=True):
                self._write(owner, head, (tail,))

    def drop(self, key: codec.Key) -> None:
        """Remove a row, if it is there."""
        self._found[key[0]].pop(key[1], None)

    def rows(self) -> list[Row]:
        """Return the rows, sorted by device and address up to MAX_SORTED of them."""
        found = self._found
        if sum(map(len, found.values())) > MAX_SORTED:
            return list(chain.from_iterable(by_address.values() for by_address in found.values()))
        return [found[index][dst] for index in sorted(found) for dst in sorted(found[index])]

    def _template(self, owner: str, head: Head) -> Row:
        """Return a row with the values that entries share; copying it is the fastest way."""
        if (owner, head) not in self._templates:
            self._templates[owner, head] = {
                "ip": "",
                "mac": "",
                "dev": self._table.name(head.ifindex),
                "state": ownership.state_name(head.state),
                "confirmed_s": 0.0,
                "used_s": 0.0,
                "updated_s": 0.0,
                "suspect": False,
                "owner": owner,
            }
        return self._templates[owner, head]

    def _write(self, owner: str, head: Head, tails: Iterable[tuple[Any, ...]]) -> None:
        """Write the rows of entries that share a head: the fast path."""
        template, found = self._template(owner, head), self._found[head.ifindex]
        networks, macs, ticks = self._networks, self._macs, TICKS
        reachable, ntop, ipv6 = head.state == REACHABLE, socket.inet_ntop, socket.AF_INET6
        for dst, mac, confirmed, used, updated in tails:
            found[dst] = row = template.copy()
            row["ip"] = networks[dst[:3]] + _OCTETS[dst[3]] if len(dst) == 4 else ntop(ipv6, dst)
            row["mac"] = macs[mac]
            row["confirmed_s"] = confirmed / ticks
            row["used_s"] = used / ticks
            row["updated_s"] = updated / ticks
            if reachable:
                base_s = self._table.timers(codec.family_of(dst), head.ifindex).base_reachable_s
                row["suspect"] = ownership.is_suspect(head.state, confirmed, updated, base_s)


class _Networks(dict[bytes, str]):
    """Cache: the first three bytes of an IPv4 address to their text."""

    def __missing__(self, network: bytes) -> str:
        self[network] = text = socket.inet_ntoa(network + b"\0")[:-1]
        return text


class _Macs(dict[bytes, str]):
    """Cache: a packed MAC address to its text."""

    def __missing__(self, mac: bytes) -> str:
        self[mac] = text = mac.hex(":")
        return text


def stats(selectors: Selectors) -> dict[str, dict[str, Any]]:
    """Return the entries counted by family, device and state, and the limits of the tables."""
    result: dict[str, dict[str, Any]] = {}
    states: dict[codec.Key, int] = {}
    exempt: dict[int, set[codec.Key]] = {family: set() for family in selectors.families}
    with rtnetlink.Channel() as channel:
        table = TableView(channel, selectors, is_read_only=True)
        for _read in table.until_complete():
            for _owner, block in table.judged():
                for entry in block.entries():
                    states[entry.key] = entry.state
                    if ownership.is_exempt_from_gc(entry):
                        exempt[codec.family_of(entry.dst)].add(entry.key)
        limits = rtnetlink.limits(selectors.families)
        for family in selectors.families:
            told = limits[family]._asdict() if family in limits else {}  # ipv6.disable=1: none
            for name in ("hash", "forced_gc_runs", "last_collected_s"):
                told.pop(name, None)
            result[FAMILY_NAMES[family]] = {"entries": 0, "states": {}, "devices": {}, **told}
        for (ifindex, dst), bits in states.items():
            counts, state = (
                result[FAMILY_NAMES[codec.family_of(dst)]],
                ownership.state_name(bits),
            )
            by_device = counts["devices"].setdefault(table.name(ifindex), {})
            counts["entries"] += 1
            counts["states"][state] = counts["states"].get(state, 0) + 1
            by_device[state] = by_device.get(state, 0) + 1
    for family in selectors.families:
        told = result[FAMILY_NAMES[family]]
        counted = told.get("entries_all_namespaces", 0) - len(exempt[family])
        read = told["entries"] - len(exempt[family])
        is_collecting = family in limits and limits[family].is_collecting
        gc_thresh3 = told.get("gc_thresh3", 0)
        if family in limits:  # more than the limit are exempt entries of other namespaces
            limit = gc_thresh3 if is_collecting else max(limits[family].gc_thresh2, read)
            told["entries_limited"] = min(counted, limit)
        line = capacity.warning(FAMILY_NAMES[family], counted, read, gc_thresh3, is_collecting)
        told["warnings"] = [line] if line else []
    return result
