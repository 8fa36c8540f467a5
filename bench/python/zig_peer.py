"""Builds peers/zig. std.Io.Uring of Zig 0.17.1 does not compile: two of its switches have a case
for `net_accept`, which the enum that they go over has no more. The peer is built with a standard
library that lacks these two cases and is the same otherwise (links to the installed one)."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Final

import native_tools
from processes import Missing

CASES: Final = re.compile(
    r'^ +\.net_accept => (?:@panic\("TODO"\),|\|o\| \{\n(?:.*\n)*?^ {12}\},)\n', re.MULTILINE
)


def links(source: Path, target: Path, but: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for entry in source.iterdir():
        if entry.name != but:
            (target / entry.name).symlink_to(entry)


def mended_library(folder: Path) -> Path:
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise Missing("no ziglang")
    installed = Path(found.origin).parent / "lib"
    library = folder / "zig-lib"
    links(installed, library, "std")
    links(installed / "std", library / "std", "Io")
    links(installed / "std/Io", library / "std/Io", "Uring.zig")
    source = (installed / "std/Io/Uring.zig").read_text()
    (library / "std/Io/Uring.zig").write_text(CASES.sub("", source))
    return library


def commands(folder: Path, sources: Path, program: Path) -> list[list[str | Path]]:
    """What builds `program`: the peer in Zig, and what the C peers have in common."""
    zig: list[str | Path] = [sys.executable, "-m", "ziglang"]
    archive = folder / "libpeer-zig.a"
    library = [*zig, "build-lib", "-O", "fast", "-lc", "--name", "peer-zig"]
    library += ["--zig-lib-dir", mended_library(folder), f"-femit-bin={archive}"]
    common = sorted((native_tools.SOURCES / "common").glob("*.c"))
    link = [*zig, "cc", "-O2", "-std=gnu11", "-pthread", *common, archive, "-o", program]
    return [[*library, sources / "peer.zig"], link]
