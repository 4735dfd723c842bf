"""Targets as this version of Salt resolves them, where nothing is cached of a minion."""

from pathlib import Path

import pytest
import salt.cache
import salt.config
import salt.loader
import salt.pillar
import salt.utils.master
import salt.version
from arp_engine.fleet import arguments, grains_cache, targets

IS_3008 = salt.version.__version_info__[0] >= 3008
ACCEPTED = {"db1": "database", "db2": None, "old": None, "pg1": "database", "web1": "web"}


@pytest.fixture
def opts(repo, tmp_path):
    """A master with five accepted keys; of two of them nothing is cached."""
    found = salt.config.master_config("/nowhere")
    found.update(
        root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"),
        sock_dir=str(tmp_path),
        pki_dir=str(tmp_path / "pki"),
        extension_modules=str(tmp_path / "extmods"),
        runner_dirs=[str(repo / "_runners")],
        engines_dirs=[str(repo / "_engines")],
        utils_dirs=[str(repo / "_utils")],
        nodegroups={"databases": "G@role:database or db*"},
        __role="master",
    )
    keys = Path(found["pki_dir"]) / "minions"
    keys.mkdir(parents=True)
    cache = salt.cache.factory(found)
    for name, role in ACCEPTED.items():
        (keys / name).write_text("a key")
        grains = {"role": role}
        if role and IS_3008:
            cache.store("grains", name, grains)
            cache.store("pillar", name, {})
        elif role:
            cache.store(f"minions/{name}", "data", {"grains": grains, "pillar": {}})
    return found


TARGETS = [
    (arguments.DATABASES, "compound", {"db1", "db2", "pg1"}, {"old"}),
    ("G@role:database", "compound", {"db1", "pg1"}, {"db2", "old"}),
    ("G@role:database and db*", "compound", {"db1"}, {"db2"}),
    ("* and not G@role:web", "compound", {"db1", "pg1"}, {"db2", "old"}),
    ("N@databases", "compound", {"db1", "db2", "pg1"}, {"old"}),
    ("role:database", "grain", {"db1", "pg1"}, {"db2", "old"}),
    ("role:data.*", "grain_pcre", {"db1", "pg1"}, {"db2", "old"}),
    ("role:database", "pillar", set(), {"db2", "old"}),
    ("db*", "glob", {"db1", "db2"}, set()),
    ("db1,old", "list", {"db1", "old"}, set()),
]


def master_for(opts):
    """Return the runner's master, which is about to resolve a target."""
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    master = runners["arp.audit"].__globals__["_Master"]
    master = master.__new__(master)
    master.cache, master._resolved = salt.cache.factory(opts), {}
    return master


@pytest.mark.parametrize(
    ("tgt", "tgt_type", "meant", "undecided"), TARGETS, ids=[f"{t[0]} {t[1]}" for t in TARGETS]
)
def test_runner_names_whom_a_target_may_mean(opts, tgt, tgt_type, meant, undecided):
    master = master_for(opts)
    reasons = dict.fromkeys(undecided, targets.UNDECIDED)
    assert (master.match(tgt, tgt_type), master.undecided(tgt, tgt_type)) == (meant, reasons)


def databases_by_pillar(opts, **environments):
    """Have minions that are databases by pillar alone ask the master for it, as Salt does."""
    root = Path(opts["root_dir"]) / "pillar"
    root.mkdir()
    names = ["base", "prod"]
    (root / "top.sls").write_text("".join(f"{name}: {{'*': [x]}}\n" for name in names))
    (root / "x.sls").write_text("role: database\n")
    opts["pillar_roots"] = {name: [str(root)] for name in names}
    cache = salt.cache.factory(opts)
    for name, environment in environments.items():
        (Path(opts["pki_dir"]) / "minions" / name).write_text("a key")
        grains = {"id": name}
        found = salt.pillar.get_pillar(opts, grains, name, "base", pillarenv=environment)
        pillar = found.compile_pillar()
        assert pillar == {"role": "database"}
        if IS_3008:  # see AESFuncs._pillar in salt/master.py
            cache.store("grains", name, grains)
        else:
            cache.store(f"minions/{name}", "data", {"grains": grains, "pillar": pillar})


PILLAR = "I@role:database"


@pytest.mark.parametrize(("tgt", "tgt_type"), [(PILLAR, "compound"), (PILLAR[2:], "pillar")])
def test_minion_whose_pillar_was_cleared_is_named(opts, tgt, tgt_type):
    databases_by_pillar(opts, pg2=None, pg3=None)
    assert {"pg2", "pg3"} <= master_for(opts).match(tgt, tgt_type)
    cleared = salt.utils.master.MasterPillarUtil("pg2", "glob", opts=opts)
    cleared.clear_cached_minion_data(clear_pillar=True)
    master = master_for(opts)
    meant, undecided = master.match(tgt, tgt_type), master.undecided(tgt, tgt_type)
    assert "pg3" in meant
    assert "pg2" not in meant
    assert undecided.pop("pg2") == grains_cache.NO_PILLAR
    assert undecided == dict.fromkeys(("db2", "old"), targets.UNDECIDED)


@pytest.mark.skipif(not IS_3008, reason="Salt before 3008 has one pillar of a minion")
def test_minion_with_a_pillarenv_is_named(opts, caplog):
    """Salt 3008 stores its pillar under another key than the one that it resolves a target with."""
    databases_by_pillar(opts, pg2="prod", pg3=None)
    master = master_for(opts)
    meant = master.match(arguments.DATABASES, "compound")
    undecided = master.undecided(arguments.DATABASES, "compound")
    assert meant == {"db1", "db2", "pg1", "pg3"}
    assert undecided == {"pg2": grains_cache.OTHER_PILLAR.format("prod"), "old": targets.UNDECIDED}
    assert listener_for(opts, arguments.DATABASES)._target() == (sorted(meant), "list")
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert lines[-2:] == [f"arp_born: not asked: {each}" for each in targets.lines(undecided)]


@pytest.mark.parametrize("tgt", ["G@role:database", "db* or E@pg2", "* and not web*"])
def test_target_without_pillar_needs_no_cached_pillar(opts, tgt):
    databases_by_pillar(opts, pg2="prod")
    assert "pg2" not in master_for(opts).undecided(tgt, "compound")


def test_nodegroup_names_the_minions_of_its_lists(opts):
    opts["nodegroups"] = {"some": ["db1", "dbtypo"], "all": "N@some or L@pg1,pgtypo"}
    named = master_for(opts).named("N@all and not L@db9", "compound")
    assert named == {"db1", "dbtypo", "pg1", "pgtypo"}


def listener_for(opts, tgt):
    """Return the engine's listener, which is about to resolve its target."""
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    engines = salt.loader.engines(opts, {}, runners, salt.loader.utils(opts))
    listener = engines["arp_born.start"].__globals__["_StartListener"]
    listener = listener.__new__(listener)
    listener.options = {"tgt": tgt, "tgt_type": "compound"}
    listener.cache, listener.undecided = salt.cache.factory(opts), {}
    listener.databases, listener.resolved_at = None, float("-inf")
    return listener


def test_engine_says_once_whom_it_does_not_ask(opts, caplog):
    listener = listener_for(opts, "G@role:database and db*")
    for _ in range(3):
        listener.resolved_at = float("-inf")
        assert listener._target() == (["db1"], "list")
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert lines == [
        "arp_born: not asked: db2: no cached grains: whether the target means it is not known"
    ]


def test_engine_names_the_minions_that_it_newly_does_not_ask(opts, caplog):
    """The first five by name are the same ones at each change."""
    listener = listener_for(opts, "G@role:database and db*")

    def told(*names):
        caplog.clear()
        for name in names:
            (Path(opts["pki_dir"]) / "minions" / name).write_text("a key")
        listener.resolved_at = float("-inf")
        listener._target()
        lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        return [line.removesuffix(f": {targets.UNDECIDED}") for line in lines]

    many = [f"db1{number}" for number in range(6)]
    assert told(*many) == ["arp_born: not asked: db10, db11, db12, db13, db14 and 2 more"]
    assert told("db9") == ["arp_born: not asked: db9"]
    assert told() == []


@pytest.mark.skipif(not IS_3008, reason="Salt before 3008 knows no resources")
def test_engine_asks_nobody_without_an_accepted_key(opts):
    """A minion registers resources with grains of its choice; they never answer."""
    from salt.utils.resource_registry import RESOURCE_GRAINS_BANK

    salt.cache.factory(opts).store(RESOURCE_GRAINS_BANK, "ssh:fake1", {"role": "database"})
    assert listener_for(opts, "G@role:database")._target() == (["db1", "pg1"], "list")
