"""What docs/security.md promises: descriptors, credentials, paths as text, loopback."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import programs
import pytest
import support

import spargio
from spargio import fs, net, process, signal

ROOT = Path(__file__).parents[3]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# ---- descriptors ----


def seen_by_a_child() -> str:
    reader, writer = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-ISc", "import os; print(sorted(os.listdir('/proc/self/fd')))"],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)],
    )
    os.close(writer)
    said = b""
    while piece := os.read(reader, 10_000):
        said += piece
    os.close(reader)
    assert os.waitpid(pid, 0)[1] == 0
    return said.decode()


@pytest.mark.parametrize("options", [{}, {"msg_ring": False}, {"backend": "epoll"}], ids=str)
def test_a_child_gets_no_descriptor_of_ours(options: dict[str, Any], tmp_path: Path) -> None:
    """With a ring or epoll set per shard, eventfds, files, sockets of each kind, pipes and a pidfd
    open. A plain fork and exec: nobody closes anything in between but the kernel."""

    async def main(handle: spargio.RuntimeHandle) -> None:
        listener = await net.TcpListener.bind("127.0.0.1", 0)
        client = await net.TcpStream.connect("127.0.0.1", listener.local_addr[1])
        accepted, _ = await listener.accept()
        held: list[Any] = [listener, client, accepted]
        held.append(await fs.File.open(tmp_path / "file", "w"))
        held.append(await net.UdpSocket.bind("127.0.0.1", 0))
        held.append(await net.UnixListener.bind(str(tmp_path / "socket")))
        held.append(await net.UnixStream.connect(str(tmp_path / "socket")))
        held.extend(net.UnixStream.pair())
        held.append(signal.stream(10))
        child = await process.Command("sleep", "1000").stdout(process.PIPE).spawn()
        own = {int(name) for name in os.listdir("/proc/self/fd")}
        assert len(own) > 3 + len(held)
        seen = await spargio.spawn_blocking(seen_by_a_child)
        child.kill()
        await child.wait()
        await child.close()
        for one in held:
            await one.close()
        assert seen == before

    before = seen_by_a_child()  # What the tests themselves were given.
    spargio.run(main, shards=2, **options)


# ---- credentials ----

AS_NOBODY = """
    import os, spargio
    from spargio import fs

    path, options = PATH, OPTIONS

    async def attempt():
        try:
            return (await fs.read(path)).decode()
        except OSError as error:
            return f"{error.errno} {error}"

    async def main(handle):
        print(await attempt())
        os.seteuid(65534)
        print(await attempt())
        print(await handle.spawn_pinned(1, attempt()))
        await spargio.sleep(0.001)
        os.seteuid(0)
        print(await attempt())

    spargio.run(main, shards=2, **options)
    """


@needs_root
@pytest.mark.timeout(60)
@pytest.mark.parametrize("options", [{}, {"backend": "epoll"}, {"io_uring_sqpoll": 10}], ids=str)
def test_a_change_of_user_holds_for_operations(options: dict[str, Any], tmp_path: Path) -> None:
    """Every shard has the new rights at once (the change itself reaches every thread). Where a thread
    of the kernel would keep the old ones, operations are refused, with the reason."""
    if support.ON_EPOLL and "io_uring_sqpoll" in options:
        pytest.skip("io_uring's own: the backend is epoll")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    for folder in (tmp_path, *tmp_path.parents):
        if (
            folder != Path("/")
            and folder.stat().st_mode & 0o005 != 0o005
            and folder.owner() == "root"
        ):
            folder.chmod(folder.stat().st_mode | 0o055)
    source = AS_NOBODY.replace("PATH", repr(str(secret))).replace("OPTIONS", repr(options))
    done = programs.run_program(source)
    assert done.returncode == 0, done.stderr
    first, *refused, last = done.stdout.splitlines()
    assert first == last == "secret"
    assert len(refused) == 2
    for text in refused:
        if "io_uring_sqpoll" in options:
            assert re.match(r"1 .*keeps the rights of the one that started the runtime", text), text
        else:
            assert re.match(r"13 .*Permission denied", text), text


@needs_root
@support.needs_io_uring
def test_a_close_is_done_also_where_the_ring_has_other_rights(tmp_path: Path) -> None:
    """The descriptor was given up, so nobody else could close it."""
    path = tmp_path / "file"
    path.write_text("x")
    done = programs.run_program(
        f"""
        import os, spargio
        from spargio import fs, net

        async def main():
            before = len(os.listdir("/proc/self/fd"))
            file = await fs.File.open({str(path)!r})
            one, other = net.UnixStream.pair()
            dropped = await fs.File.open({str(path)!r})
            os.seteuid(65534)
            await file.close()
            await one.close()
            await other.close()
            del dropped
            os.seteuid(0)
            print(len(os.listdir("/proc/self/fd")) - before)

        spargio.run(main, shards=1, io_uring_sqpoll=10)
        """
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


# ---- text ----

TRICKY = ["%s%n%d", "{}{0!r}{name}", "a\nb", "\\", "'\"`$(id)", "\x1b[31m", "ä" * 100, "%" * 200]
IDS = [f"name {n}" for n in range(len(TRICKY))]


@pytest.mark.parametrize("name", TRICKY, ids=IDS)
def test_a_path_is_text_in_errors(name: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = str(tmp_path / name)
        for attempt in (fs.read, fs.File.open, fs.metadata, fs.remove_file):
            with pytest.raises(FileNotFoundError) as caught:
                await attempt(path)
            assert caught.value.filename == path
            assert repr(path) in str(caught.value)
        await fs.write(path, b"x")
        assert await fs.read(path) == b"x"

    spargio.run(main, shards=1)


def test_names_of_tasks_and_options_are_text() -> None:
    for name in TRICKY:
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            spargio.run(lambda: None, backend=name)  # type: ignore[arg-type,return-value]
    done = programs.run_program(
        """
        import spargio

        async def fail():
            raise ValueError("%n{}")

        async def main(handle):
            handle.spawn_pinned(0, fail(), name="%s%n{0}")
            while handle.stats_snapshot().tasks_ended < 1:
                await spargio.yield_now()

        spargio.run(main, shards=1)
        """
    )
    assert done.returncode == 0
    assert "'%s%n{0}'" in done.stderr
    assert done.stderr.endswith("ValueError: %n{}\n")


# ---- the demo and the examples ----


def test_nothing_that_ships_listens_beyond_this_machine() -> None:
    """Examples, demo and benchmarks name an address wherever they bind one, and it is loopback."""
    folders = [ROOT / "examples", ROOT / "bench", ROOT / "bindings" / "python" / "spargio" / "_cli"]
    files = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".c", ".cpp", ".h", ".rs"}
    ]
    assert len(files) > 30
    for path in files:
        text = path.read_text()
        assert not re.search(r"0\.0\.0\.0|INADDR_ANY|in6addr_any|\"::\"|UNSPECIFIED", text), path
        for call in re.findall(r"(?:bind|create_server|start_server)\(\s*([^)]*)", text):
            assert not re.match(r"[\"']{2}|None", call), f"{path}: {call}"


def test_temporary_files_are_private() -> None:
    """Where the package makes one, it is by tempfile: a new name, for the owner alone."""
    for path in (ROOT / "bindings" / "python" / "spargio").rglob("*.py"):
        text = path.read_text()
        assert "mktemp(" not in text and not re.search(r"[\"']/tmp", text), path
