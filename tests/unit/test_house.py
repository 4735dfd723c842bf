"""A line of code knows its room."""

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent.parent
PRODUCT = ["_utils", "_modules", "_states"]
FILES = [path for room in PRODUCT for path in sorted((REPO / room).glob("*.py"))]
LAB = sorted((REPO / "lab").glob("**/*.py"))


def imports(path):
    """Return the top-level names a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_rooms(path):
    names, text = imports(path), path.read_text(encoding="utf-8")
    if path.parent.name == "_utils":
        assert "salt" not in names
        assert "__salt__" not in text
    if path.name != "arp_netlink.py":
        assert "socket.socket(" not in text
    if path.parent.name == "_states":
        assert "pyroute2" not in names
    if path.name == "arp_select.py":
        assert names <= sys.stdlib_module_names


@pytest.mark.parametrize("path", LAB, ids=lambda path: path.name)
def test_the_lab_is_the_world_and_not_the_product(path):
    product = {path.stem for path in FILES} - {"__init__"}
    assert not imports(path) & product


@pytest.mark.parametrize("path", FILES + LAB, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_is_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_repository_root_holds_no_module_that_salt_would_load():
    assert not list(REPO.glob("*.py"))
    assert not (REPO / "salt" / "__init__.py").exists()


def test_every_reloadable_file_is_reloaded():
    """Each surface knows the files it stands on, in order of dependence; together, all of them."""
    engine = {path.stem for path in FILES if path.parent.name == "_utils"} - {"__init__"}
    known = set()
    for surface, name in (("arp", "_ENGINE"), ("arp_hygiene", "_RULES")):
        text = (REPO / "_modules" / f"{surface}.py").read_text(encoding="utf-8")
        order = re.findall(r"\w+", text.split(f"{name} = (")[1].split(")")[0])
        for at, file in enumerate(order):
            needs = imports(REPO / "_utils" / f"{file}.py") & engine
            assert needs <= set(order[:at])
        known |= set(order)
    assert known == engine


def test_version_is_in_the_changelog():
    config = configparser.ConfigParser()
    config.read(REPO / "setup.cfg")
    assert config["metadata"]["version"] in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
