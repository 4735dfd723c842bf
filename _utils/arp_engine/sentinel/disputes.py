"""Addresses that two hosts answer for, and the hosts that answer for addresses nobody has.

A *contested* address is asked about as patiently as the kernel does it. Where a host is known to
answer for others (proxy ARP, resolve/proxy.py), all holders on its device are asked patiently.

Pure: told the time, opens nothing.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from ..netlink.codec import Key
from ..packets.probe_schedule import FAST, PATIENT, Schedule
from ..resolve import look_back, proxy
from ..resolve.ask import ProbeResult, Question

PROXY_S = 300.0  # for so long a proxy is remembered
MAX_PROXIES = 64
MAX_CHECKS = 64  # at a time

Host = tuple[int, bytes]  # device and MAC


class Dispute(NamedTuple):
    """An address that two hosts answer for."""

    key: Key
    macs: tuple[bytes, ...]
    claimant: bytes  # of these the one that took the entry from its holder, or keeps it from it
    is_answered: bool = False  # the claimant has answered for the address


class Check:
    """A claimant that is being asked for addresses nobody has."""

    def __init__(self, unanswered: set[Key], disputes: list[Dispute]) -> None:
        self.unanswered, self.disputes = unanswered, disputes
        self.is_proxy = True  # until one of them is not answered for


class Disputes:
    """Contested addresses, and known proxies."""

    def __init__(self, unused: Callable[[proxy.Claim], list[bytes]]) -> None:
        """Take a lookup: addresses of the claim's network that nobody has."""
        self._unused = unused
        self._contested = look_back.Contested()
        self._proxies: OrderedDict[Host, float] = OrderedDict()  # until when
        self._checks: dict[Host, Check] = {}

    def schedule(self, key: Key, now: float) -> Schedule:
        """Return how to ask about an address."""
        while self._proxies and next(iter(self._proxies.values())) <= now:
            self._proxies.popitem(last=False)
        has_proxy = any(ifindex == key[0] for ifindex, _mac in self._proxies)
        return self._contested.schedule(key, now, PATIENT if has_proxy else FAST)

    def add(self, key: Key, now: float, holder: bytes) -> bool:
        """Remember a contested address and its holder's MAC; return whether it is news."""
        return self._contested.add(key, now, holder)

    def holder(self, key: Key, now: float) -> bytes:
        """Return the MAC of the holder of a contested address; empty for any other."""
        return self._contested.holder(key, now)

    def is_contested(self, key: Key, now: float) -> bool:
        """Tell whether two hosts answer for an address."""
        return self._contested.schedule(key, now, FAST) is not FAST

    def is_proxy(self, ifindex: int, mac: bytes, now: float) -> bool:
        """Tell whether a host is known to answer for addresses nobody has."""
        return self._proxies.get((ifindex, mac), now) > now

    def check(self, dispute: Dispute) -> list[Question] | None:
        """Hold a dispute while its claimant is asked; None: it cannot be, or need not be."""
        ifindex, dst = dispute.key
        host = ifindex, dispute.claimant
        if host in self._checks:
            self._checks[host].disputes.append(dispute)
            return []
        if not dispute.claimant or host in self._proxies or len(self._checks) >= MAX_CHECKS:
            return None
        unused = self._unused(proxy.Claim(ifindex, dst, dispute.claimant))
        if not unused:
            return None
        self._checks[host] = Check({(ifindex, address) for address in unused}, [dispute])
        return [Question(ifindex, address, dispute.claimant) for address in unused]

    def is_check(self, question: Question) -> bool:
        """Tell whether a question is one of a check."""
        check = self._checks.get((question.ifindex, question.mac))
        return bool(check) and question[:2] in check.unanswered

    def take(self, question: Question, result: ProbeResult, now: float) -> list[Dispute]:
        """Take the answer to one question of a check; return its disputes once it is over."""
        host = question.ifindex, question.mac
        check = self._checks[host]
        check.unanswered.discard(question[:2])
        check.is_proxy &= question.mac in result.answers
        if check.unanswered:
            return []
        del self._checks[host]
        if check.is_proxy:
            self._proxies.pop(host, None)
            self._proxies[host] = now + PROXY_S
            if len(self._proxies) > MAX_PROXIES:
                self._proxies.popitem(last=False)
        return check.disputes
