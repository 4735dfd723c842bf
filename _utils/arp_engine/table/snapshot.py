"""One look at the table: what is selected, whose it is, and the memory of what was left alone.

``Table.judged`` is the one loop that judges; list, flush, the dry run and revalidation stand on
it. What the rules are stands in table/ownership.py. No Salt in here. Bad arguments raise
ValueError, a refusing kernel OSError; both carry one line for the operator.
"""

import errno
import functools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.model import Device, Entry, Head, Timers
from . import ownership
from .selectors import Selectors, Unknown

LOOKS = 10  # at a table that grows each time: one doubling of the hash for each, a thousandfold
UNSELECTED = "not selected"

Row = dict[str, str]


class Table:
    """What one call knows of the machine: its devices, and which entries are selected and ours."""

    def __init__(
        self, channel: rtnetlink.Channel, selectors: Selectors, to_be_proven: bool = False
    ) -> None:
        """Take both; Unknown where the selectors name a device that does not exist.

        to_be_proven: what cannot be proven is left alone too.
        """
        self.channel, self.selectors = channel, selectors
        self._to_be_proven = to_be_proven
        self._devices: dict[int, Device | None] = {}  # as far as asked for
        self._timers: dict[int, dict[int, Timers]] = {}  # family to (ifindex to Timers)
        self._named = None if selectors.dev is None else self._find(sorted(selectors.dev))
        self._by_head = {
            family: _HeadVerdicts(functools.partial(self._verdict, family))
            for family in selectors.families
        }
        self._kept: defaultdict[int, dict[bytes, str]] = defaultdict(dict)  # ifindex to (dst: why)

    def _find(self, names: list[str]) -> set[int]:
        """Return the indexes of the devices that are named."""
        found = {name: self.channel.ifindex(name) for name in names}
        for name in (name for name, ifindex in found.items() if not ifindex):
            here = ", ".join(sorted(other for _ifindex, other in self.channel.devices()))
            raise Unknown(f"dev: no device {name!r} here; there are {here}")
        return set(found.values())

    # --- the loop

    def judged(
        self, families: Collection[int] | None = None
    ) -> Iterator[tuple[str, table_dump.Block]]:
        """Look once; yield ``(owner, block)`` of all that is selected. No owner: it is ours.

        families: fewer than are selected.

        A table that grows while it is read shows some entries twice and others not at all, without
        a word (no NLM_F_DUMP_INTR for neighbours). Who keys them by (ifindex, dst) mends the
        first; ``complete`` mends the second.
        """
        for family in families or self.selectors.families:
            verdict_by_head = self._by_head[family].__getitem__
            for block in table_dump.read(self._chunks(family), group_by=verdict_by_head):
                if block.group is None:
                    yield from self._one_by_one(family, block)
                elif block.group != UNSELECTED:
                    yield str(block.group), block

    def ours(self, families: Collection[int] | None = None) -> Iterator[table_dump.Block]:
        """Look once; yield what is selected and ours, and remember why the rest is kept."""
        for reason, block in self.judged(families):
            if reason:
                for ifindex, addresses in block.by_device():
                    self._kept[ifindex].update(dict.fromkeys(addresses, reason))
            else:
                yield block

    def _chunks(self, family: int) -> Iterator[bytes]:
        """Yield the raw answer of one family; of one device, where one is named."""
        only = self._named if self._named and len(self._named) == 1 else [0]
        return self.channel.neighbours(family, *only)

    def _verdict(self, family: int, entry: Head | Entry) -> str | None:
        """Return why an entry is not ours to touch, an empty string, or UNSELECTED.

        None for a head whose entries are to be judged one by one.
        """
        matches = self.selectors.matches(entry, self._named)
        if not matches:
            return None if matches is None else UNSELECTED
        reason = ownership.owner(entry, self.device(entry.ifindex))
        if reason == "" and self._to_be_proven:
            return ownership.unprovable(entry, self.timers(family, entry.ifindex))
        return reason

    def _one_by_one(
        self, family: int, block: table_dump.Block
    ) -> Iterator[tuple[str, table_dump.Block]]:
        """Judge the entries of a block each by itself."""
        verdicts, by_head = [], self._by_head[family]
        for head, entry in zip(block.each_head(), block.entries(), strict=True):
            verdict = by_head[head]
            verdicts.append(self._verdict(family, entry) if verdict is None else verdict)
        for reason in set(verdicts) - {UNSELECTED}:
            yield reason, block.pick((verdict == reason for verdict in verdicts), reason)

    def complete(self, look: Callable[[], None]) -> None:
        """Look, and look again while the table may have grown: a growing one hides entries.

        Its hash gets another seed and size whenever it grows; two equal readings, before and
        after, prove a look complete (net/core/neighbour.c: neigh_hash_grow).
        """
        before = self.hashes()
        for _look in range(LOOKS):
            look()
            after = self.hashes()
            if after == before:
                return
            before = after
        raise OSError(errno.EAGAIN, f"the table grew during each of {LOOKS} looks; try again")

    def hashes(self, families: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
        """Return what changes whenever a table's hash grows."""
        limits = rtnetlink.limits(families or self.selectors.families)
        return {family: limit.hash for family, limit in limits.items()}

    def read_ours(self) -> dict[codec.Key, codec.Entry]:
        """Return all entries that are selected and ours."""
        found: dict[codec.Key, codec.Entry] = {}

        def look() -> None:
            for block in self.ours():
                found.update((entry.key, entry) for entry in block.entries())

        self.complete(look)
        for ifindex, by_address in self._kept.items():  # seen twice, and owned once: owned
            for dst in by_address:
                found.pop((ifindex, dst), None)
        return found

    def read_again(self, keys: Iterable[codec.Key]) -> dict[codec.Key, codec.Entry | None]:
        """Return some entries as they are now; None for what is gone.

        Each is asked for by itself. A kernel before 5.0 cannot do that: there the table is read,
        and what is not seen in it proves nothing and is left out.
        """
        found: dict[codec.Key, codec.Entry | None] = {}
        wanted = list(keys)
        for entries, refusals in self.channel.get_entries(wanted):
            found.update((entry.key, entry) for entry in entries)
            if any(refusal.errno == errno.EOPNOTSUPP for refusal in refusals):
                return self._read_among(set(wanted))
            found.update((r.entry.key, None) for r in refusals if already_gone(r))
        return found

    def _read_among(self, keys: set[codec.Key]) -> dict[codec.Key, codec.Entry | None]:
        """Return those of some entries that a look at the whole table shows."""
        return {
            entry.key: entry
            for family in self.selectors.families
            for block in table_dump.read(self._chunks(family))
            for entry in block.entries()
            if entry.key in keys
        }

    # --- what was left alone

    def keep(self, reason: str, key: codec.Key) -> None:
        """Remember why a selected entry is not touched."""
        self._kept[key[0]][key[1]] = reason

    def is_ours_still(self, entry: codec.Entry) -> bool:
        """Judge an entry that was read again; remember why it is kept."""
        reason = self._verdict(codec.family_of(entry.dst), entry)
        if reason:
            self.keep("no longer selected" if reason == UNSELECTED else reason, entry.key)
        return not reason

    def is_owned(self, entry: codec.Entry) -> bool:
        """Tell whether somebody owns an entry by now, selected or not; remember who."""
        reason = ownership.owner(entry, self.device(entry.ifindex))
        if reason:
            self.keep(reason, entry.key)
        return bool(reason)

    def kept(self) -> dict[str, int]:
        """Return reason to count."""
        counts: Counter[str] = Counter()
        for by_address in self._kept.values():
            counts.update(by_address.values())
        return dict(sorted(counts.items()))

    # --- what is known of devices

    def device(self, ifindex: int) -> Device | None:
        """Return a device, or None where there is none (any more)."""
        if ifindex not in self._devices:
            self._devices[ifindex] = self.channel.device(ifindex)
        return self._devices[ifindex]

    def name(self, ifindex: int) -> str:
        """Return a device's name; a number where it has none any more."""
        device = self.device(ifindex)
        return device.name if device else f"#{ifindex}"

    def timers(self, family: int, ifindex: int) -> Timers:
        """Return how a device proves its neighbours; the kernel's defaults where it is not known.

        It may have come while we asked.
        """
        if family not in self._timers:
            with rtnetlink.Channel() as channel:  # ours may be in the middle of a dump
                self._timers[family] = channel.timers(family)
        return self._timers[family].get(ifindex, Timers())


class _HeadVerdicts(dict[Head, str | None]):
    """Head to the verdict on all its entries, each found once."""

    def __init__(self, verdict: Callable[[Head], str | None]) -> None:
        self._verdict = verdict

    def __missing__(self, head: Head) -> str | None:
        self[head] = verdict = self._verdict(head)
        return verdict


# --- how an operator is told


def named(table: Table, entry: codec.Entry) -> Row:
    """Return an entry as the operator knows it."""
    mac, dev = entry.mac.hex(":"), table.name(entry.ifindex)
    return {"ip": codec.address(entry.dst), "dev": dev, "mac": mac}


def bounded(result: dict[str, Any], lists: Iterable[str], limit: int) -> dict[str, Any]:
    """Cut the lists of an answer to ``limit`` rows (0: all), and say how long each really is."""
    result["totals"] = {name: len(result[name]) for name in lists}
    for name in lists if limit else ():
        result[name] = result[name][:limit]
    return result


def some(names: Iterable[str], most: int = 3) -> str:
    """Return a few names as text, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def already_gone(refusal: rtnetlink.Refusal) -> bool:
    """Tell whether a refusal means that the entry, or its device, is no more: success.

    EPERM with "Neighbor entry is now dead" is a race with another deletion.
    """
    return refusal.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or (
        refusal.errno == errno.EPERM and "dead" in refusal.text
    )


def errno_text(refusal: rtnetlink.Refusal) -> str:
    """Return the errno's name and what the kernel said."""
    name = errno.errorcode.get(refusal.errno, str(refusal.errno))
    return f"{name}: {refusal.text or os.strerror(refusal.errno)}"


def failure(refusal: rtnetlink.Refusal, table: Table) -> Row:
    """Return the row that tells the operator what the kernel refused."""
    return {
        "ip": codec.address(refusal.entry.dst),
        "dev": table.name(refusal.entry.ifindex),
        "error": errno_text(refusal),
    }


def refused(verb: str, refusal: rtnetlink.Refusal, table: Table) -> OSError:
    """Return the exception for what the kernel refused: a PermissionError for EPERM."""
    what = f"{codec.address(refusal.entry.dst)} on {table.name(refusal.entry.ifindex)}"
    advice = "; this needs CAP_NET_ADMIN, run the minion as root" * (refusal.errno == errno.EPERM)
    return OSError(refusal.errno, f"cannot {verb} {what}: {errno_text(refusal)}{advice}")
