"""The boundary to the native library. The only place that imports ctypes."""

from __future__ import annotations

try:
    import ctypes  # noqa: F401
except ImportError as error:  # CPython 3.12 in a subinterpreter, or a Python built without libffi.
    raise ImportError(
        f"spargio needs ctypes, in the main interpreter of a process: {error}"
    ) from error
