"""A stall of the machine is measured."""

import os
import signal
import time

import stalls


def test_time_in_which_a_process_was_not_woken_is_a_stall():
    measured = stalls.Stalls()
    time.sleep(0.2)  # it may have begun a moment ago
    os.kill(stalls.Stalls._sleeper.pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(stalls.Stalls._sleeper.pid, signal.SIGCONT)
    assert measured.seconds() > stalls.STALLED_S
