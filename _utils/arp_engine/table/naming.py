"""Names in a line of text. Standard library alone: the master has no pyroute2."""

from __future__ import annotations

from collections.abc import Iterable


def examples(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names in alphabetical order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
