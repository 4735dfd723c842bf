"""The fuzz targets, driven by chance; by coverage ``make fuzz`` does it. One harness for both."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1] / "fuzz"))
import fuzz_targets

EACH = pytest.mark.parametrize("name", fuzz_targets.TARGETS)


@EACH
def test_every_input_of_the_corpus_keeps_the_promises(name):
    for data in fuzz_targets.inputs(name):
        fuzz_targets.TARGETS[name](data)


@EACH
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_bytes_keep_the_promises(name, data):
    drawn = data.draw(st.binary(max_size=200))
    seeds = fuzz_targets.inputs(name)
    if seeds and data.draw(st.booleans()):
        seed = data.draw(st.sampled_from(seeds))
        at = data.draw(st.integers(0, len(seed)))
        drawn = seed[:at] + drawn[:8] + seed[at + len(drawn[:8]) :]
    fuzz_targets.TARGETS[name](drawn)


def test_every_corpus_belongs_to_a_target():
    kept = {path.stem for path in fuzz_targets.CORPUS.glob("*")}
    assert kept <= set(fuzz_targets.TARGETS)
    assert sum(path.stat().st_size for path in fuzz_targets.CORPUS.glob("*")) < 300_000
