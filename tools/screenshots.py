"""Makes the pictures of the docs from a program that runs: `spargio top`, `ps`, a load's report
and a trace, as SVG.

    python tools/screenshots.py [FOLDER]        # default: docs/images
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from trace_svg import draw

from spargio import monitor, trace, workload
from spargio._cli import ps, top

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs/images"
WINDOW_MS = 6.0
NAMES = ("top.svg", "ps.svg", "report.svg", "trace.svg")

SERVER = """
import spargio
from spargio import net
from spargio.latency import Recorder

requests = Recorder("requests")

def compute(size):
    return sum(n * n for n in range(size * 8))

async def hash_payload(size):
    return compute(size)

async def answer(handle, stream):
    async with stream:
        while data := await stream.recv(65536):
            with requests.time():
                await handle.spawn_stealable(hash_payload(len(data)))
                await stream.write_all(data)

async def report(lock):
    while True:
        async with lock:
            await spargio.sleep(0.25)

async def main(handle):
    lock = spargio.sync.Lock()
    for n in range(2):
        handle.spawn(report(lock), name=f"report {n}")
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    print(listener.local_addr[1], flush=True)
    turn = 0
    while True:
        stream, _ = await listener.accept()
        turn += 1
        handle.spawn_pinned(turn % 2, answer(handle, stream), name=f"connection {turn}")

spargio.run(main, shards=2, monitor=True)
"""


@contextmanager
def server() -> Iterator[tuple[int, int]]:
    """Its PID and port."""
    command = [sys.executable, "-c", SERVER]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def picture(what: RenderableType, title: str, width: int = 84) -> str:
    """Of a terminal. Without the fonts that rich would load from the network."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(what)
    svg = console.export_svg(title=title, theme=DEFAULT_TERMINAL_THEME, unique_id="spargio")
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return re.sub(r"[ \t]+\n", "\n", re.sub(r"font-family: Fira Code, ", "font-family: ", svg))


def stacked(plots: list[str]) -> str:
    """Plots of a report, one below the other."""
    heights = [int(found[1]) for plot in plots if (found := re.search(r' height="(\d+)"', plot))]
    parts, y = [], 0
    for plot, height in zip(plots, heights, strict=True):
        parts.append(plot.replace("<svg ", f'<svg y="{y}" ', 1))
        y += height + 8
    whole = f'<svg viewBox="0 0 720 {y}" width="720" height="{y}" '
    return whole + 'xmlns="http://www.w3.org/2000/svg">' + "".join(parts) + "</svg>\n"


def liveliest(found: dict[str, Any]) -> float:
    """Where, in ms, the most tasks run on the most shards."""
    runs = [
        one for one in found["traceEvents"] if one["ph"] == "X" and one["name"] == "hash_payload"
    ]

    def score(begin: float) -> tuple[int, int]:
        seen = [one["tid"] for one in runs if 0 <= one["ts"] - begin < WINDOW_MS * 900]
        return len(set(seen)), len(seen)

    best = max((one["ts"] for one in runs), key=score)
    return max(best / 1000 - 0.3, 0.0)


def make(folder: Path, seconds: float = 6.0) -> None:
    """All of them, in `folder`."""
    folder.mkdir(exist_ok=True)
    with server() as (pid, port), tempfile.TemporaryDirectory() as scratch:
        load = workload.Load(
            f"tcp://127.0.0.1:{port}",
            workload.Bursts(base_rate=300, size=20, every=0.5),
            duration=seconds,
            connections=6,
            sizes=workload.LogNormal(800),
            window=0.5,
        )
        spec = Path(scratch, "spec.json")
        spec.write_text(json.dumps(load.spec()))
        report = Path(scratch, "report.json")
        words = [
            "load",
            "--spec",
            str(spec),
            "--quiet",
            "--server",
            str(pid),
            "--json",
            str(report),
        ]
        running = subprocess.Popen(
            [sys.executable, "-m", "spargio", *words], stdout=subprocess.DEVNULL
        )
        time.sleep(seconds / 3)
        before = monitor.read_stats(pid)
        time.sleep(1.0)
        now = monitor.read_stats(pid)
        name = str(pid)
        shown = top.view("4711", now, now - before, top.oldest(name))
        (folder / "top.svg").write_text(picture(shown, "spargio top"))
        tasks = sorted(monitor.read_tasks(name), key=lambda one: (one["shard"], -one["age"]))
        (folder / "ps.svg").write_text(
            picture("\n".join(ps.lines(tasks, stacks=False)), "spargio ps")
        )
        found = json.loads(trace.of_process(pid, 0.6))
        running.wait()
        (folder / "trace.svg").write_text(draw(found, WINDOW_MS, liveliest(found)))
        made = workload.LoadReport.from_dict(json.loads(report.read_text()))
        made.write_html(Path(scratch, "report.html"))
        page = Path(scratch, "report.html").read_text()
        plots = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        kept = [
            plot
            for plot in plots
            if "percentile" in plot or "over time" in plot or "server" in plot
        ]
        (folder / "report.svg").write_text(stacked(kept))


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
