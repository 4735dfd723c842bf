"""The part ``arp_fleet`` of the master's configuration, parsed. Standard library alone."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

from ..table import parse


class Settings(NamedTuple):
    """What only the master's administrator may decide."""

    directory: str = ""  # pages, metrics and history are written there; truth files are read there
    mode: int = 0o640  # of what is written
    targets: tuple[str, ...] = ()  # targets by pillar that may be named
    acknowledged: str = ""  # file of known findings
    memory_days: int = 30  # cached grains that are older contradict nobody
    record: tuple[tuple[str, Any], ...] = ()  # arguments of the runs that may be recorded


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
    record = given.get("record", {})
    if not isinstance(record, dict) or not all(isinstance(key, str) for key in record):
        raise ValueError(
            f"arp_fleet: record: {parse.shown(record)} is not a dictionary of arguments"
        )
    days = given.get("memory_days", Settings._field_defaults["memory_days"])
    days = parse.whole_number("arp_fleet: memory_days", days, 1, 3650, "days")
    return Settings(
        paths["directory"],
        int(mode, 8),
        tuple(targets),
        paths["acknowledged"],
        days,
        tuple(record.items()),
    )
