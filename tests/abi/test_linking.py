"""What the library does to the program that it is linked or loaded into."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from abi_support import PROGRAMS, STRICT, Run, compiler

TLS_LIMIT = 256
"""Bytes of thread-local memory: each thread of the whole program has them."""


def output_of(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(*flags: str | Path) -> None:
    subprocess.run([compiler("c"), *map(str, flags)], check=True)


@pytest.mark.parametrize("kind", ["the library", "a plug-in with the static one"])
def test_it_stays_when_it_is_unloaded(
    kind: str, prefix: Path, run_program: Run, tmp_path: Path
) -> None:
    """Fork handlers cannot be taken back, and a runtime's threads may still run in it."""
    path = prefix / "lib/libspargio.so.0"
    if kind != "the library":
        path = tmp_path / "plugin.so"
        archive = prefix / "lib/libspargio.a"
        build("-shared", "-o", path, "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive")
    run_program(PROGRAMS / "unload.c", path, libraries=("-ldl",))


def test_it_can_be_unloaded_while_nothing_was_started(prefix: Path, tmp_path: Path) -> None:
    source = tmp_path / "unused.c"
    source.write_text(
        "#include <dlfcn.h>\nint main(int n, char **v) {\n(void)n; void *l = dlopen(v[1], RTLD_NOW);\n"
        "return !l || dlclose(l) || dlopen(v[1], RTLD_NOW | RTLD_NOLOAD); }\n"
    )
    build(source, "-o", tmp_path / "unused", "-ldl")
    subprocess.run([tmp_path / "unused", prefix / "lib/libspargio.so.0"], check=True)


def test_threads_of_the_program_stay_small(prefix: Path) -> None:
    segments = output_of("readelf", "-lW", prefix / "lib/libspargio.so")
    found = re.findall(r"^\s+TLS\s+\S+\s+\S+\s+\S+\s+\S+\s+(0x\w+)", segments, re.MULTILINE)
    assert [size for size in found if int(size, 16) > TLS_LIMIT] == []
    assert len(found) == 1


def test_the_archive_has_one_member_and_no_folder(prefix: Path) -> None:
    assert output_of("ar", "t", prefix / "lib/libspargio.a").split() == ["spargio.o"]


STATIC = """
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "spargio.h"
int main(int n, char **v) {
    spargio_runtime r; char b[4096];
    memcpy(b, v[0], strlen(v[0]) + 1);
    memmove(b + 1, b, 100);
    memset(b, 'x', 1);
    printf("%d %f\\n", memcmp(b, v[0], 5), sin(n));
    return spargio_runtime_start(0, &r) || spargio_runtime_shutdown(r, SPARGIO_FOREVER);
}
"""


@pytest.mark.parametrize("how", ["usual", "pie", "wholly static", "a plug-in"])
def test_a_static_program_has_only_our_names_from_us(
    how: str, prefix: Path, tmp_path: Path
) -> None:
    """memcpy, strlen, sin and the like are libc's; a plain cc links it."""
    source, program = tmp_path / "static.c", tmp_path / "static"
    source.write_text(STATIC)
    archive = prefix / "lib/libspargio.a"
    mode = {"usual": "-no-pie", "pie": "-pie", "wholly static": "-static", "a plug-in": "-shared"}
    build(
        *STRICT, "-std=c11", "-fno-builtin", "-fPIC", mode[how], f"-I{prefix}/include", source,
        archive, "-lm", "-pthread", "-o", program,
    )  # fmt: skip
    defined = output_of("nm", "--defined-only", archive)
    global_names = re.findall(r"^\w+ [A-Z] (\S+)$", defined, re.MULTILINE)
    assert [name for name in global_names if not name.startswith("spargio_")] == []
    if how != "a plug-in":
        subprocess.run([program], check=True, stdout=subprocess.DEVNULL, timeout=60)
