"""What a run tells of the entries that it changed, and of those that several hosts answer for.

The host that has an entry now may be a proxy, which answers for every address: its word is no proof
that it has this one, also where it alone answers. So it is asked for addresses that nobody has
before anything is told as healed (resolve/proxy.py). And somebody else may have written the entry
since: it is read again when it is told, and only what it holds then is told. Where the former
holder or the one that has the entry now could not be asked, nothing is known: it is undecided.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from ..netlink import codec
from ..table import naming, view
from . import look_back, look_back_run, proxied, proxy
from .question import NO_PERMISSION
from .report import Report


class Changed(NamedTuple):
    """An entry whose MAC our question brought the kernel to replace, or that several hosts have."""

    entry: codec.Entry  # as it was
    taken: bytes  # MAC that it holds since
    macs: tuple[bytes, ...]  # all that answered
    at: float = 0.0  # when our question first moved it
    is_from_proxy: bool = False  # the MAC that it had is a proxy's, which answered for it, too
    unasked: str = ""  # why a former holder could not be looked back at; empty: it could

    def looked_back(self, outcome: str, why: str) -> "Changed":
        """Return it after a former holder has been looked back at.

        Without the right to send, the kernel alone has probed it, and it was silent for three
        seconds (PROBE): that is told as a warning, and its verdict counts.
        """
        if outcome != "unasked" or why == NO_PERMISSION:
            return self
        return self._replace(unasked=why or look_back.TOO_FEW)


class Changes:
    """The changed entries of one run that are not told yet."""

    def __init__(
        self, table: view.TableView, report: Report, rate: float, is_stopped: Callable[[], bool]
    ) -> None:
        self.warnings: list[str] = []
        self._table, self._report, self._rate = table, report, rate
        self._is_stopped = is_stopped
        self._contested: list[Changed] = []
        self._silent: list[Changed] = []
        self._healed: list[Changed] = []  # told as that
        self._back: list[Changed] = []  # they have their former MAC again
        self._written_back: list[str] = []
        self._written_anew: list[str] = []
        self._unread: list[str] = []
        self._unasked: list[str] = []
        self._is_proxy: dict[proxy.Host, bool] = {}  # those that were asked
        self._unchecked: dict[proxy.Host, str] = {}  # those that could not be, and why

    def decide(self, changed: Changed, is_returned: bool, current: codec.Entry | None) -> None:
        """Take an entry whose former holder has been looked back at; current: as it is now."""
        if is_returned or len(changed.macs) > 1:
            held = current.mac if current else b""
            self.add_contested(changed._replace(taken=held or changed.taken))
        elif not self._is_left(changed.entry, current):
            self.add_silent(changed)

    def _is_left(self, entry: codec.Entry, current: codec.Entry | None) -> bool:
        """Tell, and report, whether an entry is not ours any more: it is gone, or has an owner."""
        if current is None or not current.mac:
            self._table.keep("already gone", entry.key)
        elif not self._table.is_owned(current):
            return False
        self._report.count(entry, "kept")
        return True

    def add_contested(self, changed: Changed) -> None:
        """Add an entry that several hosts answer for."""
        self._contested.append(changed)

    def add_silent(self, changed: Changed) -> None:
        """Add an entry whose former holder is silent, or is a proxy."""
        self._silent.append(changed)

    def tell_silent(self, asked: Collection[codec.Key]) -> None:
        """Report the entries whose former holder is silent: healed, if they hold the new MAC yet.

        And unless it is a proxy's. asked: the entries of this run; their addresses are somebody's.
        """
        silent, self._silent = self._silent, []
        proxies = self._proxies(silent, asked)
        table_now = self._table.read_again([each.entry.key for each in silent]) if silent else {}
        for each in silent:
            if each.entry.key not in table_now:
                self._unread.append(self._name(each.entry))
                self._report.unverified(each.entry, each.macs, b"")
            elif not self._is_left(each.entry, current := table_now[each.entry.key]):
                self._tell_held(each, current.mac if current else b"", proxies)

    def _tell_held(self, changed: Changed, held: bytes, proxies: set[proxy.Host]) -> None:
        """Report an entry whose former holder is silent, by the MAC that it holds now."""
        entry = changed.entry
        if held == entry.mac and (changed.is_from_proxy or held in changed.macs):
            self._add_returned(changed)  # its answer came last
        elif held == entry.mac:
            self._back.append(changed)
        elif held not in (changed.taken, *changed.macs):
            self._tell_written(changed, held)
        elif proxied.is_in(proxies, entry, held):
            self._report.duplicate(entry, changed.macs, held)
        elif unasked := self._why_unproved(changed, held):
            self._unasked.append(f"{self._name(entry)}: {unasked}")
            self._report.unverified(entry, changed.macs, held, unasked)
        else:
            self._report.healed(entry, held, changed.at)
            self._healed.append(changed._replace(taken=held))

    def _why_unproved(self, changed: Changed, held: bytes) -> str:
        """Return who could not be asked, and why, before a heal may be told; empty: all could."""
        former = changed.entry.mac.hex(":")
        host = proxy.Claim(changed.entry.ifindex, changed.entry.dst, held).host
        if changed.unasked:
            return f"the host with {former} could not be asked again ({changed.unasked})"
        if (why := self._unchecked.get(host, NO_PERMISSION)) != NO_PERMISSION:
            return f"{held.hex(':')} {proxied.UNCHECKED} ({why})"
        return ""

    def tell_unchecked(self, entry: codec.Entry, unasked: str) -> None:
        """Report an entry whose cached MAC alone answers, and may be a proxy's."""
        self._unasked.append(f"{self._name(entry)}: {unasked}")
        self._report.unverified(entry, (entry.mac,), entry.mac, unasked)

    def take_back(self) -> None:
        """Take those back that were told as healed, and have yet another MAC: a run takes minutes.

        They are told anew, as what they are now.
        """
        healed, self._healed = self._healed, []
        table_now = self._table.read_again([each.entry.key for each in healed]) if healed else {}
        for each in healed:
            current = table_now.get(each.entry.key)
            if (
                current
                and current.mac not in (b"", each.taken)
                and not self._table.is_owned(current)
            ):
                self._report.take_back(each.entry)
                self._silent.append(each)
            else:
                self._healed.append(each)

    def tell_back(self, asked: Collection[codec.Key]) -> None:
        """Report the entries that have their former MAC again, and nobody with it had answered.

        Its host may live again since it was asked last: it is asked once more.
        """
        self._silent, self._back = [*self._silent, *self._back], []
        self.tell_silent(asked)
        hosts = {each.entry.key: each.entry.mac for each in self._back}
        answered = look_back_run.that_answer(hosts, self._rate) if hosts else set[codec.Key]()
        for each in self._back:
            if each.entry.key in answered:
                self._add_returned(each)
            else:
                self._tell_written(each, each.entry.mac)

    def _add_returned(self, changed: Changed) -> None:
        """Add an entry that its former holder has again, and which answers for it."""
        former = changed.entry.mac
        macs = dict.fromkeys((former, *changed.macs, changed.taken))
        self.add_contested(changed._replace(taken=former, macs=tuple(macs)))

    def _tell_written(self, changed: Changed, held: bytes) -> None:
        """Report an entry that holds no MAC of those that answered: we gave it none of these."""
        entry, answered = changed.entry, [mac for mac in changed.macs if mac != held]
        if held == entry.mac and answered:
            self._written_back.append(self._name(entry))
            self._report.still_wrong(entry, answered, is_written_back=True)
        else:
            self._written_anew.append(f"{self._name(entry)} ({held.hex(':')})")
            self._report.unverified(entry, answered, held)

    def _name(self, entry: codec.Entry) -> str:
        return f"{codec.address(entry.dst)} on {self._table.name(entry.ifindex)}"

    def _warn(self) -> None:
        """Add a line for the entries that somebody else wrote while they were looked back at.

        And for those of which nobody knows what they hold.
        """
        if self._written_back:
            self.warnings.append(
                f"still wrong: {naming.examples(self._written_back)}: the kernel took the MAC that "
                "answered, and the entry has the former one again, though no host with that one "
                "answers us: another process or a frame of another host wrote it meanwhile; look "
                "with: ip monitor neigh; then run arp.revalidate again"
            )
        if self._written_anew:
            self.warnings.append(
                f"undecided: {naming.examples(self._written_anew)}: the MAC in brackets came "
                "meanwhile, and not by an answer to us: run arp.revalidate again"
            )
        if self._unread:
            self.warnings.append(
                f"undecided: {naming.examples(self._unread)}: the entry took another MAC, and then "
                "the kernel did not show it (deleted meanwhile, or not readable): run "
                "arp.revalidate again"
            )

        if self._unasked:
            self.warnings.append(
                f"undecided: {naming.examples(self._unasked)}: the entry holds a MAC that answers, "
                "but it is not verified that this is right: run arp.revalidate again"
            )

    def tell_contested(self, asked: Collection[codec.Key], may_ask: bool) -> None:
        """Report the entries that several hosts answer for; a living one gets back a proxy's.

        The last thing of a run.
        """
        proxies = self._proxies(self._contested, asked) if may_ask else set[proxy.Host]()
        contested = [
            (each.entry, each.taken, each.macs)
            for each in self._contested
            if not any(claim.host in self._unchecked for claim in _claims(each))
        ]
        healed = proxied.give_to_living(self._table, contested, proxies, self._rate)
        for entry, mac, at in healed.values():
            self._report.healed(entry, mac, at)
        for each in self._contested:
            if each.entry.key not in healed:
                found = (mac for mac in each.macs if proxied.is_in(proxies, each.entry, mac))
                self._report.duplicate(each.entry, each.macs, next(found, b""))
        self._warn()

    def _proxies(self, some: list[Changed], asked: Collection[codec.Key]) -> set[proxy.Host]:
        """Return the proxies among the hosts that answered; each is asked until it could be."""
        claims = [claim for each in some for claim in _claims(each)]
        unknown = [claim for claim in claims if claim.host not in self._is_proxy]
        found = set[proxy.Host]()
        if unknown:
            used = proxy.used_on(self._table.channel, [each.entry for each in some], asked)
            self._unchecked = {}
            found = proxy.find(unknown, used, self._rate, self._unchecked, self._is_stopped)
        checked = {claim.host for claim in unknown} - self._unchecked.keys()
        self._is_proxy.update((host, host in found) for host in checked)
        for ifindex, mac in sorted({(ifindex, mac) for ifindex, _family, mac in found}):
            self.warnings.append(
                f"proxy: {mac.hex(':')} on {self._table.name(ifindex)} answers for addresses that "
                "nobody has (proxy ARP); its answers are no proof"
            )
        return {claim.host for claim in claims if self._is_proxy.get(claim.host)}


def _claims(changed: Changed) -> list[proxy.Claim]:
    """Return the claims of the hosts that answered for an entry, or have it."""
    entry = changed.entry
    macs = {*changed.macs, changed.taken}
    return [proxy.Claim(entry.ifindex, entry.dst, mac) for mac in macs]
