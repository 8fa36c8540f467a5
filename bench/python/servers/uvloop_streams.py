"""The same coroutines as asyncio_streams.py, on uvloop."""

from __future__ import annotations

import uvloop
from asyncio_streams import main

if __name__ == "__main__":
    uvloop.run(main())
