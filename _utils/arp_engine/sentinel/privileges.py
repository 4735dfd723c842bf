"""Gives up the capabilities that a process does not need, for good. Standard library alone."""

import ctypes
import os
import signal
import struct

_VERSION_3 = 0x20080522  # include/uapi/linux/capability.h
# --- include/uapi/linux/prctl.h
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP = 1, 24

_libc = ctypes.CDLL(None, use_errno=True)


def keep_only(*capabilities: int) -> None:
    """Drop every other capability, in every set, of this thread and of its children.

    OSError where the kernel refuses.
    """
    for number in range(64):
        if number not in capabilities and _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0):
            break  # beyond the last one (EINVAL), or without CAP_SETPCAP: nothing to drop
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = struct.pack("=Ii", _VERSION_3, 0)
    words = _read(header)
    mask = sum(1 << number for number in capabilities)
    held = words[1] | words[4] << 32
    is_whole = held == words[0] | words[3] << 32
    inherited = words[2] | words[5] << 32
    if is_whole and not (held | inherited) & ~mask:
        return  # there is nothing to give up: its unit grants no other, and may forbid capset
    low, high = held & mask & 0xFFFFFFFF, (held & mask) >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    if _libc.capset(header, data):
        raise _error("capset")


def end_with_parent() -> None:
    """Let the kernel send SIGTERM to this process when its parent ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _read(header: bytes) -> tuple[int, ...]:
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data):
        raise _error("capget")
    return struct.unpack("=6I", data.raw)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"cannot give up capabilities: {what}: {os.strerror(number)}")
