"""Makes every loop that a program asks asyncio for a spargio loop. On PYTHONPATH of the suites."""

import asyncio
import sys

import spargio.asyncio

new_event_loop = spargio.asyncio.new_event_loop

asyncio.new_event_loop = new_event_loop
asyncio.events.new_event_loop = new_event_loop
asyncio.EventLoop = spargio.asyncio.EventLoop
asyncio.SelectorEventLoop = spargio.asyncio.EventLoop
if sys.version_info < (3, 14):
    asyncio.DefaultEventLoopPolicy.new_event_loop = lambda self: new_event_loop()
