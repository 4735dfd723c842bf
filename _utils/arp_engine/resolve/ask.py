"""Probe addresses on the wire (ARP requests, neighbour solicitations) and return who answered.

A probe that nobody answers changes nothing; an answer is taken into the neighbour table by the
kernel itself. So a question is as quiet as it can be, and is repeated as often as it must be
(packets/probe_schedule.py):

1. unicast to the cached MAC: only that host hears it, and its answer ends the question
2. broadcast (IPv6: the solicited-node multicast group), several times
3. after the first answer to a broadcast, wait COLLECT_S longer: two hosts may claim the address

Answers that match no pending question are dropped, so a flood of them costs time, not memory.
"""

import contextlib
import select
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

from ..netlink import codec
from ..packets import frames, packet_socket
from ..packets.probe_schedule import FAST, URGENT, Schedule
from . import (
    deadlines,
    interface_facts,
    interfaces,
    patience,
    room,
    send_queue,
)
from .question import OVERTAKEN, PendingProbe, ProbeResult, Question

COLLECT_S = 0.01  # after the first answer to a broadcast, for a second one
MAX_MACS = 8  # kept of one question's answers, beside the cached MAC
SEND_BATCH = 64  # frames sent between two reads: the smallest receive buffer holds 256 answers
READ_BATCH = 1024  # packets read at once: a flood must not delay the sending
#: Packets in a full receive buffer: the shortest takes up 256 bytes of it.
FULL_BUFFER = packet_socket.RECEIVE_BUFFER // 256
TICK_S = 1.0  # between two calls of tick

Overtaken = Callable[[list[PendingProbe]], Iterable[codec.Key]]


class Asker:
    """Asks many questions concurrently at a limited rate, and never blocks.

    An event loop watches ``fileno()`` and calls ``step()`` when it is readable, after ``put()``,
    and at ``next_due()``.
    """

    def __init__(
        self,
        rate: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        burst: int = 0,
        learned: patience.Patience | None = None,
        overtaken: Overtaken | None = None,
    ):
        """Take the rate in frames a second; 0: as fast as is safe.

        burst: frames at once after a pause; 0: a few.
        learned: what is learned of the time that answers take, and waited for accordingly.
        overtaken: called before a frame that is not a question's first one; returns the questions
        that end there: their entries are others by now.
        """
        self._clock, self._learned, self._overtaken = clock, learned, overtaken
        self._interfaces = interfaces.Interfaces(clock)
        self._room = room.Room(rate, burst, has_urgent=bool(learned))  # whoever learns has some
        self._ports: dict[int, packet_socket.ProbeSocket] = {}  # by family
        self._ready = select.epoll()
        self._pending: dict[tuple[int, bytes], PendingProbe] = {}
        self._queue: send_queue.SendQueue[PendingProbe] = send_queue.SendQueue()
        self._ends = deadlines.Deadlines()  # when to stop waiting for answers
        self._done: list[tuple[Question, ProbeResult]] = []

    def close(self) -> None:
        """Close the sockets; pending questions are dropped."""
        self._ready.close()
        self._interfaces.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    def __len__(self) -> int:
        return len(self._pending)

    def fileno(self) -> int:
        """Return the one descriptor that is readable when packets have come."""
        return self._ready.fileno()

    def put(
        self, question: Question, first: bool = False, schedule: Schedule = FAST, now: bool = False
    ) -> bool:
        """Add a question; False: its address is pending.

        first: before all unsent ones. now: before all frames of other questions.
        """
        probe = PendingProbe(question, schedule)
        if probe.key in self._pending:
            return False
        if not self._pending:
            self._listen()
        self._pending[probe.key] = probe
        if now:
            self._queue.put_back(float("-inf"), [probe])
        else:
            self._queue.put(probe, first)
        return True

    def drop(self, key: tuple[int, bytes]) -> tuple[Question, ProbeResult] | None:
        """Forget a pending question, if there is one about this address; return it so far."""
        probe = self._pending.get(key)
        if not probe:
            return None
        self._queue.remove(probe)
        self._finish(probe)
        return self._done.pop()

    def answers(self, key: tuple[int, bytes]) -> Collection[bytes] | None:
        """Return who has answered a pending question until now; None: it is not pending."""
        self._receive()
        probe = self._pending.get(key)
        return probe.answers if probe else None

    def interface(self, ifindex: int) -> interface_facts.Interface | None:
        """Return a device as questions see it; None: it is gone."""
        return self._interfaces.get(ifindex)

    def device_changed(self, ifindex: int) -> None:
        """Read a device anew: the kernel has said that it changed (its name, its MAC)."""
        self._interfaces.reread(ifindex)
        if self._learned:
            self._learned.forget(ifindex)

    def next_due(self) -> float | None:
        """Return when ``step`` is due at the latest; None while it has nothing to do."""
        now = self._clock()
        if self._done:  # such as by ``answers``
            return now
        if not self._pending:
            return None
        sends = [
            max(self._queue.due(now, is_urgent), self._room.due(now, is_urgent))
            for is_urgent in (True, False)
        ]
        late_send = max(self._queue.late_due(), self._room.late_due(now))
        return min(self._ends.due(), *sends, late_send)

    def room(self, is_urgent: bool = False) -> int:
        """Return how many more questions could be asked at once."""
        frames = min(SEND_BATCH, self._room.left(self._clock(), is_urgent))
        return frames - self._queue.unsent(is_urgent)

    def room_due(self, is_urgent: bool = False) -> float:
        """Return when there is room for one more frame."""
        return self._room.due(self._clock(), is_urgent)

    def wait(self, seconds: float) -> None:
        """Wait until a packet has come, no longer than that."""
        self._ready.poll(seconds, 1)

    def step(self) -> list[tuple[Question, ProbeResult]]:
        """Read answers, send due frames (at most SEND_BATCH), return the finished questions."""
        self._receive()
        self._send(self._clock())
        self._receive()
        for probe in self._ends.pop(self._clock(), len(self._pending)):
            self._finish(probe)
        done, self._done = self._done, []
        return done

    # --- sending

    def _send(self, now: float) -> None:
        """Send what rate and in-flight limit allow: everybody's first frames before late ones."""
        self._interfaces.follow()
        due = self._queue.pop(now, min(SEND_BATCH, self._room.left(now, True)), is_urgent=True)
        left = min(SEND_BATCH, self._room.left(now, False)) - len(due)
        due += self._queue.pop(now, left, is_urgent=False)
        left = min(SEND_BATCH, self._room.late_left(now)) - len(due)
        due += self._queue.pop_late(now, left)
        if self._overtaken and (again := [probe for probe in due if probe.is_sent]):
            due = self._without_overtaken(due, again)
        groups = defaultdict(list)
        for probe in due:
            groups[probe.question.ifindex, len(probe.question.dst)].append(probe)
        for (ifindex, _length), group in groups.items():
            self._send_group(ifindex, group)

    def _without_overtaken(
        self, due: list[PendingProbe], again: list[PendingProbe]
    ) -> list[PendingProbe]:
        """End those whose entries somebody else has written; return the others."""
        assert self._overtaken
        if over := set(self._overtaken(again)):
            self._receive()  # what wrote them may be an answer that is not read yet
            again = [probe for probe in again if probe.key in over and self._is_open(probe)]
            for key in self._overtaken(again):
                self._finish(self._pending[key], OVERTAKEN)
        return [probe for probe in due if self._is_open(probe)]

    def _is_open(self, probe: PendingProbe) -> bool:
        return probe.key in self._pending and not probe.is_broadcast_answered

    def _send_group(self, ifindex: int, group: list[PendingProbe]) -> None:
        """Send the next frame of questions that share device and family."""
        family, port = codec.family_of(group[0].question.dst), None
        interface = self._interfaces.get(ifindex)
        why = interfaces.why_unusable(interface, family)
        if not why:
            try:
                port = self._port(family)
            except OSError as error:
                why = packet_socket.reason(error)
        if why or not interface or not port:
            for probe in group:
                self._finish(probe, why)
            return
        senders = self._interfaces.choose_senders(interface, [p.question.dst for p in group])
        own = {address.ip for address in interface.addresses}
        sent = defaultdict(list)  # (identity of the schedule, step) to probes: cheap to hash
        for at, (probe, each) in enumerate(zip(group, senders, strict=True)):
            if self._interfaces.follow():  # its MAC or addresses may be others by now
                self._queue.put_back(self._clock(), group[at:])
                break
            if probe.question.dst in own:
                self._finish(probe, "our own address")
            elif not each:
                self._finish(probe, interfaces.NO_SENDER)
            else:
                step = self._send_frame(probe, interface, each, port)
                sent[id(probe.schedule), step].append(probe)
        now = self._clock()
        for (_schedule, step), probes in sent.items():
            self._room.spend(len(probes), now)
            schedule = probes[0].schedule
            due = now + self._wait_s(schedule, step, ifindex)
            self._set_next(due, schedule, step, probes)

    def _set_next(
        self, due: float, schedule: Schedule, step: int, probes: list[PendingProbe]
    ) -> None:
        """Set when what follows a frame is due, for questions that share a schedule."""
        if schedule.is_last(step):
            self._ends.set(due, probes)
        else:
            self._queue.set(due, schedule, step + 1, probes)

    def _wait_s(self, schedule: Schedule, step: int, ifindex: int) -> float:
        if self._learned and schedule in (FAST, URGENT) and schedule.is_unicast(step):
            return self._learned.wait_s(ifindex)
        return schedule.wait_s(step)

    def _send_frame(
        self,
        probe: PendingProbe,
        interface: interface_facts.Interface,
        senders: interfaces.Senders,
        port: packet_socket.ProbeSocket,
    ) -> int:
        """Send the next frame of one question and return its step; a refused one counts as lost.

        senders: asked from in turn.
        """
        probe.last_sent_at = now = self._clock()
        question = probe.question
        if not probe.is_sent:
            probe.is_sent, probe.first_sent_at = True, now
            probe.carrier_changes = interface.carrier_changes
        is_foreign = len(question.mac) != len(interface.mac)  # no cached MAC, or none of this link
        if is_foreign and probe.schedule.broadcast_waits_s:
            probe.step = max(probe.step, len(probe.schedule.unicast_waits_s))
        step = probe.step
        probe.step += 1
        is_unicast = probe.schedule.is_unicast(step)
        mac = question.mac if is_unicast else b""
        try:
            turn = probe.schedule.first_name + probe.unicast_sent + probe.broadcast_sent
            sender = senders[turn % len(senders)]
            words = sender, question.dst, mac, probe.schedule.wants_mac
            port.send(interface.name, *interface.probe(*words))
        except OSError as error:
            probe.send_error = packet_socket.reason(error)
            self._interfaces.expire(interface.ifindex)
            return step
        if is_unicast:
            probe.unicast_sent += 1
        else:
            probe.broadcast_sent += 1
        self._room.sent(probe, now)
        return step

    def _port(self, family: int) -> packet_socket.ProbeSocket:
        if family not in self._ports:
            self._ports[family] = port = packet_socket.ProbeSocket(family)
            self._ready.register(port, select.EPOLLIN)
        return self._ports[family]

    # --- receiving

    def _listen(self) -> None:
        """Listen again after a pause, and drop what came meanwhile: it is old."""
        for port in self._ports.values():
            port.drain(FULL_BUFFER)
            self._ready.register(port, select.EPOLLIN)

    def _receive(self) -> None:
        if self._ports and self._ready.poll(0):
            now = self._clock()
            packets = [packet for port in self._ports.values() for packet in port.drain(READ_BATCH)]
            answered = [probe for packet in packets if (probe := self._take(*packet, now))]
            if answered and not self._learned:
                self._ends.set(now + COLLECT_S, answered)
            for probe in answered if self._learned else ():
                share = self._learned.share(probe.question.ifindex)
                self._ends.set(now + share * COLLECT_S, [probe])

    def _take(self, message: bytes, sender: tuple, now: float) -> PendingProbe | None:
        """Take one packet if it answers a question; return that at its first broadcast answer."""
        interface = self._interfaces.by_name(sender[0])
        answer = interface and frames.parse(message, sender, interface.mac)
        probe = answer and self._pending.get((interface.ifindex, answer.ip))
        if not probe or not probe.is_sent:
            return None
        mac, is_cached = answer.owner, answer.owner == probe.question.mac
        if answer.flags & frames.OVERRIDE and len(probe.overriding) < MAX_MACS:
            probe.overriding |= {mac}
        if mac not in probe.answers and (len(probe.answers) < MAX_MACS or is_cached):
            probe.answers[mac] = (now - probe.first_sent_at) * 1000
            if self._learned:
                # another host cannot have heard more than the last frame; this one may have
                since = probe.first_sent_at if is_cached else probe.last_sent_at
                self._learned.add(interface.ifindex, now - since)
        if probe.is_broadcast_answered:
            return None
        if is_cached and not probe.broadcast_sent:
            self._finish(probe)
            return None
        self._room.answered(probe)
        if not probe.broadcast_sent:
            return None
        probe.is_broadcast_answered = True
        self._queue.drop(probe)
        return probe

    # --- ending

    def _finish(self, probe: PendingProbe, why: str = "") -> None:
        """Turn a pending question into its result."""
        del self._pending[probe.key]
        self._queue.drop(probe)
        self._ends.clear(probe)
        self._room.answered(probe)
        if not probe.answers and not why:
            why = self._why_unheard(probe)
        sent = probe.unicast_sent, probe.broadcast_sent
        result = ProbeResult(*sent, probe.answers, why, probe.overriding)
        self._done.append((probe.question, result))
        if not self._pending:  # what the kernel hears for itself need not wake us
            for port in self._ports.values():
                self._ready.unregister(port)

    def _why_unheard(self, probe: PendingProbe) -> str:
        """Return why nobody may have heard a question; empty where its silence is evidence."""
        if not probe.unicast_sent + probe.broadcast_sent:
            return probe.send_error
        interface = self._interfaces.get_fresh(probe.question.ifindex)
        why = self._interfaces.why_cannot_probe(interface, probe.question.dst)
        if not why and interface and interface.carrier_changes != probe.carrier_changes:
            why = "no carrier for a while"
        return why


def ask(
    questions: Iterable[Question],
    rate: float = 0.0,
    tick: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    schedule: Schedule = FAST,
    overtaken: Overtaken | None = None,
) -> dict[tuple[int, bytes], ProbeResult]:
    """Ask all questions; return ``(ifindex, dst)`` to the result.

    rate: frames a second; 0: as fast as is safe. tick: called about once a second with the number
    of finished questions and of all. overtaken: see Asker.
    """
    results: dict[tuple[int, bytes], ProbeResult] = {}
    with contextlib.closing(Asker(rate, clock, overtaken=overtaken)) as asker:
        total = sum(asker.put(question, schedule=schedule) for question in questions)
        last_tick = clock()
        while len(asker):
            results.update((question[:2], result) for question, result in asker.step())
            if tick and clock() - last_tick >= TICK_S:
                last_tick = clock()
                tick(len(results), total)
            due = asker.next_due()
            if due is not None and (seconds := due - clock()) > 0:
                asker.wait(min(seconds, TICK_S))
    return results
