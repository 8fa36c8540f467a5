"""The header itself: clean in both languages, and equal to what the library exports and what the
Python package declares. (That Zig's structs equal it is a unit test, zig-src/tests/header_test.zig.)"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from abi_support import ROOT, STRICT, Run, compiler

from spargio._ffi.structs import Placement, ProbeInfo, RuntimeOptions

HEADER = ROOT / "include" / "spargio.h"


def declared() -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return set(re.findall(r"^\S.*?\b(spargio_\w+)\(", text, re.MULTILINE))


@pytest.mark.parametrize(("language", "standard"), [("c", "c11"), ("c++", "c++17")])
def test_clean(tmp_path: Path, language: str, standard: str) -> None:
    source = tmp_path / "only.txt"
    source.write_text('#include "spargio.h"\n')
    command = [compiler(language), "-x", language, f"-std={standard}", *STRICT, "-fsyntax-only"]
    subprocess.run([*command, f"-I{HEADER.parent}", str(source)], check=True)


def test_the_example_at_the_top_compiles(tmp_path: Path) -> None:
    top = HEADER.read_text().split("Conventions")[0]
    lines = [line[len(" *     ") :] for line in top.splitlines() if line.startswith(" *     ")]
    start = lines.index("struct job job = {.fd = fd};")
    text = "\n".join(
        [
            '#include "spargio.h"',
            *lines[:start],
            "int run(spargio_runtime runtime, int fd);",
            "int run(spargio_runtime runtime, int fd) {",
            "spargio_join join;",
            "int64_t result;",
            *lines[start:],
            "return (int)result;",
            "}\n",
        ]
    )
    source = tmp_path / "example.c"
    source.write_text(text)
    command = [compiler("c"), "-std=c11", *STRICT, "-fsyntax-only", f"-I{HEADER.parent}"]
    subprocess.run([*command, str(source)], check=True)


def test_the_library_exports_what_is_declared(prefix: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("no nm on this machine")
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", str(prefix / "lib" / "libspargio.so")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    exported = set(re.findall(r" T (\w+)(?:@@\S+)?$", listing, re.MULTILINE))
    assert exported == declared()
    for name in ("spargio.map", "spargio_python.map"):
        mapped = set(re.findall(r"\b(spargio_\w+);", (ROOT / "include" / name).read_text()))
        assert declared() <= mapped, name


@pytest.mark.parametrize(
    ("struct", "name"),
    [
        (RuntimeOptions, "spargio_runtime_options"),
        (ProbeInfo, "spargio_probe_info"),
        (Placement, "spargio_placement"),
    ],
)
def test_ctypes_structs(
    run_program: Run, tmp_path: Path, struct: type[ctypes.Structure], name: str
) -> None:
    """A program prints what the C compiler makes of the struct, field by field."""
    fields = [field[0] for field in struct._fields_]
    prints = "".join(f'printf("%zu\\n", offsetof({name}, {field}));\n' for field in fields)
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include <stdio.h>\n#include "spargio.h"\nint main(void) {{\n{prints}'
        f'printf("%zu\\n", sizeof({name}));\nreturn 0;\n}}\n'
    )
    numbers = [int(line) for line in run_program(source).stdout.split()]
    assert numbers == [
        *(getattr(struct, field).offset for field in fields),
        ctypes.sizeof(struct),
    ]
