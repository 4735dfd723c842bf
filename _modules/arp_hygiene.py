"""The formula ``arp_hygiene`` on this minion: what it installs, and what is installed.

The formula's Jinja computes nothing: it asks :func:`settings` and writes down what it gets.
Everything in pillar is checked before anything is changed; nothing from pillar can become a
command. Works before pyroute2 is installed: the standard library is enough.
"""

import contextlib
import datetime
import os
import sys
import time

import salt.utils.systemd
import salt.utils.yaml
from salt.exceptions import CommandExecutionError

try:
    from arp_engine import reload_if_changed
except ImportError:
    try:  # installed by pip, not synced
        from saltext.arp_hygiene.utils.arp_engine import reload_if_changed
    except ImportError:
        raise ImportError(
            "arp_engine is missing: run saltutil.sync_all; for salt-ssh see docs/operating.md"
        ) from None

reload_if_changed()
from arp_engine.formula import boot, facts, job_files, plan, schedule, sentinel_unit
from arp_engine.formula import pillar as formula_pillar
from arp_engine.reporting import files, run_history, sentinel_status, sinks

__virtualname__ = "arp_hygiene"
__outputter__ = {"status": "table"}


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
    parts = traces()
    try:
        checked = formula_pillar.check(defaults, pillar)
        return plan.plan(checked, _facts(checked, parts))
    except ValueError as bad:
        places = {**_paths(), "textfile": _textfile()}
        return plan.refused(f"pillar arp_hygiene:{bad}", places, parts, _kept())


def status():
    """Say what is installed here, and what its runs did. Touches nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.status

    Returns a list of one dict, so that a fleet is one table: ``installed`` (the scheduler and
    when, or empty), ``last`` (when the last run ended, UTC), ``said`` (its line), ``healed_7d``
    (count, see :py:func:`arp_hygiene.healed`), ``next`` (when one is due, UTC; empty where only
    the scheduler knows), ``sentinel`` (``running``, and its last line; empty where there
    is none), ``problem`` (the last run failed, the run history is corrupt, the
    sentinel is not running, or empty).

    Salt's table cuts a cell after some 50 characters: ``--out=json`` and ``--out=nested`` have all.
    """
    history, problem = sinks.read_history(_paths()["record"])
    last = history["last"] or {"at": None, "said": "no run yet", "failed": ""}
    backend, when, wait_s = _installed()
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    history = run_history.with_heals(history, seen.get("heals", []))
    sentinel, dead = _sentinel_status(seen)
    due = schedule.next_due(when, wait_s, datetime.datetime.now()) if when else None
    return [
        {
            "installed": f"{backend} {when}".strip(),
            "last": run_history.utc(last["at"]),
            "said": last["said"],
            "healed_7d": run_history.count_recent(history, time.time()),
            "next": run_history.utc(due and due.timestamp()),
            "sentinel": sentinel,
            "problem": problem or ("the last run failed" if last["failed"] else dead),
        }
    ]


def _sentinel_status(seen):
    """Return the sentinel's last line, and why it is not running where it should."""
    if seen["lives"]:
        return f"running; {seen.get('last', '')}", ""
    kinds = sentinel_unit.installed(_paths())
    if not kinds:
        return "", ""
    unit = "arp-hygiene-sentinel" if "service" in kinds else "salt-minion"
    return "not running", f"sentinel: {seen['why']}; look at, or restart, its unit {unit}"


def _installed():
    """Return backend, when (cron's words) and wait in seconds of the job that is installed."""
    paths = _paths()
    for backend, path in (("cron", paths["cron"]), ("systemd", paths["timer"])):
        try:
            with open(path, encoding="utf-8") as file:
                return (backend, *(job_files.due(file.read()) or ("", 0)))
        except FileNotFoundError:
            continue
    job = {**(__opts__.get("schedule") or {}), **(_saved_jobs() or {})}.get(plan.NAME)
    if not job:
        return "", "", 0
    when = job.get("cron") or f"every {job.get('minutes')} min"
    return "salt", when, (job.get("splay") or {}).get("start", 0)


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
    shaped = isinstance(settings, list) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) and "value" in each
        for each in settings
    )
    if not shaped:
        raise CommandExecutionError(
            f"arp_hygiene.sysctl: settings: {settings!r} is not a list of {{name: ..., value: ...}}"
        )
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
            why = getattr(error, "strerror", None) or error
            raise CommandExecutionError(f"cannot set {name} to {new}: {why}") from None
        changes[name] = {"old": old, "new": new}
    return changes


def sentinel_code(test=False):
    """
    Put the code that the sentinel's service runs where no cleared cache takes it away.

    One file in the minion's directory, made of the modules that were synced or installed last.
    Touches nothing else; who runs the former one is not restarted.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.sentinel_code test=True

    test
        Tell, and change nothing.

    Returns ``{}`` where it was so, else ``old`` and ``new``, a short word for each code.

    Raises CommandExecutionError where it cannot be written.
    """
    path, data, old = _paths()["sentinel_code"], sentinel_unit.bundle(), ""
    try:
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            old = sentinel_unit.code(file.read())
        new = sentinel_unit.code(data)
        if old == new:
            return {}
        if not test:
            files.write_atomically(path, data, 0o644)
    except OSError as error:
        raise CommandExecutionError(f"cannot write {path}: {error.strerror}") from None
    return {"old": old, "new": new}


def traces():
    """
    Return which parts of the formula have left something on this minion.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.traces
    """
    paths = _paths()
    return {
        "cron": os.path.lexists(paths["cron"]),
        "salt": plan.NAME in {**(__opts__.get("schedule") or {}), **(_saved_jobs() or {})},
        "systemd": any(os.path.lexists(paths[unit]) for unit in ("service", "timer")),
        "script": os.path.lexists(paths["script"]),
        "textfile": bool(_textfile()),
        "record": os.path.lexists(paths["record"]),
        "sysctl": os.path.lexists(paths["sysctl"]),
        "announce": bool(boot.installed()),
        "sentinel": bool(sentinel_unit.installed(paths)) or os.path.lexists(paths["sentinel_code"]),
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
    return jobs is not None and set(jobs) <= {plan.NAME}


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
    return plan.paths(_config_dir(), __opts__["root_dir"])


def _sentinel_here(checked):
    """Return what is true of this minion for a sentinel."""
    salt_call, installed = facts.salt_call(checked.salt_call), sentinel_unit.installed(_paths())
    engines = __opts__.get("engines") or []
    names = [name for each in engines for name in ([each] if isinstance(each, str) else each)]
    # the service of that name is the minion that is configured there
    restart = (
        (checked.sentinel or "engine" in installed)
        and salt_call
        and _config_dir() == "/etc/salt"
        and "service.available" in __salt__
        and __salt__["service.available"]("salt-minion")
    )
    command = [salt_call, "--local", "service.restart", "salt-minion"]
    return sentinel_unit.MinionFacts(
        booted=bool(salt.utils.systemd.booted()),
        by_ssh=facts.by_ssh(__opts__["root_dir"]),
        python=sys.executable,
        code=sentinel_unit.code(sentinel_unit.bundle()),
        bundle=_paths()["sentinel_code"],
        installed=installed,
        engines=[name for name in names if name != "arp_sentinel"],
        restart=command if restart else [],
    )


def _kept():
    """Return the kernel settings in our file of them, by name."""
    try:
        with open(_paths()["sysctl"], encoding="utf-8") as file:
            pairs = (line.split(" = ", 1) for line in file.read().splitlines() if " = " in line)
            return {name: value for name, value in pairs if not name.startswith("#")}
    except FileNotFoundError:
        return {}


def _textfile():
    """Return the textfile that runs have left, or nothing."""
    directory = sinks.read_history(_paths()["record"])[0]["metrics"]
    path = os.path.join(directory, sinks.TEXTFILE) if directory else ""
    return path if os.path.lexists(path) else ""


def _facts(checked, parts):
    """Return what is true of this minion, of all that the plan wants to know."""
    return plan.Facts(
        minion_id=__opts__["id"],
        config_dir=_config_dir(),
        root_dir=__opts__["root_dir"],
        os_family=__grains__.get("os_family", ""),
        booted=bool(salt.utils.systemd.booted()),
        gid=facts.gid(checked.user),
        salt_call=facts.salt_call(checked.salt_call),
        cron_here=facts.has_program("crond", "cron"),
        croniter_here=facts.has_library("croniter"),
        found=parts,
        textfile=_textfile(),
        kept=_kept(),
        sysctl=facts.settings(checked.sysctl),
        announce=boot.installed(),
        conf=facts.kernel_settings(boot.SETTINGS),
        sentinel=_sentinel_here(checked),
    )
