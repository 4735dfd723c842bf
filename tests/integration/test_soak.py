"""Nothing grows: a short edition of `make soak`."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.long


def test_memory_descriptors_threads_and_files_stay_flat(repo):
    words = ["--minutes=2", "--notifications=150000", "--stop=40", "--runs=120"]
    words = [sys.executable, "-m", "benchmarks.soak", *words]
    done = subprocess.run(words, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
