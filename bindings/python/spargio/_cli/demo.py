"""`spargio demo`: the ingest service on this machine, driven with real files from another process,
and every stored file compared with its source."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

import spargio
from spargio import net

from . import demo_report
from .demo_check import Failure, check_store
from .demo_client import Result, Task
from .demo_corpus import Corpus, scan
from .demo_report import Outcome
from .demo_service import Service

_HOST = "127.0.0.1"
_TICK_S = 0.05
_SENDER_EXIT_S = 5.0


@dataclass(frozen=True)
class Settings:
    """What the command line said; None means the default."""

    corpus: Path | None = None
    files: int | None = None
    shards: int | None = None
    seconds: float | None = None
    connections: int = 32
    queue: str = "mutex"
    port: int = 0


def run(settings: Settings, *, as_json: bool) -> int:
    """Gives the exit code: 0 where every file arrived as it was, else 1."""
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    corpus = scan(settings.corpus, settings.files)
    if not corpus.entries:
        messages.print(f"spargio demo: no regular file in {corpus.root}", markup=False)
        return 1
    try:
        outcome = _measure(settings, corpus, messages)
    except (OSError, spargio.SpargioError) as error:
        messages.print(f"spargio demo: {error}", markup=False)
        messages.print("`spargio doctor` says what this machine lacks.", markup=False)
        return 1
    demo_report.show(outcome, as_json=as_json)
    return 1 if outcome.failures else 0


def _measure(settings: Settings, corpus: Corpus, messages: Console) -> Outcome:
    options: dict[str, object] = {"stealable_queue_backend": settings.queue}
    if settings.shards is not None:
        options["shards"] = settings.shards
    with (
        tempfile.TemporaryDirectory(prefix="spargio-demo-") as folder,
        contextlib.ExitStack() as stack,
    ):

        async def entry(handle: spargio.RuntimeHandle) -> Outcome:
            return await _Demo(settings, corpus, Path(folder), handle, stack).run(messages)

        return spargio.run(entry, **options)


class _Demo:
    def __init__(
        self,
        settings: Settings,
        corpus: Corpus,
        folder: Path,
        handle: spargio.RuntimeHandle,
        stack: contextlib.ExitStack,
    ) -> None:
        self._settings = settings
        self._corpus = corpus
        self._folder = folder
        self._handle = handle
        self._stack = stack  # Ends the senders whatever happens in here.
        store = folder / "store"
        store.mkdir()
        self._service = Service(store)
        self._outcome = Outcome(corpus, settings.queue, settings.connections, handle.shard_count)

    async def run(self, messages: Console) -> Outcome:
        listener = await net.TcpListener.bind(_HOST, self._settings.port)
        acceptor = self._handle.spawn_pinned(0, self._service.accept_loop(self._handle, listener))
        try:
            with _progress_line(messages) as (progress, line):
                await self._rounds(int(listener.local_addr[1]), progress, line)
        finally:
            acceptor.cancel()
            with contextlib.suppress(spargio.TaskCancelled):
                await acceptor
            await listener.close()
        self._outcome.stats = self._handle.stats_snapshot()
        return self._outcome

    async def _rounds(self, port: int, progress: Progress, line: TaskID) -> None:
        """One round sends the corpus once; then its files are checked and deleted, so that the disk
        holds one round at most."""
        began = time.monotonic()
        left = self._settings.seconds
        while not self._outcome.failures:
            await self._round(port, left, progress, line)
            if self._settings.seconds is None:
                break
            left = self._settings.seconds - (time.monotonic() - began)
            if left <= 0:
                break

    async def _round(
        self, port: int, seconds: float | None, progress: Progress, line: TaskID
    ) -> None:
        outcome, service = self._outcome, self._service
        outcome.rounds += 1
        senders = self._start_senders(port, seconds)
        while senders.running():
            await spargio.sleep(_TICK_S)
            progress.update(line, completed=len(service.stored), total=len(self._corpus.entries))
            progress.refresh()
        result = senders.result()
        outcome.add(result)
        for index, problem in result.failed:
            path = self._corpus.entries[index].path
            name = self._corpus.entries[index].wire_name
            told = service.problems.get(name)
            outcome.failures.append(
                Failure(path, f"{problem}; service: {told}" if told else problem)
            )
        acknowledged = [index for index, _, _ in result.acknowledged]
        outcome.failures += check_store(self._corpus, service.stored, acknowledged)
        service.clear()

    def _start_senders(self, port: int, seconds: float | None) -> _Senders:
        corpus = self._corpus
        entries = [(entry.index, entry.path, entry.size) for entry in corpus.entries]
        root = os.path.abspath(corpus.root)
        task = Task(_HOST, port, self._settings.connections, seconds, root, entries)
        return self._stack.enter_context(_Senders(task, self._folder))


class _Senders:
    """The process that sends."""

    def __init__(self, task: Task, folder: Path) -> None:
        self._result_path = folder / "result.json"
        self._result_path.unlink(missing_ok=True)
        task_path = folder / "task.json"
        task_path.write_text(json.dumps(asdict(task)))
        packages = str(Path(spargio.__file__).parent.parent)
        known = os.environ.get("PYTHONPATH")
        path = packages if not known else packages + os.pathsep + known
        self._errors = open(folder / "errors.txt", "w+b")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", "spargio._cli.demo_client", task_path, self._result_path],
            stdin=subprocess.PIPE,
            stdout=self._errors,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the demo; it ends the senders.
        )

    def running(self) -> bool:
        return self._process.poll() is None

    def result(self) -> Result:
        if self._process.returncode != 0 or not self._result_path.exists():
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            last = said[-1] if said else "nothing"
            raise spargio.SpargioError(
                f"the sending process ended with code {self._process.returncode} and said: {last}"
            )
        return Result(**json.loads(self._result_path.read_text()))

    def __enter__(self) -> _Senders:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, if it has not ended by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_SENDER_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


@contextlib.contextmanager
def _progress_line(messages: Console) -> Iterator[tuple[Progress, TaskID]]:
    """A line on standard error that is redrawn while the demo runs, where that is a terminal."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("files stored"))
    shown = messages.is_terminal
    with Progress(
        *columns, console=messages, auto_refresh=False, transient=True, disable=not shown
    ) as progress:
        yield progress, progress.add_task("sending", total=None)
