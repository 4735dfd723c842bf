"""What an environment installs: exact versions with hashes, within requirements/ (`make lock`)."""

import re

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SALT = ("3006", "3007", "3008")


def pins(text):
    """Return package to versions of a lock; a package may have one for each Python."""
    found = {}
    for line in text.splitlines()[1:]:
        pinned = re.fullmatch(r"(\S+)==(\S+)(?: ; [^#]+?)?(?: --hash=sha256:[0-9a-f]{64})+", line)
        assert pinned, line
        found.setdefault(pinned[1], set()).add(pinned[2])
    return found


@pytest.mark.parametrize("name", ["fuzz", "kernels", "lint", "lock", "release", *SALT])
def test_lock_pins_what_requirements_allow(repo, name):
    found = pins((repo / "requirements" / "lock" / f"{name}.txt").read_text(encoding="utf-8"))
    asked = repo / "requirements" / f"{'test' if name in SALT else name}.txt"
    lines = [each.partition("#")[0].strip() for each in asked.read_text().splitlines()]
    for wanted in map(Requirement, filter(None, lines)):
        versions = found[canonicalize_name(wanted.name)]
        are = any if wanted.marker else all  # one version of several, each for some Pythons
        assert are(wanted.specifier.contains(each) for each in versions), wanted


def test_each_line_of_salt_has_another_pyroute2(repo):
    text = [(repo / "requirements" / "lock" / f"{name}.txt").read_text() for name in SALT]
    series = [next(iter(pins(each)["pyroute2"])).rpartition(".")[0] for each in text]
    assert series == ["0.7", "0.8", "0.9"]
