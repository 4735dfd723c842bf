"""Kernel settings, systemd units and the requirement, each by itself."""

import pathlib
import subprocess

import pytest
import yaml
from formula import NO_PIP, REPO, SYSCTL, UNITS, WORKS, apply, caller, systemd, veth  # noqa: F401
from salt.exceptions import CommandExecutionError

from lab.bare import hidden, missing

RESOLICIT = {"requirement": NO_PIP, "sysctl": {"mcast_resolicit": 3}}


def live(device, key, family="ipv4"):
    return int(pathlib.Path(f"/proc/sys/net/{family}/neigh/{device}/{key}").read_text())


def test_kernel_settings_are_in_force_and_kept(apply, veth):
    tree = {
        "requirement": NO_PIP,
        "sysctl": {"mcast_resolicit": 3, "locktime": {veth: 0}, "gc_thresh1": 4},
    }
    told = apply(tree, test=True)
    assert live(veth, "mcast_resolicit") == 0
    done = apply(tree)
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    for device in (veth, "v2"):  # no `default` in a network namespace: its devices are named
        assert live(device, "mcast_resolicit") == 3
        assert live(device, "mcast_resolicit", "ipv6") == 3
    assert (live(veth, "locktime"), live("v2", "locktime")) == (0, 100)
    assert "net.ipv4.neigh.v/1.locktime = 0\n" in SYSCTL.read_text()
    skipped = [name for name in done.states if name.startswith("skipped: ")]
    assert (
        "skipped: net.ipv4.neigh.default.gc_thresh1: not available in this network namespace"
        in skipped
    )
    assert not apply(tree).changed


@pytest.mark.parametrize("value", [3, 7, 99, 101])
def test_setting_that_is_kept_in_ticks_is_set_once(apply, veth, value):
    """HZ 250: locktime 7 is 6 when it is read, and was a change at each apply."""
    tree = {"sysctl": {"locktime": value, "base_reachable_time_ms": 30_000 + value}}
    tree["requirement"] = NO_PIP
    assert apply(tree).changed
    for test in (True, False):
        again = apply(tree, test=test)
        assert (again.failed, again.changed, again.pending) == ({}, {}, [])
    assert abs(live(veth, "locktime") - value) <= 1
    left = apply({"requirement": NO_PIP}).states
    assert f"still in force until the next boot: net.ipv4.neigh.v/1.locktime = {value}" in left


def test_drifted_setting_is_set_again(apply, veth):
    apply(RESOLICIT)
    pathlib.Path("/proc/sys/net/ipv4/neigh/v2/mcast_resolicit").write_text("0")
    done = apply(RESOLICIT)
    assert done.changed == {
        "the kernel's neighbour settings are in force": {
            "net.ipv4.neigh.v2.mcast_resolicit": {"old": 0, "new": 3}
        }
    }
    assert live("v2", "mcast_resolicit") == 3


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
def test_refused_setting_names_those_set_before_it(apply, veth, test):
    """They stay in force: whoever reads the failure must know."""
    keys = "net.ipv4.neigh.v/1.mcast_resolicit", "net.ipv4.neigh.v/1.no_such_key"
    settings = [{"name": key, "value": 3} for key in keys]
    words = "arp_hygiene.sysctl", "kernel settings"
    [state] = apply.caller.cmd("state.single", *words, settings=settings, test=test).values()
    assert live(veth, "mcast_resolicit") == (0 if test else 3)
    before = "" if test else f"; in force already: {keys[0]} = 3 (was 0)"
    assert state["comment"] == f"cannot set {keys[1]} to 3: No such file or directory{before}"
    assert not state["result"]


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
def test_device_that_is_gone_meanwhile_is_no_failure_where_every_one_is_set(apply, veth, test):
    """A container's cable comes and goes; a key that a device does not have is still refused."""
    names = "net.ipv4.neigh.gone0.mcast_resolicit", "net.ipv4.neigh.v/1.mcast_resolicit"
    settings = [{"name": name, "value": 3, "may_vanish": True} for name in names]
    assert apply.caller.cmd("arp_hygiene.sysctl", settings, test=test) == {
        names[1]: {"old": 0, "new": 3}
    }
    settings.append({**settings[1], "name": "net.ipv4.neigh.v/1.no_such_key"})
    with pytest.raises(CommandExecutionError, match="no_such_key to 3: No such file or directory"):
        apply.caller.cmd("arp_hygiene.sysctl", settings, test=test)


def test_dropped_setting_leaves_the_file_and_stays_in_force(apply, veth):
    apply(RESOLICIT)
    assert SYSCTL.exists()
    done = apply({"requirement": NO_PIP})
    assert not SYSCTL.exists()
    key = f"net.ipv4.neigh.{veth.replace('.', '/')}.mcast_resolicit"
    assert f"still in force until the next boot: {key} = 3" in done.states
    assert live(veth, "mcast_resolicit") == 3, "and so it is"


def test_foreign_line_in_the_settings_file_is_ignored(apply, veth):
    apply(RESOLICIT)
    with SYSCTL.open("a", encoding="utf-8") as file:
        file.write("# was: net.ipv4.neigh.eth9.locktime = 0 = off\n")
    assert not apply(sls="arp_hygiene.remove").failed
    assert not SYSCTL.exists()


def test_setting_of_a_missing_device_is_skipped_and_named(apply):
    done = apply({"requirement": NO_PIP, "sysctl": {"mcast_resolicit": {"eth9": 3}}})
    assert not done.failed
    line = "skipped: net.ipv4.neigh.eth9.mcast_resolicit: no device 'eth9' here"
    assert done.states[line]["comment"] == line
    assert not SYSCTL.exists()


@pytest.mark.parametrize("test", [False, True], ids=["apply", "test"])
def test_typo_in_a_device_removes_no_settings(apply, veth, test):
    apply({"requirement": NO_PIP, "sysctl": {"mcast_resolicit": {veth: 3}}})
    before = SYSCTL.read_text()
    tree = {"requirement": NO_PIP, "sysctl": {"mcast_resolicit": {"v.l": 3}}}
    done = apply(tree, test=test)
    assert not done.failed
    assert not done.changed
    assert SYSCTL.read_text() == before
    [told] = [each["comment"] for each in done.states.values() if "waits for" in each["comment"]]
    assert told.startswith("sysctl:mcast_resolicit waits for device v.l, which does not exist: ")
    assert told.endswith("net.ipv6.neigh.v/1.mcast_resolicit = 3")
    assert apply({**tree, "sysctl": {"mcast_resolicit": {veth: 4}}}).changed
    assert not apply(sls="arp_hygiene.remove").failed
    assert not SYSCTL.exists()


@pytest.mark.skipif(bool(missing("systemd-analyze")), reason=missing("systemd-analyze"))
@pytest.mark.parametrize(
    ("schedule", "when"),
    [
        ({}, ["OnCalendar=*-*-* *:0/5:00"]),
        ({"hour": "3", "daymonth": "13", "dayweek": "fri"}, ["*-*-13 3:0:00", "Fri *-*-* 3:0:00"]),
        ({"special": "@reboot", "user": "daemon"}, ["OnBootSec=0"]),
    ],
    ids=["every", "fields", "reboot"],
)
def test_systemd_verifies_the_units(apply, systemd, veth, schedule, when):
    clean = {"exclude": ["192.0.2.1", "2001:db8::/64"], "dev": "v.1"}
    tree = {"schedule": {"backend": "systemd", **schedule}, "clean": clean, "requirement": NO_PIP}
    defaults = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text())
    job = apply.caller.cmd("arp_hygiene.settings", defaults, tree)["job"]
    for unit, lines in zip(UNITS, (job["service"], job["timer"]), strict=True):
        unit.parent.mkdir(parents=True, exist_ok=True)
        unit.write_text("\n".join(lines) + "\n")
    words = ["systemd-analyze", "verify", *[str(unit) for unit in UNITS]]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    service, timer = (unit.read_text() for unit in UNITS)
    assert f"ExecStart=/bin/sh {apply.script}\n" in service
    assert all(line in timer for line in when)


def test_timer_that_cannot_start_fails_its_state(apply, systemd):
    """The timer is a service like any other: what cannot start it says so, and the run fails."""
    done = apply({"schedule": {"backend": "systemd"}, "requirement": NO_PIP})
    assert list(done.failed) == ["the neighbour table is cleaned by systemd"]


@pytest.mark.parametrize(
    ("install", "state", "name"),
    [("package", "pkg", "python3-pyroute2"), ("pip", "pip", "pyroute2==0.7.3")],
)
def test_the_requirement_comes_first(apply, tmp_path, install, state, name):
    """Shown, not done: even to try, a package manager asks its index, and there is none here."""
    wheels = str(tmp_path)
    (tmp_path / "pyroute2-0.7.3-py3-none-any.whl").touch()
    tree = {"requirement": {"install": install, "version": "==0.7.3", "wheels": wheels}}
    low = apply.caller.cmd("state.show_low_sls", "arp_hygiene", pillar={"arp_hygiene": tree})
    first = min(low, key=lambda chunk: chunk["order"])
    assert (first["state"], first["fun"], first["name"]) == (state, "installed", name)
    assert first["__id__"] == "pyroute2 is installed"
    if install == "pip":
        assert (first["no_index"], first["find_links"]) == (True, wheels)
    (job,) = [chunk for chunk in low if chunk["__id__"] == WORKS]
    assert {"id": "pyroute2 is installed"} in job["require"]


def test_missing_cron_daemon_is_installed(apply):
    """The package is due before the job."""
    with hidden({"cron": "cron", "crond": "cronie"}):
        done = apply({"requirement": NO_PIP}, test=True)
    assert "a cron daemon is installed" in done.pending
    order = {name: state["__run_num__"] for name, state in done.states.items()}
    assert order["a cron daemon is installed"] < order["the neighbour table is cleaned by cron"]
    assert "a cron daemon is installed" not in apply({"requirement": NO_PIP}, test=True).states


def test_both_parts_at_once_install_one_cron_daemon(apply):
    """On a host without one, both need it: a database host that announces its addresses, too."""
    parts = "arp_hygiene,arp_hygiene.announce"
    with hidden({"cron": "cron", "crond": "cronie"}):
        done = apply({"requirement": NO_PIP}, parts, test=True)
    assert not done.refused
    order = {name: state["__run_num__"] for name, state in done.states.items()}
    jobs = "the neighbour table is cleaned by cron", "addresses are announced after each boot"
    for job in jobs:
        assert order["a cron daemon is installed"] < order[job]
        assert job in done.pending
