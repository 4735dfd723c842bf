"""The opening scene: one database, one worker that is re-created, one entry that stays wrong.

``play`` returns True only if the outage happened and was healed.
"""

import time

from lab import cures
from lab.causes import Confirming
from lab.fabric import Fabric
from lab.machines import poll
from lab.observe import TIMEOUT_S, Service, connect
from lab.tell import bad, good, printed, say, title, typed

OLD, NEW = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
REACHABLE_S = 3  # the kernel's default is 30; everything would take ten times as long


def play():
    """Play it; every wait has a deadline."""
    title("A database that talks to the dead")
    with Fabric() as fabric:
        database = fabric.database("db", 10)
        worker = fabric.worker("worker", 90, OLD)
        database.set("base_reachable_time_ms", REACHABLE_S * 1000)
        with Service(database, database.ip):
            if not _first_connection(database, worker):
                return False
            with Confirming(database, worker.ip):
                worker = _re_creation(fabric, database, worker)
                seen = _outage(database, worker) and _looked_at(database, worker)
                return seen and _stale_is_not_it(database, worker) and _healed(database, worker)


def _tries(worker, database, times=1):
    """Let a client on the worker connect; print and return whether it worked."""
    worked = False
    for _ in range(times):
        took_s = connect(worker, database.ip)
        worked = took_s is not None
        if worked:
            good(f"{worker.label} connects to the database ({took_s * 1000:.1f} ms)")
        else:
            bad(f"{worker.label} connects to the database: no answer in {TIMEOUT_S:g} s")
    return worked


def _asks_kernel(database, ip):
    typed(database, f"ip -s neigh show {ip}")
    printed(database.do(f"ip -s neigh show {ip}"))


def _first_connection(database, worker):
    say(f"""A database ({database.ip}) and a worker ({worker.ip}, MAC {OLD}) on a cloud-like
        network: the fabric answers every ARP request itself and forwards none. Both are network
        namespaces; the kernel, its tables and TCP are real. Lines with `db#` run on the database.
        One setting differs from the default:""")
    key = "net.ipv4.neigh.eth0.base_reachable_time_ms"
    typed(database, f"sysctl -w {key}={REACHABLE_S}000    # default 30000; shorter to save time")
    worked = _tries(worker, database)
    _asks_kernel(database, worker.ip)
    return worked


def _re_creation(fabric, database, worker):
    say(f"""An application on the database sends UDP with MSG_CONFIRM, which confirms the worker's
        entry (upper-layer confirmation). Now the worker dies. A new worker gets the same address
        {worker.ip} and another MAC: {NEW}. The fabric knows the new MAC; the database does not.""")
    worker = fabric.recreate(worker, NEW)
    _asks_kernel(database, worker.ip)
    return worker


def _outage(database, worker):
    say("""The new worker connects to the database. Its SYNs arrive; the SYN/ACKs go to the dead
        MAC.""")
    return not _tries(worker, database, times=2)


def _looked_at(database, worker):
    say("""Salt shows a suspect: the entry has been REACHABLE for longer than ARP alone would keep
        it.""")

    def suspect():
        rows = cures.salt(database, "arp.list", f"ip={worker.ip}")
        return rows if rows and rows[0]["suspect"] else None

    (row,) = poll("arp.list calls the entry suspect", 60, suspect)
    typed(database, f"salt-call --local arp.list ip={worker.ip}")
    printed(cures.salt_text(database, "arp.list", f"ip={worker.ip}"))
    wrong = row["state"] == "REACHABLE" and row["mac"] == OLD
    say(f"REACHABLE, with {row['mac']}. The worker's MAC is {worker.mac}: the entry is wrong.")
    return wrong


def _stale_is_not_it(database, worker):
    say("The usual advice is to flush STALE entries. This entry is not STALE:")
    typed(database, "salt-call --local arp.flush state=STALE")
    printed(cures.salt_text(database, "arp.flush", "state=STALE"))
    return not _tries(worker, database)


def _healed(database, worker):
    say("""Revalidate: probe each address, first by unicast to the host with the cached MAC, then by
        broadcast. Without an answer nothing changes; an answer with another MAC goes into the
        kernel's table, in spite of the upper-layer confirmation.""")
    typed(database, "salt-call --local arp.revalidate rows=True --out=json")
    began = time.monotonic()
    answer = cures.salt(database, "arp.revalidate", "rows=True")
    took_s = time.monotonic() - began
    printed(cures.as_text(answer))
    (healed,), (row,) = answer["healed"] or [{}], answer["entries"] or [{}]
    named = {"ip": worker.ip, "old": OLD, "new": NEW}.items() <= healed.items()
    if named:
        good(f"healed {row['answers'][NEW]:.2f} ms after the first probe")
    worked = _tries(worker, database)
    _asks_kernel(database, worker.ip)
    if named and worked:
        say(f"{took_s:.1f} s after the command was typed; nearly all of it is Salt's own start.")
    return named and worked
