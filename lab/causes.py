"""What makes a database keep a dead MAC. Each cause is honest: nothing is written into a table.

``Confirming`` and ``Balanced`` keep saying to the kernel "this neighbour is reachable"; so the
kernel never asks again, and the entry stays REACHABLE, and wrong. ``aged`` is the ordinary case.
"""

import socket

from lab.observe import Background, Service, family

MSG_CONFIRM = 0x800  # include/linux/socket.h: the application vouches for the neighbour
BALANCED_PORT = 6432


class Confirming(Background):
    """An application on ``machine`` that sends to ``ip`` with MSG_CONFIRM, 20 times a second.

    Real ones: DNS and game servers, ``ping -f`` style tools, anything that has its own proof that
    the peer is alive, or believes to have it.
    """

    def __init__(self, machine, ip, port=7777):
        super().__init__()
        with machine.inside():
            self._out = socket.socket(family(ip), socket.SOCK_DGRAM)
        self._to = ip, port

    def work(self):
        """Send; what the network thinks of it does not matter."""
        while not self._stopping.wait(0.05):
            self._out.sendto(b"still here?", MSG_CONFIRM, self._to)
        self._out.close()


class Balanced(Background):
    """A balancer that keeps client addresses: ``machine`` has the worker's address as its own.

    The fabric hands it what the database sends from one service port; so a TCP connection of this
    kind makes progress, and its progress confirms an entry that it does not even use.
    """

    def __init__(self, fabric, database, machine):
        super().__init__()
        fabric.divert(database, machine.ip, BALANCED_PORT, machine.mac)
        self._service = Service(database, database.ip, BALANCED_PORT, echo=True).start()
        with machine.inside():
            self._client = socket.create_connection((database.ip, BALANCED_PORT), timeout=5)

    def work(self):
        """Ask and be answered on one long connection, 20 times a second."""
        while not self._stopping.wait(0.05):
            self._client.sendall(b"select 1\n")
            self._client.recv(64)
        self._client.close()

    def close(self):
        """End the connection, then the service."""
        super().close()
        self._service.close()


def aged(machine, ip):
    """The plain case: nobody spoke for a while, the entry became STALE as entries do.

    The state is set, not awaited: what the kernel would do by itself within a minute.
    """
    mac = machine.neighbour(ip)["lladdr"]
    machine.do(f"ip neigh change {ip} lladdr {mac} dev eth0 nud stale")
