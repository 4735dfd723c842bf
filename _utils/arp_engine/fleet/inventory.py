"""Which addresses a machine has, by its own account of its interfaces. Pure.

A binding is an address on an interface with a MAC: what a neighbour's table may hold of it. An
address on a device that answers no ARP (loopback, dummy, IPVS) has no MAC of its own: whichever of
the machine's MACs answers for it is right. An address on a card that is down is no binding: nobody
can learn that card's MAC. Another card of the machine may answer for it (IPv4, arp_ignore 0), which
nothing here shows. 127.0.0.1 and link-local addresses are no bindings: many machines have the same.
No value that a minion sent is trusted to be of any type or size.

Standard library alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..table.parse import Network

MAX_ADDRESSES = 4096  # of one machine; a machine with more is not believed at all
MAX_UNBOUND = 65_536  # on devices without ARP: a Kubernetes node has each service's on kube-ipvs0
TRIMMED = "VALUE_TRIMMED"  # Salt's text in the place of a value above max_event_size
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,31}")  # Ethernet has 6 bytes, InfiniBand 20
#: Devices with IFF_NOARP by convention, though they show a MAC.
_NO_ARP = re.compile(r"(lo|dummy[0-9]*|kube-ipvs[0-9]*|nodelocaldns|ipvs[0-9]*)(:.*)?")


class HostInventory(NamedTuple):
    """The addresses and MACs of one machine."""

    addresses: list[tuple[str, str, str]]  # ip, dev, mac
    macs: frozenset[str]  # of all its interfaces, those without an address too
    source: str  # "live": the machine answered; "cached": its grains; "file": the operator's
    age_s: int | None  # of the answer or the grains; None where unknown
    unbound: tuple[tuple[str, str], ...] = ()  # ip, dev: on devices without ARP
    #: MAC of a card that is up to the networks of its addresses; empty where that is unknown.
    networks: Mapping[str, list[Network]] = MappingProxyType({})
    outdated: frozenset[str] = frozenset()  # addresses that the truth file has in old rows alone

    @property
    def live(self) -> bool:
        """Tell whether this is more than the master's memory: an answer, or the truth file."""
        return self.source != "cached"

    def is_flux(self, ip: str, mac: str) -> bool:
        """Tell whether another of its cards may rightly answer for an address of its own."""
        return is_inside(ip, self.networks.get(mac, ()))


def parse_address(value: Any) -> str:
    """Return an address as the kernel writes it, or "" if it does not name one machine."""
    if not isinstance(value, str) or len(value) > 64:
        return ""
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        return ""
    shared = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast
    return "" if shared or parsed.is_unspecified else str(parsed)


def parse_mac(value: Any) -> str:
    """Return a MAC in lower case, or "" if it is none."""
    mac = value.lower() if isinstance(value, str) else ""
    return mac if _MAC.fullmatch(mac) and mac.strip("0:") else ""


def is_inside(ip: str, networks: Iterable[Network]) -> bool:
    """Tell whether an address lies in one of the networks."""
    parsed = ipaddress.ip_address(ip)
    return any(parsed in network for network in networks)


def from_interfaces(interfaces: Any, source: str = "live", age_s: int | None = 0) -> HostInventory:
    """Return the inventory in a machine's return of network.interfaces."""
    if not isinstance(interfaces, dict):
        raise ValueError(f"malformed interfaces: {_kind(interfaces)}")
    macs, addresses, unbound, networks = set(), [], [], {}
    for dev, interface in interfaces.items():
        if not isinstance(dev, str) or not isinstance(interface, dict):
            raise ValueError(f"malformed interface {str(dev)[:40]!r}: {_kind(interface)}")
        mac = parse_mac(interface.get("hwaddr"))
        if mac:
            macs.add(mac)
        if not mac or _NO_ARP.fullmatch(dev):  # kube-ipvs0 is never up
            unbound += [(ip, dev) for ip, _ in _addresses(interface, MAX_UNBOUND)]
        elif interface.get("up") is not False:
            rows = list(_addresses(interface, MAX_ADDRESSES))
            addresses += [(ip, dev, mac) for ip, _ in rows]
            if interface.get("up") is True:
                networks.setdefault(mac, []).extend(filter(None, (net for _, net in rows)))
        _check_size(addresses, MAX_ADDRESSES)
        _check_size(unbound, MAX_UNBOUND)
    return HostInventory(addresses, frozenset(macs), source, age_s, tuple(unbound), networks)


def from_grains(grains: Any, source: str = "cached", age_s: int | None = None) -> HostInventory:
    """Return the inventory in the grains hwaddr_interfaces, ip4_interfaces, ip6_interfaces."""
    grains = grains if isinstance(grains, dict) else {}
    mac_by_dev = grains.get("hwaddr_interfaces")
    if not isinstance(mac_by_dev, dict):
        raise ValueError(f"malformed grain hwaddr_interfaces: {_kind(mac_by_dev)}")
    addresses, unbound = [], []
    for key in ("ip4_interfaces", "ip6_interfaces"):
        ips_by_dev = grains.get(key, {})
        if not isinstance(ips_by_dev, dict):
            raise ValueError(f"malformed grain {key}: {_kind(ips_by_dev)}")
        for dev, ips in ips_by_dev.items():
            if not isinstance(dev, str) or not isinstance(ips, (list, tuple)):
                what = f"{str(dev)[:40]!r} is not a list ({type(ips).__name__})"
                raise ValueError(f"malformed grain {key}: {what}")
            mac = parse_mac(mac_by_dev.get(dev))
            is_bound = mac and not _NO_ARP.fullmatch(dev)
            _check_size(ips, MAX_ADDRESSES if is_bound else MAX_UNBOUND)
            found = [ip for ip in map(parse_address, ips) if ip]
            addresses += [(ip, dev, mac) for ip in found if is_bound]
            unbound += [(ip, dev) for ip in found if not is_bound]
            _check_size(addresses, MAX_ADDRESSES)
            _check_size(unbound, MAX_UNBOUND)
    macs = frozenset(filter(None, map(parse_mac, mac_by_dev.values())))
    return HostInventory(addresses, macs, source, age_s, tuple(unbound))


def _addresses(interface: dict[Any, Any], most: int) -> Iterator[tuple[str, Network | None]]:
    """Yield the addresses of one interface and their networks, secondary ones too."""
    for key in ("inet", "inet6", "secondary"):
        rows = interface.get(key)
        if rows == TRIMMED:  # Salt cuts the longest values of a return, wherever they are
            raise ValueError("its addresses exceed max_event_size of the master: raise it")
        if isinstance(rows, (list, tuple)):
            _check_size(rows, most)
            for row in rows:
                ip = parse_address(row.get("address")) if isinstance(row, dict) else ""
                if ip:
                    yield ip, _network(ip, row.get("netmask") or row.get("prefixlen"))


def _network(ip: str, mask: Any) -> Network | None:
    try:
        return ipaddress.ip_network(f"{ip}/{mask}", strict=False) if mask else None
    except ValueError:
        return None


def _check_size(rows: list[Any] | tuple[Any, ...], most: int) -> None:
    if len(rows) > most:
        raise ValueError(f"it claims {len(rows)} addresses; more than {most} are refused")


def _kind(value: Any) -> str:
    return "missing" if value is None else f"not a dictionary ({type(value).__name__})"
