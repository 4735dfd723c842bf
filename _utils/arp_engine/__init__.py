"""The engine: netlink messages and frames in, plain values out. No Salt below this line.

Ten rooms on five floors; a room imports only from the floors below (tests/unit/test_walls.py)::

    5  formula      what the formula does on one minion: pillar, schedule, plan, units
       selftest     the outage and its cure on this host, in namespaces of its own
    4  diagnose     why traffic to an address is lost      sentinel   hears of wrong entries at once
    3  resolve      asks on the wire, compares, announces   fleet      tables against interfaces
    2  table        ownership, selectors, list, flush       packets    frames, SYNs, packet sockets
    1  netlink      the kernel's messages and sockets       reporting  messages, history, metrics

Where an entry's fate is decided: ``table/ownership.py``.

This file is the door. A surface (a module, a runner, an engine) begins with::

    try:
        from arp_engine import reload_if_changed
    except ImportError:  # installed by pip, not synced
        from saltext.arp_hygiene.utils.arp_engine import reload_if_changed

    reload_if_changed()
    from arp_engine.table import flush, selectors

Where neither copy exists, the real surfaces raise an ImportError that says what to do: Salt shows
it to whoever calls them. Salt puts the directory of synced utils on the path while it loads a
surface; a synced copy wins over one that pip installed. A minion keeps what it has imported until
it restarts, but loads its surfaces again after each sync: without ``reload_if_changed`` a new
surface would meet an old engine.

Standard library alone.
"""

import contextlib
import importlib
import importlib.util
import os
import sys

NAME = "arp_engine"
INSTALLED = "saltext.arp_hygiene.utils.arp_engine"  # its name where pip installed it

_HERE = os.path.dirname(os.path.realpath(__file__))
_loaded: dict[str, tuple[int, int]] = {}  # path to (mtime, size), when this was imported


def reload_if_changed() -> None:
    """Make ``import arp_engine`` give the files as they lie on the disk now.

    Forgets all modules of the engine when a file was changed, added or removed, or when another
    copy is the first on the path (synced, unsynced). Code that runs goes on with what it has.
    """
    name, directory = _first_copy()
    if directory == _HERE and not _loaded:
        _loaded.update(_files())  # before rooms are imported: what changes meanwhile is read again
    elif directory != _HERE or _files() != _loaded:
        _forget()
        importlib.import_module(name).reload_if_changed()
        return
    sys.modules[NAME] = sys.modules[__name__]  # a copy of pip's, under its short name


def _first_copy() -> tuple[str, str]:
    """Return under which name, and where, an import would find the engine: synced copies first."""
    for path in sys.path:
        directory = os.path.join(os.path.realpath(path), NAME)
        if os.path.isfile(os.path.join(directory, "__init__.py")):
            return NAME, directory
    with contextlib.suppress(ImportError):
        spec = importlib.util.find_spec(INSTALLED)
        if spec and spec.origin:
            return INSTALLED, os.path.dirname(os.path.realpath(spec.origin))
    return NAME, ""


def _files() -> dict[str, tuple[int, int]]:
    """Return the engine's files and when each was last written."""
    found = {}
    for directory, _, names in os.walk(_HERE):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(directory, name)
                with contextlib.suppress(FileNotFoundError):  # a sync is under way
                    status = os.stat(path)
                    found[path] = (status.st_mtime_ns, status.st_size)
    return found


def _forget() -> None:
    """Forget the engine's modules, and byte code of files that were written over.

    Python compares a source with its byte code by whole seconds and size, which is not enough for a
    file that changed twice in one second.
    """
    now = _files()
    for path in {path for path, _ in now.items() ^ _loaded.items()}:
        with contextlib.suppress(OSError):
            os.remove(importlib.util.cache_from_source(path))
    for name in list(sys.modules):
        if name in (NAME, INSTALLED) or name.startswith((NAME + ".", INSTALLED + ".")):
            del sys.modules[name]
    importlib.invalidate_caches()
