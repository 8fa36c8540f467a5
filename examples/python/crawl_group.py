"""A crawl in one task group: each page is a child, which spawns a child for each new link.

    python examples/python/crawl_group.py [--pages N] [--at-once N] [--stop-after N] [--shards N]

The site is in here too, on 127.0.0.1: a tree of pages. One of them never answers, which a time
limit per page ends; one is missing. --stop-after cancels the crawl when so many pages have been
read.
"""

import argparse
import re
import sys
import threading
import time

import spargio
from spargio import net, sync

PAGE_LIMIT_S = 0.2


# ---- the site ----


async def answer(stream: net.TcpStream, pages: int) -> None:
    request = b""
    while b"\r\n\r\n" not in request:
        if len(request) > 65536 or not (part := await stream.recv(4096)):
            return
        request += part
    number = int(request.split()[1][1:])
    if number == pages // 2:
        await spargio.sleep(3600)
    if number < pages:
        below = (2 * number + 1, 2 * number + 2)
        links = "".join(f'<a href="/{n}">{n}</a>' for n in below if n <= pages)
        head = "200 OK"
    else:
        head, links = "404 Not Found", ""
    text = f"HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{links}"
    await stream.write_all(text.encode())


# ---- the crawl ----


class Crawl:
    def __init__(self, port: int, at_once: int, stop_after: int | None) -> None:
        self.port = port
        self.stop_after = stop_after
        self.slots = sync.Semaphore(at_once)
        self.found: dict[str, str] = {}  # Link to outcome.
        self.lock = threading.Lock()
        self.read = 0

    async def fetch(self, link: str) -> str:
        async with await net.TcpStream.connect("127.0.0.1", self.port) as stream:
            await stream.write_all(f"GET {link} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            page = b""
            while part := await stream.recv(65536):
                page += part
        return page.decode()

    async def visit(self, link: str, group: spargio.TaskGroup) -> None:
        try:
            # Not one limit around both: the wait for a slot is none of the page's time.
            async with self.slots:
                with spargio.timeout(PAGE_LIMIT_S):
                    page = await self.fetch(link)
        except (OSError, TimeoutError) as error:  # This page only. Any other error ends the crawl.
            self.found[link] = type(error).__name__
            return
        self.found[link] = page.split()[1]
        with self.lock:  # Shards are threads.
            self.read += 1
            enough = self.read == self.stop_after
        if enough:
            group.cancel()
            return
        for following in re.findall(r'href="([^"]+)"', page):
            # In one step: of two pages that have the link one visits it.
            mine = f"queued by {link}"
            if self.found.setdefault(following, mine) is mine:
                group.spawn(self.visit(following, group))

    async def run(self) -> None:
        """Ends when the last page that was found is done, or by the group's cancellation."""
        async with spargio.TaskGroup() as group:
            self.found["/0"] = "queued"
            group.spawn(self.visit("/0", group))


async def crawl(pages: int, at_once: int, stop_after: int | None) -> Crawl:
    listener = await net.TcpListener.bind("127.0.0.1", 0)
    async with spargio.TaskGroup() as site:
        crawl = Crawl(listener.local_addr[1], at_once, stop_after)
        site.spawn(net.serve(listener, lambda stream: answer(stream, pages)))
        await crawl.run()
        site.cancel()  # And with it the connection that would never answer.
    return crawl


def main() -> None:
    parser = argparse.ArgumentParser(description="Crawl a site of its own in one task group.")
    parser.add_argument("--pages", type=int, default=500, help="of the site (default: 500)")
    parser.add_argument("--at-once", type=int, default=64, help="connections (default: 64)")
    parser.add_argument("--stop-after", type=int, help="pages; default: all")
    parser.add_argument("--shards", type=int, help="default: one per usable CPU")
    given = parser.parse_args()
    options = {} if given.shards is None else {"shards": given.shards}
    began = time.monotonic()
    done = spargio.run(lambda: crawl(given.pages, given.at_once, given.stop_after), **options)
    outcomes: dict[str, int] = {}
    for outcome in done.found.values():
        outcome = outcome.split()[0]
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome}: {count}")
    print(f"{time.monotonic() - began:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
