"""One question about an address, while it is under way, and its outcome."""

from typing import NamedTuple

from ..packets.probe_schedule import Schedule

OVERTAKEN = "changed by somebody else while it was asked about"  # why a question has ended
NO_PERMISSION = "no CAP_NET_RAW"  # the one reason that is not the entry's: no probe can be sent


class Question(NamedTuple):
    """Who has ``dst`` (packed) on this device? ``mac``: the cached MAC, empty for none."""

    ifindex: int
    dst: bytes
    mac: bytes = b""


class ProbeResult(NamedTuple):
    """The outcome of one question."""

    unicast_asked: int  # frames sent
    broadcast_asked: int
    answers: dict[bytes, float]  # MAC to milliseconds from the first frame to its first answer
    why: str = ""  # why nobody answered, if silence proves nothing: no carrier, no permission …
    overriding: frozenset[bytes] = frozenset()  # MACs whose advertisement had the Override flag

    def frames(self) -> int:
        """Return how many frames have left."""
        return self.unicast_asked + self.broadcast_asked


UNASKED = ProbeResult(0, 0, {})


class PendingProbe:
    """A question under way. There may be 100,000: class attributes are its state before a frame."""

    is_sent = False  # its first frame; answers before that are to somebody else's question
    first_sent_at = last_sent_at = 0.0
    carrier_changes = 0  # of its device, at the first frame
    step = 0  # of the schedule: the next frame
    unicast_sent = broadcast_sent = 0
    is_broadcast_answered = False
    send_error = ""
    overriding: frozenset[bytes] = frozenset()

    def __init__(self, question: Question, schedule: Schedule):
        """Take what is asked, and when its frames go."""
        self.question, self.schedule = question, schedule
        self.key = question[:2]
        self.answers: dict[bytes, float] = {}
