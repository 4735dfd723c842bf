"""The devices that probes leave by: whether one can be sent, and with which sender address.

An ARP request's sender address updates its receivers' caches, so it must be ours, at this moment:
the address that the kernel itself would use for that target on that device. It is chosen here and
nowhere else. Devices are read again as soon as the kernel announces a change of theirs.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..netlink import codec, listener
from ..netlink.constants import (
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_UP,
    RT_SCOPE_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_LINK,
)
from ..packets import frames, packet_socket
from . import interface_facts
from .interface_facts import Address, Interface, is_link_local

MAX_AGE_S = 0.25  # a device is read again after this, whatever the kernel has announced
FRESH_S = 0.02  # ... and after this where silence is to be evidence
MAX_KNOWN = 4096  # devices cached: containers come and go for as long as a sentinel lives
MAX_DATAGRAMS = 4096  # notifications read at once: more than the buffer holds
GROUPS = RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
CONF_ALL = Path("/proc/sys/net/ipv4/conf/all")

Senders = tuple[bytes, ...]  # addresses to ask from in turn; none: nobody can be asked


NO_SENDER = "no address to ask from"


def why_unusable(device: Interface | None, family: int) -> str:
    """Return why no ARP or ND packet can be sent on a device, or an empty string."""
    if device is None:
        return "device is gone"
    if not device.mac or device.flags & (IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP):
        return "device does no ARP"
    if not device.flags & IFF_UP:
        return "device is down"
    if not device.flags & IFF_RUNNING:
        return "no carrier"
    if len(device.mac) > packet_socket.MAX_LLADDR:
        return f"cannot be asked here: addresses of {len(device.mac)} bytes"
    if family == socket.AF_INET6 and device.hardware != frames.ARPHRD_ETHER:
        return "cannot be asked here: IPv6 on another hardware than Ethernet"
    return ""


class Interfaces:
    """The devices of this namespace, read when needed and cached for MAX_AGE_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Open a netlink channel of its own, and follow the kernel's notifications."""
        self._channel, self._clock = interface_facts.FactsChannel(), clock
        self._listener = listener.Listener(GROUPS)
        self._news = select.poll()
        self._news.register(self._listener, select.POLLIN)
        self._known: dict[int, tuple[float, Interface | None]] = {}
        self._by_name: dict[str, Interface] = {}

    def close(self) -> None:
        """Close the sockets."""
        self._channel.close()
        self._listener.close()

    def follow(self) -> bool:
        """Read the devices anew that the kernel has announced a change of; tell whether any was.

        To be called before each frame: none that leaves after a change says what was true before.
        """
        if not self._news.poll(0):  # cheaper than to receive nothing
            return False
        messages, is_lost = self._listener.drain(MAX_DATAGRAMS)
        changed = set(self._known) if is_lost else set[int]()
        for datagram in messages:
            changed.update(ifindex for _kind, ifindex, _family in codec.links(datagram))
        changed &= set(self._known)
        for ifindex in changed:
            self.reread(ifindex)
        return bool(changed)

    def get(self, ifindex: int, since: float | None = None) -> Interface | None:
        """Return a device, read at ``since`` or later (default: MAX_AGE_S ago); None: gone."""
        now = self._clock()
        read_at, device = self._known.get(ifindex, (float("-inf"), None))
        if read_at < (now - MAX_AGE_S if since is None else since):
            if device:
                self._by_name.pop(device.name, None)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
                self._by_name.clear()
            device = self._channel.device_facts(ifindex)
            self._known[ifindex] = now, device
            if device:
                self._by_name[device.name] = device
        return device

    def get_fresh(self, ifindex: int) -> Interface | None:
        """Return a device as it is: the kernel announces a lost carrier up to a second later.

        net/core/link_watch.c: it tells of them once a second, where there is no hurry.
        """
        return self.get(ifindex, self._clock() - FRESH_S)

    @staticmethod
    def names() -> dict[str, int]:
        """Return device names to indexes."""
        return {name: ifindex for ifindex, name in socket.if_nameindex()}

    def ifindex(self, name: str) -> int:
        """Return a device's index by its name or an alternative name; 0 where it has none."""
        return self._channel.ifindex(name)

    def by_name(self, name: str) -> Interface | None:
        """Return a cached device, by its name."""
        return self._by_name.get(name)

    def expire(self, ifindex: int) -> None:
        """Read a device again when it is needed next; until then answers on it are still heard."""
        if ifindex in self._known:
            self._known[ifindex] = float("-inf"), self._known[ifindex][1]

    def reread(self, ifindex: int) -> None:
        """Read a cached device again: the kernel has said that it changed."""
        if ifindex in self._known:
            self.get(ifindex, float("inf"))

    def why_cannot_probe(self, device: Interface | None, dst: bytes) -> str:
        """Return why no probe for an address can be sent on a device, or an empty string."""
        why = why_unusable(device, codec.family_of(dst))
        if why or (device and self.choose_senders(device, [dst])[0]):
            return why
        return NO_SENDER

    def choose_senders(self, device: Interface, targets: Sequence[bytes]) -> list[Senders]:
        """Return the sender addresses of the probes for each target; all targets of one family.

        IPv4: the source of the kernel's route to the target by this device, as the kernel's own
        request says it (net/ipv4/arp.c: arp_solicit), an address of another device (lo) included;
        else the one that the kernel takes where no route names one (inet_select_addr).
        IPv6: in turn a global address, as the kernel takes for a packet that waits (ndisc_solicit),
        and the link-local one, as in its probes: some hosts refuse fe80::/10. The one first that
        is in the target's network.
        """
        if len(targets[0]) == 16:
            return self._ipv6_senders(device, targets)
        own = [a for a in device.addresses if len(a.ip) == 4 and a.scope <= RT_SCOPE_LINK]
        if len(own) == 1 and all(own[0].prefix < 32 and own[0].covers(dst) for dst in targets):
            return [(own[0].ip,)] * len(targets)  # its network is this link: no route is looked up
        sources = self._route_sources(device, targets)
        if own and max(device.arp_announce, conf_all("arp_announce")):
            sources = [source if device.owns(source) else b"" for source in sources]
        return [
            (source,) if source else self._selected(device, own, target)
            for source, target in zip(sources, targets, strict=True)
        ]

    def _ipv6_senders(self, device: Interface, targets: Sequence[bytes]) -> list[Senders]:
        own = [a for a in device.addresses if len(a.ip) == 16 and not a.is_deprecated]
        local = next(((a.ip,) for a in own if is_link_local(a.ip)), ())
        wide = [a for a in own if a.scope < RT_SCOPE_LINK]
        if not local and not wide:
            return [(ip,) if ip else () for ip in self._route_sources(device, targets)]
        senders = list[Senders]()
        for target in targets:
            if local and (is_link_local(target) or not wide):
                senders.append(local)
            else:
                ip = _covering(wide, target)
                is_near = any(a.covers(target) for a in wide)
                senders.append((ip, *local) if is_near else (*local, ip))
        return senders

    def _route_sources(self, device: Interface, targets: Sequence[bytes]) -> list[bytes]:
        sources, batch = list[bytes](), self._channel.batch  # as many answers as the buffer holds
        for at in range(0, len(targets), batch):
            sources += self._channel.route_sources(device.ifindex, targets[at : at + batch])
        return sources

    def _selected(self, device: Interface, own: list[Address], target: bytes) -> Senders:
        """Choose as inet_select_addr (net/ipv4/devinet.c) where no route names a source.

        One of the device's own; else one of its VRF, else of any device in the same VRF or in none.
        """
        if own:
            return (_covering(own, target),)
        found = [
            (ifindex != device.vrf, ifindex, address.ip)
            for ifindex, address in self._channel.addresses(socket.AF_INET)
            if address.scope < RT_SCOPE_LINK
            and not address.flags & interface_facts.IFA_F_SECONDARY
            and (other := self.get(ifindex))
            and other.vrf == device.vrf
        ]
        return (min(found)[2],) if found else ()


def _covering(addresses: list[Address], target: bytes) -> bytes:
    """Return the address in whose network the target is, or the first.

    In the kernel's order: secondary addresses follow the primary one of their network.
    """
    return next((a.ip for a in addresses if a.covers(target)), addresses[0].ip)


def conf_all(key: str) -> int:
    """Return net.ipv4.conf.all.KEY; of it and the device's own value the greater one holds."""
    try:
        return int((CONF_ALL / key).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
