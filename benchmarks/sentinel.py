"""The sentinel beside no sentinel: first connections, and what it costs. In a namespace of its own.

``python -m benchmarks.sentinel`` prints its tables; ``make bench`` takes them as a section.
"""

import contextlib
import ctypes
import os
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab.machines import refuse_outside, run

REPO = Path(__file__).resolve().parents[1]
HOST, DEAD, BORN = (f"02:00:00:00:00:{last}" for last in ("01", "0a", "0b"))
PORT, CLOSED, PATIENCE_S = 5432, 5433, 2.0
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def main():
    """Measure in a fresh namespace, and print."""
    refuse_outside()
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    quick = "--quick" in sys.argv
    stage()
    with Server("10.0.0.1"), Server("2001:db8::1"):
        print(connections(20 if quick else 250), flush=True)
        print(costs(6 if quick else 10, 5_000 if quick else 100_000))


def section(quick):
    """Return the tables, made by a process of its own."""
    words = [sys.executable, "-m", "benchmarks.sentinel", *(["--quick"] if quick else [])]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=REPO).stdout


def stage():
    """Lay a cable: the database here, and a worker that has every address of its network."""
    subprocess.run(["ip", "netns", "del", "guarded"], capture_output=True, check=False)
    for words in (
        "link set lo up",
        "netns add guarded",
        "link add db0 type veth peer name w0 netns guarded",
        f"link set db0 addrgenmode none address {HOST} up",
        "address add 10.0.0.1/8 dev db0",
        "address add 2001:db8::1/64 dev db0 nodad",
        "address add fe80::1/64 dev db0 nodad",
        f"-n guarded link set w0 addrgenmode none address {BORN} up",
        "-n guarded address add fe80::2/64 dev w0 nodad",
        "-n guarded route add local 10.1.0.0/16 dev lo",
        "-n guarded route add 10.0.0.0/8 dev w0 src 10.1.0.0",
        f"-n guarded neigh add 10.0.0.1 lladdr {HOST} nud permanent dev w0",
        f"-n guarded neigh add 2001:db8::1 lladdr {HOST} nud permanent dev w0",
        f"-n guarded neigh add fe80::1 lladdr {HOST} nud permanent dev w0",
    ):
        run("ip", *words.split())
    lines = [f"address add {address(n, 6)}/64 dev w0 nodad" for n in range(250)]
    batch(lines, "-n", "guarded")
    Path("/proc/sys/net/ipv4/neigh/db0/locktime").write_text("0", encoding="ascii")
    # what is written a moment before it is met stands for what is old


def batch(lines, *words):
    """Give iproute2 many orders at once."""
    text = "\n".join(lines)
    subprocess.run(["ip", *words, "-batch", "-"], input=text, text=True, check=True)


def address(number, family=4):
    """Return one of the worker's addresses."""
    return f"10.1.{number >> 8}.{number & 255}" if family == 4 else f"2001:db8::1:{number + 1:x}"


class Server:
    """Says one word to everybody."""

    def __init__(self, host):
        self._sock = socket.create_server(
            (host, PORT), backlog=512, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _address = self._sock.accept()
                with contextlib.suppress(OSError), peer:
                    peer.sendall(b"word")

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Guard:
    """A sentinel as a process of its own."""

    def __init__(self, *options):
        script = REPO / "_utils" / "arp_sentinel_loop.py"
        self._process = subprocess.Popen(
            [sys.executable, script, *options], stdout=subprocess.PIPE, text=True
        )
        self._process.stdout.readline()
        self._lines = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._lines.start()

    def cpu_s(self):
        """Return the seconds of CPU it has used."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory_kb(self):
        """Return what it holds."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0])

    def __enter__(self):
        time.sleep(0.5)
        return self

    def __exit__(self, *_exc):
        self._process.terminate()
        self._process.wait()


@contextlib.contextmanager
def in_worker():
    """Be in the worker's namespace."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/guarded", os.O_RDONLY)
    _libc.setns(there, CLONE_NEWNET)
    try:
        yield
    finally:
        _libc.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


# --- connections


def be_born(name):
    """Let the database hold a dead MAC for an address."""
    words = f"neigh replace {name} lladdr {DEAD} dev db0 nud"
    batch([f"{words} permanent", f"{words} reachable"])
    time.sleep(0.02)


def connect(source):
    """Return how long the worker waits for the word; infinite where it gives up."""
    host = "2001:db8::1" if ":" in source else "10.0.0.1"
    with in_worker():
        sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    with sock:
        sock.settimeout(PATIENCE_S)
        sock.bind((source, 0))
        return timed(lambda: sock.connect((host, PORT)), sock)


def call(target):
    """Return how long the database waits for the worker's word."""
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as sock:
        sock.settimeout(PATIENCE_S)
        return timed(lambda: sock.connect((target, PORT)), sock)


def timed(begin, sock):
    """Return the seconds until the word is there."""
    began = time.monotonic()
    try:
        begin()
        sock.recv(4)
    except OSError:
        return float("inf")
    return time.monotonic() - began


@contextlib.contextmanager
def vouched(name):
    """Let an application vouch for an address."""
    done = threading.Event()

    def send():
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            while not done.wait(0.005):
                sender.sendto(b"x", socket.MSG_CONFIRM, (name, 9))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()


def recreations(numbers, family, is_vouched, attempt=connect):
    """Return the seconds of each first connection."""
    took = []
    for number in numbers:
        name = address(number % 250, family)
        be_born(name)
        with vouched(name) if is_vouched else contextlib.nullcontext():
            took.append(attempt(name))
        run("ip", "neigh", "del", name, "dev", "db0")
    return took


def connections(count):
    """Return a table of first connections, with and without it."""
    rows = [
        "| first connection of a re-created worker | without: failed | failed | median | 99 % | worst |",  # noqa: E501
        "|---|---|---|---|---|---|",
    ]
    scenes = [
        (f"IPv{family}, {'vouched for' if is_vouched else 'plain'}", family, is_vouched, connect)
        for family in (4, 6)
        for is_vouched in (False, True)
    ]
    scenes += [(f"IPv{family}, outgoing", family, False, call) for family in (4, 6)]
    with in_worker():
        servers = [Server("0.0.0.0"), Server("::")]  # for who calls out
    for what, *scene in scenes:
        family, is_vouched, attempt = scene
        without = recreations(range(240, 243), family, is_vouched, attempt)
        with Guard():
            took = recreations(range(count), family, is_vouched, attempt)
        rows.append(f"| {what}, {count} | {failed(without)} of 3 | {summary(took)} |")
    for server in servers:
        server.__exit__()
    return "\n".join(rows) + "\n"


def failed(took):
    """Return how many gave up."""
    return sum(seconds == float("inf") for seconds in took)


def summary(took):
    """Return four cells: failed, median, 99 %, worst."""
    good = sorted(seconds for seconds in took if seconds != float("inf")) or [float("inf")]
    p99 = good[min(len(good) - 1, len(good) * 99 // 100)]
    times = " | ".join(f"{s * 1e3:.1f} ms" for s in (statistics.median(good), p99, good[-1]))
    return f"{failed(took)} of {len(took)} | {times}"


# --- costs


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
        share = percent(guard, lambda: sent.append(syns(peers, 2000, seconds)))
        rows.append(f"| {sent[0]:,} SYNs a second of 100 known peers | {share} | |")
        with idle_sockets(sockets) as opened:
            time.sleep(2)
            share = percent(guard, lambda: time.sleep(seconds))
            rows.append(f"| {opened:,} idle sockets | {share} | |")
    with Guard() as guard:
        rows.append(flooded(guard, peers, lines, seconds))
    return "\n".join(rows) + "\n"


def percent(guard, work):
    """Return how much of a core it uses meanwhile."""
    before, began = guard.cpu_s(), time.monotonic()
    work()
    return f"{100 * (guard.cpu_s() - before) / (time.monotonic() - began):.2f} %"


def syns(sources, rate, seconds, forged=False):
    """Send SYNs from the worker's end, of any MACs if forged; return how many a second."""
    with in_worker():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("w0", 0x0800))
    frames = [frame(source, CLOSED) for source in sources]
    chance, sent, began = random.Random(1), 0, time.monotonic()
    with sock:
        while (now := time.monotonic()) < began + seconds:
            for _ in range(min(64, int((now - began) * rate) - sent)):
                data = frames[sent % len(frames)]
                if forged:
                    data[6:12] = struct.pack("!HI", 0x0600, chance.getrandbits(32))
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    sock.send(data)
                sent += 1
            if rate < 10_000:
                time.sleep(0.002)
    return int(sent / (time.monotonic() - began))


def frame(source, port):
    """Return a frame with a SYN of the worker."""
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0,
        socket.inet_aton(source), socket.inet_aton("10.0.0.1"),
    )  # fmt: skip
    tcp = struct.pack("!HHIIBBHHH", 4000, port, 1, 0, 0x50, 2, 1024, 0, 0)
    ip = ip[:10] + checksum(ip) + ip[12:]
    tcp = tcp[:16] + checksum(ip[12:20] + struct.pack("!HH", 6, 20) + tcp) + tcp[18:]
    mac = bytes.fromhex((HOST + BORN).replace(":", ""))
    return bytearray(mac + b"\x08\x00" + ip + tcp)


def checksum(data):
    """Return the Internet checksum."""
    return struct.pack("!H", -int.from_bytes(data, "big") % 0xFFFF)


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
    """Return both ends of so many connections to oneself."""
    server = socket.create_server((host, PORT), backlog=64)
    held = [server]
    for _number in range(count):
        client = socket.socket()
        client.connect(server.getsockname())
        held += [client, server.accept()[0]]
    return held


def flooded(guard, peers, lines, seconds):
    """Return the row of a flood that is aimed at the table, with newcomers in the midst of it."""
    batch(lines)
    time.sleep(1)
    child = os.fork()
    if not child:
        print(syns(peers, 50_000, seconds, forged=True), file=open("/tmp/flooded", "w"), flush=True)  # noqa: SIM115
        os._exit(0)
    took, memory = [], guard.memory_kb()

    def work():
        began = time.monotonic()
        time.sleep(1)
        while time.monotonic() < began + seconds - 2:
            took.extend(recreations_of(address(1000 + len(took))))
        os.waitpid(child, 0)

    share = percent(guard, work)
    rate = int(Path("/tmp/flooded").read_text(encoding="ascii"))
    more = guard.memory_kb() - memory
    return (
        f"| {rate:,} forged SYNs a second, aimed at 100 addresses in the table | {share} | "
        f"first connections meanwhile: {summary(took).replace(' | ', ', ')}; {more:+,} kB |"
    )


def recreations_of(name):
    """Return the seconds of one first connection."""
    be_born(name)
    took = connect(name)
    run("ip", "neigh", "del", name, "dev", "db0")
    return [took]


if __name__ == "__main__":
    sys.exit(main())
