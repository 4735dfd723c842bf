"""The engine's door, in a process that lives on as a minion does: it uses what lies on the disk.

A small engine stands behind the real door. The process loads a surface each time it is told to, as
Salt's loader does: the directory of synced utils is on the path only meanwhile.
"""

import os
import re
import shutil
import subprocess
import sys

import flat_layout
import pytest

MINION = """
import sys

utils, path = sys.argv[1:]
values = []
for order in sys.stdin:
    sys.path.append(utils)
    try:
        if order == "load\\n":
            surface = {}
            with open(path) as file:
                exec(compile(file.read(), path, "exec"), surface)
            values.append(surface["value"])
        print(values[0 if order == "go on\\n" else -1](), flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
    finally:
        sys.path.remove(utils)
"""
SURFACE = "from arp_engine.table import flush\n\n\ndef value():\n    return flush.value()\n"
ROOM = {  # two files, one that imports the other
    "__init__": "",
    "flush": "from . import rows\n\n\ndef value():\n    return rows.VALUE\n",
    "rows": "VALUE = 'first'\n",
}
FLAT_SURFACE = """
import arp_fresh

with arp_fresh.engine():
    import arp_table


def value():
    return arp_table.value()
"""


class Minion:
    """A process that loads a surface, and the two places from which it may get the engine."""

    def __init__(self, repo, root):
        self.door = repo / "_utils" / "arp_engine" / "__init__.py"
        prelude = re.search(
            r"^try:\n    from arp_engine import .*?^reload_if_changed\(\)\n",
            (repo / "_runners" / "arp.py").read_text(),
            re.M | re.S,
        )
        self.package_surface = prelude[0] + SURFACE
        self.utils, self.site = root / "utils", root / "site" / "saltext" / "arp_hygiene" / "utils"
        self.utils.mkdir()
        self.site.mkdir(parents=True)
        self.synced, self.installed = self.utils / "arp_engine", self.site / "arp_engine"
        self.surface = root / "surface.py"
        self.surface.write_text(self.package_surface)
        (root / "minion.py").write_text(MINION)
        self.process = subprocess.Popen(
            [sys.executable, root / "minion.py", self.utils, self.surface],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(root / "site")},  # nothing that keeps it from byte code
            bufsize=1,
        )

    def tell(self, order):
        self.process.stdin.write(f"{order}\n")
        return self.process.stdout.readline().strip()

    def load(self):
        """Load the surface; return its value, or the error."""
        return self.tell("load")

    def put(self, place, value="first", room="table"):
        """Lay an engine there, whose one value is this."""
        (place / room).mkdir(parents=True, exist_ok=True)
        shutil.copy(self.door, place)
        for name, text in {**ROOM, "rows": f"VALUE = {value!r}\n"}.items():
            write(place / room / f"{name}.py", text)

    def put_flat(self, value):
        """Replace the package by the flat layout, as a sync does."""
        shutil.rmtree(self.utils)
        flat_layout.write(self.utils.parent)
        (self.utils.parent / "_utils").rename(self.utils)
        write(self.utils / "arp_wire.py", f"VALUE = {value!r}\n")
        self.surface.write_text(FLAT_SURFACE)

    def put_package(self, value):
        """Replace the flat layout by the package, as a sync does."""
        shutil.rmtree(self.utils)
        self.put(self.synced, value)
        self.surface.write_text(self.package_surface)


def write(path, text):
    """Write a file that is later than it was, in the same second if need be."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    if path.stat().st_mtime_ns <= before:  # the clock of files ticks every few milliseconds
        os.utime(path, ns=(before + 1, before + 1))


@pytest.fixture
def minion(repo, tmp_path):
    minion = Minion(repo, tmp_path)
    yield minion
    minion.process.stdin.close()
    minion.process.stdout.close()
    minion.process.wait(30)


def test_changed_file_is_used(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    write(minion.synced / "table" / "rows.py", "VALUE = 'second'\n")
    assert minion.load() == "second"


def test_byte_code_of_the_same_second_and_size_is_not_used(minion):
    minion.put(minion.synced)
    rows = minion.synced / "table" / "rows.py"
    second = 10**9
    at = rows.stat().st_mtime_ns // second * second
    os.utime(rows, ns=(at, at))
    assert minion.load() == "first"
    assert list((minion.synced / "table" / "__pycache__").glob("rows.*.pyc"))
    rows.write_text("VALUE = 'FIRST'\n")
    os.utime(rows, ns=(at + 1, at + 1))
    assert minion.load() == "FIRST"


def test_renamed_room_is_found(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    (minion.synced / "table").rename(minion.synced / "tables")
    minion.surface.write_text(
        minion.package_surface.replace("arp_engine.table", "arp_engine.tables")
    )
    assert minion.load() == "first"


def test_removed_file_is_not_remembered(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    (minion.synced / "table" / "rows.py").unlink()
    assert minion.load().startswith("ImportError: cannot import name 'rows'")


def test_added_file_is_found_whatever_directory_listing_is_cached(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    table = minion.synced / "table"
    at = table.stat().st_mtime_ns
    write(table / "more.py", "VALUE = 'more'\n")
    write(table / "flush.py", ROOM["flush"].replace("rows", "more"))
    os.utime(table, ns=(at, at))  # Python reads a directory anew when its mtime differs
    assert minion.load() == "more"


def test_changed_door_is_used(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    with (minion.synced / "__init__.py").open("a") as file:
        file.write("MARK = 'second'\n")
    minion.surface.write_text(
        minion.package_surface + "import arp_engine\n\n\ndef value():\n    return arp_engine.MARK\n"
    )
    assert minion.load() == "second"


def test_file_that_cannot_be_parsed_is_used_when_it_is_mended(minion):
    minion.put(minion.synced)
    for path in ("table/rows.py", "__init__.py"):
        good = (minion.synced / path).read_text()
        write(minion.synced / path, "VALUE = ' \n")
        assert minion.load().startswith("SyntaxError")
        write(minion.synced / path, good)
        assert minion.load() == "first"


def test_running_code_keeps_what_it_has(minion):
    minion.put(minion.synced)
    assert minion.load() == "first"
    write(minion.synced / "table" / "rows.py", "VALUE = 'second'\n")
    assert minion.load() == "second"
    assert minion.tell("go on") == "first"
    shutil.rmtree(minion.synced)
    assert minion.tell("go on") == "first"


def test_installed_copy_serves_where_none_is_synced(minion):
    minion.put(minion.installed, "installed")
    assert minion.load() == "installed"
    write(minion.installed / "table" / "rows.py", "VALUE = 'upgraded'\n")
    assert minion.load() == "upgraded"


def test_synced_copy_beside_an_installed_one_comes_and_goes(minion):
    minion.put(minion.installed, "installed")
    for value in ("synced", "synced again"):
        assert minion.load() == "installed"
        at = minion.utils.stat().st_mtime_ns
        minion.put(minion.synced, value)
        os.utime(minion.utils, ns=(at, at))
        assert minion.load() == value
        shutil.rmtree(minion.synced)


def test_directory_that_a_sync_left_empty_hides_no_installed_copy(minion):
    minion.put(minion.installed, "installed")
    minion.synced.mkdir()  # to Python it is a package of its own kind
    assert minion.load() == "installed"
    minion.put(minion.synced, "synced")
    assert minion.load() == "synced"
    for path in minion.synced.glob("**/*.py"):
        path.unlink()
    assert minion.load() == "installed"
    minion.put(minion.synced, "synced")
    assert minion.load() == "synced"


def test_broken_installed_copy_is_used_when_it_is_mended(minion):
    minion.put(minion.installed, "installed")
    assert minion.load() == "installed"
    door = (minion.installed / "__init__.py").read_text()
    write(minion.installed / "__init__.py", "1 +\n")
    assert minion.load().startswith("SyntaxError")
    write(minion.installed / "__init__.py", door)
    assert minion.load() == "installed"


def test_no_copy_is_one_line_that_says_what_to_do(minion):
    assert minion.load().startswith("ImportError: arp_engine is missing: run saltutil.sync_all; ")
    minion.put(minion.synced)
    assert minion.load() == "first"


def test_flat_layout_and_package_replace_each_other(minion):
    for number in range(3):
        minion.put_flat(f"flat {number}")
        assert minion.load() == f"flat {number}"
        minion.put_package(f"package {number}")
        assert minion.load() == f"package {number}"
    assert minion.tell("go on") == "flat 0"
