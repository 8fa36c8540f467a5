"""The `spargio` command: the demo on real files, and the doctor."""

from __future__ import annotations

import dataclasses
import email
import errno
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import spargio
from spargio import net
from spargio._cli import (
    demo,
    demo_check,
    demo_client,
    demo_corpus,
    demo_report,
    demo_senders,
    main,
)
from spargio._cli.demo_corpus import Corpus, scan
from spargio._cli.demo_service import Service, Stored
from spargio._cli.demo_wire import HEADER, WireError, check_name
from spargio._cli.doctor_checks import Finding, diagnose
from spargio._cli.doctor_facts import Facts, gather

JSON_PACKAGE = Path(json.__file__).parent
EMAIL_PACKAGE = Path(email.__file__).parent


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spargio._cli", *arguments]


@pytest.fixture(scope="module")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the standard library, and the shapes that it lacks: empty, large, oddly named."""
    root = tmp_path_factory.mktemp("corpus")
    for package in (JSON_PACKAGE, EMAIL_PACKAGE):
        for source in sorted(package.rglob("*.py")):
            target = root / package.name / source.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (root / "empty").write_bytes(b"")
    (root / "large").write_bytes(
        b"".join(path.read_bytes() for path in sorted(root.rglob("*.py"))) * 3
    )
    (root / "[bold] x \u2603").write_bytes(b"markup")
    (root / "link").symlink_to("large")
    os.mkfifo(root / "pipe")
    with open(os.fsencode(root) + b"/not-utf8-\xff", "wb") as file:
        file.write(b"bytes")
    return root


def sent_files(root: Path) -> int:
    return sum(1 for path in root.rglob("*") if path.is_file() and not path.is_symlink())


class Run:
    """One call of `main` in this process, with what it printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = main(arguments)
        self.out, self.err = capfd.readouterr()


# ---- demo ----


@pytest.mark.parametrize("queue", ["mutex", "lock_free"])
@pytest.mark.parametrize("shards", [1, 2, 4])
def test_demo_verifies_every_file(
    capfd: pytest.CaptureFixture[str], corpus_folder: Path, shards: int, queue: str
) -> None:
    arguments = ("--corpus", str(corpus_folder), "--shards", str(shards), "--queue", queue)
    run = Run(capfd, "demo", *arguments, "--connections", "8", "--json")
    assert run.code == 0, run.err
    report = json.loads(run.out)
    assert report["ok"]
    assert report["failures"] == []
    assert report["files"] == report["corpus"]["files"] == sent_files(corpus_folder)
    assert report["bytes"] == report["corpus"]["bytes"] > 1 << 20
    assert report["queue"] == queue
    assert report["shards"] == shards == len(report["per_shard"])
    stealable = sum(shard["stealable_executed"] for shard in report["per_shard"])
    assert stealable == report["files"] + 1  # One for each connection, and one that accepts.
    assert (
        0
        < report["latency_ms"]["p50"]
        <= report["latency_ms"]["p95"]
        <= report["latency_ms"]["p99"]
    )
    assert all(
        0 <= ratio <= 1 for name, ratio in report["ratios"].items() if name != "stolen_per_scan"
    )
    assert report["files_per_second"] > 0
    assert report["mib_per_second"] > 0


def test_demo_on_an_asyncio_loop(capfd: pytest.CaptureFixture[str], corpus_folder: Path) -> None:
    arguments = ("--corpus", str(corpus_folder), "--connections", "8", "--asyncio", "--json")
    run = Run(capfd, "demo", *arguments)
    assert run.code == 0, run.err
    report = json.loads(run.out)
    assert report["ok"] and report["failures"] == []
    assert (report["loop"], report["shards"]) == ("asyncio", 1)
    assert report["files"] == report["corpus"]["files"] == sent_files(corpus_folder)


def test_demo_prints_all_figures(corpus_folder: Path) -> None:
    done = subprocess.run(
        command("demo", "--corpus", str(corpus_folder), "--shards", "2", "--connections", "4"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for word in ("files/s", "MiB/s", "p50", "p95", "p99", "local_hit_ratio", "stolen_per_scan"):
        assert word in done.stdout
    for word in ("steal_success_rate", "stolen", "doorbells sent"):
        assert word in done.stdout
    assert (
        f"{sent_files(corpus_folder):,} files: every stored file equals its source" in done.stdout
    )
    assert done.stderr == ""  # No progress line without a terminal.
    assert "\x1b" not in done.stdout


def test_demo_repeats_until_the_time_is_over(
    capfd: pytest.CaptureFixture[str], corpus_folder: Path
) -> None:
    run = Run(capfd, "demo", "--corpus", str(corpus_folder), "--seconds", "1.5", "--json")
    assert run.code == 0, run.err
    report = json.loads(run.out)
    assert report["rounds"] >= 2
    assert report["files"] > report["corpus"]["files"]
    assert report["seconds"] < 30


def test_demo_says_when_it_leaves_files_out(
    capfd: pytest.CaptureFixture[str], corpus_folder: Path
) -> None:
    run = Run(capfd, "demo", "--corpus", str(corpus_folder), "--files", "5", "--shards", "1")
    assert run.code == 0, run.err
    assert f"the first 5 of {sent_files(corpus_folder)} files" in run.out


def test_demo_names_a_damaged_file(
    capfd: pytest.CaptureFixture[str], corpus_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit of one stored file is turned over on disk before the check reads it."""
    victim = os.path.join("json", "decoder.py")

    def damage_then_check(corpus: Corpus, stored: dict[bytes, Stored], acknowledged: list[int]):
        entry = next(entry for entry in corpus.entries if entry.path == victim)
        path = stored[entry.wire_name].path
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return demo_check.check_store(corpus, stored, acknowledged)

    monkeypatch.setattr(demo, "check_store", damage_then_check)
    run = Run(capfd, "demo", "--corpus", str(corpus_folder), "--shards", "2")
    assert run.code == 1
    assert f"{victim}: stored with SHA-256" in run.out
    assert "1 files did not arrive" in run.out
    assert "verified" not in run.out


def test_demo_names_a_file_that_could_not_be_sent(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "gone", "z"):
        (tmp_path / name).write_bytes(name.encode())

    def scan_then_lose(root: Path | None, files_max: int | None) -> Corpus:
        corpus = scan(root, files_max)
        (tmp_path / "gone").unlink()
        return corpus

    monkeypatch.setattr(demo, "scan", scan_then_lose)
    run = Run(capfd, "demo", "--corpus", str(tmp_path), "--shards", "1", "--json")
    assert run.code == 1
    report = json.loads(run.out)
    assert report["files"] == 2
    assert not report["ok"]
    [failure] = report["failures"]
    assert failure["file"] == "gone"
    assert "FileNotFoundError" in failure["problem"]


def test_check_store_tells_apart_what_can_go_wrong(tmp_path: Path) -> None:
    source, store = tmp_path / "source", tmp_path / "store"
    source.mkdir()
    store.mkdir()
    stored = {}
    for number, name in enumerate(["damaged", "good", "lost", "shorter", "unlinked"]):
        (source / name).write_bytes(name.encode() * 100)
        (store / f"{number}.bin").write_bytes(name.encode() * 100)
    corpus = scan(source, None)
    for entry in corpus.entries:
        stored[entry.wire_name] = Stored(store / f"{entry.index}.bin", entry.size)
    (store / "0.bin").write_bytes(b"x" + b"damaged" * 99 + b"amaged")
    del stored[corpus.entries[2].wire_name]
    (store / "3.bin").write_bytes(b"shorter" * 99)
    (store / "4.bin").unlink()
    failures = demo_check.check_store(corpus, stored, range(5))
    assert [failure.path for failure in failures] == ["damaged", "lost", "shorter", "unlinked"]
    assert demo_check.check_store(corpus, stored, [1]) == []


def test_demo_on_an_empty_folder_and_a_port_in_use(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = Run(capfd, "demo", "--corpus", str(tmp_path))
    assert run.code == 1
    assert "no regular file" in run.err
    (tmp_path / "a").write_bytes(b"a")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = Run(capfd, "demo", "--corpus", str(tmp_path), "--port", port)
    assert run.code == 1
    assert "in use" in run.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--shards", "0"],
        ["demo", "--shards", "x"],
        ["demo", "--seconds", "0"],
        ["demo", "--corpus", "/nonexistent"],
        ["demo", "--queue", "other"],
        ["demo", "--port", "70000"],
        ["other"],
        [],
    ],
)
def test_wrong_usage_is_code_2(capfd: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: spargio" in capfd.readouterr().err


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capfd.readouterr().out == f"spargio {spargio.__version__}\n"


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, ""), (signal.SIGHUP, 129, "")],
)
def test_demo_ends_at_a_signal_and_leaves_nothing(
    number: int, code: int, said: str, corpus_folder: Path, tmp_path: Path
) -> None:
    """It comes while files are being stored, which the store folder shows."""
    process = subprocess.Popen(
        command("demo", "--corpus", str(corpus_folder), "--seconds", "600", "--shards", "2"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not list(tmp_path.glob("spargio-demo-*/store/*.bin")):
            assert process.poll() is None, process.communicate()[1]
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (code, "", said)
    assert list(tmp_path.iterdir()) == []  # The folder is gone, and so is whoever wrote into it.


def test_demo_tells_of_a_full_disk(corpus_folder: Path, tmp_path: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path]).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        done = subprocess.run(
            command("demo", "--seconds", "30", "--shards", "2"),
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert (done.returncode, done.stdout, left) == (1, "", [])
    assert "No space left on device" in done.stderr and "TMPDIR" in done.stderr
    assert "doctor" not in done.stderr


def test_progress_line_on_a_terminal_only(corpus_folder: Path) -> None:
    """Standard error is a terminal here, standard output is not."""
    leader, follower = os.openpty()
    process = subprocess.Popen(
        command("demo", "--corpus", str(corpus_folder), "--shards", "1", "--json"),
        env={**os.environ, "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    shown: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(leader, shown))
    reader.start()
    out, _ = process.communicate(timeout=60)
    reader.join(60)
    os.close(leader)
    assert process.returncode == 0
    assert json.loads(out)["ok"]
    assert b"files stored" in b"".join(shown)


def _drain(fd: int, into: list[bytes]) -> None:
    try:
        while data := os.read(fd, 4096):
            into.append(data)
    except OSError as error:
        if error.errno != errno.EIO:  # How a terminal says that its other end was closed.
            raise


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


# ---- doctor ----


def test_doctor_says_that_spargio_can_run(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(capfd, "doctor")
    assert run.code == 0, run.out
    for word in ("kernel", "io_uring", "operations", "setup flags", "memlock", "CPUs", "Python"):
        assert word in run.out
    assert "spargio can run here." in run.out


def test_doctor_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(capfd, "doctor", "--json")
    assert run.code == 0
    report = json.loads(run.out)
    assert report["ok"]
    assert report["probe"]["setup_errno"] == 0
    assert Path(report["facts"]["library_path"]).is_file()
    assert {finding["state"] for finding in report["findings"]} <= {"ok", "note"}
    assert report["findings"][-1]["topic"] == "runtime"


FACTS = Facts(
    kernel_release="6.8.0",
    machine="x86_64",
    seccomp=0,
    memlock_exempt=False,
    container="",
    cpu_quota=0.0,
    python="CPython 3.12.0",
    python_path="/usr/bin/python3",
    free_threaded=False,
    gil_enabled=True,
    library_version="0.1.0",
    library_path="/lib.so",
)


def finding(topic: str, *, facts: dict[str, object] | None = None, **probe: object) -> Finding:
    """The finding on `topic` where the machine says `facts` and the kernel `probe`."""
    info = dataclasses.replace(spargio.probe(), **probe)
    findings = diagnose(info, dataclasses.replace(FACTS, **(facts or {})))
    return next(one for one in findings if one.topic == topic)


@pytest.mark.parametrize(
    ("number", "disabled", "seccomp", "container", "why", "advice"),
    [
        (errno.EPERM, 2, 0, "", "io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"),
        (errno.EPERM, 1, 0, "", "io_uring_disabled is 1", "kernel.io_uring_group"),
        (errno.EPERM, 0, 2, "Docker", "seccomp filter", "--security-opt seccomp="),
        (errno.EPERM, 0, 2, "Kubernetes", "seccomp filter", "securityContext.seccompProfile"),
        (errno.EPERM, -1, 0, "", "something forbids it", "audit log"),
        (errno.ENOSYS, -1, 0, "", "without io_uring", "CONFIG_IO_URING"),
        (errno.ENOSYS, -1, 2, "", "seccomp filter hides", "io_uring_setup"),
        (errno.ENOMEM, 0, 0, "", "lock is used up", "ulimit -l"),
        (errno.EMFILE, 0, 0, "", "no file descriptor", "ulimit -n"),
        (errno.EINVAL, -1, 0, "", "flags of Linux 5.19", "Update the kernel"),
        (errno.EACCES, 0, 0, "", "security module", "audit log"),
        (errno.EOPNOTSUPP, 0, 0, "", os.strerror(errno.EOPNOTSUPP), "provider"),
    ],
)
def test_doctor_explains_each_refusal(
    number: int, disabled: int, seccomp: int, container: str, why: str, advice: str
) -> None:
    told = finding(
        "io_uring",
        facts={"seccomp": seccomp, "container": container},
        setup_errno=number,
        disabled=disabled,
    )
    assert told.state == "note"
    assert errno.errorcode[number] in told.text
    assert why in told.text
    assert advice in told.advice


def test_doctor_on_older_kernels() -> None:
    assert finding("kernel", kernel_major=5, kernel_minor=15).state == "note"
    assert finding("kernel", kernel_major=5, kernel_minor=19).state == "ok"
    assert finding("io_uring", capabilities=0).state == "note"
    told = finding("operations", opcodes=frozenset(range(34)))
    assert told.state == "note"
    assert "SHUTDOWN (5.11)" in told.text
    everything = spargio.probe().capabilities
    assert "6.0" in finding("setup flags", capabilities=everything & ~0b11).advice
    assert "6.1" in finding("setup flags", capabilities=everything & ~0b1).advice
    assert "6.13" in finding("doorbells", capabilities=(everything | 0b100) & ~0b1000).advice
    assert "eventfd" in finding("doorbells", capabilities=everything & ~0b100).text


def test_doctor_on_limits_and_builds() -> None:
    short = {"memlock_limit": 64 * 1024, "usable_cpus": 8}
    assert finding("memlock limit", **short).state == "note"
    assert "smaller, then falls back to epoll" in finding("memlock limit", **short).advice
    assert finding("memlock limit", facts={"memlock_exempt": True}, **short).state == "ok"
    assert finding("memlock limit", memlock_limit=(1 << 64) - 1).text.startswith("unlimited")
    assert finding("file limit", nofile_limit=256).state == "note"
    assert "shards=2" in finding("CPUs", facts={"cpu_quota": 1.5}, usable_cpus=8).advice
    assert "GIL is on" in finding("Python", facts={"free_threaded": True}).text
    free = {"free_threaded": True, "gil_enabled": False}
    assert "free-threaded" in finding("Python", facts=free).text


def test_facts_of_this_process() -> None:
    facts = gather()
    assert facts.python_path == sys.executable
    assert facts.library_version == spargio.__version__
    assert facts.seccomp in (-1, 0, 2)
    assert facts.cpu_quota >= 0


# A seccomp filter that answers an error to io_uring_setup(2), as containers do; then the command.
UNDER_SECCOMP = """
import ctypes, runpy, struct, sys
number = int(sys.argv[1])
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
program = b"".join(struct.pack("=HBBI", *one) for one in (
    (LOAD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, 425),
    (RETURN, 0, 0, 0x50000 | number),
    (RETURN, 0, 0, 0x7FFF0000),
))
class Program(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
filter = Program(4, program)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.addressof(filter), 0, 0):
    sys.exit(77)
sys.argv = ["spargio", *sys.argv[2:]]
from spargio._cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_where_io_uring_is_forbidden(tmp_path: Path, number: int) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-c", UNDER_SECCOMP, str(number), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COLUMNS": "200"},
        )
        if done.returncode == 77:
            pytest.skip("this system allows no seccomp filter")
        return done

    doctor = run("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert errno.errorcode[number] in doctor.stdout
    assert "seccomp" in doctor.stdout
    assert "shards on epoll" in doctor.stdout
    assert doctor.stderr == ""
    report = json.loads(run("doctor", "--json").stdout)
    assert report["ok"]
    assert report["probe"]["setup_errno"] == number
    (tmp_path / "a").write_bytes(b"a")
    demo_run = run("demo", "--corpus", str(tmp_path))
    assert demo_run.returncode == 0, demo_run.stderr
    assert "using the slower epoll backend" in demo_run.stderr
    assert "Traceback" not in demo_run.stderr
