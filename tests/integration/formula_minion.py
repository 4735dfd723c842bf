"""A minion on a machine of the lab, as the formula's tests need it."""

import pathlib
import subprocess
import sys

import yaml

from lab.machines import poll

BIN = pathlib.Path(sys.executable).parent


class Minion:
    """A masterless minion: its own files, salt-call, and if need be the daemon.

    ``root`` must be short: the path of a socket has at most 107 characters.
    """

    def __init__(self, machine, root, repo, hygiene):
        self.machine, self.root = machine, root
        for name in ("cron.d", "sysctl.d", "crontab"):  # `ip netns exec` lays these over /etc
            own = pathlib.Path("/etc/netns", machine.name, name)
            own.parent.mkdir(parents=True, exist_ok=True)
            own.touch() if name == "crontab" else own.mkdir()
        files = root / "files"
        for place in (files, root / "pillar", root / "etc"):
            place.mkdir(parents=True)
        for name in ("_modules", "_states", "_utils"):  # not .venv: it would be walked
            (files / name).symlink_to(repo / name)
        (root / "pillar" / "top.sls").write_text("base: {'*': [hygiene]}")
        self.pillar(hygiene)
        options = {
            "id": machine.label,
            "root_dir": str(root),
            "file_client": "local",
            "master_type": "disable",
            "file_roots": {"base": [str(files), str(repo / "salt")]},
            "pillar_roots": {"base": [str(root / "pillar")]},
        }
        (root / "etc" / "minion").write_text(yaml.safe_dump(options))

    def pillar(self, hygiene):
        """Write this minion's pillar."""
        text = yaml.safe_dump({"arp_hygiene": hygiene})
        (self.root / "pillar" / "hygiene.sls").write_text(text)

    def call(self, function, *arguments):
        """Run salt-call on the machine, return what it returned."""
        words = [str(BIN / "salt-call"), "-c", str(self.root / "etc"), "--local", "--out=yaml"]
        return yaml.safe_load(self.machine.do(*words, function, *arguments))["local"]

    def apply(self, function="state.highstate", *arguments):
        """Apply states; return what each changed; fail with those that failed."""
        states = self.call(function, *arguments).values()
        failed = [state for state in states if state["result"] is False]
        assert not failed, failed
        return {state["__id__"]: state["changes"] for state in states if state["changes"]}

    def start(self):
        """Start the daemon and wait until its event bus is there."""
        words = ["-c", str(self.root / "etc"), "--log-file", str(self.root / "minion.log")]
        self.machine.start(str(BIN / "salt-minion"), *words, stderr=subprocess.DEVNULL)
        bus = "var/run/salt/minion/*pull.ipc"
        poll("the minion has an event bus", 30, lambda: list(self.root.glob(bus)))

    def log(self):
        """What the daemon wrote in its log."""
        return (self.root / "minion.log").read_text()
