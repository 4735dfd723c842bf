"""The sentinel on a machine that is busy, stops for a while, or allows few frames."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import stalls
from conftest import DEAD
from sentry import (  # noqa: F401
    PAIR,
    PORT,
    SECOND_SYN_S,
    Server,
    connect,
    connect_at_once_within,
    connect_within,
    database,
    guard,
)

from benchmarks import burden

BUSY = 3  # processes beside it


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)  # an entry just written shall be as good as an old


@contextlib.contextmanager
def busy_processes():
    words = [sys.executable, "-c", "while True: pass"]
    begun = [subprocess.Popen(words) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in begun:
            process.kill()
            process.wait()


def cpu_s(process):
    with open(f"/proc/{process.pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def fleet(scene, count):
    names = [f"192.0.2.{number}" for number in range(100, 100 + count)]
    for name in names:
        scene.worker(name)
        scene.add(name, "reachable", DEAD)
    return names


@pytest.mark.timed
def test_new_workers_connect_beside_busy_processes(scene, guard, database):
    names = fleet(scene, 10)
    guard()
    with busy_processes():
        for name in names:
            connect_within(SECOND_SYN_S, name)


@pytest.mark.timed
@PAIR
def test_a_worker_after_sigstop_and_sigcont_is_not_late(scene, guard, database, address):
    """Others have come meanwhile: it has their SYNs, and heals them when it goes on."""
    others = fleet(scene, 10)
    scene.worker(address)
    begun = guard()
    os.kill(begun.process.pid, signal.SIGSTOP)
    with stalls.within(2.9) as claim, ThreadPoolExecutor(len(others)) as pool:  # a third SYN
        late = [pool.submit(connect, name) for name in others]
        scene.add(address, "reachable", DEAD)
        time.sleep(1.5)
        os.kill(begun.process.pid, signal.SIGCONT)
        claim.took_s = max(each.result() for each in late)
    connect_within(SECOND_SYN_S, address)


@pytest.mark.timed
@PAIR
def test_five_first_connections_to_five_ports_are_not_late(scene, guard, database, address):
    host = database[":" in address].sock.getsockname()[0]
    servers = [Server(host, PORT + 10 + number) for number in range(4)]
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    guard()
    try:
        with stalls.within(SECOND_SYN_S) as claim, ThreadPoolExecutor(5) as pool:
            ports = [PORT, *(PORT + 10 + number for number in range(4))]
            claim.took_s = max(pool.map(lambda port: connect(address, port=port), ports))
    finally:
        for server in servers:
            server.close()


@pytest.mark.timed
@pytest.mark.parametrize("options", [{"rate": 1}, {"rate": 1, "burst": 1}], ids=["4", "1"])
def test_with_one_frame_a_second_it_heals_and_sleeps(scene, guard, database, options):
    [name] = fleet(scene, 1)
    begun = guard(json.dumps(options))
    before = cpu_s(begun.process)
    connect_within(8, name)
    assert cpu_s(begun.process) - before < 0.2


@pytest.mark.timed
def test_with_a_burst_of_four_frames_each_a_fleet_is_not_late(scene, guard, database):
    """Each costs two to four; an eighth is kept for urgent ones. Then there is one a second."""
    names = fleet(scene, 14)
    guard(json.dumps({"rate": 1, "burst": 64}))
    connect_at_once_within(SECOND_SYN_S, names)


def test_a_simulated_minute_of_forged_syns_takes_no_more_memory_later(scene):
    """The benchmark plays an hour of it (benchmarks/burden.py)."""
    numbers = re.findall(r"memory ([\d,]+) kB .* ([\d,]+) kB at the end", burden.hour(100_000))
    [(early, late)] = [[int(each.replace(",", "")) for each in found] for found in numbers]
    assert late < early + 3000
