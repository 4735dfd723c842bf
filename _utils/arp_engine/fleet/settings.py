"""The part ``arp_fleet`` of the master's configuration, parsed. Standard library alone."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from ..table import parse

DATABASES = "G@role:database or G@roles:database or I@role:database or I@roles:database or db*"
#: Arguments of arp.audit and arp.heal that choose what is compared, with their defaults.
DEFAULTS = {
    "tgt": DATABASES, "tgt_type": "compound", "truth": "live", "machines": "*",
    "machines_type": "glob", "networks": None, "exclude": None, "fabric": None, "sample": None,
}  # fmt: skip


class Settings(NamedTuple):
    """What only the master's administrator may decide."""

    directory: str = ""  # pages, metrics and history are written there; truth files are read there
    mode: int = 0o640  # of what is written
    targets: tuple[str, ...] = ()  # targets by pillar that may be named
    acknowledged: str = ""  # file of known findings
    memory_days: int = 30  # cached grains that are older contradict nobody
    #: Arguments of the runs that may be recorded, and ``report``: the name of their page.
    record: tuple[tuple[str, Any], ...] = ()


def parse_settings(value: Any) -> Settings:
    """Return the settings; ValueError with one line names a bad one."""
    given = {} if value is None else value
    if not isinstance(given, dict) or set(given) - set(Settings._fields):
        allowed = ", ".join(Settings._fields)
        raise ValueError(f"arp_fleet in the master's configuration: allowed are {allowed}")
    paths = {}
    for key in ("directory", "acknowledged"):
        path = given.get(key, "")
        if path != "" and not (isinstance(path, str) and os.path.isabs(path)):
            raise ValueError(f"arp_fleet: {key}: {parse.shown(path)} is not an absolute path")
        paths[key] = os.path.normpath(path) if path else ""
    mode = given.get("mode", "0640")
    if not isinstance(mode, str) or not re.fullmatch("0[0-7]{3}", mode):
        raise ValueError(
            f"arp_fleet: mode: {parse.shown(mode)} is not a mode in quotes, such as '0644'"
        )
    targets = given.get("targets", [])
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        raise ValueError(f"arp_fleet: targets: {parse.shown(targets)} is not a list of targets")
    days = given.get("memory_days", Settings._field_defaults["memory_days"])
    days = parse.whole_number("arp_fleet: memory_days", days, 1, 3650, "days")
    return Settings(
        paths["directory"],
        int(mode, 8),
        tuple(targets),
        paths["acknowledged"],
        days,
        _record(given.get("record", {}), paths["directory"]),
    )


def _record(given: Any, directory: str) -> tuple[tuple[str, Any], ...]:
    """Return the arguments of the runs that may be recorded; of their page, its name alone."""
    if not isinstance(given, dict):
        raise ValueError(
            f"arp_fleet: record: {parse.shown(given)} is not a dictionary of arguments"
        )
    for key in given:
        if key not in (*DEFAULTS, "report"):
            allowed = ", ".join((*DEFAULTS, "report"))
            raise ValueError(f"arp_fleet: record: {parse.shown(key)} is not one of {allowed}")
    record = dict(given)
    if record.get("report") is not None:
        where, name = os.path.split(os.path.normpath(str(record["report"])))
        if not name.endswith(".html") or where not in ("", directory):
            raise ValueError(
                f"arp_fleet: record: report: {parse.shown(record['report'])} is not the name of a "
                f"file in {directory or '`directory`'} that ends in .html"
            )
        record["report"] = name
    return tuple(record.items())
