"""The pytest plugin, by runs of pytest over small suites."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import spargio

pytest_plugins = ["pytester"]

PACKAGE = Path(spargio.__file__).parent.parent


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Runs in a process of its own, with the plugin and with no other."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pytest_spargio")
    return pytester


def outcomes(suite: pytest.Pytester, *arguments: str) -> tuple[dict[str, int], str]:
    result = suite.runpytest_subprocess(*arguments)
    return result.parseoutcomes(), result.stdout.str()


def test_a_marked_coroutine_is_a_test(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, spargio

        pytestmark = pytest.mark.spargio

        async def test_passes():
            await spargio.sleep(0.001)
            assert spargio.current_handle().shard_count() == 2
            assert spargio.current_shard() == 0

        async def test_fails():
            await spargio.sleep(0.001)
            left, right = 1, 2
            assert left == right

        async def test_skips():
            pytest.skip("not here")

        async def test_xfails():
            pytest.xfail("known")

        @pytest.mark.spargio(shards=3)
        async def test_options():
            assert spargio.current_handle().shard_count() == 3

        @pytest.mark.parametrize("n", [1, 2])
        async def test_parameters(n, tmp_path):
            assert n and tmp_path.exists()

        class TestClass:
            async def test_method(self):
                await spargio.yield_now()

        def test_ordinary():
            pass
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 6, "failed": 1, "skipped": 1, "xfailed": 1}, said
    assert "assert 1 == 2" in said


def test_options_come_from_all_markers(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, spargio

        pytestmark = pytest.mark.spargio(shards=3, steal_budget=7)

        @pytest.mark.spargio(shards=1)
        async def test_it():
            options = spargio.current_handle().stats_snapshot().options
            assert (options["shards"], options["steal_budget"]) == (1, 7)

        @pytest.mark.spargio(shard=1)
        async def test_wrong_name(): pass

        @pytest.mark.spargio(1)
        async def test_no_name(): pass
        """
    )
    found, said = outcomes(suite)
    assert (found["passed"], found.get("failed", 0) + found.get("errors", 0)) == (1, 2), said
    assert "must be options by name" in said


def test_strict_leaves_other_coroutines_alone(suite: pytest.Pytester) -> None:
    suite.makepyfile("async def test_it(): pass")
    found, said = outcomes(suite)
    assert "passed" not in found, said


def test_auto_takes_all(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\nspargio_mode = auto\n")
    suite.makepyfile(
        """
        import pytest, spargio

        @pytest.fixture
        async def three():
            return 3

        async def test_it(three):
            await spargio.sleep(0)
            assert three == 3
        """
    )
    assert outcomes(suite)[0] == {"passed": 1}
    suite.makeini("[pytest]\nspargio_mode = maybe\n")
    result = suite.runpytest_subprocess()
    assert "spargio_mode must be 'strict' or 'auto', got 'maybe'" in result.stderr.str()


def test_fixtures(suite: pytest.Pytester) -> None:
    """They and the test share a runtime; a yield fixture is one task; teardown is in reverse."""
    suite.makepyfile(
        """
        import pytest, spargio
        from spargio import net, sync

        told = []

        @pytest.fixture
        async def listener():
            async with await net.TcpListener.bind("127.0.0.1", 0) as listener:
                yield listener
            told.append("listener closed")

        @pytest.fixture
        async def server(listener):
            async def serve():
                stream, _ = await listener.accept()
                async with stream:
                    await stream.write_all(await stream.recv(100))
            async with spargio.TaskGroup() as group:
                group.spawn(serve())
                yield listener.local_addr
                group.cancel()
            told.append("server ended")

        @pytest.fixture
        def ordinary(server):
            return server

        @pytest.mark.spargio
        async def test_echo(ordinary):
            async with await net.TcpStream.connect(*ordinary) as stream:
                await stream.write_all(b"hello")
                assert await stream.recv(100) == b"hello"

        def test_afterwards():
            assert told == ["server ended", "listener closed"]

        class TestClass:
            @pytest.fixture
            async def own(self):
                yield self

            @pytest.mark.spargio
            async def test_own(self, own):
                assert own is self

        @pytest.mark.spargio
        def test_ordinary_test_of_an_async_fixture(ordinary, spargio_handle):
            async def ask():
                async with await net.TcpStream.connect(*ordinary) as stream:
                    await stream.write_all(b"x")
                    return await stream.recv(1)
            assert spargio_handle.spawn_stealable(ask()).result(10) == b"x"
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 4}, said


def test_fixtures_that_fail(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, spargio

        pytestmark = pytest.mark.spargio

        @pytest.fixture
        async def raises():
            await spargio.sleep(0)
            raise KeyError("at setup")
            yield

        @pytest.fixture
        async def late():
            yield 1
            raise KeyError("at teardown")

        @pytest.fixture
        async def nothing():
            if False:
                yield

        @pytest.fixture
        async def twice():
            yield 1
            yield 2

        @pytest.fixture(scope="module")
        async def wide():
            return 1

        async def test_raises(raises): pass
        async def test_late(late): assert late == 1
        async def test_nothing(nothing): pass
        async def test_twice(twice): pass
        async def test_wide(wide): pass
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 2, "errors": 5}, said
    for words in (
        "at setup",
        "at teardown",
        "did not yield",
        "yields twice",
        "must be 'function', because each test has a runtime of its own, got 'module'",
    ):
        assert words in said


def test_a_clock_that_jumps(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, spargio, time

        @pytest.mark.spargio
        async def test_it(spargio_clock):
            began = time.monotonic()
            await spargio.sleep(3600)
            with pytest.raises(TimeoutError):
                with spargio.timeout(60):
                    await spargio.sleep(3600)
            assert spargio_clock.time() == 3660
            assert time.monotonic() - began < 30

        @pytest.mark.spargio(autojump_threshold=None)
        async def test_by_hand(spargio_clock):
            job = spargio.current_handle().spawn_pinned(1, sleeps())
            while not spargio_clock._waits:
                await spargio.yield_now()
            spargio_clock.jump(10)
            await job

        async def sleeps():
            await spargio.sleep(10)

        @pytest.mark.spargio
        async def test_real_time_again():
            began = time.monotonic()
            await spargio.sleep(0.05)
            assert time.monotonic() - began >= 0.05
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 3}, said


def test_a_leak_is_told_where_that_is_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import os, pytest
        kept = []

        @pytest.mark.spargio
        async def test_unasked():
            kept.append(open(os.devnull))

        @pytest.mark.spargio(leak_check=True)
        async def test_leaks():
            kept.append(open(os.devnull))

        @pytest.mark.spargio(leak_check=True)
        async def test_clean():
            open(os.devnull).close()
        """
    )
    found, said = outcomes(suite, "-W", "ignore")
    assert found == {"passed": 3, "errors": 1}, said
    assert "the test left behind" in said and "/dev/null" in said


def test_tasks_that_are_left_are_cancelled(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest, spargio
        told = []

        async def forever():
            try:
                await spargio.sleep(3600)
            finally:
                told.append("cleaned up")

        @pytest.mark.spargio
        async def test_it(spargio_handle):
            job = spargio_handle.spawn_pinned(1, forever())
            while job.shard is None:
                await spargio.yield_now()

        def test_afterwards():
            assert told == ["cleaned up"]
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 2}, said


def test_a_run_without_it_imports_no_spargio(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_it():
            assert "pytest_spargio" in sys.modules
            assert "spargio" not in sys.modules
        """
    )
    found, said = outcomes(suite)
    assert found == {"passed": 1}, said
