"""Arguments of the runner and of the engine for new machines, parsed. Standard library alone.

Every refusal is a ValueError of one line that names the value and what is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ..table import parse

#: Target types of Salt that have a function of the same name in Salt's ``match`` module.
MATCHERS = (
    "glob", "pcre", "list", "grain", "grain_pcre", "pillar", "pillar_pcre", "compound",
)  # fmt: skip


def share(value: Any) -> float:
    """Return a share of a role, written as 0.25 or 1/4."""
    up, _, down = str(value).partition("/")
    try:
        found = float(up) / float(down or 1)
        if not 0 < found <= 1:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"share: {value!r} is not more than 0 and at most 1 (1/3)") from None
    return found


def target(key: str, value: Any) -> str | list[str]:
    """Return a target: text, or a list of minion ids."""
    ids = value if isinstance(value, list) else [value]
    if not value or not all(isinstance(each, str) for each in ids):
        raise ValueError(f"{key}: {value!r} is not a target")
    return value


def page(value: Any) -> str:
    """Return the path of the page to write, or "" for none."""
    if value is None:
        return ""
    if not isinstance(value, str) or not os.path.isabs(value) or os.path.isdir(value):
        raise ValueError(f"report: {value!r} is not the absolute path of a file")
    if not os.path.isdir(os.path.dirname(value)):
        raise ValueError(f"report: {value!r}: its directory does not exist")
    return value


#: Argument of arp.audit or arp.heal to its parser.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "tgt": lambda value: target("tgt", value),
    "tgt_type": lambda value: parse.one_of("tgt_type", value, MATCHERS),
    "truth": lambda value: parse.one_of("truth", value, ("live", "cached")),
    "machines": lambda value: target("machines", value),
    "machines_type": lambda value: parse.one_of("machines_type", value, MATCHERS),
    "networks": lambda value: parse.networks("networks", value),
    "exclude": lambda value: parse.networks("exclude", value),
    "report": page,
    "limit": parse.limit,
    "timeout": lambda value: value and parse.whole_number("timeout", value, 1, 86400, "seconds"),
    "batch": lambda value: parse.whole_number("batch", value, 1, 100_000, "minions"),
    "share": share,
    "pause": lambda value: parse.seconds("pause", value, 0, 3600),
    "budget": lambda value: parse.whole_number("budget", value, 1, 10**9, "questions"),
    "rate": parse.rate,
    "test": lambda value: parse.flag("test", value),
}


def parse_all(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of arp.audit or arp.heal, parsed."""
    options = {key: _PARSERS[key](value) for key, value in arguments.items()}
    for key in ("tgt", "machines"):
        if isinstance(options[key], list):
            options[f"{key}_type"] = "list"
    return options
