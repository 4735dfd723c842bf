"""What was seen of an address: plain values, from which diagnose/verdict.py judges. Pure."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..netlink.constants import NOARP, PERMANENT

IGNORES_ANSWERS = PERMANENT | NOARP  # states of an entry in which the kernel takes no answer

Row = dict[str, Any]

MAX_RTO_S = 120  # include/net/tcp.h: TCP_RTO_MAX


class Route(NamedTuple):
    """How the kernel sends to an address. ``gateway`` is empty where it is on the link."""

    dev: str = ""
    source: str = ""
    gateway: str = ""
    why_not: str = ""  # why there is no neighbour to probe


class Load(NamedTuple):
    """How full the table is, all namespaces together; zeros where the kernel has no such table."""

    entries: int = 0
    never_collected: int = 0  # PERMANENT and extern_learn of this namespace: no limit counts them
    gc_thresh1: int = 0
    gc_thresh2: int = 0
    gc_thresh3: int = 0
    refused: int = 0  # entries that found no room since boot; -1: not known (before Linux 4.3)
    refused_lately: int = 0  # since the diagnosis began
    is_collecting: bool = True  # it was over gc_thresh2 lately

    @property
    def is_full(self) -> bool:
        """Tell whether the kernel has just refused an entry."""
        return self.refused_lately > 0

    @property
    def may_be_full(self) -> bool:
        """Tell whether the kernel may have no room for one more entry.

        Uncounted entries of other namespaces are not known, so the table may look fuller than it
        is. So the kernel must have refused an entry since boot, too, and have collected lately.
        """
        has_refused = bool(self.refused) and self.is_collecting
        return self.is_full or (has_refused and 0 < self.gc_thresh3 <= self.counted)

    @property
    def counted(self) -> int:
        """Return how many entries the limit counts, at most."""
        return self.entries - self.never_collected


@dataclass(frozen=True)
class Evidence:
    """What was seen. Entries as rows of ``arp.list``; MACs in lower case with colons."""

    address: str
    route: Route
    entry: Row | None = None  # of the next hop, before the probes
    entry_after: Row | None = None  # and after
    asked: bool = True  # False: only read
    asked_s: float = 0.0  # from the first probe until the entry was read again
    cannot_ask: str = ""
    unproved: str = ""  # who could not be asked after the entry had moved: it need not be right
    unicast_asked: int = 0  # probes sent to the cached MAC
    broadcast_asked: int = 0
    answers: dict[str, float] = field(default_factory=dict)  # MAC to ms
    witnesses: dict[str, list[str]] = field(default_factory=dict)  # other address to MACs
    proxies: set[str] = field(default_factory=set)  # MACs that answer for what nobody has
    locktime_left_s: float = 0.0  # for how long the kernel still ignores the answer
    is_written_back: bool = False  # it took the answer, and somebody wrote the former MAC again
    has_override: bool = False  # an IPv6 answer had the flag that makes the kernel take it
    arp_filter: bool = False  # this host is known to drop ARP packets (nftables)
    arp_filter_unread: bool = False  # there are rules of arptables-legacy
    answering_port: str = ""  # of a bridge that answers our broadcasts itself: neigh_suppress
    own_macs: dict[str, str] = field(default_factory=dict)  # of this machine: MAC to device
    load: Load = field(default_factory=Load)
    sockets: list[Row] = field(default_factory=list)  # TCP to the address, without an answer
    sockets_unknown: str = ""  # why they cannot be listed
    connected: int = 0  # TCP connections on this way that the address acknowledged a moment ago
    other_hops: dict[str, str] = field(default_factory=dict)  # "ADDRESS on DEVICE" to verdict
    note: str = ""  # about the device that was named, or whose packets have this route
    kernel: str = ""  # its release

    @property
    def judged(self) -> str:
        """Return the address whose entry is judged: the router's, where there is one."""
        return self.route.gateway or self.address

    @property
    def hop(self) -> str:
        """Return the judged neighbour, as it is named among others."""
        return f"{self.judged} on {self.route.dev}"

    @property
    def stuck_since(self) -> list[Row]:
        """Return the sockets that got no answer since the entry is as it is now.

        Others waited when it was wrong: TCP tries again by itself, ever later. A retransmission
        comes at most 2 to the power of their number seconds after the last (RFC 6298, 5.5).
        """
        entry = self.entry
        if not entry or entry["mac"] != (self.entry_after or entry)["mac"]:
            return []
        return [
            each
            for each in self.sockets
            if min(2 ** each.get("retransmits", 0), MAX_RTO_S) - each.get("expires_ms", 0) / 1000
            < entry["updated_s"]
        ]


def is_owned(entry: Row) -> bool:
    """Tell whether an entry has an owner; one that the kernel is resolving has none."""
    return entry["owner"] not in ("", "INCOMPLETE", "NONE")
