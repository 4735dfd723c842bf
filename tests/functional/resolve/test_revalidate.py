"""arp.revalidate on the wire: answers decide; without one the PROBE fallback does."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
from asking import undated, waiting_long
from conftest import BORN, DEAD, ip
from pace import late_verdicts, pace  # noqa: F401
from wire import answer

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])
OTHER = "02:00:00:00:00:0c"


pytestmark = pytest.mark.usefixtures("late_verdicts")


@pytest.fixture(autouse=True)
def _quick(scene):
    """The kernel decides in less than a second instead of seven."""
    scene.quick()


def resolicit(family="ipv4"):
    with open(f"/proc/sys/net/{family}/neigh/db0/mcast_resolicit", encoding="ascii") as file:
        return int(file.read())


@pytest.fixture
def between(arp, monkeypatch):
    """Let something happen between the unanswered questions and the PROBE fallback."""
    from arp_engine.resolve.revalidate_run import Run

    original, happened = Run.fall_back, []

    def after_asking(happens):
        def fall_back(run):
            happened.append(happens())
            original(run)

        monkeypatch.setattr(Run, "fall_back", fall_back)
        return happened

    return after_asking


# --- answers


@PAIR
def test_nothing_is_waited_for_once_all_have_answered(arp, scene, address, monkeypatch):
    from arp_engine.resolve.ask import Asker

    original = Asker.wait

    def wait(asker, seconds):
        assert len(asker), "no question is under way"
        original(asker, seconds)

    monkeypatch.setattr(Asker, "wait", wait)
    scene.worker(address)
    mac = next(
        line.split()[1]
        for line in ip("-n", "worker", "link", "show", "w0").splitlines()
        if "link/ether" in line
    )
    for _ in range(20):  # the answer is there before it can be waited for, now and then
        scene.add(address, "stale", mac)
        assert arp.revalidate(address)["confirmed"] == 1


@PAIR
@pytest.mark.usefixtures("pace")
def test_upper_layer_confirmed_entry_is_healed_by_a_probe(arp, scene, wire, address, monkeypatch):
    """No entry is written, none is put into PROBE: the kernel takes the answer by itself."""
    from arp_engine.netlink import rtnetlink

    orders = []
    original = rtnetlink.Channel.exchange
    monkeypatch.setattr(
        rtnetlink.Channel,
        "exchange",
        lambda channel, sent: orders.append(sent[4]) or original(channel, sent),
    )
    scene.add(address, "reachable", DEAD)
    vouching = scene.confirming(address) if "." in address else contextlib.nullcontext()
    with vouching, wire.answering(lambda ip, to_all, _n: [answer(ip, BORN)] if to_all else []):
        result = arp.revalidate(address, rows=True)
    assert undated(result["healed"]) == [{"ip": address, "dev": "db0", "old": DEAD, "new": BORN}]
    assert scene.table() == [f"{address} db0 {BORN} REACHABLE"]
    assert set(orders) == {30}  # RTM_GETNEIGH, and nothing else
    [row] = result["entries"]
    assert (row["verdict"], row["mac"], row["unicast_asked"], row["broadcast_asked"]) == (
        "healed", DEAD, 1, 1,
    )  # fmt: skip
    assert list(row["answers"]) == [BORN]
    assert 15 <= row["answers"][BORN] < 1000  # the first MAC was waited for before


@PAIR
def test_right_entry_costs_one_unicast_frame(arp, scene, wire, address, monkeypatch):
    """And two for an address that nobody has: where few are asked, each host may be a proxy."""
    from arp_engine.resolve import revalidate_run

    monkeypatch.setattr(revalidate_run, "FAST", waiting_long(revalidate_run.FAST))
    scene.worker(address)
    scene.add(address, "stale", BORN)
    [row] = arp.revalidate(address, rows=True)["entries"]
    assert (row["verdict"], row["unicast_asked"], row["broadcast_asked"]) == ("confirmed", 1, 0)
    seen = []
    scene.until(lambda: seen.extend(wire.questions()) or len(seen) >= 3)
    assert [frame.dst for frame in seen] == 3 * [BORN]


@PAIR
@pytest.mark.usefixtures("late_second_answers", "pace")
def test_two_answers_are_a_duplicate_not_a_heal(arp, scene, wire, address):
    scene.add(address, "stale", DEAD)
    with wire.answering(
        lambda ip, to_all, _number: [answer(ip, BORN), answer(ip, OTHER)] if to_all else []
    ):
        result = arp.revalidate(address)
    [row] = result["duplicates"]
    assert (row["ip"], row["dev"], row["mac"]) == (address, "db0", DEAD)
    assert sorted(row["macs"]) == [BORN, OTHER]
    assert (result["healed"], result["checked"], result["totals"]["duplicates"]) == ([], 1, 1)


def test_answer_ignored_within_locktime_is_asked_again(arp, scene, wire):
    """The kernel would even count it as a confirmation of the wrong MAC."""
    scene.sysctl("ipv4.neigh.db0.locktime", 50)  # hundredths of a second
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    assert undated(arp.revalidate()["healed"]) == [
        {"ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN}
    ]
    assert scene.table() == [f"192.0.2.10 db0 {BORN} REACHABLE"]


def test_endless_locktime_is_a_warning_not_a_heal(arp, scene, wire, monkeypatch):
    from arp_engine.resolve import revalidate_run

    monkeypatch.setattr(revalidate_run, "MAX_LOCKTIME_WAIT_S", 0.05)
    scene.sysctl("ipv4.neigh.db0.locktime", 360_000)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    result = arp.revalidate(rows=True)
    assert result["entries"][0]["unicast_asked"] == revalidate_run.MAX_QUESTIONS
    assert (result["healed"], result["undecided"]) == ([], 1)
    [line] = result["warnings"]
    assert line.startswith(
        "still wrong: 192.0.2.10 on db0: another MAC answers, but the kernel keeps"
    )
    row = {"ip": "192.0.2.10", "dev": "db0", "mac": DEAD, "macs": [BORN]}
    assert (result["still_wrong"], result["totals"]["still_wrong"]) == ([row], 1)
    assert scene.table() == [f"192.0.2.10 db0 {DEAD} REACHABLE"]


@pytest.mark.usefixtures("pace")
def test_advertisement_without_override_heals_nothing(arp, scene, wire):
    scene.add("2001:db8::10", "reachable", DEAD)
    with wire.answering(lambda ip, to_all, _n: [answer(ip, BORN, O=0)] if to_all else []):
        result = arp.revalidate("2001:db8::10")
    assert (result["healed"], result["undecided"], len(result["warnings"])) == ([], 1, 1)


@pytest.mark.usefixtures("late_second_answers")
def test_healed_is_only_what_the_table_holds(arp, scene, wire):
    """Forged answers, to pending questions and to none, do not falsify the result."""
    addresses = [f"192.0.2.{last}" for last in range(10, 35)]
    living, silent = addresses[:10], addresses[10:15]
    claimed, held = addresses[15:20], addresses[20:]  # by two others; by the one we hold as well
    for address in living:
        scene.worker(address)
    for address in addresses:
        scene.add(address, "stale", DEAD)
    nobodies = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "02:00:00:00:00:01")
    lies = [
        answer(address, mac)
        for address in (*claimed, *held, "192.0.2.200", "203.0.113.1")
        for mac in (OTHER, BORN, *nobodies, *([DEAD] if address in held else []))
    ]
    with wire.saying(*lies):
        result = arp.revalidate()
    table = {row.split()[0]: row.split()[2] for row in scene.table()}
    assert {(row["ip"], row["new"]) for row in result["healed"]} == {
        (address, BORN) for address in living
    }
    assert all(table[address] == BORN for address in living)
    assert {row["ip"] for row in result["gone"]} == set(silent)
    told = {row["ip"] for row in result["duplicates"]}
    # The kernel takes lies before we ask: then the first unicast answer from that MAC confirms it.
    assert told <= {*claimed, *held}
    assert len(told) + result["confirmed"] == len(claimed) + len(held)
    assert "203.0.113.1" not in table


# --- entries that cannot be probed


@pytest.mark.parametrize(("address", "family"), [("2001:db8::10", "-6"), ("192.0.2.10", "-4")])
def test_entry_that_cannot_be_probed_is_kept_with_reason(arp, scene, address, family):
    # first: with the last address the kernel drops a family's entries
    ip(family, "address", "flush", "dev", "db0")
    scene.add(address, "stale", BORN)
    result = arp.revalidate(address)
    assert (result["checked"], result["kept"]) == (0, {"no address to ask from": 1})
    assert scene.table() == [f"{address} db0 {BORN} STALE"]


def test_living_neighbour_without_carrier_is_kept(arp, scene):
    """arp_evict_nocarrier=0 keeps entries on purpose."""
    scene.sysctl("ipv4.conf.db0.arp_evict_nocarrier", 0)
    scene.add("192.0.2.10", "stale", BORN)
    ip("-n", "worker", "link", "set", "w0", "down")
    scene.until(lambda: "NO-CARRIER" in ip("link", "show", "db0"))
    result = arp.revalidate("192.0.2.10")
    assert (result["checked"], result["kept"]) == (0, {"no carrier": 1})
    assert scene.table() == [f"192.0.2.10 db0 {BORN} STALE"]


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
def test_without_cap_net_raw_the_kernel_probes(arp, scene, wire, monkeypatch, right):
    from arp_engine.packets import packet_socket

    def refuse(port, family):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(packet_socket.ProbeSocket, "__init__", refuse)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", BORN if right else DEAD)
    result = arp.revalidate("192.0.2.10")
    assert (result["confirmed"], len(result["healed"])) == ((1, 0) if right else (0, 1))
    [line] = result["warnings"]
    assert line.startswith("no CAP_NET_RAW: no probe was sent")


# --- no answer: the PROBE fallback


@PAIR
def test_mcast_resolicit_is_raised_and_restored(arp, scene, wire, address, monkeypatch):
    from arp_engine.resolve.nud_probe import NudProber

    family = "ipv6" if ":" in address else "ipv4"
    collect, seen = NudProber._collect, []

    def look(prober, now):
        seen.append((resolicit(family), len(scene.table("probe"))))
        return collect(prober, now)

    monkeypatch.setattr(NudProber, "_collect", look)
    scene.add(address, "stale", DEAD)
    assert [row["ip"] for row in arp.revalidate(address)["gone"]] == [address]
    assert {value for value, _in_probe in seen} == {3}
    assert any(in_probe for _value, in_probe in seen)
    assert resolicit(family) == 0


def test_concurrent_runs_restore_mcast_resolicit(arp, scene, wire):
    for last in range(10, 14):
        scene.add(f"192.0.2.{last}", "stale", DEAD)
    answers = []
    runs = [
        threading.Thread(target=lambda last=last: answers.append(arp.revalidate(f"192.0.2.{last}")))
        for last in range(10, 14)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(timeout=30)
    assert [len(answer["gone"]) for answer in answers] == [1] * 4
    assert [answer["warnings"] for answer in answers] == [[]] * 4
    assert resolicit() == 0


def test_lock_held_by_another_run_leaves_entries_untouched(arp, scene, wire, monkeypatch):
    """The other run would restore the 0 during our wait, and a living entry would fail."""
    from arp_engine.netlink import rtnetlink
    from arp_engine.resolve import nud_probe

    monkeypatch.setattr(nud_probe, "MAX_LOCK_WAIT_S", 0.1)
    scene.sysctl("ipv4.neigh.db0.mcast_resolicit", 3)  # as the other run has set it
    scene.add("192.0.2.10", "stale", DEAD)
    with rtnetlink.lock(nud_probe.LOCK) as other:
        assert other
        result = arp.revalidate("192.0.2.10")
    assert (result["undecided"], result["gone"]) == (1, [])
    [line] = result["warnings"]
    assert line.startswith("another revalidation has had entries in PROBE")
    assert scene.table() == [f"192.0.2.10 db0 {DEAD} STALE"]
    assert [row["ip"] for row in arp.revalidate("192.0.2.10")["gone"]] == ["192.0.2.10"]
    assert resolicit() == 3


def test_sigkill_releases_lock_and_leaves_mcast_resolicit_raised(arp, scene, wire, repo):
    scene.add("192.0.2.10", "stale", DEAD)
    scene.sysctl("ipv4.neigh.db0.retrans_time_ms", 10_000)  # it is killed before the verdict
    program = (
        "from arp_engine.resolve import revalidate\n"
        "from arp_engine.table import selectors\n"
        "revalidate.revalidate(selectors.parse_selectors(verb='revalidate'), 0.0)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=repo / "_utils") as killed:
        scene.until(lambda: scene.table("probe"))
        os.kill(killed.pid, signal.SIGKILL)
    assert resolicit() == 3
    scene.quick()
    scene.add("192.0.2.11", "stale", DEAD)
    assert [row["ip"] for row in arp.revalidate("192.0.2.11")["gone"]] == ["192.0.2.11"]


@pytest.mark.parametrize(
    ("words", "kept", "row"),
    [
        ("nud permanent", {"PERMANENT": 1}, f"192.0.2.10 db0 {DEAD} PERMANENT"),
        (
            "nud stale extern_learn",
            {"extern_learn": 1},
            f"192.0.2.10 db0 {DEAD} extern_learn STALE",
        ),
        ("nud stale protocol zebra", {"protocol zebra": 1}, f"192.0.2.10 db0 {DEAD} zebra zebra"),
    ],
)
def test_entry_that_gets_an_owner_is_not_put_into_probe(
    arp, scene, wire, between, words, kept, row
):
    """The PROBE message writes the entry: it would remove the mark of its owner."""
    scene.add("192.0.2.10", "stale", DEAD)
    happened = between(
        lambda: ip("neigh", "replace", "192.0.2.10", "lladdr", DEAD, "dev", "db0", *words.split())
    )
    result = arp.revalidate("192.0.2.10")
    assert happened
    assert (result["checked"], result["kept"]) == (0, kept)
    assert scene.table() == [row]


@pytest.mark.parametrize("state", ["failed", "incomplete"])
def test_old_mac_is_not_written_back(arp, scene, wire, between, state):
    scene.add("192.0.2.10", "stale", DEAD)
    between(lambda: scene.add("192.0.2.10", state, None))
    result = arp.revalidate("192.0.2.10")
    assert (result["checked"], result["kept"]) == (0, {state.upper(): 1})
    assert all(DEAD not in row for row in scene.table())


def test_kernel_before_5_0_is_read_as_a_whole_table(arp, scene, wire, monkeypatch):
    """Before 5.0 the answer to RTM_GETNEIGH is EOPNOTSUPP."""
    import errno

    from arp_engine.netlink import codec, rtnetlink

    def refuse(_channel, keys):
        entries = [codec.Entry(ifindex=index, dst=dst) for index, dst in keys]
        yield [], [rtnetlink.Refusal(entry, errno.EOPNOTSUPP, "") for entry in entries]

    monkeypatch.setattr(rtnetlink.Channel, "get_entries", refuse)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    scene.add("192.0.2.11", "stale", DEAD)
    result = arp.revalidate()
    assert [row["ip"] for row in result["healed"]] == ["192.0.2.10"]
    assert [row["ip"] for row in result["gone"]] == ["192.0.2.11"]


def test_bursts_use_half_of_the_receive_backlog(arp, scene, wire, monkeypatch, tmp_path):
    from arp_engine.netlink import rtnetlink
    from arp_engine.resolve import in_flight

    backlog = tmp_path / "netdev_max_backlog"
    backlog.write_text("20\n")
    monkeypatch.setattr(in_flight.default_limit, "__defaults__", (backlog,))
    original, counts = rtnetlink.Channel.exchange, []
    sent, times = in_flight.InFlight.sent, Counter()

    def exchange(channel, orders):
        if orders[4] == 28:  # RTM_NEWNEIGH
            counts.append(len(orders) // int.from_bytes(orders[:4], "little"))
        return original(channel, orders)

    def write_down(flight, key, now):
        if isinstance(key, tuple):  # an entry, and no question
            times[now] += 1
        return sent(flight, key, now)

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    monkeypatch.setattr(in_flight.InFlight, "sent", write_down)
    scene.fill(35)
    ip("route", "add", "10.0.0.0/8", "dev", "db0")
    assert arp.revalidate(rate=0)["checked"] == 35
    assert [10, 10, 10, 5] == counts == list(times.values())
    # nobody answers: each burst waits for the answer window of the one before
    assert all(one + in_flight.ANSWER_WINDOW_S <= next_ for one, next_ in itertools.pairwise(times))


def test_long_run_logs_its_progress(arp, scene, wire, caplog):
    for last in range(10, 40):
        scene.add(f"192.0.2.{last}", "stale", BORN)
        scene.worker(f"192.0.2.{last}")
    with caplog.at_level("INFO"):
        arp.revalidate("192.0.2.0/24", rate=20)
    assert "of 30 probed" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_signal_returns_what_was_done(arp, scene, number):
    """Two frames a second, eleven for a silent host: the signal comes once one has answered."""
    addresses = [f"192.0.2.{number}" for number in range(10, 14)]
    scene.worker(addresses[0])
    for address in addresses:
        scene.add(address, "stale", BORN)
    before = signal.getsignal(number)

    def terminate_after_the_first():
        with contextlib.suppress(AssertionError):  # none was: then the run ends by itself
            scene.until(lambda: scene.table("reachable"))
            os.kill(os.getpid(), number)

    terminate = threading.Thread(target=terminate_after_the_first)
    terminate.start()
    done = arp.revalidate(ip=addresses, rate=2)
    terminate.join()
    assert done["interrupted"] is True
    assert done["checked"] + done["no_outcome"] == len(addresses)
    assert done["no_outcome"] >= 2
    assert signal.getsignal(number) == before
    assert "interrupted" not in arp.revalidate(ip=addresses[0])
