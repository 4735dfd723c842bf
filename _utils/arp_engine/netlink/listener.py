"""What the kernel announces of its own accord: changes of devices, addresses and neighbours."""

import socket
from collections.abc import Iterable
from errno import ENOBUFS

from . import rtnetlink
from .constants import NETLINK_ADD_MEMBERSHIP, RTNLGRP_LINK, RTNLGRP_NEIGH, SOL_NETLINK


class Listener(rtnetlink.Channel):
    """The kernel's notifications about devices, addresses or neighbours. Never blocks."""

    def __init__(self, groups: Iterable[int] = (RTNLGRP_LINK, RTNLGRP_NEIGH)) -> None:
        """Join multicast groups (RTNLGRP_*)."""
        super().__init__()
        for group in groups:
            self._sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._sock.fileno()

    def drain(self, at_most: int) -> tuple[list[bytes], bool]:
        """Return the datagrams that have arrived, and whether some were lost (ENOBUFS)."""
        received, lost = [], False
        for _ in range(at_most):
            try:
                received.append(self._sock.recv(rtnetlink.DUMP_CHUNK, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                lost = True
        return received, lost
