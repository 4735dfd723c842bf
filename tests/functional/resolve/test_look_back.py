"""Nobody who is right loses an entry: the former holder is asked again, and has it back."""

import ipaddress

import pytest
from arp_engine.packets.probe_schedule import LOOK_BACK_FOR_S
from arp_engine.resolve import look_back, revalidate_run
from arp_engine.resolve.proxied import FEW
from asking import mac_of, waiting_long, whole_look_back, write_once_moved  # noqa: F401
from conftest import BORN, DEAD, ip
from pace import pace  # noqa: F401
from scapy.layers.inet6 import IPv6
from wire import answer

PROXY, OTHER = "02:00:00:00:00:99", "02:00:00:00:00:0c"
PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])


pytestmark = pytest.mark.usefixtures("whole_look_back", "pace")


def two_hosts(pace, holder_wakes_s, claimant=BORN, addresses=None):
    """Return answers of a holder that is paused at first, and of one that answers everybody."""
    wakes = pace.monotonic() + holder_wakes_s

    def respond(asked, to_all, _number):
        said = []
        if (addresses is None or asked in addresses) and pace.monotonic() >= wakes:
            said.append(answer(asked, DEAD))
        # by unicast only the host at that MAC is asked, and the claimant is not
        return [*said, answer(asked, claimant)] if to_all else said

    return respond


@PAIR
def test_paused_holder_has_its_entry_back(arp, scene, wire, pace, address):
    scene.add(address, "reachable", DEAD)
    with wire.answering(two_hosts(pace, 2.0)):
        result = arp.revalidate(address)
    assert result["healed"] == []
    [row] = result["duplicates"]
    assert row["macs"] == [DEAD, BORN]
    assert mac_of(scene, address) == DEAD


@PAIR
def test_twin_slower_than_the_holder_does_not_keep_the_entry(arp, scene, wire, pace, address):
    """The holder answers too late for the unicast question, the twin when all seems over."""
    scene.add(address, "reachable", DEAD)
    late = pace.later(0.15, wire.say, answer(address, BORN))

    def respond(asked, to_all, _number):
        if to_all and not late.is_started:
            late.start()
        is_heard = asked == address and (to_all or (late.is_started and wire.asked_mac == DEAD))
        return [answer(asked, DEAD)] if is_heard else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["confirmed"], result["healed"]) == (0, [])
    assert [row["macs"] for row in result["duplicates"]] == [[DEAD, BORN]]
    assert mac_of(scene, address) == DEAD


@PAIR
def test_second_host_that_answers_once_more_does_not_keep_the_entry(
    arp, scene, wire, pace, address
):
    """As a router with proxy ARP does, which delays each of its answers by up to 0.8 s."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    late = pace.later(0.15, wire.say, answer(address, BORN))

    def respond(asked, to_all, _number):
        if to_all and not late.is_started:
            late.start()
            return [answer(asked, BORN), answer(asked, DEAD)]
        is_heard = asked == address and late.is_started and wire.asked_mac == DEAD
        return [answer(asked, DEAD)] if is_heard else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["confirmed"], result["healed"]) == (0, [])
    assert [sorted(row["macs"]) for row in result["duplicates"]] == [[DEAD, BORN]]
    assert mac_of(scene, address) == DEAD


@PAIR
def test_newcomer_that_loses_its_entry_to_a_slower_one_is_asked_again(
    arp, scene, wire, pace, address
):
    """The former holder is dead; of two newcomers the second one's answer comes late."""
    scene.add(address, "reachable", DEAD)
    late = pace.later(0.15, wire.say, answer(address, OTHER))

    def respond(asked, to_all, _number):
        if to_all and not late.is_started:
            late.start()
        is_heard = asked == address and (to_all or wire.asked_mac == BORN)
        return [answer(asked, BORN)] if is_heard else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["healed"], result["warnings"]) == ([], [])
    assert [row["macs"] for row in result["duplicates"]] == [[BORN, OTHER]]
    assert mac_of(scene, address) == BORN


@PAIR
def test_holder_that_stays_silent_is_healed(arp, scene, wire, pace, address):
    scene.add(address, "reachable", DEAD)
    began = pace.monotonic()
    with wire.answering(two_hosts(pace, 60.0)):
        result = arp.revalidate(address)
    assert pace.monotonic() - began >= LOOK_BACK_FOR_S
    [row] = result["healed"]
    assert row["at"] <= pace.time() - LOOK_BACK_FOR_S, "when the table changed, not now"
    assert [(row["old"], row["new"]) for row in result["healed"]] == [(DEAD, BORN)]
    assert mac_of(scene, address) == BORN


@PAIR
def test_entry_that_somebody_writes_back_is_no_heal(arp, hygiene, scene, wire, pace, address):
    """What the table holds at the end is told, and who answered; nothing is on record."""
    scene.add(address, "reachable", DEAD)
    writer = write_once_moved(scene, address, DEAD, pace)
    with wire.answering(two_hosts(pace, 60.0)):
        result = arp.revalidate(address)
    writer.join()
    assert mac_of(scene, address) == DEAD
    assert (result["healed"], result["undecided"], hygiene.healed()) == ([], 1, [])
    row = {"ip": address, "dev": "db0", "mac": DEAD, "macs": [BORN], "written_back": True}
    assert result["still_wrong"] == [row]
    [line] = result["warnings"]
    assert line.startswith(f"still wrong: {address} on db0: the kernel took the MAC that answered")


@pytest.fixture
def ageless(monkeypatch):
    """The age of each entry is 0: the kernel counts it by the real clock, and pace is slower."""
    monkeypatch.setattr(revalidate_run, "TICKS", float("inf"))


@PAIR
@pytest.mark.parametrize(
    ("mac", "told"),
    [
        (
            DEAD,
            f"1 disagreement: {{}} on db0: {BORN} answers, "
            f"but somebody else has written {DEAD} again",
        ),
        (
            OTHER,
            f"1 undecided: {{}} on db0: {BORN} answered, "
            f"and then somebody else has written {OTHER}",
        ),
    ],
    ids=["the former MAC", "a third MAC"],
)
def test_scheduled_run_names_an_entry_that_somebody_else_writes(
    arp, hygiene, scene, wire, pace, ageless, address, mac, told
):
    scene.add(address, "reachable", DEAD)
    writer = write_once_moved(scene, address, mac, pace)
    with wire.answering(two_hosts(pace, 60.0)):
        done = hygiene.run(ip=address)
    writer.join()
    assert done["said"] == told.format(address)
    assert (hygiene.healed(), hygiene.status()[0]["healed_7d"]) == ([], 0)


@PAIR
def test_entry_that_somebody_gives_a_third_mac_is_undecided(
    arp, scene, wire, pace, ageless, address
):
    """Nobody has asked the host with that MAC; the one that answered has lost its entry."""
    scene.add(address, "reachable", DEAD)
    writer = write_once_moved(scene, address, OTHER, pace)

    def respond(_asked, to_all, _number):
        return [answer(address, BORN)] if to_all else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    writer.join()
    told = (result["healed"], result["duplicates"], result["undecided"])
    assert told == ([], [], 1)
    row = {"ip": address, "dev": "db0", "mac": DEAD, "macs": [BORN], "holds": OTHER}
    assert (result["unverified"], result["totals"]["unverified"]) == ([row], 1)
    assert f"{address} on db0 ({OTHER})" in result["warnings"][0]


def test_several_entries_are_patient_with_a_slow_holder(arp, scene, wire, pace):
    """Nobody waits for a run over the table: 0.15 s of silence change nothing."""
    addresses = ["192.0.2.10", "192.0.2.11"]
    for address in addresses:
        scene.add(address, "reachable", DEAD)
    with wire.answering(two_hosts(pace, 0.15, addresses=addresses)):
        result = arp.revalidate()
    assert (result["confirmed"], result["healed"], result["duplicates"]) == (2, [], [])


def test_host_that_answers_for_everybody_is_told_as_a_proxy(arp, scene, wire, pace):
    scene.add("192.0.2.10", "reachable", DEAD)
    holder = two_hosts(pace, 1.0, PROXY, ["192.0.2.10"])

    def respond(asked, to_all, number):
        is_unused = asked != "192.0.2.10"
        return [answer(asked, PROXY)] if is_unused else holder(asked, to_all, number)

    with wire.answering(respond):
        result = arp.revalidate("192.0.2.10")
    [row] = result["duplicates"]
    assert (row["macs"], row["proxy"]) == ([DEAD, PROXY], PROXY)
    assert any(line.startswith(f"proxy: {PROXY} on db0") for line in result["warnings"])
    assert mac_of(scene, "192.0.2.10") == DEAD


@pytest.mark.parametrize("is_local_refused", [True, False], ids=["refuses fe80", "takes fe80 only"])
def test_ipv6_holder_that_hears_one_of_our_two_names_has_its_entry_back(
    arp, scene, wire, monkeypatch, is_local_refused
):
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 3.0)
    address = "2001:db8::10"
    if is_local_refused:  # no address of ours covers the target: the first name is fe80::
        ip("-6", "address", "del", "2001:db8::1/64", "dev", "db0")
        ip("-6", "address", "add", "2001:db8::1/128", "dev", "db0", "nodad")
        ip("-6", "route", "add", "2001:db8::/64", "dev", "db0")
    scene.add(address, "reachable", DEAD)

    def respond(asked, to_all, _number):
        is_heard = wire.frame[IPv6].src.startswith("fe80") != is_local_refused
        macs = [DEAD] * is_heard + [BORN] * to_all
        return [answer(asked, mac) for mac in macs if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["healed"], len(result["duplicates"])) == ([], 1)
    assert mac_of(scene, address) == DEAD


@PAIR
def test_proxy_that_answers_alone_is_no_heal(arp, scene, wire, monkeypatch, address):
    """The worker is gone: the proxy has the entry, and nobody knows whether it has the address."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    scene.add(address, "reachable", DEAD)

    def respond(asked, to_all, _number):
        return [answer(asked, PROXY)] if to_all or wire.asked_mac == PROXY else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["confirmed"], result["healed"]) == (0, [])
    assert [(row["macs"], row["proxy"]) for row in result["duplicates"]] == [([PROXY], PROXY)]
    [line] = result["warnings"]
    assert line.startswith(f"proxy: {PROXY} on db0")


@pytest.mark.parametrize("asks_many", [False, True], ids=["one is asked about", "many are"])
def test_proxy_is_not_asked_for_a_neighbour_that_the_run_left_out(
    arp, scene, wire, late_first_answers, monkeypatch, asks_many
):
    """Its answer would take that host's entry, a protected one as well, and nobody looks back.

    Of the network all addresses but two are somebody's; many: more than FEW.
    """
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    ip("address", "add", "203.0.113.1/27", "dev", "db0")
    held = {f"203.0.113.{n}": f"02:00:00:00:01:{n:02x}" for n in range(2, 29)}
    if asks_many:
        held["203.0.113.2"] = held["203.0.113.3"] = PROXY
    for number, (address, mac) in enumerate(held.items()):
        protected = ["extern_learn"] * (number > FEW + 1)
        scene.add(address, "reachable", mac, "db0", *protected)
    before, asked_for = {row.rpartition(" ")[0] for row in scene.table()}, set()

    def respond(asked, to_all, _number):
        asked_for.add(asked)
        is_dead = asked == "203.0.113.2" and not asks_many
        hosts = {PROXY if is_dead else held.get(asked, PROXY), PROXY}
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(None if asks_many else "203.0.113.2")
    assert asked_for - {*held} == {"203.0.113.29", "203.0.113.30"}
    assert result["healed"] == []
    after = {row.rpartition(" ")[0] for row in scene.table()}
    assert {row for row in before - after if "203.0.113.2 " not in row} == set()


NUMBERED_BY_ROUTE = {
    "address on lo": ("192.0.2.10", ["address add 192.0.2.1/32 dev lo"], "192.0.2.0/24"),
    "a /32": ("192.0.2.10", ["address add 192.0.2.1/32 dev db0"], "192.0.2.0/24"),
    "a /128": ("2001:db8::10", ["address add 2001:db8::1/128 dev db0 nodad"], "2001:db8::/64"),
    "a wide route": ("192.0.2.10", ["address add 192.0.2.1/32 dev db0"], "128.0.0.0/1"),
    "a wide IPv6 route": ("2001:db8::10", ["address add 2001:db8::1/128 dev lo"], "2000::/3"),
}


def number_by_route(scene, case):
    """Give the host an address without a network, and the network by a route; return a target."""
    target, words, network = NUMBERED_BY_ROUTE[case]
    version = "-6" if ":" in target else "-4"
    ip("link", "set", "lo", "up")
    ip(version, "address", "flush", "dev", "db0", "scope", "global")
    for each in words:
        ip(version, *each.split())
    ip(version, "route", "replace", network, "dev", "db0")
    return target


@pytest.mark.parametrize("case", NUMBERED_BY_ROUTE)
def test_proxy_is_found_where_only_a_route_says_what_the_network_is(
    arp, scene, wire, monkeypatch, case
):
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    address = number_by_route(scene, case)
    scene.add(address, "reachable", DEAD)
    asked_for = set()

    def respond(asked, to_all, _number):
        asked_for.add(asked)
        return [answer(asked, PROXY)] if to_all or wire.asked_mac == PROXY else []

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["confirmed"], result["healed"]) == (0, [])
    assert [(row["macs"], row["proxy"]) for row in result["duplicates"]] == [([PROXY], PROXY)]
    near = ipaddress.ip_network(f"{address}/{64 if ':' in address else 16}", strict=False)
    assert len(asked_for) == 3
    assert all(ipaddress.ip_address(each) in near for each in asked_for)


@pytest.mark.parametrize("words", ["default dev db0", "192.0.2.10 dev db0"], ids=str)
def test_route_that_names_no_network_is_none(arp, scene, wire, monkeypatch, words):
    """Nobody knows whose the other addresses are: what answers is taken for a host, as before."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/32", "dev", "db0")
    ip("route", "add", *words.split())
    scene.add("192.0.2.10", "reachable", DEAD)
    asked_for = set()

    def respond(asked, to_all, _number):
        asked_for.add(asked)
        return [answer(asked, BORN)] if to_all or wire.asked_mac == BORN else []

    with wire.answering(respond):
        result = arp.revalidate("192.0.2.10")
    assert (len(result["healed"]), asked_for) == (1, {"192.0.2.10"})


@pytest.mark.parametrize("is_known", [True, False], ids=["its own address is known", "it is not"])
def test_living_host_gets_the_entry_that_a_proxy_had(arp, scene, wire, is_known):
    """The word of a proxy alone confirms nothing: everybody is asked."""
    if is_known:
        scene.add("192.0.2.1", "permanent", PROXY)
    scene.add("192.0.2.10", "reachable", PROXY)

    def respond(asked, to_all, _number):
        hosts = {BORN, PROXY} if asked == "192.0.2.10" else {PROXY}
        return [answer(asked, mac) for mac in sorted(hosts) if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate("192.0.2.10")
    assert (result["confirmed"], result["duplicates"]) == (0, [])
    assert [(row["old"], row["new"]) for row in result["healed"]] == [(PROXY, BORN)]
    assert mac_of(scene, "192.0.2.10") == BORN


@PAIR
def test_successor_gets_the_entry_that_a_proxy_took_from_a_dead_host(
    arp, scene, wire, monkeypatch, address
):
    """Both answer the broadcast, the proxy last: the kernel takes that answer."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.5)
    scene.add(address, "reachable", DEAD)

    def respond(asked, to_all, _number):
        hosts = [BORN, PROXY] if asked == address else [PROXY]
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert (result["confirmed"], result["duplicates"]) == (0, [])
    assert [(row["old"], row["new"]) for row in result["healed"]] == [(DEAD, BORN)]
    assert mac_of(scene, address) == BORN


@PAIR
def test_proxy_that_answers_after_the_successor_keeps_no_entry(arp, scene, wire, pace, address):
    """The proxy's MAC was cached; as a proxy of Linux it answers our broadcast late."""
    scene.add(address, "reachable", PROXY)
    late = pace.later(0.3, wire.say, answer(address, PROXY))

    def respond(asked, to_all, _number):
        if asked != address or (not to_all and wire.asked_mac == PROXY):
            return [answer(asked, PROXY)]
        if to_all and not late.is_started:
            late.start()
        return [answer(asked, BORN)]

    with wire.answering(respond):
        result = arp.revalidate(address)
    assert late.is_over
    assert (result["confirmed"], result["duplicates"], result["undecided"]) == (0, [], 0)
    assert [(row["old"], row["new"]) for row in result["healed"]] == [(PROXY, BORN)]
    assert mac_of(scene, address) == BORN


@pytest.mark.parametrize("gateway", ["192.0.2.254", "2001:db8::254"], ids=["v4", "v6"])
@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "whole table"])
def test_router_with_proxy_arp_keeps_its_own_address_beside_a_twin(
    arp, scene, wire, gateway, is_alone
):
    """The twin answers for the router's address alone, and last; it is no better holder."""
    proxied = "2001:db8::11" if ":" in gateway else "192.0.2.11"
    ip("-6" if ":" in gateway else "-4", "route", "add", "default", "via", gateway)
    scene.sysctl("ipv4.neigh.db0.locktime", 100)
    for address in (gateway, proxied):
        scene.add(address, "reachable", PROXY)

    def respond(asked, to_all, _number):
        hosts = [PROXY, BORN] if asked == gateway else [PROXY]
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(gateway if is_alone else None)
    assert result["healed"] == []
    [row] = result["duplicates"]
    assert (row["ip"], sorted(row["macs"]), row["proxy"]) == (gateway, [BORN, PROXY], PROXY)
    assert mac_of(scene, gateway) == PROXY


def table_of(scene, version, macs):
    """Write more entries than a small table has; return address to MAC."""
    held = {}
    for number in range(2 * FEW):
        address = f"192.0.2.{number + 20}" if version == 4 else f"2001:db8::{number + 20:x}"
        held[address] = macs(number)
        scene.add(address, "reachable", held[address])
    return held


@pytest.fixture
def late_first_answers(monkeypatch):
    """A run waits for unicast answers as long as a busy machine takes: here all come."""
    monkeypatch.setattr(revalidate_run, "PATIENT", waiting_long(revalidate_run.PATIENT))


@pytest.mark.parametrize("version", [4, 6], ids=["v4", "v6"])
@pytest.mark.usefixtures("late_first_answers")
def test_large_run_asks_further_where_a_proxy_confirms(arp, scene, wire, version):
    """Three entries are a proxy's; the host of one of them lives."""
    proxied = 3
    held = table_of(scene, version, lambda n: PROXY if n < proxied else f"02:00:00:00:01:{n:02x}")
    living, *_rest = held

    def respond(asked, to_all, _number):
        hosts = {PROXY, held.get(asked, PROXY), *([BORN] if asked == living else [])}
        return [answer(asked, mac) for mac in sorted(hosts) if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(rows=True)
    assert [(row["ip"], row["new"]) for row in result["healed"]] == [(living, BORN)]
    assert result["confirmed"] == len(held) - 1  # the proxy's late answer may move it once more
    asked_all = [row["ip"] for row in result["entries"] if row["broadcast_asked"]]
    assert sorted(asked_all) == list(held)[:proxied]


ROUTERS = {
    "selected": ("192.0.2.250", "reachable", {}),
    "excluded": ("192.0.2.250", "reachable", {"exclude": "192.0.2.250"}),
    "owned": ("192.0.2.250", "permanent", {}),
    "link-local": ("fe80::99", "reachable", {}),
    "of the other family": ("fe80::99", "reachable", {"ip": "192.0.2.0/24"}),
}


@pytest.mark.parametrize("case", ROUTERS)
@pytest.mark.usefixtures("late_first_answers")
def test_large_run_takes_one_entry_from_the_router_that_answers_for_all(arp, scene, wire, case):
    """A dead worker's; its successor lives. The router's own entry may not be asked about."""
    router, nud, words = ROUTERS[case]
    version = 6 if case == "link-local" else 4
    held = table_of(scene, version, lambda n: f"02:00:00:00:01:{n:02x}" if n else PROXY)
    living, *_rest = held
    scene.add(router, nud, PROXY)
    to = "0.0.0.0/0" if version == 4 else "::/0"
    family = "inet6" if ":" in router else "inet"
    ip("route", "add", to, "via", family, router, "dev", "db0")
    held[router] = PROXY

    def respond(asked, to_all, _number):
        is_global = not asked.startswith("fe80:")  # for these every host answers itself
        hosts = {*[PROXY] * is_global, held.get(asked, PROXY), *[BORN] * (asked == living)}
        return [answer(asked, mac) for mac in sorted(hosts) if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate(**words)
    assert [(row["ip"], row["new"]) for row in result["healed"]] == [(living, BORN)]
    assert mac_of(scene, living) == BORN
    assert result["duplicates"] == []


@pytest.mark.usefixtures("late_first_answers")
def test_large_run_takes_one_entry_from_a_proxy_whose_others_are_owned(arp, scene, wire):
    """It is no router of this host: the whole table of the link shows that it has several."""
    held = table_of(scene, 4, lambda n: f"02:00:00:00:01:{n:02x}" if n else PROXY)
    living, *_rest = held
    scene.add("192.0.2.250", "permanent", PROXY)

    def respond(asked, to_all, _number):
        hosts = {PROXY, held.get(asked, PROXY), *[BORN] * (asked == living)}
        return [answer(asked, mac) for mac in sorted(hosts) if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        result = arp.revalidate()
    assert [(row["ip"], row["new"]) for row in result["healed"]] == [(living, BORN)]


EACH = "02:00:00:00:01:{:02x}"
FRUGAL = {  # MACs by number, whose else entries there are, frames beside one for each address
    "a MAC each": (EACH.format, {}, 0),
    "one MAC for all": (lambda _number: BORN, {}, 0),
    "one MAC for all but what is owned": (lambda _number: BORN, {"192.0.2.250": OTHER}, 0),
    "one host has two": (lambda number: BORN if number < 2 else EACH.format(number), {}, 2),
    "one host has two, one of them owned": (EACH.format, {"192.0.2.250": EACH.format(3)}, 2),
}


def frames_of_a_run(arp, wire, held):
    """Run over a whole table whose holders answer for their own addresses; return what is asked."""
    asked = []

    def respond(address, _to_all, _number):
        asked.append(address)
        return [answer(address, held[address])] if address in held else []

    with wire.answering(respond):
        result = arp.revalidate()
    assert result["confirmed"] == len(held)
    assert sorted(address for address in asked if address in held) == sorted(held)
    return asked


@pytest.mark.parametrize("case", FRUGAL)
@pytest.mark.usefixtures("late_first_answers")
def test_a_table_without_a_proxy_costs_a_frame_each(arp, scene, wire, case):
    """Only a host that has several addresses is asked for one more, which nobody has; twice."""
    macs, owned, extra = FRUGAL[case]
    held = table_of(scene, 4, macs)
    for address, mac in owned.items():
        scene.add(address, "permanent", mac)
    assert len(frames_of_a_run(arp, wire, held)) == len(held) + extra


@pytest.mark.parametrize("version", [4, 6], ids=["v4", "v6"])
@pytest.mark.usefixtures("late_first_answers")
def test_routers_and_link_local_addresses_cost_no_frame_more(arp, scene, wire, version):
    """A router that has its own address alone takes nobody's; nor is a host of IPv6 a proxy."""
    held = table_of(scene, version, EACH.format)
    router = "192.0.2.250" if version == 4 else "fe80::99"
    held[router] = PROXY
    if version == 6:
        held |= {"fe80::3": EACH.format(3)}
    for address in [*held][2 * FEW :]:
        scene.add(address, "reachable", held[address])
    ip(f"-{version}", "route", "add", "default", "via", router, "dev", "db0")
    assert len(frames_of_a_run(arp, wire, held)) == len(held)


@PAIR
def test_entry_that_the_kernel_healed_is_told_though_our_copy_of_the_answer_was_lost(
    arp, scene, monkeypatch, address
):
    """In a flood of forged answers our receive buffer is full; the kernel takes the answer."""
    from arp_engine.packets import frames

    scene.worker(address)
    scene.add(address, "stale", DEAD)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    monkeypatch.setattr(frames, "parse", lambda *_words: None)
    result = arp.revalidate(address)
    assert [(row["old"], row["new"]) for row in result["healed"]] == [(DEAD, BORN)]
    assert result["undecided"] == 0


@pytest.mark.parametrize("version", [4, 6], ids=["v4", "v6"])
def test_entry_is_asked_about_as_it_is_by_then(arp, scene, wire, version):
    """Its holder has it again: to ask the other host would give that one the entry back."""
    addresses = list(table_of(scene, version, lambda _number: DEAD))
    asked = {}

    def respond(address, to_all, _number):
        if not asked:  # those that are not asked about yet change
            for other in addresses:
                scene.add(other, "reachable", BORN)
        asked.setdefault(address, []).append(wire.asked_mac)
        return [] if to_all else [answer(address, wire.asked_mac)]

    with wire.answering(respond):
        arp.revalidate(rate=50)
    late = [macs for macs in asked.values() if macs[0] == BORN]
    assert len(late) > len(addresses) / 2
    assert not any(DEAD in macs for macs in late)
