"""Routes that only the packets of some source address have, or those of a VRF (ip-rule(8)).

A lookup without a source asks the tables that hold for everybody. Where it finds nothing, that is
no proof: a default route may stand in the table of one of our addresses alone.
"""

from ..netlink import codec, links, route, rtnetlink
from ..netlink.constants import RT_SCOPE_LINK
from ..table import ownership
from .interface_facts import FactsChannel, is_link_local

MAX_SOURCES = 256  # looked up, of a host that has more addresses
NO_ROUTE = "no route leads there without a mark, from any own address or VRF (ENETUNREACH)"


def ways(channel: rtnetlink.Channel, dst: bytes, ifindex: int = 0) -> list[route.Route]:
    """Return the kernel's route to an address; where it has none, those by source and VRF.

    Each names the source that it holds for, and each next hop once. None of these either: one that
    says why not, as far as that was tried.
    """
    way = route.lookup(channel, dst, ifindex)
    family = codec.family_of(dst)
    if not route.is_refusal(way) or ownership.is_multicast(dst) or not route.has_rules(family):
        return [way]
    found = dict[codec.Key, route.Route]()
    for each in _by_source(channel, dst, ifindex):
        if not each.why_not:
            found.setdefault(each.neighbour(dst), each)
    is_without = way.why_not == route.NO_ROUTE
    return [*found.values()] or [way._replace(why_not=NO_ROUTE) if is_without else way]


def _by_source(channel: rtnetlink.Channel, dst: bytes, ifindex: int) -> list[route.Route]:
    """Return what lookups with each own source address, and by each VRF, find."""
    with FactsChannel() as facts:
        own = [address for _ifindex, address in facts.addresses(codec.family_of(dst))]
    sources = dict.fromkeys(
        address.ip
        for address in own
        if address.scope <= RT_SCOPE_LINK and (is_link_local(dst) or not is_link_local(address.ip))
    )
    found = [
        route.lookup(channel, dst, ifindex, source)._replace(source=source)
        for source in [*sources][:MAX_SOURCES]
    ]
    vrfs = [] if ifindex else [at for at, link in links.dump(channel) if link.kind == "vrf"]
    return found + [route.lookup(channel, dst, vrf) for vrf in vrfs]
