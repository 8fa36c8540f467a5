"""Whether what the service stored is what was sent, found by reading both with ordinary calls."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .demo_corpus import Corpus
from .demo_service import Stored
from .demo_wire import CHUNK_BYTES


@dataclass(frozen=True)
class Failure:
    """A file that did not arrive as it was, by its path in the corpus."""

    path: str
    problem: str


def check_store(
    corpus: Corpus, stored: Mapping[bytes, Stored], acknowledged: Iterable[int]
) -> list[Failure]:
    """Compares each acknowledged file, given by its index in the corpus, with its source."""
    failures = []
    for index in acknowledged:
        entry = corpus.entries[index]
        found = stored.get(entry.wire_name)
        if found is None:
            failures.append(Failure(entry.path, "acknowledged, but not in the store"))
            continue
        try:
            wanted, got = _sha256(corpus.root / entry.path), _sha256(found.path)
        except OSError as error:
            failures.append(Failure(entry.path, f"cannot be compared: {error}"))
            continue
        if got != wanted:
            problem = f"stored with SHA-256 {got}, the source has {wanted}"
            failures.append(Failure(entry.path, problem))
    return failures


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
