"""Questions as the tests ask them, and a clock that is theirs."""

import contextlib
import select
import socket
import threading
import time

import pytest
from arp_engine.netlink import codec, listener, table_dump
from arp_engine.packets.probe_schedule import FAST, LOOK_BACK_FOR_S, UCAST_SOLICIT
from arp_engine.resolve import ask as resolve_ask
from arp_engine.resolve import look_back
from arp_engine.resolve.late_answers import LATE_S
from arp_engine.resolve.question import Question
from arp_engine.table import ownership
from conftest import BORN, DEAD, ip
from wire import packed

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])
OTHER = "02:00:00:00:00:0c"
#: Beside other work a kernel's answer may take longer than FAST waits, and one frame more had left:
#: so wait this long for the first answer, where one is to come.
PATIENCE_S = 10


def do(line):
    """Run iproute2."""
    ip(*line.split())


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def question(address, mac=DEAD, dev="db0"):
    return Question(
        socket.if_nametoindex(dev), packed(address), bytes.fromhex(mac.replace(":", ""))
    )


@pytest.fixture
def whole_look_back(arp, monkeypatch):
    """Look back for as long as outside of tests."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", LOOK_BACK_FOR_S)
    monkeypatch.setattr(look_back, "MIN_SILENT", UCAST_SOLICIT)


def mac_of(scene, address):
    """Return the MAC in the one entry of an address."""
    [row] = [row for row in scene.table() if row.startswith(f"{address} ")]
    return row.split()[2]


def write_once_moved(scene, address, mac, clock=time):
    """Begin a thread that writes a MAC into an entry when no late answer to us can any more."""

    def write():
        scene.until(lambda: mac_of(scene, address) == BORN)
        clock.sleep(2 * LATE_S)
        ip("neigh", "replace", address, "lladdr", mac, "dev", "db0", "nud", "reachable")

    writer = threading.Thread(target=write)
    writer.start()
    return writer


def undated(rows):
    """Return heals without the moment."""
    return [{name: row[name] for name in row if name != "at"} for row in rows]


def ask(*questions, wire=None, **options):
    """Ask and return what was heard: MACs as text, without the times.

    wire: who answers, at once on the test's own clock. Otherwise the kernel does, and time passes:
    where nobody is to answer, pass ``schedule=FAST``.
    """
    if wire:
        clock = Clock()
        with contextlib.closing(resolve_ask.Asker(clock=clock)) as asker:
            assert all(map(asker.put, questions))
            heard = play(asker, clock, wire)
    else:
        asks_worker = any(q.mac == bytes.fromhex(BORN.replace(":", "")) for q in questions)
        schedule = waiting_long(FAST, unicast=asks_worker)
        heard = resolve_ask.ask(questions, **{"schedule": schedule, **options})
    assert len(heard) == len(questions)
    return [told(heard[q[:2]]) for q in questions]


def waiting_long(schedule, unicast=True):
    """Return a schedule that waits long for the first answer to a unicast and to a broadcast.

    unicast: False where the host with the cached MAC is not to answer.
    """
    broadcasts = {"broadcast_waits_s": (PATIENCE_S, *schedule.broadcast_waits_s[1:])}
    unicasts = {"unicast_waits_s": (PATIENCE_S, *schedule.unicast_waits_s[1:])}
    return schedule._replace(**broadcasts, **(unicasts if unicast else {}))


def told(heard):
    assert all(0 <= ms < 5000 for ms in heard.answers.values())
    macs = sorted(mac.hex(":") for mac in heard.answers)
    return (heard.unicast_asked, heard.broadcast_asked, macs, heard.why)


def play(asker, clock, wire=None):
    """Let an asker go on until all is over, at once: the clock jumps from one event to the next."""
    done = []
    while len(asker):
        done += asker.step()
        if wire and wire.answer():
            select.select([asker], [], [], 1)
            done += asker.step()
        clock.now = max(clock.now, asker.next_due() or 0)
    return {q[:2]: heard for q, heard in done}


@contextlib.contextmanager
def states_of(address):
    """Collect the states of an entry that the kernel announces until the block ends."""
    states = []
    with listener.Listener() as heard:
        yield states
        received, lost = heard.drain(10_000)
    assert not lost
    for entry in (each for chunk in received for each in table_dump.entries(chunk)):
        if codec.address(entry.dst) == address:
            states.append(ownership.state_name(entry.state))
