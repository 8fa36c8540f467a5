"""The ctypes SQE and the opcodes of the Python package, against the kernel's own header."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest
from abi_support import Run, compiler

from spargio._ffi.sqe import FIELDS, Sqe
from spargio.uring import Opcode


@pytest.fixture(scope="module")
def header() -> str:
    """linux/io_uring.h of this machine, preprocessed."""
    command = [compiler("c"), "-E", "-P", "-x", "c", "-"]
    source = "#include <linux/io_uring.h>\n"
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("no linux/io_uring.h on this machine")
    return done.stdout


def test_offsets(header: str, run_program: Run, tmp_path: Path) -> None:
    struct = re.search(r"struct io_uring_sqe \{(.*?)\n\};", header, re.DOTALL)
    assert struct is not None
    there = set(re.findall(r"\b(\w+)(?:\[\d*\])?;", struct[1]))
    # An older header lacks what newer kernels added; all that it has we have too.
    assert {name for name in there if not name.startswith("__")} - {"cmd"} <= set(FIELDS)
    known = sorted(there & set(FIELDS))
    assert {"opcode", "addr3", "file_index", "statx_flags", "splice_off_in"} <= set(known)
    prints = "".join(
        f'printf("%zu %zu\\n", offsetof(struct io_uring_sqe, {name}),'
        f" sizeof(((struct io_uring_sqe *)0)->{name}));\n"
        for name in known
    )
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/io_uring.h>\n"
        f'int main(void) {{\n{prints}printf("%zu 0\\n", sizeof(struct io_uring_sqe));\n'
        "return 0;\n}\n"
    )
    lines = run_program(source).stdout.decode().splitlines()
    said = [tuple(map(int, line.split())) for line in lines]
    ours = [(getattr(Sqe, name).offset, FIELDS[name][0] // 8) for name in known]
    assert [*ours, (ctypes.sizeof(Sqe), 0)] == said
    assert ctypes.sizeof(Sqe) == 64


def test_opcodes(header: str) -> None:
    enum = re.search(r"enum io_uring_op \{(.*?)\};", header, re.DOTALL)
    assert enum is not None
    names = [name for name in re.findall(r"IORING_OP_(\w+)", enum[1]) if name != "LAST"]
    ours = [opcode.name for opcode in Opcode]
    assert [opcode.value for opcode in Opcode] == list(range(len(ours)))
    both = min(len(names), len(ours))
    assert names[:both] == ours[:both]
