"""What an operator writes, and what it selects: the one place that knows these words.

Standard library alone: the formula checks pillar with it before pyroute2 is installed. Bad values
raise ValueError with one line for the operator.
"""

import ipaddress
import re
import socket
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from ..netlink.constants import FAMILIES, STATES
from ..netlink.model import Seen

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Why a state cannot be asked for, by what was to be done.
_OWNED_STATES = {
    "PERMANENT": "somebody set it by hand",
    "NOARP": "it needs no ARP",
    "INCOMPLETE": "the kernel is resolving it right now",
    "NONE": "the kernel is creating it right now",
}
_REFUSED = {
    "list": {},
    "flush": _OWNED_STATES,
    "revalidate": {**_OWNED_STATES, "FAILED": "it has no MAC address to prove"},
}
_MAC = re.compile(r"[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4,}")
LIMIT = 100  # rows in one list of an answer


class Unknown(ValueError):
    """What was named is not on this machine: a device, an address of its own."""


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

    def matches(self, entry: Seen, devices: Collection[int] | None) -> bool:
        """Tell whether an entry is selected; ``devices`` are the indexes of those named."""
        return (
            (devices is None or entry.ifindex in devices)
            and (self.state is None or entry.state in self.state)
            and (self.ip is None or entry.dst in self.ip)
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
    named = None if ip is None else _parse_networks("ip", ip)
    unnamed = None if exclude is None else _parse_networks("exclude", exclude)
    for network in named or ():
        if _family_of(network) not in families:
            raise ValueError(f"ip: {network} is not an {family} address")
    if named and len({network.version for network in named}) == 1:
        families = (_family_of(named[0]),)
    return Selectors(
        families=families,
        ip=Addresses(named) if named else None,
        dev=None if dev is None else frozenset(_parse_devices(dev)),
        state=None if state is None else frozenset(_parse_states(state, verb)),
        exclude=Addresses(unnamed) if unnamed else None,
        mac=None if mac is None else frozenset(_parse_macs(mac)),
    )


def parse_own(ip: Any = None, dev: Any = None) -> tuple[list[Network] | None, list[str] | None]:
    """Return where this machine's own addresses are meant: networks, names of devices."""
    return (
        None if ip is None else _parse_networks("ip", ip),
        None if dev is None else list(_parse_devices(dev)),
    )


def _family_of(network: Network) -> int:
    return socket.AF_INET if network.version == 4 else socket.AF_INET6


def _listed(key: str, value: Any, what: str) -> list[str]:
    """Return a list of strings; YAML makes ints, bools and dates of words that are not quoted."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise ValueError(f"{key}: the list is empty; leave {key} out, or name {what}")
    words: list[str] = []
    for item in values:
        readable = isinstance(item, str) and (item.isascii() or key == "dev")
        parts = [part.strip() for part in item.split(",")] if readable else [""]
        if all(part and part.isprintable() for part in parts):
            words += parts
            continue
        hint = "" if item is None or isinstance(item, (str, dict, list)) else "; quote it in YAML"
        raise ValueError(f"{key}: {item!r} is not {what}{hint}")
    return words


def _parse_networks(key: str, value: Any) -> list[Network]:
    """Return ``ipaddress`` networks."""
    what = "an IPv4 or IPv6 address or a network in CIDR notation (192.0.2.7, 2001:db8::/64)"
    networks = []
    for item in _listed(key, value, what):
        try:
            interface = ipaddress.ip_interface(item)
        except ValueError:
            raise ValueError(f"{key}: {item!r} is not {what}") from None
        if getattr(interface.ip, "ipv4_mapped", None):
            raise ValueError(f"{key}: {item!r}: write {interface.ip.ipv4_mapped}")
        if "%" in item:
            raise ValueError(f"{key}: {item!r} names a device; write it without %, and use dev")
        if interface.ip != interface.network.network_address:
            raise ValueError(f"{key}: {item!r} has host bits set; write {interface.network}")
        networks.append(interface.network)
    return networks


def _parse_devices(value: Any) -> Iterator[str]:
    """Return device names that could exist (dev_valid_name in net/core/dev.c).

    Up to 127 bytes: alternative names are longer than 15 (ALTIFNAMSIZ in include/uapi/linux/if.h).
    """
    for name in _listed("dev", value, "the name of a network device"):
        if len(name.encode()) > 127 or name in (".", "..") or re.search(r"[\s/:]", name):
            raise ValueError(
                f"dev: {name!r} is not the name of a network device "
                "(at most 127 bytes, no space, slash or colon)"
            )
        yield name


def _parse_states(value: Any, verb: str) -> Iterator[int]:
    """Return state bits that may be named for what is to be done."""
    refused = _REFUSED[verb]
    allowed = [name for name in STATES if name not in refused]
    for word in _listed("state", value, f"a neighbour state ({', '.join(allowed)})"):
        name = word.upper()
        if name not in STATES:
            raise ValueError(f"state: {word!r} is none of {', '.join(allowed)}")
        if name in refused:
            raise ValueError(
                f"state: {name} is never touched by {verb}: {refused[name]}; "
                f"allowed are {', '.join(allowed)}"
            )
        yield STATES[name]


def _parse_macs(value: Any) -> Iterator[bytes]:
    """Return packed hardware addresses, of six bytes or more (InfiniBand: 20)."""
    what = "a hardware address (02:00:00:00:00:0a)"
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, int) and not isinstance(each, bool):  # 52:54:00:12:34:56, by base 60
            raise ValueError(
                f"mac: {each} is not {what} but a number, which YAML makes of one without letters; "
                "write it with dashes (52-54-00-12-34-56)"
            )
    for word in _listed("mac", value, what):
        digits = word.lower()
        if not _MAC.fullmatch(digits):
            raise ValueError(f"mac: {word!r} is not {what}")
        yield bytes.fromhex(re.sub("[:-]", "", digits))


def _parse_family(value: Any) -> int:
    """Return the address family of a name."""
    if not isinstance(value, str) or value.lower() not in FAMILIES:
        raise ValueError(f"family: {value!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[value.lower()]


def parse_rate(value: Any) -> float:
    """Return questions a second; 0 means as fast as is safe."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value == 0 or 0.01 <= value <= 1_000_000):
        raise ValueError(
            f"rate: {repr(value)[:40]} is not a number of questions a second "
            "(0.01 to 1000000, or 0: as fast as safe)"
        )
    return float(value)


def parse_limit(value: Any) -> int:
    """Return how many rows a list may have; 0 means all."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"limit: {value!r} is not a number of rows (0 or more; 0: all)")
    return value


def parse_flag(key: str, value: Any) -> bool:
    """Return a bool that was written as one."""
    if not isinstance(value, bool):
        raise ValueError(f"{key}: {value!r} is neither True nor False")
    return value
