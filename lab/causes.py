"""What makes a database keep a dead MAC. The scenes write no wrong entry into a table.

``Confirming`` and ``Balanced`` are upper-layer confirmations: the kernel sends no ARP request, and
the wrong entry stays REACHABLE. ``aged`` is the ordinary case.
"""

import socket

from lab.observe import Background, Service, family

MSG_CONFIRM = 0x800  # include/linux/socket.h: the application confirms the neighbour
BALANCED_PORT = 6432


class Confirming(Background):
    """An application on ``machine`` that sends to ``ip`` with MSG_CONFIRM, 20 times a second.

    Real ones: DNS and game servers, ``ping -f`` style tools, any program that knows, or thinks it
    knows, that the peer is alive.
    """

    def __init__(self, machine, ip, port=7777):
        super().__init__()
        with machine.inside():
            self._out = socket.socket(family(ip), socket.SOCK_DGRAM)
        self._to = ip, port

    def work(self):
        """Send; an answer is not needed."""
        while not self._stopping.wait(0.05):
            self._out.sendto(b"still here?", MSG_CONFIRM, self._to)
        self._out.close()


class Balanced(Background):
    """A load balancer that preserves client addresses: ``machine`` has the worker's address too.

    The fabric delivers to it what the database sends from one service port. Its TCP connection
    makes progress, and that confirms an entry whose MAC it does not use.
    """

    def __init__(self, fabric, database, machine):
        super().__init__()
        fabric.divert(database, machine.ip, BALANCED_PORT, machine.mac)
        self._service = Service(database, database.ip, BALANCED_PORT, echo=True).start()
        with machine.inside():
            self._client = socket.create_connection((database.ip, BALANCED_PORT), timeout=5)

    def work(self):
        """Send and receive on one long connection, 20 times a second."""
        while not self._stopping.wait(0.05):
            self._client.sendall(b"select 1\n")
            self._client.recv(64)
        self._client.close()

    def close(self):
        """End the connection, then the service."""
        super().close()
        self._service.close()


def aged(machine, ip):
    """The plain case: no traffic for a while, and the entry has become STALE.

    The state is set here; the kernel would set it within a minute.
    """
    mac = machine.neighbour(ip)["lladdr"]
    machine.do(f"ip neigh change {ip} lladdr {mac} dev eth0 nud stale")
