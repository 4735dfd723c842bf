"""Which minions a target means where nothing is cached of some of them."""

import fnmatch
import itertools

import pytest
from arp_engine.fleet import grains_cache, status, targets
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


GRAINS, PILLAR = "no grains", "no pillar"


def resolved(tgt, tgt_type="compound", salt=None, without_pillar=()):
    """Resolve a target; the reasons are looked at where they differ."""
    salt = salt or Salt({"G@role:db": {"db1"}, "role:db": {"db1"}})
    missing = {
        "grains": dict.fromkeys(UNCACHED, GRAINS),
        "pillar": dict.fromkeys({*UNCACHED, *without_pillar}, PILLAR),
    }
    found = targets.resolve(tgt, tgt_type, salt.check, missing.__getitem__, GROUPS.__getitem__)
    return found if without_pillar else found._replace(undecided=set(found.undecided))


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
    assert found == ({"db1", "db2"}, {})


@pytest.mark.parametrize(
    ("tgt", "meant", "undecided"),
    [
        ("I@role:db", set(), {"db1", "db2", "web2"}),
        ("G@role:db or I@role:db", {"db1"}, {"db2", "web2"}),
        ("G@role:db and I@role:db", set(), {"db1", "db2", "web2"}),
        ("* and not I@role:db", {"web1"}, {"db1", "db2", "web2"}),
        ("J|@role|db and web*", set(), {"web2"}),
        ("G@role:db", {"db1"}, {"db2", "web2"}),
    ],
)
def test_minion_without_cached_pillar_is_decided_on_by_its_grains(tgt, meant, undecided):
    found = resolved(tgt, without_pillar={"db1"})
    assert found.meant == meant
    assert found.undecided == {n: PILLAR if n == "db1" else GRAINS for n in undecided}


def test_target_type_pillar_leaves_open_whose_pillar_is_not_cached():
    found = resolved("role:db", "pillar", without_pillar={"db1"})
    assert found == (set(), {"db1": PILLAR, "db2": GRAINS, "web2": GRAINS})


@pytest.mark.parametrize("data", [{"grains": {}}, {"grains": {}, "pillar": None}, None])
def test_record_that_clear_pillar_has_left_has_no_pillar(data):
    """Salt 3006 and 3007; a minion that has no pillar has an empty one there."""

    class Cache:
        def fetch(self, bank, _key):
            return data if bank == "minions/db1" else {"grains": {}, "pillar": {}}

    found = grains_cache.uncached(Cache(), {"db1", "db2"}, False, "pillar")
    assert found == {"db1": grains_cache.NO_PILLAR}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("damaged\nhere"), "damaged here"),
        (EOFError(), "EOFError"),
        (OSError("x" * 999), "x"),
    ],
)
def test_record_that_cannot_be_read_is_told_with_the_error(error, told):
    """A refresh of the pillar would not help; each cache driver has errors of its own."""

    class Cache:
        def fetch(self, bank, _key):
            raise error

    [(name, why)] = grains_cache.uncached(Cache(), {"db1"}, False, "pillar").items()
    assert name == "db1"
    assert why.startswith(f"its cached data cannot be read: {told}")
    assert why.endswith(": whether the target means it is not known")
    assert len(why) < 300


def test_reasons_of_many_minions_are_few_lines():
    """An error may name the file of each minion."""
    undecided = {f"db{number}": f"cannot read {number}" for number in range(1, 10)}
    lines = targets.lines({**undecided, "web1": "cannot read 9"})
    assert lines[:2] == ["db1: cannot read 1", "db2: cannot read 2"]
    assert lines[5:] == ["and 5 more minions, for other reasons"]
    assert targets.lines(dict.fromkeys(MINIONS[:2], "x")) == ["db1, db2: x"]


@pytest.mark.parametrize("negation", ["L@db1,db9", "( L@db1,db9 or G@x )"])
def test_list_in_a_compound_target_names_minions(negation):
    named = targets.named(f"L@db2,,db8 or web1 and not {negation}", "compound", None)
    assert named == {"db2", "db8"}


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


def test_name_in_a_compound_list_that_is_no_minion_is_silent():
    """A typo there was no row, unlike one in a target by list."""
    answer = audit(fleet(db1=[row(IP, BORN)]), tgt="L@db1,dbtypo", tgt_type="compound")
    why = "no minion of this name is accepted here"
    assert {"minion": "dbtypo", "why": why} in answer["silent"]
    assert not any(each["minion"] == "db1" for each in answer["silent"])
    assert answer["retcode"] == 4


def test_machine_that_may_be_meant_makes_no_address_gone():
    """It may have any address of a network that is all the fleet's."""
    master = fleet(db1=[row("192.0.2.7")])
    answer = audit(master, networks="192.0.2.0/24")
    assert (answer["gone"], answer["counts"]["strangers"]) == ([], 1)
    master.unknown = set()
    assert len(audit(master, networks="192.0.2.0/24")["gone"]) == 1


def test_target_that_may_mean_a_minion_is_refused_with_its_name():
    master = fleet()
    line = r"^no minion matches 'db\*' \(glob\); db9: no cached grains: whether the target means it"
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
