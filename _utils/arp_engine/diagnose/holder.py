"""Who keeps an entry that is asked about: its living holder, and neither a proxy nor a twin.

A broadcast moves an entry to whoever answers it, at once or after the question is over. So the
entry is read again for as long as a late answer may come, and its holder, asked alone, has it back.
"""

import errno
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple

from ..netlink import codec, table_dump
from ..netlink.constants import TICKS
from ..resolve import late_answers, look_back, look_back_run, proxied, proxy
from ..resolve.interface_facts import is_link_local
from ..table import ownership, view

POLL_S = 0.02
#: Linux, which waits longest, answers as a proxy after 0.8 s at most (proxy_delay): what comes
#: later than that need not be held off.
SPARE_S = 0.2


class Held(NamedTuple):
    """An entry after all was done for its holder, and the proxies among those who answered.

    unproved: who could not be asked for that, and why.
    """

    entry: codec.Entry | None
    proxies: set[bytes]
    unproved: str


class Holder:
    """One entry, and who has it."""

    def __init__(self, table: view.TableView, key: codec.Key) -> None:
        self._table, self._key = table, key
        self._family = codec.family_of(key[1])
        self._unproved = ""

    # --- reading

    def entry(self) -> codec.Entry | None:
        """Return the entry as it is now; None: there is none."""
        for entries, refusals in self._table.channel.get_entries([self._key]):
            if entries:
                return entries[0]
            if all(refusal.errno != errno.EOPNOTSUPP for refusal in refusals):
                return None
        # kernels before 5.0 return no single entry
        return next((entry for entry in self.neighbours() if entry.key == self._key), None)

    def neighbours(self) -> list[codec.Entry]:
        """Return the entries of its device and family."""
        entries = table_dump.entries(*self._table.channel.neighbours(self._family, self._key[0]))
        return [entry for entry in entries if entry.ifindex == self._key[0]]

    def owner(self, entry: codec.Entry) -> str:
        """Return why an entry is never touched; empty where it may be."""
        return ownership.owner(entry, self._table.device(entry.ifindex))

    def locktime_left_s(self, entry: codec.Entry | None) -> float:
        """Return for how long the kernel ignores answers; into one without a MAC it takes any."""
        timers = self._table.timers(self._family, self._key[0])
        return ownership.locktime_left_s(entry, timers) if entry and entry.mac else 0.0

    # --- giving back

    def keep(
        self,
        before: codec.Entry | None,
        after: codec.Entry | None,
        answers: dict[bytes, float],
        began: float,
        asked_at: float,
    ) -> Held:
        """Give the entry back that our questions have moved, until no late answer can come.

        answers: those who answer late are added. began, asked_at: when we began and ended to ask.
        """
        until = asked_at + late_answers.LATE_S
        proxies = self._proxies(answers, before.mac if before else b"")
        after = self._give_back(before, after, answers, proxies, began)
        while (held := after) and held.mac in answers and self._may_move(held, until):
            after = self._read_until(until, held.mac)
            if not after or after.mac in (b"", held.mac) or self.owner(after):
                break
            answers.setdefault(after.mac, (time.monotonic() - began) * 1000)
            proxies |= self._proxies(answers, held.mac)
            after = self._give_back(held, after, answers, proxies, began)
            if time.monotonic() > until:
                break
        is_back = before and after and after.mac and after.mac == before.mac
        if is_back and answers and after.mac not in answers and self._has_returned(after):
            answers[after.mac] = (time.monotonic() - began) * 1000
            proxies |= self._proxies({after.mac: 0.0}, b"")
        return Held(after, proxies, self._unproved)

    def _has_returned(self, entry: codec.Entry) -> bool:
        """Ask the host with the cached MAC once more, alone; tell whether it answers.

        It may have paused, and have got its entry back by an answer that we did not hear.
        """
        return not self.owner(entry) and look_back_run.is_answered(self._key, entry.mac)

    def _may_move(self, entry: codec.Entry, until: float) -> bool:
        """Tell whether the kernel would take a late answer into an entry; locktime forbids it."""
        left_s = until - SPARE_S - time.monotonic()
        return not self.owner(entry) and self.locktime_left_s(entry) - 1 / TICKS < left_s

    def _read_until(self, until: float, mac: bytes) -> codec.Entry | None:
        """Return the entry as soon as it has another MAC than this; at the end in any case."""
        while True:
            is_over, entry = time.monotonic() > until, self.entry()
            if is_over or not entry or entry.mac != mac:
                return entry
            time.sleep(POLL_S)

    def _proxies(self, answers: Mapping[bytes, float], cached_mac: bytes) -> set[bytes]:
        """Return the MACs among the answers that answer for addresses which nobody has."""
        if not answers:
            return set()
        neighbours = self.neighbours()
        dsts = {e.dst for e in neighbours if e.mac in answers and e.key != self._key}
        is_shared = any(not is_link_local(dst) for dst in dsts)
        if set(answers) == {cached_mac} and not is_shared:
            return set()
        claims = [proxy.Claim(*self._key, mac) for mac in answers]
        unasked: dict[proxy.Host, str] = {}
        found = proxy.find(claims, {e.key for e in neighbours} | {self._key}, 0.0, unasked)
        for (_ifindex, _family, mac), why in unasked.items():
            self._unproved = f"{mac.hex(':')} could not be checked for being a proxy ({why})"
        return {mac for _ifindex, _family, mac in found}

    def _give_back(
        self,
        before: codec.Entry | None,
        after: codec.Entry | None,
        answers: dict[bytes, float],
        proxies: set[bytes],
        began: float,
    ) -> codec.Entry | None:
        """Give an entry that our question has moved, or that a proxy has, to its living holder.

        Asks that host alone, and adds its answer; returns the entry as it is then. A router's own
        address is the proxy's.
        """
        if not after or self.owner(after):
            return after
        cached_mac = before.mac if before else b""
        hosts = [mac for mac in answers if mac not in proxies]
        is_own = bool(before and cached_mac in proxies and proxied.routers([before]))
        if cached_mac and (cached_mac not in proxies or is_own):
            holder = cached_mac
        elif proxies and len(hosts) == 1:
            [holder] = hosts
        else:
            return after
        if after.mac in (holder, b"") or after.mac not in answers:
            return after
        change = look_back.Change(self._key, holder, after.mac, time.monotonic())
        outcome = look_back_run.look_back(self._table, [change], 0.0)[self._key]
        if outcome.unasked:
            self._unproved = f"{holder.hex(':')} could not be asked again ({outcome.unasked})"
        if outcome.is_returned:
            answers.setdefault(holder, (time.monotonic() - began) * 1000)
        return outcome.current


def give_back(table: view.TableView, before: Collection[codec.Entry], asked_at: float) -> None:
    """Give entries back to the MACs they had, until no late answer can come any more.

    asked_at: when the last question about them was over.
    """
    entries, until = {entry.key: entry for entry in before}, asked_at + late_answers.LATE_S
    while entries:
        now, current = time.monotonic(), table.read_again(entries)
        changes = [
            look_back.Change(key, entries[key].mac, entry.mac, now)
            for key, entry in current.items()
            if entry and entry.mac and entry.mac != entries[key].mac
        ]
        outcomes = look_back_run.look_back(table, changes, 0.0) if changes else {}
        for key, outcome in outcomes.items():
            if not outcome.is_returned:  # silent by now: it is not asked for ten seconds again
                del entries[key]
        if now > until:
            return
        time.sleep(POLL_S)
