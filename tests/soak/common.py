"""What workloads share: the end, seeds, counts, faults that are no failures."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import spargio

LIMIT_S = 60
"""Nothing here may take longer: a wait beyond it is a hang."""


class Soak:
    def __init__(self, seed: int, deadline: float, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.deadline = deadline
        self.stopped = False
        self._lock = threading.Lock()
        self.rounds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.final_stats: object = None

    @property
    def over(self) -> bool:
        return self.stopped or time.monotonic() >= self.deadline

    def stop(self) -> None:
        self.stopped = True

    def random(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def done(self, name: str, count: int = 1) -> None:
        with self._lock:
            self.rounds[name] += count

    def met(self, fault: str) -> None:
        with self._lock:
            self.faults[fault] += 1

    @contextmanager
    def expecting(self, *faults: type[BaseException]) -> Iterator[None]:
        """A fault that was provoked is counted, no failure."""
        try:
            yield
        except faults as error:
            self.met(type(error).__name__)


@contextmanager
def no_hang(what: str) -> Iterator[None]:
    """Tells what hung. The limit is for hangs alone: the machine may be slow."""
    began = time.monotonic()
    try:
        with spargio.timeout(LIMIT_S):
            yield
    except TimeoutError:
        assert time.monotonic() - began < LIMIT_S, f"{what} took {LIMIT_S} s"
        raise
