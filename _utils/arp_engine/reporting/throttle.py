"""Limits how often events are reported: of a flood, one line a minute. The caller gives the time.

Standard library alone.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from .events import EventKind

WINDOW_S = 60.0
AT_ONCE = 10  # events of one kind that are reported at once in a window
LONGEST = 500  # bytes of a line

Row = dict[str, Any]
Say = Callable[[EventKind, str, Row], None]  # the line, the facts


class Teller:
    """Reports the first events of a kind at once, and the number of further ones a minute later."""

    def __init__(self, say: Say, note: Say | None = None) -> None:
        """say: called with each line to report. note: also with each one that is withheld."""
        self._say, self._note = say, note
        self._window = float("-inf")  # when it ends
        self._told: Counter[EventKind] = Counter()  # reported in this window
        self._withheld: dict[EventKind, tuple[int, str]] = {}  # count, latest line

    def tell(self, kind: EventKind, line: str, now: float, **facts: Any) -> None:
        """Report one event, now or merged with others."""
        self.flush(now)
        text, row = f"{kind.tag}: {line}"[:LONGEST], {"kind": kind.tag, **facts}
        if self._note:
            self._note(kind, text, row)
        if self._told[kind] < AT_ONCE:
            self._told[kind] += 1
            self._say(kind, text, row)
        else:
            count, _line = self._withheld.get(kind, (0, ""))
            self._withheld[kind] = count + 1, line

    def next_due(self) -> float:
        """Return when ``flush`` has something to report."""
        return self._window if self._withheld else float("inf")

    def flush(self, now: float) -> None:
        """Report what was withheld, once the window is over."""
        if now < self._window:
            return
        for kind, (count, line) in self._withheld.items():
            text = f"{kind.tag}: {count} more within {WINDOW_S:g} s, the latest: {line}"[:LONGEST]
            self._say(kind, text, {"kind": kind.tag, "count": count})
        self._withheld.clear()
        self._told.clear()
        self._window = now + WINDOW_S
