"""A way from here to a server in the lab: sockets stay in their namespace."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.lab.lab import Lab


@contextlib.contextmanager
def reachable(lab: Lab, url: str) -> Iterator[str]:
    """The URL, on loopback here, of what listens at *url* in the lab."""
    parts = urlsplit(url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = str(listener.fileno())
        argv = (sys.executable, "-m", "tests.lab.relay", number)
        process = lab.popen_host(
            (*argv, str(parts.hostname), str(parts.port)), pass_fds=(listener.fileno(),)
        )
        try:
            yield f"{parts.scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()
            process.wait()


async def _relay(listener: socket.socket, host: str, port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection(host, port)
        await asyncio.gather(_copy(reader, there), _copy(there_reader, writer))

    server = await asyncio.start_server(serve, sock=listener)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


if __name__ == "__main__":
    fd, where, which = sys.argv[1:]
    asyncio.run(_relay(socket.socket(fileno=int(fd)), where, int(which)))
