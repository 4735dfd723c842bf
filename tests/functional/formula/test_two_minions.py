"""Two minions on one host: the second one neither overwrites nor removes what the first has."""

import json
import pathlib
import subprocess

import pytest
from formula import (  # noqa: F401
    BIN,
    CRON,
    NO_PIP,
    SYSCTL,
    Applied,
    apply,
    caller,
    everything,
    veth,
)

from lab.saltstack import configure

UNIT = pathlib.Path("/etc/systemd/system/arp-hygiene-sentinel.service")
ANNOUNCE = [
    pathlib.Path("/etc/cron.d/arp_hygiene_announce"),
    pathlib.Path("/etc/sysctl.d/61-arp-hygiene-announce.conf"),
]
NOTHING = {"requirement": NO_PIP, "schedule": {"backend": "none"}}


@pytest.fixture
def second(apply, tmp_path):
    """Return a function: apply an SLS as the host's second minion; root_dir is the first one's."""
    first = apply.caller.opts
    options = {"root_dir": first["root_dir"], "file_roots": first["file_roots"]}
    conf = configure(tmp_path / "etc", **options, enable_fqdns_grains=False)

    def run(sls, tree, test=False):
        pillar = json.dumps({"arp_hygiene": tree})
        words = [str(BIN / "salt-call"), "--local", "-c", str(conf.parent), "--out=json"]
        words += ["--log-level=quiet", "state.apply", sls, f"pillar={pillar}", f"test={test}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return Applied(json.loads(done.stdout)["local"])

    run.etc = conf.parent
    yield run
    for path in (UNIT, *ANNOUNCE):
        path.unlink(missing_ok=True)


def of_first(apply, veth):
    """Install a schedule, settings, the announcement and a sentinel; return the pillar."""
    tree = {"requirement": NO_PIP, "sysctl": {"mcast_resolicit": {veth: 3}}}
    assert not apply(tree).failed
    assert not apply(tree, "arp_hygiene.announce").failed
    UNIT.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text(f"# x Minion: {apply.script.parent}\n")
    return tree


def history(apply):
    return {path.name: path.read_bytes() for path in apply.record.iterdir()}


def test_second_minion_is_refused_before_anything_is_changed(apply, second, veth):
    tree = of_first(apply, veth)
    before, record, owner = everything(), history(apply), f"configured in {apply.script.parent}: "
    for sls, wanted, path in (
        ("arp_hygiene", tree, CRON),
        ("arp_hygiene", {**NOTHING, "sysctl": tree["sysctl"]}, SYSCTL),
        ("arp_hygiene", {**NOTHING, "sentinel": {"as": "engine"}}, UNIT),
        ("arp_hygiene.announce", NOTHING, ANNOUNCE[0]),
    ):
        done = second(sls, wanted)
        [line] = done.failed.values()
        assert f"{path} belongs to another minion of this host, {owner}" in line
        assert (done.changed, "\n" in line) == ({}, False)
    assert second("arp_hygiene", tree, test=True).failed
    assert not [path for path in second.etc.rglob("*") if "arp" in path.name]
    assert (everything(), history(apply)) == (before, record)
    UNIT.unlink()
    assert not apply(tree).changed


def test_schedule_that_the_first_one_gives_up_may_be_the_second_ones(apply, second):
    """As the refusal advises: want this there alone. The run history stays, and changes hands."""
    wanted = {"requirement": NO_PIP}
    assert not apply(wanted).failed
    assert second("arp_hygiene", wanted).failed
    (apply.record / "heals").write_text("kept\n")
    kept = {name: text for name, text in history(apply).items() if name != "minion"}
    assert "the run history is no minion's" in apply(NOTHING, test=True).pending
    assert (apply.record / "minion").exists()
    assert not apply(NOTHING).failed
    assert history(apply) == kept
    again = apply(NOTHING)
    assert (again.failed, again.changed) == ({}, {})
    assert not second("arp_hygiene", wanted).failed
    assert f" Minion: {second.etc}\n" in (apply.record / "minion").read_text()
    assert apply(wanted).failed


def test_removal_by_second_minion_leaves_what_the_first_has(apply, second, veth):
    tree = of_first(apply, veth)
    engine = second.etc / "minion.d" / "arp_hygiene_sentinel.conf"
    engine.parent.mkdir()
    engine.write_text("engines: []\n")
    before, record = everything(), history(apply)
    none = second("arp_hygiene", NOTHING)
    assert (none.failed, set(none.changed)) == ({}, {str(engine)})
    engine.write_text("engines: []\n")
    done = second("arp_hygiene.remove", tree)  # what it wants is refused here
    assert (done.failed, set(done.changed)) == ({}, {str(engine)})
    stays = [name for name in done.states if " stays: it belongs to the minion that" in name]
    places = {CRON, SYSCTL, UNIT, *ANNOUNCE, apply.record}
    assert {line.split()[0] for line in stays} == set(map(str, places))
    assert (everything(), history(apply)) == (before, record)
    UNIT.unlink()
    assert not apply(tree, "arp_hygiene.remove").failed
    assert not [path for path in (CRON, SYSCTL, *ANNOUNCE, apply.record) if path.exists()]
