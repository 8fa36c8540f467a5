"""Writes what follows from the table of counters, tools/counters.py:

stats.zig under zig-src              the fields of the three structs
docs/stats.cddl                      the three groups of keys
docs/counters.md                     the table for readers
include/spargio_counters.h           the keys as macros, for C programs that read a snapshot
bindings/python/spargio/_counters.py the attributes of a snapshot, for people and type checkers

python tools/generate_counters.py [--check]
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from counters import GROUPS, Counter, Group

ROOT = Path(__file__).resolve().parent.parent
STATS_ZIG = ROOT / "zig-src/scheduler/stats.zig"
NOTE = "Written by tools/generate_counters.py from tools/counters.py: do not edit."


def replace(text: str, pattern: str, body: str, what: str) -> str:
    """The lines between the two ends that `pattern` has as groups."""
    found = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise SystemExit(f"{what} is missing")
    return text[: found.end(1)] + body + text[found.start(2) :]


def zig(text: str) -> str:
    for group in GROUPS:
        fields = "".join(
            f"    {one.name}: Counter = .{{}},\n"
            for one in group.counters
            if one.name not in group.computed
        )
        pattern = rf"(^pub const {group.struct} = struct \{{\n).*?(^\}};)"
        text = replace(text, pattern, fields, f"struct {group.struct} of stats.zig")
    return text


def cddl(text: str) -> str:
    for group in GROUPS:
        lines = "".join(f"{line}\n" for one in group.counters for line in cddl_lines(one))
        if group.name == "spawn-counters":
            lines += (
                "  ring_msgs_failed_by_errno: "
                "{ * uint => uint },  ; errno to count; key 0: any other errno\n"
            )
        pattern = rf"(^{group.name} = \(\n).*?(^\))"
        text = replace(text, pattern, lines, f"group {group.name} of stats.cddl")
    return text


def cddl_lines(one: Counter) -> Iterator[str]:
    first, *rest = textwrap.wrap(one.what, 72)
    yield f"  {one.name}: uint,".ljust(42) + f"; {first}"
    for line in rest:
        yield " " * 42 + f"; {line}"


def markdown() -> str:
    parts = [
        "# Counters\n",
        f"<!-- {NOTE} -->\n",
        "Every number of a statistics snapshot. The name is the key of the CBOR map\n"
        "([stats.cddl](stats.cddl)), the attribute in Python (`handle.stats_snapshot().polls`,\n"
        "`snapshot.shards[0].polls`) and, in capitals, the macro of `spargio_counters.h`\n"
        "(`SPARGIO_COUNTER_POLLS`). Counters only grow: take two snapshots and subtract.\n"
        "[tuning.md](tuning.md) says what to do about them.\n",
    ]
    for group in GROUPS:
        rows = [
            f"| `{one.name}` | {one.kind} | {one.unit} | {one.what} |" for one in group.counters
        ]
        head = [f"\n## {group.struct}\n", f"{group.intro}\n"]
        parts += [*head, "| name | kind | unit | what |", "|---|---|---|---|", *rows]
    return "\n".join(parts) + "\n"


def c_header() -> str:
    lines = [
        "/*",
        " * The keys of a statistics snapshot (spargio_stats_cbor) as macros: a misspelt name does",
        " * not compile. docs/counters.md says what each counts.",
        " *",
        f" * {NOTE}",
        " */",
        "#ifndef SPARGIO_COUNTERS_H",
        "#define SPARGIO_COUNTERS_H",
    ]
    for group in GROUPS:
        lines += ["", f"/* {group.intro} */"]
        lines += [
            f'#define SPARGIO_COUNTER_{one.name.upper()} "{one.name}"' for one in group.counters
        ]
    return "\n".join([*lines, "", "#endif"]) + "\n"


def python() -> str:
    lines = [
        '"""The counters of a snapshot, as attributes that type checkers and readers know.',
        "",
        f'{NOTE}"""',
        "",
        "from __future__ import annotations",
        "",
    ]
    for group in GROUPS:
        lines += python_class(group)
    kinds = {"GAUGES": "gauge", "MAXIMA": "maximum"}
    for name, kind in kinds.items():
        chosen = [one.name for group in GROUPS for one in group.counters if one.kind == kind]
        lines += ["", f"{name} = frozenset(", "    {", *(f'        "{one}",' for one in chosen)]
        lines += ["    }", ")"]
    return "\n".join(lines) + "\n"


def python_class(group: Group) -> list[str]:
    lines = ["", f"class {group.struct}:", f'    """{group.intro}"""', ""]
    for one in group.counters:
        unit = ", in nanoseconds" if one.unit == "ns" else ""
        words = textwrap.wrap(f"{one.what[0].upper()}{one.what[1:]}{unit}.", 88)
        lines.append(f"    {one.name}: int")
        if len(words) == 1:
            lines.append(f'    """{words[0]}"""')
        else:
            lines += [f'    """{words[0]}', *(f"    {line}" for line in words[1:-1])]
            lines.append(f'    {words[-1]}"""')
    if group.name == "spawn-counters":
        lines.append("    ring_msgs_failed_by_errno: dict[int, int]")
        lines.append(
            '    """What the kernel refused, by errno; 0 stands for every other number."""'
        )
    return [*lines, ""]


def outputs() -> dict[Path, str]:
    schema = ROOT / "docs/stats.cddl"
    return {
        STATS_ZIG: zig(STATS_ZIG.read_text()),
        schema: cddl(schema.read_text()),
        ROOT / "docs/counters.md": markdown(),
        ROOT / "include/spargio_counters.h": c_header(),
        ROOT / "bindings/python/spargio/_counters.py": python(),
    }


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    stale = {
        path: text
        for path, text in outputs().items()
        if not path.exists() or path.read_text() != text
    }
    for path, text in stale.items():
        if arguments:
            name = path.relative_to(ROOT)
            print(f"{name} is stale: run python tools/generate_counters.py")
        else:
            path.write_text(text)
    return int(bool(arguments and stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
