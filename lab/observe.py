"""What a client sees: a TCP service, connection attempts as a timeline, and a healthy flow.

All of it runs in threads of this process, on sockets made inside the machines.
"""

import contextlib
import selectors
import socket
import struct
import threading
import time

PORT = 5432
GREETING = b"ready\n"
TIMEOUT_S = 2.0  # the client's timeout, as in most connection pools
TOTAL_RETRANS = struct.Struct("=100xI")  # of struct tcp_info; until a client is greeted: its SYNs
TURN_S = 0.05  # how long a client sleeps at most before it looks at its own timeouts


def family(ip):
    """Return the socket family of an address."""
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


class Background:
    """Runs in a thread until it is closed. Subclasses define ``work``."""

    def __init__(self):
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        """Start; returns itself."""
        self._thread.start()
        return self

    def _run(self):
        with contextlib.suppress(OSError):
            self.work()

    def work(self):
        """Work until ``self._stopping`` is set."""
        raise NotImplementedError

    def close(self):
        """End it and wait."""
        self._stopping.set()
        self._thread.join(10)

    __enter__ = start

    def __exit__(self, *_):
        self.close()


class RunningTime:
    """The time in which this process could run: it grows by ``2 * TURN_S`` between looks, at most.

    A client's timeout is counted in it: a connection that takes long because the whole machine was
    stalled has not failed. ``stalled_s``: by how much its sleeps were too long, all together.
    """

    ORDINARY_S = 0.02  # a sleep that is too long by less is no stall

    def __init__(self):
        self.stalled_s = 0.0
        self._now_s, self._looked = 0.0, time.monotonic()

    def look(self):
        """Return the seconds so far."""
        now = time.monotonic()
        self._now_s += min(now - self._looked, 2 * TURN_S)
        self._looked = now
        return self._now_s

    def select(self, waiting, seconds):
        """Wait as a selector does."""
        began = time.monotonic()
        ready = waiting.select(seconds)
        late_s = time.monotonic() - began - seconds
        self.stalled_s += late_s if late_s > self.ORDINARY_S else 0
        return ready


class LateWakes(Background):
    """``total_s``: how long this machine kept a process waiting that only wanted to wake up."""

    LEAST_S = 0.1  # an ordinary delay is shorter

    def __init__(self):
        super().__init__()
        self.total_s = 0.0

    def work(self):
        """Sleep for short times, and measure each."""
        before = time.monotonic()
        while not self._stopping.wait(TURN_S):
            now = time.monotonic()
            late_s = now - before - TURN_S
            self.total_s += late_s if late_s > self.LEAST_S else 0
            before = now


class Service(Background):
    """The database's TCP service: greets each client and closes, or echoes."""

    def __init__(self, machine, ip, port=PORT, echo=False):
        super().__init__()
        self._echo = echo
        with machine.inside():
            self._listener = socket.create_server((ip, port), family=family(ip), backlog=512)
        self._listener.settimeout(0.1)

    def work(self):
        """Accept and greet."""
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):  # no client, or it has disconnected
                client, _ = self._listener.accept()
                if self._echo:
                    threading.Thread(target=self._answer, args=(client,), daemon=True).start()
                    continue
                with client:
                    client.send(GREETING)
        self._listener.close()

    def _answer(self, client):
        with client, contextlib.suppress(OSError):
            while data := client.recv(64):
                client.sendall(data)


def is_greeted(client, within_s):
    """Tell whether the service greets a client, by a SYN that left within so many seconds.

    The kernel repeats a SYN on time, however late this process looks: the first time after a
    second, and then at most once a second.
    """
    with contextlib.suppress(OSError):
        if client.recv(16) == GREETING:
            told = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TOTAL_RETRANS.size)
            return TOTAL_RETRANS.unpack(told)[0] < within_s
    return False


def connect(machine, ip, port=PORT, timeout_s=TIMEOUT_S):
    """One attempt of a real client: seconds until the service greeted it, or None.

    When it returns, the service has closed, too: the database sends nothing more on its account.
    """
    began = time.monotonic()
    with machine.inside():
        client = socket.socket(family(ip), socket.SOCK_STREAM)
    with client, selectors.DefaultSelector() as waiting:
        client.setblocking(False)
        client.connect_ex((ip, port))
        waiting.register(client, selectors.EVENT_READ)
        running = RunningTime()
        if not _is_readable(waiting, running, timeout_s):
            return None
        if not is_greeted(client, timeout_s + running.stalled_s):
            return None
        took_s = time.monotonic() - began
        _is_readable(waiting, RunningTime(), timeout_s)
    return took_s


def _is_readable(waiting, running, timeout_s):
    """Wait until something comes, or the connection ends; False: it is silent for too long."""
    while running.look() < timeout_s:
        if running.select(waiting, TURN_S):
            return True
    return False


class Attempts(Background):
    """A client that begins a connection every quarter of a second, each with a timeout.

    ``seen`` is the timeline: (when it began, when it was greeted or None), ``time.monotonic``.
    """

    EVERY_S = 0.25

    def __init__(self, machine, ip, port=PORT):
        super().__init__()
        self.seen = []
        self._where = machine, ip, port

    def work(self):
        """Begin attempts on time, collect results as they come."""
        machine, ip, port = self._where
        due, running = time.monotonic(), RunningTime()
        with selectors.DefaultSelector() as waiting:
            while not self._stopping.is_set():
                now = time.monotonic()
                if now >= due:
                    due += self.EVERY_S
                    with machine.inside():
                        client = socket.socket(family(ip), socket.SOCK_STREAM)
                    client.setblocking(False)
                    client.connect_ex((ip, port))
                    began = now, running.look(), running.stalled_s
                    waiting.register(client, selectors.EVENT_READ, began)
                for key, _ in running.select(waiting, min(TURN_S, max(0, due - time.monotonic()))):
                    stalled_s = running.stalled_s - key.data[2]
                    self._verdict(waiting, key, is_greeted(key.fileobj, TIMEOUT_S + stalled_s))
                for key in list(waiting.get_map().values()):
                    if running.look() > key.data[1] + TIMEOUT_S:
                        self._verdict(waiting, key, False)
            for key in list(waiting.get_map().values()):
                waiting.unregister(key.fileobj).fileobj.close()

    def _verdict(self, waiting, key, is_greeted):
        self.seen.append((key.data[0], time.monotonic() if is_greeted else None))
        waiting.unregister(key.fileobj)
        key.fileobj.close()

    def works_since(self):
        """When the first client was greeted of those after which none failed, or None."""
        healed = None
        for _, greeted in sorted(self.seen, key=lambda attempt: attempt[0]):
            healed = min(healed or greeted, greeted) if greeted else None
        return healed


class Flow(Background):
    """A healthy flow from the database to a live worker: 1,000 small packets a second.

    Each packet carries its number; we remember when it was sent and the kernel stamps its arrival,
    so our own sluggishness does not count as the network's. The harm: ``lost``, and ``worst_ms``,
    the longest wait from sending a packet until it, or the first one after it, arrived. A packet
    that arrived and found our own receive buffer full is not lost.
    """

    RATE = 1000
    CATCH_UP_S = 0.05  # a larger burst would overrun the kernel's own queues
    SO_TIMESTAMPNS, SO_MEMINFO, SK_MEMINFO_DROPS = 35, 55, 8

    def __init__(self, sender, receiver, port=9999):
        super().__init__()
        with receiver.inside():
            self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._in.bind((receiver.ip, port))
        self._in.settimeout(TURN_S)
        with sender.inside():
            self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        # With the default buffer one socket's packets fit into the kernel's queue for an unresolved
        # neighbour, and the sender sleeps instead of losing any. Real services use many sockets.
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._out.connect((receiver.ip, port))
        self._receiver = threading.Thread(target=self._receive, daemon=True)
        self._sent_ns = []
        self._arrived_ns = {}
        self._not_read = 0

    @property
    def sent(self):
        """Packets sent so far."""
        return len(self._sent_ns)

    @property
    def lost(self):
        """Packets that never arrived; final once the flow is closed."""
        return self.sent - len(self._arrived_ns) - self._not_read

    @property
    def worst_ms(self):
        """The longest wait; packets may overtake each other when a queue is emptied."""
        worst_ns, next_ns = 0, None
        for number in reversed(range(self.sent)):
            arrived_ns = self._arrived_ns.get(number, next_ns)
            if arrived_ns is not None:
                next_ns = min(next_ns or arrived_ns, arrived_ns)
                worst_ns = max(worst_ns, next_ns - self._sent_ns[number])
        return worst_ns / 1e6

    def work(self):
        """Send on time; catch up after a short delay of this process."""
        self._receiver.start()
        due = time.monotonic()
        while not self._stopping.is_set():
            due = max(due + 1 / self.RATE, time.monotonic() - self.CATCH_UP_S)
            while time.monotonic() >= due:
                self._send()
                due += 1 / self.RATE
            time.sleep(max(0, due - time.monotonic()))
            self._send()
        self._receiver.join()
        told = self._in.getsockopt(socket.SOL_SOCKET, self.SO_MEMINFO, 64)
        self._not_read = struct.unpack_from("=I", told, 4 * self.SK_MEMINFO_DROPS)[0]
        self._out.close()
        self._in.close()

    def _send(self):
        number = len(self._sent_ns)
        self._sent_ns.append(time.time_ns())
        self._out.send(struct.pack("!Q", number))

    def _receive(self):
        """Until half a second after the last packet, longer than any packet waits in a queue."""
        running, arrived_s = RunningTime(), 0.0
        while True:
            try:
                data, extra, _, _ = self._in.recvmsg(64, 64)
            except TimeoutError:
                if running.look() > arrived_s + 0.5 and self._stopping.is_set():
                    return
                continue
            arrived_s = running.look()
            seconds, nanoseconds = struct.unpack("ll", extra[0][2])
            number = struct.unpack("!Q", data)[0]
            self._arrived_ns[number] = seconds * 10**9 + nanoseconds
