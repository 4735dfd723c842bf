"""Say where the entries are, where an operator named some and this host has none of them.

A neighbour entry belongs to a device that has addresses, and to a host on its link: none is on the
port of a bridge, and none is of a host behind a router. Nothing found is not nothing wrong.
"""

from collections.abc import Iterator

from ..netlink import codec, route, rtnetlink
from ..table.selectors import Selectors
from .interface_facts import FactsChannel

MAX_LINES = 8


def explain(selectors: Selectors, are_some_kept: bool) -> list[str]:
    """Return a line for each named device that has no entries, and each address without one.

    are_some_kept: there are entries, but they have owners; the addresses may be theirs.
    """
    with FactsChannel() as channel:
        lines = [*_devices(channel, sorted(selectors.dev or ()))]
        lines += [] if are_some_kept else _addresses(channel, selectors)
    more = len(lines) - MAX_LINES
    return lines if more <= 0 else [*lines[:MAX_LINES], f"and {more} more without an entry"]


def _devices(channel: FactsChannel, names: list[str]) -> Iterator[str]:
    for name in names:
        facts = channel.device_facts(channel.ifindex(name))
        master = channel.device(facts.master) if facts and facts.master else None
        if master:
            yield f"dev: {name} is a port of {master.name}, which has the neighbour entries"
        elif facts and facts.vrf == facts.ifindex:
            yield f"dev: {name} is a VRF; its devices have the neighbour entries"


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
