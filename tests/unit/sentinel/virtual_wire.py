"""A wire in virtual time: hosts that are slow, paused and lossy, a kernel's entry, the sentinel."""

import heapq
import itertools
import random

from arp_engine.netlink.constants import FAILED, REACHABLE
from arp_engine.resolve.question import ProbeResult
from arp_engine.sentinel import neighbour_cache
from test_decide import Scene, entry

UNUSED = [bytes([9, 9, 9, last]) for last in range(60)]  # addresses that nobody has
COLLECT_S, MAX_TURNS = 0.01, 3000


class Host:
    """Who answers: for its addresses, or as a proxy for all there are."""

    def __init__(self, addresses, delays_s, loss=0.0, is_proxy=False):
        self.addresses, self.delays_s, self.loss, self.is_proxy = (
            addresses,
            delays_s,
            loss,
            is_proxy,
        )
        self.paused_until = 0.0

    def answers(self, dst):
        return self.is_proxy or dst in self.addresses


class Asked:
    """A question under way."""

    def __init__(self, question, schedule):
        self.question, self.schedule = question, schedule
        self.sent, self.answers = {True: 0, False: 0}, {}  # sent: by whether it is unicast
        self.is_answered = self.is_over = False

    def result(self):
        return ProbeResult(self.sent[True], self.sent[False], self.answers)


class Wire(Scene):
    """Hosts, and the sentinel's decisions about entries that its kernel keeps."""

    def __init__(self, seed, locktime_s, holder, hosts):
        super().__init__(addresses=2)
        self.chance, self.locktime_s, self.hosts = random.Random(seed), locktime_s, hosts
        self._events, self._order, self._asked = [], itertools.count(), {}
        self._updated, self.all_facts = dict.fromkeys(self.keys, -10.0), []
        self.decider.cache.merge(entry(key, holder) for key in self.keys)

    def find_unused(self, _claim, asked):
        free = [each for each in UNUSED if each not in asked]
        return self.chance.sample(free, 2)

    def note(self, kind, line, facts):
        super().note(kind, line, facts)
        self.all_facts.append(facts)

    def at(self, when, happens):
        heapq.heappush(self._events, (when, next(self._order), happens))

    def mac(self, key):
        return neighbour_cache.mac_of(self.decider.cache.get(key))

    def run(self, until):
        """Let time pass; more turns than that without any is an endless loop."""
        turns = 0
        while turns < MAX_TURNS:
            self._ask()
            soonest = self._events[0][0] if self._events else until
            due = min(max(self.decider.next_due(), self.now), max(soonest, self.now))
            if due >= until:
                return
            turns = turns + 1 if due == self.now else 0
            self.now = due
            if soonest <= self.now:
                heapq.heappop(self._events)[2]()
        raise AssertionError(f"busy for ever at {self.now}")

    # --- the kernel

    def hold(self, key, mac):
        if self.mac(key) == mac:
            self._updated[key] = self.now
        return self.mac(key) == mac

    def delete(self, key, mac):
        is_locked = self.mac(key) == mac and self.now < self._updated[key] + self.locktime_s
        if is_locked:
            self.at(self.now, lambda: self.write(key, b""))
        return is_locked

    def write(self, key, mac):
        old, new = self.decider.cache.get(key), entry(key, mac, REACHABLE if mac else FAILED)
        self.decider.cache._entries[key] = new
        self._updated[key] = self.now
        change, asked = neighbour_cache.Change(old, new), self._asked.get(key)
        if asked and self.decider.is_overtaken(change) and mac not in asked.answers:
            self._end(asked)
            self.decider.on_overtaken(change, asked.result())
        else:
            self.decider.on_neighbour_change(change)

    def _learn(self, key, mac):
        is_locked = self.now < self._updated[key] + self.locktime_s
        if mac != self.mac(key) and not (self.mac(key) and is_locked):
            self.write(key, mac)

    # --- questions

    def _ask(self):
        while turn := self.decider.next_question():
            question, schedule = turn
            if former := self._asked.get(question[:2]):
                self._end(former)
                self.decider.on_dropped(former.question)
            self._asked[question[:2]] = asked = Asked(question, schedule)
            self._frame(asked, 0 if question.mac else len(schedule.unicast_waits_s))

    def _frame(self, asked, step):
        if asked.is_over or asked.is_answered:
            return
        if step == asked.schedule.frames:
            self._finish(asked)
            return
        question, is_unicast = asked.question, asked.schedule.is_unicast(step)
        asked.sent[is_unicast] += 1
        for mac, host in self.hosts.items():
            is_heard = (mac == question.mac or not is_unicast) and host.answers(question.dst)
            if is_heard and self.chance.random() >= host.loss:
                pause_s = max(self.chance.choice(host.delays_s), host.paused_until - self.now)
                self.at(self.now + pause_s, lambda mac=mac: self._answer(question[:2], mac))
        self.at(self.now + asked.schedule.wait_s(step), lambda: self._frame(asked, step + 1))

    def _answer(self, key, mac):
        """Our packet socket hears it first, then the kernel, then the sentinel of the kernel."""
        asked = self._asked.get(key)
        if asked:
            asked.answers.setdefault(mac, 1.0)
            is_alone = mac == asked.question.mac and not asked.sent[False]
            if not asked.is_answered and (is_alone or asked.sent[False]):
                asked.is_answered = True
                later_s = 0 if is_alone else COLLECT_S
                self.at(self.now + later_s, lambda: self._finish(asked))
        if key in self._updated:
            self._learn(key, mac)

    def _finish(self, asked):
        if not asked.is_over:
            self._end(asked)
            self.decider.on_probe_result(asked.question, asked.result())

    def _end(self, asked):
        asked.is_over = True
        del self._asked[asked.question[:2]]
