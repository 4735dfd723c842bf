"""The door to the engine: from where it is imported, and that it is what lies on the disk now.

A surface (a module, an engine, a runner) says::

    try:
        import arp_fresh
    except ImportError:  # installed by pip, not synced
        from saltext.arp_hygiene.utils import arp_fresh

    with arp_fresh.engine():
        import arp_flush

Salt syncs these files flat into a directory that is on the path while a surface is loaded; pip
puts them into a package. Inside the ``with`` they are importable by their plain names either way,
so they import each other plainly too.

A minion that has imported a synced file keeps it until it restarts, while a surface is loaded
anew after each sync: a new surface would meet an old engine. So when one file has changed, all are
forgotten and imported again. What was loaded before goes on with what it has.

Standard library alone.
"""

import contextlib
import os
import sys
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))

_loaded: dict[str, int] = {}  # module to the mtime of its file when it was last imported


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Make the engine's files importable by their plain names, as they are on the disk now."""
    now = _on_disk()
    if now != _loaded:
        old = [name for name in sys.modules if _is_ours(name, now)]
        if _loaded.get("arp_fresh") in (None, now.get("arp_fresh")) and __name__ in old:
            old.remove(__name__)  # this file itself has not changed
        for name in old:
            del sys.modules[name]
        _loaded.clear()
        _loaded.update(now)  # before they are read: a file changed meanwhile is read once more
    sys.path.insert(0, HERE)
    try:
        yield
    finally:
        sys.path.remove(HERE)


def _on_disk() -> dict[str, int]:
    """Return the engine's modules, and when the file of each was last written."""
    with os.scandir(HERE) as files:
        return {
            file.name[:-3]: file.stat().st_mtime_ns
            for file in files
            if file.name.startswith("arp_") and file.name.endswith(".py")
        }


def _is_ours(name: str, now: dict[str, int]) -> bool:
    """Tell whether a module in memory is the engine's, of this directory or of another copy."""
    file = getattr(sys.modules[name], "__file__", None) or ""
    return name in now or (name.startswith("arp_") and os.path.dirname(file) == HERE)
