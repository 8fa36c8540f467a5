"""What goes wrong in a user's first hour: each error names the thing, its value and what to write instead."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import support

import spargio
from spargio import boundary, fs, io, net, process, signal, sync, uring

pytestmark = pytest.mark.any_backend

Given = Callable[[spargio.RuntimeHandle], Any]


async def work() -> int:
    return 1


async def udp(address: Any) -> None:
    async with await net.UdpSocket.bind("127.0.0.1") as socket:
        await socket.send_to(b"x", address)


async def udp_connect(host: str) -> None:
    async with await net.UdpSocket.bind("127.0.0.1") as socket:
        await socket.connect(host, 9)


def stream(use: Callable[[net.UnixStream], Any]) -> Given:
    async def run(_: spargio.RuntimeHandle) -> None:
        one, other = net.UnixStream.pair()
        async with one, other:
            await use(one)

    return run


def file(use: Callable[[fs.File], Any]) -> Given:
    async def run(_: spargio.RuntimeHandle) -> None:
        async with await fs.File.open("/etc/passwd") as one:
            found = use(one)
            if inspect.isawaitable(found):
                await found

    return run


async def awaited_twice(one: net.UnixStream) -> None:
    operation = one.write_all(b"x")
    await operation
    await operation


async def closed(one: net.UnixStream, use: Callable[[net.UnixStream], Any]) -> None:
    await one.close()
    await use(one)


async def closed_file(one: fs.File) -> None:
    await one.close()
    await one.read_at(0, 1)


async def spawned_twice(handle: spargio.RuntimeHandle) -> None:
    coroutine = work()
    await handle.spawn(coroutine)
    await handle.spawn(coroutine)


async def iterate(source: Any) -> None:
    await source.tick()


async def asyncio_future() -> None:
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        await loop.create_future()


def command(*argv: Any) -> process.Command:
    return process.Command(*argv)


bad: Any = "1"
CASES: dict[str, tuple[Given, type[BaseException], str]] = {
    # time
    "sleep of text": (lambda _: spargio.sleep(bad), TypeError, "seconds must be a number.*, got '1'"),
    "sleep of a timedelta": (lambda _: spargio.sleep(timedelta(1)), TypeError, r"\.total_seconds\(\)"),  # type: ignore[arg-type]
    "timeout of text": (lambda _: spargio.timeout(bad).__enter__(), TypeError, "seconds must .*got '1'"),
    "timeout_at of text": (lambda _: spargio.timeout_at(bad), TypeError, "deadline must .*got '1'"),
    "sleep_until of text": (lambda _: spargio.sleep_until(bad), TypeError, "deadline must .*got '1'"),
    "interval of text": (lambda _: iterate(spargio.interval(bad)), TypeError, "period must .*got '1'"),
    "result of text": (lambda h: h.spawn(work()).result(bad), TypeError, "timeout must be a number of seconds.*, got '1'"),
    # other libraries' habits
    "asyncio's future": (lambda _: asyncio_future(), RuntimeError, "This is asyncio's"),
    "asyncio.sleep(0)": (lambda _: asyncio.sleep(0), RuntimeError, r"spargio\.yield_now\(\) gives way"),
    "create_task": (lambda h: h.create_task(work), AttributeError, r"use spawn\(coroutine\)"),
    "start_soon": (lambda h: h.start_soon(work), AttributeError, r"use spawn\("),
    "write": (stream(lambda s: s.write(b"")), AttributeError, r"'write': use write_all\(data\)"),  # type: ignore[attr-defined]
    "drain": (stream(lambda s: s.drain()), AttributeError, "which waits by itself"),  # type: ignore[attr-defined]
    "read": (stream(lambda s: s.read(1)), AttributeError, r"use recv\(max_bytes\)"),  # type: ignore[attr-defined]
    "read of a file": (file(lambda f: f.read()), AttributeError, r"cursor\(\)\.read\(\)"),  # type: ignore[attr-defined]
    "Runtime.run": (lambda _: spargio.Runtime.__dict__ and spargio.Runtime.run, AttributeError, "run"),  # type: ignore[attr-defined]
    "an option of another": (lambda _: spargio.RuntimeBuilder().apply(workers=2), TypeError, "maybe 'shards' is meant"),  # type: ignore[call-arg]
    # spawns
    "a function": (lambda h: h.spawn(work), TypeError, "call it"),
    "spawned twice": (spawned_twice, RuntimeError, r"cannot reuse .* spawned or awaited before\. Call work\(\) anew"),
    "arguments the wrong way round": (lambda h: h.spawn_pinned(work, 0), TypeError, "shard must be an integer, got <function work"),
    "a placement by name": (lambda h: h.spawn(work, placement="pinned"), TypeError, r"as TaskPlacement\.Pinned\(0\)"),
    "a coroutine function on a thread": (lambda h: h.spawn_blocking(work), TypeError, r"handle\.spawn\(work\("),
    "a shard of text": (lambda h: h.remote(bad), TypeError, "shard must be an integer.*, got '1'"),
    # addresses
    "host None": (lambda _: net.TcpListener.bind(None, 0), TypeError, r"host must be .*got None; '0\.0\.0\.0' or '::' is all"),  # type: ignore[arg-type]
    "host empty": (lambda _: net.TcpListener.bind("", 0), ValueError, r"host must be .*got ''; '0\.0\.0\.0' or '::' is all"),
    "connect to None": (lambda _: net.TcpStream.connect(None, 1), TypeError, "host must .*got None"),  # type: ignore[arg-type]
    "host of bytes": (lambda _: net.TcpStream.connect(b"x", 1), TypeError, "host must be a str.*, got b'x'"),  # type: ignore[arg-type]
    "a port of text": (lambda _: net.TcpListener.bind("::1", bad), TypeError, "port must be an integer.*, got '1'"),
    "no such name": (lambda _: net.TcpStream.connect("a..b", 1), OSError, "no host name can be 'a..b'"),
    "too long a name": (lambda _: net.TcpStream.connect("a" * 70, 1), OSError, "no host name can be 'aaa"),
    "address of text": (lambda _: net.TcpStream.connect_addr("::1"), TypeError, r"must be \(host, port\)"),  # type: ignore[arg-type]
    "address of one": (lambda _: net.TcpListener.bind_addr(("::1",)), TypeError, r"must be \(host, port\)"),  # type: ignore[arg-type]
    "IPv6 on IPv4": (lambda _: udp(("::1", 9)), ValueError, "host must be an IPv4 address.*an IPv6 address"),
    "connect IPv6 on IPv4": (lambda _: udp_connect("::1"), OSError, "the family of this socket, IPv4"),
    "a Unix address of a pair": (lambda _: net.UnixStream.connect(("a", 1)), TypeError, "must be a path"),  # type: ignore[arg-type]
    "no socket": (lambda _: net.TcpStream.from_socket(5), TypeError, "socket must .*got 5"),  # type: ignore[arg-type]
    # data
    "text": (stream(lambda s: s.write_all(bad)), TypeError, r"data must .*, got '1'; text\.encode\(\)"),
    "text among buffers": (stream(lambda s: s.write_vectored([b"x", bad])), TypeError, "data must be .*, got '1'"),
    "text for all": (stream(lambda s: s.send_all_batch([bad])), TypeError, "data must be .*, got '1'"),
    "text for zero copy": (stream(lambda s: s.write_all_zero_copy(bad)), TypeError, "data must be .*, got '1'"),
    "text in memory": (lambda _: io.duplex()[0].write_all(bad), TypeError, "data must be .*, got '1'"),
    "text for a child": (lambda _: command("cat").output(bad), TypeError, "data must be .*, got '1'"),
    "into what is read-only": (stream(lambda s: s.recv_into(b"x")), BufferError, "bytes, which is read-only"),
    "a count of text": (stream(lambda s: s.recv(bad)), TypeError, "the number of bytes must be an integer, got '1'"),
    "a count too great": (stream(lambda s: s.recv(1 << 70)), ValueError, "the number of bytes must be .*, got 11805916"),
    "a separator of text": (stream(lambda s: s.read_until(bad)), TypeError, "separator must be bytes.*, got '1'"),
    "awaited twice": (stream(awaited_twice), RuntimeError, r"can be awaited once: write_all of socket \d+ was"),
    "closed": (stream(lambda s: closed(s, lambda s: s.recv(1))), spargio.ClosedError, "the socket is closed"),
    "closed file": (file(closed_file), spargio.ClosedError, "the file '/etc/passwd' is closed"),
    # files
    "path None": (lambda _: fs.File.open(None), TypeError, "path must be a str, bytes or os.PathLike.*, got None"),  # type: ignore[arg-type]
    "path of a descriptor": (lambda _: fs.File.open(0), TypeError, r"File\.from_fd\(\) takes a descriptor"),  # type: ignore[arg-type]
    "text mode": (lambda _: fs.open("x", "rt"), ValueError, r"file\.text\(\) is for text"),  # type: ignore[arg-type]
    "permissions of text": (lambda _: fs.create_dir("x", mode=bad), TypeError, "mode must be an int as 0o644.*, got '1'"),
    "a file for reading": (file(lambda f: f.write_at(0, b"x")), OSError, "it is not open for writing: '/etc/passwd'"),
    "an offset of bytes": (file(lambda f: f.write_at(b"x", 0)), TypeError, "offset must be an integer, got b'x'"),  # type: ignore[arg-type]
    "seek of text": (file(lambda f: f.cursor().seek(bad)), TypeError, "offset must be an integer.*, got '1'"),
    "bytes as text": (file(lambda f: f.text().write(b"x")), TypeError, r"file\.cursor\(\) writes bytes"),  # type: ignore[arg-type]
    # children and signals
    "argv as a list": (lambda _: command(["ls", "-l"]), TypeError, r"Command\(\*argv\) takes it"),
    "an argument that is a number": (lambda _: command("sleep", 1), TypeError, "an argument of Command must .*got 1"),
    "args of text": (lambda _: command("ls").args("-l"), TypeError, r"args\(\['-l'\]\)"),
    "a variable that is a number": (lambda _: command("ls").env({"A": 1}), TypeError, "env must have str for names and values, got 'A': 1"),  # type: ignore[dict-item]
    "input of text": (lambda _: command("cat").stdin(bad), TypeError, r"output\(data\) gives the child its input"),
    "a signal by name": (lambda _: signal.stream("SIGTERM"), TypeError, r"must be a number as signal\.SIGTERM"),  # type: ignore[arg-type]
    "boundary seconds": (lambda _: boundary.channel(1)[0].try_call(1, seconds=bad), TypeError, "seconds must .*got '1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_told(name: str) -> None:
    make, kind, text = CASES[name]

    async def main(handle: spargio.RuntimeHandle) -> None:
        with pytest.raises(kind, match=text):
            found = make(handle)
            if inspect.isawaitable(found):
                await found

    spargio.run(main, shards=1)


def test_a_handle_awaited_in_no_loop_says_what_to_do() -> None:
    async def main(job: Any) -> object:
        return await job

    with spargio.Runtime(shards=1) as handle:
        job = handle.spawn(work())
        assert asyncio.run(main(job)) == 1
        with pytest.raises(RuntimeError, match=r"On an ordinary thread call result\(\)"):
            main(job).send(None)
        assert job.result(support.LIMIT_S) == 1


def test_names_of_other_libraries_are_no_attributes() -> None:
    with spargio.Runtime(shards=1) as handle:
        assert not hasattr(handle, "create_task")
        with pytest.raises(AttributeError) as caught:
            handle.nonsense  # type: ignore[attr-defined]  # noqa: B018
        assert str(caught.value) == "'RuntimeHandle' object has no attribute 'nonsense'"
        text = "".join(traceback.format_exception_only(caught.type, caught.value))
        assert "_spawn" not in text


# ---- what things are ----


def test_a_repr_says_what_it_is_in_what_state_and_where(tmp_path: Path) -> None:
    async def main(handle: spargio.RuntimeHandle) -> None:
        path = str(tmp_path / "file")
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        port = listener.local_addr[1]
        stream = await net.TcpStream.connect("127.0.0.1", port)
        mine = stream.local_addr[1]
        assert repr(listener) == f"<TcpListener {listener.fileno()} 127.0.0.1:{port}>"
        assert (
            repr(stream) == f"<TcpStream {stream.fileno()} 127.0.0.1:{mine} <-> 127.0.0.1:{port}>"
        )
        operation = stream.recv(10)
        assert repr(operation) == f"<Operation recv of socket {stream.fileno()}, not awaited>"
        job = handle.spawn(operation, name="reader")
        await spargio.yield_now()
        assert repr(job) == "<JoinHandle 'reader' begun on shard 0>"
        assert repr(operation).endswith("under way>")
        await stream.close()
        with pytest.raises(spargio.ClosedError):
            await job
        assert repr(operation) == "<Operation recv of closed socket, ended>"
        assert repr(stream) == "<TcpStream, closed>"
        await listener.close()
        async with await fs.File.open(path, "w") as file:
            assert repr(file) == f"<File {path!r}, descriptor {file.fileno()}>"
            assert repr(file.cursor(5)) == f"<Cursor at 5 of {file!r}>"
        assert repr(file) == f"<File {path!r}, closed>"
        future = spargio.spawn_blocking(work_of_a_thread)
        await future
        assert repr(future) == "<Future, set>"
        assert repr(handle).startswith("<RuntimeHandle of <Runtime of 1 shards on ")
        child = await command("true").spawn()
        assert repr(child) == f"<Child {child.pid}, running>"
        await child.wait()
        await child.close()
        assert repr(child) == f"<Child {child.pid}, returned 0>"
        assert repr(command("ls", "-l")) == "Command('ls', '-l')"
        one, other = net.UnixStream.pair()
        async with one, other:
            assert repr(one) == f"<UnixStream {one.fileno()} <-> peer>"
        assert repr(spargio.yield_now).startswith("<built-in function yield_now")

    spargio.run(main, shards=1)
    runtime = spargio.Runtime(shards=1)
    assert repr(runtime).endswith(", up>")
    runtime.shutdown()
    assert repr(runtime).endswith(", ended>")


def work_of_a_thread() -> None: ...


@pytest.mark.parametrize(
    "module",
    [spargio, fs, net, io, sync, process, signal, boundary, uring, spargio.extension.fs],
    ids=repr,
)
def test_everything_public_has_a_signature_and_words(module: Any) -> None:
    for name in module.__all__:
        thing = getattr(module, name)
        if not callable(thing) or isinstance(thing, type(int | str)):
            continue
        members = [(name, thing)]
        if (
            inspect.isclass(thing)
            and thing.__module__.startswith("spargio")
            and not issubclass(thing, BaseException)
        ):
            members += [
                (f"{name}.{key}", value)
                for key, value in vars(thing).items()
                if callable(value) and not key.startswith("_")
            ]
        for label, one in members:
            if not inspect.isclass(one):
                assert inspect.signature(one) is not None, label
            assert inspect.getdoc(one), label


def test_native_functions_and_methods_have_signatures() -> None:
    assert str(inspect.signature(spargio.JoinHandle.result)) == "(self, /, timeout=None)"
    assert str(inspect.signature(spargio.yield_now)) == "()"
    gives_way = spargio.yield_now()
    gives_way.close()
    for kind in (spargio.JoinHandle, spargio.NativeJoinHandle, spargio.Future, type(gives_way)):
        for name, value in vars(kind).items():
            if callable(value) and not name.startswith("_"):
                assert inspect.signature(value), name
                assert inspect.getdoc(value), name


def test_one_spelling_of_cancelled() -> None:
    assert boundary.Cancelled is boundary.Canceled
    assert boundary.BoundaryStats(canceled=3).cancelled == 3
