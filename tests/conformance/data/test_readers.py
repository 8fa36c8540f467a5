"""Libraries that read through the file system: pandas, pyarrow, xarray, kerchunk; and arrays of a
data set."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: spargio[fsspec]")

from spargio.fs import sync  # noqa: E402
from spargio.fsspec import SpargioFileSystem  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    fsspec.register_implementation("spargio", SpargioFileSystem, clobber=True)
    yield
    sync.shutdown()


def test_pandas_reads_and_writes_csv_and_parquet(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": range(10_000), "b": [f"text {n}" for n in range(10_000)]})
    for name, write, read in (
        ("x.csv", lambda url: frame.to_csv(url, index=False), pandas.read_csv),
        ("x.parquet", frame.to_parquet, pandas.read_parquet),
    ):
        url = f"spargio://{tmp_path}/{name}"
        write(url)
        assert read(url).equals(frame)
        assert read(f"{tmp_path}/{name}").equals(frame)
    some = pandas.read_parquet(f"spargio://{tmp_path}/x.parquet", columns=["a"])
    assert some.equals(frame[["a"]])


def test_pyarrow_data_sets(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    dataset = pytest.importorskip("pyarrow.dataset")
    table = pyarrow.table({"part": [n % 3 for n in range(3000)], "value": list(range(3000))})
    ours = SpargioFileSystem()
    top = str(tmp_path / "set")
    dataset.write_dataset(table, top, format="parquet", partitioning=["part"], filesystem=ours)
    found = dataset.dataset(top, format="parquet", partitioning=["part"], filesystem=ours)
    assert found.to_table().num_rows == 3000
    picked = found.to_table(filter=dataset.field("part") == 1)
    assert sorted(picked["value"].to_pylist()) == list(range(1, 3000, 3))


def test_xarray_opens_a_zarr_store(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    from spargio.zarr import SpargioStore

    data = xarray.Dataset({"t": (("x", "y"), [[n * k for n in range(50)] for k in range(40)])})
    data.to_zarr(str(tmp_path / "a.zarr"), consolidated=False)
    with xarray.open_zarr(
        SpargioStore(tmp_path / "a.zarr"), consolidated=False, chunks=None
    ) as got:
        assert got.load().equals(data)


@pytest.mark.parametrize("chunks", [None, {}], ids=["at once", "by dask"])
def test_xarray_reads_urls(tmp_path: Path, chunks: Any) -> None:
    """Through fsspec: a zarr store by its address, netCDF by an open file, and by several."""
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("zarr")
    pytest.importorskip("scipy", reason="xarray reads netCDF3 with scipy")
    if chunks is not None:
        pytest.importorskip("dask.array")
    data = xarray.Dataset({"t": (("x", "y"), [[n * k for n in range(50)] for k in range(40)])})
    address = f"spargio://{tmp_path}/a.zarr"
    made = {"auto_mkdir": True}  # As fsspec's own local files want it.
    data.to_zarr(
        address, consolidated=False, storage_options=made, encoding={"t": {"chunks": (10, 10)}}
    )
    with xarray.open_zarr(address, consolidated=False, chunks=chunks) as got:
        assert got.load().equals(data)
    for n in range(3):
        data.isel(x=slice(10 * n, 10 * n + 10)).to_netcdf(tmp_path / f"{n}.nc", engine="scipy")
    with fsspec.open(f"spargio://{tmp_path}/0.nc") as file:
        one = xarray.open_dataset(file, engine="scipy", chunks=chunks)
        assert one.load().equals(data.isel(x=slice(0, 10)))
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(fsspec.open_files(f"spargio://{tmp_path}/*.nc"))
        parts = [xarray.open_dataset(file, engine="scipy", chunks=chunks) for file in files]
        assert xarray.concat(parts, "x").equals(data.isel(x=slice(0, 30)))


def test_references_as_kerchunk_makes_them(tmp_path: Path) -> None:
    """Ranges of one file under many names: fsspec's "reference" file system asks ours for them."""
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 100)
    references = {
        "version": 1,
        "refs": {f"part/{n}": [f"spargio://{blob}", n * 100, 50] for n in range(200)},
    }
    (tmp_path / "refs.json").write_text(json.dumps(references))
    found = fsspec.filesystem(
        "reference", fo=f"spargio://{tmp_path}/refs.json", remote_protocol="spargio"
    )
    data = blob.read_bytes()
    names = [f"part/{n}" for n in range(200)]
    got = found.cat(names)
    assert got == {f"part/{n}": data[n * 100 : n * 100 + 50] for n in range(200)}


def test_kerchunk_of_netcdf(tmp_path: Path) -> None:
    pytest.importorskip("kerchunk")
    xarray = pytest.importorskip("xarray")
    io = pytest.importorskip("scipy.io", reason="kerchunk reads netCDF3 with scipy")
    netcdf = pytest.importorskip("kerchunk.netCDF3")
    path = tmp_path / "a.nc"
    with io.netcdf_file(str(path), "w") as file:
        file.createDimension("x", 100)
        file.createVariable("v", "i4", ("x",))[:] = range(100)
    url = f"spargio://{path}"
    made = netcdf.NetCDF3ToZarr(url).translate()
    assert any(isinstance(one, list) and one[0] == url for one in made["refs"].values())
    options = {"fo": made, "remote_protocol": "spargio"}
    with xarray.open_dataset(
        "reference://",
        engine="zarr",
        backend_kwargs={"consolidated": False, "storage_options": options},
    ) as got:
        assert got["v"].values.tolist() == list(range(100))


def test_arrays_lie_in_the_memory_that_was_read_into(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    from spargio.torch import Files, ShuffledFiles

    paths = [tmp_path / str(n) for n in range(20)]
    for n, path in enumerate(paths):
        path.write_bytes(b"%d " % n * n)
    found: list[Any] = Files(paths, kind="numpy").__getitems__([5, 0, 7])
    assert [one.tobytes() for one in found] == [b"5 " * 5, b"", b"7 " * 7]
    found[0][:] = 1  # Writable.
    memory = numpy.frombuffer(found[0].base if found[0].base is not None else found[0], numpy.uint8)
    assert numpy.shares_memory(memory, found[0])
    order = ShuffledFiles(paths, kind="numpy", ahead=6)
    assert [one.tobytes() for one in order] == [path.read_bytes() for path in order.order()]
