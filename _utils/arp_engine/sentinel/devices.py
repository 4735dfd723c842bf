"""Which devices there are, and which of them the operator has selected."""

from ..netlink import codec, links, model, rtnetlink
from ..reporting import messages
from ..table import selectors as table_selectors


class WatchedDevices:
    """The devices of this network namespace, cached until the kernel announces a change."""

    def __init__(self, selectors: table_selectors.Selectors, channel: rtnetlink.Channel) -> None:
        self._selectors, self._channel = selectors, channel
        self._named_before: set[int] | None = None
        self.forget()

    def forget(self) -> None:
        """Drop the cache: a device has come, gone, or been renamed."""
        self._by_index: dict[int, model.Device | None] = {}
        self._bound_to: dict[int, tuple[int, ...]] = {}
        self._by_name: dict[str, int] = {}
        self._named: set[int] | None = None
        self._absent: list[str] = []
        self._is_read = False

    def are_renamed(self, ifindexes: list[int]) -> bool:
        """Drop the cache; tell whether one of these devices has another name now."""
        before = [self.name(ifindex) for ifindex in ifindexes]
        self.forget()
        return before != [self.name(ifindex) for ifindex in ifindexes]

    def are_others_selected(self) -> bool:
        """Tell whether the operator's names mean other devices than at the last call.

        By a rename, or without one: a named device has become a port, and its bridge has entries.
        """
        if self._selectors.dev is None:
            return False
        self._read()
        before, self._named_before = self._named_before, self._named
        return before != self._named

    def _read(self) -> None:
        if not self._is_read:
            self._is_read = True
            self._by_name = {name: ifindex for ifindex, name in self._channel.devices()}
            wanted = self._selectors.dev
            if wanted is not None:
                found = {name: self._channel.ifindex(name) for name in wanted}
                named = [ifindex for ifindex in found.values() if ifindex]
                channel = self._channel
                self._named = {at for each in named for at in links.with_entries(channel, each)}
                self._absent = sorted(name for name, ifindex in found.items() if not ifindex)

    def watched(self) -> str:
        """Return what is watched, as a line; a selected device may appear later."""
        absent = self.absent()
        here = sorted((self._selectors.dev or set()) - set(absent))
        on = f" on {', '.join(here)}" if here else ""
        if not absent:
            what = f"every SYN, connection and notification{on}"
        else:
            what = f"SYNs, connections and notifications{on}" if here else "nothing"
            what += f"; {messages.waits_for(absent)}"
        ports = sorted(link.name for _ifindex, link in links.dump(self._channel) if link.answers)
        unseen = f"; not hosts behind {', '.join(ports)} (neigh_suppress)" if ports else ""
        return what + unseen

    def absent(self) -> list[str]:
        """Return the names that the operator has selected and no device has."""
        self._read()
        return self._absent

    def ifindex(self, name: str) -> int:
        """Return a device's index; 0 where there is none."""
        self._read()
        return self._by_name.get(name, 0)

    def device(self, ifindex: int) -> model.Device | None:
        """Return a device; None where there is none."""
        if ifindex not in self._by_index:
            self._by_index[ifindex] = self._channel.device(ifindex)
        return self._by_index[ifindex]

    def name(self, ifindex: int) -> str:
        """Return a device's name; its index where it is gone."""
        device = self.device(ifindex)
        return device.name if device else f"#{ifindex}"

    def bound_to(self, ifindex: int) -> tuple[int, ...]:
        """Return what a socket that uses a device may be bound to: the device, and its VRF."""
        if ifindex not in self._bound_to:
            master = links.get(self._channel, ifindex).master
            self._bound_to[ifindex] = (ifindex, master) if master else (ifindex,)
        return self._bound_to[ifindex]

    def is_selected(self, entry: codec.Entry) -> bool:
        """Tell whether the operator's selectors match an entry."""
        self._read()
        named = self._named if self._selectors.dev is not None else None
        return codec.family_of(entry.dst) in self._selectors.families and self._selectors.matches(
            entry, named
        )
