"""A real systemd as process 1: timer fires, run heals, journal tells, remove leaves nothing."""

import json
import pathlib
import tempfile

import pytest
import yaml

from lab.saltstack import BIN, REPOSITORY, configure, pillar_roots
from lab.systemd import cannot_boot, with_systemd

pytestmark = pytest.mark.long

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
PILLAR = {
    "schedule": {"backend": "systemd", "every": 1, "splay": 0},
    "requirement": {"install": "none"},
}
SCRIPT = """\
ip link set lo up
ip link add db0 type veth peer name w0
ip link set db0 up
ip link set w0 address {born}
ip address add 192.0.2.1/24 dev db0
mkdir -p /run/netns
ip netns add worker
ip link set w0 netns worker
ip -n worker link set w0 up
ip -n worker address add 192.0.2.10/24 dev w0
call() {{ {salt_call} -c {root} --local -l quiet --out=json "$@" 2>/dev/null; }}
part() {{ printf '\\n== %s\\n' "$1"; }}
call saltutil.sync_all >/dev/null
part apply
call state.apply arp_hygiene
part timer
systemctl is-enabled arp-hygiene.timer
systemctl is-active arp-hygiene.timer
echo 3600 >/proc/sys/net/ipv4/neigh/db0/gc_stale_time  # other tests' entries count: no collection
ip neigh replace 192.0.2.10 lladdr {dead} nud reachable dev db0
for second in $(seq 240); do
    ip neigh show 192.0.2.10 | grep -q {born} && break
    sleep 1
done
for second in $(seq 120); do
    journalctl -t arp_hygiene --no-pager -o cat | grep -q healed && break
    sleep 1
done
part table
ip neigh show 192.0.2.10
part journal
journalctl -t arp_hygiene --no-pager -o cat
part failed
systemctl list-units --failed --no-legend 'arp-hygiene*'
part status
call arp_hygiene.status
part remove
wait=/run/systemd/system/arp-hygiene.service.d
mkdir $wait
printf '[Service]\nExecStartPre=/bin/sleep 600\n' >$wait/wait.conf
systemctl daemon-reload
systemctl start --no-block arp-hygiene.service
for second in $(seq 240); do  # until that run waits for its turn
    systemctl show -P SubState arp-hygiene.service | grep -q start-pre && break
    sleep 1
done
rm -r $wait
call state.apply arp_hygiene.remove
part left
pgrep -f '^/bin/sleep 600'
systemctl list-units --failed --no-legend 'arp-hygiene*'
find /etc/systemd /run/systemd /etc/sysctl.d /etc/cron.d {root}/var/lib -name '*arp?hygiene*'
systemctl list-unit-files 'arp-hygiene*' --no-legend
systemctl list-timers --all 'arp-hygiene*' --no-legend
part again
call state.apply arp_hygiene.remove
"""


@pytest.fixture(scope="module")
def told():
    """What a machine told that systemd runs, part by part."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="d") as where:
        why = cannot_boot(where)
        if why:
            pytest.skip(why)
        root = pathlib.Path(where, "m")
        configure(
            root,
            file_roots={"base": [str(REPOSITORY / "salt")]},
            pillar_roots=pillar_roots(root / "pillar", {"arp_hygiene": PILLAR}),
            enable_fqdns_grains=False,
        )
        log = pathlib.Path(where, "log")
        script = SCRIPT.format(salt_call=f"{BIN}/salt-call", root=root, dead=DEAD, born=BORN)
        with_systemd(script, log, where, 900)
        parts = log.read_text().split("\n== ")[1:]
        yield dict(part.split("\n", 1) for part in parts)


def states(text):
    return {state["__id__"]: state for state in json.loads(text)["local"].values()}


def test_job_is_installed_and_tested(told):
    done = states(told["apply"])
    assert all(state["result"] for state in done.values()), done
    assert done["a test run succeeds"]["comment"] == "test run succeeded, nothing was changed"
    assert told["timer"].split() == ["enabled", "active"]


def test_timer_starts_a_run_that_heals_and_logs(told):
    assert f"lladdr {BORN}" in told["table"]
    line = f"1 healed: 192.0.2.10 on db0: {DEAD} -> {BORN}"
    assert told["journal"].splitlines() == [line]
    assert told["failed"].strip() == ""
    (status,) = yaml.safe_load(told["status"])["local"]
    assert (status["installed"], status["said"]) == ("systemd * * * * *", line)
    assert (status["healed_7d"], status["problem"]) == (1, "")


def test_nothing_is_left(told):
    done = states(told["remove"])
    assert all(state["result"] for state in done.values())
    assert done["the systemd service of a run is neither waiting nor failed"]["changes"]
    assert told["left"].strip() == ""
    assert list(states(told["again"])) == ["arp_hygiene has nothing to remove here"]
