"""What rules read: an entry or the head of many, a device, its timers. Standard library alone."""

from typing import NamedTuple

Key = tuple[int, bytes]  # identifies an entry: ifindex, packed address


class Head(NamedTuple):
    """The fields of an entry that usually decide about it, and that many entries share."""

    protocol: int = 0  # NDA_PROTOCOL: who wrote it
    ext: int = 0  # NDA_FLAGS_EXT
    ifindex: int = 0
    state: int = 0  # NUD_*
    flags: int = 0  # NTF_*
    kind: int = 0  # RTN_*, the route type of its address; 0 where the kernel does not say


class Entry(NamedTuple):
    """One neighbour entry: the fields of its head, then what differs from entry to entry.

    The ages are in ticks (constants.TICKS).
    """

    protocol: int = 0
    ext: int = 0
    ifindex: int = 0
    state: int = 0
    flags: int = 0
    kind: int = 0
    dst: bytes = b""  # the address, packed
    mac: bytes = b""  # the link-layer address; empty while there is none
    confirmed: int = 0  # since its neighbour was last known to be reachable
    used: int = 0  # since it was last looked up for a packet
    updated: int = 0  # since its state or MAC last changed

    @property
    def head(self) -> Head:
        """Return the fields that it may share with other entries."""
        return Head._make(self[: len(Head._fields)])

    @property
    def key(self) -> Key:
        """Return what identifies it."""
        return self.ifindex, self.dst


class Device(NamedTuple):
    """A network device: its name, and IFF_* flags that decide whether it resolves by ARP."""

    name: str
    flags: int


class Timers(NamedTuple):
    """A device's parameters of unreachability detection (NUD). The defaults are the kernel's."""

    base_reachable_s: float = 30.0
    retrans_s: float = 1.0
    solicits: int = 3  # probes before an entry is FAILED: ucast, app and mcast_resolicit
    mcast_resolicit: int = 0
    locktime_s: float = 1.0
    delay_probe_s: float = 5.0  # delay_first_probe_time: a confirmation in it ends DELAY
