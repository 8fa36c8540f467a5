"""Runs one Python target: over files, or searching, led by the coverage of the package's Python code and
of the library. Started by run.py, which sets the paths."""

from __future__ import annotations

import ctypes
import faulthandler
import importlib
import sys
from pathlib import Path


def search(target: str, arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["spargio"]):
        module = importlib.import_module(target)
    from spargio._ffi import library

    core = next(Path(atheris.__file__).parent.glob("core_with_libfuzzer*.so"))
    fuzzer = ctypes.CDLL(str(core))
    atheris.Setup([sys.argv[0], *arguments], module.one, enable_python_coverage=True)
    edges = library.plain.fuzz_register(
        ctypes.cast(fuzzer.__sanitizer_cov_8bit_counters_init, ctypes.c_void_p),
        ctypes.cast(fuzzer.__sanitizer_cov_pcs_init, ctypes.c_void_p),
    )
    assert edges, "the library counts no edges: build it with -Dcoverage=true"
    print(f"the library has {edges} edges", flush=True)
    atheris.Fuzz()


def replay(target: str, paths: list[str]) -> None:
    faulthandler.enable()  # In a search the fuzzer looks at signals.
    module = importlib.import_module(target)
    for path in paths:
        print(path, file=sys.stderr, flush=True)  # A crash leaves its name behind.
        module.one(Path(path).read_bytes())
    getattr(module, "finish", lambda: None)()
    print(f"replayed {len(paths)}")


if __name__ == "__main__":
    {"search": search, "replay": replay}[sys.argv[1]](sys.argv[2], sys.argv[3:])
