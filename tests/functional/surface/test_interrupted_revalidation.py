"""arp.revalidate ended half way tells what it had done, and it is on record."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from asking import undated
from conftest import BORN, DEAD, ip

IP = "192.0.2.10"
ROW = {"ip": IP, "dev": "db0", "old": DEAD, "new": BORN}
SILENT = [f"192.0.2.{number}" for number in range(20, 60)]


@pytest.fixture
def outage(scene):
    """The worker at IP was recreated; forty entries of hosts that do not answer."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker(IP)
    scene.add(IP, "reachable", DEAD)
    for address in SILENT:
        scene.add(address, "stale", BORN)
    return scene


def on_record(hygiene):
    return [{name: row[name] for name in row if name != "at"} for row in hygiene.healed()]


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def is_changed(scene):
    """Tell whether the kernel has taken the new MAC."""
    return any(row.startswith(f"{IP} db0 {BORN}") for row in scene.table())


@contextlib.contextmanager
def sent_after_the_change(scene, number):
    def send():
        scene.until(lambda: is_changed(scene), 60)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    yield
    sender.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_change_that_is_not_decided_is_told_and_recorded(arp, hygiene, outage, monkeypatch, number):
    """The kernel has taken the new MAC; whether the former holder still lives is not known yet."""
    from arp_engine.resolve import look_back

    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 60)
    before = signal.getsignal(number)
    with sent_after_the_change(outage, number):
        done = arp.revalidate(IP)
    assert (done["interrupted"], done["healed"], done["no_outcome"]) == (True, [], 1)
    assert (undated(done["changed"]), done["totals"]["changed"]) == ([ROW], 1)
    assert hygiene.healed()[0]["at"].startswith(moment(done["changed"][0]["at"]))
    assert on_record(hygiene) == [{**ROW, "by": "revalidate"}]
    assert signal.getsignal(number) == before


def test_sigkill_leaves_the_heals_on_record(arp, hygiene, outage):
    """saltutil.kill_job: nothing is returned any more."""
    child = os.fork()
    if not child:
        arp.revalidate(ip=[IP, *SILENT], rate=20)
        os._exit(0)
    try:
        row = {**ROW, "by": "revalidate"}
        outage.until(lambda: hygiene.record.exists() and on_record(hygiene) == [row], 60)
    finally:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it was not finished"
    assert on_record(hygiene) == [row]


def test_heals_recorded_during_a_run_are_recorded_once(arp, hygiene, outage):
    done = arp.revalidate(ip=[IP, *SILENT[:3]], rate=10)
    assert undated(done["healed"]) == [ROW]
    assert on_record(hygiene) == [{**ROW, "by": "revalidate"}]


def test_heal_on_record_that_is_written_back_before_the_end_is_not_told(arp, hygiene, outage):
    """It was one when it was recorded; the answer says what the table holds at the end."""

    def write_back():
        outage.until(hygiene.record.exists, 60)
        ip("neigh", "replace", IP, "lladdr", DEAD, "dev", "db0", "nud", "reachable")

    writer = threading.Thread(target=write_back)
    writer.start()
    done = arp.revalidate(ip=[IP, *SILENT[:1]], rate=10)  # the kernel probes for seven seconds
    writer.join()
    row = {"ip": IP, "dev": "db0", "mac": DEAD, "macs": [BORN], "written_back": True}
    assert (done["healed"], done["still_wrong"], done["totals"]["healed"]) == ([], [row], 0)
    assert on_record(hygiene) == [{**ROW, "by": "revalidate"}]


def test_interrupted_scheduled_run_records_its_heals(hygiene, outage, monkeypatch):
    with sent_after_the_change(outage, signal.SIGTERM), pytest.raises(SystemExit):
        hygiene.run(ip=[IP, *SILENT], rate=20)
    assert on_record(hygiene) == [{**ROW, "by": "run"}]


def test_ctrl_c_of_salt_call_prints_what_was_done(outage, minion_opts):
    words = [sys.executable, os.path.join(os.path.dirname(sys.executable), "salt-call")]
    words += ["-c", os.path.dirname(minion_opts["conf_file"]), "--local", "--out=json"]
    words += ["arp.revalidate", f"ip={','.join([IP, *SILENT])}", "rate=20"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        outage.until(lambda: is_changed(outage), 60)
        run.send_signal(signal.SIGINT)
        text, noise = run.communicate(timeout=60)
    assert '"interrupted": true' in text, noise
    assert f'"new": "{BORN}"' in text
