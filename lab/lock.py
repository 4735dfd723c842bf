"""Write the locks: exact versions with hashes of all that each environment installs: `make lock`.

requirements/lock/NAME.txt from what requirements/ says, for Linux and Python 3.10 and newer. A line
is one package, with the hashes of its sdist and of its wheels for Linux. Runs in .venv/lock, with
Python 3.11 or newer.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

import tomllib

REQUIREMENTS = pathlib.Path("requirements")
LOCKS = REQUIREMENTS / "lock"
#: Each line of Salt with the oldest, a middle, the newest pyroute2 that we say we support. A patch
#: release at least: some older sdists of Salt name no dependencies, and uv would fall back to them.
SALT = {
    "3006": ["salt~=3006.29", "pyroute2==0.7.2"],
    "3007": ["salt~=3007.16", "pyroute2==0.8.*"],
    "3008": ["salt~=3008.4", "pyroute2==0.9.*"],
}
OTHERS = {
    "lint": "",
    "release": "",
    "lock": "",
    "kernels": "3008",
    "fuzz": "3008",
}  # name -> lock to agree with
FOREIGN = re.compile(
    r"macosx|win32|win_|android|ios|pyodide|emscripten|wasm|armv|i686|ppc|s390|riscv|-pp3|-cp3[89]-cp3"
)


def compiled(lines, agree_with=""):
    """Return the packages that uv has chosen, from a file of its own kind."""
    with tempfile.TemporaryDirectory() as place:
        source, lock = pathlib.Path(place, "in"), pathlib.Path(place, "pylock.toml")
        source.write_text("\n".join(lines), encoding="utf-8")
        words = ["--universal", "--python-version", "3.10", "--quiet", "--format", "pylock.toml"]
        constraints = ["-c", LOCKS / f"{agree_with}.txt"] if agree_with else []
        uv = pathlib.Path(sys.executable).with_name("uv")
        subprocess.run([uv, "pip", "compile", *words, *constraints, source, "-o", lock], check=True)
        return tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]


def line(package):
    """Return a package as pip reads it; nothing where only other systems want it."""
    marker = package.get("marker", "")
    if re.search(r"== '(win32|darwin)'", marker):
        return ""
    found = [package["sdist"]] if "sdist" in package else []
    found += [w for w in package.get("wheels", []) if not FOREIGN.search(file_name(w))]
    hashes = sorted(f"--hash=sha256:{file['hashes']['sha256']}" for file in found)
    if marker == "python_full_version >= '3.10'":
        marker = ""
    what = f"{package['name']}=={package['version']}{marker and f' ; {marker}'}"
    return f"{what} {' '.join(hashes)}\n"


def file_name(file):
    return file.get("name") or file["url"].rpartition("/")[2]


def main():
    """Write all locks."""
    test = (REQUIREMENTS / "test.txt").read_text(encoding="utf-8").splitlines()
    wanted = {name: [*own, *test] for name, own in SALT.items()}
    for name in OTHERS:
        wanted[name] = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    LOCKS.mkdir(exist_ok=True)
    for name, lines in wanted.items():
        text = "".join(map(line, compiled(lines, OTHERS.get(name, ""))))
        head = "# By `make lock`: do not edit. What it is for and why: requirements/.\n"
        (LOCKS / f"{name}.txt").write_text(head + text, encoding="utf-8")
        print(f"{LOCKS / name}.txt: {text.count(chr(10))} packages")


if __name__ == "__main__":
    main()
