"""Handles: what is left of one after its run, and what the collector finds."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from spargio.asyncio import EventLoop, new_event_loop, run


def test_the_loop_keeps_nothing_in_a_dictionary() -> None:
    """One that is in use would be looked into at every call of a method."""
    loop = new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    assert vars(loop) == {}
    loop.close()


def test_hot_methods_are_of_the_very_class() -> None:
    assert EventLoop.call_soon.__objclass__ is EventLoop  # type: ignore[attr-defined]


def test_a_handle_that_has_run_holds_nothing() -> None:
    class Argument:
        pass

    async def main() -> tuple[asyncio.Handle, weakref.ref[Argument]]:
        argument = Argument()
        handle = asyncio.get_running_loop().call_soon(lambda _: None, argument)
        seen = weakref.ref(argument)
        del argument
        assert isinstance(handle, asyncio.Handle)
        assert not handle.cancelled()
        await asyncio.sleep(0)
        handle.cancel()
        assert handle.cancelled()
        assert "cancelled" in repr(handle) or "Handle" in repr(handle)
        return handle, seen

    handle, seen = run(main())
    assert seen() is None
    del handle


@pytest.mark.parametrize("other_thread", [False, True])
def test_a_dropped_loop_with_callbacks_is_collected(other_thread: bool) -> None:
    """Those that were scheduled while it ran, by whatever thread, and never ran."""

    class Kept:
        def called(self) -> None:
            raise AssertionError("it must not run")

    def forgotten() -> weakref.ref[Kept]:
        kept = Kept()
        loop = new_event_loop()

        def schedule() -> None:
            for _ in range(3):
                loop.call_soon_threadsafe(kept.called)

        def last() -> None:
            if other_thread:
                thread = threading.Thread(target=schedule)
                thread.start()
                thread.join()
            else:
                schedule()

        loop.call_soon(loop.stop)
        loop.call_soon(last)
        loop.run_forever()
        kept.loop = loop  # type: ignore[attr-defined]
        return weakref.ref(kept)

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        seen = forgotten()
        gc.collect()
    assert seen() is None
