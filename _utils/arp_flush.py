"""Delete what is meant and ours, until nothing is left to do. No Salt in here."""

import errno
import os
import time
from collections import Counter, defaultdict

try:
    import arp_blocks as blocks
    import arp_netlink as netlink
    import arp_rows as rows
    import arp_table as tables
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_blocks as blocks
    from saltext.arp_hygiene.utils import arp_netlink as netlink
    from saltext.arp_hygiene.utils import arp_rows as rows
    from saltext.arp_hygiene.utils import arp_table as tables
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

OURS, ALONE, UNMEANT = 1, 2, 3  # verdicts; any other is why an entry is kept
ROUNDS = 10  # looks at the table before a flush gives up; two are enough on a quiet table


def flush(selectors, rows_wanted=False, test=False):
    """Delete every entry that is meant and ours; return counts, and rows where they are wanted.

    The table is looked at again until a look finds nothing left to do: a growing table hides
    entries from a dump, and so does deleting while the dump goes on.
    """
    # answers to orders must not mix with the dump that goes on: two sockets
    with netlink.Channel() as channel, netlink.Channel() as orders, rows.no_collection():
        table, removed = tables.Table(channel, selectors), _Removed() if rows_wanted else None
        if test:
            chosen, failed = table.read_ours().values(), {}
            result = {"would_flush": len(chosen)}
            if rows_wanted:
                removed.add_each(chosen)
        else:
            work = _Flush(table, orders, removed)
            work.run()
            result, failed = {"flushed": work.flushed}, work.failed
        result["kept"] = table.kept_counts()
        if rows_wanted:
            result["entries"] = removed.rows(table)
    return {**result, "failed": list(failed.values())} if failed else result


class _Verdicts(dict):
    """What shall become of entries, by their head, where no address is named.

    An entry whose address must be looked at is judged alone.
    """

    def __init__(self, table):
        super().__init__()
        self._table, self._owners = table, tables.Owners(table)

    def __missing__(self, head):
        """Judge once for all entries alike."""
        if not head.kind:
            verdict = ALONE
        elif not self._table.is_meant(head):
            verdict = UNMEANT
        else:
            verdict = self._owners[head] or OURS
        self[head] = verdict
        return verdict


class _Removed:
    """What was ordered to be deleted, as the kernel told it; made into rows when all is done.

    Rows made meanwhile push the kernel's own table out of the processor's caches: a delete then
    takes a third longer.
    """

    def __init__(self):
        self._batches = []  # in the shape of Table.batches
        self._refused = Counter()  # (ifindex, dst) to how often

    def add(self, family, layout, head, block):
        """Take a block of one head."""
        self._batches.append((family, layout, head, block))

    def add_each(self, entries):
        """Take some entries."""
        self._batches += [(wire.family_of(entry.dst), None, None, [entry]) for entry in entries]

    def drop(self, ifindex, dst):
        """Take back one order, which the kernel refused."""
        self._refused[ifindex, dst] += 1

    def rows(self, table):
        """Return what went, as rows; a growing table showed some of it twice, once is enough."""
        timers, _limits = table.channel.tables(table.selectors.families)
        told, ordered = rows.Rows(table, timers), Counter()
        for family, layout, head, batch in self._batches:
            told.add(family, layout, head, batch)
            for entry in (layout.entries(batch) if layout else batch) if self._refused else ():
                ordered[entry.ifindex, entry.dst] += 1
        for key, times in self._refused.items():
            if times == ordered[key]:
                told.drop(*key)
        return told.listed()


class _Flush:
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(self, table, channel, removed):
        self.table, self._channel = table, channel
        self._removed = removed  # None: nobody wants to know
        self._orders, self._count = bytearray(), 0  # the batch that is being filled
        self.flushed = 0
        self.failed = {}  # (ifindex, dst) to a row for the operator
        self._verdicts = _Verdicts(table)
        self._residue = defaultdict(set)  # ifindex to dst, of what had no MAC when it was deleted
        self._began = time.monotonic()

    def run(self):
        """Look and delete, family by family, until nothing is left to do, at most ROUNDS times."""
        for family in self.table.selectors.families:
            for again in range(ROUNDS):
                before = self.flushed
                self._look(family, again)
                if self.flushed == before:
                    break

    def _look(self, family, again):
        """Look at the table of a family once, and delete what is ours."""
        for layout, alike, block in blocks.read(self.table.chunks(family), self._sort):
            if layout and not self.table.selectors.by_address:
                self._alike(family, layout, alike, block, again)
            else:
                self._one_by_one(blocks.entries(block), again)
        self._drain()

    def _sort(self, head):
        """Return what entries must share to be deleted together; for rows, all of their head."""
        return self._verdicts[head], head.ifindex, head if self._removed is not None else None

    def _alike(self, family, layout, alike, block, again):
        """Judge the entries of a block by what they share: the fast path."""
        verdict, ifindex, head = alike
        if verdict == UNMEANT:
            return
        if verdict not in (OURS, ALONE):
            self.table.keep(verdict, ifindex, *layout.addresses(block))
            return
        if verdict == ALONE or again:
            self._one_by_one(layout.entries(block), again)
            return
        if not layout.mac:
            self._residue[ifindex].update(layout.addresses(block))
        if self._removed is not None:
            self._removed.add(family, layout, head, block)
        self._push(layout.deletes(block), layout.size)

    def _one_by_one(self, entries, again):
        """Delete what is ours of some entries, each judged alone."""
        for entry in self.table.ours(entries):
            if self._is_due(entry, again):
                if self._removed is not None:
                    self._removed.add_each([entry])
                order = wire.delete_message(entry)
                self._push(order, len(order))

    def _is_due(self, entry, again):
        """Tell whether an entry should be deleted in this round.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        residue = self._residue[entry.ifindex]
        if entry.dst in residue:
            return False
        if not entry.mac:
            residue.add(entry.dst)
        return not again or entry.updated > (time.monotonic() - self._began) * wire.TICKS + 1

    def _push(self, orders, size):
        """Add orders of one size each to the batch; send it whenever it is full."""
        at = 0
        while at < len(orders):
            part = orders[at : at + (netlink.BATCH - self._count) * size]
            self._orders += part
            self._count += len(part) // size
            at += len(part)
            if self._count == netlink.BATCH:
                self._drain()

    def _drain(self):
        """Send what is waiting."""
        if not self._count:
            return
        _none, refusals = self._channel.exchange(self._orders)
        for refusal in refusals:
            key = refusal.entry.ifindex, refusal.entry.dst
            if self._removed is not None:
                self._removed.drop(*key)
            if tables.already_gone(refusal):
                continue
            if refusal.errno == errno.EPERM and not self.flushed and len(refusals) == self._count:
                raise tables.denied("delete", refusal, self.table)
            self.failed[key] = tables.failure(refusal, self.table)
        self.flushed += self._count - len(refusals)
        self._orders, self._count = bytearray(), 0
