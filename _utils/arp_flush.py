"""Delete what is meant and ours, until nothing is left to do. No Salt in here."""

import errno
import os
import time
from itertools import groupby

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

ROUNDS = 10  # looks at the table before a flush gives up; two are enough on a quiet table


def flush(selectors, rows_wanted=False, test=False):
    """Delete every entry that is meant and ours; return counts, and rows where they are wanted.

    The table is looked at again until a look finds nothing left to do: a growing table hides
    entries from a dump, and so does deleting while the dump goes on.
    """
    # answers to orders must not mix with the dump that goes on: two sockets
    with netlink.Channel() as channel, netlink.Channel() as orders:
        table = tables.Table(channel, selectors)
        if test:
            chosen, failed = table.ours(table.read().values()), {}
            result = {"would_flush": len(chosen)}
        else:
            work = _Flush(table, orders, rows_wanted)
            work.run()
            chosen, failed = work.removed.values(), work.failed
            result = {"flushed": work.flushed}
        result["kept"] = table.kept_counts()
        if rows_wanted:
            timers, _limits = channel.tables(selectors.families)
            result["entries"] = rows.rows(table, [chosen], timers)
    return {**result, "failed": list(failed.values())} if failed else result


class _Flush:
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(self, table, channel, rows_wanted):
        self.table, self._channel, self.rows_wanted = table, channel, rows_wanted
        self._orders, self._count = bytearray(), 0  # the batch that is being filled
        self.flushed = 0
        self.removed = {}  # with rows: (ifindex, dst) to Entry
        self.failed = {}  # (ifindex, dst) to a row for the operator
        self._owners = tables.Owners(table)
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
                if again or not layout or not layout.mac or self.table.selectors.by_address:
                    self._one_by_one(wire.entries(block), again)
                else:
                    self._alike(layout, block)
        self._drain()

    def _alike(self, layout, block):
        """Delete what is ours of a block, judged by what its entries share: the fast path."""
        orders, at = wire.delete_messages(block, layout), 0
        for ours, count in self._runs(layout, block):
            end = at + count * layout.size
            if not ours:
                self._one_by_one(layout.entries(block[at:end]))
            else:
                entries = layout.entries(block[at:end]) if self.rows_wanted else ()
                if any((entry.ifindex, entry.dst) in self.removed for entry in entries):
                    self._one_by_one(entries)  # a growing table shows some twice
                else:
                    self._note(entries)  # before they go: what the kernel refuses is taken back
                    self._push(orders[at:end], layout.size)
            at = end

    def _runs(self, layout, block):
        """Return ``(ours, count)`` of each run of entries in a block."""
        shared = layout.shared_head(block)
        if shared:
            return [(self._is_ours(shared), len(block) // layout.size)]
        heads = list(layout.heads.iter_unpack(block))
        ours = {head for head in set(heads) if self._is_ours(head)}
        return [(same, len(list(run))) for same, run in groupby(heads, ours.__contains__)]

    def _is_ours(self, head):
        """Tell whether entries of one ``(ifindex, state, flags, kind)`` are meant and ours."""
        return self.table.is_meant(head) and bool(head[3]) and not self._owners[head]

    def _one_by_one(self, entries, again=0):
        """Delete what is ours of some entries, each judged alone."""
        chosen = [e for e in self.table.ours(entries) if self._is_due(e, again)]
        self._note(chosen)
        for entry in chosen:
            order = wire.delete_message(entry)
            self._push(order, len(order))

    def _note(self, entries):
        """Keep what will be deleted, where somebody wants to know."""
        if self.rows_wanted:
            self.removed.update(((entry.ifindex, entry.dst), entry) for entry in entries)

    def _is_due(self, entry, again):
        """Tell whether an entry should be deleted in this round.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        key = entry.ifindex, entry.dst
        if key in self._residue or key in self.removed:
            return False
        if not entry.mac:
            self._residue.add(key)
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
            self.removed.pop(key, None)
            if tables.already_gone(refusal):
                continue
            if refusal.errno == errno.EPERM and not self.flushed and len(refusals) == self._count:
                raise tables.denied("delete", refusal, self.table)
            self.failed[key] = tables.failure(refusal, self.table)
        self.flushed += self._count - len(refusals)
        self._orders, self._count = bytearray(), 0
