"""Hands open look backs over to the next start: a restart costs no paused host its entry.

At a clean stop the former holders that are still being asked are written beside the status file. A
sentinel that starts soon after takes the file and asks them on, each alone. It trusts the file only
as far as that: whose answer gives whom an entry, and who is never asked, is decided as always. A
failure or a SIGKILL hands nothing over.
"""

import ipaddress
import json
import os
import stat
from collections.abc import Callable
from typing import Any

from ..netlink import codec
from ..reporting import files
from . import former_holders, telling

NAME = "look_backs.json"
MAX_ROWS, MAX_BYTES = 4096, 1 << 20
MAX_MAC = 32  # bytes: MAX_ADDR_LEN


Held = tuple[codec.Key, former_holders.Heal]
Found = tuple[str, bytes, former_holders.Heal]  # device, address


def beside(status_path: str) -> str:
    """Return the file's path; empty where there is no status file."""
    return os.path.join(os.path.dirname(status_path), NAME) if status_path else ""


class Handover:
    """The file, as the sentinel that stops and the one that starts see it."""

    def __init__(
        self,
        path: str,
        name_of: Callable[[int], str],
        ifindex_of: Callable[[str], int],
        tell: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """path: empty for no file. A device is named there: its number may be another one's.

        tell: takes a line about what could not be handed over.
        """
        self._path, self._name_of, self._ifindex_of = path, name_of, ifindex_of
        self._tell, self._clock = tell, clock

    def write(self, held: list[Held]) -> set[codec.Key]:
        """Write the file, readable for us alone; return of which entries it has the look backs."""
        content, keys = self._content(held if self._path else [])
        try:
            if keys:
                files.write_atomically(self._path, content, 0o600)
        except OSError as error:
            self._tell(
                f"cannot write {self._path}: {error.strerror}; the next start does not "
                "continue the look backs: run arp.diagnose on the undecided addresses"
            )
            return set()
        return keys

    def _content(self, held: list[Held]) -> tuple[bytes, set[codec.Key]]:
        """Return as much as ``take`` reads, and of which entries that is; of each all rows or none.

        By the last row of an entry the next sentinel sees that it is as it was left.
        """
        by_key: dict[codec.Key, list[dict[str, Any]]] = {}
        for key, heal in held:
            by_key.setdefault(key, []).append(_row(self._name_of(key[0]), key[1], heal))
        rows: list[dict[str, Any]] = []
        content = {"uptime_s": self._clock(), "look_backs": rows}
        keys, size = set[codec.Key](), len(json.dumps(content))
        for key, more in by_key.items():
            size += len(json.dumps(more))
            if size > MAX_BYTES or len(rows) + len(more) > MAX_ROWS:
                break
            rows += more
            keys.add(key)
        return json.dumps(content).encode(), keys

    def take(self) -> list[Held]:
        """Read the file and remove it; nothing where nothing was handed over.

        One that is not ours, too old or not to be understood is ignored, which is told. So is one
        that cannot be removed: each start would take it up again.
        """
        if not self._path:
            return []
        found, why = list[Found](), ""
        try:
            found = _parse(_read(self._path), self._clock())
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            why = str(error.strerror if isinstance(error, OSError) else error)
        try:
            os.unlink(self._path)
        except OSError as error:
            found, why = [], f"cannot remove it: {error.strerror}; remove {self._path}"
        if why:
            self._tell(f"ignored {self._path} (from the previous sentinel): {why}")
        by_key = [((self._ifindex_of(dev), dst), heal) for dev, dst, heal in found]
        return [(key, heal) for key, heal in by_key if key[0]]


def _read(path: str) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise ValueError("another user wrote it")
        return file.read(MAX_BYTES)  # what is longer is cut, and no JSON


def _parse(text: bytes, now: float) -> list[Found]:
    """Return the look backs; ValueError says why the file is no use.

    One row that is none makes it so: it may be what says how an entry of the others was left.
    """
    try:
        content = json.loads(text)
        age_s, rows = now - float(content["uptime_s"]), content["look_backs"]
        found = [_held(row, now) for row in rows[:MAX_ROWS]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise ValueError("it cannot be understood") from None
    if age_s < 0:
        raise ValueError("it was written before this boot")
    if not age_s <= former_holders.MAX_HANDOVER_S:
        raise ValueError(f"it is {age_s:.0f} s old")
    return found


def _row(dev: str, dst: bytes, heal: former_holders.Heal) -> dict[str, Any]:
    return {
        "dev": dev,
        "ip": codec.address(dst),
        "old": heal.old.hex(),
        "new": heal.new.hex(),
        "why": heal.reason,
        "deleted": heal.is_deleted,
        "told": heal.is_told,
        "at": heal.at,
    }


def _held(row: dict[str, Any], now: float) -> Found:
    """Return one row; ValueError, KeyError or TypeError where it is none."""
    old, new, at = bytes.fromhex(row["old"]), bytes.fromhex(row["new"]), float(row["at"])
    is_whole = (
        isinstance(row["dev"], str)
        and isinstance(row["ip"], str)
        and 0 < len(old) <= MAX_MAC
        and 0 < len(new) <= MAX_MAC
        and old != new
        and row["why"] in (telling.NOTICED if row["deleted"] else {"", *telling.NOTICED})
        and 0 <= at <= now
    )
    if not is_whole:
        raise ValueError
    flags = bool(row["deleted"]), True, bool(row["told"])
    heal = former_holders.Heal(old, new, row["why"], *flags, at=at)
    return row["dev"], ipaddress.ip_address(row["ip"]).packed, heal
