"""Podman's REST service, doing what the server does: a container, a command in it.

`python -m bench.containers JOB ADDRESS [NUMBER]` where the service is. Prints one JSON
object, as `bench.caller` does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import urlsplit

IMAGE = "bench"
_API = "/v4.0.0/libpod"
#: The one program of the image: with this option it waits, with the other it ends.
_WAIT = ["/bin/true", "-P"]
_COMMAND = ["/bin/true", "-V"]


class Service:
    """What is asked of the service, one connection a request."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname or "", parts.port or 0

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Its answer: JSON, or None if it is something else."""
        content = b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_connection(self._host, self._port)
        head = (
            f"{method} {_API}{path} HTTP/1.1\r\nHost: podman\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        said = await reader.read()
        writer.close()
        line, _, rest = said.partition(b"\r\n")
        if not 200 <= int(line.split()[1]) < 300:
            raise RuntimeError(f"{method} {path}: {said[-300:]!r}")
        try:
            return json.loads(rest.partition(b"\r\n\r\n")[2])
        except ValueError:
            return None

    async def start(self) -> str:
        """A container that runs, and has answered a command."""
        made = await self.call(
            "POST",
            "/containers/create",
            {"image": IMAGE, "command": _WAIT, "netns": {"nsmode": "none"}},
        )
        found = str(made["Id"])
        await self.call("POST", f"/containers/{found}/start")
        asked = await self.call(
            "POST",
            f"/containers/{found}/exec",
            {"Cmd": _COMMAND, "AttachStdout": True, "AttachStderr": True},
        )
        await self.call("POST", f"/exec/{asked['Id']}/start", {"Detach": False})
        ended = await self.call("GET", f"/exec/{asked['Id']}/json")
        if ended["Running"] or ended["ExitCode"]:
            raise RuntimeError(f"the command did not end well: {ended}")
        return found

    async def remove(self, container: str) -> None:
        """End it."""
        await self.call("DELETE", f"/containers/{container}?force=true&timeout=0")


async def create(service: Service, count: int) -> dict[str, Any]:
    """From the request to the answer of the first command, one after the other."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        container = await service.start()
        taken.append(time.perf_counter() - began)
        await service.remove(container)
    return {"seconds": taken}


async def crowd(service: Service, count: int) -> dict[str, Any]:
    """So many at once, until each has answered its first command."""
    began = time.perf_counter()
    made = await asyncio.gather(*(service.start() for _ in range(count)))
    took = time.perf_counter() - began
    for container in made:
        await service.remove(container)
    return {"seconds": took}


async def main() -> None:
    """Do one job."""
    jobs = {job.__name__: job for job in (create, crowd)}
    job, address, number = sys.argv[1:4]
    print(json.dumps(await jobs[job](Service(address), int(number))))


if __name__ == "__main__":
    asyncio.run(main())
