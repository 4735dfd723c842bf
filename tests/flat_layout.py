"""The layout before the engine was a package: flat files behind a door of their own.

As small as can be, but with the door as it was: a minion may have it in memory.
"""

FILES = {
    "_utils/arp_fresh.py": """
import contextlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

_loaded = {}  # module to the mtime of its file when it was last imported


@contextlib.contextmanager
def engine():
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


def _on_disk():
    with os.scandir(HERE) as files:
        return {
            file.name[:-3]: file.stat().st_mtime_ns
            for file in files
            if file.name.startswith("arp_") and file.name.endswith(".py")
        }


def _is_ours(name, now):
    file = getattr(sys.modules[name], "__file__", None) or ""
    return name in now or (name.startswith("arp_") and os.path.dirname(file) == HERE)
""",
    "_utils/arp_table.py": """
import arp_wire


def value():
    return arp_wire.VALUE
""",
    "_utils/arp_wire.py": "VALUE = 'flat'\n",
    "_modules/arp.py": """
import arp_fresh

with arp_fresh.engine():
    import arp_table


def stats():
    return arp_table.value()
""",
    "_runners/arp.py": """
import arp_fresh

with arp_fresh.engine():
    import arp_table


def audit(tgt):
    return arp_table.value()
""",
    "_engines/arp_sentinel.py": """
import os
import time

import arp_fresh

with arp_fresh.engine():
    import arp_table


def start(**options):
    os.makedirs("/run/arp_hygiene", exist_ok=True)
    with open("/run/arp_hygiene/flat", "w") as file:
        print(os.getpid(), arp_table.value(), file=file)
    while True:
        time.sleep(3600)
""",
}


def write(root):
    """Write it below a directory."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
