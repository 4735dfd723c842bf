"""`make demo FAST=1`: all results are as expected, and it draws its picture."""

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
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The outage happened, the entry was healed, and a duplicate address cannot be.
    for words in ("no answer in 2 s", '"new": "02:00:00:00:00:0b"'):
        assert words in done.stdout
    assert re.search(r"ok +healed [\d.]+ ms after the first probe", done.stdout)
    lacking = missing("nft", "arping")
    if lacking:
        assert f"nine cures: {lacking}." in " ".join(done.stdout.split())
        pytest.skip(f"the story went as expected, no film: {lacking}")
    assert "both answer" in " ".join(done.stdout.split())
    assert (tmp_path / "outage.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "outage.svg").read_text(encoding="utf-8")
