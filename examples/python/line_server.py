"""A chat of lines over TCP: what one says, all others hear. Ends by SIGTERM or Ctrl-C."""

import contextlib
import signal

import spargio
from spargio import io, net, sync


async def hear(stream: net.TcpStream, others: sync.Subscriber) -> None:
    async for speaker, line in others:
        if speaker is not stream:
            with contextlib.suppress(OSError):  # It has gone; its reader sees that too.
                await stream.write_all(line)


async def talk(stream: net.TcpStream, room: sync.Broadcast) -> None:
    async with stream, spargio.TaskGroup() as group:
        group.spawn(hear(stream, room.subscribe()))
        with contextlib.suppress(OSError):
            async for line in io.BufReader(stream):
                room.send((stream, line))
        group.cancel()  # The speaker has gone; so does the listener.


async def main() -> None:
    room = sync.broadcast(100)
    async with (
        spargio.signal.stream(signal.SIGTERM, signal.SIGINT) as signals,
        await net.TcpListener.bind("localhost", 0) as listener,
        spargio.TaskGroup() as group,
    ):

        async def accept() -> None:
            while True:
                stream, _ = await listener.accept()
                group.spawn(talk(stream, room))

        group.spawn(accept())
        print(f"listening on port {listener.local_addr[1]}", flush=True)
        await signals.recv()
        group.cancel()


spargio.run(main)
