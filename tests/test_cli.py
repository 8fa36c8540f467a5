"""The `spargio` command: the demo on real files."""

from __future__ import annotations

import email
import errno
import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from commands import Run, command

import spargio
from spargio._cli import (
    demo,
    demo_check,
    main,
)
from spargio._cli.demo_corpus import Corpus, scan
from spargio._cli.demo_service import Stored

JSON_PACKAGE = Path(json.__file__).parent
EMAIL_PACKAGE = Path(email.__file__).parent


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


@pytest.mark.parametrize(("words", "code"), [(("doctor",), 1), (("doctor", "--json"), 141)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_is_no_error_of_ours(
    words: tuple[str, ...], code: int, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rich prints ends by rich's own way."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*command(), *words], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == code


def test_the_options_file_of_a_program_is_not_for_our_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.conf"
    file.write_text("shards = 0\n")
    monkeypatch.setenv("SPARGIO_OPTIONS_FILE", str(file))
    assert main(["doctor"]) == 0
    assert "Traceback" not in capsys.readouterr().err
