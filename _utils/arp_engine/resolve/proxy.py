"""Recognise a host that answers for everybody: a router with proxy ARP, or a proxying fabric.

It answers for addresses that nobody has. So the host at a MAC is asked, alone, for two addresses of
the network that stand in no table; one that answers for both says nothing about who has an address.
A host that rightly has a whole network (a pool of a load balancer) looks the same from here.
"""

import contextlib
import random
from collections.abc import Collection, Iterable
from typing import NamedTuple

from ..netlink import codec
from ..packets.probe_schedule import Schedule
from . import interface_facts, interfaces
from .ask import Question, ask

ONE_FRAME = Schedule((0.05,), ())
ADDRESSES = 2  # asked about; one may be the host's own after all
TRIES = 64  # to find an address that stands in no table
MIN_HOST_BITS = 3  # in a smaller network each address is likely to be somebody's


class Claim(NamedTuple):
    """A MAC that answered for an address."""

    ifindex: int
    dst: bytes
    mac: bytes


def find(
    claims: Iterable[Claim], in_table: Collection[codec.Key], rate: float
) -> set[tuple[int, bytes]]:
    """Return ``(ifindex, MAC)`` of the claims that answer for addresses nobody has.

    in_table: the entries that there are; their addresses are not asked about.
    """
    by_mac = {(c.ifindex, codec.family_of(c.dst), c.mac): c for c in claims}
    questions: list[Question] = []
    with contextlib.closing(interfaces.Interfaces()) as reader:
        for claim in by_mac.values():
            asked = {question[:2] for question in questions}
            free = unused(reader.get(claim.ifindex), claim, {*asked, *in_table})
            questions += [Question(claim.ifindex, dst, claim.mac) for dst in free]
    results = ask(questions, rate, schedule=ONE_FRAME) if questions else {}
    silent = {(q.ifindex, q.mac) for q in questions if q.mac not in results[q[:2]].answers}
    return {(q.ifindex, q.mac) for q in questions} - silent


def unused(
    interface: interface_facts.Interface | None, claim: Claim, used: Collection[codec.Key]
) -> list[bytes]:
    """Return addresses of the claim's network that stand in no table; none where it is small."""
    size = len(claim.dst)
    networks = [
        address.prefix
        for address in (interface.addresses if interface else ())
        if len(address.ip) == size and address.covers(claim.dst)
    ]
    host_bits = 8 * size - max(networks, default=8 * size)
    if not interface or host_bits < MIN_HOST_BITS:
        return []
    network = int.from_bytes(claim.dst, "big") >> host_bits << host_bits
    found: list[bytes] = []
    for _try in range(TRIES):
        host = random.randrange(1, (1 << host_bits) - 1)  # noqa: S311 (no secret)
        dst = (network | host).to_bytes(size, "big")
        if (claim.ifindex, dst) not in used and not interface.owns(dst) and dst not in found:
            found.append(dst)
        if len(found) == ADDRESSES:
            return found
    return []
