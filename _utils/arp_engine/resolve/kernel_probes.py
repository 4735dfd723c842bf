"""What the kernel's own probes find of the entries that nobody answered for, told in the report."""

from collections.abc import Callable

from ..netlink import codec, rtnetlink
from . import nud_probe
from .report import Report

Moved = Callable[[codec.Entry, codec.Entry], None]


def prove(
    prober: nud_probe.NudProber,
    report: Report,
    entries: list[codec.Entry],
    is_stopped: Callable[[], bool],
    moved: Moved,
) -> tuple[list[str], rtnetlink.Refusal | None]:
    """Let the kernel probe; return warnings, and its first refusal.

    moved: takes an entry as it was, and as it is with another MAC; it is told later.
    """
    first_refusal: rtnetlink.Refusal | None = None
    for result in prober.run(entries):
        if is_stopped():
            break
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
    return prober.warnings, first_refusal
