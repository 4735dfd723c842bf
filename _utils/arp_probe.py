"""Make the kernel prove entries again, paced, and wait for its verdict. No Salt in here.

An entry is put into PROBE with the MAC it already has. Traffic goes on to that MAC while the
kernel asks by ARP (or neighbour solicitation); in PROBE only the answer counts, hints that keep a
wrong entry REACHABLE do not. Nothing is invented: the MAC that comes out is the one that answered.
"""

import errno
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import arp_judge as judge
import arp_table as tables
import arp_wire as wire
from arp_kernel import FAILED, INCOMPLETE, PROBE, TICKS

SLICE_S = 0.5  # how often a paced run sends: each look costs CPU, each chunk is a burst
FRESH_S = 0.1  # an entry read longer ago than this is read again before it is touched
GRACE_S = 0.25  # FAILED lasts no longer where traffic makes the kernel ask again by broadcast
# The kernel sends all requests of one tick at once, and their answers meet in one receiving backlog
# (net.core.netdev_max_backlog, 1000): 4000 at once lost 166 to 341 living hosts. So a burst is no
# more than half of what it holds; the other half is for other people's packets.
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
BURST = 500  # at most: a peer may hold less than we do
CAREFUL = 50  # where the backlog is not shown (a network namespace): hosts with 200 have been seen
YOUNG_S = 0.02  # an answer that takes longer is not waited for by the next burst
VERDICT_S = 60.0  # a verdict is not waited for longer: a router can set the timer to days
WAITING = PROBE | INCOMPLETE
POLL_S = (0.0005, 0.1)  # the shortest and the longest nap between two looks
LOOK_S = 0.1  # a look costs the whole table: no more often while there is something to ask
QUESTION = 8  # what asking for one entry costs, in entries of a dump


def _burst() -> int:
    """Return how many entries may be asked about at once."""
    try:
        return max(1, min(BURST, int(BACKLOG.read_text(encoding="ascii")) // 2))
    except (OSError, ValueError):  # not shown in every namespace
        return CAREFUL


class _Pending:
    """An entry in PROBE: when it got there, and when its verdict is overdue."""

    __slots__ = ("due", "entry", "failed", "probed")

    def __init__(self, entry: wire.Entry, now: float, patience_s: float) -> None:
        self.entry, self.probed, self.due = entry, now, now + patience_s
        self.failed = False


class Run:
    """One revalidation: entries whose verdict is awaited, and what is known of the others."""

    def __init__(self, table: tables.Table, size: int) -> None:
        self.table, self.size = table, size
        self.pending: defaultdict[int, dict[bytes, _Pending]] = defaultdict(dict)
        self._last: _Pending | None = None  # the one that was probed last
        self._overdue_at = float("inf")  # not before the first of them is
        self.counts = {"checked": 0, "confirmed": 0, "undecided": 0}
        self.healed: list[tables.Row] = []
        self.gone: list[tables.Row] = []
        self.failed: list[tables.Row] = []
        self._can_get = True

    def run(self, chosen: Iterable[wire.Entry], rate: float, read_at: float) -> dict[str, Any]:
        """Probe ``chosen`` in order; return the result when every verdict is in or overdue."""
        todo, most = deque(chosen), _burst()
        if rate:
            most = max(1, min(int(rate * SLICE_S), most))
        due = looked = time.monotonic()
        nap = POLL_S[0]
        while todo or self._waits():
            now, before = time.monotonic(), self._waits()
            nap = min(nap * 1.25, POLL_S[1])
            if not self._is_under_way(now):
                if todo and now >= due:
                    chunk = [todo.popleft() for _ in range(min(len(todo), most))]
                    if rate:
                        due = max(due, now - SLICE_S) + len(chunk) / rate
                    self._probe(self._read_again(chunk) if now - read_at > FRESH_S else chunk)
                    nap = POLL_S[0]
                if before and (not todo or now - looked >= LOOK_S):
                    nap, looked = POLL_S[0] if self._judge() else nap, now
            if todo and due > now:  # one look a slice: each costs CPU
                nap = max(0, due - time.monotonic())
            if todo or self._waits():
                time.sleep(nap)
        return self._result()

    def _waits(self):
        """Tell whether a verdict is awaited."""
        return any(self.pending.values())

    def _is_under_way(self, now):
        """Tell whether the last burst may be: its last entry is young, and still asked about.

        The kernel asks about a burst within a tick or two of its timer. When the last has its
        answer these are over, and the next burst has another tick.
        """
        last = self._last
        if not last or now - last.probed >= YOUNG_S or not self._can_get:
            return last is not None and now - last.probed < YOUNG_S
        key = last.entry.ifindex, last.entry.dst
        current = self._get([key]).get(key)
        return current is not None and bool(current.state & WAITING)

    def _result(self):
        """Return the counts and rows."""
        result = {**self.counts, "healed": self.healed, "gone": self.gone}
        return {**result, "failed": self.failed} if self.failed else result

    def _read_again(self, chunk):
        """Return the entries of a chunk as they are now: still meant, still ours, with a MAC.

        At 100 a second an entry is touched minutes after it was read; by then it may belong to
        somebody, and we would take the mark off that says so.
        """
        asked = defaultdict(set)
        for entry in chunk:
            asked[entry.ifindex].add(entry.dst)
        now = self._look(asked)
        for entry in chunk:
            key = entry.key
            if now.get(key) is None:
                self.table.keep("already gone" if key in now else "not seen again", key)
        left = [entry for entry in now.values() if entry]
        return [entry for entry in left if self.table.is_ours_still(entry)]

    def _probe(self, chunk):
        """Put entries into PROBE."""
        now, batches, most = time.monotonic(), [], self.table.channel.batch
        for at in range(0, len(chunk), most):
            batch = chunk[at : at + most]
            batches.append((batch, b"".join(map(wire.probe_message, batch))))
        # back to back: what is asked for in one tick is answered in one
        answers = [self.table.channel.exchange(orders) for _batch, orders in batches]
        for entry in chunk:
            pending = _Pending(entry, now, self._patience_s(entry))
            self.pending[entry.ifindex][entry.dst] = pending
            self._overdue_at = min(self._overdue_at, pending.due)
            self._last = pending
        self.counts["checked"] += len(chunk)
        for (batch, _orders), (_none, refusals) in zip(batches, answers, strict=True):
            for refusal in refusals:
                self._refused(refusal, len(refusals) == len(batch))

    def _patience_s(self, entry: wire.Entry) -> float:
        """Return how long the kernel takes to give up."""
        timing = self.table.timers(wire.family_of(entry.dst), entry.ifindex)
        # its timers run up to an eighth late (timer wheel)
        return min(timing.solicits * timing.retrans_s * 1.125 + 0.5, VERDICT_S)

    def _refused(self, refusal, whole_batch):
        """Take back one entry that the kernel did not put into PROBE."""
        key = refusal.entry.ifindex, refusal.entry.dst
        if self.pending[key[0]].pop(key[1], None):
            self.counts["checked"] -= 1
        if tables.already_gone(refusal):
            self.table.keep("already gone", key)
        elif refusal.errno == errno.EINVAL:  # it lost its MAC since we read it
            self.table.keep("INCOMPLETE", key)
        elif refusal.errno == errno.EPERM and whole_batch and not self.counts["confirmed"]:
            raise tables.denied("revalidate", refusal, self.table)
        else:
            self.failed.append(tables.failure(refusal, self.table))

    def _look(self, wanted, still=0):
        """Return key to Entry as it is now, or to None where the kernel says it is gone.

        wanted: ifindex to a collection of dst. still: states; what is in one of them is left out.

        An address missing from a dump proves nothing (see Table.batches): it is asked for by
        itself, and missing here only where the kernel answers no such question.
        """
        missing = {ifindex: set(addresses) for ifindex, addresses in wanted.items() if addresses}
        few = self._can_get and sum(map(len, missing.values())) * QUESTION < self.size
        found = {} if few else self._dump(missing, still)
        if self._can_get:
            found.update(self._get([(index, dst) for index in missing for dst in missing[index]]))
        return self._dump(missing, still) if few and not self._can_get else found

    def _dump(self, missing, still):
        """Find entries in the whole table; take those that are seen out of ``missing``."""
        found: dict[wire.Key, wire.Entry | None] = {}
        self.size = 0
        for block in self.table.everything():
            self.size += len(block)  # selected or not: so it costs
            for entry in block.entries():
                if entry.dst in missing.get(entry.ifindex, ()):
                    missing[entry.ifindex].discard(entry.dst)
                    if not entry.state & still:
                        found[entry.key] = entry
        return found

    def _get(self, keys: Iterable[wire.Key]) -> dict[wire.Key, wire.Entry | None]:
        """Ask for each key; nothing where the kernel (before 5.0) answers no such question."""
        found: dict[wire.Key, wire.Entry | None] = {}
        for entries, refusals in self.table.channel.ask_for(keys):
            found.update((entry.key, entry) for entry in entries)
            for refusal in refusals:
                if refusal.errno == errno.EOPNOTSUPP:
                    self._can_get = False
                    return {}
                if tables.already_gone(refusal):
                    found[refusal.entry.key] = None
        return found

    def _judge(self):
        """Settle what can be settled of what is pending; tell whether anything was."""
        settled, table_now, now = 0, self._look(self.pending, still=WAITING), time.monotonic()
        for key, current in table_now.items():
            pending = self.pending[key[0]][key[1]]
            verdict = _verdict(pending.entry, current, now - pending.probed)
            if verdict == "failed" and not pending.failed:
                pending.failed, pending.due = True, min(pending.due, now + GRACE_S)
                self._overdue_at = min(self._overdue_at, pending.due)
            elif verdict in ("confirmed", "healed", "removed"):
                self._settle(pending, current, verdict)
                settled += 1
        if now >= self._overdue_at:
            settled += self._give_up(now)
        return settled > 0

    def _give_up(self, now):
        """Settle what is overdue; return how many."""
        waiting = [p for by_address in self.pending.values() for p in by_address.values()]
        overdue = [pending for pending in waiting if pending.due <= now]
        asked = defaultdict(set)
        for pending in overdue:
            asked[pending.entry.ifindex].add(pending.entry.dst)
        table_now = self._look(asked)
        for pending in overdue:
            key, verdict = (pending.entry.ifindex, pending.entry.dst), "waiting"
            if key in table_now:
                verdict = _verdict(pending.entry, table_now[key], now - pending.probed)
            pending.failed |= verdict == "failed"
            self._settle(pending, table_now.get(key), verdict)
        self._overdue_at = min((p.due for p in waiting if p.due > now), default=float("inf"))
        return len(overdue)

    def _settle(self, pending, current, verdict):
        """Write down what came of one entry."""
        entry = pending.entry
        del self.pending[entry.ifindex][entry.dst]
        owner = current and judge.owner(current, self.table.device(current.ifindex))
        if pending.failed and verdict not in ("confirmed", "healed"):
            self.gone.append(tables.named(self.table, entry))
        elif verdict == "removed" or (owner and current.mac):  # not by ARP: somebody's doing
            self.table.keep(owner or "removed meanwhile", entry.key)
            self.counts["checked"] -= 1
        elif verdict == "confirmed":
            self.counts["confirmed"] += 1
        elif verdict == "healed":
            row = tables.named(self.table, entry)
            old = row.pop("mac")
            self.healed.append({**row, "old": old, "new": current.mac.hex(":")})
        else:
            self.counts["undecided"] += 1


def _verdict(entry, current, elapsed_s):
    """Return what the kernel has found out about an entry that was put into PROBE."""
    if current is None:
        return "removed"
    if current.state & FAILED:
        return "failed"
    if current.state & WAITING:
        return "waiting"
    if current.mac != entry.mac:
        return "healed"
    # It left PROBE with its MAC, which the kernel does for an answer alone. What another process
    # writes looks different unless it writes REACHABLE, or hints have come since.
    return "confirmed" if current.confirmed <= elapsed_s * TICKS + 2 else "waiting"
