"""A doubted entry, and the kinds of evidence against one."""

from dataclasses import dataclass, field
from typing import NamedTuple

from ..netlink import codec
from ..resolve.question import Question
from . import former_holders, neighbour_cache, reinject
from .question_queue import Priority
from .states import CLEAR, State


class Evidence(NamedTuple):
    """One kind of evidence: the reason that is told, and how urgent it is."""

    reason: str
    priority: Priority


SYN = Evidence("syn", Priority.SYN)  # it came from another MAC
ANSWERED_SYN = Evidence("syn", Priority.ANSWERED_SYN)  # ... and a listener of ours has answered it
CONNECT_TIMEOUT = Evidence("no answer", Priority.CONNECT_TIMEOUT)
REPEATED_SYN = Evidence("repeated syn", Priority.SYN)
HALF_OPEN = Evidence("half open", Priority.SYN)  # anybody's SYN brings it about
RETRANSMISSION = Evidence("retransmits", Priority.RETRANSMISSION)
UPPER_LAYER_CONFIRMATION = Evidence("upper-layer confirmation", Priority.AGE)
ALTERNATING = Evidence("alternates", Priority.AGE)
WRITTEN_BACK = Evidence("written back", Priority.AGE)

MAX_SYNS = 8  # kept of one address, to be released after a heal; as many MACs


@dataclass(slots=True, eq=False)
class Doubt:
    """One address whose entry may be wrong: the evidence, and the SYNs that wait."""

    key: codec.Key
    reason: str
    state: State = CLEAR
    priority: Priority = Priority.SYN
    is_trusted: bool = False  # some of its evidence is
    looked_up_at: float = float("-inf")  # whether a listener has answered
    tries: int = 0
    macs: set[bytes] = field(default_factory=set)  # that its SYNs came from
    pending_syns: list[reinject.PendingSyn] = field(default_factory=list)  # the latest few
    question: Question | None = None  # that is under way
    change: neighbour_cache.Change | None = None  # of the MAC, during the probe
    lost_by: bytes = b""  # MAC of a holder that has lost the entry by our doing
    heal: former_holders.Heal | None = None  # whose look back has just ended

    def begin_anew(self, reason: str) -> None:
        """Forget former evidence, but not the SYNs that wait."""
        self.reason, self.tries, self.is_trusted = reason, 0, False
        self.macs.clear()

    def add(self, mac: bytes, syn: reinject.PendingSyn) -> None:
        """Add a SYN, and the MAC it came from; empty for one of ours."""
        if mac and len(self.macs) < MAX_SYNS:
            self.macs.add(mac)
        if syn not in self.pending_syns:
            self.pending_syns = [*self.pending_syns[1 - MAX_SYNS :], syn]
