"""An error of the master's own, such as of its cache driver: arp_born forgets no machine."""

import time

import pytest
import salt.config
import salt.key
import salt.loader

ADDRESSES = {"w1": ["192.0.2.1"], "w2": ["192.0.2.2"], "w3": ["192.0.2.3"]}


class FailsOnce:
    """Raises in its first call, or a later one; otherwise returns the same value."""

    def __init__(self, value, call=1):
        self.value, self.left = value, call

    def __call__(self, *_words):
        self.left -= 1
        if self.left == 0:
            raise OSError("the cache driver has lost its connection")
        return self.value


class Client:
    """Sends each job; knows of no job that was not sent."""

    def __init__(self):
        self.asked, self.returns_for_job = [], FailsOnce({}, call=2)

    def run_job(self, *_words, jid, kwarg, **_more):
        self.asked += kwarg["ip"]
        return {"jid": jid, "minions": ["db1"]}


@pytest.fixture
def loaded(repo, tmp_path, monkeypatch):
    """The engine as Salt loads it on a master, which waits no time before it tries again."""
    opts = salt.config.master_config("/nowhere")
    opts.update(
        cachedir=str(tmp_path),
        sock_dir=str(tmp_path),
        extension_modules=str(tmp_path / "extmods"),
        engines_dirs=[str(repo / "_engines")],
        utils_dirs=[str(repo / "_utils")],
        __role="master",
    )
    utils = salt.loader.utils(opts)
    found = salt.loader.engines(opts, {}, {}, utils)["arp_born.start"].__globals__
    monkeypatch.setattr(found["new_minions"], "RETRY_S", 0.0)
    return found


@pytest.fixture
def listener(loaded, monkeypatch):
    """A leader that hears of three machines."""

    class Keys:
        def list_keys(self):
            return {"minions": list(ADDRESSES)}

    monkeypatch.setattr(salt.key, "get_key", lambda _opts: Keys())
    made = loaded["_StartListener"].__new__(loaded["_StartListener"])
    made.options = {"rate": 500, "tgt": "G@role:db", "tgt_type": "compound"}
    made.queue = loaded["new_minions"].StartQueue(0, 0, 500)
    made.jobs, made.unsure = loaded["new_minions"].SentJobs(), loaded["new_minions"].UnsureJobs()
    made.client, made.is_unmatched = Client(), False
    made.databases, made.resolved_at = None, float("-inf")
    made.is_leader, made.leader_checked_at = True, float("inf")
    made.gauged, made.gauged_at = 0, float("inf")
    made._cached_addresses = ADDRESSES.get
    made._resolved = lambda *_target: ["db1"]
    made._fire = lambda *_event: None
    return made


@pytest.mark.parametrize(
    ("step", "value"),
    [
        ("_cached_addresses", None),
        ("_check_leader", True),
        ("_report_refused", None),
        ("_resolved", ["db1"]),
    ],
)
def test_error_before_a_job_is_sent_forgets_no_machine(listener, step, value):
    for name, addresses in ADDRESSES.items():
        listener.queue.add(name, addresses, time.monotonic())
    setattr(listener, step, FailsOnce(value))
    with pytest.raises(OSError, match="lost its connection"):
        listener._ask()
    assert listener.client.asked == []
    listener._ask()
    assert sorted(listener.client.asked) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_error_before_a_job_is_sent_is_not_repeated_at_once(loaded, listener, monkeypatch):
    """The engine looks again a hundred times a second where a job is due."""
    monkeypatch.setattr(loaded["new_minions"], "RETRY_S", 60.0)
    listener.queue.add("w1", ADDRESSES["w1"], time.monotonic())
    listener._cached_addresses = FailsOnce(None)
    before = time.monotonic()
    with pytest.raises(OSError, match="lost its connection"):
        listener._ask()
    assert listener.queue.wait_s(before) >= 60


def test_error_of_a_look_up_forgets_no_job(loaded, listener):
    for name, addresses in ADDRESSES.items():
        job = loaded["new_minions"].Job([name], addresses, {name: addresses})
        listener.unsure.add(name, job, time.monotonic() - 1)
    with pytest.raises(OSError, match="lost its connection"):
        listener._look_up_unsure(time.monotonic())
    assert (len(listener.queue), len(listener.unsure)) == (1, 2)
    listener._look_up_unsure(time.monotonic())
    assert (len(listener.queue), len(listener.unsure)) == (3, 0)
