"""Who else answers for an address: asked before it is told as an alias, a duplicate, or a proxy's.

The host with the cached MAC answers, and SYNs come from another MAC as well. A load balancer, VRRP
or a bond does that rightly: asked for the address, nobody answers with that other MAC (*alias*). A
second host with the address answers with it (*duplicate*). So does a host with two NICs on the
link, but with either for each of its addresses (*alias*): so the MAC is asked for another address
of the first one, too, where one is known. A host that answers for addresses which nobody has is a
*proxy*.

Such an answer would move an IPv4 entry. So ``locktime`` is begun before (resolve/locktime.py): for
a second the kernel takes no other MAC. Where that could cost the holder its entry, the claimant is
asked later. An IPv6 host answers a unicast question without naming its MAC, which moves nothing.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from ..netlink import codec
from ..packets.probe_schedule import Schedule
from ..resolve import deadlines, proxy, rate_limit
from ..resolve.question import UNASKED, ProbeResult, Question
from . import disputes, former_holders, neighbour_cache, telling

SCANS_PER_S, MAX_SCANS = 2.0, 10  # of the whole cache: 10 ms each at 100,000 entries
# SYNs can be forged, and to ask a claimant costs a frame of ours and two writes (locktime):
CLAIM_REST_S = 30.0  # between two of one address
CLAIMS_PER_S, CLAIMS_AT_ONCE = 1.0, 5
MAX_CLAIMS, MAX_WAITING = 4096, 256
#: A host that is slow or loses a frame is not taken for one that does not have the address.
PATIENTLY = Schedule((0.1, 0.1, 0.2), ())
MAX_BUSY_S = 1.0  # with one claimant
CALLERS_PER_S, CALLERS_AT_ONCE, CALLER_REST_S = 5.0, 200, 10.0  # SYNs while a proxy has the entry


class _Asked(NamedTuple):
    """A question that is under way: whether a MAC answers for an address."""

    key: codec.Key
    mac: bytes
    claim: disputes.Dispute
    until: float  # later its question has been dropped: a more urgent one took its place
    is_witness: bool  # another address of the two MACs, not the disputed one


class Claims:
    """Asks the claimants of addresses, then tells."""

    def __init__(
        self,
        unused: disputes.Unused,
        news: telling.News,
        cache: neighbour_cache.NeighbourCache,
        may_be_probed: Callable[[codec.Key], bool],
        hold: Callable[[codec.Key, bytes], bool],
        is_router: Callable[[codec.Entry], bool],
        look_back_at: Callable[[codec.Key, former_holders.Heal], None],
        is_asked: Callable[[codec.Key], bool],
        has_former: Callable[[codec.Key, Collection[bytes]], bool],
        clock: Callable[[], float],
    ) -> None:
        """Take what it looks up, and does.

        unused: see disputes.Unused. hold: lets the kernel take no other
        MAC for an entry, for a moment; False where it cannot. is_router: whether an entry is one
        that routes lead to. look_back_at: asks a host alone whose entry another one has.
        is_asked: whether somebody else's question about an address is under way. has_former:
        whether a holder before these hosts is still asked, as it may live.
        """
        self.disputes = disputes.Disputes(unused)
        self._news, self._cache, self._clock = news, cache, clock
        self._may_be_probed, self._hold, self._is_router = may_be_probed, hold, is_router
        self._look_back_at, self._is_asked = look_back_at, is_asked
        self._has_former = has_former
        self._questions: deque[tuple[Question, Schedule]] = deque()
        self._asked: _Asked | None = None  # one at a time: a witness may be an address that waits
        self._asked_at: OrderedDict[codec.Key, float] = OrderedDict()
        self._waiting: dict[tuple[codec.Key, bytes], disputes.Dispute] = {}  # by claimant
        self._waits = deadlines.Deadlines()  # of what waits
        self._scans = rate_limit.TokenBucket(SCANS_PER_S, MAX_SCANS)
        self._rate = rate_limit.TokenBucket(CLAIMS_PER_S, CLAIMS_AT_ONCE)
        self._callers = rate_limit.TokenBucket(CALLERS_PER_S, CALLERS_AT_ONCE)
        self._called_at: OrderedDict[codec.Key, float] = OrderedDict()

    def next_question(self) -> tuple[Question, Schedule] | None:
        """Return what is to be asked at once."""
        self._ask_waiting()
        while self._questions:
            question, schedule = self._questions.popleft()
            is_asked = self._is_asked(question[:2])  # this one would take its place
            if self.disputes.is_check(question):
                if not is_asked:
                    return question, schedule
                self.on_dropped(question)
            elif not self._asked_by(question):
                continue  # its claim waits anew: asked now, nothing would hold the entry meanwhile
            elif is_asked:
                self._let_wait_again()
            elif self._may_be_asked(question[:2]):
                return question, schedule
            else:
                self._let_wait_again(has_rested=False)
        return None

    def next_due(self) -> float:
        """Return when ``next_question`` may have one."""
        now = self._clock()
        if self._questions:
            return now
        return self._asked.until if self._asked else max(self._waits.due(), self._rate.due(now))

    def take(self, question: Question, result: ProbeResult) -> bool:
        """Take the answer to one of its questions; False where it is none."""
        if self.disputes.is_check(question):
            questions, over = self.disputes.take(question, result, self._clock())
            self._ask_check(questions)
            for dispute in over:
                self._tell(dispute)
            return True
        asked = self._asked_by(question)
        if asked and result.why:
            self._let_wait_again(has_rested=False)
        elif asked:
            self._take_asked(asked, question.mac in result.answers)
        return bool(asked)

    def on_dropped(self, question: Question) -> None:
        """Take that a question will get no answer."""
        if self.disputes.is_check(question):
            self.take(question, UNASKED)

    def alias(self, key: codec.Key, seen: bytes, cached: bytes) -> None:
        """Tell that SYNs come from another MAC than the cached one, whose host answers."""
        dispute = disputes.Dispute(key, (seen, cached), cached, is_alias=True)
        if not self._may_be_proxy(key, cached) or not self._is_checked(dispute):
            self._tell(dispute)

    def dispute(
        self, key: codec.Key, holder: bytes, others: list[bytes], is_open: bool = False
    ) -> None:
        """Remember that several hosts answer for an address; tell it, with whether one is a proxy.

        That is asked first: the telling waits some milliseconds. is_open: the holder has got the
        entry a moment ago, from a host that is silent; if it is a proxy, another one shall have it.
        """
        entry = self._cache.get(key)
        is_open = is_open and not (entry and self._is_router(entry))
        if not self.disputes.add(key, self._clock(), holder, is_open):
            first = self.disputes.holder(key, self._clock())
            if first not in (b"", holder):
                self.give_back_from_proxy(key, holder, first if first in others else others[0])
            elif self.is_proxied(key, holder):
                self._give_back(key, holder, others[0])
            return
        dispute = disputes.Dispute(key, (holder, *others), others[0])
        if is_open:
            dispute = disputes.Dispute(key, (*others, holder), holder)
        if not self._is_checked(dispute):
            self._tell(dispute)

    def give_back_from_proxy(self, key: codec.Key, mac: bytes, holder: bytes) -> None:
        """Give an entry back to its holder if the host that has it now is a proxy."""
        dispute = disputes.Dispute(key, (mac, holder), mac, is_quiet=True)
        if not self._is_checked(dispute):
            self._tell(dispute)

    def is_proxied(self, key: codec.Key, mac: bytes) -> bool:
        """Tell whether a MAC is a proxy's, and the address is not its own: a router's is."""
        entry = self._cache.get(key)
        is_proxy = self.disputes.is_proxy(key, mac, self._clock())
        return is_proxy and not (entry and self._is_router(entry))

    def heal(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """Tell a heal, unless the host that has the entry now is a proxy: it is asked first."""
        dispute = disputes.Dispute(key, (heal.new,), heal.new, heal=heal)
        if not self._is_checked(dispute):
            self._tell(dispute)

    def on_stop(self) -> list[tuple[codec.Key, former_holders.Heal]]:
        """Stop asking; return the heals that were not told yet."""
        return [(held.key, held.heal) for held in self.disputes.end_checks() if held.heal]

    def _may_be_proxy(self, key: codec.Key, mac: bytes) -> bool:
        """Tell whether a MAC stands for several addresses; seldom, as that looks at all entries."""
        now = self._clock()
        if not self._scans.available(now):
            return False
        self._scans.spend(1, now)
        return self._cache.is_shared(key, mac)

    def _is_checked(self, dispute: disputes.Dispute) -> bool:
        """Ask a claimant for addresses that nobody has, if that can be done and is needed."""
        questions = self.disputes.check(dispute, self._clock())
        self._ask_check(questions or [])
        return questions is not None

    def _ask_check(self, questions: list[Question]) -> None:
        self._questions += [(question, proxy.SCHEDULE) for question in questions]

    def _tell(self, dispute: disputes.Dispute) -> None:
        """Tell what is known of a claimant by now; a proxy gives the entry back to its holder."""
        key, mac = dispute.key, dispute.claimant
        is_proxy = self.disputes.is_proxy(key, mac, self._clock())
        if dispute.heal and is_proxy:
            self._news.proxied(key, dispute.heal)
        elif dispute.heal:
            self._news.healed(key, dispute.heal)
        elif is_proxy and (dispute.is_taken or self.is_proxied(key, mac)):
            self._news.duplicate(key, dispute.macs, mac)
            self._end_proxied(dispute)
        elif dispute.is_quiet:
            return
        elif dispute.is_answered or self.disputes.is_contested(key, self._clock()):
            self._tell_two_hosts(dispute)
        else:
            self._let_wait(dispute)

    def _end_proxied(self, dispute: disputes.Dispute) -> None:
        """Give the entry that the claimant, a proxy, has to its holder, or to its one successor."""
        key, mac, now = dispute.key, dispute.claimant, self._clock()
        hosts = [each for each in dispute.macs if each != mac]
        is_open = self._has_former(key, dispute.macs)
        if is_open:
            hosts = [each for each in hosts if not self.disputes.is_proxy(key, each, now)]
            if len(hosts) != 1:
                return  # which of them has the address, nobody knows
        self.disputes.replace_holder(key, now, mac, hosts[0], is_open)
        self._give_back(key, mac, hosts[0])

    def ask_caller(self, key: codec.Key, mac: bytes, proxy_mac: bytes) -> None:
        """Ask a host alone that has sent a SYN while a proxy has the entry, unless that is often.

        It may have answered too late to be heard; but SYNs can be forged.
        """
        now = self._clock()
        is_rested = now >= self._called_at.get(key, float("-inf")) + CALLER_REST_S
        if is_rested and self._callers.available(now):
            self._callers.spend(1, now)
            _note(self._called_at, key, now)
            self._give_back(key, proxy_mac, mac)

    def tell_given_back(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """Tell that a host has got its entry from a proxy, unless the dispute was told before."""
        now, macs = self._clock(), (heal.old, heal.new)
        if self.is_proxied(key, heal.new) and not self.disputes.is_contested(key, now):
            self.disputes.add(key, now, heal.old, self._has_former(key, macs))
            self._news.duplicate(key, macs, heal.new)

    def _tell_two_hosts(self, dispute: disputes.Dispute) -> None:
        """Tell that two hosts answer, of which the claimant is no proxy; the holder may be one."""
        key, of_holder = dispute.key, dispute._replace(claimant=dispute.macs[0])
        if dispute.is_taken and self._is_checked(of_holder):
            return
        if dispute.is_taken and self.is_proxied(key, of_holder.claimant):
            self._tell(of_holder)
            return
        is_contested = self.disputes.is_contested(key, self._clock())
        if is_contested or not self._is_witness_asked(dispute):
            self._news.duplicate(key, dispute.macs)

    def _give_back(self, key: codec.Key, mac: bytes, holder: bytes) -> None:
        """Ask the holder of an entry alone where another MAC has it.

        While a holder before it is still asked, it is but that one's successor.
        """
        if self._may_be_probed(key) and neighbour_cache.mac_of(self._cache.get(key)) == mac:
            is_first = self.disputes.is_first_holder(key, holder, self._clock())
            is_successor = not is_first and self._has_former(key, (mac, holder))
            self._look_back_at(key, former_holders.owed(holder, mac, is_successor))

    # --- whether the other MAC answers for the address, too

    def _let_wait(self, dispute: disputes.Dispute) -> None:
        """Let the other MAC of an alias be asked whether it has the address; until then it is none.

        Of more claimants than can wait nothing is told: their SYNs are forged.
        """
        seen, _cached = dispute.macs
        if len(self._waiting) < MAX_WAITING:
            self._waiting[dispute.key, seen] = dispute
            self._waits.set(self._rested_at(dispute.key), [(dispute.key, seen)])

    def _rested_at(self, key: codec.Key) -> float:
        """Return when a claimant of an address may be asked again."""
        return self._asked_at.get(key, float("-inf")) + CLAIM_REST_S

    def _ask_waiting(self) -> None:
        """Ask the next claimant, unless the entry has changed meanwhile."""
        now = self._clock()
        if self._asked and now >= self._asked.until:
            self._let_wait_again()
        while not self._asked and self._rate.available(now) and (due := self._waits.pop(now, 1)):
            [(key, seen)] = due
            if self._rested_at(key) > now:
                self._waits.set(self._rested_at(key), due)
                continue
            if self._is_asked(key):
                self._waits.set(now + MAX_BUSY_S, due)
                continue
            _seen, cached = self._waiting.pop((key, seen)).macs
            if cached != neighbour_cache.mac_of(self._cache.get(key)):
                continue
            self._rate.spend(1, now)
            _note(self._asked_at, key, now)
            self._ask(key, seen, disputes.Dispute(key, (cached, seen), seen))

    def _ask(self, key: codec.Key, mac: bytes, claim: disputes.Dispute) -> None:
        if self._asked:
            self._let_wait_again()
        self._asked = _Asked(key, mac, claim, self._clock() + MAX_BUSY_S, key != claim.key)
        self._questions.append((Question(*key, mac), PATIENTLY))

    def _let_wait_again(self, has_rested: bool = True) -> None:
        """Let a claimant wait once more that could not be asked to the end."""
        assert self._asked
        claim, self._asked = self._asked.claim, None
        if has_rested:
            self._asked_at.pop(claim.key, None)
        cached, seen = claim.macs
        self._let_wait(disputes.Dispute(claim.key, (seen, cached), cached, is_alias=True))

    def _asked_by(self, question: Question) -> _Asked | None:
        asked = self._asked
        return asked if asked and (*asked.key, asked.mac) == question else None

    def _may_be_asked(self, key: codec.Key) -> bool:
        """Tell whether the answer of another host will not cost the holder its entry."""
        holder = neighbour_cache.mac_of(self._cache.get(key))
        return self._may_be_probed(key) and (len(key[1]) == 16 or self._hold(key, holder))

    def _take_asked(self, asked: _Asked, is_answered: bool) -> None:
        """Take whether a MAC answers for the disputed address, or for another of the holder's."""
        key, mac, claim, _until, is_witness = asked
        self._asked = None
        [holder] = set(claim.macs) - {mac}
        if is_answered:
            self._give_back(key, mac, holder)
        if is_answered == is_witness:
            self._news.alias(claim.key, *claim.macs)
        elif is_witness:
            self._news.duplicate(claim.key, claim.macs)
        else:
            claim = claim._replace(is_answered=True)
            if not self._is_checked(claim):
                self._tell(claim)

    def _is_witness_asked(self, claim: disputes.Dispute) -> bool:
        """Ask one of the two MACs for another address that the table has at the other one."""
        now, (ifindex, dst) = self._clock(), claim.key
        if not self._scans.available(now):
            return False
        self._scans.spend(1, now)
        for entry in self._cache.entries():
            same = entry.ifindex == ifindex and len(entry.dst) == len(dst) and entry.dst != dst
            if same and entry.mac in claim.macs and self._may_be_probed(entry.key):
                [other] = set(claim.macs) - {entry.mac}
                self._ask(entry.key, other, claim)
                return True
        return False


def _note(times: OrderedDict[codec.Key, float], key: codec.Key, now: float) -> None:
    """Remember when something was done about an address; of too many, forget the oldest."""
    times[key] = now
    times.move_to_end(key)
    if len(times) > MAX_CLAIMS:
        times.popitem(last=False)
