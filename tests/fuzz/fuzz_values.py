"""Values made of bytes: what YAML, JSON or a minion could hold, for code that takes any value.

Every byte string is a value, so that a fuzzer that changes bytes changes values. Plain Python.
"""

import datetime

MAX_DEPTH = 6  # of what is drawn; DEEP is deeper than Python's own recursion goes
DEEP = 500  # levels: msgpack, and so Salt, packs no more than 511
ODD_NUMBERS = [
    0, -1, 1, 2, 10, 59, 255, 4094, 86_400, 2**31, 2**32, 2**63, -(2**63), 2**64,
    10**400, 0.0, -0.0, 0.5, 1e308, -1e308, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
ODD_TEXTS = [
    "", " ", "\0", "\n", "a\nb", "\r", "\x1b[31m", "\ud800", "\u202e", "é", "٣", "%", "%n", "$(id)",
    "`id`", "'", '"', "\\", "{{ 1 }}", "<script>", "a" * 300, "9" * 5000, ",", ", ,", "true",
]  # fmt: skip


class Maker:
    """Reads bytes and makes values of them; bytes that are missing are zero."""

    def __init__(self, data, words=()):
        """words: texts that the code under test knows."""
        self._data, self._at, self._words = data, 0, list(words)

    def byte(self):
        at, self._at = self._at, self._at + 1
        return self._data[at] if at < len(self._data) else 0

    def rest(self):
        return self._data[self._at :]

    def is_left(self):
        return self._at < len(self._data)

    def pick(self, choices):
        return choices[(self.byte() << 8 | self.byte()) % len(choices)]

    def text(self):
        """Return a text: mostly one that is known, or two of them joined."""
        how = self.byte() % 8
        if how < 4 and self._words:
            return self.pick(self._words)
        if how == 4 and self._words:
            return self.pick(self._words) + self.pick(["", ",", "/", ":", " "]) + self.text()
        if how == 5:
            return self.pick(ODD_TEXTS)
        raw = bytes(self.byte() for _ in range(self.byte() % 24))
        return raw.decode("latin-1" if how == 6 else "utf-8", "replace")

    def value(self, depth=0):
        kind = self.byte() % 16
        if depth >= MAX_DEPTH:
            kind %= 10
        if kind < 5:
            return self.text()
        if kind == 5:
            return self.pick([None, True, False])
        if kind == 6:
            return self.byte() - 64
        if kind == 7:
            return self.pick(ODD_NUMBERS)
        if kind == 8:
            return self.pick([b"", b"\xff\0", (), set(), object, datetime.date(2026, 1, 1), 1j])
        if kind == 9:
            return deep() if self.byte() == 255 else self.text()
        if kind < 13:
            return [self.value(depth + 1) for _ in range(self.byte() % 6)]
        return {self.key(): self.value(depth + 1) for _ in range(self.byte() % 8)}

    def key(self):
        """Return the key of a mapping: mostly a text."""
        how = self.byte() % 12
        return self.pick([None, 1, 1.5, True, (), b"x"]) if how == 11 else self.text()

    def filled(self, **shape):
        """Return a mapping of the right shape, of which now and then a part is something else.

        shape: key to a function that makes the right value.
        """
        made = {}
        for key, make in shape.items():
            how = self.byte() % 12
            if how == 10:
                continue
            made[key] = self.value(2) if how == 11 else make()
        return made

    def listed(self, make, most=6):
        """Return a list of right values."""
        return [make() for _ in range(self.byte() % most)]


def deep():
    """Return a list in a list in a list: as many levels as Salt can carry."""
    value = None
    for _ in range(DEEP):
        value = [value]
    return value
