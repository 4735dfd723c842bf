"""Asking on the wire who has an address, and telling what was heard. Nothing is judged here.

Asking changes nothing where nobody answers; where somebody does, the kernel takes the answer into
its table by itself. So a question is asked as quietly as it can be, and as often as it must:

1. the host at the MAC we hold, alone; only he hears it, and his answer ends it
2. everybody (broadcast, or the solicited-node group), ten times in 1.2 s. Where half of all
   broadcasts get lost at random, ten leave one living host in 1,024 unheard; where every second
   one does, the second is heard
3. after the first answer to that a short while longer: two hosts may claim the address

Answers to what is not asked are passed over, so a flood of them costs time and no memory.
"""

import contextlib
import select
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..netlink import codec
from ..packets import frames, packet_socket
from . import deadlines, in_flight, interfaces, rate_limit

PATIENCE_S = 0.015  # for the one host that is asked alone; a living one takes less than 1 ms
#: From one broadcast to the next, and how long after the last one an answer is waited for.
GAPS_S = (0.05, 0.1, *[0.15] * 7, 0.2)
COLLECT_S = 0.01  # after the first answer to a broadcast, for a second one
MAX_MACS = 8  # kept of one question; who claims more than these is lying
SEND_BATCH = 64  # frames between two looks at what has come: the least buffer holds 256
READ_BATCH = 1024  # packets taken at once: a flood must not hold up the questions
BUFFER_PACKETS = (
    packet_socket.RECEIVE_BUFFER // 256
)  # packets in a full buffer: the shortest takes up that much
PROGRESS_S = 1.0  # between two ticks


class Question(NamedTuple):
    """Who has ``dst`` (packed), on this device? ``mac``: the one we hold, empty for none."""

    ifindex: int
    dst: bytes
    mac: bytes = b""


class ProbeResult(NamedTuple):
    """What came of one question."""

    unicast_asked: int  # frames sent
    broadcast_asked: int
    answers: dict[bytes, float]  # MAC to milliseconds from the first frame to its first answer
    why: str = ""  # it could not be asked, or not properly


class _PendingProbe:
    """A question under way: there may be 100,000, so what nothing has happened to costs nothing."""

    started = 0.0  # when the first frame went
    carrier_changes = -1  # of its device, by then
    tries = 0  # the first goes to the host at the MAC we hold, the others to all
    unicast = broadcast = 0
    claimed = False  # somebody has answered a broadcast
    why = ""

    def __init__(self, question: Question):
        self.question = question
        self.key = question[:2]
        self.answers: dict[bytes, float] = {}


class Asker:
    """Asks many questions at a time, at a pace, and waits for nothing.

    An event loop watches ``fileno()`` and calls ``step()`` when it is readable, after ``put()``,
    and at ``next_due()``.
    """

    def __init__(self, rate: float = 0.0, clock: Callable[[], float] = time.monotonic):
        """Take frames a second; 0 for as fast as is safe."""
        self._clock = clock
        self._devices = interfaces.Interfaces(clock)
        self._bucket = rate_limit.TokenBucket(rate)
        self._in_flight = in_flight.InFlight(in_flight.default_limit())
        self._ports: dict[int, packet_socket.Port] = {}  # by family
        self._ready = select.epoll()
        self._asked: dict[tuple[int, bytes], _PendingProbe] = {}
        self._new: deque[_PendingProbe] = deque()  # not yet asked for the first time
        self._again = deadlines.Deadlines()  # when the next frame is due
        self._ends = deadlines.Deadlines()  # when to wait no longer
        self._done: list[tuple[Question, ProbeResult]] = []

    def close(self) -> None:
        """Close all it has opened; what is under way is forgotten."""
        self._ready.close()
        self._devices.close()
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    def __len__(self) -> int:
        """Return how many questions are under way."""
        return len(self._asked)

    def fileno(self) -> int:
        """Return the one descriptor that is readable when there is something to hear."""
        return self._ready.fileno()

    def put(self, question: Question, first: bool = False) -> bool:
        """Ask a question, before all others that wait; False where it is under way already."""
        asked = _PendingProbe(question)
        if asked.key in self._asked:
            return False
        if not self._asked:
            self._listen()
        self._asked[asked.key] = asked
        (self._new.appendleft if first else self._new.append)(asked)
        return True

    def device_changed(self, ifindex: int) -> None:
        """Take note that a device has changed; it may have another name, and another one its."""
        self._devices.renew(ifindex)

    def next_due(self) -> float | None:
        """Return when ``step`` is due at the latest; None while nothing is under way."""
        if not self._asked:
            return None
        now = self._clock()
        again = now if self._new else self._again.due()
        return min(self._ends.due(), max(again, self._bucket.due(now), self._in_flight.due(now)))

    def wait(self, seconds: float) -> None:
        """Wait until something has come, no longer than that."""
        self._ready.poll(seconds, 1)

    def step(self) -> list[tuple[Question, ProbeResult]]:
        """Hear what has come, send what is due (SEND_BATCH frames at most), return what is over."""
        self._hear()
        self._send(self._clock())
        self._hear()
        for asked in self._ends.pop(self._clock(), len(self._asked)):
            self._finish(asked)
        done, self._done = self._done, []
        return done

    # --- sending

    def _send(self, now: float) -> None:
        """Send what is due, as far as pace and flight allow: first what was asked before."""
        room = min(SEND_BATCH, self._bucket.available(now), self._in_flight.room(now))
        due = self._again.pop(now, room)
        due += [self._new.popleft() for _ in range(min(room - len(due), len(self._new)))]
        groups = defaultdict(list)
        for asked in due:
            groups[asked.question.ifindex, len(asked.question.dst)].append(asked)
        for (ifindex, _length), group in groups.items():
            self._send_group(ifindex, group)

    def _send_group(self, ifindex: int, group: list[_PendingProbe]) -> None:
        """Send the next frame of questions that are alike in device and family."""
        family, port = codec.family_of(group[0].question.dst), None
        device = self._devices.get(ifindex)
        why = interfaces.why_cannot_probe(device, family)
        if not why:
            try:
                port = self._port(family)
            except OSError as error:
                why = packet_socket.reason(error)
        if why or not device or not port:
            for asked in group:
                self._finish(asked, why)
            return
        sources = self._devices.sources(device, [asked.question.dst for asked in group])
        own = {address.ip for address in device.addresses}
        sent = defaultdict(list)  # by how often it has been asked before
        for asked, source in zip(group, sources, strict=True):
            if asked.question.dst in own:
                self._finish(asked, "our own address")
            else:
                sent[self._send_one(asked, device, source, port)].append(asked)
        now = self._clock()
        for tries, alike in sent.items():
            self._bucket.spend(len(alike), now)
            timers = self._ends if tries == len(GAPS_S) else self._again
            timers.set(now + (GAPS_S[tries - 1] if tries else PATIENCE_S), alike)

    def _send_one(
        self,
        asked: _PendingProbe,
        device: interfaces.Interface,
        source: bytes,
        port: packet_socket.Port,
    ) -> int:
        """Send the next frame of one question; one that is refused is as good as lost.

        Return how often it had been asked before.
        """
        now, held = self._clock(), asked.question.mac
        if len(held) != len(device.mac):
            asked.tries = max(asked.tries, 1)  # nobody to be asked alone
        alone = not asked.tries
        if asked.carrier_changes < 0:
            asked.started, asked.carrier_changes = now, device.carrier_changes
        try:
            port.send(device.name, *device.question(source, asked.question.dst, held * alone))
        except OSError as error:
            asked.why = packet_socket.reason(error)
            self._devices.forget(device.ifindex)
        else:
            asked.unicast += alone
            asked.broadcast += not alone
            self._in_flight.sent(asked, now)
        asked.tries += 1
        return asked.tries - 1

    def _port(self, family: int) -> packet_socket.Port:
        """Return the socket for a family."""
        if family not in self._ports:
            self._ports[family] = port = packet_socket.Port(family)
            self._ready.register(port, select.EPOLLIN)
        return self._ports[family]

    # --- hearing

    def _listen(self) -> None:
        """Hear again after a pause in which nobody listened; what came meanwhile is old news."""
        for port in self._ports.values():
            port.drain(BUFFER_PACKETS)
            self._ready.register(port, select.EPOLLIN)

    def _hear(self) -> None:
        """Take what has come."""
        if self._ports and self._ready.poll(0):
            now = self._clock()
            heard = [one for port in self._ports.values() for one in port.drain(READ_BATCH)]
            claimed = [asked for one in heard if (asked := self._take(*one, now))]
            if claimed:
                self._ends.set(now + COLLECT_S, claimed)

    def _take(self, message: bytes, sender: tuple, now: float) -> _PendingProbe | None:
        """Take one packet, if it answers what is asked; return what is claimed by it."""
        device = self._devices.named(sender[0])
        answer = device and frames.parse(message, sender, device.mac)
        asked = answer and self._asked.get((device.ifindex, answer.ip))
        if not asked or asked.carrier_changes < 0:
            return None
        held, owner = asked.question.mac, answer.owner
        is_new = owner not in asked.answers
        if is_new and (len(asked.answers) < MAX_MACS or owner == held):
            asked.answers[owner] = (now - asked.started) * 1000
        if asked.claimed:
            return None
        if owner == held and not asked.broadcast:
            self._finish(asked)
            return None
        self._in_flight.answered(asked)
        if not asked.broadcast:
            return None
        asked.claimed = True
        self._again.clear(asked)
        return asked

    # --- ending

    def _finish(self, asked: _PendingProbe, why: str = "") -> None:
        """Write down what came of a question."""
        del self._asked[asked.key]
        self._again.clear(asked)
        self._ends.clear(asked)
        self._in_flight.answered(asked)
        if not asked.answers and not why:
            why = asked.why if not asked.unicast + asked.broadcast else self._why_unheard(asked)
        heard = ProbeResult(asked.unicast, asked.broadcast, asked.answers, why)
        self._done.append((asked.question, heard))
        if not self._asked:  # what the kernel hears for itself need not wake us
            for port in self._ports.values():
                self._ready.unregister(port)

    def _why_unheard(self, asked: _PendingProbe) -> str:
        """Return why a question that nobody answered may not have been heard by anybody."""
        device = self._devices.get(asked.question.ifindex)
        why = interfaces.why_cannot_probe(device, codec.family_of(asked.question.dst))
        if not why and device and device.carrier_changes != asked.carrier_changes:
            why = "no carrier for a while"
        return why


def ask(
    questions: Iterable[Question],
    rate: float = 0.0,
    tick: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[tuple[int, bytes], ProbeResult]:
    """Ask all questions; return ``(ifindex, dst)`` to what was heard.

    rate: frames a second; 0 for as fast as is safe. tick: called about once a second with how many
    questions are over, and of how many.
    """
    heard: dict[tuple[int, bytes], ProbeResult] = {}
    with contextlib.closing(Asker(rate, clock)) as asker:
        total = sum(map(asker.put, questions))
        told = clock()
        while len(asker):
            heard.update((question[:2], result) for question, result in asker.step())
            if tick and clock() - told >= PROGRESS_S:
                told = clock()
                tick(len(heard), total)
            due = asker.next_due()
            if due is not None and (seconds := due - clock()) > 0:
                asker.wait(min(seconds, PROGRESS_S))
    return heard
