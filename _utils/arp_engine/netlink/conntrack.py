"""Connections whose target address is translated (DNAT: a published port), as conntrack knows them.

Read-only. The socket of such a connection is in another network namespace, or has another port.
"""

import socket
import struct
from pathlib import Path

from . import codec, rtnetlink
from .nf_tables import NETLINK_NETFILTER

# --- include/uapi/linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
_GET = (1 << 8) | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_TUPLE_ORIGINAL, _STATUS, _PROTOCOL_INFO = 1, 3, 4
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP = {4: (1, 2), 16: (3, 4)}  # CTA_IP_V4_SRC, _DST; CTA_IP_V6_SRC, _DST
_PROTOCOL_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_INFO_TCP, _TCP_STATE = 1, 1
# --- include/uapi/linux/netfilter/nf_conntrack_common.h, nf_conntrack_tcp.h
_IPS_DST_NAT, _SYN_RECV = 1 << 5, 2
_NESTED = 0x8000  # NLA_F_NESTED
_NFGENMSG = struct.Struct("=BBH")
_IN_USE = Path("/proc/sys/net/netfilter/nf_conntrack_count")


class Conntrack:
    """The kernel's list of connections; empty where it keeps none."""

    def __init__(self) -> None:
        """Open nothing yet: where no connections are tracked, a question would begin that."""
        self._channel: rtnetlink.Channel | None = None

    def close(self) -> None:
        """Close the channel."""
        if self._channel:
            self._channel.close()

    def is_translated_syn_recv(
        self, source: bytes, source_port: int, target: bytes, target_port: int
    ) -> bool:
        """Tell whether a TCP connection has another target than it names, which has answered.

        So its first SYN has passed all rules. False without CAP_NET_ADMIN.
        """
        if not self._channel and not _IN_USE.exists():  # such as before Docker has started
            return False
        from_kind, to_kind = _IP[len(source)]
        ip = codec.attribute(from_kind, source) + codec.attribute(to_kind, target)
        protocol = codec.attribute(_PROTOCOL_NUMBER, bytes([socket.IPPROTO_TCP]))
        protocol += codec.attribute(_SOURCE_PORT, source_port.to_bytes(2, "big"))
        protocol += codec.attribute(_TARGET_PORT, target_port.to_bytes(2, "big"))
        words = codec.attribute(_TUPLE_IP | _NESTED, ip)
        words += codec.attribute(_TUPLE_PROTOCOL | _NESTED, protocol)
        body = _NFGENMSG.pack(codec.family_of(source), 0, 0)
        body += codec.attribute(_TUPLE_ORIGINAL | _NESTED, words)
        try:
            if not self._channel:
                self._channel = rtnetlink.Channel(NETLINK_NETFILTER)
            answer = self._channel.request(_GET, 0, body)
        except OSError:  # there is no such connection, or no such list
            return False
        values = codec.values(answer, codec.HEADER.size + _NFGENMSG.size)
        status = int.from_bytes(values.get(_STATUS, b""), "big")
        info = codec.values(values.get(_PROTOCOL_INFO, b""), 0).get(_INFO_TCP, b"")
        state = codec.values(info, 0).get(_TCP_STATE, b"")
        return bool(status & _IPS_DST_NAT) and state == bytes([_SYN_RECV])
