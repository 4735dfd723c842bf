"""A machine starts, and nobody types: the databases ask about its addresses. And its abuse."""

import contextlib
import datetime
import itertools
import json
import pathlib
import tempfile
import time

import pytest
from fleet_centre import Bus, Centre, accepting

from lab.causes import Confirming
from lab.machines import Failed, poll
from lab.observe import Service, connect

pytestmark = pytest.mark.long

DATABASES = ("db1", "db2")
NETWORKS = ["10.0.1.0/24", "10.9.0.0/16", "2001:db8:1::/64"]
HOSTILE = pathlib.Path(__file__).parent / "hostile"


@pytest.fixture(scope="module")
def centre(repo):
    """Two databases, a worker and a minion that is not ours any more; the engine on the master."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(
            pathlib.Path(where),
            repo,
            DATABASES,
            engines=[{"reactor": {}}, {"arp_born": {"networks": NETWORKS, "again": 2}}],
            reactor=[{"nobody/says/this": ["/nowhere.sls"]}],  # there is a reactor system
            engines_dirs=[str(repo / "_engines")],
            utils_dirs=[str(repo / "_utils")],
        ) as centre,
        contextlib.ExitStack() as services,
    ):
        for name in DATABASES:
            machine = centre.fabric.machines[name]
            services.enter_context(Service(machine, machine.ip6))
        centre.sync()
        centre.worker("worker1", 90, "02:00:00:00:00:90")
        centre.worker("evil", 66, "02:00:00:00:00:66", module_dirs=[str(HOSTILE)])
        centre.wait_for("worker1", "evil")
        yield centre


@pytest.fixture
def bus(centre):
    """Hear what is said from now on."""
    with Bus(centre.master) as bus:
        yield bus


_macs = (f"02:00:00:00:02:{number:02x}" for number in itertools.count(1))


def mac_of(database, ip):
    entry = database.neighbour(ip)
    return entry and entry.get("lladdr")


def settled(bus):
    """Wait until no start is waited for any more: an earlier one would heal, too."""
    with contextlib.suppress(Failed):
        while True:
            bus.heard("arp/born/asked", bool, seconds=8)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_recreated_worker_is_healed_at_its_start(centre, bus, family):
    worker = centre.fabric.machines["worker1"]
    databases = [centre.fabric.machines[name] for name in DATABASES]
    ip = worker.ip6 if family == "ipv6" else worker.ip
    settled(bus)
    with contextlib.ExitStack() as vouching:
        for database in databases:
            assert connect(worker, database.ip6 if family == "ipv6" else database.ip, timeout_s=30)
            vouching.enter_context(Confirming(database, ip))
        new = next(_macs)
        worker = centre.worker("worker1", 90, new)
        poll(
            "every database has the new MAC",
            60,
            lambda: all(mac_of(database, ip) == new for database in databases),
            every_s=0.02,
        )
        healed = time.time()
        heard = bus.heard("", lambda found: any(e["tag"] == "arp/born/asked" for e in found))
        [start] = [e for e in heard if e["tag"] == "salt/minion/worker1/start"]
        took_s = healed - fired_at(start)
        print(f"{family}: from the start event to the healed entries {took_s:.2f} s")
        asked = next(e["data"] for e in heard if e["tag"] == "arp/born/asked")
        assert asked["machines"] == ["worker1"]
        assert set(asked["addresses"]) == {worker.ip, worker.ip6}, "these only"
        heard = bus.heard("arp/born/", lambda found: len(tagged(found, "answered")) == 2)
        answers = tagged(heard, "answered")
        assert {each["data"]["minion"] for each in answers} == set(DATABASES)
        assert all(each["data"]["healed"] >= 1 for each in answers)
        recorded = centre.master.salt("db*", "arp_hygiene.healed")
        assert {name: recorded[name][-1]["by"] for name in DATABASES} == dict.fromkeys(
            DATABASES, "arp_born"
        )
        for database in databases:
            assert connect(worker, database.ip6 if family == "ipv6" else database.ip, timeout_s=30)
        assert tagged(heard + bus.heard_now("arp/born/"), "conflicts") == []


def fired_at(event):
    """Return when an event was fired, as ``time.time``."""
    stamp = datetime.datetime.fromisoformat(event["data"]["_stamp"])
    return stamp.replace(tzinfo=datetime.timezone.utc).timestamp()


def tagged(events, what):
    return [event for event in events if event["tag"] == f"arp/born/{what}"]


def asks(bus, seconds=8):
    """Tell whether a start makes this master act."""
    bus.fire(*start_event("worker1"))
    try:
        return bus.heard("arp/born/asked", bool, seconds=seconds)
    except Failed:
        return []


def test_only_the_leader_acts_and_a_new_one_catches_up(centre, bus):
    assert asks(bus, 60)
    assert centre.run("reactor.set_leader", "False").code == 0
    poll("it does not act any more", 120, lambda: not asks(bus))
    centre.master.salt("worker1", "saltutil.refresh_pillar", "wait=True")  # as a start does
    assert not asks(bus)
    centre.run("reactor.set_leader", "True")
    [asked] = bus.heard("arp/born/asked", bool)  # nobody started since
    assert "worker1" in asked["data"]["machines"]


THOUSAND = [f"sim{number:04}" for number in range(1000)]


@pytest.fixture
def accepted(centre):
    """A thousand machines whose keys are accepted."""
    with accepting(centre.master, THOUSAND):
        yield


def start_event(name, *ips):
    """A start event as the master fires it, with start_event_grains."""
    grains = {
        "hwaddr_interfaces": {"eth0": "02:00:00:00:00:01"},
        "ip4_interfaces": {"eth0": list(ips)},
    }
    load = {"id": name, "cmd": "_minion_event", "pretag": None, "data": "started"}
    return f"salt/minion/{name}/start", {**load, "grains": grains}


@pytest.mark.usefixtures("accepted")
def test_2000_starts_at_once_lose_none_in_bounded_jobs(bus):
    last, began = {}, time.time()
    for host in (10, 20):  # each starts twice, the second time with another address
        for number, name in enumerate(THOUSAND):
            last[name] = f"10.9.{number % 250}.{host + number // 250}"
            bus.fire(*start_event(name, last[name]))
    ended = time.time()

    def all_asked(found):
        newest = {}
        for event in found:
            newest.update(dict.fromkeys(event["data"]["machines"], event["data"]["addresses"]))
        return all(last[name] in newest.get(name, ()) for name in THOUSAND)

    jobs = bus.heard("arp/born/asked", all_asked)
    afterwards = [job for job in jobs if fired_at(job) > ended]
    print(f"2,000 starts of 1,000 machines: {len(jobs)} jobs, {len(afterwards)} after the last one")
    # One a second while the starts come, more of them on a slow machine; then 500 machines in each.
    assert len(jobs) - len(afterwards) <= 2 + (ended - began)
    assert len(afterwards) <= 8
    assert all(len(job["data"]["addresses"]) <= 500 for job in jobs)


def tables(centre):
    """Return which MAC each database holds for each address."""
    found = {}
    for name in DATABASES:
        text = centre.fabric.machines[name].do("ip neigh show dev eth0")
        lines = [line.split() for line in text.splitlines() if "lladdr" in line]
        found[name] = {words[0]: words[words.index("lladdr") + 1] for words in lines}
    return found


@pytest.fixture
def unharmed(centre, bus):
    """After whatever was sent: same tables, nothing was run, the master and the engine work."""
    worker = centre.fabric.machines["worker1"]
    for name in DATABASES:
        assert connect(worker, centre.fabric.machines[name].ip, timeout_s=30)
    before = tables(centre)
    assert all(worker.ip in table for table in before.values())
    yield
    time.sleep(3)  # a window, and what a job that should not be takes
    after = tables(centre)
    for name, table in before.items():
        assert {ip: after[name].get(ip) for ip in table} == table
    assert not pathlib.Path("/tmp/owned-by-a-minion").exists()
    assert centre.master.salt("db1", "test.ping") == {"db1": True}
    bus.fire(*start_event("worker1", worker.ip))
    bus.heard("arp/born/asked", lambda found: found and "worker1" in found[-1]["data"]["machines"])


def sent(centre, kind):
    victims = [centre.fabric.machines[name].ip for name in ("db2", "worker1")]
    assert centre.master.salt("evil", "hostile.send", kind, f"victims={victims}") == {"evil": True}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("kind", "who", "why"),
    [
        ("injection", "evil", "sent a start event of another minion"),
        ("50,000 addresses", "evil", "claims 50000 addresses"),
        (
            "100,000 addresses",
            "evil",
            "is not a list (str)",
        ),  # Salt cuts an event of more than 1 MB
        ("other tags", "evil", "another minion: 'salt/minion/db1/start'"),
        ("absurd types", "evil", "hwaddr_interfaces: not a dictionary"),
    ],
    ids=lambda value: value.replace(" ", "_"),
)
def test_hostile_start_events_are_refused_and_do_nothing(centre, bus, kind, who, why):
    sent(centre, kind)
    told = bus.heard("arp/born/refused", lambda found: why in str(found))
    assert any(why in event["data"].get(who, "") for event in told)


@pytest.mark.usefixtures("unharmed")
def test_addresses_of_others_in_an_event_are_ignored(centre, bus):
    """What the master itself remembers of a minion counts; the event's addresses do not."""
    sent(centre, "others' addresses")
    [asked] = bus.heard("arp/born/asked", lambda found: found)
    evil = centre.fabric.machines["evil"]
    assert set(asked["data"]["addresses"]) == {evil.ip, evil.ip6}


@pytest.mark.usefixtures("unharmed")
def test_forged_id_asks_about_real_addresses_only(centre, bus):
    """Salt verifies the id of a minion's event, and not those of a list of events."""
    sent(centre, "another's id")
    [asked] = bus.heard("arp/born/asked", lambda found: found)
    db1 = centre.fabric.machines["db1"]
    assert asked["data"]["machines"] == ["db1"]
    assert set(asked["data"]["addresses"]) == {db1.ip, db1.ip6}


def stranger(centre):
    """A machine without Salt, which a database has just talked to."""
    machines = centre.fabric.machines
    machine = machines.get("stranger") or centre.fabric.worker("stranger", 77, "02:00:00:00:00:77")
    assert connect(machine, machines["db1"].ip, timeout_s=30)
    return machine


LIES = [
    ("a stranger's address", lambda centre: interfaces(stranger(centre).ip)),
    ("a router's address", lambda centre: interfaces("10.0.1.254")),
    ("a database's address", lambda centre: interfaces(centre.fabric.machines["db2"].ip)),
    ("another worker's", lambda centre: interfaces(centre.fabric.machines["worker1"].ip)),
    ("text", lambda centre: "{{ 7 * 7 }}"),
    ("addresses that are none", lambda centre: interfaces("10.0.1.5; reboot", None, {}, 5)),
    (
        "8192 addresses",
        lambda centre: interfaces(*(f"10.9.{n >> 8}.{n & 255}" for n in range(8192))),
    ),
]


def interfaces(*ips):
    inet = [{"address": ip} for ip in ips]
    return {"eth0": {"hwaddr": "02:00:00:00:66:66", "inet": inet}}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(("lie", "make"), LIES, ids=[lie for lie, _ in LIES])
def test_false_interfaces_cause_only_questions(centre, lie, make):
    pathlib.Path("/tmp/lies").write_text(json.dumps(make(centre)), encoding="utf-8")
    healed = centre.run("arp.heal", "pause=0")
    assert healed.code in range(0, 16, 2), healed.text
    contradicted = {(row["minion"], row["machine"]) for row in healed.data["still_wrong"]}
    assert contradicted == ({("db1", "evil")} if lie == "a stranger's address" else set())
    for row in healed.data["still_wrong"]:
        assert "and the minion that has this address is another machine" in row["why"]
    twice = [(row["machines"], row["held"]) for row in healed.data["twice"] if row["held"]]
    assert twice == ([(["evil", "worker1"], 2)] if lie == "another worker's" else [])
    if lie in ("text", "8192 addresses"):
        assert [row["minion"] for row in healed.data["silent"]] == ["evil"]
    assert healed.data["healed"] == []


def test_forged_return_to_a_job_of_the_engine_is_reported(bus):
    settled(bus)
    bus.fire(*start_event("worker1"))
    [asked] = bus.heard("arp/born/asked", bool)
    jid = asked["data"]["jid"]
    bus.fire(f"salt/job/{jid}/ret/db1", {"jid": jid, "id": "db1", "return": {"healed": []}})
    [told] = bus.heard("arp/born/conflicts", bool)
    assert (told["data"]["jid"], told["data"]["minions"]) == (jid, ["db1"])


FORGERY = pathlib.Path("/tmp/forgery")
DEAD = "02:00:00:00:00:dd"


@pytest.mark.parametrize("channel", ["event bus", "syndic"])
def test_forged_return_hides_no_wrong_entry(centre, bus, channel):
    """The hostile minion says in worker1's name that worker1 has the MAC that db1 caches."""
    db1, worker = centre.fabric.machines["db1"], centre.fabric.machines["worker1"]
    settled(bus)  # an earlier start would heal it
    db1.do(f"ip neigh replace {worker.ip} lladdr {DEAD} dev eth0 nud stale")
    pathlib.Path("/tmp/lies").write_text(json.dumps(interfaces()), encoding="utf-8")
    content = {"eth0": {"hwaddr": DEAD, "up": True, "inet": [{"address": worker.ip}]}}
    forgery = {"victim": "worker1", "content": content, "channel": channel}
    FORGERY.write_text(json.dumps(forgery), encoding="utf-8")
    try:
        seen = centre.run("arp.audit")
    finally:
        FORGERY.unlink()
        db1.do(f"ip neigh flush to {worker.ip} dev eth0")  # it may be gone already
    print(channel, seen.data["wrong"], seen.data["conflicts"])
    assert [row["minion"] for row in seen.data["conflicts"]] == ["worker1"]
    assert seen.code & 4
    if channel == "event bus":
        assert [(row["minion"], row["mac"]) for row in seen.data["wrong"]] == [("db1", DEAD)]
        assert seen.code == 2 + 4
