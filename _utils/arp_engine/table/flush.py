"""Delete the selected entries that are ours, until a read of the table finds none.

RTM_DELNEIGH deletes whatever has the address: also what an owner has written since the dump showed
the entry. So each chunk of the dump is judged, and its entries are deleted, before the next one is
received; and entries that are few, or that the kernel showed more than two milliseconds ago, are
read again right before they are deleted. What an owner writes to one of many within these two
milliseconds, or while one batch is deleted, can still be hit: netlink has no deletion with a
condition.
"""

import errno
import sys
import time
from collections import Counter, defaultdict
from itertools import islice
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.constants import TICKS
from . import answer, listing, ownership, refusals
from .gc_pause import gc_paused
from .selectors import DEFAULT_LIMIT, Selectors
from .view import TableView

# What the dump showed longer ago is read again, which takes several times as long as its deletion.
FRESH_S = 0.002
# Bytes of a dump at once. The kernel writes the next chunk while it hands out this one, so an entry
# is as old as two chunks take: 0.4 ms (median), 1 ms (99 %). Chunks of 32 KiB take four times as
# long, and are no faster: after one that was read again, the next was too old as well, and so on.
CHUNK = 8192
# So many in all, or a quarter of it in one chunk (some hundred entries): reading them again takes
# next to no time. With all 16 in a chunk a mixed table would take a third longer.
FEW = 16
MAX_ROUNDS = 10  # of reading and deleting; two are enough on a quiet table


def flush(
    selectors: Selectors,
    rows_wanted: bool = False,
    test: bool = False,
    limit: int = DEFAULT_LIMIT,
    few: int = 0,
) -> dict[str, Any]:
    """Delete every entry that is selected and ours; return counts, and rows where wanted.

    few: return the rows also where no more entries than this are deleted.

    The table is read again until a read finds nothing to delete: a hash resize hides entries from a
    dump, and so do deletions during the dump.
    """
    # replies to deletions must not mix with the dump in progress: two sockets
    with rtnetlink.Channel() as channel, rtnetlink.Channel(dump_chunk=CHUNK) as dumps, gc_paused():
        table = TableView(channel, selectors, dumps=dumps)
        deleted = _Deleted(sys.maxsize if rows_wanted else few)
        work = (_DryRun if test else _Flush)(table, deleted)
        work.run()
        result: dict[str, Any] = {"would_flush" if test else "flushed": work.count}
        result["kept"] = table.kept()
        if deleted.is_complete and (rows_wanted or few):
            result["entries"] = deleted.rows(table)
    if work.failed:
        result["failed"] = list(work.failed.values())
    return answer.limit_lists(result, ("failed",), limit) if work.failed else result


def delete_locked(table: TableView, key: codec.Key, mac: bytes) -> bool:
    """Delete one entry that still has this MAC, is ours, and is within its locktime.

    Returns whether all that is so; otherwise nothing was deleted. OSError where the kernel refuses.
    """
    timers = table.timers(codec.family_of(key[1]), key[0])  # slow, so before the entry is read
    table.device(key[0])
    entry = table.read_again([key]).get(key)
    if not entry or entry.mac != mac or not table.is_ours_still(entry):
        return False
    if not ownership.locktime_left_s(entry, timers):
        return False
    _none, refused = table.channel.exchange(codec.delete_message(key))
    for refusal in refused:
        if not refusals.already_gone(refusal):
            raise answer.refusal_error("delete", refusal, table)
    return True


class _Deleted:
    """Blocks of deleted entries, which become rows only when all deletions are done.

    Rows made meanwhile push the kernel's table out of the processor's caches: a deletion then takes
    a third longer.
    """

    def __init__(self, most: int) -> None:
        """most: how many entries to keep; where there are more, all are dropped."""
        self._room = most
        self._blocks: list[table_dump.Block] = []
        self._refused: Counter[codec.Key] = Counter()  # to how many deletions of it

    def add(self, block: table_dump.Block) -> None:
        """Take a block that is about to be deleted."""
        self._room -= len(block)
        if self.is_complete:
            self._blocks.append(block)
        else:
            self._blocks.clear()

    @property
    def is_complete(self) -> bool:
        """Tell whether all deleted entries are in it."""
        return self._room >= 0

    def drop(self, key: codec.Key) -> None:
        """Take back one deletion that the kernel refused."""
        self._refused[key] += 1

    def rows(self, table: TableView) -> list[listing.Row]:
        """Return the deleted entries; one that a hash resize showed twice is one row."""
        deleted, sent = listing.Listing(table), Counter[codec.Key]()
        for block in self._blocks:
            deleted.add("", block)
            if self._refused:
                sent.update(entry.key for entry in block.entries())
        for key, times in self._refused.items():
            if times == sent[key]:
                deleted.drop(key)
        return deleted.rows()


class _DryRun:
    """A flush in test mode: entries are judged and counted, and no deletion is sent."""

    def __init__(self, table: TableView, deleted: _Deleted) -> None:
        self.table = table
        self._deleted = deleted
        self.failed: dict[codec.Key, answer.Row] = {}
        self.count = 0
        self._planned: set[codec.Key] = set()
        self._deleted_failed: defaultdict[int, set[bytes]] = defaultdict(set)  # had no MAC
        self._began = time.monotonic()

    def run(self) -> None:
        """Flush one family after the other: each has a hash of its own."""
        for family in self.table.selectors.families:
            self._run([family])

    def _run(self, families: list[int]) -> None:
        """Read and delete until a complete read finds nothing to delete.

        OSError where the hash was resized during all reads: hidden entries are still there.
        """
        hashes = self.table.hashes(families)
        for round_ in range(MAX_ROUNDS):
            before = self.count
            for block in self.table.ours(families, at_once=True):
                self._take(block, is_first_round=not round_)
            if self.count == before:
                before_read, hashes = hashes, self.table.hashes(families)
                if before_read == hashes:
                    return
        resized = f"neighbour hash resized during all {MAX_ROUNDS} dumps"
        raise OSError(
            errno.EAGAIN, f"{resized}; {self.count} entries deleted so far: run the flush again"
        )

    def _take(self, block: table_dump.Block, is_first_round: bool) -> None:
        """Delete the entries of a block that are due.

        Later rounds leave two kinds alone. A deleted entry that the kernel still references stays
        as FAILED for a moment. And an entry that the kernel has learned since the flush began is
        right: a flush under traffic would delete it again, round after round.
        """
        if not is_first_round:
            due = [self._is_due(entry) for entry in block.entries()]
            if not any(due):
                return
            block = block.pick(due)
        if not block.has_mac:
            for ifindex, addresses in block.by_device():
                self._deleted_failed[ifindex].update(addresses)
        self._deleted.add(block)
        self._delete(block)

    def _is_due(self, entry: codec.Entry) -> bool:
        """Tell whether an entry is to be deleted in a later round."""
        if entry.dst in self._deleted_failed[entry.ifindex]:
            return False
        return entry.updated > (time.monotonic() - self._began) * TICKS + 1

    def _delete(self, block: table_dump.Block) -> None:
        self._planned.update(entry.key for entry in block.entries())
        self.count = len(self._planned)


class _Flush(_DryRun):
    """A flush: sends deletions in batches, counts them, and notes what the kernel refused."""

    def _delete(self, block: table_dump.Block) -> None:
        """Send the deletions of a block, in batches."""
        orders, size, most = block.deletes(), block.size, self.table.channel.batch
        for at in range(0, len(block), most):
            if not self._are_few(block) and self.table.age_s() <= FRESH_S:
                self._send(orders[at * size : (at + most) * size], min(most, len(block) - at))
            else:
                keys = self._ours_still([*islice(block.entries(), at, at + most)])
                self._send(b"".join(map(codec.delete_message, keys)), len(keys))

    def _are_few(self, block: table_dump.Block) -> bool:
        return len(block) <= FEW // 4 or self.count + len(block) <= FEW

    def _ours_still(self, shown: list[codec.Entry]) -> list[codec.Key]:
        """Read a batch of entries again; return those that are still to be deleted.

        One that has another MAC now is left alone: the kernel has just learned it.
        """
        now: dict[codec.Key, codec.Entry] = {}
        for entries, refused in self.table.channel.get_entries(entry.key for entry in shown):
            now.update((entry.key, entry) for entry in entries)
            for refusal in refused:
                if refusal.errno == errno.EOPNOTSUPP:  # before Linux 5.0
                    return [entry.key for entry in shown]
                if not refusals.already_gone(refusal):
                    self.failed[refusal.entry.key] = answer.failure_row(refusal, self.table)
        due = []
        for entry in shown:
            current = now.get(entry.key)  # None: it is gone
            is_same = current and current.mac in (entry.mac, b"")
            if current and self.table.is_ours_still(current) and is_same:
                due.append(entry.key)
            else:
                self._deleted.drop(entry.key)
        return due

    def _send(self, orders: bytes | bytearray, count: int) -> None:
        if not count:
            return
        _none, refused = self.table.channel.exchange(orders)
        for refusal in refused:
            key = refusal.entry.key
            self._deleted.drop(key)
            if refusals.already_gone(refusal):
                continue
            if refusal.errno == errno.EPERM and not self.count and len(refused) == count:
                raise answer.refusal_error("delete", refusal, self.table)
            self.failed[key] = answer.failure_row(refusal, self.table)
        self.count += count - len(refused)
