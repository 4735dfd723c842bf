"""The ARP filter of this host: rules of the arp family of nftables (arptables-nft writes the same).

Read-only, and only as far as it shows: what a rule compares the addresses of an ARP packet with, by
itself or in a set. The older arptables of the kernel are not read, only whether there are any.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import codec, rtnetlink

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
NFPROTO_ARP, NF_DROP, NF_ACCEPT = 3, 0, 1  # include/uapi/linux/netfilter.h
# --- include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h: NFNL_SUBSYS_NFTABLES, NFT_MSG_*
_GET_CHAIN, _GET_RULE, _GET_ELEMENTS = (10 << 8) | 4, (10 << 8) | 7, (10 << 8) | 13
_NFGENMSG = struct.pack("=BBH", NFPROTO_ARP, 0, 0)
_CHAIN_POLICY, _RULE_TABLE, _RULE_EXPRESSIONS = 5, 1, 4
_EXPR_NAME, _EXPR_DATA = 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE = 1, 2, 1
_IMMEDIATE_DATA, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH, _BITWISE_MASK = 2, 3, 4, 4
_LOOKUP_SET, _LOOKUP_FLAGS = 1, 5
_OP, _CMP_DATA, _RANGE_FROM, _RANGE_TO = 2, 3, 3, 4  # of cmp and range
_UNEQUAL, _LESS, _LESS_OR_EQUAL, _GREATER, _GREATER_OR_EQUAL = 1, 2, 3, 4, 5
_ELEMENTS_TABLE, _ELEMENTS_SET, _ELEMENTS, _ELEMENT_KEY, _ELEMENT_FLAGS = 1, 2, 3, 1, 3
_INTERVAL_END = 1  # NFT_SET_ELEM_INTERVAL_END
_ATTRIBUTES_AT = codec.HEADER.size + len(_NFGENMSG)
_ALL = b"\xff" * 4
_BIG_ENDIAN = struct.Struct("!i")
_ADDRESS_OFFSETS = (14, 24)  # sender's and target's in an ARP packet of Ethernet (RFC 826)
_LEGACY = Path("/proc/thread-self/net/arp_tables_names")

Interval = tuple[bytes, bytes]  # the first address, and the last


class _Condition(NamedTuple):
    """What a rule compares an address with: any of some intervals, after a mask."""

    intervals: tuple[Interval, ...]
    mask: bytes
    is_inverted: bool

    def holds(self, ip: bytes) -> bool:
        """Tell whether an address meets it."""
        masked = bytes(a & b for a, b in zip(ip, self.mask, strict=False))
        found = any(first <= masked[: len(first)] <= last for first, last in self.intervals)
        return found != self.is_inverted


class ArpFilter(NamedTuple):
    """What this host does with ARP packets, as far as it is known."""

    drops: bool = False  # some rule, or the policy of a chain
    rules: tuple[tuple[_Condition, ...], ...] = ()  # on addresses, of rules that do not accept

    def names(self, ip: bytes) -> bool:
        """Tell whether a rule that does not accept is about an address."""
        return any(rule and all(each.holds(ip) for each in rule) for rule in self.rules)


def arp_filter() -> ArpFilter:
    """Return the ARP filter; an empty one where there is none, or it may not be read."""
    try:
        with rtnetlink.Channel(NETLINK_NETFILTER) as channel:
            return read(channel)
    except OSError:  # no nf_tables in this kernel, or no CAP_NET_ADMIN
        return ArpFilter()


def read(channel: rtnetlink.Channel) -> ArpFilter:
    """Return the ARP filter. OSError where the kernel refuses."""
    chains = _dump(channel, _GET_CHAIN)
    policies = [
        codec.unpack(_BIG_ENDIAN, values[_CHAIN_POLICY])[0]
        for values in chains
        if _CHAIN_POLICY in values
    ]
    conditions, drops = list[tuple[_Condition, ...]](), NF_DROP in policies
    for rule in _dump(channel, _GET_RULE):
        expressions = list(_expressions(rule))
        verdict = _verdict(expressions)
        drops |= verdict == NF_DROP
        if verdict != NF_ACCEPT:
            conditions.append(tuple(_conditions(channel, rule.get(_RULE_TABLE, b""), expressions)))
    return ArpFilter(drops, tuple(conditions))


def has_legacy_arp_filter() -> bool:
    """Tell whether arptables-legacy has a table here: its rules are not read."""
    try:
        return bool(_LEGACY.read_text(encoding="ascii").split())
    except OSError:  # no arptables in this kernel, or not root
        return False


def _dump(channel: rtnetlink.Channel, kind: int, body: bytes = b"") -> list[dict[int, bytes]]:
    """Return the attributes of all objects of one kind."""
    return [
        codec.values(message, _ATTRIBUTES_AT)
        for chunk in channel.dump(kind, _NFGENMSG + body)
        for _kind, message in codec.messages(chunk)
    ]


def _expressions(rule: dict[int, bytes]) -> Iterator[tuple[str, dict[int, bytes]]]:
    """Yield name and attributes of each expression of a rule."""
    nested = rule.get(_RULE_EXPRESSIONS, b"")
    for _kind, start, end in codec.attributes(nested, 0, len(nested)):
        expression = codec.values(nested, start, end)
        name = expression.get(_EXPR_NAME, b"").rstrip(b"\0").decode(errors="replace")
        yield name, codec.values(expression.get(_EXPR_DATA, b""), 0)


def _verdict(expressions: list[tuple[str, dict[int, bytes]]]) -> int | None:
    """Return the verdict of a rule; None where it has none of its own."""
    for name, data in expressions:
        if name == "immediate":
            verdict = _nested(data, _IMMEDIATE_DATA, _DATA_VERDICT, _VERDICT_CODE)
            if verdict:
                return int(codec.unpack(_BIG_ENDIAN, verdict)[0])
    return None


def _conditions(
    channel: rtnetlink.Channel, table: bytes, expressions: list[tuple[str, dict[int, bytes]]]
) -> Iterator[_Condition]:
    """Yield what a rule compares the sender's or the target's address with."""
    loaded: list[tuple[bool, int]] = []  # whether it is an address, and how many bytes it takes
    mask, is_used = _ALL, False
    for name, data in expressions:
        if name == "payload":
            if is_used:
                loaded, mask, is_used = [], _ALL, False
            size = codec.padded(_number(data, _PAYLOAD_LENGTH))
            loaded.append((_number(data, _PAYLOAD_OFFSET) in _ADDRESS_OFFSETS, size))
        elif name == "bitwise":
            mask = _nested(data, _BITWISE_MASK, _DATA_VALUE)
        elif name in ("cmp", "range", "lookup"):
            are_addresses = [is_address for is_address, _size in loaded]
            if any(are_addresses):
                at = sum(size for _is, size in loaded[: are_addresses.index(True)])
                yield _condition(channel, table, name, data, at)._replace(mask=mask)
            is_used = True  # a range may be two comparisons


def _condition(
    channel: rtnetlink.Channel, table: bytes, name: str, data: dict[int, bytes], at: int
) -> _Condition:
    """Return what one expression compares with; at: where the address is in a set's keys."""
    operator = _number(data, _OP)
    if name == "lookup":
        intervals = tuple(_elements(channel, table, data.get(_LOOKUP_SET, b""), at))
        return _Condition(intervals, _ALL, bool(_number(data, _LOOKUP_FLAGS)))
    if name == "range":
        first, last = (_nested(data, end, _DATA_VALUE) for end in (_RANGE_FROM, _RANGE_TO))
        return _Condition(((first, last),), _ALL, bool(operator))
    value = _nested(data, _CMP_DATA, _DATA_VALUE)
    first = bytes(len(value)) if operator in (_LESS_OR_EQUAL, _GREATER) else value
    last = _ALL if operator in (_LESS, _GREATER_OR_EQUAL) else value
    return _Condition(((first, last),), _ALL, operator in (_UNEQUAL, _LESS, _GREATER))


def _elements(channel: rtnetlink.Channel, table: bytes, name: bytes, at: int) -> Iterator[Interval]:
    """Yield the addresses and intervals in a set; at: where they are in its keys."""
    body = codec.attribute(_ELEMENTS_TABLE, table) + codec.attribute(_ELEMENTS_SET, name)
    firsts, ends = list[bytes](), list[bytes]()
    for values in _dump(channel, _GET_ELEMENTS, body):
        nested = values.get(_ELEMENTS, b"")
        for _kind, start, end in codec.attributes(nested, 0, len(nested)):
            element = codec.values(nested, start, end)
            is_end = bool(_number(element, _ELEMENT_FLAGS) & _INTERVAL_END)
            key = _nested(element, _ELEMENT_KEY, _DATA_VALUE)[at : at + 4]
            (ends if is_end else firsts).append(key)
    for first in firsts:
        after = min((key for key in ends if key > first), default=b"")  # the first one not in it
        before = (int.from_bytes(after, "big") - 1).to_bytes(4, "big") if after else _ALL
        yield first, before if ends else first


def _nested(values: dict[int, bytes], *names: int) -> bytes:
    """Return the value of an attribute within attributes; empty where one is missing."""
    value = values.get(names[0], b"")
    for name in names[1:]:
        value = codec.values(value, 0).get(name, b"")
    return value


def _number(values: dict[int, bytes], name: int) -> int:
    return int.from_bytes(values.get(name, b""), "big")
