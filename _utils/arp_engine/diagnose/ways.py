"""Which next hops the packets to an address take: those of its stuck sockets, and their likes.

One route lookup without a source is a guess: rules (ip-rule(8)) choose by source and mark, a VRF by
the socket's device, a multipath route by a hash of the addresses, or of the ports too
(fib_multipath_hash_policy). So the look-ups say what the sockets say.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ..netlink import codec, links, route, rtnetlink
from ..netlink.constants import IFF_LOOPBACK, IFF_NOARP, IFF_POINTOPOINT
from ..netlink.sock_diag import TcpSocket
from ..resolve import sourced_routes
from ..resolve.interface_facts import is_link_local
from ..table import ownership, view
from .facts import IGNORES_ANSWERS

MAX_SOCKETS = 64  # looked at; of one client they rarely take more than a few ways
MAX_JUDGED = 4  # each costs probes
SYSCTL = Path("/proc/sys/net")


class Ways(NamedTuple):
    """The next hops to judge, the one that most packets take first; and those not taken."""

    judged: list[route.Route]
    others: list[codec.Key]
    why_sourced: str = ""  # why the packets of no source in particular have no way
    sourced: frozenset[route.Route] = frozenset()  # the ways that only packets of some source have


def device(table: view.TableView, dst: bytes, named: int) -> tuple[int, str]:
    """Return the device that has the entries where one is named, and a note where it is another.

    Of a port it is the top. Of a trunk it is what is on top of it: the device that the kernel's
    route takes, or that has an entry of the address. (A lookup by the trunk itself finds no
    router: the kernel takes every address to be on a link that no route names.)
    """
    channel = table.channel
    top, above = links.top(channel, named), links.stacked(channel, named)
    found = top
    if above:
        way = route.Route() if is_link_local(dst) else route.lookup(channel, dst)
        there = table.read_again((at, dst) for at in (top, *sorted(above))).values()
        by_entry = [entry.ifindex for entry in there if entry and entry.mac]
        found = way.ifindex if way.ifindex in above else next(iter(by_entry), top)
    name = table.name
    if found in above:
        return found, f"{name(found)}, on top of {name(named)}, has the entries."
    port = f"{name(named)} is a port of {name(top)}, which has the entries."
    return top, port if top != named else ""


def find(
    channel: rtnetlink.Channel,
    dst: bytes,
    ifindex: int,
    sockets: Sequence[TcpSocket],
    mark_of: Callable[[TcpSocket], int],
) -> Ways:
    """Return the ways to an address; over one device, where ifindex is given.

    sockets: to the address; those that get no answer, where there are any.
    """
    found = dict[codec.Key, tuple[int, route.Route]]()
    hops = set[codec.Key]()
    for each in sockets[:MAX_SOCKETS]:
        mark = mark_of(each)
        way = route.of_socket(channel, dst, each, mark, ifindex)
        if not way.why_not:
            key = way.neighbour(dst)
            found[key] = found.get(key, (0, way))[0] + 1, way
            hops |= route.next_hops(channel, dst, ifindex or each.ifindex, each.local, mark)
    if found:
        ways = [way for _count, way in sorted(found.values(), key=lambda item: -item[0])]
        return Ways(ways[:MAX_JUDGED], sorted(hops - found.keys()))
    return _without_sockets(channel, dst, ifindex)


def connections(
    channel: rtnetlink.Channel,
    key: codec.Key,
    dst: bytes,
    sockets: Sequence[TcpSocket],
    mark_of: Callable[[TcpSocket], int],
) -> int:
    """Return how many of some sockets to an address send through one neighbour's entry.

    The address may be in use on another link or in another VRF as well. A socket whose way no
    lookup knows (IP_TRANSPARENT) counts.
    """
    ways = (route.of_socket(channel, dst, each, mark_of(each)) for each in sockets)
    return sum(bool(way.why_not) or way.neighbour(dst) == key for way in ways)


def beside(table: view.TableView, dst: bytes, found: Ways) -> Ways:
    """Add the other devices that have an entry of the address: a second card, one of a VRF.

    Which device packets take, no lookup without their socket tells. Those are judged by which the
    kernel would send to the address directly. An entry that is not to be asked about is judged only
    where no other one is: nothing would be known.
    """
    channel = table.channel
    known = {way.neighbour(dst) for way in found.judged} | set(found.others)
    keys = [(ifindex, dst) for ifindex, _name in channel.devices()]
    there = {key: each for key, each in table.read_again(keys).items() if each and each.mac}
    ways = {
        key: way
        for key in sorted(there.keys() - known)
        if (way := route.lookup(channel, dst, key[0])).why_not not in route.NO_NEIGHBOUR.values()
    }
    direct = [key for key, way in ways.items() if not way.why_not and way.neighbour(dst) == key]
    more = [ways[key] for key in direct if _may_ask(table, there[key])]
    if not more and all(way.why_not for way in found.judged):
        more = [ways[key] for key in direct]
    judged = [way for way in found.judged if not (way.why_not and more)] + more
    taken = {way.neighbour(dst) for way in judged[:MAX_JUDGED]}
    return found._replace(judged=judged[:MAX_JUDGED], others=sorted({*found.others, *ways} - taken))


def _may_ask(table: view.TableView, entry: codec.Entry) -> bool:
    """Tell whether an entry is ours, or in a state in which no answer changes it."""
    device = table.device(entry.ifindex)
    is_asked_on = bool(device) and not device.flags & (IFF_NOARP | IFF_POINTOPOINT | IFF_LOOPBACK)
    is_fixed = bool(entry.state & IGNORES_ANSWERS) and is_asked_on
    return is_fixed or not ownership.owner(entry, device)


def _without_sockets(channel: rtnetlink.Channel, dst: bytes, ifindex: int) -> Ways:
    """Return the way of packets from the route's own source address."""
    way = route.lookup(channel, dst, ifindex)
    if way.why_not:
        return _of_some_sources(channel, dst, ifindex, way.why_not)
    if way.source and not ifindex:  # the hash of a multipath route takes the source in
        way = _or(route.lookup(channel, dst, 0, way.source), way)
    taken = way.neighbour(dst)
    others = sorted(route.next_hops(channel, dst, ifindex, way.source) - {taken})
    if not others or _spreads_by_addresses_alone(dst):
        return Ways([way], others)
    ways = [way, *(way._replace(ifindex=hop, gateway=gateway) for hop, gateway in others)]
    return Ways(ways[:MAX_JUDGED], others[MAX_JUDGED - 1 :])


def _of_some_sources(channel: rtnetlink.Channel, dst: bytes, ifindex: int, why_not: str) -> Ways:
    """Return the ways of packets from some of this host's addresses, where others have none."""
    ways = sourced_routes.ways(channel, dst, ifindex)
    if ways[0].why_not:
        return Ways(ways, [])
    taken = {way.neighbour(dst) for way in ways[:MAX_JUDGED]}
    hops = {way.neighbour(dst) for way in ways}
    for way in ways:
        hops |= route.next_hops(channel, dst, ifindex, way.source)
    return Ways(ways[:MAX_JUDGED], sorted(hops - taken), why_not, frozenset(ways))


def _or(way: route.Route, otherwise: route.Route) -> route.Route:
    return otherwise if way.why_not else way


def _spreads_by_addresses_alone(dst: bytes) -> bool:
    """Tell whether all connections to an address take the same next hop of a multipath route."""
    name = "ipv4" if len(dst) == 4 else "ipv6"
    try:
        policy = (SYSCTL / name / "fib_multipath_hash_policy").read_text(encoding="ascii")
    except OSError:  # a kernel that has no other way
        return True
    return policy.strip() in ("0", "2")  # 2: the inner addresses of a tunnel
