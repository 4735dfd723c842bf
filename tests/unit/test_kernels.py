"""What a guest of `make kernels` says, and what is made of it: silence is never success."""

import pytest

from lab import kernels
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


DEPENDS_7 = """\
linux-image-7.3.4+deb13-amd64
  PreDepends: linux-base
 |Depends: <dracut>
  Depends: <linux-initramfs-tool>
  Depends: linux-base-7.3.4+deb13-amd64
  Depends: linux-binary-7.3.4+deb13-amd64
  Depends: linux-modules-7.3.4+deb13-amd64
"""  # apt-cache depends, on Debian 13


def test_a_kernel_of_three_packages_is_found(monkeypatch):
    monkeypatch.setattr(kernels, "_apt", lambda *_words, **_options: DEPENDS_7)
    found = kernels._depends("here", "linux-image-7.3.4+deb13-amd64", "binary|modules")
    assert found == ["linux-binary-7.3.4+deb13-amd64", "linux-modules-7.3.4+deb13-amd64"]


def test_a_kernel_below_usr_lib_modules_gets_the_older_layout(tmp_path):
    modules = tmp_path / "usr/lib/modules/7.3.4+deb13-amd64"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").touch()
    (modules / "modules.builtin").touch()
    kernels._like_before_7(tmp_path)
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {
        "boot/vmlinuz-7.3.4+deb13-amd64",
        "lib/modules/7.3.4+deb13-amd64/modules.builtin",
    }
