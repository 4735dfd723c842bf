"""The life of a doubted entry: the code does what TRANSITIONS says, and all of it."""

import random
import time

import pytest
from arp_engine.netlink import codec, model
from arp_engine.netlink.constants import FAILED, PERMANENT, REACHABLE
from arp_engine.packets import probe_schedule, tcp_syn
from arp_engine.reporting import throttle
from arp_engine.resolve import look_back
from arp_engine.resolve.question import ProbeResult
from arp_engine.sentinel import (
    actions,
    claims,
    decide,
    doubt_sources,
    neighbour_cache,
    question_queue,
    signals,
    telling,
)
from arp_engine.sentinel import doubt as doubts
from arp_engine.sentinel.states import (
    CLEAR,
    IN_FLIGHT,
    LOOKING_BACK,
    PROBING,
    QUEUED,
    REPROBING,
    State,
)

MACS = [bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3)]
OLD, NEW, OTHER = MACS
STRANGER = bytes([2, 0, 0, 0, 0, 4])


class Everything:
    """Devices that are all there and all selected."""

    unselected = ()  # keys

    def is_selected(self, entry):
        return entry.key not in self.unselected

    def device(self, _ifindex):
        return model.Device("db0", 0)

    def bound_to(self, ifindex):
        return (ifindex,)

    def name(self, _ifindex):
        return "db0"


class Scene:
    """A decider and its sources in a world that is told: time, table, listeners, answers."""

    def __init__(self, addresses=1, rate=1e6):
        self.now, self.said, self.released = 0.0, [], []
        self.is_answered, self.deletes, self.is_run_under_way = False, True, False
        devices, clock = Everything(), lambda: self.now
        self.devices = devices
        teller = throttle.Teller(lambda kind, *_rest: None, self.note)
        news = telling.News(teller, devices, clock)
        self.locktime_s, self.unused, self.held, self.routers = 1.0, [], [], ()
        self.decider = decide.Decider(
            rate, int(rate), self, news, devices, self.delete,
            lambda _key: self.locktime_s, self.find_unused, self.hold,
            lambda each: each.key in self.routers, lambda: self.is_run_under_way, clock,
        )  # fmt: skip
        self.sources = doubt_sources.DoubtSources(
            self.decider, self, news, devices, self, signals.Unanswered(None, None, None), clock
        )
        self.keys = [(2, number.to_bytes(4, "big")) for number in range(1, addresses + 1)]
        self.decider.cache.merge(entry(key, OLD) for key in self.keys)
        self.questions = {}

    def note(self, kind, line, facts):
        self.said.append(kind.tag)
        self.line, self.facts = line, facts

    # --- what the decider asks of the world

    def has_listener_answered(self, _syn, _bound_to):
        return self.is_answered

    def is_connecting(self, _syn, _bound_to=()):
        return True

    def of_syn(self, ifindex, syn):
        return {(ifindex, syn.target)}

    def release(self, syns, _ifindex, mac):
        self.released += [(syn, mac) for syn in syns]

    def find_unused(self, _claim, asked):
        """As proxy.unused: all that a check needs, or none."""
        return [] if {*self.unused} & {*asked} else self.unused

    def hold(self, *of):
        self.held.append(of)
        return True

    def delete(self, _key, _mac):
        return self.deletes

    # --- what happens in the world

    def syn(self, key=None, mac=NEW, port=4000):
        key = key or self.keys[0]
        self.sources.on_inbound_syn(key[0], mac, tcp_syn.Syn(key[1], port, bytes(4), 5432, b""))

    def set(self, key, mac, state=REACHABLE, is_overtaken=False, broadcasts=0):
        """Change an entry. is_overtaken: not by an answer to the probe of ours."""
        old = self.decider.cache.get(key)
        new = entry(key, mac, state)
        self.decider.cache._entries[key] = new
        change = neighbour_cache.Change(old, new)
        if is_overtaken and self.decider.is_overtaken(change):
            self.questions.pop(key, None)
            self.decider.on_overtaken(change, ProbeResult(1, broadcasts, {}))
        else:
            self.decider.on_neighbour_change(change)

    def turn(self):
        turn = self.decider.next_question()
        if not turn:
            return None
        question, self.schedule = turn
        if dropped := self.questions.pop(question[:2], None):
            self.decider.on_dropped(dropped)
        self.questions[question[:2]] = question
        return question

    def result(self, key, *macs, why="", unicasts=1, broadcasts=0):
        found = ProbeResult(unicasts, broadcasts, dict.fromkeys(macs, 0.2), why)
        self.decider.on_probe_result(self.questions.pop(key), found)

    def look_back(self, *macs):
        """Let the look backs go on until they are over; ``macs`` answer."""
        while len(self.decider._former):
            self.now = max(self.now, self.decider.next_due())
            if question := self.turn():
                self.now += 0.4
                self.result(question[:2], *macs)

    def state(self, key=None):
        doubt = self.decider._doubt_of(key or self.keys[0])
        return doubt.state if doubt else CLEAR


def entry(key, mac, state=REACHABLE):
    return codec.Entry(ifindex=key[0], state=state, kind=1, dst=key[1], mac=mac)


# --- the table


def test_every_action_in_the_table_is_a_method_and_every_one_is_used():
    steps = [step for events in decide.TRANSITIONS.values() for step in events.values()]
    named = {action for _state, *names in steps for action in names}
    assert all(callable(getattr(decide.Decider, action)) for action in named)
    used_elsewhere = {"usable_entry", "may_be_probed", "in_progress", "doubt", "next_question",
                      "next_due", "urgent_due", "is_busy", "on_neighbour_change", "on_owner",
                      "on_probe_result", "on_stop", "take_over", "is_overtaken", "on_overtaken",
                      "on_dropped"}  # fmt: skip
    defined = {**vars(decide.Decider), **vars(actions.Actions)}
    assert {name for name in defined if not name.startswith("_")} == named | used_elsewhere
    assert set(decide.TRANSITIONS) == set(State)


class Recorded(dict):
    """One state's row of the table, and which of its events have been looked up."""

    def __init__(self, events):
        super().__init__(events)
        self.seen = set()

    def __getitem__(self, event):
        self.seen.add(event)
        return super().__getitem__(event)


def happens(scene, chance):
    """Let one thing happen to one address, whatever its state."""
    key = chance.choice(scene.keys)
    syn = tcp_syn.Syn(bytes(4), 5432, key[1], 4000 + chance.randrange(9), b"")
    scene.is_answered, scene.deletes = chance.random() < 0.5, chance.random() < 0.5
    scene.now += chance.choice([0, 0, 0.01, 0.2, 2.0])
    what = chance.randrange(10)
    if what == 0:
        scene.syn(key, chance.choice(MACS), 4000 + chance.randrange(9))
    elif what == 1:
        scene.sources.on_retransmit(key)
    elif what == 2:
        scene.sources.on_connect_timeout(2, syn)
    elif what == 3:
        scene.sources.on_upper_layer_confirmation(key)
    elif what == 4:
        changes(scene, key, chance)
    elif what in (5, 6):
        scene.turn()
    elif what == 7 and scene.decider._looking_back:
        gets_a_stranger(scene, next(iter(scene.decider._looking_back)), chance)
    elif scene.questions:
        answers = chance.sample(MACS, chance.choice([0, 1, 1, 1, 2]))
        why, broadcasts = chance.choice(["", "x"]), chance.randrange(2)
        key = chance.choice(list(scene.questions))
        scene.result(key, *answers, why=why, broadcasts=broadcasts)


def changes(scene, key, chance):
    """Let an entry get a MAC: of a former holder, if there is one; by way of none; or neither."""
    state = chance.choice([REACHABLE, REACHABLE, REACHABLE, PERMANENT, FAILED])
    macs = MACS
    if chance.random() < 0.5:
        macs = scene.decider._former.of(key) or MACS
    if chance.random() < 0.5:
        scene.set(key, b"", FAILED)
    scene.set(key, chance.choice(macs), state, chance.random() < 0.5, chance.randrange(2))


def gets_a_stranger(scene, key, chance):
    """Let an entry have another MAC, by way of none, at the end of its look back."""
    scene.set(key, b"", FAILED)
    scene.set(key, STRANGER)
    scene.now += 12.0
    while scene.turn():
        pass
    if chance.random() < 0.5:
        scene.syn(key)
    if key in scene.questions:
        scene.result(key)


def test_every_transition_of_the_table_is_taken_and_no_other(monkeypatch):
    """Random events, many times: one that the table lacks is a KeyError."""
    table = {state: Recorded(events) for state, events in decide.TRANSITIONS.items()}
    monkeypatch.setattr(decide, "TRANSITIONS", table)
    monkeypatch.setattr(question_queue, "MAX_QUEUED", 3)
    monkeypatch.setattr(look_back, "MIN_SILENT", 1)  # one late result decides
    for seed in range(320):
        chance, scene = random.Random(seed), Scene(addresses=8)
        scene.unused = [b"\1\1\1\1"] * (seed % 2)  # whoever answers for it is a proxy
        for _ in range(500):
            happens(scene, chance)
            in_flight, queue = scene.decider._in_flight, scene.decider.queue
            assert all(doubt.state in IN_FLIGHT for doubt in in_flight.values())
            waiting = [queue.get(key) for key in scene.keys if queue.get(key)]
            assert all(doubt.state is QUEUED for doubt in waiting)
            assert len(waiting) == len(queue) <= 3 + decide.MAX_IN_FLIGHT
            assert not {doubt.key for doubt in waiting} & set(in_flight)
    missed = {(state, event) for state, row in table.items() for event in set(row) - row.seen}
    assert not missed


# --- single walks through it


@pytest.mark.parametrize(
    ("answers", "cached", "told"),
    [((NEW,), NEW, "healed"), ((OLD,), OLD, "alias"), ((OLD, NEW), OLD, "duplicate")],
    ids=["healed", "alias", "duplicate"],
)
def test_an_answer_clears_the_doubt(answers, cached, told):
    scene = Scene()
    scene.syn()
    assert scene.state() is QUEUED
    assert scene.turn().mac == OLD
    assert scene.state() is PROBING
    if cached != OLD:
        scene.set(scene.keys[0], cached)
    scene.result(scene.keys[0], *answers)
    scene.look_back()
    if told == "alias":  # asked alone, the host of the SYN does not answer
        scene.result(scene.turn()[:2])
    assert scene.state() is CLEAR
    assert told in scene.said
    assert len(scene.released) == (cached != OLD)


@pytest.mark.parametrize("is_answered", [True, False], ids=["answered", "unanswered"])
def test_a_syn_that_a_listener_has_answered_is_asked_about_urgently(is_answered):
    """Whether one has is looked up where others wait."""
    scene = Scene(addresses=3)
    for key in scene.keys:
        scene.is_answered = is_answered and key == scene.keys[2]
        scene.syn(key)
    last = scene.turn()
    assert (last.dst == scene.keys[2][1]) == is_answered
    urgent = probe_schedule.URGENT if is_answered else probe_schedule.FAST
    assert scene.schedule is urgent


def test_retransmissions_alone_are_not_urgent():
    scene = Scene()
    scene.sources.on_retransmit(scene.keys[0])
    assert scene.decider.next_question(is_urgent=True) is None
    scene.turn()
    assert scene.schedule is probe_schedule.FAST


def test_a_locked_entry_is_deleted_and_all_hosts_are_asked_at_once():
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, NEW, broadcasts=1)
    assert scene.state() is REPROBING
    assert (scene.said, [mac for _syn, mac in scene.released]) == ([], [NEW])
    assert scene.turn().mac == b""
    scene.set(key, b"", FAILED)
    scene.set(key, NEW)
    scene.result(key, NEW)
    assert scene.state() is LOOKING_BACK
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["healed"])


@pytest.mark.parametrize(("unicasts", "broadcasts"), [(0, 1), (1, 0)], ids=str)
def test_an_entry_whose_holder_was_not_asked_both_ways_is_not_deleted(unicasts, broadcasts):
    """Its frame could not leave (ENOBUFS), and to a broadcast another host is faster."""
    scene = Scene()
    scene.syn()
    scene.turn()
    scene.result(scene.keys[0], NEW, unicasts=unicasts, broadcasts=broadcasts)
    assert (scene.state(), scene.said, scene.released) == (QUEUED, [], [])


@pytest.mark.parametrize("does_syn_wait", [True, False])
def test_the_holder_of_an_alternating_entry_is_asked_alone_where_a_connection_waits(does_syn_wait):
    """All hosts are asked at once, and of two that live the faster one would have got the entry."""
    scene = Scene()
    [key] = scene.keys
    for mac in (NEW, OLD, NEW):
        scene.now += 2
        scene.set(key, mac)
    assert scene.said[-1] == "alternates"
    if does_syn_wait:
        scene.syn(mac=OLD)
    assert scene.turn() == (*key, NEW)
    assert bool(scene.schedule.unicast_waits_s) == does_syn_wait


def delete_locked(scene):
    """Let the sentinel delete the first entry and ask again; the kernel has not learnt it yet."""
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, NEW, broadcasts=1)
    scene.set(key, b"", FAILED)
    assert scene.turn() == (*key, b"")
    scene.result(key, NEW)
    assert (scene.state(), scene.said) == (LOOKING_BACK, [])
    return key


def test_a_deleted_entry_that_the_kernel_cannot_learn_is_not_told_as_healed():
    scene = Scene()
    delete_locked(scene)
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["disagreement"])


def test_a_deleted_entry_that_is_learnt_late_is_told_as_healed_with_the_mac_it_got():
    scene = Scene()
    key = delete_locked(scene)
    scene.now = scene.decider.next_due()
    assert not scene.turn()
    scene.set(key, OTHER)
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["healed"])
    assert scene.facts["new"] == OTHER.hex(":")


def test_a_deleted_entry_that_no_packet_needs_is_told_as_healed():
    scene = Scene()
    key = delete_locked(scene)
    del scene.decider.cache._entries[key]
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["healed"])


def heal(scene, to=NEW):
    """Let a probe move the first entry; its look back is open then."""
    [key, *_] = scene.keys
    scene.syn(mac=to)
    scene.turn()
    scene.set(key, to)
    scene.result(key, to)
    assert (scene.state(), scene.said) == (LOOKING_BACK, [])
    return key


def returns(scene, key):
    """Let the former holder answer the next question to it."""
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OLD)
    scene.set(key, OLD)
    scene.result(key, OLD)


@pytest.mark.parametrize("why", ["no address to ask from", "the entry is gone"])
def test_silence_of_a_former_holder_that_nobody_could_ask_is_no_heal(why):
    """The device has lost its address, or has gone with its entries, within the ten seconds."""
    scene = Scene()
    key = heal(scene)
    if why == "the entry is gone":
        scene.decider.cache._entries.clear()
    while len(scene.decider._former):
        scene.now = max(scene.now, scene.decider.next_due())
        if question := scene.turn():
            scene.result(question[:2], why=why)
    assert (scene.said, scene.state(key)) == (["changed"], CLEAR)


def test_a_heal_is_dated_when_the_table_changed_and_not_when_it_is_told():
    scene = Scene()
    heal(scene)
    changed_at = time.time()
    scene.look_back()
    assert scene.said == ["healed"]
    assert abs(changed_at - scene.now - scene.facts["at"]) < 5, "the clock of the scene runs ahead"


def stop(scene):
    """Stop, and return the MACs of the one line: it says what to do."""
    scene.said.clear()
    scene.decider.on_stop()
    scene.decider.on_stop()
    assert scene.said == ["changed"]
    assert "undecided" in scene.line
    assert scene.line.endswith(": run arp.diagnose 0.0.0.1")
    assert scene.facts["undecided"]
    return scene.facts["old"], scene.facts["new"]


def test_a_stop_tells_a_heal_that_is_not_decided():
    scene = Scene()
    heal(scene)
    assert stop(scene) == (OLD.hex(":"), NEW.hex(":"))


def test_a_stop_tells_an_entry_that_has_moved_during_its_probe():
    scene = Scene()
    scene.syn()
    scene.turn()
    scene.set(scene.keys[0], NEW)
    assert (scene.state(), scene.said) == (PROBING, [])
    assert stop(scene) == (OLD.hex(":"), NEW.hex(":"))


def test_a_stop_tells_that_a_change_told_before_is_not_decided():
    """A run has asked, while the holder paused."""
    scene = Scene()
    scene.is_run_under_way, scene.now = True, 10.0
    scene.set(scene.keys[0], NEW)
    assert (scene.state(), scene.said) == (LOOKING_BACK, ["changed"])
    assert stop(scene) == (OLD.hex(":"), NEW.hex(":"))


def test_a_stop_names_the_mac_that_was_written_back():
    scene = Scene()
    write_back(scene)
    assert stop(scene) == (NEW.hex(":"), OLD.hex(":"))


def test_a_stop_tells_nothing_of_an_entry_that_a_duplicate_was_told_of():
    scene = Scene()
    key = heal(scene)
    returns(scene, key)
    scene.set(key, OLD, FAILED)
    scene.set(key, NEW)
    assert scene.state() is LOOKING_BACK
    scene.said.clear()
    scene.decider.on_stop()
    assert scene.said == []


def test_a_former_holder_that_answers_makes_a_duplicate_and_no_heal():
    scene = Scene()
    key = heal(scene)
    returns(scene, key)
    assert (scene.state(), scene.said) == (CLEAR, ["duplicate"])
    scene.now += 2
    scene.syn()
    scene.turn()
    assert scene.schedule is probe_schedule.LIKE_THE_KERNEL


def test_a_claimant_that_answers_for_unused_addresses_is_told_as_a_proxy():
    scene = Scene(addresses=2)
    scene.unused = [b"\1\1\1\1", b"\1\1\1\2"]
    key = heal(scene)
    returns(scene, key)
    for dst in scene.unused:
        assert scene.said == []
        question = scene.turn()
        assert (question.dst, question.mac) == (dst, NEW)
        scene.result(question[:2], NEW)
    assert (scene.said, scene.facts["proxy"]) == (["duplicate"], NEW.hex(":"))
    scene.syn(scene.keys[1])
    scene.turn()
    assert scene.schedule is probe_schedule.PATIENT


def test_a_proxy_that_keeps_an_entry_from_its_holder_gives_it_back():
    """It confirms the entry, as it answers for everybody."""
    scene = Scene(addresses=2)
    [key, _other] = scene.keys
    scene.unused = [b"\1\1\1\1"]
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    assert scene.said == []
    check = scene.turn()
    scene.result(check[:2], OLD)
    assert (scene.said, scene.facts["proxy"]) == (["duplicate"], OLD.hex(":"))
    assert scene.turn() == (*key, NEW)
    assert scene.schedule is probe_schedule.ALONE


def test_a_proxying_router_does_not_give_its_own_address_away():
    scene = Scene(addresses=2)
    [key, other] = scene.routers = scene.keys
    scene.unused = [b"\1\1\1\1"]
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    scene.result(scene.turn()[:2], OLD)
    assert scene.said == []
    assert scene.turn() == (*key, NEW)
    assert scene.held == [(key, OLD)]
    scene.result(key, NEW)
    check = scene.turn()
    assert check[1:] == (scene.unused[0], NEW)
    scene.result(check[:2])
    assert scene.turn() == (*other, NEW)  # a second NIC of the router would answer
    scene.result(other)
    assert scene.said == ["duplicate"]
    assert "proxy" not in scene.facts
    assert not scene.turn()


def test_a_host_with_two_addresses_is_no_proxy():
    scene = Scene(addresses=2)
    [key, _other] = scene.keys
    scene.unused = [b"\1\1\1\1"]
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    scene.result(scene.turn()[:2])
    assert scene.said == []
    assert scene.turn() == (*key, NEW)
    scene.result(key)
    assert scene.said == ["alias"]
    assert not scene.turn()


@pytest.mark.parametrize("has_moved", [False, True])
def test_two_living_hosts_are_a_duplicate_and_no_alias(has_moved):
    """And the address is not contested: when the holder dies the other one is served at once."""
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    assert scene.held == []
    assert scene.turn() == (*key, NEW)
    assert len(scene.schedule.unicast_waits_s) == 3  # a frame may get lost
    assert scene.held == [(key, OLD)]  # an IPv4 entry takes no other MAC while NEW is asked
    if has_moved:  # all the same
        scene.set(key, NEW)
        scene.said.clear()
    scene.result(key, NEW)
    assert scene.said == ["duplicate"]
    assert scene.turn() == ((*key, OLD) if has_moved else None)
    scene.said.clear()
    scene.now += 2
    scene.syn(mac=OTHER)
    scene.turn()
    assert scene.schedule is probe_schedule.FAST


@pytest.mark.parametrize(("answers", "told"), [((NEW,), "alias"), ((), "duplicate")], ids=str)
def test_another_address_tells_two_nics_of_one_host_from_two_hosts(answers, told):
    """A host with two NICs on the link answers with either for each of its addresses."""
    scene = Scene(addresses=2)
    key, other = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    assert scene.turn() == (*key, NEW)
    scene.result(key, NEW)
    assert scene.said == []
    assert scene.turn() == (*other, NEW)
    assert scene.held == [(key, OLD), (other, OLD)]
    scene.result(other, *answers)
    assert scene.said == [told]
    assert not scene.turn()


def test_a_contested_address_that_others_move_is_given_back_to_its_holder():
    """A scheduled run, or an operator, has asked the other host."""
    scene = Scene()
    key = heal(scene)
    returns(scene, key)
    scene.said.clear()
    scene.set(key, NEW)
    assert (scene.state(), scene.said) == (LOOKING_BACK, ["changed"])
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OLD)
    scene.set(key, OLD)
    scene.result(key, OLD)
    assert (scene.state(), scene.said) == (CLEAR, ["changed"])


def test_claimants_of_one_address_are_asked_seldom():
    """SYNs are forged at will."""
    scene = Scene()
    [key] = scene.keys
    for number, mac in enumerate((NEW, OTHER)):
        scene.syn(mac=mac)
        scene.turn()
        scene.result(key, OLD)
        assert bool(scene.turn()) == (number == 0)
        if number == 0:
            scene.result(key)
        scene.now += 2
    assert scene.said == ["alias"]
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OTHER)
    assert scene.now >= claims.CLAIM_REST_S


def confirm_all(scene):
    """Let the hosts of all entries answer, each after a SYN from another MAC."""
    for key in scene.keys:
        scene.syn(key)
    for key in scene.keys:
        assert scene.turn()[:2] == key
    for key in scene.keys:
        scene.result(key, OLD)


def test_no_claimant_is_told_as_an_alias_before_it_was_asked():
    """Eight of them within a second, and one may be asked a second."""
    scene = Scene(addresses=8)
    confirm_all(scene)
    asked = []
    while (due := scene.decider.next_due()) < float("inf"):
        scene.now = max(scene.now, due)
        if question := scene.turn():
            asked.append(question)
            assert not scene.turn()
            scene.result(question[:2])
            assert len(scene.said) == len(asked)
    assert asked == [(*key, NEW) for key in scene.keys]
    assert scene.said == ["alias"] * 8
    assert scene.now > 2


def test_a_claimant_whose_question_was_dropped_is_asked_again():
    """A probe of the same address has taken its place."""
    scene = Scene()
    [key] = scene.keys
    confirm_all(scene)
    for _ in range(2):
        assert scene.turn() == (*key, NEW)
        assert not scene.turn()
        scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, NEW)
    scene.result(key)
    assert scene.said == ["alias"]
    assert scene.decider.next_due() == float("inf")


def test_a_claimant_is_not_asked_once_the_entry_has_another_mac():
    scene = Scene(addresses=claims.CLAIMS_AT_ONCE + 1)
    confirm_all(scene)
    while question := scene.turn():
        scene.result(question[:2])
    scene.set(scene.keys[-1], OTHER)
    scene.now += 2
    assert not scene.turn()


def test_a_former_holder_that_sends_a_syn_is_asked_at_once():
    scene = Scene()
    key = heal(scene)
    scene.now += 0.5
    scene.syn(mac=OLD)
    assert scene.turn() == (*key, OLD)
    scene.set(key, OLD)
    scene.result(key, OLD)
    assert len(scene.released) == 2


def test_an_entry_that_somebody_else_changes_ends_its_look_back():
    scene = Scene()
    key = heal(scene)
    scene.set(key, OTHER)
    assert (scene.state(), scene.said) == (CLEAR, ["changed", "changed"])


def write_back(scene, is_asked=False, state=REACHABLE):
    """Heal, and let somebody write the former MAC again; its host has not answered us so far."""
    key = heal(scene)
    if is_asked:
        scene.now = scene.decider.next_due()
        assert scene.turn()
    scene.set(key, OLD, state)
    if is_asked:
        scene.result(key)
    assert scene.said == ["changed", "changed"]
    scene.said.clear()
    return key


@pytest.mark.parametrize("is_asked", [False, True])
def test_an_owner_that_writes_the_former_mac_ends_the_look_back(is_asked):
    scene = Scene()
    write_back(scene, is_asked, PERMANENT)
    assert (scene.state(), scene.said) == (CLEAR, [])


@pytest.mark.parametrize("locktime_s", [1.0, 0.0])
@pytest.mark.parametrize("is_asked", [False, True])
def test_a_former_mac_that_somebody_writes_is_told_as_written_back(is_asked, locktime_s):
    scene = Scene()
    scene.locktime_s = locktime_s
    key = write_back(scene, is_asked)
    written = scene.now
    assert scene.state() is LOOKING_BACK
    scene.look_back()
    assert scene.now > written + 10, "silent for as long as after a heal"
    assert scene.said == ["disagreement"]
    assert (scene.facts["held"], scene.facts["answers"]) == (OLD.hex(":"), [NEW.hex(":")])
    assert (scene.state(), scene.decider._former.of(key)) == (QUEUED, [])


@pytest.mark.parametrize("is_asked", [False, True])
def test_a_former_holder_whose_own_word_moves_the_entry_keeps_it(is_asked):
    """Such as an answer that came when the question was over."""
    scene = Scene()
    key = write_back(scene, is_asked)
    scene.look_back(OLD)
    assert (scene.state(), scene.said) == (CLEAR, ["duplicate"])
    assert scene.facts["answers"] == [OLD.hex(":"), NEW.hex(":")]
    assert scene.decider._disputes.holder(key, scene.now) == OLD
    assert scene.turn() is None


def test_a_former_holder_that_has_the_mac_again_is_waited_for_until_the_next_question():
    """One that is slow, and lives, is not told as written back."""
    scene = Scene()
    write_back(scene)
    scene.now = scene.decider.next_due()
    assert scene.turn().mac == OLD
    assert scene.schedule.unicast_waits_s == (probe_schedule.LOOK_BACK_EVERY_S,)


def test_an_entry_written_back_is_asked_about_once_and_no_loop_begins():
    """Whoever writes it does so after each heal."""
    scene = Scene()
    key = write_back(scene)
    questions = []
    while scene.decider.next_due() < float("inf"):
        scene.now = max(scene.now, scene.decider.next_due())
        if not scene.turn():
            continue
        questions.append(scene.schedule)
        scene.now += 0.4
        if scene.state() is not PROBING:
            scene.result(key)
            continue
        scene.set(key, NEW)
        scene.result(key, NEW, broadcasts=1)
        scene.now += 0.1
        scene.set(key, OLD)
    assert questions.count(probe_schedule.FAST) == 1
    assert scene.said.count("disagreement") == 2
    assert (scene.state(), scene.turn()) == (CLEAR, None)


def test_an_entry_that_is_right_after_it_was_written_back_is_told_as_healed():
    scene = Scene()
    key = write_back(scene)
    scene.look_back()
    scene.said.clear()
    assert scene.turn() == (*key, OLD)
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    scene.look_back()
    assert (scene.state(), scene.said[-1]) == (CLEAR, "healed")
    assert scene.facts["why"] == "written back"


@pytest.mark.parametrize(("mac", "told"), [(NEW, "healed"), (OTHER, "changed")], ids=str)
def test_what_an_entry_has_after_it_was_written_back_is_told(mac, told):
    """By way of FAILED it has another MAC at the end."""
    scene = Scene()
    key = write_back(scene)
    scene.set(key, b"", FAILED)
    scene.set(key, mac)
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, [told])
    assert scene.facts["new"] == mac.hex(":")


def test_a_syn_of_the_right_host_heals_what_was_written_back_at_once():
    scene = Scene()
    key = write_back(scene)
    scene.now += 1.1
    scene.syn(port=4001)
    while scene.state() is not PROBING:  # after the question of the look back, whose place it takes
        assert scene.turn() == (*key, OLD)
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    assert len(scene.released) == 2
    scene.look_back()
    assert scene.said == ["alternates", "healed"], "and nothing was written back at the end"


def test_a_look_back_goes_on_after_its_entry_had_no_mac_for_a_moment():
    scene = Scene()
    key = heal(scene)
    scene.set(key, b"", FAILED)
    scene.now = scene.decider.next_due()
    assert not scene.turn()
    assert (scene.state(), scene.said) == (LOOKING_BACK, [])
    scene.set(key, NEW)
    returns(scene, key)
    assert (scene.state(), scene.said) == (CLEAR, ["duplicate"])


@pytest.mark.parametrize(
    ("mac", "told"), [(OLD, "disagreement"), (OTHER, "changed"), (NEW, "healed")], ids=str
)
@pytest.mark.parametrize("is_deleted", [True, False])
def test_an_entry_that_comes_again_with_another_mac_is_not_healed(mac, told, is_deleted):
    """By way of FAILED, or a deletion, no change of its MAC is seen; the former host is silent."""
    scene = Scene()
    key = heal(scene)
    if is_deleted:
        del scene.decider.cache._entries[key]
    else:
        scene.set(key, b"", FAILED)
    scene.set(key, mac)
    scene.look_back()
    state = QUEUED if mac == OLD else CLEAR  # a wrong one is asked about again
    assert (scene.state(), scene.said) == (state, [told])
    held = scene.facts["held" if mac == OLD else "new"]
    assert held == mac.hex(":"), "no line names a MAC that the table does not hold"


def test_a_third_mac_is_told_with_the_one_that_had_answered():
    scene = Scene()
    key = heal(scene)
    scene.set(key, b"", FAILED)
    scene.set(key, OTHER)
    scene.look_back()
    assert scene.said == ["changed"]
    assert {name: scene.facts[name] for name in ("old", "new", "answers")} == {
        "old": OLD.hex(":"), "new": OTHER.hex(":"), "answers": [NEW.hex(":")]
    }  # fmt: skip
    assert "run arp.diagnose 0.0.0.1" in scene.line


def test_a_deleted_entry_that_comes_again_with_its_former_mac_is_told_with_it():
    """The line said that the entry holds none."""
    scene = Scene()
    key = delete_locked(scene)
    scene.set(key, OLD)
    scene.look_back()
    assert (scene.said, scene.facts["held"]) == (["disagreement"], OLD.hex(":"))
    assert "took it" not in scene.line


@pytest.mark.parametrize(
    ("begin", "mac", "said"),
    [(heal, NEW, ["changed"]), (write_back, OLD, [])],
    ids=["healed", "written back"],
)
def test_an_owner_of_the_entry_ends_its_look_back(begin, mac, said):
    scene = Scene()
    key = begin(scene)
    scene.set(key, mac, PERMANENT)
    scene.now = scene.decider.next_due()
    assert not scene.turn()
    assert (scene.state(), scene.said) == (CLEAR, said)


def test_a_return_to_the_former_holder_is_no_flap():
    scene = Scene()
    for _ in range(2):
        key = heal(scene)
        returns(scene, key)
        scene.said.clear()
        scene.now += 2
    assert "alternates" not in scene.said


def test_the_mac_of_a_syn_that_had_the_entry_lately_is_a_duplicate_and_no_alias():
    scene = Scene()
    [key] = scene.keys
    scene.set(key, NEW)
    scene.set(key, OLD)
    scene.said.clear()
    scene.syn(mac=NEW)
    scene.turn()
    scene.result(key, OLD)
    assert scene.said == ["duplicate"]


def test_a_silent_holder_s_aliases_are_forgotten():
    scene = Scene()
    [key] = scene.keys
    scene.decider.aliases.add(key, NEW, 0.0)
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.result(key)
    assert (key, NEW) not in scene.decider.aliases


def test_an_address_that_cannot_be_asked_about_is_told_until_it_can_and_cannot_again():
    scene = Scene()
    [key] = scene.keys
    told = []
    for answers, why in (((), "no carrier"), ((), "no carrier"), ((OLD,), ""), ((), "no carrier")):
        scene.now += 20
        scene.sources.on_retransmit(key)
        scene.turn()
        scene.result(key, *answers, why=why)
        told.append(len(scene.said))
    assert told == [1, 1, 1, 2]
    assert set(scene.said) == {"unaskable"}


def test_without_a_waiting_connection_nothing_is_deleted():
    scene = Scene()
    scene.sources.on_upper_layer_confirmation(scene.keys[0])
    for _ in range(decide.MAX_TRIES - 1):
        scene.now += 2
        scene.turn()
        scene.result(scene.keys[0], NEW)
        assert scene.state() is QUEUED
    scene.now += 2
    scene.turn()
    scene.result(scene.keys[0], NEW)
    assert (scene.state(), scene.said) == (CLEAR, ["disagreement"])


def test_a_mac_that_came_during_the_probe_is_not_deleted():
    """It was not asked by unicast."""
    scene = Scene()
    scene.syn()
    scene.turn()
    scene.set(scene.keys[0], OTHER)
    scene.result(scene.keys[0], NEW)
    assert (scene.state(), scene.said) == (QUEUED, ["changed"])


def test_an_entry_that_gets_an_owner_during_its_probe_is_given_up():
    scene = Scene()
    key = scene.keys[0]
    scene.syn()
    scene.turn()
    assert not scene.decider.on_owner(key)
    scene.set(key, OLD, PERMANENT)
    assert scene.decider.on_owner(key)
    scene.result(key, NEW)  # of a frame that had left before
    assert (scene.state(), scene.turn(), scene.said) == (CLEAR, None, [])


def test_a_change_of_an_entry_that_is_not_selected_is_no_news():
    """Another device than dev names, or an address that exclude names."""
    scene = Scene(addresses=2)
    scene.devices.unselected = scene.keys[:1]
    for mac in (NEW, OLD, NEW, OLD):
        scene.set(scene.keys[0], mac)
    assert scene.said == []
    scene.set(scene.keys[1], NEW)
    assert scene.said == ["changed"]


def test_no_question_is_due_while_as_many_as_may_be_are_in_flight(monkeypatch):
    """An urgent one waits for a place like the others: the loop would not sleep until then."""
    monkeypatch.setattr(decide, "MAX_IN_FLIGHT", 1)
    scene = Scene(addresses=2)
    first, second = scene.keys
    scene.decider.doubt(first, doubts.CONNECT_TIMEOUT)
    assert scene.turn()[:2] == first
    scene.decider.doubt(second, doubts.CONNECT_TIMEOUT)
    scene.now = max(scene.now, scene.decider.queue.due(scene.now))
    assert scene.decider.queue.is_urgent_ready()
    assert scene.decider.next_question(is_urgent=True) is None
    assert scene.decider.urgent_due() == scene.decider.next_due() == float("inf")
    scene.result(first, OLD)
    assert scene.decider.urgent_due() <= scene.now


def test_a_full_queue_has_room_for_trusted_evidence_alone():
    scene = Scene(addresses=question_queue.MAX_QUEUED + 2)
    *many, one, last = scene.keys
    for key in many:
        scene.sources.on_upper_layer_confirmation(key)
    scene.sources.on_upper_layer_confirmation(one)
    assert scene.state(one) is CLEAR
    scene.sources.on_retransmit(last)
    assert scene.state(last) is QUEUED
    assert scene.state(many[-1]) is CLEAR
    assert len(scene.decider.queue) == question_queue.MAX_QUEUED
    assert scene.turn()[:2] == last


def test_only_so_many_syns_and_macs_of_one_address_are_kept():
    doubt = doubts.Doubt((2, bytes(4)), "syn")
    for number in range(100):
        doubt.add(bytes([number]), number)
    assert (len(doubt.macs), doubt.pending_syns[-1]) == (doubts.MAX_SYNS, 99)
    assert len(doubt.pending_syns) == doubts.MAX_SYNS


def test_each_evidence_has_words():
    reasons = {each.reason for each in vars(doubts).values() if isinstance(each, doubts.Evidence)}
    assert reasons == set(telling.NOTICED)
