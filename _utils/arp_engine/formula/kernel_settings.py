"""Which neighbour settings of the kernel the formula sets, and which stay in force afterwards.

Checked pillar and plain facts in, plain values out. Standard library alone, no Salt.
"""

from __future__ import annotations

import itertools
from typing import Any

from ..reporting import messages
from . import job_files, pillar
from .live_settings import Kept


def check_thresholds(
    wanted: dict[str, dict[str, int]], thresholds: dict[str, dict[str, int]]
) -> None:
    """Raise ValueError where a wanted table limit contradicts one in force that stays."""
    for family, in_force in thresholds.items():
        limits = [
            (key, wanted[key]["default"] if key in wanted else in_force.get(key))
            for key in pillar.THRESHOLDS
        ]
        known = [(key, limit) for key, limit in limits if in_force and limit is not None]
        for (low, lower), (high, higher) in itertools.pairwise(known):
            if lower > higher and (low in wanted or high in wanted):
                key, other = (high, low) if high in wanted else (low, high)
                raise ValueError(
                    f"sysctl:{key}: {low} {lower} would be above {high} {higher} ({family}, "
                    f"in force): set {other} too"
                )


def plan(
    wanted: dict[str, dict[str, int]],
    why_unwritable: dict[str, dict[str, dict[str, str]]],
    kept: dict[str, Kept],
) -> dict[str, Any]:
    """Return the settings that this network namespace has, and a line for each that it lacks.

    ``default`` is what a device begins with; one that has had an address follows it no longer
    (neigh_parms_data_state_setall in Linux's net/core/neighbour.c). So it is set for the devices
    that come, and each that is there is set, too; a container has no such key. The file names no
    device beside ``default``: at boot that comes first.

    kept: the settings in our present file. The key of a device that does not exist keeps its
    other settings there: the name may be a typo of theirs.
    """
    settings: list[dict[str, Any]] = []
    skipped, lines = [], []
    for key, scopes in wanted.items():
        for family in ("ipv4", "ipv6"):
            for scope, value in scopes.items():
                here = why_unwritable.get(family, {})
                names = _scopes(key, scope, {*scopes}, here)
                for name in names:
                    shown = f"net.{family}.neigh.{name.replace('.', '/')}.{key}"
                    absent = "not available in this network namespace"
                    if here and name not in {**here, "default": {}}:
                        absent = f"no device {name!r} here"
                    why = here.get(name, {}).get(key, absent)
                    if why:
                        skipped.append(f"skipped: {shown}: {why}")
                    else:
                        may_vanish = {"may_vanish": True} if name != scope else {}
                        settings.append({"name": shown, "value": value, **may_vanish})
                        if name == scope or scope not in names:
                            lines.append(f"{shown} = {value}")
    missing = _missing(wanted, why_unwritable)
    named = {each["name"] for each in settings}
    stay = {
        name: former.value
        for name, former in kept.items()
        if name not in named and name.rpartition(".")[2] in missing
    }
    lines += [f"{name} = {value}" for name, value in stay.items()]
    gone = {name: former for name, former in kept.items() if name not in stay}
    return {
        "settings": settings,
        "skipped": skipped + _waits(missing, stay),
        "lines": [job_files.HEAD, *lines] if lines else [],
        "dropped": still_in_force(gone, settings),
        "left": still_in_force(kept, []),
    }


def _missing(
    wanted: dict[str, dict[str, int]], why_unwritable: dict[str, dict[str, dict[str, str]]]
) -> dict[str, list[str]]:
    """Return which devices that pillar names do not exist, by key."""
    here = {"default"}.union(*why_unwritable.values())
    if not any(why_unwritable.values()):
        return {}  # no family tells
    absent = {key: [name for name in scopes if name not in here] for key, scopes in wanted.items()}
    return {key: names for key, names in absent.items() if names}


def _waits(missing: dict[str, list[str]], stay: dict[str, str]) -> list[str]:
    """Return a line for each key with devices that do not exist, and what stays because of that."""
    lines = []
    for key, names in missing.items():
        kept = [f"{each} = {value}" for each, value in stay.items() if each.endswith(f".{key}")]
        lines.append(
            f"sysctl:{key} {messages.waits_for(names)}: correct the name, or apply arp_hygiene "
            "again when the device exists"
            + (f"; until then these settings stay: {', '.join(kept)}" if kept else "")
        )
    return lines


def still_in_force(kept: dict[str, Kept], settings: list[dict[str, Any]]) -> list[str]:
    """Return a line for each of our former settings that stands without being among these.

    It names each device on which the value of a `default` stands; none where it stands nowhere.
    """
    named, lines = {each["name"] for each in settings}, []
    for name, former in kept.items():
        stands = [each for each in former.stands if each not in named]
        if name not in named and stands:
            start, _, key = stands[0].rpartition(".")
            start, _, _ = start.rpartition(".")
            scopes = ",".join(each.split(".")[-2] for each in stands)
            shown = stands[0] if len(stands) == 1 else f"{start}.{{{scopes}}}.{key}"
            lines.append(f"still in force until the next boot: {shown} = {former.value}")
    return lines


def _scopes(
    key: str, scope: str, named: set[str], why_unwritable: dict[str, dict[str, str]]
) -> list[str]:
    """Return where a key is set: one device; or the default, if there is one, and each device.

    named: those that have values of their own in pillar.
    """
    here = why_unwritable.get(scope, {})
    if scope != "default" or key in pillar.THRESHOLDS or here.get(key):
        return [scope]
    default = [scope] if key in here else []
    return default + sorted(set(why_unwritable) - {"lo", *named, scope}) or [scope]
