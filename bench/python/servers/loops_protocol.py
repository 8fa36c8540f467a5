"""The Protocol of asyncio_protocol.py, on the event loop that the first argument names."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

import loops
from asyncio_protocol import main

if __name__ == "__main__":
    loops.run(sys.argv[1], main())
