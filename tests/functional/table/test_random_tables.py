"""Both paths judge alike: random tables on a real kernel, and the rule asked entry by entry.

30 tables in `make test`, 500 in `make test-long`.
"""

import ipaddress
import json
import os
import random
import socket
from collections import Counter

import pytest
from conftest import DEAD, ip

TABLES = int(os.environ.get("ARP_TABLES", "30"))
VRRP = "00:00:5e:00:01:07"
MACS = [DEAD, "02:00:00:00:00:0b", VRRP]
DEVICES = ["db0", "db1", "noarp0"]
OURS = ["stale", "reachable", "probe", "failed"]  # DELAY written by hand lasts for a tick
KINDS = [  # how an entry is written, and how often
    *(f"nud {state}" for state in OURS for _ in range(4)),
    "nud permanent",
    "nud noarp",
    "nud incomplete",
    "nud stale extern_learn",
    "nud permanent extern_learn",
    "nud reachable router",
    "nud reachable protocol zebra",
    "nud stale protocol static",
    "nud probe protocol 77",
]
GROUPS = [number for number in range(9, 100) if number != 0x16]  # there the kernel writes, too
NETWORKS = ["192.0.2.0/25", "192.0.2.64/26", "2001:db8::/64", "0.0.0.0/0", "224.0.0.0/4"]


@pytest.fixture
def stage(scene):
    """A host with three devices on which nothing moves by itself."""
    scene.crowd.enter()
    for name in DEVICES[1:]:
        ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
        ip("link", "set", name, "up")
    ip("link", "set", "noarp0", "arp", "off")
    for name in DEVICES:  # the kernel would write them by itself, some time in this second
        [link] = json.loads(ip("-j", "link", "show", "dev", name))
        mac = link["address"].replace(":", "")
        # It asks this group whether its own address is free.
        solicited = f"ff02::1:ff{mac[-6:-4]}:{mac[-4:]}"
        for group in (solicited, "ff02::16", "ff02::2", "ff02::1", "224.0.0.22"):
            scene.add(group, "noarp", DEAD, name)
    for family in ("ipv4", "ipv6"):
        for name in DEVICES:
            for key, value in {
                "base_reachable_time_ms": 36_000_000,
                "retrans_time_ms": 600_000,
                "delay_first_probe_time": 600,
                "gc_stale_time": 36_000,
            }.items():
                scene.sysctl(f"{family}.neigh.{name}.{key}", value)
    return scene


def write(dice):
    """Write a random table: few entries or up to 2,000, most of those PERMANENT (see `fill`)."""
    few = dice.random() < 0.8
    count = dice.randint(0, 200 if few else 2000)
    orders = []
    for _ in range(count):
        kind = dice.choice(KINDS) if few or dice.random() < 0.2 else "nud permanent"
        if kind == "nud failed" and not few:
            kind = "nud stale"  # the kernel's garbage collector may delete those at any time
        address = dice.choice(
            [
                f"192.0.2.{dice.randint(2, 254)}",
                f"198.51.{dice.randint(0, 9)}.{dice.randint(1, 254)}",
                f"2001:db8::{dice.randint(2, 999):x}",
                f"224.0.0.{dice.randint(1, 9)}",
                f"ff02::{dice.choice(GROUPS):x}",
            ]
        )
        lladdr = "" if kind in ("nud failed", "nud incomplete") else f"lladdr {dice.choice(MACS)} "
        where = f"{address} {{}}nud {{}} dev {dice.choice(DEVICES)}"
        orders.append("neigh replace " + where.format(f"lladdr {DEAD} ", "permanent"))
        orders.append("neigh replace " + where.format(lladdr, kind.removeprefix("nud ")))
    ip("-force", "-batch", "-", stdin="\n".join(orders), check=False)


def words(dice):
    """Return random selectors: as an operator writes them."""
    chosen = {}
    if dice.random() < 0.3:
        chosen["ip"] = dice.sample(NETWORKS, dice.randint(1, 2))
    if dice.random() < 0.3:
        chosen["exclude"] = dice.choice([*NETWORKS, "192.0.2.7"])
    if dice.random() < 0.3:
        chosen["dev"] = dice.sample(DEVICES, dice.randint(1, 2))
    if dice.random() < 0.3:
        chosen["state"] = dice.sample(["STALE", "REACHABLE", "PROBE"], 2)
    if dice.random() < 0.2:
        chosen["mac"] = dice.choice(MACS)
    return chosen


def matches(entry, name, chosen):
    """Return what selectors select, computed in another way than the product does."""
    address = ipaddress.ip_address(entry.dst)

    def among(networks):
        networks = [networks] if isinstance(networks, str) else networks
        return any(address in ipaddress.ip_network(network) for network in networks)

    state = {2: "REACHABLE", 4: "STALE", 16: "PROBE"}.get(entry.state)
    return (
        ("ip" not in chosen or among(chosen["ip"]))
        and ("exclude" not in chosen or not among(chosen["exclude"]))
        and ("dev" not in chosen or name in chosen["dev"])
        and ("state" not in chosen or state in chosen["state"])
        and ("mac" not in chosen or entry.mac.hex(":") == chosen["mac"])
    )


def every_entry():
    """Read the table and parse it message by message, on the general path."""
    from arp_engine.netlink import codec, rtnetlink

    with rtnetlink.Channel() as channel:
        for family in (socket.AF_INET, socket.AF_INET6):
            for chunk in channel.neighbours(family):
                for _kind, message in codec.messages(chunk):
                    yield codec.parse(message)


def more_rules(rule):
    """Return the rule as it is, and rules that also read address, MAC or ages."""

    from arp_engine.netlink.model import Head

    def with_one_more(also, reason, reads_entry=True):
        def owner(entry, device):
            found = rule(entry, device)
            if found != "":
                return found
            if reads_entry and isinstance(entry, Head):
                return None
            return reason if also(entry) else ""

        return owner

    return {
        "as it is": rule,
        "by MAC": with_one_more(lambda entry: entry.mac[:5] == b"\0\0\x5e\0\1", "VRRP"),
        "by address": with_one_more(lambda entry: entry.dst[-1] % 3 == 0, "a third"),
        "by age": with_one_more(lambda entry: entry.updated >= 0, "any age"),
        "by head": with_one_more(lambda entry: entry.state == 4, "STALE", reads_entry=False),
    }


def late_groups(before):
    """Return the multicast entries that the kernel has written since, for its own groups."""
    now = {(entry.ifindex, entry.dst) for entry in every_entry()}
    return {key for key in now - before.keys() if ipaddress.ip_address(key[1]).is_multicast}


def without_late_count(kept, expected, before):
    """Return the count for each reason, without multicast entries that have been written since."""
    counted = Counter(kept)
    late = counted["multicast"] - expected["multicast"]
    if 0 < late <= len(late_groups(before)):
        counted["multicast"] -= late
    return +counted


def is_collected(before):
    """Tell whether the kernel has removed an entry: it collects FAILED ones, every 15 seconds."""
    return not before.keys() <= {(entry.ifindex, entry.dst) for entry in every_entry()}


@pytest.mark.parametrize("seed", range(TABLES))
def test_fast_and_general_path_judge_alike(arp, stage, monkeypatch, seed):
    for _ in range(3):
        with monkeypatch.context() as patch:
            if is_judged_alike(arp, patch, random.Random(seed)):
                return
        ip("neigh", "flush", "nud", "all")
    pytest.fail("the kernel has collected entries each time")


def is_judged_alike(arp, patch, dice):
    """Compare both paths on one table; return False where the kernel has collected an entry."""
    from arp_engine.netlink import rtnetlink
    from arp_engine.table import ownership

    rules = more_rules(ownership.owner)
    rule = rules[dice.choice(sorted(rules))]
    patch.setattr(ownership, "owner", rule)
    write(dice)
    chosen = words(dice)
    with rtnetlink.Channel() as channel:
        devices = {entry.ifindex: channel.device(entry.ifindex) for entry in every_entry()}
    before = {(e.ifindex, e.dst): e for e in every_entry()}
    selected = {k: e for k, e in before.items() if matches(e, devices[e.ifindex].name, chosen)}
    owners = {key: rule(entry, devices[entry.ifindex]) for key, entry in selected.items()}
    ours = {key for key, owner in owners.items() if not owner}
    kept = Counter(owner for owner in owners.values() if owner)

    def key_of(row):
        packed = ipaddress.ip_address(row["ip"]).packed
        return socket.if_nametoindex(row["dev"]), packed

    try:
        listed = {key_of(row): row["owner"] for row in arp.list(**chosen)}
        assert {key: listed[key] for key in listed.keys() - late_groups(before)} == owners
        plan = arp.flush(**chosen, test=True, rows=True)
        assert plan["would_flush"] == len(ours)
        assert without_late_count(plan["kept"], kept, before) == kept
        assert {key_of(row) for row in plan["entries"]} == ours
        provable = {key for key in ours if before[key].mac}
        for key in ours - provable:
            kept[ownership.state_name(before[key].state)] += 1
        choice = arp.revalidate(**chosen, test=True)
        assert choice["would_check"] == len(provable)
        assert without_late_count(choice["kept"], kept, before) == kept
    except AssertionError:
        if not is_collected(before):
            raise
    if is_collected(before):
        return False
    answer = arp.flush(**chosen)
    assert answer["flushed"] == plan["would_flush"]
    planned = Counter(plan["kept"])
    assert without_late_count(answer["kept"], planned, before) == planned
    after = {(entry.ifindex, entry.dst) for entry in every_entry()}
    assert after - late_groups(before) == before.keys() - ours
    return True
