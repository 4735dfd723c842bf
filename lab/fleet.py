"""Many workers that are re-created at once, each a machine with a network card of its own.

They are plugged in by batches of commands: one after the other would take half a minute.
"""

import contextlib
import selectors
import socket
import time

from lab.fabric import SUBNET
from lab.machines import Machine, run, wait_until_up
from lab.observe import PORT, TIMEOUT_S, TURN_S, RunningTime, is_greeted

FIRST = 100  # the last byte of the first one's address


class Fleet:
    """Workers ``FIRST`` and following of a fabric; IPv4 alone."""

    def __init__(self, fabric, database, count):
        self._fabric, self._database, self._generation = fabric, database, 0
        self.machines = []
        for number in range(FIRST, FIRST + count):
            machine = Machine(f"{database.name}-w{number}")
            machine.ip = f"{SUBNET}.{number}"
            self.machines.append(machine)
        self._plug()

    def _plug(self):
        """Give each a network card with a MAC of its own, and publish its address."""
        self._generation += 1
        core, forwarding = [], []
        for number, machine in enumerate(self.machines, FIRST):
            machine.mac = f"02:00:00:00:{0x10 + self._generation:02x}:{number:02x}"
            port = f"fleet{number}"
            core += [
                f"link add {port} type veth peer name eth0 address {machine.mac} "
                f"netns {machine.name}",
                f"link set {port} master br0 up",
                f"link set {port} type bridge_slave proxy_arp on",
                f"neigh replace {machine.ip} lladdr {machine.mac} dev br0",
            ]
            forwarding.append(f"fdb replace {machine.mac} dev {port} master static")
        batch(self._fabric.core, core)
        batch(self._fabric.core, forwarding, program="bridge")
        for machine in self.machines:
            lines = [
                "link set eth0 addrgenmode none up",
                f"addr add {machine.ip}/24 dev eth0",
                f"neigh replace {self._database.ip} lladdr {self._database.mac} dev eth0",
            ]
            batch(machine, lines)
        wait_until_up(*self._ports(), namespace=self._fabric.core.name)

    def _ports(self):
        return [f"fleet{number}" for number in range(FIRST, FIRST + len(self.machines))]

    def recreate(self):
        """Re-create all of them: the same addresses, other network cards."""
        batch(self._fabric.core, [f"link del {port}" for port in self._ports()])
        self._plug()

    def connect(self, host):
        """Let all connect at once; return the seconds of each, None where it gave up."""
        took = {}
        with contextlib.ExitStack() as opened, selectors.DefaultSelector() as waiting:
            for machine in self.machines:
                with machine.inside():
                    client = opened.enter_context(socket.socket())
                client.setblocking(False)
                waiting.register(client, selectors.EVENT_READ, (machine.name, time.monotonic()))
                client.connect_ex((host, PORT))
            running = RunningTime()
            while len(took) < len(self.machines) and running.look() < TIMEOUT_S:
                for key, _ in running.select(waiting, TURN_S):
                    name, then = key.data
                    waiting.unregister(key.fileobj)
                    if is_greeted(key.fileobj, TIMEOUT_S + running.stalled_s):
                        took[name] = time.monotonic() - then
        return [took.get(machine.name) for machine in self.machines]

    def close(self):
        """Remove them."""
        for machine in self.machines:
            machine.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def batch(machine, lines, program="ip"):
    """Run many commands of a program on a machine."""
    run(program, "-n", machine.name, "-batch", "-", stdin="\n".join(lines))
