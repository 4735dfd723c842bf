"""Returns of jobs: which are believed, how long is waited, how many are asked at the same time."""

import pytest
from arp_engine.fleet import returns, summary


class Master:
    """A master in memory: each minion returns after its delay; the clock moves with each wait."""

    def __init__(self, delays, content=lambda name, fun: [name, fun]):
        self.now, self.delays, self.content = 0.0, delays, content
        self.jobs, self.bus, self.cache = [], [], {}
        self.most_busy = self.fetches = 0

    def clock(self):
        return self.now

    def publish(self, tgt, _tgt_type, fun, arg, _kwarg):
        jid = str(len(self.jobs))
        names = set(tgt) & set(self.delays)
        self.jobs.append((jid, names, fun, arg, self.now))
        self.cache[jid] = {}
        for name in names:
            delay = self.delays[name] if fun != "saltutil.find_job" else self._found(name, arg)
            if delay is not None:
                self.bus.append((self.now + delay, jid, name, fun))
        self.bus.sort()
        return {"jid": jid, "minions": sorted(names)}

    def _found(self, name, arg):
        """A minion that still runs the job says so at once; one that is down says nothing."""
        sent = self.jobs[int(arg[0])][4]
        delay = self.delays[name]
        return None if delay is None or sent + delay <= self.now else 0.01

    def events(self, wait_s):
        self.now += wait_s
        while self.bus and self.bus[0][0] <= self.now:
            _, jid, name, fun = self.bus.pop(0)
            content = {"pid": 1} if fun == "saltutil.find_job" else self.content(name, fun)
            self.cache[jid].setdefault(name, content)
            yield jid, name, content

    def cached(self, jid):
        self.fetches += 1
        return dict(self.cache[jid])


def collector(master, timeout_s=5.0):
    return returns.Returns(master, timeout_s, 3.0, master.clock)


def test_answers_come_from_the_job_cache():
    master = Master({"db1": 0.1, "db2": 0.2})
    answers, meant = collector(master).ask(["db1", "db2"], "list", "arp.list")
    assert answers == {name: {"ret": [name, "arp.list"]} for name in ("db1", "db2")}
    assert meant == {"db1", "db2"}
    assert master.now < 1


class ForgedBus(Master):
    """A hostile minion puts a return in db1's name on the bus, before db1 has answered."""

    def events(self, wait_s):
        if self.now == 0:
            yield "0", "db1", "forged"
        yield from super().events(wait_s)


def test_forged_event_is_not_believed_and_is_a_conflict():
    master = ForgedBus({"db1": 1.0})
    collected = collector(master)
    answers, _ = collected.ask(["db1"], "list", "arp.list")
    assert answers == {"db1": {"ret": ["db1", "arp.list"]}}
    assert collected.conflicts == {"db1"}


def test_forged_event_of_a_minion_that_is_down_is_no_answer():
    master = ForgedBus({"db1": None})
    assert collector(master).ask(["db1"], "list", "arp.list")[0] == {}


class ForgedCache(Master):
    """A hostile minion returns first, through a channel that does not verify the name."""

    def publish(self, *words):
        job = super().publish(*words)
        self.cache[job["jid"]]["db1"] = "forged"
        self.bus.insert(0, (self.now, job["jid"], "evil", "arp.list"))
        return job

    def events(self, wait_s):
        yield "0", "db1", "forged"
        yield from super().events(wait_s)


def test_two_returns_under_one_name_are_a_conflict_even_if_the_second_is_late():
    master = ForgedCache({"db1": 1.0})
    collected = collector(master)
    collected.ask(["db1"], "list", "arp.list")
    master.now = 2
    collected.listen_once_more()
    assert collected.conflicts == {"db1"}


class Deaf(Master):
    """No event arrives."""

    def events(self, wait_s):
        list(super().events(wait_s))
        return ()


def test_lost_event_is_read_from_the_job_cache_at_the_end():
    assert set(collector(Deaf({"db1": 0.1})).ask(["db1"], "list", "arp.list")[0]) == {"db1"}


def test_return_of_a_minion_that_was_not_asked_does_not_count():
    master = Master({"db1": 0.1, "evil": 0.1})
    master.publish(["db1", "evil"], "list", "test.ping", (), None)
    job = returns.Job("0", ["db1"], 0, 5)
    collected = collector(master)
    collected._open["0"] = job
    collected.gather([job])
    assert set(job.answers) == {"db1"}


def test_slow_minion_is_waited_for_while_it_runs_the_job():
    master = Master({"db1": 17.0, "db2": None})
    answers, _ = collector(master).ask(["db1", "db2"], "list", "arp.revalidate")
    assert set(answers) == {"db1"}


class Hanging(Master):
    """A hostile minion, or one whose process hangs: for ever it says that it still runs the job."""

    def _found(self, name, arg):
        return 0.01


def test_minion_that_says_for_ever_that_it_still_runs_ends_the_wait():
    master = Hanging({"db1": 0.1, "hung": 1e9})
    answers, _ = collector(master).ask(["db1", "hung"], "list", "arp.list")
    assert answers["db1"] == {"ret": ["db1", "arp.list"]}
    assert summary.failure(answers["hung"]).startswith("it says that it still runs, after 6")
    assert master.now == pytest.approx(60, abs=6)
    found = dict(collector(master).ask_each(["db1", "hung"], "arp.list", 50))
    assert summary.failure(found["hung"]).startswith("it says that it still runs, after 6")


def test_job_that_takes_long_at_the_worst_is_waited_for():
    master = Master({"db1": 150.0})
    collected = collector(master)
    job = collected.publish(["db1"], "list", "arp.revalidate", run_s=100)
    collected.gather([job])
    assert job.answers == {"db1": {"ret": ["db1", "arp.revalidate"]}}


def test_minion_that_is_down_ends_the_wait_after_both_timeouts():
    master = Master({"db1": None})
    collector(master).ask(["db1"], "list", "arp.list")
    assert master.now == pytest.approx(8, abs=0.5)


def test_20000_minions_with_200_down_take_seconds_and_no_more_than_the_window():
    delays = {f"w{number}": 0.1 if number % 100 else None for number in range(20_000)}
    master = Master(delays)
    found = dict(collector(master).ask_each(sorted(delays), "network.interfaces", 200))
    assert sum(answer is None for answer in found.values()) == 200
    assert len(found) == 20_000
    print(f"20,000 minions, 1 % down: {master.now:.0f} s, {len(master.jobs)} jobs")
    assert master.now < 60, "in batches of 200 it took 8 s each: 13 minutes"


def test_job_without_minions_is_complete():
    assert collector(Master({})).ask(["db1"], "list", "arp.list") == ({}, set())


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ([{"a": 1, "b": 2}], [{"b": 2, "a": 1}], False),
        ({1: "x", "1": "y"}, {1: "x"}, True),
        ([1], ["1"], True),
        (b"\xff", b"\xfe", True),
    ],
    ids=["order", "keys of two types", "types", "bytes"],
)
def test_digest_differs_where_the_content_does(one, other, differ):
    assert (returns.digest(one) != returns.digest(other)) is differ


CUT, LIKE_CUT = "VALUE_TRIMMED", {"VALUE_TRIMMED": "forged"}


@pytest.mark.parametrize(
    ("counts", "on_bus", "is_conflict"),
    [
        ("forged", [CUT, "forged", "real"], True),
        ("forged", [CUT, "real"], True),
        ("forged", [CUT, "real", "forged"], True),
        (LIKE_CUT, [CUT, LIKE_CUT, "real"], True),
        (LIKE_CUT, [LIKE_CUT, CUT], True),
        ("real", [CUT], False),
        ("real", [CUT, CUT, "real"], False),
        ("real", ["real", CUT], False),
    ],
    ids=str,
)
def test_event_that_looks_cut_excuses_no_later_one(counts, on_bus, is_conflict):
    """It comes in db1's name; then a forged return and the real one, before the cache is read."""
    names = returns.ConflictFinder()
    found = [names.is_conflict_on_bus("db1", content) for content in on_bus]
    assert any([*found, names.is_conflict_in_cache("db1", counts)]) is is_conflict


class ForgedTwice(ForgedCache):
    """Before its forged return, the hostile minion puts one on the bus that looks cut off."""

    def events(self, wait_s):
        if self.now == 0:
            yield "0", "db1", "VALUE_TRIMMED"
            yield "0", "db1", "forged"
            yield "0", "db1", ["db1", "arp.list"]
        self.now += wait_s


def test_real_return_before_the_cache_is_read_is_compared_with_a_forged_one():
    collected = collector(ForgedTwice({"db1": 0.0}))
    collected.ask(["db1"], "list", "arp.list")
    assert collected.conflicts == {"db1"}


@pytest.mark.parametrize(
    ("counts", "heard", "is_conflict"),
    [
        (["whole"], "VALUE_TRIMMED", False),
        ("VALUE_TRIMMED", "VALUE_TRIMMED", False),
        ({"VALUE_TRIMMED": "forged"}, ["whole"], True),
        ({"VALUE_TRIMMED": "forged"}, "VALUE_TRIMMED", True),
    ],
    ids=["cut on the bus", "cut on both", "forged", "forged against a cut one"],
)
def test_forged_return_with_salts_text_for_a_cut_one_is_a_conflict(counts, heard, is_conflict):
    """A forged return that reached the job cache first, and the real one on the bus."""
    master = Master({"db1": 0.1}, lambda *_: heard)
    collected = collector(master)
    job = collected.publish(["db1"], "list", "arp.list")
    master.cache[job.jid]["db1"] = counts
    collected.gather([job])
    collected.listen_once_more()
    assert collected.conflicts == ({"db1"} if is_conflict else set())
