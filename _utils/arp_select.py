"""Which entries are meant, and which are never ours: selectors and ownership.

The one place that knows these words. Standard library alone: the formula checks pillar with it
before pyroute2 is installed. Bad values raise ValueError with one line for the operator.
"""

import ipaddress
import os
import re
import socket
from collections import namedtuple

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

# Neighbour states, include/uapi/linux/neighbour.h
STATES = {
    "INCOMPLETE": 0x01,
    "REACHABLE": 0x02,
    "STALE": 0x04,
    "DELAY": 0x08,
    "PROBE": 0x10,
    "FAILED": 0x20,
    "NOARP": 0x40,
    "PERMANENT": 0x80,
    "NONE": 0x00,
}
INCOMPLETE, REACHABLE, PROBE, FAILED = 0x01, 0x02, 0x10, 0x20
NOARP, PERMANENT = 0x40, 0x80
FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}

NTF_PROXY, NTF_EXT_LEARNED, NTF_OFFLOADED, NTF_STICKY, NTF_ROUTER = 0x08, 0x10, 0x20, 0x40, 0x80
NTF_EXT_MANAGED, NTF_EXT_LOCKED, NTF_EXT_EXT_VALIDATED = 0x01, 0x02, 0x04
RTN_KINDS = {2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}
IFF_LOOPBACK, IFF_POINTOPOINT, IFF_NOARP = 0x08, 0x10, 0x80

# NDA_PROTOCOL, include/uapi/linux/rtnetlink.h: who wrote the entry
PROTOCOLS = {
    2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt", 11: "zebra", 12: "bird",
    13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted", 18: "keepalived",
    42: "babel", 84: "ovn", 99: "openr", 186: "bgp", 187: "isis", 188: "ospf", 189: "rip",
    192: "eigrp",
}  # fmt: skip

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


class Unknown(ValueError):
    """A device was named that this machine does not have."""


#: A network device, as far as we care.
Device = namedtuple("Device", "name flags")


def state_name(bits):
    """Return the kernel's name of a state; several bits are joined, unknown ones kept as hex."""
    if not bits:
        return "NONE"
    names = [name for name, bit in STATES.items() if bits & bit]
    unknown = bits & ~0xFF
    return "|".join(names + ([hex(unknown)] if unknown else []))


def owner(entry, device):
    """Return why an entry is not ours to touch, or an empty string.

    ``device`` is None where the kernel did not show the entry's device.
    """
    if entry.flags & NTF_PROXY:
        return "proxy"
    if entry.flags & NTF_EXT_LEARNED:
        return "extern_learn"
    if entry.ext & NTF_EXT_MANAGED:
        return "managed"
    if entry.ext & NTF_EXT_EXT_VALIDATED:
        return "extern_valid"
    if entry.protocol:
        return f"protocol {PROTOCOLS.get(entry.protocol, entry.protocol)}"
    if entry.flags & NTF_STICKY or entry.ext:
        return "flags"  # one we do not know: somebody set it for a reason
    if entry.state & PERMANENT:
        return "PERMANENT"
    if entry.kind in RTN_KINDS:
        return RTN_KINDS[entry.kind]
    if is_multicast(entry.dst):
        return "multicast"
    return _unproven(entry, device)


def is_multicast(dst):
    """Tell whether a packed address is a multicast one."""
    return dst[0] == 0xFF if len(dst) == 16 else 224 <= dst[0] <= 239


def _unproven(entry, device):
    """Return why ARP has no say about this entry, or an empty string."""
    if entry.state & NOARP:
        return "NOARP"
    if device is None:
        return "unknown device"
    if device.flags & (IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP):
        return f"{device.name} does no ARP"
    if not entry.state:
        return "NONE"
    if entry.state & INCOMPLETE:
        return "INCOMPLETE"
    return ""


class Addresses:
    """A set of addresses and networks that packed addresses can be looked up in."""

    def __init__(self, networks):
        """Take ``ipaddress`` networks."""
        self._single = {
            n.network_address.packed for n in networks if n.prefixlen == n.max_prefixlen
        }
        self._ranges = [
            (n.max_prefixlen // 8, n.max_prefixlen - n.prefixlen, int(n.network_address))
            for n in networks
            if n.prefixlen != n.max_prefixlen
        ]

    def __contains__(self, dst):
        """Tell whether a packed address is meant."""
        if dst in self._single:
            return True
        number = int.from_bytes(dst, "big")
        return any(
            width == len(dst) and number >> host == network >> host
            for width, host, network in self._ranges
        )


class Selectors(namedtuple("Selectors", "ip dev state families exclude")):
    """What the operator named. ``ip``, ``dev`` and ``state`` are None where nothing was named."""

    __slots__ = ()

    @property
    def by_address(self):
        """Tell whether addresses are named, so that each entry must be looked at."""
        return self.ip is not None or self.exclude is not None

    def wants(self, entry, device):
        """Tell whether an entry is meant."""
        return (
            (self.dev is None or (device is not None and device.name in self.dev))
            and (self.state is None or entry.state in self.state)
            and (self.ip is None or entry.dst in self.ip)
            and (self.exclude is None or entry.dst not in self.exclude)
        )

    def check_devices(self, names):
        """Raise Unknown for a device that does not exist; ``names`` are those of all devices."""
        for name in sorted(self.dev or ()):
            if name not in names:
                raise Unknown(f"dev: no device {name!r} here; there are {', '.join(sorted(names))}")


def parse_selectors(ip=None, dev=None, state=None, family=None, exclude=None, verb="flush"):
    """Turn what an operator wrote into Selectors; ValueError names the value and what is allowed.

    ip, exclude
        An address, a network in CIDR notation, or a list of them.
    dev, state
        A name or a list of names. States in any case, as the kernel names them.
    family
        ``ipv4`` or ``ipv6``; both when not named.
    verb
        What will be done (``list``, ``flush``, ``revalidate``): it decides which states may be
        named.
    """
    families = tuple(FAMILIES.values()) if family is None else (_parse_family(family),)
    meant = None if ip is None else _parse_networks("ip", ip)
    unmeant = None if exclude is None else _parse_networks("exclude", exclude)
    for network in meant or ():
        if (socket.AF_INET if network.version == 4 else socket.AF_INET6) not in families:
            raise ValueError(f"ip: {network} is not an {family} address")
    if meant and len({network.version for network in meant}) == 1:
        families = (socket.AF_INET if meant[0].version == 4 else socket.AF_INET6,)
    return Selectors(
        ip=meant and Addresses(meant),
        dev=None if dev is None else frozenset(_parse_devices(dev)),
        state=None if state is None else frozenset(_parse_states(state, verb)),
        families=families,
        exclude=unmeant and Addresses(unmeant),
    )


def _listed(key, value, what):
    """Return a list of strings; YAML makes ints, bools and dates of words that are not quoted."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not values:
        raise ValueError(f"{key}: the list is empty; leave {key} out, or name {what}")
    for item in values:
        if isinstance(item, str) and item.strip() and item.isascii():
            continue
        hint = "" if item is None or isinstance(item, (str, dict, list)) else "; quote it in YAML"
        raise ValueError(f"{key}: {item!r} is not {what}{hint}")
    return [item.strip() for item in values]


def _parse_networks(key, value):
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


def _parse_devices(value):
    """Return device names that could exist (dev_valid_name in net/core/dev.c)."""
    for name in _listed("dev", value, "the name of a network device"):
        if len(name) > 15 or name in (".", "..") or re.search(r"[\s/:]", name):
            raise ValueError(
                f"dev: {name!r} is not the name of a network device "
                "(at most 15 characters, no space, slash or colon)"
            )
        yield name


def _parse_states(value, verb):
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


def _parse_family(value):
    """Return the address family of a name."""
    if not isinstance(value, str) or value.lower() not in FAMILIES:
        raise ValueError(f"family: {value!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[value.lower()]


def parse_rate(value):
    """Return entries a second as a float; 0 means as fast as is safe."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value == 0 or 0.01 <= value <= 1_000_000):
        raise ValueError(
            f"rate: {repr(value)[:40]} is not a number of entries a second "
            "(0.01 to 1000000, or 0: as fast as safe)"
        )
    return float(value)


def parse_flag(key, value):
    """Return a bool that was written as one."""
    if not isinstance(value, bool):
        raise ValueError(f"{key}: {value!r} is neither True nor False")
    return value
