"""Revalidation: probe each address and compare the answers with the table. No Salt in here.

A probe that nobody answers changes nothing; an answer is taken into the table by the kernel itself,
even for an entry that upper-layer confirmation keeps REACHABLE. So a verdict rests on the answers
and on what the table holds after them:

confirmed   the cached MAC alone answered
healed      another MAC answered, the table holds it now, and the former holder stays silent
duplicate   two MACs answered, at once or one after the other; or a proxy alone
kept        the entry has an owner, or cannot be probed from here
otherwise   nobody answered: the PROBE fallback decides (resolve/nud_probe.py)

The kernel takes the first answer to a broadcast, whoever gives it, and a host may be paused or
slow. So the host with the cached MAC is asked alone for 0.3 s first, except where a single entry is
asked about, for which somebody waits; and after each change its former holder is asked again,
alone, for ten seconds, which gives it its entry back (resolve/look_back.py).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.constants import REACHABLE, TICKS
from ..table import answer, listing, ownership, view
from ..table.gc_pause import gc_paused
from ..table.selectors import DEFAULT_LIMIT, Selectors
from . import under_way, unselected
from .report import Report
from .revalidate_run import Run, Tick


def revalidate(
    selectors: Selectors,
    rate: float,
    test: bool = False,
    limit: int = DEFAULT_LIMIT,
    rows_wanted: bool = False,
    tick: Tick | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Probe every entry that is selected and ours; return the outcome of each.

    Once ``is_stopped`` tells so it ends, and the result says how many entries have no outcome, and
    which of these have another MAC already.

    rate: probes a second; 0: as fast as is safe. tick: called about once a second with the number
    of finished probes, of all, and what was healed so far.
    """
    with rtnetlink.Channel() as channel, gc_paused():
        table = view.TableView(channel, selectors, must_be_provable=True)
        chosen = table.read_ours()
        absent = unselected.explain(selectors, chosen, table.kept_addresses())
        suspects = {key: entry for key, entry in chosen.items() if _is_suspect(table, entry)}
        if test:
            rows = [answer.entry_row(table, entry) for entry in suspects.values()]
            result = answer.limit_lists({"suspects": rows}, ("suspects",), limit)
            result["would_check"] = len(chosen)
            if rows_wanted:
                result["entries"] = _listed(table, chosen)
            return {**result, "kept": table.kept(), "warnings": absent}
        report = Report(table, rows_wanted)
        with under_way.told(), Run(table, report, rate, tick, is_stopped) as run:
            run.probe({**suspects, **chosen})  # suspects first
            if not is_stopped():
                run.fall_back()
            run.finish()
            is_interrupted = is_stopped()
            changed = _changed_rows(table, report, chosen, run) if is_interrupted else []
        result = {**report.as_dict(limit), "kept": table.kept(), "warnings": absent + run.warnings}
        if is_interrupted:
            left = len(chosen) - report.total()
            result |= {"interrupted": True, "no_outcome": left, "changed": changed}
            result["totals"]["changed"] = len(changed)
        return result


def _listed(table: view.TableView, chosen: Mapping[codec.Key, codec.Entry]) -> list[dict[str, Any]]:
    """Return entries as ``arp.list`` does."""
    listed = listing.Listing(table)
    for entry in chosen.values():
        listed.add("", table_dump.Single(entry))
    return listed.rows()


def _changed_rows(
    table: view.TableView, report: Report, chosen: Mapping[codec.Key, codec.Entry], run: Run
) -> list[dict[str, Any]]:
    """Return the entries without an outcome that have another MAC now; keep those with an owner.

    The kernel may have taken an answer that has not come to us yet: to a probe that has left. What
    else is written is not by this run.
    """
    left = [key for key in chosen if not report.is_settled(key)]
    rows = []
    for key, current in table.read_again(left).items():
        if not current:
            continue
        if table.is_owned(current):
            report.count(chosen[key], "kept")
        elif current.mac not in (b"", chosen[key].mac) and run.end_question(key):
            changed_at = time.monotonic() - current.updated / TICKS
            rows.append(report.change_row(chosen[key], current.mac, changed_at))
    return rows


def _is_suspect(table: view.TableView, entry: codec.Entry) -> bool:
    if entry.state != REACHABLE:  # most: no need to know the device's timers
        return False
    timers = table.timers(codec.family_of(entry.dst), entry.ifindex)
    return ownership.is_suspect(
        entry.state, entry.confirmed, entry.updated, timers.base_reachable_s
    )
