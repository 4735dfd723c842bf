"""What the formula does on one minion: checked pillar and plain facts in, a plain plan out.

Asks nothing and changes nothing itself: the surface gathers :class:`Facts`, the formula's Jinja
writes down what the plan says. Standard library alone, no Salt: it works before anything is
installed. What does not fit here is a ValueError of one line that begins with the pillar's key.

A plan is a dict, the same keys always:

=========== ==============================================================================
refused     the line to end with, and nothing is done; empty where all is well
idle        nothing is to be done: pillar wants nothing, and nothing is there
name        of the job in Salt's own scheduler
backend     ``cron``, ``salt``, ``systemd`` or ``none``
former      parts to take away: what an earlier pillar had from us and this one has not
there       parts that have left something here: what ``arp_hygiene.remove`` takes away
paths       where each file of ours is, by name
job         the scheduled job in the backend's own words, see :func:`_job`; empty without one
requirement what is installed, a list: ``id``, ``name``, and either ``pip`` (arguments of
            pip.installed) or ``package`` (a package's name)
uninstall   removal takes away the requirement too
require     what a state must require to come after the requirement; empty where none is wanted
announce    what ``arp_hygiene.announce`` does, see formula/boot.py: for new machines
sentinel    how one is started, see formula/sentinel_unit.py
sysctl      ``settings`` (``name``, ``value``), ``lines`` of a file that keeps them; a line each:
            ``skipped`` (cannot be set here), ``dropped`` (pillar no longer names it) and ``left``
            (all that a removal leaves in force)
=========== ==============================================================================
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..reporting import sentinel_status, sinks
from . import boot, job_files, pillar, schedule, sentinel_unit
from . import facts as formula_facts

NAME = "arp_hygiene"  # of the job in Salt's own scheduler
PROMETHEUS = "prometheus_client>=0.12,<1"
PATHS = {
    "cron": "/etc/cron.d/arp_hygiene",
    "service": "/etc/systemd/system/arp-hygiene.service",
    "timer": "/etc/systemd/system/arp-hygiene.timer",
    "sysctl": "/etc/sysctl.d/60-arp-hygiene.conf",
    "sentinel_service": sentinel_unit.SERVICE,
}
_CRON_PACKAGES = {"Debian": "cron", "RedHat": "cronie", "Suse": "cronie", "Arch": "cronie"}

Plan = dict[str, Any]


class Facts(NamedTuple):
    """What is true of this minion. Nothing of it comes from pillar."""

    minion_id: str
    config_dir: str  # of the minion
    root_dir: str  # of Salt: "/" but in tests and odd installations
    os_family: str  # Salt's grain: Debian, RedHat, …
    booted: bool  # systemd is process 1
    gid: int | None  # the group of the user that pillar names; None: no such user
    salt_call: str  # the program to run, empty where there is none
    cron_here: bool  # a cron daemon is installed
    croniter_here: bool  # Salt's scheduler can read cron's notation
    found: dict[str, bool]  # part of the formula -> it has left something here
    textfile: str  # the metrics file that runs have left, or empty
    kept: dict[str, str]  # setting -> value, in our file of settings until now
    # family -> "default" or a device -> key -> why it cannot be written (empty: it can)
    sysctl: dict[str, dict[str, dict[str, str]]]
    announce: list[str]  # parts of arp_hygiene.announce that have left something here
    conf: dict[str, str]  # kernel settings of arp_hygiene.announce, likewise
    sentinel: sentinel_unit.Here


def paths(config_dir: str, root_dir: str) -> dict[str, str]:
    """Return where each file of ours is on this minion."""
    return {
        **PATHS,
        **{f"announce_{part}": path for part, path in boot.PATHS.items()},
        # not below Salt's cache, which saltutil.clear_cache empties
        "script": os.path.join(config_dir, "arp_hygiene.sh"),
        "record": sinks.history_directory(root_dir),
        "schedule": os.path.join(config_dir, "minion.d", "_schedule.conf"),
        "sentinel_code": os.path.join(config_dir, sentinel_unit.BUNDLE),
        "sentinel_status": os.path.dirname(sentinel_status.PATH),
        "sentinel_engine": os.path.join(config_dir, "minion.d", sentinel_unit.ENGINE),
    }


def refused(
    reason: str, places: dict[str, str], found: dict[str, bool], kept: dict[str, str]
) -> Plan:
    """Return the plan of a pillar that is wrong: what is there can still be taken away."""
    return {
        "refused": reason,
        "idle": False,
        "name": NAME,
        "backend": "none",
        "former": [],
        "there": [part for part, left in found.items() if left],
        "paths": places,
        "job": {},
        "requirement": [],
        "uninstall": False,
        "require": [],
        "sysctl": {
            "settings": [],
            "lines": [],
            "skipped": [],
            "dropped": [],
            "left": _left(kept, []),
        },
        "announce": boot.nothing(),
        "sentinel": sentinel_unit.nothing(),
    }


def plan(checked: pillar.Checked, facts: Facts) -> Plan:
    """Return what to do on a minion of which these facts are true."""
    places = {**paths(facts.config_dir, facts.root_dir), "textfile": facts.textfile}
    settings = _sysctl(checked.sysctl, facts.sysctl)
    settings["dropped"] = _left(facts.kept, settings["settings"])
    settings["left"] = _left(facts.kept, [])
    requirement = _requirement(checked)
    wanted = {
        checked.backend: checked.backend != "none",
        "script": checked.backend in ("cron", "systemd"),
        "textfile": bool(checked.metrics) and os.path.dirname(facts.textfile) == checked.metrics,
        "sysctl": bool(settings["settings"]),
        "sentinel": checked.sentinel is not None,
    }
    # announce: another SLS has put it there. record: heals by hand and by the sentinel are in it,
    # whatever the backend. Both are taken away by arp_hygiene.remove alone.
    kept = ("announce", "record")
    ours = {part for part, left in facts.found.items() if left and part not in kept}
    former = [part for part in facts.found if part in ours and not wanted.get(part)]
    return {
        **refused("", places, facts.found, facts.kept),
        "idle": not (requirement or former or checked.sysctl or any(wanted.values())),
        "backend": checked.backend,
        "former": former,
        "job": _job(checked, facts, places),
        "requirement": requirement,
        "uninstall": checked.requirement["uninstall"] and bool(requirement),
        "require": [{"id": each["id"]} for each in requirement],
        "sysctl": settings,
        "announce": _announce(checked, facts),
        "sentinel": sentinel_unit.plan(checked.sentinel, facts.sentinel),
    }


def _announce(checked: pillar.Checked, facts: Facts) -> Plan:
    """Return what a newcomer does; the same backend says what follows a boot."""
    config_dir = _config_dir(facts)
    arguments = checked.announce["arguments"]
    command = job_files.words(facts.salt_call, config_dir, arguments, boot.FUNCTION)
    backend, found = checked.backend, facts.announce
    return boot.plan(checked.announce, backend, command, facts.conf, found)


def _config_dir(facts: Facts) -> str | None:
    """Return the minion's directory, where salt-call must be told: in /etc/salt it looks itself."""
    return None if facts.config_dir == "/etc/salt" else facts.config_dir


def _requirement(checked: pillar.Checked) -> list[Plan]:
    """Return how each library gets here: by pip, as a package, or by somebody else."""
    how = checked.requirement
    libraries = [("pyroute2", f"pyroute2{how['version']}", how["package"])]
    if checked.metrics:
        libraries.append(("prometheus_client", PROMETHEUS, how["metrics_package"]))
    wheels = {"no_index": how["wheels"] is not None, "find_links": how["wheels"]}
    return [
        {
            "id": f"{name} is installed",
            "name": name,
            "pip": {"name": pip, **wheels} if how["install"] == "pip" else None,
            "package": package if how["install"] == "package" else None,
        }
        for name, pip, package in libraries
        if how["install"] != "none"
    ]


def _sysctl(wanted: dict[str, dict[str, int]], here: dict[str, dict[str, dict[str, str]]]) -> Plan:
    """Return the keys this network namespace has, and a word about each that it has not.

    ``default`` reaches every device nobody set by itself. A container has no such key: there the
    devices that exist are named one by one.
    """
    settings, skipped = [], []
    for key, scopes in wanted.items():
        for family in ("ipv4", "ipv6"):
            for scope, value in scopes.items():
                for name in _scopes(key, scope, here.get(family, {})):
                    shown = f"net.{family}.neigh.{name.replace('.', '/')}.{key}"
                    why = (
                        here.get(family, {})
                        .get(name, {})
                        .get(key, "not available in this network namespace")
                    )
                    if why:
                        skipped.append(f"skipped: {shown}: {why}")
                    else:
                        settings.append({"name": shown, "value": value})
    lines = [f"{each['name']} = {each['value']}" for each in settings]
    return {
        "settings": settings,
        "skipped": skipped,
        "lines": [job_files.HEAD, *lines] if lines else [],
    }


def _left(kept: dict[str, str], settings: list[Plan]) -> list[str]:
    """Return a line for each setting that we had made and is not among these: it still holds."""
    named = {each["name"] for each in settings}
    return [
        f"still in force until the next boot: {name} = {value}"
        for name, value in kept.items()
        if name not in named
    ]


def _scopes(key: str, scope: str, here: dict[str, dict[str, str]]) -> list[str]:
    """Return where one key is set: the default, one device, or every device for the default."""
    if scope == "default" and key not in pillar.THRESHOLDS and key not in here.get(scope, {}):
        return sorted(set(here) - {"lo", "default"}) or [scope]
    return [scope]


def _job(checked: pillar.Checked, facts: Facts, places: dict[str, str]) -> Plan:
    """Return the scheduled job in the words of the chosen backend, and how to prove it.

    All: ``user``, ``arguments`` (of arp_hygiene.run), ``proof`` (a command, or None: the minion
    calls the function). cron and systemd: ``script``, a text. cron: ``lines``, ``package`` (the
    daemon, where there is none). systemd: ``service``, ``timer``, lines each. salt: ``present``,
    the arguments of schedule.present.
    """
    if checked.backend == "none":
        return {}
    arguments = {"how": checked.how, **checked.arguments, "event": checked.event}
    if checked.metrics:
        arguments["metrics"] = checked.metrics
    if formula_facts.by_ssh(facts.root_dir):
        raise ValueError(_BY_SSH.format(checked.backend))
    span = schedule.span_s(checked.splay, *checked.when)
    wait_s = schedule.splay_s(facts.minion_id, span)
    if checked.backend == "salt":
        present = _salt_job(checked, arguments, wait_s, facts.croniter_here)
        return {
            "user": checked.user,
            "arguments": arguments,
            "proof": None,
            "present": present,
        }
    if facts.gid is None:
        raise ValueError(f"schedule:user: {checked.user!r}: no such user here")
    if not facts.salt_call:
        raise ValueError(_no_salt_call(checked.salt_call))
    path, by_systemd = places["script"], checked.backend == "systemd"
    config_dir = _config_dir(facts)
    job = {
        "user": checked.user,
        "arguments": arguments,
        "script": job_files.script(facts.salt_call, config_dir, arguments),
        "proof": job_files.proof(path, checked.user, facts.gid, capable=by_systemd),
    }
    when = schedule.cron_when(*checked.when)
    if by_systemd:
        if not facts.booted:
            raise ValueError("schedule:backend: 'systemd' is not running here; use cron or salt")
        times = schedule.calendar_when(when)
        return {
            **job,
            "service": job_files.service_lines(checked.how, checked.user, path, wait_s),
            "timer": job_files.timer_lines(checked.how, when, times, wait_s),
        }
    return {
        **job,
        "lines": job_files.cron_lines(when, checked.user, path, wait_s),
        "package": None if facts.cron_here else _CRON_PACKAGES.get(facts.os_family, "cron"),
    }


_BY_SSH = (
    "schedule:backend: {!r}: not supported over salt-ssh: requires an installed salt-minion; "
    "set 'none', and let the master's cron call `salt-ssh ... arp_hygiene.run`"
)


def _no_salt_call(named: str | None) -> str:
    if named:
        return f"schedule:salt_call: {named!r} is not an executable file here"
    return "schedule:salt_call: salt-call not found; set the path of the minion's salt-call"


def _salt_job(checked: pillar.Checked, arguments: Plan, wait_s: int, croniter_here: bool) -> Plan:
    """Return the arguments of schedule.present; Salt's scheduler does not understand all of it."""
    way, value = checked.when
    if checked.user != "root":
        raise ValueError(
            f"schedule:user: {checked.user!r}: with backend 'salt' the minion runs the job itself; "
            "omit it, or use cron or systemd"
        )
    if value == "@reboot":
        raise ValueError(
            "schedule:special: Salt's scheduler does not support @reboot; use cron or systemd"
        )
    if croniter_here and schedule.is_even(way, value):
        time = {"cron": " ".join(schedule.fields_of(way, value))}
    elif way == "every":
        # Counted from when the job was added, plus the splay; not at once on every minion.
        time = {"minutes": value, "run_on_start": False}
    else:
        raise ValueError(
            f"schedule:{'special' if way == 'special' else 'minute'}: Salt's scheduler reads "
            "cron's notation only where the Python package croniter is installed; use 'every'"
        )
    return {
        "function": job_files.FUNCTION,
        "job_kwargs": arguments,
        **time,
        "splay": {"start": wait_s, "end": wait_s},
        "maxrunning": 1,
        "return_job": False,  # syslog and the minion's log have it; no news burdens no master
    }
