"""Minions' grains in the master's data cache, and whether there is pillar, too.

Read through Salt's own cache object. Salt 3008 has a bank of grains, and one of pillar; before,
each minion has a bank of its own. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from . import inventory, targets
from .inventory import HostInventory

#: Why it is not known whether a target by pillar means a minion.
NO_PILLAR = (
    "no cached pillar (run saltutil.refresh_pillar on it; a master with master_async_mworker "
    "caches none: name it by id or grain): whether the target means it is not known"
)
UNREADABLE = "its cached data cannot be read: {}: whether the target means it is not known"
OTHER_PILLAR = (
    "its cached pillar is that of pillarenv {}, which Salt does not read for a target (name it by "
    "id or grain): whether the target means it is not known"
)


def minion_ids(cache: Any) -> set[str]:
    """Return the minions that the cache has grains of."""
    return set(cache.list("grains") or ()) | set(cache.list("minions") or ())


def uncached(cache: Any, names: Collection[str], is_3008: bool, kind: str) -> dict[str, str]:
    """Return the minions of which Salt has no grains, or pillar, to resolve a target; and why.

    Each version looks into its own bank alone; before 3008 that one may hold a mine and no grains.

    kind
        ``grains`` or ``pillar``.
    """
    if kind == "grains":
        return dict.fromkeys(_without_grains(cache, names, is_3008), targets.UNDECIDED)
    if is_3008:
        return _without_pillar(cache, names)
    reasons = {name: _why_no_pillar(cache, name) for name in names}
    return {name: why for name, why in reasons.items() if why}


def _without_grains(cache: Any, names: Collection[str], is_3008: bool) -> set[str]:
    if is_3008:
        return set(names) - set(cache.list("grains") or ())
    return {name for name in names if not cache.contains(f"minions/{name}", "data")}


def _without_pillar(cache: Any, names: Collection[str]) -> dict[str, str]:
    """Return the minions whose pillar Salt 3008 does not read, and why.

    It stores the pillar of a minion that has a ``pillarenv`` as ID:PILLARENV, and looks for ID.
    """
    keys = set(cache.list("pillar") or ())
    environments = {minion: env for minion, _, env in (key.partition(":") for key in keys) if env}
    return {
        name: OTHER_PILLAR.format(environments[name]) if name in environments else NO_PILLAR
        for name in set(names) - keys
    }


def _why_no_pillar(cache: Any, name: str) -> str:
    """Return why Salt before 3008 has no pillar of a minion (``cache.clear_pillar``), if so."""
    try:
        data = cache.fetch(f"minions/{name}", "data")
    except Exception as error:  # each cache driver has errors of its own
        return UNREADABLE.format(" ".join(str(error).split())[:200] or type(error).__name__)
    return "" if isinstance(data, dict) and isinstance(data.get("pillar"), dict) else NO_PILLAR


def host(cache: Any, minion: str, now: float) -> tuple[HostInventory | None, str]:
    """Return a minion's inventory from its cached grains, and why there is none.

    Both are empty where nothing is cached. One unreadable record must not end an audit, and each
    cache driver has errors of its own.
    """
    why = ""
    for bank, key in _banks(minion):
        try:
            data = cache.fetch(bank, key)
            if data:
                grains = data if bank == "grains" else data.get("grains")
                updated = cache.updated(bank, key)
                age_s = None if updated is None else max(0, int(now - updated))
                return inventory.from_grains(grains, age_s=age_s), ""
        except Exception as error:
            why = str(error)
    return None, why


def updated_at(cache: Any, minion: str) -> float:
    """Return when a minion's grains were cached; 0 for never."""
    return max(cache.updated(bank, key) or 0 for bank, key in _banks(minion))


def _banks(minion: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("grains", minion), (f"minions/{minion}", "data")
