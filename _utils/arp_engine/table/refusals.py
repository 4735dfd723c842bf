"""What the kernel's refusal of one entry means."""

import errno
import os

from ..netlink import rtnetlink


def already_gone(refusal: rtnetlink.Refusal) -> bool:
    """Tell whether the entry or its device no longer exists, which a deletion counts as success.

    EPERM with "Neighbor entry is now dead" is a race with another deletion
    (net/core/neighbour.c: __neigh_update).
    """
    is_dead = refusal.errno == errno.EPERM and "dead" in refusal.text
    return is_dead or refusal.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)


def errno_text(refusal: rtnetlink.Refusal) -> str:
    """Return the errno's name and the kernel's message."""
    name = errno.errorcode.get(refusal.errno, str(refusal.errno))
    return f"{name}: {refusal.text or os.strerror(refusal.errno)}"
