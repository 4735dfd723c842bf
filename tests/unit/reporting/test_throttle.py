"""A flood of events is merged into one line a minute."""

import re

from arp_engine.reporting import throttle


def test_a_flood_of_news_is_one_line_a_minute():
    said = []
    noted = []
    teller = throttle.Teller(
        lambda kind, line, facts: said.append(line), lambda *words: noted.append(words)
    )
    for number in range(60_000):
        teller.tell("healed", str(number), number / 1000)
    teller.flush(1000)
    assert len(said) == 11
    assert said[0] == "healed: 0"
    assert said[10] == "healed: 59990 more within 60 s, the latest: 59999"
    assert len(noted) == 60_000
    assert noted[-1] == ("healed", "healed: 59999", {"kind": "healed"})


def test_every_word_that_is_told_is_one_that_is_counted(repo):
    told = set()
    for path in (repo / "_utils" / "arp_engine").glob("*/*.py"):
        text = path.read_text(encoding="utf-8")
        told |= set(re.findall(r'(?:_teller|teller|self)\._?tell(?:_changed)?\(\s*"(\w+)"', text))
    told |= {"healed", "changed"}  # one of them, as it turns out
    assert told == set(throttle.WORDS)
