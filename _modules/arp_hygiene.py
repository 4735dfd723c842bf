"""What the formula ``arp_hygiene`` does on this minion, computed from its pillar.

The formula's Jinja computes nothing: it asks :func:`settings` and writes down what it gets.
Everything in pillar is checked before anything is changed; nothing from pillar can become a
command. Works before pyroute2 is installed: the standard library is enough.
"""

import importlib.util
import os
import pwd
import shutil
import sys

import salt.utils.systemd
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

try:
    import arp_fresh
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_fresh

with arp_fresh.engine():
    import arp_job
    import arp_pillar
    import arp_schedule

__virtualname__ = "arp_hygiene"

PATHS = {
    "cron": "/etc/cron.d/arp_hygiene",
    "service": "/etc/systemd/system/arp-hygiene.service",
    "timer": "/etc/systemd/system/arp-hygiene.timer",
    "sysctl": "/etc/sysctl.d/60-arp-hygiene.conf",
}
JOB = "arp_hygiene"  # the job's name in Salt's own scheduler
REQUIREMENT = "pyroute2 is installed"  # the ID the others require
_PROC = "/proc/sys/net"
_CRON_PACKAGES = {"Debian": "cron", "RedHat": "cronie", "Suse": "cronie", "Arch": "cronie"}


def __virtual__():
    """Load on Linux: neighbour tables of other systems have other rules."""
    if not sys.platform.startswith("linux"):
        return False, "arp_hygiene manages the neighbour table of the Linux kernel"
    return __virtualname__


def settings(defaults, pillar=None):
    """
    Check the pillar and return what the formula has to do here, as plain values.

    defaults
        What salt/arp_hygiene/defaults.yaml says: every key there is.
    pillar
        The pillar tree ``arp_hygiene``; None (nothing, or a bare ``arp_hygiene:``) means the
        defaults.

    Something bad in pillar is told as ``refused``, one line that names the key, the value and what
    is allowed. The state run then begins and ends with it: raised here, Jinja would bury it in
    an excerpt of the template. Removal goes on all the same, but for pyroute2.

    CLI Example:

    .. code-block:: bash

        salt 'db*' state.show_sls arp_hygiene
    """
    found = traces()
    always = {
        "name": JOB,
        "paths": {**PATHS, "lock": _lock(), "schedule": _saved_schedule()},
        "remove": [f".{part}_absent" for part, there in found.items() if there],
    }
    try:
        checked = arp_pillar.check(defaults, pillar)
        job = _job(checked)
    except ValueError as bad:
        # what is there can be taken away, however wrong the pillar has become
        return {**always, "refused": f"pillar arp_hygiene:{bad}", "include": [".refused"]}
    requirement, sysctl = checked.requirement, _sysctl(checked.sysctl)
    wanted = {
        "requirement": requirement["install"] != "none",
        "sysctl": bool(sysctl["settings"] or sysctl["skipped"]),
        checked.backend: checked.backend != "none",
    }
    unwanted = {**found, "sysctl": found["sysctl"] and not sysctl["settings"]}
    return {
        **always,
        "include": [f".{part}" for part, due in wanted.items() if due]
        + [f".{part}_absent" for part, to in unwanted.items() if to and part != checked.backend],
        "remove": always["remove"] + ([".requirement_absent"] if requirement["uninstall"] else []),
        "require": [{"id": REQUIREMENT}] if wanted["requirement"] else [],
        "requirement": _requirement(requirement),
        "sysctl": sysctl,
        "job": job,
    }


def sysctl(settings, test=False):  # pylint: disable=redefined-outer-name
    """
    Put kernel settings in force and return those that were not: ``{name: {old, new}}``.

    settings
        A list of ``{"name": "net.ipv4.neigh.eth0.mcast_resolicit", "value": 3}``; a dot in a
        device's name is written as a slash, as sysctl does.
    test
        Tell, and change nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.sysctl '[{name: net.ipv4.neigh.eth0.locktime, value: 0}]' test=True
    """
    changes = {}
    for setting in settings:
        name, new = setting["name"], setting["value"]
        path = "/proc/sys/" + name.translate(str.maketrans("./", "/."))
        try:
            with open(path, "r" if test else "r+", encoding="ascii") as file:
                old = int(file.read())
                if old == new:
                    continue
                if not test:
                    file.seek(0)
                    file.write(f"{new}\n")
        except (OSError, ValueError) as error:
            raise CommandExecutionError(f"{name} cannot be set to {new}: {error}") from None
        changes[name] = {"old": old, "new": new}
    return changes


def traces():
    """
    Return which parts of the formula have left something on this minion.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.traces
    """
    return {
        "cron": os.path.lexists(PATHS["cron"]) or os.path.lexists(_lock()),
        "salt": JOB in (__opts__.get("schedule") or {}) or JOB in (_saved_jobs() or {}),
        "systemd": any(os.path.lexists(PATHS[unit]) for unit in ("service", "timer")),
        "sysctl": os.path.lexists(PATHS["sysctl"]),
    }


def schedule_is_ours():
    """
    Tell whether the file the minion keeps its schedule in holds no job but ours.

    Salt leaves it behind with an empty schedule; where we were the reason, it goes too.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.schedule_is_ours
    """
    jobs = _saved_jobs()
    return jobs is not None and set(jobs) <= {JOB}


def _saved_jobs():
    """Return the jobs in the minion's own schedule file; None where there is no such file."""
    try:
        with open(_saved_schedule(), encoding="utf-8") as file:
            return (salt.utils.yaml.safe_load(file) or {}).get("schedule") or {}
    except (OSError, salt.utils.yaml.YAMLError, AttributeError):
        return None


def _saved_schedule():
    """Return the file the minion keeps its schedule in."""
    return os.path.join(os.path.dirname(__opts__["conf_file"]), "minion.d", "_schedule.conf")


def _lock():
    """Return the lock of the cron job, in a place where only the minion's user can make files."""
    return os.path.join(__opts__["cachedir"], "arp_hygiene.lock")


def _requirement(requirement):
    """Return the two ways to install pyroute2, each a list that is empty or holds one."""
    wheels = requirement["wheels"]
    pip = {
        "name": f"pyroute2{requirement['version']}",
        "no_index": wheels is not None,
        "find_links": wheels,
    }
    return {
        "id": REQUIREMENT,
        "pip": [pip] if requirement["install"] == "pip" else [],
        "packages": [requirement["package"]] if requirement["install"] == "package" else [],
    }


def _sysctl(wanted):
    """Return the keys this network namespace has, and a word about each that it has not.

    ``default`` reaches every device nobody set by itself. A container has no such key: there the
    devices that exist are named one by one.
    """
    plan = {"settings": [], "skipped": [], "lines": []}
    for key, scopes in wanted.items():
        for family in ("ipv4", "ipv6"):
            for scope, value in scopes.items():
                _sysctl_scope(plan, family, key, scope, value)
    lines = [f"{key['name']} = {key['value']}" for key in plan["settings"]]
    plan["lines"] = [[arp_job.HEAD, *lines]] if lines else []
    return plan


def _sysctl_scope(plan, family, key, scope, value):
    """Add one key of one family: for the default, or for one device."""
    base = f"{_PROC}/{family}/neigh"
    scopes = [scope]
    everywhere = scope == "default" and key not in arp_pillar.THRESHOLDS
    if everywhere and os.path.isdir(base) and not os.path.exists(f"{base}/default/{key}"):
        scopes = sorted(set(os.listdir(base)) - {"lo", "default"}) or scopes
    for name in scopes:
        shown = f"net.{family}.neigh.{name.replace('.', '/')}.{key}"
        if not os.path.exists(f"{base}/{name}/{key}"):
            plan["skipped"].append(f"{shown}: this network namespace has no such key")
        elif not os.access(f"{base}/{name}/{key}", os.W_OK):
            plan["skipped"].append(
                f"{shown}: cannot be written here (a container's read-only /proc)"
            )
        else:
            plan["settings"].append({"name": shown, "value": value})


def _job(checked):
    """Return the scheduled job in the words of the chosen backend."""
    if checked.backend == "none":
        return {}
    wait_s = arp_schedule.splay_s(__opts__["id"], arp_schedule.span_s(checked.splay, *checked.when))
    if checked.backend == "salt":
        return _salt_job(checked, wait_s)
    try:
        pwd.getpwnam(checked.user)
    except KeyError:
        raise ValueError(f"schedule:user: {checked.user!r} is no user here") from None
    command = arp_job.words(
        _salt_call(checked.salt_call), _config_dir(), f"arp.{checked.verb}", checked.arguments
    )
    when = arp_schedule.cron_when(*checked.when)
    if checked.backend == "systemd":
        if not salt.utils.systemd.booted():
            raise ValueError("schedule:backend: 'systemd' does not run here; take cron or salt")
        return {
            "service": arp_job.service_lines(checked.verb, checked.user, command, wait_s),
            "timer": arp_job.timer_lines(checked.verb, arp_schedule.calendar_when(when)),
        }
    return {
        "lines": arp_job.cron_lines(when, checked.user, command, _lock(), wait_s),
        "user": checked.user,
        "packages": _cron_packages(),
    }


def _salt_job(checked, wait_s):
    """Return the arguments of schedule.present; Salt's scheduler does not understand all of it."""
    way, value = checked.when
    if checked.user != "root":
        raise ValueError(
            f"schedule:user: {checked.user!r}: with backend 'salt' the minion itself runs the job; "
            "leave it out, or take cron or systemd"
        )
    if value == "@reboot":
        raise ValueError(
            "schedule:special: Salt's scheduler knows no @reboot; take cron or systemd"
        )
    readable = importlib.util.find_spec("croniter")  # a requirement of Salt's own since 3006
    if readable and arp_schedule.is_even(way, value):
        time = {"cron": " ".join(arp_schedule.fields_of(way, value))}
    elif way == "every":
        # Counted from when the job was added, plus the splay; not at once on every minion.
        time = {"minutes": value, "run_on_start": False}
    else:
        raise ValueError(
            f"schedule:{'special' if way == 'special' else 'minute'}: Salt's scheduler reads "
            "cron's notation only where the Python package croniter is installed; take 'every'"
        )
    return {
        "function": f"arp.{checked.verb}",
        "job_kwargs": checked.arguments,
        **time,
        "splay": {"start": wait_s, "end": wait_s},
        "maxrunning": 1,
        "return_job": False,  # a failure stands in the minion's log; no news burdens no master
    }


def _salt_call(path):
    """Return salt-call: the one named, or the one that belongs to the minion's own Python."""
    near = os.path.join(os.path.dirname(sys.executable), "salt-call")
    choices = [path] if path else [near, "/usr/bin/salt-call", shutil.which("salt-call")]
    for choice in choices:
        if choice and os.path.isfile(choice) and os.access(choice, os.X_OK):
            return choice
    raise ValueError(f"schedule:salt_call: {path!r} is not a program here; give its absolute path")


def _config_dir():
    """Return the minion's configuration directory where salt-call would not find it by itself."""
    directory = os.path.dirname(__opts__["conf_file"])
    return None if directory == "/etc/salt" else directory


def _cron_packages():
    """Return the package that brings a cron daemon, where there is none."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    if shutil.which("crond", path=path) or shutil.which("cron", path=path):
        return []
    return [_CRON_PACKAGES.get(__grains__.get("os_family"), "cron")]
