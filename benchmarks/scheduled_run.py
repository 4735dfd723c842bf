"""What one scheduled run costs: CPU and memory, beside a trivial run of the same kind.

    python3 lab/private.py .venv/3008/bin/python -m benchmarks.scheduled_run [RUNS]

A table of 1,000 entries, STALE, whose hosts answer; ``arp.revalidate`` with the formula's defaults
(100 entries a second, so a run lasts about eleven seconds, most of it asleep).

cron     salt-call --local, as the installed line calls it, against salt-call --local test.ping.
         CPU of the whole process with its children, peak memory of one process.
salt     a job of a running minion's scheduler against a scheduled test.ping: what the minion's
         finished children have used.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab import cable
from lab.saltstack import BIN, configure, file_roots

ENTRIES = 1000
TICKS = os.sysconf("SC_CLK_TCK")


def fill():
    """Write the entries; anew before each run, for limits and collector are all namespaces' own."""
    cable.fill(ENTRIES, mac=cable.BORN)


def salt_call(root, *words):
    """Run salt-call; return its CPU seconds and its peak memory in MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        str(BIN / "salt-call"),
        "--local",
        "--skip-grains",
        "-c",
        str(root),
        "--out=json",
        *words,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _pid, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    assert status == 0, words
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, usage.ru_maxrss / 1024


def family(pid):
    """Return a process and all its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid] + [each for child in children for each in family(child)]


def finished_s(pid):
    """CPU seconds that finished children of a process and of its descendants have used."""
    total = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        total += int(fields[13]) + int(fields[14])  # cutime, cstime
    return total / TICKS


def running(pid):
    """Memory in MB, shared pages shared out, of a job while it runs: the youngest descendant."""
    try:
        rollup = Path(f"/proc/{family(pid)[-1]}/smaps_rollup").read_text(encoding="ascii")
        return int(rollup.split("Pss:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


def scheduled(root, pid, idle, runs, every_s, **job):
    """Schedule a job, let it run, return CPU seconds a run and the most memory seen."""
    words = [f"{key}={value}" for key, value in job.items()]
    call = [str(BIN / "salt-call"), "--local", "-c", str(root), "schedule.add", "bench"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    log = root / "log"
    done = log.read_text(encoding="utf-8").count("Running scheduled job: bench")
    start = finished_s(pid)
    subprocess.run(
        [*call, *words, f"seconds={every_s}", "maxrunning=1", "return_job=False"],
        check=True,
        **quiet,
    )
    memory = 0.0
    while log.read_text(encoding="utf-8").count("Running scheduled job: bench") < done + runs:
        if len(family(pid)) > idle:
            memory = max(memory, running(pid))
        time.sleep(0.05)
    deadline = time.monotonic() + every_s
    subprocess.run([*call[:-2], "schedule.delete", "bench"], check=True, **quiet)
    while time.monotonic() < deadline or len(family(pid)) > idle:
        memory = max(memory, running(pid)) if len(family(pid)) > idle else memory
        time.sleep(0.05)
    count = log.read_text(encoding="utf-8").count("Running scheduled job: bench") - done
    return (finished_s(pid) - start) / count, memory


def revalidations(root, pid, idle, runs):
    """Run the job once for each filled table; return the medians."""
    costs = []
    for _ in range(runs):
        fill()
        job = {"function": "arp.revalidate", "job_kwargs": "{rate: 100}"}
        costs.append(scheduled(root, pid, idle, 1, 16, **job))
    return [statistics.median(cost) for cost in zip(*costs, strict=True)]


def by_cron(root, runs):
    """Return what the cron backend costs, in turns, so that the machine's moods hit both."""
    seen = {"test.ping": [], "arp.revalidate": []}
    for _ in range(runs):
        for function, costs in seen.items():
            words = [function] if function == "test.ping" else [function, "rate=100"]
            fill()
            costs.append(salt_call(root, *words))
    for function, costs in seen.items():
        seen[function] = [statistics.median(cost) for cost in zip(*costs, strict=True)]
    return seen


def by_salt(root, runs):
    """Return what the salt backend costs."""
    log = ["--log-file", str(root / "log"), "--log-file-level=info"]
    minion = subprocess.Popen(
        [str(BIN / "salt-minion"), "-c", str(root), *log], stderr=subprocess.DEVNULL
    )
    try:
        while not list(root.glob("var/run/salt/minion/*pull.ipc")):
            time.sleep(0.1)
        time.sleep(8)  # it has settled, and idles
        idle = len(family(minion.pid))
        return {
            "test.ping": scheduled(root, minion.pid, idle, 3 * runs, 2, function="test.ping"),
            "arp.revalidate": revalidations(root, minion.pid, idle, runs),
        }
    finally:
        minion.terminate()
        minion.wait()


def main():
    """Measure and print a table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="b") as where:
        root = Path(where)
        files = file_roots(root / "files")
        configure(root, master_type="disable", file_roots=files)
        cable.lay()
        cable.inhabit("10.0.0.0/18")
        salt_call(root, "saltutil.sync_all")
        print(f"one run on {ENTRIES} entries; median of {runs}; CPU ms, memory MB")
        for backend, measure in (("cron", by_cron), ("salt", by_salt)):
            costs = measure(root, runs)
            for function, (spent, memory) in costs.items():
                print(f"{backend:5} {function:15} {spent * 1000:6.0f} ms {memory:6.1f} MB")
            above = costs["arp.revalidate"][0] - costs["test.ping"][0]
            print(f"{backend:5} {'above trivial':15} {above * 1000:6.0f} ms")


if __name__ == "__main__":
    if not os.environ.get("ARP_LAB_PRIVATE"):
        sys.exit(__doc__)
    main()
