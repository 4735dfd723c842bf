"""The routers that this host's routes name; read again after some seconds, as routes change."""

from collections.abc import Callable

from ..netlink import codec
from ..resolve import proxied

MAX_AGE_S = 10.0
MAX_DEVICES = 1024


class Routers:
    """The routers of each device. To read them for each address of a mass event takes too long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._of: dict[int, tuple[float, set[codec.Key]]] = {}

    def is_router(self, entry: codec.Entry) -> bool:
        """Tell whether a route leads to the address of an entry."""
        now = self._clock()
        read_at, found = self._of.get(entry.ifindex, (float("-inf"), set[codec.Key]()))
        if read_at < now - MAX_AGE_S:
            if len(self._of) >= MAX_DEVICES:
                self._of.clear()
            found = proxied.routers_by(entry.ifindex)
            self._of[entry.ifindex] = now, found
        return entry.key in found
