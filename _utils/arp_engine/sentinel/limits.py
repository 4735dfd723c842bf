"""A neighbour table that is nearly full is told, once until it no longer is."""

from collections.abc import Collection

from ..netlink import codec, rtnetlink
from ..netlink.constants import FAMILY_NAMES
from ..reporting.events import EventKind
from ..reporting.throttle import Teller
from ..table import capacity, ownership


class Limits:
    """The kernel's limits on the entries of each family, and whether they are nearly reached."""

    def __init__(self, teller: Teller, families: Collection[int]) -> None:
        self._teller, self._families = teller, families
        self._full: set[int] = set()  # families that were told

    def check(self, now: float, entries: Collection[codec.Entry]) -> None:
        """Compare the kernel's counters with its limits; entries: those of this namespace."""
        limits = rtnetlink.limits(self._families)
        full = set()
        for family, limit in limits.items():
            facts = {"gc_thresh3": limit.gc_thresh3,
                     "entries_all_namespaces": limit.entries_all_namespaces}  # fmt: skip
            ours = [entry for entry in entries if codec.family_of(entry.dst) == family]
            exempt = sum(map(ownership.is_exempt_from_gc, ours))
            is_told = family in self._full  # until it has room again, collected lately or not
            line = capacity.warning(
                FAMILY_NAMES[family],
                limit.entries_all_namespaces - exempt,
                len(ours) - exempt,
                limit.gc_thresh3,
                limit.is_collecting or is_told,
            )
            if line:
                full.add(family)
                if not is_told:
                    self._teller.tell(EventKind.FULL, line, now, **facts)
        self._full = full
