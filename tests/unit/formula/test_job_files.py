"""The text a scheduler reads: whatever a word holds, its reader gets that word and no command."""

import json
import shlex
import subprocess

import pytest
from arp_engine.formula import job_files

HOSTILE = ["a b", "x;reboot", "$(id)", "`id`", "50%", 'q"q', "it's", "back\\slash", "$HOME", "{x}"]


@pytest.mark.parametrize("word", HOSTILE)
def test_script_passes_hostile_arguments_unchanged(word, tmp_path):
    """Should a check ever miss something: the program gets one word, whatever is in it."""
    program = tmp_path / "salt-call"
    program.write_text(
        f'#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done > {tmp_path}/words; echo "{{"\n'
    )
    program.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(job_files.script(str(program), None, {"dev": word}))
    subprocess.run(["/bin/sh", script], check=True)
    assert f"dev={json.dumps(word)}" in (tmp_path / "words").read_text().splitlines()


@pytest.mark.parametrize("word", HOSTILE)
def test_cron_line_quotes_hostile_paths(word):
    line = job_files.cron_lines("* * * * *", "root", f"/{word}", 0)[-1]
    assert "%" not in line.replace(r"\%", "")
    assert shlex.split(line.replace(r"\%", "%"))[-1] == f"/{word}"


@pytest.mark.parametrize("word", HOSTILE)
def test_unit_quotes_hostile_paths(word):
    line = job_files.service_lines("flush", "root", f"/{word}", 0)[-1]
    assert "$" not in line.replace("$$", "")
    assert "%" not in line.replace("%%", "")
    assert len(shlex.split(line)) == 2


def test_values_survive_the_yaml_parser_of_salt_call():
    """1:2:3:4:5:6:7:8 and 10 are numbers to YAML; quoted as JSON they stay what they are."""
    words = job_files.command("/salt-call", None, {"ip": ["1:2:3:4:5:6:7:8"], "dev": "10"})
    assert words[-2:] == ['ip=["1:2:3:4:5:6:7:8"]', 'dev="10"']


def test_due_line_is_parsed_as_it_was_written():
    for lines in (
        job_files.cron_lines("*/5 * * * *", "root", "/run", 7),
        job_files.timer_lines("flush", "*/5 * * * *", ["*-*-* *:0/5:00"], 7),
    ):
        assert job_files.due("\n".join(lines)) == ("*/5 * * * *", 7)
    assert job_files.due("# nothing") is None


def test_test_run_of_another_user_has_the_job_s_capabilities():
    by_cron, by_systemd = (
        job_files.proof("true", "/run", "ops", 9, capable) for capable in (False, True)
    )
    assert by_cron[:4] == ["setpriv", "--reuid=ops", "--regid=9", "--init-groups"]
    assert "--ambient-caps=+net_admin,+net_raw" in by_systemd
    assert job_files.proof("true", "/run", "root", 0, False)[0] == "env"
