"""What the kernel's own probes find of the entries that nobody answered for, told in the report.

Where TCP works through such an entry it is not probed: its host filters ARP, or is told not to
answer it. In PROBE the kernel takes no word of TCP (net/core/neighbour.c: neigh_timer_handler): the
entry would become FAILED, and the connection be lost for good, as nobody answers the next
resolution either. A dead host acknowledges nothing, and a new worker whose replies are lost has no
established connection.
"""

import time
from collections.abc import Callable

from ..netlink import codec, route, rtnetlink, sock_diag
from . import nud_probe
from .report import Report

WORKS_S = 5.0  # as delay_first_probe_time: for so long TCP's word keeps an entry in DELAY
FRESH_S, REST = 1.0, 10  # until it is read again; so many times as long as that took, at least
MAX_FLOWS = 1024  # sockets whose routes are looked up; those to a silent host itself first
TCP_WORKS = "silent, but TCP gets answers"

Moved = Callable[[codec.Entry, codec.Entry], None]
Keep = Callable[[str, codec.Entry], None]


def prove(
    prober: nud_probe.NudProber,
    report: Report,
    entries: list[codec.Entry],
    is_stopped: Callable[[], bool],
    keep: Keep,
    moved: Moved,
) -> tuple[list[str], rtnetlink.Refusal | None]:
    """Let the kernel probe; return warnings, and its first refusal.

    keep: takes an entry that is not probed, and why.
    moved: takes an entry as it was, and as it is with another MAC; it is told later.
    """
    first_refusal: rtnetlink.Refusal | None = None
    by_tcp = _ByTcp({entry.key for entry in entries})
    working = by_tcp.working()
    for entry in entries:
        if entry.key in working:
            keep(TCP_WORKS, entry)
    results = prober.run([e for e in entries if e.key not in working], by_tcp.working)
    for result in results:
        has_moved = result.now and result.now.mac not in (b"", result.entry.mac)
        if result.now and has_moved and result.verdict in ("healed", "undecided"):
            # undecided: during our question; its answer was lost on the way to us alone
            moved(result.entry, result.now)
        elif result.verdict == "spared":
            keep(TCP_WORKS, result.entry)
        elif result.verdict == "gone":
            report.gone(result.entry)
        elif result.refusal:
            first_refusal = first_refusal or result.refusal
            report.failed(result.entry, result.refusal)
        else:
            report.count(result.entry, result.verdict)
        if is_stopped():  # only now: of the verdict in hand nobody would be told
            break
    results.close()  # it warns of what it leaves behind
    return [*by_tcp.warnings, *prober.warnings], first_refusal


class _ByTcp:
    """The entries through which packets arrive, by TCP's word.

    The kernel's probes may go on for minutes, and a connection speak only then: so it is read anew.
    """

    def __init__(self, silent: set[codec.Key]) -> None:
        self.warnings: list[str] = []  # if nobody can know
        self._silent, self._dsts = silent, {dst for _ifindex, dst in silent}
        self._working, self._due = set[codec.Key](), float("-inf")

    def working(self) -> set[codec.Key]:
        """Return those that worked when it was last read: to spare one of them harms nobody."""
        if self._silent and (began := time.monotonic()) >= self._due:
            try:
                self._working = self._read()
            except OSError as error:
                line = f"{error.strerror}: not known whether TCP to silent hosts works"
                self.warnings = [line]
            self._due = began + max(FRESH_S, REST * (time.monotonic() - began))
        return self._working

    def _read(self) -> set[codec.Key]:
        """Look up which way each socket sends, by its device, mark and ports.

        Rules choose by the mark, a multipath route may by the ports. One of each two addresses goes
        first.
        """
        working, flows = set[codec.Key](), dict[tuple, sock_diag.TcpSocket]()
        with sock_diag.Sockets() as sockets, rtnetlink.Channel() as channel:
            found = sockets.acknowledged(WORKS_S)
            found.sort(key=lambda each: each.peer not in self._dsts)
            for each in found:
                flows.setdefault((each.local, each.peer, each.ifindex), each)
            families = {codec.family_of(each.peer) for each in found}
            marked = {family for family in families if route.has_rules(family)}
            for each in [*dict.fromkeys((*flows.values(), *found))][:MAX_FLOWS]:
                mark = sockets.mark(each) if codec.family_of(each.peer) in marked else 0
                way = route.of_socket(channel, each.peer, each, mark)
                if way.why_not:  # a socket may send as no lookup knows (IP_TRANSPARENT)
                    working |= {key for key in self._silent if key[1] == each.peer}
                else:
                    working.add(way.neighbour(each.peer))
        return working & self._silent
