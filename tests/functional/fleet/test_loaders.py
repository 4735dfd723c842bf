"""Salt's real loaders find what is for the master, on a master and nowhere else."""

import inspect
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import salt.cache
import salt.config
import salt.key
import salt.loader
import salt.output
import salt.template
import salt.utils.minions
from arp_engine.fleet import compare, heal
from arp_engine.packets.probe_schedule import MAX_FRAMES_PER_ENTRY
from salt.exceptions import SaltReqTimeoutError

NAMES = ["arp.audit", "arp.heal", "arp.status"]
LOADED = """
import json, sys
import salt.config, salt.loader
opts = salt.config.master_config("/nowhere")
opts["extension_modules"] = ""
opts["__role"] = "master"
utils = salt.loader.utils(opts)
runners = salt.loader.runner(opts, utils=utils)
engines = salt.loader.engines(opts, {}, runners, utils)
outputters = salt.loader.outputters(opts)
print(json.dumps({
    "runners": sorted(name for name in runners if name.startswith("arp.")),
    "engines": sorted(name for name in engines if name.startswith("arp_born.")),
    "output": "arp_fleet" in outputters,
    "from": runners["arp.audit"].__globals__["directory"].__file__,
}))
"""


@pytest.fixture(scope="module")
def master_opts(repo, tmp_path_factory):
    """The configuration of a master that takes its files from this tree."""
    root = tmp_path_factory.mktemp("master")
    opts = salt.config.master_config("/nowhere")
    opts.update(
        root_dir=str(root),
        cachedir=str(root / "cache"),
        sock_dir=str(root),
        pki_dir=str(root / "pki"),
        extension_modules=str(root / "extmods"),
        runner_dirs=[str(repo / "_runners")],
        engines_dirs=[str(repo / "_engines")],
        outputter_dirs=[str(repo / "_output")],
        utils_dirs=[str(repo / "_utils")],
        __role="master",
    )
    return opts


@pytest.fixture
def runners(master_opts):
    return salt.loader.runner(master_opts, utils=salt.loader.utils(master_opts))


def test_master_loads_three_runner_functions(runners):
    assert sorted(name for name in runners if name.startswith("arp.")) == NAMES


@pytest.mark.parametrize(("role", "there"), [("master", True), ("minion", False)])
def test_engine_loads_on_a_master_only(master_opts, runners, role, there):
    opts = {**master_opts, "__role": role}
    engines = salt.loader.engines(opts, {}, runners, salt.loader.utils(opts))
    assert ("arp_born.start" in engines) is there


@pytest.fixture(params=["grains", "minions/torn"])  # Salt 3008; before
def torn(request, master_opts):
    """A master's cache in which a power cut has left half of what it remembers of a minion."""
    bank = request.param
    place = Path(master_opts["cachedir"]) / bank
    place.mkdir(parents=True)
    (place / ("torn.p" if bank == "grains" else "data.p")).write_bytes(b"\x85\xa3ab")
    yield salt.cache.factory({**master_opts, "cache": "localfs"})
    shutil.rmtree(place)


def test_corrupt_cached_grains_do_not_end_an_audit(runners, torn):
    master = runners["arp.audit"].__globals__["_Master"]
    master = master.__new__(master)
    master.cache = torn
    assert master.cached_hosts(["torn"]) == {}


def test_corrupt_cached_grains_do_not_hold_up_a_start(master_opts, runners, torn):
    engines = salt.loader.engines(master_opts, {}, runners, salt.loader.utils(master_opts))
    loaded = engines["arp_born.start"].__globals__
    listener = loaded["_StartListener"].__new__(loaded["_StartListener"])
    listener.cache, listener.queue = torn, loaded["new_minions"].StartQueue(1, 10, 500)
    for name in ("torn", "whole"):
        listener.queue.add(name, ["192.0.2.7"], now=0)
    job = listener.queue.take(1, {"torn", "whole"}, listener._cached_addresses)
    assert job.machines == ["torn", "whole"]
    assert "cached grains: " in listener.queue.take_refused()["torn"]


@pytest.mark.parametrize(("unheard_s", "queued"), [(9.0, []), (60.0, ["started"])])
def test_starts_while_the_engine_was_held_up_are_made_up_for(
    master_opts, runners, monkeypatch, unheard_s, queued
):
    """By the age of the cached grains: the event may be lost."""
    engines = salt.loader.engines(master_opts, {}, runners, salt.loader.utils(master_opts))
    loaded = engines["arp_born.start"].__globals__
    ages_s = {"started": 30, "old": 300}

    class Keys:
        def list_keys(self):
            return {"minions": list(ages_s)}

    monkeypatch.setattr(salt.key, "get_key", lambda _opts: Keys())
    monkeypatch.setattr(
        loaded["grains_cache"], "updated_at", lambda _cache, name: time.time() - ages_s[name]
    )
    listener = loaded["_StartListener"].__new__(loaded["_StartListener"])
    listener.cache, listener.queue = None, loaded["new_minions"].StartQueue(0, 0, 500)
    listener._make_up_for(unheard_s)
    job = listener.queue.take(time.monotonic(), set(ages_s), lambda _: ["192.0.2.7"])
    assert (job.machines if job else []) == queued


class BusyMaster:
    """Says nothing to a job, and sends it all the same, or not."""

    def __init__(self, sends):
        self.sends, self.jobs = sends, []

    def run_job(self, *_words, jid, **_more):
        self.jobs.append(jid)
        raise SaltReqTimeoutError("the master is busy")

    def returns_for_job(self, jid):
        return {"Minions": ["db1"]} if self.sends and jid in self.jobs else {}


@pytest.mark.parametrize(("sends", "jobs"), [(True, 1), (False, 2)], ids=["sent", "lost"])
def test_job_of_a_busy_master_is_looked_up_before_it_is_sent_again(
    master_opts, runners, monkeypatch, sends, jobs
):
    engines = salt.loader.engines(master_opts, {}, runners, salt.loader.utils(master_opts))
    loaded = engines["arp_born.start"].__globals__
    monkeypatch.setattr(loaded["new_minions"], "RETRY_S", 0.0)
    listener = loaded["_StartListener"].__new__(loaded["_StartListener"])
    listener.options = {"rate": 500, "tgt": "db*", "tgt_type": "glob"}
    listener.client, events = BusyMaster(sends), []
    listener.jobs, listener.unsure = (
        loaded["new_minions"].SentJobs(),
        loaded["new_minions"].UnsureJobs(),
    )
    listener.queue = loaded["new_minions"].StartQueue(0, 0, 500)
    listener.databases, listener.resolved_at = ["db1"], float("inf")
    listener._fire = lambda what, data: events.append((what, data["machines"]))
    job = loaded["new_minions"].Job(["w"], ["192.0.2.7"], {"w": ["192.0.2.7"]})
    listener._send(job)
    listener._look_up_unsure(time.monotonic())
    again = listener.queue.take(time.monotonic(), {"w"}, lambda _: [])
    if again:
        listener._send(again)
    assert len(listener.client.jobs) == jobs
    assert events == ([("asked", ["w"])] if sends else [])


class Unmatched:
    """A master that sends no job to nobody, and says so by an empty answer."""

    def __init__(self):
        self.jobs = []

    def run_job(self, tgt, *_words, jid, **_more):
        self.jobs.append(tgt)
        return {"jid": jid, "minions": tgt} if tgt == ["db1"] else {}


@pytest.mark.parametrize("matches", [[], ["deleted"]], ids=["nobody", "key deleted meanwhile"])
def test_starts_wait_for_a_database_that_matches(
    master_opts, runners, monkeypatch, caplog, matches
):
    """A master's caches are cold after a restart: then its target matches nobody."""
    engines = salt.loader.engines(master_opts, {}, runners, salt.loader.utils(master_opts))
    loaded = engines["arp_born.start"].__globals__
    monkeypatch.setattr(
        salt.utils.minions.CkMinions, "check_minions", lambda *_: {"minions": matches}
    )
    listener = loaded["_StartListener"].__new__(loaded["_StartListener"])
    listener.options = {"rate": 500, "tgt": "G@role:db", "tgt_type": "compound"}
    listener.client, events = Unmatched(), []
    listener.jobs, listener.unsure = (
        loaded["new_minions"].SentJobs(),
        loaded["new_minions"].UnsureJobs(),
    )
    listener.queue = loaded["new_minions"].StartQueue(0, 0, 500)
    listener.databases, listener.resolved_at, listener.is_unmatched = None, float("-inf"), False
    listener.undecided, listener._uncached = {}, lambda _: {}
    listener._accepted = lambda: {"db1", "deleted"}
    listener._fire = lambda what, data: events.append((what, data["machines"]))
    job = loaded["new_minions"].Job(["w"], ["192.0.2.7"], {"w": ["192.0.2.7"]})
    for wait_s in (5, 10):
        before = time.monotonic()
        listener._send(job)
        assert listener.queue.wait_s(before) >= wait_s
        job = listener.queue.take(time.monotonic() + wait_s, {"w"}, lambda _: [])
        assert job.machines == ["w"], "not lost"
    assert events == []
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(lines) == 1, "said once"
    assert lines[0].startswith("arp_born: no database matches tgt='G@role:db' (compound)")
    matches[:] = ["db1"]
    listener._send(job)
    assert listener.client.jobs[-1] == ["db1"], "resolved again at once"
    assert events == [("asked", ["w"])]


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "missing", "passwd"])
def test_truth_that_is_no_file_of_the_directory_is_refused(master_opts, tmp_path, kind):
    path = tmp_path / "truth.csv"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "passwd":
        shutil.copy("/etc/passwd", path)
    opts = {**master_opts, "arp_fleet": {"directory": str(tmp_path)}}
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    answer = runners["arp.audit"](truth="file:truth.csv")
    assert answer["error"].startswith("arp.audit: ")
    assert "root:" not in answer["error"]
    assert answer["retcode"] == 1


def test_heal_has_the_arguments_of_audit(runners):
    audit, heal = (
        inspect.signature(runners[name]).parameters for name in ("arp.audit", "arp.heal")
    )
    assert [heal[name] for name in audit] == list(audit.values())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"tgt": 5}, "arp.audit: tgt: 5 is not a target"),
        ({"tgt_type": "regex"}, "arp.audit: tgt_type: 'regex' is not one of glob, pcre, list"),
        ({"truth": "mine"}, "arp.audit: truth: 'mine' is not one of live, cached, file:"),
        ({"networks": "10.0.0.1/8"}, "arp.audit: networks: '10.0.0.1/8' has host bits set"),
        ({"exclude": 10}, "arp.audit: exclude: 10 is not an IPv4 or"),
        ({"report": "x.html"}, "arp.audit: report: set `arp_fleet: directory` in the master's"),
        ({"tgt": "I@a:b*"}, "arp.audit: tgt: 'I@a:b*' is a target by pillar"),
        ({"limit": -1}, "arp.audit: limit: -1 is not a whole number of rows"),
        ({"timeout": "soon"}, "arp.audit: timeout: 'soon' is not a whole number of seconds"),
        ({"batch": 0}, "arp.audit: batch: 0 is not a whole number of minions from 1"),
        ({"share": 2}, "arp.heal: share: 2 is not more than 0 and at most 1 (1/3)"),
        ({"pause": -1}, "arp.heal: pause: -1 is not a number of seconds from 0 to 3600"),
        (
            {"budget": 0},
            f"arp.heal: budget: 0 is not a whole number of probes from {MAX_FRAMES_PER_ENTRY}",
        ),
        ({"rate": "fast"}, "arp.heal: rate: 'fast' is not a number of probes"),
        (
            {"rate": 0.001},
            "arp.heal: rate: 0.001 is not a number of probes a second (0.01 to 1000000, or 0",
        ),
        (
            {"budget": "all"},
            f"arp.heal: budget: 'all' is not a whole number of probes from {MAX_FRAMES_PER_ENTRY}",
        ),
        ({"test": "yes"}, "arp.heal: test: 'yes' is neither true nor false"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_bad_argument_is_refused_before_any_job(runners, words, line):
    """There is no master to ask: so it was refused before."""
    answer = runners[line.partition(":")[0]](**words)
    assert answer["error"].startswith(line)
    assert "\n" not in answer["error"]
    assert answer["retcode"] == 1


def shown_to_people(answer, opts):
    return salt.output.out_format(answer, "arp_fleet", {**opts, "color": False})


def test_output_has_tables_without_control_characters(master_opts):
    answer = {
        "summary": ["1 wrong."], "jid": "2027", "twice": [],
        "wrong": [{"minion": "db1\x1b[2J", "ip": "192.0.2.1"}],
        "silent": [{"minion": "db2", "why": "no answer"}],
    }  # fmt: skip
    text = shown_to_people(answer, master_opts)
    assert text.splitlines()[0] == "1 wrong."
    assert "\x1b" not in text
    assert "minion" in text
    assert "twice" not in text
    assert text.splitlines()[-1] == "jid 2027"


def test_output_has_every_list_of_a_heal(master_opts):
    told = heal.Heal(compare.Comparison([], [], [], [], {}, {}, {}), budget=1).answer({})
    row = {"minion": "db1", "ip": "192.0.2.1", "mac": "02:00:00:00:00:0a"}
    filled = {name: [{**row, "dev": name}] for name in told["totals"]}
    text = shown_to_people({**told, **filled, "jid": "2027"}, master_opts)
    assert [name for name in filled if f"\n{name.replace('_', ' ')}:\n" not in text] == []


def test_output_of_an_error_is_one_line(master_opts):
    error = {"error": "arp.audit: no", "retcode": 1}
    assert shown_to_people(error, master_opts) == "arp.audit: no"


@pytest.mark.parametrize(("how", "where"), [("site", "site"), ("editable", "source")])
def test_pip_installed_master_loads_all(request, how, where):
    """And the runner's engine is the installed one."""
    path, code = request.getfixturevalue(how), request.getfixturevalue(where)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(path), "PATH": "/bin"},
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told.pop("from").startswith(str(code))
    assert told == {
        "runners": NAMES, "engines": ["arp_born.start"], "output": True,
    }  # fmt: skip


def rendered(loaders, repo, tmp_path, page, text, event):
    """Return what Salt makes of the documented reactor with this text in it."""
    blocks = (repo / "docs" / page).read_text(encoding="utf-8").split("```")[1::2]
    [block] = [block.removeprefix("yaml\n") for block in blocks if text in block]
    (tmp_path / "reactor.sls").write_text(block, encoding="utf-8")
    renderers = salt.loader.render(loaders.opts, loaders.modules)
    path = str(tmp_path / "reactor.sls")
    return salt.template.compile_template(
        path, renderers, "jinja|yaml", [], [], data=event, tag="salt/minion/evil/start"
    )


HOSTILE = [
    "10.0.0.1\n    - fun: cmd.run", "{{ 7 * 7 }}", "10.0.0.1; reboot", "'", '"', "]", "10.0.0.0/8",
    "8.8.8.8", ["10.0.0.9"], {"a": 1}, None, 5,
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        ({"grains": {"ipv4": ["10.0.0.1", "127.0.0.1"]}}, ["10.0.0.1", "127.0.0.1"]),
        ({"grains": {"ipv4": [*HOSTILE, "10.0.0.2"]}}, ["10.0.0.2"]),
        ({"grains": {"ipv4": [f"10.0.0.{number}" for number in range(200)]}}, 8),
        ({"grains": {"ipv4": "10.0.0.1"}}, None),
        ({"grains": {"ipv4": 5}}, None),
        ({"grains": "x"}, None),
        ({"grains": None}, None),
        ({}, None),
    ],
    ids=["plain", "hostile", "200", "text", "number", "no mapping", "null", "no grains"],
)
def test_documented_reactor_only_asks(loaders, repo, tmp_path, data, asked):
    """Rendered by Salt, from what any minion may send."""
    low = rendered(loaders, repo, tmp_path, "fleet.md", "local.arp.revalidate", data)
    if asked is None:
        assert low == {}
        return
    assert list(low) == ["probe the addresses of a machine that has started"]
    [(function, words)] = low["probe the addresses of a machine that has started"].items()
    assert function == "local.arp.revalidate"
    assert words[0] == {"tgt": "db*"}
    [(name, ips)] = words[1]["kwarg"].items()
    assert (name, ips if isinstance(asked, list) else len(ips)) == ("ip", asked)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"said": "1 healed: 10.0.0.1"}, "1 healed: 10.0.0.1"),
        ({}, "healed"),
        (None, "healed"),
        ("x", "healed"),
        ({"said": 'x"}\n    - url: http://evil'}, 'x"}\n    - url: http://evil'),
    ],
    ids=["said", "nothing said", "null", "text", "YAML"],
)
def test_documented_chat_message_is_text_whatever_the_event_says(
    loaders, repo, tmp_path, data, text
):
    event = {"id": "db1", "data": data}
    low = rendered(loaders, repo, tmp_path, "operating.md", "runner.http.query", event)
    [(function, [arguments])] = low["a heal is reported to the chat"].items()
    assert function == "runner.http.query"
    told = {key: value for each in arguments["args"] for key, value in each.items()}
    assert told["url"] == "https://chat.example.com/hook"
    assert json.loads(told["data"]) == {"text": f"db1: {text}"}
