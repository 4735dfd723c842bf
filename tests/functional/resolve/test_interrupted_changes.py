"""What a run that was stopped tells as changed: what its own probes may have changed."""

from arp_engine.resolve import revalidate
from arp_engine.table import selectors
from conftest import BORN, DEAD, ip


def interrupted(meanwhile, turns, rate=500.0):
    """Revalidate everything; after some turns of its loop change the table, and stop the run."""
    looks = []

    def is_stopped():
        looks.append(1)
        if len(looks) == turns + 1:
            meanwhile()
        return len(looks) > turns

    done = revalidate.revalidate(
        selectors.parse_selectors(verb="revalidate"), rate, is_stopped=is_stopped
    )
    assert done["interrupted"] is True
    return done


def write(address, *words):
    ip("neigh", "replace", address, "lladdr", BORN, "dev", "db0", "nud", "reachable", *words)


def test_interrupted_run_tells_no_change_by_a_control_plane(scene):
    scene.add("192.0.2.10", "reachable", DEAD)
    done = interrupted(lambda: write("192.0.2.10", "extern_learn"), turns=1)
    assert (done["changed"], done["totals"]["changed"], done["no_outcome"]) == ([], 0, 0)
    assert done["kept"]["extern_learn"] == 1


def test_interrupted_run_tells_no_change_of_an_entry_not_asked_about(scene):
    scene.add("192.0.2.10", "reachable", DEAD)
    done = interrupted(lambda: write("192.0.2.10"), turns=0)
    assert (done["changed"], done["no_outcome"]) == ([], 1)


def test_interrupted_run_tells_changes_where_a_probe_has_left(scene):
    """One frame may leave; the others wait for their turn."""
    addresses = [f"192.0.2.{number}" for number in range(10, 20)]
    for address in addresses:
        scene.add(address, "reachable", DEAD)
    done = interrupted(lambda: [write(address) for address in addresses], turns=1, rate=0.001)
    assert len(done["changed"]) == 1
    assert done["no_outcome"] == len(addresses)
