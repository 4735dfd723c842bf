"""Which minions a target means, and of which that is not known. Knows no Salt.

A master resolves a target by grain or pillar on what it has cached. A minion without cached data
is left out without a word by Salt 3008, and matches whatever was asked for on an older one. So each
such minion is decided on here: it is meant, it is not, or nobody knows. Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..table import naming

#: Why a minion is silent.
UNDECIDED = "no cached grains: whether the target means it is not known"
#: Why a target of grains or pillar is refused where only the minions can match it.
WITHOUT_CACHE = "{}: without minion_data_cache, name minions by glob, list or pcre"
_EVERYBODY, _NOBODY = "*", "E@(?!)"
MAX_NAMED = 5  # minions in one line; reasons

Target = str | list[str]


class _Kind(NamedTuple):
    """Cached data, and what is resolved on it."""

    name: str
    types: tuple[str, ...]
    word: re.Pattern[str]  # of a compound target


#: A minion without cached grains has no cached pillar that Salt would read, either.
_KINDS = (
    _Kind(
        "grains",
        ("grain", "grain_pcre", "pillar", "pillar_pcre"),
        re.compile(r"(?:[GPIJ].?|S)@.", re.DOTALL),
    ),
    _Kind("pillar", ("pillar", "pillar_pcre"), re.compile(r"[IJ].?@.", re.DOTALL)),
)


class Resolved(NamedTuple):
    """What a target means."""

    meant: set[str]
    undecided: dict[str, str]  # minion to why it is not known whether it is meant


def resolve(
    tgt: Target,
    tgt_type: str,
    check: Callable[[Target, str], Iterable[str]],
    uncached: Callable[[str], Mapping[str, str]],
    nodegroup: Callable[[str], Sequence[str]],
) -> Resolved:
    """Resolve a target.

    check
        Returns the minions that Salt says a target means.
    uncached
        Returns the accepted minions without cached data of a kind (``grains``, ``pillar``), and
        what is missing.
    nodegroup
        Returns the words of a nodegroup.
    """
    words = _words(tgt, tgt_type, nodegroup)
    meant = set(check(tgt, tgt_type))
    undecided: dict[str, str] = {}
    decided: set[str] = set()  # of these minions an earlier kind has decided everything
    for kind in _KINDS:
        if tgt_type not in kind.types and not any(map(kind.word.match, words)):
            continue
        missing = uncached(kind.name)
        unknown = set(missing) - decided
        if not unknown:
            continue
        least, most = set(), unknown
        if words:
            bounds = _bounds(words, kind.word)
            least, most = (unknown & set(check(each, "compound")) for each in bounds)
        meant = (meant - unknown) | least
        undecided |= {name: missing[name] for name in most - least}
        decided |= unknown
    return Resolved(meant, undecided)


def named(tgt: Target, tgt_type: str, nodegroup: Callable[[str], Sequence[str]]) -> set[str]:
    """Return the minions that a list names, or a list in a compound target or a nodegroup."""
    if tgt_type == "list":
        lists = [tgt.split(",") if isinstance(tgt, str) else tgt]
    else:
        words = _negated(_words(tgt, tgt_type, nodegroup))
        lists = [
            word[2:].split(",") for word, negated in words if word.startswith("L@") and not negated
        ]
    return {name for names in lists for name in names if name}


def refusal(what: str, undecided: Mapping[str, str]) -> str:
    """Return the line that says that a target means no minion, as far as that is known."""
    return "; ".join([f"no minion matches {what}", *lines(undecided)])


def lines(undecided: Mapping[str, str]) -> list[str]:
    """Return a line for each of a few reasons: minions, and why nobody knows if they are meant."""
    found, whys = [], sorted(set(undecided.values()))
    for why in whys[:MAX_NAMED]:
        names = (name for name in undecided if undecided[name] == why)
        found.append(f"{naming.examples(names, MAX_NAMED)}: {why}")
    if rest := sum(why in whys[MAX_NAMED:] for why in undecided.values()):
        found.append(f"and {rest} more minions, for other reasons")
    return found


def _words(tgt: Target, tgt_type: str, nodegroup: Callable[[str], Sequence[str]]) -> list[str]:
    """Return the words of a compound target."""
    words: list[str] = []
    if tgt_type == "compound" and isinstance(tgt, str):
        for word in tgt.split():
            words += nodegroup(word[2:]) if word.startswith("N@") else [word]
    return words


def _bounds(words: Sequence[str], by_cache: re.Pattern[str]) -> tuple[str, str]:
    """Return two targets without such cached data: one means no more minions, the other no fewer.

    What is resolved on cached data means nobody in the first and everybody in the second; where it
    is negated, the other way round.
    """
    least, most = [], []
    for word, negated in _negated(words):
        low = high = word
        if by_cache.match(word):
            low, high = (_EVERYBODY, _NOBODY) if negated else (_NOBODY, _EVERYBODY)
        least.append(low)
        most.append(high)
    return " ".join(least), " ".join(most)


def _negated(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Return each word, and whether it is negated."""
    outer: list[bool] = []  # of each open bracket, whether what is around it is negated
    negated = is_not = False
    for word in words:
        if word == "(":
            outer.append(negated)
            negated ^= is_not
        elif word == ")":
            negated = outer.pop() if outer else False
        yield word, negated ^ is_not
        is_not = word == "not"
