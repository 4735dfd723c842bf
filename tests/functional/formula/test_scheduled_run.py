"""One scheduled run, started as cron would start it: what it tells, and how it fails.

The installed line, the real script, a real salt-call and a real syslog socket. A failure is one
line, the reason first, the same to syslog and to cron's mail, and nothing else.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import Scene
from formula import BIN, CRON, NO_PIP, REPO, apply, caller, mounted, syslog, veth  # noqa: F401

from lab.bare import missing

DEAD = "02:00:00:00:00:0a"


@pytest.fixture
def installed(apply, veth):
    """Return a function that installs the job without a wait, and fails where it cannot work."""

    def install(**tree):
        schedule = {"splay": 0, **tree.pop("schedule", {})}
        done = apply({"requirement": NO_PIP, "sysctl": None, "schedule": schedule, **tree})
        assert not done.failed
        return apply

    return install


def command():
    """What cron hands to the shell: all after five fields and the user, % no longer escaped."""
    return CRON.read_text().splitlines()[-1].split(" ", 6)[-1].replace(r"\%", "%")


def fire(*before):
    """Run the installed line as cron would, in cron's own small environment; return its mail."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root", "SHELL": "/bin/sh"}
    words = [*before, "/bin/sh", "-c", command()]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""
    assert bool(done.returncode) == bool(done.stdout)
    return done.stdout


def fails(syslog, *before):
    """Run once, it must fail; return its one line, which mail and syslog have alike."""
    mail = fire(*before)
    line, *more = mail.splitlines()
    assert more == []
    assert 0 < len(mail.encode()) <= 500
    assert syslog.lines() == [f"arp_hygiene: {line}"]
    return line


def neighbour(address, device="v.1", state="stale"):
    words = f"ip neigh replace {address} lladdr {DEAD} nud {state} dev {device}"
    subprocess.run(words.split(), check=True)


def test_run_without_result_logs_nothing(installed, syslog):
    installed()
    assert fire() == ""
    assert syslog.lines() == []


def test_module_of_an_older_version_runs_between_sync_and_apply(installed, syslog, caller):
    """To go back: the installed script passes no argument that the older module refuses."""
    installed()
    module = pathlib.Path(caller.opts["extension_modules"], "modules", "arp_hygiene_run.py")
    now = module.read_text()
    older = now.replace("    scheduled=False,\n):", "):\n    scheduled = False")
    assert older != now
    try:
        module.write_text(older)
        assert fire() == ""
    finally:
        module.write_text(now)
    assert syslog.lines() == []


def test_result_is_one_line_and_is_recorded(installed, syslog, caller):
    installed(clean={"how": "flush"})
    subprocess.run("ip addr add 192.0.2.1/24 dev v.1", shell=True, check=True)
    neighbour("192.0.2.10")
    assert fire() == ""
    assert syslog.lines() == ["arp_hygiene: 1 flushed"]
    (row,) = caller.cmd("arp_hygiene.status")
    assert row["installed"] == "cron */5 * * * *"
    assert row["said"] == "1 flushed"
    assert row["last"].endswith("Z")
    assert row["next"].endswith("Z")
    assert (row["healed_7d"], row["problem"]) == (0, "")


def test_next_run_is_in_utc_like_the_last(installed, caller, monkeypatch):
    installed()
    monkeypatch.setenv("TZ", "XXX-9")
    time.tzset()
    before = datetime.datetime.now(datetime.timezone.utc)
    try:
        (row,) = caller.cmd("arp_hygiene.status")
    finally:
        monkeypatch.undo()
        time.tzset()
    due = datetime.datetime.fromisoformat(row["next"].replace("Z", "+00:00"))
    assert (
        before < due < datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=7)
    )


def test_missing_device_fails_the_run(installed, syslog):
    installed(clean={"dev": "v.1"})
    subprocess.run("ip link set v.1 name v.2", shell=True, check=True)
    try:
        assert "dev: no device 'v.1' here" in fails(syslog)
    finally:
        subprocess.run("ip link set v.2 name v.1", shell=True, check=True)


def test_missing_capability_fails_the_run(installed, syslog):
    installed(clean={"how": "flush"})
    neighbour("192.0.2.10")
    line = fails(syslog, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "EPERM" in line
    assert "CAP_NET_ADMIN" in line


def test_run_after_clear_cache_syncs_the_modules(installed, syslog, caller):
    installed()
    assert list(pathlib.Path(caller.opts["extension_modules"]).rglob("arp_hygiene_run.py"))
    caller.cmd("saltutil.clear_cache")
    assert not list(pathlib.Path(caller.opts["extension_modules"]).rglob("arp_hygiene_run.py"))
    assert fire() == ""
    assert syslog.lines() == []


def test_run_without_cache_directory_works(installed, syslog, caller):
    installed()
    shutil.rmtree(caller.opts["cachedir"])
    assert fire() == ""
    assert syslog.lines() == []


@pytest.fixture
def unsynced(caller):
    """No module is on the minion, and none can be had: its file roots are empty."""
    config = pathlib.Path(caller.opts["conf_file"])
    modules = pathlib.Path(caller.opts["extension_modules"])
    text, aside = config.read_text(), modules.with_name("aside")

    def take():
        config.write_text(json.dumps({**json.loads(text), "file_roots": {"base": []}}))
        modules.rename(aside)

    yield take
    config.write_text(text)
    if aside.exists():
        shutil.rmtree(modules)  # what a run tried to sync
        aside.rename(modules)


def test_modules_that_cannot_be_synced_fail_the_run(installed, syslog, unsynced):
    installed()
    unsynced()
    assert fails(syslog) == (
        "modules not found, and syncing them failed (the master has no "
        "_modules/arp_hygiene_run.py: check its file_roots): then run salt '<id>' saltutil.sync_all"
    )


def test_missing_pyroute2_fails_the_run(installed, syslog, tmp_path):
    import pyroute2

    installed()
    place = pathlib.Path(pyroute2.__file__).parent
    with mounted("--bind", tmp_path, place):
        assert fails(syslog) == (
            "pyroute2 is missing in Salt's own Python: salt-call pip.install 'pyroute2<0.10'"
        )


def test_missing_salt_call_fails_the_run(installed, syslog, tmp_path):
    program = tmp_path / "salt-call"
    program.symlink_to(BIN / "salt-call")
    installed(schedule={"salt_call": str(program)})
    program.unlink()
    assert fails(syslog) == f"{program} not found: apply arp_hygiene again"


@pytest.mark.parametrize("how", ["read-only", "full"])
def test_unwritable_log_directory_does_not_matter(installed, syslog, caller, how):
    installed()
    place = pathlib.Path(caller.opts["log_file"]).parent
    place.mkdir(parents=True, exist_ok=True)
    with mounted("-t", "tmpfs", "-o", "size=4k", "tmpfs", place):
        if how == "full":
            with contextlib.suppress(OSError):
                (place / "theirs").write_bytes(b"x" * 9000)
        else:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        before = sorted(place.rglob("*"))
        assert fire() == ""
        assert syslog.lines() == []
        assert sorted(place.rglob("*")) == before


def test_second_run_is_skipped_while_one_is_in_progress(installed, syslog):
    """While one run holds the lock, the next leaves itself out, and says so."""
    with installed().script.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fails(syslog) == "skipped: the previous run is still in progress"
    assert fire() == ""


def test_test_run_needs_no_lock(installed):
    """It changes nothing, so a run in progress neither fails nor delays it."""
    with installed().script.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        installed()


def salt_calls(run):
    """Return the processes of Python that a run has begun, whatever Salt calls them by now."""
    parents, python = {}, os.path.realpath(sys.executable)
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            status = (place / "status").read_text(encoding="utf-8")
            parents[int(place.name)] = int(re.search(r"^PPid:\t(\d+)", status, re.MULTILINE)[1])

    def is_of_run(pid):
        return pid == run.pid or (pid in parents and is_of_run(parents[pid]))

    found = set()
    for pid in filter(is_of_run, parents):
        with contextlib.suppress(OSError):
            if os.path.realpath(f"/proc/{pid}/exe") == python:
                found.add(pid)
    return found


def start():
    """Start the installed line as cron would, and do not wait for it."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/root"}
    words = ["/bin/sh", "-c", command()]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def in_its_middle(installed):
    """A run that has asked once, and will ask again in 100 s; and the processes of its Salt."""
    installed(clean={"rate": 0.01, "dev": "v.1"})
    for words in ("link set v2 up", "link set v.1 up", "address add 192.0.2.1/24 dev v.1"):
        subprocess.run(["ip", *words.split()], check=True)
    for last in range(10, 14):
        neighbour(f"192.0.2.{last}")
    run = start()

    def asking():  # its packet socket is open
        return len(pathlib.Path("/proc/thread-self/net/packet").read_text().splitlines()) > 1

    Scene.until(asking, 120)
    return run, salt_calls(run)


def test_sigterm_during_a_run_is_reported(in_its_middle, syslog):
    """Salt's own answer to SIGTERM is exit code 0 and not a word."""
    run, begun = in_its_middle
    for pid in begun:
        with contextlib.suppress(ProcessLookupError):  # Salt's own helpers end by themselves
            os.kill(pid, signal.SIGTERM)
    mail, _ = run.communicate(timeout=60)
    assert run.returncode == 143
    assert mail == "no result: stopped by a signal before it finished\n"
    assert syslog.lines() == [f"arp_hygiene: {mail.strip()}"]


@pytest.fixture
def stop():
    """Return a function: the command of docs/upgrading.md for what cron has started."""
    if reason := missing("pkill"):
        pytest.skip(reason)
    page = (REPO / "docs/upgrading.md").read_text(encoding="utf-8")
    (words,) = re.findall(r"`(pkill .*?)`", page)
    return lambda: subprocess.run(words, shell=True, check=True)


def test_documented_command_stops_a_run_that_works(in_its_middle, stop):
    run, begun = in_its_middle
    stop()
    assert run.communicate(timeout=60)[0].endswith("stopped by a signal before it finished\n")
    Scene.until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in begun))


def test_documented_command_stops_a_run_that_sleeps(installed, stop):
    installed(schedule={"every": 60, "splay": 1800})
    assert command().startswith("sleep ")
    run = start()
    stop()
    assert run.wait(timeout=30) == -signal.SIGTERM
    run.stdout.close()


def test_failed_runs_leave_no_files(installed, syslog, caller):
    installed(clean={"dev": "v.1"})
    root = pathlib.Path(caller.opts["root_dir"])

    def files():
        return {str(path) for path in root.rglob("*") if path.is_file() and ".pyc" not in path.name}

    fire()
    before = files()
    subprocess.run("ip link set v.1 name v.2", shell=True, check=True)
    try:
        for _ in range(2):
            fire()
    finally:
        subprocess.run("ip link set v.2 name v.1", shell=True, check=True)
    assert files() == before


def test_corrupt_history_is_reported_and_replaced(installed, syslog, caller):
    memory = installed().record / "memory.json"
    memory.write_text('{"last": {"at": 17')
    (row,) = caller.cmd("arp_hygiene.status")
    assert "memory.json (corrupt); starting with an empty run history" in row["problem"]
    assert fire() == ""
    (line,) = syslog.lines()
    assert line.endswith("memory.json (corrupt); starting with an empty run history")
    assert json.loads(memory.read_text())["totals"]["runs"] == 1
    assert fire() == ""
    assert syslog.lines() == []


def test_run_ends_while_the_reader_of_syslog_is_stopped(installed, syslog, caller):
    """Its line is lost; where it waited for ever, no further run would come."""
    installed(clean={"how": "flush"})
    neighbour("192.0.2.10")
    syslog.fill()
    assert fire("timeout", "60") == ""
    assert set(syslog.lines()) == {"arp_hygiene: full"}
    assert caller.cmd("arp_hygiene.status")[0]["said"] == "1 flushed"
    neighbour("192.0.2.10")
    assert fire() == ""
    assert syslog.lines() == ["arp_hygiene: 1 flushed"]


def test_full_disk_is_reported_and_the_run_happens(installed, syslog):
    """The run itself still happens: its disk is not what it is about."""
    record = installed(clean={"how": "flush"}).record
    with mounted("-t", "tmpfs", "-o", "size=4k,mode=750", "tmpfs", record):
        with contextlib.suppress(OSError):
            (record / "theirs").write_bytes(b"x" * 9000)
        neighbour("192.0.2.10")
        assert fire() == ""
        done, problem = syslog.lines()
        assert done == "arp_hygiene: 1 flushed"
        assert problem.endswith("(No space left on device): the run history lacks this run")
