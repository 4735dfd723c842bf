"""All targets by name, and the inputs that they begin with: one harness, two drivers.

``make fuzz`` drives them by coverage (__main__.py), ``make test`` by chance
(tests/unit/test_fuzz_targets.py). corpus/TARGET.txt: one input a line, in hex, that reaches code
which no other line reaches; what once found a fault is there too.
"""

from pathlib import Path

import fuzz_claims
import fuzz_wire
import fuzz_words

CORPUS = Path(__file__).parent / "corpus"
MODULES = fuzz_wire, fuzz_words, fuzz_claims
TARGETS = {name: target for module in MODULES for name, target in module.TARGETS.items()}


def inputs(name):
    """Return the inputs that a target begins with."""
    seeds = [seed for module in MODULES for seed in module.SEEDS.get(name, ())]
    path = CORPUS / f"{name}.txt"
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [*seeds, *map(bytes.fromhex, lines)]


def keep(name, found):
    """Write the corpus of a target."""
    lines = sorted({data.hex() for data in found if data}, key=lambda line: (len(line), line))
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
