"""`spargio demo`: the ingest service on this machine, driven with real files from another process,
and every stored file compared with its source."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import spargio
from spargio import net
from spargio.options import Options

from . import demo_report
from .demo_check import Failure, check_store
from .demo_client import Result, Task
from .demo_corpus import Corpus, scan
from .demo_report import Outcome
from .demo_senders import SenderProcess
from .demo_service import Service

_HOST = "127.0.0.1"
_TICK_S = 0.05

# Both can be asked whether they are done, and awaited.
_Acceptor = Any
_Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """What the command line said; None means the default."""

    corpus: Path | None = None
    files: int | None = None
    shards: int | None = None
    seconds: float | None = None
    connections: int = 32
    queue: Literal["mutex", "lock_free"] = "mutex"
    port: int = 0
    asyncio: bool = False
    """The service runs on spargio's asyncio loop, on one shard."""


def run(settings: Settings, *, as_json: bool) -> int:
    """Returns the exit code: 0 if every file arrived as it was, else 1."""
    messages = Console(stderr=True, soft_wrap=True, highlight=False)
    corpus = scan(settings.corpus, settings.files)
    if not corpus.entries:
        messages.print(f"spargio demo: no regular file in {corpus.root}", markup=False)
        return 1
    try:
        outcome = _measure(settings, corpus, messages)
    except (OSError, spargio.SpargioError) as error:
        messages.print(f"spargio demo: {error}", markup=False)
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        messages.print(
            "TMPDIR chooses another folder for its files, --files sends fewer of them."
            if full
            else "`spargio doctor` says what to do.",
            markup=False,
        )
        return 1
    demo_report.show(outcome, as_json=as_json)
    return 1 if outcome.failures else 0


def _measure(settings: Settings, corpus: Corpus, messages: Console) -> Outcome:
    options: Options = {"stealable_queue_backend": settings.queue}
    if settings.shards is not None:
        options["shards"] = settings.shards
    with (
        _Termination() as termination,
        tempfile.TemporaryDirectory(prefix="spargio-demo-") as folder,
        _CtrlC() as ctrl_c,
        termination.let_through(),
    ):
        if settings.asyncio:
            from . import demo_asyncio

            work = _AsyncioDemo(settings, corpus, Path(folder), 1, ctrl_c).run(messages)
            found, stats = demo_asyncio.run(work)
            found.stats = stats
            return found

        async def entry(handle: spargio.RuntimeHandle) -> Outcome:
            shards = handle.shard_count()
            outcome = await _Demo(settings, corpus, Path(folder), shards, ctrl_c).run(messages)
            outcome.stats = handle.stats_snapshot()
            return outcome

        return spargio.run(entry, **options)


class _CtrlC:
    """Notes the first Ctrl-C, so that the demo ends at a place of its choice, with everything
    closed. The second one interrupts it wherever it is."""

    def __init__(self) -> None:
        self._pressed = False
        self._ours = False

    def raise_if_pressed(self) -> None:
        if self._pressed:
            raise KeyboardInterrupt

    def watch(self, items: Iterable[int]) -> Iterator[int]:
        """The items, as long as Ctrl-C was not pressed."""
        for item in items:
            self.raise_if_pressed()
            yield item

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        signal.signal(number, signal.default_int_handler)

    def __enter__(self) -> _CtrlC:
        on_main_thread = threading.current_thread() is threading.main_thread()
        if on_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._note)
            self._ours = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Termination:
    """SIGTERM and SIGHUP end the demo as they end any program, but when its folder is removed."""

    _NUMBERS = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._came = 0
        self._held = True
        self._ours: list[int] = []

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Here it may strike at once."""
        self._held = False
        self._raise()
        try:
            yield
        finally:
            self._held = True

    def _raise(self) -> None:
        if self._came:
            raise SystemExit(128 + self._came)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._came = number
        if not self._held:
            self._raise()

    def __enter__(self) -> _Termination:
        if threading.current_thread() is threading.main_thread():
            for number in self._NUMBERS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, self._note)
                    self._ours.append(number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._ours:
            signal.signal(number, signal.SIG_DFL)
        self._raise()


class _Demo:
    def __init__(
        self,
        settings: Settings,
        corpus: Corpus,
        folder: Path,
        shards: int,
        ctrl_c: _CtrlC,
    ) -> None:
        self._settings = settings
        self._corpus = corpus
        self._folder = folder
        self._ctrl_c = ctrl_c
        store = folder / "store"
        store.mkdir()
        self._service = Service(store)
        self._outcome = Outcome(corpus, settings.queue, settings.connections, shards)
        self._outcome.asyncio = settings.asyncio

    async def run(self, messages: Console) -> Outcome:
        listener = await net.TcpListener.bind(_HOST, self._settings.port)
        acceptor = spargio.current_handle().spawn_pinned(0, self._service.serve(listener))
        try:
            with _progress_line(messages) as show:
                await self._rounds(int(listener.local_addr[1]), acceptor, show)
        finally:
            acceptor.cancel()
            with contextlib.suppress(spargio.TaskCancelled):
                await acceptor
            await listener.close()
        return self._outcome

    async def _rounds(self, port: int, acceptor: _Acceptor, show: _Show) -> None:
        """One round sends the corpus once; then its files are checked and deleted, so that the disk
        holds one round at most."""
        began = time.monotonic()
        left = self._settings.seconds
        while not self._outcome.failures:
            await self._round(port, left, acceptor, show)
            if self._settings.seconds is None:
                break
            left = self._settings.seconds - (time.monotonic() - began)
            if left <= 0:
                break

    async def _round(
        self, port: int, seconds: float | None, acceptor: _Acceptor, show: _Show
    ) -> None:
        outcome, service = self._outcome, self._service
        outcome.rounds += 1
        with SenderProcess(self._task(port, seconds)) as senders:
            while senders.running():
                await spargio.sleep(_TICK_S)
                self._ctrl_c.raise_if_pressed()
                if service.full is not None:
                    raise service.full
                if acceptor.done():
                    await acceptor  # It failed: raises why.
                show(len(service.stored), len(self._corpus.entries))
            if service.full is not None:
                raise service.full
            result = senders.result()
        outcome.add(result)
        outcome.failures += self._undelivered(result, whole=seconds is None)
        acknowledged = self._ctrl_c.watch(index for index, _, _ in result.acknowledged)
        outcome.failures += check_store(self._corpus, service.stored, acknowledged)
        service.clear()

    def _undelivered(self, result: Result, *, whole: bool) -> list[Failure]:
        """What was not acknowledged; of a `whole` round each file must have been."""
        problems = dict(result.failed)
        if whole:
            acknowledged = {index for index, _, _ in result.acknowledged}
            for entry in self._corpus.entries:
                if entry.index not in acknowledged:
                    problems.setdefault(entry.index, "was not sent")
        failures = []
        for index, problem in sorted(problems.items()):
            entry = self._corpus.entries[index]
            told = self._service.problems.get(entry.wire_name)
            text = f"{problem}; service: {told}" if told else problem
            failures.append(Failure(entry.path, text))
        return failures

    def _task(self, port: int, seconds: float | None) -> Task:
        corpus = self._corpus
        entries = [(entry.index, entry.path, entry.size) for entry in corpus.entries]
        root = os.path.abspath(corpus.root)
        return Task(_HOST, port, self._settings.connections, seconds, root, entries)


class _AsyncioDemo(_Demo):
    async def run(self, messages: Console) -> Outcome:
        from .demo_asyncio import Acceptor

        acceptor = Acceptor(self._service)
        port = await acceptor.begin(_HOST, self._settings.port)
        try:
            with _progress_line(messages) as show:
                await self._rounds(port, acceptor.failed, show)
        finally:
            await acceptor.end()
        return self._outcome


@contextlib.contextmanager
def _progress_line(messages: Console) -> Iterator[_Show]:
    """A line on standard error that is redrawn while the demo runs, if that is a terminal."""
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("files stored"))
    shown = messages.is_terminal
    with Progress(
        *columns, console=messages, auto_refresh=False, transient=True, disable=not shown
    ) as progress:
        line = progress.add_task("sending", total=None)

        def show(completed: int, total: int) -> None:
            progress.update(line, completed=completed, total=total)
            progress.refresh()

        yield show
