"""Length-delimited frames and buffered reading, over a stream that gives what the input says in pieces
that the input says. Compared with a parser that has all bytes at once."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Literal

from data import Data

from spargio.errors import IncompleteReadError
from spargio.io import BufReader
from spargio.io._buffered import LimitExceeded
from spargio.io.framed import FrameTooLong, LengthDelimited


class Pieces:
    """A stream that never waits."""

    def __init__(self, content: bytes, sizes: bytes) -> None:
        self.content, self.sizes, self.turn = content, sizes, 0
        self.sent = bytearray()

    async def recv(self, max_bytes: int) -> bytes:
        size = self.sizes[self.turn % len(self.sizes)] + 1 if self.sizes else max_bytes
        self.turn += 1
        piece, self.content = self.content[:size], self.content[size:]
        return piece

    async def write_all(self, data: bytes) -> None:
        self.sent += data


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def expected(
    content: bytes, width: int, order: Literal["big", "little"], most: int
) -> tuple[list[bytes], type[Exception] | None]:
    frames = []
    while content:
        if len(content) < width:
            return frames, IncompleteReadError
        size = int.from_bytes(content[:width], order)
        if size > most:
            return frames, FrameTooLong
        if len(content) < width + size:
            return frames, IncompleteReadError
        frames.append(content[width : width + size])
        content = content[width + size :]
    return frames, None


def frames(data: Data) -> None:
    width = data.choose([1, 2, 4, 8])
    order: Literal["big", "little"] = data.choose(["big", "little"])
    most = min(data.number(2), (1 << 8 * width) - 1)
    sizes = data.take(data.number() % 8)
    content = data.take(1 << 20)
    stream = Pieces(content, sizes)
    framed = LengthDelimited(stream, length_bytes=width, byteorder=order, max_frame=most)  # type: ignore[arg-type]
    wanted, error = expected(content, width, order, most)
    got: list[bytes] = []
    try:
        while (frame := run(framed.read_frame())) is not None:
            got.append(frame)
        assert error is None, error
    except (IncompleteReadError, FrameTooLong) as raised:
        assert type(raised) is error, (raised, error)
    assert got == wanted
    if error is FrameTooLong:  # It stays an error: nothing behind it is taken for a frame.
        try:
            run(framed.read_frame())
            raise AssertionError("a frame after FrameTooLong")
        except FrameTooLong:
            pass
    # What was read is written as it came.
    for frame in got:
        run(framed.write_frame(frame))
    assert bytes(stream.sent) == content[: sum(width + len(frame) for frame in got)]


def lines(data: Data) -> None:
    separator = data.take(data.number() % 4) or b"\n"
    limit = data.number(2) + 1
    sizes = data.take(data.number() % 8)
    steps = data.take(data.number() % 16)
    content = data.take(1 << 20)
    reader = BufReader(Pieces(content, sizes), limit=limit)  # type: ignore[arg-type]
    left = content
    for step in steps:
        try:
            if step % 4 == 0:
                got = run(reader.read_until(separator))
                assert got.endswith(separator) and got.count(separator) >= 1 and len(got) <= limit
                assert left.find(separator) == len(got) - len(separator)
            elif step % 4 == 1:
                got = run(reader.read_exactly(step))
                assert len(got) == step
            elif step % 4 == 2:
                got = run(reader.recv(step or 1))
                assert 0 < len(got) <= step or (got == b"" and not left)
            else:
                got = b""
                assert left.startswith(run(reader.peek()))
            assert left.startswith(got)
            left = left[len(got) :]
        except IncompleteReadError as error:
            assert error.partial == left
            left = b""
        except LimitExceeded:
            at = left.find(separator)
            assert (at + len(separator) if at >= 0 else len(left)) > limit
        assert left.startswith(reader.buffer())


def one(raw: bytes) -> None:
    data = Data(raw)
    data.choose([frames, lines])(data)
