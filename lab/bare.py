"""Hide the optional programs: those that a scene or a test can use and does not require.

    python3 lab/private.py python3 -m lab.bare COMMAND [ARGUMENT ...]

runs a command as if they were not installed: their files are hidden, and dpkg does not know their
packages. Standard library only: it runs before anything is installed.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.machines import refuse_outside

#: Program to its Debian package.
PACKAGES = {
    "nft": "nftables",
    "arping": "iputils-arping",
    "arptables-legacy": "arptables",
    "cron": "cron",
    "crond": "cronie",
    "arp": "net-tools",
    "ifconfig": "net-tools",
    "pkill": "procps",
    "sysctl": "procps",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "sshd": "openssh-server",
    "promtool": "prometheus",
}
_DPKG = Path("/var/lib/dpkg/status")


def missing(*programs, packages=PACKAGES):
    """Return one line on the missing programs and how to install them, or an empty string."""
    lacking = [program for program in programs if not shutil.which(program)]
    if not lacking:
        return ""
    bringing = " ".join(packages[program] for program in lacking)
    are = "is" if len(lacking) == 1 else "are"
    return f"{' and '.join(lacking)} {are} missing (Debian: apt-get install {bringing})"


@contextlib.contextmanager
def hidden(packages):
    """Hide these programs (program to package) until the block ends."""
    with contextlib.ExitStack() as covers, tempfile.NamedTemporaryFile() as status:
        for path in sorted({path for program in packages for path in _everywhere(program)}):
            covers.enter_context(_covered(path, "/dev/null"))
        if _DPKG.exists():
            records = _DPKG.read_bytes().split(b"\n\n")
            theirs = {f"Package: {package}".encode() for package in packages.values()}
            status.write(b"\n\n".join(r for r in records if r.split(b"\n")[0] not in theirs))
            status.flush()
            covers.enter_context(_covered(_DPKG, status.name))
        yield


def _everywhere(program):
    """Return each file of this name in PATH, with all links resolved."""
    for place in os.environ["PATH"].split(os.pathsep):
        if shutil.which(program, path=place):
            yield os.path.realpath(os.path.join(place, program))


@contextlib.contextmanager
def _covered(path, cover):
    subprocess.run(["mount", "--bind", cover, path], check=True)
    try:
        yield
    finally:
        # Where somebody's apt-get has replaced the real file, the kernel has unmounted it.
        if f" {path} " in Path("/proc/self/mountinfo").read_text(encoding="utf-8"):
            subprocess.run(["umount", "--lazy", path], check=True)  # a process may have it open


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    refuse_outside()
    with hidden(PACKAGES):  # until the namespaces end
        os.execvp(sys.argv[1], sys.argv[1:])
