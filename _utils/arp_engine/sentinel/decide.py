"""What the sentinel makes of what it hears: a doubt, a question, and what the wire's answer means.

No entry is written. Asking is enough: where somebody answers, the kernel takes the answer into its
table by itself (resolve/ask.py); where nobody does, nothing happens. What belongs to somebody else
(table/ownership.py) is never asked about, as an answer would change it.

But the kernel believes no answer about an entry that has changed less than ``locktime`` ago (a
second, IPv4), and our own SYN/ACK changes a STALE one, to DELAY. So where a connection waits,
another host has answered, the host at the MAC we hold has not, neither alone nor among all, and the
table keeps it for ``locktime``: that entry is deleted. The kernel then asks by itself, and so do
we, as its one broadcast may get lost.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..netlink import codec, model
from ..packets import bpf
from ..packets.tcp_syn import Syn
from ..reporting.events import EventKind
from ..reporting.throttle import Teller
from ..resolve import rate_limit
from ..resolve.ask import ProbeResult, Question
from ..table import ownership
from ..table import selectors as table_selectors
from . import neighbour_cache, question_queue, reinject
from .neighbour_cache import mac_of

OPEN, OPEN_OTHERS = 12, 6  # questions under way (each unanswered one has ten frames to come), and
# those among them that do not go first
LOOKS = 500.0  # for the sockets of what waits, a second
LOOK_AGAIN_S = 0.1
TRIES = 3  # where the wire says another MAC, and the table neither takes it nor lets us delete
RIGHT_S = 1.0, 10.0  # what the wire has confirmed loses its packets for another reason: the
# first rest of its symptoms, twice as long each time it is confirmed again, and the longest
RIGHT_MOST = 4096
FLAPS, FLAPS_S = 3, 60.0  # so many changes of MAC within this time
FLAPS_MOST = 1024
TRANSIENT = ("INCOMPLETE", "NONE")  # the kernel is asking by itself


class Waiting(NamedTuple):
    """A SYN that waits for its answer."""

    is_ours: bool  # we sent it
    syn: Syn


Doubt = question_queue.Doubt[codec.Key, Waiting]


class Watch:
    """What is known, what is doubted, what is being asked."""

    def __init__(
        self,
        rate: float,
        again: reinject.Again,
        teller: Teller,
        host: "Host",
        delete: Callable[[codec.Key, bytes], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take questions a second, and what it needs of the machine.

        delete: deletes an entry that has this MAC and takes no other yet; False where it did not.
        """
        self._again, self._teller, self._host, self._clock = again, teller, host, clock
        self._delete = delete
        self._next: deque[Doubt] = deque()  # entries were deleted: everybody is asked, now
        self.known = neighbour_cache.Known()
        self.doubts: question_queue.Doubts[codec.Key, Waiting] = question_queue.Doubts(rate)
        self.aliases: question_queue.Aliases[codec.Key] = question_queue.Aliases()
        self._looks = rate_limit.TokenBucket(LOOKS)
        self._open: dict[codec.Key, Doubt] = {}
        self._changed: dict[codec.Key, neighbour_cache.Change] = {}  # of what is being asked about
        self._right: OrderedDict[codec.Key, tuple[float, float]] = OrderedDict()  # until, rest
        self._flaps: OrderedDict[codec.Key, list[float]] = OrderedDict()

    # --- what is heard

    def came(self, ifindex: int, mac: bytes, syn: Syn) -> None:
        """Compare a SYN that came in with the table."""
        key, now = (ifindex, syn.source), self._clock()
        entry = self._doubtful(key)
        if not entry or mac == entry.mac or (key, mac) in self.aliases:
            return
        if len(mac) != len(entry.mac):  # a link that does not say whom a frame is from: InfiniBand
            return
        if owner := ownership.owner(entry, self._host.device(ifindex)):
            if owner not in TRANSIENT and self.aliases.add(key, mac, now):
                text = f"{self._named(key)} is {entry.mac.hex(':')} ({owner}), a SYN came from"
                self._tell(EventKind.OWNED, key, f"{text} {mac.hex(':')}", held=entry.mac, seen=mac)
            return
        doubt = self._doubt(key, "syn", now)
        if self._is_preferred(key, doubt, syn, now):
            doubt = self._doubt(key, "syn", now, answered=True)
            self.doubts.wake(key)
        if doubt:
            doubt.add(mac, Waiting(False, syn))

    def called(self, ifindex: int, syn: Syn) -> bool:
        """Tell whether a SYN of ours goes to a neighbour whose entry may be wrong."""
        key = ifindex, syn.target
        return bool(self._doubtful(key)) and self._is_ours(key) and not self._is_right(key)

    def unanswered(self, ifindex: int, syn: Syn) -> None:
        """Doubt the entry of a neighbour that has not answered a SYN of ours."""
        if self.called(ifindex, syn) and self._again.is_waiting(syn):
            doubt = self._doubt((ifindex, syn.target), "no answer", self._clock(), answered=True)
            if doubt:
                doubt.add(b"", Waiting(True, syn))

    def stuck(self, peer: bytes) -> None:
        """Doubt the entries of a peer whose connection waits for an answer."""
        for entry in list(self.known.at(peer)):
            key = entry.key
            if self._doubtful(key) and self._is_ours(key) and not self._is_right(key):
                self._doubt(key, "retransmits", self._clock(), answered=True)

    def suspect(self, key: codec.Key) -> None:
        """Doubt an entry that something else than ARP keeps alive."""
        if self._doubtful(key) and self._is_ours(key):
            self._doubt(key, "vouched for", self._clock())

    def changed(self, change: neighbour_cache.Change) -> None:
        """Take a change of the table: a heal lets the SYNs go on that have waited for it."""
        if not change.is_other_mac:
            return
        key, now = change.key, self._clock()
        self.aliases.forget(now, key)
        self._right.pop(key, None)
        doubt = self._open.get(key) or self.doubts.drop(key)
        if doubt:
            self._go_on(doubt)
        if key in self._open:
            self._changed[key] = change
        else:
            self._tell_changed(EventKind.CHANGED, change)
        self._flap(key, now)

    # --- asking

    def next_question(self) -> Question | None:
        """Return what is to be asked about now."""
        if self._next:
            doubt = self._next.popleft()
            return Question(*doubt.key)
        now = self._clock()
        if len(self._open) >= OPEN:
            return None
        doubt = self.doubts.next(now, self._first_only())
        if not doubt:
            return None
        entry = self._doubtful(doubt.key)
        if not entry or not self._is_ours(doubt.key):  # it has changed since
            return None
        self._open[doubt.key] = doubt
        return Question(*doubt.key, entry.mac)

    def next_due(self) -> float:
        """Return when ``next_question`` may have one."""
        if self._next:
            return self._clock()
        if len(self._open) >= OPEN:
            return float("inf")
        return self.doubts.due(self._clock(), self._first_only())

    def _first_only(self) -> bool:
        return sum(not doubt.first for doubt in self._open.values()) >= OPEN_OTHERS

    def answered(self, question: Question, heard: ProbeResult) -> None:
        """Compare what the wire says with what the table has by now."""
        key, now = (question.ifindex, question.dst), self._clock()
        doubt, change = self._open.pop(key, None), self._changed.pop(key, None)
        held, named = mac_of(self.known.get(key)), self._named(key)
        if change:
            is_answer = mac_of(change.new) in heard.answers
            kind = EventKind.HEALED if is_answer else EventKind.CHANGED
            self._tell_changed(kind, change, doubt)
        self.doubts.loud(key)
        if not heard.answers:
            self.doubts.silent(key, now, was_asked=not heard.why)
            if heard.why:
                self._tell(EventKind.UNASKABLE, key, f"{named}: {heard.why}", why=heard.why)
        elif held in heard.answers:
            self._confirmed(key, held, doubt, heard, now)
        elif held and doubt and doubt.tries < TRIES:
            was_asked = held == question.mac  # alone, too: who is new here by now was not
            if was_asked and _is_urgent(doubt) and self._delete(key, held):
                self._deleted(key, held, doubt, heard, now)
            else:
                self.doubts.put_back(doubt)
        elif held:
            macs = " and ".join(mac.hex(":") for mac in heard.answers)
            text = f"{named}: {macs} answers, the table keeps {held.hex(':')}"
            self._tell(EventKind.DISAGREEMENT, key, text, held=held, answers=list(heard.answers))

    def _deleted(
        self, key: codec.Key, held: bytes, doubt: Doubt, heard: ProbeResult, now: float
    ) -> None:
        """Let what waited for the truth go on: the kernel asks, and so do we.

        That belongs to the question which is over: its address is not asked about again sooner.
        """
        macs = " and ".join(mac.hex(":") for mac in heard.answers)
        text = f"{self._named(key)}: {held.hex(':')} deleted, {macs} answers ({doubt.why})"
        answers = list(heard.answers)
        self._tell(
            EventKind.HEALED, key, text, old=held, new=answers[0], why=doubt.why, deleted=True
        )
        self.aliases.forget(now, key)
        self._right.pop(key, None)
        self._go_on(doubt)
        doubt.tries += 1
        self._open[key] = doubt
        self._next.append(doubt)
        self._flap(key, now)

    def _go_on(self, doubt: Doubt) -> None:
        """Let the SYNs that have waited for a heal go on."""
        for waiting in doubt.things:
            self._again.put(waiting.syn, doubt.key[0] if waiting.is_ours else 0)
        doubt.things = []

    def _confirmed(
        self, key: codec.Key, held: bytes, doubt: Doubt | None, heard: ProbeResult, now: float
    ) -> None:
        """Remember that the table is right, and what else comes from that address."""
        named = self._named(key)
        first_s, longest_s = RIGHT_S
        until, rest_s = self._right.pop(key, (float("-inf"), 0.0))
        rest_s = min(2 * rest_s, longest_s) if now < until + longest_s else first_s
        self._right[key] = now + rest_s, rest_s
        if len(self._right) > RIGHT_MOST:
            self._right.popitem(last=False)
        if len(heard.answers) > 1:
            macs = " and ".join(sorted(mac.hex(":") for mac in heard.answers))
            self._tell(
                EventKind.DUPLICATE, key, f"{named}: {macs} answer", answers=list(heard.answers)
            )
        for mac in (doubt.macs if doubt else set()) - {held}:
            if self.aliases.add(key, mac, now):
                text = f"{named} is {held.hex(':')}, and comes from {mac.hex(':')} too"
                self._tell(EventKind.ALIAS, key, text, held=held, seen=mac)

    # --- what decides

    def filter_for_kernel(self, is_flood: bool, most: int) -> dict[bytes, frozenset[bytes]] | None:
        """Return the MACs that are no news, by address; None where there are too many.

        Under a flood without the addresses that are asked about, will be, or may not be yet, and
        without what is not ours: one SYN more of theirs would change nothing.
        """
        if len(self.known) > most:
            return None
        found: dict[bytes, set[bytes]] = {}
        for entry in self.known.entries():
            if is_flood and ownership.owner(entry, self._host.device(entry.ifindex)):
                continue
            if mac_of(entry) and self._host.is_selected(entry):
                found.setdefault(entry.dst, set()).add(entry.mac)
        for (_ifindex, dst), mac in self.aliases.pairs():
            if dst in found and len(found[dst]) < bpf.MOST_MACS:
                found[dst].add(mac)
        if is_flood:
            for _ifindex, dst in (*self.doubts.busy(self._clock()), *self._open):
                found.pop(dst, None)
        return {dst: frozenset(macs) for dst, macs in found.items()}

    def _doubtful(self, key: codec.Key) -> codec.Entry | None:
        """Return an entry that could be wrong: it has a MAC, and is selected."""
        entry = self.known.get(key)
        return entry if mac_of(entry) and entry and self._host.is_selected(entry) else None

    def _is_ours(self, key: codec.Key) -> bool:
        entry = self.known.get(key)
        return bool(entry) and not ownership.owner(entry, self._host.device(key[0]))

    def _is_right(self, key: codec.Key) -> bool:
        return self._right.get(key, (float("-inf"),))[0] > self._clock()

    def _doubt(self, key: codec.Key, why: str, now: float, answered: bool = False) -> Doubt | None:
        return self._open.get(key) or self.doubts.put(key, why, now, answered)

    def _is_preferred(self, key: codec.Key, doubt: Doubt | None, syn: Syn, now: float) -> bool:
        """Tell whether a listener of ours has answered; looked up where that changes something."""
        if doubt and now < doubt.looked_at + LOOK_AGAIN_S:
            return False
        others_wait = len(self.doubts) > 1 and not (doubt and doubt.answered)
        if not (others_wait or self.doubts.rests(key)) or not self._looks.available(now):
            return False
        self._looks.spend(1, now)
        if doubt:
            doubt.looked_at = now
        return self._again.is_answered(syn)

    def _flap(self, key: codec.Key, now: float) -> None:
        """Notice an address that goes to and fro between MACs."""
        times = [when for when in self._flaps.pop(key, []) if when > now - FLAPS_S] + [now]
        if len(times) >= FLAPS:
            text = f"{self._named(key)} has changed its MAC {len(times)} times in {FLAPS_S:g} s"
            self._tell(EventKind.ALTERNATES, key, text)
            self.suspect(key)
            times = []
        self._flaps[key] = times
        if len(self._flaps) > FLAPS_MOST:
            self._flaps.popitem(last=False)

    # --- telling

    def _named(self, key: codec.Key) -> str:
        return f"{codec.address(key[1])} on {self._host.name(key[0])}"

    def _tell_changed(
        self, kind: EventKind, change: neighbour_cache.Change, doubt: Doubt | None = None
    ) -> None:
        old, new = mac_of(change.old), mac_of(change.new)
        text = f"{self._named(change.key)}: {old.hex(':')} -> {new.hex(':')}"
        facts: dict[str, Any] = {"old": old, "new": new}
        if doubt:
            text += f" ({doubt.why})"
            facts["why"] = doubt.why
        self._tell(kind, change.key, text, **facts)

    def _tell(self, kind: EventKind, key: codec.Key, line: str, **facts: Any) -> None:
        """Tell something about an address; MACs as text."""
        told = {name: _as_text(value) for name, value in facts.items()}
        ip, dev = codec.address(key[1]), self._host.name(key[0])
        self._teller.tell(kind, line, self._clock(), ip=ip, dev=dev, **told)


def _is_urgent(doubt: Doubt) -> bool:
    """Tell whether a connection waits: else there is time to ask again when locktime is over."""
    return doubt.answered or bool(doubt.things)


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return value.hex(":") if isinstance(value, bytes) else value


class Host:
    """What is known of the machine's devices, until the kernel says that it has changed."""

    def __init__(
        self,
        selectors: table_selectors.Selectors,
        device: Callable[[int], model.Device | None],
        devices: Callable[[], Any],
        find: Callable[[str], int],
    ) -> None:
        """Take who tells a device by its index, all devices as (index, name), and one by name.

        find: by an alternative name too; 0 where there is none.
        """
        self._selectors, self._device = selectors, device
        self._all, self._find = devices, find
        self.forget()

    def forget(self) -> None:
        """Ask anew: devices have come, gone, or got another name."""
        self._by_index: dict[int, model.Device | None] = {}
        self._by_name: dict[str, int] = {}
        self._named: set[int] | None = None
        self._absent: list[str] = []
        self._is_read = False

    def _read(self) -> None:
        if not self._is_read:
            self._is_read = True
            self._by_name = {name: ifindex for ifindex, name in self._all()}
            wanted = self._selectors.dev
            if wanted is not None:
                found = {name: self._find(name) for name in wanted}
                self._named = {ifindex for ifindex in found.values() if ifindex}
                self._absent = sorted(name for name, ifindex in found.items() if not ifindex)

    def watched(self) -> str:
        """Return what is watched, as it is told; a device that is named may be there later."""
        self._read()
        absent = f"; so far there is no {', '.join(self._absent)}" if self._absent else ""
        return f"every SYN, connection and notification{absent}"

    def ifindex(self, name: str) -> int:
        """Return a device's index; 0 where it is not known."""
        self._read()
        return self._by_name.get(name, 0)

    def device(self, ifindex: int) -> model.Device | None:
        """Return a device; None where there is none."""
        if ifindex not in self._by_index:
            self._by_index[ifindex] = self._device(ifindex)
        return self._by_index[ifindex]

    def name(self, ifindex: int) -> str:
        """Return a device's name; a number where it has none any more."""
        device = self.device(ifindex)
        return device.name if device else f"#{ifindex}"

    def is_selected(self, entry: codec.Entry) -> bool:
        """Tell whether an entry is one to be watched."""
        self._read()
        named = self._named if self._selectors.dev is not None else None
        return codec.family_of(entry.dst) in self._selectors.families and self._selectors.matches(
            entry, named
        )
