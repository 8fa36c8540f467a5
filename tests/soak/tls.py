"""TLS: handshakes, echoes of random sizes, new keys, resets, half-closes, cancellations and time limits at random
moments, over TCP. At the end no SSL object is left."""

from __future__ import annotations

import gc
import random
import ssl
import struct
import subprocess
from typing import Any

import spargio
from spargio import net, tls

from .common import Soak, no_hang

CLIENTS = 6
MOST = 200_000
LARGE = 2 << 20
BROKEN = (
    ConnectionError,
    BrokenPipeError,
    ssl.SSLError,
    spargio.IncompleteReadError,
    spargio.ClosedError,
    TimeoutError,
)
_WORDS = struct.Struct(">I")


def _contexts(soak: Soak) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    key, chain = soak.folder / "tls-key.pem", soak.folder / "tls-chain.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(chain), *name], check=True, capture_output=True
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=str(chain))


def _alive() -> int:
    gc.collect()
    return sum(isinstance(one, (ssl.SSLObject, tls.TlsStream)) for one in gc.get_objects())


async def _serve(soak: Soak, stream: tls.TlsStream[Any]) -> None:
    with soak.expecting(*BROKEN):
        async with stream:
            while True:
                size = _WORDS.unpack(await stream.read_exactly(4))[0]
                await stream.write_all(await stream.read_exactly(size))


async def _client(
    soak: Soak, address: Any, context: ssl.SSLContext, session: Any, rng: random.Random
) -> Any:
    """Some messages there and back; ends well, by a reset, in the middle of one, by a half-close."""
    async with await tls.connect(
        *address, context=context, server_hostname="localhost", session=session
    ) as stream:
        for _ in range(rng.randrange(0, 8)):
            data = rng.randbytes(int(rng.paretovariate(0.5)) % MOST)
            async with spargio.TaskGroup() as group:
                group.spawn(stream.write_all(_WORDS.pack(len(data)) + data))
                assert await stream.read_exactly(len(data)) == data
        end = rng.random()
        if end < 0.2:
            stream.transport.set_linger(0)
            await stream.transport.close()
        elif end < 0.4:
            await stream.write_all(_WORDS.pack(1000) + b"half a message")
        elif end < 0.6:
            await stream.shutdown()
            with soak.expecting(tls.TruncatedError):
                assert await stream.recv(1) == b""
        elif end < 0.7:
            with soak.expecting(TimeoutError), spargio.timeout(rng.random() * 0.002):
                await stream.write_all(_WORDS.pack(LARGE) + bytes(LARGE))
        # In the beginning only: CPython (3.11.7, 3.13.0) keeps what this property has made, 6 KiB each time.
        return stream.session if soak.rounds["tls"] < 5_000 and rng.random() < 0.02 else session


async def _client_loop(
    soak: Soak, address: Any, context: ssl.SSLContext, rng: random.Random
) -> None:
    session = None
    while not soak.over:
        work = _client(soak, address, context, session if rng.random() < 0.5 else None, rng)
        job = spargio.current_handle().spawn_stealable(work, name="tls")
        if rng.random() < 0.3:
            await spargio.sleep(rng.random() * 0.01)
            job.cancel()
        with no_hang("tls"), soak.expecting(spargio.TaskCancelled):
            session = await job
        soak.done("tls")


async def echo_tls(soak: Soak) -> None:
    server, client = _contexts(soak)
    before = _alive()
    listener = await tls.TlsListener.bind("127.0.0.1", 0, server)
    async with spargio.TaskGroup() as group:

        async def accept() -> None:
            while True:
                try:
                    stream, _ = await listener.accept()
                except spargio.ClosedError:
                    return
                group.spawn(_serve(soak, stream))

        accepting = group.spawn(accept())
        # What is not TLS, and clients that say nothing.
        async with spargio.TaskGroup() as clients:
            for number in range(CLIENTS):
                rng = soak.random(f"tls {number}")
                clients.spawn(_client_loop(soak, listener.local_addr, client, rng))
            clients.spawn(_noise(soak, listener.local_addr))
        await listener.close()
        await accepting
    left = _alive() - before
    assert left == 0, f"{left} SSL objects or TLS streams are left"


async def _noise(soak: Soak, address: Any) -> None:
    rng = soak.random("tls noise")
    while not soak.over:
        async with await net.TcpStream.connect_addr(address) as stream:
            with soak.expecting(*BROKEN):
                await stream.write_all(rng.randbytes(rng.randrange(1, 300)))
                if rng.random() < 0.5:
                    stream.set_linger(0)
        await spargio.sleep(0.01)


WORKLOADS = {"tls": echo_tls}
