"""Draws a trace file (Chrome's trace events, of `spargio trace`) as a small SVG: a row per shard
with its polls and parks, arrows from a spawn or a wake-up to the poll that follows.

    python tools/trace_svg.py trace.json trace.svg [MILLISECONDS [FROM]]
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LEFT, ROW, TOP = 760, 92, 46, 34
COLORS = ("#2563eb", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d")
ARROWS = {"spawn": "#dc2626", "wake": "#6b7280", "doorbell": "#111827"}
ARROWS_MOST = 40


def draw(found: dict[str, Any], milliseconds: float = 5.0, begin: float = 0.0) -> str:
    """From `begin` ms after the first event on."""
    events = [
        one
        for one in found["traceEvents"]
        if one["ph"] != "M" and begin * 1000 <= one["ts"] < (begin + milliseconds) * 1000
    ]
    names = {
        one["tid"]: one["args"]["name"]
        for one in found["traceEvents"]
        if one["ph"] == "M" and one["name"] == "thread_name"
    }
    used = {one["tid"] for one in events}
    rows = {tid: n for n, tid in enumerate(sorted(used))}
    height = TOP + ROW * len(rows) + 46
    scale = (WIDTH - LEFT - 10) / (milliseconds * 1000)

    def x(ts: float) -> float:
        return LEFT + (ts - begin * 1000) * scale

    out = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="white"/>'
        '<defs><marker id="end" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" '
        'markerHeight="5" orient="auto"><path d="M0,0 L6,3 L0,6 z"/></marker></defs>'
        f'<text x="{LEFT}" y="18" font-size="13">Trace of {len(rows)} tracks, '
        f"{milliseconds:g} ms</text>"
    ]
    for tid, n in rows.items():
        out.append(f'<text x="8" y="{TOP + ROW * n + 20}">{escape(names.get(tid, "?"))}</text>')
    colors: dict[str, str] = {}
    for one in events:
        if one["ph"] == "X":
            out.append(_slice(one, x(one["ts"]), scale, TOP + ROW * rows[one["tid"]], colors))
    out += _arrows(events, rows, x)
    for n in range(6):
        at = begin + milliseconds * n / 5
        out.append(
            f'<text x="{x(at * 1000):.0f}" y="{height - 26}" text-anchor="middle" '
            f'fill="#6b7280">{at - begin:.2g} ms</text>'
        )
    for n, (name, color) in enumerate(list(colors.items())[:5]):
        out.append(
            f'<text x="{LEFT + 130 * n}" y="{height - 8}" fill="{color}">\u25ac '
            f"{escape(name[:20])}</text>"
        )
    return "".join(out) + "</svg>\n"


def _slice(one: dict[str, Any], at: float, scale: float, top: float, colors: dict[str, str]) -> str:
    wide = min(max(one["dur"] * scale, 0.6), WIDTH - 10 - at)
    title = f"<title>{escape(one['name'])}: {one['dur']:g} us</title>"
    if one["name"] == "parked":
        place = f'x="{at:.1f}" y="{top + 14:.0f}" width="{wide:.1f}" height="8" fill="#e5e7eb"'
    elif "ends" in one["args"]:
        color = colors.setdefault(one["name"], COLORS[len(colors) % len(COLORS)])
        place = f'x="{at:.1f}" y="{top + 6:.0f}" width="{wide:.1f}" height="24" fill="{color}"'
    else:
        return ""
    return f"<rect {place}>{title}</rect>"


def _arrows(events: list[dict[str, Any]], rows: dict[int, int], x: Any) -> list[str]:
    """Those whose both ends are in the picture, and not in the same place."""
    begun: dict[tuple[str, int], dict[str, Any]] = {}
    found = []
    for one in events:
        if one["ph"] == "s":
            begun[one["cat"], one["id"]] = one
        if one["ph"] not in ("t", "f") or (one["cat"], one["id"]) not in begun:
            continue
        first = begun[one["cat"], one["id"]]
        if one["ph"] == "t":
            begun[one["cat"], one["id"]] = one
        if rows[first["tid"]] == rows[one["tid"]] and x(one["ts"]) - x(first["ts"]) < 14:
            continue
        y1, y2 = (TOP + ROW * rows[end["tid"]] + 18 for end in (first, one))
        x1, x2 = x(first["ts"]), x(one["ts"])
        bend = 26 if y1 == y2 else 0
        found.append(
            f'<path d="M{x1:.1f},{y1} Q{(x1 + x2) / 2:.1f},{(y1 + y2) / 2 - bend:.0f} '
            f'{x2:.1f},{y2}" fill="none" stroke="{ARROWS[one["cat"]]}" marker-end="url(#end)"/>'
        )
    return found[:ARROWS_MOST]


if __name__ == "__main__":
    numbers = [float(word) for word in sys.argv[3:]]
    Path(sys.argv[2]).write_text(draw(json.loads(Path(sys.argv[1]).read_text()), *numbers))
