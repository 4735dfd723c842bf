"""The run of a heal: wave by wave, ask, wait, look again. Knows no Salt. Standard library alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Mapping

from . import compare, inventory, returns, summary
from .audit import Audit, Options
from .batches import Job
from .compare import Row
from .heal import Heal, run_s

MAX_ADDRESSES = 500  # in one job
LEAST_RATE = 0.01  # probes a second: arp.revalidate takes no lower one but 0


def heal(audit: Audit, options: Options) -> Row:
    """Have the entries that disagree asked about; return the whole answer.

    Where a job cannot be sent, what was done before is returned all the same.
    """
    answer = {**audit.answer(), "test": options["test"]}
    account = Heal(audit.result, options["budget"])
    waves = list(account.waves(audit.tables, options["share"], options["batch"]))
    if options["test"]:
        would = summary.with_totals({"would_ask": account.rows})
        would["totals"] = {**answer["totals"], **would["totals"]}
        in_waves = summary.number(len(waves), "wave")
        answer["summary"].append(f"{len(account.rows)} to ask about, in {in_waves}.")
        would |= {"would_waves": len(waves), "waves": 0, "interrupted": audit.interrupted}
        return {**answer, **would}
    if audit.interrupted:
        code, why = summary.INTERRUPTED, []
        account.ask_no_more(summary.NOT_ASKED)
    else:
        code, why = _run_rounds(audit, account, options)
    doubtful = dict.fromkeys(audit.returns.conflicts, summary.CONFLICT)
    done = account.answer({**audit.silent, **doubtful})
    done["totals"] = {**answer["totals"], **done["totals"]}
    first, *more = answer["summary"]
    done["summary"] = [f"Before the heal: {first}", *more, *done["summary"], *why]
    remembered_twice = summary.twice_by_memory(audit.result)
    if answer["counts"]["agree_cached"] or remembered_twice or account.rests_on_memory():
        done["retcode"] |= summary.UNPROVEN
    if summary.held_twice(audit.result.twice):
        done["retcode"] |= summary.WRONG  # no question can settle it
    done["retcode"] |= answer["retcode"] & summary.NOT_ALL_ANSWERED  # nothing to compare with, too
    done["retcode"] = code if code == summary.INTERRUPTED else done["retcode"] or code
    return {**answer, **done, "interrupted": code == summary.INTERRUPTED}


def _run_rounds(audit: Audit, account: Heal, options: Options) -> tuple[int, list[str]]:
    """Return the exit code of a run that ended early, and why it did."""
    code, why = 0, []
    try:
        try:
            while account.next_round():
                _run_waves(audit, account, options)
        except audit.master.failures as error:
            code, why = summary.ERROR, [f"Stopped early: {error}"]
        audit.returns.listen_once_more()
    except audit.master.interruptions:
        code = summary.INTERRUPTED
    return code, why


def _run_waves(audit: Audit, account: Heal, options: Options) -> None:
    waves = list(account.waves(audit.tables, options["share"], options["batch"]))
    for number, wave in enumerate(waves, 1):
        if account.waves_done:
            audit.master.pause(options["pause"])
        while _run_wave(audit, account, wave, options["rate"]):
            pass  # the answers may have freed what the budget did not allow before
        account.waves_done += 1
        audit.master.progress(wave=number, of=len(waves), **account.counts())


def _run_wave(audit: Audit, account: Heal, wave: Collection[str], rate: float) -> bool:
    """Have one wave asked about, then read its tables again; return whether any job was sent."""
    jobs: list[tuple[list[str], str, Collection[str], returns.Job]] = []
    stopped: Exception | None = None
    try:
        _send(audit, account, account.jobs(wave, MAX_ADDRESSES), rate, jobs)
    except audit.master.failures as error:  # the jobs before it are under way: they have answers
        stopped = error
    asked_about = [(name, dev, ips, job) for names, dev, ips, job in jobs for name in names]
    try:
        audit.returns.gather([job for *_, job in jobs])
    finally:  # an interruption loses no answer
        for name, dev, ips, job in asked_about:
            if name in job.answers:
                account.note_answer(name, dev, ips, job.answers[name])
    for name, dev, ips, job in asked_about:
        if name not in job.answers:
            account.note_answer(name, dev, ips, None)
    if jobs:
        _verify(audit, account, wave)
    if stopped:
        raise stopped
    return bool(jobs)


def _send(
    audit: Audit,
    account: Heal,
    due: Mapping[Job, list[str]],
    rate: float,
    jobs: list[tuple[list[str], str, Collection[str], returns.Job]],
) -> None:
    """Send the jobs of a wave; each is in ``jobs`` as soon as it is sent."""
    rates = job_rates(due, rate)
    for (dev, ips), names in due.items():
        rate_each = rates[dev, ips]
        kwarg = {"ip": list(ips), "dev": dev, "rate": rate_each, "limit": 0, "rows": True}
        account.begin(names, dev, ips)
        worst_s = run_s(len(ips), rate_each)
        try:
            job = audit.returns.publish(names, "list", "arp.revalidate", kwarg, run_s=worst_s)
        except audit.master.failures as error:
            account.note_unsent(names, dev, ips, str(error))
            raise
        jobs.append((names, dev, ips, job))


def _verify(audit: Audit, account: Heal, wave: Collection[str]) -> None:
    """Read from the tables of a wave what was asked about and not read since."""
    asked = account.unverified(wave)
    if asked:
        tables, _ = audit.returns.ask(wave, "list", "arp.list", {"ip": asked})
        usable = {name: told["ret"] for name, told in tables.items() if not summary.failure(told)}
        first = last = compare.compare(usable, audit.known, audit.fabric_ports)
        try:
            if first.wrong:  # by what the machines said when the run began
                _ask_again(audit, first.wrong)
                last = compare.compare(usable, audit.known, audit.fabric_ports)
        finally:  # an interruption loses no table
            account.note_tables(last, usable, first.wrong)


def _ask_again(audit: Audit, rows: Collection[Row]) -> None:
    """Ask the machines behind entries once more: they may have other interfaces by now.

    Of one that does not answer, what it said before counts.
    """
    names = {name for row in rows for name in audit.known.claimants(row["ip"], row["mac"])}
    if not names:
        return
    answers = audit.returns.ask_briefly(sorted(names), "network.interfaces")
    for name, answer in answers.items():
        if not summary.failure(answer):
            with contextlib.suppress(ValueError):
                audit.hosts[name] = inventory.from_interfaces(answer["ret"])
    audit.know()


def job_rates(jobs: Mapping[Job, Collection[str]], rate: float) -> dict[Job, float]:
    """Return the rate of each job: all jobs of one database together have ``rate`` (0: no limit).

    They run at the same time, and each of them keeps to its own rate alone.
    """
    jobs_of = Counter(name for names in jobs.values() for name in names)
    return {
        job: rate and max(LEAST_RATE, rate / max(jobs_of[name] for name in names))
        for job, names in jobs.items()
    }
