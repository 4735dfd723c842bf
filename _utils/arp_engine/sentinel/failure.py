"""What is told of an error that stops the sentinel."""

import os
import traceback

from ..packets import packet_socket
from ..reporting import messages as reporting_messages


def reason(error: Exception) -> str:
    """Return in one line what failed; an error of our own code with file and line."""
    if isinstance(error, PermissionError):
        return "no CAP_NET_RAW: its unit (arp-hygiene-sentinel or salt-minion) must grant it"
    if isinstance(error, OSError):
        return error.strerror or packet_socket.reason(error)
    # Source lines would mislead: the file on disk may be a newer one (formula/sentinel_unit.py).
    steps = [(step.f_code.co_filename, at) for step, at in traceback.walk_tb(error.__traceback__)]
    where = [(path, at) for path, at in steps if "arp_" in path]
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    at = f"{os.path.basename(where[-1][0])}:{where[-1][1]}" if where else "?"
    return reporting_messages.one_line(f"{told} ({at})", 300)
