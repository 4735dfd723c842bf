"""What a minion sends to its master, and files that may be damaged. Each target takes any bytes.

A claim is taken, or refused with the minion's name; no claim ends a run or hides another minion.
"""

import contextlib
import copy
import datetime
import importlib.util
import json
import os
import tempfile
from collections import Counter
from pathlib import Path

from arp_engine.fleet import (
    acknowledge,
    audit_history,
    batches,
    bindings,
    compare,
    heal,
    html_report,
    inventory,
    new_minions,
    returns,
    status,
    summary,
    truth_file,
)
from arp_engine.reporting import run_history, sentinel_status
from arp_engine.table import parse
from fuzz_values import Maker
from fuzz_words import refusals

IPS = ["192.0.2.10", "192.0.2.11", "2001:db8::10", "192.0.2.300", "fe80::1", "::ffff:192.0.2.1"]
MACS = ["02:00:00:00:00:0a", "02:00:00:00:00:0B", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00"]
NAMES = ["db1", "w1", "w2", "docker0", "eth0", "lo", "kube-ipvs0", "<script>alert(1)</script>"]
WORDS = [*IPS, *MACS, *NAMES, "STALE", "REACHABLE", "PERMANENT", "healed", "confirmed", "salt"]
HONEST = {"eth0": {"hwaddr": MACS[0], "up": True, "inet": [{"address": IPS[0], "netmask": "24"}]}}
NETWORKS = parse.networks("networks", "192.0.2.0/24")


def interface(make):
    """Return one interface as network.interfaces tells it."""

    def row():
        return make.filled(
            address=lambda: make.pick(IPS), netmask=lambda: make.pick(["24", "64", ""])
        )

    return make.filled(
        hwaddr=lambda: make.pick(MACS), up=lambda: True, inet=lambda: make.listed(row),
        inet6=lambda: make.listed(row), secondary=lambda: make.listed(row),
    )  # fmt: skip


def entry(make):
    """Return one row of arp.list."""
    return make.filled(
        ip=lambda: make.pick(IPS), mac=lambda: make.pick(MACS), dev=lambda: make.pick(NAMES),
        state=lambda: "STALE", owner=lambda: "", suspect=lambda: True, updated_s=make.byte,
    )  # fmt: skip


def hosts(make):
    """Return the inventories of an honest machine and of hostile ones."""
    found = {"honest": inventory.from_interfaces(HONEST)}
    interfaces = {make.pick(NAMES): interface(make) for _ in range(make.byte() % 3)}
    grains = make.filled(
        hwaddr_interfaces=lambda: {"eth0": make.pick(MACS)},
        ip4_interfaces=lambda: {"eth0": make.listed(lambda: make.pick(IPS))},
        ip6_interfaces=lambda: {"lo": make.listed(lambda: make.pick(IPS))},
    )
    for name, read, value in (
        ("by interfaces", inventory.from_interfaces, interfaces),
        ("by grains", inventory.from_grains, grains),
        ("by anything", inventory.from_interfaces, make.value(2)),
        ("by any grains", inventory.from_grains, make.value(2)),
    ):
        with refusals():
            found[name] = read(value)
            for ip, _dev, mac in found[name].addresses:
                assert inventory.parse_address(ip) == ip
                assert inventory.parse_mac(mac) == mac
    return found


def audit(data):
    """Interfaces, tables and answers of hostile minions beside those of an honest one."""
    make = Maker(data, WORDS)
    found = hosts(make)
    tables = {
        "db1": [{"ip": IPS[0], "mac": MACS[1], "dev": "eth0", "state": "STALE"}],
        "hostile": make.listed(lambda: entry(make)),
        "absurd": make.value(2),
    }
    with refusals():
        tables["compact"] = compare.expand(make.filled(
            columns=lambda: ["ip", "mac", "dev", "state"],
            rows=lambda: make.listed(lambda: [make.pick(WORDS) for _ in range(4)]),
        ))  # fmt: skip
    known = bindings.Bindings(found, set(found) | {"silent"}, {}, bindings.Scope(NETWORKS))
    result = compare.compare(tables, known)
    seen = {(row["minion"], row["ip"]) for row in result.wrong + result.unproven}
    seen |= {("db1", row["ip"]) for row in result.twice}
    assert ("db1", IPS[0]) in seen, "a claim hides the wrong entry of an honest database"
    answers = {name: {"ret": make.value(2)} for name in ("a", "b")} | {"c": make.value(2)}
    silent = {name: summary.failure(answer) for name, answer in answers.items()}
    assert all(len(why) <= 300 and len(why.splitlines()) <= 1 for why in silent.values())
    answer = summary.answer(summary.Findings(result, known, set(tables), silent))
    assert answer["retcode"] & 4
    json.dumps(answer, allow_nan=False)
    page = html_report.page({**answer, "jid": "1"}, 1.8e9)
    assert "<script" not in page
    history = audit_history.with_run(
        audit_history.empty(), 1.8e9, "audit", {**answer, "databases": ["db1"]}, ()
    )
    assert audit_history.parse(audit_history.dump(history)) == history
    with refusals():
        acknowledged = acknowledge.parse_all(make.value(2))
        acknowledge.take_out(result, acknowledged, datetime.date(2026, 11, 29))


def starts(data):
    """Start events, as any accepted minion can put them on the bus."""
    make = Maker(data, WORDS)
    queue = new_minions.StartQueue(1.0, 10.0, 20, NETWORKS)
    for _ in range(4):
        name = make.pick(NAMES)
        event = make.filled(
            id=lambda name=name: name, cmd=lambda: "_minion_event",
            grains=lambda: {
                "hwaddr_interfaces": {"eth0": make.pick(MACS)},
                "ip4_interfaces": make.filled(eth0=lambda: make.listed(lambda: make.pick(IPS))),
            },
        )  # fmt: skip
        if make.byte() % 8 == 7:
            event = make.value(2)
        tag = f"salt/minion/{name}/start" if make.byte() % 4 else make.text()
        queue.on_start_event(tag, event, 0.0)
    job = queue.take(2.0, set(NAMES), lambda _name: [])
    if job:
        assert all(inventory.is_inside(ip, NETWORKS) for ip in job.addresses)
    for machine, why in queue.take_refused().items():
        assert machine.isprintable() or machine.startswith("tag ")
        assert len(why.splitlines()) == 1
    new_minions._counts("1", "w1", make.value(2))


class Master:
    """A master whose bus and job cache hold what the bytes say."""

    def __init__(self, make):
        self._make, self._jid = make, 0

    def publish(self, *_words):
        self._jid += 1
        return {"jid": str(self._jid), "minions": ["db1", "w1"]}

    def events(self, _wait_s):
        return [(str(self._make.byte() % 3), self._make.pick(NAMES), self._make.value(2))]

    def cached(self, _jid):
        return {
            name: self._make.value(2) for name in self._make.listed(lambda: self._make.pick(NAMES))
        }


def answers_to_jobs(data):
    """Returns of a job, real and forged; what a heal and a status make of them."""
    make, now = Maker(data, WORDS), [0.0]

    def clock():
        now[0] += 0.5
        return now[0]

    job = returns.Returns(Master(make), 2.0, 1.0, clock)
    got, minions = job.ask("db*", "glob", "arp.list")
    assert set(got) <= minions == {"db1", "w1"}
    assert job.conflicts <= minions
    status.answer({"db1", "w1"}, got, {name: {"ret": make.value(2)} for name in ("db1", "w1")})
    wrong = compare.Comparison([row_of(ip) for ip in IPS[:2]], [], [], [], {}, {}, Counter())
    right = wrong._replace(wrong=[])
    run = heal.Heal(wrong, 100)
    for wave in run.waves({"db1"}, 1.0, 10):
        while found := run.jobs(wave, 10):
            for (dev, ips), names in found.items():
                run.begin(names, dev, ips)
                run.note_answer("db1", dev, ips, {"ret": revalidated(make)})
        run.note_tables(wrong if make.byte() % 2 else right, ["db1"])
    batches.role(make.text())
    json.dumps(run.answer({}))


def row_of(ip):
    return {
        "minion": "db1", "ip": ip, "dev": "eth0", "mac": MACS[0], "state": "STALE", "owner": "",
        "mac_true": MACS[1], "machine": "w1", "truth": "live", "truth_age_s": 0,
    }  # fmt: skip


def revalidated(make):
    """Return an answer of arp.revalidate."""
    if make.byte() % 4 == 3:
        return make.value(2)
    return make.filled(
        healed=lambda: make.listed(lambda: make.filled(
            ip=lambda: make.pick(IPS), old=lambda: MACS[0], new=lambda: MACS[1])),
        gone=lambda: make.listed(lambda: make.value(3)),
        duplicates=lambda: make.listed(lambda: make.filled(
            ip=lambda: make.pick(IPS), macs=lambda: make.value(3))),
        entries=lambda: make.listed(lambda: make.filled(
            ip=lambda: make.pick(IPS), mac=lambda: make.pick(MACS), verdict=lambda: "confirmed",
            unicast_asked=make.byte, broadcast_asked=make.byte)),
    )  # fmt: skip


def files(data):
    """Files of ours that are damaged: status, run history, audit history, truth."""
    text = data.decode("utf-8", "replace")
    make = Maker(data, [*WORDS, "at", "by", "heals", "totals", "last", "metrics", "pid", "runs"])
    heal_row = lambda: make.filled(  # noqa: E731
        at=make.byte,
        ip=lambda: IPS[0],
        dev=lambda: "eth0",
        old=lambda: MACS[0],
        new=lambda: MACS[1],
    )
    history = make.filled(
        last=lambda: None, metrics=lambda: None, heals=lambda: make.listed(heal_row),
        totals=lambda: {"runs": make.byte()},
    )  # fmt: skip
    told = make.filled(
        pid=lambda: os.getpid(), uptime_s=make.byte, heals=lambda: make.listed(heal_row),
        counts=lambda: {"asked": make.byte()}, told=lambda: {"healed": 1}, failed=lambda: "",
    )  # fmt: skip
    for damaged in (text, text[: len(text) // 2], written(history)):
        with refusals():
            read = run_history.parse(damaged)
            run_history.dump(run_history.with_heals(read, read["heals"]))
            assert run_history.count_recent(read, 1.8e9) >= 0
            run_history.unreported(read, read["heals"], 1.8e9)
            run_history.utc((read["last"] or {}).get("at"))
        with refusals():
            kept = audit_history.parse(damaged)
            audit_history.metrics(kept)
        with refusals():
            for host in truth_file.parse_truth(damaged, 86400).values():
                assert all(ip and mac for ip, _dev, mac in host.addresses)
    for content in (data, written(told).encode("utf-8", "replace")):
        with tempfile.NamedTemporaryFile(dir=scratch()) as file:
            file.write(content)
            file.flush()
            said = sentinel_status.read(file.name, 100.0)
            assert isinstance(said["lives"], bool)
            assert said["lives"] or isinstance(said["why"], str)
            writer = sentinel_status.StatusWriter(file.name, clock=lambda: 100.0)
            writer.counts["asked"] += 1
            json.dumps(dict(writer.counts))


def load(name):
    """Load an outputter as Salt would: on its own."""
    path = Path(__file__).resolve().parents[2] / f"_output/{name}.py"
    spec = importlib.util.spec_from_file_location(f"arp_engine_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {"color": False}
    return module


OUTPUTTER = load("arp_answer")
ROW = {"ip": IPS[0], "dev": "eth0", "mac": MACS[0], "old": MACS[0], "new": MACS[1]}
ANSWERS = {
    "arp.list": [{**ROW, "state": "STALE", "owner": "", "confirmed_s": 1, "used_s": 1,
                  "updated_s": 1, "suspect": True}],
    "arp.flush": {"flushed": 1, "kept": {"PERMANENT": 2}, "warnings": ["a"], "entries": []},
    "arp.revalidate": {"checked": 9, "confirmed": 1, "healed": [ROW], "gone": [ROW],
                       "duplicates": [{**ROW, "macs": MACS[:2]}], "undecided": 0, "kept": {},
                       "warnings": [], "totals": {"healed": 1}},
    "arp.diagnose": {"verdict": "right", "sentence": "It is.", "cure": "", "judged": IPS[0],
                     "witnesses": {}, "entry": None, "entry_after": None, "asked": {"unicast": 1},
                     "answers_ms": {MACS[0]: 1.5}, "kept_alive_by": ""},
    "healed": [{**ROW, "at": "", "by": "flush", "ip": "413 entries", "new": ""}],
    "status": [{"installed": "cron", "last": "", "problem": "", "healed_7d": 1, "sentinel": "",
                "said": ""}],
}  # fmt: skip


def shown(data):
    """What a terminal gets of the answers of other machines: text, one line a row, no more."""
    make = Maker(data, WORDS)
    value = copy.deepcopy(ANSWERS[make.pick(sorted(ANSWERS))])
    for _ in range(make.byte() % 4):
        damage(make, value)
    if make.byte() % 8 == 7:
        value = make.value()
    for told in (value, {make.text(): value}, {"db1": value, make.text(): make.value(2)}):
        text = OUTPUTTER.output(told)
        assert all(char.isprintable() or char == "\n" for char in text)


def damage(make, value):
    """Replace a part of a value by another, where there is one."""
    if isinstance(value, list) and value:
        damage(make, value[make.byte() % len(value)])
    elif isinstance(value, dict) and value:
        key = make.pick(sorted(value, key=str))
        if make.byte() % 3 and isinstance(value[key], (dict, list)):
            damage(make, value[key])
        else:
            value[key] = make.value(3)


def written(value):
    """Return a value as the text of a file, or the text of no file."""
    with contextlib.suppress(TypeError, ValueError, RecursionError):
        return json.dumps(value)
    return "[" * 5000


def scratch():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


SEEDS = {
    "audit": [], "starts": [], "answers_to_jobs": [], "shown": [],
    "files": [
        json.dumps(run_history.empty()).encode(), json.dumps(audit_history.empty()).encode(),
        b"address,mac,machine,age_s\n192.0.2.10,02:00:00:00:00:0b,w1,60\n",
        json.dumps({"pid": 1, "uptime_s": 1.5, "counts": {}, "told": {}, "heals": []}).encode(),
    ],
}  # fmt: skip
TARGETS = {
    "audit": audit,
    "starts": starts,
    "answers_to_jobs": answers_to_jobs,
    "files": files,
    "shown": shown,
}
