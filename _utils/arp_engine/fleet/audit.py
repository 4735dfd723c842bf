"""One audit: ask the minions, read the cached grains, compare. Knows no Salt.

Who is asked, and how, is the master's surface: see ``Minions``. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

from . import compare, inventory, summary
from .compare import Row
from .inventory import HostInventory

INTERRUPTED = 130  # the exit code of a run that Ctrl-C ended
Answers = dict[str, Row]  # minion to its answer, {"ret": …}
Options = dict[str, Any]  # the arguments of a runner function, parsed


class Minions(Protocol):
    """The minions of one master."""

    timeout_s: int
    job_ids: list[str]
    interruptions: tuple[type[BaseException], ...]  # raised when a person ends the run

    def accepted(self) -> set[str]:
        """Return the minions whose key is accepted."""

    def match(self, tgt: str | list[str], tgt_type: str) -> set[str]:
        """Return the minions that a target means."""

    def cached(self) -> set[str]:
        """Return the minions that grains are cached of."""

    def cached_hosts(self, names: Collection[str]) -> dict[str, HostInventory]:
        """Return inventories from cached grains."""

    def publish(
        self, tgt: Any, tgt_type: str, fun: str, kwarg: Row | None = None, arg: Any = ()
    ) -> Any:
        """Send a job; return it."""

    def gather(self, job: Any) -> Answers:
        """Wait for the answers to a job."""

    def ask(
        self, tgt: Any, tgt_type: str, fun: str, kwarg: Row | None = None, arg: Any = ()
    ) -> tuple[Answers, set[str]]:
        """Send a job and wait; return the answers, and the minions that it was sent to."""

    def progress(self, **numbers: int) -> None:
        """Report how far the run is."""


class Audit:
    """The fleet at one moment: its tables, its interfaces, and their comparison."""

    def __init__(self, minions: Minions, options: Options) -> None:
        """Ask, and compare."""
        self.minions, self._options = minions, options
        self.silent: dict[str, str] = {}  # minion to why it gave no usable answer
        self.interrupted = False
        accepted = minions.accepted()
        self._machines = accepted & minions.match(options["machines"], options["machines_type"])
        self.tables = self._tables(accepted)
        self.hosts = minions.cached_hosts(self._machines)
        self._former = minions.cached_hosts(minions.cached() - accepted)
        if options["truth"] == "live":
            self._ask_machines(sorted(self._machines))
        for name in self._machines - set(self.hosts):
            self.silent.setdefault(name, "no answer, and no cached grains")
        self._compare()
        if options["truth"] == "cached":
            self._ask_machines(sorted(summary.unconfirmed(self.result, self.known)))
            self._compare()

    def _tables(self, accepted: Collection[str]) -> Mapping[str, Any]:
        """Return the rows of each database that answered; note why the others did not."""
        tgt, tgt_type = self._options["tgt"], self._options["tgt_type"]
        answers, meant = self.minions.ask(tgt, tgt_type, "arp.list")
        tables = {}
        for name, answer in answers.items():
            why = summary.failure(answer) if name in accepted else "its key is not accepted here"
            if why:
                self.silent[name] = why
            else:
                tables[name] = answer["ret"]
        missing = sorted(meant - set(answers))
        if missing:
            self.silent.update(self._why_silent(missing, tgt, tgt_type))
        self.minions.progress(tables=len(tables), silent=len(self.silent))
        return tables

    def _why_silent(
        self, missing: list[str], tgt: str | list[str], tgt_type: str
    ) -> Iterator[tuple[str, str]]:
        """Ask minions that gave no table whether they are up, and whether they were meant."""
        answers, _ = self.minions.ask(missing, "list", f"match.{tgt_type}", arg=(tgt,))
        for name in missing:
            if name not in answers:
                yield name, "no answer: it is down, or not connected"
            elif answers[name]["ret"] is not False:
                yield name, f"did not return arp.list within {self.minions.timeout_s} s"

    def _ask_machines(self, names: list[str]) -> None:
        """Ask machines for their interfaces, in batches; an interruption loses no answer."""
        batch = self._options["batch"]
        for first in range(0, len(names), batch):
            some, answers = names[first : first + batch], {}
            try:
                if not self.interrupted:
                    answers, _ = self.minions.ask(some, "list", "network.interfaces")
                    self.minions.progress(interfaces=first + len(some), of=len(names))
            except self.minions.interruptions:
                self.interrupted = True
            for name in some:
                self._note_host(name, answers.get(name))

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
        answer = summary.answer(self.result, self.known, self.tables, self.silent, limit)
        if self.interrupted:
            answer["retcode"] = INTERRUPTED
            answer["summary"].append("Interrupted: not every machine was asked.")
        return {**answer, "jobs": self.minions.job_ids}
