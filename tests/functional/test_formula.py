"""The formula renders and applies for real: what it installs, what that does, and its removal.

Real loaders and state runs in this process, no daemon; everything is written in the private world.
"""

import fcntl
import pathlib
import subprocess

import pytest
import yaml
from formula import CRON, NO_PIP, REPO, apply, caller, everything, veth  # noqa: F401


def test_the_defaults_are_applied_once(apply):
    told = apply({"requirement": NO_PIP}, test=True)
    assert not CRON.exists(), "a dry run writes nothing"
    done = apply({"requirement": NO_PIP})
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert "the neighbour table is cleaned by cron" in done.changed
    assert CRON.stat().st_mode & 0o777 == 0o644
    line = CRON.read_text().splitlines()[-1]
    assert line.startswith("*/5 * * * * root sleep ")
    assert " arp.revalidate rate=100 2>&1)" in line
    again = apply({"requirement": NO_PIP})
    assert not again.changed
    assert not again.failed


@pytest.mark.parametrize("tree", [None, {}, {"schedule": None, "clean": {}}], ids=str)
def test_an_empty_pillar_means_the_defaults(apply, tree):
    """A bare ``arp_hygiene:`` reads as None. And pip finds pyroute2 where it is already."""
    done = apply(tree)
    assert not done.failed
    assert "already installed" in done.states["pyroute2 is installed"]["comment"]
    assert " arp.revalidate rate=100 2>&1)" in CRON.read_text()


def test_pillar_example_is_valid_and_holds_the_defaults(apply):
    example = yaml.safe_load((REPO / "pillar.example").read_text())["arp_hygiene"]
    defaults = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text())
    assert example == defaults, "a key is missing in one of the two, or a value differs"
    done = apply(example)
    assert not done.failed
    assert CRON.exists()


def ids_here():
    """How many users this world knows: a user namespace made without newuidmap knows one."""
    rows = pathlib.Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(row.split()[2]) for row in rows)


needs_another_user = pytest.mark.skipif(
    ids_here() == 1,
    reason="there is one user here, no file can be another's (newuidmap is missing)",
)


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
def test_pillar_says_when_and_who(apply, schedule, start):
    done = apply({"requirement": NO_PIP, "schedule": {"splay": 0, **schedule}})
    assert not done.failed
    assert CRON.read_text().splitlines()[-1].startswith(start + "out=$(flock -n ")


def test_pillar_says_what(apply):
    clean = {
        "how": "flush",
        "ip": ["10.0.1.0/24", "2001:db8::/64"],
        "dev": "eth0",
        "state": ["STALE", "FAILED"],
        "exclude": "10.0.1.1",
    }
    assert not apply({"requirement": NO_PIP, "clean": clean}).failed
    assert (
        """ arp.flush 'ip=["10.0.1.0/24", "2001:db8::/64"]' 'dev="eth0"' """
        """'state=["STALE", "FAILED"]' 'exclude="10.0.1.1"' 2>&1)"""
    ) in CRON.read_text()


def test_none_takes_the_former_schedule_away(apply):
    apply({"requirement": NO_PIP})
    done = apply({"requirement": NO_PIP, "schedule": {"backend": "none"}})
    assert sorted(done.changed) == [
        "cron no longer cleans the neighbour table",
        "the cron job's lock is gone",
    ]
    assert not CRON.exists()
    assert not apply({"requirement": NO_PIP, "schedule": {"backend": "none"}}).changed


def test_remove_leaves_everything_as_it_was(apply, veth):
    """Byte for byte, with crontabs and settings of others beside ours."""
    pathlib.Path("/etc/cron.d/theirs").write_text("# theirs\n0 0 * * * root true\n")
    pathlib.Path("/var/spool/cron/crontabs/root").write_text("@daily true # no newline at the end")
    before = everything()
    apply({"requirement": NO_PIP})
    assert len(everything()) == len(before) + 2, "a cron file and sysctl settings"
    told = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove", test=True)
    done = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove")
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert everything() == before
    again = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove")
    assert (again.failed, again.changed) == ({}, {})
    assert list(again.states) == ["arp_hygiene has nothing to do here"]


def installed_command():
    """What cron hands to the shell: all after five fields and the user, % no longer escaped."""
    return CRON.read_text().splitlines()[-1].split(" ", 6)[-1].replace(r"\%", "%")


def fire():
    """Run the installed line as cron would: /bin/sh, cron's own small environment."""
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    words = ["/bin/sh", "-c", installed_command()]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    return done.stdout


def test_a_run_that_succeeds_says_nothing(apply, veth):
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}, "clean": {"dev": veth}})
    assert fire() == ""


def test_a_run_that_fails_says_why(apply):
    """eth9 is a good name, and there is no such device when the run is due."""
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}, "clean": {"dev": "eth9"}})
    told = fire()
    assert told.startswith("exit 1: ")
    assert "dev: no device 'eth9' here" in told


def test_a_slow_run_is_not_overtaken(apply, caller):
    """While one run holds the lock, the next leaves itself out, and says so."""
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}})
    lock = pathlib.Path(caller.opts["cachedir"], "arp_hygiene.lock")
    assert lock.stat().st_mode & 0o777 == 0o600, "nobody else can hold it"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fire() == "exit 75: \n"
    assert fire() == ""
