"""Delete what is meant and ours, until nothing is left to do. No Salt in here."""

import errno
import os
import time

try:
    import arp_netlink as netlink
    import arp_rows as rows
    import arp_table as tables
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
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
        table, removed = tables.Table(channel, selectors), None
        if rows_wanted:
            timers, _limits = channel.tables(selectors.families)
            removed = rows.Rows(table, timers)
        if test:
            chosen, failed = table.ours(table.read().values()), {}
            result = {"would_flush": len(chosen)}
            for entry in chosen if rows_wanted else ():
                removed.add(wire.family_of(entry.dst), None, [entry])
        else:
            work = _Flush(table, orders, removed)
            work.run()
            result, failed = {"flushed": work.flushed}, work.failed
        result["kept"] = table.kept_counts()
        if rows_wanted:
            result["entries"] = removed.listed()
    return {**result, "failed": list(failed.values())} if failed else result


class _Verdicts(dict):
    """What shall become of entries, by what most share: ``(ifindex, state, flags, kind)``.

    Where no address is named; an entry whose address must be looked at is judged alone.
    """

    def __init__(self, table):
        super().__init__()
        self._table, self._owners = table, tables.Owners(table)

    def __missing__(self, head):
        """Judge once for all entries alike."""
        if not head[3]:
            verdict = ALONE
        elif not self._table.is_meant(head):
            verdict = UNMEANT
        else:
            verdict = self._owners[head] or OURS
        self[head] = verdict
        return verdict


class _Flush:
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(self, table, channel, removed):
        self.table, self._channel = table, channel
        self._removed = removed  # Rows of what has been deleted, or None: nobody wants to know
        self._orders, self._count = bytearray(), 0  # the batch that is being filled
        self.flushed = 0
        self.failed = {}  # (ifindex, dst) to a row for the operator
        self._verdicts = _Verdicts(table)
        self._residue = set()  # (ifindex, dst) without a MAC that were deleted once
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
        for chunk in self.table.chunks(family):
            for layout, block in wire.blocks(chunk):
                if layout and not self.table.selectors.by_address:
                    self._alike(family, layout, block, again)
                else:
                    self._one_by_one(wire.entries(block), again)
        self._drain()

    def _alike(self, family, layout, block, again):
        """Judge the entries of a block by what they share with others: the fast path."""
        shared = layout.shared_head(block)
        heads = [shared] if shared else list(layout.heads.iter_unpack(block))
        ours, alone = block, b""
        if any(self._verdicts[head] != OURS for head in set(heads)):
            verdicts = [self._verdicts[head] for head in heads]
            if shared:
                verdicts *= len(block) // layout.size
            ours = layout.pick(block, [verdict == OURS for verdict in verdicts])
            alone = layout.pick(block, [verdict == ALONE for verdict in verdicts])
            for row, verdict in zip(layout.tuples(block), verdicts, strict=True):
                if verdict not in (OURS, ALONE, UNMEANT):
                    self.table.kept[row[0], row[4]] = verdict
        told = self._removed is not None
        twice = told and any(self._is_told(row[0], row[4]) for row in layout.tuples(ours))
        if again or twice:  # a growing table shows some entries twice
            ours, alone = b"", ours + alone
        elif not layout.mac:
            self._residue.update((row[0], row[4]) for row in layout.tuples(ours))
        if told:  # before they go: what the kernel refuses is taken back
            self._removed.add(family, layout, ours)
        self._push(wire.delete_messages(ours, layout), layout.size)
        self._one_by_one(layout.entries(alone), again)

    def _one_by_one(self, entries, again):
        """Delete what is ours of some entries, each judged alone."""
        for entry in self.table.ours(entries):
            if self._is_due(entry, again):
                if self._removed is not None:
                    self._removed.add(wire.family_of(entry.dst), None, [entry])
                order = wire.delete_message(entry)
                self._push(order, len(order))

    def _is_due(self, entry, again):
        """Tell whether an entry should be deleted in this round.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        key = entry.ifindex, entry.dst
        if key in self._residue or self._is_told(*key):
            return False
        if not entry.mac:
            self._residue.add(key)
        return not again or entry.updated > (time.monotonic() - self._began) * wire.TICKS + 1

    def _is_told(self, ifindex, dst):
        """Tell whether rows are wanted and one of this entry is there already."""
        return self._removed is not None and self._removed.has(ifindex, dst)

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
