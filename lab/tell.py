"""How the demo speaks: plain words, and each command as it was typed, with what it printed."""

import shutil
import sys
import textwrap

COLOUR = sys.stdout.isatty()


def _paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text):
    """Begin a part."""
    print(f"\n{_paint('1', text)}\n{_paint('1', '=' * len(text))}", flush=True)


def say(text):
    """Say something to the viewer, wrapped."""
    width = min(shutil.get_terminal_size((96, 24)).columns, 96)
    print(f"\n{textwrap.fill(' '.join(text.split()), width)}", flush=True)


def typed(machine, command):
    """Show a command before it runs."""
    print(f"  {_paint('1', f'{machine.label}#')} {command}", flush=True)


def printed(output):
    """Show what a command printed."""
    for line in output.rstrip().splitlines():
        print(f"    {line}", flush=True)


def good(text):
    """Say that something works."""
    print(f"  {_paint('32', 'ok')}    {text}", flush=True)


def bad(text):
    """Say that something fails."""
    print(f"  {_paint('31', 'FAILS')} {text}", flush=True)
