"""Writes bindings/python/spargio/_ffi/constants.py from include/spargio.h.

The patterns are narrow on purpose: a #define of a form that they do not know is an error, so a new
constant cannot be missed in silence.

    python tools/generate_constants.py [--check]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "include/spargio.h"
OUTPUT = ROOT / "bindings/python/spargio/_ffi/constants.py"

# Not constants: the guard, and macros with a parameter.
IGNORED = {
    "SPARGIO_H",
    "SPARGIO_E_ERRNO(number)",
    "SPARGIO_ERRNO_OF(result)",
    "SPARGIO_EAI_OF(result)",
    "spargio_runtime_options_init(options)",
}

SECTION = re.compile(r"^/\* -{4} (?P<title>.+?) -{4,} \*/$")
DEFINE = re.compile(r"^\s*#\s*define\s+(?P<name>\w+(?:\([^)]*\))?)\s*(?P<value>.*)$")
COMMENT = re.compile(r"/\*.*?\*/")
FORMS = (
    (re.compile(r"(\d+)u?"), lambda match: match[1]),
    (re.compile(r"\((-\d+)\)"), lambda match: match[1]),
    (re.compile(r"\(1ull << (\d+)\)"), lambda match: f"1 << {match[1]}"),
    (re.compile(r"UINT64_MAX"), lambda match: "(1 << 64) - 1"),
)

PREAMBLE = '''"""Constants of the C ABI, without their SPARGIO_ prefix.

Written by tools/generate_constants.py from include/spargio.h: do not edit.
"""

from typing import Final
'''


def translate(value: str) -> str | None:
    for pattern, form in FORMS:
        if match := pattern.fullmatch(value):
            return form(match)
    return None


def generate(header: str) -> str:
    lines = [PREAMBLE]
    names: set[str] = set()
    heading = ""
    for number, line in enumerate(header.splitlines(), start=1):
        if match := SECTION.match(line):
            heading = f"\n# {match['title']}"
        if not (match := DEFINE.match(line)) or match["name"] in IGNORED:
            continue
        name, value = match["name"], translate(COMMENT.sub("", match["value"]).strip())
        if not name.startswith("SPARGIO_") or name in names or value is None:
            raise SystemExit(f"{HEADER.name}:{number}: not a constant that I know: {line}")
        if heading:
            lines.append(heading)
            heading = ""
        names.add(name)
        lines.append(f"{name.removeprefix('SPARGIO_')}: Final = {value}")
    if not names:
        raise SystemExit(f"{HEADER.name}: no constants found")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = generate(HEADER.read_text())
    if not arguments:
        OUTPUT.parent.mkdir(exist_ok=True)
        OUTPUT.write_text(text)
    elif not OUTPUT.exists() or OUTPUT.read_text() != text:
        print(f"{OUTPUT.relative_to(ROOT)} is stale: run python tools/generate_constants.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
