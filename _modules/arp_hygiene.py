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
    import arp_pillar
    import arp_plan

__virtualname__ = "arp_hygiene"

_PROC = "/proc/sys/net"


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
    try:
        checked = arp_pillar.check(defaults, pillar)
        return arp_plan.plan(checked, _facts(checked, found))
    except ValueError as bad:
        return arp_plan.refused(f"pillar arp_hygiene:{bad}", _paths(), found)


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
    paths = _paths()
    return {
        "cron": any(os.path.lexists(paths[part]) for part in ("cron", "lock")),
        "salt": arp_plan.NAME in {**(__opts__.get("schedule") or {}), **(_saved_jobs() or {})},
        "systemd": any(os.path.lexists(paths[unit]) for unit in ("service", "timer")),
        "sysctl": os.path.lexists(paths["sysctl"]),
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
    return jobs is not None and set(jobs) <= {arp_plan.NAME}


def _saved_jobs():
    """Return the jobs in the minion's own schedule file; None where there is no such file."""
    try:
        with open(_paths()["schedule"], encoding="utf-8") as file:
            return (salt.utils.yaml.safe_load(file) or {}).get("schedule") or {}
    except (OSError, salt.utils.yaml.YAMLError, AttributeError):
        return None


def _config_dir():
    return os.path.dirname(__opts__["conf_file"])


def _paths():
    """Return where each file of ours is."""
    return arp_plan.paths(_config_dir(), __opts__["cachedir"])


def _facts(checked, found):
    """Return what is true of this minion, of all that the plan wants to know."""
    # a minion's own PATH may lack the places where daemons are
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return arp_plan.Facts(
        minion_id=__opts__["id"],
        config_dir=_config_dir(),
        cachedir=__opts__["cachedir"],
        os_family=__grains__.get("os_family", ""),
        booted=bool(salt.utils.systemd.booted()),
        user_here=_is_user(checked.user),
        salt_call=_salt_call(checked.salt_call),
        cron_here=any(shutil.which(name, path=path) for name in ("crond", "cron")),
        croniter_here=importlib.util.find_spec("croniter") is not None,
        found=found,
        sysctl={family: _sysctl_here(family, checked.sysctl) for family in ("ipv4", "ipv6")},
    )


def _is_user(name):
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def _salt_call(path):
    """Return salt-call: the one named, or the one that belongs to the minion's own Python."""
    near = os.path.join(os.path.dirname(sys.executable), "salt-call")
    choices = [path] if path else [near, "/usr/bin/salt-call", shutil.which("salt-call")]
    for choice in choices:
        if choice and os.path.isfile(choice) and os.access(choice, os.X_OK):
            return choice
    return ""


def _sysctl_here(family, keys):
    """Return which of these keys exist, by device, and why one cannot be written."""
    base = f"{_PROC}/{family}/neigh"
    scopes = os.listdir(base) if os.path.isdir(base) else []
    here = {scope: {key: f"{base}/{scope}/{key}" for key in keys} for scope in scopes}
    return {
        scope: {key: _unwritable(path) for key, path in paths.items() if os.path.exists(path)}
        for scope, paths in here.items()
    }


def _unwritable(path):
    """Return why a kernel setting cannot be written here, or nothing."""
    if os.access(path, os.W_OK):
        return ""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "cannot be written here: /proc/sys is mounted read-only, as in a container"
    return f"cannot be written by user {os.geteuid()}"
