"""What all integration tests need."""

import os
import shutil

import pytest
from arp_engine.reporting import status as arp_status


@pytest.fixture(autouse=True, scope="module")
def no_sentinel_was_here():
    """Forget what the sentinels of other tests have done: the machines of a lab share one /run."""
    shutil.rmtree(os.path.dirname(arp_status.PATH), ignore_errors=True)
