"""The ARP and neighbour discovery filter of this host, as the kernel's nftables has it.

Read-only: rules of the families arp, ip6 and inet (arptables-nft and ip6tables-nft write the same),
as far as netlink/nf_rules.py can judge them. The older arptables and ip6tables of the kernel are
not read; of arptables, only whether there are any.
"""

import bisect
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from . import codec, rtnetlink
from .nf_rules import (
    CHANGE,
    CT_STATE,
    IFNAMSIZ,
    IIFNAME,
    L4PROTO,
    META,
    NETWORK,
    NF_ACCEPT,
    NF_DROP,
    NFPROTO,
    NFPROTO_ARP,
    NFPROTO_INET,
    NFPROTO_IPV6,
    NFT_GOTO,
    NFT_JUMP,
    NFT_RETURN,
    OIFNAME,
    TRANSPORT,
    Chain,
    Condition,
    Filter,
    Load,
    Name,
    Rule,
)

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
# --- include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h: NFNL_SUBSYS_NFTABLES, NFT_MSG_*
_GET_CHAIN, _GET_RULE, _GET_ELEMENTS = (10 << 8) | 4, (10 << 8) | 7, (10 << 8) | 13
_NFGENMSG = struct.Struct("=BBH")  # of struct nfgenmsg: family, version, resource
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER = 1
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPR_NAME, _EXPR_DATA = 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_PAYLOAD_BASE, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH, _PAYLOAD_SOURCE = 2, 3, 4, 5
_META_KEY, _META_SOURCE, _TARGET_NAME = 2, 3, 1
_CT_KEY, _NFT_CT_STATE = 2, 0
_IMMEDIATE_DATA, _BITWISE_MASK = 2, 4
_LOOKUP_SET, _LOOKUP_TO, _LOOKUP_FLAGS = 1, 3, 5
_OP, _CMP_DATA, _RANGE_FROM, _RANGE_TO = 2, 3, 3, 4  # of cmp and range
_UNEQUAL, _LESS, _LESS_OR_EQUAL, _GREATER, _GREATER_OR_EQUAL = 1, 2, 3, 4, 5
_ELEMENTS_TABLE, _ELEMENTS_SET, _ELEMENTS = 1, 2, 3
_ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_FLAGS, _ELEMENT_KEY_END = 1, 2, 3, 10
_INTERVAL_END, _CATCH_ALL = 1, 2  # NFT_SET_ELEM_INTERVAL_END, _CATCHALL
_ATTRIBUTES_AT = codec.HEADER.size + _NFGENMSG.size
_ALL = b"\xff" * 64  # longer than any value
_BIG_ENDIAN = struct.Struct("!i")
_LEGACY = Path("/proc/thread-self/net/arp_tables_names")

_DECIDING = NF_DROP, NF_ACCEPT, NFT_JUMP, NFT_GOTO, NFT_RETURN
_COMPARING = "cmp", "range", "lookup"
_HARMLESS = "immediate", "counter", "log", "notrack", "last", "bitwise", "reject"
#: They load something that is not read; all others that are not named here may limit a rule.
_LOADING = "ct", "fib", "rt", "socket", "exthdr", "numgen", "hash", "osf", "tunnel", "xfrm", "inner"
_META_SIZES = {IIFNAME: IFNAMSIZ, OIFNAME: IFNAMSIZ, NFPROTO: 1, L4PROTO: 1}
_UNREAD = Load(-1, 0, 4)

Expression = tuple[str, dict[int, bytes]]


class _Element(NamedTuple):
    """A value or an interval of a set, and the verdict on it in a map of verdicts."""

    first: bytes
    last: bytes
    verdict: int | None = None
    chain: bytes = b""


class _Value:
    """What the expressions of a rule have loaded, and compare next."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.mask, self.is_used = b"", False  # a range may be two comparisons of one value

    def take(self, load: Load) -> None:
        """Add a load: behind others that no expression has compared yet, as a set's keys are."""
        if self.is_used:
            self.loads, self.mask, self.is_used = [], b"", False
        at = sum(codec.padded(each.size) for each in self.loads)
        self.loads.append(load._replace(at=at))

    def compared(self, elements: list[_Element], is_inverted: bool = False) -> Condition:
        """Return the condition that it is one of some elements."""
        intervals = tuple((each.first, each.last) for each in elements)
        return Condition(tuple(self.loads), intervals, self.mask, is_inverted)


def arp_filter() -> Filter:
    """Return the rules on ARP; none where there are none, or they may not be read."""
    return _read(NFPROTO_ARP)


def nd_filter() -> Filter:
    """Return the rules that neighbour discovery meets; none as above."""
    return _read(NFPROTO_IPV6, NFPROTO_INET)


def _read(*families: int) -> Filter:
    try:
        with rtnetlink.Channel(NETLINK_NETFILTER) as channel:
            return read(channel, *families)
    except OSError:  # no nf_tables in this kernel, or no CAP_NET_ADMIN
        return Filter()


def read(channel: rtnetlink.Channel, *families: int) -> Filter:
    """Return the rules of some families. OSError where the kernel refuses."""
    chains: dict[Name, Chain] = {}
    for family in families:
        reader = _Reader(channel, family)
        rules = dict[Name, list[Rule]]()
        for values in reader.dump(_GET_RULE):
            name = family, _text(values, _RULE_TABLE), _text(values, _RULE_CHAIN)
            expressions = _expressions(values)
            rules.setdefault(name, []).extend(reader.rules(name[1], [*expressions]))
        for values in reader.dump(_GET_CHAIN):
            name = family, _text(values, _CHAIN_TABLE), _text(values, _CHAIN_NAME)
            number = _nested(values, _CHAIN_HOOK, _HOOK_NUMBER)
            is_base = bool(number) and _text(values, _CHAIN_TYPE) != b"nat"
            hook = int.from_bytes(number, "big") if is_base else None
            policy = _number(values, _CHAIN_POLICY) if _CHAIN_POLICY in values else NF_ACCEPT
            chains[name] = Chain(tuple(rules.get(name, ())), hook, policy)
    return Filter(chains)


def has_legacy_arp_filter() -> bool:
    """Tell whether arptables-legacy has a table here: its rules are not read."""
    try:
        return bool(_LEGACY.read_text(encoding="ascii").split())
    except OSError:  # no arptables in this kernel, or not root
        return False


class _Reader:
    """Reads the rules of one family."""

    def __init__(self, channel: rtnetlink.Channel, family: int) -> None:
        self._channel, self._head = channel, _NFGENMSG.pack(family, 0, 0)

    def dump(self, kind: int, body: bytes = b"") -> list[dict[int, bytes]]:
        """Return the attributes of all objects of one kind."""
        return [
            codec.values(message, _ATTRIBUTES_AT)
            for chunk in self._channel.dump(kind, self._head + body)
            for _kind, message in codec.messages(chunk)
        ]

    def rules(self, table: bytes, expressions: list[Expression]) -> Iterator[Rule]:
        """Yield a rule, if it decides anything; of a map of verdicts one for each element."""
        value, conditions, is_uncertain = _Value(), list[Condition](), False
        for name, data in expressions:
            if load := _load(name, data):
                value.take(load)
            elif name == "bitwise":
                value.mask = _nested(data, _BITWISE_MASK, _DATA_VALUE)
            elif name in _COMPARING:
                elements, is_inverted = self._compared(table, name, data, value.loads)
                for each in elements:
                    if each.verdict in _DECIDING:
                        also = (*conditions, value.compared([each]))
                        yield Rule(each.verdict, each.chain, also, is_uncertain)
                if all(each.verdict is None for each in elements):
                    conditions += [value.compared(elements, is_inverted)] * bool(elements)
                value.is_used, is_uncertain = True, is_uncertain or not elements
            elif name not in _HARMLESS and not _is_written(name, data):
                is_uncertain = True
        verdict, chain = _verdict(expressions)
        if verdict is not None:
            yield Rule(verdict, chain, tuple(conditions), is_uncertain)

    def _compared(
        self, table: bytes, name: str, data: dict[int, bytes], loads: list[Load]
    ) -> tuple[list[_Element], bool]:
        """Return what an expression compares with, and whether it shall not be; empty: unread."""
        if not loads or not all(
            each.base in (NETWORK, TRANSPORT) or each.base >= META for each in loads
        ):
            return [], False
        operator = _number(data, _OP)
        if name == "lookup":
            if _number(data, _LOOKUP_TO):  # a map of values
                return [], False
            elements = list(self._elements(table, data.get(_LOOKUP_SET, b"")))
            return elements, bool(_number(data, _LOOKUP_FLAGS))
        if name == "range":
            first, last = (_nested(data, end, _DATA_VALUE) for end in (_RANGE_FROM, _RANGE_TO))
            return [_Element(first, last)], bool(operator)
        value = _nested(data, _CMP_DATA, _DATA_VALUE)
        first = bytes(len(value)) if operator in (_LESS_OR_EQUAL, _GREATER) else value
        last = _ALL if operator in (_LESS, _GREATER_OR_EQUAL) else value
        return [_Element(first, last)], operator in (_UNEQUAL, _LESS, _GREATER)

    def _elements(self, table: bytes, name: bytes) -> Iterator[_Element]:
        """Yield what is in a set, or a map."""
        body = codec.attribute(_ELEMENTS_TABLE, table + b"\0")
        body += codec.attribute(_ELEMENTS_SET, name)
        found, ends = list[dict[int, bytes]](), list[bytes]()
        for values in self.dump(_GET_ELEMENTS, body):
            nested = values.get(_ELEMENTS, b"")
            for _kind, start, end in codec.attributes(nested, 0, len(nested)):
                element = codec.values(nested, start, end)
                if _number(element, _ELEMENT_FLAGS) & _INTERVAL_END:
                    ends.append(_nested(element, _ELEMENT_KEY, _DATA_VALUE))
                else:
                    found.append(element)
        ends.sort()
        found.sort(key=lambda each: _number(each, _ELEMENT_FLAGS) & _CATCH_ALL)  # it comes last
        for element in found:
            verdict, chain = _verdict_of(_nested(element, _ELEMENT_DATA, _DATA_VERDICT))
            yield _Element(*_interval(element, ends), verdict, chain)


def _interval(element: dict[int, bytes], ends: list[bytes]) -> tuple[bytes, bytes]:
    """Return the first value of an element, and the last; ends: the first ones behind each."""
    if _number(element, _ELEMENT_FLAGS) & _CATCH_ALL:
        return b"", _ALL
    first = _nested(element, _ELEMENT_KEY, _DATA_VALUE)
    if _ELEMENT_KEY_END in element:
        return first, _nested(element, _ELEMENT_KEY_END, _DATA_VALUE)
    if not ends:
        return first, first
    after = bisect.bisect_right(ends, first)
    if after == len(ends):
        return first, _ALL
    number = max(int.from_bytes(ends[after], "big") - 1, 0)
    return first, number.to_bytes(len(ends[after]), "big")


def _load(name: str, data: dict[int, bytes]) -> Load | None:
    """Return what an expression takes of the packet; None where it takes nothing."""
    if name == "payload" and _PAYLOAD_SOURCE not in data:
        size = min(_number(data, _PAYLOAD_LENGTH), len(_ALL))
        return Load(_number(data, _PAYLOAD_BASE), _number(data, _PAYLOAD_OFFSET), size)
    if name == "meta" and _META_SOURCE not in data:
        base = META + _number(data, _META_KEY)
        return Load(base, 0, _META_SIZES.get(base, 4))
    if name == "ct" and _CT_KEY in data and _number(data, _CT_KEY) == _NFT_CT_STATE:
        return Load(CT_STATE, 0, 4)
    return _UNREAD if name in _LOADING else None


def _is_written(name: str, data: dict[int, bytes]) -> bool:
    """Tell whether an expression changes the packet, or what goes with it: it limits no rule."""
    return name == "target" or _PAYLOAD_SOURCE in data or _META_SOURCE in data


def _expressions(rule: dict[int, bytes]) -> Iterator[Expression]:
    """Yield name and attributes of each expression of a rule."""
    nested = rule.get(_RULE_EXPRESSIONS, b"")
    for _kind, start, end in codec.attributes(nested, 0, len(nested)):
        expression = codec.values(nested, start, end)
        name = expression.get(_EXPR_NAME, b"").rstrip(b"\0").decode(errors="replace")
        yield name, codec.values(expression.get(_EXPR_DATA, b""), 0)


def _verdict(expressions: list[Expression]) -> tuple[int | None, bytes]:
    """Return the verdict of a rule, and the chain that it jumps to; None where it has none."""
    changes = False
    for name, data in expressions:
        if name == "immediate":
            verdict, chain = _verdict_of(_nested(data, _IMMEDIATE_DATA, _DATA_VERDICT))
            if verdict is not None:
                return verdict, chain
        target = _text(data, _TARGET_NAME) if name == "target" else b""
        if name == "reject" or target == b"REJECT":
            return NF_DROP, b""
        if name == "queue":  # a program may let it pass
            return NF_ACCEPT, b""
        changes |= target == b"mangle" or (name == "payload" and _PAYLOAD_SOURCE in data)
    return CHANGE if changes else None, b""


def _verdict_of(nested: bytes) -> tuple[int | None, bytes]:
    """Return verdict and chain of one NFTA_DATA_VERDICT."""
    values = codec.values(nested, 0)
    if _VERDICT_CODE not in values:
        return None, b""
    code = int(codec.unpack(_BIG_ENDIAN, values[_VERDICT_CODE])[0])
    return code, _text(values, _VERDICT_CHAIN)


def _nested(values: dict[int, bytes], *names: int) -> bytes:
    """Return the value of an attribute within attributes; empty where one is missing."""
    value = values.get(names[0], b"")
    for name in names[1:]:
        value = codec.values(value, 0).get(name, b"")
    return value


def _number(values: dict[int, bytes], name: int) -> int:
    return int.from_bytes(values.get(name, b""), "big")


def _text(values: dict[int, bytes], name: int) -> bytes:
    return values.get(name, b"").rstrip(b"\0")
