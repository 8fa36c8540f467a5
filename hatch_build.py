"""Build hook: compiles the library with Zig and puts it into the wheel.

An editable install gets it in the source tree, bindings/python/spargio/_lib/. After a change of the
Zig sources, build it again there without pip:

    python tools/build_library.py
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "libspargio_python.so"
# What a wheel can be built for. With glibc: the oldest one that build.zig asks for.
TARGETS = {
    "x86_64-linux-gnu": "manylinux_2_17_x86_64",
    "aarch64-linux-gnu": "manylinux_2_17_aarch64",
    "x86_64-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-linux-musl": "musllinux_1_2_aarch64",
}
TARGET = "SPARGIO_WHEEL_TARGET"
"""In the environment: one of these, for a wheel of another machine (tools/release.py)."""


class SpargioBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it writes a wheel; `version` is "standard" or "editable"."""
        build_data["pure_python"] = False
        self._target = target()
        build_data["tag"] = f"py3-none-{TARGETS[self._target]}"
        if version == "editable":
            self._compile(Path(self.root, "bindings/python/spargio/_lib", LIBRARY))
            return
        # Lives until hatchling has packed the file: removed with the hook object at the latest.
        self._folder = tempfile.TemporaryDirectory(prefix="spargio-build-")
        library = Path(self._folder.name, LIBRARY)
        self._compile(library)
        build_data["force_include"][str(library)] = f"spargio/_lib/{LIBRARY}"
        # For C extensions: `python -m spargio.config` says where they are.
        include = Path(self.root, "include")
        for header in include.rglob("*.h*"):
            place = header.relative_to(include).as_posix()
            build_data["force_include"][str(header)] = f"spargio/_include/{place}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._folder.cleanup()

    def _compile(self, library: Path) -> None:
        """pip shows what this says with -v only, at once or when the build has failed."""
        command = [sys.executable, "tools/build_library.py", str(library), self._target]
        self.app.display_info(
            "spargio: compiling the library with Zig, some 20 s if nothing is cached"
        )
        began = time.monotonic()
        result = subprocess.run(
            command,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        if result.returncode != 0:
            # pip shows the output of a failed build, so the compiler's words come first and the
            # summary stands last, where people look.
            sys.stderr.write(f"{result.stdout}\n")
            abort(f"the Zig build failed ({result.returncode}); its output is above")
        size = library.stat().st_size // 1024
        self.app.display_info(f"spargio: {size} KiB after {time.monotonic() - began:.0f} s")


def target() -> str:
    asked = os.environ.get(TARGET)
    if asked is not None:
        if asked not in TARGETS:
            abort(f"{TARGET} must be one of {', '.join(TARGETS)}, got {asked}")
        return asked
    if sys.platform != "linux":
        abort(f"spargio needs Linux (io_uring); this is {sys.platform}")
    musl = "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "")
    found = f"{platform.machine()}-linux-{'musl' if musl else 'gnu'}"
    if found not in TARGETS or sys.maxsize < 2**32:
        abort(f"spargio is built for 64-bit x86_64 and aarch64; this is {platform.machine()}")
    return found


def abort(message: str) -> None:
    """Ends the build without a traceback, which would hide the message."""
    raise SystemExit(f"spargio: error: {message}")
