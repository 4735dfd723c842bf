"""One audit: ask the minions, read the cached grains, compare. Knows no Salt.

Who is asked, and how, is the master's surface: see ``Master``. Standard library alone.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Collection, Iterator
from typing import Any, Protocol

from . import acknowledge, bindings, compare, fabric, inventory, returns, summary, targets
from .compare import Row
from .inventory import HostInventory
from .returns import Returns

CACHED_CANNOT_SEE = (
    "truth=cached does not see a MAC or an address that changed since the grains were cached."
)
PARTS = 16  # of a table that is too large for one return: up to some 200,000 entries
MAX_TABLES = 50  # asked for at the same time: each may be a megabyte
PROGRESS_EVERY = 100  # machines
Options = dict[str, Any]  # the arguments of a runner function, parsed


class Master(returns.Master, Protocol):
    """What one master knows of its minions."""

    failures: tuple[type[Exception], ...]  # raised where a job cannot be sent
    #: Raised where is waited (``events``, ``pause``) when a person ends the run.
    interruptions: tuple[type[BaseException], ...]

    def pause(self, seconds: float) -> None:
        """Wait."""

    def accepted(self) -> set[str]:
        """Return the minions whose key is accepted."""

    def match(self, tgt: str | list[str], tgt_type: str) -> set[str] | None:
        """Return the minions that a target means; None if only the minions can tell."""

    def undecided(self, tgt: str | list[str], tgt_type: str) -> dict[str, str]:
        """Return the accepted minions of which it is not known whether they are meant, and why."""

    def named(self, tgt: str | list[str], tgt_type: str) -> set[str]:
        """Return the minions that a target names in a list."""

    def cached_minions(self) -> set[str]:
        """Return the minions that grains are cached of."""

    def cached_hosts(self, names: Collection[str]) -> dict[str, HostInventory]:
        """Return inventories from cached grains."""

    def progress(self, **numbers: int) -> None:
        """Report how far the run is."""


class Audit:
    """The fleet at one moment: its tables, its interfaces, and their comparison."""

    def __init__(self, master: Master, asked: Returns, options: Options) -> None:
        """Ask, and compare. An interruption ends the questions and loses no answer."""
        self.master, self.returns, self._options = master, asked, options
        self.silent: dict[str, str] = {}  # minion to why it gave no usable answer
        self.tables: dict[str, Any] = {}
        self.hosts: dict[str, HostInventory] = {}
        self._of_fabric: list[Row] = []  # entries that disagree, with a MAC of the network's own
        self.fabric_ports: set[compare.Port] = set()
        self._not_for_all = set[compare.Port]()  # where a MAC answers, and is not the network's
        self.interrupted, self._stopped = False, ""
        self._former: dict[str, HostInventory] = {}
        self._down: set[str] = set()  # asked whether they are up, and gave no answer
        self._tables_due: set[str] = set()  # minions still to be asked
        self._hosts_due: set[str] = set()
        self._sampled = ""
        accepted = master.accepted()
        for key in ("tgt", "machines"):
            unknown = master.named(options[key], options[f"{key}_type"]) - accepted
            self.silent.update(dict.fromkeys(unknown, "no minion of this name is accepted here"))
        self._choose_machines(accepted)
        if options["truth"] == "live":
            self._hosts_due |= self._machines
        try:
            self._read_truth(accepted)
            self._read_tables(accepted)
            if options["truth_file"] is None:
                self._ask_hosts()
            self._compare()
            self._ask_about_doubts()
            self.returns.listen_once_more()
        except master.interruptions:
            self.interrupted = True
            self._note_due("interrupted")
        except master.failures as error:
            if not self.tables:
                raise
            self._stopped = f"Stopped early: {error}"
            self._note_due(str(error))
        self._check()
        self._compare()
        if self.interrupted or self._stopped:
            self._believe_declared()
            self._compare()

    def _choose_machines(self, accepted: set[str]) -> None:
        """Resolve whose interfaces count; name the minions of which that is not known."""
        which, kind = self._options["machines"], self._options["machines_type"]
        self._machines: set[str] = set()
        self._undecided: dict[str, str] = {}  # they may have any address
        if self._options["truth_file"] is not None:
            if (which, kind) != ("*", "glob"):
                raise ValueError(
                    f"machines: {which!r} ({kind}): with truth=file no minion is asked, so name a "
                    "file that has the machines of this site alone"
                )
            return
        machines = self.master.match(which, kind)
        if machines is None:  # else all would be asked, and the narrower truth widened unsaid
            raise ValueError(targets.WITHOUT_CACHE.format("machines"))
        self._machines = accepted & machines
        self._undecided = self.master.undecided(which, kind)
        if not self._machines:
            what = f"machines={which!r} ({kind})"
            raise ValueError(targets.refusal(what, self._undecided))
        self.silent.update(self._undecided)

    def _note_due(self, why: str) -> None:
        """Note the minions that have not answered when the run ended early."""
        for due, fun in ((self._tables_due, "arp.list"), (self._hosts_due, "network.interfaces")):
            asked = self.returns.asked.get(fun, set())
            self.silent.update(dict.fromkeys(due & asked, f"no answer yet: {why}"))
            self.silent.update(dict.fromkeys(due - asked, f"not asked: {why}"))

    def _check(self) -> None:
        """Refuse to call a fleet clean of which nothing was seen."""
        if not self.interrupted and not self._stopped:
            if not self.tables and not self.silent:
                self._refuse_nobody(())
            if not self.hosts and not self._former:
                why = "no machine answered, none has cached grains that are young enough"
                if self._options["truth_file"] is not None:
                    why = "the truth file has no rows that are young enough"
                raise ValueError(f"nothing to compare with: {why}")

    def _read_tables(self, accepted: Collection[str]) -> None:
        """Read the rows of each database; note why some gave none."""
        tgt, tgt_type = self._options["tgt"], self._options["tgt_type"]
        names = self.master.match(tgt, tgt_type)
        self.silent.update(self.master.undecided(tgt, tgt_type))
        if names is None:  # each minion decides whether it is meant
            job = self.returns.publish(tgt, tgt_type, "arp.list")
            self._refuse_nobody(job.minions)
            self._tables_due |= job.minions
            found = self.returns.as_they_come(job)
        else:  # as a list: to match grains costs the master a millisecond a minion, each time
            names &= set(accepted)  # a minion can register names of its own (Salt's resources)
            self._refuse_nobody(names)
            self._tables_due |= names
            window = min(self._options["batch"], MAX_TABLES)
            found = self.returns.ask_each(sorted(names), "arp.list", window)
        missing = []
        for name, answer in found:
            if answer is None:
                missing.append(name)
                continue
            why = summary.failure(answer) if name in accepted else "its key is not accepted here"
            if answer.get("ret") == inventory.TRIMMED:
                why = self._read_in_parts(name)
            elif not why:
                self.tables[name] = answer["ret"]
            if why:
                self.silent[name] = why
            self._tables_due.discard(name)  # the parts of a large table are read
        if missing:
            self.silent.update(self._why_silent(sorted(missing), "" if names else tgt, tgt_type))
            self._tables_due -= set(missing)
        self.master.progress(tables=len(self.tables), silent=len(self.silent))

    def _refuse_nobody(self, meant: Collection[str]) -> None:
        """Refuse a target that means no minion: before all machines are asked, and for nothing."""
        tgt, tgt_type = self._options["tgt"], self._options["tgt_type"]
        if not meant and not self.master.named(tgt, tgt_type):
            undecided = self.master.undecided(tgt, tgt_type)
            raise ValueError(targets.refusal(f"{tgt!r} ({tgt_type})", undecided))

    def _read_in_parts(self, name: str) -> str:
        """Read a table that is larger than the master's max_event_size; return why it failed."""
        rows: list[Row] = []
        for part in range(1, PARTS + 1):  # one after the other: each may be a megabyte
            kwarg = {"compact": True, "part": f"{part}/{PARTS}"}
            answer = self.returns.ask([name], "list", "arp.list", kwarg)[0].get(name)
            why = summary.failure(answer)
            if why:
                return f"part {part} of {PARTS} of a large table: {why}"
            try:
                rows += compare.expand(answer["ret"])
            except ValueError as error:
                return str(error)
        self.tables[name] = rows
        return ""

    def _why_silent(
        self, missing: list[str], tgt: str | list[str], tgt_type: str
    ) -> Iterator[tuple[str, str]]:
        """Ask minions that gave no table whether they are up; with ``tgt``: and meant."""
        fun, arg = (f"match.{tgt_type}", (tgt,)) if tgt else ("test.ping", ())
        answers = self.returns.ask_briefly(missing, fun, arg)
        for name in missing:
            if name not in answers:
                self._down.add(name)
                yield name, "no answer: it is down, or not connected"
            elif answers[name]["ret"] is not False:
                yield name, f"did not return arp.list within {self.returns.timeout_s:g} s"

    def _read_truth(self, accepted: Collection[str]) -> None:
        """Read what the master has itself: the truth file, or the cached grains of machines.

        Before the tables: where the run ends early, these are compared with something.
        """
        options = self._options
        if options["truth_file"] is None:
            self.hosts = self._young(self.master.cached_hosts(self._machines))
            former = self.master.cached_minions() - set(accepted)
            self._former = self._young(self.master.cached_hosts(former))
            return
        self._machines = set(options["truth_file"])
        self.hosts = self._young(options["truth_file"])
        too_old = self._machines - set(self.hosts)
        why = f"its rows in the truth file are older than {options['memory_days']} days"
        self.silent.update(dict.fromkeys(too_old, why))

    def _ask_hosts(self) -> None:
        """Ask all machines, or a sample, for their interfaces."""
        if self._options["truth"] == "live":
            self._ask_machines(sorted(self._machines - self._down))
            self._hosts_due -= self._down
        elif self._options["sample"]:
            self._ask_sample()
        for name in self._machines - set(self.hosts):
            self.silent.setdefault(name, "no answer, and no cached grains that are young enough")

    def _young(self, hosts: dict[str, HostInventory]) -> dict[str, HostInventory]:
        """Return the inventories that are not too old to contradict a machine that lives."""
        oldest_s = self._options["memory_days"] * 86400
        return {name: host for name, host in hosts.items() if (host.age_s or 0) <= oldest_s}

    def _ask_sample(self) -> None:
        """Ask some machines, to tell how far the cached grains are right."""
        count = max(1, round(len(self._machines) * self._options["sample"]))
        names = sorted(random.sample(sorted(self._machines), min(count, len(self._machines))))
        before = {name: self.hosts.get(name) for name in names}
        self._ask_machines(names)
        live = [name for name in names if name in self.hosts and self.hosts[name].live]
        differ = sum(
            before[name] is None or set(before[name].addresses) != set(self.hosts[name].addresses)
            for name in live
        )
        self._sampled = f"Sample: {differ} of {len(live)} machines differ from their cached grains."

    def _ask_machines(self, names: list[str]) -> None:
        """Ask machines for their interfaces."""
        self._hosts_due |= set(names)
        began, left = self.returns.clock(), len(names)
        asked = self.returns.ask_each(names, "network.interfaces", self._options["batch"])
        for name, answer in asked:
            self._hosts_due.discard(name)
            self._note_host(name, answer)
            left -= 1
            if not left % PROGRESS_EVERY:
                done = len(names) - left
                seconds_left = round((self.returns.clock() - began) / done * left)
                self.master.progress(interfaces=done, of=len(names), seconds_left=seconds_left)

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

    def _ask_about_doubts(self) -> None:
        """Ask the machines known by memory alone, and whether the network answers for all."""
        if self._options["truth"] == "cached":
            self._ask_machines(sorted(summary.unconfirmed(self.result, self.known)))
            self._compare()
        self._believe_declared()
        for rows in compare.fabric_candidates(self.result, self._options["fabric"]):
            ports, doubted = fabric.answering_for_all(self.returns, rows)
            self._not_for_all |= doubted
            self._believe([row for row in rows if compare.port(row) in ports])
        if self.fabric_ports:
            self._compare()

    def _believe_declared(self) -> None:
        """Take the MACs that the operator declared for the network's own, wherever they are."""
        rows = [*self.result.wrong, *self.result.unproven]
        declared = set(self._options["fabric"])
        self._believe([row for row in rows if row["mac"] in declared and row["mac_true"]])
        nobodys = [row for row in self.result.gone if row["mac"] in declared]
        self.fabric_ports |= set(map(compare.port, nobodys))

    def _believe(self, rows: list[Row]) -> None:
        """Take the MACs of entries that disagree for the network's own."""
        self._of_fabric += rows
        self.fabric_ports |= set(map(compare.port, rows))

    def know(self) -> None:
        """Index what the machines have said until now."""
        scope = bindings.Scope(self._options["networks"], self._options["exclude"])
        machines = self._machines | set(self._undecided)
        self.known = bindings.Bindings(self.hosts, machines, self._former, scope)

    def _compare(self) -> None:
        self.know()
        found = compare.compare(self.tables, self.known, self.fabric_ports)
        self.result, self._acknowledged, self._expired = acknowledge.take_out(
            found, self._options["acknowledged"], datetime.date.today()
        )
        self.silent.update(self.result.malformed)

    def found(self) -> summary.Findings:
        """Return everything that was found out."""
        return summary.Findings(
            self.result,
            self.known,
            self.tables,
            self.silent,
            dict.fromkeys(self.returns.conflicts, summary.CONFLICT),
            fabric.rows_of(self._of_fabric),
            self._acknowledged,
            self._expired,
            self._options["truth_age_s"],
        )

    def settled(self, entries: Collection[str]) -> set[str]:
        """Return which entries, found by an earlier run, are known to disagree no more."""
        return compare.settled(entries, self.tables, self.known, self.fabric_ports)

    def answer(self) -> Row:
        """Return it as plain data, whole."""
        answer = summary.answer(self.found())
        answer["summary"] += fabric.lines(self._not_for_all)
        if self._sampled:
            answer["summary"].append(self._sampled)
        if self._options["truth"] == "cached":
            answer["summary"].append(CACHED_CANNOT_SEE)
        if self._stopped:
            answer["summary"].append(self._stopped)
            answer["retcode"] |= summary.NOT_ALL_ANSWERED
        if self.interrupted:
            answer["retcode"] = summary.INTERRUPTED
            answer["summary"].append(summary.WAS_INTERRUPTED)
        read = sorted(set(self.tables) - set(self.result.malformed))
        return {**answer, "databases": read, "stopped": self._stopped}
