"""A copy of the kernel's neighbour table, kept up to date by its notifications.

A lost notification (ENOBUFS) makes all of it uncertain: then the table is read anew, in slices
(table_reader.py), between which notifications go on. What they say of an entry is newer than what
is read, or will be: they win. No sockets, no policy: entries in, changes out. It is as large as the
kernel's table and no larger.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_NEWNEIGH

from ..netlink import codec
from ..netlink.constants import NOARP, PERMANENT, VALID
from ..resolve.proxy import LINK_LOCAL


class Change(NamedTuple):
    """One entry before and after a notification; None where there was, or is, no entry."""

    old: codec.Entry | None
    new: codec.Entry | None

    @property
    def key(self) -> codec.Key:
        """Return device and address of the entry."""
        entry = self.new or self.old
        assert entry
        return entry.key

    @property
    def is_other_mac(self) -> bool:
        """Tell whether the address had a MAC, and has another now."""
        return bool(mac_of(self.old) and mac_of(self.new)) and mac_of(self.old) != mac_of(self.new)


class NeighbourCache:
    """All entries, by (ifindex, packed address)."""

    def __init__(self) -> None:
        self._entries: dict[codec.Key, codec.Entry] = {}
        self._ifindexes: set[int] = set()  # that have entries
        self._changed: set[codec.Key] = set()  # that got or lost a MAC or an owner
        # while the table is read anew:
        self._unread: set[codec.Key] = set()  # not shown so far, and not announced since it began
        self._announced: set[codec.Key] | None = None  # since it began

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: codec.Key) -> bool:
        return key in self._entries

    def get(self, key: codec.Key) -> codec.Entry | None:
        """Return one entry."""
        return self._entries.get(key)

    def entries(self) -> Iterable[codec.Entry]:
        """Return all of them."""
        return self._entries.values()

    def pop_changed(self) -> set[codec.Key]:
        """Return what got or lost a MAC or an owner since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def at(self, dst: bytes) -> Iterator[codec.Entry]:
        """Yield the entries of an address on every device."""
        found = (self._entries.get((ifindex, dst)) for ifindex in self._ifindexes)
        yield from (entry for entry in found if entry)

    def is_shared(self, key: codec.Key, mac: bytes) -> bool:
        """Tell whether a MAC stands for another address of the device, too: it may be a proxy's.

        An IPv6 host has a link-local address beside its own.
        """
        return any(
            entry.mac == mac and entry.ifindex == key[0] and entry.dst != key[1]
            for entry in self._entries.values()
            if len(entry.dst) == len(key[1]) and not entry.dst.startswith(LINK_LOCAL)
        )

    # --- reading anew

    def begin_reading(self) -> None:
        """Begin to read the table anew."""
        self._unread, self._announced = set(self._entries), set()

    def merge(self, entries: Iterable[codec.Entry]) -> list[Change]:
        """Take entries that were read; return those that have another MAC now."""
        announced = self._announced or ()
        changes = []
        for entry in entries:
            key = entry.key
            if key not in announced:
                self._unread.discard(key)
                change = self._put(entry)
                if change.is_other_mac:
                    changes.append(change)
        return changes

    def unread(self) -> list[codec.Key]:
        """Return the entries that were not read, though nothing says that they are gone."""
        return [*self._unread]

    def end_reading(self) -> None:
        """Forget the entries that were not read."""
        for key in self._unread:
            del self._entries[key]
        self._changed |= self._unread
        self._unread, self._announced = set(), None

    # --- notifications

    def take(self, messages: bytes) -> Iterator[Change]:
        """Apply one datagram of notifications; yield each change."""
        for kind, message in codec.messages(messages):
            if kind not in (RTM_NEWNEIGH, RTM_DELNEIGH):
                continue
            entry = codec.parse_neighbour(message)
            if entry:
                self._announce(entry.key)
                yield self._put(entry) if kind == RTM_NEWNEIGH else self._drop(entry)

    def forget_device(self, ifindex: int) -> None:
        """Forget the entries of a device that is gone."""
        self._ifindexes.discard(ifindex)
        for key in [key for key in self._entries if key[0] == ifindex]:
            self._announce(key)
            del self._entries[key]
            self._changed.add(key)

    def recheck(self) -> None:
        """Take all entries as changed: which of them are selected may be another question now."""
        self._changed.update(self._entries)

    def _announce(self, key: codec.Key) -> None:
        if self._announced is not None:
            self._announced.add(key)
            self._unread.discard(key)

    def _put(self, entry: codec.Entry) -> Change:
        old = self._entries.get(entry.key)
        self._entries[entry.key] = entry
        self._ifindexes.add(entry.ifindex)
        if _essence(old) != _essence(entry):
            self._changed.add(entry.key)
        return Change(old, entry)

    def _drop(self, entry: codec.Entry) -> Change:
        old = self._entries.pop(entry.key, None)
        self._changed.add(entry.key)
        return Change(old or entry, None)


def mac_of(entry: codec.Entry | None) -> bytes:
    """Return the MAC that the kernel uses for an entry; empty where it has none."""
    return entry.mac if entry and entry.state & VALID else b""


def _essence(entry: codec.Entry | None) -> tuple[bytes, int, int, int, int]:
    """Return the MAC in use, and what makes an entry protected (table/ownership.py)."""
    if not entry:
        return b"", 0, 0, 0, 0
    owned = entry.state & (PERMANENT | NOARP)
    return mac_of(entry), owned, entry.protocol, entry.ext, entry.flags
