"""Set up a team device as libteam does, by generic netlink: iproute2 cannot, and it drops all."""

import contextlib
import json
import os
import socket
import struct
from errno import ESRCH

NETLINK_GENERIC = 16
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 0x1, 0x4, 2
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
# include/uapi/linux/if_team.h
TEAM_CMD_OPTIONS_SET = 1
TEAM_ATTR_TEAM_IFINDEX, TEAM_ATTR_LIST_OPTION, TEAM_ATTR_ITEM_OPTION = 1, 2, 1
OPTION_NAME, OPTION_TYPE, OPTION_DATA = 1, 3, 4
NLA_U32, NLA_STRING, NLA_F_NESTED = 3, 5, 0x8000  # the kernel's own numbers of types


def set_up(host, dev, *ports):
    """Let a team use its first port and keep the others in reserve."""
    with host.inside(), contextlib.closing(_Generic()) as generic:
        index = socket.if_nametoindex(dev)
        generic.option(index, b"mode", NLA_STRING, b"activebackup\0")
        mac = json.loads(host.do(f"ip -j link show dev {dev}"))[0]["address"]
        for port in ports:  # with the MAC of the team, as teamd does it (hwaddr_policy same_all)
            # Without IPv6 of its own, as NetworkManager does it: otherwise what a port in reserve
            # says there makes the switch send to that port what is for the team.
            host.sysctl(f"net/ipv6/conf/{port}/disable_ipv6", 1)
            host.do(f"ip link set {port} address {mac} master {dev}")
        active = struct.pack("=I", socket.if_nametoindex(ports[0]))
        generic.option(index, b"activeport", NLA_U32, active)


class _Generic:
    """A generic netlink socket that knows the family ``team``."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        name = _attribute(CTRL_ATTR_FAMILY_NAME, b"team\0")
        answer = self._ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name)
        place = answer.index(struct.pack("=HH", 6, CTRL_ATTR_FAMILY_ID))
        [self._family] = struct.unpack_from("=H", answer, place + 4)

    def option(self, index, name, kind, data):
        """Set one option of a team."""
        words = _attribute(OPTION_NAME, name + b"\0") + _attribute(OPTION_TYPE, bytes([kind]))
        item = _attribute(
            TEAM_ATTR_ITEM_OPTION | NLA_F_NESTED, words + _attribute(OPTION_DATA, data)
        )
        team = _attribute(TEAM_ATTR_TEAM_IFINDEX, struct.pack("=I", index))
        team += _attribute(TEAM_ATTR_LIST_OPTION | NLA_F_NESTED, item)
        self._ask(self._family, TEAM_CMD_OPTIONS_SET, team)

    def _ask(self, kind, command, attributes):
        body = struct.pack("=BBH", command, 1, 0) + attributes
        flags = NLM_F_REQUEST | NLM_F_ACK
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = b""
        while struct.unpack_from("=IH", (message := self._socket.recv(65536)))[1] != NLMSG_ERROR:
            answer += message
        error = -struct.unpack_from("=i", message, 16)[0]
        if error not in (0, ESRCH):  # ESRCH: it is set, and nobody listens to the event about it
            raise OSError(error, f"team: {os.strerror(error)}")
        return answer

    def close(self):
        """Close the socket."""
        self._socket.close()


def _attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)
