"""Other tools for the same work. Each function returns the seconds, process start included.

A process is started with ``posix_spawn``, the cheapest way there is: our own size costs them
nothing.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pyroute2

from lab.cable import BORN, many

IP = shutil.which("ip")
ARP = shutil.which("arp")
ARPING, ARP_SCAN = shutil.which("arping"), shutil.which("arp-scan")
COMPILER = shutil.which("cc") or shutil.which("gcc")
NOBODY = os.open(os.devnull, os.O_RDWR)


def spawn(*words, stdin=NOBODY):
    """Run a program; return its seconds."""
    quiet = [(os.POSIX_SPAWN_DUP2, NOBODY, 1), (os.POSIX_SPAWN_DUP2, NOBODY, 2)]
    quiet.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    began = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
    os.waitpid(pid, 0)
    return time.perf_counter() - began


def ip_flush():
    """Flush the STALE entries."""
    return spawn(IP, "neigh", "flush", "nud", "stale")


def ip_flush_told():
    """Flush the STALE entries and print each as text."""
    with open("/tmp/told", "w+b") as told:
        began = time.perf_counter()
        subprocess.run(
            [IP, "-s", "-s", "neigh", "flush", "nud", "stale"],
            stdout=told, stderr=told, close_fds=False, check=True,
        )  # fmt: skip
        return time.perf_counter() - began


def ip_batch(orders):
    """Run prepared commands with ``ip -batch``."""
    Path("/tmp/orders").write_bytes(orders)
    with open("/tmp/orders", "rb") as file:
        return spawn(IP, "-force", "-batch", "-", stdin=file.fileno())


def deletes(count, family):
    """Return commands that delete each entry."""
    return "".join(f"neigh del {many(n, family)} dev db0\n" for n in range(count)).encode()


def probes(count):
    """Return commands that put each entry into PROBE."""
    return "".join(
        f"neigh change {many(n)} lladdr {BORN} nud probe dev db0\n" for n in range(count)
    ).encode()


def one_liner():
    """Delete with the one-liner that a web search finds first."""
    return spawn("/bin/sh", "-c", "ip neigh | awk '{print $1}' | xargs -n1 arp -d")


def pyroute2_flush():
    """Delete with pyroute2's calls, one by one: it has none for all."""
    began = time.perf_counter()
    with pyroute2.IPRoute() as ipr:
        for entry in ipr.get_neighbours(match={"state": 4}):
            with contextlib.suppress(pyroute2.NetlinkError):
                dst = entry.get_attr("NDA_DST")
                family = entry["family"]
                ipr.neigh("del", dst=dst, ifindex=entry["ifindex"], family=family)
    return time.perf_counter() - began


def pyroute2_list():
    """List with pyroute2."""
    began = time.perf_counter()
    with pyroute2.IPRoute() as ipr:
        list(ipr.get_neighbours())
    return time.perf_counter() - began


def ip_list():
    """List with ages, parsed: what a module would do that calls ``ip``."""
    began = time.perf_counter()
    done = subprocess.run(
        [IP, "-s", "-j", "neigh"], stdout=subprocess.PIPE, close_fds=False, check=True
    )
    json.loads(done.stdout)
    return time.perf_counter() - began


def arp_list():
    """List with net-tools: IPv4, no ages, not parsed."""
    return spawn(ARP, "-an")


def arp_scan(count):
    """Scan so many hosts with arp-scan at full speed; return its seconds and how many it found."""
    Path("/tmp/hosts").write_text("".join(f"{many(number)}\n" for number in range(count)))
    words = [ARP_SCAN, "-q", "-I", "db0", "-B", "100M", "-f", "/tmp/hosts"]
    with open("/tmp/found", "w+b") as found:
        began = time.perf_counter()
        subprocess.run(words, stdout=found, stderr=NOBODY, close_fds=False, check=True)
        took = time.perf_counter() - began
        found.seek(0)
        return took, found.read().count(BORN.encode())


def limit(what, family):
    """Return the same work in C, timed inside the program; None without a compiler."""
    program = Path("/tmp/limit")
    if COMPILER and not program.exists():
        source = Path(__file__).with_name("limit.c")
        subprocess.run([COMPILER, "-O2", "-o", program, source], check=True)

    def run():
        done = subprocess.run([program, what, str(family)], capture_output=True, check=True)
        return int(done.stdout) / 1e9

    return run if COMPILER else None
