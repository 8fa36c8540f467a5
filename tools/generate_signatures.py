"""Writes the tables of signatures at the end of the reference pages, docs/*.md, from the package:

    python tools/generate_signatures.py            # write them
    python tools/generate_signatures.py --check    # exit status 1 where one is stale

A row has what a caller writes; `await` stands before what is awaited. What it does is the
docstring's first sentence."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bindings/python"))

PAGES: Final = {
    "fs.md": ("spargio.fs",),
    "net.md": ("spargio.net",),
    "tls.md": ("spargio.tls",),
    "io.md": ("spargio.io", "spargio.io.framed"),
    "sync.md": ("spargio.sync",),
    "boundary.md": ("spargio.boundary",),
    "process.md": ("spargio.process", "spargio.signal"),
    "messages.md": ("spargio.messages",),
    "python.md": ("spargio",),
}
TITLE: Final = "## Signatures"
HEAD: Final = f"""{TITLE}

Made by `tools/generate_signatures.py`. `await` stands before what is awaited.

| call | |
|---|---|
"""
ELSEWHERE: Final = {
    "fs",
    "net",
    "io",
    "sync",
    "boundary",
    "process",
    "signal",
    "uring",
    "extension",
}


def first_sentence(thing: object) -> str:
    text = " ".join((inspect.getdoc(thing) or "").split())
    text = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", text).replace("``", "`")
    sentence = re.split(r"(?<=[.;:])\s|::", text, maxsplit=1)[0].rstrip(".;:")
    return sentence.replace("|", "\\|")


def default(value: object) -> str:
    if isinstance(value, type) or inspect.isfunction(value):
        return value.__name__
    return str(value) if type(value).__module__ != "builtins" else repr(value)


def written(name: str, signature: inspect.Signature, bound: bool) -> str:
    parts: list[str] = []
    starred = False
    for index, one in enumerate(signature.parameters.values()):
        if bound and index == 0:
            continue
        if one.name.startswith("_"):
            continue
        text = one.name
        if one.kind is one.VAR_POSITIONAL:
            text, starred = f"*{text}", True
        elif one.kind is one.VAR_KEYWORD:
            text = f"**{text}"
        elif one.kind is one.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        if one.annotation is not one.empty and one.annotation != "Any":
            text += f": {one.annotation}"
        if one.default is not one.empty:
            text += f" = {default(one.default)}"
        parts.append(text)
    given = signature.return_annotation
    answer, wait = "", ""
    if given is not signature.empty and given not in ("None", None):
        awaitable = re.fullmatch(r"(?:Awaitable|Coro|Future)\[(.+)\]", str(given))
        answer, wait = (awaitable[1], "await ") if awaitable else (str(given), "")
    arrow = f" -> {answer}" if answer and answer != "None" else ""
    return f"{wait}{name}({', '.join(parts)}){arrow}"


def call(name: str, function: Any, bound: bool = False) -> str | None:
    """None for what does not say its signature."""
    try:
        text = written(name, inspect.signature(function), bound)
    except (TypeError, ValueError):
        return None
    return f"await {text}" if inspect.iscoroutinefunction(function) else text


def members(kind: type, public: set[type]) -> dict[str, Any]:
    """Its own, and those of bases that have no row of their own. ``AsyncCloseable`` only
    says what each class of that kind has."""
    found: dict[str, Any] = {}
    for base in kind.__mro__:
        if base.__name__ == "AsyncCloseable":
            continue
        if base is kind or (base.__module__.startswith("spargio") and base not in public):
            found = {**vars(base), **found} if base is not kind else dict(vars(base))
    return found


def of_class(kind: type, public: set[type]) -> Iterator[tuple[str, str]]:
    if issubclass(kind, BaseException):
        yield f"{kind.__name__}", first_sentence(kind)
        return
    # A named tuple's `__new__` tells its annotations as objects.
    makers = ("__init__",) if hasattr(kind, "_fields") else ("__init__", "__new__")
    maker = next((vars(kind)[name] for name in makers if name in vars(kind)), None)
    made = None if maker is None else call(kind.__name__, getattr(maker, "__func__", maker), True)
    yield made or kind.__name__, first_sentence(kind)
    stem = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower().rpartition("_")[2]
    for name, member in members(kind, public).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield f"{stem}.{name}", first_sentence(member)
        elif isinstance(member, staticmethod | classmethod):
            function = member.__func__
            text = call(f"{kind.__name__}.{name}", function, isinstance(member, classmethod))
            yield text or f"{kind.__name__}.{name}(...)", first_sentence(function)
        elif inspect.isfunction(member):
            yield call(f"{stem}.{name}", member, bound=True) or name, first_sentence(member)


def functions_for_checkers() -> Any:
    """The class of shapes.py that only type checkers see."""
    source = (ROOT / "bindings/python/spargio/_ffi/shapes.py").read_text()
    found = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == "Functions"
    ]
    found[0].bases = []
    space: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + ast.unparse(found[0]), space)
    return space["Functions"]


def rows(modules: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    told = functions_for_checkers()
    for module in modules:
        package = importlib.import_module(module)
        names = getattr(package, "__all__", ())
        public = {thing for name in names if inspect.isclass(thing := getattr(package, name))}
        for name in names:
            thing = getattr(package, name)
            if inspect.ismodule(thing) or (module == "spargio" and name in ELSEWHERE):
                continue
            if inspect.isclass(thing):
                yield from of_class(thing, public)
            elif inspect.isroutine(thing):
                native = inspect.isbuiltin(thing)  # Its shape is what type checkers are told.
                text = call(name, getattr(told, name) if native else thing, native)
                yield text or f"{name}(...)", first_sentence(thing)


def table(modules: tuple[str, ...]) -> str:
    lines = []
    for text, what in rows(modules):
        cell = text.replace("|", "\\|")
        lines.append(f"| `{cell}` | {what} |\n")
    return HEAD + "".join(lines)


def page_with(text: str, modules: tuple[str, ...]) -> str:
    before, _, _ = text.partition(f"\n{TITLE}\n")
    return f"{before.rstrip()}\n\n{table(modules)}"


def main() -> int:
    stale = []
    for name, modules in PAGES.items():
        path = ROOT / "docs" / name
        old = path.read_text()
        new = page_with(old, modules)
        if new != old:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}: run python tools/generate_signatures.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
