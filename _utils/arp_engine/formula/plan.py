"""What the formula does on one minion: checked pillar and plain facts in, a plain plan out.

Reads and changes nothing itself: the module collects :class:`Facts`, the formula's Jinja writes
what the plan says. Standard library alone, no Salt: it works before anything is installed. Pillar
that this minion cannot satisfy is a ValueError of one line that begins with the pillar's key.

A plan is a dict, always with the same keys:

=========== ==============================================================================
refused     why nothing is done, one line; empty where the pillar is valid
unread      one line: where more that is to be removed may be named, in what is refused; or empty
idle        True: pillar wants nothing, and nothing is installed
name        of the job in Salt's own scheduler
backend     ``cron``, ``salt``, ``systemd`` or ``none``
former      installed parts to remove: an earlier pillar wanted them and this one does not
there       installed parts
foreign     another minion's of this host: part or file to the directory where that is configured
removes     what ``arp_hygiene.remove`` removes: ``there`` without ``foreign``
stays       a line for each of ``foreign``
paths       name to path of each file of the formula
job         the scheduled job in the backend's own format, see :func:`_job`; empty without one
requirement what is installed, a list: ``id``, ``name``, and either ``pip`` (arguments of
            pip.installed) or ``package`` (a package's name)
uninstall   removal uninstalls the requirement too
require     requisites that put a state after the requirement; empty where none is installed
announce    what ``arp_hygiene.announce`` does on a worker, see formula/boot.py
mark        lines of a file in the run history: whose that is
sentinel    how the sentinel is started, see formula/sentinel_unit.py
waiting     a line where the sentinel is told to watch devices that do not exist yet
sysctl      ``settings`` (``name``, ``value``), ``lines`` of a file that keeps them; a line each:
            ``skipped`` (cannot be set here, or waits for a device), ``dropped`` (pillar no longer
            names it) and ``left`` (all that a removal leaves in force)
=========== ==============================================================================
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ..reporting import messages, sentinel_status, sinks
from . import boot, job_files, kernel_settings, pillar, schedule, sentinel_unit, whose
from . import facts as formula_facts
from .live_settings import Kept

NAME = "arp_hygiene"  # of the job in Salt's own scheduler
PROMETHEUS = "prometheus_client>=0.12,<1"
PATHS = {
    "cron": "/etc/cron.d/arp_hygiene",
    "service": "/etc/systemd/system/arp-hygiene.service",
    "timer": "/etc/systemd/system/arp-hygiene.timer",
    "sysctl": "/etc/sysctl.d/60-arp-hygiene.conf",
    "sentinel_service": sentinel_unit.SERVICE,
}
_UNREAD = (
    "not looked at: if it names what is to be removed (metrics, requirement:uninstall), correct "
    "it, then apply this again"
)
_CRON_PACKAGES = {"Debian": "cron", "RedHat": "cronie", "Suse": "cronie", "Arch": "cronie"}

Plan = dict[str, Any]


class Facts(NamedTuple):
    """Facts about this minion; none comes from pillar."""

    minion_id: str
    config_dir: str  # of the minion
    root_dir: str  # of Salt: "/" but in tests and odd installations
    os_family: str  # Salt's grain: Debian, RedHat, …
    booted: bool  # systemd is process 1
    gid: int | None  # the group of the user that pillar names; None: no such user
    salt_call: str  # the program to run, empty where there is none
    cron_here: bool  # a cron daemon is installed
    is_cron_of_busybox: bool  # and it is busybox's, which does not read /etc/cron.d
    missing_devices: dict[str, list[str]]  # of those that pillar names, by section
    missing_directories: list[str]  # of those that pillar names
    why_requirement_unmet: str  # see facts.why_requirement_unmet
    croniter_here: bool  # Salt's scheduler can read cron's notation
    found: dict[str, bool]  # part of the formula -> it is installed
    textfile: str  # the metrics file that runs have written, or empty
    pillar_textfile: str  # the one in the directory that pillar names, or empty
    kept: dict[str, dict[str, Kept]]  # part -> the settings in our present file of them, by name
    # family -> "default" or a device -> key -> why it cannot be written (empty: it can)
    sysctl: dict[str, dict[str, dict[str, str]]]
    thresholds: dict[str, dict[str, int]]  # family -> key -> table limit in force
    announce: list[str]  # installed parts of arp_hygiene.announce
    conf: dict[str, str]  # kernel settings of arp_hygiene.announce, likewise
    sentinel: sentinel_unit.MinionFacts
    foreign: dict[str, str]  # another minion's files here, see formula/whose.py


def paths(config_dir: str, root_dir: str) -> dict[str, str]:
    """Return name to path of each file of the formula on this minion."""
    return {
        **PATHS,
        **{f"announce_{part}": path for part, path in boot.PATHS.items()},
        # not below Salt's cache, which saltutil.clear_cache empties
        "script": os.path.join(config_dir, "arp_hygiene.sh"),
        "record": sinks.history_directory(root_dir),
        "record_mark": os.path.join(sinks.history_directory(root_dir), whose.RECORD),
        "schedule": os.path.join(config_dir, "minion.d", "_schedule.conf"),
        "sentinel_code": os.path.join(config_dir, sentinel_unit.BUNDLE),
        "sentinel_status": os.path.dirname(sentinel_status.PATH),
        "sentinel_engine": os.path.join(config_dir, "minion.d", sentinel_unit.ENGINE),
    }


def textfile_paths(written: str, of_pillar: str) -> dict[str, str]:
    """Return name to path of the metrics files; a run by hand may have written elsewhere."""
    return {"textfile": written, "pillar_textfile": of_pillar if of_pillar != written else ""}


def refused(
    reason: str,
    places: dict[str, str],
    found: dict[str, bool],
    kept: dict[str, dict[str, Kept]],
    sentinel: Plan,
    foreign: dict[str, str],
    removal: pillar.Removal | None = None,
) -> Plan:
    """Return the plan for an invalid pillar: what is installed can still be removed.

    sentinel: its plan where none is wanted.
    """
    theirs = whose.spared(foreign, found)
    if "record" in theirs:
        places = {**places, "pillar_textfile": ""}
    how, metrics, unread = removal or pillar.Removal()
    requirement = _requirement(how, metrics) if how and how["uninstall"] else []
    if reason and any(found.get(backend) for backend in pillar.BACKENDS):
        reason += "; the installed schedule stays in force"
    return {
        "refused": reason,
        "unread": f"pillar {NAME}:{unread}; {_UNREAD}" if unread else "",
        "idle": False,
        "name": NAME,
        "backend": "none",
        "former": [],
        "there": [part for part, left in found.items() if left],
        "foreign": theirs,
        "removes": [part for part, left in found.items() if left and part not in theirs],
        "stays": [whose.stays(places[part], owner) for part, owner in theirs.items()],
        "paths": places,
        "job": {},
        "requirement": requirement,
        "uninstall": bool(requirement),
        "require": [],
        "sysctl": {
            "settings": [],
            "lines": [],
            "skipped": [],
            "dropped": [],
            "left": kernel_settings.still_in_force(kept["sysctl"], []),
        },
        "announce": boot.empty(kept["announce"]),
        "mark": [],
        "sentinel": sentinel,
        "waiting": "",
    }


def plan(checked: pillar.Checked, facts: Facts) -> Plan:
    """Return what to do on a minion with these facts."""
    _check_machine(checked, facts)
    _check_whose(checked, facts)
    textfiles = textfile_paths(facts.textfile, facts.pillar_textfile)
    places = {**paths(facts.config_dir, facts.root_dir), **textfiles}
    settings = kernel_settings.plan(checked.sysctl, facts.sysctl, facts.kept["sysctl"])
    requirement = _requirement(checked.requirement, checked.metrics)
    sentinel = sentinel_unit.plan(checked.sentinel, facts.sentinel)
    sentinel["lines"] = whose.marked(sentinel["lines"], facts.config_dir)
    wanted = {
        checked.backend: checked.backend != "none",
        "script": checked.backend in ("cron", "systemd"),
        "textfile": bool(checked.metrics) and os.path.dirname(facts.textfile) == checked.metrics,
        "mark": checked.backend != "none",  # without a schedule another minion may have it
        "sysctl": bool(settings["lines"]),
        "sentinel": checked.sentinel is not None,
    }
    # announce: another SLS has put it there. record: heals by hand and by the sentinel are in it,
    # whatever the backend. Both are taken away by arp_hygiene.remove alone.
    kept = ("announce", "record")
    empty = refused("", places, facts.found, facts.kept, sentinel, facts.foreign)
    theirs = {*kept, *empty["foreign"]}
    ours = {part for part, left in facts.found.items() if left and part not in theirs}
    former = [part for part in facts.found if part in ours and not wanted.get(part)]
    absent = facts.missing_devices["sentinel"]
    return {
        **empty,
        "idle": not (requirement or former or checked.sysctl or any(wanted.values())),
        "backend": checked.backend,
        "former": former,
        "job": _job(checked, facts, places),
        "requirement": requirement,
        "uninstall": checked.requirement["uninstall"] and bool(requirement),
        "require": [{"id": each["id"]} for each in requirement],
        "sysctl": {**settings, "lines": whose.marked(settings["lines"], facts.config_dir)},
        "announce": _announce(checked, facts),
        "mark": whose.marked([job_files.HEAD], facts.config_dir),
        "waiting": f"the sentinel {messages.waits_for(absent)}" if absent else "",
    }


def _check_machine(checked: pillar.Checked, facts: Facts) -> None:
    """Raise ValueError where pillar does not fit this machine: before anything is written."""
    kernel_settings.check_thresholds(checked.sysctl, facts.thresholds)
    wheels = checked.requirement["wheels"]
    if checked.requirement["install"] == "pip" and wheels in facts.missing_directories:
        raise ValueError(f"requirement:wheels: {wheels!r} is not a directory here: create it first")
    if facts.why_requirement_unmet and (checked.backend != "none" or checked.sentinel):
        raise ValueError(f"requirement:{facts.why_requirement_unmet}")
    if checked.backend == "none":
        return
    if checked.backend == "cron" and facts.is_cron_of_busybox:
        raise ValueError(
            "schedule:backend: 'cron': the cron daemon here is busybox, which does not read "
            "/etc/cron.d; use salt, or install another cron daemon"
        )
    if missing := facts.missing_devices["clean"]:
        raise ValueError(f"clean:dev: no device {missing[0]!r} here")
    if checked.metrics in facts.missing_directories:
        raise ValueError(f"metrics: {checked.metrics!r} is not a directory here: create it first")


def _check_whose(checked: pillar.Checked, facts: Facts) -> None:
    """Raise ValueError where another minion of this host has a part that pillar wants."""
    places = paths(facts.config_dir, facts.root_dir)
    places["record"] = places["record_mark"]  # what may be deleted: not the heals
    files = {"cron": ["cron"], "systemd": ["service", "timer"]}.get(checked.backend, [])
    wanted = {
        "schedule": [*files, "record"] if checked.backend != "none" else [],
        "sysctl": ["sysctl"] if checked.sysctl else [],
        "sentinel": ["sentinel_service"] if checked.sentinel is not None else [],
    }
    for key, names in wanted.items():
        for name in names:
            if name in facts.foreign:
                raise ValueError(f"{key}: {whose.refusal(places[name], facts.foreign[name])}")


def _announce(checked: pillar.Checked, facts: Facts) -> Plan:
    """Return the part for workers; the schedule's backend also runs the announcement at boot."""
    for part, path in boot.PATHS.items():
        if owner := facts.foreign.get(f"announce_{part}"):
            why = f"pillar {NAME}:announce: {whose.refusal(path, owner)}"
            return {**boot.empty({}), "idle": False, "refused": why}
    config_dir = _config_dir(facts)
    arguments = checked.announce["arguments"]
    command = job_files.command(facts.salt_call, config_dir, arguments, boot.FUNCTION)
    result = boot.plan(
        checked.announce,
        checked.backend,
        command,
        facts.conf,
        facts.announce,
        facts.missing_devices["announce"],
        facts.kept["announce"],
    )
    lines = {part: whose.marked(result[part], facts.config_dir) for part in boot.PATHS}
    return {**result, **lines}


def _config_dir(facts: Facts) -> str | None:
    """Return the minion's directory; None for /etc/salt, which is salt-call's default."""
    return None if facts.config_dir == "/etc/salt" else facts.config_dir


def _requirement(how: Plan, metrics: str | None) -> list[Plan]:
    """Return how each library is installed: by pip, as a package; none where others install it."""
    libraries = [("pyroute2", f"pyroute2{how['version']}", how["package"])]
    if metrics:
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


def _job(checked: pillar.Checked, facts: Facts, places: dict[str, str]) -> Plan:
    """Return the scheduled job in the format of the chosen backend, and how to test it.

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
        arguments |= job_files.MARK_OF_SALT
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
    script = job_files.script(facts.salt_call, config_dir, arguments)
    job = {
        "user": checked.user,
        "arguments": arguments,
        "script": script,
        "proof": job_files.proof(script, path, checked.user, facts.gid, capable=by_systemd),
    }
    when = schedule.cron_when(*checked.when)
    if by_systemd:
        if not facts.booted:
            raise ValueError("schedule:backend: 'systemd' is not running here; use cron or salt")
        times = schedule.calendar_when(when)
        return {
            **job,
            "service": whose.marked(
                job_files.service_lines(checked.how, checked.user, path, wait_s), facts.config_dir
            ),
            "timer": whose.marked(
                job_files.timer_lines(checked.how, when, times, wait_s), facts.config_dir
            ),
        }
    lines = job_files.cron_lines(when, checked.user, path, wait_s)
    return {
        **job,
        "lines": whose.marked(lines, facts.config_dir),
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
    """Return the arguments of schedule.present; ValueError for what Salt's scheduler cannot do."""
    kind, value = checked.when
    if checked.user != "root":
        raise ValueError(
            f"schedule:user: {checked.user!r}: with backend 'salt' the minion runs the job itself; "
            "omit it, or use cron or systemd"
        )
    if value == "@reboot":
        raise ValueError(
            "schedule:special: Salt's scheduler does not support @reboot; use cron or systemd"
        )
    if croniter_here and schedule.is_even(kind, value):
        time = {"cron": " ".join(schedule.fields_of(kind, value))}
    elif kind == "every":
        # Counted from when the job was added, plus the splay; not at once on all minions.
        time = {"minutes": value, "run_on_start": False}
    else:
        raise ValueError(
            f"schedule:{'special' if kind == 'special' else 'minute'}: Salt's scheduler reads "
            "cron's notation only where the Python package croniter is installed; use 'every'"
        )
    return {
        "function": job_files.FUNCTION,
        "job_kwargs": arguments,
        **time,
        "splay": {"start": wait_s, "end": wait_s},
        "maxrunning": 1,
        "return_job": False,  # it is in syslog and in the minion's log; the master gets events
    }
