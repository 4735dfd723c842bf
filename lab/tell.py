"""How the demo prints: sentences, commands as typed, and their output."""

import shutil
import sys
import textwrap

COLOUR = sys.stdout.isatty()


def _paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text):
    """Print a heading."""
    print(f"\n{_paint('1', text)}\n{_paint('1', '=' * len(text))}", flush=True)


def say(text):
    """Print a paragraph, wrapped."""
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
    """Print a line that something works."""
    print(f"  {_paint('32', 'ok')}    {text}", flush=True)


def bad(text):
    """Print a line that something fails."""
    print(f"  {_paint('31', 'FAILS')} {text}", flush=True)
