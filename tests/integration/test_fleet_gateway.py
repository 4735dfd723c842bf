"""A network whose gateway answers ARP for every address (Azure, PVLAN, local proxy ARP)."""

import json
import pathlib
import tempfile

import pytest
from fleet_centre import Centre, documented

from lab.machines import poll
from lab.observe import connect

pytestmark = pytest.mark.long

DATABASES = ("db1", "db2")
WORKERS = ("worker1", "worker2", "worker3")
RECORDED = {"record": True, "report": "habit.html", "exclude": "198.51.100.0/24"}
GATEWAY = "02:00:00:00:fe:01"  # not Azure's: it has to answer for addresses that nobody has
DEAD = "02:00:00:00:00:dd"


@pytest.fixture(scope="module")
def centre(repo):
    """Machines on isolated ports: they hear the gateway alone, and it answers for all of them."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(
            pathlib.Path(where),
            repo,
            DATABASES,
            kind="switch",
            arp_fleet={"directory": where, "record": {"exclude": RECORDED["exclude"]}},
            max_event_size=100_000,  # some 500 entries
            schedule={"arp_audit": {"function": "arp.audit", "seconds": 15, "kwargs": RECORDED}},
        ) as centre,
    ):
        for number, name in enumerate(WORKERS, 91):
            centre.worker(name, number, f"02:00:00:00:00:{number}")
        centre.wait_for(*WORKERS)
        gate = documented("salt.runner").rstrip() + f"\n    - exclude: {RECORDED['exclude']}\n"
        (centre.root / "srv" / "gate.sls").write_text(gate, encoding="utf-8")
        centre.sync()
        fabric = centre.fabric
        gateway = fabric.worker("gateway", 254, GATEWAY)
        for key in ("ip_forward", "conf/eth0/proxy_arp", "conf/eth0/proxy_arp_pvlan"):
            gateway.sysctl(f"net/ipv4/{key}", 1)
        for key in ("all", "eth0"):
            gateway.sysctl(f"net/ipv4/conf/{key}/send_redirects", 0)
        for name, machine in fabric.machines.items():
            machine.do("ip neigh flush dev eth0 nud all")
            if name != "gateway":
                fabric.core.do(f"bridge link set dev {machine.port} isolated on")
        yield centre


@pytest.fixture
def databases(centre):
    """Every database has talked to every worker; all its entries have the gateway's MAC."""
    databases = [centre.fabric.machines[name] for name in DATABASES]
    for database in databases:
        for name in WORKERS:
            assert connect(centre.fabric.machines[name], database.ip, timeout_s=30)
            ip = centre.fabric.machines[name].ip
            assert database.neighbour(ip)["lladdr"] == GATEWAY
    return databases


@pytest.mark.usefixtures("databases")
def test_gateway_that_answers_for_every_address_is_one_finding_and_exit_code_0(centre):
    seen = centre.run("arp.audit", "exclude=198.51.100.0/24")
    assert (seen.data["wrong"], seen.code) == ([], 0), seen.text
    [fabric] = seen.data["fabric"]
    assert (fabric["mac"], fabric["databases"]) == (GATEWAY, 2)
    assert seen.data["counts"]["fabric"] >= len(DATABASES) * len(WORKERS)


def test_another_mac_than_the_gateways_is_wrong_and_healed(centre, databases):
    ip = centre.fabric.machines["worker3"].ip
    assert centre.run("state.orchestrate", "gate").code == 0
    databases[0].do(f"ip neigh replace {ip} lladdr {DEAD} dev eth0 nud stale")
    assert centre.run("state.orchestrate", "gate").code != 0
    done = centre.run("arp.heal", "exclude=198.51.100.0/24", "pause=0")
    keys = ("minion", "ip", "mac", "mac_true")
    assert [tuple(row[key] for key in keys) for row in done.data["wrong"]] == [
        ("db1", ip, DEAD, GATEWAY)
    ]
    assert [(row["ip"], row["new"]) for row in done.data["healed"]] == [(ip, GATEWAY)]
    assert done.code == 0, done.text


@pytest.mark.usefixtures("databases")
def test_masters_schedule_records_runs_a_page_and_metrics(centre):
    history = centre.root / "arp_fleet_history.json"

    def runs():
        return history.exists() and json.loads(history.read_text(encoding="utf-8"))["runs"]

    def two_and_clean():
        return len(runs() or []) >= 2 and runs()[-1]["wrong"] == 0

    poll("two recorded runs, the last one clean", 90, two_and_clean, every_s=1)
    assert all(run["name"] == "audit" for run in runs())
    assert "The last runs" in (centre.root / "habit.html").read_text(encoding="utf-8")
    metrics = (centre.root / "arp_fleet.prom").read_text(encoding="utf-8")
    assert "arp_fleet_databases_compared 2" in metrics
    seen = centre.run("arp.audit", "exclude=198.51.100.0/24")
    assert "Since the recorded runs: 0 new, 0 still, 0 healed since." in seen.data["summary"]


def test_table_above_max_event_size_is_compared_in_parts(centre, databases):
    many = [f"10.9.{n >> 8}.{n & 255}" for n in range(2000)]
    lines = (f"neigh replace {ip} lladdr {DEAD} dev eth0 nud permanent\n" for ip in many)
    databases[0].do("ip", "-batch", "-", stdin="".join(lines))
    try:
        seen = centre.run("arp.audit", "exclude=198.51.100.0/24")
    finally:
        databases[0].do("ip neigh flush dev eth0 nud permanent")
    assert seen.data["silent"] == []
    assert seen.data["counts"]["databases"] == 2
    assert seen.data["counts"]["strangers"] >= 2000
