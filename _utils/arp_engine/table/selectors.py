"""Selectors: which entries an operator means (ip, dev, state, family, exclude, mac).

Standard library alone: the formula checks pillar with it before pyroute2 is installed. A bad value
raises ValueError with one line for the operator (table/parse.py).
"""

import socket
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from ..netlink.constants import FAMILIES, STATES
from ..netlink.model import Entry, Head
from . import parse
from .parse import Network

#: Why a state cannot be asked for, by what was to be done.
_OWNED_STATES = {
    "PERMANENT": "an administrator wrote it",
    "NOARP": "it needs no ARP",
    "INCOMPLETE": "the kernel is resolving it right now",
    "NONE": "the kernel is creating it right now",
}
_REFUSED = {
    "list": {},
    "flush": _OWNED_STATES,
    "revalidate": {**_OWNED_STATES, "FAILED": "it has no MAC address to prove"},
}
DEFAULT_LIMIT = 100  # rows in one list of an answer


class NotOnThisHost(ValueError):
    """Raised for a device, or an address of our own, that this host does not have."""


class Addresses:
    """A set of addresses and networks that packed addresses can be looked up in."""

    def __init__(self, networks: Iterable[Network]) -> None:
        """Take them: however many, a look-up costs one step for each length of prefix."""
        self._single: set[bytes] = set()
        self._ranges: dict[tuple[int, int], set[int]] = {}  # (bytes, host bits) to prefixes
        for network in networks:
            host = network.max_prefixlen - network.prefixlen
            if host:
                prefixes = self._ranges.setdefault((network.max_prefixlen // 8, host), set())
                prefixes.add(int(network.network_address) >> host)
            else:
                self._single.add(network.network_address.packed)

    def singles(self) -> list[bytes]:
        """Return the packed addresses that were named one by one, not by a network."""
        return sorted(self._single)

    def __contains__(self, dst: bytes) -> bool:
        """Tell whether a packed address is among them."""
        if dst in self._single:
            return True
        number = int.from_bytes(dst, "big")
        return any(
            width == len(dst) and number >> host in prefixes
            for (width, host), prefixes in self._ranges.items()
        )


class Selectors(NamedTuple):
    """What the operator named. None where nothing was named."""

    families: tuple[int, ...]
    ip: Addresses | None = None
    dev: frozenset[str] | None = None
    state: frozenset[int] | None = None
    exclude: Addresses | None = None
    mac: frozenset[bytes] | None = None

    def matches(self, entry: Head | Entry, devices: Collection[int] | None) -> bool | None:
        """Tell whether an entry is selected; None for a head whose entries differ in that.

        devices: the indexes of those named.
        """
        if devices is not None and entry.ifindex not in devices:
            return False
        if self.state is not None and entry.state not in self.state:
            return False
        if isinstance(entry, Head):
            by_head = self.ip is None and self.exclude is None and self.mac is None
            return True if by_head else None
        return (
            (self.ip is None or entry.dst in self.ip)
            and (self.exclude is None or entry.dst not in self.exclude)
            and (self.mac is None or entry.mac in self.mac)
        )


def parse_selectors(
    ip: Any = None,
    dev: Any = None,
    state: Any = None,
    family: Any = None,
    exclude: Any = None,
    mac: Any = None,
    verb: str = "flush",
) -> Selectors:
    """Turn what an operator wrote into Selectors; ValueError names the value and what is allowed.

    ip, exclude
        An address, a network in CIDR notation, or several.
    dev, state
        One name or several. States in any case, as the kernel names them.
    family
        ``ipv4`` or ``ipv6``; both when not named.
    mac
        One hardware address or several, with colons or dashes.
    verb
        What will be done (``list``, ``flush``, ``revalidate``): it decides which states may be
        named.

    Several are a list, or one string with commas.
    """
    families = tuple(FAMILIES.values()) if family is None else (_parse_family(family),)
    named, unnamed = parse.networks("ip", ip), parse.networks("exclude", exclude)
    for network in named:
        if _family_of(network) not in families:
            raise ValueError(f"ip: {network} is not an {family} address")
    if named and len({network.version for network in named}) == 1:
        families = (_family_of(named[0]),)
    return Selectors(
        families=families,
        ip=Addresses(named) if named else None,
        dev=None if dev is None else frozenset(parse.devices("dev", dev)),
        state=None if state is None else frozenset(_parse_states(state, verb)),
        exclude=Addresses(unnamed) if unnamed else None,
        mac=None if mac is None else frozenset(parse.macs("mac", mac)),
    )


def parse_own(ip: Any = None, dev: Any = None) -> tuple[list[Network] | None, list[str] | None]:
    """Return which of this machine's own addresses are meant: networks, names of devices."""
    return (
        None if ip is None else parse.networks("ip", ip),
        None if dev is None else parse.devices("dev", dev),
    )


def _family_of(network: Network) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def _parse_states(value: Any, verb: str) -> Iterator[int]:
    """Return state bits that may be named for what is to be done."""
    refused = _REFUSED[verb]
    allowed = [name for name in STATES if name not in refused]
    for word in parse.listed("state", value, f"a neighbour state ({', '.join(allowed)})"):
        name = word.upper()
        if name not in STATES:
            raise ValueError(f"state: {parse.shown(word)} is not one of {', '.join(allowed)}")
        if name in refused:
            raise ValueError(
                f"state: {name} is never touched by {verb}: {refused[name]}; "
                f"allowed are {', '.join(allowed)}"
            )
        yield STATES[name]


def _parse_family(value: Any) -> int:
    """Return the address family of a name."""
    name = value.lower() if isinstance(value, str) else value
    return FAMILIES[parse.one_of("family", name, FAMILIES)]
