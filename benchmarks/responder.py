"""Hosts that answer ARP and neighbour solicitations as a plan says: late, paused, or for others.

    python -m benchmarks.responder DEVICE < PLAN

PLAN is JSON: ``db`` (address of the database by family, and its MAC), ``hosts``: a list of ``mac``,
``addresses`` (or ``null``: all of them, as a router with proxy ARP answers), ``delay_s`` (from the
question to the answer), ``silent`` (pairs of times between which it answers nothing), ``syns``
(pairs of time and address: a SYN it sends from that address). It prints ``up`` when all frames are
built, reads one more line, the time.monotonic() that the times count from, and ends when its input
does.

Frames are built by scapy once, before the first question: an independent hand wrote them.
"""

import contextlib
import heapq
import ipaddress
import itertools
import json
import select
import socket
import sys
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

ETH_P_ALL = 3
ARP_REQUEST = bytes.fromhex("0001080006040001")
SOLICITATION = 135


def asked(frame):
    """Return ``(destination MAC, address)`` of a question; None where a frame is none."""
    if frame[12:14] == b"\x08\x06" and frame[14:22] == ARP_REQUEST:
        return frame[:6], frame[38:42]
    if frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_ICMPV6 and len(frame) >= 78:
        return (frame[:6], frame[62:78]) if frame[54] == SOLICITATION else None
    return None


def answer(address, mac, db):
    """Return the frame in which a host says that an address is at its MAC."""
    link = Ether(src=mac, dst=db["mac"])
    if ":" not in address:
        return bytes(link / ARP(op=2, hwsrc=mac, psrc=address, hwdst=db["mac"], pdst=db["4"]))
    told = ICMPv6ND_NA(R=0, S=1, O=1, tgt=address) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return bytes(link / IPv6(src=address, dst=db["link-local"], hlim=255) / told)


def syn(address, mac, db, port):
    """Return a frame with a SYN from an address to the database."""
    header = IPv6(src=address, dst=db["6"]) if ":" in address else IP(src=address, dst=db["4"])
    return bytes(Ether(src=mac, dst=db["mac"]) / header / TCP(sport=port, dport=5432, seq=port))


class Host:
    """One of them."""

    def __init__(self, plan):
        self.mac = bytes.fromhex(plan["mac"].replace(":", ""))
        self.text, self.delay_s = plan["mac"], plan["delay_s"]
        self.addresses = plan["addresses"] and {
            ipaddress.ip_address(address).packed for address in plan["addresses"]
        }
        self._silent, self.began = plan["silent"], 0.0

    def hears(self, to, address, now):
        """Tell whether it answers a question: it has the address, and the frame reaches it."""
        has = self.addresses is None or address in self.addresses
        reached = to == self.mac or to[0] & 1
        now -= self.began
        return has and reached and not any(start <= now < end for start, end in self._silent)


class Voice:
    """All hosts of a plan at one wire, and what they have still to say."""

    def __init__(self, sock, plan):
        self._sock, self._db = sock, plan["db"]
        hosts = self._hosts = [Host(each) for each in plan["hosts"]]
        self._everybody = [host for host in hosts if host.addresses is None]
        self._by_address, self._built = {}, {}
        for host in hosts:
            for address in host.addresses or ():
                self._by_address.setdefault(address, []).append(host)
        self._number = itertools.count()
        self._due = []
        for host in plan["hosts"]:
            for when, address in host["syns"]:
                number = next(self._number)
                said = syn(address, host["mac"], self._db, 20000 + number % 40000)
                self._due.append((when, number, said))
        for address, having in self._by_address.items():
            for host in [*having, *self._everybody]:
                self._answer(address, host)

    def begin(self, now):
        """Begin: all times of the plan count from now on, and what was asked before is too late."""
        with contextlib.suppress(BlockingIOError):
            while self._sock.recv(1):
                pass
        self._due = [(now + when, number, said) for when, number, said in self._due]
        heapq.heapify(self._due)
        for host in self._hosts:
            host.began = now

    def _answer(self, address, host):
        """Return a host's answer, built once."""
        key = address, host.mac
        if key not in self._built:
            self._built[key] = answer(str(ipaddress.ip_address(address)), host.text, self._db)
        return self._built[key]

    def wait_s(self):
        """Return how long nothing is to be said."""
        return max(self._due[0][0] - time.monotonic(), 0) if self._due else 1.0

    def say(self):
        """Send what is due."""
        while self._due and self._due[0][0] <= time.monotonic():
            self._sock.send(heapq.heappop(self._due)[2])

    def hear(self):
        """Take the questions that have come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, sender = self._sock.recvfrom(2048)
                question = None if sender[2] == socket.PACKET_OUTGOING else asked(frame)
                if question:
                    self._asked(*question, time.monotonic())

    def _asked(self, to, address, now):
        for host in [*self._by_address.get(address, ()), *self._everybody]:
            if host.hears(to, address, now):
                said = now + host.delay_s, next(self._number), self._answer(address, host)
                heapq.heappush(self._due, said)


def main():
    """Read the plan, and play it."""
    plan = json.loads(sys.stdin.readline())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as sock:
        sock.bind((sys.argv[1], ETH_P_ALL))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.setblocking(False)
        voice = Voice(sock, plan)
        print("up", flush=True)
        voice.begin(float(sys.stdin.readline()))
        while True:
            ready, _, _ = select.select([sock, sys.stdin], [], [], voice.wait_s())
            if sys.stdin in ready:
                return
            voice.hear()
            voice.say()


if __name__ == "__main__":
    main()
