"""Serves and hashes the files of a folder, as an ASGI service under uvicorn on spargio's loop: the
files are read without a thread pool.

    FOLDER=/srv/data uvicorn asyncio_files:app --loop spargio.asyncio:new_event_loop

    GET /file/NAME    its bytes, in pieces
    GET /hash/NAME    its SHA-256
    GET /hashes       those of all files, as JSON
"""

import hashlib
import json
import os
from pathlib import Path

from spargio import fs

FOLDER = Path(os.environ.get("FOLDER", "."))
PIECE = 256 * 1024


class App:
    """A few routes by their first word, as the decorators of FastAPI make them."""

    def __init__(self):
        self.routes = {}

    def get(self, word):
        def add(function):
            self.routes[word] = function
            return function

        return add

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return
        word, _, name = scope["path"].strip("/").partition("/")
        handler = self.routes.get(word)
        try:
            if handler is None or "/" in name:
                raise FileNotFoundError
            await handler(name, send)
        except OSError as error:
            missing = isinstance(error, (FileNotFoundError, IsADirectoryError))
            await respond(send, b"not here\n", 404 if missing else 500)


app = App()


async def start(send, size, status=200, kind=b"application/octet-stream"):
    headers = [(b"content-length", b"%d" % size), (b"content-type", kind)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def respond(send, body, status=200, kind=b"text/plain"):
    await start(send, len(body), status, kind)
    await send({"type": "http.response.body", "body": body})


@app.get("file")
async def file(name, send):
    async with await fs.File.open(FOLDER / name) as opened:
        left = (await opened.metadata()).size
        await start(send, left)
        position = 0
        while left:
            piece = await opened.read_at(position, min(left, PIECE))
            if not piece:
                raise EOFError(f"{name} has become shorter")
            position += len(piece)
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@app.get("hash")
async def hash_(name, send):
    data = await fs.read(FOLDER / name)
    await respond(send, hashlib.sha256(data).hexdigest().encode())


@app.get("hashes")
async def hashes(_, send):
    entries = [entry async for entry in fs.read_dir(FOLDER)]
    paths = [FOLDER / entry.name for entry in entries if entry.is_file()]
    found = {}
    async for path, data in fs.read_many(paths):
        if not isinstance(data, OSError):
            found[Path(path).name] = hashlib.sha256(data).hexdigest()
    await respond(send, json.dumps(found).encode(), kind=b"application/json")
