"""Where an entry's fate is decided: which entries are never touched, and why.

An entry with an owner is never deleted, probed by the kernel for us, or asked about where an answer
would change it. The first reason that applies is its owner (``owner``), shown by ``arp.list``:

==================  =========================================  ===================================
owner               fact                                       kernel source (net/, include/)
==================  =========================================  ===================================
proxy               NTF_PROXY: this host answers for it        core/neighbour.c: pneigh_lookup
extern_learn        NTF_EXT_LEARNED: a control plane wrote it  uapi/linux/neighbour.h
managed             NTF_EXT_MANAGED: the kernel keeps it       core/neighbour.c: neigh_managed_work
                    resolved for the program that wrote it
extern_valid        NTF_EXT_EXT_VALIDATED: a control plane     uapi/linux/neighbour.h
                    says that it is right
protocol NAME       NDA_PROTOCOL: a routing daemon wrote it    uapi/linux/rtnetlink.h: RTPROT_*
flags               NTF_STICKY, or a flag of NDA_FLAGS_EXT     uapi/linux/neighbour.h
                    that this version does not know
PERMANENT           NUD_PERMANENT: an administrator wrote it   core/neighbour.c: neigh_forced_gc
local, broadcast,   route type of the address (RTN_*): not     ipv4/arp.c: arp_constructor,
anycast, multicast  one neighbour's                            ipv6/ndisc.c: ndisc_constructor
NOARP               NUD_NOARP: needs no resolution             the same functions
unknown device      it vanished while the table was read
DEVICE does no ARP  IFF_LOOPBACK, IFF_POINTOPOINT, IFF_NOARP   ipv4/arp.c: arp_constructor
NONE                the kernel is creating it at this moment   core/neighbour.c: ___neigh_create
INCOMPLETE          the kernel is resolving it at this moment  core/neighbour.c: __neigh_event_send
==================  =========================================  ===================================

Every other entry is ours to touch. A rule that changes here changes on every path.

Each rule is given an entry, or the head that many entries share (netlink/model.py: who wrote it,
device, state, flags, route type). A verdict on a head holds for all its entries, which is fast.
Where address, MAC or ages decide, the verdict on a head is None, and table/view.py judges its
entries one by one. Standard library alone.
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
    # what shows that a program or a person wrote it
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
        return "flags"
    if entry.state & PERMANENT:
        return "PERMANENT"
    return _without_arp(entry, device)


def is_multicast(dst: bytes) -> bool:
    """Tell whether a packed address is in ff00::/8 or 224.0.0.0/4."""
    return dst[0] == 0xFF if len(dst) == 16 else 224 <= dst[0] <= 239


def _without_arp(entry: Head | Entry, device: Device | None) -> str | None:
    """Return why no ARP can change an entry; an empty string or None as ``owner`` does."""
    if entry.kind in KINDS:
        return KINDS[entry.kind]
    if not entry.kind:
        if isinstance(entry, Head):
            return None
        if is_multicast(entry.dst):
            return "multicast"
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


def is_exempt_from_gc(entry: Head | Entry) -> bool:
    """Tell whether gc_thresh does not count it (net/core/neighbour.c: neigh_update_gc_list)."""
    return bool(entry.state & PERMANENT or entry.flags & NTF_EXT_LEARNED)


def why_unprovable(entry: Head | Entry, timers: Timers) -> str:
    """Return why the kernel cannot prove an entry in the state PROBE, or an empty string."""
    if not entry.state & VALID:
        return state_name(entry.state)  # it has no MAC
    # with no probe allowed the kernel sets a live entry to FAILED at once (neigh_max_probes)
    return "" if timers.solicits else "its device sends no probes"


def locktime_left_s(entry: Entry, timers: Timers) -> float:
    """Return for how many seconds more the kernel ignores an answer with another MAC.

    It ignores one within ``locktime`` of the entry's last change of state or MAC (net/ipv4/arp.c:
    arp_process). IPv6 has no such time.
    """
    return max(timers.locktime_s - entry.updated / TICKS, 0.0) if len(entry.dst) == 4 else 0.0


def is_suspect(state: int, confirmed: int, updated: int, base_reachable_s: float) -> bool:
    """Tell whether upper-layer confirmation keeps an entry REACHABLE. Ages in ticks.

    By ARP alone REACHABLE ends at most 1.5 times base_reachable_time after it began
    (net/core/neighbour.c: neigh_rand_reach_time), and ``updated`` starts anew at each change of
    state or MAC. An entry that is REACHABLE for longer, and was confirmed since, was confirmed by
    an upper layer.
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
