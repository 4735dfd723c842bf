"""Begins ``locktime`` of an IPv4 entry: for a second the kernel takes no other MAC for it. No Salt.

A change of state begins it. The state is not PROBE: in that an entry would be FAILED after three
seconds on a network that answers no unicast (``mcast_resolicit`` is 0), and at once where
``ucast_solicit`` is 0. In DELAY the kernel makes an entry REACHABLE again by itself if it was
confirmed within ``delay_first_probe_time``; otherwise it would go on to PROBE, so such an entry
becomes STALE. No confirmation is invented.
"""

from ..netlink import codec
from ..netlink.constants import DELAY, REACHABLE, STALE, TICKS
from ..table import view

MARGIN_S = 2.0  # from the reading of an entry until the kernel looks at its confirmation


def begin(table: view.TableView, key: codec.Key, mac: bytes, is_asked_next: bool = False) -> bool:
    """Begin ``locktime`` of an entry that has this MAC and is ours. False: nothing was done.

    A REACHABLE entry without a recent confirmation is left alone: STALE would bring the kernel's
    own probes forward. is_asked_next: its host is asked in a moment, by broadcast at least, which
    makes it REACHABLE again.
    """
    timers = table.timers(codec.family_of(key[1]), key[0])  # slow, so before the entry is read
    table.device(key[0])
    entry = table.read_again([key]).get(key)
    if not entry or entry.mac != mac or not table.is_ours_still(entry):
        return False
    if entry.state not in (REACHABLE, STALE, DELAY):  # PROBE: another one waits for its verdict
        return False
    is_recent = entry.confirmed / TICKS < timers.delay_probe_s - MARGIN_S
    if not is_recent and entry.state == REACHABLE and not is_asked_next:
        return False
    _none, refusals = table.channel.exchange(
        codec.locktime_messages(entry, ends_stale=not is_recent)
    )
    return not refusals
