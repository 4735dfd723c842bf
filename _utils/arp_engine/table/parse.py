"""The words an operator writes, each kind parsed in one place: pillar, CLI, states, runners.

A bad value raises ValueError with one line that names the key, the value and what is allowed.
Standard library alone: pillar is checked with this before pyroute2 is installed.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4,}")
_MAX_DEVICE_BYTES = 127  # an alternative name: ALTIFNAMSIZ in include/uapi/linux/if.h, less the NUL


def flag(key: str, value: Any) -> bool:
    """Return True or False; a word such as ``yes`` is refused."""
    if not isinstance(value, bool):
        raise ValueError(f"{key}: {shown(value)} is neither true nor false")
    return value


def one_of(key: str, value: Any, allowed: Collection[str]) -> str:
    """Return the value, which must be one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{key}: {shown(value)} is not one of {', '.join(allowed)}")
    return value


def whole_number(key: str, value: Any, low: int, high: int, unit: str = "") -> int:
    """Return a whole number from low to high; text of digits is one, too."""
    number = _number(value)
    if number is None or not low <= number <= high or number != int(number):
        what = f"a whole number of {unit}" if unit else "a whole number"
        raise ValueError(f"{key}: {shown(value)} is not {what} from {low} to {high}")
    return int(number)


def seconds(key: str, value: Any, low: float, high: float) -> float:
    """Return a number of seconds from low to high, which may have a fraction."""
    number = _number(value)
    if number is None or not low <= number <= high:
        raise ValueError(f"{key}: {shown(value)} is not a number of seconds from {low} to {high}")
    return float(number)


def rate(value: Any) -> float:
    """Return probes a second; 0 means as fast as is safe."""
    number = _number(value)
    if number is None or not (number == 0 or 0.01 <= number <= 1_000_000):
        raise ValueError(
            f"rate: {shown(value)} is not a number of probes a second "
            "(0.01 to 1000000, or 0: as fast as safe)"
        )
    return float(number)


def part(value: Any) -> tuple[int, int]:
    """Return which of how many parts, from K/N; None is all."""
    if value is None:
        return 1, 1
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", value) if isinstance(value, str) else None
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"part: {shown(value)} is not K/N, the Kth of N parts (2/8)")
    return int(found[1]), int(found[2])


def limit(value: Any) -> int:
    """Return how many rows a list may have; 0 means all."""
    number = _number(value)
    if number is None or not 0 <= number < float("inf") or number != int(number):
        raise ValueError(f"limit: {shown(value)} is not a whole number of rows (0 or more; 0: all)")
    return int(number)


def listed(key: str, value: Any, what: str) -> list[str]:
    """Return a list of words, from a list or one string with commas.

    Most are ASCII; a device may have any name. What YAML made of a word that was not quoted (an
    int, a bool, a date) is refused.
    """
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
        raise ValueError(f"{key}: {shown(item)} is not {what}{hint}")
    return words


def networks(key: str, value: Any) -> list[Network]:
    """Return addresses and networks; an address is a network of one. None names none."""
    what = "an IPv4 or IPv6 address or a network in CIDR notation (192.0.2.7, 2001:db8::/64)"
    found: list[Network] = []
    for word in [] if value is None else listed(key, value, what):
        try:
            interface = ipaddress.ip_interface(word)
        except ValueError:
            raise ValueError(f"{key}: {shown(word)} is not {what}") from None
        if getattr(interface.ip, "ipv4_mapped", None):
            raise ValueError(f"{key}: {word!r}: write {interface.ip.ipv4_mapped}")
        if "%" in word:
            raise ValueError(f"{key}: {word!r} names a device; write it without %, and use dev")
        if interface.ip != interface.network.network_address:
            raise ValueError(f"{key}: {word!r} has host bits set; write {interface.network}")
        found.append(interface.network)
    return found


def address(key: str, value: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the one address that is named."""
    found = networks(key, value)
    if not isinstance(value, str) or len(found) != 1 or found[0].num_addresses != 1:
        raise ValueError(f"{key}: {shown(value)}: name one address, not a network or a list")
    return found[0].network_address


def devices(key: str, value: Any) -> list[str]:
    """Return device names that could exist (dev_valid_name in net/core/dev.c)."""
    names = listed(key, value, "the name of a network device")
    for name in names:
        too_long = len(name.encode()) > _MAX_DEVICE_BYTES
        if too_long or name in (".", "..") or re.search(r"[\s/:]", name):
            raise ValueError(
                f"{key}: {shown(name)} is not the name of a network device "
                f"(at most {_MAX_DEVICE_BYTES} bytes, no space, slash or colon)"
            )
    return names


def device(key: str, value: Any) -> str:
    """Return the one device name that is given."""
    names = devices(key, value)
    if not isinstance(value, str) or len(names) != 1:
        raise ValueError(f"{key}: {shown(value)}: name one device")
    return names[0]


def macs(key: str, value: Any) -> list[bytes]:
    """Return packed MAC addresses, of six bytes or more (InfiniBand: 20)."""
    what = "a MAC address (02:00:00:00:00:0a)"
    for each in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(each, int) and not isinstance(each, bool):  # 52:54:00:12:34:56, by base 60
            raise ValueError(
                f"{key}: {shown(each)} is not {what} but a number: YAML reads a MAC address "
                "without letters as one; write it with dashes (52-54-00-12-34-56)"
            )
    found = []
    for word in listed(key, value, what):
        digits = word.lower()
        if not _MAC.fullmatch(digits):
            raise ValueError(f"{key}: {shown(word)} is not {what}")
        found.append(bytes.fromhex(re.sub("[:-]", "", digits)))
    return found


def _number(value: Any) -> int | float | None:
    """Return a number, or the one that text spells: salt-api sends numbers as text."""
    if isinstance(value, str) and len(value) <= 20 and _NUMBER.fullmatch(value):
        return float(value) if "." in value else int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else None


def shown(value: Any) -> str:
    """Return a value as it was written, cut to what fits one line."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"  # Python refuses to write out the longest
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
