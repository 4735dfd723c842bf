"""Which minions a target means, and of which that is not known. Knows no Salt.

A master resolves a target by grain or pillar on what it has cached. A minion without cached data
is left out without a word by Salt 3008, and matches whatever was asked for on an older one. So each
such minion is decided on here: it is meant, it is not, or nobody knows. Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

#: Why a minion is silent.
UNDECIDED = "no cached grains: whether the target means it is not known"
#: Why a target of grains or pillar is refused where only the minions can match it.
WITHOUT_CACHE = "{}: without minion_data_cache, name minions by glob, list or pcre"
#: Target types that are resolved on cached data; compound ones may be.
BY_CACHE = ("grain", "grain_pcre", "pillar", "pillar_pcre")
_BY_CACHE = re.compile(r"(?:[GPIJ].?|S)@.", re.DOTALL)  # a word of a compound target
_EVERYBODY, _NOBODY = "*", "E@(?!)"
MAX_NAMED = 5  # minions in a refusal

Target = str | list[str]


class Resolved(NamedTuple):
    """What a target means."""

    meant: set[str]
    undecided: set[str]


def resolve(
    tgt: Target,
    tgt_type: str,
    check: Callable[[Target, str], Collection[str]],
    without_grains: Callable[[], Collection[str]],
    nodegroup: Callable[[str], Sequence[str]],
) -> Resolved:
    """Resolve a target.

    check
        Returns the minions that Salt says a target means.
    without_grains
        Returns the accepted minions without cached data.
    nodegroup
        Returns the words of a nodegroup.
    """
    found = set(check(tgt, tgt_type))
    if tgt_type in BY_CACHE:
        unknown = set(without_grains())
        return Resolved(found - unknown, unknown)
    words = _words(tgt, nodegroup) if tgt_type == "compound" and isinstance(tgt, str) else []
    if not any(map(_BY_CACHE.match, words)):
        return Resolved(found, set())
    unknown = set(without_grains())
    if not unknown:
        return Resolved(found, unknown)
    least, most = (unknown & set(check(each, "compound")) for each in _bounds(words))
    return Resolved((found - unknown) | least, most - least)


def refusal(what: str, undecided: Collection[str]) -> str:
    """Return the line that says that a target means no minion, as far as that is known."""
    line = f"no minion matches {what}"
    if undecided:
        named = ", ".join(sorted(undecided)[:MAX_NAMED])
        more = f" and {len(undecided) - MAX_NAMED} more" if len(undecided) > MAX_NAMED else ""
        line += f"; whether it means {named}{more} is not known: no cached grains"
    return line


def _words(tgt: str, nodegroup: Callable[[str], Sequence[str]]) -> list[str]:
    words: list[str] = []
    for word in tgt.split():
        words += nodegroup(word[2:]) if word.startswith("N@") else [word]
    return words


def _bounds(words: Sequence[str]) -> tuple[str, str]:
    """Return two targets without cached data: one means no more minions, the other no fewer.

    What is resolved on cached data means nobody in the first and everybody in the second; where it
    is negated, the other way round.
    """
    least, most = [], []
    outer: list[bool] = []  # of each open bracket, whether what is around it is negated
    negated = is_not = False
    for word in words:
        low = high = word
        if word == "(":
            outer.append(negated)
            negated ^= is_not
        elif word == ")":
            negated = outer.pop() if outer else False
        elif _BY_CACHE.match(word):
            low, high = (_EVERYBODY, _NOBODY) if negated ^ is_not else (_NOBODY, _EVERYBODY)
        is_not = word == "not"
        least.append(low)
        most.append(high)
    return " ".join(least), " ".join(most)
