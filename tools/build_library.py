"""Compiles the library by single calls of Zig's compiler.

    python tools/build_library.py            # bindings/python/spargio/_lib/libspargio_python.so
    python tools/build_library.py FILE [TARGET]      # such as aarch64-linux-musl

    SPARGIO_SYMBOLS=1 python tools/build_library.py   # with symbols, lines and frame pointers

The file is the one that `zig build python` makes, bit for bit (tests/test_packaging.py). With no
cache this takes a ninth of the CPU time: `zig build` compiles its own build program first, fast.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "libspargio_python.so"
IN_TREE = ROOT / "bindings/python/spargio/_lib" / LIBRARY
# Those with a default target in build.zig: any CPU, and the glibc of the wheel's manylinux tag.
MACHINES = ("x86_64", "aarch64")
ZIG = (sys.executable, "-m", "ziglang")


def build(output: Path = IN_TREE, target: str = "") -> None:
    """The library of the Python package, for this machine or for `target`. Replaces the file in one
    step: a process may have the old one mapped. Raises CalledProcessError; the compiler's words are
    on stderr."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".build-") as folder:
        made = Path(folder, output.name)
        shared(made, "root_python", "spargio_python", target=target)
        os.replace(made, output)


def install_c(
    prefix: Path, optimize: str, *, checking_allocator: bool = False, static_alone: bool = False
) -> None:
    """What tests need of `zig build install`: the headers, and both libraries or the static one,
    under `prefix`."""
    for folder in ("lib", "include"):
        (prefix / folder).mkdir(parents=True, exist_ok=True)
    how = {"optimize": optimize, "checking_allocator": checking_allocator}
    if not static_alone:
        name = "libspargio.so.0"
        shared(prefix / "lib" / name, "root", "spargio", f"-fsoname={name}", **how)
        (prefix / "lib/libspargio.so").symlink_to(name)
    archive(prefix / "lib/libspargio.a", **how)
    for header in (ROOT / "include").rglob("*.h*"):
        copy = prefix / header.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(header.read_bytes())


def shared(
    output: Path,
    root: str,
    name: str,
    *more: str,
    optimize: str = "fast",
    target: str = "",
    **options: bool,
) -> None:
    """The flags of addShared and addPython in build.zig."""
    alone = ["-fno-compiler-rt"] if optimize == "fast" else []
    script = f"{ROOT}/include/{name}.map"
    link = ["-dynamic", *alone, "-z", "defs", "--build-id=sha1", "--version-script", script, *more]
    flags = [*module(root, optimize, target=target, **options), *link]
    run("build-lib", *flags, "--name", name, f"-femit-bin={output}")


def archive(output: Path, *, optimize: str = "fast", **options: bool) -> None:
    """The flags of addArchive in build.zig."""
    with tempfile.TemporaryDirectory() as folder:
        member = Path(folder, "spargio.o")
        flags = module("root", optimize, "-fno-stack-check", **options)
        run("build-obj", *flags, "--name", "spargio", f"-femit-bin={member}")
        run("ar", "rcsD", str(output), str(member))


def module(
    root: str, optimize: str, *more: str, target: str = "", checking_allocator: bool = False
) -> list[str]:
    """The flags of addModule in build.zig, in its order: those before -M are the module's."""
    if not target and platform.machine() in MACHINES:
        target = f"{platform.machine()}-linux-gnu"
    old_glibc = target + ".2.17" if target.endswith("-gnu") else target
    aimed = ["-target", old_glibc, "-mcpu", "baseline"] if target else []
    asks = "-fvalgrind" if target.startswith(MACHINES) else "-fno-valgrind"
    stripped = ["-fstrip"]
    if os.environ.get("SPARGIO_SYMBOLS", "0") not in ("", "0"):  # For profilers: docs/profiling.md.
        stripped = ["-fno-strip", "-fno-omit-frame-pointer"]
    return [
        *(*stripped, *more, asks, "-fno-sanitize-thread", "-fno-fuzz", "-fPIC", f"-O{optimize}"),
        *aimed,
        *("--dep", "build_options", f"-Mroot={ROOT}/zig-src/{root}.zig"),
        *(f"-Mbuild_options={options_file(checking_allocator)}", "-lc"),
    ]


def options_file(checking_allocator: bool) -> Path:
    """What build.zig tells the Zig code. Its path is always the same: Zig's cache asks for it."""
    version = re.search(r'\.version = "([^"]+)"', (ROOT / "build.zig.zon").read_text())
    assert version is not None
    text = (
        f'pub const version: [:0]const u8 = "{version[1]}";\n'
        f"pub const checking_allocator: bool = {str(checking_allocator).lower()};\n"
    )
    cache = Path(os.environ.get("ZIG_LOCAL_CACHE_DIR") or ROOT / ".zig-cache")
    path = cache / f"spargio-{'checking' if checking_allocator else 'usual'}/options.zig"
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    return path


def run(*arguments: str) -> None:
    subprocess.run([*ZIG, *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        build(*(Path(word).resolve() for word in sys.argv[1:2]), *sys.argv[2:3])
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
