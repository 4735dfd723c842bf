"""The bad values of a pillar, as one line of bounded length. Standard library alone, no Salt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..table import parse

_MOST_TOLD = 4  # bad values, by one refusal; and keys, by one of these


def some(keys: list[str]) -> str:
    """Return the first ones of several keys as a line shows them, and how many more there are."""
    more = len(keys) - _MOST_TOLD
    told = ", ".join(map(parse.shown, keys[:_MOST_TOLD]))
    return told + (f" and {more} more" if more > 0 else "")


class _Refused(ValueError):
    """One line of all bad values, of many the first ones."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        more = len(lines) - _MOST_TOLD
        super().__init__("; ".join(lines[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else ""))


class Refusals:
    """The lines of all bad values: whoever corrects one shall not meet the next one afterwards."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def of(self, judge: Callable[..., Any], *words: Any, **named: Any) -> Any:
        """Return what a check returns; None where it refuses, and its lines are kept."""
        try:
            return judge(*words, **named)
        except _Refused as several:
            self._lines += several.lines
        except ValueError as bad:
            self._lines.append(str(bad))
        return None

    def line(self) -> str:
        """Return one line of all that was refused; empty where nothing was."""
        return str(_Refused(self._lines))

    def tell(self) -> None:
        """Raise ValueError where any was refused."""
        if self._lines:
            raise _Refused(self._lines)
