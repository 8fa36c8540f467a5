"""A file that a transaction writes."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from fsspec.implementations import local


class Replacing(local.LocalFileOpener):  # type: ignore[misc]
    """It is written beside the one whose place it takes, and the commit renames it. So a commit
    needs no room on the disk, and never leaves half of a file: fsspec's own is written in the
    folder for temporary files, and copied if that is another file system."""

    path: str
    mode: str
    f: Any

    def _open(self) -> None:
        if self.f is not None and not self.f.closed:
            return
        directory, name = os.path.split(self.path)
        descriptor, self.temp = tempfile.mkstemp(prefix=f".{name[:100]}.", dir=directory or ".")
        self.f = open(descriptor, self.mode)  # noqa: SIM115
        if self.compression:
            self.f = local.compr[self.compression](self.f, mode=self.mode)
