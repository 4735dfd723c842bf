"""One version, and a code that tells two checkouts of it apart."""

import shutil
import subprocess
import sys
import zipfile

import pytest
from arp_engine import version
from arp_engine.formula import sentinel_unit


@pytest.fixture
def place(tmp_path, repo):
    """A copy of the engine in a directory of its own."""
    shutil.copytree(repo / "_utils" / "arp_engine", tmp_path / "arp_engine")
    return tmp_path


def test_code_follows_each_change_of_the_files(place):
    codes = [version.code(str(place))]
    (place / "arp_engine" / "version.py").write_text('VERSION = "9"\n')
    codes.append(version.code(str(place)))
    (place / "arp_engine" / "version.py").rename(place / "arp_engine" / "table" / "version.py")
    codes.append(version.code(str(place)))
    assert codes[0] == version.code()
    assert len(set(codes)) == 3


def test_bundle_has_the_code_of_what_it_holds_also_while_it_runs(tmp_path):
    path = tmp_path / "sentinel.pyz"
    path.write_bytes(sentinel_unit.bundle())
    assert version.code(str(path)) == version.code()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("__main__.py", "from arp_engine import version as v; print(v.code())")
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{version.code()}\n"


@pytest.mark.parametrize("content", [None, b"", b"torn"], ids=["missing", "empty", "torn"])
def test_unreadable_file_has_no_code(tmp_path, content):
    if content is not None:
        (tmp_path / "code").write_bytes(content)
    assert version.code(str(tmp_path / "code")) == ""
