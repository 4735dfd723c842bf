"""The formula ``arp_hygiene`` on this minion: what it installs, and what is installed.

The formula's Jinja computes nothing: it writes what :func:`settings` returns. Everything in pillar
is checked before anything is changed; nothing from pillar can become a command. Works before
pyroute2 is installed: the standard library is enough.
"""

import contextlib
import datetime
import importlib.util
import math
import os
import shutil
import sys
import time

import salt.config
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
from arp_engine import version
from arp_engine.formula import boot, facts, live_settings, plan, schedule, sentinel_unit, whose
from arp_engine.formula import pillar as formula_pillar
from arp_engine.reporting import files, messages, run_history, sentinel_status, sinks

#: What to look at where no run is recorded.
_CHECKS = {
    "cron": "check that a cron daemon runs and reads /etc/cron.d; why a run that it started did "
    "nothing: journalctl -t arp_hygiene, or syslog",
    "systemd": "see systemctl status arp-hygiene.timer arp-hygiene.service",
    "salt": "check that the minion runs, and its log; after the clock was set back, restart it",
}

_UNIT = "arp-hygiene-sentinel"

__virtualname__ = "arp_hygiene"
__outputter__ = {"status": "arp_answer"}


def __virtual__():
    """Load on Linux: neighbour tables of other systems have other rules."""
    if not sys.platform.startswith("linux"):
        return False, "arp_hygiene manages the neighbour table of the Linux kernel"
    return __virtualname__


def settings(defaults, pillar=None):
    """Check the pillar and return what the formula does on this minion, as plain values.

    Touches no entry and changes nothing. For the formula's Jinja; an operator sees the result with:

    CLI Example:

    .. code-block:: bash

        salt db1 state.show_sls arp_hygiene

    defaults (dict)
        The contents of salt/arp_hygiene/defaults.yaml: every key there is.
    pillar (dict, default None)
        The pillar tree ``arp_hygiene``; None (also a bare ``arp_hygiene:``) means the defaults.
        A top key such as ``arp-hygiene`` is refused.

    Returns a dict, always with the same keys (_utils/arp_engine/formula/plan.py lists them). An
    invalid pillar, or one that this machine cannot satisfy, is no exception, which Jinja would bury
    in an excerpt of the template: ``refused`` is then one line that names the key, the value and
    what is allowed, for each bad value, and the state run consists of one failed state with it.
    ``arp_hygiene.remove`` works all the same; ``unread`` is then one line that names what may name
    more to remove, and is refused.
    """
    parts = _found()
    try:
        checked = formula_pillar.check(defaults, pillar, __pillar__)
        return plan.plan(checked, _facts(checked, parts))
    except ValueError as bad:
        removal = formula_pillar.for_removal(defaults, pillar, __pillar__)
        textfiles = plan.textfile_paths(_textfile(), sinks.textfile(removal.metrics))
        places, sentinel = {**_paths(), **textfiles}, sentinel_unit.plan(None, _sentinel_here())
        reason = f"pillar arp_hygiene:{bad}"
        return plan.refused(reason, places, parts, _kept(), sentinel, _foreign(), removal)


def status():
    """Return what is installed on this minion, what its runs did, and what is wrong.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.status
        # db1: no problem, last run 2026-03-01T02:14:07Z, 0 healed in seven days
        #   installed  cron */5 * * * *
        #   ...

    Returns a list of one dict, so that a fleet is one table: ``installed`` (the scheduler and its
    times, or empty), ``last`` (when the last run ended, UTC), ``said`` (its line), ``healed_7d``
    (heals of seven days by any function, see :py:func:`arp_hygiene.healed`; int; 1000: at least so
    many), ``next`` (when a run is due, UTC; empty where only the scheduler knows), ``sentinel``
    (``running; `` and its last line, ``not running``, or empty where none is installed),
    ``version`` and ``code`` (as :py:func:`arp.version`), ``problem`` (empty, or one or more of
    these, with what to do):

    - the last run failed;
    - an operator has disabled the job in Salt's scheduler (``next`` is empty then);
    - ``overdue``: a run of the schedule was due, and 15 minutes later none is recorded. A run by
      hand or by a reactor, which ``last`` and ``said`` show, does not count (it does where the
      job is of a version whose runs do not say that they are the schedule's);
    - ``nothing selected``: the job's ``ip``, ``dev`` and ``exclude`` have not matched an entry in
      any of three or more runs, though the table has entries (not said with ``state``, ``family``);
    - runs cannot be recorded (directory missing or another user's, disk full or read-only), or the
      run history is corrupt;
    - the metrics directory or its file is missing, or the file is older than the last run;
    - the cron daemon is busybox, which does not read /etc/cron.d;
    - the sentinel is not running (an engine waits for a restart of the minion, or refuses an
      option; a service: how it ended, and its last line), runs older code than is synced, has not
      been restarted since its configuration changed, waits for a device that does not exist, or is
      an engine that is switched off and runs until the minion restarts.
    """
    history, problem = sinks.read_history(_paths()["record"])
    last = history["last"] or {"at": None, "said": "no run yet", "failed": ""}
    job = _installed()
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    history = run_history.with_heals(history, seen.get("heals", []))
    sentinel, sentinel_problem = _sentinel_status(seen)
    problems = [problem, "the last run failed" if last["failed"] else "", sentinel_problem]
    problems += _schedule_problems(job, history) if job.backend else []
    is_on = job.when and not job.disabled
    due = schedule.next_due(job.when, job.wait_s, datetime.datetime.now()) if is_on else None
    return [
        {
            "installed": f"{job.backend} {job.when}".strip(),
            "last": run_history.utc(last["at"]),
            "said": last["said"],
            "healed_7d": run_history.count_recent(history, time.time()),
            "next": run_history.utc(due and due.timestamp()),
            "sentinel": sentinel,
            "version": version.VERSION,
            "code": version.code(),
            "problem": "; ".join(filter(None, problems)),
        }
    ]


def _schedule_problems(job, history):
    """Return a line for each reason why the installed job does not run or leaves no trace."""
    paths, now = _paths(), time.time()
    last = history["scheduled_at"] if job.is_marked else (history["last"] or {"at": 0})["at"]
    booted = now - time.monotonic()
    latest = [booted, last, *_written("cron", "timer", "schedule", "script")]
    uid = facts.job_uid(paths["script"])
    problems = [job.disabled, facts.why_unrecordable(paths["record"], uid)]
    problems.append(run_history.why_unselected(history, job.arguments))
    latest = [at for at in latest if at < now + schedule.OVERDUE_S]  # not of a clock set back since
    due = schedule.overdue(job.when, job.wait_s, max(latest), now, booted)
    if due and not job.disabled:
        problems.append(
            f"overdue: a run was due at {run_history.utc(due)} and the schedule has made none "
            f"since: {_CHECKS[job.backend]}"
        )
    if job.backend == "cron" and facts.is_cron_of_busybox():
        problems.append(
            "nothing reads the schedule: the cron daemon is busybox, which does not read "
            "/etc/cron.d: set schedule:backend to salt, or install another cron daemon"
        )
    written = history["metrics_at"]
    is_of_this_job = all(at < written + 1 for at in _written("script", "schedule"))
    if history["metrics"] and is_of_this_job:
        problems.append(facts.why_no_metrics(history["metrics"], written))
    return problems


def _written(*names):
    """Return when each of these files of ours was written, of those that are there."""
    paths, times = _paths(), []
    for name in names:
        with contextlib.suppress(OSError):
            times.append(os.stat(paths[name]).st_mtime)
    return times


def _sentinel_status(seen):
    """Return the sentinel's last line, and what is wrong with it."""
    paths = _paths()
    has_engine = _has_engine()
    kinds = sentinel_unit.installed(_our_paths()) or (["engine"] if has_engine else [])
    is_left = has_engine is False and "arp_sentinel" in facts.engines(__opts__.get("engines"))
    left = "still runs until the minion restarts: restart the minion" if is_left else ""
    if seen["lives"]:
        old = _advice_on_code(seen, kinds, paths) if kinds else ""
        absent = seen.get("absent_devices")
        waits = absent and f"{messages.waits_for(absent)}: correct `dev`, or create the device"
        problems = [f"sentinel: {each}" for each in (old, waits, left) if each]
        return f"running; {seen.get('last', '')}", "; ".join(problems)
    if not kinds and not (seen.get("pid") and not seen.get("stopped")):
        return ("running", f"sentinel: {left}") if left else ("", "")
    if "service" in kinds:
        why = _why_service_died()
        return "not running", (
            f"sentinel: {seen['why']}{f' ({why})' if why else ''}: see systemctl status {_UNIT}"
        )
    advice = "restart the minion, which reads its engines at its start"
    if is_left:
        advice = "restart the minion"
    elif not kinds:  # somebody had started it by hand
        advice = "start it again, or apply arp_hygiene, which removes its status"
    elif seen.get("refused") and seen["why"] == seen["failed"]:
        advice = "correct the option, then restart the minion"
    elif not facts.has_library("pyroute2"):
        advice = facts.missing("pyroute2", __opts__["root_dir"])
    return "not running", f"sentinel: {seen['why']}: {advice}"


def _has_engine():
    """Tell whether the minion's configuration names the engine, whoever has written it.

    None where its main file is corrupt. A running minion knows it as of its start: hence the files.
    Not by minion_config, which ends the process where one is corrupt, and may ask a vault.
    """
    path, default = __opts__["conf_file"], salt.config.DEFAULT_MINION_OPTS["conf_file"]
    read = salt.config.load_config(path, "SALT_MINION_CONFIG", default, exit_on_config_errors=False)
    is_corrupt = "conf_file" not in read and os.path.exists(path)
    included = [read.get("default_include", __opts__["default_include"]), read.get("include", [])]
    for include in included:
        read.update(salt.config.include_config(include, path, verbose=False))
    return "arp_sentinel" in facts.engines(read.get("engines")) or (None if is_corrupt else False)


def _code_in(path):
    """Return the code that an installed file names; None where there is no such file."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        return sentinel_unit.named_code(file.read())
    return None


def _advice_on_code(seen, kinds, paths):
    """Return what to do where the running sentinel has other code or options than it should."""
    synced, runs = version.code(), seen.get("code")
    restart = f"systemctl restart {_UNIT}" if "service" in kinds else "restart the minion"
    installed = [f"sentinel_{kind}" for kind in kinds]
    if runs == synced:
        since = seen.get("since", math.inf) + 1
        is_old = any(at > since for at in _written(*installed))
        return f"started before its configuration was written: {restart}" if is_old else ""
    is_applied = all(_code_in(paths[name]) in (None, synced) for name in installed)
    advice = restart if is_applied else "apply arp_hygiene again"
    label = f"{seen.get('version')}, code {runs}" if runs else "of an unknown version"
    return f"older code than is synced ({label}): {advice}"


def _why_service_died():
    """Return how systemd says that the sentinel ended, and its own last line; each may be empty."""
    result = _output("systemctl", "show", "--property=Result", "--value", _UNIT)
    # --identifier: not systemd's own lines, of which "Scheduled restart job" is always the last
    words = ["--unit", _UNIT, "--identifier=arp_hygiene", "--lines=1", "--output=cat", "--no-pager"]
    line = _output("journalctl", *words)
    return ": ".join(filter(None, [result.removeprefix("success"), line]))


def _output(program, *words):
    """Return what a program prints, as one line; empty where it is missing or fails."""
    if not shutil.which(program):
        return ""
    command = [program, *words]
    done = __salt__["cmd.run_all"](command, python_shell=False, timeout=10, ignore_retcode=True)
    return "" if done["retcode"] else messages.one_line(done["stdout"], 200)


def _installed():
    """Return the job that is installed, see facts.InstalledJob."""
    schedules = __opts__.get("schedule") or {}, _saved_jobs() or {}
    return facts.installed_job(_our_paths(), plan.NAME, *schedules)


def sysctl(settings, test=False):  # pylint: disable=redefined-outer-name
    """
    Put kernel settings in force and return those that were not: ``{name: {old, new}}``.

    settings
        A list of ``{"name": "net.ipv4.neigh.eth0.mcast_resolicit", "value": 3}``; a dot in a
        device's name is written as a slash, as sysctl does. ``may_vanish: true``: no failure where
        the device is gone meanwhile.
    test
        Tell, and change nothing.

    What the kernel shows after the write counts: it keeps ``locktime`` and
    ``base_reachable_time_ms`` in ticks of its own, and may show 7 as 6.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.sysctl '[{name: net.ipv4.neigh.eth0.locktime, value: 0}]' test=True

    Raises CommandExecutionError where one cannot be set; it names those that were set before.
    """
    shaped = isinstance(settings, list) and all(
        isinstance(each, dict) and isinstance(each.get("name"), str) and "value" in each
        for each in settings
    )
    if not shaped:
        raise CommandExecutionError(
            f"arp_hygiene.sysctl: settings: {settings!r} is not a list of {{name: ..., value: ...}}"
        )
    try:
        return live_settings.put(settings, test)
    except ValueError as error:
        raise CommandExecutionError(str(error)) from None


def sentinel_code(test=False):
    """Install the code that the sentinel's service runs, as it was synced last.

    Writes one file in the minion's directory, which ``saltutil.clear_cache`` does not delete. Does
    not restart a running sentinel: applying the formula does.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.sentinel_code test=True
        # db1:
        #     ----------
        #     new:
        #         723f4af65c697140
        #     old:

    test (bool, default False)
        Return what would change; write nothing.

    Returns an empty dict where the code was up to date, otherwise ``old`` and ``new``, each the
    ``code`` of :py:func:`arp.version` (``old`` is empty where there was none, or a corrupt file).

    Raises CommandExecutionError where it cannot be written.
    """
    path = _paths()["sentinel_code"]
    old, new = version.code(path), version.code()
    if old == new:
        return {}
    try:
        if not test:
            files.write_atomically(path, sentinel_unit.bundle(), 0o644)
    except OSError as error:
        raise CommandExecutionError(f"cannot write {path}: {error.strerror}") from None
    return {"old": old, "new": new}


def traces():
    """Return which parts of the formula have left a file or a job on this minion.

    Touches no entry and changes nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.traces
        # db1:
        #     ----------
        #     announce:
        #         False
        #     cron:
        #         True
        #     ...

    Returns a dict: part to bool. These parts are what ``arp_hygiene.remove`` removes; another
    minion's of this host are not among them.
    """
    found = _found()
    theirs = whose.spared(_foreign(), found)
    return {part: left and part not in theirs for part, left in found.items()}


def _found():
    """Return which parts are here; the run history and the textfile may be another minion's."""
    paths = _our_paths()
    return {
        "cron": os.path.lexists(paths["cron"]),
        "salt": plan.NAME in {**(__opts__.get("schedule") or {}), **(_saved_jobs() or {})},
        "systemd": any(os.path.lexists(paths[unit]) for unit in ("service", "timer")),
        "script": os.path.lexists(paths["script"]),
        "textfile": bool(_textfile()),
        "mark": bool(paths["record"]) and os.path.lexists(paths["record_mark"]),
        "record": os.path.lexists(paths["record"]),
        "sysctl": os.path.lexists(paths["sysctl"]),
        "announce": bool(boot.installed(paths)),
        "sentinel": bool(sentinel_unit.installed(paths))
        or os.path.lexists(paths["sentinel_code"])
        or (bool(paths["sentinel_service"]) and _has_dead_sentinels_status()),
    }


def _foreign():
    """Return the files of another minion of this host, see formula/whose.py."""
    return whose.foreign(_paths(), _config_dir())


def _our_paths():
    """Return where each file is, without another minion's, whose paths are empty."""
    return {**_paths(), **dict.fromkeys(_foreign(), "")}


def _has_dead_sentinels_status():
    """Tell whether a sentinel that does not run any more has left its status in /run."""
    path = sentinel_status.PATH
    if not os.path.lexists(path) or sentinel_status.read(path, time.monotonic())["lives"]:
        return False
    return not _has_engine()  # which continues the counts


def schedule_is_ours():
    """Return whether the minion's own schedule file holds no job but the formula's.

    Salt leaves that file behind with an empty schedule; ``arp_hygiene.remove`` deletes it then.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.schedule_is_ours
        # db1:
        #     True

    Returns a bool; False also where there is no such file.
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


def _sentinel_here(named_salt_call=None, wanted=None):
    """Return what is true of this minion for a sentinel; wanted: None where there shall be none."""
    salt_call, installed = facts.salt_call(named_salt_call), sentinel_unit.installed(_our_paths())
    names = facts.engines(__opts__.get("engines"))
    # the service of that name is the minion that is configured there
    restart = (
        (wanted or "engine" in installed)
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
        code=version.code(),
        bundle=_paths()["sentinel_code"],
        code_is_public=facts.is_public(_code_places()),
        installed=installed,
        engines=[name for name in names if name != "arp_sentinel"],
        restart=command if restart else [],
    )


def _code_places():
    """Return where Python, its library, pyroute2 and the sentinel's code are."""
    found = importlib.util.find_spec("pyroute2")
    return [sys.executable, os.__file__, _config_dir(), *([found.origin] if found else [])]


def _kept():
    """Return the kernel settings in our files of them, by part and name."""
    files_of = {"sysctl": "sysctl", "announce": "announce_sysctl"}
    paths = _our_paths()
    return {part: live_settings.kept(paths[name]) for part, name in files_of.items()}


def _textfile():
    """Return the textfile that runs have left, or nothing."""
    return sinks.textfile(sinks.read_history(_paths()["record"])[0]["metrics"])


def _facts(checked, parts):
    """Return what is true of this minion, of all that the plan wants to know."""
    missing = [path for path in checked.directories() if not os.path.isdir(path)]
    return plan.Facts(
        minion_id=__opts__["id"],
        config_dir=_config_dir(),
        root_dir=__opts__["root_dir"],
        os_family=__grains__.get("os_family", ""),
        booted=bool(salt.utils.systemd.booted()),
        gid=facts.gid(checked.user),
        salt_call=facts.salt_call(checked.salt_call),
        cron_here=facts.has_program("crond", "cron"),
        is_cron_of_busybox=facts.is_cron_of_busybox(),
        missing_devices={
            section: facts.missing_devices(names) for section, names in checked.devices().items()
        },
        missing_directories=missing,
        why_requirement_unmet=("" if missing else facts.why_requirement_unmet(checked.requirement)),
        croniter_here=facts.has_library("croniter"),
        found=parts,
        textfile=_textfile(),
        pillar_textfile=sinks.textfile(checked.metrics),
        kept=_kept(),
        sysctl=facts.settings(checked.sysctl),
        thresholds=facts.thresholds(formula_pillar.THRESHOLDS),
        announce=boot.installed(_our_paths()),
        conf=facts.kernel_settings(boot.SETTINGS),
        sentinel=_sentinel_here(checked.salt_call, checked.sentinel),
        foreign=_foreign(),
    )
