"""Every kind of event that a scheduled run or the sentinel reports.

Read by the throttle, the messages, the sentinel's status, the metrics and the engine; the tables of
docs/sentinel.md and docs/operating.md list the same kinds (tests/unit/reporting/test_events.py).
Standard library alone.
"""

import enum

RUN_TAG = "arp_hygiene"  # on the event bus: a scheduled run reports RUN_TAG/<kind>
SENTINEL_TAG = "arp_hygiene/sentinel"

_RUN, _SENTINEL = frozenset({"run"}), frozenset({"sentinel"})
_BOTH = _RUN | _SENTINEL


class EventKind(enum.Enum):
    """One kind: its tag, who reports it, whether it is urgent, what it means. Most urgent first.

    Each kind of the sentinel is a syslog line, an event on the bus, and a counter
    (``arp_hygiene_sentinel_told_total{kind=TAG}``), also where the throttle merges it with others.
    """

    FAILED = "failed", _BOTH, True, "It cannot do its work; the line says why."
    FULL = "full", _BOTH, True, "The table is nearly at `gc_thresh3`."
    REFUSED = "refused", _RUN, True, "The kernel refused to change an entry."
    DUPLICATE = "duplicate", _BOTH, True, "Two hosts answer for one address."
    DISAGREEMENT = (
        "disagreement", _BOTH, True,
        "Another MAC answers than the table holds: it does not take it, or has lost it again.",
    )  # fmt: skip
    OWNED = (
        "owned",
        _SENTINEL,
        True,
        "A SYN contradicts an entry that is never touched: if that is wrong, replies are lost.",
    )
    HEALED = "healed", _BOTH, False, "An entry held a wrong MAC and has the right one now."
    CHANGED = "changed", _SENTINEL, False, "The kernel changed an entry's MAC by itself."
    ALTERNATES = "alternates", _SENTINEL, False, "An entry's MAC keeps changing to and fro."
    ALIAS = "alias", _SENTINEL, False, "An address rightly uses a second MAC."
    UNASKABLE = "unaskable", _SENTINEL, False, "This host cannot send a probe for the address."
    LOST = (
        "lost",
        _SENTINEL,
        False,
        "Notifications were lost (the table is read again), SYNs are not examined (too many), "
        "or look backs were not handed over or not taken up.",
    )
    UNDECIDED = "undecided", _RUN, False, "Neither confirmed nor refuted by the end of the run."
    GONE = "gone", _RUN, False, "No host answers for the address; the entry is FAILED."
    FLUSHED = "flushed", _RUN, False, "Entries were deleted."
    WATCHING = "watching", _SENTINEL, False, "The sentinel has started to watch."

    def __init__(self, tag: str, reporters: frozenset[str], is_urgent: bool, meaning: str) -> None:
        self.tag = tag  # ends the event's tag, begins the line, labels the counter
        self.by_run = "run" in reporters
        self.by_sentinel = "sentinel" in reporters
        self.is_urgent = is_urgent  # of the sentinel's lines; a run's is urgent when the run failed
        self.meaning = meaning


OF_SENTINEL = tuple(kind for kind in EventKind if kind.by_sentinel)
