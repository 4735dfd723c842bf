"""The neighbour table as rows and counts. No Salt in here, and nothing is touched or sent."""

import contextlib
import gc
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.constants import FAMILY_NAMES, REACHABLE, TICKS
from ..netlink.model import Head
from . import capacity, ownership, snapshot
from .selectors import Selectors

_LAST = [str(byte) for byte in range(256)]

Row = dict[str, Any]

SORTED = 1000  # rows; more are returned in the kernel's order: nobody reads them, all pay for it


def list_entries(selectors: Selectors) -> list[Row]:
    """Return the table as rows."""
    with rtnetlink.Channel() as channel, no_collection():
        table = snapshot.Table(channel, selectors)
        rows = Rows(table)

        def look() -> None:
            for owner, block in table.judged():
                rows.add(owner, block)

        table.complete(look)
        return rows.listed()


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Keep the cyclic collector from walking a growing list of rows again and again.

    Rows hold no cycles; with the collector 100,000 of them take half as long again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Rows:
    """Entries as dicts that a person reads and a program can use.

    Kept by device and address: a table that grows while it is read shows some of them twice.
    """

    def __init__(self, table: snapshot.Table) -> None:
        """Take the Table they are from."""
        self._table = table
        self._found: defaultdict[int, dict[bytes, Row]] = defaultdict(dict)
        self._likes: dict[tuple[str, Head], Row] = {}
        self._macs, self._networks = _Macs(), _Networks()

    def add(self, owner: str, block: table_dump.Block) -> None:
        """Take a block of what somebody owns, or of what is ours."""
        heads = block.heads()
        if len(heads) == 1:
            self._write(owner, *heads, block.tails())
        else:
            for head, tail in zip(block.each_head(), block.tails(), strict=True):
                self._write(owner, head, (tail,))

    def drop(self, key: codec.Key) -> None:
        """Forget a row."""
        self._found[key[0]].pop(key[1], None)

    def listed(self) -> list[Row]:
        """Return the rows; by device and address, as long as a person can still read them."""
        found = self._found
        if sum(map(len, found.values())) > SORTED:
            return list(chain.from_iterable(by_address.values() for by_address in found.values()))
        return [found[index][dst] for index in sorted(found) for dst in sorted(found[index])]

    def _like(self, owner: str, head: Head) -> Row:
        """Return a row of what entries share: a copy, and what differs, is the fastest way."""
        if (owner, head) not in self._likes:
            self._likes[owner, head] = {
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
        return self._likes[owner, head]

    def _write(self, owner: str, head: Head, tails: Iterable[tuple[Any, ...]]) -> None:
        """Write the rows of entries that share their head: the fast path."""
        like, found = self._like(owner, head), self._found[head.ifindex]
        networks, macs, ticks = self._networks, self._macs, TICKS
        reachable, ntop, ipv6 = head.state == REACHABLE, socket.inet_ntop, socket.AF_INET6
        for dst, mac, confirmed, used, updated in tails:
            found[dst] = row = like.copy()
            row["ip"] = networks[dst[:3]] + _LAST[dst[3]] if len(dst) == 4 else ntop(ipv6, dst)
            row["mac"] = macs[mac]
            row["confirmed_s"] = confirmed / ticks
            row["used_s"] = used / ticks
            row["updated_s"] = updated / ticks
            if reachable:
                base_s = self._table.timers(codec.family_of(dst), head.ifindex).base_reachable_s
                row["suspect"] = ownership.is_suspect(head.state, confirmed, updated, base_s)


class _Networks(dict[bytes, str]):
    """The first three bytes of IPv4 addresses as text, each written once."""

    def __missing__(self, network: bytes) -> str:
        """Write one."""
        self[network] = text = socket.inet_ntoa(network + b"\0")[:-1]
        return text


class _Macs(dict[bytes, str]):
    """MAC addresses as text, each written once."""

    def __missing__(self, mac: bytes) -> str:
        """Write one."""
        self[mac] = text = mac.hex(":")
        return text


def stats(selectors: Selectors) -> dict[str, dict[str, Any]]:
    """Return how full the tables are, by family, device and state, against their limits."""
    result: dict[str, dict[str, Any]] = {}
    seen: dict[codec.Key, int] = {}
    spared: dict[int, set[codec.Key]] = {family: set() for family in selectors.families}
    with rtnetlink.Channel() as channel:
        table = snapshot.Table(channel, selectors)

        def look() -> None:
            for _owner, block in table.judged():
                for entry in block.entries():
                    seen[entry.key] = entry.state
                    if ownership.is_spared(entry):
                        spared[codec.family_of(entry.dst)].add(entry.key)

        table.complete(look)
        limits = rtnetlink.limits(selectors.families)
        for family in selectors.families:
            told = limits[family]._asdict() if family in limits else {}  # ipv6.disable=1: none
            told.pop("hash", None)
            result[FAMILY_NAMES[family]] = {"entries": 0, "states": {}, "devices": {}, **told}
        for (ifindex, dst), bits in seen.items():
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
        counted = told.get("entries_all_namespaces", 0) - len(spared[family])
        line = capacity.warning(FAMILY_NAMES[family], counted, told.get("gc_thresh3", 0))
        told["warnings"] = [line] if line else []
    return result
