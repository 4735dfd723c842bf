"""What the kernel's own probes find of the entries that nobody answered for, told in the report.

Where TCP works through such an entry it is not probed: its host filters ARP, or is told not to
answer it. In PROBE the kernel takes no word of TCP (net/core/neighbour.c: neigh_timer_handler): the
entry would become FAILED, and the connection be lost for good, as nobody answers the next
resolution either. A dead host acknowledges nothing, and a new worker whose replies are lost has no
established connection.
"""

from collections.abc import Callable

from ..netlink import codec, route, rtnetlink, sock_diag
from . import nud_probe
from .report import Report

WORKS_S = 5.0  # as delay_first_probe_time: for so long TCP's word keeps an entry in DELAY
MAX_FLOWS = 1024  # whose routes are looked up; those to a silent host itself first
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
    working, warnings = _working({entry.key for entry in entries})
    for entry in entries:
        if entry.key in working:
            keep(TCP_WORKS, entry)
    results = prober.run([entry for entry in entries if entry.key not in working])
    for result in results:
        has_moved = result.now and result.now.mac not in (b"", result.entry.mac)
        if result.now and has_moved and result.verdict in ("healed", "undecided"):
            # undecided: during our question; its answer was lost on the way to us alone
            moved(result.entry, result.now)
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
    return [*warnings, *prober.warnings], first_refusal


def _working(silent: set[codec.Key]) -> tuple[set[codec.Key], list[str]]:
    """Return the entries through which packets arrive, by TCP's word; a line if nobody can know."""
    if not silent:
        return set(), []
    try:
        with sock_diag.Sockets() as sockets:
            found = sockets.acknowledged(WORKS_S)
    except OSError as error:
        return set(), [f"{error.strerror}: not known whether TCP to silent hosts works"]
    dsts = {dst for _ifindex, dst in silent}
    flows = {(each.local, each.peer, each.ifindex) for each in found}
    working = set[codec.Key]()
    with rtnetlink.Channel() as channel:
        for local, peer, ifindex in sorted(flows, key=lambda flow: flow[1] not in dsts)[:MAX_FLOWS]:
            way = route.lookup(channel, peer, ifindex, local)
            if way.why_not:  # a socket may send as no lookup knows (IP_TRANSPARENT)
                working |= {key for key in silent if key[1] == peer}
            else:
                working.add((way.ifindex, way.gateway or peer))
    return working & silent, []
