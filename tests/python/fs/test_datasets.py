"""Data sets of files, by the protocol of PyTorch's DataLoader; torch itself is not installed here."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import types
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from spargio.fs import sync
from spargio.torch import Files, Progress, ShuffledFiles


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    sync.shutdown()


@pytest.fixture(autouse=True, scope="module")
def tracker() -> None:
    """What "spawn" leaves running is there before the check for leaks looks."""
    resource_tracker.ensure_running()


@pytest.fixture
def made(tmp_path: Path) -> dict[str, bytes]:
    found = {}
    for n in range(120):
        path = tmp_path / f"f{n}"
        found[str(path)] = b"%d " % n * n
        path.write_bytes(found[str(path)])
    return found


def length_of(path: Any, data: bytes) -> tuple[str, int]:
    return path, len(data)


def test_a_batch_is_what_its_files_hold(made: dict[str, bytes]) -> None:
    data = Files(made)
    assert len(data) == 120
    assert data[7] == b"7 " * 7
    picked = [5, 3, 119, 3]
    assert data.__getitems__(picked) == [b"%d " % n * n for n in picked]
    assert Files(made, length_of).__getitems__([4]) == [(list(made)[4], 8)]
    with pytest.raises(FileNotFoundError):
        Files([*made, "/nowhere"]).__getitems__([1, 120])
    with pytest.raises(ValueError, match="kind must be one of .* got 'list'"):
        Files(made, kind="list")


def test_each_worker_has_its_part_of_one_order(
    made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Progress] = []
    data = ShuffledFiles(made, length_of, seed=3, progress=told.append, every=50)
    first = [path for path, _ in data]
    assert sorted(first) == sorted(made)
    assert first != list(made)
    assert first == [path for path, _ in data] == data.order()
    data.set_epoch(1)
    assert first != [path for path, _ in data]
    assert [one.files for one in told[:3]] == [50, 100, 120]
    assert told[2].bytes == sum(map(len, made.values()))
    assert [path for path, _ in ShuffledFiles(made, length_of, seed=None)] == list(made)
    parts = []
    for number in range(3):
        info = types.SimpleNamespace(id=number, num_workers=3)
        module = types.SimpleNamespace(get_worker_info=lambda info=info: info)
        monkeypatch.setitem(sys.modules, "torch.utils.data", module)  # type: ignore[arg-type]
        parts.append([path for path, _ in data])
    assert sorted(path for part in parts for path in part) == sorted(made)
    assert [len(part) for part in parts] == [40, 40, 40]


def _work(data: Any, batches: Any, results: Any) -> None:
    for batch in iter(batches.get, None):
        results.put((batch, data.__getitems__(batch)))
    sync.shutdown()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_by_fork_and_spawn(made: dict[str, bytes], method: str) -> None:
    """As a DataLoader has them: the data set goes to each, indices to it and samples back."""
    data = pickle.loads(pickle.dumps(Files(made)))
    assert data[3] == b"3 " * 3  # The parent has a background of its own already.
    context: Any = multiprocessing.get_context(method)
    batches, results = context.Queue(), context.Queue()
    workers = [
        context.Process(target=_work, args=(data, batches, results), daemon=True) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for start in range(0, 120, 20):
        batches.put(list(range(start, start + 20)))
    for _ in workers:
        batches.put(None)
    found: dict[int, bytes] = {}
    for _ in range(6):
        batch, samples = results.get(timeout=50)
        found.update(zip(batch, samples, strict=True))
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
        worker.close()
    for queue in (batches, results):
        queue.close()
        queue.join_thread()
    assert [found[n] for n in range(120)] == list(made.values())
