"""Who had an entry first: whether a change of it costs a host that may live, by our doing."""

from collections.abc import Callable

from ..netlink import codec
from . import actions


class Precedence(actions.Actions):
    """What a Decider asks of a change that no question under way explains."""

    _is_run_under_way: Callable[[], bool]  # whether another process of ours asks now

    def _lost_by(self, key: codec.Key, old: bytes, new: bytes) -> bytes:
        """Return the MAC of a host that may live, is no proxy, and loses its entry by our doing.

        It is the holder of a contested address; or the change may be a late answer to a question.
        """
        if new in self._former.of(key):
            return b""  # that host has got its entry back, by somebody else's question
        if not self.may_be_probed(key):
            return b""  # somebody else wrote a protected one
        is_proxied = self._claims.is_proxied(key, old)
        if self._regained.holds(key, old, self._clock()) and not is_proxied:
            return old
        holder = self._disputes.holder(key, self._clock())
        if holder not in (b"", new) and (holder == old or is_proxied):
            return b"" if self._claims.is_proxied(key, holder) else holder
        is_ours = self._is_ours(key, old, new) and not self._is_back(key, new)
        return old if is_ours and not is_proxied else b""

    def _is_ours(self, key: codec.Key, former: bytes, new: bytes) -> bool:
        """Tell whether a change may be a late answer to us, or an answer to a run of ours.

        For locktime no answer changes an entry. The run looks back, too; but only who has done so
        knows later, when both hosts answer, which of them had the entry first. One that has got it
        a moment ago had not.
        """
        now, since = self._clock(), self._mac_changes.last(key, former)
        if now < since + self._locktime_s(key):
            return False
        is_first = not self._mac_changes.had(key, former, now)
        return self._lately_asked.holds(key, new, now) or (is_first and self._is_run_under_way())

    def _is_back(self, key: codec.Key, mac: bytes) -> bool:
        """Tell whether a host had an entry a moment ago: if it is no proxy, it may have it back."""
        return self._lately_held.holds(key, mac, self._clock())
