"""The facts about this machine that the formula's plan needs. Reads, and changes nothing.

Standard library alone, no Salt: it works before anything is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import importlib.util
import os
import pathlib
import pwd
import re
import shutil
import socket
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..netlink.constants import CAP_NET_ADMIN, CAP_NET_RAW
from ..reporting import sinks
from . import job_files

try:
    from packaging import specifiers  # Salt requires it; a copy that salt-ssh packs may lack it
except ImportError:
    specifiers = None

_PROC = "/proc/sys/net"
_WHEEL = re.compile(r"pyroute2-(?P<version>[0-9][0-9a-z.]*)(-.*\.whl|\.tar\.gz)")
_FROM_PIP = {"pyroute2": "pyroute2<0.10", "prometheus_client": "prometheus_client"}
_CAPABILITIES = {"CAP_NET_ADMIN": CAP_NET_ADMIN, "CAP_NET_RAW": CAP_NET_RAW}


class InstalledJob(NamedTuple):
    """The scheduled job that is installed here; empty without one."""

    backend: str = ""
    when: str = ""  # cron's fields or nickname, or "every N min"
    wait_s: int = 0  # after that
    disabled: str = ""  # that an operator has stopped it, and how it is started again
    arguments: str = ""  # a text that holds those of its runs, for a shell
    is_marked: bool = False  # its runs say that they are the schedule's; of an older version: no


def installed_job(
    paths: Mapping[str, str], name: str, *schedules: Mapping[str, Any]
) -> InstalledJob:
    """Return the job in our files, or else the one in Salt's own scheduler.

    paths: see formula/plan.py. name: of the job in Salt's scheduler. schedules: the one that the
    minion has loaded, then the one in its file; of two jobs the last one counts.
    """
    for backend, path in (("cron", paths["cron"]), ("systemd", paths["timer"])):
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            due = job_files.due(file.read()) or ()
            script = _text(paths["script"])
            marked = job_files.is_marked(script)
            return InstalledJob(backend, *due, arguments=script, is_marked=marked)
    jobs = [each[name] for each in schedules if each.get(name)]
    if not jobs:
        return InstalledJob()
    when = jobs[-1].get("cron") or f"every {jobs[-1].get('minutes')} min"
    wait_s = (jobs[-1].get("splay") or {}).get("start", 0)
    disabled = ""
    if any(not job.get("enabled", True) for job in jobs):
        disabled = f"the job is disabled: schedule.enable_job {name}"
    elif any(not each.get("enabled", True) for each in schedules):
        disabled = "the minion's scheduler is disabled, with all its jobs: schedule.enable"
    words = jobs[-1].get("kwargs") or {}
    marked = words.items() >= job_files.MARK_OF_SALT.items()
    return InstalledJob("salt", when, wait_s, disabled, job_files.selection(words), marked)


def _text(path: str) -> str:
    """Return what a file holds; nothing where it cannot be read."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="utf-8") as file:
        return file.read()
    return ""


def engines(option: Any) -> list[str]:
    """Return the names in a minion's option ``engines``."""
    return [name for each in option or () for name in ([each] if isinstance(each, str) else each)]


def gid(user: str) -> int | None:
    """Return a user's group; None where there is no such user."""
    try:
        return pwd.getpwnam(user).pw_gid
    except KeyError:
        return None


def salt_call(named: str | None) -> str:
    """Return salt-call: the one named, or the one of this Python; empty where there is none."""
    near = os.path.join(os.path.dirname(sys.executable), "salt-call")
    for path in [named] if named else [near, "/usr/bin/salt-call", shutil.which("salt-call")]:
        if path and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def has_program(*names: str) -> bool:
    """Tell whether one of these programs is installed, also where daemons are."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return any(shutil.which(name, path=path) for name in names)


def is_cron_of_busybox() -> bool:
    """Tell whether the only cron daemon is busybox's, which does not read /etc/cron.d."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    daemons = [shutil.which(name, path=path) for name in ("crond", "cron")]
    programs = {os.path.basename(os.path.realpath(daemon)) for daemon in daemons if daemon}
    return programs == {"busybox"}


def missing_devices(names: Iterable[str]) -> list[str]:
    """Return the names that no network device has, as its name or as an alternative one."""
    missing = []
    for name in names:
        try:
            socket.if_nametoindex(name)
        except OSError:
            missing.append(name)
    return missing


def is_locked(script: str) -> bool:
    """Tell whether a run is in progress: it holds its script, which is its lock."""
    with contextlib.suppress(FileNotFoundError), open(script, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def job_uid(script: str) -> int:
    """Return the user of the scheduled runs: their script is theirs; without one the minion's."""
    with contextlib.suppress(OSError):
        return os.stat(script).st_uid
    return os.geteuid()


def why_unrecordable(directory: str, uid: int) -> str:
    """Return why no run can be recorded in this directory, and what to do; empty: one can.

    uid: the user of the runs.
    """
    if not os.path.isdir(directory):
        return f"runs cannot be recorded: {directory} is missing: apply arp_hygiene again"
    if is_read_only(directory):
        return f"runs cannot be recorded: {directory} is on a read-only file system: remount it"
    if owner := foreign_owner(directory, uid):
        return (
            f"runs cannot be recorded: {directory} belongs to {owner}, and the job runs as "
            f"{_user(uid)}: apply arp_hygiene again"
        )
    disk = os.statvfs(directory)
    is_roots = os.stat(directory).st_uid == 0  # who may use the reserved blocks
    blocks, inodes = (disk.f_bfree, disk.f_ffree) if is_roots else (disk.f_bavail, disk.f_favail)
    needed = 0  # the new history is written beside the old one
    with contextlib.suppress(OSError):
        needed = os.stat(os.path.join(directory, sinks.HISTORY)).st_size
    if blocks * disk.f_frsize <= needed or (disk.f_files and not inodes):
        return f"runs cannot be recorded: no space left for {directory}: free some"
    return ""


def is_read_only(directory: str) -> bool:
    """Tell whether nothing can be written here, whoever tries."""
    return bool(os.statvfs(directory).f_flag & os.ST_RDONLY)


def foreign_owner(directory: str, uid: int) -> str:
    """Return whose directory it is, where that keeps a user from writing there; else nothing.

    Where its mode (or an ACL, which the mode shows too) lets others write, nobody is kept from it.
    """
    there = os.stat(directory)
    is_kept_out = uid not in (0, there.st_uid) and not there.st_mode & 0o022
    return _user(there.st_uid) if is_kept_out else ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def why_no_metrics(directory: str, written: float) -> str:
    """Return why this directory lacks the metrics of a run, and what to do; empty: it has them.

    written: when that run ended.
    """
    if not os.path.isdir(directory):
        return (
            f"metrics directory {directory} is missing: create it, "
            "or drop arp_hygiene:metrics from the pillar"
        )
    where = "journalctl -t arp_hygiene says why"
    try:
        is_old = os.stat(os.path.join(directory, sinks.TEXTFILE)).st_mtime < written - 1
    except FileNotFoundError:
        return f"metrics in {directory} are missing: {where}"
    return f"metrics in {directory} are older than the last run: {where}" if is_old else ""


def why_requirement_unmet(requirement: Mapping[str, Any]) -> str:
    """Return why pyroute2 will be missing here, or in a version that does not fit; empty: it fits.

    Judged where pillar (``requirement``, checked) leaves the installation to others, or names a
    directory of wheels; what an index or a package manager has is not known before it is asked.
    """
    version, wheels = requirement["version"], requirement["wheels"]
    if requirement["install"] == "none":
        here = library_version("pyroute2")
        if here and not _fits(here, version):
            return f"version: pyroute2 {here} is installed, which is not {version!r}"
        return "" if here else "install: 'none', but Salt's own Python has no pyroute2"
    if requirement["install"] == "pip" and wheels:
        named = [_WHEEL.fullmatch(name) for name in os.listdir(wheels)]
        if not any(match and _fits(match["version"], version) for match in named):
            return f"wheels: no pyroute2{version} in {wheels}"
    return ""


def is_public(paths: Iterable[str]) -> bool:
    """Tell whether any user can read all of these, whatever links lead there."""
    places = {place for path in paths for place in (os.path.abspath(path), os.path.realpath(path))}
    parents = {str(parent) for place in places for parent in pathlib.PurePath(place).parents}
    try:
        return all(os.stat(place).st_mode & 0o004 for place in places) and all(
            os.stat(parent).st_mode & 0o001 for parent in parents
        )
    except OSError:
        return False


def library_version(name: str) -> str:
    """Return the version of a library of this Python; empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _fits(version: str, wanted: str) -> bool:
    """Tell whether a version is one of those wanted; where nobody can tell, it is."""
    if specifiers is None:
        return True
    try:
        return specifiers.SpecifierSet(wanted).contains(version, prereleases=True)
    except ValueError:  # InvalidVersion, InvalidSpecifier
        return True


def has_library(name: str) -> bool:
    """Tell whether this Python can import a library."""
    return importlib.util.find_spec(name) is not None


def missing(library: str, root_dir: str) -> str:
    """Return the line for a library that Salt's own Python lacks, and how to install it.

    salt-ssh packs its libraries on the master: nothing can be installed into that copy.
    """
    how = f"salt-call pip.install '{_FROM_PIP[library]}'"
    if by_ssh(root_dir):
        how = f"add {library} to master option `thin_extra_mods`, then salt-ssh once with -t"
    return f"{library} is missing in Salt's own Python: {how}"


def by_ssh(root_dir: str) -> bool:
    """Tell whether this ``root_dir`` is that of a Salt that salt-ssh has copied here."""
    return root_dir.endswith("/running_data")


def settings(keys: Iterable[str]) -> dict[str, dict[str, dict[str, str]]]:
    """Return which of these neighbour settings of the kernel exist in this network namespace.

    Family to scope (``default`` or a device) to key to why it cannot be written; empty: it can.
    """
    why_unwritable: dict[str, dict[str, dict[str, str]]] = {}
    for family in ("ipv4", "ipv6"):
        base = f"{_PROC}/{family}/neigh"
        scopes = os.listdir(base) if os.path.isdir(base) else []
        why_unwritable[family] = {
            scope: {
                key: _unwritable(f"{base}/{scope}/{key}")
                for key in keys
                if os.path.exists(f"{base}/{scope}/{key}")
            }
            for scope in scopes
        }
    return why_unwritable


def thresholds(keys: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the table limits in force, by family; empty in a network namespace without them."""
    limits: dict[str, dict[str, int]] = {"ipv4": {}, "ipv6": {}}
    for family, values in limits.items():
        for key in keys:
            path = f"{_PROC}/{family}/neigh/default/{key}"
            with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:
                values[key] = int(file.read())
    return limits


def kernel_settings(names: Iterable[str]) -> dict[str, str]:
    """Return why each of these kernel settings cannot be written here; empty: it can."""
    paths = {name: "/proc/sys/" + name.replace(".", "/") for name in names}
    return {
        name: _unwritable(path) if os.path.exists(path) else "not available in this kernel"
        for name, path in paths.items()
    }


def _unwritable(path: str) -> str:
    """Return why a kernel setting cannot be written here, or nothing."""
    if os.access(path, os.W_OK):
        return ""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "read-only: /proc/sys is mounted read-only, as in a container"
    return f"not writable by user {os.geteuid()}"


def lacking(capabilities: Iterable[str]) -> list[str]:
    """Return which of these capabilities this process does not have."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        (held,) = (line.split()[1] for line in file if line.startswith("CapEff:"))
    return [name for name in capabilities if not int(held, 16) & 1 << _CAPABILITIES[name]]
