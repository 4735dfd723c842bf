"""A line of code knows its room: the walls, as one table."""

import ast
import configparser
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
STDLIB = set(sys.stdlib_module_names)
ENGINE = {path.stem for path in (REPO / "_utils").glob("arp_*.py")}
ALONE = "Standard library alone"  # what a file of the engine may claim, its imports included

#: room: what its files may import beside the standard library.
MAY_IMPORT = {
    "_utils": {"prometheus_client", "pyroute2"} | ENGINE - {"arp_fresh"},
    "_modules": {"salt", "saltext"} | ENGINE,
    "_states": {"salt"},  # through __salt__ alone
    "_engines": {"salt", "saltext"} | ENGINE,
    "_runners": {"salt", "saltext"} | ENGINE,
    "_output": set(),  # Salt gives it no path to the engine
    "lab": {"lab", "matplotlib", "salt", "setproctitle", "yaml"},  # the world, not the product
}
#: What one file may import that its room may not.
ALSO = {"_utils/arp_record.py": {"prometheus_client"}}  # where metrics are wanted
#: The files that may open a socket.
MAY_OPEN = {"_utils/arp_netlink.py", "_utils/arp_packet.py"}
#: How one is opened; of pyroute2 we take numbers, none of its sockets.
OPENS = re.compile(
    r"socket\.(socket|socketpair|create_\w+)\(|from socket import|"
    r"(import|from) pyroute2(?!\.netlink)"
)
#: Lines of code, comments and docstrings not counted: a file is one sitting.
SITTING = 300

FILES = [path for room in MAY_IMPORT for path in sorted((REPO / room).glob("**/*.py"))]


def name(path):
    return str(path.relative_to(REPO))


def imports(path):
    """Return the top-level names a file imports, and whole names where it imports parts."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_imports_what_its_room_may(path):
    room = path.relative_to(REPO).parts[0]
    assert imports(path) <= STDLIB | MAY_IMPORT[room] | ALSO.get(name(path), set())


@pytest.mark.parametrize("path", FILES, ids=name)
def test_sockets_are_opened_in_the_engine(path):
    if path.relative_to(REPO).parts[0] != "lab" and name(path) not in MAY_OPEN:
        assert not OPENS.search(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("stem", sorted(ENGINE))
def test_the_engine_knows_no_salt_and_says_true_what_it_needs(stem):
    text = (REPO / "_utils" / f"{stem}.py").read_text(encoding="utf-8")
    assert "__salt__" not in text
    if ALONE in (ast.get_docstring(ast.parse(text)) or ""):
        needed, todo = set(), [stem]
        while todo:
            names = imports(REPO / "_utils" / f"{todo.pop()}.py") - needed
            needed |= names
            todo += names & ENGINE
        assert needed <= STDLIB | ENGINE


@pytest.mark.parametrize("stem", sorted(ENGINE))
def test_the_engine_has_type_hints_throughout(stem):
    tree = ast.parse((REPO / "_utils" / f"{stem}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [a.arg for a in given if not a.annotation and a.arg not in ("self", "cls")]
            assert not bare, f"{node.name}: {bare}"
            assert node.returns or node.name == "__init__", node.name


def test_a_surface_falls_back_to_the_installed_package_in_one_place():
    """All else is arp_fresh's: where the engine lies, and that it is what lies there now."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if "saltext" in imports(path):
            assert "    from saltext.arp_hygiene.utils import arp_fresh\n" in text
            assert text.count("saltext") == 1
            assert "with arp_fresh.engine():" in text


def test_a_number_of_the_kernel_stands_once():
    where = {}
    for stem in sorted(ENGINE):
        text = (REPO / "_utils" / f"{stem}.py").read_text(encoding="utf-8")
        for line in re.findall(r"^(_?(?:CAP|IFA|IFF|IFLA|NDA|NDTA|NTF|RTA|SO)_.+?) =", text, re.M):
            for number in line.split(", "):
                where.setdefault(number.lstrip("_"), []).append(stem)
    assert len(where) > 40
    assert not {number: stems for number, stems in where.items() if len(stems) > 1}


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


def test_version_is_in_the_changelog():
    config = configparser.ConfigParser()
    config.read(REPO / "setup.cfg")
    assert config["metadata"]["version"] in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


def test_each_line_of_the_threat_model_has_its_test():
    text = (REPO / "docs" / "threat-model.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    for line in lines:
        named = re.findall(r"`([a-z]+/test_\w+\.py)::(test_\w+)`", line)
        assert named, line
        for file, test in named:
            assert f"def {test}(" in (REPO / "tests" / file).read_text(encoding="utf-8"), test
