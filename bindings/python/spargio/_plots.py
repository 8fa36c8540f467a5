"""Plots as inline SVG, for reports that are one file. Only the writing of a report loads this."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .latency import Latencies

__all__ = ("heat_map", "line_chart", "percentile_plot")

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 30, 40
COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")
_NINES = tuple(enumerate(("0%", "90%", "99%", "99.9%", "99.99%", "99.999%")))


def percentile_plot(series: Mapping[str, Latencies], title: str = "Latency by percentile") -> str:
    """On HdrHistogram's axis: each step to the right has a tenth of the operations above it."""
    lines: dict[str, Points] = {}
    nines = 1.0
    for name, latencies in series.items():
        points = []
        for percent, ns in latencies.distribution():
            # The last bucket is everything: it stands where its last operation is.
            left = max(1 - percent / 100, 0.5 / latencies.count)
            points.append((-math.log10(left), ns / 1e6))
        if points:
            nines = max(nines, points[-1][0])
        lines[name] = [(0.0, points[0][1]), *points] if points else []
    marks = [(at, text) for at, text in _NINES if at <= nines + 0.05]
    return line_chart(lines, title, "ms", x_marks=marks, x_range=(0.0, nines), log=True)


def line_chart(
    series: Mapping[str, Points],
    title: str,
    unit: str,
    *,
    x_marks: Sequence[tuple[float, str]] | None = None,
    x_range: tuple[float, float] | None = None,
    log: bool = False,
) -> str:
    """Lines over one axis; without `x_marks` the axis is seconds."""
    every = [point for points in series.values() for point in points]
    if not every:
        return ""
    low_x, high_x = x_range or (0.0, max(x for x, _ in every) or 1.0)
    ys = [y for _, y in every if y > 0 or not log] or [1.0]
    low_y, high_y = (10 ** math.floor(math.log10(min(ys))), max(ys)) if log else (0.0, max(ys))
    if high_y <= low_y:
        high_y = low_y * 10 if log else low_y + 1

    def place(x: float, y: float) -> tuple[float, float]:
        if log:
            part = math.log(max(y, low_y) / low_y) / math.log(high_y / low_y)
        else:
            part = (y - low_y) / (high_y - low_y)
        across = (x - low_x) / (high_x - low_x) if high_x > low_x else 0.0
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM),
        )

    out = [_open(title, HEIGHT)]
    for y in _marks(low_y, high_y, log):
        at = place(low_x, y)[1]
        out.append(_line(LEFT, at, WIDTH - RIGHT, at, "#e5e7eb"))
        out.append(_text(LEFT - 6, at + 4, f"{y:g} {unit}", "end"))
    for x, text in x_marks or [(x, f"{x:g} s") for x in _marks(low_x, high_x, False)]:
        at = place(x, low_y)[0]
        out.append(_line(at, TOP, at, HEIGHT - BOTTOM, "#f3f4f6"))
        out.append(_text(at, HEIGHT - BOTTOM + 16, text, "middle"))
    for n, (name, points) in enumerate(series.items()):
        color = COLORS[n % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        out.append(_text(LEFT + 130 * n, HEIGHT - 6, f"\u25ac {name}", "start", color))
    return "".join(out) + "</svg>"


def heat_map(rows: Mapping[str, Points], title: str) -> str:
    """One row per name; a value from 0 to 1 is the darkness of its cell, which ends at its x."""
    end = max((x for points in rows.values() for x, _ in points), default=0.0)
    if not end:
        return ""
    height = TOP + 20 * len(rows) + BOTTOM
    out = [_open(title, height)]
    scale = (WIDTH - LEFT - RIGHT) / end
    for n, (name, points) in enumerate(rows.items()):
        y = TOP + 20 * n
        out.append(_text(LEFT - 6, y + 14, name, "end"))
        begin = 0.0
        for x, value in points:
            shade = min(max(value, 0.0), 1.0)
            out.append(
                f'<rect x="{LEFT + begin * scale:.1f}" y="{y}" height="18" '
                f'width="{max((x - begin) * scale - 0.5, 0.5):.1f}" fill="#b91c1c" '
                f'fill-opacity="{shade:.2f}"><title>{x:.1f} s: {value:.0%}</title></rect>'
            )
            begin = x
    for x in _marks(0.0, end, False):
        out.append(_text(LEFT + x * scale, height - BOTTOM + 16, f"{x:g} s", "middle"))
    return "".join(out) + "</svg>"


def _marks(low: float, high: float, log: bool) -> list[float]:
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        return [10.0**n for n in range(first, last + 1) if low <= 10.0**n <= high * 1.0001]
    raw = (high - low) / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    return [low + step * n for n in range(int((high - low) / step + 1e-9) + 1)]


def _open(title: str, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="11">'
        '<rect width="100%" height="100%" fill="white"/>'
        + _text(LEFT, 18, title, "start", "#111", 14)
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(
    x: float, y: float, text: str, anchor: str, color: str = "#374151", size: int = 11
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
        f'font-size="{size}">{escape(text)}</text>'
    )
