"""What an operator writes to a runner or an engine of the fleet, checked. Standard library alone.

Every refusal is a ValueError of one line that names the value and what is allowed.
"""

from __future__ import annotations

import os
from typing import Any

#: How Salt finds minions; each is a function of Salt's ``match`` module, too.
MATCHERS = (
    "glob", "pcre", "list", "grain", "grain_pcre", "pillar", "pillar_pcre", "compound",
)  # fmt: skip


def share(value: Any) -> float:
    """Return the share of one role, written as 0.25 or 1/4."""
    up, _, down = str(value).partition("/")
    try:
        found = float(up) / float(down or 1)
        if not 0 < found <= 1:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"share: {value!r} is not more than 0 and at most 1 (1/3)") from None
    return found


def text(key: str, value: Any, what: str) -> str | list[str]:
    """Return a target: text, or a list of it."""
    good = [each for each in value if isinstance(each, str)] if isinstance(value, list) else value
    if not value or good != value or not isinstance(value, (str, list)):
        raise ValueError(f"{key}: {value!r} is not {what}")
    return value


def page(value: Any) -> str:
    """Return the path of a page that can be written, or an empty string for none."""
    if value is None:
        return ""
    if not isinstance(value, str) or not os.path.isabs(value) or os.path.isdir(value):
        raise ValueError(f"report: {value!r} is not the absolute path of a file")
    if not os.path.isdir(os.path.dirname(value)):
        raise ValueError(f"report: {value!r}: its directory does not exist")
    return value
