"""The sentinel under a real systemd: installed, killed, outliving its minion, switched, removed."""

import json
import pathlib
import sys
import tempfile

import pyroute2
import pytest
import yaml
from arp_engine.formula import facts, sentinel_unit

from lab.saltstack import BIN, REPOSITORY, configure
from lab.systemd import cannot_boot, with_systemd

pytestmark = pytest.mark.long

HOST, DEAD, BORN = "02:00:00:00:00:01", "02:00:00:00:00:0a", "02:00:00:00:00:0b"
LISTEN = (
    "import socket; s = socket.create_server(('', 5432), family=10, dualstack_ipv6=True)\n"
    "while 1: s.accept()[0].close()"
)
#: Connect by the first SYN, which the kernel repeats after a second: the client gives up before,
#: after 18 times 50 ms. Exit code 2: the machine stalled, and a second SYN had left meanwhile.
CALL = (
    "import select, socket, sys; s = socket.socket(10 if ':' in sys.argv[1] else 2)\n"
    "s.bind((sys.argv[1], 0)); s.setblocking(False); s.connect_ex((sys.argv[2], 5432))\n"
    "ends = any(select.select([], [s], [], 0.05)[1] for turn in range(18))\n"
    "repeated = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[100:] != bytes(4)\n"
    "is_refused = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0\n"
    "sys.exit(2 if repeated else not ends or is_refused)"
)
SCRIPT = """\
ip link set lo up
ip link add db0 type veth peer name w0
ip link set db0 up
ip link set db0 address {host}
ip link set w0 address {born}
ip address add 192.0.2.1/24 dev db0
ip address add 2001:db8::1/64 dev db0 nodad
echo 0 >/proc/sys/net/ipv4/neigh/db0/locktime
mkdir -p /run/netns
ip netns add worker
ip link set w0 netns worker
ip -n worker link set w0 up
for last in 10 11 12; do
    ip -n worker address add 192.0.2.$last/24 dev w0
    ip -n worker address add 2001:db8::$last/64 dev w0 nodad
done
# a worker that asks first who the database is heals its entry by that alone
for database in 192.0.2.1 2001:db8::1; do
    ip -n worker neigh add $database lladdr {host} nud permanent dev w0
done
mkdir -p /etc/salt
mount --bind {root} /etc/salt
{prepare}
{python} -c "{listen}" &
cat >/run/systemd/system/salt-minion.service <<END
[Service]
Environment=HOME=/tmp PYTHONWARNINGS=ignore
ExecStart={bin}/salt-minion -l quiet
KillMode=mixed
END
call() {{ {bin}/salt-call --local -l quiet --out=json "$@" 2>/dev/null; }}
apply() {{ call state.apply arp_hygiene pillar="{{arp_hygiene: {{$base, sentinel: $1}}}}"; }}
base='requirement: {{install: none}}, schedule: {{backend: none}}'
part() {{ printf '\\n== %s\\n' "$1"; }}
until_() {{ for tenth in $(seq 600); do eval "$1" && return; sleep 0.1; done; echo "never: $1"; }}
healed() {{ journalctl -t arp_hygiene -o cat --no-pager | grep -c ^healed; }}
pid() {{ systemctl show -P MainPID arp-hygiene-sentinel; }}
watching() {{ call arp_hygiene.status | grep -q '"sentinel": "running'; }}
processes() {{ ss -0Hp | grep -o 'pid=[0-9]*' | sort -u | wc -l; }}
first_connection() {{
    worker=${{1:-192.0.2.10}} database=${{2:-192.0.2.1}}
    for try in 1 2 3 4 5; do
        ip neigh replace $worker lladdr {dead} nud ${{3:-reachable}} dev db0
        for tenth in 1 2 3 4 5; do sleep 0.1; done  # its filter must know that; a stall is one turn
        ip netns exec worker {python} -c "{call}" $worker $database
        code=$?
        [ $code = 2 ] || break
    done
    [ $code = 0 ] && ip neigh show $worker
}}
systemctl start salt-minion
call saltutil.sync_all >/dev/null
part apply
apply '{{dev: db0}}'
part service
systemctl is-enabled arp-hygiene-sentinel
until_ watching
systemctl is-active arp-hygiene-sentinel
part first
first_connection
part killed
until_ 'grep -sq \\"healed\\" /run/arp_hygiene/sentinel.json'
before=$(pid)
kill -9 $before
until_ '[ $(pid) != 0 ] && [ $(pid) != '$before' ]'
until_ watching
first_connection
part minion
before=$(pid)
systemctl kill -s KILL salt-minion
until_ '[ "$(systemctl is-active salt-minion)" != active ]'
first_connection
[ $(pid) = $before ] && echo the same
systemctl start salt-minion
part cleared
call saltutil.clear_cache >/dev/null
systemctl restart arp-hygiene-sentinel
until_ '[ "$(processes)" = 1 ]'
sleep 1
first_connection
call saltutil.sync_all >/dev/null
part journald
before=$(pid)
systemctl kill -s KILL systemd-journald
until_ '[ "$(systemctl is-active systemd-journald)" = active ]'
first_connection
[ $(pid) = $before ] && echo the same
before=$(healed)  # of former outages; that of this one is told in ten seconds
until_ '[ $(healed) -gt '$before' ]'
part status
call arp_hygiene.status
part journal
journalctl -t arp_hygiene --no-pager -o json --output-fields=MESSAGE,PRIORITY
part rights
grep -E '^(Cap(Eff|Prm|Bnd|Amb)|NoNewPrivs|Seccomp|Uid):' /proc/$(pid)/status
part locktime
echo 100 >/proc/sys/net/ipv4/neigh/db0/locktime  # one second, as it is by default
first_connection 192.0.2.11 192.0.2.1 reachable
first_connection 192.0.2.12 192.0.2.1 stale
first_connection 2001:db8::11 2001:db8::1 reachable
first_connection 2001:db8::12 2001:db8::1 stale
echo 0 >/proc/sys/net/ipv4/neigh/db0/locktime
part broken
echo broken >/etc/salt/{code}
systemctl restart arp-hygiene-sentinel
until_ '! watching'
until_ 'call arp_hygiene.status | grep -q exit-code'
call arp_hygiene.status
apply '{{dev: db0}}' >/dev/null
until_ watching
part again
apply '{{dev: db0}}'
part engine
apply '{{as: engine}}'
until_ 'grep -sq \\"engine\\" /run/arp_hygiene/sentinel.json'
until_ watching
processes
systemctl list-unit-files 'arp-hygiene*' --no-legend
first_connection
part service_again
apply true
until_ '[ "$(processes)" = 1 ]'
until_ watching
grep -o '"as": "[a-z]*"' /run/arp_hygiene/sentinel.json
first_connection
part off
apply false
until_ '[ "$(processes)" = 0 ]'
processes
call arp_hygiene.status
part remove
apply '{{as: engine}}' >/dev/null
until_ 'grep -sq \\"engine\\" /run/arp_hygiene/sentinel.json'
apply true >/dev/null
call state.apply arp_hygiene.remove
until_ '[ "$(processes)" = 0 ]'
until_ '[ "$(systemctl is-active salt-minion)" = active ]'
part left
sleep 3
processes
find /etc /run /var/lib -path '*/var/cache' -prune -o -name '*arp?hygiene*' -print
systemctl list-units --all 'arp-hygiene*' --no-legend
getent passwd arp-hygiene; getent group arp-hygiene
"""


#: Every user can read Salt's Python, as a packaged one; here it may be below a private /root.
PUBLIC = """
mkdir /run/python
mount --bind {base} /run/python
mount -t tmpfs -o mode=755 tmpfs /root
mkdir -p {base}
mount --bind /run/python {base}
"""


@pytest.fixture(scope="module", params=["own user", "root"])
def user(request):
    """Who the service runs as: every user can read Salt's Python and configuration, or not."""
    return request.param


@pytest.fixture(scope="module")
def told(user):
    """What a machine told that systemd runs, part by part."""
    prepare = "chmod 750 /etc/salt"
    if user == "own user":
        if not facts.is_public([pyroute2.__file__, str(REPOSITORY)]):
            pytest.skip("another user cannot read this checkout and its .venv")
        is_private = sys.base_prefix.startswith("/root/")
        prepare = PUBLIC.format(base=sys.base_prefix) if is_private else ""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="d") as where:
        why = cannot_boot(where)
        if why:
            pytest.skip(why)
        root = pathlib.Path(where, "m")
        roots = {"file_roots": {"base": [str(REPOSITORY / "salt")]}, "master_type": "disable"}
        configure(root, **roots, enable_fqdns_grains=False)
        log = pathlib.Path(where, "log")
        script = SCRIPT.format(
            bin=BIN, python=sys.executable, prepare=prepare, listen=LISTEN, call=CALL,
            root=root, code=sentinel_unit.BUNDLE, host=HOST, dead=DEAD, born=BORN,
        )  # fmt: skip
        with_systemd(script, log, where, 600)
        text = log.read_text()
        assert "never: " not in text, text
        yield dict(part.split("\n", 1) for part in text.split("\n== ")[1:])


def states(text):
    return {state["__id__"]: state for state in json.loads(text)["local"].values()}


def test_service_is_installed_and_watches(told):
    done = states(told["apply"])
    assert all(state["result"] for state in done.values()), done
    assert told["service"].split() == ["enabled", "active"]


@pytest.mark.parametrize(
    "part", ["first", "killed", "minion", "cleared", "journald", "engine", "service_again"]
)
def test_first_connection_succeeds(told, part):
    assert f"192.0.2.10 dev db0 lladdr {BORN}" in told[part]


@pytest.mark.parametrize("worker", ["192.0.2.11", "192.0.2.12", "2001:db8::11", "2001:db8::12"])
def test_first_connection_succeeds_as_hosts_are_set_up(told, worker):
    """Within locktime, from an entry that is REACHABLE or STALE, in both versions of IP."""
    assert f"{worker} dev db0 lladdr {BORN}" in told["locktime"]


@pytest.mark.parametrize("part", ["minion", "journald"])
def test_service_survives(told, part):
    assert told[part].splitlines()[-1] == "the same"


def test_heals_are_in_journal_and_status(told):
    lines = [json.loads(line) for line in told["journal"].splitlines()]
    urgency = {line["MESSAGE"].split(": ")[0]: line["PRIORITY"] for line in lines}
    assert urgency.keys() >= {"watching", "healed"}
    assert set(urgency.values()) == {"5"}, "as a run's"
    healed = [line["MESSAGE"] for line in lines if line["MESSAGE"].startswith("healed")]
    line = f"healed: 192.0.2.10 on db0: {DEAD} -> {BORN} ("
    assert healed[0] == f"{line}noticed by a SYN from the new MAC)"
    # The first one, and that after journald has died; others were overtaken by the next outage.
    assert len(healed) >= 2
    assert all(each.startswith(line) for each in healed)
    (status,) = yaml.safe_load(told["status"])["local"]
    assert (status["healed_7d"], status["problem"]) == (len(healed), "")
    assert status["sentinel"].startswith("running; ")


def test_service_has_two_capabilities_and_a_system_call_filter(told, user):
    rights = dict(line.split(":\t") for line in told["rights"].splitlines() if line)
    uid = int(rights.pop("Uid").split()[0])
    assert (uid == 0) == (user == "root")
    both = f"{1 << 12 | 1 << 13:016x}"  # CAP_NET_ADMIN, CAP_NET_RAW
    assert rights == {
        "CapPrm": both, "CapEff": both, "CapBnd": both, "CapAmb": "0" * 16,
        "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip


def test_status_says_why_the_service_died(told):
    (status,) = yaml.safe_load(told["broken"])["local"]
    assert status["sentinel"] == "not running"
    assert "(exit-code: NameError: name 'broken' is not defined)" in status["problem"]


def test_second_apply_changes_nothing(told):
    assert not any(state["changes"] for state in states(told["again"]).values())


def test_switching_the_kind_leaves_one_process(told):
    assert "1" in told["engine"].splitlines()
    assert "arp-hygiene" not in told["engine"].split("\n1\n")[1], "no unit"
    assert '"as": "service"' in told["service_again"]


def test_switching_off_leaves_no_process(told):
    answer = told["off"].split("\n0\n")
    (status,) = yaml.safe_load(answer[1])["local"]
    assert (status["sentinel"], status["problem"]) == ("", "")


def test_nothing_is_left(told):
    assert all(state["result"] for state in states(told["remove"]).values())
    assert told["left"].split() == ["0"]
