"""Builds everything that a release consists of, into one folder:

    python tools/release.py dist                        # all targets
    python tools/release.py dist --target x86_64-linux-gnu

Four wheels, the sdist, four archives with the C library (headers, shared and static library, files
of pkg-config and CMake), and SHA256SUMS. The same sources give the same bytes, in whatever folder
and on whatever day: times in the archives are SOURCE_DATE_EPOCH, or that of the last commit.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.findall(r'\.version = "([^"]+)"', (ROOT / "build.zig.zon").read_text())[0]
TARGETS = ("x86_64-linux-gnu", "aarch64-linux-gnu", "x86_64-linux-musl", "aarch64-linux-musl")
EARLIEST = 315_532_800
"""1980: what a zip file can say."""
DOCUMENTS = ("LICENSE", "README.md")


def release(folder: Path, targets: Sequence[str]) -> list[Path]:
    """The files that were made, SHA256SUMS last."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch())}
    made = package(folder, "sdist", environment)
    for target in targets:
        say(target)
        made += package(folder, "wheel", {**environment, "SPARGIO_WHEEL_TARGET": target})
        made.append(c_archive(folder, target, epoch()))
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{digest(path)}  {path.name}\n" for path in sorted(made)))
    return [*sorted(made), sums]


def epoch() -> int:
    """Seconds since 1970 for all times in the archives."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return max(EARLIEST, int(given))
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(log, capture_output=True, text=True, check=False)
    return max(EARLIEST, int(done.stdout or 0)) if done.returncode == 0 else EARLIEST


def package(folder: Path, kind: str, environment: dict[str, str]) -> list[Path]:
    """By hatchling in this environment: one of its own would fetch the compiler each time."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    return [path for path in folder.iterdir() if before.get(path) != path.stat().st_mtime_ns]


def c_archive(folder: Path, target: str, when: int) -> Path:
    """What `zig build install` makes, under one folder with the name of the archive."""
    name = f"spargio-c-{VERSION}-{target}"
    with tempfile.TemporaryDirectory() as prefix:
        zig = [sys.executable, "-m", "ziglang", "build", "install", f"-Dtarget={target}"]
        subprocess.run([*zig, "--prefix", prefix], cwd=ROOT, check=True)
        archive = folder / f"{name}.tar.gz"
        archive.write_bytes(packed(Path(prefix), name, when))
    return archive


def packed(prefix: Path, name: str, when: int) -> bytes:
    """A tar.gz in which order, times, owners and modes depend on nothing but the contents."""
    files = {path.relative_to(prefix).as_posix(): path for path in prefix.rglob("*")}
    files |= {document: ROOT / document for document in DOCUMENTS}
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(files):
            add(archive, f"{name}/{path}", files[path], when)
    return gzip.compress(memory.getvalue(), mtime=when)


def add(archive: tarfile.TarFile, name: str, path: Path, when: int) -> None:
    member = archive.gettarinfo(path, name)
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = when
    member.mode = 0o755 if member.isdir() or ".so" in path.name else 0o644
    if member.isreg():
        with open(path, "rb") as content:
            archive.addfile(member, content)
    else:
        archive.addfile(member)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds wheels, sdist and C archives.")
    parser.add_argument("folder", type=Path, help="where they go")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only this; repeatable")
    arguments = parser.parse_args()
    for path in release(arguments.folder.resolve(), arguments.target or TARGETS):
        print(path.name)


if __name__ == "__main__":
    main()
