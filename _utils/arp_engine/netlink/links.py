"""How devices are stacked: which has the neighbour entries, and which bridge answers by itself.

Addresses, and so entries, belong to a bridge, bond or team and not to its ports; and to the devices
of a VRF, not to it. The ports of Open vSwitch have a master that has none either. A trunk has none:
the VLANs on it have (on a card, or on a bond or bridge of which the card is a port).

A bridge with ``neigh_suppress`` on a port (a VTEP) answers questions about the hosts behind that
port from this host's own table, this host's own broadcasts included: they do not leave, and what
answers is the entry itself (net/bridge/br_arp_nd_proxy.c).
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH

from . import codec, rtnetlink, table_dump
from .constants import (
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_MASTER,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    RT_SCOPE_LINK,
)

# --- include/uapi/linux/if_link.h: IFLA_BRPORT_PROXYARP_WIFI, _NEIGH_SUPPRESS
IFLA_BRPORT_ANSWERING = 12, 32
IFLA_VLAN_ID = 1
MAX_DEPTH = 8  # of ports: a bond in a bridge has two
#: Kinds that are on another device, with addresses of their own. IFLA_LINK of others is no such
#: thing: of a veth it is the other end.
STACKED = {"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"}
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index


class Link(NamedTuple):
    """What a device is, and what it is a port of."""

    kind: str  # "bridge", "vrf", …; empty for a card
    master: int  # ifindex; 0: none
    master_kind: str  # as the device is listed: empty where the kind has no data for its ports
    name: str = ""
    lower: int = 0  # ifindex of the device that a VLAN is on; 0 where it is in another namespace
    vlan: bytes = b""  # its number, as the kernel tells it
    answers: bool = False  # its bridge answers for the hosts behind it: neigh_suppress

    @property
    def is_port(self) -> bool:
        """Tell whether its master has the addresses: that of a VRF has not."""
        return bool(self.master) and self.master_kind != "vrf"


def parse(values: dict[int, bytes]) -> Link:
    """Return it from the attributes of an RTM_NEWLINK."""
    info = codec.values(values.get(IFLA_LINKINFO, b""), 0)
    kind, master_kind = (
        info.get(name, b"").rstrip(b"\0").decode(errors="replace")
        for name in (IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND)
    )
    numbers = (
        codec.unpack(codec.U32, values.get(name, bytes(codec.U32.size)))[0]
        for name in (IFLA_MASTER, IFLA_LINK)
    )
    master, lower = numbers
    lower = 0 if IFLA_LINK_NETNSID in values else lower
    name = values.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="backslashreplace")
    vlan = b""
    if kind == "vlan":
        vlan = codec.values(info.get(IFLA_INFO_DATA, b""), 0).get(IFLA_VLAN_ID, b"")
    answers = False
    if master_kind == "bridge":
        port = codec.values(info.get(IFLA_INFO_SLAVE_DATA, b""), 0)
        answers = any(any(port.get(each, b"")) for each in IFLA_BRPORT_ANSWERING)
    return Link(kind, master, master_kind, name, lower, vlan, answers)


def get(channel: rtnetlink.Channel, ifindex: int) -> Link:
    """Return one; nothing of a device that is gone."""
    try:
        body = codec.IFINFOMSG.pack(0, 0, ifindex, 0, 0)
        answer = channel.request(RTM_GETLINK, 0, body)
    except OSError:
        return Link("", 0, "")
    return parse(codec.values(answer, codec.HEADER.size + codec.IFINFOMSG.size))


def top(channel: rtnetlink.Channel, ifindex: int) -> int:
    """Return the bridge, bond or team that a device is a port of, by several steps; or itself."""
    return _upwards(channel, ifindex)[-1]


def _upwards(channel: rtnetlink.Channel, ifindex: int) -> list[int]:
    """Return a device, what it is a port of, and so on."""
    path = [ifindex]
    for _step in range(MAX_DEPTH):
        link = get(channel, path[-1])
        if not link.is_port:
            break
        path.append(link.master)
    return path


def stacked(channel: rtnetlink.Channel, ifindex: int) -> set[int]:
    """Return the devices on top of one, and of what it is a port of, that have its entries.

    None where one of these two has addresses or entries itself: then those are meant.
    """
    below = _upwards(channel, ifindex)
    if any(has_own(channel, each) for each in below):
        return set()
    found, links = set[int](), dict(dump(channel))
    for _step in range(MAX_DEPTH):
        on_it = {at for at, each in links.items() if each.kind in STACKED and each.lower in below}
        # of a VLAN that is itself a port, its bridge
        new = {up for at in on_it for up in _upwards(channel, at)[links[at].is_port :]} - found
        found |= new
        under = {each.lower for each in links.values() if each.kind in STACKED}
        below = [each for each in new & under if not has_own(channel, each)]
        if not below:
            break
    return found


def has_addresses(channel: rtnetlink.Channel, ifindex: int) -> bool:
    """Tell whether a device has addresses; each has a link-local one, which does not count."""
    body = _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, ifindex)
    try:
        heads = [
            codec.unpack(_IFADDR, message, codec.HEADER.size)
            for chunk in channel.dump(RTM_GETADDR, body)
            for _kind, message in codec.messages(chunk)
        ]
    except OSError:  # the device is gone
        return False
    return any(at == ifindex and scope < RT_SCOPE_LINK for *_, scope, at in heads)


def has_own(channel: rtnetlink.Channel, ifindex: int) -> bool:
    """Tell whether a device has addresses or entries of its own, link-local ones aside.

    An unnumbered device has entries alone, of the hosts that routes say are on its link.
    """
    return has_addresses(channel, ifindex) or any(
        entry.ifindex == ifindex and entry.mac and not _is_local_or_group(entry.dst)
        for family in (socket.AF_INET, socket.AF_INET6)
        for entry in table_dump.entries(*channel.neighbours(family, ifindex))
    )


def _is_local_or_group(dst: bytes) -> bool:
    """Tell whether an address is a multicast one, or a link-local one of IPv6."""
    return dst[0] >= 224 if len(dst) == 4 else dst[0] == 255 or dst[:2] == b"\xfe\x80"


def with_entries(channel: rtnetlink.Channel, ifindex: int) -> set[int]:
    """Return a named device, and those that have its entries.

    The top of a port, what is stacked on it where it has none itself, a VRF's own.
    """
    found = {ifindex, top(channel, ifindex), *stacked(channel, ifindex)}
    if get(channel, ifindex).kind == "vrf":
        found.update(of for of, link in dump(channel) if link.master == ifindex)
    return found


def dump(channel: rtnetlink.Channel) -> Iterator[tuple[int, Link]]:
    """Yield every device."""
    for chunk in channel.dump(RTM_GETLINK, bytes(codec.IFINFOMSG.size)):
        for _kind, message in codec.messages(chunk):
            ifindex = codec.unpack(codec.IFINFOMSG, message, codec.HEADER.size)[2]
            yield ifindex, parse(codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size))


def answering_port(channel: rtnetlink.Channel, ifindex: int, mac: bytes) -> str:
    """Return the port behind which a bridge has a MAC and answers for it; empty where it does not.

    ifindex: the bridge, or a VLAN on it. Not known before Linux 5.0.
    """
    link = get(channel, ifindex)
    bridge = link.lower if link.kind == "vlan" else ifindex
    if get(channel, bridge).kind != "bridge":
        return ""
    body = codec.NDMSG.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
    body += codec.attribute(NDA_LLADDR, mac) + codec.attribute(NDA_MASTER, codec.U32.pack(bridge))
    for vlan in dict.fromkeys((link.vlan, b"")):
        more = codec.attribute(NDA_VLAN, vlan) if vlan else b""
        try:
            answer = channel.request(RTM_GETNEIGH, 0, body + more)
        except OSError:  # the bridge does not know it in this VLAN
            continue
        port = get(channel, codec.unpack(codec.NDMSG, answer, codec.HEADER.size)[1])
        return port.name if port.answers else ""
    return ""
