"""Loads ``libspargio_python.so`` from the package's own folder, never another one, and sets every
prototype once. ctypes is the control plane only: load, check, probe."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from . import constants
from .structs import ProbeInfo, RuntimeOptions

PATH = os.path.realpath(os.path.join(__file__, "../../_lib/libspargio_python.so"))


def _load() -> tuple[ctypes.CDLL, ctypes.PyDLL]:
    if sys.platform != "linux":
        raise ImportError(f"spargio needs Linux 5.19 or newer; this is {sys.platform}")
    if sys.implementation.name != "cpython":
        raise ImportError(f"spargio needs CPython; this is {sys.implementation.name}")
    if not os.path.isfile(PATH):
        raise ImportError(f"spargio's library is missing at {PATH}: install the package with pip")
    plain = ctypes.CDLL(PATH)
    abi = plain.spargio_abi_version()
    if abi != constants.ABI_VERSION:
        raise ImportError(
            f"{PATH} has ABI version {abi}, this package needs {constants.ABI_VERSION}: "
            "reinstall spargio"
        )
    return plain, ctypes.PyDLL(PATH)


plain, attached = _load()

plain.spargio_version.restype = ctypes.c_char_p
plain.spargio_strerror.argtypes = (ctypes.c_int32,)
plain.spargio_strerror.restype = ctypes.c_char_p
plain.spargio_probe.argtypes = (ctypes.POINTER(ProbeInfo),)
plain.spargio_runtime_options_init_sized.argtypes = (
    ctypes.POINTER(RuntimeOptions),
    ctypes.c_size_t,
)
plain.spargio_runtime_options_check.argtypes = (
    ctypes.POINTER(RuntimeOptions),
    ctypes.c_char_p,
    ctypes.c_size_t,
)
plain.spargio_runtime_options_load.argtypes = (
    ctypes.POINTER(RuntimeOptions),
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
)
attached.spargio_python_missing_symbol.restype = ctypes.c_char_p
attached.spargio_python_init.argtypes = (ctypes.c_uint32, ctypes.c_uint32, ctypes.py_object)
attached.spargio_python_init.restype = ctypes.py_object


def version() -> str:
    """The library's version."""
    text: bytes = plain.spargio_version()
    return text.decode()


def strerror(code: int) -> str:
    """One sentence for a result of the library."""
    text: bytes = plain.spargio_strerror(code)
    return text.decode()


def default_options() -> RuntimeOptions:
    options = RuntimeOptions()
    plain.spargio_runtime_options_init_sized(ctypes.byref(options), ctypes.sizeof(options))
    return options


def check_options(options: RuntimeOptions) -> str | None:
    """What is wrong with the options, in a sentence, or None."""
    message = ctypes.create_string_buffer(256)
    if plain.spargio_runtime_options_check(ctypes.byref(options), message, len(message)) == 0:
        return None
    return message.value.decode()


def load_options(options: RuntimeOptions, path: bytes | None) -> str | None:
    """Sets what a file has; without `path` the one that the environment names. What is wrong with
    it, in a sentence, or None."""
    message = ctypes.create_string_buffer(512)
    found = plain.spargio_runtime_options_load(ctypes.byref(options), path, message, len(message))
    return None if found == 0 else message.value.decode(errors="replace")


def address_of(options: RuntimeOptions) -> int:
    return ctypes.addressof(options)


def cpu_array(cpus: list[int]) -> Any:
    return (ctypes.c_uint32 * len(cpus))(*cpus)


def tag_array(tags: list[int]) -> Any:
    return (ctypes.c_uint16 * len(tags))(*tags)


def probe() -> ProbeInfo:
    info = ProbeInfo(struct_size=ctypes.sizeof(ProbeInfo))
    plain.spargio_probe(ctypes.byref(info))
    return info


def gil_is_shared() -> bool:
    """Whether Python threads exclude one another; false on a free-threaded build, as built: a GIL
    that is switched on later only makes waits longer."""
    return "t" not in sys.abiflags


def start_bridge(helpers: dict[str, object]) -> dict[str, Any]:
    """Makes the native types of this interpreter."""
    missing: bytes | None = attached.spargio_python_missing_symbol()
    if missing is not None:
        raise ImportError(
            f"this Python ({sys.version.split()[0]}) does not export {missing.decode()}, which "
            "spargio needs: CPython 3.10 or newer is required"
        )
    made: dict[str, Any] = attached.spargio_python_init(
        object.__basicsize__, int(gil_is_shared()), helpers
    )
    return made
