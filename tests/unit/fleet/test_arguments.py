"""Arguments as somebody may type them who may call one runner function, and nothing else."""

import pytest
from arp_engine.fleet import arguments, html_report
from arp_engine.fleet import heal as fleet_heal
from arp_engine.fleet.settings import Settings, parse_settings

BY_PILLAR = "I@db:password:a*"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("/etc/passwd", "not the name of a file that ends in .html"),
        ("/etc/cron.d/x.html", "is not the name of a file in"),
        ("../x.html", "is not the name of a file in"),
        ("a/x.html", "is not the name of a file in"),
        (".x.html", "is not the name of a file in"),
        ("x\n.html", "is not the name of a file in"),
        (5, "not the name of a file"),
    ],
    ids=str,
)
def test_page_is_refused_outside_the_directory(tmp_path, value, line):
    with pytest.raises(ValueError, match=r"^report: [^\n]*$") as refused:
        arguments.page(value, Settings(str(tmp_path)))
    assert line in str(refused.value)


def test_page_needs_a_directory_in_the_masters_configuration():
    with pytest.raises(ValueError, match="set `arp_fleet: directory`"):
        arguments.page("x.html", Settings())


def test_page_may_replace_a_page_and_no_other_file(tmp_path):
    allowed = Settings(str(tmp_path))
    path = tmp_path / "x.html"
    assert arguments.page("x.html", allowed) == arguments.page(str(path), allowed) == str(path)
    path.write_text(html_report.page({"summary": []}, 1.8e9), encoding="utf-8")
    assert arguments.page("x.html", allowed) == str(path)
    path.write_text("<!doctype html>\nsomebody else's", encoding="utf-8")
    (tmp_path / "link.html").symlink_to("/etc/passwd")
    (tmp_path / "dir.html").mkdir()
    for name in ("x.html", "link.html", "dir.html"):
        with pytest.raises(ValueError, match="exists and is not a page"):
            arguments.page(name, allowed)


@pytest.mark.parametrize("configured", ["arp.html", "{}/arp.html", "{}//arp.html"])
def test_page_of_the_recorded_runs_is_written_by_these_alone(tmp_path, configured):
    record = {"report": configured.format(tmp_path)}
    allowed = parse_settings({"directory": str(tmp_path), "record": record})
    for value in ("arp.html", str(tmp_path / "arp.html")):
        with pytest.raises(ValueError, match="is the page of the recorded runs"):
            arguments.page(value, allowed)
    given = {**arguments.DEFAULTS, "report": "arp.html", "record": True}
    assert arguments.parse_all(given, allowed)["report"] == str(tmp_path / "arp.html")


def test_pages_do_not_fill_the_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "MAX_FILES", 1)
    page = html_report.page({"summary": []}, 1.8e9)
    (tmp_path / "x.html").write_text(page, encoding="utf-8")
    allowed = Settings(str(tmp_path))
    assert arguments.page("x.html", allowed)
    with pytest.raises(ValueError, match="has 1 files; at most 1"):
        arguments.page("y.html", allowed)


@pytest.mark.parametrize(
    ("tgt", "tgt_type"),
    [
        (BY_PILLAR, "compound"),
        ("db* or (J@a:b)", "compound"),
        ("a:b", "pillar"),
        ("a:.", "pillar_pcre"),
        ("I|@a|b", "compound"),
        ("db* or\tJ;@a;b", "compound"),
        ("(I@a:b)", "compound"),
    ],
)
def test_target_by_pillar_is_refused_unless_configured(tgt, tgt_type):
    with pytest.raises(ValueError, match="is a target by pillar"):
        arguments.check_pillar("tgt", tgt, tgt_type, Settings())
    arguments.check_pillar("tgt", tgt, tgt_type, Settings(targets=(tgt,)))


def test_default_target_is_allowed():
    arguments.check_pillar("tgt", arguments.DATABASES, "compound", Settings())


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: arguments.target("tgt", "x" * 10_001), "more than 100000 ids, or 10000 char"),
        (lambda: arguments.target("tgt", ["x"] * 100_001), "more than 100000 ids"),
        (lambda: arguments.networks("exclude", ["10.0.0.1"] * 1001), "1001 networks; at most"),
        (lambda: arguments.fabric(["02:00:00:00:00:0a"] * 1001), "1001 MAC addresses; at most"),
    ],
)
def test_arguments_have_a_bound(call, line):
    with pytest.raises(ValueError, match=line):
        call()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("x", "allowed are directory, mode"),
        ({"dir": "/x"}, "allowed are directory, mode"),
        ({"directory": "x"}, "directory: 'x' is not an absolute path"),
        ({"mode": 420}, "mode: 420 is not a mode in quotes"),
        ({"targets": "I@x"}, "targets: 'I@x' is not a list"),
        ({"record": True}, "record: True is not a dictionary"),
        ({"record": {"networks": [], "limit": 5}}, "record: 'limit' is not one of tgt, .*, report"),
        ({"record": {1: 2}}, "record: 1 is not one of tgt"),
        ({"record": {"report": "/srv/arp.html"}}, "report: '/srv/arp.html' is not the name of a"),
        ({"record": {"report": "arp.htm"}}, "report: 'arp.htm' is not the name of a file in"),
        ({"record": {"report": 5}}, "report: 5 is not the name of a file in"),
        ({"memory_days": 0}, "memory_days: 0 is not a whole number of days"),
    ],
)
def test_bad_settings_are_one_line(value, line):
    with pytest.raises(ValueError, match=line):
        parse_settings(value)


def test_recorded_run_has_the_configured_arguments(tmp_path):
    allowed = parse_settings({"directory": str(tmp_path), "record": {"exclude": "10.9.0.0/16"}})
    given = {**arguments.DEFAULTS, "exclude": "10.9.0.0/16", "record": True}
    arguments.parse_all(given, allowed)
    for other in ({"exclude": "0.0.0.0/0"}, {"tgt": "nobody"}, {"truth": "cached"}):
        with pytest.raises(ValueError, match=r"^record: \w+ differs from `arp_fleet: record`"):
            arguments.parse_all({**given, **other}, allowed)
    with pytest.raises(ValueError, match=r"^record: set `arp_fleet: directory`"):
        arguments.parse_all(given, Settings())


def test_budget_for_no_entry_is_refused():
    least = fleet_heal.WORST
    arguments.parse_all({"budget": least}, Settings())
    line = f"^budget: {least - 1} is not a whole number of probes from {least} to "
    with pytest.raises(ValueError, match=line):
        arguments.parse_all({"budget": least - 1}, Settings())


def test_command_to_copy_names_a_list_as_one():
    given = {
        **arguments.DEFAULTS,
        "tgt": ["db1", "db2"],
        "tgt_type": "glob",
        "machines": ["w1"],
        "exclude": ["10.8.0.0/16", "10.9.0.0/16"],
    }
    assert arguments.command("audit", given, {"wrong": [{}]}) == (
        "salt-run arp.heal tgt=db1,db2 tgt_type=list machines=w1 machines_type=list "
        "exclude=10.8.0.0/16,10.9.0.0/16"
    )
    given |= {"tgt": "db*", "machines": "*"}
    assert "'tgt=db*' tgt_type=glob exclude=" in arguments.command("audit", given, {"gone": [{}]})


def test_settings():
    given = {"directory": "/srv/arp/", "mode": "0644", "targets": ["I@role:pg"]}
    assert parse_settings(given) == Settings("/srv/arp", 0o644, ("I@role:pg",))
    assert parse_settings(None) == Settings()
