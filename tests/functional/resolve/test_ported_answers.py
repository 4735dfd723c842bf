"""Scenes of other projects' tests, played on our database: who answers, who announces.

Each test names its source; the code and what is asserted are ours.
"""

import contextlib

import pytest
from asking import undated
from conftest import BORN, DEAD, HOST, ip
from pace import pace  # noqa: F401
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from stage import run
from wire import BROADCAST, answer, namespace

V4, V6 = "192.0.2.10", "2001:db8::10"
PAIR = pytest.mark.parametrize("address", [V4, V6], ids=["v4", "v6"])
OTHER = "02:00:00:00:00:0c"


def row_of(address, mac):
    return {"ip": address, "dev": "db0", "old": DEAD, "new": mac}


def held(scene, address):
    """Return the MAC of an entry; None: there is no entry."""
    rows = [row.split() for row in scene.table()]
    return next((row[2] for row in rows if row[0] == address), None)


def announcement(address, mac=BORN, op=2):
    """Return the frame by which a host tells everybody its address, asked by nobody."""
    if "." in address:
        said = ARP(op=op, hwsrc=mac, psrc=address, hwdst=mac, pdst=address)
        return Ether(src=mac, dst=BROADCAST) / said
    header = IPv6(src=address, dst="ff02::1", hlim=255)
    told = header / ICMPv6ND_NA(R=0, S=0, O=1, tgt=address) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return Ether(src=mac, dst="33:33:00:00:00:01") / told


def marked(scene, wire):
    """Wait until the kernel has taken all frames sent before: it answers one more."""
    wire.heard()
    wire.say(
        Ether(src=BORN, dst=HOST) / ARP(op=1, hwsrc=BORN, psrc="192.0.2.250", pdst="192.0.2.1")
    )
    scene.until(lambda: any(ARP in f and f[ARP].pdst == "192.0.2.250" for f in wire.heard()))


# --- Linux, tools/testing/selftests/net/arp_ndisc_evict_nocarrier.sh


def lose_carrier(scene):
    ip("-n", "worker", "link", "set", "w0", "down")
    scene.until(lambda: "NO-CARRIER" in ip("link", "show", "db0"))


@pytest.mark.parametrize(("address", "dev"), [(V4, "all"), (V4, "db0"), (V6, "db0")])
def test_entry_kept_without_carrier_is_healed_when_it_is_back(arp, scene, wire, address, dev):
    word = "ipv6.conf.{}.ndisc" if ":" in address else "ipv4.conf.{}.arp"
    scene.sysctl(f"{word.format(dev)}_evict_nocarrier", 0)
    scene.add(address, "stale", DEAD)
    lose_carrier(scene)
    told = arp.revalidate(address)
    assert (told["checked"], told["kept"]) == (0, {"no carrier": 1})
    assert [row["mac"] for row in arp.list(address)] == [DEAD]
    ip("-n", "worker", "link", "set", "w0", "up")  # another machine is at the cable now
    scene.until(lambda: "NO-CARRIER" not in ip("link", "show", "db0"))
    scene.worker(address)
    assert undated(arp.revalidate(address)["healed"]) == [row_of(address, BORN)]


@PAIR
def test_entry_evicted_without_carrier_is_no_failure(arp, scene, address):
    scene.add(address, "reachable", BORN)
    lose_carrier(scene)
    scene.until(lambda: not scene.table())
    told = arp.revalidate(address)
    assert (told["checked"], told["gone"], told["warnings"]) == (0, [], [])
    assert "failed" not in told
    assert arp.flush(address)["flushed"] == 0


# --- Linux, tools/testing/selftests/net/arp_ndisc_untracked_subnets.sh


ACCEPTED = [(0, "192.0.2.10", 0), (1, "192.0.2.10", 1), (2, "192.0.2.10", 1),
            (1, "198.51.100.10", 1), (2, "198.51.100.10", 0)]  # fmt: skip


@pytest.mark.parametrize(("accept", "address", "entries"), ACCEPTED)
def test_forged_gratuitous_arp_is_no_confirmation(arp, scene, wire, accept, address, entries):
    """An entry may be born of a frame that nobody asked for; what it says is then verified."""
    scene.sysctl("ipv4.conf.db0.arp_accept", accept)
    scene.worker(address)
    wire.say(announcement(address, DEAD))
    marked(scene, wire)
    assert len(arp.list(address)) == entries
    told = arp.revalidate(address)
    assert undated(told["healed"]) == [row_of(address, BORN)] * entries
    assert (told["confirmed"], held(scene, address)) == (0, BORN if entries else None)


@pytest.mark.parametrize(("accept", "address", "entries"), [
    (0, V6, 0), (1, V6, 1), (2, V6, 1), (2, "2001:db8:13::4", 0),
])  # fmt: skip
def test_forged_untracked_advertisement_is_no_confirmation(
    arp, scene, wire, accept, address, entries
):
    scene.sysctl("ipv6.conf.db0.forwarding", 1)
    scene.sysctl("ipv6.conf.db0.accept_untracked_na", accept)
    scene.worker(address)
    wire.say(announcement(address, DEAD))
    marked(scene, wire)
    assert len(arp.list(address)) == entries
    assert undated(arp.revalidate(address)["healed"]) == [row_of(address, BORN)] * entries


# --- Linux, tools/testing/selftests/net/ndisc_unsolicited_na_test.sh


@PAIR
@pytest.mark.parametrize(("drop", "forwarding"), [(0, 1), (1, 0), (1, 1)])
def test_dropped_announcements_do_not_stop_a_heal(arp, scene, wire, address, drop, forwarding):
    """drop_unsolicited_na, drop_gratuitous_arp: the answer to a question is still taken."""
    conf, name = (
        ("ipv6.conf.db0", "drop_unsolicited_na")
        if ":" in address
        else ("ipv4.conf.db0", "drop_gratuitous_arp")
    )
    scene.sysctl(f"{conf}.{name}", drop)
    scene.sysctl(f"{conf}.forwarding", forwarding)
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    wire.say(announcement(address))
    marked(scene, wire)
    assert held(scene, address) == (DEAD if drop else BORN)
    told = arp.revalidate(address)
    assert undated(told["healed"]) == [row_of(address, BORN)] * drop
    assert (told["confirmed"], held(scene, address)) == (1 - drop, BORN)


# --- NetBSD, tests/net/arp/t_arp.sh, t_dad.sh; tests/net/ndp/t_ndp.sh, t_dad.sh


@PAIR
def test_announcement_overwrites_a_dynamic_entry_not_a_static_one(arp, scene, wire, address):
    """arp_cache_overwriting, ndp_cache_overwriting."""
    scene.worker(address)
    for state, after in (("permanent", DEAD), ("reachable", BORN)):
        scene.add(address, state, DEAD)
        wire.say(announcement(address), announcement(address, op=1))
        marked(scene, wire)
        assert held(scene, address) == after
        told = arp.revalidate(address)
        assert (told["healed"], held(scene, address)) == ([], after)


def test_published_address_is_healed_although_its_proxy_is_slow(arp, scene, wire):
    """arp_proxy_arp_pub: a router answers for one address, up to ``proxy_delay`` late."""
    for line in (
        "link add p0 type veth peer name p1", "link set p0 up", "link set p1 up",
        f"route add {V4}/32 dev p0", f"neigh add proxy {V4} dev w0",
    ):  # fmt: skip
        ip("-n", "worker", *line.split())
    with namespace("worker"):
        scene.sysctl("ipv4.conf.all.forwarding", 1)
        scene.sysctl("ipv4.neigh.w0.proxy_delay", 30)  # hundredths of a second
    scene.add(V4, "reachable", DEAD)
    told = arp.revalidate(V4)
    assert undated(told["healed"]) == [row_of(V4, BORN)]
    assert not [line for line in told["warnings"] if line.startswith("proxy: ")]


@PAIR
def test_changed_mac_is_told_by_announce_alone(arp, scene, wire, address):
    """arp_link_activation, ndp_link_activation: a new MAC is silent until it is announced."""
    ours = "192.0.2.1" if "." in address else "2001:db8::1"
    family = "-6" if ":" in address else "-4"
    ip("-n", "worker", family, "neigh", "replace", ours, "lladdr", HOST, "nud", "reachable",
       "dev", "w0")  # fmt: skip
    scene.worker("192.0.2.11")
    wire.heard()
    ip("link", "set", "db0", "address", OTHER)
    assert [f for f in wire.heard() if ARP in f or ICMPv6ND_NA in f] == []
    arp.announce(ours)
    [line] = run("ip", "-n", "worker", "neigh", "show", "to", ours).splitlines()
    assert OTHER in line.split()


def test_duplicate_address_of_ours_is_neither_announced_nor_used(arp, scene, wire):
    """dad_duplicated: the kernel found that another host has it."""
    scene.worker(V6)
    ip("-6", "address", "flush", "dev", "db0")
    ip("address", "add", f"{V6}/64", "dev", "db0")
    scene.until(lambda: "dadfailed" in ip("address", "show", "dev", "db0"))
    scene.add("2001:db8::11", "stale", BORN)
    wire.heard()
    with contextlib.suppress(Exception):  # it is none of ours
        assert arp.announce(V6)["announced"] == []
    told = arp.revalidate("2001:db8::11")
    assert told["kept"] == {"no address to ask from": 1}
    assert [f for f in wire.heard() if ICMPv6ND_NA in f or ICMPv6ND_NS in f] == []


# --- sonic-mgmt, tests/arp/


@pytest.mark.parametrize("op", [1, 2], ids=["request", "reply"])
def test_gratuitous_arp_updates_a_known_address_alone(arp, scene, wire, op):
    """test_arpall.py: GarpNoUpdate, GarpUpdate; the new MAC is then confirmed by its host."""
    scene.worker(V4)
    wire.say(announcement(V4, op=op))
    marked(scene, wire)
    assert arp.list(V4) == []
    scene.add(V4, "reachable", DEAD)
    wire.say(announcement(V4, op=op))
    marked(scene, wire)
    told = arp.revalidate(V4)
    assert (told["confirmed"], told["healed"], held(scene, V4)) == (1, [], BORN)


@PAIR
@pytest.mark.usefixtures("pace")
def test_answer_in_the_frame_of_another_mac_is_told_as_the_kernel_took_it(
    arp, scene, wire, address
):
    """test_arp_nhop_leak.py: the sender named in the answer is not the frame's."""
    scene.add(address, "reachable", DEAD)
    with wire.answering(
        lambda asked, to_all, _n: [answer(asked, OTHER, source=BORN)] if to_all else []
    ):
        told = arp.revalidate(address)
    assert undated(told["healed"]) == [row_of(address, OTHER)]
    assert held(scene, address) == OTHER


# --- kube-ovn, test/e2e/ip/static_ip.go


@pytest.mark.parametrize("net", ["192.0.2.", "2001:db8::"], ids=["v4", "v6"])
@pytest.mark.usefixtures("pace")
def test_pods_that_swap_the_addresses_of_a_pool_are_healed(arp, scene, wire, net):
    """A Deployment with an address pool, all Pods deleted at once: each cached MAC lives on.

    As another Pod, which has another address now: no flux, no duplicate, three wrong entries.
    """
    pool = [f"{net}{last}" for last in (20, 21, 22)]
    macs = [DEAD, BORN, OTHER]
    now = dict(zip(pool, [BORN, OTHER, DEAD], strict=True))
    for address, mac in zip(pool, macs, strict=True):
        scene.add(address, "reachable", mac)

    def respond(address, to_all, _number):
        mac = now.get(address)
        return [answer(address, mac)] if mac and (to_all or wire.asked_mac == mac) else []

    with wire.answering(respond):
        told = arp.revalidate()
    assert sorted((row["ip"], row["new"]) for row in told["healed"]) == sorted(now.items())
    assert told["duplicates"] == []
    assert {address: held(scene, address) for address in pool} == now
