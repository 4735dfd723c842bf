"""A data centre with the product on its master: fabric, master, machines with minions each."""

import contextlib
import functools
import itertools
import json
import shutil
import subprocess

import salt.config
import salt.utils.event

from lab.datacentre import Datacentre
from lab.machines import poll
from lab.management import HERE
from lab.saltstack import BIN, REPOSITORY, Minion

ROOMS = ("_modules", "_states", "_utils", "_runners", "_engines", "_output")


def tree(repo, root):
    """Return a file root: the product, and nothing that would be walked in vain."""
    for room in ROOMS:
        shutil.copytree(
            repo / room, root / "srv" / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    return {"base": [str(root / "srv")]}


def documented(text):
    """Return the YAML block of docs/fleet.md that has this text."""
    blocks = (REPOSITORY / "docs" / "fleet.md").read_text(encoding="utf-8").split("```")[1::2]
    [block] = [block.removeprefix("yaml\n") for block in blocks if text in block]
    return block


class Bus:
    """What is said on a master's event bus."""

    def __init__(self, master):
        opts = salt.config.master_config(str(master.root / "etc" / "master"))
        self._bus = salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=True)
        self._bus.connect_pub(timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._bus.destroy()

    def fire(self, tag, data):
        """Say something, as the master does when a minion said it."""
        self._bus.fire_event(data, tag)

    def heard_now(self, prefix):
        """Return the events with such a tag that have come: nobody else empties the bus."""
        found = []
        while event := self._bus.get_event(full=True, no_block=True):
            if event["tag"].startswith(prefix):
                found.append(event)
        return found

    def heard(self, prefix, enough, seconds=60):
        """Return the events whose tag begins so, in order, until they are enough."""
        found = []

        def probe():
            event = self._bus.get_event(wait=0.2, full=True)
            if event and event["tag"].startswith(prefix):
                found.append(event)
            return enough(found)

        poll(f"{prefix}: {len(found)} events", seconds, probe, every_s=0)
        return found


class Answer:
    """What a salt-run came to."""

    def __init__(self, code, text, noise):
        self.code, self.text, self.noise = code, text, noise

    @property
    def data(self):
        assert self.text.lstrip().startswith("{"), self.text + self.noise
        return json.loads(self.text)


class Centre(Datacentre):
    """Databases and one worker, all of them minions."""

    def __init__(self, root, repo, databases, **master):
        self.root = root
        self._cards = itertools.count(101)
        options = {"file_roots": tree(repo, root), "gather_job_timeout": 10, **master}
        super().__init__(root, databases, **options)

    def run(self, *words, out="--out=json", **options):
        """Run salt-run on the master."""
        done = run_on(self.master, "salt-run", *([out] if out else []), *words, **options)
        return Answer(done.returncode, done.stdout, done.stderr)

    def wait_for(self, *names):
        """Wait until minions answer."""
        for name in names:
            poll(f"{name} answers", 90, functools.partial(self._answers, name))

    def _answers(self, name):
        words = ("-t", "2", "--out=json", name, "test.ping")
        return "true" in run_on(self.master, "salt", *words).stdout

    def sync(self):
        """Give the product to the master and to the minions."""
        self.run("saltutil.sync_all")
        self.master.salt("*", "saltutil.sync_all")

    def worker(self, name, number, mac, **options):
        """Make a worker with a minion, or make it again: the same name and address, a new card.

        Whoever makes it again gives it its key, as cloud-init would.
        """
        former = self.minions.get(name)
        if former:
            machine = self.fabric.recreate(former.machine, mac)
        else:
            machine = self.fabric.worker(name, number, mac)
        self.management.connect(machine, next(self._cards))
        place = self.root / f"{name}{mac[-2:]}"
        minion = Minion(machine, place, master=HERE, acceptance_wait_time=1, **options)
        if former:
            shutil.copytree(former.root / "etc" / "salt", place / "etc" / "salt")
        minion.start()
        self.minions[name] = minion
        return machine


@contextlib.contextmanager
def accepting(master, names):
    """Have the master accept the keys of minions that do not exist."""
    keys = next(master.root.glob("**/pki/master/minions"))
    some = next(keys.iterdir()).read_bytes()
    for name in names:
        (keys / name).write_bytes(some)
    yield
    for name in names:
        (keys / name).unlink()


def command(master, program="salt-run"):
    """Return the words that begin a command of this master."""
    return [str(BIN / program), "-c", str(master.root / "etc")]


def run_on(master, program, *words, **options):
    """Run a command of this master; return the finished process."""
    return subprocess.run(
        [*command(master, program), *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        **options,
    )
