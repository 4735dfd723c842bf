"""When the frames of one question are sent, and how many frames one entry may cost.

Free of pyroute2: the master budgets with these numbers (fleet/heal.py).
"""

import math
from typing import NamedTuple


class Schedule(NamedTuple):
    """The wait after each frame of a question; after the last one it is over."""

    unicast_waits_s: tuple[float, ...]  # frames to the cached MAC; skipped where there is none
    broadcast_waits_s: tuple[float, ...]  # frames to everybody, after those
    #: An IPv6 host that is asked by unicast need not name its MAC (RFC 4861, 4.4), and Linux does
    #: not: its answer confirms whatever MAC the table holds. This asks so that it does.
    wants_mac: bool = False
    #: Which of this host's names comes first, where it has two (IPv6); they take turns.
    first_name: int = 0

    @property
    def frames(self) -> int:
        """Return how many frames a question costs that nobody answers."""
        return len(self.unicast_waits_s) + len(self.broadcast_waits_s)

    def is_unicast(self, step: int) -> bool:
        """Tell whether the frame of a step (from 0) goes to the cached MAC alone."""
        return step < len(self.unicast_waits_s)

    def is_last(self, step: int) -> bool:
        """Tell whether no frame follows that of a step."""
        return step + 1 == self.frames

    def wait_s(self, step: int) -> float:
        """Return how long to wait after the frame of a step."""
        if self.is_unicast(step):
            return self.unicast_waits_s[step]
        return self.broadcast_waits_s[step - len(self.unicast_waits_s)]


#: A living host answers in less than 1 ms. Where half of all broadcasts get lost at random, ten
#: leave one living host in 1,024 unheard; where every second one does, the second is heard.
FAST = Schedule((0.015,), (0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.15, 0.2, 0.25, 0.3))
#: Where a client waits, for one second perhaps: seven leave within 0.26 s, fourteen within 0.85 s.
URGENT = FAST._replace(
    broadcast_waits_s=(
        0.02, 0.03, 0.03, 0.04, 0.04, 0.05, 0.05, 0.06, 0.08, 0.1, 0.1, 0.1, 0.15, 0.3)
)  # fmt: skip
#: Where nobody waits for the answer: a host that is paused or slow is not taken for a dead one.
PATIENT = FAST._replace(unicast_waits_s=(0.1, 0.1, 0.1))
BROADCAST = FAST._replace(unicast_waits_s=())
#: An address that two hosts answer for: as long as the kernel's own unicast probes take.
LIKE_THE_KERNEL = FAST._replace(unicast_waits_s=(1.0, 1.0, 1.0))
#: One host alone, and nobody else (resolve/look_back.py).
ALONE = Schedule((0.4,), (), wants_mac=True)
#: The same in our other name, where we have two (IPv6): a peer may refuse fe80::, or all else.
ALONE_OTHER_NAME = ALONE._replace(first_name=1)
#: In both names at once, where there is one question and not thirteen.
ALONE_IPV6 = Schedule((0.2, 0.2), (), wants_mac=True)


def alone(dst: bytes) -> Schedule:
    """Return how one host alone is asked for an address, once."""
    return ALONE if len(dst) == 4 else ALONE_IPV6


MAX_QUESTIONS = 3  # of one entry: an answer that the kernel drops is asked for again, twice
UCAST_SOLICIT = 3  # the kernel's default (net/ipv4/arp.c, net/ipv6/ndisc.c)
MCAST_RESOLICIT = 3  # where every second broadcast gets lost, one of three is heard
#: The kernel's own probes of an entry that answered no question (resolve/nud_probe.py).
KERNEL_PROBES = UCAST_SOLICIT + MCAST_RESOLICIT
#: A former holder is asked again (resolve/look_back.py): often enough that its entry is right again
#: within a second after it answers again; a virtual machine that is migrated pauses for less.
LOOK_BACK_EVERY_S, LOOK_BACK_FOR_S = 0.8, 10.0
LOOK_BACK_FRAMES = math.ceil(LOOK_BACK_FOR_S / LOOK_BACK_EVERY_S)
MAX_FRAMES_PER_ENTRY = MAX_QUESTIONS * PATIENT.frames + KERNEL_PROBES + LOOK_BACK_FRAMES
