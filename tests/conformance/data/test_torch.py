"""The data sets in torch's own DataLoader. torch with what it needs takes 5 GB, so it is not part of the environment
that is made for these tests: ``SPARGIO_DATA_PYTHON`` names a Python that has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: 5 GB with what it needs")

from torch.utils.data import DataLoader, IterableDataset  # noqa: E402

from spargio.fs import sync  # noqa: E402
from spargio.torch import Files, ShuffledFiles  # noqa: E402

# Ours is told before it forks, and starts anew in the child.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

COUNT = 100


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    sync.shutdown()


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = []
    for n in range(COUNT):
        path = tmp_path / f"f{n}"
        path.write_bytes(bytes([n]) * (n + 1))
        found.append(str(path))
    return found


def lengths(path: str, data: Any) -> Any:
    """A sample that torch's default collation makes a batch of."""
    return torch.tensor([int(data[0]), len(data)])


def first_bytes(path: str, data: bytes) -> int:
    return data[0]


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), (2, "spawn")])
@pytest.mark.parametrize("kind", ["bytes", "torch"])
def test_a_loader_of_batches(paths: list[str], workers: int, method: str | None, kind: str) -> None:
    loader = DataLoader(
        Files(paths, lengths, kind=kind),
        batch_size=32,
        shuffle=True,
        generator=torch.Generator().manual_seed(3),
        num_workers=workers,
        multiprocessing_context=method,
    )
    batches = list(loader)
    assert [tuple(batch.shape) for batch in batches] == [(32, 2)] * 3 + [(4, 2)]
    found = torch.cat(batches)
    assert sorted(found[:, 0].tolist()) == list(range(COUNT))
    assert found[:, 0].tolist() != list(range(COUNT))
    assert torch.equal(found[:, 1], found[:, 0] + 1)


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), (2, "spawn")])
def test_a_loader_of_an_order(paths: list[str], workers: int, method: str | None) -> None:
    data = ShuffledFiles(paths, first_bytes, seed=1)
    assert isinstance(data, IterableDataset)
    loader = DataLoader(data, batch_size=16, num_workers=workers, multiprocessing_context=method)
    orders = []
    for epoch in range(2):
        data.set_epoch(epoch)
        orders.append(torch.cat(list(loader)).tolist())
        assert sorted(orders[-1]) == list(range(COUNT))
    assert orders[0] != orders[1]


def test_tensors_lie_in_the_memory_of_their_batch(paths: list[str]) -> None:
    one, other = Files(paths, kind="torch").__getitems__([9, 4])
    assert one.dtype == torch.uint8 and one.tolist() == [9] * 10 and other.tolist() == [4] * 5
    assert one.data_ptr() + 10 == other.data_ptr()
    one[0] = 200
    assert other[0] == 4
