"""spargio as a file system of fsspec: its own abstract suites, and what they leave open."""

from __future__ import annotations

import functools
import os
import pickle
import random
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: spargio[fsspec]")
abstract = pytest.importorskip("fsspec.tests.abstract", reason="this fsspec has no abstract suites")

from spargio.fs import sync  # noqa: E402
from spargio.fsspec import LocalFileSystem, SpargioFileSystem, replace_local  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    fsspec.register_implementation("spargio", SpargioFileSystem, clobber=True)
    yield
    sync.shutdown()


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc, name-defined]
    @pytest.fixture
    def fs(self) -> SpargioFileSystem:
        return SpargioFileSystem(auto_mkdir=True)

    @pytest.fixture
    def fs_path(self, tmpdir: Any) -> str:
        return str(tmpdir)

    @pytest.fixture
    def fs_sanitize_path(self) -> Any:
        return lambda path: path.replace("\\", "/")


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc, name-defined]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc, name-defined]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc, name-defined]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc, name-defined]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc, name-defined]
    pass


# ---- beside fsspec's own local file system ----


@pytest.fixture
def ours() -> SpargioFileSystem:
    return SpargioFileSystem(skip_instance_cache=True)


@pytest.fixture
def theirs() -> Any:
    from fsspec.implementations.local import LocalFileSystem as Theirs

    return Theirs(skip_instance_cache=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for n in range(4):
        (tmp_path / f"d{n}" / "e").mkdir(parents=True)
        for k in range(6):
            (tmp_path / f"d{n}" / f"f{k}").write_bytes(os.urandom(100 * k + n))
            (tmp_path / f"d{n}" / "e" / f"g{k}").write_bytes(b"%d" % k)
    (tmp_path / "link").symlink_to("d0/f5")
    (tmp_path / "links").symlink_to("d1")
    return tmp_path


def test_it_is_found_by_its_entry_point() -> None:
    points = metadata.entry_points(group="fsspec.specs")
    if "spargio" not in points.names:
        pytest.skip("spargio is not installed, only on the path")
    assert points["spargio"].load() is SpargioFileSystem


def test_urls_and_the_place_of_file(tree: Path) -> None:
    with fsspec.open(f"spargio://{tree}/d0/f3") as file:
        assert file.read() == (tree / "d0" / "f3").read_bytes()
    found = fsspec.open_files(f"spargio://{tree}/d*/f1")
    assert [one.path for one in found] == [f"{tree}/d{n}/f1" for n in range(4)]
    assert fsspec.get_mapper(f"spargio://{tree}/d0")["f3"] == (tree / "d0" / "f3").read_bytes()
    assert SpargioFileSystem().unstrip_protocol(f"{tree}/a") == f"spargio://{tree}/a"
    before = dict(fsspec.registry)
    try:
        replace_local()
        assert type(fsspec.filesystem("file")) is LocalFileSystem
        assert type(fsspec.core.url_to_fs(str(tree))[0]) is LocalFileSystem
    finally:
        for name in ("file", "local"):
            from fsspec.implementations.local import LocalFileSystem as Theirs

            fsspec.register_implementation(name, before.get(name, Theirs), clobber=True)


def test_listings_are_as_those_of_file(ours: Any, theirs: Any, tree: Path) -> None:
    top = str(tree)

    def plain(info: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in info.items() if key not in ("created", "mtime")}

    for detail in (True, False):
        key = (lambda one: one["name"]) if detail else str
        for name in (top, f"{top}/d0/f3"):
            got, want = ours.ls(name, detail=detail), theirs.ls(name, detail=detail)
            pairs = zip(sorted(got, key=key), sorted(want, key=key), strict=True)
            for one, other in pairs:
                assert (
                    (plain(one), plain(other)) == (plain(other), plain(one))
                    if detail
                    else one == other
                )
        for options in ({}, {"withdirs": True}, {"maxdepth": 2}):
            got = ours.find(top, detail=detail, **options)
            want = theirs.find(top, detail=detail, **options)
            if detail:
                got, want = ({n: plain(i) for n, i in found.items()} for found in (got, want))
            assert got == want
    assert ours.find(f"{top}/nowhere") == theirs.find(f"{top}/nowhere") == []
    assert ours.find(f"{top}/d0/f3") == theirs.find(f"{top}/d0/f3")
    assert ours.du(top) == theirs.du(top)
    assert ours.du(top, total=False) == theirs.du(top, total=False)
    assert sorted(ours.walk(top)) == sorted(theirs.walk(top))
    assert ours.glob(f"{top}/**/g[1-3]") == theirs.glob(f"{top}/**/g[1-3]")
    with pytest.raises(FileNotFoundError):
        ours.ls(f"{top}/nowhere")


def test_cat_and_cat_ranges_are_as_those_of_file(ours: Any, theirs: Any, tree: Path) -> None:
    top = str(tree)
    names = [name for name in theirs.find(top) if os.path.isfile(name)]
    assert ours.cat(names) == theirs.cat(names)
    assert ours.cat(top, recursive=True) == theirs.cat(top, recursive=True, on_error="omit")
    assert ours.cat(f"{top}/d*/f2") == theirs.cat(f"{top}/d*/f2")
    assert ours.cat(names[3]) == theirs.cat(names[3])
    bad = [*names[:3], f"{top}/nowhere"]
    for on_error in ("omit", "return"):
        got, want = (one.cat(bad, on_error=on_error) for one in (ours, theirs))
        assert {n: repr(v) for n, v in got.items()} == {n: repr(v) for n, v in want.items()}
    with pytest.raises(FileNotFoundError):
        ours.cat(bad)
    dice = random.Random(3)
    paths, starts, ends = [], [], []
    for _ in range(500):
        paths.append(dice.choice(bad + names))
        starts.append(dice.choice([None, 0, 5, 100, -20, 1000]))
        ends.append(dice.choice([None, 0, 50, 101, -5, 2000]))
    # A range that ends before it begins is an error there, and empty here.
    want = [
        repr(one) if isinstance(one, OSError) else b"" if isinstance(one, ValueError) else one
        for one in theirs.cat_ranges(paths, starts, ends)
    ]
    for gap in (None, 0, 10_000):
        got = ours.cat_ranges(paths, starts, ends, max_gap=gap)
        assert [one if not isinstance(one, OSError) else repr(one) for one in got] == want
    for path, start, end in zip(paths, starts, ends, strict=True):
        if "nowhere" not in path and (one := ours.cat_file(path, start, end)):
            assert one == theirs.cat_file(path, start, end)
    with pytest.raises(FileNotFoundError):
        ours.cat_ranges(paths, starts, ends, on_error="raise")
    for wrong in (("a", 0, 1), (["a"], [1, 2], [3])):
        with pytest.raises((TypeError, ValueError), match="paths"):
            ours.cat_ranges(*wrong)


def test_a_file_read_from_the_start_is_read_ahead(ours: Any, tmp_path: Path) -> None:
    data = os.urandom(5 << 20)
    path = tmp_path / "big"
    path.write_bytes(data)
    for size in (1 << 12, 100_001, 1 << 20, 3 << 20):
        with ours.open(str(path), block_size=256 << 10) as file:
            got = b"".join(iter(functools.partial(file.read, size), b""))
        assert got == data
    with ours.open(str(path)) as file:
        assert (file.size, file.seek(-10, 2), file.read()) == (
            len(data),
            len(data) - 10,
            data[-10:],
        )
        file.seek(100)
        again = pickle.loads(pickle.dumps(file))
        assert again.read(50) == data[100:150]
        again.close()
        dice = random.Random(1)
        for _ in range(200):
            place, count = dice.randrange(len(data)), dice.randrange(300_000)
            file.seek(place)
            assert file.read(count) == data[place : place + count]
        file.seek(0)
        for _ in range(4):
            file.read(256 << 10)
    with ours.open(str(path), "rt", encoding="latin-1", newline="") as text:
        assert text.read() == data.decode("latin-1")
    lines = tmp_path / "lines"
    lines.write_bytes(b"a\nbc\n" * 1000)
    with ours.open(str(lines)) as file:
        assert sum(1 for _ in file) == 2000


def test_a_transaction_is_all_or_nothing(ours: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with ours.transaction:
        with ours.open(path, "wb") as file:
            file.write(b"new")
        assert not ours.exists(path)
    assert ours.cat_file(path) == b"new"
    with pytest.raises(KeyError):
        with ours.transaction:
            with ours.open(path, "wb") as file:
                file.write(b"newer")
            raise KeyError
    assert ours.cat_file(path) == b"new"


def test_trees_go_in_and_out_and_away(ours: Any, tree: Path, tmp_path_factory: Any) -> None:
    target = tmp_path_factory.mktemp("target")
    ours.put(str(tree), f"{target}/in", recursive=True)
    ours.get(f"{target}/in", f"{target}/out", recursive=True)
    want = {
        name[len(str(tree)) :]: data for name, data in ours.cat(str(tree), recursive=True).items()
    }
    for folder in ("in", "out"):
        got = ours.cat(f"{target}/{folder}", recursive=True)
        assert {name[len(f"{target}/{folder}") :]: data for name, data in got.items()} == want
    with pytest.raises(FileNotFoundError):
        ours.get([f"{target}/in/d0/f1", f"{target}/nowhere"], [f"{target}/a", f"{target}/b"])
    ours.rm(f"{target}/in", recursive=True)
    assert not ours.exists(f"{target}/in")
    with pytest.raises(ValueError, match="recursive"):
        ours.rm(f"{target}/out")


def test_threads_and_a_pickled_one(ours: Any, tree: Path) -> None:
    again = pickle.loads(pickle.dumps(ours))
    want = ours.cat(str(tree), recursive=True)
    wrong = []

    def work() -> None:
        for _ in range(5):
            if again.cat(str(tree), recursive=True) != want:
                wrong.append("different")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_nul_in_a_name_is_refused(tmp_path: Path) -> None:
    """A kernel would end the name there, and read another file."""
    (tmp_path / "a").write_bytes(b"another")
    (tmp_path / "b").write_bytes(b"b")
    names = [str(tmp_path / name) for name in ("a\0x", "b")]
    with pytest.raises(ValueError, match="without NUL bytes"):
        SpargioFileSystem().cat(names)
