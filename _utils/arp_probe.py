"""Make the kernel prove entries again, paced, and wait for its verdict. No Salt in here.

An entry is put into PROBE with the MAC it already has. Traffic goes on to that MAC while the
kernel asks by ARP (or neighbour solicitation); in PROBE only the answer counts, hints that keep a
wrong entry REACHABLE do not. Nothing is invented: the MAC that comes out is the one that answered.
"""

import errno
import os
import re
import time
from collections import deque

try:
    import arp_blocks as blocks
    import arp_netlink as netlink
    import arp_rows as rows
    import arp_select as select
    import arp_table as tables
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_blocks as blocks
    from saltext.arp_hygiene.utils import arp_netlink as netlink
    from saltext.arp_hygiene.utils import arp_rows as rows
    from saltext.arp_hygiene.utils import arp_select as select
    from saltext.arp_hygiene.utils import arp_table as tables
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

# Before 4.2 an administrative PROBE keeps the old probe count and can fail at once
# ("neigh: Better handling of transition to NUD_PROBE state").
OLDEST_KERNEL = (4, 2)

SLICE_S = (
    0.5  # how often a paced run sends: each look at the table costs CPU, each chunk is a burst
)
FRESH_S = 0.1  # an entry read longer ago than this is read again before it is touched
GRACE_S = 0.25  # FAILED lasts no longer where traffic makes the kernel ask again by broadcast
# 4000 probes at once overflowed a receiving backlog (net.core.netdev_max_backlog, 1000) and lost
# 166 to 341 living hosts; so at rate 0 no more than this many may be unanswered and young.
WINDOW = 256
YOUNG_S = 0.02
PATIENCE_S = (
    60.0  # a verdict that takes longer is not waited for: a router can set the timer to days
)
POLL_S = (0.001, 0.1)  # the shortest and the longest nap between two looks


def revalidate(selectors, rate, test=False):
    """Prove every entry that is meant and ours; return what came of each.

    rate: entries a second; 0 for as fast as is safe.
    """
    release = os.uname().release
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if version < OLDEST_KERNEL:
        raise OSError(
            errno.EOPNOTSUPP,
            f"cannot revalidate on Linux {release}: before 4.2 the kernel does not start its "
            "probes anew and may fail a live neighbour; use arp.flush",
        )
    with netlink.Channel() as channel:
        table = tables.Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        read_at = time.monotonic()  # before it is read: a large table takes its time
        found = table.read()
        chosen = table.ours(found.values(), also=lambda entry: unprovable(entry, timers))
        suspects = [entry for entry in chosen if _suspect(entry, timers)]
        if test:
            result = {
                "would_check": len(chosen),
                "suspects": [_row(table, entry) for entry in suspects],
            }
        else:
            first = {(entry.ifindex, entry.dst) for entry in suspects}
            chosen.sort(key=lambda entry: (entry.ifindex, entry.dst) not in first)
            result = _Run(table, timers, len(found)).run(chosen, rate, read_at)
        result["kept"] = table.kept_counts()
        result["warnings"] = _warnings(table, timers, chosen)
    return result


def unprovable(entry, timers):
    """Return why there is nothing to prove, or nobody to ask; or an empty string."""
    if not entry.mac:
        return select.state_name(entry.state)
    timing = timers.get((wire.family_of(entry.dst), entry.ifindex), netlink.DEFAULT_TIMERS)
    # without a single probe the kernel fails a live entry at once, and asks nobody
    return "" if timing.solicits else "its device sends no probes"


def _suspect(entry, timers):
    timing = timers.get((wire.family_of(entry.dst), entry.ifindex))
    return timing is not None and rows.is_suspect(
        entry.state, entry.confirmed, entry.updated, timing.base_reachable_s
    )


def _row(table, entry):
    return {
        "ip": tables.address(entry.dst),
        "dev": table.name(entry.ifindex),
        "mac": entry.mac.hex(":"),
    }


def _warnings(table, timers, entries):
    """Say where revalidation is not harmless on every fabric, or cannot heal."""
    lines = []
    for family, ifindex in sorted(
        {(wire.family_of(entry.dst), entry.ifindex) for entry in entries}
    ):
        timing = timers.get((family, ifindex), netlink.DEFAULT_TIMERS)
        key = f"net.{tables.FAMILY_NAMES[family]}.neigh.{table.name(ifindex)}"
        if not timing.mcast_resolicit:
            lines.append(
                f"{key}.mcast_resolicit is 0: where nobody answers unicast requests, a live entry "
                "fails before the kernel asks by broadcast; set it to 3"
            )
        if timing.locktime_s >= timing.solicits * timing.retrans_s:
            lines.append(
                f"{key}.locktime lasts as long as all probes: a new MAC is not believed in time, "
                "and its entry fails instead of being healed"
            )
    return lines


class _Pending:
    """An entry in PROBE: when it got there, and when its verdict is overdue."""

    def __init__(self, entry, now, patience_s):
        self.entry, self.probed, self.due = entry, now, now + patience_s
        self.failed = False


class _Run:
    """One revalidation: entries whose verdict is awaited, and what is known of the others."""

    def __init__(self, table, timers, size):
        self.table, self.timers, self.size = table, timers, size
        self.pending = {}  # (ifindex, dst) to _Pending
        self.counts = {"checked": 0, "confirmed": 0, "undecided": 0}
        self.healed, self.gone, self.failed = [], [], []
        self._can_get = True

    def run(self, chosen, rate, read_at):
        """Probe ``chosen`` in order; return the result when every verdict is in or overdue."""
        todo = deque(chosen)
        size = max(1, min(int(rate * SLICE_S), netlink.BATCH)) if rate else netlink.BATCH
        due = time.monotonic()
        nap = POLL_S[0]
        while todo or self.pending:
            nap = nap if self._judge() else min(nap * 1.5, POLL_S[1])
            now = time.monotonic()
            if todo and now >= due and self._has_room(now):
                chunk = [todo.popleft() for _ in range(min(len(todo), size))]
                if rate:
                    due = max(due, now - SLICE_S) + len(chunk) / rate
                if now - read_at > FRESH_S:
                    chunk = self._read_again(chunk)
                self._probe(chunk)
                nap = POLL_S[0]
            if todo and due > now:
                time.sleep(max(0, due - time.monotonic()))  # one look a slice: each costs CPU
            elif self.pending and not (todo and self._has_room(now)):
                time.sleep(nap)
        return self._result()

    def _result(self):
        """Return the counts and rows."""
        result = {**self.counts, "healed": self.healed, "gone": self.gone}
        return {**result, "failed": self.failed} if self.failed else result

    def _has_room(self, now):
        """Tell whether a receiving backlog can bear one more chunk."""
        young = sum(now - pending.probed < YOUNG_S for pending in self.pending.values())
        return young <= WINDOW - netlink.BATCH

    def _read_again(self, chunk):
        """Return the entries of a chunk as they are now: still meant, still ours, with a MAC.

        At 100 a second an entry is touched minutes after it was read; by then it may belong to
        somebody, and we would take the mark off that says so.
        """
        now = self._look([(entry.ifindex, entry.dst) for entry in chunk])
        for entry in chunk:
            key = entry.ifindex, entry.dst
            if now.get(key) is None:
                self.table.keep("already gone" if key in now else "not seen again", *key)
        left = [entry for entry in now.values() if entry]
        for entry in left:
            if not self.table.wants(entry):  # a state was named, and it has another by now
                self.table.keep("no longer meant", entry.ifindex, entry.dst)
        return self.table.ours(left, also=lambda entry: unprovable(entry, self.timers))

    def _probe(self, batch):
        """Put at most netlink.BATCH entries into PROBE."""
        if not batch:
            return
        now = time.monotonic()
        orders = b"".join(map(wire.probe_message, batch))
        _none, refusals = self.table.channel.exchange(orders)
        for entry in batch:
            family = wire.family_of(entry.dst)
            timing = self.timers.get((family, entry.ifindex), netlink.DEFAULT_TIMERS)
            # the kernel's timers run up to an eighth late (timer wheel)
            patience = min(timing.solicits * timing.retrans_s * 1.125 + 0.5, PATIENCE_S)
            self.pending[entry.ifindex, entry.dst] = _Pending(entry, now, patience)
        self.counts["checked"] += len(batch)
        for refusal in refusals:
            self._refused(refusal, len(refusals) == len(batch))

    def _refused(self, refusal, whole_batch):
        """Take back one entry that the kernel did not put into PROBE."""
        key = refusal.entry.ifindex, refusal.entry.dst
        if self.pending.pop(key, None):
            self.counts["checked"] -= 1
        if tables.already_gone(refusal):
            self.table.keep("already gone", *key)
        elif refusal.errno == errno.EINVAL:  # it lost its MAC since we read it
            self.table.keep("INCOMPLETE", *key)
        elif refusal.errno == errno.EPERM and whole_batch and not self.counts["confirmed"]:
            raise tables.denied("revalidate", refusal, self.table)
        else:
            self.failed.append(tables.failure(refusal, self.table))

    def _look(self, keys):
        """Return key to Entry as it is now, or to None where the kernel says it is gone.

        A dump costs a microsecond or two an entry, to the kernel and to us; a single question
        four times that. A key missing from a dump proves nothing (see Table.batches): it is asked
        for by itself, and missing here only where the kernel answers no such question.
        """
        if self._can_get and len(keys) * 4 < self.size:
            found = self._get(keys)
            if found is not None:
                return found
        wanted, found, seen = set(keys), {}, 0
        for chunk in self.table.chunks():
            for entry in blocks.entries(chunk):
                seen += 1
                if (entry.ifindex, entry.dst) in wanted:
                    found[entry.ifindex, entry.dst] = entry
        self.size = seen  # meant or not: that is what a dump costs
        missing = wanted.difference(found)
        if missing and self._can_get:
            found.update(self._get(list(missing)) or {})
        return found

    def _get(self, keys):
        """Ask for each key; None where the kernel (before 5.0) answers no such question."""
        found = {}
        for at in range(0, len(keys), netlink.BATCH):
            questions = [wire.get_message(*key) for key in keys[at : at + netlink.BATCH]]
            entries, refusals = self.table.channel.exchange(b"".join(questions))
            for entry in entries:
                found[entry.ifindex, entry.dst] = entry
            for refusal in refusals:
                if refusal.errno == errno.EOPNOTSUPP:
                    self._can_get = False
                    return None
                if tables.already_gone(refusal):
                    found[refusal.entry.ifindex, refusal.entry.dst] = None
        return found

    def _judge(self):
        """Settle what can be settled of what is pending; tell whether anything was."""
        keys = list(self.pending)
        if not keys:
            return False
        now_in_table = self._look(keys)
        now = time.monotonic()
        for key in keys:
            pending = self.pending[key]
            verdict = "waiting"
            if key in now_in_table:
                verdict = _verdict(pending.entry, now_in_table[key], now - pending.probed)
            if verdict == "failed":
                pending.failed, pending.due = True, min(pending.due, now + GRACE_S)
            if verdict in ("confirmed", "healed", "removed") or now >= pending.due:
                del self.pending[key]
                self._settle(pending, now_in_table.get(key), verdict)
        return len(self.pending) < len(keys)

    def _settle(self, pending, current, verdict):
        """Write down what came of one entry."""
        entry = pending.entry
        owner = current and select.owner(current, self.table.devices.get(current.ifindex))
        if pending.failed and verdict not in ("confirmed", "healed"):
            self.gone.append(_row(self.table, entry))
        elif verdict == "removed" or (owner and current.mac):  # not by ARP: somebody's doing
            self.table.keep(owner or "removed meanwhile", entry.ifindex, entry.dst)
            self.counts["checked"] -= 1
        elif verdict == "confirmed":
            self.counts["confirmed"] += 1
        elif verdict == "healed":
            row = _row(self.table, entry)
            old = row.pop("mac")
            self.healed.append({**row, "old": old, "new": current.mac.hex(":")})
        else:
            self.counts["undecided"] += 1


def _verdict(entry, current, elapsed_s):
    """Return what the kernel has found out about an entry that was put into PROBE."""
    if current is None:
        return "removed"
    if current.state & select.FAILED:
        return "failed"
    if current.state & (select.PROBE | select.INCOMPLETE):
        return "waiting"
    if current.mac != entry.mac:
        return "healed"
    # It left PROBE with its MAC, which the kernel does for an answer alone. What another process
    # writes looks different unless it writes REACHABLE, or hints have come since.
    return "confirmed" if current.confirmed <= elapsed_s * wire.TICKS + 2 else "waiting"
