"""`make demo FAST=1`: every expectation of the film holds, and it leaves its picture."""

import re
import subprocess
import sys

import pytest

from lab.bare import missing


def test_the_fast_demo_goes_as_expected(repo, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "lab.demo", "--fast", "--picture", str(tmp_path / "outage")],
        cwd=repo,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The words a viewer takes home: seen, healed by name, and the one thing that cannot be.
    for words in ("no answer in 2 s", '"new": "02:00:00:00:00:0b"'):
        assert words in done.stdout
    assert re.search(r"ok +healed [\d.]+ ms after the first question left", done.stdout)
    lacking = missing("nft", "arping")
    if lacking:
        assert f"nine cures: {lacking}." in " ".join(done.stdout.split())
        pytest.skip(f"the story went as expected, no film: {lacking}")
    assert "both answer" in done.stdout
    assert (tmp_path / "outage.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "outage.svg").read_text(encoding="utf-8")
