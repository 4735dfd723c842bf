"""The sentinel: notices a wrong entry before a client does, probes it, and tells. One loop.

It hears SYNs (taps.py), connections that get no answer (signals.py) and the kernel's notifications
of neighbours and devices. What contradicts an entry is evidence (doubt_sources.py), which moves the
entry through a state machine (decide.py). The sentinel is not in the path of the traffic: stopped,
hung or killed it leaves everything as it would be without it.
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Collection
from typing import Any

from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_NEWLINK

from ..netlink import codec, listener, rtnetlink, sock_diag, tcp_counters
from ..netlink.constants import CAP_NET_ADMIN, CAP_NET_RAW
from ..packets import tcp_syn
from ..packets.probe_schedule import Schedule
from ..reporting import sentinel_status, throttle
from ..reporting.events import EventKind
from ..resolve import ask as resolve_ask
from ..resolve import locktime, patience, proxy, under_way
from ..resolve.question import Question
from ..table import flush, view
from . import (
    decide,
    devices,
    doubt_sources,
    failure,
    handover,
    limits,
    neighbour_cache,
    next_hops,
    privileges,
    reinject,
    routers,
    signals,
    table_reader,
    taps,
    telling,
)
from . import options as sentinel_options

RETRY_S, MAX_RETRY_S = 1.0, 60.0  # after a failure; twice as long each time, until it holds
MAX_SLEEP_S = 30.0
MAX_DATAGRAMS, MAX_READS = 256, 8  # of notifications read at once; so often in one turn


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
        status_path: the file for heartbeat and counters; empty for none.
        way: how it was started, for that file.
        """
        self.options, self.clock, self.drop_rights = options, clock, drop_rights
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable once stopped
        self.is_stopped = False
        self.diary = sentinel_status.StatusWriter(status_path, way, clock)
        self.teller = throttle.Teller(say, self.diary.note)
        self.look_backs_path = handover.beside(status_path)

    def stop(self) -> None:
        """End ``run``; from a signal handler or another thread too."""
        self.is_stopped = True
        os.eventfd_write(self.wake_fd, 1)

    def write_status(self, **more: Any) -> None:
        """Write heartbeat and counters to the status file; a failure is told."""
        if line := self.diary.write(**more):
            self.teller.tell(EventKind.FAILED, line, self.clock())

    def run(self) -> None:
        """Watch until stopped. A failure is told, and it starts again after a pause."""
        pause_s = 0.0
        try:
            while not self.is_stopped:
                began = self.clock()
                try:
                    with contextlib.closing(_Session(self)) as session:
                        session.run()
                except Exception as error:
                    held = self.clock() - began > MAX_RETRY_S
                    pause_s = RETRY_S if held else min(2 * pause_s or RETRY_S, MAX_RETRY_S)
                    self._failed(error, pause_s)
            self.teller.flush(float("inf"))  # such as look backs that are undecided: more than ten
        finally:
            self.diary.close()

    def _failed(self, error: Exception, pause_s: float) -> None:
        """Tell what has failed, and wait."""
        why = failure.reason(error)
        line = f"not watching: {why}; next try in {pause_s:g} s"
        self.teller.tell(EventKind.FAILED, line, self.clock(), why=why)
        self.write_status(failed=f"not watching: {why}")
        select.select([self.wake_fd], [], [], pause_s)


class _Session:
    """Everything that is open from one start to the next, and the loop over it."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel, self._clock = sentinel, sentinel.clock
        self._teller, options = sentinel.teller, sentinel.options
        with contextlib.ExitStack() as opened:
            self._families = [*rtnetlink.limits(options.selectors.families)]  # those that exist
            self._taps = taps.Taps(self._families, options.reinject, self._clock)
            opened.callback(self._taps.close)
            self._listener = opened.enter_context(listener.Listener())
            self._sockets = self._sock_diag(opened)
            counters = opened.enter_context(tcp_counters.CounterFiles())
            self._channel = opened.enter_context(rtnetlink.Channel())
            for_dumps = opened.enter_context(rtnetlink.Channel())
            sockets = self._sockets if options.reinject else None
            self._reinjector = reinject.Reinjector(sockets, self._clock)
            opened.callback(self._reinjector.close)
            self._asker = resolve_ask.Asker(
                options.rate, self._clock, options.burst, patience.Patience()
            )
            opened.callback(self._asker.close)
            self._epoll = opened.enter_context(select.epoll())
            self._close = opened.pop_all().close
        ask = self._channel
        self._devices = devices.WatchedDevices(options.selectors, ask)
        words = self._devices.name, self._devices.ifindex, self._not_handed_over, self._clock
        self._handover = handover.Handover(sentinel.look_backs_path, *words)
        self._news = news = telling.News(self._teller, self._devices, self._clock)
        self._decider = decide.Decider(
            options.rate,
            options.burst,
            self._reinjector,
            news,
            self._devices,
            self._delete,
            self._locktime_s,
            self._unused,
            lambda *of: locktime.begin(self._table(), *of),
            routers.Routers(self._clock).is_router,
            under_way.UnderWay(self._clock).is_told,
            self._clock,
        )
        self._cache = self._decider.cache
        hops = next_hops.NextHops(ask, self._sockets, self._cache, self._clock)
        unanswered = signals.Unanswered(self._sockets, counters.read, hops.of_sockets, self._clock)
        self._sources = doubt_sources.DoubtSources(
            self._decider, self._reinjector, news, self._devices, hops, unanswered, self._clock
        )
        self._reinjector.sent = sentinel.diary.counts["sent_again"]
        self._has_lost = False  # notifications; since then some are still to be read
        self._reader = table_reader.TableReader(
            for_dumps,
            self._families,
            options.selectors._replace(dev=None),
            self._cache,
            limits.Limits(self._teller, self._families),
            self._on_change,
            self._sources.on_upper_layer_confirmation,
        )
        for polled in (self._listener, self._asker, self._taps, sentinel.wake_fd):
            self._epoll.register(polled, select.EPOLLIN)
        if sentinel.drop_rights:
            privileges.keep_only(CAP_NET_ADMIN, CAP_NET_RAW)

    def close(self) -> None:
        """Close it all."""
        self._decider.on_stop(self._handover.write if self._sentinel.is_stopped else None)
        self._close()

    def _not_handed_over(self, line: str) -> None:
        self._teller.tell(EventKind.LOST, line, self._clock())

    def _sock_diag(self, opened: contextlib.ExitStack) -> sock_diag.Sockets | None:
        """Return the kernel's list of sockets; None, which is told, where it has no such list."""
        try:
            return opened.enter_context(sock_diag.Sockets())
        except OSError as error:
            line = f"sock_diag: {error.strerror}: no SYN is re-sent, no retransmission is seen"
            self._teller.tell(EventKind.FAILED, line, self._clock())
            return None

    def run(self) -> None:
        """Hear, probe and tell until stopped."""
        self._news.watching()
        self._reader.read(self._clock())  # the whole table
        self._decider.take_over(self._handover.take())
        was_paused = False
        while not self._sentinel.is_stopped:
            now = self._clock()
            self._reader.read(now)
            self._notifications()
            self._syns()
            self._sources.look_for_unanswered()
            self._probe()
            self._decider.aliases.expire(now)
            self._reinjector.step()
            self._refilter()
            self._teller.flush(self._clock())
            if self._sentinel.diary.due() <= now:
                self._write_status()
            paused = self._taps.is_paused()
            if paused != was_paused:
                was_paused = paused
                self._epoll.modify(self._taps, 0 if paused else select.EPOLLIN)
            self._wait()

    def _wait(self) -> None:
        """Wait until something can be read, or is due."""
        asker_due = self._asker.next_due()
        due = min(
            self._reader.due,
            self._taps.filter_due(),
            self._taps.next_due(),
            self._sources.next_due(),
            max(self._decider.next_due(), self._asker.room_due()),
            max(self._decider.urgent_due(), self._asker.room_due(is_urgent=True)),
            self._decider.aliases.next_due(),
            float("inf") if asker_due is None else asker_due,
            self._reinjector.next_due(),
            self._teller.next_due(),
            self._sentinel.diary.due(),
        )
        seconds = min(due - self._clock(), MAX_SLEEP_S)
        self._epoll.poll(max(seconds, 0))

    def _write_status(self) -> None:
        if line := self._taps.overrun():
            self._teller.tell(EventKind.LOST, line, self._clock())
        self._sentinel.diary.counts["sent_again"] = self._reinjector.sent
        absent = self._news.watching()
        self._sentinel.write_status(entries=len(self._cache), absent_devices=absent)

    # --- hearing

    def _notifications(self) -> None:
        """Follow the kernel's notifications of neighbours and devices; of a storm, a part."""
        for _ in range(MAX_READS):
            heard, lost = self._listener.drain(MAX_DATAGRAMS)
            for messages in heard:
                if codec.HEADER.unpack_from(messages)[1] in (RTM_NEWLINK, RTM_DELLINK):
                    self._device(messages)
                else:
                    for change in self._cache.take(messages):
                        self._on_change(change)
            if lost:
                now = self._clock()
                line = "netlink buffer overrun (ENOBUFS): reads the table again; nothing to do"
                self._teller.tell(EventKind.LOST, line, now)
                self._devices.forget()
                self._has_lost = True
            if len(heard) + lost < MAX_DATAGRAMS:
                # Until its queue is empty the kernel drops all others too, and tells no more of it.
                if self._has_lost:
                    self._reader.on_loss()
                self._has_lost = False
                return

    def _on_change(self, change: neighbour_cache.Change) -> None:
        """Take one change of the table; its question is given up where an answer would harm."""
        key, mac = change.key, neighbour_cache.mac_of(change.new)
        answers = self._asker.answers(key) if self._decider.is_overtaken(change) else None
        if answers is not None and mac not in answers:
            _question, result = self._asker.drop(key) or (None, None)
            self._decider.on_overtaken(change, result)
        else:
            self._decider.on_neighbour_change(change)
        if self._decider.on_owner(key):
            self._asker.drop(key)

    def _device(self, messages: bytes) -> None:
        """Follow a device; a bridge announces its ports by the same messages."""
        links = list(codec.links(messages))
        if self._devices.are_renamed([ifindex for _kind, ifindex, _family in links]):
            self._cache.recheck()
        for kind, ifindex, family in links:
            self._asker.device_changed(ifindex)
            if kind == RTM_DELLINK and family == socket.AF_UNSPEC:
                self._cache.forget_device(ifindex)

    def _syns(self) -> None:
        """Take the SYNs that came in and went out."""
        inbound, outbound = self._taps.drain()
        for data, sender in inbound:
            syn, ifindex = tcp_syn.parse(data), self._devices.ifindex(sender[0])
            if syn and ifindex:
                self._sources.on_inbound_syn(ifindex, sender[4], syn)
        for data, sender in outbound:
            syn, ifindex = tcp_syn.parse_tagged(data), self._devices.ifindex(sender[0])
            if syn and ifindex:
                self._sources.on_outbound_syn(ifindex, syn)

    # --- probing

    def _probe(self) -> None:
        """Send the probes that are due, and take the results of those that are over."""
        while turn := self._next_question():
            question, schedule = turn
            if dropped := self._asker.drop(question[:2]):  # such as a look back: a connection waits
                self._decider.on_dropped(dropped[0])
            self._asker.put(question, first=True, schedule=schedule)
            self._sentinel.diary.counts["questions"] += 1
        if self._asker.next_due() is None:
            return
        for question, result in self._asker.step():
            self._notifications()  # what the kernel has made of the answer
            self._decider.on_probe_result(question, result)

    def _next_question(self) -> tuple[Question, Schedule] | None:
        """Return the next question for which there is room."""
        for is_urgent in (False, True):
            if self._asker.room(is_urgent) > 0:
                return self._decider.next_question(is_urgent)
        return None

    def _delete(self, key: codec.Key, mac: bytes) -> bool:
        """Delete an entry that a probe has shown to be wrong, while locktime holds."""
        try:
            return flush.delete_locked(self._table(), key, mac)
        except OSError as error:
            self._teller.tell(EventKind.FAILED, str(error.strerror), self._clock())
            return False

    def _locktime_s(self, key: codec.Key) -> float:
        """Return for how long a changed entry takes no other MAC, as it was last read."""
        return self._reader.timers(key).locktime_s if len(key[1]) == 4 else 0.0

    def _unused(self, claim: proxy.Claim, asked: Collection[bytes]) -> list[bytes]:
        """Return addresses of a claim's network that nobody has, and nobody is asked for."""
        device = self._asker.interface(claim.ifindex)
        return proxy.unused(self._channel, device, claim, self._cache, asked)

    def _table(self) -> view.TableView:
        """Return the kernel's table; a selected device need not exist."""
        return view.TableView(self._channel, self._sentinel.options.selectors._replace(dev=None))

    def _refilter(self) -> None:
        """Put what has changed into the kernel's filters."""
        if self._devices.are_others_selected():
            self._cache.recheck()
        for key in self._sources.pop_changed():
            self._taps.put(key, self._sources.macs_to_ignore(key))
        self._taps.refilter(self._sources.without_effect)
