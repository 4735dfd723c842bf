"""What rules read: an entry or the head of many, a device, its timers. Standard library alone."""

from typing import NamedTuple, Protocol


class Individual(Exception):
    """A head was asked for what every entry has for itself."""


class Seen(Protocol):
    """What a rule may read: an entry, or the head of many."""

    @property
    def protocol(self) -> int:
        """NDA_PROTOCOL: who wrote it."""
        ...

    @property
    def ext(self) -> int:
        """NDA_FLAGS_EXT."""
        ...

    @property
    def ifindex(self) -> int:
        """Device."""
        ...

    @property
    def state(self) -> int:
        """NUD_*."""
        ...

    @property
    def flags(self) -> int:
        """NTF_*."""
        ...

    @property
    def kind(self) -> int:
        """RTN_*, of the address; 0 where the kernel does not say."""
        ...

    @property
    def dst(self) -> bytes:
        """Address, packed."""
        ...

    @property
    def mac(self) -> bytes:
        """Hardware address, empty while there is none."""
        ...

    @property
    def confirmed(self) -> int:
        """Ticks since somebody vouched for it."""
        ...

    @property
    def used(self) -> int:
        """Ticks since it was last looked up for a packet."""
        ...

    @property
    def updated(self) -> int:
        """Ticks since its state or MAC last changed."""
        ...


class Device(NamedTuple):
    """A network device, as far as rules care."""

    name: str
    flags: int


class Timers(NamedTuple):
    """How one device proves its neighbours; times in seconds. The defaults are the kernel's."""

    base_reachable_s: float = 30.0
    retrans_s: float = 1.0
    solicits: int = 3  # probes before an entry FAILS: ucast, app and mcast_resolicit
    mcast_resolicit: int = 0
    locktime_s: float = 1.0
