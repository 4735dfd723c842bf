"""One audit: ask the minions, read the cached grains, compare. Knows no Salt.

Who is asked, and how, is the master's surface: see ``Master``. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from . import compare, inventory, returns, summary
from .compare import Row
from .inventory import HostInventory
from .returns import Returns

INTERRUPTED = 130  # the exit code of a run that Ctrl-C ended
#: Why a minion is in ``conflicts``.
CONFLICT = "two different returns under its name: one of them was forged; the job cache's counts"
PROGRESS_EVERY = 100  # machines
Options = dict[str, Any]  # the arguments of a runner function, parsed


class Master(returns.Master, Protocol):
    """What one master knows of its minions."""

    interruptions: tuple[type[BaseException], ...]  # raised when a person ends the run

    def accepted(self) -> set[str]:
        """Return the minions whose key is accepted."""

    def match(self, tgt: str | list[str], tgt_type: str) -> set[str] | None:
        """Return the minions that a target means; None if only the minions can tell."""

    def cached_minions(self) -> set[str]:
        """Return the minions that grains are cached of."""

    def cached_hosts(self, names: Collection[str]) -> dict[str, HostInventory]:
        """Return inventories from cached grains."""

    def progress(self, **numbers: int) -> None:
        """Report how far the run is."""


class Audit:
    """The fleet at one moment: its tables, its interfaces, and their comparison."""

    def __init__(self, master: Master, asked: Returns, options: Options) -> None:
        """Ask, and compare."""
        self.master, self.returns, self._options = master, asked, options
        self.silent: dict[str, str] = {}  # minion to why it gave no usable answer
        self.interrupted = False
        accepted = master.accepted()
        machines = master.match(options["machines"], options["machines_type"])
        self._machines = accepted if machines is None else accepted & machines
        self.tables = self._tables(accepted)
        if not self.tables and not self.silent:
            raise ValueError(f"no minion matches {options['tgt']!r} ({options['tgt_type']})")
        self.hosts = master.cached_hosts(self._machines)
        self._former = master.cached_hosts(master.cached_minions() - accepted)
        if options["truth"] == "live":
            self._ask_machines(sorted(self._machines))
        if not self.hosts and not self._former:
            raise ValueError("nothing to compare with: no machine answered, none has cached grains")
        for name in self._machines - set(self.hosts):
            self.silent.setdefault(name, "no answer, and no cached grains")
        self._compare()
        if options["truth"] == "cached":
            self._ask_machines(sorted(summary.unconfirmed(self.result, self.known)))
            self._compare()

    def _tables(self, accepted: Collection[str]) -> Mapping[str, Any]:
        """Return the rows of each database that answered; note why the others did not."""
        tgt, tgt_type = self._options["tgt"], self._options["tgt_type"]
        names = self.master.match(tgt, tgt_type)
        if names is None:  # as it is: each minion decides whether it is meant
            answers, meant = self.returns.ask(tgt, tgt_type, "arp.list")
        else:  # as a list: to match grains costs the master a millisecond a minion, each time
            answers, meant = self.returns.ask(sorted(names), "list", "arp.list")
        tables = {}
        for name, answer in answers.items():
            why = summary.failure(answer) if name in accepted else "its key is not accepted here"
            if why:
                self.silent[name] = why
            else:
                tables[name] = answer["ret"]
        missing = sorted(meant - set(answers))
        if missing:
            self.silent.update(self._why_silent(missing, "" if names else tgt, tgt_type))
        self.master.progress(tables=len(tables), silent=len(self.silent))
        return tables

    def _why_silent(
        self, missing: list[str], tgt: str | list[str], tgt_type: str
    ) -> Iterator[tuple[str, str]]:
        """Ask minions that gave no table whether they are up; with ``tgt``: and meant."""
        fun, arg = (f"match.{tgt_type}", (tgt,)) if tgt else ("test.ping", ())
        answers, _ = self.returns.ask(missing, "list", fun, arg=arg)
        for name in missing:
            if name not in answers:
                yield name, "no answer: it is down, or not connected"
            elif answers[name]["ret"] is not False:
                yield name, f"did not return arp.list within {self.returns.timeout_s:g} s"

    def _ask_machines(self, names: list[str]) -> None:
        """Ask machines for their interfaces; an interruption loses no answer."""
        unheard = set(names)
        try:
            asked = self.returns.ask_each(names, "network.interfaces", self._options["batch"])
            for name, answer in asked:
                unheard.discard(name)
                self._note_host(name, answer)
                if not len(unheard) % PROGRESS_EVERY:
                    self.master.progress(interfaces=len(names) - len(unheard), of=len(names))
        except self.master.interruptions:
            self.interrupted = True
        for name in unheard:
            self._note_host(name, None)

    def _note_host(self, name: str, answer: Row | None) -> None:
        why = summary.failure(answer) if answer else "did not return network.interfaces"
        try:
            if answer and not why:
                self.hosts[name] = inventory.from_interfaces(answer["ret"])
                return
        except ValueError as error:
            why = str(error)
            self.hosts.pop(name, None)
        if name in self.hosts:
            why += f"; cached grains are {self.hosts[name].age_s} s old"
        self.silent.setdefault(name, why)

    def _compare(self) -> None:
        scope = compare.Scope(self._options["networks"], self._options["exclude"])
        self.known = compare.Bindings(self.hosts, self._machines, self._former, scope)
        self.result = compare.compare(self.tables, self.known)
        self.silent.update(self.result.malformed)

    def answer(self) -> Row:
        """Return it as plain data."""
        limit = self._options["limit"]
        self.returns.listen_once_more()
        conflicts = {name: CONFLICT for name in self.returns.conflicts}
        answer = summary.answer(self.result, self.known, self.tables, self.silent, conflicts, limit)
        if self.interrupted:
            answer["retcode"] = INTERRUPTED
            answer["summary"].append("Interrupted: not every machine was asked.")
        return {**answer, "jobs": self.returns.job_ids}
