"""Bad pillar: one line that names the key, nothing of ours is changed, nobody else is stopped."""

import os
import pathlib

import pytest
import salt.client
import salt.version
import yaml
from arp_engine.formula import boot
from arp_engine.formula import plan as formula_plan
from formula import (
    CRON,
    NO_PIP,
    REPO,
    WORKS,
    Applied,
    apply,  # noqa: F401
    caller,  # noqa: F401
    everything,
    sync,
)
from salt.exceptions import CommandExecutionError

from lab.saltstack import configure, file_roots

KEEPS_COMMENTS = salt.version.__version_info__[0] >= 3007  # of a failure in test mode
BAD = [
    (
        ["cron"],
        " ['cron'] is not a mapping; schedule, clean, event, metrics, sysctl",
    ),
    ({"shedule": {}}, "'shedule': no such key; schedule, clean"),
    ({"schedule": {"minutes": 5}}, "schedule:'minutes': no such key; backend, every, minute"),
    ({"schedule": 5}, "schedule: 5 is not a mapping"),
    ({"schedule": {"backend": "at"}}, "schedule:backend: 'at' is not one of cron, salt"),
    ({"schedule": {"backend": None}}, "schedule:backend: None is not one of cron"),
    ({"schedule": {"minute": "5\n* * * * * root reboot"}}, "schedule:minute: '5\\n* * * * *"),
    ({"schedule": {"minute": "5\n"}}, "schedule:minute: '5\\n' is not a cron minute"),
    ({"schedule": {"hour": "3; reboot"}}, "schedule:hour: '3; reboot' is not a cron hour"),
    ({"schedule": {"daymonth": "1%"}}, "schedule:daymonth: '1%' is not a cron daymonth"),
    ({"schedule": {"month": "$(id)"}}, "schedule:month: '$(id)' is not a cron month"),
    ({"schedule": {"dayweek": "`id`"}}, "schedule:dayweek: '`id`' is not a cron dayweek"),
    ({"schedule": {"minute": True}}, "schedule:minute: True is not a cron minute: quote it"),
    ({"schedule": {"hour": 620}}, "schedule:hour: '620' is not a cron hour"),
    ({"schedule": {"special": "@often"}}, "schedule:special: '@often' is not a nickname"),
    ({"schedule": {"every": "5m"}}, "schedule:every: '5m' is not a whole number of minutes from 1"),
    ({"schedule": {"every": 7}}, "schedule:every: 7 minutes do not divide"),
    ({"schedule": {"every": 5, "hour": "3"}}, "schedule: every and hour exclude each other"),
    ({"schedule": {"splay": -1}}, "schedule:splay: -1 is not a whole number of seconds from"),
    ({"schedule": {"user": "root reboot #"}}, "schedule:user: 'root reboot #' is not"),
    ({"schedule": {"user": "root\n"}}, "schedule:user: 'root\\n' is not"),
    ({"schedule": {"salt_call": "salt-call"}}, "schedule:salt_call: 'salt-call' is not an abs"),
    ({"schedule": {"salt_call": "/bin/sh;x"}}, "schedule:salt_call: '/bin/sh;x' is not an abs"),
    ({"schedule": {"salt_call": "/no/salt-call"}}, "schedule:salt_call: '/no/salt-call' is not a"),
    ({"schedule": {"salt_call": "/usr/bin/env"}}, "schedule:salt_call: '/usr/bin/env' is not the"),
    (
        {"schedule": {"user": "nosuchuser"}},
        "schedule:user: 'nosuchuser': no such user here",
    ),
    ({"schedule": {"every": 1, "splay": 61}}, "schedule:splay: 61 s is longer than the 1 min"),
    ({"schedule": {"backend": "salt", "user": "ops"}}, "schedule:user: 'ops': with backend 'salt'"),
    ({"schedule": {"backend": "salt", "special": "@reboot"}}, "schedule:special: Salt's scheduler"),
    ({"schedule": {"backend": "systemd"}}, "schedule:backend: 'systemd' is not running here"),
    ({"clean": {"how": "delete"}}, "clean:how: 'delete' is not one of revalidate, flush"),
    ({"clean": {"ip": "10.0.0.1/24"}}, "clean:ip: '10.0.0.1/24' has host bits set"),
    ({"clean": {"exclude": [10]}}, "clean:exclude: 10 is not an IPv4 or IPv6 address"),
    ({"clean": {"ip": []}}, "clean:ip: the list is empty"),
    ({"clean": {"dev": "no/device"}}, "clean:dev: 'no/device' is not the name of a network device"),
    ({"clean": {"dev": ["eth0", "a;id"]}}, "clean:dev: 'a;id' is not the name of a device that a"),
    ({"clean": {"state": "PERMANENT"}}, "clean:state: PERMANENT is never touched"),
    ({"clean": {"family": "inet"}}, "clean:family: 'inet' is not one of ipv4, ipv6"),
    ({"clean": {"rate": "fast"}}, "clean:rate: 'fast' is not a number"),
    ({"event": "yes"}, "event: 'yes' is neither true nor false"),
    ({"metrics": "textfiles"}, "metrics: 'textfiles' is not an absolute path"),
    ({"sysctl": {"gc_thresh4": 1}}, "sysctl:'gc_thresh4': no such key; mcast_resolicit"),
    ({"sysctl": {"locktime": "0; id"}}, "sysctl:locktime: '0; id' is not a whole number"),
    ({"sysctl": {"mcast_resolicit": {"../x": 3}}}, "sysctl:mcast_resolicit: '../x' is not the na"),
    ({"sysctl": {"mcast_resolicit": {"eth0": -3}}}, "sysctl:mcast_resolicit:eth0: -3 is not a w"),
    ({"sysctl": {"gc_thresh1": 9, "gc_thresh2": 8}}, "sysctl:gc_thresh2: 8 is below the threshold"),
    ({"sysctl": {"gc_thresh3": 127}}, "sysctl:gc_thresh3: 127 is not a whole number from 128 to"),
    ({"sysctl": {"gc_thresh1": {"eth0": 9}}}, "sysctl:gc_thresh1: {'eth0': 9} is not a whole"),
    (
        {"requirement": {"install": "curl"}},
        "requirement:install: 'curl' is not one of pip, ",
    ),
    ({"requirement": {"version": "==1 evil"}}, "requirement:version: '==1 evil' is not a version"),
    ({"requirement": {"package": "--x"}}, "requirement:package: '--x' is not a package's name"),
    ({"requirement": {"wheels": "wheels"}}, "requirement:wheels: 'wheels' is not an absolute path"),
    (
        {"clean": {"ip": "10.0.1.0/33", "exclude": "10.0.1.1/24"}, "evnt": 1},
        "'evnt': no such key; schedule, clean",
    ),
    ({"requirement": {"uninstall": "no"}}, "requirement:uninstall: 'no' is neither true nor false"),
]


@pytest.mark.parametrize(("tree", "told"), BAD, ids=[told[:40] for _tree, told in BAD])
def test_bad_pillar_is_named(caller, tree, told):
    defaults = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text())
    refused = caller.cmd("arp_hygiene.settings", defaults, tree)["refused"]
    assert refused.startswith("pillar arp_hygiene:" + told)
    assert "\n" not in refused


@pytest.mark.parametrize(("tree", "told"), BAD[::10], ids=[told[:40] for _tree, told in BAD[::10]])
def test_bad_pillar_is_one_failed_state_and_changes_nothing(apply, tree, told):
    before = everything()
    done = apply(tree, sls="arp_hygiene")
    assert not done.refused
    (state,) = done.states.values()
    assert state["result"] is False
    assert state["comment"].startswith("pillar arp_hygiene:" + told)
    assert "\n" not in state["comment"]
    assert everything() == before


@pytest.mark.parametrize("order", ["other,arp_hygiene", "arp_hygiene,other"])
def test_bad_pillar_stops_no_other_states(caller, apply, tmp_path, order):
    witness = tmp_path / "witness"
    (pathlib.Path(caller.opts["root_dir"]) / "files" / "other.sls").write_text(
        f"{witness}:\n  file.touch: []\n"
    )
    tree = {"clean": {"rate": -1}, "requirement": NO_PIP}
    done = Applied(caller.cmd("state.apply", order, pillar={"arp_hygiene": tree}))
    assert "clean:rate: -1" in done.states["the pillar of arp_hygiene is valid"]["comment"]
    assert witness.exists()
    assert sorted(result["result"] for result in done.states.values()) == [False, True]
    assert not CRON.exists()


def test_bad_pillar_leaves_the_installed_schedule_in_force_and_says_so(apply):
    assert not apply({"requirement": NO_PIP}).failed
    before = everything()
    (state,) = apply({"requirement": NO_PIP, "clean": {"rate": -1}}).states.values()
    assert state["comment"].endswith("; the installed schedule stays in force")
    assert state["name"] == "the pillar of arp_hygiene is valid"
    assert everything() == before


@pytest.mark.parametrize("key", ["arp-hygiene", "ARP_Hygiene", "arphygiene"])
def test_misspelt_top_key_is_named(apply, key):
    tree = {"clean": {"exclude": "10.0.1.1"}}
    done = Applied(apply.caller.cmd("state.apply", "arp_hygiene", pillar={key: tree}, test=True))
    (comment,) = done.failed.values()
    line = f"pillar arp_hygiene: '{key}' is a top key of pillar, which nothing reads: call it "
    assert comment == f"{line}arp_hygiene"


NO_PILLAR = "no pillar arp_hygiene: all defaults"


@pytest.mark.parametrize("pillar", [{}, {"arp_hygiene": None}, {"arp": 1, "arp_fleet": {}}])
def test_missing_pillar_is_said(apply, pillar):
    done = Applied(apply.caller.cmd("state.apply", "arp_hygiene", pillar=pillar, test=True))
    assert not done.failed
    assert (NO_PILLAR in done.states[WORKS]["name"]) is ("arp_hygiene" not in pillar)


def test_bad_pillar_does_not_prevent_removal(apply):
    assert not apply({"requirement": NO_PIP}).failed
    assert CRON.exists()
    done = apply({"schedule": {"every": "often"}}, sls="arp_hygiene.remove")
    assert not done.failed
    assert not CRON.exists()


UNREAD = "the pillar of arp_hygiene is not read completely"
TEXTFILE = "the textfile in the directory that pillar names is removed"


@pytest.mark.parametrize("stray", [{}, {"metrics": "/m"}], ids=["beside", "metrics"])
def test_removal_under_a_misspelt_top_key_reads_ours_and_names_the_other(apply, tmp_path, stray):
    """In test mode: the environment of the tests needs pyroute2."""
    (tmp_path / "arp_hygiene.prom").touch()
    tree = {"metrics": str(tmp_path), "requirement": {"uninstall": True}}
    pillar = {"arp_hygiene": tree, "arp-hygiene": stray}
    done = Applied(apply.caller.cmd("state.apply", "arp_hygiene.remove", pillar=pillar, test=True))
    assert not done.failed
    assert TEXTFILE in done.pending
    assert {"pyroute2 is removed", "prometheus_client is removed"} <= set(done.states)
    comment = done.states[UNREAD]["comment"]
    assert comment.startswith("pillar arp_hygiene: 'arp-hygiene' is a top key of pillar, which")
    assert comment.endswith("correct it, then apply this again")


@pytest.mark.parametrize("test", [True, False])
def test_removal_that_could_not_read_all_does_not_say_that_nothing_is_here(apply, test):
    pillar = {"arp-hygiene": {"requirement": {"uninstall": True}}}
    caller = apply.caller
    done = Applied(caller.cmd("state.apply", "arp_hygiene.remove", pillar=pillar, test=test))
    (state,) = done.states.values()
    assert (state["__id__"], state["result"]) == (UNREAD, True)
    assert "; not looked at: " in state["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_removal_has_no_use_for_the_rest_of_a_bad_pillar(apply, tmp_path, test):
    textfile = tmp_path / "arp_hygiene.prom"
    textfile.touch()
    tree = {"schedule": {"every": "often"}, "metrics": str(tmp_path)}
    done = apply(tree, sls="arp_hygiene.remove", test=test)
    assert list(done.states) == list(done.changed) == [TEXTFILE]
    assert textfile.exists() is test
    textfile.unlink(missing_ok=True)
    (state,) = apply(tree, sls="arp_hygiene.remove", test=test).states.values()
    assert state["comment"].startswith("nothing to remove: ")


@pytest.fixture
def bare(tmp_path):
    """A minion on which our modules were never synced."""
    etc = tmp_path / "etc"
    return salt.client.Caller(str(configure(etc, file_roots=file_roots(tmp_path / "files"))))


#: The states that the first version has, with their arguments.
OLDER_STATES = """
def refused(name):
    return {"name": name, "result": False, "changes": {}, "comment": name}

def works(name, command, words):
    return {"name": name, "result": True, "changes": {}, "comment": "a test run would be made"}
"""
OLDER_PLAN = """
_settings_now = settings

def settings(defaults, pillar=None):
    plan = _settings_now(defaults, pillar)
    del plan["unread"]
    return plan
"""


@pytest.fixture
def older(tmp_path):
    """A minion that has modules of the first version still, of a master that is updated."""
    files = tmp_path / "files"
    options = {"root_dir": str(tmp_path), "file_roots": file_roots(files)}
    modules = {"_states": OLDER_STATES}
    modules["_modules"] = (REPO / "_modules/arp_hygiene.py").read_text() + OLDER_PLAN
    for room, text in modules.items():
        (files / room).mkdir(parents=True)
        (files / room / "arp_hygiene.py").write_text(text)
    config = str(configure(tmp_path / "etc", enable_fqdns_grains=False, **options))
    sync(salt.client.Caller(config))
    return salt.client.Caller(config)


def test_modules_of_an_older_version_say_what_is_refused(older):
    def apply(sls, pillar):
        return Applied(older.cmd("state.apply", sls, pillar=pillar, test=True))

    bad = {"arp_hygiene": {"event": 5}}
    (state,) = apply("arp_hygiene", bad).states.values()
    line = "pillar arp_hygiene:event: 5 is neither true nor false"
    assert (state["result"], state["comment"]) == (False, line)
    (state,) = apply("arp_hygiene.remove", bad).states.values()
    assert state["comment"] == f"{line}; metrics and requirement:uninstall were not looked at"
    (state,) = apply("arp_hygiene.remove", {}).states.values()
    assert state["comment"].startswith("nothing to remove: ")
    done = apply("arp_hygiene", {})
    assert not done.failed
    assert NO_PILLAR in done.states[WORKS]["name"]


UNSYNCED = "the modules of arp_hygiene are installed"
SYNC = "the formula's modules are not on this minion yet: run saltutil.sync_all, or a highstate"
REMOVE = (
    "the formula's modules are not on this minion, so nothing is removed: run saltutil.sync_all, "
    "then this again; found here: "
)


def refusals(minion, sls, **kwargs):
    """Return the line of each refusal, in test mode and without, of which nothing is changed."""
    before = everything()
    for test in (True, False):
        done = Applied(minion.cmd("state.apply", sls, test=test, **kwargs))
        assert list(done.states) == list(done.failed) == [UNSYNCED]
        assert everything() == before
        comment = done.failed[UNSYNCED]
        if test and not KEEPS_COMMENTS:
            comment = comment.partition("(")[2].rpartition(")")[0]
        yield comment


@pytest.mark.parametrize("part", ["", ".announce"])
def test_minion_without_modules_is_told_to_sync(bare, part):
    assert list(refusals(bare, f"arp_hygiene{part}")) == [SYNC] * 2


def test_removal_without_modules_succeeds_where_nothing_is_left(bare):
    for test in (True, False):
        done = Applied(bare.cmd("state.apply", "arp_hygiene.remove", test=test))
        (state,) = done.states.values()
        assert (state["result"], state["changes"]) == (True, {})
        assert state["comment"].startswith("nothing to remove: ")


def places_of(minion):
    """Return every file that the formula may leave on a minion, but Salt's own."""
    etc = os.path.dirname(minion.opts["conf_file"])
    paths = {**formula_plan.paths(etc, minion.opts["root_dir"])}
    paths.update({f"announce_{part}": path for part, path in boot.PATHS.items()})
    del paths["schedule"], paths["record_mark"]  # that is in the run history
    return sorted({pathlib.Path(path) for path in paths.values()})


def test_removal_without_modules_names_every_file_that_is_left(bare):
    places, made = places_of(bare), []
    for path in places:
        made += [each for each in path.parents if not each.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/nowhere")
    try:
        for line in refusals(bare, "arp_hygiene.remove"):
            assert line.startswith(REMOVE)
            assert sorted(line.removeprefix(REMOVE).split(", ")) == [str(path) for path in places]
    finally:
        for path in places:
            path.unlink()
        for path in sorted(made, reverse=True):
            path.rmdir()


def test_removal_without_modules_fails_where_a_job_or_metrics_are_left(bare, tmp_path):
    schedule = pathlib.Path(bare.opts["conf_file"]).parent / "minion.d" / "_schedule.conf"
    schedule.parent.mkdir(exist_ok=True)
    schedule.write_text("schedule:\n  other: {function: test.ping, hours: 1}\n")
    (tmp_path / "arp_hygiene.prom").touch()
    tree = {"metrics": str(tmp_path), "requirement": {"uninstall": True}}
    parts = [
        str(tmp_path / "arp_hygiene.prom"),
        "the job arp_hygiene of the minion's scheduler",
        "requirement:uninstall in pillar",
    ]
    told = refusals(bare, "arp_hygiene.remove", pillar={"arp_hygiene": tree})
    assert list(told) == [f"{REMOVE}{', '.join((parts[0], parts[2]))}"] * 2
    schedule.write_text("schedule:\n  arp_hygiene: {function: arp_hygiene.run, minutes: 5}\n")
    told = refusals(bare, "arp_hygiene.remove", pillar={"arp_hygiene": tree})
    assert list(told) == [f"{REMOVE}{', '.join(parts)}"] * 2


@pytest.mark.parametrize(
    "settings", ["x", 5, ["x"], [{"name": "x"}], [{"name": 5, "value": 3}]], ids=str
)
def test_malformed_settings_are_one_line(caller, settings):
    with pytest.raises(CommandExecutionError, match=r"is not a list of \{name: ..., value: ...\}$"):
        caller.cmd("arp_hygiene.sysctl", settings)
