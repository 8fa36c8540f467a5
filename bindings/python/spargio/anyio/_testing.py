"""What tasks there are, and the runner of anyio's pytest plugin."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, TypeVar

from anyio import TaskInfo
from anyio.abc import TestRunner as BaseTestRunner

from .. import _watchdog
from .._asyncgens import local
from .._ffi import constants
from .._ffi.core import Future, JoinHandle, native
from .._ffi.core import Runtime as NativeRuntime
from ..options import RuntimeBuilder
from ..time import FOREVER_NS
from ._loop import Loop, TaskState, current_loop, current_state

T = TypeVar("T")


class SpargioTaskInfo(TaskInfo):
    """A task as it is now."""

    __slots__ = ("_state",)

    def __init__(self, state: TaskState) -> None:
        super().__init__(state.id, state.parent_id, state.name, state.coro)
        self._state = state

    def has_pending_cancellation(self) -> bool:
        scope = self._state.scope
        return scope is not None and scope._effective


def current_info() -> TaskInfo:
    return SpargioTaskInfo(current_state())


def info_of(task: JoinHandle[Any]) -> TaskInfo:
    """Of a task of this shard."""
    for handle, coroutine, state, *_ in native.tasks_here():
        if handle is task:
            return _info(handle, coroutine, state)
    return _info(task, None, None)


def _info(handle: JoinHandle[Any], coroutine: Any, state: TaskState | None) -> TaskInfo:
    if state is None:
        state = TaskState(handle.name, coroutine)
        state.handle = handle
    return SpargioTaskInfo(state)


def running_tasks() -> list[TaskInfo]:
    """Those of this shard that have not ended, the oldest first."""
    current_state()
    found = {
        id(handle): _info(handle, coroutine, state)
        for handle, coroutine, state, *_ in reversed(native.tasks_here())
        if handle is not None and coroutine is not None
    }
    for state in list(current_loop().states):  # Also those that have not begun.
        found.setdefault(state.id, SpargioTaskInfo(state))
    return list(found.values())


class TestRunner(BaseTestRunner):
    """A runtime that runs on the thread of the tests, while one of them runs. All fixtures and
    tests are calls of one task, which have its context."""

    __test__ = False

    def __init__(self, **options: Any) -> None:
        self._options = {"shards": 1, **options}
        self._runtime: NativeRuntime | None = None
        self._loop: Loop | None = None
        self._next: Future[Any] = native.future()
        self._task: JoinHandle[Any] | None = None

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        runtime, self._runtime, self._loop, self._task = self._runtime, None, None, None
        if runtime is not None:
            runtime.shutdown(FOREVER_NS)
            _watchdog.join(runtime)

    def is_running(self) -> bool:
        return native.current_task() is not None

    async def _run(self) -> None:
        while True:
            function, arguments, keywords, answer = await self._next
            self._next = native.future()
            try:
                answer.set_result((True, await function(*arguments, **keywords)))
            except BaseException as error:
                answer.set_result((False, error))
                if self._runtime is None or self._runtime.closing():
                    raise
            finally:
                del function, arguments, keywords, answer

    async def _ask(self, request: tuple[Any, ...]) -> Any:
        """In the runtime: its shard 0 is this thread's only while it is driven."""
        if self._loop is None:
            self._loop = current_loop()
        local.loop = self._loop
        self._next.set_result(request)
        return await request[-1]

    def _call(self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        if self._runtime is not None and self._runtime.closing():
            self._stop()  # An interrupt has ended it.
        if self._runtime is None:
            self._runtime = RuntimeBuilder().apply(**self._options)._start(driven=True)
            self._next = native.future()
            self._task = self._spawn(self._run(), "test runner")
        job = self._spawn(
            self._ask((function, arguments, keywords, native.future())), "test runner's call"
        )
        self._runtime.drive_until(job)
        good, value = job.result()
        try:
            if good:
                return value
            raise value
        finally:
            del value, job  # The error has this frame.

    def _spawn(self, work: Coroutine[Any, Any, T], name: str) -> JoinHandle[T]:
        assert self._runtime is not None
        return self._runtime.spawn(constants.PLACE_PINNED, 0, work, name)

    def run_asyncgen_fixture(
        self, fixture_func: Callable[..., AsyncGenerator[T, Any]], kwargs: dict[str, Any]
    ) -> Iterable[T]:
        generator = fixture_func(**kwargs)
        value: T = self._call(generator.asend, None)
        yield value
        try:
            self._call(generator.asend, None)
        except StopAsyncIteration:
            return
        self._call(generator.aclose)
        raise RuntimeError("Async generator fixture did not stop")

    def run_fixture(
        self, fixture_func: Callable[..., Coroutine[Any, Any, T]], kwargs: dict[str, Any]
    ) -> T:
        result: T = self._call(fixture_func, **kwargs)
        return result

    def run_test(
        self, test_func: Callable[..., Coroutine[Any, Any, Any]], kwargs: dict[str, Any]
    ) -> None:
        self._call(test_func, **kwargs)
