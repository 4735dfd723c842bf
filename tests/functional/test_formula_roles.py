"""Who gets the formula: what the top file of this tree says about a minion."""

import pytest
import salt.client
import yaml
from formula import REPO


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
def test_the_role_decides(tmp_path, name, grains, pillar, meant):
    (tmp_path / "top.sls").write_text("base: {'*': [own]}")
    (tmp_path / "own.sls").write_text(yaml.safe_dump(pillar))
    options = {
        "id": name,
        "root_dir": str(tmp_path),
        "file_client": "local",
        "grains": grains,
        "file_roots": {"base": [str(REPO / "salt")]},
        "pillar_roots": {"base": [str(tmp_path)]},
    }
    (tmp_path / "minion").write_text(yaml.safe_dump(options))
    top = salt.client.Caller(str(tmp_path / "minion")).cmd("state.show_top")
    assert top == ({"base": ["arp_hygiene"]} if meant else {})
