"""A machine on which systemd is process 1, in its own namespaces; it boots in a second.

    with_systemd(script, log, place)

boots it, runs a shell script there as the last service, and ends it. It has its own network, /run
and /dev; its /etc and /var are those of the private namespaces. Needs a delegated cgroup (version
2): root has one, a user only where systemd delegates.
"""

import os
import pathlib
import subprocess

from lab.machines import Failed, refuse_outside

_SYSTEMD = "/lib/systemd/systemd"
# They would cover or clean /tmp, which all processes in the private namespaces share.
_MASKED = ("tmp.mount", "systemd-tmpfiles-setup.service", "systemd-tmpfiles-clean.timer")
_UNIT = """\
[Unit]
Requires=basic.target
After=basic.target
[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=HOME=/tmp PYTHONWARNINGS=ignore
ExecStart=/bin/sh {script}
ExecStopPost=/bin/systemctl --no-block exit
StandardOutput=file:{log}
StandardError=inherit
"""
_BOOT = """\
set -e
mount --make-rprivate /
mount -t proc proc /proc
mkdir -p {place}/dev {place}/cgroup
mount -t cgroup2 cgroup2 {place}/cgroup
mount -t tmpfs -o mode=755 tmpfs {place}/dev
cd {place}/dev
for name in null zero full random urandom tty; do
    touch $name
    mount --bind /dev/$name $name
done
mkdir pts shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts pts
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
cd /
mount --rbind {place}/dev /dev
mount --rbind {place}/cgroup /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/system
cp {place}/unit /run/systemd/system/lab.service
for unit in {masked}; do ln -s /dev/null /run/systemd/system/$unit; done
mount --bind /dev/null /etc/fstab
exec env -i container=lxc PATH="$PATH" {systemd} --system --unit=lab.service
"""
_DIVIDE = (
    "mount -t cgroup2 cgroup2 {place}/all && mkdir {cgroup} && echo $$ > {cgroup}/cgroup.procs"
)


def cannot_boot(place):
    """Return why systemd cannot be process 1 here, or an empty string."""
    if not os.access(_SYSTEMD, os.X_OK):
        return "systemd is missing (Debian: apt-get install systemd)"
    try:
        _run(place, "true", 20)
    except Failed as failed:
        return f"no delegated cgroup: {failed}"
    return ""


def with_systemd(script, log, place, timeout_s=180):
    """Boot, and run ``script`` with its output in ``log``. ``place``: a directory to work in."""
    refuse_outside()
    path = pathlib.Path(place, "script")
    path.write_text(script)
    pathlib.Path(place, "unit").write_text(_UNIT.format(script=path, log=log))
    boot = pathlib.Path(place, "boot")
    boot.write_text(_BOOT.format(place=place, systemd=_SYSTEMD, masked=" ".join(_MASKED)))
    _run(place, f"sh {boot}", timeout_s)


def _run(place, command, timeout_s):
    """Run a command as process 1 of a machine with its own cgroup; remove both afterwards."""
    everything = pathlib.Path(place, "all")
    everything.mkdir(exist_ok=True)
    cgroup = everything / f"lab-{pathlib.Path(place).name}"
    words = "unshare --cgroup --mount --pid --net --ipc --uts --fork --kill-child"
    divide = _DIVIDE.format(place=place, cgroup=cgroup)
    script = f"{divide} && exec {words} {command}"
    outer = ["unshare", "--mount", "--cgroup", "sh", "-c"]
    try:
        done = subprocess.run(
            [*outer, script], capture_output=True, text=True, timeout=timeout_s, check=False
        )
    finally:
        clean = f"mount -t cgroup2 cgroup2 {place}/all && find {cgroup} -depth -type d -delete"
        subprocess.run([*outer, clean], capture_output=True, check=False)
    if done.returncode:
        raise Failed((done.stderr or done.stdout).strip()[-300:])
