"""A flood of events is merged into one line a minute."""

from arp_engine.reporting import throttle
from arp_engine.reporting.events import EventKind


def test_a_flood_of_news_is_one_line_a_minute():
    said = []
    noted = []
    teller = throttle.Teller(
        lambda kind, line, facts: said.append(line), lambda *words: noted.append(words)
    )
    for number in range(60_000):
        teller.tell(EventKind.HEALED, str(number), number / 1000)
    teller.flush(1000)
    assert len(said) == 11
    assert said[0] == "healed: 0"
    assert said[10] == "healed: 59990 more within 60 s, the latest: 59999"
    assert len(noted) == 60_000
    assert noted[-1] == (EventKind.HEALED, "healed: 59999", {"kind": "healed"})
