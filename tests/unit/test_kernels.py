"""What a guest of `make kernels` says, and what is made of it: silence is never success."""

import pytest

from lab.kernels import Heard

UP = "== up 6.1.192-2 is up\r\n"
GOOD, BAD, OVER = "== ok flush: 10 of 10\r\n", "== FAILED flush: 9 of 10\r\n", "== over \r\n"


def heard(*lines, timed_out=False):
    """Return what a person sees, line by line, and whether all is well."""
    guest = Heard("6.1")
    shown = [told for line in lines if (told := guest.hear(line))]
    line, well = guest.verdict(12.4, timed_out)
    return [*shown, line], well


def test_what_has_played_is_told_under_the_kernels_own_version():
    shown, well = heard("[    0.1] Linux\n", UP, GOOD, OVER)
    assert shown == [
        "6.1.192: Debian's 6.1.192-2 is up",
        "6.1.192: flush: 10 of 10",
        "6.1.192: 1 scenes in 12 s",
    ]
    assert well


def test_one_that_failed_is_enough():
    shown, well = heard(UP, GOOD, BAD, GOOD, OVER)
    assert shown[2:] == [
        "6.1.192: FAILED: flush: 9 of 10",
        "6.1.192: flush: 10 of 10",
        "6.1.192: 3 scenes in 12 s, 1 FAILED",
    ]
    assert not well


@pytest.mark.parametrize(
    ("lines", "timed_out", "told"),
    [
        ([], False, "6.1: FAILED: ended after 12 s, it did not boot; output:"),
        (["panic\n"], True, "6.1: FAILED: stopped after 12 s, it did not boot; output:\npanic"),
        (
            [UP, GOOD, "Oops\n"], True,
            "6.1.192: FAILED: stopped after 12 s, its scenes did not finish; "
            "the last scene: flush: 10 of 10; output:\nOops",
        ),
        ([UP, OVER], False, "6.1.192: 0 scenes in 12 s"),
    ],
    ids=["nothing", "a panic", "hung", "no scenes"],
)  # fmt: skip
def test_what_does_not_finish_fails(lines, timed_out, told):
    shown, well = heard(*lines, timed_out=timed_out)
    assert shown[-1] == told
    assert not well
