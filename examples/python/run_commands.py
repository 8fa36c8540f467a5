"""Runs shell commands side by side, at most four at a time: python run_commands.py COMMAND..."""

import sys

import spargio
from spargio import sync
from spargio.process import STDOUT, Command


async def run(command: str, slots: sync.Semaphore) -> None:
    async with slots:
        try:
            shell = Command("sh", "-c", command).stderr(STDOUT).process_group(True)
            with spargio.timeout(60):
                output = await shell.output()
        except TimeoutError:
            print(f"{command}: took more than 60 s, killed\n", end="")
            return
    # In one piece: print() writes the end of the line by itself, and shards are threads.
    print(f"{command}: exit {output.returncode}, {len(output.stdout)} bytes\n", end="")


async def main() -> None:
    slots = sync.Semaphore(4)
    async with spargio.TaskGroup() as group:
        for command in sys.argv[1:]:
            group.spawn(run(command, slots))


spargio.run(main)
