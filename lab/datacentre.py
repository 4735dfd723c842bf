"""A small data centre: the fabric, a master, and databases with a minion and a TCP service each.

    with Datacentre(root, file_roots={"base": [...]}) as centre:
        worker = centre.fabric.worker("worker", 90, "02:00:00:00:00:0a")
        worker = centre.fabric.recreate(worker, "02:00:00:00:00:0b")
        centre.master.salt("db*", "test.ping")

``causes`` breaks it, ``observe`` is its clients. It runs in private namespaces and leaves nothing
behind.
"""

import contextlib

from lab.fabric import Fabric
from lab.machines import poll
from lab.management import HERE, Management
from lab.observe import Service
from lab.saltstack import Master, Minion

FIRST = 11  # the number of the first machine: its address is 10.0.1.11


class Datacentre:
    """Build it; use ``fabric``, ``master`` and ``minions`` (by name); close it.

    ``root`` is a directory for the daemons' files; its path must be short (sockets). ``minion`` are
    options of every minion, further words are the master's.
    """

    def __init__(self, root, names=("db1", "db2"), kind="answers", minion=(), **master):
        with contextlib.ExitStack() as world:
            management = self.management = world.enter_context(Management())
            self.fabric = world.enter_context(Fabric(kind=kind))
            self.master = Master(root / "m", interface=HERE, **master)
            world.callback(self.master.stop)
            self.minions = {}
            for number, name in enumerate(names, FIRST):
                machine = self.fabric.database(name, number)
                management.connect(machine, number)
                world.enter_context(Service(machine, machine.ip))
                options = {"master": HERE, "acceptance_wait_time": 1, **dict(minion)}
                self.minions[name] = Minion(machine, root / name, **options)
                self.minions[name].start()
            poll("the minions answer", 120, lambda: self.master.up() == set(names), every_s=1)
            self._world = world.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._world.close()
