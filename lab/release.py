"""Build a release of the last commit into dist/: `make release`.

A wheel, an sdist with everything that is in git, a tarball of the formula, and their checksums. All
is built twice, in other places and time zones, and must be the same bit for bit: so it can be built
again from the tag. Then wheel and sdist are installed, each into a fresh environment with a Salt:
tests/integration/test_release.py sees that all of it works. Runs in .venv/release; requires git.
"""

import argparse
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

NAME = "saltext_arp_hygiene"
#: What stands beside the formula in its tarball. `spm build` reads FORMULA.
BESIDE = ("FORMULA", "pillar.example", "top.example", "README.md", "CHANGELOG.md", "LICENSE")
OUT = pathlib.Path("dist")
MIN_PYROMA = 9  # of 10
LINK = re.compile(r"(!?)(\[[^\]]*\])\((?![a-z]+:|#)([^)]+)\)")


def run(*words, **more):
    """Run a command; its output, where it failed, ends this program."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed:\n{done.stdout}")
    return done.stdout.strip()


def export(tree, url, mail, version):
    """Write the last commit's files; what an index shows leads back to the repository."""
    archive = subprocess.run(["git", "archive", "HEAD"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tree, filter="tar")
    readme = tree / "README.md"
    kinds = {"": "blob", "!": "raw"}  # a link, a picture
    text = LINK.sub(
        lambda link: f"{link[1]}{link[2]}({url}/{kinds[link[1]]}/v{version}/{link[3]})",
        readme.read_text(encoding="utf-8"),
    )
    readme.write_text(text, encoding="utf-8")
    setup = tree / "setup.cfg"
    head = f"[metadata]\nurl = {url}\nauthor_email = {mail}\n"
    text = setup.read_text(encoding="utf-8").replace("[metadata]\n", head, 1)
    setup.write_text(text, encoding="utf-8")


def pack(path, folder, members, epoch):
    """Write a tar.gz that depends on names, contents and the x bit alone."""
    with (
        open(path, "wb") as file,
        gzip.GzipFile("", "wb", 9, file, epoch) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, source in sorted(members.items()):
            info = archive.gettarinfo(source, f"{folder}/{name}")
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime, info.mode = epoch, 0o755 if info.mode & 0o100 else 0o644
            if info.isreg():
                with open(source, "rb") as data:
                    archive.addfile(info, data)
            else:
                archive.addfile(info)


def files_of(tree, follow=False):
    """Return name to path of all files; links to directories as they are, or as what they hold."""
    found = {}
    for folder, below, names in os.walk(tree, followlinks=follow):
        links = [] if follow else [each for each in below if os.path.islink(f"{folder}/{each}")]
        for name in names + links:
            path = pathlib.Path(folder, name)
            found[str(path.relative_to(tree))] = path
    return found


def build(tree, out, version, epoch):
    """Build wheel, sdist and formula of an exported tree."""
    everything = files_of(tree)  # before the build leaves anything there
    served = files_of(tree / "salt", follow=True) | {name: tree / name for name in BESIDE}
    folder = f"arp-hygiene-formula-{version}"
    pack(out / f"{folder}.tar.gz", folder, served, epoch)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=tree)
    [wheel] = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{NAME}-{version}.dist-info/METADATA")
    (tree / "PKG-INFO").write_bytes(metadata)
    everything["PKG-INFO"] = tree / "PKG-INFO"
    pack(sdist(out, version), f"{NAME}-{version}", everything, epoch)


def checksums(out):
    """Return the lines of SHA256SUMS."""
    paths = sorted(out.iterdir())
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in paths)


def check(out, version):
    """Have other people's checkers read the files."""
    tools = pathlib.Path(sys.executable).parent
    wheel = next(out.glob("*.whl"))
    run(tools / "twine", "check", "--strict", wheel, sdist(out, version))
    run(tools / "check-wheel-contents", wheel)
    told = run(tools / "pyroma", "--min", str(MIN_PYROMA), "--file", sdist(out, version))
    print(f"twine and check-wheel-contents: passed; pyroma: {re.search(r'[0-9]+/10', told)[0]}")


def install(out, version, salt):
    """Install wheel and sdist, each into a fresh environment."""
    for kind, path in (("wheel", next(out.glob("*.whl"))), ("sdist", sdist(out, version))):
        place = pathlib.Path(".venv", f"release-{kind}")
        run(sys.executable, "-m", "venv", "--clear", place)
        run(place / "bin/python", "-m", "pip", "install", "--quiet", f"salt~={salt}.0", path)
        print(f"the {kind} is installed in {place}/")


def sdist(out, version):
    return out / f"{NAME}-{version}.tar.gz"


def main():
    """Build twice, compare, check, install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("salt", help="release line to install it beside, such as 3008")
    parser.add_argument("url", nargs="?", help="of the repository; default: git's origin")
    given = parser.parse_args()
    version = run(sys.executable, "-c", "from arp_engine.version import VERSION as v; print(v)",
                  env={**os.environ, "PYTHONPATH": "_utils"})  # fmt: skip
    commit, epoch, mail = run("git", "log", "-1", "--format=%H %ct %ce").split()
    url = given.url or run("git", "config", "--get", "--default", ".", "remote.origin.url")
    if re.fullmatch(r"[\w.-]+@[\w.-]+:.+", url):
        url = "https://" + url.partition("@")[2].replace(":", "/", 1)
    url = url.removesuffix(".git").rstrip("/")
    if not url.startswith("https://"):
        url = f"file://{os.path.abspath(url)}"
        print(f"links lead to {url}: for a release that others get say URL=https://…")
    if run("git", "status", "--porcelain"):
        print("the working tree has changes: this is the last commit, without them")
    shutil.rmtree(OUT, ignore_errors=True)
    sums = []
    with tempfile.TemporaryDirectory() as place:
        os.umask(0o022)  # a wheel has the modes of its files
        for number, zone in enumerate(("UTC", "Asia/Tokyo")):
            tree, out = pathlib.Path(place, f"{number}" * 9), pathlib.Path(place, f"out{number}")
            tree.mkdir()
            out.mkdir()
            os.environ.update(TZ=zone, SOURCE_DATE_EPOCH=epoch, PYTHONHASHSEED=str(number))
            export(tree, url, mail, version)
            build(tree, out, version, int(epoch))
            sums.append(checksums(out))
        if sums[0] != sums[1]:
            sys.exit(f"not reproducible:\n{sums[0]}\n{sums[1]}")
        shutil.copytree(pathlib.Path(place, "out0"), OUT)
    (OUT / "SHA256SUMS").write_text(sums[0], encoding="utf-8")
    print(f"{version} of {commit[:12]}, built twice, the same bit for bit, in {OUT}/:\n{sums[0]}")
    check(OUT, version)
    install(OUT, version, given.salt)


if __name__ == "__main__":
    main()
