"""What a run reads and writes on the master: truth, acknowledgements, page, history, metrics.

All but the acknowledgements lies in the one directory that the master's configuration names. A
failure to write is a line of the answer, never the end of a run. Standard library alone.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Collection
from typing import Any

from ..reporting import files
from ..table import naming
from . import acknowledge, audit_history, html_report, summary, truth_file
from .settings import Settings

Row = dict[str, Any]
METRICS = "arp_fleet.prom"
METRICS_MODE = 0o644  # the exporter is another user
MAX_ACKNOWLEDGED, MAX_HISTORY = 1_000_000, 20_000_000  # characters
MAX_NAMED = 3  # findings in one line


def read_inputs(options: Row, settings: Settings, parse_yaml: Callable[[str], Any]) -> None:
    """Read the files that a run compares with into ``options``."""
    if options["truth_path"]:
        text, written_at = _read(options["truth_path"], truth_file.MAX_BYTES)
        oldest_s, age_s = options["memory_days"] * 86400, max(0, int(time.time() - written_at))
        options["truth_file"] = truth_file.parse_truth(text, oldest_s, age_s)
        options["truth_age_s"] = age_s
    path = settings.acknowledged
    if path:
        text, _written_at = _read(path, MAX_ACKNOWLEDGED)
        try:
            known = parse_yaml(text)
        except Exception as error:  # each YAML library has its own
            what = " ".join(str(error).split())[:200]
            raise ValueError(f"acknowledged: {path} is not YAML: {what}") from None
        options["acknowledged"] = acknowledge.parse_all(known)


def remember(
    name: str,
    answer: Row,
    is_recorded: bool,
    settings: Settings,
    began: float,
    settled: Callable[[Collection[str]], set[str]],
) -> None:
    """Compare a run with the recorded ones; record it, if that is wanted.

    began
        A time before the first table was read, in seconds since 1970.
    settled
        Returns which of these open findings are known to be settled.
    """
    if not settings.directory:
        return
    path, now = os.path.join(settings.directory, audit_history.FILE), time.time()
    history, problem = audit_history.empty(), ""
    try:
        history = audit_history.parse(_read(path, MAX_HISTORY)[0])
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        problem = f"The history is not readable, and begins anew: {path}: {error}"
    closed, newer = settled(history["open"]), audit_history.seen_since(history, began, now)
    changes = audit_history.changes(history, answer, closed, newer)
    for key in ("wrong", "gone", "unproven"):
        answer[key] = audit_history.with_first_seen(history, now, answer[key])
    if history["runs"]:
        told = ", ".join(f"{count} {what}" for what, count in changes.items())
        answer["summary"].append(f"Since the recorded runs: {told}.")
    answer["summary"] += _left_open(audit_history.unseen(history, answer, closed, newer))
    if is_recorded:
        history = audit_history.with_run(history, now, name, answer, closed, newer)
        text = audit_history.dump(history)
        if len(text) > MAX_HISTORY:  # it could not be read again: names may be long
            history = {**history, "open": {}, "last_seen": {}}
            text = audit_history.dump(history)
            problem = "Too many findings to remember: the next run calls all of them new."
        try:
            _write(path, text, settings.mode)
            metrics = os.path.join(settings.directory, METRICS)
            _write(metrics, audit_history.metrics(history), METRICS_MODE)
        except OSError as error:
            problem = f"The run could not be recorded: {error}"
            answer["retcode"] = answer["retcode"] or summary.ERROR
    if problem:
        answer["summary"].append(problem)
    answer["history"] = {"runs": history["runs"], "changes": changes}


def _left_open(unseen: Collection[str]) -> list[str]:
    """Return a line that names some of the findings that a run could not look at."""
    if not unseen:
        return []
    return [
        "Recorded findings that stay open, as their database was not read or a later run has seen "
        f"them: {naming.examples(unseen, MAX_NAMED)}."
    ]


def write_page(answer: Row, path: str, mode: int) -> None:
    """Write the page of an answer, where one is wanted."""
    if not path:
        return
    answer["report"] = path
    try:
        if not html_report.may_replace(path):
            raise FileExistsError(errno.EEXIST, "not a page of ours", path)
        _write(path, html_report.page(answer, time.time()), mode)
    except OSError as error:
        answer["summary"].append(f"The page could not be written: {error}")
        answer["retcode"] = answer["retcode"] or summary.ERROR


def _write(path: str, text: str, mode: int) -> None:
    files.write_atomically(path, text.encode(errors="replace"), mode)


def _read(path: str, most: int) -> tuple[str, float]:
    """Return the text of a regular file, no larger than so many characters, and when it is from."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path} is not a regular file")
        text = file.read(most + 1)
    if len(text) > most:
        raise ValueError(f"{path} has more than {most} characters")
    return text, status.st_mtime
