"""Work that comes faster than it is done: a bounded channel, four workers, a limit on each job."""

import spargio
from spargio import sync


async def worker(jobs: sync.Receiver, results: sync.Sender) -> None:
    async for number in jobs:
        try:
            with spargio.timeout(0.05):
                await spargio.sleep(10 if number % 7 == 0 else 0.001)
            await results.send((number, "done"))
        except TimeoutError:
            await results.send((number, "took too long"))


async def main() -> None:
    to_workers, jobs = sync.channel(4)  # Room for 4: the producer waits for the workers.
    results, from_workers = sync.channel(4)

    async def produce() -> None:
        for number in range(1, 15):
            await to_workers.send(number)
        to_workers.close()

    async def work() -> None:
        async with spargio.TaskGroup() as group:
            for _ in range(4):
                group.spawn(worker(jobs, results))
        results.close()

    async with spargio.TaskGroup() as group:
        group.spawn(produce())
        group.spawn(work())
        for number, outcome in sorted([item async for item in from_workers]):
            print(number, outcome)


spargio.run(main)
