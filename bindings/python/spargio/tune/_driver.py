"""One side's generator, in a process of its own: a line of JSON on stdin is a request, a line on
stdout its answer. If it hosts the target, a function, then it is also the process that is tuned,
and its runtime takes the candidate's options from SPARGIO_OPTIONS_FILE."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import AsyncExitStack
from typing import IO, Any

import spargio
from spargio._ffi import schedule
from spargio.workload import Generator, Load
from spargio.workload._runner import SLICE_NS

START_S = 30.0
"""How long a server may take until it listens."""
_RETRY_S = 0.05


class _Driver:
    def __init__(self, load: Load, answers: IO[str]) -> None:
        self._load = load
        self._answers = answers

    def say(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    async def main(self, handle: spargio.RuntimeHandle) -> None:
        schedule.set_slice(SLICE_NS)
        async with AsyncExitStack() as stack:
            generator = await self._connected(handle, stack)
            self.say({"ready": True})
            while line := await spargio.spawn_blocking(sys.stdin.readline):
                self.say(await self._round(generator, json.loads(line)))

    async def _connected(self, handle: spargio.RuntimeHandle, stack: AsyncExitStack) -> Generator:
        """A server that was just started listens a moment later."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                return await stack.enter_async_context(Generator(self._load, handle))
            except OSError:
                if time.monotonic() >= deadline:
                    raise
                await spargio.sleep(_RETRY_S)

    async def _round(self, generator: Generator, changes: dict[str, Any]) -> dict[str, Any]:
        report = await generator.round(**changes)
        assert generator.ends is not None
        return {"report": report.to_dict(), "stats": [one.hex() for one in generator.ends]}


def _run() -> int:
    """What the target prints goes to stderr: stdout is for the answers."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    driver = None
    try:
        wanted = json.loads(sys.stdin.readline())
        load = Load.from_spec(wanted["load"])
        driver = _Driver(load, answers)
        builder = spargio.RuntimeBuilder()
        if not wanted["hosts"]:
            builder.shards(load.shards)
        spargio.run_with(builder, driver.main)
    except BaseException as error:
        traceback.print_exc()
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answers.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_run())
