"""Fetch Debian's kernels, boot each in an emulator, and run the scenes of tests/kernels on it.

    python3 -m lab.kernels fetch
    python3 lab/private.py .venv/3008/bin/python -m lab.kernels play

``fetch`` keeps its files below ``build/kernels``, with apt lists of its own: the host's apt and its
``/lib/modules`` are not changed. ``play`` boots each kernel on this file system; its writes are
discarded. Needs neither root nor hardware virtualization: it is slow, so each step has a deadline.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from lab.bare import missing
from lab.machines import Failed, run

REPOSITORY = Path(__file__).resolve().parents[1]
PLACE = REPOSITORY / "build" / "kernels"
MIRROR = "http://deb.debian.org"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Name to Debian suite.
SUITES = {
    "5.10": ("debian bullseye main", "debian-security bullseye-security main"),
    "6.1": ("debian bookworm main", "debian-security bookworm-security main"),
    "6.12": ("debian bookworm-backports main",),
    "7": ("debian trixie-backports main",),  # the newest for a release of Debian
}
#: Program to its Debian package.
PACKAGES = {
    "apt-get": "apt",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg": "dpkg",
    "file": "file",
    "ip": "iproute2",
    "nft": "nftables",
    "qemu-system-x86_64": "qemu-system-x86",
}
UP_S, SCENES_S = 120, 1200  # to boot, to run all scenes; usually 10 s and 500 s
MARK = "== "  # begins a line of the scenes, among those of the kernel
UP, OK, FAILED, OVER = "up", "ok", "FAILED", "over"


def fetch(name):
    """Fetch a kernel's current version; without a network keep the one fetched before."""
    place = PLACE / name
    for part in ("lists/partial", "archives/partial"):
        (place / part).mkdir(parents=True, exist_ok=True)
    lines = [f"deb [signed-by={KEYRING}] {MIRROR}/{suite}\n" for suite in SUITES[name]]
    (place / "sources.list").write_text("".join(lines), encoding="ascii")
    _apt(place, "apt-get", "update")
    image = _depends(place, "linux-image-amd64", "image")
    if not image:
        raise Failed(f"kernel {name}: cannot be fetched from {MIRROR}, and no copy is here")
    packages = image + _depends(place, image[0], "binary|modules")
    uris = _apt(place, "apt-get", "--print-uris", "download", *packages).splitlines()
    debs = sorted(place / line.split()[1] for line in uris)  # 7.x: binary, image, modules
    done = place / next(deb.stem for deb in debs if deb.name.startswith("linux-image-"))
    if not done.exists():
        print(f"fetching {image[0]} (100 MB)", flush=True)
        _apt(place, "apt-get", "download", *packages)
        half = place / "half"
        for deb in debs:
            run("dpkg", "-x", str(deb), str(half))
        _like_before_7(half)
        for older in place.glob("linux-*"):
            run("rm", "-r", str(older))
        half.rename(done)


def _depends(place, package, kinds):
    """Return the packages of a kernel, of some kinds, that a package depends on."""
    told = _apt(place, "apt-cache", "depends", package, check=False)
    return re.findall(rf"^ +Depends: (linux-(?:{kinds})-\d\S+)", told, re.MULTILINE)


def _like_before_7(place):
    """Give Debian's 7.x the layout of older kernels: it has all below ``usr/lib/modules``."""
    for kernel in place.glob("usr/lib/modules/*/vmlinuz"):
        (place / "boot").mkdir(exist_ok=True)
        kernel.rename(place / "boot" / f"vmlinuz-{kernel.parent.name}")
        (place / "usr/lib").rename(place / "lib")


def _apt(place, program, *words, check=True):
    """Run apt with its own lists."""
    settings = {
        "Dir::Etc::SourceList": place / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": place / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": place,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # apt's own user may not write here
    }
    options = [f"--option={key}={value}" for key, value in settings.items()]
    done = subprocess.run(
        [program, *options, *words],
        cwd=place, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if check and done.returncode:
        raise Failed(f"{program} {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Heard:
    """The output of one kernel, line by line."""

    def __init__(self, name):
        self.name = name
        self.up = self.over = False
        self.played = self.failed = 0
        self.last = ""
        self._noise = deque(maxlen=15)

    def hear(self, line):
        """Take a line; return the line to print, or an empty string."""
        line = line.strip()
        if not line.startswith(MARK):
            self._noise.append(line)
            return ""
        word, _, text = line[len(MARK) :].partition(" ")
        if word == UP:
            self.up, self.name = True, text.split("-")[0]
            return f"{self.name}: Debian's {text}"
        if word == OVER:
            self.over = True
            return ""
        self.played += 1
        self.failed += word != OK
        self.last = text
        return f"{self.name}: {text}" if word == OK else f"{self.name}: FAILED: {text}"

    def verdict(self, seconds, timed_out=False):
        """Return the closing line, and whether everything passed."""
        if self.over:
            failed = f", {self.failed} FAILED" if self.failed else ""
            line = f"{self.name}: {self.played} scenes in {seconds:.0f} s{failed}"
            return line, not self.failed and self.played > 0
        end = f"stopped after {seconds:.0f} s" if timed_out else f"ended after {seconds:.0f} s"
        after = f"; the last scene: {self.last}" if self.last else ""
        state = f"its scenes did not finish{after}" if self.up else "it did not boot"
        return "\n".join([f"{self.name}: FAILED: {end}, {state}; output:", *self._noise]), False


def play(name):
    """Boot a kernel, run the scenes, print their results; return whether all passed."""
    heard, began, guest = Heard(name), time.monotonic(), _boot(name)
    with _ended(guest, UP_S) as up, _ended(guest, UP_S + SCENES_S) as all_played:
        for line in guest.stdout:
            if told := heard.hear(line):
                print(told, flush=True)
            if heard.up:
                up.cancel()
        guest.wait()
    line, well = heard.verdict(time.monotonic() - began, up.passed or all_played.passed)
    print(line, flush=True)
    return well


def _boot(name):
    """Start a kernel that runs the scenes and then ends."""
    images = list(PLACE.glob(f"{name}/linux-image-*/boot/vmlinuz-*"))
    if not images:
        raise Failed(f"kernel {name} is missing: run python3 -m lab.kernels fetch {name}")
    tools = str(Path(sys.executable).parent)
    words = [
        f"{tools}/vng", "--run", str(images[0]), "--cpus", "2", "--memory", "2G", "--user", "root",
        "--disable-kvm", "--disable-microvm", "--force-9p", "--verbose", "--",
        "env", "ARP_LAB_PRIVATE=1", "PYTHONDONTWRITEBYTECODE=1",
        sys.executable, "-m", "tests.kernels", *os.environ.get("SCENES", "").split(),
    ]  # fmt: skip
    return subprocess.Popen(
        words, cwd=REPOSITORY, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip


@contextlib.contextmanager
def _ended(process, seconds):
    """End a process and all its children after some seconds, unless cancelled."""

    def end():
        timer.passed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, end)
    timer.passed = False
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()


def main(verb, *names):
    """Fetch or play the kernels that are named, or all."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if lacking := missing(*PACKAGES, packages=PACKAGES):
        raise Failed(lacking)
    if not KEYRING.exists():
        raise Failed(f"{KEYRING} is missing (Debian: apt-get install debian-archive-keyring)")
    if unknown := set(names) - set(SUITES):
        raise Failed(f"no such kernel: {' '.join(unknown)} (there are {' '.join(SUITES)})")
    if verb == "fetch":
        for name in names or SUITES:
            fetch(name)
        return 0
    return 0 if all([play(name) for name in names or SUITES]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Failed as failed:
        sys.exit(f"kernels: {failed}")
