"""What kept an entry as it was, other than an answer on the wire. Pure.

TCP, or an application with MSG_CONFIRM, confirms an entry as well (upper-layer confirmation).
"""

import re

from .facts import Evidence, is_owned

TICK_S = 0.02  # an age in ticks is up to one too small; of them there are 100 a second or more


def is_confirmed(seen: Evidence) -> bool:
    """Tell whether something other than an answer on the wire confirmed the entry.

    Either for longer than ARP alone keeps it REACHABLE, or while our probes got no answer.
    """
    before, after = seen.entry, seen.entry_after
    if not before or not after or after["state"] != "REACHABLE":
        return False
    while_we_asked = after["confirmed_s"] + TICK_S < seen.asked_s
    return before["suspect"] or after["suspect"] or while_we_asked


def kept_alive_by(seen: Evidence) -> str:
    """Return what kept the entry as it was before our probes."""
    entry = seen.entry
    if not entry or not entry["mac"]:
        return ""
    if is_owned(entry):
        return f"its owner ({entry['owner']})"
    if entry["suspect"] or (not seen.answers and is_confirmed(seen)):
        return confirmation(seen)
    if entry["state"] == "REACHABLE":
        return f"an answer or an upper-layer confirmation {entry['confirmed_s']:.1f} s ago"
    return f"nothing: unconfirmed for {entry['confirmed_s']:.0f} s"


def confirmation(seen: Evidence) -> str:
    """Return what may confirm an entry without an answer on the wire."""
    sources = "an application (MSG_CONFIRM), or TCP that arrives from the address by another way"
    if _release(seen.kernel) < (4, 11):
        sources += "; before Linux 4.11 any living neighbour does"
    return f"Kept by upper-layer confirmation: {sources}."


def _release(kernel: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release; without any, those of a new one."""
    return tuple(int(number) for number in re.findall(r"\d+", kernel)[:2]) or (99, 0)
