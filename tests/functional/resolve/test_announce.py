"""Announcements of this machine's own addresses."""

import contextlib
import ipaddress
import os
import subprocess
import sys

import pytest
from arp_engine.packets import packet_socket
from arp_engine.resolve import announce as resolve_announce
from asking import OTHER, do
from conftest import BORN, DEAD, HOST, ip
from salt.exceptions import SaltInvocationError
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP
from stage import Scene
from wire import BROADCAST

from lab.bare import missing
from lab.causes import Confirming
from lab.fabric import Fabric
from lab.machines import Failed, poll, run

V6 = "2001:db8::1"
ADDRESSES = ["192.0.2.1", V6, "fe80::1"]
EACH = pytest.mark.parametrize("address", ADDRESSES)
LOOPBACK = {"device does no ARP": 2}  # 127.0.0.1 and ::1
OWN = [{"ip": address, "dev": "db0", "mac": HOST} for address in ADDRESSES]


@pytest.fixture(autouse=True)
def one_processor():
    """What several processors have sent may arrive in another order."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def networks(*texts):
    return [ipaddress.ip_network(text) for text in texts]


def announce(**options):
    """Announce without a pause."""
    result = resolve_announce.announce(**{"sleep": lambda _seconds: None, **options})
    lists = {name: rows for name, rows in result.items() if isinstance(rows, list)}
    lists.pop("warnings", None)
    assert result.pop("totals") == {name: len(rows) for name, rows in lists.items()}
    for rows in lists.values():
        rows.sort(key=lambda row: row["ip"])
    return result


def said(wire, least=0):
    """Return the new announcements at the worker's end: destination MAC, then the fields.

    least: how many are waited for; a frame may take long beside other work.
    """
    heard = taken(wire)
    with contextlib.suppress(AssertionError):  # the difference tells more
        Scene.until(lambda: heard.extend(taken(wire)) or len(heard) >= least, 10)
    return heard


def taken(wire):
    heard = []
    for frame in wire.heard():
        if ARP in frame:
            arp = frame[ARP]
            heard.append((frame.dst, arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst))
        elif ICMPv6ND_NA in frame:
            na = frame[ICMPv6ND_NA]
            flags = (na.R, na.S, na.O)
            heard.append((frame.dst, flags, frame[ICMPv6NDOptDstLLAddr].lladdr, na.tgt))
            header = frame[IPv6]
            assert (header.src, header.dst, header.hlim) == (na.tgt, "ff02::1", 255)
    return heard


def of(address, router=0):
    """Return the expected packets of one announcement."""
    if ":" in address:
        return [("33:33:00:00:00:01", (router, 0, 1), HOST, address)]
    return [(BROADCAST, op, HOST, address, HOST, address) for op in (1, 2)]


def test_all_own_addresses_are_announced_three_times(scene, wire):
    do("link set lo up")
    pauses = []
    assert announce(sleep=pauses.append) == {"announced": OWN, "kept": LOOPBACK}
    once = of("192.0.2.1") + of("2001:db8::1") + of("fe80::1")
    heard = said(wire, 12)
    assert [sorted(map(str, heard[n : n + 4])) for n in (0, 4, 8)] == [sorted(map(str, once))] * 3
    assert len(heard) == 12
    assert pauses == [1.1, 1.1]


@EACH
def test_reachable_entry_takes_the_announcement(scene, wire, address):
    """Even one that has just changed: a gratuitous ARP reply overrides locktime."""
    scene.worker("192.0.2.10")
    row = ["dev", "w0", "lladdr", DEAD, "nud", "reachable"]
    ip("-n", "worker", "neigh", "replace", address, *row)
    announce(ip=networks(address))
    scene.until(lambda: HOST in ip("-n", "worker", "neigh", "show", "to", address).split())


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_first_announcement_corrects_two_databases(family):
    """Both hold a dead MAC with upper-layer confirmation; the first announcement is enough."""
    with Fabric("a-", "switch") as fabric, contextlib.ExitStack() as applications:
        databases = [fabric.database(f"db{number}", number) for number in (10, 11)]
        worker = fabric.worker("w1", 90, DEAD)
        address = getattr(worker, family)

        def held(*keys):
            rows = [database.neighbour(address) or {} for database in databases]
            return [[row.get(key) for key in keys] for row in rows]

        for database in databases:
            applications.enter_context(Confirming(database, address))
        wrong = [[DEAD, ["REACHABLE"]]] * 2
        poll("both hold the dead MAC", 30, lambda: held("lladdr", "state") == wrong)
        born = fabric.recreate(worker, BORN)
        assert held("lladdr", "state") == wrong
        right = []

        def pause(_seconds):
            right.append(poll("both hold the new MAC", 30, lambda: held("lladdr") == [[BORN]] * 2))

        with born.inside():
            announce(ip=networks(address), sleep=pause)
        assert right == [True, True]


def test_arguments_in_the_operators_forms(arp, scene, wire):
    do("link property add dev db0 altname cable")
    rows = {"announced": sorted(OWN[:2], key=str), "kept": {}, "totals": {"announced": 2}}
    told = arp.announce("2001:db8::1,192.0.2.1", dev="cable")
    assert {**told, "announced": sorted(told["announced"], key=str)} == rows
    assert sorted(said(wire), key=str) == sorted((of("192.0.2.1") + of("2001:db8::1")) * 3, key=str)
    told = arp.announce(dev=["db0"], test=True, limit=1)
    assert (len(told["would_announce"]), told["totals"]) == (1, {"would_announce": 3})
    assert said(wire) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"ip": "192.0.2.1,192.0.2.10"}, "ip: 192.0.2.10 is no address of this machine"),
        ({"ip": "192.0.2.1", "dev": "db7"}, "dev: no device 'db7' here; there are db0, lo"),
        ({"ip": "db1"}, "ip: 'db1' is not an IPv4 or IPv6 address"),
        ({"dev": []}, "dev: the list is empty"),
        ({"test": "yes"}, "test: 'yes' is neither true nor false"),
        ({"limit": -1}, "limit: -1 is not a whole number of rows"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_and_send_nothing(arp, wire, words, line):
    with pytest.raises(SaltInvocationError) as refused:
        arp.announce(**words)
    assert str(refused.value).startswith(f"arp.announce: {line}")
    assert "\n" not in str(refused.value)
    assert said(wire) == []


@EACH
def test_ip_selects_one_address(scene, wire, address):
    [row] = announce(ip=networks(address), dev=["db0"])["announced"]
    assert row == {"ip": address, "dev": "db0", "mac": HOST}
    expected = of(address) * 3
    assert said(wire, len(expected)) == expected


def test_test_mode_returns_the_same_and_sends_nothing(scene, wire):
    do("link set lo up")
    result = announce(test=True)
    assert result == {"would_announce": OWN, "kept": LOOPBACK}
    assert said(wire) == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"ip": ["192.0.2.10"]}, "ip: 192.0.2.10 is no address of this machine"),
        ({"ip": ["192.0.2.1", "2001:db8::10"]}, "ip: 2001:db8::10 is no address of this machine"),
        ({"ip": ["198.51.100.0/24"]}, "ip: 198.51.100.0/24 holds no address of this machine"),
        ({"ip": ["192.0.2.1"], "dev": ["lo"]}, "ip: 192.0.2.1 is no address of this machine on lo"),
        ({"dev": ["db7"]}, "dev: no device 'db7' here; there are db0, lo"),
    ],
)
def test_foreign_address_is_refused_and_sends_nothing(scene, wire, options, line):
    options = {key: networks(*value) if key == "ip" else value for key, value in options.items()}
    with pytest.raises(ValueError, match=line.replace("'", ".")) as refused:
        announce(**options)
    assert "\n" not in str(refused.value)
    assert said(wire) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("link set db0 down", "device is down"),
        ("-n worker link set w0 down", "no carrier"),
        ("link set db0 arp off", "device does no ARP"),
    ],
)
def test_address_on_an_unusable_device_is_kept(scene, wire, words, why):
    do(words)
    result = announce(ip=networks("192.0.2.0/24"))
    assert result == {"announced": [], "kept": {why: 1}}


def test_scope_host_address_is_kept(scene, wire):
    """Hosts behind a load balancer hold its address so, and must never announce it."""
    do("address add 192.0.2.5/32 dev db0 scope host")
    result = announce(ip=networks("192.0.2.5"))
    assert result == {"announced": [], "kept": {"scope host": 1}}
    assert said(wire) == []


@pytest.mark.parametrize(
    ("address", "words", "why"),
    [
        ("192.0.2.9", "/32 dev db0", "a /32 beside other addresses"),
        ("2001:db8::9", "/64 dev db0 nodad preferred_lft 0", "deprecated address"),
    ],
)
def test_quiet_address_is_announced_only_if_named(scene, wire, address, words, why):
    do(f"address add {address}{words}")
    assert announce(dev=["db0"], ip=networks("192.0.2.0/24", "2001:db8::/64"))["kept"] == {why: 1}
    expected = (of("192.0.2.1") + of(V6)) * 3
    assert sorted(said(wire, len(expected)), key=str) == sorted(expected, key=str)
    assert announce(ip=networks(address))["kept"] == {}
    expected = of(address) * 3
    assert said(wire, len(expected)) == expected


def test_only_address_may_be_a_32(scene, wire):
    do("address flush dev db0")
    do("address add 192.0.2.9/32 dev db0")
    assert announce(ip=networks("0.0.0.0/0"))["announced"][0]["ip"] == "192.0.2.9"


@pytest.mark.parametrize("dev", ["db0", "all"])
def test_address_that_arp_ignore_keeps_quiet_is_kept(scene, wire, dev):
    do("link set lo up")
    scene.sysctl(f"ipv4.conf.{dev}.arp_ignore", 8)
    result = announce()
    assert result["kept"] == {"arp_ignore": 1, **LOOPBACK}
    expected = (of(V6) + of("fe80::1")) * 3
    assert sorted(said(wire, len(expected)), key=str) == sorted(expected, key=str)
    assert announce(ip=networks("192.0.2.1"))["kept"] == {}


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@pytest.mark.parametrize("policy", ["accept", "drop"])
@pytest.mark.parametrize(
    "rule",
    [
        "arp saddr ip 192.0.2.9 counter drop",
        "arp saddr ip { 192.0.2.8, 192.0.2.9 } drop",
        "arp saddr ip 192.0.2.8/30 drop",
        "arp saddr ip 192.0.2.8-192.0.2.9 drop",
        "arp saddr ip != 192.0.2.1 drop",
        "arp saddr ip @quiet drop",
        "arp saddr ether . arp saddr ip { 02:00:00:00:00:01 . 192.0.2.9 } drop",
    ],
)
def test_address_that_an_arp_filter_drops_is_kept(scene, wire, policy, rule):
    do("address add 192.0.2.9/24 dev db0")
    rules = f"""table arp f {{
      set quiet {{ type ipv4_addr; flags interval; elements = {{ 192.0.2.8/30, 198.51.100.1 }} }}
      chain out {{
        type filter hook output priority 0; policy {policy};
        {rule}
        arp saddr ip 192.0.2.1 accept
      }}
    }}"""
    run("nft", "-f", "-", stdin=rules)
    result = announce(dev=["db0"], ip=networks("192.0.2.0/24"))
    assert [row["ip"] for row in result["announced"]] == ["192.0.2.1"]
    assert result["kept"] == {"ARP filter of this host": 1}


def filtering(family, *rules, policy="accept", hook="output", more=""):
    """Load one chain of nftables."""
    lines = "\n".join(rules)
    chain = f"chain c {{ type filter hook {hook} priority 0; policy {policy};\n{lines}\n}}"
    try:
        run("nft", "-f", "-", stdin=f"table {family} f {{\n{more}\n{chain}\n}}")
    except Failed as refused:
        pytest.skip(f"this nft, or kernel, has no such rule: {refused}")


def kept_by_a_filter(arp, address, why):
    """Tell which of two own addresses are kept for this reason: the first, and another one."""
    network = "2001:db8::/64" if ":" in address else "192.0.2.0/24"
    told = arp.announce(network, dev="db0", test=True)
    announced = {row["ip"] for row in told["would_announce"]}
    own = {address, V6 if ":" in address else "192.0.2.1"}
    assert told["kept"] == ({why: len(own - announced)} if own - announced else {})
    return own - announced


DROP = {"policy": "drop"}
OPEN, ALL = set(), {"192.0.2.1", "192.0.2.9"}
QUIET, OWN_RULE = {"192.0.2.9"}, "arp saddr ip 192.0.2.1 accept"


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@pytest.mark.parametrize(
    ("rules", "words", "kept"),
    [
        ([OWN_RULE], DROP, QUIET),
        ([OWN_RULE, "drop"], {}, QUIET),
        ([OWN_RULE, "counter drop", "accept"], DROP, QUIET),
        (["arp saddr ip { 192.0.2.1, 192.0.2.7 } accept"], DROP, QUIET),
        (["arp saddr ip != 192.0.2.9 accept"], DROP, QUIET),
        (["arp saddr ip 192.0.2.0/29 accept"], DROP, QUIET),
        ([f"arp saddr ether {HOST} {OWN_RULE}"], DROP, QUIET),
        (["arp operation request accept", OWN_RULE], DROP, QUIET),
        (["jump own", "drop"], {"more": f"chain own {{ {OWN_RULE}\n}}"}, QUIET),
        (["arp saddr ip vmap { 192.0.2.1 : accept, 192.0.2.9 : drop }"], {}, QUIET),
        (["arp daddr ip 192.0.2.1 accept"], {"policy": "drop", "hook": "input"}, QUIET),
        ([f"arp saddr ether {HOST} arp saddr ip 192.0.2.9 drop"], {}, QUIET),
        ([OWN_RULE, "arp saddr ip 192.0.2.0/24 drop"], {}, QUIET),
        (["arp saddr ip 192.0.2.9 arp saddr ip set 192.0.2.1"], {}, QUIET),
        (["arp saddr ip 192.0.2.9 goto quiet"], {"more": "chain quiet { drop\n}"}, QUIET),
        ([OWN_RULE, 'oifname "eth9" accept'], DROP, QUIET),
        (["arp operation request accept"], DROP, ALL),
        ([OWN_RULE, "arp operation reply accept"], DROP, OPEN),
        ([OWN_RULE, 'oifname "db0" accept'], DROP, OPEN),
        ([OWN_RULE, "accept", "drop"], DROP, OPEN),
        (["arp daddr ip 192.0.2.254 accept"], DROP, OPEN),
        (["arp saddr ip 192.0.2.254 accept"], {"policy": "drop", "hook": "input"}, OPEN),
        (["arp saddr ip 192.0.2.9 counter"], {}, OPEN),
        (['oifname != "db0" arp saddr ip 192.0.2.0/24 drop'], {}, OPEN),
        (["jump back", "accept"], {"policy": "drop", "more": "chain back { return\n}"}, OPEN),
        (["jump own", "drop"], {"more": "chain own { accept\n}"}, OPEN),
    ],
    ids=str,
)
def test_address_that_no_rule_lets_out_is_kept(arp, scene, rules, words, kept):
    do("address add 192.0.2.9/24 dev db0")
    filtering("arp", *rules, **words)
    assert kept_by_a_filter(arp, "192.0.2.9", "ARP filter of this host") == kept


V6_VIP = "2001:db8::9"
V6_QUIET, NA = {V6_VIP}, "icmpv6 type nd-neighbor-advert"
TARGET = "@th,64,128 0x20010db8000000000000000000000009"


@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
@pytest.mark.parametrize("family", ["ip6", "inet"])
@pytest.mark.parametrize(
    ("rules", "words", "kept"),
    [
        ([f"{NA} {TARGET} drop"], {}, V6_QUIET),
        ([f"{NA} ip6 saddr {V6_VIP} drop"], {}, V6_QUIET),
        ([f"ip6 saddr {V6_VIP} counter drop"], {}, V6_QUIET),
        ([f"ip6 saddr {{ {V6_VIP}, 2001:db8::8 }} {NA} drop"], {}, V6_QUIET),
        ([f"ip6 saddr @quiet {NA} drop"], {}, V6_QUIET),
        (
            [f"icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} {TARGET} drop"],
            {},
            V6_QUIET,
        ),
        ([f"icmpv6 type nd-neighbor-solicit {TARGET} drop"], {"hook": "input"}, V6_QUIET),
        ([f"ip6 saddr {V6} {NA} accept"], DROP, V6_QUIET),
        ([f"ip6 saddr {V6_VIP} counter reject"], {}, V6_QUIET),
        ([f"ip6 saddr vmap {{ {V6} : accept, {V6_VIP} : drop }}"], {}, V6_QUIET),
        (['oifname != "db0" ip6 saddr 2001:db8::/64 drop'], {}, OPEN),
        ([f"ip6 saddr {V6_VIP} tcp dport 25 drop"], {}, OPEN),
        ([f"ip6 saddr {V6_VIP} icmpv6 type echo-reply drop"], {}, OPEN),
        ([f"ip6 saddr {V6_VIP} drop"], {"hook": "input"}, OPEN),
        ([f"{NA} accept", f"ip6 saddr {V6_VIP} drop"], DROP, OPEN),
        (["ct state established,related accept"], DROP, {V6, V6_VIP}),
        (["ct state vmap { established : accept, invalid : drop }", "accept"], DROP, OPEN),
        (["ct state established accept", "ct state untracked accept"], DROP, OPEN),
        (["ip6 dscp ef accept"], DROP, OPEN),  # it may be of that class
    ],
    ids=str,
)
def test_ipv6_address_whose_advertisements_a_filter_drops_is_kept(
    arp, scene, family, rules, words, kept
):
    do(f"address add {V6_VIP}/64 dev db0 nodad")
    elements = "2001:db8::8/125, 2001:db8:1::/64"
    quiet = f"set quiet {{ type ipv6_addr; flags interval; elements = {{ {elements} }} }}"
    filtering(family, *rules, more=quiet, **words)
    assert kept_by_a_filter(arp, V6_VIP, "ND filter of this host") == kept
    assert arp.announce(V6_VIP, dev="db0", test=True)["kept"] == {}  # named


@pytest.mark.skipif(bool(missing("arptables-legacy")), reason=missing("arptables-legacy"))
def test_rules_of_arptables_legacy_are_told_as_not_read(scene, wire):
    run("arptables-legacy", "-A", "OUTPUT", "-s", "192.0.2.9", "-j", "DROP")
    result = announce(dev=["db0"], test=True)
    assert result["warnings"] == [resolve_announce.UNREAD]
    assert "warnings" not in announce(dev=["db0"], ip=networks("2001:db8::/64"), test=True)


def test_port_of_a_bridge_is_silent_unless_named(scene, wire):
    do("link add br0 type bridge")
    do("link set db0 master br0")
    result = announce(ip=networks("192.0.2.1"))
    assert result == {"announced": [], "kept": {"port of a bridge": 1}}
    assert said(wire) == []
    assert announce(ip=networks("192.0.2.1"), dev=["db0"])["kept"] == {}


def test_virtual_mac_of_vrrp_is_silent_unless_named(scene, wire):
    do("link set db0 address 00:00:5e:00:01:33")
    result = announce(ip=networks("192.0.2.1"))
    assert result == {"announced": [], "kept": {"virtual MAC of VRRP": 1}}
    assert announce(dev=["db0"], ip=networks("192.0.2.1"))["kept"] == {}


@pytest.mark.parametrize("dev", [None, ["lo"], ["db0"]], ids=str)
@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_named_address_of_lo_is_announced_on_its_link(scene, wire, address, dev):
    do("link set lo up")
    do(f"address add {address} dev lo" + " nodad" * (":" in address))
    assert f"{address}" not in str(announce(test=True))
    assert announce(ip=networks(address), dev=dev)["kept"] == {}
    expected = of(address) * 3
    assert said(wire, len(expected)) == expected


def test_named_address_of_lo_without_a_link_says_so(scene, wire):
    do("link set lo up")
    do("address add 198.51.100.9/32 dev lo")
    result = announce(ip=networks("198.51.100.9"))
    assert result == {"announced": [], "kept": {"no link carries it: name dev": 1}}
    assert announce(ip=networks("198.51.100.9"), dev=["db0"])["kept"] == {}
    expected = of("198.51.100.9") * 3
    assert said(wire, len(expected)) == expected


@pytest.mark.parametrize(
    "change", ["link set db0 address 02:00:00:00:00:0c", "address flush dev db0"]
)
def test_no_packet_after_a_change_says_what_was_true_before(scene, wire, monkeypatch, change):
    """Of several addresses: the change is announced to us once."""
    do("address add 192.0.2.2/24 dev db0")
    do("address add 192.0.2.3/24 dev db0")
    sent, send = [], packet_socket.ProbeSocket.send

    def send_and_change(port, *words):
        send(port, *words)
        sent.append(words)
        if len(sent) == 1:
            do(change)

    monkeypatch.setattr(packet_socket.ProbeSocket, "send", send_and_change)
    result = announce(ip=networks("192.0.2.0/24"))
    _first, *later = said(wire, 18 if "link" in change else 1)
    assert {packet[2] for packet in later} == ({OTHER} if "link" in change else set())
    if "link" not in change:
        errors = [row["error"] for row in result["failed"]]
        assert errors == ["no longer an address of this device"] * 3


def test_tentative_address_is_not_announced(scene, wire):
    scene.sysctl("ipv6.conf.db0.dad_transmits", 1000)
    do("address add 2001:db8::7/64 dev db0")
    with pytest.raises(ValueError, match="2001:db8::7 is no address"):
        announce(ip=networks("2001:db8::7"))


def test_router_sets_the_router_flag(scene, wire):
    """Without the flag, receivers would drop their default route."""
    scene.sysctl("ipv6.conf.db0.forwarding", 1)
    announce(ip=networks("2001:db8::1"))
    expected = of("2001:db8::1", router=1) * 3
    assert said(wire, len(expected)) == expected


def test_removed_address_is_not_announced_again(scene, wire):
    announce(ip=networks("192.0.2.1"), sleep=lambda _s: do("address flush dev db0"))
    expected = of("192.0.2.1")
    assert said(wire, len(expected)) == expected


def test_removed_device_ends_the_announcement(scene, wire):
    gone = iter([lambda: do("link del db0"), lambda: None])
    result = announce(dev=["db0"], ip=networks("192.0.2.1"), sleep=lambda _s: next(gone)())
    assert result["announced"] == OWN[:1]


def test_lost_carrier_is_reported_as_failed(scene, wire):
    result = announce(ip=networks("192.0.2.1"), sleep=lambda _s: do("-n worker link set w0 down"))
    failed = [{"ip": "192.0.2.1", "dev": "db0", "error": "no carrier"}]
    assert result == {"announced": [], "kept": {}, "failed": failed}


def test_missing_cap_net_raw_is_named(scene, repo):
    program = (
        "from arp_engine.resolve import announce as a\n"
        "try: a.announce()\nexcept OSError as e: print(e.strerror)"
    )
    words = ["setpriv", "--bounding-set=-net_raw", sys.executable, "-c", program]
    done = subprocess.run(
        words, cwd=repo / "_utils", capture_output=True, text=True, check=False, timeout=60
    )
    line = "cannot announce 192.0.2.1 on db0: no CAP_NET_RAW; run the minion as root\n"
    assert (done.stdout, done.stderr) == (line, "")
