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


class Minion:
    """One minion: its own files and cron jobs, salt-call, and if need be the daemon.

    ``root`` must be short: the path of a socket has at most 107 characters.
    """

    def __init__(self, machine, root, **options):
        self.machine, self.root = machine, root
        shutil.rmtree(self.etc(""), ignore_errors=True)
        for name in ("cron.d", "sysctl.d"):  # `ip netns exec` lays these over /etc
            self.etc(name).mkdir(parents=True)
        self.etc("crontab").touch()
        (root / "etc").mkdir(parents=True)
        options = {"id": machine.label, "root_dir": str(root), **options}
        (root / "etc" / "minion").write_text(yaml.safe_dump(options))

    def etc(self, name):
        """Where we see what the minion sees below /etc."""
        return pathlib.Path("/etc/netns", self.machine.name, name)

    def call(self, function, *arguments):
        """Run salt-call on the machine, return what it returned."""
        words = [str(BIN / "salt-call"), "-c", str(self.root / "etc"), "--local", "--out=yaml"]
        return yaml.safe_load(self.machine.do(*words, function, *arguments))["local"]

    def start(self):
        """Start the daemon and wait until its event bus is there."""
        words = ["-c", str(self.root / "etc"), "--log-file", str(self.root / "minion.log")]
        self.machine.start(str(BIN / "salt-minion"), *words, stderr=subprocess.DEVNULL)
        bus = "var/run/salt/minion/*pull.ipc"
        poll("the minion has an event bus", 30, lambda: list(self.root.glob(bus)))

    def log(self):
        """What the daemon wrote in its log."""
        return (self.root / "minion.log").read_text()


class Master:
    """A master in our own network, and the ``salt`` command."""

    def __init__(self, root, **options):
        self.root = root
        (root / "etc").mkdir(parents=True)
        options = {"root_dir": str(root), "auto_accept": True, "timeout": 60, **options}
        (root / "etc" / "master").write_text(yaml.safe_dump(options))
        words = [str(BIN / "salt-master"), "-c", str(root / "etc"), "-l", "quiet"]
        quiet = subprocess.DEVNULL
        self._daemon = subprocess.Popen(words, start_new_session=True, stdout=quiet, stderr=quiet)

    def salt(self, target, function, *arguments):
        """Run ``salt``, return what each minion answered."""
        words = [str(BIN / "salt"), "-c", str(self.root / "etc"), "--out=json", "--static"]
        return json.loads(run(*words, target, function, *arguments, check=False, timeout_s=120))

    def up(self):
        """Tell which minions answer; a master that is only starting knows of none."""
        try:
            answers = self.salt("*", "test.ping")
        except json.JSONDecodeError:
            return set()
        return {name for name, answer in answers.items() if answer is True}

    def stop(self):
        """End it and whatever it started."""
        os.killpg(self._daemon.pid, 15)
        self._daemon.wait(20)
