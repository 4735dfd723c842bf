"""Whether rules of nftables keep an own address quiet: what they do with packets about it.

Such a packet is known in part: its kind, our address, our device; not the other host. So a rule
holds, does not hold, or may hold (None), and a chain has all outcomes that may come of it. An
address is quiet where a rule on it may drop or change the packet, or where nothing may let it pass.
"""

import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

# --- include/uapi/linux/netfilter.h: NF_*, NFPROTO_*; nf_tables.h: NFT_*
NF_DROP, NF_ACCEPT = 0, 1
NFT_JUMP, NFT_GOTO, NFT_RETURN = -3, -4, -5
NFPROTO_INET, NFPROTO_ARP, NFPROTO_IPV6 = 1, 3, 10
NETWORK, TRANSPORT = 1, 2  # NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER
META = 100  # a base of our own: beside those of payloads, what ``meta`` loads, by NFT_META_*
IIF, OIF, IIFNAME, OIFNAME, NFPROTO, L4PROTO = (META + key for key in (4, 5, 6, 7, 15, 16))
IFNAMSIZ = 16
CT_STATE = 200  # one more base of our own: the state of the connection
#: NF_CT_STATE_UNTRACKED_BIT: net/netfilter/nf_conntrack_proto_icmpv6.c tracks no such packet.
UNTRACKED = 1 << 6

# --- outcomes of our own, beside NF_DROP and NF_ACCEPT
CHANGE = -100  # the rule changes the packet
QUIET = -101  # a rule on the address drops or changes it
AT_END = -102  # no rule has decided

ARP_HEADER = b"\x00\x01\x08\x00\x06\x04\x00"  # of Ethernet and IPv4 (RFC 826), up to the operation
ARP_SENDER, ARP_TARGET = 14, 24
ICMPV6, SOLICITATION, ADVERTISEMENT, HOP_LIMIT = 58, 135, 136, 255  # RFC 4861, 4.3 and 4.4
IPV6_SOURCE, ND_TARGET = 8, 8

Name = tuple[int, bytes, bytes]  # family, table, chain
Place = tuple[int, int]  # base, offset


class Packet:
    """A packet, as far as it is known."""

    def __init__(self) -> None:
        self.known: dict[Place, int] = {}
        self.address: set[Place] = set()  # where our address is

    def put(self, base: int, offset: int, value: bytes, is_address: bool = False) -> "Packet":
        """Add bytes that are known."""
        places = [(base, offset + number) for number in range(len(value))]
        self.known.update(zip(places, value, strict=True))
        if is_address:
            self.address.update(places)
        return self


class Load(NamedTuple):
    """What a rule takes of a packet, and where it is in the value that is compared."""

    base: int
    offset: int
    size: int
    at: int = 0

    def places(self) -> Iterator[Place]:
        """Yield the place of each byte."""
        return ((self.base, self.offset + number) for number in range(self.size))


class Condition(NamedTuple):
    """What a rule compares something with: any of some intervals, after a mask."""

    loads: tuple[Load, ...]
    intervals: tuple[tuple[bytes, bytes], ...]  # the first value, and the last
    mask: bytes = b""  # empty: none
    is_inverted: bool = False

    def holds(self, packet: Packet) -> bool | None:
        """Tell whether a packet meets it; None: it may."""
        parts = [(each.at, [packet.known.get(at) for at in each.places()]) for each in self.loads]
        if all(byte is None for _at, known in parts for byte in known):
            return None  # of a long list of other hosts, too
        found: bool | None = False
        for first, last in self.intervals:
            is_in = self._is_in(parts, first, last)
            if is_in:
                found = True
                break
            found = None if is_in is None else found
        return None if found is None else found != self.is_inverted

    def _is_in(
        self, parts: list[tuple[int, list[int | None]]], first: bytes, last: bytes
    ) -> bool | None:
        """Tell whether each part is in its part of an interval."""
        result: bool | None = True
        for at, known in parts:
            end = at + len(known)
            low, high, mask = first[at:end], last[at:end], self.mask[at:end] or b"\xff" * len(known)
            masked = [b if b is None else b & m for b, m in zip(known, mask, strict=False)]
            masked = masked[: len(low)]
            value = bytes(b or 0 for b in masked)
            if None not in masked:
                if not low <= value <= high:
                    return False
                continue
            result = None
            if low == high and any(b not in (None, c) for b, c in zip(masked, low, strict=False)):
                return False
        return result


class Rule(NamedTuple):
    """A rule that decides something."""

    verdict: int
    chain: bytes = b""  # of a jump
    conditions: tuple[Condition, ...] = ()
    is_uncertain: bool = False  # it has conditions that are not read

    def holds(self, packet: Packet) -> bool | None:
        """Tell whether it is followed; None: it may be."""
        result: bool | None = None if self.is_uncertain else True
        for each in self.conditions:
            is_met = each.holds(packet)
            if is_met is False:
                return False
            result = result and is_met
        return result

    def is_about(self, packet: Packet) -> bool:
        """Tell whether it looks at our address in a packet."""
        return any(
            not packet.address.isdisjoint(load.places())
            for each in self.conditions
            for load in each.loads
        )


class Chain(NamedTuple):
    """A chain; with a hook it is where packets begin."""

    rules: tuple[Rule, ...] = ()
    hook: int | None = None
    policy: int = NF_ACCEPT


class Filter(NamedTuple):
    """The rules of this host on ARP, or on neighbour discovery."""

    chains: Mapping[Name, Chain] = MappingProxyType({})

    @property
    def drops(self) -> bool:
        """Tell whether some rule, or the policy of a chain, drops packets."""
        return any(
            NF_DROP in (chain.policy, *(rule.verdict for rule in chain.rules))
            for chain in self.chains.values()
        )

    def keeps_quiet(self, ip: bytes, ifindex: int, dev: str) -> bool:
        """Tell whether this host would not answer for an own address on a device."""
        for name, chain in self.chains.items():
            if chain.hook is None:
                continue
            for packet, must_pass in _packets(name[0], chain.hook, ip, ifindex, dev):
                found = _Walk(self.chains, packet).outcomes(name)
                if AT_END in found:
                    found = found - {AT_END} | {chain.policy}
                if QUIET in found or (must_pass and found == {NF_DROP}):
                    return True
        return False


class _Walk:
    """The way of one packet through the chains."""

    def __init__(self, chains: Mapping[Name, Chain], packet: Packet) -> None:
        self._chains, self._packet = chains, packet
        self._found: dict[tuple[Name, bool], set[int]] = {}  # a chain is often jumped to

    def outcomes(self, name: Name, is_about: bool = False) -> set[int]:
        """Return what may come of it in a chain; is_about: a rule on our address led there."""
        key = name, is_about
        if key not in self._found:
            self._found[key] = {AT_END}  # the kernel has no loops
            self._found[key] = self._outcomes(name, is_about)
        return self._found[key]

    def _outcomes(self, name: Name, is_about: bool) -> set[int]:
        found = set[int]()
        for rule in self._chains.get(name, Chain()).rules:
            holds = rule.holds(self._packet)
            if holds is False:
                continue
            about = is_about or rule.is_about(self._packet)
            new = {AT_END} if rule.verdict == NFT_RETURN else {rule.verdict}
            if rule.verdict in (NFT_JUMP, NFT_GOTO):
                new = self.outcomes((*name[:2], rule.chain), about)
            elif about and rule.verdict in (NF_DROP, CHANGE):
                new = {QUIET}
            goes_on = rule.verdict == CHANGE or (rule.verdict == NFT_JUMP and AT_END in new)
            found |= new - {AT_END, CHANGE} if goes_on else new
            if holds and not goes_on:
                return found
        return found | {AT_END}


def _packets(
    family: int, hook: int, ip: bytes, ifindex: int, dev: str
) -> Iterator[tuple[Packet, bool]]:
    """Yield the packets in a hook by which an address shows, and whether one has to pass."""
    if (family == NFPROTO_ARP) != (len(ip) == 4):
        return
    is_out = hook in ((1,) if len(ip) == 4 else (3, 4))  # NF_ARP_OUT; NF_INET_LOCAL_OUT, POST_…
    if not is_out and hook not in ((0,) if len(ip) == 4 else (0, 1)):
        return
    at = (OIF, OIFNAME) if is_out else (IIF, IIFNAME)
    name = dev.encode(errors="replace")[:IFNAMSIZ].ljust(IFNAMSIZ, b"\0")
    for kind, must_pass in ((2, True), (1, False)) if is_out and len(ip) == 4 else ((1, True),):
        packet = Packet().put(at[0], 0, ifindex.to_bytes(4, sys.byteorder)).put(at[1], 0, name)
        if len(ip) == 4:
            packet.put(NETWORK, 0, ARP_HEADER + bytes([kind]))
            packet.put(NETWORK, ARP_SENDER if is_out else ARP_TARGET, ip, is_address=True)
        else:
            packet.put(NFPROTO, 0, bytes([NFPROTO_IPV6])).put(L4PROTO, 0, bytes([ICMPV6]))
            packet.put(CT_STATE, 0, UNTRACKED.to_bytes(4, sys.byteorder))
            packet.put(NETWORK, 6, bytes([ICMPV6, HOP_LIMIT]))
            packet.put(TRANSPORT, 0, bytes([ADVERTISEMENT if is_out else SOLICITATION, 0]))
            packet.put(TRANSPORT, ND_TARGET, ip, is_address=True)
            if is_out:
                packet.put(NETWORK, IPV6_SOURCE, ip, is_address=True)
        yield packet, must_pass
