"""A neighbour table that is nearly full is told, once until it no longer is."""

from collections import Counter
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
        self._read: Counter[int] = Counter()  # entries of each family
        self._exempt: Counter[int] = Counter()  # of these: not counted by gc_thresh

    def begin(self) -> None:
        """Begin to take the whole table of this namespace."""
        self._read.clear()
        self._exempt.clear()

    def take(self, family: int, entries: Collection[codec.Entry]) -> None:
        """Take a part of a family's table."""
        self._read[family] += len(entries)
        self._exempt[family] += sum(map(ownership.is_exempt_from_gc, entries))

    def check(self, now: float) -> None:
        """Compare the kernel's counters with its limits, and with the entries that were taken."""
        full = set()
        for family, limit in rtnetlink.limits(self._families).items():
            facts = {"gc_thresh3": limit.gc_thresh3,
                     "entries_all_namespaces": limit.entries_all_namespaces}  # fmt: skip
            exempt, is_told = self._exempt[family], family in self._full
            line = capacity.warning(
                FAMILY_NAMES[family],
                limit.entries_all_namespaces - exempt,
                self._read[family] - exempt,
                limit.gc_thresh3,
                limit.is_collecting or is_told,  # until it has room again, collected lately or not
            )
            if line:
                full.add(family)
                if not is_told:
                    self._teller.tell(EventKind.FULL, line, now, **facts)
        self._full = full
