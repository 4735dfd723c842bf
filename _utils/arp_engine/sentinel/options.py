"""The sentinel's options: each with its default and its allowed values.

Standard library alone: pillar is checked with it before pyroute2 is installed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..table import parse as table_parse
from ..table import selectors as table_selectors

RATE = 100.0  # probes a second


class Options(NamedTuple):
    """What the sentinel watches, and how much it may send."""

    selectors: table_selectors.Selectors
    rate: float = RATE
    reinject: bool = True


def parse(words: Mapping[str, Any] | None = None) -> Options:
    """Return the options; ValueError names what is wrong and what is allowed.

    dev, ip, exclude, family
        As everywhere: what is watched. Default: everything.
    rate
        Questions a second, more than 0, default 100.
    reinject
        Whether a SYN is sent once more after a heal, default true.
    """
    left = dict(words or {})
    selectors = table_selectors.parse_selectors(
        **{name: left.pop(name, None) for name in ("dev", "ip", "exclude", "family")},
        verb="list",
    )
    rate = table_parse.rate(left.pop("rate", RATE))
    if not rate:
        raise ValueError("rate: 0: the sentinel needs a limit, in probes a second")
    reinject = table_parse.flag("reinject", left.pop("reinject", True))
    for name in left:
        allowed = "dev, ip, exclude, family, rate, reinject"
        raise ValueError(f"sentinel: no option {name!r}; there are {allowed}")
    return Options(selectors, rate, reinject)
