"""How a C or C++ extension is built with the headers and the library of this package:

    cc -shared -fPIC extension.c -o extension.so $(python -m spargio.config --cflags --libs)

The library is the very one that the package itself uses, so runtimes of Python and of the extension
are in one process-wide core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ._ffi.library import PATH

__all__ = ("cflags", "include_dir", "libs", "main")


def include_dir() -> str:
    """The folder of spargio.h, spargio_await.h, spargio_counters.h and spargio.hpp."""
    package = Path(__file__).resolve().parent
    # The second one: an editable install.
    for folder in (package / "_include", package.parents[2] / "include"):
        if (folder / "spargio.h").is_file():
            return str(folder)
    raise FileNotFoundError(f"this installation of spargio has no headers beside {package}")


def cflags() -> list[str]:
    """Arguments for the compiler."""
    return [f"-I{include_dir()}"]


def libs() -> list[str]:
    """Arguments for the linker. The extension finds the library by its path, so it has to be linked
    again if the package moves."""
    library = Path(PATH)
    return [f"-L{library.parent}", f"-l:{library.name}", f"-Wl,-rpath,{library.parent}", "-pthread"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m spargio.config",
        description="Prints how to build a C or C++ extension with this installation of spargio.",
    )
    parser.add_argument("--cflags", action="store_true", help="arguments for the compiler")
    parser.add_argument("--libs", action="store_true", help="arguments for the linker")
    parser.add_argument("--include-dir", action="store_true", help="the folder of the headers")
    chosen = parser.parse_args(arguments)
    words = [
        *(cflags() if chosen.cflags else ()),
        *(libs() if chosen.libs else ()),
        *([include_dir()] if chosen.include_dir else ()),
    ]
    if not words:
        parser.error("choose from --cflags, --libs, --include-dir")
    print(" ".join(words))


if __name__ == "__main__":
    main()
