"""The store and the pipeline for zarr 3: zarr's own suite of tests for stores, and what it leaves
open."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

zarr = pytest.importorskip("zarr", reason="zarr is not installed: spargio[zarr]")
numpy = pytest.importorskip("numpy")
testing = pytest.importorskip("zarr.testing.store", reason="this zarr has no suite for stores")

from zarr.core.buffer import Buffer, cpu  # noqa: E402

from spargio.fs import sync  # noqa: E402
from spargio.zarr import SpargioCodecPipeline, SpargioStore, use_pipeline  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    sync.shutdown()


class TestSpargioStore(testing.StoreTests[SpargioStore, cpu.Buffer]):  # type: ignore[misc, name-defined]
    store_cls = SpargioStore
    buffer_cls = cpu.Buffer

    async def get(self, store: SpargioStore, key: str) -> Buffer:
        return self.buffer_cls.from_bytes((store.root / key).read_bytes())

    async def set(self, store: SpargioStore, key: str, value: Buffer) -> None:
        path = store.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value.to_bytes())

    @pytest.fixture
    def store_kwargs(self, tmpdir: Any) -> dict[str, str]:
        return {"root": str(tmpdir)}

    def test_store_repr(self, store: SpargioStore) -> None:
        assert str(store) == f"file://{store.root.as_posix()}"

    def test_store_supports_writes(self, store: SpargioStore) -> None:
        assert store.supports_writes

    def test_store_supports_listing(self, store: SpargioStore) -> None:
        assert store.supports_listing


# ---- arrays ----


@pytest.fixture
def pipeline() -> Iterator[None]:
    before = zarr.config.get("codec_pipeline.path")
    use_pipeline()
    yield
    zarr.config.set({"codec_pipeline.path": before})


def make(path: Path, **options: Any) -> Any:
    data = numpy.random.default_rng(1).integers(0, 1000, (200, 300), dtype="i4")
    array = zarr.create_array(
        store=str(path), shape=data.shape, dtype="i4", chunks=(10, 10), fill_value=7, **options
    )
    array[:] = data
    return data


@pytest.mark.parametrize("options", [{}, {"shards": (50, 50)}, {"compressors": None}])
def test_arrays_are_read_as_with_zarrs_own(tmp_path: Path, options: Any) -> None:
    data = make(tmp_path / "a", **options)
    array = zarr.open_array(SpargioStore(tmp_path / "a"), mode="r")
    assert (array[:] == data).all()
    assert (array[13:77, 150:299] == data[13:77, 150:299]).all()
    assert (array.oindex[[3, 50, 199], :] == data[[3, 50, 199]]).all()


@pytest.mark.parametrize("options", [{}, {"shards": (50, 50)}, {"compressors": None}])
def test_the_pipeline_reads_them_too(tmp_path: Path, pipeline: None, options: Any) -> None:
    data = make(tmp_path / "a", **options)
    array = zarr.open_array(SpargioStore(tmp_path / "a"), mode="r+")
    assert isinstance(array.async_array.codec_pipeline, SpargioCodecPipeline)
    assert (array[:] == data).all()
    if not options.get("shards"):
        os.unlink(tmp_path / "a" / "c" / "0" / "0")
        data[:10, :10] = 7  # What is missing has the fill value.
    assert (array[:] == data).all()
    array[5:50, 5:50] = data[5:50, 5:50] = 3
    assert (array[:] == data).all()
    assert (zarr.open_array(str(tmp_path / "a"))[:] == data).all()


def test_an_error_of_one_chunk_is_raised(tmp_path: Path, pipeline: None) -> None:
    make(tmp_path / "a")
    chunk = tmp_path / "a" / "c" / "3" / "3"
    chunk.unlink()
    chunk.symlink_to(chunk.name)  # ELOOP
    with pytest.raises(OSError):
        zarr.open_array(SpargioStore(tmp_path / "a"), mode="r")[:]


def test_what_is_asked_for_in_one_turn_is_one_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spargio.zarr import _store

    for n in range(100):
        (tmp_path / str(n)).write_bytes(b"%d" % n)
    sizes = []
    answer = _store._answer

    def counted(loop: Any, waiting: list[Any]) -> Any:
        sizes.append(len(waiting))
        return answer(loop, waiting)

    monkeypatch.setattr(_store, "_answer", counted)

    async def main() -> None:
        store = await SpargioStore.open(tmp_path)
        found = await asyncio.gather(*(store.get(str(n)) for n in range(101)))
        assert [one and one.to_bytes() for one in found] == [b"%d" % n for n in range(100)] + [None]
        cancelled = asyncio.ensure_future(store.get("1"))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert (await store.get("2")).to_bytes() == b"2"
        assert await store.getsize_prefix("") == sum(len(b"%d" % n) for n in range(100))

    asyncio.run(main())
    assert sizes[0] == 101
