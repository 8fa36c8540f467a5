"""What `import spargio` costs, in instructions under callgrind: beyond a bare interpreter, as a
share of what `import asyncio` costs there. The counts themselves differ by half between versions
and builds of Python, the share by a tenth.

`import asyncio` takes 58 ms of CPU beyond a bare interpreter on the machine of
docs/performance.md, and `import spargio` may take 30."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

LIMIT: Final = 0.6
RUN_LIMIT_S: Final = 120


def _instructions(code: str, folder: Path) -> int:
    """Of a new interpreter that finds all its modules compiled."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPYCACHEPREFIX": str(folder),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    python = [sys.executable, "-c", code]
    run = {"env": environment, "capture_output": True, "text": True, "timeout": RUN_LIMIT_S}
    subprocess.run(python, check=True, **run)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    said = subprocess.run([*valgrind, *python], check=True, **run).stderr
    found = re.search(r"Collected : (\d+)", said)
    if found is None:
        raise SystemExit(f"import_cost.py: callgrind wrote no total: {said[-2000:]}")
    return int(found[1])


def share() -> float:
    """`import spargio` against `import asyncio`, each beyond a bare interpreter."""
    with tempfile.TemporaryDirectory(prefix="spargio-import-") as name:
        folder = Path(name)
        bare, ours, theirs = (
            _instructions(code, folder) for code in ("pass", "import spargio", "import asyncio")
        )
    print(
        f"import spargio: {ours - bare:,} instructions beyond a bare interpreter, asyncio's are "
        f"{theirs - bare:,}"
    )
    return (ours - bare) / (theirs - bare)


def is_installed() -> bool:
    return (
        subprocess.run([sys.executable, "-c", "import spargio"], capture_output=True).returncode
        == 0
    )


def check() -> int:
    """Exit status: 1 if it costs more than it may."""
    if not is_installed():
        print("import_cost.py: SKIPPED: no spargio to import")
        return 0
    found = share()
    print(f"import spargio / import asyncio: {found:.3f}, allowed is {LIMIT}")
    if found <= LIMIT:
        return 0
    print("To see what it imports: python -X importtime -c 'import spargio'")
    return 1


if __name__ == "__main__":
    sys.exit(check())
