"""Loads: arrivals and choices by themselves, targets of each kind, what a report says."""

from __future__ import annotations

import contextlib
import http.server
import json
import math
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import cast

import pytest
import support

import spargio
from spargio import workload
from spargio.latency import Latencies
from spargio.workload import _source, _targets

SHAPES = [
    workload.Constant(200),
    workload.Poisson(200),
    workload.Bursts(100, 20, 0.2),
    workload.Ramp(100, 300, 10),
    workload.Replay([5.0 + n / 200 for n in range(2001)]),
]


def count_in(arrivals: workload.Arrivals, seconds: float, seed: int = 1) -> int:
    count = 0
    for at in arrivals.times(Random(seed)):
        if at >= seconds:
            break
        count += 1
    return count


@pytest.mark.parametrize("arrivals", SHAPES, ids=lambda one: one.kind)
def test_arrivals_have_their_rate_and_the_same_seed_gives_the_same(
    arrivals: workload.Arrivals,
) -> None:
    assert arrivals.rate == pytest.approx(200, rel=0.01)
    assert count_in(arrivals, 10) == pytest.approx(2000, rel=0.1)
    times = list(islice(arrivals.times(Random(7)), 500))
    assert times == sorted(times) == list(islice(arrivals.times(Random(7)), 500))
    twice = arrivals.scaled(400)
    assert twice.rate == pytest.approx(400, rel=0.01)
    assert count_in(twice, 10 if arrivals.kind == "ramp" else 5) == pytest.approx(
        4000 if arrivals.kind == "ramp" else 2000, rel=0.1
    )
    again = workload._arrivals.arrivals_of(json.loads(json.dumps(arrivals.spec())))
    assert list(islice(again.times(Random(7)), 500)) == times


def test_poisson_pauses_are_exponential() -> None:
    times = list(islice(workload.Poisson(100).times(Random(3)), 20_000))
    pauses = [after - before for before, after in pairwise(times)]
    mean = sum(pauses) / len(pauses)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in pauses) / len(pauses))
    assert mean == pytest.approx(0.01, rel=0.03)
    assert deviation == pytest.approx(mean, rel=0.05)
    assert sum(one > mean for one in pauses) / len(pauses) == pytest.approx(1 / math.e, rel=0.05)


def test_bursts_come_at_once() -> None:
    times = list(islice(workload.Bursts(1, 50, 2.0).times(Random(1)), 300))
    assert Counter(times)[2.0] == Counter(times)[4.0] == 50


def test_a_replay_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("# seconds, what\n10.0 get\n\n10.5,put\n12.0\n")
    replay = workload.Replay.from_file(path, speed=2)
    assert list(replay.times(Random(1))) == [0.0, 0.25, 1.0]
    path.write_text("1.0\nx\n")
    with pytest.raises(ValueError, match="times:2 must begin with a number of seconds, got 'x'"):
        workload.Replay.from_file(path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: workload.Constant(0),
        lambda: workload.Poisson(float("nan")),
        lambda: workload.Bursts(1, 1, 1, 2),
        lambda: workload.Replay([]),
        lambda: workload.Closed(-1),
        lambda: workload.Mix({}),
        lambda: workload.Fixed(0),
        lambda: workload.Zipf(0),
        lambda: workload.HotSet(10, hot=2),
        lambda: workload.Empirical([]),
        lambda: workload.UniformSizes(5, 4),
        lambda: workload.Load("nonsense", 1),
        lambda: workload.Load("http://", 1),
        lambda: workload.Load("spargio:nothing", 1),
        lambda: workload.Load(nothing, 1, connections=0),
        lambda: workload.Load(nothing, 1, window=0),
        lambda: workload.Load.from_spec({"target": "dir:/etc"}),
        lambda: workload.Load.from_spec({"target": "dir:/etc", "arrivals": 1, "sise": 2}),
        lambda: workload.Load.from_spec({"target": "dir:/etc", "arrivals": {"kind": "steady"}}),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: object) -> None:
    with pytest.raises(ValueError, match=r"must|needs|has"):
        make()  # type: ignore[operator]


def test_sizes_and_keys_follow_their_distributions() -> None:
    random = Random(5)
    popular = workload.Zipf(1000, 1.0)
    zipf = Counter(popular.draw(random) for _ in range(50_000))
    assert zipf[0] / zipf[9] == pytest.approx(10, rel=0.2)
    hot = [workload.HotSet(1000, 0.01, 0.9).draw(random) for _ in range(10_000)]
    assert sum(key < 10 for key in hot) / len(hot) == pytest.approx(0.9, abs=0.02)
    assert {workload.UniformKeys(3).draw(random) for _ in range(100)} == {0, 1, 2}
    sizes = sorted(workload.LogNormal(1000, 1.0).draw(random) for _ in range(10_001))
    assert sizes[5000] == pytest.approx(1000, rel=0.1)
    assert sizes[8413] == pytest.approx(2718, rel=0.1)
    drawn = Counter(workload.Empirical([1, 1, 1, 7]).draw(random) for _ in range(4000))
    assert drawn[1] / drawn[7] == pytest.approx(3, rel=0.15)
    names = Counter(workload.Mix({"get": 9, "put": 1}).draw(random) for _ in range(10_000))
    assert names["get"] / 10_000 == pytest.approx(0.9, abs=0.02)


async def nothing() -> None:
    pass


def sequence(load: workload.Load) -> list[_targets.Operation]:
    sources = [_source.Source(load, 0, part) for part in range(load.shards)]
    found: list[_targets.Operation] = []
    for source in sources:
        while (operation := source.take(0)) is not None:
            found.append(operation)
    return sorted(found)


def test_the_same_seed_gives_the_same_operations_on_any_number_of_shards() -> None:
    load = workload.Load(
        nothing,
        workload.Poisson(1000),
        duration=1,
        mix={"a": 1, "b": 2},
        sizes=workload.LogNormal(100),
        keys=workload.Zipf(50),
        seed=3,
    )
    first = sequence(load)
    assert first == sequence(load.changed(shards=3))
    assert first != sequence(load.changed(seed=4))
    assert [one.number for one in first] == list(range(len(first)))
    again = workload.Load.from_spec({**load.spec(), "target": "dir:/etc"})
    assert sequence(again) == first


def test_connections_by_a_distribution_of_their_own() -> None:
    keys = workload.HotSet(4, hot=0.25, share=0.7)
    load = workload.Load(nothing, 1000, duration=1, connections=4, connection_keys=keys)
    source = _source.Source(load, 0)
    hot = 0
    while source.take(0) is not None:
        hot += 1
    assert hot == pytest.approx(700, abs=60)
    assert len(list(source.rest())) == 1000 - hot
    with pytest.raises(ValueError, match="must have 5 keys, one per connection, got 4"):
        load.changed(connections=5)


# ---- loads that run ----


@contextlib.contextmanager
def echo_server(stall: float = 0.0, every: float = 0.0) -> Iterator[int]:
    """On one thread, which stalls for `stall` of each `every` seconds with all its connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop_reader, stop_writer = socket.socketpair()
    thread = threading.Thread(target=serve_echo, args=(listener, stop_reader, stall, every))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop_writer.close()
        thread.join(support.LIMIT_S)
        listener.close()
        stop_reader.close()


def serve_echo(listener: socket.socket, stop: socket.socket, stall: float, every: float) -> None:
    began = time.monotonic()
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(stop, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is stop:
                    for other in list(ready.get_map().values()):
                        if other.fileobj not in (stop, listener):
                            other.fileobj.close()  # type: ignore[union-attr]
                    return
                if key.fileobj is listener:
                    ready.register(listener.accept()[0], selectors.EVENT_READ)
                    continue
                peer = cast("socket.socket", key.fileobj)
                if data := peer.recv(65536):
                    peer.sendall(data)
                else:
                    ready.unregister(peer)
                    peer.close()
            if stall and (time.monotonic() - began) % every > every - stall:
                time.sleep(stall)


def test_tcp_echo_of_small_and_large_payloads() -> None:
    with echo_server() as port:
        load = workload.Load(
            f"tcp://127.0.0.1:{port}",
            workload.Poisson(300),
            duration=0.5,
            window=0.1,
            connections=4,
            sizes=workload.Empirical([10, 1000, 200_000]),
            mix={"small": 1, "other": 1},
        )
        lines: list[str] = []
        report = load.run(lines.append)
    expected = sequence(load)
    assert report.offered == report.latency.count == report.latency.ok == len(expected)
    assert report.latency.bytes == 2 * sum(one.size for one in expected)
    assert {name: one.count for name, one in report.by_operation.items()} == Counter(
        one.name for one in expected
    )
    assert sum(one.latency.count for one in report.windows) == report.latency.count
    assert len(lines) == 5
    assert all("p99" in line for line in lines)
    assert report.late.count == len(expected)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"4\r\nspar\r\n3;x=y\r\ngio\r\n0\r\n\r\n")
        elif self.path == "/closes":
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"ok")
        else:
            status = 503 if self.path.endswith("/3") else 200
            self.send_response(status)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def http_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_http() -> None:
    with http_server() as url:
        load = workload.Load(f"{url}/item/{{key}}", 100, duration=0.5, connections=2, keys=4)
        report = load.run()
        keys = Counter(one.key for one in sequence(load))
        assert report.latency.errors == {"HTTP 503": keys[3]}
        assert report.latency.ok == 50 - keys[3]
        chunked = load.changed(target=workload.Http(f"{url}/chunked")).run()
        assert chunked.latency.ok == 50
        # Each answer ends its connection: a failure of its kind, and the load goes on.
        closes = load.changed(target=workload.Http(f"{url}/closes")).run()
        assert closes.latency.errors == {"ConnectionResetError": 50}


def test_files_of_a_folder(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"file{n}").write_bytes(b"x" * 100 * (n + 1))
    load = workload.Load(f"dir:{tmp_path}", 200, duration=0.2, keys=5)
    report = load.run()
    assert report.latency.bytes == sum(100 * (one.key + 1) for one in sequence(load))


called: list[_targets.Operation] = []


async def with_operation(operation: _targets.Operation) -> int:
    called.append(operation)
    if operation.number % 10 == 0:
        raise ValueError("one in ten")
    if operation.number % 10 == 1:
        await spargio.sleep(60)
    return 3


def test_a_function_and_its_outcomes() -> None:
    called.clear()
    load = workload.Load(
        with_operation, workload.Constant(100), duration=0.5, warmup=0.1, timeout=0.05
    )
    report = load.run()
    assert len(called) == report.offered == 60
    assert report.latency.count == 50
    assert report.latency.errors == {"ValueError": 5}
    assert report.latency.timeout == 5
    assert report.latency.bytes == 40 * 3
    assert report.latency.max_ns >= 50_000_000
    assert "5 timeout, 5 ValueError" in report.text()


def test_what_never_ends_is_counted_with_the_time_that_it_took() -> None:
    async def never() -> None:
        await spargio.sleep(1000)

    report = workload.Load(never, 100, duration=0.3, connections=3, drain=0.1).run()
    assert report.latency.count == report.latency.timeout == 30
    assert report.unstarted == 27
    assert report.latency.max_ns >= 300_000_000
    assert any("27 arrivals found no free connection" in one for one in report.warnings)


def test_connections_that_cannot_be_made() -> None:
    with pytest.raises(ConnectionRefusedError):
        workload.Load("tcp://127.0.0.1:1", 10, duration=1).run()


def test_rounds_on_the_same_connections() -> None:
    async def main() -> list[workload.LoadReport]:
        load = workload.Load(nothing, 200, duration=0.1)
        async with workload.Generator(load) as generator:
            return [await generator.round(seed=seed) for seed in (1, 2)]

    first, second = spargio.run(main, shards=1)
    assert first.latency.count == second.latency.count == 20


def test_a_load_that_is_the_limit_says_so() -> None:
    async def burn() -> None:
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass

    report = workload.Load(burn, 1000, duration=0.8, connections=4, drain=0.1).run()
    assert any("the load itself was the limit" in one for one in report.warnings)
    assert report.busy_share >= 0.9
    late = Latencies.of([5_000_000] * 10 + [1000] * 90)
    values = {**report.to_dict(), "cpu_seconds": report.seconds, "cpu_limit": 1.0}
    busy = workload.LoadReport.from_dict({**values, "late": late.as_dict()})
    words = "\n".join(busy.warnings)
    assert "the load itself was the limit: it took 100% of the 1 CPU" in words
    assert "began 10.0% of its operations more than 1 ms late" in words


def test_a_load_that_is_not_does_not() -> None:
    report = workload.Load(nothing, 20, duration=0.3).run()
    assert not any("the load itself was the limit" in one for one in report.warnings)


def test_a_report_survives_json_and_has_its_plots(tmp_path: Path) -> None:
    report = workload.Load(nothing, 200, duration=0.3, window=0.1, mix={"<b>": 1, "c": 1}).run()
    report.write_json(tmp_path / "report.json")
    values = json.loads((tmp_path / "report.json").read_text())
    assert workload.LoadReport.from_dict(values).to_dict() == report.to_dict()
    report.write_html(tmp_path / "report.html", "A <title>")
    page = (tmp_path / "report.html").read_text()
    assert "<b>" not in page
    assert "A &lt;title&gt;" in page
    for words in ("Latency by percentile", "Throughput", "Latency over time", "99%"):
        assert words in page
    assert page.count("<svg") == page.count("</svg>") >= 4


def fake_step(knee: float, p99_ns: int = 100_000) -> object:
    """A server whose latency is as on paper."""

    def carry_out(load: workload.Load) -> workload.LoadReport:
        slow = load.arrivals.rate > knee
        latency = Latencies.of([p99_ns * (1000 if slow else 1)] * 1000)
        return workload.LoadReport(
            load.spec(), {}, 1.0, 1000, 0, latency, {}, Latencies.of([1]), [], 0.1, 1.0
        )

    return carry_out


@pytest.mark.parametrize("knee", [150, 5_000, 73_000])
def test_the_knee_is_found(knee: float) -> None:
    load = workload.Load(nothing, workload.Poisson(1))
    found = workload.find_knee(load, 100, run=fake_step(knee))  # type: ignore[arg-type]
    assert knee * 0.9 <= found.rate <= knee
    assert found.limited_by == "p99"
    assert len({step[1].spec["seed"] for step in found.steps}) == len(found.steps)
    assert found.steps[0][1].spec["arrivals"]["kind"] == "poisson"


def test_a_knee_below_the_first_step_and_none_at_all() -> None:
    load = workload.Load(nothing, 1)
    below = workload.find_knee(load, 1000, p99_limit=0.001, run=fake_step(130))  # type: ignore[arg-type]
    assert 120 <= below.rate <= 130
    above = workload.find_knee(load, 100, max_rate=900, run=fake_step(1e9))  # type: ignore[arg-type]
    assert (above.rate, above.limited_by) == (900, "max_rate")
