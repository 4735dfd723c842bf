"""arp.clean among other states: what Salt's own compiler makes of an SLS file that uses it."""

import pathlib
import subprocess
import textwrap

import pytest
from formula import Applied, caller, veth  # noqa: F401

DEAD = "02:00:00:00:00:0a"
TOUCHED = "a file that changes"
NEIGHBOURS = ("192.0.2.10", "192.0.2.11")


@pytest.fixture
def apply(caller, veth):
    """Apply the text of an SLS; the table holds one STALE and one REACHABLE entry."""
    # REACHABLE until the test is over, however long that takes
    timer = pathlib.Path(f"/proc/sys/net/ipv4/neigh/{veth}/base_reachable_time_ms")
    timer.write_text("3600000")
    for address, state in zip(NEIGHBOURS, ("stale", "reachable"), strict=True):
        words = f"ip neigh replace {address} lladdr {DEAD} nud {state} dev {veth}"
        subprocess.run(words.split(), check=True)
    path = pathlib.Path(caller.opts["root_dir"], "files", "own.sls")

    def run(text, **words):
        path.write_text(textwrap.dedent(text))
        return Applied(caller.cmd("state.apply", "own", **words))

    yield run
    path.unlink()


def table(device="v.1"):
    shown = subprocess.check_output(["ip", "neigh", "show", "dev", device, "nud", "all"], text=True)
    return [address for address in NEIGHBOURS if f"{address} " in shown]


def test_flush_without_nud_is_refused(apply):
    """Salt drops `state: STALE`: without `nud` the flush would delete all states."""
    done = apply("clean: {arp.clean: [{dev: v.1}, {how: flush}, {state: STALE}]}")
    assert done.states["clean"]["result"] is False
    assert "`state` is a reserved SLS keyword and is ignored" in done.states["clean"]["comment"]
    assert table() == list(NEIGHBOURS)
    done = apply("clean: {arp.clean: [{dev: v.1}, {how: flush}, {nud: STALE}]}")
    assert done.states["clean"]["result"] is True
    assert table() == ["192.0.2.11"]


FLUSH = "[{dev: v.1}, {how: flush}, {nud: all}, %s]"
WORKS = "{test.succeed_with_changes: []}"
QUIET = "{test.succeed_without_changes: []}"


@pytest.mark.parametrize(
    ("requisite", "other", "flushed"),
    [
        ("{require: [{test: first}]}", QUIET, True),
        ("{require: [{test: first}]}", "{test.fail_without_changes: []}", False),
        ("{onchanges: [{test: first}]}", WORKS, True),
        ("{onchanges: [{test: first}]}", QUIET, False),
        ("{onlyif: 'true'}", QUIET, True),
        ("{onlyif: 'false'}", QUIET, False),
        ("{unless: 'true'}", QUIET, False),
    ],
)
def test_requisites(apply, requisite, other, flushed):
    done = apply(f"first: {other}\nclean: {{arp.clean: {FLUSH % requisite}}}")
    assert bool(done.changed.get("clean")) == flushed
    assert table() == ([] if flushed else list(NEIGHBOURS))


@pytest.mark.parametrize("requisite", ["watch", "listen"])
def test_watch_and_listen_clean_again(apply, requisite, tmp_path):
    """An entry that came between the first cleaning and the change goes too."""
    late = f"ip neigh replace 192.0.2.12 lladdr {DEAD} nud stale dev v.1"
    text = f"""
        clean:
          arp.clean:
            - dev: v.1
            - how: flush
            - nud: STALE
            - exclude: ["192.0.2.10", "192.0.2.11"]
            - {requisite}: [{{cmd: late}}]
        late:
          cmd.run:
            - name: {late}
    """
    done = apply(text)
    assert not done.failed
    told = [
        state for state in done.answer.values() if state["name"] == "clean" and state["changes"]
    ]
    assert [list(state["changes"]) for state in told] == [["192.0.2.12 on v.1"]]
    assert table() == list(NEIGHBOURS)
