"""The scheduled run of the formula ``arp_hygiene``: it cleans and reports.

Together with ``arp_hygiene.py`` this is Salt's module ``arp_hygiene``.
"""

import importlib
import logging
import os
import sys
import time

import salt.utils.event
from salt.exceptions import CommandExecutionError, SaltInvocationError

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
from arp_engine.formula import facts as formula_facts
from arp_engine.formula import job_files, pillar, plan, schedule, sentinel_unit
from arp_engine.reporting import messages, run_history, sentinel_status, sinks
from arp_engine.reporting import metrics as reporting_metrics
from arp_engine.reporting.events import RUN_TAG, EventKind
from arp_engine.table import parse

log = logging.getLogger(__name__)

__virtualname__ = "arp_hygiene"
__outputter__ = {"healed": "arp_answer", "run": "arp_answer"}


_NEEDS = {"revalidate": ("CAP_NET_ADMIN", "CAP_NET_RAW"), "flush": ("CAP_NET_ADMIN",)}


def __virtual__():
    """Load on Linux."""
    if not sys.platform.startswith("linux"):
        return False, "arp_hygiene manages the neighbour table of the Linux kernel"
    return __virtualname__


def run(
    how="revalidate",
    ip=None,
    dev=None,
    state=None,
    family=None,
    exclude=None,
    mac=None,
    rate=None,
    event=True,
    metrics=None,
    test=False,
    scheduled=False,
):
    """Clean the neighbour table as the schedule does, and report the result.

    Calls :py:func:`arp.revalidate` or :py:func:`arp.flush`; never touches what they never touch.
    Entries that were healed, gone, duplicate, still wrong, undecided or refused, and a table nearly
    full, are one line in syslog or the journal (tag ``arp_hygiene``). Heals are recorded for seven
    days, and those of the sentinel since the previous run with them.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.run
        # db1: 97 checked: 96 confirmed, 1 healed
        #   healed  192.0.2.90 on eth0: 02:00:00:00:00:0a -> 02:00:00:00:00:0b

    how (str, default ``revalidate``)
        ``revalidate`` or ``flush``.
    ip, dev, state, family, exclude, mac
        As in :py:func:`arp.revalidate` or :py:func:`arp.flush`.
    rate (float, probes a second, default 500)
        As in :py:func:`arp.revalidate`, and only with it.
    event (bool, default True)
        Send an event to the master for each kind of result: ``arp_hygiene/healed``, ``/gone``,
        ``/duplicate``, ``/disagreement``, ``/undecided``, ``/refused``, ``/flushed``, ``/full``,
        ``/failed``; and ``/sentinel/healed`` for heals of a sentinel that is a service. Only where
        a minion runs.
    metrics (str, default None: not written)
        Directory in which to write ``arp_hygiene.prom``.
    test (bool, default False)
        Test that a run can do and report all that; probe, change and report nothing.
    scheduled (bool, default False)
        The installed schedule says so of its own runs (the script of cron and systemd by the
        environment variable ``ARP_HYGIENE_SCHEDULED``): :py:func:`arp_hygiene.status` judges by
        these alone whether one is overdue.

    Returns what :py:func:`arp.revalidate` or :py:func:`arp.flush` returned, and ``success`` (bool;
    False where that failed, or the kernel refused a part), ``said`` (the line, or the reason of a
    failure; empty where there is nothing to report), ``problems`` (list of lines: what could not be
    recorded or written). A failure has exit code 1 under ``--retcode-passthrough``. It is not
    raised, because salt-call leaves a file behind for each exception.

    Raises SaltInvocationError for a bad argument of its own.
    """
    _check_run(how, metrics, event=event, test=test, scheduled=scheduled)
    if how == "flush" and rate is not None:
        raise SaltInvocationError("arp_hygiene.run: rate: a rate applies to revalidate only")
    arguments = {"ip": ip, "dev": dev, "state": state, "family": family, "exclude": exclude}
    arguments = {**arguments, "mac": mac, "rate": rate, "test": test}
    arguments = {key: value for key, value in arguments.items() if value is not None}
    if test:
        return _told(**_proven(how, arguments, metrics))
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    scheduled = scheduled or job_files.MARK in os.environ
    outcome = {"how": how, "metrics": metrics, "scheduled": scheduled, **_cleaned(how, arguments)}
    outcome["sentinel"] = seen.get("heals", [])
    if _has_entries(outcome["stats"]):
        outcome["selection"] = job_files.selection(arguments)
    news = _news(outcome, seen)
    problems = _recorded(outcome, seen)
    if event:
        _send(news)
    return _told(outcome["answer"], outcome["said"], outcome["failed"], problems)


def _told(answer, said, failed, problems=()):
    """Return what a run returns: the outcome first, so that a shell finds it."""
    if failed:
        __context__["retcode"] = 1
    return {"success": not failed, "said": said, "problems": list(problems), **answer}


def _check_run(how, metrics, **flags):
    """Refuse an argument of a run's own; the others are the cleaning function's to check."""
    try:
        parse.one_of("how", how, pillar.VERBS)
        for name, flag in flags.items():
            parse.flag(name, flag)
    except ValueError as error:
        raise SaltInvocationError(f"arp_hygiene.run: {error}") from None
    if metrics is not None and not (isinstance(metrics, str) and os.path.isabs(metrics)):
        raise SaltInvocationError(f"arp_hygiene.run: metrics: {metrics!r} is not an absolute path")


def _cleaned(how, arguments):
    """Clean; return what came of it, and what is to be said about that."""
    answer, stats, warnings = {}, {}, []
    try:
        with sinks.recorded_by_caller():
            answer = _arp(how)(**arguments)
        if answer.get("interrupted"):  # arp.revalidate caught SIGTERM: end the run, as Salt does
            done = [*answer["healed"], *answer["changed"]]
            sinks.record_heals(_record_dir(), time.time(), "run", done)
            raise SystemExit(0)
        stats = _arp("stats")()
        warnings = [line for counts in stats.values() for line in counts["warnings"]]
        elsewhere = [line for line in answer.get("warnings", []) if line.startswith("dev: ")]
        said = messages.summary(messages.by_kind(answer), warnings + elsewhere)
        failed = said if answer.get("failed") else ""
    except (CommandExecutionError, SaltInvocationError) as error:
        failed = said = messages.one_line(str(error))
    return {"answer": answer, "stats": stats, "full": warnings, "said": said, "failed": failed}


def _has_entries(stats):
    """Tell whether the table has entries of hosts, which a run without selectors would find."""
    return any(
        counts["entries"] > counts["states"].get("NOARP", 0)  # multicast groups are always there
        for counts in stats.values()
    )


def _recorded(outcome, seen):
    """Put a run down in history, metrics and log; return a line for what could not be."""
    history, problems = sinks.record_run(_record_dir(), time.time(), outcome)
    if outcome["metrics"]:
        problems += _write_metrics(outcome["metrics"], outcome["stats"], history, _expected(seen))
    if outcome["failed"]:
        log.error("%s", outcome["failed"])  # where a minion runs it, its own log has it too
    if outcome["said"]:
        sinks.log(outcome["said"], failed=bool(outcome["failed"]))
    for line in problems:
        sinks.log(messages.one_line(line), failed=True)
    return problems


def healed():
    """List the heals of the last seven days, oldest first.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.healed
        # db1: 1 healed, 413 deleted in seven days
        #   at                    ip           dev   old                new                by
        #   2026-03-01T02:14:07Z  192.0.2.90   eth0  02:00:00:00:00:0a  02:00:00:00:00:0b  run
        #   2026-03-02T11:02:41Z  413 entries  -     -                  -                  flush

    Returns a list of dicts, at most 1000 (the oldest deletions are dropped first, then the oldest
    heals): ``at`` (UTC, when the table changed; of a diagnosis, and in older records: when it was
    told, some ten seconds later), ``ip``, ``dev``, ``old`` and ``new`` (MACs) and ``by``, who
    healed:

    - ``run``: :py:func:`arp_hygiene.run`, so the schedule;
    - ``sentinel``;
    - ``revalidate``, ``diagnose``: :py:func:`arp.revalidate`, :py:func:`arp.diagnose`, called by
      an operator, a state or another program;
    - ``flush``: :py:func:`arp.flush` deleted the entry; ``new`` is empty, because the next packet
      resolves the address. More than 20 deleted entries are one row, whose ``ip`` is their number;
    - ``heal``, ``audit``, ``arp_born``: a job of the master's ``arp.heal``, ``arp.audit`` or engine
      ``arp_born``.

    Raises CommandExecutionError where the run history cannot be read.
    """
    history, problem = sinks.read_history(_record_dir())
    if problem:
        raise CommandExecutionError(f"arp_hygiene.healed: {problem}")
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    history = run_history.with_heals(history, seen.get("heals", []))
    rows = run_history.recent_heals(history, time.time())
    return [{"by": "run", **row, "at": run_history.utc(row["at"])} for row in rows]


def record_sentinel(test=False):
    """Record the heals of the sentinel, as each run does.

    Touches no entry and sends nothing. The formula calls it before it removes the sentinel, whose
    heals would be lost with its status file.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.record_sentinel
        # db1:
        #     2

    test (bool, default False)
        Count only; write nothing.

    Returns the number of heals that were not recorded yet (int).

    Raises CommandExecutionError where they cannot be recorded.
    """
    history, _problem = sinks.read_history(_record_dir())
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    rows = run_history.unreported(history, seen.get("heals", []), time.time())
    problems = [] if test else sinks.record_heals(_record_dir(), time.time(), "sentinel", rows)
    if problems:
        raise CommandExecutionError(f"arp_hygiene.record_sentinel: {problems[0]}")
    return len(rows)


def in_progress(timeout=0):
    """Tell whether a run is in progress, after waiting for its end.

    Touches no entry and sends nothing. The formula calls it before it removes what a run writes.

    CLI Example:

    .. code-block:: bash

        salt db1 arp_hygiene.in_progress timeout=60
        # db1:
        #     False

    timeout (int, seconds, default 0)
        Wait no longer than this, 0 to 3600.

    Returns a bool: whether one is still in progress, be it of the schedule or by hand.

    Raises SaltInvocationError for a bad timeout.
    """
    try:
        deadline = time.monotonic() + parse.whole_number("timeout", timeout, 0, 3600, "seconds")
    except ValueError as error:
        raise SaltInvocationError(f"arp_hygiene.in_progress: {error}") from None
    # a run of Salt's scheduler, or by hand, has no script
    while formula_facts.is_locked(_paths()["script"]) or __salt__["saltutil.is_running"](
        "arp_hygiene.run"
    ):
        if time.monotonic() >= deadline:
            return True
        time.sleep(0.5)
    return False


def _record_dir():
    """Return where this minion's runs leave what they did."""
    return sinks.history_directory(__opts__["root_dir"])


def _expected(seen):
    """Return what the sentinel says; None where there is none, and shall be none."""
    engines = formula_facts.engines(__opts__.get("engines"))
    is_installed = sentinel_unit.installed(_paths()) or "arp_sentinel" in engines
    return seen if is_installed or (seen.get("pid") and not seen.get("stopped")) else None


def _next_run():
    """Return when the schedule is due next; None where nobody knows, or nothing is scheduled."""
    job = formula_facts.installed_job(_paths(), plan.NAME, __opts__.get("schedule") or {})
    return schedule.due_after(job.when, job.wait_s, time.time())


def _paths():
    return plan.paths(os.path.dirname(__opts__["conf_file"]), __opts__["root_dir"])


def _arp(verb):
    """Return a function of the module arp, or say why there is none."""
    function = f"arp.{verb}"
    if function in __salt__:
        return __salt__[function]
    try:
        importlib.import_module("pyroute2.netlink.rtnl.ndmsg")
    except ImportError:
        raise CommandExecutionError(_missing("pyroute2")) from None
    raise CommandExecutionError(
        f"{function} is not on this minion: run salt '{__opts__['id']}' saltutil.sync_all"
    )


def _missing(library):
    return formula_facts.missing(library, __opts__["root_dir"])


def _proven(how, arguments, metrics):
    """Return what a run would do, or what would keep it from doing or telling that."""
    try:
        answer = _arp(how)(**arguments)
        problems = _check_place(how, metrics)
    except (CommandExecutionError, SaltInvocationError) as error:
        reason = messages.one_line(str(error))
        return {"answer": {}, "said": reason, "failed": reason}
    return {"answer": answer, "said": "", "failed": "", "problems": problems}


def _check_place(how, metrics):
    """Raise what would keep a run from its work, or from leaving word of it.

    Return a line where the run history is another user's: after this test the formula gives it to
    the user of the job.

    Without the right to ask a run would still make the kernel prove everything. That is for one
    bad day, and no way to install it.
    """
    record, problems = _record_dir(), []
    for place in [record, *([metrics] if metrics else [])]:
        if not os.access(place, os.W_OK | os.X_OK):
            owner = place == record and _foreign_owner(record)
            if owner:
                problems.append(
                    f"{record} belongs to {owner}: a run as user {os.geteuid()} cannot record its "
                    "result there until arp_hygiene is applied"
                )
                continue
            why = "cannot be written" if os.path.isdir(place) else "is not a directory"
            raise CommandExecutionError(f"{place} {why}: a run could not record its result there")
    if metrics and not formula_facts.has_library("prometheus_client"):
        raise CommandExecutionError(_missing("prometheus_client"))
    if lacking := formula_facts.lacking(_NEEDS[how]):
        raise CommandExecutionError(f"user {os.geteuid()} has no {' and no '.join(lacking)} here")
    return problems


def _foreign_owner(directory):
    """Return whose directory it is, where nothing else keeps this user from writing there."""
    try:
        is_read_only = formula_facts.is_read_only(directory)
        return "" if is_read_only else formula_facts.foreign_owner(directory, os.geteuid())
    except OSError:  # missing, or not to be reached
        return ""


def _write_metrics(directory, stats, history, sentinel):
    """Write the textfile; return a line for what kept us from it."""
    suspects = None
    try:
        if stats:
            dry_run = _arp("revalidate")(test=True)
            suspects = dry_run.get("totals", {}).get("suspects", len(dry_run["suspects"]))
        counters = sinks.kernel_counters()
        metrics = reporting_metrics.families(
            stats, suspects, counters, history, sentinel, _next_run()
        )
        sinks.write_metrics(directory, metrics)
    except ImportError:
        return [_missing("prometheus_client")]
    except (CommandExecutionError, OSError) as bad:
        return [f"cannot write metrics to {directory}: {getattr(bad, 'strerror', None) or bad}"]
    return []


def _news(outcome, seen):
    """Return what the master is to be told: by kind, what and how it is said.

    A sentinel that is a service has no way to the master: its heals go with the next run.
    """
    news = messages.by_kind(outcome["answer"])
    if outcome["failed"] and not news:
        news = {EventKind.FAILED.tag: {"count": 1, "rows": []}}
    if outcome["full"]:
        news[EventKind.FULL.tag] = {"count": len(outcome["full"]), "rows": []}
    news = {kind: {**facts, "said": outcome["said"]} for kind, facts in news.items()}
    history, _problem = sinks.read_history(_record_dir())
    rows = run_history.unreported(history, outcome["sentinel"], time.time())
    if rows and seen.get("as") != "engine":
        healed = messages.by_kind({"healed": rows})
        news["sentinel/healed"] = {**healed["healed"], "said": messages.summary(healed, [])}
    return news


def _send(news):
    """Tell the master, one event for each kind of news; where no minion runs, nobody."""
    for kind, facts in news.items():
        event = {"data": facts, "tag": f"{RUN_TAG}/{kind}"}
        try:
            with salt.utils.event.MinionEvent(__opts__, listen=False) as bus:
                bus.fire_event({**event, "events": None, "pretag": None}, "fire_master")
        except Exception as error:  # each transport of Salt's raises its own; the log has the news
            log.debug("no event for the master: %s", error)
