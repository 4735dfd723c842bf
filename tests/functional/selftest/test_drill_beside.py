"""The drill beside what a host already runs: another drill, a sentinel, a minion that lives on."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from arp_engine.reporting import sentinel_status
from conftest import BORN, DEAD, ip
from sentry import SECOND_SYN_S, connect_within, database, guard, healed_line  # noqa: F401
from test_drill import CHECKS, DROP, in_time, is_alive, namespaces, played


@pytest.fixture
def engine(repo):
    """The directory that holds the engine."""
    return repo / "_utils"


def passed(rows):
    assert [*rows] == CHECKS, rows
    assert [row for row in rows.values() if row["result"] != "pass"] == []


@pytest.mark.timed
def test_two_drills_at_once_both_pass(engine):
    with ThreadPoolExecutor(2) as both, in_time() as rows:
        told = [*both.map(played, [engine] * 2)]
        rows.extend(row for drill in told for row in drill.values())
    for drill in told:
        passed(drill)


@pytest.mark.timed
def test_drill_leaves_a_running_sentinel_its_status_and_its_work(scene, engine, guard, database):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker("192.0.2.10")
    begun = guard()
    with in_time() as rows:
        rows.extend((told := played(engine)).values())
    passed(told)
    status = sentinel_status.read(sentinel_status.PATH, 0)
    assert status.get("pid", begun.process.pid) == begun.process.pid
    assert [line for line in begun.lines if not line.startswith("watching: ")] == []
    scene.add("192.0.2.10", "reachable", DEAD)
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("healed") == [healed_line("192.0.2.10", macs=(DEAD, BORN))]


@pytest.mark.timed
def test_drill_leaves_nothing_in_the_process_that_called_it(hygiene):
    """As often as somebody asks: no thread, no descriptor, no child, no namespace."""

    def held():
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return (
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
            os.readlink("/proc/self/ns/net"),
            [child for child in map(int, children) if is_alive(child)],
            set(namespaces()),
        )

    before = held()
    with in_time() as rows:
        rows.extend(hygiene.selftest())
    passed({row["check"]: row for row in rows})
    assert held() == before


@pytest.mark.timed
def test_drill_passes_in_a_user_namespace_of_its_own(engine):
    """As in a container that may make namespaces: root there, nobody outside."""
    command = ["unshare", "--user", "--map-root-user", "--net"]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    code = "from test_drill import played; import json, sys; print(json.dumps(played(sys.argv[1])))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [*command, sys.executable, "-c", code, str(engine)]
    with in_time() as rows:
        done = subprocess.run(
            words, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert '"check": "all"' in done.stdout, done.stderr
        rows.extend((told := json.loads(done.stdout)).values())
    passed(told)


@pytest.mark.parametrize(
    ("kept", "missing"),
    [((12, 13), "CAP_SYS_ADMIN"), ((13, 21), "CAP_NET_ADMIN"), ((12, 21), "CAP_NET_RAW")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_missing_right_is_named_in_one_line(engine, kept, missing):
    told = played(engine, DROP.replace("(12, 13)", str(kept)))
    assert isinstance(told, str), told
    assert told.endswith(f"Operation not permitted (needs {missing})")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("lacks", "line"),
    [
        ("namespaces.CLONE_NEWNET = 0x04000000 | 0x01000000", "no private network namespace: "),
        ("namespaces.DEVICE = 'a name that is too long'", "no veth device: "),
    ],
    ids=["no namespaces", "no veth"],
)
def test_kernel_without_a_part_is_one_line(engine, tmp_path, lacks, line):
    """What an older or smaller kernel refuses, refused here by a request that no kernel takes."""
    shutil.copytree(engine / "arp_engine", tmp_path / "arp_engine")
    with open(tmp_path / "arp_engine/selftest/process.py", "a", encoding="utf-8") as code:
        code.write(f"\n\nfrom . import namespaces\n\n{lacks}\n")
    told = played(tmp_path)
    assert isinstance(told, str), told
    assert told.startswith(line)
    assert "\n" not in told


@pytest.mark.long  # meanwhile other tests of this machine lose their entries
def test_full_table_of_the_host_fails_no_drill(scene, engine):
    """All namespaces share one table; over gc_thresh2 the kernel removes what is not young."""
    scene.crowd.enter()
    many = [f"10.0.{number // 250}.{number % 250}" for number in range(800)]
    young = [
        "\n".join(f"neigh replace {name} lladdr {DEAD} nud {state} dev w0" for name in many)
        for state in ("stale", "reachable")
    ]
    is_over = threading.Event()

    def others():  # on another host, as the drill would tell of a change of this one's entries
        while not is_over.wait(0.3):
            for lines in young:
                ip("-n", "worker", "-batch", "-", stdin=lines)
            # It is new the next time, and for a new one the kernel collects.
            ip("-n", "worker", "neigh", "del", many[0], "dev", "w0")

    collected = "4 of 4 owned, 1 of 1 proxy unchanged, 1 collected"
    with ThreadPoolExecutor(1) as beside:
        filling = beside.submit(others)
        try:
            for _ in range(12):  # the kernel collects once in five seconds, not in each drill
                passed(rows := played(engine))
                if rows["never touched"]["figures"] == collected:
                    break
        finally:
            is_over.set()
        filling.result()
    assert rows["never touched"]["figures"] == collected
