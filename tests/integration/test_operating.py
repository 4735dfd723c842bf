"""docs/operating.md, recipe by recipe: a real master, two minions, and the text as it stands."""

import http.server
import json
import pathlib
import re
import shlex
import tempfile
import threading

import pytest
import yaml
from formula_minion import changes

from lab.causes import Confirming
from lab.cures import sentinel
from lab.datacentre import Datacentre
from lab.machines import poll, run
from lab.observe import connect
from lab.saltstack import BIN, REPOSITORY

pytestmark = pytest.mark.long

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
TEXT = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"```yaml\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
SCHEDULE = {"requirement": {"install": "none"}, "schedule": {"splay": 0}}


class Chat:
    """A chat server that keeps what it is told."""

    def __init__(self):
        heard = self.heard = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def chat():
    server = Chat()
    yield server
    server.close()


@pytest.fixture(scope="module")
def centre(chat, cron_daemon):
    """A master and two databases, configured as the recipes say, with our places for theirs."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as where:
        root = pathlib.Path(where)
        recipes = {
            path: text.replace("/srv/", f"{root}/srv/")
            .replace("https://chat.example.com/hook", chat.url)
            .replace("/var/lib/prometheus/node-exporter", f"{root}/prom")
            .replace("/var/log/arp_hygiene.json", f"{root}/answers")
            .replace("service.running", "test.nop")
            for path, text in RECIPES.items()
        }
        for path, text in recipes.items():
            if path.startswith("/srv/"):
                (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
                (root / path[1:]).write_text(text, encoding="utf-8")
        (root / "prom").mkdir()
        pillar = yaml.safe_load(recipes["/srv/pillar/metrics.sls"])
        pillar["arp_hygiene"].update(SCHEDULE)
        (root / "srv/pillar/metrics.sls").write_text(json.dumps(pillar))
        (root / "srv/pillar/top.sls").write_text("base: {'*': [metrics]}")
        (root / "srv/salt/away.sls").write_text(
            recipes["/srv/salt/orch/arp.sls"].replace("sls: arp_hygiene", "sls: arp_hygiene.remove")
        )
        master = {
            "file_roots": {"base": [f"{root}/srv/salt", str(REPOSITORY / "salt")]},
            "pillar_roots": {"base": [f"{root}/srv/pillar"]},
            **yaml.safe_load(recipes["/etc/salt/master.d/arp.conf"]),
        }
        minion = yaml.safe_load(recipes["/etc/salt/minion.d/arp.conf"])
        with Datacentre(root, minion=minion, **master) as built:
            built.root = root
            built.master.salt("*", "saltutil.sync_all")
            yield built


def runner(centre, *words):
    """Run salt-run; return what it returned."""
    command = [BIN / "salt-run", "-c", centre.master.root / "etc", "--out=json", "-l", "quiet"]
    told = run(*map(str, command), *words, check=False, timeout_s=120)
    return json.loads(told)


def orchestrate(centre, sls):
    """Run an orchestration; return what each state told by its name, and fail with its failures."""
    (states,) = runner(centre, "state.orchestrate", sls)["data"].values()
    assert all(state["result"] for state in states.values()), states
    return {state["__id__"]: state for state in states.values()}


def test_every_recipe_is_here():
    assert set(RECIPES) == {
        "/etc/salt/master.d/arp.conf",
        "/etc/salt/minion.d/arp.conf",
        "/srv/pillar/db.sls",
        "/srv/pillar/metrics.sls",
        "/srv/reactor/arp_healed.sls",
        "/srv/salt/orch/arp.sls",
        "/srv/salt/postgres.sls",
    }


def test_a_heal_becomes_a_chat_message(centre, chat):
    database = centre.minions["db1"].machine
    worker = centre.fabric.worker("worker", 90, DEAD)
    poll("the network works", 30, lambda: connect(worker, database.ip))
    with Confirming(database, worker.ip):
        worker = centre.fabric.recreate(worker, BORN)
        centre.master.salt("db1", "arp_hygiene.run")
        poll("the chat has heard of it", 30, lambda: chat.heard)
    ((kind, message),) = chat.heard
    assert kind == "application/json"
    said = f"{worker.ip} on eth0: {DEAD} -> {BORN}"
    assert message == {"text": f"db1: 1 healed: {said}"}


def test_orchestrated_there_and_away_and_away_again(centre):
    crons = [minion.etc("cron.d") / "arp_hygiene" for minion in centre.minions.values()]
    done = orchestrate(centre, "orch.arp")
    proven = done["the databases' tables are revalidated"]["changes"]
    assert set(proven["ret"]) == {"db1", "db2"}
    assert all(path.exists() for path in crons)
    assert orchestrate(centre, "away")["the databases have the formula"]["changes"]
    assert not any(path.exists() for path in crons)
    assert not orchestrate(centre, "away")["the databases have the formula"]["changes"]


def test_the_database_starts_after_the_formula(centre):
    (states,) = centre.master.salt("db1", "state.apply", "postgres").values()
    changes(states)
    order = sorted(states.values(), key=lambda state: state["__run_num__"])
    assert order[-1]["__id__"] == "the database runs"
    assert order[-1]["result"] is True


def test_a_typo_in_pillar_does_not_keep_the_database_down(centre):
    pillar = {"arp_hygiene": {"shedule": {"every": 5}}}
    words = ("state.apply", "postgres", f"pillar={json.dumps(pillar)}")
    (states,) = centre.master.salt("db1", *words).values()
    results = {state["__id__"]: state["result"] for state in states.values()}
    assert results == {"the pillar of arp_hygiene is valid": False, "the database runs": True}


def test_suspects_are_in_the_mine(centre):
    """The minions run when the pillar is edited: without a refresh the mine stays empty."""
    (centre.root / "srv/pillar/top.sls").write_text("base: {'*': [db, metrics]}")
    section = TEXT.split("## Suspects in the mine")[1].split("\n## ")[0]
    typed = [shlex.split(line) for line in re.findall(r"^    (salt.*)$", section, re.MULTILINE)]
    *before, (program, *last) = typed
    for first, *words in before:
        assert first == "salt"
        centre.master.salt(*words)
    assert program == "salt-run"
    mined = runner(centre, *last)
    assert set(mined) == {"db1", "db2"}
    assert all({"suspects", "would_check"} <= set(answer) for answer in mined.values())


def test_answers_go_to_a_returner(centre):
    path = centre.root / "answers"
    centre.master.salt("*", "arp_hygiene.run", "--return=rawfile_json")
    poll("both have returned", 60, lambda: path.exists() and len(path.read_text().split("\n")) > 2)
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    assert {answer["id"] for answer in answers} == {"db1", "db2"}
    assert all(answer["return"]["success"] for answer in answers)


def test_metrics_have_the_names_that_alerts_ask_for(centre):
    parser = pytest.importorskip("prometheus_client.parser")
    db1 = centre.minions["db1"]
    (states,) = centre.master.salt("db1", "state.apply", "arp_hygiene").values()
    changes(states)
    sentinel(db1.machine)
    db1.machine.do("sh", str(db1.root / "etc/arp_hygiene.sh"))
    text = (centre.root / "prom/arp_hygiene.prom").read_text()
    names = {
        sample.name
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    asked = set(re.findall(r"arp_hygiene_\w+", (REPOSITORY / "monitoring/rules.yml").read_text()))
    # /proc/net/stat is the first namespace's alone
    kernel = {"arp_hygiene_table_fulls_total", "arp_hygiene_forced_gc_runs_total"}
    assert asked - kernel <= names
    assert 'threshold="thresh3"' in text


def test_with_backend_salt_a_cleared_cache_wants_a_sync(centre):
    pillar = {"arp_hygiene": {**SCHEDULE, "schedule": {"backend": "salt"}}}
    words = ("state.apply", "arp_hygiene", f"pillar={json.dumps(pillar)}")
    (states,) = centre.master.salt("db2", *words).values()
    changes(states)
    db2 = centre.minions["db2"]
    centre.master.salt("db2", "saltutil.clear_cache")
    centre.master.salt("db2", "schedule.run_job", "arp_hygiene")
    poll("the log says why", 60, lambda: "'arp_hygiene.run' is not available" in db2.log())
    centre.master.salt("db2", "saltutil.sync_all")
    memory = db2.root / "var/lib/arp_hygiene/memory.json"
    memory.unlink(missing_ok=True)
    centre.master.salt("db2", "schedule.run_job", "arp_hygiene")
    poll("a run is remembered", 60, memory.exists)
