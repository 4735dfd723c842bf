"""The life of a doubted entry: the code does what TRANSITIONS says, and all of it."""

import random

import pytest
from arp_engine.netlink import codec, model
from arp_engine.netlink.constants import FAILED, PERMANENT, REACHABLE
from arp_engine.packets import tcp_syn
from arp_engine.reporting import throttle
from arp_engine.resolve.ask import ProbeResult
from arp_engine.sentinel import decide, doubt_sources, neighbour_cache, question_queue, telling
from arp_engine.sentinel.decide import CLEAR, IN_FLIGHT, PROBING, QUEUED, REPROBING

MACS = [bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3)]
OLD, NEW, OTHER = MACS


class Everything:
    """Devices that are all there and all selected."""

    def is_selected(self, _entry):
        return True

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
        self.is_answered, self.deletes = False, True
        devices, clock = Everything(), lambda: self.now
        teller = throttle.Teller(
            lambda kind, *_rest: None, lambda kind, *_: self.said.append(kind.tag)
        )
        news = telling.News(teller, devices, clock)
        self.decider = decide.Decider(rate, self, news, devices, self.delete, clock)
        self.sources = doubt_sources.DoubtSources(self.decider, self, news, devices, self, clock)
        self.keys = [(2, number.to_bytes(4, "big")) for number in range(1, addresses + 1)]
        self.decider.cache.read_anew(entry(key, OLD) for key in self.keys)
        self.questions = {}

    # --- what the decider asks of the world

    def has_listener_answered(self, _syn, _bound_to):
        return self.is_answered

    def is_connecting(self, _syn, _bound_to):
        return True

    def of_syn(self, ifindex, syn):
        return {(ifindex, syn.target)}

    def release(self, syns, _ifindex):
        self.released += syns

    def delete(self, _key, _mac):
        return self.deletes

    # --- what happens in the world

    def syn(self, key=None, mac=NEW, port=4000):
        key = key or self.keys[0]
        self.sources.on_inbound_syn(key[0], mac, tcp_syn.Syn(key[1], port, bytes(4), 5432, b""))

    def set(self, key, mac, state=REACHABLE):
        old = self.decider.cache.get(key)
        new = entry(key, mac, state)
        self.decider.cache._entries[key] = new
        self.decider.on_neighbour_change(neighbour_cache.Change(old, new))

    def turn(self):
        if question := self.decider.next_question():
            self.questions[question[:2]] = question
        return question

    def result(self, key, *macs, why=""):
        found = ProbeResult(1, 0, dict.fromkeys(macs, 0.2), why)
        self.decider.on_probe_result(self.questions.pop(key), found)

    def state(self, key=None):
        doubt = self.decider._doubt_of(key or self.keys[0])
        return doubt.state if doubt else CLEAR


def entry(key, mac, state=REACHABLE):
    return codec.Entry(ifindex=key[0], state=state, kind=1, dst=key[1], mac=mac)


# --- the table


def test_every_action_in_the_table_is_a_method_and_every_one_is_used():
    steps = [step for events in decide.TRANSITIONS.values() for step in events.values()]
    actions = {action for _state, *names in steps for action in names}
    assert all(callable(getattr(decide.Decider, action)) for action in actions)
    used_elsewhere = {"usable_entry", "may_be_probed", "in_progress", "doubt", "next_question",
                      "next_due", "on_neighbour_change", "on_probe_result"}  # fmt: skip
    public = {name for name in vars(decide.Decider) if not name.startswith("_")}
    assert public == actions | used_elsewhere
    assert set(decide.TRANSITIONS) == set(decide.State)


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
    what = chance.randrange(9)
    if what == 0:
        scene.syn(key, chance.choice(MACS), 4000 + chance.randrange(9))
    elif what == 1:
        scene.sources.on_retransmit(key)
    elif what == 2:
        scene.sources.on_connect_timeout(2, syn)
    elif what == 3:
        scene.sources.on_upper_layer_confirmation(key)
    elif what == 4:
        state = chance.choice([REACHABLE, REACHABLE, REACHABLE, PERMANENT, FAILED])
        scene.set(key, chance.choice(MACS), state)
    elif what in (5, 6):
        scene.turn()
    elif scene.questions:
        answers = chance.sample(MACS, chance.choice([0, 1, 1, 1, 2]))
        scene.result(chance.choice(list(scene.questions)), *answers, why=chance.choice(["", "x"]))


def test_every_transition_of_the_table_is_taken_and_no_other(monkeypatch):
    """Random events, many times: one that the table lacks is a KeyError."""
    table = {state: Recorded(events) for state, events in decide.TRANSITIONS.items()}
    monkeypatch.setattr(decide, "TRANSITIONS", table)
    monkeypatch.setattr(question_queue, "MAX_QUEUED", 3)
    for seed in range(40):
        chance, scene = random.Random(seed), Scene(addresses=8)
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
    assert scene.state() is CLEAR
    assert told in scene.said
    assert len(scene.released) == (cached != OLD)


def test_a_locked_entry_is_deleted_and_all_hosts_are_asked_at_once():
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, NEW)
    assert scene.state() is REPROBING
    assert (scene.said, len(scene.released)) == (["healed"], 1)
    assert scene.turn().mac == b""
    scene.set(key, b"", FAILED)
    scene.set(key, NEW)
    scene.result(key, NEW)
    assert scene.state() is CLEAR


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


def test_untrusted_probes_leave_slots_for_trusted_ones():
    scene = Scene(addresses=2 * decide.MAX_IN_FLIGHT)
    half = decide.MAX_IN_FLIGHT
    for key in scene.keys[:half]:
        scene.sources.on_upper_layer_confirmation(key)
    while scene.turn():
        pass
    assert len(scene.questions) == decide.MAX_IN_FLIGHT_UNTRUSTED
    for key in scene.keys[half:]:
        scene.sources.on_retransmit(key)
    while scene.turn():
        pass
    assert len(scene.questions) == decide.MAX_IN_FLIGHT
    assert scene.decider.next_due() == float("inf")


def test_only_so_many_syns_and_macs_of_one_address_are_kept():
    doubt = decide.Doubt((2, bytes(4)), "syn")
    for number in range(100):
        doubt.add(bytes([number]), number)
    assert (len(doubt.macs), doubt.pending_syns[-1]) == (decide.MAX_SYNS, 99)
    assert len(doubt.pending_syns) == decide.MAX_SYNS


def test_each_evidence_has_words():
    reasons = {each.reason for each in vars(decide).values() if isinstance(each, decide.Evidence)}
    assert reasons == set(telling.NOTICED)
