"""Where an entry's fate is decided: whose it is, what vouches for it, whether it can be proven.

A rule that changes here changes on every path. Standard library alone.

Each rule is given an entry, or the head that many entries share (netlink/model.py: who wrote it,
device, state, flags, route type). A verdict on a head holds for all its entries, which is fast.
Where address, MAC or ages decide, the verdict on a head is None, and table/snapshot.py judges its
entries one by one. So each rule is written once, and holds on both paths.
"""

import functools
from typing import overload

from ..netlink.constants import (
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_POINTOPOINT,
    INCOMPLETE,
    KINDS,
    NOARP,
    NTF_EXT_EXT_VALIDATED,
    NTF_EXT_LEARNED,
    NTF_EXT_MANAGED,
    NTF_PROXY,
    NTF_STICKY,
    PERMANENT,
    PROTOCOLS,
    REACHABLE,
    STATES,
    TICKS,
    VALID,
)
from ..netlink.model import Device, Entry, Head, Timers


@overload
def owner(entry: Entry, device: Device | None) -> str: ...
@overload
def owner(entry: Head, device: Device | None) -> str | None: ...
def owner(entry: Head | Entry, device: Device | None) -> str | None:
    """Return why an entry is not ours to touch, or an empty string; None for a head: see above.

    ``device`` is None where the kernel did not show the entry's device.
    """
    writer = _writer(entry)
    if writer:
        return writer
    if entry.kind in KINDS:
        return KINDS[entry.kind]
    if not entry.kind:
        if isinstance(entry, Head):
            return None
        if is_multicast(entry.dst):
            return "multicast"
    return _without_arp(entry, device)


def _writer(entry: Head | Entry) -> str:
    """Return what shows that somebody else than the kernel wrote an entry, or an empty string."""
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
    return "PERMANENT" if entry.state & PERMANENT else ""


def is_multicast(dst: bytes) -> bool:
    """Tell whether a packed address is a multicast one."""
    return dst[0] == 0xFF if len(dst) == 16 else 224 <= dst[0] <= 239


def _without_arp(entry: Head | Entry, device: Device | None) -> str:
    """Return why ARP has no say about an entry, or an empty string."""
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


def is_spared(entry: Head | Entry) -> bool:
    """Tell whether no limit counts an entry (net/core/neighbour.c: neigh_update_gc_list)."""
    return bool(entry.state & PERMANENT or entry.flags & NTF_EXT_LEARNED)


def unprovable(entry: Head | Entry, timers: Timers) -> str:
    """Return why there is nothing to prove about an entry, or nobody to ask; or an empty string."""
    if not entry.state & VALID:
        return state_name(entry.state)
    # without a single probe the kernel fails a live entry at once, and asks nobody
    return "" if timers.solicits else "its device sends no probes"


def locked_s(entry: Entry, timers: Timers) -> float:
    """Return for how long yet the kernel believes no other MAC, in seconds; 0: it would take one.

    It takes none within ``locktime`` of the entry's last change of state or MAC
    (net/ipv4/arp.c: arp_process); IPv6 has no such time.
    """
    return max(timers.locktime_s - entry.updated / TICKS, 0.0) if len(entry.dst) == 4 else 0.0


def is_suspect(state: int, confirmed: int, updated: int, base_reachable_s: float) -> bool:
    """Tell whether hints, and not ARP, keep an entry REACHABLE. Ages in ticks.

    Without hints REACHABLE ends at the latest 1.5 times base_reachable_time after it began
    (neigh_rand_reach_time), and is then asked for again; ``updated`` moves only when state or MAC
    change. So REACHABLE for longer, and confirmed since, means: somebody else vouches for it.
    """
    if state != REACHABLE:
        return False
    base = base_reachable_s * TICKS
    return updated > 1.5 * base and updated - confirmed > 0.5 * base


@functools.lru_cache(maxsize=512)  # states are few
def state_name(bits: int) -> str:
    """Return the kernel's name of a state; several bits are joined, unknown ones kept as hex."""
    if not bits:
        return "NONE"
    names = [name for name, bit in STATES.items() if bits & bit]
    unknown = bits & ~0xFF
    return "|".join(names + ([hex(unknown)] if unknown else []))
