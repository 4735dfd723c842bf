"""A second, plain network between this namespace and the machines: the master uses it.

It has no outages. A bridge in this namespace; each machine gets a card ``mgmt``.
"""

from lab.machines import run, wait_until_up

BRIDGE, HERE = "mgmt", "198.51.100.1"


class Management:
    """Build it, connect machines, close it. This namespace has the address ``HERE``."""

    def __init__(self):
        self._ports = []
        run(*f"ip link add {BRIDGE} address 02:00:00:00:ff:02 type bridge forward_delay 0".split())
        run(*f"ip addr add {HERE}/24 dev {BRIDGE}".split())
        run(*f"ip link set {BRIDGE} up".split())

    def connect(self, machine, number):
        """Give a machine a second card, with an address of its own."""
        port = f"{BRIDGE}{number}"
        run(*f"ip link add {port} master {BRIDGE} type veth".split(), *_peer(machine))
        self._ports.append(port)
        run(*f"ip link set {port} up".split())
        machine.do(f"ip addr add 198.51.100.{number}/24 dev {BRIDGE}")
        machine.do(f"ip link set {BRIDGE} up")
        wait_until_up(port)

    def close(self):
        """Remove it. The kernel removes a machine's port later; we do not wait for that."""
        for port in self._ports:
            run(*f"ip link del {port}".split(), check=False)
        run(*f"ip link del {BRIDGE}".split())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _peer(machine):
    return f"peer name {BRIDGE} netns {machine.name}".split()
