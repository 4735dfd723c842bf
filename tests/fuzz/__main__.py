"""Drives the targets by coverage, with atheris: ``make fuzz``; TIME=600 TARGET=audit.

python tests/fuzz [--seconds N] [--keep] [TARGET ...]

Each target runs in a process of its own, for a minute. A fault ends it: the input is printed, as a
line for the target's corpus, and the exit code is 1. --keep: the corpus becomes the smallest set of
inputs that reaches all code which was reached.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "_utils")]
MAX_BYTES = 600  # of one input
KEEP_AT_MOST = 40  # inputs of a target


def main():
    words = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.splitlines()[0])
    words.add_argument("targets", nargs="*")
    words.add_argument("--seconds", type=int, default=60)
    words.add_argument("--keep", action="store_true", help="rewrite the corpus")
    words.add_argument("--drive", metavar="DIRECTORY", help=argparse.SUPPRESS)
    given = words.parse_args()
    if given.drive:
        drive(given.targets[0], given.targets[1:], given.drive)
    import fuzz_targets

    unknown = set(given.targets) - set(fuzz_targets.TARGETS)
    if unknown:
        sys.exit(f"no target {', '.join(unknown)}; there are {', '.join(fuzz_targets.TARGETS)}")
    failed = [name for name in given.targets or fuzz_targets.TARGETS if not fuzz(name, given)]
    sys.exit(f"faults in: {', '.join(failed)}" if failed else 0)


def fuzz(name, given):
    """Fuzz one target in a process; return whether it found nothing."""
    import fuzz_targets

    with tempfile.TemporaryDirectory() as work:
        corpus, faults = (Path(work) / part for part in ("corpus", "faults"))
        for path in (corpus, faults):
            path.mkdir()
        for number, data in enumerate(fuzz_targets.inputs(name)):
            (corpus / str(number)).write_bytes(data)
        limits = [f"-max_len={MAX_BYTES}", "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]
        done = _process(name, corpus, *limits, f"-max_total_time={given.seconds}",
                        "-print_final_stats=1", f"-artifact_prefix={faults}/")  # fmt: skip
        ran = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        print(
            f"{name}: {ran[0].split()[-1] if ran else 'no'} inputs in {given.seconds} s", flush=True
        )
        found = [path.read_bytes() for path in faults.iterdir()]
        for data in found:
            print(f"a fault, for {fuzz_targets.CORPUS / name}.txt:\n{data.hex()}")
        if done.returncode:
            print(done.stderr[-3000:])
        elif given.keep:
            inputs = [path.read_bytes() for path in corpus.iterdir()]
            kept = smallest(fuzz_targets.TARGETS[name], inputs)
            fuzz_targets.keep(name, kept)
            print(f"{name}: {len(kept)} of {len(inputs)} inputs kept", flush=True)
        return not done.returncode


def smallest(target, inputs):
    """Return inputs, short ones first, each of which reaches lines that none before it reached."""
    reached, kept = set(), []
    for data in sorted(inputs, key=len):
        seen = lines(target, data) - reached
        if seen and len(kept) < KEEP_AT_MOST:
            reached |= seen
            kept.append(data)
    return kept


def lines(target, data):
    """Return the steps from line to line of the engine that an input makes."""
    seen = set()

    def enter(frame, _event, _arg):
        if "arp_engine" not in frame.f_code.co_filename:
            return None
        before = [0]

        def step(frame, _event, _arg):
            seen.add((frame.f_code, before[0], frame.f_lineno))
            before[0] = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return seen


def _process(name, directory, *words):
    command = [sys.executable, str(HERE), "--drive", str(directory), name, "--", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def drive(name, words, directory):
    """Be the process that fuzzes a target: libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["arp_engine"]):
        import fuzz_targets
    atheris.Setup([sys.argv[0], directory, *words], fuzz_targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
