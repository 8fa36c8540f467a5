"""A picture for each family of rows: a panel per row and headline figure, a bar per peer, with the
lowest and the highest round as whiskers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from harness import GroupResult, Metric, PeerResult, why_missing

SUBJECT_COLOUR: Final = "#d1495b"
PEER_COLOUR: Final = "#8d99ae"
COLUMNS_MAX: Final = 3
Panel = tuple[GroupResult, Metric]


def missing() -> str | None:
    """Why there will be no plots."""
    return why_missing("matplotlib")


def draw(results: Sequence[GroupResult], folder: Path) -> list[Path]:
    """Writes NAME.png and NAME.svg for each family; gives the PNGs."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    families: dict[str, list[Panel]] = {}
    for result in results:
        if any(peer.status == "measured" for peer in result.peers):
            panels = families.setdefault(result.group.family_name, [])
            panels += [(result, metric) for metric in result.group.headlines]
    return [_draw_family(name, panels, folder) for name, panels in families.items()]


def _draw_family(name: str, panels: list[Panel], folder: Path) -> Path:
    from matplotlib import pyplot

    columns = 1 if len(panels) <= 2 else min(COLUMNS_MAX, len(panels))
    rows = -(-len(panels) // columns)
    tallest = max(len(result.peers) for result, _ in panels)
    size = (8.5 if columns == 1 else 6.5 * columns, rows * (1.2 + 0.32 * tallest))
    figure, axes = pyplot.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    flat = list(axes.flat)
    for axis, (result, metric) in zip(flat, panels, strict=False):
        _draw_panel(axis, result, metric)
    for axis in flat[len(panels) :]:
        axis.set_visible(False)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(figure)
    return path


def _draw_panel(axis: Any, result: GroupResult, metric: Metric) -> None:
    measured = [peer for peer in result.peers if peer.status == "measured"]
    values = [peer.median(metric.key) or 0.0 for peer in measured]
    colours = [
        SUBJECT_COLOUR if peer.name == result.group.subject else PEER_COLOUR for peer in measured
    ]
    places = range(len(measured))
    whiskers = [_whisker(peer, metric) for peer in measured]
    axis.barh(places, values, color=colours, xerr=list(zip(*whiskers, strict=True)))
    axis.set_yticks(places, [peer.name for peer in measured])
    axis.invert_yaxis()
    room = max((value + up for value, (_, up) in zip(values, whiskers, strict=True)), default=0)
    for place, value, (_, up) in zip(places, values, whiskers, strict=True):
        axis.text(
            value + up + room * 0.01, place, f"{value:,.{metric.digits}f}", va="center", fontsize=8
        )
    axis.set_xlim(0, room * 1.15 or 1)
    title = " ".join(metric.title.split())
    axis.set_title(f"{result.group.title}\n{title}", fontsize=9)
    unit = metric.unit or title
    axis.set_xlabel(f"{unit} ({metric.better} is better)", fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)


def _whisker(peer: PeerResult, metric: Metric) -> tuple[float, float]:
    median = peer.median(metric.key) or 0.0
    values = peer.values(metric.key)
    return median - min(values), max(values) - median
