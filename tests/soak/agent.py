"""The soak's end of `tests.soak.keeper`: requests that overlap."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.attacks.processes import children
from tests.lab import Lab

_ROOT = Path(__file__).resolve().parents[2]
_END_SECONDS = 60.0


class Refused(Exception):
    """The agent could not do what it was asked."""


class Agent:
    """A host agent in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self._process = process
        self._errors = errors
        self._next = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """The agent's process."""
        return self._process.pid

    def gateways(self) -> list[int]:
        """The gateway processes there are now."""
        return [
            pid for pid, line in children(self.pid) if "stockade.cli.gateway" in line
        ]

    def said(self) -> str:
        """What the agent and its gateways wrote to standard error."""
        return self._errors.read_text(errors="replace")

    def start(self) -> None:
        """Begin to read answers."""
        self._reading = asyncio.create_task(self._read())

    async def call(self, op: str, **fields: object) -> dict[str, Any]:
        """Ask for something and wait until it is done. Raises `Refused`."""
        self._next += 1
        number = self._next
        answer: asyncio.Future[dict[str, Any]] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting[number] = answer
        assert self._process.stdin is not None
        line = json.dumps({"id": number, "op": op, **fields}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        try:
            async with asyncio.timeout(_END_SECONDS):
                said = await answer
        finally:
            self._waiting.pop(number, None)
        if "error" in said:
            raise Refused(f"{op}: {said['error']}")
        return said

    async def end(self) -> None:
        """Let the agent stop by itself."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        await asyncio.to_thread(self._process.wait, _END_SECONDS)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._process.stdout.close()

    async def _read(self) -> None:
        reader = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._process.stdout
        )
        while line := await reader.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer.pop("id"))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            waiting.set_exception(Refused(f"the agent ended: {self.said()}"))


@asynccontextmanager
async def running_agent(lab: Lab) -> AsyncIterator[Agent]:
    """An agent with its gateway, without devboxes yet, until the end of the block."""
    directory = Path(tempfile.mkdtemp(dir=lab.directory))
    errors = directory / "agent.err"
    with errors.open("w") as file:
        process = lab.popen_host(
            [sys.executable, "-m", "tests.soak.keeper", str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            cwd=_ROOT,
        )
    agent = Agent(process, errors)
    agent.start()
    try:
        await agent.call("status")
        yield agent
        await agent.end()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
