"""A former holder that was silent for milliseconds has its entry back when it answers again."""

import contextlib
import signal
import socket
import threading
import time

import pytest
import stalls
from conftest import BORN, DEAD, ip
from sentry import PAIR, PORT, database, guard, healed_line, syn  # noqa: F401
from wire import Wire, answer

OTHER = "02:00:00:00:00:0c"
# These hosts answer by a thread of this process, and may be slow on a busy machine. (How slow one
# may be where nothing is patched: unit/sentinel/test_slow_hosts.py.) A former holder that is to
# answer again is asked for long,
WHOLE = "look_back.LOOK_BACK_FOR_S = 60.0"
# one that is asked once is waited for, and so is a host that may be a proxy.
SLOW_PROXY = """
from arp_engine.resolve import proxy
proxy.SCHEDULE = proxy.SCHEDULE._replace(unicast_waits_s=(0.5, 0.5, 1.0))
look_back.ALONE = look_back.ALONE._replace(unicast_waits_s=(2.0,))
look_back.ALONE_OTHER_NAME = look_back.ALONE_OTHER_NAME._replace(unicast_waits_s=(2.0,))
"""
# A holder that answers at once is waited for before everybody is asked.
SLOW_HOLDER = """
from arp_engine.resolve import patience
patience.Patience.wait_s = lambda _self, _ifindex: 2.0
"""


@pytest.fixture
def wire(scene):
    wire = Wire()
    yield wire
    wire.close()


def paused(ours, is_proxy=False):
    """Return who answers: the holder, to the second question on; another host, at once."""

    def respond(address, to_all, number):
        if address != ours:
            return [answer(address, OTHER)] * is_proxy
        return [answer(address, OTHER)] if to_all else [answer(address, BORN)] * (number > 0)

    return respond


def holds(scene, address, mac):
    return any(row.startswith(f"{address} db0 {mac} ") for row in scene.table())


@PAIR
@pytest.mark.parametrize("state", ["reachable", "stale"])
@pytest.mark.parametrize("is_proxy", [False, True], ids=["twin", "proxy"])
def test_a_paused_holder_has_its_entry_back_and_no_heal_is_told(
    scene, wire, guard, database, address, state, is_proxy
):
    """STALE: our SYN/ACK locks the entry, and the sentinel deletes it."""
    scene.add(address, state, BORN)
    begun = guard(patch=SLOW_PROXY * is_proxy + WHOLE)
    with wire.answering(paused(address, is_proxy)):
        wire.say(syn(address, OTHER))
        [line] = begun.until("duplicate")
    assert f"{BORN} and {OTHER} answer" in line
    assert (f"{OTHER} is a proxy" in line) == is_proxy
    scene.until(lambda: holds(scene, address, BORN))
    assert not begun.told("healed")


@PAIR
def test_a_healed_holder_that_pauses_during_the_look_back_has_its_entry_back(
    scene, wire, guard, database, address
):
    """The host before it is dead, and is asked as well."""
    scene.add(address, "reachable", DEAD)
    begun, living = guard(patch=WHOLE), {BORN}

    def respond(asked, to_all, _number):
        hosts = living if asked == address else ()
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        wire.say(syn(address, BORN))
        scene.until(lambda: holds(scene, address, BORN))
        time.sleep(1.2)  # an address is asked about once a second, and locktime is over
        living.remove(BORN)
        living.add(OTHER)
        wire.say(syn(address, OTHER))
        scene.until(lambda: holds(scene, address, OTHER))
        living.add(BORN)
        scene.until(lambda: holds(scene, address, BORN))
        [line] = begun.until("duplicate")
    assert f"{BORN} and {OTHER} answer" in line
    assert not begun.told("healed")


@PAIR
def test_an_entry_that_a_program_writes_back_is_told_and_probed_once_more(
    scene, wire, guard, address
):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    begun = guard(patch="look_back.LOOK_BACK_FOR_S = 5.0")

    def respond(asked, to_all, _number):
        is_heard = asked == address and (to_all or wire.asked_mac == BORN)
        return [answer(asked, BORN)] * is_heard

    with wire.answering(respond):
        wire.say(syn(address, BORN))
        scene.until(lambda: holds(scene, address, BORN))
        time.sleep(1.0)  # the probe is over, the look back is not
        ip("neigh", "replace", address, *f"lladdr {DEAD} nud reachable dev db0".split())
        [line] = begun.until("disagreement")
        assert (
            f"not healed: {BORN} has answered and the kernel took it, but the entry has {DEAD} "
            "again" in line
        )
        assert begun.until("healed") == [healed_line(address, "written back")]
    assert holds(scene, address, BORN)


def a_proxy_takes_it(wire, begun, address):
    """Let a host answer that does so for everybody: that is told, and as no heal."""

    def respond(asked, to_all, _number):
        return [answer(asked, OTHER)] if to_all or wire.asked_mac == OTHER else []

    with wire.answering(respond):
        wire.say(syn(address, OTHER))
        [line] = begun.until("duplicate")
    assert f"{DEAD} -> {OTHER}, but {OTHER} is a proxy" in line
    assert not begun.told("healed")


@PAIR
def test_a_proxy_that_has_the_entry_of_a_dead_host_is_not_told_as_a_heal(
    scene, wire, guard, address
):
    scene.add(address, "reachable", DEAD)
    begun = guard(patch=SLOW_PROXY)
    a_proxy_takes_it(wire, begun, address)


@PAIR
@pytest.mark.parametrize("is_last", [True, False], ids=["proxy last", "proxy first"])
def test_the_successor_of_a_dead_host_has_its_entry_beside_a_proxy(
    scene, wire, guard, database, address, is_last
):
    """Both answer our broadcast: without locktime the kernel takes the last answer."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0 if is_last else 100)
    scene.add(address, "reachable", DEAD)
    begun = guard(patch=SLOW_PROXY)

    def respond(asked, to_all, _number):
        hosts = [BORN] * (asked == address)
        hosts = [*hosts, OTHER] if is_last else [OTHER, *hosts]
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        wire.say(syn(address, BORN))
        [line] = begun.until("duplicate")
        assert f"{OTHER} is a proxy" in line
        assert DEAD not in line
        scene.until(lambda: holds(scene, address, BORN))
    assert not begun.told("healed")


@PAIR
def test_a_proxy_is_found_where_only_a_route_says_what_the_network_is(scene, wire, guard, address):
    own, network = ("192.0.2.1/32", "192.0.2.0/24")
    if ":" in address:
        own, network = ("2001:db8::1/128", "2001:db8::/64")
    ip("-6" if ":" in address else "-4", "address", "flush", "dev", "db0", "scope", "global")
    ip("address", "add", own, "dev", "db0", *["nodad"] * (":" in address))
    ip("route", "replace", network, "dev", "db0")
    scene.add(address, "reachable", DEAD)
    begun = guard(patch=SLOW_PROXY)
    a_proxy_takes_it(wire, begun, address)


@PAIR
def test_a_proxying_router_keeps_its_own_address_beside_a_twin(scene, wire, guard, address):
    other = "192.0.2.30" if ":" not in address else "2001:db8::30"
    ip("route", "add", "default", "via", address)
    scene.add(other, "reachable", OTHER)
    scene.add(address, "reachable", OTHER)
    begun, macs = guard(patch=SLOW_PROXY + SLOW_HOLDER + WHOLE), set()

    def respond(asked, to_all, _number):
        macs.update(row.split()[2] for row in scene.table() if row.startswith(f"{address} "))
        hosts = {OTHER, BORN} if asked == address else {OTHER}
        return [answer(asked, mac) for mac in sorted(hosts) if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        wire.say(syn(address, BORN))
        [line] = begun.until("duplicate")
    assert f"{BORN} and {OTHER} answer" in line
    scene.until(lambda: holds(scene, address, OTHER))
    if ":" not in address:  # an IPv6 host that is asked alone need not name its MAC: these do
        assert macs == {OTHER}
    assert not begun.told("healed")


@pytest.mark.timed  # the twin answers when the question is over
@PAIR
def test_a_holder_that_a_late_twin_displaces_has_its_entry_back(scene, wire, guard, address):
    """Both answer one broadcast, the twin when the question is over."""
    scene.add(address, "reachable", BORN)
    begun, twin = guard(patch=WHOLE), answer(address, OTHER)

    def respond(asked, to_all, number):
        if asked != address:
            return []
        if to_all and not number:
            threading.Timer(0.3, wire.say, [twin]).start()
        if wire.asked_mac == OTHER:
            return [twin]
        return [answer(address, BORN)] if to_all or number else []  # slow at first

    time.sleep(1.1)  # locktime is over
    with wire.answering(respond):
        with (
            stalls.measured(),
            socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock,
        ):
            sock.setblocking(False)
            sock.connect_ex((address, PORT))
            scene.until(lambda: begun.told("changed") or begun.told("duplicate"))
            stalls.in_time(begun.told("changed"), "the twin answered what was still asked")
        [line] = begun.until("duplicate")
    assert f"{BORN} and {OTHER} answer" in line
    scene.until(lambda: holds(scene, address, BORN))
    assert not begun.told("healed")


# Misfortune on demand.
FAILS = """
import signal
def fail(*_):
    raise ZeroDivisionError("made up")
signal.signal(signal.SIGUSR1, fail)
"""


@pytest.mark.parametrize("how", ["stopped", "failed"])
def test_look_backs_that_a_restart_ends_are_told_as_undecided(scene, wire, guard, how):
    """A twin would keep the entry of a holder that paused. After a failure nobody asks it on."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    addresses = [f"192.0.2.{last}" for last in range(10, 22)]
    for address in addresses:
        scene.add(address, "reachable", DEAD)
    begun = guard(patch=FAILS + WHOLE)
    healed, looked_back = set(), set()

    def respond(address, to_all, _number):
        if to_all:
            healed.add(address)
        elif address in healed:
            looked_back.add(address)
        return [answer(address, BORN)] * to_all

    with wire.answering(respond):
        for address in addresses:
            wire.say(syn(address, BORN))
        scene.until(lambda: looked_back == {*addresses})
        assert not begun.told("changed")
        if how == "failed":
            begun.process.send_signal(signal.SIGUSR1)
            begun.until("failed")
        begun.end()
    *lines, last = begun.told("changed")
    assert len(lines) == 10
    assert all(" undecided: " in line and "run arp.diagnose 192.0.2." in line for line in lines)
    is_asked_on = how == "stopped"
    assert all(("unless it starts again within 30 s" in line) == is_asked_on for line in lines)
    assert last.startswith("changed: 2 more within ")
    assert not begun.told("healed")


@PAIR
def test_a_restart_costs_a_paused_holder_no_entry(scene, wire, guard, address):
    """A twin has it; the holder lives again only when the next sentinel watches."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add(address, "reachable", DEAD)
    begun, living, asked_of = guard(patch=WHOLE), {BORN}, []

    def respond(asked, to_all, _number):
        asked_of.append(b"" if to_all else wire.asked_mac)
        hosts = living if asked == address else ()
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    def is_looked_back_at():
        return b"" in asked_of and DEAD in asked_of[asked_of.index(b"") :]

    with wire.answering(respond):
        wire.say(syn(address, BORN))
        scene.until(is_looked_back_at)
        begun.end()
        [line] = begun.told("changed")
        assert "unless it starts again within 30 s and finds out, run arp.diagnose" in line
        assert holds(scene, address, BORN)
        next_one = guard(patch=WHOLE)
        living.add(DEAD)
        [line] = next_one.until("duplicate")
        scene.until(lambda: holds(scene, address, DEAD))
    assert f"{BORN} and {DEAD} answer" in line or f"{DEAD} and {BORN} answer" in line
    assert not next_one.told("healed") + next_one.told("lost")


def test_a_contested_address_is_asked_as_patiently_as_the_kernel_does(scene, wire, guard):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.add("192.0.2.10", "reachable", BORN)
    begun = guard(patch=WHOLE)
    with wire.answering(paused("192.0.2.10")):
        wire.say(syn("192.0.2.10", OTHER))
        begun.until("duplicate")
    wire.questions()
    asked = []

    def silent(_address, to_all, _number):
        asked.append(to_all)
        return []

    with contextlib.ExitStack() as answers:
        answers.enter_context(wire.answering(silent))
        scene.until(lambda: wire.say(syn("192.0.2.10", OTHER, source_port=5000)) or True in asked)
    assert asked[:3] == [False, False, False]
