"""Which addresses a machine says it has, from what Salt tells of its interfaces. Pure.

A claim is an address on an interface with a MAC: what a neighbour's table may hold of it. Loopback
and link-local addresses are no claims: many machines have the same. Nothing told is trusted to be
of any type, or of any size. Standard library alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..table.parse import Network

MOST = 4096  # addresses of one machine; who claims more is not believed at all
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5,31}")  # Ethernet has 6 bytes, InfiniBand 20


class Facts(NamedTuple):
    """What one machine says of itself."""

    addresses: list[tuple[str, str, str]]  # ip, dev, mac
    macs: frozenset[str]  # of all its interfaces, those without an address too
    live: bool  # it was asked; False: the master remembers it
    age_s: int | None  # how old what it said is; None where nobody knows


def address(value: Any) -> str:
    """Return an address as the kernel writes it; empty where it is none that names one machine."""
    if not isinstance(value, str) or len(value) > 64:
        return ""
    try:
        parsed = ipaddress.ip_address(value)
    except ValueError:
        return ""
    several = parsed.is_loopback or parsed.is_link_local or parsed.is_multicast
    return "" if several or parsed.is_unspecified else str(parsed)


def hardware(value: Any) -> str:
    """Return a MAC in lower case; empty where it is none."""
    mac = value.lower() if isinstance(value, str) else ""
    return mac if _MAC.fullmatch(mac) and mac.strip("0:") else ""


def inside(ip: str, networks: Iterable[Network]) -> bool:
    """Tell whether an address lies in one of the networks."""
    parsed = ipaddress.ip_address(ip)
    return any(parsed in network for network in networks)


def from_interfaces(told: Any, live: bool = True, age_s: int | None = 0) -> Facts:
    """Return the claims of a machine from its answer to network.interfaces."""
    if not isinstance(told, dict):
        raise ValueError(f"its interfaces are {_kind(told)}")
    macs, addresses = set(), []
    for dev, interface in told.items():
        if not isinstance(dev, str) or not isinstance(interface, dict):
            raise ValueError(f"interface {str(dev)[:40]!r} is {_kind(interface)}")
        mac = hardware(interface.get("hwaddr"))
        if mac:
            macs.add(mac)
            addresses += [(ip, dev, mac) for ip in _addresses(interface)]
            _bounded(addresses)
    return Facts(addresses, frozenset(macs), live, age_s)


def from_grains(told: Any, live: bool = False, age_s: int | None = None) -> Facts:
    """Return the claims from grains: hwaddr_interfaces, ip4_interfaces, ip6_interfaces."""
    grains = told if isinstance(told, dict) else {}
    hardwares = grains.get("hwaddr_interfaces")
    if not isinstance(hardwares, dict):
        raise ValueError(f"the grain hwaddr_interfaces is {_kind(hardwares)}")
    addresses = []
    for key in ("ip4_interfaces", "ip6_interfaces"):
        told = grains.get(key, {})
        if not isinstance(told, dict):
            raise ValueError(f"the grain {key} is {_kind(told)}")
        for dev, ips in told.items():
            if not isinstance(dev, str) or not isinstance(ips, (list, tuple)):
                raise ValueError(f"{key} of {str(dev)[:40]!r} is no list ({type(ips).__name__})")
            _bounded(ips)
            mac = hardware(hardwares.get(dev))
            if mac:
                addresses += [(ip, dev, mac) for ip in map(address, ips) if ip]
                _bounded(addresses)
    macs = frozenset(filter(None, map(hardware, hardwares.values())))
    return Facts(addresses, macs, live, age_s)


def _addresses(interface: dict[Any, Any]) -> Iterator[str]:
    """Yield what one interface has, secondary addresses too."""
    for key in ("inet", "inet6", "secondary"):
        rows = interface.get(key)
        if isinstance(rows, (list, tuple)):
            _bounded(rows)
            for row in rows:
                ip = address(row.get("address")) if isinstance(row, dict) else ""
                if ip:
                    yield ip


def _bounded(rows: list[Any] | tuple[Any, ...]) -> None:
    if len(rows) > MOST:
        raise ValueError(f"it claims {len(rows)} addresses; more than {MOST} are not believed")


def _kind(value: Any) -> str:
    return "missing" if value is None else f"no dictionary ({type(value).__name__})"
