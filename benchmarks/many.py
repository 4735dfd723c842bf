"""Many networks in a selector; many devices with a few entries each."""

from benchmarks import peers, scene
from benchmarks.race import OURS, Race, Row
from lab import cable
from lab.machines import Machine

NETWORKS, ENTRIES, EACH = 5000, 20_000, 5
SEVERAL = 4  # entries in one network


def networks(minion, rounds):
    """Return the time to select among 20,000 entries by 5,000 networks."""
    named = [f"{cable.many(SEVERAL * number)}/30" for number in range(NETWORKS)]
    rows = []
    scene.fill(ENTRIES)
    for word, left in (("ip", ENTRIES), ("exclude", 0)):
        race = Race()
        for _round in range(rounds):
            took, result = minion.call("arp.list", state="STALE", **{word: named})
            if len(result) != left:
                raise AssertionError(f"{word}: listed {len(result)}, not {left}")
            race.times.setdefault(OURS, []).append(took)
        work = f"list, {ENTRIES:,}; {NETWORKS:,} networks in `{word}`"
        rows.append(Row(work, "ms", 1000, None, race.median(OURS) * 1e3, None))
    scene.empty()
    return rows


def devices(minion, rounds, count):
    """Return the ratios for a table spread over many devices (containers, VLANs)."""
    with_many = Machine("many")
    with with_many.inside():
        scene.pairs(count)
        for name in ("arp.list", "arp.flush"):  # and the program and the loader are warm
            minion.call(name, dev="lo")
        size = count * EACH

        def flush():
            took, result = minion.call("arp.flush")
            if result["flushed"] != size:
                raise AssertionError(f"flushed {result['flushed']} of {size}: {result}")
            return took

        def listed():
            took, result = minion.call("arp.list")
            if len(result) != size:
                raise AssertionError(f"listed {len(result)} of {size}")
            return took

        def run(ours, theirs):
            ready = Race().run(
                rounds, lambda: scene.spread(count, EACH), {OURS: ours, "ip": theirs}
            )
            scene.empty()
            return ready

        work = f"{count:,} devices, {EACH} entries each"
        rows = [
            run(listed, peers.ip_list).row(f"list, {work}", "ip", 1.0, "ip -s -j neigh, parsed"),
            run(flush, peers.ip_flush).row(f"flush, {work}", "ip", 1.0, "ip neigh flush nud stale"),
        ]
    with_many.stop()
    return rows
