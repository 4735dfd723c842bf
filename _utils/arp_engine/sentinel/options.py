"""The sentinel's options: each with its default and its allowed values.

Standard library alone: pillar is checked with it before pyroute2 is installed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..table import parse as table_parse
from ..table import selectors as table_selectors

RATE = 1000.0  # frames a second
BURST_S = 4.0  # after a pause so many seconds' worth may go at once: a fleet that is re-created


class Options(NamedTuple):
    """What the sentinel watches, and how much it may send."""

    selectors: table_selectors.Selectors
    rate: float = RATE
    burst: int = int(BURST_S * RATE)
    reinject: bool = True


def parse(words: Mapping[str, Any] | None = None) -> Options:
    """Return the options; ValueError names what is wrong and what is allowed.

    dev, ip, exclude, family
        As everywhere: what is watched. Default: everything.
    rate
        Frames a second (ARP requests, neighbour solicitations), more than 0, default 1000.
    burst
        Frames that may leave at once after a pause, default four seconds' worth.
    reinject
        Whether a SYN is sent once more after a heal, default true.
    """
    if words is not None and not isinstance(words, Mapping):
        raise ValueError(
            f'options: {table_parse.shown(words)} is no mapping, such as {{"dev": "eth0"}}'
        )
    left = dict(words or {})
    selectors = table_selectors.parse_selectors(
        **{name: left.pop(name, None) for name in ("dev", "ip", "exclude", "family")},
        verb="list",
    )
    rate = table_parse.rate(left.pop("rate", RATE))
    if not rate:
        raise ValueError("rate: 0: the sentinel needs a limit, in frames a second")
    burst = left.pop("burst", max(1, int(BURST_S * rate)))
    if isinstance(burst, bool) or not isinstance(burst, int) or burst < 1:
        raise ValueError(
            f"burst: {table_parse.shown(burst)} is not a whole number of frames, 1 or more"
        )
    reinject = table_parse.flag("reinject", left.pop("reinject", True))
    for name in left:
        allowed = "dev, ip, exclude, family, rate, burst, reinject"
        raise ValueError(f"sentinel: no option {table_parse.shown(name)}; there are {allowed}")
    return Options(selectors, rate, burst, reinject)
