"""What the sentinel costs: CPU, memory, and healthy connections beside it."""

import contextlib
import functools
import os
import random
import resource
import signal
import socket
import statistics
import struct
import sys
import threading
import time
from pathlib import Path

from benchmarks import flood
from benchmarks.guarded import (
    BORN,
    PORT,
    REPO,
    Guard,
    address,
    batch,
    connect,
    summary,
)

HOUR = 6_400 * 3600  # SYNs received, at most, in an hour of flood


def costs(seconds, sockets):
    """Return a table of what it costs."""
    rows = ["| what happens | CPU of a core | |", "|---|---|---|"]
    peers = [address(number) for number in range(100)]
    lines = [f"neigh replace {name} lladdr {BORN} nud permanent dev db0" for name in peers]
    lines += [line.replace("permanent", "reachable") for line in lines]
    with Guard() as guard:
        rows.append(f"| nothing | {percent(guard, lambda: time.sleep(seconds))} | |")
        batch(lines)
        time.sleep(1)
        sent = []
        frames = [flood.frame(name, flood.CLOSED) for name in peers]
        share = percent(guard, lambda: sent.append(flood.send(frames, 2000, seconds)))
        rows.append(f"| {sent[0]:,} SYNs a second of 100 known peers | {share} | |")
        with idle_sockets(sockets) as opened:
            time.sleep(2)
            share = percent(guard, lambda: time.sleep(seconds))
            rows.append(f"| {opened:,} idle sockets | {share} | |")
    return "\n".join(rows) + "\n"


def percent(guard, work):
    """Return the share of a core that it uses during the work."""
    before, began = guard.cpu_s(), time.monotonic()
    work()
    return f"{100 * (guard.cpu_s() - before) / (time.monotonic() - began):.2f} %"


@contextlib.contextmanager
def idle_sockets(count):
    """Hold so many established TCP sockets, by as many processes as it takes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    each = count // -(-count // min(most - 200, 18_000))
    there, done = os.pipe(), os.pipe()
    children = []
    for number in range(count // each):
        child = os.fork()
        if not child:
            os.close(done[1])
            held = pairs(f"127.0.1.{number + 1}", each // 2)
            os.write(there[1], b"x")
            os.read(done[0], 1)
            os._exit(len(held) == 0)
        children.append(child)
    for _child in children:
        os.read(there[0], 1)
    try:
        yield each * len(children)
    finally:
        os.close(done[1])
        for child in children:
            os.waitpid(child, 0)


def pairs(host, count):
    """Return both ends of so many connections to this host."""
    server = socket.create_server((host, PORT), backlog=64)
    held = [server]
    for _number in range(count):
        client = socket.socket()
        client.connect(server.getsockname())
        held += [client, server.accept()[0]]
    return held


# --- the connections beside it


def healthy(count):
    """Return a table of connections with right entries, whatever the sentinel does."""
    rows = [
        f"| {count:,} connections of healthy clients while a sentinel is | failed | median | 99 % | worst |",  # noqa: E501
        "|---|---|---|---|---|",
    ]
    name = address(7)
    batch([f"neigh replace {name} lladdr {BORN} dev db0 nud permanent"])
    batch([f"neigh replace {name} lladdr {BORN} dev db0 nud reachable"])
    for what, begin in BESIDE.items():
        with contextlib.ExitStack() as stack:
            change = begin(stack)
            took = [_calmly(name) for _ in range(count // 4)]
            meanwhile = threading.Thread(target=change)
            meanwhile.start()
            took += [_calmly(name) for _ in range(count - len(took))]
            meanwhile.join()
        rows.append(f"| {what} | {summary(took, 2)} |")
    return "\n".join(rows) + "\n"


def _calmly(name):
    """Connect after a short pause: a sentinel needs a second to start."""
    time.sleep(0.002)
    return connect(name)


def _watching(stack):
    return stack.enter_context(Guard())


BESIDE = {
    "not running": lambda _stack: lambda: None,
    "watching": lambda stack: [_watching(stack)] and (lambda: None),
    "starting": lambda stack: lambda: _watching(stack),
    "stopped": lambda stack: functools.partial(_watching(stack).signal, signal.SIGTERM),
    "killed": lambda stack: functools.partial(_watching(stack).signal, signal.SIGKILL),
    "hung": lambda stack: functools.partial(_watching(stack).signal, signal.SIGSTOP),
}


def leaving(rounds, packets):
    """Return a line on the cost of an outgoing packet: a filter looks for our own SYNs."""
    name, more, alone = address(7), [], []
    batch([f"neigh replace {name} lladdr {BORN} dev db0 nud permanent"])
    for _ in range(rounds):
        alone.append(_sending(name, packets))
        with Guard():
            more.append(_sending(name, packets) - alone[-1])
    batch([f"neigh del {name} dev db0"])
    middle, least, most = (1e9 * each for each in (statistics.median(more), min(more), max(more)))
    return (
        f"Sending a packet takes {statistics.median(alone) * 1e9:,.0f} ns of CPU, with a "
        f"sentinel {middle:+.0f} ns (median of {rounds} pairs, {least:+.0f} to {most:+.0f}).\n"
    )


def _sending(name, packets):
    """Return the CPU seconds of sending one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((name, 9))
        began = time.process_time()
        for _ in range(packets):
            with contextlib.suppress(ConnectionRefusedError):
                sender.send(b"x")
    return (time.process_time() - began) / packets


# --- an hour of it


def hour(events):
    """Return a line on its memory after as many forged SYNs as it receives in an hour of flood.

    All of it but the sockets, told the time: half come from addresses in the table, half from any;
    each from another MAC and port. The true hosts answer every other question.
    """
    sys.path.insert(0, str(REPO / "_utils"))
    from arp_engine.packets import tcp_syn  # noqa: PLC0415
    from arp_engine.reporting import throttle  # noqa: PLC0415
    from arp_engine.sentinel import (  # noqa: PLC0415
        decide,
        devices,
        doubt_sources,
        next_hops,
        options,
        signals,
        telling,
    )

    storm = _Flood()
    ask, chosen = storm.channel, options.parse({})
    watched = devices.WatchedDevices(chosen.selectors, ask)
    news = telling.News(throttle.Teller(lambda *_told: None), watched, storm.now)
    decider = decide.Decider(
        chosen.rate, chosen.burst, storm, news, watched, lambda *_entry: False, lambda _key: 1.0,
        lambda *_of: [], lambda *_of: True, lambda _entry: False, lambda: False,
        storm.now,
    )  # fmt: skip
    hops = next_hops.NextHops(ask, None, decider.cache, storm.now)
    unanswered = signals.Unanswered(None, None, None)
    sources = doubt_sources.DoubtSources(decider, storm, news, watched, hops, unanswered, storm.now)
    decider.cache.merge(storm.entries)
    asked, sizes = 0, []
    for number in range(events):
        mac, data = storm.next()
        sources.on_inbound_syn(storm.ifindex, mac, tcp_syn.parse(data))
        if not number % 64:
            while turn := decider.next_question():
                asked += 1
                decider.on_probe_result(turn[0], storm.heard(turn[0], asked))
            decider.aliases.expire(storm.now())
        if number % (events // 20) == events // 20 - 1:
            sizes.append(_rss_kb())
    return (
        f"An hour of that flood ({events:,} SYNs received, simulated): {asked:,} probes, "
        f"memory {sizes[1]:,} kB after six minutes, {max(sizes[2:]):,} kB at most after that, "
        f"{sizes[-1]:,} kB at the end.\n"
    )


class _Flood:
    """Forged SYNs, and the time at which each comes."""

    def __init__(self):
        from arp_engine.netlink import rtnetlink, table_dump  # noqa: PLC0415

        batch([f"neigh replace {address(n)} lladdr {BORN} dev db0 nud stale" for n in range(100)])
        self.channel, self.ifindex = rtnetlink.Channel(), socket.if_nametoindex("db0")
        self.entries = table_dump.entries(*self.channel.neighbours(socket.AF_INET))
        data = flood.frame(address(0), flood.CLOSED)
        self._frame, self._chance, self._sent = data[14:], random.Random(1), 0

    def now(self):
        """Return the time: 6,400 come in a second."""
        return self._sent * 3600 / HOUR

    def next(self):
        """Return the next: from which MAC, and the packet."""
        self._sent += 1
        bits = self._chance.getrandbits(80)
        number = bits % 100 if bits & 1 << 79 else bits >> 8 & 0xFFFF
        self._frame[12:16] = socket.inet_aton(address(number))
        self._frame[20:22] = struct.pack("!H", bits >> 24 & 0xFFFF)
        return struct.pack("!HI", 0x0600, bits >> 40 & 0xFFFFFFFF), bytes(self._frame)

    def heard(self, question, number):
        """Return what is answered."""
        from arp_engine.resolve.question import ProbeResult  # noqa: PLC0415

        return ProbeResult(1, number % 2 * 10, {question.mac: 0.2} if number % 2 else {})

    def has_listener_answered(self, _syn, _bound_to):
        """Tell whether a listener has answered: there is none."""
        return False

    def is_connecting(self, _syn, _bound_to):
        """Tell whether a socket of ours waits: there is none."""
        return False

    def release(self, _syns, _ifindex):
        """Reinject nothing."""


def _rss_kb():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0])
