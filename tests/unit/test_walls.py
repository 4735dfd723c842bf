"""The walls of the house, as tables: a line of code knows its room."""

import ast
import configparser
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest
from arp_engine.version import VERSION

REPO = Path(__file__).resolve().parent.parent.parent
ENGINE = REPO / "_utils" / "arp_engine"
STDLIB = set(sys.stdlib_module_names)

#: Room of the engine -> the rooms it may import. Each stands above all that it imports.
ROOMS = {
    "netlink": set(),
    "reporting": set(),
    "packets": {"netlink"},
    "table": {"netlink"},
    "resolve": {"netlink", "packets", "table"},
    "fleet": {"packets", "reporting", "table"},
    "diagnose": {"netlink", "resolve", "table"},
    "sentinel": {"netlink", "packets", "reporting", "resolve", "table"},
    "formula": {"netlink", "reporting", "sentinel", "table"},
    "selftest": {"netlink", "resolve", "sentinel", "table"},
}
#: Top-level folder -> what its files may import beside the standard library.
FOLDERS = {
    "_utils": {"pyroute2"},
    "_modules": {"arp_engine", "salt", "saltext"},
    "_states": {"salt"},  # through __salt__ alone
    "_engines": {"arp_engine", "salt", "saltext"},
    "_runners": {"arp_engine", "salt", "saltext"},
    "_output": set(),  # Salt gives it no path to the engine
    # the world, not the product; its tools may need Python 3.11 (tomllib)
    "lab": {"lab", "matplotlib", "salt", "setproctitle", "tomllib", "yaml"},
}
#: File of the engine -> what it alone may import.
ALSO = {
    "reporting/sinks.py": {"prometheus_client"},  # where metrics are wanted
    "formula/facts.py": {"packaging"},  # Salt requires it
}
#: The files of the engine that may open a socket.
MAY_OPEN_SOCKETS = {
    "netlink/rtnetlink.py",
    "packets/packet_socket.py",
    "reporting/sinks.py",  # to see whether /dev/log is read
    "selftest/namespaces.py",  # TCP between the drill's own two hosts
}
#: Free of pyroute2, with all that they import: they work before anything is installed.
FREE_OF_PYROUTE2 = {
    "netlink/constants.py",
    "netlink/model.py",
    "packets/probe_schedule.py",
    "table/capacity.py",
    "table/naming.py",
    "table/ownership.py",
    "table/parse.py",
    "table/selectors.py",
    "sentinel/options.py",
    *(f"{room}/*.py" for room in ("reporting", "fleet", "formula")),
}
#: How one is opened; of pyroute2 we take numbers, none of its sockets.
OPENS = re.compile(
    r"socket\.(socket|socketpair|create_\w+)\(|from socket import|"
    r"(import|from) pyroute2(?!\.netlink)"
)
#: How a surface begins, before it imports anything of the engine.
DOOR = """\
try:
    from arp_engine import reload_if_changed
except ImportError:
    try:  # installed by pip, not synced
        from saltext.arp_hygiene.utils.arp_engine import reload_if_changed
    except ImportError:
        raise ImportError(
            "arp_engine is missing: run saltutil.sync_all; for salt-ssh see docs/operating.md"
        ) from None

reload_if_changed()
"""
#: Lines of code, comments and docstrings not counted: a file is one sitting.
SITTING = 300

FILES = [path for folder in FOLDERS for path in sorted((REPO / folder).glob("**/*.py"))]
ENGINE_FILES = sorted(ENGINE.glob("**/*.py"))


def name(path):
    return str(path.relative_to(REPO))


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def outside(path):
    """Return the top-level names that a file imports from outside its package."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def inside(path):
    """Return the engine's files that a file of the engine imports."""
    files = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            place = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            if place.is_dir():
                files |= {place / f"{alias.name}.py" for alias in node.names}
            else:
                files.add(place.with_suffix(".py"))
    return files


def everything(path):
    """Return a file of the engine and all that it imports, however far."""
    found, todo = set(), {path}
    while todo:
        found |= todo
        todo = set().union(*map(inside, todo)) - found
    return found


def test_the_table_names_all_rooms_and_has_no_circle():
    assert {path.parent.name for path in ENGINE_FILES if path.parent != ENGINE} == set(ROOMS)
    below = set()
    for room, imports in ROOMS.items():  # from the ground up
        assert imports <= below
        below.add(room)


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name)
def test_a_file_of_the_engine_imports_what_its_room_may(path):
    room = path.parent.name
    for used in inside(path) - {ENGINE / "version.py"}:  # open to all rooms
        assert used.is_file(), used
        assert used.parent.name in ROOMS[room] | {room}, used
    alone = ALSO.get(str(path.relative_to(ENGINE)), set())
    assert outside(path) <= STDLIB | FOLDERS["_utils"] | alone


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_what_its_folder_may(path):
    folder = path.relative_to(REPO).parts[0]
    if folder != "_utils":
        assert outside(path) <= STDLIB | FOLDERS[folder]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_sockets_are_opened_in_three_files(path):
    if "lab" not in path.relative_to(REPO).parts and (
        not path.is_relative_to(ENGINE) or str(path.relative_to(ENGINE)) not in MAY_OPEN_SOCKETS
    ):
        assert not OPENS.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("pattern", sorted(FREE_OF_PYROUTE2))
def test_a_file_is_free_of_pyroute2(pattern):
    paths = list(ENGINE.glob(pattern))
    assert paths
    for path in paths:
        for used in everything(path):
            assert "pyroute2" not in outside(used), (path, used)


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name)
def test_the_engine_knows_no_salt(path):
    assert "__salt__" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ENGINE_FILES, ids=name)
def test_the_engine_has_type_hints_throughout(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in given if not a.annotation and a.arg not in ("self", "cls")]
            assert not bare, f"{node.name}: {bare}"
            assert node.returns or node.name == "__init__", node.name


@pytest.mark.parametrize("path", [path for path in FILES if "saltext" in outside(path)], ids=name)
def test_a_surface_enters_by_the_door(path):
    text = path.read_text(encoding="utf-8")
    assert DOOR in text
    assert text.count("reload_if_changed()\n") == 1
    assert text.count("saltext") == 1


def test_a_number_of_the_kernel_stands_once():
    where = {}
    for path in ENGINE_FILES:
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^(_?(?:CAP|IFA|IFF|IFLA|NDA|NDTA|NTF|RTA|SO)_.+?) =", text, re.M):
            for number in line.split(", "):
                where.setdefault(number.lstrip("_"), []).append(name(path))
    assert len(where) > 40
    assert not {number: paths for number, paths in where.items() if len(paths) > 1}


def code_lines(path):
    """Count the lines that hold code: no blank ones, no comments, no docstrings."""
    text = path.read_text(encoding="utf-8")
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in quiet | {tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_is_one_sitting(path):
    assert code_lines(path) <= SITTING


def test_the_repository_root_holds_no_module_that_salt_would_load():
    assert not list(REPO.glob("*.py"))
    assert not (REPO / "salt" / "__init__.py").exists()


def test_version_stands_in_one_file_and_the_changelog():
    """FORMULA cannot read it from there: it repeats it."""
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", text, re.M)[0] == VERSION
    assert f"\nversion: {VERSION}\n" in (REPO / "FORMULA").read_text(encoding="utf-8")
    config = configparser.ConfigParser()
    config.read(REPO / "setup.cfg")
    module, _, name = config["metadata"]["version"].removeprefix("attr: ").rpartition(".")
    assert (module, name) == ("_utils.arp_engine.version", "VERSION")


@pytest.mark.parametrize("suite", ["unit", "functional", "integration"])
def test_each_test_file_of_a_suite_has_its_own_name(suite):
    """Pytest imports them by their names alone: two of one name end the collection."""
    names = [path.name for path in (REPO / "tests" / suite).glob("**/test_*.py")]
    assert len(names) == len(set(names)), {n for n in names if names.count(n) > 1}


def test_every_room_is_in_the_wheel():
    config = configparser.ConfigParser()
    config.read(REPO / "setup.cfg")
    package = "saltext.arp_hygiene.utils.arp_engine"
    listed = set(config["options"]["packages"].split())
    assert {package, *(f"{package}.{room}" for room in ROOMS)} <= listed


@pytest.mark.parametrize(("page", "at_least"), [("threat-model.md", 20), ("promises.md", 20)])
def test_each_row_names_tests_that_exist(page, at_least):
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) > at_least
    for line in lines:
        if "| Test |" in line or set(line) == {"|", "-"}:
            continue
        named = re.findall(r"`([a-z/]+/test_\w+\.py)::(test_\w+)`", line)
        assert named, line
        for file, test in named:
            assert f"def {test}(" in (REPO / "tests" / file).read_text(encoding="utf-8"), test
