"""Minions' grains in the master's data cache, read through Salt's own cache object.

Salt 3008 has a bank of grains; before, each minion has a bank of its own. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from . import inventory
from .inventory import HostInventory


def minion_ids(cache: Any) -> set[str]:
    """Return the minions that the cache has grains of."""
    return set(cache.list("grains") or ()) | set(cache.list("minions") or ())


def without_grains(cache: Any, names: Collection[str], is_3008: bool) -> set[str]:
    """Return the minions of which Salt has no grains to resolve a target with.

    Each version looks into its own bank alone; before 3008 that one may hold a mine and no grains.
    """
    if is_3008:
        return set(names) - set(cache.list("grains") or ())
    return {name for name in names if not cache.contains(f"minions/{name}", "data")}


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
