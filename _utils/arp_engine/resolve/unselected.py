"""Say where the entries are, of each address and device that an operator named and has none.

A neighbour entry belongs to a device that has addresses, and to a host on its link: none is on the
port of a bridge, none on a card that only carries VLANs, and none is of a host behind a router.
Nothing found is not nothing wrong.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ..netlink import codec, links, rtnetlink, table_dump
from ..table import parse
from ..table.selectors import Selectors
from . import sourced_routes

MAX_LINES = 8


def explain(selectors: Selectors, found: Iterable[codec.Key], kept: set[bytes]) -> list[str]:
    """Return a line for each named device that has no entries, and each address without one.

    found: the entries that were selected. kept: addresses of others, which have owners.
    """
    if not selectors.dev and not (selectors.ip and selectors.ip.singles()):
        return []
    ifindexes, addresses = set[int](), set(kept)
    for ifindex, dst in found:
        ifindexes.add(ifindex)
        addresses.add(dst)
    with rtnetlink.Channel() as channel:
        named = {name: channel.ifindex(name) for name in selectors.dev or ()}
        without = [name for name, ifindex in named.items() if ifindex not in ifindexes]
        lines = [*devices(channel, without, "neighbour entries")]
        lines += _addresses(channel, selectors, addresses, named)
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"and {more} more without an entry"]


def explain_flush(selectors: Selectors, result: dict[str, Any]) -> list[str]:
    """Return the same of a flush; nothing where it is not known what was deleted or kept.

    result: of table/flush.py; with more than a few deletions it has no rows.
    """
    singles = set(selectors.ip.singles()) if selectors.ip else set[bytes]()
    if "entries" not in result or "failed" in result or not (selectors.dev or singles):
        return []
    rows = result["entries"]
    with rtnetlink.Channel() as channel:
        ifindexes = {name: channel.ifindex(name) for name in {row["dev"] for row in rows}}
    found = [(ifindexes[row["dev"]], parse.address("ip", row["ip"]).packed) for row in rows]
    return explain(selectors, found, singles if result["kept"] else set())


def devices(channel: rtnetlink.Channel, names: Iterable[str], what: str) -> Iterator[str]:
    """Yield a line for each named device that has none of these because others have them."""
    for name in sorted(names):
        ifindex = channel.ifindex(name)
        link, master = links.get(channel, ifindex), channel.device(links.top(channel, ifindex))
        is_port = link.is_port and master
        if link.is_port and link.master_kind == "openvswitch":
            yield f"dev: {name} is a port of Open vSwitch: its internal ports have the {what}"
        elif above := _above(channel, ifindex, what):
            port = f" is a port of {master.name}, which" if is_port and master else ""
            yield f"dev: {name}{port} has none of the {what}; name {above}, on top of it, instead"
        elif is_port and master:
            yield f"dev: {name} is a port of {master.name}, which has the {what}"
        elif link.kind == "vrf":
            yield f"dev: {name} is a VRF; its devices have the {what}"


def _above(channel: rtnetlink.Channel, ifindex: int, what: str) -> str:
    """Return the names of the devices on top of one that have these in its stead."""
    has = links.has_addresses if what == "addresses" else links.has_own
    found = sorted(at for at in links.stacked(channel, ifindex) if has(channel, at))
    return _names(channel, found)


def _names(channel: rtnetlink.Channel, ifindexes: Collection[int]) -> str:
    """Return the names of the first devices of some, and how many more there are."""
    names = [d.name for at in ifindexes if (d := channel.device(at))]
    more = len(names) - MAX_LINES
    return ",".join(names[:MAX_LINES]) + (f" (and {more} more)" if more > 0 else "")


def _addresses(
    channel: rtnetlink.Channel,
    selectors: Selectors,
    found: set[bytes],
    named: Mapping[str, int],
) -> Iterator[str]:
    """Yield a line for each address without an entry; named: the devices, where any are."""
    missing = [dst for dst in (selectors.ip.singles() if selectors.ip else ()) if dst not in found]
    there = _devices_of(channel, missing) if named else {}
    by = next(iter(named.values())) if len(named) == 1 else 0
    for dst in missing:
        others, text = there.get(dst, set()), codec.address(dst)
        if others and others.isdisjoint(named.values()):
            names, here = _names(channel, sorted(others)), ", ".join(sorted(named))
            yield f"{text} has no entry on {here}, but on {names}: name dev={names}"
        elif not others:
            yield from _on_the_way(channel, dst, by)


def _devices_of(channel: rtnetlink.Channel, dsts: Collection[bytes]) -> dict[bytes, set[int]]:
    """Return the devices on which some addresses have an entry with a MAC."""
    wanted, there = set(dsts), defaultdict[bytes, set[int]](set)
    for family in {codec.family_of(dst) for dst in wanted}:
        for entry in table_dump.entries(*channel.neighbours(family)):
            if entry.dst in wanted and entry.mac:
                there[entry.dst].add(entry.ifindex)
    return there


def _on_the_way(channel: rtnetlink.Channel, dst: bytes, by: int) -> Iterator[str]:
    """Yield a line where no packet to an address needs its entry; by: a device, 0 for any."""
    [way, *_others], text = sourced_routes.ways(channel, dst, by), codec.address(dst)
    if way.why_not:
        yield f"{text} has no entry: {way.why_not}"
    elif way.gateway:
        router = codec.address(way.gateway)
        device = channel.device(way.ifindex)
        dev = device.name if device else f"#{way.ifindex}"
        yield f"{text} is behind the router {router} on {dev}: name {router} instead"
