"""Parts of the core that neither the C ABI nor Python reaches with free values: the CBOR encoder and whole
snapshots against cbor2, message tags and the table of handles against models in Python."""

from __future__ import annotations

import ctypes

import cbor2
from data import Data

from spargio._ffi import library

core = library.plain
core.fuzz_counter_name.restype = ctypes.c_char_p
core.fuzz_cbor.restype = core.fuzz_snapshot.restype = ctypes.c_size_t
core.fuzz_handle_insert.restype = ctypes.c_uint64
core.fuzz_handle_pin.restype = ctypes.c_void_p
core.fuzz_handle_pin.argtypes = core.fuzz_handle_unpin.argtypes = (ctypes.c_uint64,)
core.fuzz_handle_close.argtypes = (ctypes.c_uint64,)
core.fuzz_handle_close.restype = ctypes.c_bool
core.fuzz_thing_closed.argtypes = core.fuzz_thing_free.argtypes = (ctypes.c_void_p,)
core.fuzz_thing_closed.restype = ctypes.c_uint64
core.fuzz_snapshot.argtypes = (ctypes.c_uint64, *(ctypes.c_void_p, ctypes.c_size_t) * 2)

NUMBER, TEXT, ARRAY, MAP = range(4)


def cbor(data: Data) -> None:
    """A value is written item by item; what cbor2 reads must be the value, in its shortest form."""
    items: list[tuple[int, int]] = []
    text = bytes(range(32, 127)) * 900

    def number() -> int:
        value = data.number(data.number() % 9)
        items.append((NUMBER, value))
        return value

    def words() -> str:
        size = data.number(data.number() % 3) % len(text)
        items.append((TEXT, size))
        return text[:size].decode()

    def value(depth: int) -> object:
        kind = data.number() % (4 if depth else 2)
        if kind == NUMBER:
            return number()
        if kind == TEXT:
            return words()
        count = data.number() % 40 if depth > 1 and data.left() else data.number() % 4
        at = len(items)
        items.append((kind, count))
        if kind == ARRAY:
            return [value(depth - 1) for _ in range(count)]
        found = {}
        for n in range(count):  # Keys differ, as those of a struct do.
            items.append((NUMBER, n * 100))
            found[n * 100] = value(depth - 1)
        assert items[at] == (MAP, count)
        return found

    wanted = value(4)
    flat = [part for item in items for part in item]
    array = (ctypes.c_uint64 * len(flat))(*flat)
    best = cbor2.dumps(wanted)
    for room in (len(best), data.number(2) % (len(best) + 1)):
        memory = ctypes.create_string_buffer(b"\xee" * (room + 8), room + 8)
        size = core.fuzz_cbor(
            array, ctypes.c_size_t(len(items)), text, memory, ctypes.c_size_t(room)
        )
        assert size == len(best), (size, len(best))
        assert memory.raw[room:] == b"\xee" * 8, "written past the end"
    whole = ctypes.create_string_buffer(len(best))
    core.fuzz_cbor(array, ctypes.c_size_t(len(items)), text, whole, ctypes.c_size_t(len(best)))
    assert whole.raw == best
    assert cbor2.loads(whole.raw) == wanted


class _Started:
    handle = ctypes.c_uint64()
    names: list[str] = []  # noqa: RUF012
    outside = 0


def _runtime() -> ctypes.c_uint64:
    if not _Started.handle.value:
        options = library.default_options()
        options.shards = 2
        assert core.spargio_runtime_start(ctypes.byref(options), ctypes.byref(_Started.handle)) == 0
        while name := core.fuzz_counter_name(ctypes.c_size_t(len(_Started.names))):
            _Started.names.append(name.decode())
        _Started.outside = _Started.names.index("tasks_started")
    return _Started.handle


ERRNOS = 9


def snapshot(data: Data) -> None:
    """All counters get values of the input; what is decoded must be these, and their sums."""
    handle = _runtime()
    # A sum of three must hold in 64 bits: a counter of nanoseconds takes 195 years to come here.
    outside = [data.number(data.number() % 8) for _ in range(_Started.outside + ERRNOS)]
    shards = [
        [data.number(data.number() % 8) for _ in range(len(_Started.names) + ERRNOS)] for _ in "ab"
    ]
    flat = outside + shards[0] + shards[1]
    array = (ctypes.c_uint64 * len(flat))(*flat)
    memory = ctypes.create_string_buffer(16384)
    for attempt in range(20):
        size = core.fuzz_snapshot(handle, array, len(flat), memory, len(memory))
        assert 0 < size < len(memory)
        found = cbor2.loads(memory.raw[:size])
        differing = compare(found, outside, shards)
        if not differing:
            return
        assert attempt < 19, differing  # A shard that woke meanwhile has counted on.


def compare(found: dict, outside: list[int], shards: list[list[int]]) -> list[str]:
    names = _Started.names
    wrong = []

    def check(where: str, given: dict, values: list[int], known: list[str]) -> None:
        for name, value in zip(known, values):  # noqa: B905
            if given[name] != value:
                wrong.append(f"{where} {name}: {given[name]} for {value}")
        errnos = given["ring_msgs_failed_by_errno"]
        wanted = [value for value in values[len(known) :] if value]
        if sorted(errnos.values()) != sorted(wanted):
            wrong.append(f"{where} errnos: {errnos} for {wanted}")

    assert [shard["shard"] for shard in found["shards"]] == [0, 1]
    check("outside", found["outside"], outside, names[: _Started.outside])
    total = []
    for n, (given, values) in enumerate(zip(found["shards"], shards)):  # noqa: B905
        check(f"shard {n}", given, values, names)
    for n, name in enumerate(names):
        parts = [values[n] for values in shards]
        if n < _Started.outside:
            parts.append(outside[n])
        total.append(max(parts) if name.endswith("_max") else sum(parts))
    for n in range(ERRNOS):
        total.append(
            outside[_Started.outside + n] + sum(values[len(names) + n] for values in shards)
        )
    check("total", found["total"], total, names)
    return wrong


def tags(data: Data) -> None:
    few = [data.number(2) for _ in range(8)]

    def some(most: int) -> list[int]:
        count = data.number() % (most + 1)
        return [data.choose(few) if data.flag() else data.number(2) for _ in range(count)]

    hot, coalesced = some(40), some(254)
    asked = [*hot, *coalesced, *few, *some(10)]
    answers = (ctypes.c_int32 * len(asked))()
    array = library.tag_array
    core.fuzz_tags(
        array(hot),
        ctypes.c_size_t(len(hot)),
        array(coalesced),
        ctypes.c_size_t(len(coalesced)),
        array(asked),
        answers,
        ctypes.c_size_t(len(asked)),
    )
    counters = {tag: n for n, tag in enumerate(dict.fromkeys(coalesced))}
    for tag, answer in zip(asked, answers):  # noqa: B905
        assert answer == counters.get(tag, -2 if tag in hot else -1), tag


def handles(data: Data) -> None:
    """Slots are used again: a handle that was closed must name nothing, whatever its slot holds now."""
    open_: dict[int, list[int]] = {}  # handle -> the things that pins gave
    closed: dict[int, list[int]] = {}
    every: list[int] = []
    while data.left():
        step = data.number() % 5
        handle = data.choose(every) if every and data.number() % 8 else data.number(8)
        if step == 0 and len(every) < 64:
            handle = core.fuzz_handle_insert()
            assert handle != 0 and handle not in every
            every.append(handle)
            open_[handle] = []
        elif step == 1:
            thing = core.fuzz_handle_pin(handle)
            assert (thing is not None) == (handle in open_), handle
            if thing is not None:
                open_[handle].append(thing)
        elif step == 2:
            pins = (open_.get(handle) or closed.get(handle)) or []
            if pins:
                thing = pins.pop()
                core.fuzz_handle_unpin(handle)
                last = handle in closed and not pins
                assert core.fuzz_thing_closed(thing) == last
                if last:
                    core.fuzz_thing_free(thing)
        else:
            held = core.fuzz_handle_pin(handle) if handle in open_ else None
            assert core.fuzz_handle_close(handle) == (handle in open_)
            if held is not None:
                closed[handle] = [*open_.pop(handle), held]
    for handle in [*open_]:
        held = core.fuzz_handle_pin(handle)
        assert core.fuzz_handle_close(handle)
        closed[handle] = [*open_.pop(handle), held]
    for handle, pins in closed.items():
        while pins:
            thing = pins.pop()
            core.fuzz_handle_unpin(handle)
            if not pins:
                assert core.fuzz_thing_closed(thing) == 1
                core.fuzz_thing_free(thing)


def one(raw: bytes) -> None:
    data = Data(raw)
    data.choose([cbor, snapshot, tags, handles])(data)


def finish() -> None:
    if _Started.handle.value:
        # Counters of tasks say when all have ended: none ran.
        core.fuzz_snapshot(_Started.handle, None, 0, ctypes.create_string_buffer(16384), 16384)
        forever = ctypes.c_uint64(2**64 - 1)
        assert core.spargio_runtime_shutdown(_Started.handle, forever) == 0
