"""The formula renders and applies for real: what it installs, what that does, and its removal.

Real loaders and state runs in this process, no daemon; everything is written in the private world.
"""

import fcntl
import os
import pathlib
import threading
import time

import pytest
import yaml
from formula import (  # noqa: F401
    CRON,
    NO_PIP,
    REPO,
    WORKS,
    apply,
    caller,
    everything,
    mounted,
    needs_another_user,
    veth,
)


def test_defaults_are_applied_once(apply):
    told = apply({"requirement": NO_PIP}, test=True)
    assert not CRON.exists(), "a dry run writes nothing"
    done = apply({"requirement": NO_PIP})
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert "the neighbour table is cleaned by cron" in done.changed
    assert CRON.stat().st_mode & 0o777 == 0o644
    line = CRON.read_text().splitlines()[-1]
    assert line.startswith("*/5 * * * * root sleep ")
    assert line.endswith(f"; /bin/sh {apply.script}")
    assert (
        """ arp_hygiene.run 'how="revalidate"' rate=500 event=true """ in apply.script.read_text()
    )
    assert apply.script.stat().st_mode & 0o777 == 0o500, "nobody else can hold its lock"
    assert done.states[WORKS]["comment"] == "test run succeeded, nothing was changed"
    again = apply({"requirement": NO_PIP})
    assert not again.changed
    assert not again.failed


@pytest.mark.parametrize("tree", [None, {}, {"schedule": None, "clean": {}}], ids=str)
def test_empty_pillar_means_the_defaults(apply, tree):
    """A bare ``arp_hygiene:`` reads as None. And pip finds pyroute2 where it is already."""
    done = apply(tree)
    assert not done.failed
    assert "already installed" in done.states["pyroute2 is installed"]["comment"]
    assert """ arp_hygiene.run 'how="revalidate"' rate=500 """ in apply.script.read_text()


def test_pillar_example_is_valid_and_holds_the_defaults(apply):
    example = yaml.safe_load((REPO / "pillar.example").read_text())["arp_hygiene"]
    defaults = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text())
    assert example == defaults, "a key is missing in one of the two, or a value differs"
    done = apply(example)
    assert not done.failed
    assert CRON.exists()


@pytest.mark.parametrize(
    ("schedule", "start"),
    [
        ({"every": 15}, "*/15 * * * * root "),
        pytest.param(
            {"every": 120, "user": "nobody"}, "0 */2 * * * nobody ", marks=needs_another_user
        ),
        ({"hour": "3", "dayweek": "1-5"}, "0 3 * * 1-5 root "),
        ({"minute": 7, "daymonth": "1,15", "month": "jan-jun"}, "7 * 1,15 jan-jun * root "),
        ({"special": "@hourly"}, "@hourly root "),
    ],
)
def test_pillar_sets_times_and_user(apply, schedule, start):
    done = apply({"requirement": NO_PIP, "schedule": {"splay": 0, **schedule}})
    if "user" in schedule:  # another user needs a Salt of his own, and that is said at once
        assert next(iter(done.failed)) == WORKS
        assert not CRON.exists()
        return
    assert not done.failed
    assert CRON.read_text().splitlines()[-1] == f"{start}/bin/sh {apply.script}"


def test_pillar_sets_function_and_arguments(apply, veth):
    clean = {
        "how": "flush",
        "ip": ["10.0.1.0/24", "2001:db8::/64"],
        "dev": "v.1",
        "state": ["STALE", "FAILED"],
        "exclude": "10.0.1.1",
    }
    assert not apply({"requirement": NO_PIP, "clean": clean}).failed
    assert (
        """ arp_hygiene.run 'how="flush"' 'ip=["10.0.1.0/24", "2001:db8::/64"]' 'dev="v.1"' """
        """'state=["STALE", "FAILED"]' 'exclude="10.0.1.1"' event=true """
    ) in apply.script.read_text()


def test_script_readable_by_others_is_mended(apply):
    """It is the lock of the job: who can open it can keep the job from running."""
    apply({"requirement": NO_PIP})
    apply.script.chmod(0o644)
    assert list(apply({"requirement": NO_PIP}).changed) == [
        "the script of a scheduled run is installed"
    ]
    assert apply.script.stat().st_mode & 0o777 == 0o500


def test_backend_none_removes_the_former_schedule(apply):
    apply({"requirement": NO_PIP})
    done = apply({"requirement": NO_PIP, "schedule": {"backend": "none"}})
    assert sorted(done.changed) == [
        "cron no longer cleans the neighbour table",
        "the run history is no minion's",
        "the script of a scheduled run is removed",
    ]
    assert not CRON.exists()
    assert apply.record.exists(), "heals by hand are recorded there too"
    assert not apply({"requirement": NO_PIP, "schedule": {"backend": "none"}}).changed


def test_remove_leaves_everything_as_it_was(apply, veth):
    """Byte for byte, with crontabs and settings of others beside ours."""
    pathlib.Path("/etc/cron.d/theirs").write_text("# theirs\n0 0 * * * root true\n")
    pathlib.Path("/var/spool/cron/crontabs/root").write_text("@daily true # no newline at the end")
    before = everything()
    apply({"requirement": NO_PIP, "sysctl": {"mcast_resolicit": 3}})
    assert len(everything()) == len(before) + 2, "a cron file and sysctl settings"
    told = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove", test=True)
    done = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove")
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert everything() == before
    key = f"net.ipv4.neigh.{veth.replace('.', '/')}.mcast_resolicit"
    assert f"still in force until the next boot: {key} = 3" in done.states
    again = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove")
    assert (again.failed, again.changed) == ({}, {})
    assert list(again.states) == ["arp_hygiene has nothing to remove here"]


def test_removal_waits_for_a_run_in_progress(apply):
    apply({"requirement": NO_PIP})
    left = []

    def run():
        """End two seconds after the schedule is gone, and write the history then."""
        deadline = time.monotonic() + 300
        while CRON.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        left.extend(path for path in (apply.script, apply.record) if path.exists())
        (apply.record / "memory.json").write_text("{}")
        held.close()

    held = apply.script.open()
    fcntl.flock(held, fcntl.LOCK_EX)
    late = threading.Thread(target=run)
    late.start()
    done = apply(sls="arp_hygiene.remove")
    late.join(330)
    assert not done.failed
    assert left == [apply.script, apply.record], "they were removed while it ran"
    assert not apply.script.exists()
    assert not apply.record.exists()


@pytest.mark.parametrize(
    ("options", "result", "comment"),
    [
        ({"test": True}, True, "would wait for the run that is in progress"),
        (
            {"timeout": 1},
            False,
            "a run is still in progress after 1 s: apply this again when it has ended",
        ),
    ],
    ids=["test", "apply"],
)
def test_run_that_does_not_end_is_told(apply, options, result, comment):
    apply({"requirement": NO_PIP})
    with apply.script.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        words = "arp_hygiene.run_ended", "no run is in progress"
        [state] = apply.caller.cmd("state.single", *words, **options).values()
    assert (state["result"], state["comment"]) == (result, comment)


@pytest.mark.parametrize("backend", ["cron", "salt"])
def test_failed_test_run_leaves_the_former_job_in_force(apply, backend):
    """Here the history is on a read-only file system."""
    assert not apply({"requirement": NO_PIP}).failed
    before = everything(), apply.script.read_bytes()
    with mounted("-t", "tmpfs", "-o", "ro,mode=750", "tmpfs", apply.record):
        done = apply({"requirement": NO_PIP, "schedule": {"backend": backend, "every": 10}})
    assert next(iter(done.failed)) == WORKS
    assert "cannot be written: a run could not record its result there" in done.failed[WORKS]
    assert (everything(), apply.script.read_bytes()) == before
    done = apply({"requirement": NO_PIP, "schedule": {"backend": backend, "every": 10}})
    assert bool(done.failed) is (backend == "salt"), "no minion runs here whose scheduler takes it"
    assert CRON.exists(), "it goes when its successor is installed, not before"


NOBODY = 65534


@needs_another_user
def test_failed_test_run_leaves_the_history_to_the_former_job(apply):
    """Another user needs a Salt of their own; that the history is another user's is no reason."""
    assert not apply({"requirement": NO_PIP}).failed
    history = apply.record / "memory.json"
    history.write_text("{}")
    done = apply({"requirement": NO_PIP, "schedule": {"user": "nobody"}})
    assert next(iter(done.failed)) == WORKS
    assert str(apply.record) not in done.failed[WORKS]
    assert [path.stat().st_uid for path in (apply.record, history)] == [0, 0]


@needs_another_user
def test_history_of_another_user_is_given_to_the_jobs_user(apply):
    """After the test run, before the job is installed; also what a heal by hand has left in it."""
    apply.record.mkdir(parents=True, mode=0o755)
    history = apply.record / "memory.json"
    history.write_text("{}")
    for path in (apply.record, history):
        os.chown(path, NOBODY, NOBODY)
    told = apply({"requirement": NO_PIP}, test=True)
    done = apply({"requirement": NO_PIP})
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    order = {name: state["__run_num__"] for name, state in done.states.items()}
    given, script = "the run history is the job's", "the script of a scheduled run is installed"
    assert order[WORKS] < order[given] < order[script]
    assert given in done.changed
    assert [path.stat().st_uid for path in (apply.record, history)] == [0, 0]
    assert apply.record.stat().st_mode & 0o777 == 0o750
