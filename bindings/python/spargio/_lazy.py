"""Names of a package that load its files when one of them is first asked for (PEP 562): all of
them, so that nothing is left to load when a program has no descriptor or no right for it any more.

The package `spargio` itself loads its names at once: with a `__getattr__` there, each
`spargio.yield_now` would be a search."""

from __future__ import annotations

import fcntl  # noqa: F401  # These three cost nothing, and parts need them: a program may have
import mmap  # noqa: F401  # given up the right to read the standard library by then.
import os
import select  # noqa: F401
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


# What functions import when they need it, as `import spargio` would be slow with it.
LATER = (
    "concurrent.futures.thread",
    "dataclasses",
    "difflib",
    "encodings.idna",
    "fcntl",
    "fnmatch",
    "inspect",
    "logging",
    "re",
    "resource",
    "subprocess",
    "traceback",
)

_packages: dict[str, Mapping[str, Iterable[str]]] = {}


def preload() -> None:
    """Import all of spargio now, and all modules of others that it uses. Its parts load when they
    are first used, so this is for a program that can not import later, because it changes its
    root or gives up the right to read its modules, or one that forks workers. Any thread."""
    for package, files in list(_packages.items()):
        for file in files:
            import_module(file, package)
    for name in LATER:
        import_module(name)


def _explained(error: ImportError, package: str, name: str) -> ImportError:
    """The error itself, unless files of the package or of Python cannot be reached any more."""
    foreign = error.name is not None and error.name.partition(".")[0] in sys.stdlib_module_names
    if not foreign and os.path.exists(str(sys.modules[package].__file__)):
        return error
    return ImportError(
        f"{package}.{name} loads when it is first used, and its files cannot be reached any more: "
        f"call spargio.preload() before the program changes its root or its user"
    )


def lazy(
    package: str, files: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of `package`. `files` says which names each file has; a file
    is called as in an ``import`` of that package, and one in the package is a name itself. One
    beside the package is all of it: what it does not list is found there too."""
    _packages[package] = files
    namespace = vars(sys.modules[package])
    homes = {name: file for file, names in files.items() for name in names}
    elsewhere = next((file for file in files if file.startswith("..")), None)
    homes |= {file[1:]: file for file in files if not file.startswith("..")}

    def load(name: str) -> object:
        file = homes.get(name, elsewhere)
        if file is None or name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            found = import_module(file, package)
            for other in files:
                import_module(other, package)
        except ImportError as error:
            raise _explained(error, package, name) from error
        if file != f".{name}" and not hasattr(found, name):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = found if file == f".{name}" else getattr(found, name)
        return namespace[name]

    def names() -> list[str]:
        return sorted({*namespace, *homes})

    return load, names
