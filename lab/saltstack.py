"""A real salt-master, and real salt-minions on machines of the lab."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import yaml

from lab.machines import poll, run

BIN = pathlib.Path(sys.executable).parent
REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
#: The sentinel as a process, from this checkout; its options follow as one JSON argument.
SENTINEL = (
    "env", f"PYTHONPATH={REPOSITORY / '_utils'}", sys.executable, "-m", "arp_engine.sentinel",
)  # fmt: skip
ROOMS = ("_modules", "_states", "_utils")  # what salt/ has links to


def configure(root, **options):
    """Write the configuration of a masterless minion with all its files in one place."""
    root.mkdir(parents=True, exist_ok=True)
    options = {"id": "db1", "root_dir": str(root), "file_client": "local", **options}
    # What has just been written is served at once, and not 20 s later.
    options.setdefault("fileserver_list_cache_time", 0)
    (root / "minion").write_text(json.dumps(options, indent=1), encoding="utf-8")  # it is YAML too
    return root / "minion"


def file_roots(files):
    """Make the operator's file root with top.example in it; return it together with ours."""
    files.mkdir(parents=True)
    shutil.copy(REPOSITORY / "top.example", files / "top.sls")
    return {"base": [str(files), str(REPOSITORY / "salt")]}


def pillar_roots(pillar, tree):
    """Make a directory with one pillar for all minions; return it."""
    pillar.mkdir(parents=True, exist_ok=True)
    (pillar / "top.sls").write_text("base: {'*': [own]}", encoding="utf-8")
    (pillar / "own.sls").write_text(json.dumps(tree), encoding="utf-8")
    return {"base": [str(pillar)]}


class Minion:
    """One minion: its own files and cron jobs, salt-call, and the daemon where wanted.

    ``root`` must be short: the path of a socket has at most 107 characters.
    """

    def __init__(self, machine, root, **options):
        self.machine, self.root = machine, root
        shutil.rmtree(self.etc(""), ignore_errors=True)
        for name in ("cron.d", "sysctl.d"):  # `ip netns exec` lays these over /etc
            self.etc(name).mkdir(parents=True)
        self.etc("crontab").touch()
        options = {"id": machine.label, "root_dir": str(root), "file_client": "remote", **options}
        configure(root / "etc", **options)

    def etc(self, name):
        """Return where the minion's /etc files are."""
        return pathlib.Path("/etc/netns", self.machine.name, name)

    def call(self, function, *arguments):
        """Run salt-call on the machine; return its result."""
        return yaml.safe_load(self.machine.do(*self.words(function, *arguments)))["local"]

    def words(self, function, *arguments):
        """Return the command line of salt-call for a function."""
        words = [str(BIN / "salt-call"), "-c", str(self.root / "etc"), "--local", "--out=yaml"]
        return [*words, function, *arguments]

    def start(self):
        """Start the daemon and wait until its event bus is there."""
        words = ["-c", str(self.root / "etc"), "--log-file", str(self.root / "minion.log")]
        self.machine.start(str(BIN / "salt-minion"), *words, stderr=subprocess.DEVNULL)
        bus = "var/run/salt/minion/*pull.ipc"
        poll("the minion has an event bus", 90, lambda: list(self.root.glob(bus)))

    def log(self):
        """Return the daemon's log."""
        return (self.root / "minion.log").read_text()


class Master:
    """A master in our own network, and the ``salt`` command."""

    def __init__(self, root, **options):
        self.root = root
        (root / "etc").mkdir(parents=True)
        options = {"root_dir": str(root), "auto_accept": True, "timeout": 60, **options}
        options.setdefault("worker_threads", 2)  # each costs a second of CPU when it starts
        (root / "etc" / "master").write_text(yaml.safe_dump(options))
        self.start()

    def start(self):
        """Start it; also again, with the keys and files that it had."""
        words = [str(BIN / "salt-master"), "-c", str(self.root / "etc"), "-l", "quiet"]
        quiet = subprocess.DEVNULL
        self._daemon = subprocess.Popen(words, start_new_session=True, stdout=quiet, stderr=quiet)

    def salt(self, target, function, *arguments):
        """Run ``salt``, return what each minion answered."""
        words = [str(BIN / "salt"), "-c", str(self.root / "etc"), "--out=json", "--static"]
        return json.loads(run(*words, target, function, *arguments, check=False, timeout_s=120))

    def up(self):
        """Return the minions that answer; none while the master is starting."""
        try:
            answers = self.salt("*", "test.ping", "--timeout=3")  # a starting minion never answers
        except json.JSONDecodeError:
            return set()
        return {name for name, answer in answers.items() if answer is True}

    def stop(self):
        """End it and whatever it started."""
        os.killpg(self._daemon.pid, 15)
        self._daemon.wait(20)
