"""The PROBE fallback: the kernel itself probes the entries that answered no question. No Salt.

An entry is put into PROBE with the MAC it already has. Traffic goes on to that MAC meanwhile; in
PROBE only an answer counts, upper-layer confirmation does not. No MAC is invented: the one that the
entry holds afterwards has answered. An entry that nobody answers for becomes FAILED, and the next
packet starts a new resolution by broadcast.

With ``mcast_resolicit`` 0 (the kernel's default) an entry fails without a broadcast probe, so it is
3 until the verdicts are in. A run that is stopped or killed before, or waits for a verdict no
longer, leaves the 3 behind until the next boot; its only effect is that the kernel probes by
broadcast before it gives up an entry.
"""

import contextlib
import errno
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..netlink import codec, rtnetlink
from ..netlink.constants import FAMILY_NAMES, INCOMPLETE, PROBE, TICKS, VALID
from ..packets.probe_schedule import MCAST_RESOLICIT
from ..table import naming, view
from ..table.refusals import already_gone
from . import in_flight, rate_limit

# Before 4.2 an administrative PROBE keeps the old probe count and can fail at once
# ("neigh: Better handling of transition to NUD_PROBE state").
OLDEST_KERNEL = (4, 2)
LOCK = "arp_hygiene: mcast_resolicit"  # one process at a time raises it and restores it
MAX_LOCK_WAIT_S = 30.0  # another run holds it until its verdicts are in, mostly 7 s
MAX_VERDICT_S = 60.0  # a router's advertisement can set the kernel's timer to days
GRACE_S = 0.25  # FAILED lasts no longer where traffic starts a new resolution
POLL_S = 0.05  # between two reads of the table

Verdict = Literal["confirmed", "healed", "gone", "undecided", "kept", "spared", "failed"]
Finding = Literal["waiting", "failed", "removed", "healed", "confirmed"]


class NudResult(NamedTuple):
    """The verdict on one entry, and the entry as the table holds it now."""

    entry: codec.Entry
    verdict: Verdict
    now: codec.Entry | None = None
    refusal: rtnetlink.Refusal | None = None


@dataclass
class _Pending:
    """An entry that was put into PROBE and has no verdict yet."""

    entry: codec.Entry
    probed_at: float
    deadline: float
    has_failed: bool = False  # seen FAILED; traffic may start a new resolution


def too_old(release: str) -> bool:
    """Tell whether a kernel can fail a living neighbour when an entry is put into PROBE."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2]) < OLDEST_KERNEL


class NudProber:
    """Puts entries into PROBE and collects the verdicts; ``warnings``: what it could not do."""

    def __init__(
        self,
        table: view.TableView,
        rate: float,
        wait: Callable[[float], None] = time.sleep,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the rate in entries a second; 0: as fast as is safe. wait: what to wait with.

        is_stopped: tells whether to end: nothing more is put into PROBE, and nothing waited for.
        """
        self._table, self._wait, self._is_stopped = table, wait, is_stopped
        self._bucket = rate_limit.TokenBucket(rate)
        self._in_flight = in_flight.InFlight(in_flight.default_limit())
        self._pending: dict[codec.Key, _Pending] = {}
        self._overdue = set[codec.Key]()  # in PROBE still when their verdict was waited for no more
        self._spared: Callable[[], Collection[codec.Key]] = lambda: ()
        self.warnings: list[str] = []

    def run(
        self,
        entries: Iterable[codec.Entry],
        spared: Callable[[], Collection[codec.Key]] = lambda: (),
    ) -> Generator[NudResult, None, None]:
        """Yield the verdict on each entry when it is known, or overdue. Closed, it stops there.

        spared: returns those that are not to be put into PROBE; called before each message.
        """
        self._spared = spared
        todo = deque(entries)
        if not todo:
            return
        if too_old(os.uname().release):
            self.warnings.append(
                f"Linux {os.uname().release} cannot safely put an entry into PROBE (4.2 can): "
                "entries without an answer were not touched; arp.flush deletes them"
            )
            yield from (NudResult(entry, "undecided") for entry in todo)
            return
        with self._broadcast_probes({(codec.family_of(e.dst), e.ifindex) for e in todo}) as is_ours:
            if not is_ours:
                if not self._is_stopped():
                    self.warnings.append(
                        f"another revalidation has had entries in PROBE for {MAX_LOCK_WAIT_S:g} s: "
                        "entries without an answer were not touched; try again"
                    )
                yield from (NudResult(entry, "undecided") for entry in todo)
                return
            yield from self._run(todo)

    def _run(self, todo: deque[codec.Entry]) -> Iterator[NudResult]:
        while todo or self._pending:
            is_stopped, now = self._is_stopped(), time.monotonic()
            room = min(self._bucket.available(now), self._in_flight.room(now))
            room = min(room, len(todo), self._table.channel.batch)
            if room > 0 and not is_stopped:
                yield from self._start([todo.popleft() for _ in range(room)])
                continue
            yield from self._collect(now)
            if is_stopped:  # only now: what the kernel has found out is told
                return
            if todo or self._pending:
                due = now + POLL_S
                if todo:
                    due = max(self._bucket.due(now), self._in_flight.due(now))
                self._wait(min(max(due - now, 0.001), POLL_S))

    def _start(self, entries: list[codec.Entry]) -> Iterator[NudResult]:
        """Put entries into PROBE that are still ours and have the same MAC.

        The message writes the whole entry: it would remove the mark of an owner that has come
        meanwhile, and give an entry that lost its MAC the old one back.
        """
        spared, unchanged = self._spared(), list[codec.Entry]()  # what is slow comes first
        patience_s = {entry.key: self._patience_s(entry) for entry in entries}
        table_now = self._table.read_again(entry.key for entry in entries)
        for entry in entries:
            current = table_now.get(entry.key)
            if not current:
                self._table.keep("already gone", entry.key)
                yield NudResult(entry, "kept")
            elif not self._table.is_ours_still(current):
                yield NudResult(entry, "kept", current)
            elif current.mac != entry.mac:  # changed since our questions, and not by their answers
                yield NudResult(entry, "undecided", current)
            elif entry.key in spared:
                yield NudResult(entry, "spared", current)
            else:
                unchanged.append(entry)
        now = time.monotonic()
        self._bucket.spend(len(unchanged), now)
        for entry in unchanged:
            self._in_flight.sent(entry.key, now)
            self._pending[entry.key] = _Pending(entry, now, now + patience_s[entry.key])
        if unchanged:
            messages = b"".join(map(codec.probe_message, unchanged))
            _entries, refusals = self._table.channel.exchange(messages)
            for refusal in refusals:
                yield self._refused(refusal)

    def _patience_s(self, entry: codec.Entry) -> float:
        """Return how long the kernel takes to give up."""
        timers = self._table.timers(codec.family_of(entry.dst), entry.ifindex)
        solicits = timers.solicits + (0 if timers.mcast_resolicit else MCAST_RESOLICIT)
        # its timers run up to an eighth late (timer wheel)
        return min(solicits * timers.retrans_s * 1.125 + 0.5, MAX_VERDICT_S)

    def _refused(self, refusal: rtnetlink.Refusal) -> NudResult:
        """Return the verdict on an entry that the kernel refused to put into PROBE."""
        entry = self._pending.pop(refusal.entry.key).entry
        if already_gone(refusal):
            self._table.keep("already gone", entry.key)
        elif refusal.errno == errno.EINVAL:  # it lost its MAC since we read it
            self._table.keep("INCOMPLETE", entry.key)
        else:
            return NudResult(entry, "failed", refusal=refusal)
        return NudResult(entry, "kept")

    def _collect(self, now: float) -> Iterator[NudResult]:
        """Read the pending entries; yield those with a verdict, and those overdue."""
        table_now = self._table.read_again(self._pending)
        for key, pending in list(self._pending.items()):
            current = table_now.get(key, pending.entry._replace(state=PROBE))  # unseen: waiting
            finding = _finding(pending, current, now)
            if finding == "failed" and not pending.has_failed:
                pending.has_failed = True
                pending.deadline = min(pending.deadline, now + GRACE_S)
            if finding in ("waiting", "failed") and now < pending.deadline:
                continue
            del self._pending[key]
            self._in_flight.answered(key)
            if current and current.state & PROBE:
                self._overdue.add(key)
            yield NudResult(pending.entry, self._verdict(pending, current, finding), current)

    def _verdict(self, pending: _Pending, current: codec.Entry | None, finding: Finding) -> Verdict:
        """Return the verdict on an entry that is decided or overdue."""
        if pending.has_failed and finding in ("waiting", "failed", "removed"):
            return "gone"  # FAILED, perhaps collected since
        if finding == "removed":
            self._table.keep("removed meanwhile", pending.entry.key)
            return "kept"
        if current and self._table.is_owned(current):
            return "kept"  # its owner, not ARP, has changed it
        return finding if finding in ("healed", "confirmed") else "undecided"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Hold the lock; False: another run has held it for too long, or we are stopped.

        The look backs go on meanwhile: a former holder that is not asked may live.
        """
        deadline = time.monotonic() + MAX_LOCK_WAIT_S
        while True:
            with rtnetlink.lock(LOCK) as is_alone:
                if is_alone or time.monotonic() >= deadline or self._is_stopped():
                    yield is_alone
                    return
            self._wait(POLL_S)

    @contextlib.contextmanager
    def _broadcast_probes(self, devices: set[tuple[int, int]]) -> Iterator[bool]:
        """Raise ``mcast_resolicit`` where it is 0: the kernel probes by broadcast before it fails.

        False: another run has held the lock for longer than we wait.
        """
        with self._alone() as is_alone, rtnetlink.Channel() as channel:
            if not is_alone:  # its holder would restore the 0 while our entries are in PROBE
                yield False
                return
            raised, refused = [], {}
            families = {family for family, _ifindex in devices}
            timers = {family: channel.timers(family) for family in families}
            for family, ifindex in sorted(devices):
                if ifindex not in timers[family] or timers[family][ifindex].mcast_resolicit:
                    continue
                try:
                    channel.set_mcast_resolicit(family, ifindex, MCAST_RESOLICIT)
                    raised.append((family, ifindex))
                except OSError as error:
                    refused[f"{FAMILY_NAMES[family]} {self._table.name(ifindex)}"] = error
            if refused:
                error = next(iter(refused.values()))
                self.warnings.append(
                    f"mcast_resolicit stays 0 on {naming.examples(refused)} "
                    f"({errno.errorcode.get(error.errno or 0, error.errno)}): where unicast probes "
                    "get no answer, a living entry fails before the kernel probes by broadcast"
                )
            try:
                yield True
            finally:
                left = self._overdue.union(self._pending)
                in_probe = {(codec.family_of(dst), ifindex) for ifindex, dst in left}
                for family, ifindex in set(raised) - in_probe:
                    with contextlib.suppress(OSError):  # the device is gone, and its setting too
                        channel.set_mcast_resolicit(family, ifindex, 0)
                if kept := sorted(in_probe.intersection(raised)):
                    names = [f"{FAMILY_NAMES[each]} {self._table.name(at)}" for each, at in kept]
                    self.warnings.append(
                        f"ended while entries were in PROBE: mcast_resolicit stays "
                        f"{MCAST_RESOLICIT} on {naming.examples(names)} until the next boot, so "
                        "that a living host that answers no unicast keeps its entry; nothing to do"
                    )


def _finding(pending: _Pending, current: codec.Entry | None, now: float) -> Finding:
    """Return what the kernel has found out about an entry that was put into PROBE."""
    if current is None:
        return "removed"
    if current.state & (PROBE | INCOMPLETE) and current.mac:
        return "waiting"
    if not current.state & VALID:
        return "failed"
    if current.mac != pending.entry.mac:
        return "healed"
    # It left PROBE with its MAC, which the kernel does for an answer only. An entry that another
    # process wrote looks different, unless it wrote REACHABLE or confirmations have come since.
    elapsed_s = now - pending.probed_at
    return "confirmed" if current.confirmed <= elapsed_s * TICKS + 2 else "waiting"
