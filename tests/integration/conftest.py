"""What all integration tests need."""

import contextlib
import os
import shutil

import pytest
from arp_engine.reporting import sentinel_status


@pytest.fixture(autouse=True, scope="module")
def no_sentinel_was_here():
    """Forget what the sentinels of other tests have done: the machines of a lab share one /run."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(os.path.dirname(sentinel_status.PATH))
