"""Look backs that a stopped sentinel leaves to the next one: the file, and what becomes of them."""

import errno
import json
import os
import stat

import pytest
from arp_engine.netlink.constants import FAILED, REACHABLE
from arp_engine.sentinel import handover
from arp_engine.sentinel.former_holders import Heal
from arp_engine.sentinel.states import LOOKING_BACK, PROBING
from test_decide import NEW, OLD, OTHER, STRANGER, Scene, heal, returns, write_back
from test_former_holders import move_on

KEYS = (2, b"\0\0\0\1"), (2, bytes(15) + b"\1")
HEALS = [
    (KEYS[0], Heal(OLD, NEW, "syn", at=90.0)),
    (KEYS[0], Heal(NEW, OTHER, "", is_told=True)),
    (KEYS[1], Heal(OLD, NEW, "no answer", is_deleted=True, at=95.0)),
]


class Clock:
    """Two sentinels of one machine, one after the other."""

    def __init__(self, tmp_path):
        self.now = 100.0
        self.path = handover.beside(str(tmp_path / "sentinel.json"))
        self.devices = {"db0": 2}
        self.told = []

    def handover(self):
        words = lambda _ifindex: next(iter(self.devices)), lambda dev: self.devices.get(dev, 0)
        return handover.Handover(self.path, *words, self.told.append, lambda: self.now)


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path)


def test_look_backs_come_out_as_they_went_in_and_once(clock):
    assert clock.handover().write(HEALS) == {*KEYS}
    assert stat.S_IMODE(os.stat(clock.path).st_mode) == 0o600
    clock.now += 5
    clock.devices = {"db0": 7}  # it has another number by now
    assert clock.handover().take() == [((7, key[1]), each) for key, each in HEALS]
    assert (os.path.exists(clock.path), clock.handover().take()) == (False, [])


def test_look_back_on_a_device_that_is_gone_is_left_out(clock):
    clock.handover().write(HEALS)
    clock.devices = {}
    assert clock.handover().take() == []


def test_without_a_status_file_nothing_is_handed_over(clock):
    clock.path = handover.beside("")
    assert (clock.handover().write(HEALS), clock.handover().take()) == (set(), [])


def test_directory_that_cannot_be_written_hands_nothing_over(clock):
    clock.path = "/proc/no/such/directory"
    assert clock.handover().write(HEALS) == set()
    [line] = clock.told
    assert line.startswith(f"cannot write {clock.path}: {os.strerror(errno.ENOENT)}; ")


def test_file_that_cannot_be_removed_is_not_taken_up_and_told_with_what_to_do(clock, monkeypatch):
    """Such as on a file system that is read-only by now: else each start took it up again."""
    clock.handover().write(HEALS)

    def unlink(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    monkeypatch.setattr(os, "unlink", unlink)
    why = f"cannot remove it: {os.strerror(errno.EROFS)}; remove {clock.path}"
    assert clock.handover().take() == []
    assert clock.told == [f"ignored {clock.path} (from the previous sentinel): {why}"]


LONG = bytes(range(20)), bytes(range(1, 21)), bytes(range(2, 22))  # MACs of InfiniBand


@pytest.mark.parametrize("macs", [LONG, (OLD, NEW, OTHER)], ids=["20 bytes", "6 bytes"])
def test_file_has_no_more_rows_than_the_next_sentinel_reads(clock, macs):
    """Of an entry all of them or none: the last one says how it was left."""
    clock.devices = {"ibp0s31f6.8001x": 2}
    old, new, other = macs
    held = []
    for number in range(handover.MAX_ROWS):
        key = 2, b"\x20\1\x0d\xb8" + bytes([255] * 8) + number.to_bytes(4, "big")
        held += [(key, Heal(old, new, "upper-layer confirmation", at=90.123456789))]
        held += [(key, Heal(new, other, "upper-layer confirmation", at=91.123456789))]
    held.sort(key=lambda row: row[1].at)  # not entry by entry
    keys = clock.handover().write(held)
    assert os.path.getsize(clock.path) <= handover.MAX_BYTES
    taken = clock.handover().take()
    assert ({key for key, _heal in taken}, clock.told) == (keys, [])
    assert 1000 < len(taken) == 2 * len(keys) <= handover.MAX_ROWS
    is_cut_by_size = len(taken) < handover.MAX_ROWS
    assert is_cut_by_size == (macs == LONG)
    assert [each for key, each in taken if key == held[0][0]] == [held[0][1], held[-1][1]]


def ignored(clock):
    """Return why the file is ignored; it is gone then."""
    assert clock.handover().take() == []
    assert not os.path.lexists(clock.path)
    [line] = clock.told
    head, _, why = line.partition(" (from the previous sentinel): ")
    assert head == f"ignored {clock.path}"
    return why


BEFORE = "it was written before this boot"


@pytest.mark.parametrize(("later_s", "why"), [(31, "it is 31 s old"), (-1, BEFORE)])
def test_old_file_is_ignored(clock, later_s, why):
    """Of another boot its time is in the future."""
    clock.handover().write([(KEYS[0], Heal(OLD, NEW, "syn"))])
    clock.now += later_s
    assert ignored(clock) == why


def test_file_of_another_user_is_ignored(clock, monkeypatch):
    clock.handover().write(HEALS)
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    assert ignored(clock) == "another user wrote it"


def test_link_is_ignored(clock, tmp_path):
    (tmp_path / "elsewhere").write_text("{}")
    os.symlink(tmp_path / "elsewhere", clock.path)
    assert ignored(clock) == os.strerror(errno.ELOOP)
    assert (tmp_path / "elsewhere").exists()


ROW = {"dev": "db0", "ip": "10.0.0.1", "old": OLD.hex(), "new": NEW.hex(), "why": "syn",
       "deleted": False, "told": False, "at": 90.0}  # fmt: skip
WRONG = [
    {"dev": 2}, {"ip": "x"}, {"ip": 167772161}, {"old": ""}, {"old": NEW.hex()}, {"new": "0x"},
    {"new": "00" * 33}, {"why": "told"}, {"why": []}, {"why": "", "deleted": True}, {"at": 101.0},
    {"at": float("nan")}, {"at": None},
]  # fmt: skip


@pytest.mark.parametrize("wrong", [{}, *WRONG], ids=str)
def test_file_with_one_wrong_row_is_ignored(clock, wrong):
    """It may be the row that says how an entry of the others was left."""
    rows = [ROW, {**ROW, **wrong}, {**ROW, "ip": "10.0.0.2"}]
    with open(clock.path, "w", encoding="utf-8") as file:
        json.dump({"uptime_s": 99.0, "look_backs": rows}, file)
    if wrong:
        assert ignored(clock) == "it cannot be understood"
    else:
        assert len(clock.handover().take()) == 3


WITHOUT_ROWS, WITHOUT_TIME = '{"uptime_s": 99, "look_backs": 1}', '{"look_backs": []}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", "[" * 9999, WITHOUT_ROWS, WITHOUT_TIME, "\xff"]
)
def test_file_that_is_none_of_ours_is_ignored(clock, text):
    with open(clock.path, "w", encoding="latin-1") as file:
        file.write(text)
    assert ignored(clock) == "it cannot be understood"


# --- what becomes of a look back


def stopped(scene):
    """Stop a scene's sentinel; return what it hands over."""
    handed = []

    def hand_over(held):
        handed.extend(held)
        return {key for key, _heal in held}

    scene.said.clear()
    scene.decider.on_stop(hand_over)
    return handed


def next_one(before, held, mac):
    """Return the scene of the next sentinel, which takes this over; its table has this MAC."""
    after = Scene()
    after.now = before.now + 2
    after.set(after.keys[0], mac)
    after.said.clear()
    after.decider.take_over(held)
    return after


def restarted(before, mac=NEW):
    """Do both where one look back is open."""
    held = stopped(before)
    assert before.said == ["changed"]
    assert "unless it starts again within 30 s and finds out, run arp.diagnose" in before.line
    return next_one(before, held, mac)


def test_former_holder_that_answers_the_next_sentinel_has_its_entry_back():
    before = Scene()
    key = heal(before)
    after = restarted(before)
    returns(after, key)
    assert after.said == ["duplicate"]
    assert after.facts["answers"] == [OLD.hex(":"), NEW.hex(":")]


def test_former_holder_that_is_silent_to_the_next_sentinel_makes_a_heal():
    before = Scene()
    heal(before)
    after = restarted(before)
    after.look_back()
    assert after.said == ["healed"]
    assert after.facts["why"] == "syn"


def test_entry_that_has_changed_before_the_next_sentinel_looks_stays_undecided():
    before = Scene()
    heal(before)
    after = restarted(before, OTHER)
    assert after.said == ["changed"]
    assert after.line.endswith("whether that is right: run arp.diagnose 0.0.0.1")
    assert after.turn() is None


def test_failure_hands_nothing_over():
    scene = Scene()
    heal(scene)
    scene.decider.on_stop()
    assert scene.line.endswith("whether that is right: run arp.diagnose 0.0.0.1")


def is_told_alone(scene, count):
    """Tell whether so many lines were told, of which the last one does not promise to go on."""
    return scene.said == ["changed"] * count and "starts again" not in scene.line


@pytest.mark.parametrize("former", [OLD, NEW], ids=["first", "last"])
def test_of_two_former_holders_the_next_sentinel_gives_either_its_entry_back(former):
    before = Scene()
    key = move_on(before)
    held = stopped(before)
    assert [(each.old, each.new) for _key, each in held] == [(OLD, NEW), (NEW, OTHER)]
    after = next_one(before, held, OTHER)
    assert (after.said, after.decider._former.of(key)) == ([], [NEW, OLD])
    while not after.said:
        after.now = max(after.now, after.decider.next_due())
        question = after.turn()
        if question and question.mac == former:
            after.set(key, former)
        if question:
            after.result(key, *{former} & {question.mac})
    assert after.said == ["duplicate"]
    assert {*after.facts["answers"]} == {former.hex(":"), OTHER.hex(":")}


def test_entry_that_has_moved_during_its_probe_is_asked_about_by_the_next_sentinel():
    before = Scene()
    [key] = before.keys
    before.syn()
    before.turn()
    before.set(key, NEW)
    assert before.state() is PROBING
    after = restarted(before)
    returns(after, key)
    assert after.said == ["duplicate"]


@pytest.mark.parametrize("state", [REACHABLE, FAILED])
def test_entry_that_was_written_back_is_not_handed_over(state):
    """Who had it first, nobody knows."""
    scene = Scene()
    key = write_back(scene)
    scene.set(key, OLD, state)
    assert scene.state() is LOOKING_BACK
    assert stopped(scene) == []
    assert is_told_alone(scene, 1)


@pytest.mark.parametrize("state", [REACHABLE, FAILED])
@pytest.mark.parametrize("former", [OLD, NEW], ids=["first", "last"])
def test_entry_that_a_former_holder_has_again_during_a_probe_is_not_handed_over(former, state):
    """The next sentinel would ask only the host that has lost it, whose answer would take it."""
    scene = Scene()
    key = heal(scene) if former == OLD else move_on(scene)
    scene.now += 2
    scene.syn(mac=STRANGER)
    while scene.state() is not PROBING:
        scene.turn()
    scene.set(key, former)
    if state == FAILED:
        scene.set(key, former, FAILED)
    assert (scene.state(), scene.said) == (PROBING, [])
    assert stopped(scene) == []
    assert is_told_alone(scene, 3 if former == NEW else 2)
    assert scene.facts["new"] == former.hex(":")


def test_entry_that_a_former_holder_has_again_while_it_is_asked_is_not_handed_over():
    scene = Scene()
    key = heal(scene)
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OLD)
    scene.set(key, OLD)
    assert stopped(scene) == []
    assert is_told_alone(scene, 1)


def test_entry_that_its_owed_holder_has_again_during_a_probe_is_not_handed_over():
    """The look back itself is not told: the duplicate was."""
    scene = Scene()
    key = heal(scene)
    returns(scene, key)
    scene.set(key, OLD, FAILED)
    scene.set(key, NEW)
    scene.now += 2
    scene.syn(mac=STRANGER)
    while scene.state() is not PROBING:
        scene.turn()
    assert scene.decider._former.of(key) == [OLD]
    scene.set(key, OLD)
    assert stopped(scene) == []
    assert is_told_alone(scene, 1)


def test_heal_whose_host_is_checked_for_being_a_proxy_is_handed_over_before_later_ones():
    """It was the first: the next sentinel compares the entry with the MAC of the last one."""
    before = Scene()
    before.unused = [b"\1\1\1\1", b"\1\1\1\2"]
    key = heal(before)
    before.look_back()
    assert (before.turn().mac, before.said) == (NEW, [])
    before.syn(mac=OTHER)
    while before.state() is not PROBING:
        before.now += 0.1
        before.turn()
    before.set(key, OTHER)
    held = stopped(before)
    assert [(each.old, each.new) for _key, each in held] == [(OLD, NEW), (NEW, OTHER)]
    after = next_one(before, held, OTHER)
    assert (after.said, after.decider._former.of(key)) == ([], [NEW, OLD])
