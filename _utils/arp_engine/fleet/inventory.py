"""Which addresses a machine has, by its own account of its interfaces. Pure.

A binding is an address on an interface with a MAC: what a neighbour's table may hold of it.
Loopback and link-local addresses are none: many machines have the same. No value that a minion
sent is trusted to be of any type or size. Standard library alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..table.parse import Network

MAX_ADDRESSES = 4096  # of one machine; a machine with more is not believed at all
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,31}")  # Ethernet has 6 bytes, InfiniBand 20


class HostInventory(NamedTuple):
    """The addresses and MACs of one machine."""

    addresses: list[tuple[str, str, str]]  # ip, dev, mac
    macs: frozenset[str]  # of all its interfaces, those without an address too
    live: bool  # the machine answered; False: from cached grains
    age_s: int | None  # of the answer or the grains; None where unknown


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


def from_interfaces(interfaces: Any, live: bool = True, age_s: int | None = 0) -> HostInventory:
    """Return the inventory in a machine's return of network.interfaces."""
    if not isinstance(interfaces, dict):
        raise ValueError(f"malformed interfaces: {_kind(interfaces)}")
    macs, addresses = set(), []
    for dev, interface in interfaces.items():
        if not isinstance(dev, str) or not isinstance(interface, dict):
            raise ValueError(f"malformed interface {str(dev)[:40]!r}: {_kind(interface)}")
        mac = parse_mac(interface.get("hwaddr"))
        if mac:
            macs.add(mac)
            addresses += [(ip, dev, mac) for ip in _addresses(interface)]
            _check_size(addresses)
    return HostInventory(addresses, frozenset(macs), live, age_s)


def from_grains(grains: Any, live: bool = False, age_s: int | None = None) -> HostInventory:
    """Return the inventory in the grains hwaddr_interfaces, ip4_interfaces, ip6_interfaces."""
    grains = grains if isinstance(grains, dict) else {}
    mac_by_dev = grains.get("hwaddr_interfaces")
    if not isinstance(mac_by_dev, dict):
        raise ValueError(f"malformed grain hwaddr_interfaces: {_kind(mac_by_dev)}")
    addresses = []
    for key in ("ip4_interfaces", "ip6_interfaces"):
        ips_by_dev = grains.get(key, {})
        if not isinstance(ips_by_dev, dict):
            raise ValueError(f"malformed grain {key}: {_kind(ips_by_dev)}")
        for dev, ips in ips_by_dev.items():
            if not isinstance(dev, str) or not isinstance(ips, (list, tuple)):
                what = f"{str(dev)[:40]!r} is not a list ({type(ips).__name__})"
                raise ValueError(f"malformed grain {key}: {what}")
            _check_size(ips)
            mac = parse_mac(mac_by_dev.get(dev))
            if mac:
                addresses += [(ip, dev, mac) for ip in map(parse_address, ips) if ip]
                _check_size(addresses)
    macs = frozenset(filter(None, map(parse_mac, mac_by_dev.values())))
    return HostInventory(addresses, macs, live, age_s)


def _addresses(interface: dict[Any, Any]) -> Iterator[str]:
    """Yield the addresses of one interface, secondary ones too."""
    for key in ("inet", "inet6", "secondary"):
        rows = interface.get(key)
        if isinstance(rows, (list, tuple)):
            _check_size(rows)
            for row in rows:
                ip = parse_address(row.get("address")) if isinstance(row, dict) else ""
                if ip:
                    yield ip


def _check_size(rows: list[Any] | tuple[Any, ...]) -> None:
    if len(rows) > MAX_ADDRESSES:
        raise ValueError(f"it claims {len(rows)} addresses; more than {MAX_ADDRESSES} are refused")


def _kind(value: Any) -> str:
    return "missing" if value is None else f"not a dictionary ({type(value).__name__})"
