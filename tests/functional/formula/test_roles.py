"""Who gets the formula: what the top file that we show says about a minion."""

import pytest
import salt.client
import yaml
from formula import REPO

from lab.saltstack import configure, file_roots, pillar_roots


@pytest.mark.parametrize(
    ("name", "grains", "pillar", "meant"),
    [
        ("db1", {}, {}, True),
        ("db-eu.example.com", {}, {}, True),
        ("mongo7", {"role": "database"}, {}, True),
        ("mongo7", {"roles": ["backup", "database"]}, {}, True),
        ("mongo7", {}, {"role": "database"}, True),
        ("mongo7", {}, {"roles": ["database"]}, True),
        ("web1", {}, {}, False),
        ("web1", {"role": "web", "roles": ["web"]}, {"role": "web"}, False),
        ("olddb1", {}, {}, False),
    ],
)
def test_role_decides_where_the_formula_applies(tmp_path, name, grains, pillar, meant):
    minion = configure(
        tmp_path / "etc",
        id=name,
        root_dir=str(tmp_path),
        grains=grains,
        file_roots=file_roots(tmp_path / "files"),
        pillar_roots=pillar_roots(tmp_path / "pillar", pillar),
    )
    top = salt.client.Caller(str(minion)).cmd("state.show_top")
    assert top == ({"base": ["arp_hygiene"]} if meant else {})


def test_file_root_has_every_folder_and_no_top_file():
    """A top file of ours would replace the operator's; a room without its link is not synced."""
    served = REPO / "salt"
    assert not list(served.rglob("top.sls"))
    rooms = {path.parent.name for path in REPO.glob("_*/*.py")}
    assert {path.name for path in served.glob("_*")} == rooms
    for room in rooms:
        assert (served / room).resolve() == REPO / room


def test_formula_file_matches_the_tree():
    told = yaml.safe_load((REPO / "FORMULA").read_text())
    assert (REPO / "salt" / told["top_level_dir"] / "init.sls").exists()
