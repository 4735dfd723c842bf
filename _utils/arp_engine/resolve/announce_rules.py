"""Which of our own addresses are announced, by which device, and why the others are not.

Only what this machine would answer for is announced without being named: an address that is kept
quiet (a virtual address of a balancer or of VRRP) would be taken from the machine that has it.
Only devices that speak for themselves do so: a frame from a port of a bridge, bond or team teaches
the switch this machine's MAC at a port that may be dead.
"""

import functools
from collections.abc import Collection, Sequence

from ..netlink import codec, nf_rules, nf_tables
from ..netlink.constants import IFF_LOOPBACK, IFF_NOARP, IFF_POINTOPOINT, RT_SCOPE_LINK
from ..table import selectors
from . import interfaces
from .interface_facts import Address, Interface

VRRP_MACS = b"\x00\x00\x5e\x00\x01", b"\x00\x00\x5e\x00\x02"  # RFC 9568, 7.3
ARP_IGNORE_ALL = 8  # Documentation/networking/ip-sysctl.rst: no reply for any local address

Speaker = tuple[
    Interface, str
]  # a device, and why it does not announce the address (empty: it does)


class Rules:
    """The rules for one selection of devices and addresses."""

    def __init__(
        self,
        devices: Sequence[Interface],
        ifindexes: Collection[int] | None,
        ip: Collection[selectors.Network] | None,
    ) -> None:
        """Take all devices, the named ones, and the selected networks; None: not restricted."""
        self._devices, self._ifindexes = devices, ifindexes
        self._named = {n.network_address.packed for n in ip or () if n.num_addresses == 1}

    def speakers(self, device: Interface, address: Address) -> list[Speaker]:
        """Return the devices by which one of a device's addresses is to be announced."""
        is_selected = self._ifindexes is None or device.ifindex in self._ifindexes
        has_no_link = device.flags & (IFF_LOOPBACK | IFF_NOARP) and (
            not device.flags & IFF_POINTOPOINT
        )
        if has_no_link and address.ip in self._named and address.scope <= RT_SCOPE_LINK:
            carriers = self._carriers(device, address, is_selected)
            return [(each, "") for each in carriers] or (
                [(device, "no link carries it: name dev")] if is_selected else []
            )
        return [(device, self._why_not(device, address))] if is_selected else []

    def _carriers(self, device: Interface, address: Address, is_selected: bool) -> list[Interface]:
        """Return the links for an address of lo, a VRF or a dummy: named ones, or by network."""
        family = codec.family_of(address.ip)
        return [
            each
            for each in self._devices
            if each.vrf == device.vrf
            and not interfaces.why_unusable(each, family)
            and (
                each.ifindex in (self._ifindexes or ())
                if not is_selected
                else not each.master and any(_covers(own, address.ip) for own in each.addresses)
            )
        ]

    def _why_not(self, device: Interface, address: Address) -> str:
        """Return why a device does not announce an address of its own, or an empty string."""
        why = interfaces.why_unusable(device, codec.family_of(address.ip))
        if why:
            return why
        if address.scope > RT_SCOPE_LINK:
            # for this machine alone, as the hosts behind a load balancer hold its address
            return "scope host"
        if self._ifindexes is None and device.master:
            return f"port of a {device.master_kind or 'bridge'}"
        if self._ifindexes is None and device.mac[:5] in VRRP_MACS:
            return "virtual MAC of VRRP"
        return "" if address.ip in self._named else self._why_quiet(device, address)

    def _why_quiet(self, device: Interface, address: Address) -> str:
        """Return why an address that nobody has named is kept quiet, or an empty string."""
        if address.is_deprecated:
            return "deprecated address"
        words = address.ip, device.ifindex, device.name
        if len(address.ip) == 16:
            return "ND filter of this host" if self.nd_filter.keeps_quiet(*words) else ""
        if max(device.arp_ignore, interfaces.conf_all("arp_ignore")) == ARP_IGNORE_ALL:
            return "arp_ignore"
        networks = [own for own in device.addresses if len(own.ip) == 4 and own.prefix < 32]
        if address.prefix == 32 and networks:  # an only address may be a /32: of some hosters it is
            return "a /32 beside other addresses"
        return "ARP filter of this host" if self.arp_filter.keeps_quiet(*words) else ""

    @functools.cached_property
    def arp_filter(self) -> nf_rules.Filter:
        return nf_tables.arp_filter()

    @functools.cached_property
    def nd_filter(self) -> nf_rules.Filter:
        return nf_tables.nd_filter()


def _covers(own: Address, ip: bytes) -> bool:
    return len(own.ip) == len(ip) and own.prefix < 8 * len(ip) and own.covers(ip)
