"""A network whose gateway answers ARP for every address (Azure, PVLAN, local proxy ARP)."""

import pathlib
import tempfile

import pytest
from fleet_centre import Centre

from lab.observe import connect

pytestmark = pytest.mark.long

DATABASES = ("db1", "db2")
WORKERS = ("worker1", "worker2", "worker3")
GATEWAY = "12:34:56:78:9a:bc"
DEAD = "02:00:00:00:00:dd"


@pytest.fixture(scope="module")
def centre(repo):
    """Machines on isolated ports: they hear the gateway alone, and it answers for all of them."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(pathlib.Path(where), repo, DATABASES, kind="switch") as centre,
    ):
        for number, name in enumerate(WORKERS, 91):
            centre.worker(name, number, f"02:00:00:00:00:{number}")
        centre.wait_for(*WORKERS)
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
            assert connect(centre.fabric.machines[name], database.ip)
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
    databases[0].do(f"ip neigh replace {ip} lladdr {DEAD} dev eth0 nud stale")
    done = centre.run("arp.heal", "exclude=198.51.100.0/24", "pause=0")
    assert [(row["minion"], row["ip"], row["mac"]) for row in done.data["wrong"]] == [
        ("db1", ip, DEAD)
    ]
    assert [(row["ip"], row["new"]) for row in done.data["healed"]] == [(ip, GATEWAY)]
    assert done.code == 0, done.text
