"""SYNs that are sent as raw frames from the worker's end, by a process of its own."""

import contextlib
import os
import random
import socket
import struct
import time

from benchmarks.guarded import BORN, HOST, PORT, in_worker

CLOSED = 5433
BATCH, BREATH_S = 64, 0.002


def frame(source, port=PORT, source_port=4000):
    """Return a frame with a SYN of one of the worker's addresses to the database."""
    macs = bytes.fromhex((HOST + BORN).replace(":", ""))
    tcp = struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 0x50, 2, 1024, 0, 0)
    if ":" in source:
        ends = (socket.inet_pton(socket.AF_INET6, each) for each in (source, "2001:db8::1"))
        ends = b"".join(ends)
        ip = struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64) + ends
        kind = b"\x86\xdd"
    else:
        ends = socket.inet_aton(source) + socket.inet_aton("10.0.0.1")
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, socket.IPPROTO_TCP, 0) + ends
        ip = ip[:10] + checksum(ip) + ip[12:]
        kind = b"\x08\x00"
    pseudo = ends + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp))
    return bytearray(macs + kind + ip + tcp[:16] + checksum(pseudo + tcp) + tcp[18:])


def checksum(data):
    """Return the Internet checksum."""
    return struct.pack("!H", -int.from_bytes(data, "big") % 0xFFFF)


def send(frames, rate, seconds, forged=False):
    """Send frames in turn, each from another MAC if forged; return how many a second."""
    with in_worker():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("w0", 0x0800))
    chance, sent, began = random.Random(1), 0, time.monotonic()
    with sock:
        while (now := time.monotonic()) < began + seconds:
            for _ in range(min(BATCH, int((now - began) * rate) - sent)):
                data = frames[sent % len(frames)]
                if forged:
                    data[6:12] = struct.pack("!HI", 0x0600, chance.getrandbits(32))
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    sock.send(data)
                sent += 1
            if rate < 10_000:
                time.sleep(BREATH_S)
    return int(sent / (time.monotonic() - began))


class Flood:
    """Sends frames until it is ended; ``rate`` is then how many a second."""

    def __init__(self, frames, rate, forged=False):
        self._read, write = os.pipe()
        self._stop = os.pipe()
        self.rate, self._child = 0, os.fork()
        if not self._child:
            os.close(self._stop[1])
            os.set_blocking(self._stop[0], False)
            slices = []
            while True:
                slices.append(send(frames, rate, 0.25, forged))
                with contextlib.suppress(BlockingIOError):
                    os.read(self._stop[0], 1)
                    break
            os.write(write, str(sum(slices) // len(slices)).encode())
            os._exit(0)
        os.close(write)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        os.close(self._stop[1])
        os.close(self._stop[0])
        os.waitpid(self._child, 0)
        self.rate = int(os.read(self._read, 20))
        os.close(self._read)
