"""A file of random bytes, and reads of it, for the tests of `read_many_at`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import spargio
from spargio import fs

SIZE = 256 * 1024 + 100
CONTENT = random.Random(1).randbytes(SIZE)
OFFSET_MAX = 2**63 - 1
FEW = 10
"""Tried in the page cache first; more go to the ring."""


def run(main: Callable[[], Awaitable[Any]], shards: int = 1) -> Any:
    return spargio.run(main, shards=shards)


def with_file(path: Path, work: Callable[[fs.File], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with await fs.File.open(path) as file:
            return await work(file)

    return run(main)


def expected(offsets: list[int], size: int) -> list[bytes]:
    return [CONTENT[offset : offset + size] for offset in offsets]
