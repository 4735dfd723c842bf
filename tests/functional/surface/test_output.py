"""The answers of real calls, shown by the outputter that Salt's real loader finds."""

import pytest
import salt.loader
import salt.output
from conftest import BORN, DEAD


@pytest.fixture
def show(loaders):
    """Show an answer as salt-call does on a terminal without colours."""

    def show(module, function, answer):
        name = loaders.modules[f"{module}.{function}"].__outputter__
        assert name in salt.loader.outputters(loaders.opts)
        opts = {**loaders.opts, "color": False, "fun": f"{module}.{function}"}
        return salt.output.out_format({"local": answer}, name, opts).splitlines()

    return show


def test_a_heal_is_the_first_line(arp, scene, show):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    assert show("arp", "list", arp.list("192.0.2.10"))[0] == "local: 1 entry: 1 REACHABLE"
    assert show("arp", "revalidate", arp.revalidate("192.0.2.10")) == [
        "local: 1 checked: 1 healed",
        f"  healed  192.0.2.10 on db0: {DEAD} -> {BORN}",
    ]
    assert show("arp", "diagnose", arp.diagnose("192.0.2.10"))[0] == "local: RIGHT"
    assert show("arp", "stats", arp.stats(family="ipv4"))[0].startswith("local: ipv4 1 entry (")
    assert show("arp", "flush", arp.flush("192.0.2.10")) == ["local: 1 flushed"]
    assert show("arp", "list_stale", arp.list_stale("192.0.2.10")) == ["local: no entries"]


def test_status_and_heals_are_shown(hygiene, show):
    assert show("arp_hygiene", "status", hygiene.status())[0].startswith("local: PROBLEM: ")
    assert show("arp_hygiene", "healed", hygiene.healed()) == [
        "local: nothing healed in seven days"
    ]
