"""The text a scheduler reads: whatever a word holds, its reader gets that word and no command."""

import shlex

import arp_job
import pytest

HOSTILE = ["a b", "x;reboot", "$(id)", "`id`", "50%", 'q"q', "it's", "back\\slash", "$HOME"]


@pytest.mark.parametrize("word", HOSTILE)
def test_a_shell_gets_the_word(word):
    """Should a check ever miss something: cron hands the shell one quoted word."""
    line = arp_job.cron_lines("* * * * *", "root", ["run", word], "/lock", 0)[-1]
    command = line.split("$(", 1)[1].rsplit(" 2>&1", 1)[0]
    assert "%" not in command.replace(r"\%", "")
    assert shlex.split(command.replace(r"\%", "%"))[-2:] == ["run", word]


@pytest.mark.parametrize("word", HOSTILE)
def test_systemd_gets_the_word(word):
    line = arp_job.service_lines("flush", "root", ["/run", word], 0)[-1]
    assert "$" not in line.replace("$$", "")
    assert "%" not in line.replace("%%", "")
    assert len(shlex.split(line)) == 2


def test_values_survive_the_yaml_of_salt_call():
    """1:2:3:4:5:6:7:8 and 10 are numbers to YAML; quoted as JSON they stay what they are."""
    words = arp_job.words("/salt-call", None, "arp.flush", {"ip": ["1:2:3:4:5:6:7:8"], "dev": "10"})
    assert words[-2:] == ['ip=["1:2:3:4:5:6:7:8"]', 'dev="10"']


def test_a_line_too_long_for_cron_is_refused():
    """Cron cuts it off in silence."""
    words = arp_job.words("/c", None, "arp.flush", {"ip": [f"192.0.2.{n}" for n in range(99)]})
    with pytest.raises(ValueError, match=r"^clean: the command takes \d+ characters"):
        arp_job.cron_lines("* * * * *", "root", words, "/lock", 0)
