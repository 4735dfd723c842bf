"""Alert rules and dashboard on the metrics of real runs: every name, and by promtool each alert."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import chain

import pytest
import yaml
from arp_engine.fleet import audit_history
from arp_engine.reporting import metrics as reporting_metrics
from arp_engine.reporting import sentinel_status
from conftest import BORN, DEAD
from pace import pace  # noqa: F401
from wire import answer

from lab.bare import missing

# /proc/net/stat is the first network namespace's alone: a line of it as the kernel prints it
KERNEL = "entries table_fulls forced_gc_runs unresolved_discards\n0000000c {:08x} 00000003 00000001"
OTHER = "02:00:00:00:00:0d"
METRIC = re.compile(r"\b(?:arp_hygiene|arp_fleet|up)\w*\b(?:\{[^}]*\})?")
AT = {  # when it has to fire, where not after 30 minutes
    "ArpHygieneTableFull": "10m",
    "ArpHygieneMixedVersions": "400m",
    "ArpFleetAuditOverdue": "80m",
    "ArpFleetAuditIncomplete": "200m",
    "ArpFleetAuditNotRepeated": "100m",  # recorded 23 hours before
}
TWICE = [{"ip": "192.0.2.90", "held": 1, "truth": "live"}]
promtool = pytest.mark.skipif(bool(missing("promtool")), reason=missing("promtool"))


def samples(text):
    """Return the samples of a textfile: name and labels to value."""
    parser = pytest.importorskip("prometheus_client.parser")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def textfile(hygiene, scene, tmp_path, monkeypatch):
    """Return a function: run as the schedule does, and return the samples of the textfile."""
    sinks = sys.modules["arp_engine.reporting.sinks"]
    path = tmp_path / "arp_hygiene.prom"
    job = {"arp_hygiene": {"minutes": 5, "splay": {"start": 10, "end": 10}}}
    monkeypatch.setitem(hygiene.opts, "schedule", job)
    scene.quick()
    for address in ("192.0.2.98", "2001:db8::98"):  # the kernel's own come when they come
        scene.add(address, "permanent")

    def run(table_fulls=0, **words):
        counts = reporting_metrics.kernel_counts(KERNEL.format(table_fulls))
        monkeypatch.setattr(sinks, "kernel_counters", lambda: {"ipv4": counts})
        done = hygiene.run(event=False, metrics=str(tmp_path), **words)
        assert done["problems"] == []
        return samples(path.read_text())

    run.path = path
    sentinel(watching=1)
    return run


def sentinel(pid=None, **told):
    """Leave the status file of a sentinel that has told so many events of these kinds."""
    status = {"pid": pid or os.getpid(), "uptime_s": time.monotonic(), "told": told,
              "counts": {"questions": 5, "sent_again": 1}}  # fmt: skip
    sentinel_status.write(sentinel_status.PATH, status)


@pytest.fixture
def stopped():
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    yield process.pid
    shutil.rmtree(os.path.dirname(sentinel_status.PATH), ignore_errors=True)


def audits(at, always=None, twice=(), ago=(60, 45, 30, 15, 0), **found):
    """Return the samples after an audit every 15 minutes, the last one with these findings."""
    lists = {"wrong": [], "gone": [], "unproven": []}
    totals = {"wrong": 0, "gone": 0, "unproven": 0, "silent": 0, "conflicts": 0, **(always or {})}
    docker = {"ip": "172.17.0.1", "held": 0, "truth": "live"}  # on two hosts, for ever
    history = audit_history.empty()
    for minutes in ago:
        more = {} if minutes else found
        run = {**lists, "totals": totals | more, "databases": ["db1"]}
        run["twice"] = [docker, *(() if minutes else twice)]
        run["retcode"] = 4 if run["totals"]["silent"] else 0
        history = audit_history.with_run(history, at - minutes * 60, "audit", run, ())
    return samples(audit_history.metrics(history))


@pytest.fixture
def troubles(textfile, scene, wire, pace, stopped):
    """Alert to the samples before and after its trouble, each of a real run."""
    calm = {**textfile(), **audits(time.time())}
    found = {}

    def trouble(alert, after):
        found[alert] = {**calm, **after}

    trouble("ArpHygieneRunOverdue", {})
    trouble("ArpFleetAuditOverdue", {})
    trouble("ArpHygieneRunFailed", textfile(dev="absent0"))
    for number in range(4):
        scene.worker(f"192.0.2.1{number}")
        scene.add(f"192.0.2.1{number}", "stale", DEAD)
    trouble("ArpHygieneHealsOften", textfile(family="ipv4"))
    scene.add("192.0.2.99", "stale", DEAD)
    both = [answer("192.0.2.99", BORN), answer("192.0.2.99", OTHER)]
    with wire.answering(lambda _ip, to_all, _number: both if to_all else []):
        trouble("ArpHygieneDuplicateAddress", textfile(ip="192.0.2.99"))
    trouble("ArpHygieneTableFull", textfile(table_fulls=2))
    full = textfile()
    limit = ("arp_hygiene_limit", (("family", "ipv4"), ("threshold", "thresh3")))
    full[limit] = full["arp_hygiene_entries_limited", (("family", "ipv4"),)]  # it is one for all
    trouble("ArpHygieneTableNearlyFull", full)
    sentinel(watching=1, disagreement=1)
    trouble("ArpHygieneEntryStaysWrong", textfile())
    sentinel(stopped, watching=1)
    trouble("ArpHygieneSentinelDown", textfile())
    trouble("ArpHygieneMetricsMissing", dict.fromkeys(textfile()))
    trouble("ArpHygieneMixedVersions", {("arp_hygiene_info", (("version", "0.0.9"),)): 1})
    trouble("ArpFleetWrongEntries", audits(time.time(), wrong=1))
    trouble("ArpFleetDuplicateAddress", audits(time.time(), twice=TWICE))
    trouble("ArpFleetConflict", audits(time.time(), conflicts=1))
    once = audits(time.time(), ago=(23 * 60,))
    trouble("ArpFleetAuditNotRepeated", dict.fromkeys(audits(time.time())) | once)
    trouble("ArpFleetAuditIncomplete", audits(time.time(), silent=1))
    return calm, found


def series(calm, after, origin):
    """Return promtool's input: calm for five minutes, then the trouble. Its clock begins at 0."""
    for name, labels in {**calm, **after}:
        words = "".join(f',{key}="{value}"' for key, value in labels)
        values = []
        for state, minutes in ((calm, 5), (after, 500)):
            value = state.get((name, labels))
            if value is None:
                values.append(f"_x{minutes}")
                continue
            is_moment = name.endswith("_timestamp_seconds")
            values.append(f"{value - origin if is_moment else value}x{minutes - 1}")
        yield {"series": f'{name}{{instance="db1",job="node"{words}}}', "values": " ".join(values)}
    yield {"series": 'up{instance="db1",job="node"}', "values": "1x600"}


def evaluated(tmp_path, rules, tests):
    """Let promtool evaluate; return what it says about what is not as expected."""
    (tmp_path / "rules.yml").write_text(rules)
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(content, width=10**6))
    words = ["promtool", "test", "rules", tmp_path / "tests.yml"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "\n".join(lines) if done.returncode else ""


def fires(alert, at, expected):
    """Return the test whether an alert fires, once, at this time."""
    firing = [{"labels": "{}", "value": 1}] if expected else []
    expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
    return {"expr": expr, "eval_time": at, "exp_samples": firing}


@promtool
def test_each_alert_is_silent_in_calm_and_fires_in_trouble(repo, troubles, tmp_path):
    rules = (repo / "monitoring/rules.yml").read_text()
    calm, found = troubles
    names = re.findall(r"- alert: (\w+)", rules)
    assert sorted(found) == sorted(names)
    origin = time.time()
    tests = [
        {
            "interval": "1m",
            "name": f"{alert} fires",
            "input_series": list(series(calm, after, origin)),
            "promql_expr_test": [
                fires(alert, "4m", False),
                fires(alert, AT.get(alert, "30m"), True),
            ],
        }
        for alert, after in found.items()
    ]
    assert evaluated(tmp_path, rules, tests) == ""


@promtool
def test_fleet_with_a_minion_that_never_answered_is_alerted_about(repo, tmp_path):
    rules = (repo / "monitoring/rules.yml").read_text()
    alert, origin = "ArpFleetAuditIncomplete", time.time()
    never = audits(origin, always={"silent": 1})
    test = {
        "interval": "1m",
        "name": alert,
        "input_series": list(series(never, never, origin)),
        "promql_expr_test": [fires(alert, "4m", False), fires(alert, AT[alert], True)],
    }
    assert evaluated(tmp_path, rules, [test]) == ""


@promtool
def test_nearly_full_table_is_told_with_both_numbers(repo, textfile, tmp_path):
    alert, full = "ArpHygieneTableNearlyFull", textfile()
    family = ("family", "ipv4")
    full["arp_hygiene_limit", (family, ("threshold", "thresh3"))] = 1024
    full["arp_hygiene_entries_limited", (family,)] = 870
    labels = {"instance": "db1", "job": "node", "family": "ipv4", "severity": "warning"}
    rules = (repo / "monitoring/rules.yml").read_text()
    [rule] = [
        each for each in yaml.safe_load(rules)["groups"][0]["rules"] if each["alert"] == alert
    ]
    summary = "db1: the ipv4 neighbour table is at most 84.96% full: 870 of gc_thresh3 1024"
    told = {**rule["annotations"], "summary": summary}
    expected = [{"exp_labels": labels, "exp_annotations": told}]
    test = {
        "interval": "1m",
        "input_series": list(series(full, full, time.time())),
        "alert_rule_test": [{"eval_time": "30m", "alertname": alert, "exp_alerts": expected}],
    }
    assert evaluated(tmp_path, rules, [test]) == ""


@pytest.fixture
def real(textfile):
    """The samples of a run, with a sentinel, and of an audit."""
    return {**textfile(), **audits(time.time())}


def expressions(repo):
    """Yield each query of rules and dashboard."""
    rules = yaml.safe_load((repo / "monitoring/rules.yml").read_text())
    for rule in chain.from_iterable(group["rules"] for group in rules["groups"]):
        yield rule["alert"], rule["expr"]
    dashboard = json.loads((repo / "monitoring/dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def test_every_query_names_metrics_and_labels_of_a_real_run(repo, real):
    labels = {"up": {"instance", "job"}}
    values = {}
    for name, pairs in real:
        labels.setdefault(name, {"instance", "job"}).update(key for key, _ in pairs)
        for key, value in pairs:
            values.setdefault((name, key), set()).add(value)
    for title, expr in expressions(repo):
        found = METRIC.findall(expr)
        assert found, title
        for metric in found:
            name, _, selectors = metric.partition("{")
            assert name in labels, (title, name)
            for key, operator, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selectors):
                assert key in labels[name], (title, metric)
                if key != "instance":
                    told = value.split("|") if operator == "=~" else [value]
                    assert set(told) <= values[name, key], (title, metric)
        named = set(chain.from_iterable(labels[metric.partition("{")[0]] for metric in found))
        for words in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expr):
            assert set(re.split(", *", words)) <= named, (title, expr)


def test_texts_use_only_labels_that_the_alert_has(repo, real):
    rules = yaml.safe_load((repo / "monitoring/rules.yml").read_text())
    for rule in chain.from_iterable(group["rules"] for group in rules["groups"]):
        used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        for metric in METRIC.findall(rule["expr"]):
            name = metric.partition("{")[0]
            has = {key for known, pairs in real if known == name for key, _ in pairs}
            assert name == "up" or used <= has | {"instance"}, rule["alert"]


@promtool
def test_every_query_of_the_dashboard_is_answered(repo, real, tmp_path):
    dashboard = json.loads((repo / "monitoring/dashboard.json").read_text())
    exprs = [
        target["expr"].replace("$instance", "db.*")
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]
    tests = [
        {"expr": f"clamp_max(count({expr}), 1)", "eval_time": "30m",
         "exp_samples": [{"labels": "{}", "value": 1}]}
        for expr in exprs
        if not expr.endswith("> 0")  # shows what is not zero, and here nothing has happened
    ]  # fmt: skip
    assert len(exprs) - len(tests) == 1
    told = {"interval": "1m", "input_series": list(series(real, real, time.time()))}
    assert evaluated(tmp_path, "groups: []", [{**told, "promql_expr_test": tests}]) == ""


@promtool
def test_metric_names_follow_the_conventions(textfile, real):
    audit = {"wrong": [], "gone": [], "unproven": [], "databases": [], "retcode": 0}
    totals = {"wrong": 0, "silent": 0}
    fleet = audit_history.with_run(
        audit_history.empty(), time.time(), "audit", {**audit, "totals": totals}, ()
    )
    for text in (textfile.path.read_text(), audit_history.metrics(fleet)):
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
