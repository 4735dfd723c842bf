"""Say where the entries are, where an operator named some and this host has none of them.

A neighbour entry belongs to a device that has addresses, and to a host on its link: none is on the
port of a bridge, and none is of a host behind a router. Nothing found is not nothing wrong.
"""

from collections.abc import Iterable, Iterator

from ..netlink import codec, links, route, rtnetlink
from ..table.selectors import Selectors

MAX_LINES = 8


def explain(selectors: Selectors, are_some_kept: bool) -> list[str]:
    """Return a line for each named device that has no entries, and each address without one.

    are_some_kept: there are entries, but they have owners; the addresses may be theirs.
    """
    with rtnetlink.Channel() as channel:
        lines = [*devices(channel, selectors.dev or (), "neighbour entries")]
        lines += [] if are_some_kept else _addresses(channel, selectors)
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"and {more} more without an entry"]


def devices(channel: rtnetlink.Channel, names: Iterable[str], what: str) -> Iterator[str]:
    """Yield a line for each named device that has none of these because others have them."""
    for name in sorted(names):
        ifindex = channel.ifindex(name)
        link, master = links.get(channel, ifindex), channel.device(links.top(channel, ifindex))
        if link.is_port and link.master_kind == "openvswitch":
            yield f"dev: {name} is a port of Open vSwitch: its internal ports have the {what}"
        elif link.is_port and master:
            yield f"dev: {name} is a port of {master.name}, which has the {what}"
        elif link.kind == "vrf":
            yield f"dev: {name} is a VRF; its devices have the {what}"


def _addresses(channel: rtnetlink.Channel, selectors: Selectors) -> Iterator[str]:
    for dst in selectors.ip.singles() if selectors.ip else ():
        way, text = route.lookup(channel, dst), codec.address(dst)
        if way.why_not:
            yield f"{text} has no entry: {way.why_not}"
        elif way.gateway:
            router = codec.address(way.gateway)
            device = channel.device(way.ifindex)
            dev = device.name if device else f"#{way.ifindex}"
            yield f"{text} is behind the router {router} on {dev}: name {router} instead"
