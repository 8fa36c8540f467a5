"""What tools/release.py makes: archives that are the same bytes each time, and programs built with
them, for this machine and, under qemu-user, for aarch64."""

from __future__ import annotations

import hashlib
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
VERSION = re.search(r'\.version = "(.+)"', (ROOT / "build.zig.zon").read_text())[1]
TARGET = f"{platform.machine()}-linux-musl"
PROGRAMS = ROOT / "tests/abi/programs"
LIMIT_S = 1200
NEEDED = ("bindings", "include", "packaging", "tools", "zig-src")
ZIG = (sys.executable, "-m", "ziglang")

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.early,
    pytest.mark.any_backend,
    pytest.mark.xdist_group("packaging"),
]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One target of four: the others differ in a word of the compiler's command line."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("release")
    run(
        sys.executable,
        "tools/release.py",
        folder,
        "--target",
        TARGET,
        SOURCE_DATE_EPOCH="1700000000",
    )
    return folder


@pytest.mark.long
def test_it_names_what_it_makes(dist: Path) -> None:
    found = {path.name for path in dist.iterdir()}
    machine = platform.machine()
    assert found == {
        f"spargio-{VERSION}.tar.gz",
        f"spargio-{VERSION}-py3-none-musllinux_1_2_{machine}.whl",
        f"spargio-c-{VERSION}-{TARGET}.tar.gz",
        "SHA256SUMS",
    }
    for line in (dist / "SHA256SUMS").read_text().splitlines():
        sum_, name = line.split("  ")
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == sum_
        found.remove(name)
    assert found == {"SHA256SUMS"}


@pytest.mark.long
def test_another_run_gives_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    """From another folder, with no cache of the compiler's, and files of another age and mode."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in os.listdir(ROOT):
        if name in NEEDED or (ROOT / name).is_file():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
            copy(ROOT / name, tree / name)
    for name in (".ci", "bench", "docs", "examples", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    cache = {"ZIG_LOCAL_CACHE_DIR": tmp_path / "local", "ZIG_GLOBAL_CACHE_DIR": tmp_path / "global"}
    again = tmp_path / "again"
    command = (sys.executable, "tools/release.py", again, "--target", TARGET)
    run(*command, cwd=tree, SOURCE_DATE_EPOCH="1700000000", **cache)
    assert (again / "SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()


@pytest.mark.long
def test_the_archive_has_all_that_a_program_needs(dist: Path, tmp_path: Path) -> None:
    name = f"spargio-c-{VERSION}-{TARGET}"
    with tarfile.open(dist / f"{name}.tar.gz") as archive:
        assert {(member.uid, member.mtime) for member in archive} == {(0, 1_700_000_000)}
        archive.extractall(tmp_path, filter="data")
    headers = [path.relative_to(ROOT).as_posix() for path in (ROOT / "include").rglob("*.h*")]
    libraries = ["lib/libspargio.so.0", "lib/libspargio.a", "lib/pkgconfig/spargio.pc"]
    for path in (*headers, *libraries, "lib/cmake/spargio/spargioConfig.cmake", "LICENSE"):
        assert (tmp_path / name / path).is_file(), path
    program = build(tmp_path / name, PROGRAMS / "tasks.c", tmp_path / "tasks", TARGET)
    run(program, "2", "0", "0")


@pytest.mark.long
def test_the_wheel_is_for_musl_alone(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        library = archive.read("spargio/_lib/libspargio_python.so")
        assert "spargio/_include/spargio.h" in archive.namelist()
    assert b"GLIBC_" not in library


def build(prefix: Path, source: Path, program: Path, target: str) -> Path:
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O1", "-pthread", f"-I{prefix}/include", f"-I{PROGRAMS}"]
    library = prefix / "lib/libspargio.a"
    run(*ZIG, "cc", "-target", target, *flags, source, library, "-static", "-o", program)
    return program


@pytest.mark.long
@pytest.mark.parametrize("name", ["tasks", "io", "await"])
def test_aarch64_under_qemu(name: str, aarch64: Path, tmp_path: Path) -> None:
    """qemu-user has no io_uring, so the runtime takes epoll by itself."""
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("no qemu-aarch64 (Debian: qemu-user)")
    program = build(aarch64, PROGRAMS / f"{name}.c", tmp_path / name, "aarch64-linux-musl")
    run(emulator, program, "2", "0", "0", cwd=tmp_path)


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    run(*ZIG, "build", "static", "-Dtarget=aarch64-linux-musl", "--prefix", folder)
    shutil.copytree(ROOT / "include", folder / "include")
    return folder


EXTENSION = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <spargio_await.h>

static int32_t answer(void *ctx, int64_t *result) {
    *result = *(int *)ctx + 1;
    return SPARGIO_READY;
}

static PyObject *run(PyObject *self, PyObject *number) {
    spargio_runtime runtime;
    spargio_join join;
    int value = (int)PyLong_AsLong(number);
    int64_t result = 0;
    (void)self;
    if (spargio_runtime_start(NULL, &runtime) != SPARGIO_OK) return PyErr_NoMemory();
    spargio_spawn(runtime, NULL, answer, &value, &join);
    spargio_join_wait(join, SPARGIO_FOREVER, &result);
    spargio_join_release(join);
    spargio_runtime_shutdown(runtime, SPARGIO_FOREVER);
    return Py_BuildValue("Ls", (long long)result, spargio_version());
}

static PyMethodDef methods[] = {{"run", run, METH_O, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "extension", "", -1, methods, 0, 0, 0, 0};
PyMODINIT_FUNC PyInit_extension(void) { return PyModule_Create(&module); }
"""


def test_a_c_extension_links_with_the_package(tmp_path: Path) -> None:
    import sysconfig

    folder = Path(sysconfig.get_paths()["include"])
    if shutil.which("cc") is None or not (folder / "Python.h").is_file():
        pytest.skip("no cc, or no Python.h")
    (tmp_path / "extension.c").write_text(EXTENSION)
    flags = run(sys.executable, "-m", "spargio.config", "--cflags", "--libs").split()
    source = ["extension.c", "-o", f"extension{sysconfig.get_config_var('EXT_SUFFIX')}"]
    strict = ["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{folder}"]
    run("cc", *strict, *source, *flags, cwd=tmp_path)
    program = "import extension, spargio; print(*extension.run(41), spargio.__version__)"
    assert run(sys.executable, "-c", program, cwd=tmp_path).split() == ["42", VERSION, VERSION]


def test_config_names_what_may_be_asked() -> None:
    command = [sys.executable, "-m", "spargio.config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose from --cflags, --libs, --include-dir" in done.stderr
