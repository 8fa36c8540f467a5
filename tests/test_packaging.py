"""What users get: the wheel, the sdist, and the installed C library.

Everything here goes the user's way, through pip, build and cc, in fresh environments.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MACHINE = platform.machine()
VERSION = re.search(r'\.version = "(.+)"', (ROOT / "build.zig.zon").read_text())[1]
LIBRARY = "spargio/_lib/libspargio_python.so"

# Environments are made, packages fetched and, by one test, the library compiled from nothing.
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.early,
    pytest.mark.xdist_group("packaging"),  # One process waits for the builds, the others go on.
]

# Set for this test run, or by a developer: a user's shell has none of them.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "PYTHON_GIL", "LD_LIBRARY_PATH")


def run(*command: str | Path, **environment: str | Path) -> str:
    """Runs a command outside of the source tree and returns what it printed."""
    clean = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=environment.pop("cwd", "/"),
        env=clean | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode != 0:
        pytest.fail(f"{command} ended with {result.returncode}:\n{result.stdout}", pytrace=False)
    return result.stdout


@pytest.fixture(scope="session")
def dist(dist_build: Path) -> Path:
    """A folder with the sdist and the wheel that an empty environment builds from the sdist."""
    return dist_build


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


# ---- wheel and sdist -------------------------------------------------------------------------


def test_wheel_fits_every_python_on_an_old_glibc(wheel: Path) -> None:
    tag = f"py3-none-manylinux_2_17_{MACHINE}"
    assert wheel.name == f"spargio-{VERSION}-{tag}.whl"
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"spargio-{VERSION}.dist-info/WHEEL").decode().splitlines()
        library = archive.read(LIBRARY)
    assert f"Tag: {tag}" in metadata
    assert "Root-Is-Purelib: false" in metadata
    # The names of the symbol versions that the library asks of the C library stand in it as text.
    minor = {int(version) for version in re.findall(rb"GLIBC_2\.(\d+)", library)}
    assert minor
    assert max(minor) <= 17


def test_wheel_has_the_package_and_the_library_and_nothing_else(wheel: Path) -> None:
    names = names_in(wheel)
    assert len(names) == len(set(names))
    assert {"spargio/__init__.py", "spargio/py.typed", LIBRARY} <= set(names)
    strange = [
        name
        for name in names
        if not name.startswith(f"spargio-{VERSION}.dist-info/")
        and not (name.startswith("spargio/") and name.endswith((".py", "/py.typed")))
        and not (name.startswith("spargio/_include/") and name.endswith((".h", ".hpp")))
        and name not in (LIBRARY, "pytest_spargio.py")
    ]
    assert not strange


COMPILER = """
import pathlib, shutil, sys

(made,) = [word.partition("=")[2] for word in sys.argv if word.startswith("-femit-bin=")]
shutil.copy(pathlib.Path(__file__).parent / "made.so", made)
"""


def test_wheel_is_the_same_from_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    """As `pip install .` builds it, with an editable install's library lying in the tree. The one
    above was compiled from nothing in an environment of its own, so here the compiler is one that
    has the library ready; what it compiles in this tree is the next test's."""
    instead = tmp_path / "instead/ziglang"
    instead.mkdir(parents=True)
    (instead / "__init__.py").touch()
    (instead / "__main__.py").write_text(COMPILER)
    with zipfile.ZipFile(wheel) as archive:
        (instead / "made.so").write_bytes(archive.read(LIBRARY))
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", tmp_path, ROOT, PYTHONPATH=instead.parent)
    (other,) = tmp_path.glob("*.whl")
    assert other.name == wheel.name
    assert sorted(names_in(other)) == sorted(names_in(wheel))


def test_library_is_that_of_zig_build(wheel: Path, tmp_path: Path) -> None:
    """The build hook calls the compiler itself, because `zig build` compiles its build program first."""
    run(sys.executable, "-m", "ziglang", "build", "python", "--prefix", tmp_path, cwd=ROOT)
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(LIBRARY) == (tmp_path / "lib/libspargio_python.so").read_bytes()


def test_bench_extra_brings_the_compiler_of_the_native_rows(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"spargio-{VERSION}.dist-info/METADATA").decode()
    assert re.search(r"^Requires-Dist: ziglang==.*extra == ['\"]bench['\"]", metadata, re.MULTILINE)


def test_sdist_has_the_sources_and_nothing_built(dist: Path) -> None:
    with tarfile.open(dist / f"spargio-{VERSION}.tar.gz") as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    files = (
        "LICENSE",
        "README.md",
        "build.zig",
        "build.zig.zon",
        "hatch_build.py",
        "pyproject.toml",
    )
    assert set(files) <= set(names)
    folders = {name.partition("/")[0] for name in names if "/" in name}
    wanted = ("bench", "bindings", "docs", "examples", "include", "tests", "tools", "zig-src")
    assert {folder for folder in wanted if any((ROOT / folder).rglob("*.*"))} <= folders
    built = re.compile(r"\.(so|a|o|pyc|whl)$|(^|/)(_lib|__pycache__|\.zig-cache|zig-out)/|\.lock$")
    assert not [name for name in names if built.search(name)]


# ---- the installed wheel -----------------------------------------------------------------------

PROGRAM = """
import importlib.metadata, sys
import spargio

free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
print("free-threaded" if free_threaded else "gil", importlib.metadata.version("spargio"))

async def child(number):
    await spargio.yield_now()
    return number + 1

async def main(handle):
    return [await handle.spawn_stealable(child(number)) for number in range(3)]

print(spargio.run(main, shards=2))
assert free_threaded is not getattr(sys, "_is_gil_enabled", lambda: True)()
"""


@functools.cache
def interpreter(version: str) -> Path | None:
    """A CPython with a GIL of this version that can make environments, or None."""
    found = [Path(sys._base_executable)] if version == "{}.{}".format(*sys.version_info) else []
    pyenv = Path("~/.pyenv/versions").expanduser()
    found += sorted(pyenv.glob(f"{version}.*[0-9]/bin/python{version}"), reverse=True)
    if on_path := shutil.which(f"python{version}"):
        found.append(Path(on_path))
    # A name on the PATH may be pyenv's shim of a version that is switched off.
    check = (
        "import ctypes, ensurepip, sys, sysconfig, venv; "
        "assert sys.implementation.name == 'cpython'; "
        "assert not sysconfig.get_config_var('Py_GIL_DISABLED'); "
        "print('{}.{}'.format(*sys.version_info))"
    )
    for path in found:
        result = subprocess.run([path, "-c", check], capture_output=True, text=True)
        if result.returncode == 0 and result.stdout.strip() == version:
            return path
    return None


def free_threaded_interpreter() -> Path | None:
    if named := os.environ.get("SPARGIO_FREETHREADED_PYTHON"):
        return Path(named)
    usual = Path("~/.cache/spargio/python3.13t/bin/python3.13").expanduser()
    return usual if usual.exists() else None


def install_and_run(python: Path, wheel: Path, folder: Path) -> list[str]:
    run(python, "-m", "venv", "--without-pip", folder)
    inside = folder / "bin/python"
    # This environment's pip, for the other one: to give each its own takes longer than all else.
    run(sys.executable, "-m", "pip", "--python", inside, "install", "--no-compile", wheel)
    assert "usage: spargio" in run(folder / "bin/spargio", "--help")
    return run(inside, "-W", "error", "-c", PROGRAM).splitlines()


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_wheel_runs_on(version: str, wheel: Path, tmp_path: Path) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no CPython {version} in ~/.pyenv/versions or on the PATH")
    assert install_and_run(python, wheel, tmp_path) == [f"gil {VERSION}", "[1, 2, 3]"]


def test_wheel_leaves_the_gil_off(wheel: Path, tmp_path: Path) -> None:
    python = free_threaded_interpreter()
    if python is None:
        pytest.skip("no free-threaded CPython: SPARGIO_FREETHREADED_PYTHON names none")
    assert install_and_run(python, wheel, tmp_path) == [f"free-threaded {VERSION}", "[1, 2, 3]"]


# ---- the installed C library -------------------------------------------------------------------

HELLO = """
#include <spargio.h>
#include <stdio.h>

int main(void) {
    puts(spargio_version());
    return spargio_abi_version() != (int32_t)SPARGIO_ABI_VERSION;
}
"""
EXAMPLES = sorted((ROOT / "examples/c").glob("*.c"))
# What an example needs beside spargio: the pkg-config name behind a header.
LIBRARIES = {"<cbor.h>": "libcbor"}


@pytest.fixture(scope="session")
def prefix(release_build: Path) -> Path:
    """Where `zig build install` put the library."""
    for tool in ("cc", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return release_build


def pkg_config(prefix: Path, *arguments: str) -> list[str]:
    return run("pkg-config", *arguments, PKG_CONFIG_PATH=prefix / "lib/pkgconfig").split()


def compile_c(source: Path, output: Path, *flags: str) -> None:
    run("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", output, source, *flags)


def test_install_gives_library_header_and_pkg_config(prefix: Path) -> None:
    shared = prefix / "lib/libspargio.so"
    assert os.readlink(shared) == "libspargio.so.0"
    assert shared.resolve() == prefix / f"lib/libspargio.so.{VERSION}"
    assert (prefix / "lib/libspargio.a").is_file()
    header = prefix / "include/spargio.h"
    for source in (ROOT / "include").rglob("*.h*"):
        copy = header.parent / source.relative_to(ROOT / "include")
        assert copy.read_bytes() == source.read_bytes()
    assert pkg_config(prefix, "--modversion", "spargio") == [VERSION]
    (folder,) = pkg_config(prefix, "--variable=includedir", "spargio")
    assert Path(folder).resolve() == header.parent


@pytest.mark.parametrize("linking", ["shared", "static"])
def test_c_program_runs(linking: str, prefix: Path, tmp_path: Path) -> None:
    source, program = tmp_path / "hello.c", tmp_path / "hello"
    source.write_text(HELLO)
    flags = pkg_config(prefix, "--cflags", "--libs", "--static", "spargio")
    if linking == "static":
        flags = [str(prefix / "lib/libspargio.a") if f == "-lspargio" else f for f in flags]
    compile_c(source, program, *flags)
    environment = {"LD_LIBRARY_PATH": prefix / "lib"} if linking == "shared" else {}
    assert run(program, **environment).strip() == VERSION


def test_the_commands_of_the_page_give_a_program_that_starts(prefix: Path, tmp_path: Path) -> None:
    """docs/c/linking.md, word for word but for the folder."""
    text = (ROOT / "docs/c/linking.md").read_text()
    export, compile_ = re.findall(r"^(?:export|cc) .*$", text, re.MULTILINE)
    (tmp_path / "program.c").write_text(HELLO)
    script = f"{export}\n{compile_}\n./a.out".replace("DIR", str(prefix))
    assert run("sh", "-ec", script, cwd=tmp_path).strip() == VERSION


CMAKE_HEAD = (
    "cmake_minimum_required(VERSION 3.13)\nproject(p C)\nadd_executable(program program.c)\n"
)


def build_by_cmake(folder: Path, lines: str, **environment: str | Path) -> str:
    """What the program says."""
    if shutil.which("cmake") is None:
        pytest.skip("no cmake on this machine")
    (folder / "CMakeLists.txt").write_text(CMAKE_HEAD + lines)
    (folder / "program.c").write_text(HELLO)
    run("cmake", "-S", folder, "-B", folder / "made", **environment)
    run("cmake", "--build", folder / "made", **environment)
    return run(folder / "made/program").strip()


@pytest.mark.parametrize("number", [0, 1])
def test_cmake_as_the_page_says(number: int, prefix: Path, tmp_path: Path) -> None:
    """By find_package(spargio), and by pkg-config."""
    blocks = re.findall(r"```cmake\n(.*?)```", (ROOT / "docs/c/linking.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    found = {"PKG_CONFIG_PATH": prefix / "lib/pkgconfig", "CMAKE_PREFIX_PATH": prefix}
    assert build_by_cmake(tmp_path, blocks[number], **found) == VERSION


@pytest.mark.parametrize("target", ["spargio::static", "spargio::shared"])
def test_cmake_targets(target: str, prefix: Path, tmp_path: Path) -> None:
    """Also after the installed tree was moved."""
    moved = tmp_path / "elsewhere/deeper"
    shutil.copytree(prefix, moved, symlinks=True)
    lines = f"find_package(spargio 0.2 CONFIG REQUIRED)\ntarget_link_libraries(program {target})\n"
    assert build_by_cmake(tmp_path, lines, CMAKE_PREFIX_PATH=moved) == VERSION
    needed = run("readelf", "-d", tmp_path / "made/program")
    assert ("libspargio.so.0" in needed) == (target == "spargio::shared")


@pytest.mark.parametrize("version", ["99.0", "1.0"])
def test_cmake_refuses_versions_it_is_not(version: str, prefix: Path, tmp_path: Path) -> None:
    if shutil.which("cmake") is None:
        pytest.skip("no cmake on this machine")
    lines = f"find_package(spargio {version} CONFIG QUIET)\n"
    lines += 'if(spargio_FOUND)\nmessage(FATAL_ERROR "found")\nendif()\n'
    (tmp_path / "CMakeLists.txt").write_text(CMAKE_HEAD + lines)
    (tmp_path / "program.c").write_text(HELLO)
    run("cmake", "-S", tmp_path, "-B", tmp_path / "made", CMAKE_PREFIX_PATH=prefix)


def test_shared_libraries_have_a_build_id(prefix: Path) -> None:
    assert re.search(r"Build ID: [0-9a-f]{40}", run("readelf", "-n", prefix / "lib/libspargio.so"))


ZIG = (sys.executable, "-m", "ziglang")


def link_for(target: str, prefix: Path, folder: Path) -> None:
    """A program with the static library. It is run if it is one of this machine."""
    (folder / "hello.c").write_text(HELLO)
    program = folder / "hello"
    flags = [f"-I{ROOT / 'include'}", folder / "hello.c", prefix / "lib/libspargio.a"]
    run(*ZIG, "cc", "-target", target, "-pthread", *flags, "-o", program)
    if target.startswith(MACHINE):
        assert run(program).strip() == VERSION


@pytest.mark.parametrize("target", ["aarch64-linux-gnu", "x86_64-linux-musl"])
def test_other_targets(target: str, tmp_path: Path) -> None:
    """The static library alone, because it takes half the time; a program links with it."""
    run(*ZIG, "build", "static", f"-Dtarget={target}", "--prefix", tmp_path, cwd=ROOT)
    link_for(target + ".2.17" if target.endswith("gnu") else target, tmp_path, tmp_path)


def test_a_program_links_for_an_old_glibc(prefix: Path, tmp_path: Path) -> None:
    link_for(f"{MACHINE}-linux-gnu.2.17", prefix, tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_c_example_builds(example: Path, prefix: Path, tmp_path: Path) -> None:
    text = example.read_text()
    needed = [name for header, name in LIBRARIES.items() if f"#include {header}" in text]
    for name in needed:
        if subprocess.run(["pkg-config", "--exists", name]).returncode != 0:
            pytest.skip(f"{name} with its headers is not installed")
    flags = pkg_config(prefix, "--cflags", "--libs", "spargio", *needed)
    compile_c(example, tmp_path / example.stem, *flags)
