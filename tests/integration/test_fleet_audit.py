"""End to end: a real master, five minions, a worker made again; found, healed, and clean."""

import contextlib
import datetime
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from types import SimpleNamespace

import pytest
import yaml
from fleet_centre import Answer, Bus, Centre, command, documented, run_on

from lab.causes import Confirming
from lab.machines import poll
from lab.observe import Service, connect

pytestmark = pytest.mark.long

DATABASES = ("db1", "db2", "db3")
API_PORT = 18123


def as_documented():
    """Return the documented rights of an auditor, with another way to prove who one is."""
    options = yaml.safe_load(documented("external_auth"))
    options["external_auth"]["sharedsecret"] = options["external_auth"].pop("pam")
    api = {"port": API_PORT, "host": "127.0.0.1", "disable_ssl": True}
    return {**options, "sharedsecret": "secret", "rest_cherrypy": api}


@pytest.fixture(scope="module")
def centre(repo):
    """Three databases, two workers, a minion on each; the product is everywhere."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(
            pathlib.Path(where),
            repo,
            DATABASES,
            arp_fleet={"directory": where, "mode": "0644"},
            **as_documented(),
        ) as centre,
        contextlib.ExitStack() as services,
    ):
        for name in DATABASES:
            machine = centre.fabric.machines[name]
            machine.set("base_reachable_time_ms", 2000)  # or a suspect takes a minute to show
            services.enter_context(Service(machine, machine.ip6))
        for number, name in enumerate(("worker1", "worker2"), 90):
            centre.worker(name, number, f"02:00:00:00:00:{number}")
        centre.wait_for("worker1", "worker2")
        centre.sync()
        yield centre


_macs = (f"02:00:00:00:02:{number:02x}" for number in itertools.count(1))


def address(machine, family):
    return machine.ip6 if family == "ipv6" else machine.ip


def must_connect(worker, database, family="ipv4"):
    """See that a connection succeeds, sooner or later: a black hole does not end by itself."""
    assert connect(worker, address(database, family), timeout_s=30)


@contextlib.contextmanager
def black_hole(centre, family):
    """Worker 1 is made again while an application on each database vouches for the dead one."""
    worker, other = (centre.fabric.machines[name] for name in ("worker1", "worker2"))
    databases = [centre.fabric.machines[name] for name in DATABASES]
    ip, old = address(worker, family), worker.mac
    with contextlib.ExitStack() as vouching:
        for database in databases:
            database.do("ip neigh flush dev eth0")
            for each in (worker, other):
                must_connect(each, database, family)
            vouching.enter_context(Confirming(database, ip))
        new = next(_macs)
        worker = centre.worker("worker1", 90, new)
        centre.wait_for("worker1")
        assert not any(connect(worker, address(each, family), timeout_s=1) for each in databases)
        yield worker, databases, ip, old, new


def rows(answer, name, *keys):
    return sorted(tuple(row[key] for key in keys) for row in answer.data[name])


@pytest.mark.parametrize("truth", ["live", "cached"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_audit_finds_and_heal_corrects_a_black_hole(centre, family, truth, tmp_path):
    with black_hole(centre, family) as (worker, databases, ip, old, new):
        seen = centre.run("arp.audit", f"truth={truth}")
        assert rows(
            seen, "wrong", "minion", "ip", "dev", "mac", "mac_true", "machine", "truth"
        ) == [(name, ip, "eth0", old, new, "worker1", "live") for name in DATABASES]
        assert (seen.data["twice"], seen.data["gone"], seen.data["silent"]) == ([], [], [])
        assert seen.code == seen.data["retcode"] == (2 + 8 if truth == "cached" else 2)

        told = centre.run("arp.heal", f"truth={truth}", "test=True")
        assert [row["minion"] for row in told.data["would_ask"]] == list(DATABASES)
        assert told.data["would_waves"] == 3, "never more than a third of db#"
        assert told.data["summary"][-1] == "3 to ask about, in 3 waves."
        assert not any(connect(worker, address(each, family), timeout_s=1) for each in databases)

        page = centre.root / "page.html"
        done = centre.run("arp.heal", f"truth={truth}", "pause=0", "report=page.html")
        assert rows(done, "healed", "minion", "ip", "old", "new") == [
            (name, ip, old, new) for name in DATABASES
        ]
        assert (done.data["still_wrong"], done.data["not_reached"]) == ([], [])
        assert done.data["waves"] == done.data["asked"] == 3
        assert 3 <= done.data["requests"] <= 33
        assert done.code == (8 if truth == "cached" else 0)
        assert ip in page.read_text(encoding="utf-8")
        recorded = centre.master.salt("db*", "arp_hygiene.healed")
        assert {name: recorded[name][-1]["by"] for name in DATABASES} == dict.fromkeys(
            DATABASES, "heal"
        )

        for each in databases:
            must_connect(worker, each, family)
        again = centre.run("arp.audit", f"truth={truth}")
        memory = 8 if truth == "cached" else 0  # agreement with cached grains alone is not right
        assert (again.code, again.data["wrong"]) == (memory, [])


def test_auditor_by_external_auth_may_audit_and_write_no_file_but_a_page(centre):
    auth = ("-a", "sharedsecret", "--username=auditor", "--password=secret")
    seen = centre.run(*auth, "arp.audit", "report=auditor.html")
    assert seen.data["counts"]["databases"] == 3
    page = centre.root / "auditor.html"
    assert page.stat().st_mode & 0o777 == 0o644
    page.write_text("not ours", encoding="utf-8")
    for report in ("auditor.html", "../x.html", "/etc/x.html"):
        assert "error" in centre.run(*auth, "arp.audit", f"report={report}").data
    assert page.read_text(encoding="utf-8") == "not ours"
    assert "arp.heal" not in centre.run(*auth, "arp.heal", "test=True", out=None).text


@pytest.fixture
def api(centre):
    """salt-api as documented; a function that asks it to run something as the auditor."""
    pytest.importorskip("cherrypy", reason="salt-api needs CherryPy")
    words = [*command(centre.master, "salt-api"), "-l", "quiet"]
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL) as daemon:

        def asked(**words):
            who = {"eauth": "sharedsecret", "username": "auditor", "password": "secret"}
            body = urllib.parse.urlencode({**who, **words}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{API_PORT}/run", body, {"Accept": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    return 200, json.load(answer)["return"][0]
            except urllib.error.HTTPError as refused:
                return refused.code, None

        def listens():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", API_PORT)):
                return True

        try:
            poll("salt-api listens", 60, listens)
            yield asked
        finally:
            os.killpg(daemon.pid, signal.SIGTERM)


@pytest.fixture
def known(centre):
    """Each database has an entry of a machine."""
    for name in DATABASES:
        must_connect(centre.fabric.machines["worker2"], centre.fabric.machines[name])


@pytest.mark.usefixtures("known")
def test_auditor_by_salt_api_may_audit_and_no_more(centre, api):
    code, answer = api(client="runner", fun="arp.audit", tgt="db*", tgt_type="glob")
    assert (code, answer["retcode"], answer["counts"]["databases"]) == (200, 0, 3)
    _, refused = api(client="runner", fun="arp.audit", report="../x.html")
    assert "is not the name of a file in" in refused["error"]
    assert api(client="runner", fun="arp.status")[0] == 200
    for words in (
        {"client": "runner", "fun": "arp.heal"},
        {"client": "local", "tgt": "*", "fun": "test.ping"},
    ):
        assert api(**words)[0] in (400, 401, 403)


@pytest.mark.usefixtures("known")
def test_documented_cron_line_records_the_run_and_prints_nothing(centre, repo):
    text = (repo / "docs" / "fleet.md").read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if " root salt-run " in line]
    words = " ".join(command(centre.master))
    run = subprocess.run(
        ["/bin/sh", "-c", line.partition(" root ")[2].replace("salt-run", words)],
        env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
    metrics = (centre.root / "arp_fleet.prom").read_text(encoding="utf-8")
    assert "arp_fleet_databases_compared 3" in metrics
    assert (centre.root / "arp.html").exists()


IDLE = "no schedule and no sentinel: apply arp_hygiene"


def test_status_is_one_line_for_each_database(centre):
    seen = centre.run("arp.status")
    assert rows(seen, "status", "minion", "problem") == [
        (name, f"{IDLE} (removed on purpose: docs/upgrading.md)") for name in DATABASES
    ]
    assert seen.code == 2
    text = centre.run("arp.status", out=None).text
    assert "3 databases: 3 with a problem" in text
    assert f"db1     {IDLE}" in text


def test_terminal_shows_tables_and_the_jid(centre):
    seen = centre.run("arp.audit", "db*", "glob", out=None)
    assert "entries of 3 databases: 0 wrong" in seen.text
    assert "jid 20" in seen.text
    assert "Traceback" not in seen.text


def test_minion_that_is_down_is_silent_and_not_gone(centre):
    down = centre.minions["db3"]
    down.machine.do("ip link set mgmt down")
    try:
        seen = centre.run("arp.audit", "timeout=20")
    finally:
        down.machine.do("ip link set mgmt up")
    assert seen.code == 4
    assert rows(seen, "silent", "minion", "why") == [
        ("db3", "no answer: it is down, or not connected")
    ]
    assert (seen.data["wrong"], seen.data["gone"]) == ([], [])
    centre.wait_for("db3")


def test_interrupted_heal_returns_what_is_known(centre):
    with black_hole(centre, "ipv4") as (_, _, ip, old, new), Bus(centre.master) as bus:
        words = [*command(centre.master), "--out=json", "arp.heal", "pause=600"]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as run:
            bus.heard("salt/run/", lambda found: any("wave" in each["data"] for each in found))
            os.kill(run.pid, signal.SIGINT)
            text, noise = run.communicate(timeout=60)
        answer = Answer(run.returncode, text, noise).data
        assert run.returncode == 130
        assert answer["interrupted"] is True
        assert [(row["ip"], row["old"], row["new"]) for row in answer["healed"]] == [(ip, old, new)]
        assert [row["why"] for row in answer["not_reached"]] == ["the run ended first"] * 2
        assert answer["retcode"] == 130


@pytest.mark.parametrize(
    ("words", "delays_s"),
    [
        (["arp.audit"], (0, 0.3, 0.6, 0.9, 1.2)),
        (["arp.heal", "test=True"], (0, 0.6, 1.2)),
        (["arp.status"], (0, 0.1)),
    ],
    ids=["audit", "heal", "status"],
)
def test_run_interrupted_at_any_moment_is_an_answer_with_exit_code_130(centre, words, delays_s):
    """From its first job on; before and after, Salt is at work, and Ctrl-C is Salt's."""
    words = [*command(centre.master), "--out=json", *words]
    for delay_s in delays_s:
        for _ in range(5):  # again where it had ended, as this test was kept from running
            run, is_late, text, noise = interrupted(centre.master, words, delay_s)
            if run.returncode == 130 or not is_late:
                break
        answer = Answer(run.returncode, text, noise).data
        assert (run.returncode, answer["retcode"]) == (130, 130), (delay_s, answer, noise)
        assert answer["summary"]


def interrupted(master, words, delay_s):
    """Interrupt a run some time after its first job; tell whether that was later than meant."""
    with (
        Bus(master) as bus,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run,
    ):
        heard = bus.heard("salt/job/", lambda all_: all_ and all_[-1]["tag"].endswith("/new"))
        stamp = datetime.datetime.fromisoformat(heard[-1]["data"]["_stamp"])
        time.sleep(delay_s)  # the moment is the case
        utc = datetime.timezone.utc
        waited = datetime.datetime.now(utc) - stamp.replace(tzinfo=utc)
        is_late = waited.total_seconds() > delay_s + 0.3
        run.send_signal(signal.SIGINT)
        text, noise = run.communicate(timeout=60)
    return run, is_late, text, noise


@pytest.fixture
def long_run(centre):
    """A job on db1 that asks about eighty hosts that are gone, and one that has another MAC.

    Nothing is sent to that one, so the kernel does not correct its entry by itself.
    """
    database, machines = centre.fabric.machines["db1"], centre.fabric.machines
    worker = machines.get("idle") or centre.fabric.worker("idle", 99, "02:00:00:00:00:99")
    for ip in [worker.ip, *(f"10.0.1.{number}" for number in range(150, 230))]:
        database.do(f"ip neigh replace {ip} lladdr 02:00:00:00:00:dd dev eth0 nud stale")
    words = ("--async", "db1", "arp.revalidate", "dev=eth0", "family=ipv4", "rate=8")
    with Bus(centre.master) as bus:
        jid = re.search("[0-9]{20}", run_on(centre.master, "salt", *words).stdout)[0]
        yield SimpleNamespace(jid=jid, bus=bus, ip=worker.ip, mac=worker.mac)
    centre.master.salt("db1", "saltutil.kill_job", jid)
    database.do("ip neigh flush dev eth0")


def healed_on_record(centre, ip):
    rows = centre.master.salt("db1", "arp_hygiene.healed")["db1"]
    return [row["new"] for row in rows if row["ip"] == ip and row["by"] == "revalidate"]


def test_long_revalidation_shows_progress_and_tells_what_it_did_when_terminated(centre, long_run):
    [event] = long_run.bus.heard("arp/revalidate/", bool)
    assert event["tag"] == f"arp/revalidate/{long_run.jid}/progress"
    assert event["data"]["id"] == "db1", "as the master has verified it"
    told = event["data"]["data"]
    assert told["of"] >= 81
    assert 0 <= told["probed"] < told["of"]
    database = centre.fabric.machines["db1"]
    poll("it was healed", 90, lambda: database.neighbour(long_run.ip)["lladdr"] == long_run.mac)
    centre.master.salt("db1", "saltutil.term_job", long_run.jid)

    def returned():
        return centre.run("jobs.lookup_jid", long_run.jid).data.get("db1")

    answer = poll("the job has returned", 60, returned, every_s=1)
    assert answer["interrupted"] is True
    assert answer["no_outcome"] > 0
    changes = [(row["ip"], row["new"]) for row in [*answer["healed"], *answer["changed"]]]
    assert (long_run.ip, long_run.mac) in changes
    assert healed_on_record(centre, long_run.ip)[-1:] == [long_run.mac]


def test_killed_revalidation_has_its_heals_on_record(centre, long_run):
    before = len(healed_on_record(centre, long_run.ip))
    poll(
        "the heal is on record",
        90,
        lambda: len(healed_on_record(centre, long_run.ip)) > before,
        every_s=1,
    )
    centre.master.salt("db1", "saltutil.kill_job", long_run.jid)
    assert centre.run("jobs.lookup_jid", long_run.jid).data == {}, "it was not finished"
    assert healed_on_record(centre, long_run.ip)[before:] == [long_run.mac]


def test_deleted_key_makes_the_address_gone(centre):
    """In a network of which the operator says that all of it is the fleet's. The last test."""
    worker = centre.fabric.machines["worker2"]
    must_connect(worker, centre.fabric.machines["db1"])
    centre.minions["worker2"].machine.do("ip link set mgmt down")  # or it asks for a new key
    run_on(centre.master, "salt-key", "-y", "-d", "worker2")
    seen = centre.run("arp.audit", "networks=10.0.1.0/24")
    assert ("db1", worker.ip, worker.mac) in rows(seen, "gone", "minion", "ip", "mac")
    assert seen.code == 2
    open_world = centre.run("arp.audit")
    assert open_world.data["gone"] == []
    assert open_world.data["counts"]["strangers"] > 0
