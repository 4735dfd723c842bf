"""Recognise a host that answers for everybody: a router with proxy ARP, or a proxying fabric.

It answers for addresses that nobody has. So the host at a MAC is asked, alone, for two addresses of
the network that stand in no table; one that answers for both says nothing about who has an address.
A host that rightly has a whole network (a pool of a load balancer) looks the same from here.
"""

import contextlib
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from typing import NamedTuple

from ..netlink import codec, route, rtnetlink, table_dump
from ..packets.probe_schedule import Schedule
from . import interface_facts, interfaces
from .ask import ask
from .question import Question

#: A frame may get lost, and a router's control plane be slow. IPv6: each frame has another of our
#: names; a peer may refuse fe80::, or take only that.
SCHEDULE = Schedule((0.05, 0.1), ())
ADDRESSES = 2  # asked about; one may be the host's own after all
TRIES = 64  # to find an address that stands in no table, before a small network is searched
FULL_SEARCH_BITS = 8
LINK_LOCAL = b"\xfe\x80"
MIN_HOST_BITS = 3  # in a smaller network each address is likely to be somebody's
#: By bytes of an address, the bits of the widest network that a route is taken to say.
MAX_HOST_BITS = {4: 16, 16: 64}
MAX_TURNS = 32  # of hosts that have to share few free addresses: up to 0.3 s each
NO_TURN = "too few addresses are free to ask so many hosts"  # why one was not asked
STOPPED = "stopped"


Host = tuple[int, int, bytes]  # device, family, MAC: a proxy for IPv4 need not be one for IPv6


class Claim(NamedTuple):
    """A MAC that answered for an address."""

    ifindex: int
    dst: bytes
    mac: bytes

    @property
    def host(self) -> Host:
        """Return whose claim it is."""
        return self.ifindex, codec.family_of(self.dst), self.mac


def find(
    claims: Iterable[Claim],
    in_table: Collection[codec.Key],
    rate: float,
    unasked: dict[Host, str] | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> set[Host]:
    """Return the hosts of the claims that answer for addresses nobody has.

    One address first: a host that is silent is not asked for the second. in_table: the entries that
    there are; their addresses are not asked about. A host that has answered for an address of
    fe80:: and for another one is asked in the network of the other: no proxy answers for fe80::.
    Two hosts are not asked for the same address at once: where few are free, each has its turn.
    unasked: takes the hosts that could not be asked, and why: they may be proxies. Of a host whose
    network has no two free addresses nobody can ever know; it is taken for none.
    """
    unasked = {} if unasked is None else unasked
    by_scope = sorted(claims, key=lambda claim: not claim.dst.startswith(LINK_LOCAL))
    todo, found = {claim.host: claim for claim in by_scope}, set[Host]()
    for _turn in range(MAX_TURNS):
        free = _free(todo.values(), in_table)
        proxies = {host for host in free if free[host]}
        busy = {host[0] for host in proxies}
        todo = {host: todo[host] for host in free if not free[host] and host[0] in busy}
        for number in range(ADDRESSES):
            if is_stopped():
                unasked.update(dict.fromkeys((*proxies, *todo), STOPPED))
                return found
            questions = {host: Question(host[0], free[host][number], host[2]) for host in proxies}
            proxies = _that_answer(questions, rate, unasked)
        found |= proxies
        if not todo:
            break
    unasked.update(dict.fromkeys(todo, NO_TURN))
    return found


def _free(claims: Iterable[Claim], in_table: Collection[codec.Key]) -> dict[Host, list[bytes]]:
    """Return what to ask each host for: two addresses that no other one is asked for, or none."""
    free = dict[Host, list[bytes]]()
    asked: defaultdict[int, set[bytes]] = defaultdict(set)
    with contextlib.closing(interfaces.Interfaces()) as reader, rtnetlink.Channel() as channel:
        for claim in claims:
            words = reader.get(claim.ifindex), claim, in_table, asked[claim.ifindex]
            free[claim.host] = unused(channel, *words)
            asked[claim.ifindex].update(free[claim.host])
    return free


def _that_answer(
    questions: dict[Host, Question], rate: float, unasked: dict[Host, str]
) -> set[Host]:
    """Return the hosts that answer the question put to them; add those that heard none."""
    results, found = ask(questions.values(), rate, schedule=SCHEDULE), set[Host]()
    for host, question in questions.items():
        result = results[question[:2]]
        if question.mac in result.answers:
            found.add(host)
        elif result.why or not result.unicast_asked:
            unasked[host] = result.why or "no probe was sent"
    return found


def unused(
    channel: rtnetlink.Channel,
    interface: interface_facts.Interface | None,
    claim: Claim,
    used: Container[codec.Key],
    asked: Container[bytes] = (),
) -> list[bytes]:
    """Return two addresses of the claim's network that stand in no table; none where it is small.

    asked: addresses that another host is being asked for.
    """
    size = len(claim.dst)
    host_bits = _host_bits(channel, interface, claim.dst) if interface else 0
    if not interface or host_bits < MIN_HOST_BITS:
        return []
    network = int.from_bytes(claim.dst, "big") >> host_bits << host_bits
    found: list[bytes] = []
    for host in _hosts(host_bits):
        dst = (network | host).to_bytes(size, "big")
        is_free = (claim.ifindex, dst) not in used and not interface.owns(dst)
        if is_free and dst not in asked and dst not in found:
            found.append(dst)
        if len(found) == ADDRESSES:
            return found
    return []


def _hosts(host_bits: int) -> Iterator[int]:
    """Yield numbers of hosts in a network in which to look: some, and all of a small one."""
    last = (1 << host_bits) - 2
    for _try in range(TRIES):
        yield random.randint(1, last)  # noqa: S311 (no secret)
    if host_bits <= FULL_SEARCH_BITS:
        yield from random.sample(range(1, last + 1), last)


def _host_bits(channel: rtnetlink.Channel, interface: interface_facts.Interface, dst: bytes) -> int:
    """Return how many bits of an address name the host in its network; 0: no network is known.

    By an address of the device, else by the route (an unnumbered device, a /32 or a /128).
    """
    size = len(dst)
    networks = [
        address.prefix
        for address in interface.addresses
        if len(address.ip) == size and address.covers(dst)
    ]
    if networks:
        return 8 * size - max(networks)
    prefix = route.on_link_prefix(channel, dst, interface.ifindex)
    return min(8 * size - prefix, MAX_HOST_BITS[size]) if prefix else 0


def neighbours_of(channel: rtnetlink.Channel, some: Iterable[codec.Entry]) -> list[codec.Entry]:
    """Return all entries of the devices and families of some."""
    links: defaultdict[int, set[int]] = defaultdict(set)
    for entry in some:
        links[codec.family_of(entry.dst)].add(entry.ifindex)
    return [
        entry
        for family, ifindexes in links.items()
        # of several devices in one go: the kernel walks through the whole table each time
        for entry in table_dump.entries(
            *channel.neighbours(family, *(ifindexes if len(ifindexes) == 1 else ()))
        )
        if entry.ifindex in ifindexes
    ]


def used_on(
    channel: rtnetlink.Channel, some: Iterable[codec.Entry], asked: Collection[codec.Key] = ()
) -> set[codec.Key]:
    """Return what stands in the table of the links of some entries, or stood there: asked.

    Also what nobody has selected: a proxy's answer for a neighbour takes its entry, a protected one
    as well.
    """
    return {entry.key for entry in neighbours_of(channel, some)} | set(asked)
