"""Data sets of files for PyTorch's ``DataLoader``: a batch is one submission. The extra
``spargio[torch]`` installs torch; without it the data sets work too, for programs that use the same
protocol, and give bytes or NumPy arrays."""

from __future__ import annotations

from ._datasets import Files, Progress, ShuffledFiles

__all__ = ("Files", "Progress", "ShuffledFiles")
