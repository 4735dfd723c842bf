"""Delete what is selected and ours, until nothing is left to do. No Salt in here."""

import errno
import time
from collections import Counter, defaultdict
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.constants import TICKS
from . import listing, ownership, snapshot
from .selectors import LIMIT, Selectors

ROUNDS = 10  # looks at the table before a flush gives up; two are enough on a quiet table


def flush(
    selectors: Selectors, rows_wanted: bool = False, test: bool = False, limit: int = LIMIT
) -> dict[str, Any]:
    """Delete every entry that is selected and ours; return counts, and rows where wanted.

    The table is looked at again until a look finds nothing left to do: a growing table hides
    entries from a dump, and so does deleting while the dump goes on.
    """
    # answers to orders must not mix with the dump that goes on: two sockets
    with rtnetlink.Channel() as channel, rtnetlink.Channel() as orders, listing.no_collection():
        table, removed = snapshot.Table(channel, selectors), _Removed() if rows_wanted else None
        work = _Plan(table, removed) if test else _Flush(table, removed, orders)
        work.run()
        result: dict[str, Any] = {"would_flush" if test else "flushed": work.count}
        result["kept"] = table.kept()
        if removed:
            result["entries"] = removed.rows(table)
    if work.failed:
        result["failed"] = list(work.failed.values())
    return snapshot.bounded(result, ("failed",), limit) if work.failed else result


def delete_locked(table: snapshot.Table, key: codec.Key, mac: bytes) -> bool:
    """Delete one entry that still has this MAC, is ours, and takes no other yet (locktime).

    False: it is not so, nothing was done. OSError where the kernel refuses.
    """
    timers = table.timers(codec.family_of(key[1]), key[0])  # which takes longer than all the rest
    table.device(key[0])
    entry = table.read_again([key]).get(key)
    if not entry or entry.mac != mac or not table.is_ours_still(entry):
        return False
    if not ownership.locked_s(entry, timers):
        return False
    _none, refusals = table.channel.exchange(codec.delete_message(key))
    for refusal in refusals:
        if not snapshot.already_gone(refusal):
            raise snapshot.refused("delete", refusal, table)
    return True


class _Removed:
    """What was ordered to be deleted, as the kernel told it; made into rows when all is done.

    Rows made meanwhile push the kernel's own table out of the processor's caches: a delete then
    takes a third longer.
    """

    def __init__(self) -> None:
        self._blocks: list[table_dump.Block] = []
        self._refused: Counter[codec.Key] = Counter()  # how often

    def add(self, block: table_dump.Block) -> None:
        """Take what is about to be deleted."""
        self._blocks.append(block)

    def drop(self, key: codec.Key) -> None:
        """Take back one order, which the kernel refused."""
        self._refused[key] += 1

    def rows(self, table: snapshot.Table) -> list[listing.Row]:
        """Return what went, as rows; a growing table showed some of it twice, once is enough."""
        told, ordered = listing.Rows(table), Counter[codec.Key]()
        for block in self._blocks:
            told.add("", block)
            if self._refused:
                ordered.update(entry.key for entry in block.entries())
        for key, times in self._refused.items():
            if times == ordered[key]:
                told.drop(key)
        return told.listed()


class _Plan:
    """One flush as it would be: judged, counted, and not sent."""

    def __init__(self, table: snapshot.Table, removed: _Removed | None) -> None:
        self.table = table
        self._removed = removed  # None: nobody wants to know
        self.failed: dict[codec.Key, snapshot.Row] = {}
        self.count = 0
        self._planned: set[codec.Key] = set()
        self._residue: defaultdict[int, set[bytes]] = defaultdict(set)
        self._began = time.monotonic()

    def run(self) -> None:
        """Work off one family's table after the other: each has a hash of its own."""
        for family in self.table.selectors.families:
            self._run([family])

    def _run(self, families: list[int]) -> None:
        """Look and delete until a complete look finds nothing to do.

        OSError where the table never stands still for one: what is hidden is still there.
        """
        hashes = self.table.hashes(families)
        for again in range(ROUNDS):
            before = self.count
            for block in self.table.ours(families):
                self._take(block, again)
            self._drain()
            if self.count == before:
                grown, hashes = hashes, self.table.hashes(families)
                if grown == hashes:
                    return
        looks = f"the table grew during each of {ROUNDS} looks"
        raise OSError(errno.EAGAIN, f"{looks}: {self.count} entries so far; run it again")

    def _take(self, block: table_dump.Block, again: int) -> None:
        """Order what is due of a block to be deleted.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        if again:
            due = [self._is_due(entry) for entry in block.entries()]
            if not any(due):
                return
            block = block.pick(due)
        if not block.has_mac:
            for ifindex, addresses in block.by_device():
                self._residue[ifindex].update(addresses)
        if self._removed is not None:
            self._removed.add(block)
        self._order(block)

    def _is_due(self, entry: codec.Entry) -> bool:
        """Tell whether an entry should be deleted in a later round."""
        if entry.dst in self._residue[entry.ifindex]:
            return False
        return entry.updated > (time.monotonic() - self._began) * TICKS + 1

    def _order(self, block: table_dump.Block) -> None:
        self._planned.update(entry.key for entry in block.entries())
        self.count = len(self._planned)

    def _drain(self) -> None:
        pass


class _Flush(_Plan):
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(
        self, table: snapshot.Table, removed: _Removed | None, channel: rtnetlink.Channel
    ) -> None:
        super().__init__(table, removed)
        self._channel = channel
        self._orders, self._waiting = bytearray(), 0  # the batch that is being filled

    def _order(self, block: table_dump.Block) -> None:
        """Add orders to the batch; send it whenever it is full."""
        orders, size, at = block.deletes(), block.size, 0
        while at < len(orders):
            part = orders[at : at + (self._channel.batch - self._waiting) * size]
            self._orders += part
            self._waiting += len(part) // size
            at += len(part)
            if self._waiting == self._channel.batch:
                self._drain()

    def _drain(self) -> None:
        """Send what is waiting."""
        if not self._waiting:
            return
        _none, refusals = self._channel.exchange(self._orders)
        for refusal in refusals:
            key = refusal.entry.key
            if self._removed is not None:
                self._removed.drop(key)
            if snapshot.already_gone(refusal):
                continue
            if refusal.errno == errno.EPERM and not self.count and len(refusals) == self._waiting:
                raise snapshot.refused("delete", refusal, self.table)
            self.failed[key] = snapshot.failure(refusal, self.table)
        self.count += self._waiting - len(refusals)
        self._orders, self._waiting = bytearray(), 0
