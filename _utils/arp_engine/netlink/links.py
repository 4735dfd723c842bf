"""Which devices have the neighbour entries where a device was named that has none itself.

Addresses, and so entries, belong to a bridge, bond or team and not to its ports; and to the devices
of a VRF, not to it. The ports of Open vSwitch have a master that has none either.
"""

from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETLINK

from . import codec, rtnetlink
from .constants import IFLA_INFO_KIND, IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, IFLA_MASTER

MAX_DEPTH = 8  # of ports: a bond in a bridge has two


class Link(NamedTuple):
    """What a device is, and what it is a port of."""

    kind: str  # "bridge", "vrf", …; empty for a card
    master: int  # ifindex; 0: none
    master_kind: str  # as the device is listed: empty where the kind has no data for its ports

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
    master = codec.unpack(codec.U32, values.get(IFLA_MASTER, bytes(codec.U32.size)))[0]
    return Link(kind, master, master_kind)


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
    for _step in range(MAX_DEPTH):
        link = get(channel, ifindex)
        if not link.is_port:
            break
        ifindex = link.master
    return ifindex


def with_entries(channel: rtnetlink.Channel, ifindex: int) -> set[int]:
    """Return a named device, and those that have its entries: the top of a port, a VRF's own."""
    found = {ifindex, top(channel, ifindex)}
    if get(channel, ifindex).kind == "vrf":
        for chunk in channel.dump(RTM_GETLINK, bytes(codec.IFINFOMSG.size)):
            for _kind, message in codec.messages(chunk):
                of = codec.unpack(codec.IFINFOMSG, message, codec.HEADER.size)[2]
                values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
                found |= {of} if parse(values).master == ifindex else set()
    return found
