"""Make the kernel prove entries, for what answers no question. No Salt in here.

An entry is put into PROBE with the MAC it already has. Traffic goes on to that MAC while the
kernel asks; in PROBE only an answer counts, hints that keep a wrong entry REACHABLE do not. Nothing
is invented: the MAC that comes out is the one that answered. What nobody answers for is FAILED, and
the next packet asks by broadcast.

With ``mcast_resolicit`` 0 (the kernel's default) an entry would fail before everybody was asked, so
it is 3 for the time of the call. Who is killed meanwhile leaves the 3 behind: the kernel then asks
everybody before it gives up an entry, until the next boot; no more than that.
"""

import contextlib
import errno
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from ..netlink import codec, rtnetlink
from ..netlink.constants import FAMILY_NAMES, INCOMPLETE, PROBE, TICKS, VALID
from ..packets.probe_schedule import MCAST_RESOLICIT
from ..table import snapshot
from . import in_flight, rate_limit

# Before 4.2 an administrative PROBE keeps the old probe count and can fail at once
# ("neigh: Better handling of transition to NUD_PROBE state").
OLDEST_KERNEL = (4, 2)
LOCK = "arp_hygiene: mcast_resolicit"  # one at a time raises it and puts it back
MAX_LOCK_WAIT_S = 30.0  # another run holds it for as long as its verdicts take, mostly 7 s
MAX_VERDICT_S = 60.0  # a verdict is not waited for longer: a router can set the timer to days
GRACE_S = 0.25  # FAILED lasts no longer where traffic makes the kernel ask again by broadcast
POLL_S = 0.05  # between two looks

Verdict = Literal["confirmed", "healed", "gone", "undecided", "kept", "failed"]


class NudResult(NamedTuple):
    """What came of one entry: the verdict, and what the table holds now."""

    entry: codec.Entry
    verdict: Verdict
    now: codec.Entry | None = None
    refusal: rtnetlink.Refusal | None = None


def too_old(release: str) -> bool:
    """Tell whether a kernel does not start its probes anew, and may fail a living neighbour."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2]) < OLDEST_KERNEL


class NudProber:
    """Proves entries; what it could not do properly stands in ``warnings``."""

    def __init__(self, table: snapshot.Table, rate: float) -> None:
        """Take entries a second; 0 for as fast as is safe."""
        self._table = table
        self._bucket = rate_limit.TokenBucket(rate)
        self._in_flight = in_flight.InFlight(in_flight.default_limit())
        self._pending: dict[codec.Key, tuple[codec.Entry, float, float]] = {}  # probed, overdue
        self._failed: set[codec.Key] = set()
        self.warnings: list[str] = []

    def run(self, entries: Iterable[codec.Entry]) -> Iterator[NudResult]:
        """Prove the entries; yield each when its verdict is in, or overdue."""
        todo = deque(entries)
        if todo and too_old(os.uname().release):
            self.warnings.append(
                f"Linux {os.uname().release} cannot be made to prove an entry (4.2 can): what "
                "nobody answered for is left as it is; arp.flush deletes it"
            )
            yield from (NudResult(entry, "undecided") for entry in todo)
            return
        devices = {(codec.family_of(entry.dst), entry.ifindex) for entry in todo}
        if not todo:
            return
        with self._everybody_is_asked(devices) as may_prove:
            if not may_prove:
                self.warnings.append(
                    f"another revalidation has been proving entries for {MAX_LOCK_WAIT_S:g} s: "
                    "what nobody answered for is left as it is; try again"
                )
                yield from (NudResult(entry, "undecided") for entry in todo)
                todo.clear()
            while todo or self._pending:
                now = time.monotonic()
                room = min(self._bucket.available(now), self._in_flight.room(now))
                room = min(room, self._table.channel.batch)
                if todo and room > 0:
                    yield from self._put([todo.popleft() for _ in range(min(room, len(todo)))])
                    continue
                yield from self._judged(now)
                if todo or self._pending:
                    due = (
                        max(self._bucket.due(now), self._in_flight.due(now))
                        if todo
                        else now + POLL_S
                    )
                    time.sleep(min(max(due - now, 0.001), POLL_S))

    def _put(self, chunk: list[codec.Entry]) -> Iterator[NudResult]:
        """Put entries into PROBE that are still what they were, and ours.

        What was read a while ago may belong to somebody by now, and we would take the mark off
        that says so; to what has lost its MAC the kernel would write the old one back.
        """
        again = self._table.read_again(entry.key for entry in chunk)
        orders = []
        for entry in chunk:
            current = again.get(entry.key)
            if not current:
                self._table.keep("already gone", entry.key)
                yield NudResult(entry, "kept")
            elif not self._table.is_ours_still(current):
                yield NudResult(entry, "kept", current)
            elif current.mac != entry.mac:  # it has changed since nobody answered: not by us
                yield NudResult(entry, "undecided", current)
            else:
                orders.append(entry)
        now = time.monotonic()
        self._bucket.spend(len(orders), now)
        for entry in orders:
            self._in_flight.sent(entry.key, now)
            self._pending[entry.key] = entry, now, now + self._patience_s(entry)
        if orders:
            probes = b"".join(map(codec.probe_message, orders))
            _none, refusals = self._table.channel.exchange(probes)
            for refusal in refusals:
                yield self._refused(refusal)

    def _patience_s(self, entry: codec.Entry) -> float:
        """Return how long the kernel takes to give up."""
        timers = self._table.timers(codec.family_of(entry.dst), entry.ifindex)
        solicits = timers.solicits + (0 if timers.mcast_resolicit else MCAST_RESOLICIT)
        # its timers run up to an eighth late (timer wheel)
        return min(solicits * timers.retrans_s * 1.125 + 0.5, MAX_VERDICT_S)

    def _refused(self, refusal: rtnetlink.Refusal) -> NudResult:
        """Return what the kernel's refusal of one probe means."""
        entry, _probed, _due = self._pending.pop(refusal.entry.key)
        if snapshot.already_gone(refusal):
            self._table.keep("already gone", entry.key)
        elif refusal.errno == errno.EINVAL:  # it lost its MAC since we read it
            self._table.keep("INCOMPLETE", entry.key)
        else:
            return NudResult(entry, "failed", refusal=refusal)
        return NudResult(entry, "kept")

    def _judged(self, now: float) -> Iterator[NudResult]:
        """Look at what is pending; yield what has come to a verdict, or is overdue."""
        table_now = self._table.read_again(self._pending)
        for key, (entry, probed, due) in list(self._pending.items()):
            current = table_now.get(key, entry._replace(state=PROBE))  # not seen: still waiting
            verdict = self._verdict(entry, current, now - probed)
            if verdict == "failed" and key not in self._failed:
                self._failed.add(key)
                self._pending[key] = entry, probed, min(due, now + GRACE_S)
            if verdict in ("waiting", "failed"):
                if now < self._pending[key][2]:
                    continue
                verdict = "gone" if key in self._failed else "undecided"
            del self._pending[key]
            self._in_flight.answered(key)
            if verdict == "kept" and key in self._failed:
                verdict = "gone"  # it failed, and then somebody collected it
            elif verdict == "kept":
                self._table.keep("removed meanwhile", key)
            elif current and verdict != "gone" and self._table.is_owned(current):
                verdict = "kept"  # not proven by ARP: somebody's doing
            yield NudResult(entry, verdict, current)  # type: ignore[arg-type]

    @staticmethod
    def _verdict(entry: codec.Entry, current: codec.Entry | None, elapsed_s: float) -> str:
        """Return what the kernel has found out about an entry that was put into PROBE."""
        if current is None:
            return "kept"
        if current.state & (PROBE | INCOMPLETE) and current.mac:
            return "waiting"
        if not current.state & VALID:
            return "failed"
        if current.mac != entry.mac:
            return "healed"
        # It left PROBE with its MAC, which the kernel does for an answer alone. What another
        # process writes looks different unless it writes REACHABLE, or hints have come since.
        return "confirmed" if current.confirmed <= elapsed_s * TICKS + 2 else "waiting"

    @contextlib.contextmanager
    def _everybody_is_asked(self, devices: set[tuple[int, int]]) -> Iterator[bool]:
        """Let the kernel ask by broadcast too before it gives up, where it would not.

        False: another run does that now, and has done it for longer than we wait.
        """
        with rtnetlink.only_one(LOCK, MAX_LOCK_WAIT_S) as alone, rtnetlink.Channel() as channel:
            if not alone:  # whoever holds it puts 0 back when he is done: in the middle of our wait
                yield False
                return
            raised, refused = [], {}
            families = {family for family, _ifindex in devices}
            now = {family: channel.timers(family) for family in families}  # of all devices at once
            for family, ifindex in sorted(devices):
                if ifindex not in now[family] or now[family][ifindex].mcast_resolicit:
                    continue
                try:
                    channel.set_mcast_resolicit(family, ifindex, MCAST_RESOLICIT)
                    raised.append((family, ifindex))
                except OSError as error:
                    refused[f"{FAMILY_NAMES[family]} {self._table.name(ifindex)}"] = error
            for error in list(refused.values())[:1]:
                self.warnings.append(
                    f"mcast_resolicit stays 0 on {snapshot.some(refused)} "
                    f"({errno.errorcode.get(error.errno or 0, error.errno)}): where nobody answers "
                    "unicast requests, a living entry fails before the kernel asks everybody"
                )
            try:
                yield True
            finally:
                for family, ifindex in raised:
                    with contextlib.suppress(OSError):  # the device is gone, and its setting too
                        channel.set_mcast_resolicit(family, ifindex, 0)
