"""A chat of lines over TCP: what one says, all others hear. Ends by SIGTERM or Ctrl-C.

A slow reader misses lines. A client that does not read for 10 s is dropped, as is one that sends a
line of more than 64 KiB. The others go on."""

import signal

import spargio
from spargio import io, net, sync

DEAF_S = 10


class Room:
    def __init__(self) -> None:
        self.lines = sync.broadcast(100)

    async def hear(self, stream: net.TcpStream) -> None:
        others = self.lines.subscribe()
        while True:
            try:
                speaker, line = await others.recv()
            except sync.Lagged:  # It was too slow: it goes on with the oldest line that is left.
                continue
            if speaker is not stream:
                with spargio.timeout(DEAF_S):
                    await stream.write_all(line)

    async def talk(self, stream: net.TcpStream) -> None:
        """One connection. What goes wrong ends this one alone: that is net.serve's business."""
        async with spargio.TaskGroup() as group:
            group.spawn(self.hear(stream))
            async for line in io.BufReader(stream):
                self.lines.send((stream, line))
            group.cancel()  # The speaker has gone; so does the listener.


async def main() -> None:
    stop = spargio.CancellationToken()
    async with (
        spargio.signal.stream(signal.SIGTERM, signal.SIGINT) as signals,
        spargio.TaskGroup() as group,
    ):
        listeners = await net.TcpListener.bind_all("localhost", 0)
        print(f"listening on port {listeners[0].local_addr[1]}", flush=True)
        talk = Room().talk
        group.spawn(net.serve(listeners, talk, max_connections=1000, stop=stop, drain=0))
        await signals.recv()
        stop.cancel()


spargio.run(main)
