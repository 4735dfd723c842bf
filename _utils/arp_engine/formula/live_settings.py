"""Kernel settings as they are in force now: sets them, and reads where one of ours still stands.

Standard library alone, no Salt.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

_PROC = "/proc/sys"
#: Kept in ticks of the kernel's own, and so read back as another number than was written: less
#: than 10 ms off, the longest tick there is (HZ 100). Here in the setting's own unit.
_TICK = {"locktime": 1, "base_reachable_time_ms": 10}


class Kept(NamedTuple):
    """A setting in our file of them."""

    value: str
    stands: list[str]  # the settings that have this value now: itself; a default: also devices'


def kept(path: str, proc: str = _PROC) -> dict[str, Kept]:
    """Return the kernel settings in our file of them, by name; none where there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            pairs = [line.split(" = ", 1) for line in file.read().splitlines() if " = " in line]
    except FileNotFoundError:
        return {}
    values = {name: value for name, value in pairs if not name.startswith("#")}
    return {name: Kept(value, _standing(name, values, proc)) for name, value in values.items()}


def _standing(name: str, values: Mapping[str, str], proc: str) -> list[str]:
    """Return which settings have the value of this one now.

    Ours of `default` was set for each device that was there, too, and a device that came later has
    it from there (see kernel_settings.plan); one that our file names has a value of its own.
    """
    names = [name]
    family, is_default, key = name.partition(".default.")
    if is_default:
        with contextlib.suppress(OSError):
            devices = {*os.listdir(_path(family, proc))} - {"default", "lo"}
            of_devices = [f"{family}.{each.replace('.', '/')}.{key}" for each in sorted(devices)]
            names += [each for each in of_devices if each not in values]
    found = []
    for each in names:
        with contextlib.suppress(OSError, ValueError):
            if _is_set(each, int(values[name]), _read(_path(each, proc))):
                found.append(each)
    return found


def put(settings: Iterable[Mapping[str, Any]], test: bool) -> dict[str, dict[str, int]]:
    """Put settings in force, or tell which would be; return those that were not, old and new.

    Each has ``name``, ``value`` and perhaps ``may_vanish``. What the kernel shows after the write
    is what it took: where that is what was there before, within a tick, nothing has changed. A test
    cannot know that, and takes a value within a tick as set. ValueError, one line, where one cannot
    be set; it names those that were set before it.
    """
    changes: dict[str, dict[str, int]] = {}
    for setting in settings:
        name, path = setting["name"], _path(setting["name"])
        try:
            new = int(setting["value"])
            old = now = _read(path)
            if old != new:
                now = old if test else _write(path, new)
        except (OSError, TypeError, ValueError) as error:
            if setting.get("may_vanish") and not os.path.lexists(os.path.dirname(path)):
                continue
            why = getattr(error, "strerror", None) or error
            told = f"cannot set {name} to {setting['value']}: {why}"
            raise ValueError(told + _in_force({} if test else changes)) from None
        if now != old or not _is_set(name, new, old):
            changes[name] = {"old": old, "new": new}
    return changes


def _path(name: str, proc: str = _PROC) -> str:
    """Return a setting's file; a slash in its name stands for a dot in a device's."""
    return f"{proc}/" + name.translate(str.maketrans("./", "/."))


def _read(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(file.read())


def _write(path: str, value: int) -> int:
    """Write a setting; return what the kernel shows then."""
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{value}\n")
    return _read(path)


def _is_set(name: str, wanted: int, read: int) -> bool:
    """Tell whether what the kernel shows can be what it made of the wanted value."""
    within = _TICK.get(name.rpartition(".")[2], 0) if ".neigh." in name else 0
    return abs(wanted - read) <= within


def _in_force(changes: Mapping[str, Mapping[str, int]]) -> str:
    """Return the end of a line about a setting that was refused: those that were set before it."""
    done = [f"{name} = {change['new']} (was {change['old']})" for name, change in changes.items()]
    return f"; in force already: {', '.join(done)}" if done else ""
