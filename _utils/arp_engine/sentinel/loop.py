"""The sentinel: hears of a wrong entry before anybody waits for it, asks, and tells. One loop.

What it hears: SYNs (sentinel/taps.py), connections that retransmit (sentinel/signals.py), the
kernel's own words on neighbours and devices. What it makes of them: sentinel/decide.py. It stands
beside the traffic: stopped, hung or killed it leaves everything as it would be without it.

    python -m arp_engine.sentinel '{"dev": "eth0", "rate": 50}'

is the sentinel as a process of its own, which tells on stdout; options: sentinel/options.py.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection
from typing import Any

from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK

from ..netlink import codec, rtnetlink, sock_diag, table_dump
from ..netlink.constants import CAP_NET_ADMIN, CAP_NET_RAW, FAMILY_NAMES, REACHABLE
from ..packets import packet_socket, tcp_syn
from ..reporting import messages as reporting_messages
from ..reporting import sentinel_status, throttle
from ..reporting.events import EventKind
from ..resolve import ask as resolve_ask
from ..table import capacity, flush, ownership, snapshot
from . import decide, privileges, reinject, signals, taps
from . import options as sentinel_options

RETRY_S, LONGEST_RETRY_S = 1.0, 60.0  # after what ended it; twice as long each time, until it holds
LOOK_S, REST = 30.0, 100  # from one look at the whole table to the next; times as long as it took
SUSPECT_S = 300.0  # from one question about an entry that is vouched for to the next
DATAGRAMS = 256  # of notifications read at once
MOST_FILTERED = 1024  # entries that are tried to put into a filter


class Sentinel:
    """One sentinel of one network namespace."""

    def __init__(
        self,
        options: sentinel_options.Options,
        say: throttle.Say,
        clock: Callable[[], float] = time.monotonic,
        drop_rights: bool = False,
        status_path: str = "",
        way: str = "",
    ) -> None:
        """Take what is to be watched, and what is done with news: ``say(kind, line, facts)``.

        drop_rights: give up every capability but CAP_NET_ADMIN and CAP_NET_RAW when all is open.
        status_path: the file in which it says now and then that it lives; empty for none.
        way: how it was started, for that file.
        """
        self._options, self._clock, self._drop_rights = options, clock, drop_rights
        self._stop = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._is_stopped = False
        self.diary = sentinel_status.Diary(status_path, way, clock)
        self.teller = throttle.Teller(say, self.diary.note)

    def stop(self) -> None:
        """End ``run``; from a signal handler or another thread too."""
        self._is_stopped = True
        os.eventfd_write(self._stop, 1)

    def write_down(self, **more: Any) -> None:
        """Say in a file that it lives, and what it has done; what cannot be written is told."""
        if line := self.diary.write(**more):
            self.teller.tell(EventKind.FAILED, line, self._clock())

    def run(self) -> None:
        """Watch until stopped. What ends that otherwise is told, and it begins anew."""
        pause_s = 0.0
        try:
            while not self._is_stopped:
                began = self._clock()
                try:
                    with contextlib.closing(_Round(self)) as this:
                        this.run()
                except Exception as error:
                    held = self._clock() - began > LONGEST_RETRY_S
                    pause_s = RETRY_S if held else min(2 * pause_s or RETRY_S, LONGEST_RETRY_S)
                    self._failed(error, pause_s)
        finally:
            self.diary.close()

    def _failed(self, error: Exception, pause_s: float) -> None:
        """Tell why nobody watches, and wait."""
        why = _reason(error)
        line = f"cannot watch: {why}; again in {pause_s:g} s"
        self.teller.tell(EventKind.FAILED, line, self._clock(), why=why)
        self.write_down(failed=f"cannot watch: {why}")
        select.select([self._stop], [], [], pause_s)


class _Round:
    """All that is open from one start to the next, and the loop over it."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel, self._clock = sentinel, sentinel._clock
        self._teller, options = sentinel.teller, sentinel._options
        with contextlib.ExitStack() as opened:
            self._families = [*rtnetlink.limits(options.selectors.families)]  # those that exist
            self._taps = taps.Taps(self._families, options.reinject, self._clock)
            opened.callback(self._taps.close)
            self._listener = opened.enter_context(rtnetlink.Listener())
            self._sockets = self._sock_diag(opened)
            self._channel = opened.enter_context(rtnetlink.Channel())
            self._again = reinject.Again(self._sockets if options.reinject else None, self._clock)
            opened.callback(self._again.close)
            self._asker = resolve_ask.Asker(options.rate, self._clock)
            opened.callback(self._asker.close)
            self._epoll = opened.enter_context(select.epoll())
            self._close = opened.pop_all().close
        ask = self._channel
        self._host = decide.Host(options.selectors, ask.device, ask.devices, ask.ifindex)
        self._watch = decide.Watch(
            options.rate, self._again, self._teller, self._host, self._delete, self._clock
        )
        self._retransmissions = signals.Retransmissions(self._sockets, self._clock)
        self._outbound = signals.OutboundSyns()
        self._again.sent = sentinel.diary.counts["sent_again"]
        self._look_due = float("-inf")
        self._filtered = (-1, 0, False)  # what the filter was made of
        self._filter_due = float("inf")
        self._full: set[int] = set()  # families whose table was told to be full
        self._suspects: dict[codec.Key, float] = {}  # when they are asked about next
        for polled in (self._listener, self._asker, *self._taps.taps(), sentinel._stop):
            self._epoll.register(polled, select.EPOLLIN)
        if sentinel._drop_rights:
            privileges.keep_only(CAP_NET_ADMIN, CAP_NET_RAW)

    def close(self) -> None:
        """Close it all."""
        self._close()

    def _sock_diag(self, opened: contextlib.ExitStack) -> sock_diag.Sockets | None:
        """Return the kernel's list of sockets; told where it keeps none."""
        try:
            return opened.enter_context(sock_diag.Sockets())
        except OSError as error:
            why = f"{error.strerror}; nothing is sent again, no symptom is seen"
            self._teller.tell(EventKind.FAILED, why, self._clock())
            return None

    def run(self) -> None:
        """Hear, ask, tell."""
        self._teller.tell(EventKind.WATCHING, self._host.watched(), self._clock())
        was_paused = False
        while not self._sentinel._is_stopped:
            now = self._clock()
            if now >= self._look_due:
                self._look(now)
            self._notifications()
            self._syns()
            self._unanswered(now)
            self._ask()
            self._again.step()
            self._refilter()
            self._teller.flush(self._clock())
            if self._sentinel.diary.due() <= now:
                self._write_down()
            paused = self._taps.is_paused()
            if paused != was_paused:
                was_paused = paused
                for tap in self._taps.taps():
                    self._epoll.modify(tap, 0 if paused else select.EPOLLIN)
            self._wait()

    def _wait(self) -> None:
        """Wait until something has come, or is due."""
        asker_due = self._asker.next_due()
        due = min(
            self._look_due,
            self._filter_due,
            self._taps.next_due(),
            self._retransmissions.next_due(),
            self._outbound.next_due(),
            self._watch.next_due(),
            float("inf") if asker_due is None else asker_due,
            self._again.next_due(),
            self._teller.next_due(),
            self._sentinel.diary.due(),
        )
        seconds = min(due - self._clock(), LOOK_S)
        self._epoll.poll(max(seconds, 0))

    def _write_down(self) -> None:
        self._sentinel.diary.counts["sent_again"] = self._again.sent
        self._sentinel.write_down(entries=len(self._watch.known))

    # --- hearing

    def _look(self, now: float) -> None:
        """Read the whole table: at the start, when notifications were lost, and now and then."""
        table = self._table()
        entries: dict[codec.Key, codec.Entry] = {}

        def look() -> None:
            for family in self._families:
                found = table_dump.entries(*self._channel.neighbours(family))
                entries.update((entry.key, entry) for entry in found)

        table.complete(look)
        for change in self._watch.known.read_anew(entries.values()):
            self._watch.changed(change)
        self._suspected(table, entries, now)
        self._limits(now, entries.values())
        self._watch.aliases.forget(now)
        self._look_due = now + max(LOOK_S, REST * (self._clock() - now))

    def _suspected(
        self, table: snapshot.Table, entries: dict[codec.Key, codec.Entry], now: float
    ) -> None:
        """Ask about entries that something else than ARP keeps alive, when they become so."""
        before, self._suspects = self._suspects, {}
        for key, entry in entries.items():
            if entry.state != REACHABLE:
                continue
            base_s = table.timers(codec.family_of(entry.dst), entry.ifindex).base_reachable_s
            if ownership.is_suspect(entry.state, entry.confirmed, entry.updated, base_s):
                self._suspects[key] = before.get(key, now)
                if self._suspects[key] <= now:
                    self._suspects[key] = now + SUSPECT_S
                    self._watch.suspect(key)

    def _limits(self, now: float, entries: Collection[codec.Entry]) -> None:
        """Tell of a table that is nearly full, once until it is no longer."""
        limits = rtnetlink.limits(self._families)
        full = set()
        for family, limit in limits.items():
            facts = {"gc_thresh3": limit.gc_thresh3,
                     "entries_all_namespaces": limit.entries_all_namespaces}  # fmt: skip
            ours = (entry for entry in entries if codec.family_of(entry.dst) == family)
            counted = limit.entries_all_namespaces - sum(map(ownership.is_spared, ours))
            line = capacity.warning(FAMILY_NAMES[family], counted, limit.gc_thresh3)
            if line:
                full.add(family)
                if family not in self._full:
                    self._teller.tell(EventKind.FULL, line, now, **facts)
        self._full = full

    def _notifications(self) -> None:
        """Follow what the kernel tells of neighbours and devices."""
        while True:
            heard, lost = self._listener.drain(DATAGRAMS)
            for messages in heard:
                if codec.HEADER.unpack_from(messages)[1] in (RTM_NEWLINK, RTM_DELLINK):
                    self._device(messages)
                else:
                    for change in self._watch.known.take(messages):
                        self._watch.changed(change)
            if lost:
                now = self._clock()
                self._teller.tell(EventKind.LOST, "notifications; the table is read anew", now)
                self._host.forget()
                self._look(now)
            if len(heard) < DATAGRAMS:
                return

    def _device(self, messages: bytes) -> None:
        """Take a word on a device; a bridge speaks of its ports by the same messages."""
        self._host.forget()
        for kind, ifindex, family in codec.links(messages):
            self._asker.device_changed(ifindex)
            if kind == RTM_DELLINK and family == socket.AF_UNSPEC:
                self._watch.known.forget_device(ifindex)

    def _syns(self) -> None:
        """Take the SYNs that have come and gone."""
        came, left = self._taps.drain()
        for data, sender in came:
            syn, ifindex = tcp_syn.parse(data), self._host.ifindex(sender[0])
            if syn and ifindex:
                self._watch.came(ifindex, sender[4], syn)
        for data, sender in left:
            syn, ifindex = tcp_syn.parse(data), self._host.ifindex(sender[0])
            if syn and ifindex and self._watch.called(ifindex, syn):
                self._outbound.put(syn, ifindex, self._clock())

    def _unanswered(self, now: float) -> None:
        for socket_ in self._retransmissions.step():
            self._watch.stuck(socket_.peer)
        for ifindex, syn in self._outbound.pop_timed_out(now):
            self._watch.unanswered(ifindex, syn)

    # --- asking

    def _ask(self) -> None:
        """Ask what is to be asked, and hear what is answered."""
        while question := self._watch.next_question():
            self._sentinel.diary.counts["questions"] += self._asker.put(question, first=True)
        if not len(self._asker):
            return
        for question, heard in self._asker.step():
            self._notifications()  # what the kernel has made of the answer
            self._watch.answered(question, heard)

    def _delete(self, key: codec.Key, mac: bytes) -> bool:
        """Delete what the wire has shown to be wrong, where the table takes no answer yet."""
        try:
            return flush.delete_locked(self._table(), key, mac)
        except OSError as error:
            self._teller.tell(EventKind.FAILED, str(error.strerror), self._clock())
            return False

    def _table(self) -> snapshot.Table:
        """Return the table as it is now; a device that is named need not be there."""
        return snapshot.Table(self._channel, self._sentinel._options.selectors._replace(dev=None))

    def _refilter(self) -> None:
        """Put the table as it is now into the kernel's filter, as soon as that is cheap again."""
        flood = self._taps.is_flood()
        made_of = (self._watch.known.version, len(self._watch.aliases), flood)
        self._filter_due = float("inf")
        if made_of == self._filtered and not flood:
            return
        if self._clock() >= self._taps.filter_due():
            self._filtered = made_of
            self._taps.refilter(self._watch.filter_for_kernel(flood, MOST_FILTERED))
        elif made_of != self._filtered:
            self._filter_due = self._taps.filter_due()
            if not flood:
                self._taps.open_up()


def _reason(error: Exception) -> str:
    """Return in one line what went wrong; what is not the kernel's word is ours, and says where."""
    if isinstance(error, PermissionError):
        return "no CAP_NET_RAW here"
    if isinstance(error, OSError):
        return error.strerror or packet_socket.reason(error)
    # without the lines themselves: a service's code may be another by now
    # (formula/sentinel_unit.py)
    steps = [(step.f_code.co_filename, at) for step, at in traceback.walk_tb(error.__traceback__)]
    where = [(path, at) for path, at in steps if "arp_" in path]
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    at = f"{os.path.basename(where[-1][0])}:{where[-1][1]}" if where else "?"
    return reporting_messages.one_line(f"{told} ({at})", 300)


def _print(kind: EventKind, line: str, _facts: throttle.Row) -> None:
    """Tell on stdout; where that is the journal, as urgently as a scheduled run tells syslog.

    Where nobody takes it (a full disk, a journal that has died), it watches all the same.
    """
    urgency = f"<{3 if kind.is_urgent else 5}>" if "JOURNAL_STREAM" in os.environ else ""
    with contextlib.suppress(OSError):
        print(urgency + line, flush=True)


def main() -> None:
    """Be a process of its own."""
    try:
        options = sentinel_options.parse(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    except json.JSONDecodeError:
        sys.exit(f'{sys.argv[1]!r} is not one word of JSON, such as {{"dev": "eth0"}}')
    except ValueError as bad:
        sys.exit(str(bad))
    sentinel = Sentinel(
        options, _print, drop_rights=True, status_path=sentinel_status.PATH, way="service"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sentinel.stop())
    sentinel.run()
