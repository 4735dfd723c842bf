"""Who has started and is still to be asked about: told the time, so nobody waits for anything."""

import pytest
from arp_engine.fleet import new_minions
from arp_engine.table import parse
from hypothesis import given
from hypothesis import strategies as st

MAC = "02:00:00:00:00:0a"


def newcomers(window_s=1.0, again_s=10.0, most=500, networks="192.0.2.0/24,2001:db8::/32"):
    return new_minions.StartQueue(window_s, again_s, most, parse.networks("networks", networks))


def event(machine, *ips, **more):
    """A start event as a master fires it, with start_event_grains."""
    grains = {"hwaddr_interfaces": {"eth0": MAC}, "ip4_interfaces": {"eth0": list(ips)}}
    return f"salt/minion/{machine}/start", {
        "id": machine, "cmd": "_minion_event", "grains": grains, **more,
    }  # fmt: skip


def nothing(_machine):
    """A master that remembers nothing."""
    return []


class Everybody:
    def __contains__(self, _machine):
        return True


def test_starts_in_one_window_are_one_job():
    waiting = newcomers()
    for number in range(3):
        waiting.on_start_event(*event(f"w{number}", f"192.0.2.{number}"), now=number / 10)
    assert waiting.take(0.9, Everybody(), nothing) is None
    assert waiting.wait_s(0.9) == pytest.approx(0.1)
    job = waiting.take(1.0, Everybody(), nothing)
    assert job.machines == ["w0", "w1", "w2"]
    assert job.addresses == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]
    assert waiting.wait_s(1.0) is None


def test_last_event_of_a_machine_counts():
    waiting = newcomers()
    for number in (1, 2, 3):
        waiting.on_start_event(*event("w", f"192.0.2.{number}"), now=0)
    assert waiting.take(1, Everybody(), nothing).addresses == ["192.0.2.3"]


def test_cached_grains_override_the_event():
    """Its id may be forged: an event in the name of another cannot displace his address."""
    waiting = newcomers()
    waiting.on_start_event(*event("victim", "192.0.2.66"), now=0)
    job = waiting.take(1, Everybody(), {"victim": ["192.0.2.90"]}.get)
    assert job.addresses == ["192.0.2.90"]


def test_early_restart_is_deferred():
    waiting = newcomers()
    waiting.on_start_event(*event("w", "192.0.2.1"), now=0)
    assert waiting.take(1, Everybody(), nothing)
    waiting.on_start_event(*event("w", "192.0.2.2"), now=2)
    assert waiting.take(3, Everybody(), nothing) is None
    assert waiting.wait_s(3) == 8
    assert waiting.take(11, Everybody(), nothing).addresses == ["192.0.2.2"]


def test_repeated_start_keeps_its_place():
    waiting = newcomers(most=1)
    for name in ("w1", "w2", "w1"):
        waiting.on_start_event(*event(name, f"192.0.2.{name[1]}"), now=0)
    assert waiting.take(1, Everybody(), nothing).machines == ["w1"]


def test_excess_machines_go_in_the_next_job():
    waiting = newcomers(most=2)
    for number in range(5):
        waiting.on_start_event(*event(f"w{number}", f"192.0.2.{number}"), now=0)
    jobs = [waiting.take(now, Everybody(), nothing) for now in (1, 2, 3)]
    assert [job.machines for job in jobs] == [["w0", "w1"], ["w2", "w3"], ["w4"]]
    assert waiting.wait_s(4) is None


def test_unsent_job_is_put_back():
    waiting = newcomers()
    waiting.on_start_event(*event("w", "192.0.2.1"), now=0)
    job = waiting.take(1, Everybody(), nothing)
    waiting.put_back(job, 5)
    assert waiting.take(6, Everybody(), nothing).addresses == ["192.0.2.1"]


def test_newer_event_overrides_a_put_back_job():
    waiting = newcomers()
    waiting.on_start_event(*event("w", "192.0.2.1"), now=0)
    job = waiting.take(1, Everybody(), nothing)
    waiting.on_start_event(*event("w", "192.0.2.2"), now=2)
    waiting.put_back(job, 3)
    assert waiting.take(4, Everybody(), nothing).addresses == ["192.0.2.2"]


def test_postponed_job_has_the_machines_that_started_meanwhile():
    """No database matches: none of the machines is lost, and none is tried apart."""
    waiting = newcomers()
    waiting.on_start_event(*event("w1", "192.0.2.1"), now=0)
    waiting.put_back(waiting.take(1, Everybody(), nothing), 1)
    waiting.postpone(301)
    waiting.on_start_event(*event("w2", "192.0.2.2"), now=2)
    assert waiting.wait_s(2) == 299
    assert waiting.take(300, Everybody(), nothing) is None
    assert waiting.take(301, Everybody(), nothing).machines == ["w1", "w2"]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 200), st.floats(0, 0.5)), max_size=60),
    st.integers(1, 10),
)
def test_any_order_loses_no_machine_and_keeps_the_bound(starts, most):
    """Whatever the order and the pauses: each last address is in the last job of its machine."""
    waiting, now, jobs, last = newcomers(again_s=0, most=most), 0.0, [], {}
    for number, host, pause_s in starts:
        now += pause_s
        waiting.on_start_event(*event(f"w{number}", f"192.0.2.{host}"), now=now)
        last[f"w{number}"] = f"192.0.2.{host}"
        jobs.append(waiting.take(now, Everybody(), nothing))
    while (wait_s := waiting.wait_s(now)) is not None:
        now += wait_s + 0.001
        jobs.append(waiting.take(now, Everybody(), nothing))
    jobs = [job for job in jobs if job]
    assert all(len(job.addresses) <= most for job in jobs)
    assert len(jobs) <= now + 1 + len(starts) / most, "no more than one for each window"
    for machine, address in last.items():
        assert address in [job for job in jobs if machine in job.machines][-1].addresses
    assert len(waiting) == 0


@pytest.mark.parametrize(
    ("tag", "data", "who", "why"),
    [
        ("salt/minion/w/start", None, "tag 'salt/minion/w/start'", "not a minion id: 'None'"),
        ("salt/minion/w/start", ["id"], "tag 'salt/minion/w/start'", "not a minion id: 'None'"),
        ("salt/minion/w/start", {"id": 5}, "tag 'salt/minion/w/start'", "not a minion id: '5'"),
        ("salt/minion//start", {"id": ""}, "tag 'salt/minion//start'", "not a minion id: ''"),
        ("salt/minion/a\nb/start", {"id": "a\nb"}, "tag 'salt/minion/a\\nb/start'", "'a\\nb'"),
        (
            "salt/minion/db1/start",
            {"id": "evil"},
            "evil",
            "another minion: 'salt/minion/db1/start'",
        ),
        (*event("evil", grains="lies"), "evil", "hwaddr_interfaces: missing"),
        (*event("evil", grains={"hwaddr_interfaces": []}), "evil", "not a dictionary (list)"),
    ],
    ids=["no data", "a list", "a number", "empty", "two lines", "another's tag", "text", "list"],
)
def test_hostile_events_are_refused_by_name(tag, data, who, why):
    waiting = newcomers()
    waiting.on_start_event(tag, data, now=0)
    assert waiting.wait_s(0) == 1, "it is told at the window's end"
    told = waiting.take_refused()
    assert why in told[who]
    assert waiting.take_refused() == {}, "told once"
    job = waiting.take(1, Everybody(), nothing)
    assert job is None or job.addresses == []


def test_100000_addresses_are_refused_by_name():
    waiting = newcomers()
    waiting.on_start_event(
        *event("evil", *[f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(10**5)]), 0
    )
    assert "claims 100000 addresses" in waiting.take_refused()["evil"]
    assert waiting.take(1, Everybody(), nothing).addresses == []


def test_addresses_of_one_machine_are_bounded():
    waiting = newcomers()
    waiting.on_start_event(*event("evil", *[f"192.0.2.{number}" for number in range(200)]), now=0)
    assert len(waiting.take(1, Everybody(), nothing).addresses) == new_minions.MAX_ADDRESSES_EACH
    assert waiting.take_refused() == {"evil": "200 addresses: only 64 are asked about"}


def test_address_outside_networks_is_not_asked_about():
    waiting = newcomers()
    waiting.on_start_event(*event("evil", "198.51.100.1", "203.0.113.9"), now=0)
    waiting.on_start_event(*event("docker", "192.0.2.7", "172.17.0.1"), now=0)
    assert waiting.take(1, Everybody(), nothing).addresses == ["192.0.2.7"]
    assert waiting.take_refused() == {"evil": "none of its 2 addresses is in `networks`"}


def test_non_addresses_are_dropped():
    waiting = newcomers()
    waiting.on_start_event(
        *event("evil", "192.0.2.1; reboot", "{{ 7*7 }}", "192.0.2.0/24", ["x"], None, "192.0.2.5"),
        0,
    )
    assert waiting.take(1, Everybody(), nothing).addresses == ["192.0.2.5"]


def test_only_accepted_keys_count():
    waiting = newcomers()
    waiting.on_start_event(*event("stranger", "192.0.2.1"), now=0)
    assert waiting.take(1, {"w"}, nothing) is None
    assert waiting.take_refused() == {"stranger": "its key is not accepted"}


def test_pending_starts_are_bounded(monkeypatch):
    monkeypatch.setattr(new_minions, "MAX_PENDING", 3)
    waiting = newcomers()
    for number in range(5):
        waiting.on_start_event(*event(f"forged{number}"), now=0)
    assert len(waiting) == 3
    assert "2 starts dropped" in waiting.take_refused()["many"]


def test_refusals_are_bounded():
    waiting = newcomers()
    for number in range(500):
        waiting.on_start_event("salt/minion/x/start", {"id": f"forged{number}"}, now=0)
    assert len(waiting.take_refused()) == new_minions.MAX_REFUSED


def test_answers_are_read_from_the_job_cache_and_silent_minions_named():
    jobs, cache = new_minions.SentJobs(), {"1": {}}
    jobs.add("1", ["db1", "db2", "db3"], now=0)
    jobs.on_return_event("salt/job/1/ret/db1", {})
    assert jobs.take_answers(1, cache.get) == [], "an event alone is no answer"
    cache["1"] |= {"db1": {"healed": [{}], "gone": []}, "db2": "ERROR: no", "evil": {}}
    assert jobs.take_answers(1.5, cache.get) == [], "not read again so soon"
    assert jobs.take_answers(2, cache.get) == [
        {"jid": "1", "minion": "db1", "healed": 1, "gone": 0},
        {"jid": "1", "minion": "db2", "failed": "ERROR: no"},
    ]
    assert jobs.take_answers(9, {}.get) == [], "once, and not read without an event"
    assert jobs.take_silent(now=60) == {}
    assert jobs.take_silent(now=61) == {"1": ["db3"]}
    assert jobs.take_silent(now=99) == {}


@pytest.mark.parametrize("order", ["forged first", "forged last", "forged too late"])
def test_two_returns_under_one_name_are_reported_once(order):
    real, forged = {"return": {"healed": []}}, {"return": {"healed": [{}]}}
    jobs, tag = new_minions.SentJobs(), "salt/job/1/ret/db1"
    jobs.add("1", ["db1", "db2"], now=0)
    events = {"forged first": [forged, real], "forged last": [real, forged]}.get(order, [real])
    for event in events:
        jobs.on_return_event(tag, event)
    jobs.on_return_event("salt/job/1/ret/db2", real)
    answers = jobs.take_answers(1, lambda _: dict.fromkeys(("db1", "db2"), real["return"]))
    assert [each["healed"] for each in answers] == [0, 0]
    if order == "forged too late":
        assert jobs.take_conflicts() == {}
        jobs.on_return_event(tag, forged)
    assert jobs.take_conflicts() == {"1": ["db1"]}
    jobs.on_return_event(tag, forged)
    assert jobs.take_conflicts() == {}, "once"


def test_forged_event_before_the_one_in_the_job_cache_is_a_conflict():
    """No second event is heard."""
    jobs = new_minions.SentJobs()
    jobs.add("1", ["db1"], now=0)
    jobs.on_return_event("salt/job/1/ret/db1", {"return": "forged"})
    jobs.on_return_event("salt/job/1/ret/evil", {"return": "not asked"})
    jobs.take_answers(1, lambda _: {"db1": {"healed": []}})
    assert jobs.take_conflicts() == {"1": ["db1"]}


def test_event_that_looks_cut_excuses_no_forged_answer():
    """Before the cache is read come the forged answer, which it keeps, and the real one."""
    jobs = new_minions.SentJobs()
    jobs.add("1", ["db1"], now=0)
    for told in ("VALUE_TRIMMED", "forged", {"healed": []}):
        jobs.on_return_event("salt/job/1/ret/db1", {"return": told})
    jobs.take_answers(1, lambda _: {"db1": "forged"})
    assert jobs.take_conflicts() == {"1": ["db1"]}


def test_lost_event_is_read_from_the_job_cache_before_the_minion_is_silent():
    jobs = new_minions.SentJobs()
    jobs.add("1", ["db1"], now=0)
    assert [each["minion"] for each in jobs.take_answers(61, lambda _: {"db1": {}})] == ["db1"]
    assert jobs.take_silent(now=61) == {}


def test_storm_waits_while_most_databases_still_run_eight_jobs():
    jobs = new_minions.SentJobs()
    for number in range(8):
        assert not jobs.is_full()
        jobs.add(str(number), ["db1", "db2", "down"], now=0)
    assert jobs.is_full()
    jobs.on_return_event("salt/job/3/ret/db1", {})
    jobs.take_answers(1, lambda _: {"db1": {}})
    assert jobs.is_full(), "one of three is not most"
    jobs.on_return_event("salt/job/3/ret/db2", {})
    jobs.take_answers(3, lambda _: {"db1": {}, "db2": {}})
    assert not jobs.is_full(), "one that is down holds nobody up"


def test_databases_that_are_all_down_hold_a_storm_up_for_a_minute():
    jobs = new_minions.SentJobs()
    for number in range(8):
        jobs.add(str(number), ["db1"], now=0)
    assert jobs.is_full()
    jobs.take_silent(now=61)
    assert not jobs.is_full()


def test_awaited_jobs_are_bounded():
    jobs = new_minions.SentJobs()
    for number in range(500):
        jobs.add(str(number), ["db1"], now=0)
    assert len(jobs.take_silent(now=99)) == new_minions.MAX_JOBS


def test_unsent_job_is_looked_up_later_and_later():
    unsure = new_minions.UnsureJobs()
    job = new_minions.Job(["w1", "w2"], ["192.0.2.1"], {})
    waits = [unsure.add(str(n), job, now=0) for n in range(8)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert len(unsure) == 16
    assert unsure.take_due(4.9) == []
    assert unsure.take_due(10) == [("0", job), ("1", job)]
    assert len(unsure) == 12
    unsure.sent()
    assert unsure.add("9", job, now=0) == 5


def test_jobs_that_cannot_be_looked_up_are_kept():
    unsure = new_minions.UnsureJobs()
    job = new_minions.Job(["w1"], ["192.0.2.1"], {})
    for name in ("a", "b"):
        unsure.add(name, job, now=0)
    due = unsure.take_due(10)
    unsure.sent()
    unsure.put_back(due, now=10)
    assert unsure.take_due(14.9) == []
    assert unsure.take_due(15) == due, "one failure, not one for each"
    unsure.put_back([], now=20)
    assert unsure.back_off() == 10, "nothing to put back is no failure"


def test_back_off_ends_after_any_number_of_failures():
    unsure = new_minions.UnsureJobs()
    assert [unsure.back_off() for _ in range(2000)][-1] == new_minions.MAX_RETRY_S
