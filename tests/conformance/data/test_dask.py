"""dask over a cluster of several processes, each with a runtime of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

distributed = pytest.importorskip("distributed", reason="dask is not installed: spargio[dask]")
dask = pytest.importorskip("dask")

import fsspec  # noqa: E402

from spargio import current_shard, fs  # noqa: E402
from spargio import dask as ours  # noqa: E402
from spargio.fs import sync  # noqa: E402
from spargio.fsspec import SpargioFileSystem  # noqa: E402

EXAMPLE = Path(__file__).parents[3] / "examples" / "python" / "hash_cluster.py"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    fsspec.register_implementation("spargio", SpargioFileSystem, clobber=True)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
    ) as cluster:
        with distributed.Client(cluster) as client:
            # Where spargio is installed its entry point does this.
            client.run(
                lambda: fsspec.register_implementation("spargio", SpargioFileSystem, clobber=True)
            )
            yield client
    sync.shutdown()


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    for n in range(8):
        (tmp_path / f"{n}.txt").write_text("".join(f"{n} {k}\n" for k in range(100)))
    return tmp_path


async def sizes(paths: list[str]) -> tuple[int, int, dict[str, int]]:
    found = {path: len(data) async for path, data in fs.read_many(paths)}
    return os.getpid(), current_shard(), found  # type: ignore[return-value]


def test_a_coroutine_function_runs_on_the_shards_of_a_worker(client: Any, lines: Path) -> None:
    paths = [str(path) for path in lines.iterdir()]
    want = {path: os.path.getsize(path) for path in paths}
    process, _, found = ours.submit(client, sizes, paths).result()
    assert found == want
    assert process != os.getpid()
    several = client.gather(ours.map(client, sizes, [[path] for path in paths], pure=False))
    assert {path: size for _, _, one in several for path, size in one.items()} == want
    delayed = dask.delayed(ours.on_shards(sizes))
    assert client.compute(delayed(paths)).result()[2] == want


async def fails() -> None:
    await fs.read("/nowhere")


def test_its_error_is_the_futures(client: Any) -> None:
    with pytest.raises(FileNotFoundError):
        ours.submit(client, fails).result()


def test_bags_and_frames_over_urls(client: Any, lines: Path) -> None:
    bag = pytest.importorskip("dask.bag")
    found = bag.read_text(f"spargio://{lines}/*.txt").map(str.split)
    assert found.count().compute() == 800
    frames = pytest.importorskip("dask.dataframe")
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": range(1000), "b": range(1000, 2000)})
    frames.from_pandas(frame, npartitions=4).to_parquet(f"spargio://{lines}/set")
    assert frames.read_parquet(f"spargio://{lines}/set").b.sum().compute() == frame.b.sum()


def test_the_example_survives_a_killed_worker(lines: Path) -> None:
    for n in range(700):
        (lines / f"more{n}").write_bytes(b"%d" % n)
    outputs = []
    for options in ([], ["--kill"]):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), str(lines), *options],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    digests = [re.search(r"708 files by \d processes: (\w+)", text) for text in outputs]
    assert digests[0] and digests[1] and digests[0][1] == digests[1][1]
