"""Which minions a target means where nothing is cached of some of them."""

import fnmatch
import itertools

import pytest
from arp_engine.fleet import status, targets
from simulated import (
    BORN,
    IP,
    Master,
    audit,
    audited,
    grains,
    heal,
    interfaces,
    parsed,
    returned_by,
    row,
)

MINIONS = ("db1", "db2", "web1", "web2")
UNCACHED = {"db2", "web2"}


class Salt:
    """Resolves a compound target as Salt does, with these grains."""

    def __init__(self, grains_of, is_greedy=False):
        self.grains_of = grains_of  # word to minions
        self.is_greedy = is_greedy  # before 3008: a minion without cached grains matches

    def check(self, tgt, tgt_type):
        if tgt_type == "compound":
            words = [self._word(word) for word in tgt.split()]
            return eval(" ".join(words), {"everybody": set(MINIONS)})
        if tgt_type == "list":
            return set(tgt)
        if tgt_type == "glob":
            return set(fnmatch.filter(MINIONS, tgt))
        return self._by_grain(tgt)

    def _by_grain(self, word):
        return set(self.grains_of.get(word, ())) | (UNCACHED if self.is_greedy else set())

    def _word(self, word):
        operators = {"and": "&", "or": "|", "not": "everybody -", "(": "(", ")": ")"}
        if word in operators:
            return operators[word]
        if word == "E@(?!)":
            return "set()"
        if "@" in word:
            return repr(self._by_grain(word))
        return repr(set(fnmatch.filter(MINIONS, word)))


GROUPS = {"all": ["(", "G@role:db", "or", "web1", ")"], "listed": ["web*"]}


def resolved(tgt, tgt_type="compound", salt=None):
    salt = salt or Salt({"G@role:db": {"db1"}, "role:db": {"db1"}})
    return targets.resolve(tgt, tgt_type, salt.check, lambda: UNCACHED, GROUPS.__getitem__)


@pytest.mark.parametrize("is_greedy", [False, True], ids=["3008", "before"])
@pytest.mark.parametrize(
    ("tgt", "meant", "undecided"),
    [
        ("db*", {"db1", "db2"}, set()),
        ("G@role:db", {"db1"}, {"db2", "web2"}),
        ("I|@role|db", set(), {"db2", "web2"}),
        ("S@10.0.0.0/8", set(), {"db2", "web2"}),
        ("G@role:db or db*", {"db1", "db2"}, {"web2"}),
        ("G@role:db and db*", {"db1"}, {"db2"}),
        ("G@role:db and nobody*", set(), set()),
        ("not G@role:db", {"web1"}, {"db2", "web2"}),
        ("web* and not G@role:db", {"web1"}, {"web2"}),
        ("db* and not ( web* or not G@role:db )", {"db1"}, {"db2"}),
        ("* and not db*", {"web1", "web2"}, set()),
    ],
)
def test_minion_without_cached_grains_is_decided_on_where_ids_decide(
    tgt, meant, undecided, is_greedy
):
    assert resolved(tgt, salt=Salt({"G@role:db": {"db1"}}, is_greedy)) == (meant, undecided)


WORDS = ("G@role:db", "P@role:x", "db*", "web1")


@pytest.mark.parametrize("first", ["", "not "])
@pytest.mark.parametrize("last", ["and", "or", "and not", "or not"])
def test_undecided_is_what_any_grains_of_it_could_change(first, last):
    """The same said in another way: with each grains that the uncached minions could have."""
    for one, other, third in itertools.product(WORDS, repeat=3):
        tgt = f"{first}( {one} or {other} ) {last} {third}"
        worlds = [
            Salt({"G@role:db": {"db1", *some}, "P@role:x": {"web1", *others}}).check(
                tgt, "compound"
            )
            for some in ((), ("db2", "web2"))
            for others in ((), ("db2", "web2"))
        ]
        sure, possible = set.intersection(*worlds), set.union(*worlds)
        known = resolved(tgt, salt=Salt({"G@role:db": {"db1"}, "P@role:x": {"web1"}}))
        assert known.meant <= sure, tgt
        assert possible <= known.meant | known.undecided, tgt


@pytest.mark.parametrize("tgt_type", ["grain", "grain_pcre", "pillar", "pillar_pcre"])
@pytest.mark.parametrize("is_greedy", [False, True], ids=["3008", "before"])
def test_target_by_grain_or_pillar_leaves_open_what_is_not_cached(tgt_type, is_greedy):
    salt = Salt({"role:db": {"db1"}}, is_greedy)
    assert resolved("role:db", tgt_type, salt) == ({"db1"}, UNCACHED)


@pytest.mark.parametrize(
    ("tgt", "tgt_type"), [("db*", "glob"), (["db1", "db2"], "list"), ("db*", "compound")]
)
def test_target_by_id_needs_no_cached_data(tgt, tgt_type):
    salt = Salt({})
    found = targets.resolve(tgt, tgt_type, salt.check, None, None)
    assert found == ({"db1", "db2"}, set())


def test_nodegroup_is_resolved_by_its_words():
    salt = Salt({"G@role:db": {"db1"}, "N@all": {"db1", "web1"}, "N@listed": {"web1", "web2"}})
    assert resolved("N@all", salt=salt) == ({"db1", "web1"}, UNCACHED)
    assert resolved("N@listed", salt=salt) == ({"web1", "web2"}, set())


def fleet(**tables):
    master = Master(tables, {"w": interfaces(BORN, IP), "db1": {}})
    master.unknown = {"db9"}
    return master


def test_minion_without_cached_grains_is_silent_with_a_reason():
    answer = audit(fleet(db1=[row(IP, BORN)]), tgt="db*")
    assert answer["silent"] == [{"minion": "db9", "why": targets.UNDECIDED}]
    assert answer["retcode"] == 4
    done = heal(fleet(db1=[row(IP, BORN)]), tgt="db*")
    assert done["not_reached"] == [{"minion": "db9", "why": targets.UNDECIDED}]


def test_machine_that_may_be_meant_makes_no_address_gone():
    """It may have any address of a network that is all the fleet's."""
    master = fleet(db1=[row("192.0.2.7")])
    answer = audit(master, networks="192.0.2.0/24")
    assert (answer["gone"], answer["counts"]["strangers"]) == ([], 1)
    master.unknown = set()
    assert len(audit(master, networks="192.0.2.0/24")["gone"]) == 1


def test_target_that_may_mean_a_minion_is_refused_with_its_name():
    master = fleet()
    line = r"^no minion matches 'db\*' \(glob\); whether it means db9 is not known: no cached grain"
    with pytest.raises(ValueError, match=line):
        audit(master)
    assert master.sent == []
    master.answers["test.ping"] = {}
    with pytest.raises(ValueError, match=line):
        status.run(master, returned_by(master), parsed())


def test_status_names_a_minion_that_may_be_a_database():
    master = fleet(db1=[])
    told = status.run(master, returned_by(master), parsed())
    assert {"minion": "db9", "why": targets.UNDECIDED} in told["silent"]


def test_truth_file_needs_no_cached_grains_of_machines():
    master = fleet(db1=[row(IP, BORN)])
    options = parsed()
    host = grains(BORN, IP, 5)._replace(source="file")
    options |= {"truth": "file", "truth_file": {"w": host}}
    master.undecided = lambda tgt, _: {"w9"} if tgt == "*" else set()
    assert audited(master, options).answer()["silent"] == []
