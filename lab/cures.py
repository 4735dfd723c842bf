"""What an operator types on the database, as commands: ``ip``, ``arp`` and ``salt-call``."""

import json
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SALT_CALL = str(Path(sys.executable).with_name("salt-call"))


def configuration():
    """Return the directory of a minion configuration that keeps all its files to itself."""
    directory = Path("/tmp/salt")
    directory.mkdir(exist_ok=True)
    (directory / "minion").write_text(
        "id: db\nfile_client: local\nroot_dir: /tmp/salt\nlog_file: /dev/null\n", encoding="utf-8"
    )
    return str(directory)


def salt_words(function, *arguments, out=("--out=json",)):
    """Return the real command behind ``salt-call FUNCTION``: the module is this tree's own."""
    where = ["--local", "-m", str(REPOSITORY), "-c", configuration()]
    return [SALT_CALL, *where, "--log-level=critical", *out, function, *arguments]


def salt(machine, function, *arguments):
    """Call a Salt function on a machine and return what it returned."""
    printed = machine.do(*salt_words(function, *arguments), env={**os.environ, "COLUMNS": "120"})
    return json.loads(printed)["local"]


def salt_text(machine, function, *arguments):
    """Call a Salt function as a person does, return the text it prints."""
    return machine.do(*salt_words(function, *arguments, out=()))


def as_text(answer):
    """Format a returned value for the eye."""
    return json.dumps(answer, indent=2)
