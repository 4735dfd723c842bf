"""What a loop has to say, merged: a flood of news is one line a minute. Told the time.

Standard library alone.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

WINDOW_S = 60.0
AT_ONCE = 10  # of one kind that are told at once in a window
LONGEST = 500  # bytes of a line

Row = dict[str, Any]
Say = Callable[[str, str, Row], None]  # kind, line, the facts


class Teller:
    """Tells the first few of a kind at once, and how many more there were when a minute is over."""

    def __init__(self, say: Say) -> None:
        """Take what is done with a line."""
        self._say = self._remember(say)
        self.last = ""  # line
        self.totals: Counter[str] = Counter()
        self._window = float("-inf")  # when it ends
        self._told: Counter[str] = Counter()  # in this window
        self._withheld: dict[str, tuple[int, str]] = {}  # how many more, and the latest

    def tell(self, kind: str, line: str, now: float, **facts: Any) -> None:
        """Tell one thing, now or merged with others."""
        self.flush(now)
        self.totals[kind] += 1
        if self._told[kind] < AT_ONCE:
            self._told[kind] += 1
            self._say(kind, f"{kind}: {line}"[:LONGEST], {"kind": kind, **facts})
        else:
            count, _line = self._withheld.get(kind, (0, ""))
            self._withheld[kind] = count + 1, line

    def _remember(self, say: Say) -> Say:
        def both(kind: str, line: str, facts: Row) -> None:
            self.last = line
            say(kind, line, facts)

        return both

    def next_due(self) -> float:
        """Return when ``flush`` has something to tell."""
        return self._window if self._withheld else float("inf")

    def flush(self, now: float) -> None:
        """Tell what was withheld, when the window is over."""
        if now < self._window:
            return
        for kind, (count, line) in self._withheld.items():
            text = f"{kind}: {count} more within {WINDOW_S:g} s, the latest: {line}"[:LONGEST]
            self._say(kind, text, {"kind": kind, "count": count})
        self._withheld.clear()
        self._told.clear()
        self._window = now + WINDOW_S
