"""The demo's service and its client: what is stored, what is refused, what breaks; corpus and figures."""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run

import spargio
from spargio import net
from spargio._cli import (
    demo,
    demo_client,
    demo_corpus,
    demo_report,
    demo_senders,
)
from spargio._cli.demo_corpus import scan
from spargio._cli.demo_service import Service
from spargio._cli.demo_wire import HEADER, WireError, check_name

# ---- the service itself ----


@pytest.fixture
def service_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def talk(service: Service, exchange: list[bytes], answers: list[bytes]) -> None:
    """Sends each of `exchange` on a connection of its own, from a thread; collects the answers."""

    def client(port: int) -> None:
        for data in exchange:
            answers.append(_exchange(port, data))

    async def entry(handle: spargio.RuntimeHandle) -> None:
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        acceptor = handle.spawn_pinned(0, service.serve(listener))
        await handle.spawn_blocking(client, listener.local_addr[1])
        acceptor.cancel()
        with pytest.raises(spargio.TaskCancelled):
            await acceptor
        await listener.close()

    spargio.run(entry, shards=2)


def _exchange(port: int, data: bytes) -> bytes:
    """The answer; nothing where the service hung up on what it did not want to read."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(64):
                answer += part
    except OSError as error:
        if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
            raise
    return answer


def request(name: bytes, content: bytes) -> bytes:
    return HEADER.pack(len(content), len(name)) + name + content


def test_service_stores_by_number_and_refuses_bad_names(service_folder: Path) -> None:
    service = Service(service_folder)
    bad = [b"../up", b"/etc/passwd", b"..", b".", b"", b"a\0b", b"n" * 256, b"a/b"]
    answers: list[bytes] = []
    talk(
        service, [request(b"good", b"content")] + [request(name, b"evil") for name in bad], answers
    )
    assert answers == [hashlib.sha256(b"content").digest()] + [b""] * len(bad)
    assert [path.name for path in service_folder.iterdir()] == ["0.bin"]
    assert (service_folder / "0.bin").read_bytes() == b"content"
    assert list(service.stored) == [b"good"]
    assert set(bad) == set(service.problems)


def test_service_acknowledges_nothing_that_is_cut_short(service_folder: Path) -> None:
    service = Service(service_folder)
    answers: list[bytes] = []
    whole = request(b"name", b"content" * 1000)
    cut = [
        whole[:-1],
        whole[: HEADER.size + 2],
        whole[:5],
        b"",
        struct.pack(">QH", 1 << 62, 4) + b"hugeX",
    ]
    talk(service, [*cut, whole], answers)
    assert answers == [b""] * len(cut) + [hashlib.sha256(b"content" * 1000).digest()]
    assert list(service.stored) == [b"name"]


def test_names_on_the_wire() -> None:
    for name in (b"a", b"n" * 255, b"..a", "\u2603".encode()):
        check_name(name)
    for name in (b"", b"n" * 256, b"a/b", b".", b"..", b"\0"):
        with pytest.raises(WireError):
            check_name(name)


def test_service_reports_what_the_disk_says(tmp_path: Path) -> None:
    service = Service(tmp_path / "no-such-folder")
    answers: list[bytes] = []
    talk(service, [request(b"name", b"content")], answers)
    assert answers == [b""]
    assert service.problems[b"name"].startswith("FileNotFoundError")


def test_client_notices_a_wrong_answer(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def liar() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(bytes(32))

        thread = threading.Thread(target=liar)
        thread.start()
        port = server.getsockname()[1]
        task = demo_client.Task("127.0.0.1", port, 1, None, str(tmp_path), [(0, "a", 7)])
        result = demo_client.Senders(task).run()
        thread.join()
    [(index, problem)] = result.failed
    assert index == 0
    assert "the service answered" in problem
    assert result.acknowledged == []


def test_senders_end_with_the_demo(tmp_path: Path) -> None:
    """The demo goes while its senders wait for an answer that never comes."""
    (tmp_path / "a").write_bytes(b"content")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        task = demo_client.Task("127.0.0.1", port, 4, None, str(tmp_path), [(0, "a", 7)])
        with demo_senders.SenderProcess(task) as senders:
            connection, _ = server.accept()
            assert senders.running()
        with connection:
            assert not senders.running()
            while connection.recv(4096):
                pass  # What it sent; then the end, because nobody holds the other side.


def test_demo_says_when_the_senders_broke(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(demo_senders, "_START", "raise SystemExit('no luck')")
    run = Run(capfd, "demo", "--corpus", str(tmp_path), "--shards", "1")
    assert run.code == 1
    assert "the sending process ended with code 1 and said: no luck" in run.err


def test_demo_misses_a_file_that_was_never_sent(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"content")
    real = demo.Task

    def task_without_the_last(*arguments: object) -> demo_client.Task:
        *rest, entries = arguments
        return real(*rest, entries[:-1])

    monkeypatch.setattr(demo, "Task", task_without_the_last)
    run = Run(capfd, "demo", "--corpus", str(tmp_path), "--shards", "1")
    assert run.code == 1
    assert "b: was not sent" in run.out


# ---- corpus and figures ----


def test_default_corpus_is_the_library_bounded() -> None:
    corpus = scan(None, None)
    assert len(corpus.entries) == min(corpus.files_found, demo_corpus.DEFAULT_FILES)
    assert all("site-packages" not in entry.path for entry in corpus.entries)
    paths = [entry.path for entry in corpus.entries]
    assert paths == sorted(paths)
    assert len({entry.wire_name for entry in corpus.entries}) == len(paths)
    assert len(scan(None, 0).entries) == corpus.files_found


def test_percentiles_are_values_that_occurred() -> None:
    values = list(range(1, 101))
    assert [demo_report.percentile(values, p) for p in (50, 95, 99, 100)] == [50, 95, 99, 100]
    assert demo_report.percentile([7], 99) == 7
    assert demo_report.percentile([], 50) == 0
