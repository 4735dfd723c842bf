"""The ARP filter of this host: rules of the arp family of nftables (arptables-nft writes the same).

Read-only, and only as far as it shows: an address in a named set, and the older arptables of the
kernel, are not seen.
"""

import struct
from typing import NamedTuple

from . import codec, rtnetlink

NETLINK_NETFILTER = 12  # include/uapi/linux/netlink.h
NFPROTO_ARP, NF_DROP, NF_ACCEPT = 3, 0, 1  # include/uapi/linux/netfilter.h
# --- include/uapi/linux/netfilter/nfnetlink.h, nf_tables.h
_GET_CHAIN, _GET_RULE = (10 << 8) | 4, (10 << 8) | 7  # NFNL_SUBSYS_NFTABLES, NFT_MSG_*
_NFGENMSG = struct.pack("=BBH", NFPROTO_ARP, 0, 0)
_CHAIN_POLICY, _RULE_EXPRESSIONS = 5, 4
_EXPR_NAME, _EXPR_DATA = 1, 2
_IMMEDIATE_DATA, _DATA_VERDICT, _VERDICT_CODE = 2, 2, 1
_ATTRIBUTES_AT = codec.HEADER.size + len(_NFGENMSG)
_BIG_ENDIAN = struct.Struct("!i")


class ArpFilter(NamedTuple):
    """What this host does with ARP packets, as far as it is known."""

    drops: bool  # some rule, or the policy of a chain
    rules: tuple[bytes, ...]  # those that do not accept, as the kernel sends them

    def names(self, ip: bytes) -> bool:
        """Tell whether a rule that does not accept compares with an address."""
        return any(ip in rule for rule in self.rules)


def arp_filter() -> ArpFilter:
    """Return the ARP filter; an empty one where there is none, or it may not be read."""
    try:
        with rtnetlink.Channel(NETLINK_NETFILTER) as channel:
            chains = _dump(channel, _GET_CHAIN)
            rules = _dump(channel, _GET_RULE)
    except OSError:  # no nf_tables in this kernel, or no CAP_NET_ADMIN
        return ArpFilter(False, ())
    policies = [
        codec.unpack(_BIG_ENDIAN, values[_CHAIN_POLICY])[0]
        for values in chains
        if _CHAIN_POLICY in values
    ]
    expressions = [values.get(_RULE_EXPRESSIONS, b"") for values in rules]
    verdicts = [_verdict(each) for each in expressions]
    return ArpFilter(
        NF_DROP in policies or NF_DROP in verdicts,
        tuple(e for e, v in zip(expressions, verdicts, strict=True) if v != NF_ACCEPT),
    )


def _dump(channel: rtnetlink.Channel, kind: int) -> list[dict[int, bytes]]:
    """Return the attributes of all objects of one kind."""
    return [
        codec.values(message, _ATTRIBUTES_AT)
        for chunk in channel.dump(kind, _NFGENMSG)
        for _kind, message in codec.messages(chunk)
    ]


def _verdict(expressions: bytes) -> int | None:
    """Return the verdict of a rule; None where it has none of its own."""
    for _kind, start, end in codec.attributes(expressions, 0, len(expressions)):
        expression = codec.values(expressions, start, end)
        if expression.get(_EXPR_NAME, b"").rstrip(b"\0") == b"immediate":
            verdict = expression.get(_EXPR_DATA, b"")
            for name in (_IMMEDIATE_DATA, _DATA_VERDICT, _VERDICT_CODE):
                verdict = codec.values(verdict, 0).get(name, b"")
            if verdict:
                return int(codec.unpack(_BIG_ENDIAN, verdict)[0])
    return None
