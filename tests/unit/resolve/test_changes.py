"""What is told of an entry that our question moved, by what it holds when it is told."""

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import REACHABLE
from arp_engine.resolve import changes
from arp_engine.resolve.question import NO_PERMISSION, ProbeResult

FORMER, TAKEN, THIRD = (bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3))
ENTRY = codec.Entry(ifindex=2, state=REACHABLE, kind=1, dst=bytes([10, 0, 0, 1]), mac=FORMER)


class Told:
    """A table with one entry that holds ``mac``, and the report of what is told of it."""

    channel = None

    def __init__(self, mac):
        self.mac, self.told, self.owned = mac, [], False

    def read_again(self, keys):
        return {key: ENTRY._replace(mac=self.mac) for key in keys}

    def is_owned(self, _entry):
        return self.owned

    def name(self, _ifindex):
        return "db0"

    def healed(self, _entry, mac, _at):
        self.told.append(("healed", mac))

    def duplicate(self, _entry, macs, _proxy):
        self.told.append(("duplicate", {*macs}))

    def still_wrong(self, _entry, macs, is_written_back):
        self.told.append(("written back" if is_written_back else "still wrong", {*macs}))

    def unverified(self, _entry, macs, held, *unasked):
        self.told.append(("undecided", {*macs}, held, *unasked))

    def take_back(self, _entry):
        self.told.append(("taken back",))

    def count(self, _entry, outcome):
        self.told.append((outcome,))


@pytest.fixture
def told_of(monkeypatch):
    """Return a function that tells of one change at the end of a run, and what was told."""

    def tell(held, macs, is_from_proxy=False, answers=()):
        done = ProbeResult(1, 0, dict.fromkeys(answers, 0.1))
        monkeypatch.setattr(changes.look_back_run, "ask", lambda asked, *_, **_words: dict.fromkeys(
            [question[:2] for question in asked], done
        ))  # fmt: skip
        table = Told(held)
        run = changes.Changes(table, table, 0.0, lambda: False)
        run.add_silent(changes.Changed(ENTRY, TAKEN, macs, is_from_proxy=is_from_proxy))
        run.tell_silent([])
        run.take_back()
        run.tell_back([])
        run.tell_contested([], may_ask=False)
        return table.told

    monkeypatch.setattr(changes.proxy, "used_on", lambda *_of: set())
    monkeypatch.setattr(changes.proxy, "find", lambda *_of: set())
    return tell


@pytest.mark.parametrize(
    ("held", "macs", "told"),
    [
        (TAKEN, (TAKEN,), ("healed", TAKEN)),
        (THIRD, (THIRD,), ("healed", THIRD)),  # the kernel took another answer first
        (THIRD, (TAKEN,), ("undecided", {TAKEN}, THIRD)),
        (FORMER, (TAKEN,), ("written back", {TAKEN})),
        (FORMER, (FORMER,), ("duplicate", {FORMER, TAKEN})),  # it answered once, before
        (FORMER, (), ("undecided", set(), FORMER)),  # nobody answered us
    ],
)
def test_what_an_entry_holds_in_the_end_is_told_once(told_of, held, macs, told):
    assert told_of(held, macs) == [told]


def test_former_holder_that_answers_when_asked_once_more_is_a_duplicate(told_of):
    assert told_of(FORMER, (TAKEN,), answers=[FORMER]) == [("duplicate", {FORMER, TAKEN})]


def test_proxy_that_has_its_entry_back_is_one_of_several(told_of):
    told = told_of(FORMER, (TAKEN,), is_from_proxy=True)
    assert told == [("duplicate", {FORMER, TAKEN})]


def test_heal_that_gets_another_mac_before_the_end_is_taken_back(told_of, monkeypatch):
    take_back = changes.Changes.take_back

    def written(run):
        run._table.mac = THIRD
        take_back(run)

    monkeypatch.setattr(changes.Changes, "take_back", written)
    told = told_of(TAKEN, (TAKEN,))
    assert told == [("healed", TAKEN), ("taken back",), ("undecided", {TAKEN}, THIRD)]


def test_heal_that_gets_an_owner_before_the_end_stays_one(told_of, monkeypatch):
    take_back = changes.Changes.take_back

    def owned(run):
        run._table.mac, run._table.owned = THIRD, True
        take_back(run)

    monkeypatch.setattr(changes.Changes, "take_back", owned)
    assert told_of(TAKEN, (TAKEN,)) == [("healed", TAKEN)]


def test_heal_to_a_host_that_could_not_be_checked_for_being_a_proxy_is_undecided(
    told_of, monkeypatch
):
    """A question that did not leave is no proof that it answers for nobody else."""

    def find(claims, _used, _rate, unasked, _is_stopped):
        unasked.update((claim.host, "no carrier") for claim in claims)
        return set()

    monkeypatch.setattr(changes.proxy, "find", find)
    [(told, macs, held, unasked)] = told_of(TAKEN, (TAKEN,))
    assert (told, macs, held) == ("undecided", {TAKEN}, TAKEN)
    why = "could not be checked for being a proxy (no carrier)"
    assert unasked == f"{TAKEN.hex(':')} {why}"


def test_without_the_right_to_send_the_kernels_own_verdict_counts(told_of, monkeypatch):
    def find(claims, _used, _rate, unasked, _is_stopped):
        unasked.update((claim.host, NO_PERMISSION) for claim in claims)
        return set()

    monkeypatch.setattr(changes.proxy, "find", find)
    assert told_of(TAKEN, (TAKEN,)) == [("healed", TAKEN)]
    changed = changes.Changed(ENTRY, TAKEN, (TAKEN,))
    assert changed.looked_back("unasked", NO_PERMISSION) == changed
    assert changed.looked_back("unasked", "no carrier").unasked == "no carrier"
