"""How the Makefile sets up an environment: once, for this place, and without harm to a working one.

With a lock that names next to nothing, so that no index is needed.
"""

import os
import shutil
import subprocess

import pytest

LOCK = "requirements/lock/lint.txt"


@pytest.fixture(scope="module")
def checkout(repo, tmp_path_factory):
    """Return a checkout whose environment for lint is set up, with one program in it."""
    place = tmp_path_factory.mktemp("checkout") / "here"
    (place / "requirements" / "lock").mkdir(parents=True)
    shutil.copy(repo / "Makefile", place)
    (place / LOCK).write_text("pip\n")
    assert make(place).returncode == 0
    program = place / ".venv/lint/bin/where"
    program.write_text(f"#!{place}/.venv/lint/bin/python\nimport sys\nprint(sys.prefix)\n")
    program.chmod(0o755)
    return place


def make(place):
    """Set it up where no index can be reached."""
    return subprocess.run(
        ["make", "--no-print-directory", ".venv/lint/ready"],
        cwd=place,
        env={**os.environ, "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def where(place):
    """Run the program: it says in which environment it is."""
    program = str(place / ".venv/lint/bin/where")
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def test_it_is_set_up_once(checkout):
    assert "setting up" not in make(checkout).stdout


def test_a_checkout_that_was_moved_works_there(checkout, tmp_path):
    """A copy is one too, whose original may be gone."""
    there, away = tmp_path / "deeper" / "there", tmp_path / "away"
    shutil.copytree(checkout, there, symlinks=True)
    checkout.rename(away)
    try:
        with pytest.raises(FileNotFoundError):
            where(there)
        assert make(there).returncode == 0
        assert where(there) == str(there / ".venv/lint")
        assert "setting up" not in make(there).stdout
    finally:
        away.rename(checkout)


def test_a_working_environment_outlives_a_set_up_that_fails(checkout):
    (checkout / LOCK).write_text("not-to-be-had-anywhere\n")
    done = make(checkout)
    assert done.returncode
    assert "not-to-be-had-anywhere" in done.stderr
    assert where(checkout) == str(checkout / ".venv/lint")
    (checkout / LOCK).write_text("pip\n")
    assert make(checkout).returncode == 0, "nothing is missing: no index is asked"


def test_what_an_interrupted_set_up_left_is_completed(checkout):
    (checkout / ".venv/lint/ready").unlink()
    shutil.rmtree(checkout / ".venv/lint/lib")
    assert make(checkout).returncode == 0
    assert "setting up" not in make(checkout).stdout
