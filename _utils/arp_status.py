"""Whether a sentinel lives, and what it has done: one small file, written now and then.

Standard library alone.
"""

import contextlib
import json
import os
from typing import Any

PATH = "/run/arp_hygiene/sentinel.json"
SILENT_S = 300.0  # who has not written for longer than this is hung

Status = dict[str, Any]


def write(path: str, status: Status) -> None:
    """Write it down in one piece; OSError where that is refused."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    new = f"{path}.{os.getpid()}"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(status, file)
    os.replace(new, path)


def read(path: str, now: float) -> Status:
    """Return what was written last, and ``lives``: whether its process is there and not hung.

    ``why`` says what is wrong where it does not. now: seconds since 1970.
    """
    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
        pid, at = int(status["pid"]), float(status["at"])
    except FileNotFoundError:
        return {"lives": False, "why": "it has never run since boot"}
    except (OSError, ValueError, KeyError, TypeError):
        return {"lives": False, "why": f"{path} cannot be read"}
    why = ""
    if not os.path.exists(f"/proc/{pid}"):
        why = f"its process {pid} has ended"
    elif now - at > SILENT_S:
        why = f"its process {pid} has said nothing for {now - at:.0f} s"
    return {**status, "lives": not why, **({"why": why} if why else {})}


def forget(path: str) -> None:
    """Take it away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
