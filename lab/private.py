#!/usr/bin/env python3
"""Run a command in private user, mount, PID, network, IPC and UTS namespaces.

    python3 lab/private.py COMMAND [ARGUMENT ...]

Inside, the command is root, alone in its network (one loopback, up), on throw-away copies of
``/etc``, ``/tmp``, ``/run`` and ``/var``; outside, it is the user who started it, and nothing
changes. When it ends, for whatever reason, the kernel ends all processes it started.

Needs no privilege, only a kernel that allows unprivileged user namespaces. Standard library only:
it runs before anything is installed.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys

MARK = "ARP_LAB_PRIVATE"  # set inside, so that a test can refuse to run outside

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """Private namespaces are not possible here; the text says what to do."""


def _unshare(flags):
    if _libc.unshare(flags) != 0:
        error = os.strerror(ctypes.get_errno())
        raise Refused(
            f"cannot make private namespaces ({error}): allow unprivileged user namespaces "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns=0), or run as root"
        )


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _ranges(kind):
    """Return the ids this user may map, as ``(inside, outside, count)``, and who writes them."""
    if os.geteuid() == 0:
        with open(f"/proc/self/{kind}_map", encoding="ascii") as file:
            rows = [line.split() for line in file]
        return [(int(inside), int(inside), int(count)) for inside, _outside, count in rows], None
    own = os.getuid() if kind == "uid" else os.getgid()
    helper = shutil.which(f"new{kind}map")
    try:
        with open(f"/etc/sub{kind}", encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        lines = []
    names = {str(os.getuid()), os.environ.get("USER", ""), os.environ.get("LOGNAME", "")}
    for line in lines:
        if helper and len(line) == 3 and line[0] in names:
            return [(0, own, 1), (1, int(line[1]), int(line[2]))], helper
    return [(0, own, 1)], None


def _write_map(pid, kind):
    """Map ids from outside the new user namespace; with several ids a daemon can switch user."""
    rows, helper = _ranges(kind)
    if helper:
        words = [str(number) for row in rows for number in row]
        if subprocess.run([helper, str(pid), *words], check=False).returncode == 0:
            return
        rows = rows[:1]
    if os.geteuid() != 0 and kind == "gid":
        with open(f"/proc/{pid}/setgroups", "w", encoding="ascii") as file:
            file.write("deny")
    with open(f"/proc/{pid}/{kind}_map", "w", encoding="ascii") as file:
        file.write("".join(f"{a} {b} {count}\n" for a, b, count in rows))


def _mount(*words):
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"mount {' '.join(words)}: {done.stderr.strip()}")


def _copy(source, target):
    """Copy the readable files of a tree."""
    subprocess.run(
        ["cp", "-a", "--no-preserve=ownership", f"{source}/.", target],
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _furnish():
    """Cover every directory of the host to which a test, a daemon or a formula writes.

    The checkout stays visible under its own path even where that path lies below ``/tmp``.
    """
    here = os.getcwd()
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "tmpfs", "/mnt")
    os.makedirs("/mnt/here")
    _mount("--rbind", here, "/mnt/here")
    for place in ("/etc", "/var/lib", "/var/spool", "/var/cache", "/var/log", "/tmp", "/run"):
        copy = f"/mnt/{place.strip('/').replace('/', '-')}"
        os.makedirs(copy)
        if place == "/etc":
            _copy(place, copy)
        elif place == "/var/lib" and os.path.isdir("/var/lib/dpkg"):
            os.makedirs(f"{copy}/dpkg")  # dpkg still knows the installed packages
            _mount("--rbind", "/var/lib/dpkg", f"{copy}/dpkg")
            _mount("-o", "remount,bind,ro", f"{copy}/dpkg")
        elif place in ("/tmp", "/run"):
            os.chmod(copy, 0o1777)
        _mount("--rbind", copy, place)
    # `ip netns exec` mounts over these, so they must exist; a formula needs them too.
    os.makedirs("/var/spool/cron/crontabs", mode=0o1730)
    for place in ("cron.d", "sysctl.d", "systemd/system"):
        os.makedirs(f"/etc/{place}", exist_ok=True)
    with open("/etc/crontab", "a", encoding="utf-8"):
        pass
    os.makedirs("/run/netns")
    if not os.path.isdir(here):
        os.makedirs(here)
    if not os.path.samestat(os.stat(here), os.stat("/mnt/here")):
        _mount("--rbind", "/mnt/here", here)
    os.chdir(here)
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "sysfs", "sysfs", "/sys")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _init(command):
    """Be PID 1: start the command, reap all processes, end with its status."""
    _die_with_parent()
    try:
        _furnish()
    except Refused as refused:
        print(f"private: {refused}", file=sys.stderr)
        os._exit(125)
    environment = {**os.environ, MARK: "1", "HOME": "/tmp", "TMPDIR": "/tmp"}
    environment["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: None)
    worker = os.fork()
    if worker == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            print(f"private: {command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    while True:
        pid, status = os.wait()
        if pid == worker:
            os._exit(_exit_code(status))


def _exit_code(status):
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _spawn(command, ready, mapped):
    """In a child: leave the host's namespaces, wait until the ids are mapped, start PID 1."""
    _die_with_parent()
    try:
        _unshare(CLONE_NEWUSER)
        os.write(ready, b"u")
        if os.read(mapped, 1) != b"m":
            os._exit(125)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        _die_with_parent()  # a change of ids clears it
        _unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
    except Refused as refused:
        print(f"private: {refused}", file=sys.stderr)
        os._exit(125)
    init = os.fork()
    if init == 0:
        _init(command)
    os._exit(_exit_code(os.waitpid(init, 0)[1]))


def _end(child):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def run(command):
    """Run ``command`` (a list of words) privately; return its exit code."""
    for program in ("ip", "mount", "cp"):
        if not shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"):
            raise Refused(f"{program} is missing (Debian: apt-get install iproute2 mount)")
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    ready_r, ready_w = os.pipe()
    mapped_r, mapped_w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready_r)
        os.close(mapped_w)
        _spawn(command, ready_w, mapped_r)
    os.close(ready_w)
    os.close(mapped_r)
    if os.read(ready_r, 1) == b"u":
        _write_map(child, "uid")
        _write_map(child, "gid")
        os.write(mapped_w, b"m")
    for signum in (signal.SIGINT, signal.SIGTERM):
        # Ctrl-C reaches the command itself; we wait for its end. SIGTERM ends everything at once.
        handler = signal.SIG_IGN if signum == signal.SIGINT else lambda *_: _end(child)
        signal.signal(signum, handler)
    return _exit_code(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        sys.exit(run(sys.argv[1:]))
    except Refused as refused:
        print(f"private: {refused}", file=sys.stderr)
        sys.exit(125)
