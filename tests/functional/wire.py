"""The worker's end of the cable, frame by frame. What is seen and said there is scapy's."""

import contextlib
import ctypes
import ipaddress
import os
import socket
import subprocess
import sys
import threading
import time

from conftest import BORN, CLONE_NEWNET, HOST
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

ETH_P_ALL = 3
OVER_AND_OVER = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as wire:
    wire.setblocking(True)
    frames = [bytes.fromhex(frame) for frame in sys.argv[2:]]
    while True:
        for frame in frames:
            wire.send(frame)
"""
BROADCAST = "ff:ff:ff:ff:ff:ff"
ARP_TYPE, IPV6_TYPE = 0x0806, 0x86DD
MARKER_TYPE = 0x88B5  # reserved for experiments: frames of ``settle``, which nothing else reads


@contextlib.contextmanager
def namespace(name):
    """Be in another network namespace until the block ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        assert libc.setns(there, CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(here, CLONE_NEWNET) == 0
        os.close(there)
        os.close(here)


def packed(address):
    return ipaddress.ip_address(address).packed


def answer(address, mac=BORN, source=None, to=HOST, **fields):
    """Return the frame in which ``mac`` says that an address is his."""
    link = Ether(src=source or mac, dst=to)
    if ":" not in address:
        reply = {"op": "is-at", "psrc": address, "pdst": "192.0.2.1", "hwdst": to, **fields}
        return link / ARP(hwsrc=mac, **reply)
    header = IPv6(src=address, dst="fe80::1", hlim=fields.pop("hlim", 255))
    advertised = header / ICMPv6ND_NA(**{"R": 0, "S": 1, "O": 1, "tgt": address, **fields})
    return link / advertised / ICMPv6NDOptDstLLAddr(lladdr=mac)


def tagged(frame, vlan):
    """Return a frame with the tag of a VLAN."""
    return Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=vlan, type=frame.type) / frame.payload


class Wire:
    """What is heard at the worker's end, and a voice there."""

    def __init__(self, device="w0"):
        with namespace("worker"):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.sock.bind((device, ETH_P_ALL))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.sock.setblocking(False)

    def questions(self):
        """Return the questions that have come since the last look."""
        return [frame for frame in self.heard() if asked(frame)]

    def heard(self):
        """Return all frames that have come since the last look."""
        seen = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, sender = self.sock.recvfrom(2048)
                if sender[2] != socket.PACKET_OUTGOING:
                    seen.append(frame)
        return [*map(Ether, seen)]

    def say(self, *said):
        """Send frames, one right after the other: to build one takes long."""
        for frame in [bytes(frame) for frame in said]:
            self.sock.send(frame)

    def settle(self, device="db0"):
        """Wait until all that was said has come to the other end: a softirq may be late."""
        mine = os.sched_getaffinity(0)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(MARKER_TYPE)) as end:
            end.bind((device, MARKER_TYPE))
            end.settimeout(30)
            try:
                for cpu in mine:  # each has a queue of its own
                    os.sched_setaffinity(0, {cpu})
                    self.say(Ether(src=BORN, dst=HOST, type=MARKER_TYPE) / bytes(46))
                    end.recv(64)
            finally:
                os.sched_setaffinity(0, mine)

    @contextlib.contextmanager
    def saying(self, *said):
        """Send frames over and over until the block ends, as fast as another machine could.

        By a process of its own: a thread would take the interpreter's lock from who is to hear.
        """
        words = [sys.executable, "-c", OVER_AND_OVER, str(self.sock.fileno())]
        voice = subprocess.Popen(
            [*words, *(bytes(frame).hex() for frame in said)], pass_fds=[self.sock.fileno()]
        )
        try:
            yield
        finally:
            voice.kill()
            voice.wait()

    def when_asked(self, respond):
        """From now on ``respond(address, to_all, number)`` returns the frames that answer.

        number: how many of this kind have been asked about this address before. ``frame`` is the
        question, ``asked_mac`` the MAC that it goes to.
        """
        self._respond, self._counts = respond, {}

    def answer(self):
        """Answer the questions that have come; return whether anything was said."""
        said = []
        for frame in self.questions():
            key = asked(frame), is_to_all(frame)
            self._counts[key] = self._counts.get(key, -1) + 1
            self.frame, self.asked_mac = frame, frame.dst
            said += self._respond(*key, self._counts[key])
        self.say(*said)
        return bool(said)

    @contextlib.contextmanager
    def answering(self, respond):
        """Answer by ``respond`` (see ``when_asked``), as it comes, until the block ends."""
        done = threading.Event()
        self.when_asked(respond)

        def answer_all():
            with contextlib.suppress(OSError):  # ENETDOWN: the device has vanished
                while not done.is_set():
                    if not self.answer():
                        time.sleep(0.001)

        voice = threading.Thread(target=answer_all)
        voice.start()
        try:
            yield
        finally:
            done.set()
            voice.join()

    def close(self):
        self.sock.close()


def asked(frame):
    """Return the address a frame asks about; None where it asks about none."""
    if ARP in frame and frame[ARP].op == 1 and frame.type == ARP_TYPE:
        return frame[ARP].pdst
    return frame[ICMPv6ND_NS].tgt if ICMPv6ND_NS in frame else None


def is_to_all(frame):
    return frame.dst == BROADCAST or frame.dst.startswith("33:33:ff")
