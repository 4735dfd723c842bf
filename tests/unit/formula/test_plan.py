"""What the formula does, from plain facts: hosts and containers that no test machine is."""

import pytest
import yaml
from arp_engine.formula import boot, pillar, sentinel_unit
from arp_engine.formula import plan as formula_plan
from arp_engine.formula.live_settings import Kept

FACTS = formula_plan.Facts(
    minion_id="db1",
    config_dir="/etc/salt",
    root_dir="/",
    os_family="Debian",
    booted=True,
    gid=0,
    salt_call="/usr/bin/salt-call",
    cron_here=True,
    is_cron_of_busybox=False,
    missing_devices={"clean": [], "announce": [], "sentinel": []},
    missing_directories=[],
    why_requirement_unmet="",
    croniter_here=True,
    found={},
    textfile="",
    pillar_textfile="",
    kept={"sysctl": {}, "announce": {}},
    sysctl={},
    thresholds={},
    announce=[],
    conf={},
    sentinel=sentinel_unit.MinionFacts(
        booted=True,
        by_ssh=False,
        python="/opt/saltstack/salt/bin/python3",
        code="c0de",
        bundle="/etc/salt/arp_hygiene_sentinel.pyz",
        code_is_public=True,
        installed=[],
        engines=[],
        restart=["/usr/bin/salt-call", "--local", "service.restart", "salt-minion"],
    ),
    foreign={},
)
BOTH = {"mcast_resolicit": 3, "gc_thresh1": 0}


@pytest.fixture
def plan(repo):
    """Return the plan of a pillar tree on a minion where these facts differ from FACTS."""
    defaults = yaml.safe_load((repo / "salt/arp_hygiene/defaults.yaml").read_text())

    def run(tree=None, **facts):
        return formula_plan.plan(pillar.check(defaults, tree), FACTS._replace(**facts))

    return run


def keys(*scopes, **why):
    """Return both families' settings with these scopes; ``why`` a key cannot be written."""
    here = {key: why.get(key, "") for key in ("mcast_resolicit", "gc_thresh1")}
    device = {"mcast_resolicit": here["mcast_resolicit"]}
    scopes = {scope: here if scope == "default" else device for scope in scopes}
    return {"ipv4": scopes, "ipv6": scopes}


def test_host_sets_defaults_of_both_families_and_each_device_that_is_there(plan):
    """In the file the defaults are enough: at boot they come before the devices."""
    told = plan({"sysctl": BOTH}, sysctl=keys("default", "eth0", "lo"))["sysctl"]
    value = {"value": 3, "may_vanish": True}
    assert [each for each in told["settings"] if "default" not in each["name"]] == [
        {"name": f"net.{family}.neigh.eth0.mcast_resolicit", **value} for family in ("ipv4", "ipv6")
    ]
    assert told["lines"][1:] == [
        "net.ipv4.neigh.default.mcast_resolicit = 3",
        "net.ipv6.neigh.default.mcast_resolicit = 3",
        "net.ipv4.neigh.default.gc_thresh1 = 0",
        "net.ipv6.neigh.default.gc_thresh1 = 0",
    ]
    assert told["skipped"] == []


def test_container_sets_each_device(plan):
    container = {"ipv4": keys("eth0.7", "lo")["ipv4"]}
    told = plan({"sysctl": BOTH}, sysctl=container)["sysctl"]
    name = "net.ipv4.neigh.eth0/7.mcast_resolicit"
    assert told["settings"] == [{"name": name, "value": 3, "may_vanish": True}]
    assert told["lines"][1:] == [f"{name} = 3"]
    assert told["skipped"] == [
        "skipped: net.ipv6.neigh.default.mcast_resolicit: not available in this network namespace",
        "skipped: net.ipv4.neigh.default.gc_thresh1: not available in this network namespace",
        "skipped: net.ipv6.neigh.default.gc_thresh1: not available in this network namespace",
    ]


def test_unwritable_setting_is_skipped_with_the_reason(plan):
    here = keys("default", "eth0", mcast_resolicit="not writable by user 7")
    told = plan({"sysctl": {"mcast_resolicit": 3}}, sysctl=here)["sysctl"]
    assert (told["settings"], told["lines"]) == ([], [])
    assert told["skipped"][0] == (
        "skipped: net.ipv4.neigh.default.mcast_resolicit: not writable by user 7"
    )
    assert len(told["skipped"]) == 2, "a line for each family"


@pytest.mark.parametrize(
    ("family", "here", "package"),
    [
        ("Debian", False, "cron"),
        ("RedHat", False, "cronie"),
        ("Gentoo", False, "cron"),
        ("RedHat", True, None),
    ],
)
def test_package_of_a_missing_cron_daemon_by_os_family(plan, family, here, package):
    assert plan(os_family=family, cron_here=here)["job"]["package"] == package


def test_parts_of_an_earlier_pillar_are_removed(plan):
    parts = ("cron", "salt", "script", "textfile", "record", "sysctl")
    found = {**dict.fromkeys(parts, True), "systemd": False}
    told = plan(found=found)
    assert told["former"] == ["salt", "textfile", "sysctl"]
    assert told["there"] == told["removes"] == list(parts)
    told = plan({"schedule": {"backend": "salt"}}, found=found)
    assert told["former"] == ["cron", "script", "textfile", "sysctl"]


def test_run_history_stays_without_a_schedule(plan):
    """Heals by hand and by the sentinel are in it."""
    told = plan({"schedule": {"backend": "none"}}, found={"record": True, "cron": True})
    assert (told["former"], told["there"]) == (["cron"], ["record", "cron"])


def test_run_history_is_marked_as_long_as_a_schedule_is_wanted(plan):
    """Then another minion of the host may have one."""
    there = {"mark": True, "record": True}
    for backend, former in (("cron", []), ("salt", []), ("none", ["mark"])):
        tree = {"schedule": {"backend": backend}, "requirement": {"install": "none"}}
        told = plan(tree, found=there)
        assert (told["former"], told["idle"]) == (former, False)
    assert plan(tree, found={**there, "mark": False})["idle"]


def standing(values):
    """Return the settings in our file of them, each still as it is there."""
    return {name: Kept(value, [name]) for name, value in values.items()}


def test_dropped_setting_is_reported_as_in_force(plan):
    """In the run that drops it, and in a removal, whatever the pillar has become."""
    values = {"net.ipv4.neigh.default.mcast_resolicit": "3", "net.ipv4.neigh.default.locktime": "0"}
    kept = standing(values)
    here = {"ipv4": {"default": {"mcast_resolicit": ""}}}
    kept = {"sysctl": kept, "announce": {}}
    told = plan({"sysctl": {"mcast_resolicit": 3}}, kept=kept, sysctl=here)
    line = "still in force until the next boot: net.ipv4.neigh.default.locktime = 0"
    assert told["sysctl"]["dropped"] == [line]
    assert len(told["sysctl"]["left"]) == 2, "a removal leaves both"
    assert line in formula_plan.refused("why", {}, {}, kept, {}, {})["sysctl"]["left"]


def test_default_that_is_dropped_names_the_devices_on_which_it_stands(plan):
    """Each device was set with it, and keeps it: the line named `default` alone."""
    name = "net.ipv4.neigh.default.mcast_resolicit"
    devices = [name.replace("default", each) for each in ("eth0", "eth1")]
    kept = {"sysctl": {name: Kept("3", [name, *devices])}, "announce": {}}
    told = plan({}, kept=kept, sysctl=keys("default", "eth0", "eth1"))["sysctl"]
    line = "still in force until the next boot: net.ipv4.neigh.{}.mcast_resolicit = 3"
    assert told["dropped"] == told["left"] == [line.format("{default,eth0,eth1}")]
    tree = {"sysctl": {"mcast_resolicit": {"eth0": 5}}}
    told = plan(tree, kept=kept, sysctl=keys("default", "eth0", "eth1"))["sysctl"]
    assert told["dropped"] == [line.format("{default,eth1}")]
    kept = {"sysctl": {name: Kept("3", devices[:1])}, "announce": {}}
    assert plan({}, kept=kept)["sysctl"]["left"] == [line.format("eth0")]
    kept = {"sysctl": {name: Kept("3", [])}, "announce": {}}
    assert plan({}, kept=kept)["sysctl"]["left"] == [], "somebody has set it since"


def test_missing_device_keeps_former_settings_of_its_key(plan):
    """A typo for eth0: the file was removed, and the state said "Success!"."""
    kept = {"net.ipv4.neigh.eth0.mcast_resolicit": "3", "net.ipv4.neigh.eth0.gc_stale_time": "9"}
    facts = {"kept": {"sysctl": standing(kept), "announce": {}}, "found": {"sysctl": True}}
    facts["sysctl"] = keys("default", "eth0")
    told = plan({"sysctl": {"mcast_resolicit": {"eht0": 3}}}, **facts)
    assert told["former"] == []
    assert told["sysctl"]["settings"] == []
    assert told["sysctl"]["lines"][1:] == ["net.ipv4.neigh.eth0.mcast_resolicit = 3"]
    dropped = "still in force until the next boot: net.ipv4.neigh.eth0.gc_stale_time = 9"
    assert told["sysctl"]["dropped"] == [dropped]
    assert told["sysctl"]["skipped"][-1] == (
        "sysctl:mcast_resolicit waits for device eht0, which does not exist: correct the name, or "
        "apply arp_hygiene again when the device exists; until then these settings stay: "
        "net.ipv4.neigh.eth0.mcast_resolicit = 3"
    )


def test_setting_beside_a_missing_device_is_set(plan):
    kept = {"net.ipv4.neigh.eth0.mcast_resolicit": "3", "net.ipv6.neigh.eth1.mcast_resolicit": "4"}
    facts = {"sysctl": keys("default", "eth0", "eth1")}
    facts["kept"] = {"sysctl": standing(kept), "announce": {}}
    told = plan({"sysctl": {"mcast_resolicit": {"eth0": 5, "eht1": 4}}}, **facts)["sysctl"]
    assert [each["value"] for each in told["settings"]] == [5, 5]
    assert told["lines"][1:] == [
        "net.ipv4.neigh.eth0.mcast_resolicit = 5",
        "net.ipv6.neigh.eth0.mcast_resolicit = 5",
        "net.ipv6.neigh.eth1.mcast_resolicit = 4",
    ]
    assert told["dropped"] == []


def test_textfile_stays_while_pillar_names_its_directory(plan):
    facts = {"found": {"textfile": True}, "textfile": "/srv/metrics/arp_hygiene.prom"}
    assert plan({"metrics": "/srv/metrics"}, **facts)["former"] == []
    assert plan({"metrics": "/srv/elsewhere"}, **facts)["former"] == ["textfile"]


def test_metrics_require_their_library(plan):
    told = plan({"metrics": "/srv/metrics", "requirement": {"wheels": "/srv/wheels"}})
    assert [each["pip"]["name"] for each in told["requirement"]] == [
        "pyroute2>=0.7.2,<0.10",
        formula_plan.PROMETHEUS,
    ]
    assert all(each["pip"]["find_links"] == "/srv/wheels" for each in told["requirement"])
    assert told["job"]["arguments"]["metrics"] == "/srv/metrics"
    assert len(told["require"]) == 2
    packages = plan({"metrics": "/srv/metrics", "requirement": {"install": "package"}})
    assert [each["package"] for each in packages["requirement"]] == [
        "python3-pyroute2",
        "python3-prometheus-client",
    ]


def test_nothing_wanted_and_nothing_installed_is_idle(plan):
    nothing = {"schedule": {"backend": "none"}, "requirement": {"install": "none"}}
    assert plan(nothing)["idle"]
    assert not plan(nothing, found={"cron": True})["idle"]
    assert not plan()["idle"]


@pytest.mark.parametrize(
    ("tree", "facts", "line"),
    [
        ({}, {"gid": None}, "schedule:user: 'root': no such user"),
        ({}, {"salt_call": ""}, "schedule:salt_call: salt-call not found; set"),
        (
            {"salt_call": "/opt/salt-call"},
            {"salt_call": ""},
            "schedule:salt_call: '/opt/salt-call' is not an executable",
        ),
        (
            {},
            {"root_dir": "/var/tmp/.root_0a1b_salt/running_data", "salt_call": ""},
            "schedule:backend: 'cron': not supported over salt-ssh: requires an installed",
        ),
        ({"backend": "systemd"}, {"booted": False}, "schedule:backend: 'systemd' is not running"),
        (
            {"backend": "salt", "hour": "3"},
            {"croniter_here": False},
            "schedule:minute: Salt's scheduler reads cron's notation only where",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unsatisfiable_pillar_is_one_line(plan, tree, facts, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        plan({"schedule": tree}, **facts)


PAIRS = [
    ({"schedule": {"every": 0, "usr": "x"}}, ["schedule:'usr': no such key", "schedule:every: "]),
    ({"schedule": {"splay": -1}, "event": "x"}, ["schedule:splay: ", "event: "]),
    ({"clean": {"ip": "10.0.1.0/33", "exclude": "10.0.1.1/24"}}, ["clean:ip: ", "clean:exclude: "]),
    ({"clean": {"how": "no", "rate": -1}}, ["clean:how: ", "clean:rate: "]),
    ({"announce": {"wait": -1, "notify": 5}}, ["announce:notify: ", "announce:wait: "]),
    ({"requirement": {"install": 1, "package": "-"}}, ["requirement:install", "requirement:pack"]),
    ({"sysctl": {"locktime": "x"}, "sentinel": 5}, ["sysctl:locktime: ", "sentinel: "]),
    ({"usr": 1, "evnt": 2, "metrics": "x"}, ["'usr', 'evnt': no such key", "metrics: "]),
]


@pytest.mark.parametrize(("tree", "told"), PAIRS, ids=[told[0] for _tree, told in PAIRS])
def test_each_bad_value_is_named(plan, tree, told):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        plan(tree)
    places = [str(refused.value).find(each) for each in told]
    assert -1 not in places, str(refused.value)
    assert places == sorted(places)


def test_of_many_bad_values_the_first_ones_are_named(plan):
    sysctl = {"locktime": "x", "gc_thresh1": "x", "gc_thresh2": "x"}
    with pytest.raises(ValueError, match=r"^[^\n]{1,1000}; and 2 more$") as refused:
        plan({"sysctl": sysctl, "event": "x", "metrics": "x", "sentinel": 5})
    assert str(refused.value).count("; ") == 4


@pytest.mark.parametrize("section", ["clean", "sentinel"])
def test_of_many_unknown_keys_the_first_ones_are_named(plan, section):
    many = {f"key{number}": 1 for number in range(1000)}
    with pytest.raises(ValueError, match=r"^[^\n]{1,1000}$") as refused:
        plan({section: many, **many})
    assert str(refused.value).count("'key3' and 996 more: no such key; ") == 2
    assert "'key4'" not in str(refused.value)


def test_every_plan_has_the_same_keys_and_the_docstring_names_them(plan):
    places = formula_plan.paths("/etc/salt", "/")
    refused = formula_plan.refused("why", places, {}, FACTS.kept, {}, {})
    assert set(refused) == set(plan())
    assert all(f"\n{key} " in formula_plan.__doc__ for key in refused)


UNINSTALL = {"uninstall": True}


@pytest.mark.parametrize(
    ("tree", "uninstalled", "metrics", "unread"),
    [
        ({"schedule": {"every": "often"}, "requirement": UNINSTALL}, True, None, ""),
        ({"clean": 5, "metrics": "/m", "requirement": UNINSTALL}, True, "/m", ""),
        ({"requirement": {**UNINSTALL, "version": 1, "wheels": "x"}}, True, None, ""),
        ({"event": 5}, False, None, ""),
        ({"metrics": "m", "requirement": UNINSTALL}, True, None, "metrics: 'm' is not an absolute"),
        ({"metrics": "/m", "requirement": {"uninstall": 1}}, False, "/m", "requirement:uninstall:"),
        ({"requirement": {"unistall": True}}, False, None, "requirement:'unistall': no such key"),
        ({"metric": "/m"}, False, None, "'metric': no such key"),
        ("x", False, None, " 'x' is not a mapping"),
    ],
    ids=str,
)
def test_removal_reads_its_part_of_a_refused_pillar_or_names_it(
    repo, tree, uninstalled, metrics, unread
):
    defaults = yaml.safe_load((repo / "salt/arp_hygiene/defaults.yaml").read_text())
    removal = pillar.for_removal(defaults, tree)
    refused = formula_plan.refused("why", {}, {}, FACTS.kept, {}, {}, removal)
    assert (refused["uninstall"], removal.metrics) == (uninstalled, metrics)
    libraries = ["pyroute2", "prometheus_client"] if metrics else ["pyroute2"]
    assert [each["name"] for each in refused["requirement"]] == (libraries if uninstalled else [])
    assert removal.unread.startswith(unread)
    assert bool(refused["unread"]) is bool(unread)
    assert "\n" not in refused["unread"]


# --- another minion of the host

SHARED = ("cron", "service", "timer", "sysctl", "sentinel_service", "record")


@pytest.mark.parametrize(
    ("theirs", "tree", "key", "path"),
    [
        ("cron", None, "schedule", "/etc/cron.d/arp_hygiene"),
        ("timer", {"schedule": {"backend": "systemd"}}, "schedule", "arp-hygiene.timer"),
        ("record", {"schedule": {"backend": "salt"}}, "schedule", "/var/lib/arp_hygiene/minion"),
        ("sysctl", {"sysctl": BOTH}, "sysctl", "/etc/sysctl.d/60-arp-hygiene.conf"),
        ("sentinel_service", {"sentinel": True}, "sentinel", "arp-hygiene-sentinel.service"),
    ],
)
def test_part_of_another_minion_is_refused_by_name(plan, theirs, tree, key, path):
    with pytest.raises(ValueError, match=f"^{key}: [^ ]*{path} belongs to another minion") as told:
        plan(tree, foreign={theirs: "/etc/venv-salt-minion"}, sysctl=keys("default"))
    line = str(told.value)
    assert ", configured in /etc/venv-salt-minion: apply arp_hygiene.remove there, or" in line
    file = line.split()[1]
    assert line.endswith(f"; if that minion is gone, delete {file}")
    assert "\n" not in line


def test_parts_of_another_minion_are_no_obstacle_where_none_is_wanted(plan):
    foreign = dict.fromkeys(SHARED, "/etc/venv-salt-minion")
    tree = {"schedule": {"backend": "none"}, "requirement": {"install": "none"}}
    told = plan(tree, foreign=foreign, pillar_textfile="/m/x.prom")
    assert (told["idle"], told["former"], told["there"]) == (True, [], [])
    assert told["foreign"] == foreign
    assert told["paths"]["pillar_textfile"] == ""
    assert [line.split()[0] for line in told["stays"]] == [told["paths"][name] for name in SHARED]
    owner = "it belongs to the minion that is configured in /etc/venv-salt-minion"
    assert all(line.endswith(f" stays: {owner}") for line in told["stays"])


def test_removal_leaves_a_run_history_that_is_not_ours(plan):
    """This minion has nothing here; a schedule finds the history, and gives it to its user."""
    told = plan(foreign={"sysctl": "/etc/x"}, found={"cron": False, "record": True})
    assert (told["there"], told["removes"], len(told["stays"])) == (["record"], [], 2)


def test_announcement_of_another_minion_is_refused_alone(plan):
    told = plan(foreign={"announce_sysctl": "/etc/venv-salt-minion"})
    assert told["refused"] == ""
    assert told["job"]["lines"]
    announce = told["announce"]
    assert announce["refused"].startswith(
        "pillar arp_hygiene:announce: /etc/sysctl.d/61-arp-hygiene-announce.conf belongs to another"
    )
    assert not any(announce[part] for part in ("cron", "service", "sysctl", "settings", "idle"))


def test_each_shared_file_names_its_minion(plan):
    tree = {"sysctl": BOTH, "sentinel": True}
    told = plan(
        tree, config_dir="/etc/x", sysctl=keys("default"), conf=dict.fromkeys(boot.SETTINGS, "")
    )
    timer = plan({"schedule": {"backend": "systemd"}}, config_dir="/etc/x")
    announce, unit = told["announce"], timer["announce"]
    files = [told["job"]["lines"], told["sysctl"]["lines"], told["sentinel"]["lines"], told["mark"]]
    files += [announce["cron"], announce["sysctl"], unit["service"]]
    files += [timer["job"]["service"], timer["job"]["timer"]]
    assert [lines[0].endswith(" Minion: /etc/x") for lines in files] == [True] * 9


# --- the sentinel


def here(**facts):
    return {"sentinel": FACTS.sentinel._replace(**facts)}


@pytest.mark.parametrize(
    ("wanted", "booted", "way"),
    [
        (None, True, ""),
        (False, True, ""),
        (True, True, "service"),
        (True, False, "engine"),
        ({}, True, "service"),
        ({"as": "engine"}, True, "engine"),
        ({"dev": "eth0", "as": None}, False, "engine"),
    ],
)
def test_sentinel_is_a_service_where_systemd_runs(plan, wanted, booted, way):
    told = plan({"sentinel": wanted}, **here(booted=booted))["sentinel"]
    assert (told["run_as"], bool(told["lines"])) == (way, bool(way))


def test_sentinel_gets_its_options_and_restarts_with_new_code(plan):
    wanted = {"dev": [" eth0\n"], "exclude": "10.0.0.1", "rate": 50, "reinject": False}
    lines = plan({"sentinel": wanted})["sentinel"]["lines"]
    [start] = [line for line in lines if line.startswith("ExecStart=")]
    assert start.startswith("ExecStart=/opt/saltstack/salt/bin/python3 ")
    word = r"{\"dev\": [\"eth0\"], \"exclude\": \"10.0.0.1\", \"rate\": 50, \"reinject\": false}"
    assert start.endswith(f'arp_hygiene_sentinel.pyz "{word}"')
    assert lines != plan({"sentinel": wanted}, **here(code="other"))["sentinel"]["lines"]


def _watched(told):
    [start] = [line for line in told["sentinel"]["lines"] if line.startswith("ExecStart=")]
    return start


@pytest.mark.parametrize(
    ("own", "all_of_it"),
    [
        (True, ["192.0.2.1", "10.0.0.0/8, 10.9.0.0/16"]),
        ({"exclude": "192.0.2.9"}, ["192.0.2.1", "10.0.0.0/8, 10.9.0.0/16", "192.0.2.9"]),
    ],
)
def test_sentinel_excludes_what_runs_exclude(plan, own, all_of_it):
    never = ["192.0.2.1", "10.0.0.0/8, 10.9.0.0/16"]
    told = plan({"clean": {"exclude": never}, "sentinel": own})
    assert all(word in _watched(told) for each in all_of_it for word in each.split(", "))


def test_former_kind_of_sentinel_is_removed(plan):
    both = here(installed=["service", "engine"])
    assert plan({"sentinel": True}, **both)["sentinel"]["former"] == ["engine"]
    assert plan({"sentinel": {"as": "engine"}}, **both)["sentinel"]["former"] == ["service"]
    found = {"found": {"sentinel": True}}
    assert plan({"sentinel": True}, **found)["former"] == []
    assert plan(**found)["former"] == ["sentinel"]
    assert plan()["sentinel"]["restart"] == "/usr/bin/salt-call --local service.restart salt-minion"


@pytest.mark.parametrize(
    ("wanted", "facts", "line"),
    [
        ("yes", {}, "sentinel: 'yes' is neither true nor false nor a mapping of dev, ip, exclude"),
        ([], {}, "sentinel: \\[\\] is neither true nor false"),
        ({"device": "eth0"}, {}, "sentinel:'device': no such key; dev, ip, exclude, family, rate"),
        ({"rate": 0}, {}, "sentinel:rate: 0: the sentinel needs a limit"),
        ({"dev": "a b"}, {}, "sentinel:dev: 'a b' is not the name of a network device"),
        ({"ip": "db1"}, {}, "sentinel:ip: 'db1' is not an IPv4 or IPv6 address"),
        ({"reinject": 1}, {}, "sentinel:reinject: 1 is neither true nor false"),
        ({"as": "cron"}, {}, "sentinel:as: 'cron' is not one of service, engine"),
        (
            {"as": "service"},
            {"booted": False},
            "sentinel:as: 'service': systemd is not running",
        ),
        ({"as": "engine"}, {"engines": ["reactor"]}, "sentinel:as: 'engine': .* reactor is in it"),
        (True, {"by_ssh": True}, "sentinel: not supported over salt-ssh: requires"),
    ],
    ids=str,
)
def test_impossible_sentinel_is_one_line(plan, wanted, facts, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        plan({"sentinel": wanted}, **here(**facts))


def test_absent_device_is_refused_for_runs_and_named_for_what_may_wait(plan):
    """Every run with it would fail; the sentinel watches it when it comes."""
    missing = {"clean": [], "announce": ["eth8"], "sentinel": ["eht0", "eth9"]}
    told = plan({"sentinel": True}, missing_devices=missing)
    assert told["waiting"] == "the sentinel waits for devices eht0, eth9, which do not exist"
    line = "announce:dev: no device 'eth8' here: announcements fail until there is one"
    assert told["announce"]["skipped"] == [line]
    assert plan()["waiting"] == ""
    with pytest.raises(ValueError, match=r"^clean:dev: no device 'eth7' here$"):
        plan(missing_devices={**missing, "clean": ["eth7"]})


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (
            {"gc_thresh3": 512},
            "sysctl:gc_thresh3: gc_thresh2 600 would be above gc_thresh3 512 (ipv4, in force): "
            "set gc_thresh2 too",
        ),
        (
            {"gc_thresh1": 601},
            "sysctl:gc_thresh1: gc_thresh1 601 would be above gc_thresh2 600 (ipv4, in force): "
            "set gc_thresh2 too",
        ),
        ({"gc_thresh2": 512, "gc_thresh3": 512}, ""),
        ({"gc_thresh1": 0}, ""),
        ({"mcast_resolicit": 3}, ""),
    ],
    ids=str,
)
def test_thresholds_are_compared_with_those_in_force(plan, wanted, line):
    in_force = {"ipv4": {"gc_thresh1": 128, "gc_thresh2": 600, "gc_thresh3": 1024}, "ipv6": {}}
    if not line:
        plan({"sysctl": wanted}, thresholds=in_force)
        return
    with pytest.raises(ValueError, match=r".") as refused:
        plan({"sysctl": wanted}, thresholds=in_force)
    assert str(refused.value) == line


def test_thresholds_are_not_compared_in_a_container(plan):
    """A container has none of its own."""
    plan({"sysctl": {"gc_thresh3": 512}}, thresholds={"ipv4": {}, "ipv6": {}})
