"""The same Protocol as asyncio_protocol.py, on uvloop."""

from __future__ import annotations

import uvloop
from asyncio_protocol import main

if __name__ == "__main__":
    uvloop.run(main())
