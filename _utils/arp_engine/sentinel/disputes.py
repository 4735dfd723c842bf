"""Addresses that two hosts answer for, and the hosts that answer for addresses nobody has.

A *contested* address is asked about as patiently as the kernel does it. Where a host is known to
answer for others (proxy ARP, resolve/proxy.py), all holders on its device are asked patiently.

Pure: told the time, opens nothing.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import NamedTuple

from ..netlink.codec import Key
from ..packets.probe_schedule import FAST, PATIENT, Schedule
from ..resolve import look_back, proxy
from ..resolve.question import ProbeResult, Question
from .former_holders import Heal

PROXY_S = 300.0  # for so long a proxy is remembered
MAX_PROXIES = 64
MAX_CHECKS = 256  # at a time; further ones wait

Host = tuple[int, int, bytes]  # device, length of the addresses that it was asked for, MAC
#: Two addresses of a claim's network that nobody has, and that are not among these; else none.
Unused = Callable[[proxy.Claim, Collection[bytes]], list[bytes]]


class Dispute(NamedTuple):
    """An address that two hosts answer for."""

    key: Key
    macs: tuple[bytes, ...]  # the holder's first
    claimant: bytes  # of these the one that took the entry from its holder, or keeps it from it
    is_answered: bool = False  # the claimant has answered for the address
    is_quiet: bool = False  # told only if the claimant is a proxy
    is_alias: bool = False  # perhaps: SYNs come from the first MAC, the second one is cached
    heal: Heal | None = None  # of that address: told unless the claimant is a proxy

    @property
    def is_taken(self) -> bool:
        """Tell whether the claimant is another host than the holder, the first one."""
        return not self.is_alias and self.claimant != self.macs[0]


class Check:
    """A claimant that is being asked for addresses nobody has, one after the other."""

    def __init__(self, unused: list[bytes], disputes: list[Dispute]) -> None:
        self.asked, *self.unasked = unused
        self.disputes = disputes


class Disputes:
    """Contested addresses, and known proxies."""

    def __init__(self, unused: Unused) -> None:
        """Take a lookup."""
        self._unused = unused
        self._contested = look_back.Contested()
        self._provisional: set[Key] = set()  # contested, by others than the holder before
        self._proxies: OrderedDict[Host, float] = OrderedDict()  # until when
        self._checks: dict[Host, Check] = {}
        # Claimants that cannot be asked yet; not many, as a check is over sooner than a look back.
        self._waiting: dict[Host, list[Dispute]] = {}

    def schedule(self, key: Key, now: float) -> Schedule:
        """Return how to ask about an address."""
        while self._proxies and next(iter(self._proxies.values())) <= now:
            self._proxies.popitem(last=False)
        link = key[0], len(key[1])
        has_proxy = any(host[:2] == link for host in self._proxies)
        return self._contested.schedule(key, now, PATIENT if has_proxy else FAST)

    def add(self, key: Key, now: float, holder: bytes, is_open: bool = False) -> bool:
        """Remember a contested address and its holder's MAC; return whether it is news.

        is_open: the holder before is silent; if it answers later, the address is its.
        """
        if not is_open and key in self._provisional:
            self._provisional.discard(key)
            self._contested.end(key)
        is_news = self._contested.add(key, now, holder)
        if is_news and is_open:
            self._provisional.add(key)
            if len(self._provisional) > look_back.MAX_CONTESTED:
                self._provisional = {k for k in self._provisional if self.is_contested(k, now)}
        return is_news

    def replace_holder(
        self, key: Key, now: float, mac: bytes, holder: bytes, is_open: bool
    ) -> None:
        """Remember another holder of a contested address than this one, which is a proxy."""
        if self._contested.holder(key, now) == mac:
            self._contested.end(key)
        self.add(key, now, holder, is_open)

    def holder(self, key: Key, now: float) -> bytes:
        """Return the MAC of the holder of a contested address; empty for any other."""
        return self._contested.holder(key, now)

    def is_first_holder(self, key: Key, mac: bytes, now: float) -> bool:
        """Tell whether a host had a contested address before all others, as far as is known."""
        return key not in self._provisional and self.holder(key, now) == mac

    def is_contested(self, key: Key, now: float) -> bool:
        """Tell whether two hosts answer for an address."""
        return self._contested.schedule(key, now, FAST) is not FAST

    def is_proxy(self, key: Key, mac: bytes, now: float) -> bool:
        """Tell whether a host is known to answer for addresses nobody has, like this one."""
        return self._proxies.get(_host(key, mac), now) > now

    def check(self, dispute: Dispute, now: float) -> list[Question] | None:
        """Hold a dispute while its claimant is asked; None: it cannot be, or need not be.

        Empty while the claimant is already asked, or has to wait for the checks of others.
        """
        host = _host(dispute.key, dispute.claimant)
        if host in self._checks:
            self._checks[host].disputes.append(dispute)
            return []
        if host in self._waiting:
            self._waiting[host].append(dispute)
            return []
        if not dispute.claimant or self.is_proxy(dispute.key, dispute.claimant, now):
            return None
        question = self._begin(host, [dispute])
        if question or not self._may_wait(dispute):
            return [question] if question else None
        self._waiting[host] = [dispute]
        return []

    def _begin(self, host: Host, disputes: list[Dispute]) -> Question | None:
        """Begin to ask a claimant, if there is room and it can be asked for two addresses."""
        if len(self._checks) >= MAX_CHECKS:
            return None
        claim = _claim(disputes[0])
        if not (unused := self._unused(claim, self._asked_on(claim.ifindex))):
            return None
        self._checks[host] = check = Check(unused, disputes)
        return Question(claim.ifindex, check.asked, claim.mac)

    def _may_wait(self, dispute: Dispute) -> bool:
        """Tell whether a claimant could be asked if others were not: else it never can."""
        claim = _claim(dispute)
        return bool(self._checks) and bool(self._unused(claim, ()))

    def _asked_on(self, ifindex: int) -> set[bytes]:
        """Return the addresses that checks ask for on a device: each by one question at a time."""
        return {
            dst
            for host, check in self._checks.items()
            if host[0] == ifindex
            for dst in (check.asked, *check.unasked)
        }

    def is_check(self, question: Question) -> bool:
        """Tell whether a question is one of a check."""
        check = self._checks.get(_host(question[:2], question.mac))
        return bool(check) and question.dst == check.asked

    def take(
        self, question: Question, result: ProbeResult, now: float
    ) -> tuple[list[Question], list[Dispute]]:
        """Take the answer to a question of a check; return what to ask next, and what is over.

        A host that is silent is not asked for a second address. After the last answer others begin
        that waited; one that can be asked no more is over, too.
        """
        host = _host(question[:2], question.mac)
        check, is_answered = self._checks[host], question.mac in result.answers
        if is_answered and check.unasked:
            check.asked = check.unasked.pop()
            return [question._replace(dst=check.asked)], []
        del self._checks[host]
        if is_answered:
            self._proxies.pop(host, None)
            self._proxies[host] = now + PROXY_S
            if len(self._proxies) > MAX_PROXIES:
                self._proxies.popitem(last=False)
        begun, over = self._begin_waiting()
        return begun, [*check.disputes, *over]

    def _begin_waiting(self) -> tuple[list[Question], list[Dispute]]:
        """Begin with those that wait, the first one first; it is waited for by all others.

        So nobody waits for ever: once no check is left, the first one is asked, or never can be.
        """
        begun: list[Question] = []
        over: list[Dispute] = []
        while self._waiting:
            host, disputes = next(iter(self._waiting.items()))
            question = self._begin(host, disputes)
            if question:
                begun.append(question)
            elif self._may_wait(disputes[0]):
                break
            else:
                over += disputes
            del self._waiting[host]
        return begun, over

    def end_checks(self) -> list[Dispute]:
        """Stop asking; return the disputes that were held meanwhile."""
        held = [check.disputes for check in self._checks.values()] + [*self._waiting.values()]
        self._checks.clear()
        self._waiting.clear()
        return [dispute for disputes in held for dispute in disputes]


def _claim(dispute: Dispute) -> proxy.Claim:
    return proxy.Claim(*dispute.key, dispute.claimant)


def _host(key: Key, mac: bytes) -> Host:
    return key[0], len(key[1]), mac
