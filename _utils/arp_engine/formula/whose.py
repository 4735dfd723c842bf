"""Whose an installed part is, where two minions live on one host (salt-minion, venv-salt-minion).

Each file outside the minion's own directory names that directory in its first line. One without is
ours: an older version wrote it. Standard library alone, no Salt.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

_MARK = " Minion: "
#: Of plan.paths: those that two minions of one host share.
_SHARED = (
    "cron",
    "service",
    "timer",
    "sysctl",
    "sentinel_service",
    "announce_cron",
    "announce_service",
    "announce_sysctl",
)
_HISTORY = ("record", "textfile")
RECORD = "minion"  # in the directory of the run history: whose that is


def marked(lines: list[str], config_dir: str) -> list[str]:
    """Return the lines of a file, the first of which, a comment, names the minion's directory."""
    return [f"{lines[0]}{_MARK}{config_dir}", *lines[1:]] if lines else []


def foreign(paths: Mapping[str, str], config_dir: str) -> dict[str, str]:
    """Return which files belong to another minion: name to the directory where it is configured.

    paths: see formula/plan.py. Where no minion is configured any more, nothing is another's.
    """
    marks = {**{name: paths[name] for name in _SHARED}, "record": paths["record_mark"]}
    owners = {name: _owner(path) for name, path in marks.items()}
    here = os.path.realpath(config_dir)
    return {
        name: owner
        for name, owner in owners.items()
        if owner
        and os.path.realpath(owner) != here
        and os.path.lexists(os.path.join(owner, "minion"))
    }


def _owner(path: str) -> str:
    """Return the directory that a file's first line names; empty: none, or there is no file."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return file.readline().rstrip("\n").partition(_MARK)[2]
    return ""


def spared(theirs: Mapping[str, str], found: Mapping[str, bool]) -> dict[str, str]:
    """Return what a removal leaves, with the run history where that is probably theirs, too.

    A history that no schedule has marked is of a minion that has a part here: where this one has
    none (found: part to bool) of the other one.
    """
    owner = theirs.get("record", "")
    if not any(there for part, there in found.items() if part not in _HISTORY):
        owner = owner or next(iter(theirs.values()), "")
    history = [part for part in _HISTORY if found.get(part)] if owner else []
    return {**theirs, **dict.fromkeys(history, owner)}


def refusal(path: str, config_dir: str) -> str:
    """Return why a part is not installed here, and what to do."""
    return (
        f"{path} belongs to another minion of this host, configured in {config_dir}: apply "
        f"arp_hygiene.remove there, or want this there alone; if that minion is gone, delete {path}"
    )


def stays(path: str, config_dir: str) -> str:
    """Return that a removal leaves a part, and why."""
    return f"{path} stays: it belongs to the minion that is configured in {config_dir}"
