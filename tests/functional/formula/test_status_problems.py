"""Each way in which nothing is looked at is a problem of arp_hygiene.status, with what to do."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import time
import types

import pytest
from arp_engine import version
from arp_engine.reporting import sentinel_status
from formula import (  # noqa: F401
    CRON,
    NO_PIP,
    apply,
    caller,
    everything,
    mounted,
    needs_another_user,
    syslog,
    veth,
)

from lab.bare import hidden

UNIT = pathlib.Path("/etc/systemd/system/arp-hygiene-sentinel.service")
JOB = {"requirement": NO_PIP}
DAEMON = 1  # a user that every system has
ENGINE = {**JOB, "schedule": {"backend": "none"}, "sentinel": {"as": "engine"}}


@pytest.fixture
def status(apply):
    """Return a function: the one row of arp_hygiene.status."""
    return lambda: apply.caller.cmd("arp_hygiene.status")[0]


def by_hand(apply, **words):
    """Run once as an operator does, without the arguments of the schedule."""
    return apply.caller.cmd("arp_hygiene.run", how="flush", ip="192.0.2.77", **words)


@pytest.fixture
def busybox(tmp_path, monkeypatch):
    """The only cron daemon is busybox's: a stand-in that nobody starts."""
    (tmp_path / "busybox").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "busybox").chmod(0o755)
    with hidden({"cron": "cron", "crond": "cronie"}):
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        (tmp_path / "crond").symlink_to("busybox")
        yield


@pytest.fixture
def engine(apply):
    """The file of the sentinel's engine; before and afterwards there is no sentinel."""
    sentinel_status.remove(sentinel_status.PATH)
    path = (
        pathlib.Path(apply.caller.opts["conf_file"]).parent / "minion.d/arp_hygiene_sentinel.conf"
    )
    yield path
    path.unlink(missing_ok=True)
    sentinel_status.remove(sentinel_status.PATH)


def test_installed_job_that_ran_has_no_problem(apply, status):
    apply(JOB)
    assert (status()["problem"], status()["installed"]) == ("", "cron */5 * * * *")


def test_job_that_no_daemon_runs_is_overdue(apply, status, monkeypatch):
    apply(JOB)
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    monkeypatch.setattr(loaded["schedule"], "OVERDUE_S", -1800)  # as if it were half an hour later
    assert status()["problem"].startswith("overdue: a run was due at ")
    assert status()["problem"].endswith(
        "check that a cron daemon runs and reads /etc/cron.d; "
        "why a run that it started did nothing: journalctl -t arp_hygiene, or syslog"
    )


SALT_JOB = {"cron": "*/5 * * * *", "splay": {"start": 10, "end": 10}, "enabled": True}
DISABLED = "the job is disabled: schedule.enable_job arp_hygiene"
ALL_DISABLED = "the minion's scheduler is disabled, with all its jobs: schedule.enable"


@pytest.mark.parametrize("is_saved", [False, True], ids=["loaded", "saved"])
@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ({"arp_hygiene": SALT_JOB}, ""),
        ({"arp_hygiene": {**SALT_JOB, "enabled": False}}, DISABLED),
        ({"enabled": False, "arp_hygiene": SALT_JOB}, ALL_DISABLED),
    ],
    ids=["enabled", "job", "scheduler"],
)
def test_disabled_job_is_a_problem(apply, status, monkeypatch, schedule, problem, is_saved):
    """schedule.disable_job, as docs/upgrading.md tells; without persist=True no file has it."""
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    apply.record.mkdir(parents=True)
    enabled = {"arp_hygiene": SALT_JOB}
    monkeypatch.setitem(loaded["__opts__"], "schedule", enabled if is_saved else schedule)
    saved = pathlib.Path(loaded["_paths"]()["schedule"])
    saved.parent.mkdir(exist_ok=True)
    saved.write_text(json.dumps({"schedule": schedule if is_saved else enabled}))
    try:
        shown = status()
        assert (shown["installed"], shown["problem"]) == ("salt */5 * * * *", problem)
        assert bool(shown["next"]) is not bool(problem)
        monkeypatch.setattr(loaded["schedule"], "OVERDUE_S", -1800)  # half an hour later
        late = status()["problem"]
        assert late.startswith("overdue: ") if not problem else late == problem
    finally:
        saved.unlink()


@pytest.mark.parametrize("ahead_s", [3600, 3 * 365 * 86400], ids=["an hour", "three years"])
def test_run_of_a_clock_that_was_ahead_hides_no_overdue_run(apply, status, monkeypatch, ahead_s):
    """Salt's scheduler sleeps for as long as the clock was set back: PeriodicCallback."""
    apply(JOB)
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    run = {"how": "revalidate", "said": "", "failed": "", "metrics": None, "answer": {}}
    ahead = time.time() + ahead_s
    loaded["sinks"].record_run(str(apply.record), ahead, {**run, "sentinel": [], "scheduled": True})
    assert status()["last"] == loaded["run_history"].utc(int(ahead))
    monkeypatch.setattr(loaded["schedule"], "OVERDUE_S", -1800)
    assert status()["problem"].startswith("overdue: a run was due at ")


@pytest.fixture
def long_ago(apply, monkeypatch):
    """Return a function: what is installed was installed two hours ago, and the machine booted."""
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    clock = types.SimpleNamespace(time=time.time, monotonic=lambda: 1e6)
    monkeypatch.setitem(loaded, "time", clock)

    def age():
        for name in ("cron", "script", "schedule"):
            with contextlib.suppress(FileNotFoundError):
                os.utime(loaded["_paths"]()[name], (time.time() - 7300,) * 2)

    return age


@pytest.mark.parametrize("backend", ["cron", "salt"])
def test_run_by_hand_hides_no_overdue_run(apply, status, monkeypatch, long_ago, backend):
    """A reactor that runs it every ten minutes, beside a cron daemon that has died."""
    if backend == "cron":
        apply({**JOB, "schedule": {"every": 60}})
    else:
        loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
        job = {"cron": "0 * * * *", "kwargs": {"how": "revalidate", "scheduled": True}}
        monkeypatch.setitem(loaded["__opts__"], "schedule", {"arp_hygiene": job})
    long_ago()
    apply.caller.cmd("arp_hygiene.run")
    shown = status()
    assert shown["installed"] == f"{backend} 0 * * * *"
    assert shown["last"], "it is shown all the same"
    assert shown["problem"].startswith("overdue: a run was due at ")
    if backend == "cron":
        subprocess.run(["sh", str(apply.script)], check=True)
    else:
        apply.caller.cmd("arp_hygiene.run", scheduled=True)
    assert not status()["problem"]


def test_job_of_an_older_version_is_judged_by_any_run(apply, status, long_ago):
    """Its runs do not say that they are the schedule's: after an upgrade nothing is overdue."""
    apply({**JOB, "schedule": {"every": 60}})
    script = apply.script.read_text()
    assert " ARP_HYGIENE_SCHEDULED=1\n" in script
    apply.script.chmod(0o700)
    apply.script.write_text(script.replace(" ARP_HYGIENE_SCHEDULED=1", ""))
    long_ago()
    assert status()["problem"].startswith("overdue: ")
    apply.caller.cmd("arp_hygiene.run")
    assert not status()["problem"]


@pytest.mark.parametrize("clean", [{"ip": "10.9.0.0/16"}, {"exclude": ["0.0.0.0/0", "::/0"]}])
def test_selectors_that_match_nothing_are_a_problem(apply, status, veth, clean):
    """A typo must not read as clean; a table that had such an entry once is only idle."""
    apply({**JOB, "clean": clean})
    subprocess.run("ip link set v.1 up; ip link set v2 up", shell=True, check=True)

    def run():
        for address in ("192.0.2.9", "2001:db8::9"):  # written now: an old one may be collected
            words = ["ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:0a", "dev", veth]
            for state in ("permanent", "stale"):
                subprocess.run([*words, "nud", state], check=True)
        done = subprocess.run(
            ["sh", str(apply.script)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")

    for _ in range(2):
        run()
        assert status()["problem"] == ""
    run()
    assert status()["problem"].startswith("nothing selected: ")
    assert f"{next(iter(clean))}=" in status()["problem"]
    apply(JOB)
    assert status()["problem"] == "", "of the former job"


def test_full_disk_of_the_history_is_a_problem(apply, status):
    apply(JOB)
    with mounted("-t", "tmpfs", "-o", "size=4k,mode=750", "tmpfs", apply.record):
        assert status()["problem"] == ""
        (apply.record / "memory.json").write_text("{}" * 1500)  # no room for the next one
        assert "no space left" in status()["problem"]
        (apply.record / "memory.json").unlink()
        with contextlib.suppress(OSError):
            (apply.record / "theirs").write_bytes(b"x" * 9000)
        assert status()["problem"] == (
            f"runs cannot be recorded: no space left for {apply.record}: free some"
        )


def test_missing_history_directory_is_a_problem(apply, status):
    apply(JOB)
    shutil.rmtree(apply.record)
    assert status()["problem"] == (
        f"runs cannot be recorded: {apply.record} is missing: apply arp_hygiene again"
    )


@pytest.mark.parametrize(
    ("mode", "uid", "is_problem"),
    [(0o750, DAEMON, True), (0o770, DAEMON, False), (0o750, 0, False)],
)
def test_history_of_another_user_is_a_problem(apply, mode, uid, is_problem):
    """Their group may let the job's user in; root writes everywhere."""
    apply(JOB)
    apply.record.chmod(mode)
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    problem = loaded["facts"].why_unrecordable(str(apply.record), uid)
    assert problem == (
        f"runs cannot be recorded: {apply.record} belongs to root, and the job runs as daemon: "
        "apply arp_hygiene again"
        if is_problem
        else ""
    )


@needs_another_user
def test_history_that_the_jobs_user_cannot_write_is_a_problem(apply, status):
    apply(JOB)
    assert status()["problem"] == ""
    os.chown(apply.script, DAEMON, DAEMON)
    assert " belongs to root, and the job runs as daemon: apply arp" in status()["problem"]


@pytest.fixture
def metrics(apply, tmp_path):
    """The directory into which the last run has written metrics."""
    pytest.importorskip("prometheus_client")
    place = tmp_path / "metrics"
    place.mkdir()
    apply(JOB)
    by_hand(apply, metrics=str(place))
    return place


def test_missing_metrics_directory_is_a_problem(status, metrics):
    assert status()["problem"] == ""
    shutil.rmtree(metrics)
    assert status()["problem"] == (
        f"metrics directory {metrics} is missing: create it, "
        "or drop arp_hygiene:metrics from the pillar"
    )


def test_metrics_that_no_run_could_write_are_a_problem(apply, status, tmp_path):
    apply(JOB)
    with mounted("-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path):
        by_hand(apply, metrics=str(tmp_path))
        assert status()["problem"] == (
            f"metrics in {tmp_path} are missing: journalctl -t arp_hygiene says why"
        )


def test_metrics_older_than_the_last_run_are_a_problem(status, metrics):
    os.utime(metrics / "arp_hygiene.prom", (time.time() - 60,) * 2)
    assert status()["problem"] == (
        f"metrics in {metrics} are older than the last run: journalctl -t arp_hygiene says why"
    )


def a_minute_ago(apply, metrics):
    """Date the last metrics, and the job that wrote them, back by a minute."""
    memory = apply.record / "memory.json"
    history = json.loads(memory.read_text())
    history["metrics_at"] -= 60
    memory.write_text(json.dumps(history))
    os.utime(metrics / "arp_hygiene.prom", (history["metrics_at"],) * 2)
    os.utime(apply.script, (history["metrics_at"] - 1,) * 2)


def test_run_by_hand_hides_no_missing_metrics(apply, status, metrics):
    a_minute_ago(apply, metrics)
    by_hand(apply)
    assert status()["problem"] == "", "it writes none, and is no later run of the schedule"
    shutil.rmtree(metrics)
    assert status()["problem"].startswith(f"metrics directory {metrics} is missing")


def test_metrics_that_pillar_no_longer_wants_are_no_problem(apply, status, metrics):
    apply({**JOB, "metrics": str(metrics)})
    a_minute_ago(apply, metrics)
    assert not apply(JOB).failed
    assert not (metrics / "arp_hygiene.prom").exists()
    assert status()["problem"] == ""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["without metrics", "elsewhere"])
def test_removal_after_a_run_by_hand_leaves_no_metrics(apply, metrics, tmp_path, elsewhere):
    tree = {**JOB, "metrics": str(metrics)}
    by_hand(apply, **({"metrics": str(tmp_path)} if elsewhere else {}))
    written = list(tmp_path.rglob("arp_hygiene.prom"))
    assert len(written) == 1 + elsewhere
    told = apply(tree, "arp_hygiene.remove", test=True)
    done = apply(tree, "arp_hygiene.remove")
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert not list(tmp_path.rglob("arp_hygiene.prom"))
    assert list(apply(tree, "arp_hygiene.remove").states) == [
        "arp_hygiene has nothing to remove here"
    ]


def test_cron_of_busybox_is_a_problem(apply, status, busybox):
    CRON.write_text("# due: */5 * * * *, 0 s later\n")
    apply.record.mkdir(parents=True)
    assert status()["problem"].startswith("nothing reads the schedule: the cron daemon is busybox")


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
def test_cron_of_busybox_is_refused_before_anything_is_written(apply, busybox, test):
    refused(
        apply(JOB, test=test),
        "schedule:backend: 'cron': the cron daemon here is busybox, which does not read "
        "/etc/cron.d; use salt, or install another cron daemon",
    )
    assert not apply({**JOB, "schedule": {"backend": "salt"}}, test=True).failed


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ({"clean": {"dev": ["lo", "eth9"]}}, "clean:dev: no device 'eth9' here"),
        ({"metrics": "/no/where"}, "metrics: '/no/where' is not a directory here: create it first"),
        (
            {"requirement": {"wheels": "/no/where"}},
            "requirement:wheels: '/no/where' is not a directory here: create it first",
        ),
    ],
    ids=["device", "metrics", "wheels"],
)
def test_what_the_machine_lacks_is_refused_before_anything_is_written(apply, tree, line, test):
    before = everything()
    refused(apply({**JOB, **tree}, test=test), line)
    assert everything() == before
    assert not apply.record.exists()


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
def test_version_that_is_not_here_is_refused_before_anything_is_written(apply, tmp_path, test):
    here = importlib.metadata.version("pyroute2")
    before = everything()
    tree = {"install": "none", "version": ">=0.1,<0.2"}
    line = f"requirement:version: pyroute2 {here} is installed, which is not '>=0.1,<0.2'"
    refused(apply({"requirement": tree}, test=test), line)
    for name in ("pyroute2-0.9.5-py3-none-any.whl", "pyroute2-0.1.3.tar.gz.asc", "notes"):
        (tmp_path / name).touch()
    tree = {"wheels": str(tmp_path), "version": ">=0.1,<0.2"}
    line = f"requirement:wheels: no pyroute2>=0.1,<0.2 in {tmp_path}"
    refused(apply({"requirement": tree}, test=test), line)
    assert everything() == before
    (tmp_path / "pyroute2-0.1.3.tar.gz").touch()
    done = apply({"requirement": tree}, test=True)
    assert "pyroute2 is installed" in done.states


def test_none_installed_and_none_wanted_is_refused(apply, monkeypatch):
    loaded = apply.caller.sminion.functions["arp_hygiene.settings"].__globals__
    monkeypatch.setattr(loaded["facts"], "library_version", lambda _name: "")
    line = "requirement:install: 'none', but Salt's own Python has no pyroute2"
    refused(apply(JOB, test=True), line)
    assert not apply({**JOB, "schedule": {"backend": "none"}}, test=True).failed


def refused(done, line):
    """See that a state run was one state, which failed with this line as its comment."""
    [state] = done.states.values()
    assert (state["result"], state["comment"]) == (False, f"pillar arp_hygiene:{line}")


def test_engine_waits_for_the_minion(apply, status, engine):
    apply(ENGINE)
    assert status()["sentinel"] == "not running"
    assert status()["problem"] == (
        "sentinel: not started since boot: restart the minion, which reads its engines at its start"
    )


def test_engine_without_its_library_names_it(apply, status, engine, monkeypatch):
    apply(ENGINE)
    loaded = apply.caller.sminion.functions["arp_hygiene.status"].__globals__
    monkeypatch.setattr(loaded["facts"], "has_library", lambda _name: False)
    assert status()["problem"] == (
        "sentinel: not started since boot: pyroute2 is missing in Salt's own Python: "
        "salt-call pip.install 'pyroute2<0.10'"
    )


@pytest.fixture
def configured(caller):
    """An operator has named the engine in the minion's configuration, beside another one."""
    path = pathlib.Path(caller.opts["conf_file"]).parent / "minion.d/theirs.conf"
    path.parent.mkdir(exist_ok=True)
    path.write_text("engines: [reactor, {arp_sentinel: {dev: db0}}]\n")
    yield
    path.unlink()
    shutil.rmtree(os.path.dirname(sentinel_status.PATH), ignore_errors=True)


HEAL = {"ip": "192.0.2.10", "dev": "db0", "old": "02:00:00:00:00:0a", "new": "02:00:00:00:00:0b"}


def died():
    """Leave the status of a sentinel that was killed; return its process."""
    heal = {"at": int(time.time()), **HEAL, "by": "sentinel"}
    beat = {"pid": 2**22 + 1, "uptime_s": time.monotonic(), "heals": [heal]}
    sentinel_status.write(sentinel_status.PATH, beat)
    return beat["pid"]


def test_dead_engine_of_the_operators_own_is_a_problem(configured, apply, status):
    told = f"sentinel: process {died()} has exited: restart the minion, "
    for sls in ("arp_hygiene", "arp_hygiene.remove"):
        assert (status()["sentinel"], status()["healed_7d"]) == ("not running", 1)
        assert status()["problem"].startswith(told)
        assert not apply(JOB, sls).failed
    assert os.path.exists(sentinel_status.PATH), "the engine continues its counts"


def test_engine_that_refuses_an_option_is_a_problem(configured, status):
    """It writes so itself: tests/functional/sentinel/test_engine.py."""
    why = "no option 'device'; there are dev, ip"
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "failed": why, "refused": True}
    sentinel_status.write(sentinel_status.PATH, beat)
    assert status()["sentinel"] == "not running"
    assert status()["problem"] == f"sentinel: {why}: correct the option, then restart the minion"


@pytest.fixture
def loaded(apply, monkeypatch):
    """The minion had read the engine when it started, and runs it until it ends."""
    opts = apply.caller.sminion.functions["arp_hygiene.status"].__globals__["__opts__"]
    for each in (opts, apply.caller.sminion.opts):  # a state run may load the modules anew
        monkeypatch.setitem(each, "engines", [{"arp_sentinel": {}}])


LEFT = "sentinel: still runs until the minion restarts: restart the minion"


def test_engine_that_was_switched_off_runs_until_the_minion_restarts(apply, status, engine, loaded):
    apply(ENGINE)
    assert status()["problem"].startswith("sentinel: not started since boot: ")
    assert not apply({**ENGINE, "sentinel": False}).failed
    assert not engine.exists()
    assert (status()["sentinel"], status()["problem"]) == ("running", LEFT)
    # one that the operator has taken out of the configuration: its status file is there
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "last": "watching: db0"}
    sentinel_status.write(sentinel_status.PATH, {**beat, "code": version.code()})
    assert (status()["sentinel"], status()["problem"]) == ("running; watching: db0", LEFT)
    sentinel_status.write(sentinel_status.PATH, {**beat, "failed": "no option", "refused": True})
    assert status()["problem"] == "sentinel: no option: restart the minion"


def test_engine_that_is_configured_is_not_left_over(status, configured, loaded):
    assert status()["problem"].startswith("sentinel: not started since boot: ")


def test_corrupt_configuration_ends_no_status(apply, status, loaded):
    """A running minion has read it before; Salt's minion_config would end its process."""
    path = pathlib.Path(apply.caller.opts["conf_file"])
    text = path.read_text()
    path.write_text("id: [\n")
    try:
        assert (status()["sentinel"], status()["problem"]) == ("", "")
    finally:
        path.write_text(text)


def test_engine_of_the_operators_own_runs_older_code(configured, status):
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "last": "watching: db0"}
    sentinel_status.write(sentinel_status.PATH, {**beat, "code": version.code()})
    assert (status()["sentinel"], status()["problem"]) == ("running; watching: db0", "")
    sentinel_status.write(sentinel_status.PATH, {**beat, "code": "0123456789abcdef"})
    assert status()["problem"].endswith("code 0123456789abcdef): restart the minion")


def test_dead_sentinel_of_an_operators_shell_is_a_problem(apply, status, engine):
    told = f"sentinel: process {died()} has exited: start it again, or apply arp_hygiene, which "
    assert status()["problem"] == f"{told}removes its status"
    assert not apply(JOB).failed
    assert (status()["sentinel"], status()["problem"], status()["healed_7d"]) == ("", "", 1)


def test_sentinel_with_older_code_is_a_problem(apply, status, engine):
    apply(ENGINE)
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "last": "watching: db0"}
    sentinel_status.write(sentinel_status.PATH, {**beat, "code": version.code()})
    assert (status()["sentinel"], status()["problem"]) == ("running; watching: db0", "")
    older = {**beat, "version": "0.0.9", "code": "0123456789abcdef"}
    sentinel_status.write(sentinel_status.PATH, older)
    problem = "sentinel: older code than is synced (0.0.9, code 0123456789abcdef): "
    assert status()["problem"] == problem + "restart the minion"
    lines = engine.read_text().splitlines()
    lines[1] = "# It runs the code 0123456789abcdef."
    engine.write_text("\n".join(lines))
    assert status()["problem"] == problem + "apply arp_hygiene again"
    sentinel_status.write(sentinel_status.PATH, beat)
    assert "(of an unknown version): " in status()["problem"]


def test_sentinel_that_waits_for_a_device_is_a_problem(apply, status, engine):
    done = apply({**ENGINE, "sentinel": {"as": "engine", "dev": ["lo", "eht0"]}})
    line = "the sentinel waits for device eht0, which does not exist"
    assert done.states[line]["comment"] == line
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "code": version.code()}
    sentinel_status.write(sentinel_status.PATH, {**beat, "absent_devices": ["eht0"]})
    assert status()["problem"] == (
        "sentinel: waits for device eht0, which does not exist: correct `dev`, or create the device"
    )
    sentinel_status.write(sentinel_status.PATH, {**beat, "absent_devices": []})
    assert status()["problem"] == ""


def test_engine_not_restarted_since_its_configuration_is_a_problem(apply, status, engine):
    apply(ENGINE)
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "code": version.code()}
    sentinel_status.write(sentinel_status.PATH, {**beat, "since": int(time.time()) - 60})
    assert status()["problem"] == (
        "sentinel: started before its configuration was written: restart the minion"
    )
    sentinel_status.write(sentinel_status.PATH, {**beat, "since": int(time.time())})
    assert status()["problem"] == ""


SAYS = """#!/bin/sh
case "$*" in
"show --property=Result --value arp-hygiene-sentinel") echo {result} ;;
*--identifier=arp_hygiene*) echo "{line}" ;;
*) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("result", "line", "why"),
    [
        ("exit-code", "No module named 'x'", " (exit-code: No module named 'x')"),
        ("oom-kill", "", " (oom-kill)"),
        ("success", "", ""),
    ],
)
def test_service_that_died_tells_its_last_line(status, tmp_path, monkeypatch, result, line, why):
    """A real systemd does so in tests/integration/test_systemd_sentinel.py."""
    for name in ("systemctl", "journalctl"):
        (tmp_path / name).write_text(SAYS.format(result=result, line=line))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    sentinel_status.remove(sentinel_status.PATH)
    UNIT.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text("[Unit]\n")
    try:
        assert status()["problem"] == (
            f"sentinel: not started since boot{why}: see systemctl status arp-hygiene-sentinel"
        )
    finally:
        UNIT.unlink()


def test_dead_sentinels_status_is_removed(apply, status, engine):
    died()
    assert not apply(JOB, "arp_hygiene.remove").failed
    assert not os.path.exists(os.path.dirname(sentinel_status.PATH))
    assert (status()["healed_7d"], status()["sentinel"]) == (0, "")


def test_all_problems_are_named(apply, status, engine):
    assert not apply({**JOB, "sentinel": {"as": "engine"}}).failed
    shutil.rmtree(apply.record)
    assert status()["problem"].count("; ") == 1


def test_status_is_empty_after_removal(apply, engine):
    apply({**JOB, "sentinel": {"as": "engine"}})
    by_hand(apply)
    assert not apply(JOB, "arp_hygiene.remove").failed
    assert apply.fresh().cmd("arp_hygiene.status")[0] == {
        "installed": "", "last": "", "said": "no run yet", "healed_7d": 0, "next": "",
        "sentinel": "", "version": version.VERSION, "code": version.code(), "problem": "",
    }  # fmt: skip
    assert not os.path.exists(os.path.dirname(sentinel_status.PATH))
