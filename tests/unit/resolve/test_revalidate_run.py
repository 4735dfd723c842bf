"""A run whose entries move between two looks at the table: scripted answers, and what they do."""

import time
from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import REACHABLE, TICKS
from arp_engine.resolve import changes, look_back, look_back_run, proxied, revalidate_run
from arp_engine.resolve.question import OVERTAKEN, ProbeResult

HOLDER, OTHER = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])
THIRD = bytes([2, 0, 0, 0, 0, 3])
KEY = 2, bytes([10, 0, 0, 1])


class Script:
    """A table with one entry, the asker of its questions, and the report of the run."""

    channel = None

    def __init__(self, monkeypatch, answers, proxies=()):
        """Take a function that answers a question, and may write ``mac``; known proxies."""
        self._proxies = proxies
        self.mac, self.asked, self.told, self._answers, self._pending = HOLDER, [], [], answers, {}
        self.now = 1000.0  # a clock that goes on only while the run waits
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.wait)
        monkeypatch.setattr(revalidate_run, "Asker", lambda *_of, **_words: self)
        monkeypatch.setattr(revalidate_run.links, "answering_port", lambda *_of: False)
        monkeypatch.setattr(proxied, "among", self.among)
        monkeypatch.setattr(proxied, "routers", lambda entries: {*entries} & set())
        monkeypatch.setattr(changes.proxy, "used_on", lambda *_of: set())
        monkeypatch.setattr(proxied.look_back_run, "look_back", self.give_back)
        monkeypatch.setattr(changes.look_back_run, "ask", self.ask_now)
        self.run = revalidate_run.Run(self, self, 0.0, None, self.is_stopped)
        self.run.probe({KEY: self.entry()})
        self.run.finish()

    def entry(self):
        return codec.Entry(ifindex=KEY[0], state=REACHABLE, kind=1, dst=KEY[1], mac=self.mac)

    def is_stopped(self):
        return False

    def among(self, _table, confirmed, *_of):
        return {entry.key for entry in confirmed if entry.mac in self._proxies}, {}

    def give_back(self, _table, owed, _rate):
        [self.mac] = [each.former for each in owed] or [self.mac]
        entry = self.entry()._replace(updated=3 * TICKS)
        return {each.key: look_back_run.Outcome(True, entry) for each in owed}

    def ask_now(self, questions, _rate, schedule):
        assert not schedule.broadcast_waits_s
        self.asked += [each.mac for each in questions]
        return {each[:2]: self._answers(self, each) for each in questions}

    # --- the table

    def read_again(self, keys):
        return {key: self.entry() for key in keys}

    def not_ours_now(self, _keys):
        return {}

    def is_owned(self, _entry):
        return False

    def timers(self, *_of):
        return SimpleNamespace(locktime_s=0.0)

    def name(self, _ifindex):
        return "db0"

    # --- the asker

    def __len__(self):
        return len(self._pending)

    def put(self, question, **_words):
        self.asked.append(question.mac)
        self._pending[question[:2]] = question
        return True

    def step(self):
        done = [(each, self._answers(self, each)) for each in self._pending.values()]
        self._pending.clear()
        return done

    def room(self):
        return 64

    def room_due(self):
        return self.now

    def next_due(self):
        return self.now + 0.001 if self._pending else None

    def wait(self, seconds):
        self.now += max(seconds, 1e-4)

    # --- the report

    def add_probe(self, *_of):
        pass

    def count(self, _entry, verdict):
        self.told.append(verdict)

    def still_wrong(self, _entry, macs, is_written_back=False):
        self.told.append(("still wrong", set(macs), is_written_back))

    def unverified(self, _entry, macs, held, *unasked):
        self.told.append(("undecided", set(macs), held, *unasked))

    def healed(self, _entry, mac, at=0.0):
        self.told.append(("healed", mac))
        self.healed_at = at

    def take_back(self, _entry):
        self.told = [each for each in self.told if each[0] != "healed"]

    def duplicate(self, _entry, macs, proxy=b""):
        self.told.append(("duplicate", set(macs), proxy))


def test_holder_of_an_entry_that_moves_before_it_is_asked_again_is_looked_back_at(monkeypatch):
    """The kernel ignored the first answer (locktime), and took the next one meanwhile."""

    def answers(script, question):
        if len(script.asked) == 1:
            return ProbeResult(3, 2, {OTHER: 25.0})
        script.mac = HOLDER if question.mac == HOLDER else script.mac
        return ProbeResult(1, 0, {question.mac: 0.1})

    taken = revalidate_run.Run._answered_by_others

    def answered(run, *of):
        taken(run, *of)
        run._table.mac = OTHER

    monkeypatch.setattr(revalidate_run.Run, "_answered_by_others", answered)
    monkeypatch.setattr(changes.proxy, "find", lambda *_of: set())
    script = Script(monkeypatch, answers)
    assert script.asked == [HOLDER, HOLDER]
    assert script.told == [("duplicate", {HOLDER, OTHER}, b"")]


@pytest.mark.parametrize("is_proxy", [True, False])
def test_mac_that_came_unheard_is_told_and_not_robbed_by_a_proxy(monkeypatch, is_proxy):
    """Its answer was lost on the way to us alone; the former holder is the proxy."""

    def answers(script, question):
        script.mac = OTHER if len(script.asked) == 1 else question.mac
        if len(script.asked) == 1:
            return ProbeResult(3, 1, {}, OVERTAKEN)
        return ProbeResult(1, 0, {question.mac: 0.1})

    def find(claims, *_of):
        return {each.host for each in claims if is_proxy and each.mac == HOLDER}

    monkeypatch.setattr(changes.proxy, "find", find)
    script = Script(monkeypatch, answers)
    assert script.mac == (OTHER if is_proxy else HOLDER)
    told = ("healed", OTHER) if is_proxy else ("duplicate", {HOLDER, OTHER}, b"")
    assert script.told == [told]


@pytest.mark.parametrize(
    ("written", "told"),
    [(HOLDER, ("still wrong", {OTHER}, True)), (THIRD, ("undecided", {OTHER}, THIRD))],
    ids=["the former MAC", "a third MAC"],
)
def test_entry_that_somebody_else_writes_is_told_as_it_is_at_the_end(monkeypatch, written, told):
    """The last one that reads it sees that, also where it is written while proxies are asked."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)

    def answers(script, _question):
        script.mac = OTHER if len(script.asked) == 1 else script.mac
        return ProbeResult(1, 1, {OTHER: 1.0} if len(script.asked) == 1 else {})

    write_while_proxies_are_asked(monkeypatch, written)
    done = Script(monkeypatch, answers)
    assert done.told == [told]
    [line] = done.run.warnings
    assert line.startswith("still wrong: " if written == HOLDER else "undecided: ")


def write_while_proxies_are_asked(monkeypatch, mac):
    """Let an entry get a MAC after the look back and before the last reading."""

    def find(*_of):
        script[0].mac = mac
        return set()

    script = []
    monkeypatch.setattr(changes.proxy, "find", find)
    monkeypatch.setattr(Script, "read_again", _noting(script, Script.read_again))


def _noting(place, function):
    """Return a method that notes whose it is."""

    def noted(self, keys):
        place[:] = [self]
        return function(self, keys)

    return noted


def test_twin_that_goes_on_announcing_itself_does_not_prolong_a_run(monkeypatch):
    """IPv6, or without locktime: each time it has the entry again before that is read."""
    read = revalidate_run.Run._read_late

    def announced(run, now, most):
        if run._watched.next_due() <= now < 1006:
            run._table.mac = OTHER
        return read(run, now, most)

    def answers(script, question):
        if len(script.asked) == 1:
            return ProbeResult(1, 1, {HOLDER: 1.0, OTHER: 1.0})
        script.mac = question.mac
        return ProbeResult(1, 0, {question.mac: 0.1})

    monkeypatch.setattr(revalidate_run.Run, "_read_late", announced)
    monkeypatch.setattr(changes.proxy, "find", lambda *_of: set())
    script = Script(monkeypatch, answers)
    assert script.now < 1004
    assert script.told == [("duplicate", {HOLDER, OTHER}, b"")]


@pytest.mark.parametrize("comes_s", [0.1, 0.3, 0.9], ids=lambda s: f"{s} s later")
def test_proxy_that_answers_after_the_successor_keeps_no_entry(monkeypatch, comes_s):
    """The proxy's MAC was cached; the successor answers our broadcast first."""
    moved_at = []

    def answers(script, question):
        if len(script.asked) == 1:
            return ProbeResult(1, 0, {HOLDER: 1.0})
        moved_at.append(script.now)
        script.mac = OTHER
        return ProbeResult(0, 1, {OTHER: 1.0})

    def wait(script, seconds):
        waited(script, seconds)
        if len(moved_at) == 1 and script.now >= moved_at[0] + comes_s:
            moved_at.append(script.now)
            script.mac = HOLDER

    waited = Script.wait
    monkeypatch.setattr(Script, "wait", wait)
    monkeypatch.setattr(changes.proxy, "find", only(HOLDER))
    script = Script(monkeypatch, answers, {HOLDER})
    assert script.asked == [HOLDER, HOLDER]
    assert (script.mac, script.told) == (OTHER, [("healed", OTHER)])
    assert script.healed_at == script.now - 3, "when the table changed"
    assert [line[:6] for line in script.run.warnings] == ["proxy:"]


def test_proxy_that_answers_twice_keeps_no_entry(monkeypatch):
    """Two broadcasts of ours; its second answer comes after the living host has got the entry."""
    moved_at = []

    def answers(script, question):
        if question.mac == OTHER:
            moved_at.append(script.now)
            script.mac = OTHER
            return ProbeResult(1, 0, {OTHER: 1.0})
        if len(script.asked) == 1:
            return ProbeResult(1, 0, {HOLDER: 1.0})
        return ProbeResult(0, 2, {OTHER: 1.0, HOLDER: 2.0})

    def wait(script, seconds):
        waited(script, seconds)
        if len(moved_at) == 1 and script.now >= moved_at[0] + 0.3:
            moved_at.append(script.now)
            script.mac = HOLDER

    waited = Script.wait
    monkeypatch.setattr(Script, "wait", wait)
    monkeypatch.setattr(changes.proxy, "find", only(HOLDER))
    script = Script(monkeypatch, answers, {HOLDER})
    assert len(moved_at) == 2, "nothing is told before"
    assert (script.mac, script.told) == (OTHER, [("healed", OTHER)])


def only(mac):
    """Return a search for proxies that finds this one."""
    return lambda claims, *_of: {each.host for each in claims if each.mac == mac}


def test_proxy_whose_answer_falls_between_the_watch_and_the_telling_keeps_no_entry(monkeypatch):
    """It comes while the successor is asked whether it is a proxy itself."""

    def answers(script, question):
        script.mac = OTHER if len(script.asked) > 1 else HOLDER
        return ProbeResult(1, len(script.asked) - 1, {script.mac: 1.0})

    def find(claims, *_of):
        claims, script[0].mac = [*claims], HOLDER
        return only(HOLDER)(claims)

    script = []
    monkeypatch.setattr(changes.proxy, "find", find)
    monkeypatch.setattr(Script, "read_again", _noting(script, Script.read_again))
    done = Script(monkeypatch, answers, {HOLDER})
    assert (done.mac, done.told) == (OTHER, [("healed", OTHER)])
    assert [line[:6] for line in done.run.warnings] == ["proxy:"]


def test_two_hosts_beside_a_proxy_are_a_duplicate(monkeypatch):
    """The second one's answer comes late."""

    def answers(script, question):
        script.mac = OTHER if len(script.asked) > 1 else HOLDER
        return ProbeResult(1, len(script.asked) - 1, {script.mac: 1.0})

    def wait(script, seconds):
        waited(script, seconds)
        script.mac = THIRD if len(script.asked) > 1 else script.mac

    waited = Script.wait
    monkeypatch.setattr(Script, "wait", wait)
    monkeypatch.setattr(changes.proxy, "find", only(HOLDER))
    script = Script(monkeypatch, answers, {HOLDER})
    assert script.told == [("duplicate", {OTHER, THIRD}, b"")]


def test_former_holder_that_lives_again_after_its_last_look_back_is_told(monkeypatch):
    """A machine was resumed, an address failed back: it announced itself, and has its entry."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)

    def answers(script, question):
        if len(script.asked) == 1:
            script.mac = OTHER
            return ProbeResult(1, 1, {OTHER: 1.0})
        return ProbeResult(1, 0, {HOLDER: 1.0} if script.mac == HOLDER else {})

    write_while_proxies_are_asked(monkeypatch, HOLDER)
    done = Script(monkeypatch, answers)
    assert (done.told, done.run.warnings) == ([("duplicate", {HOLDER, OTHER}, b"")], [])


def test_entry_that_cannot_be_read_is_not_told_as_healed(monkeypatch):
    """Kernels before 5.0 show the whole table alone: what it lacks need not be gone."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)

    def answers(script, _question):
        script.mac = OTHER if len(script.asked) == 1 else script.mac
        return ProbeResult(1, 1, {OTHER: 1.0} if len(script.asked) == 1 else {})

    def find(*_of):
        monkeypatch.setattr(Script, "read_again", lambda *_of: {})
        return set()

    monkeypatch.setattr(changes.proxy, "find", find)
    script = Script(monkeypatch, answers)
    assert script.told == [("undecided", {OTHER}, b"")]
    [line] = script.run.warnings
    assert line.startswith("undecided: 10.0.0.1 on db0: the entry took another MAC, and then the")


def test_heal_told_during_a_run_that_is_written_back_before_its_end_is_none(monkeypatch):
    """A run over a large table tells each heal once a second, and goes on for minutes."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    monkeypatch.setattr(changes.proxy, "find", lambda *_of: set())

    def answers(script, _question):
        script.mac = OTHER if len(script.asked) == 1 else script.mac
        return ProbeResult(1, 1, {OTHER: 1.0} if len(script.asked) == 1 else {})

    script = Script(monkeypatch, answers)
    script.run.finish()
    assert script.told == [("healed", OTHER)]
    script.mac = HOLDER
    script.run.finish()
    assert script.told == [("still wrong", {OTHER}, True)]


@pytest.mark.parametrize("why", ["no carrier", ""])
def test_entry_whose_former_holder_could_not_be_asked_is_not_told_as_healed(monkeypatch, why):
    """Its questions did not leave: it may have paused for a second, and live."""
    monkeypatch.setattr(changes.proxy, "find", lambda *_of: set())

    def answers(script, _question):
        if len(script.asked) > 1:
            return ProbeResult(0, 0, {}, why)
        script.mac = OTHER
        return ProbeResult(1, 1, {OTHER: 1.0})

    script = Script(monkeypatch, answers)
    unasked = (
        f"the host with {HOLDER.hex(':')} could not be asked again "
        f"({why or 'too few probes were sent'})"
    )
    assert script.told == [("undecided", {OTHER}, OTHER, unasked)]
    [line] = script.run.warnings
    assert line.startswith(f"undecided: 10.0.0.1 on db0: {unasked}: the entry holds a MAC that")


class Unproxied(Script):
    """A run that checks for proxies itself, and is stopped in the middle of that, or is not."""

    among = staticmethod(proxied.among)
    stopped = False

    def is_stopped(self):
        return self.stopped


@pytest.mark.parametrize("is_stopped", [False, True], ids=["on its way", "stopped"])
def test_entry_whose_holder_could_not_be_checked_is_not_confirmed(monkeypatch, is_stopped):
    """Its MAC may be a proxy's: the one question that tells it did not leave."""

    def find(claims, _used, _rate, unasked=None, *_of):
        if unasked is not None:
            unasked.update((claim.host, "no carrier") for claim in claims)
        Unproxied.stopped = is_stopped
        return set()

    monkeypatch.setattr(Unproxied, "stopped", False)
    monkeypatch.setattr(proxied.proxy, "neighbours_of", lambda *_of: [])
    monkeypatch.setattr(proxied.proxy, "find", find)
    script = Unproxied(monkeypatch, lambda *_of: ProbeResult(1, 0, {HOLDER: 0.1}))
    unasked = f"{HOLDER.hex(':')} could not be checked for being a proxy (no carrier)"
    told = [] if is_stopped else [("undecided", {HOLDER}, HOLDER, unasked)]
    assert script.told == told, "an interrupted run has no outcome for it"
    lines = [line.partition(": the entry holds")[0] for line in script.run.warnings]
    assert lines == ([] if is_stopped else [f"undecided: 10.0.0.1 on db0: {unasked}"])
