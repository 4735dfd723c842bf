"""What a run tells of the entries that it changed, and of those that several hosts answer for.

The host that has an entry now may be a proxy, which answers for every address: its word is no proof
that it has this one, also where it alone answers. So it is asked for addresses that nobody has
before anything is told as healed (resolve/proxy.py).
"""

from collections.abc import Collection
from typing import NamedTuple

from ..netlink import codec
from ..table import view
from . import proxied, proxy
from .report import Report


class Changed(NamedTuple):
    """An entry whose MAC our question brought the kernel to replace, or that several hosts have."""

    entry: codec.Entry  # as it was
    taken: bytes  # MAC that it holds since
    macs: tuple[bytes, ...]  # all that answered
    at: float = 0.0  # when our question first moved it


class Changes:
    """The changed entries of one run that are not told yet."""

    def __init__(self, table: view.TableView, report: Report, rate: float) -> None:
        self.warnings: list[str] = []
        self._table, self._report, self._rate = table, report, rate
        self._contested: list[Changed] = []
        self._silent: list[Changed] = []
        self._is_proxy: dict[proxy.Host, bool] = {}  # those that were asked

    def decide(self, changed: Changed, is_returned: bool, current: codec.Entry | None) -> None:
        """Take an entry whose former holder has been looked back at; current: as it is now."""
        if is_returned or len(changed.macs) > 1:
            held = current.mac if current else b""
            self.add_contested(changed._replace(taken=held or changed.taken))
        elif current is None or not current.mac:
            self._table.keep("already gone", changed.entry.key)
            self._report.count(changed.entry, "kept")
        elif self._table.is_owned(current):
            self._report.count(changed.entry, "kept")
        else:
            self.add_silent(changed._replace(taken=current.mac))

    def add_contested(self, changed: Changed) -> None:
        """Add an entry that several hosts answer for."""
        self._contested.append(changed)

    def add_silent(self, changed: Changed) -> None:
        """Add an entry whose former holder is silent, or is a proxy."""
        self._silent.append(changed)

    def tell_silent(self, asked: Collection[codec.Key]) -> None:
        """Report the entries whose former holder is silent: healed, unless a proxy has them now.

        asked: the entries of this run; their addresses are somebody's.
        """
        silent, self._silent = self._silent, []
        proxies = self._proxies(silent, asked)
        for each in silent:
            if proxied.is_in(proxies, each.entry, each.taken):
                self._report.duplicate(each.entry, each.macs, each.taken)
            else:
                self._report.healed(each.entry, each.taken)

    def tell_contested(self, asked: Collection[codec.Key], may_ask: bool) -> None:
        """Report the entries that several hosts answer for; a living one gets back a proxy's."""
        proxies = self._proxies(self._contested, asked) if may_ask else set[proxy.Host]()
        contested = [(each.entry, each.taken, each.macs) for each in self._contested]
        healed = proxied.give_to_living(self._table, contested, proxies, self._rate)
        for entry, mac in healed.values():
            self._report.healed(entry, mac)
        for each in self._contested:
            if each.entry.key not in healed:
                found = (mac for mac in each.macs if proxied.is_in(proxies, each.entry, mac))
                self._report.duplicate(each.entry, each.macs, next(found, b""))

    def _proxies(self, some: list[Changed], asked: Collection[codec.Key]) -> set[proxy.Host]:
        """Return the proxies among the hosts that answered; each host is asked once in a run."""
        claims = [
            proxy.Claim(each.entry.ifindex, each.entry.dst, mac)
            for each in some
            for mac in {*each.macs, each.taken}
        ]
        unknown = [claim for claim in claims if claim.host not in self._is_proxy]
        found = set[proxy.Host]()
        if unknown:
            used = proxy.used_on(self._table.channel, [each.entry for each in some], asked)
            found = proxy.find(unknown, used, self._rate)
        self._is_proxy.update((claim.host, claim.host in found) for claim in unknown)
        for ifindex, mac in sorted({(ifindex, mac) for ifindex, _family, mac in found}):
            self.warnings.append(
                f"proxy: {mac.hex(':')} on {self._table.name(ifindex)} answers for addresses that "
                "nobody has (proxy ARP); its answers are no proof"
            )
        return {claim.host for claim in claims if self._is_proxy[claim.host]}
