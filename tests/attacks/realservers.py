"""Servers of real protocols, for real clients; runs among the lab's servers.

`python -m tests.attacks.realservers DIRECTORY CERTIFICATE` serves what is in DIRECTORY
(bare git repositories too) on the usual ports, IPv4 and IPv6: HTTP, HTTPS, SMTP and FTP
with STARTTLS, PostgreSQL with its request for TLS, and the first words of MySQL. The
protocols are as small as their clients let them be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
import threading
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socket import AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, MSG_WAITALL
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

DIRECTORY = Path(sys.argv[1])
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
PASSIVE_PORT = 30_021


class DualServer(ThreadingTCPServer):
    """Listens for both families, a thread for each connection."""

    allow_reuse_address = True

    address_family = AF_INET6
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, with IPv4 among the addresses."""
        self.socket.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
        super().server_bind()


class Files(BaseHTTPRequestHandler):
    """Git's smart protocol under `*.git`, a greeting elsewhere."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request of either method."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        if ".git" in parts.path:
            self._git(parts.path, parts.query, body)
            return
        self._answer(200, [("Content-Type", "text/plain")], b"hello, " + body)

    do_POST = do_GET  # noqa: N815 - the name http.server looks for

    def _git(self, path: str, query: str, body: bytes) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(DIRECTORY),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        command = ["git", "-c", "safe.directory=*", "http-backend"]
        done = subprocess.run(
            command, input=body, env=environment, capture_output=True, check=False
        )
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().split("\r\n")]
        status = next((f[1] for f in fields if f[0] == "Status"), "200")
        self._answer(int(status.split()[0]), [(f[0], f[1]) for f in fields], rest)

    def _answer(self, status: int, fields: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for field in fields:
            self.send_header(*field)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


async def smtp(reader: Reader, writer: Writer) -> None:
    """Take a message; STARTTLS may come before it."""
    writer.write(b"220 mail ready\r\n")
    secure = False
    while line := await reader.readline():
        verb = line.split()[0].upper() if line.split() else b""
        if verb == b"STARTTLS":
            writer.write(b"220 go ahead\r\n")
            await writer.start_tls(CONTEXT)
            secure = True
        elif verb == b"EHLO":
            offer = b"" if secure else b"250-STARTTLS\r\n"
            writer.write(b"250-mail\r\n" + offer + b"250 8BITMIME\r\n")
        elif verb == b"DATA":
            writer.write(b"354 go on\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 taken over TLS\r\n" if secure else b"250 taken\r\n")
        elif verb == b"QUIT":
            writer.write(b"221 bye\r\n")
            return
        else:
            writer.write(b"250 fine\r\n")


class Ftp:
    """Sends one file in passive mode; AUTH TLS may come before it."""

    def __init__(self) -> None:
        self.data: asyncio.Queue[Writer] = asyncio.Queue()

    async def taken(self, _: Reader, writer: Writer) -> None:
        """A data connection."""
        await self.data.put(writer)
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """A control connection."""
        writer.write(b"220 files ready\r\n")
        while line := await reader.readline():
            verb = line.split()[0].upper()
            if verb == b"AUTH":
                writer.write(b"234 go ahead\r\n")
                await writer.start_tls(CONTEXT)
            elif verb == b"RETR":
                writer.write(b"150 here it comes\r\n")
                data = await self.data.get()
                data.write((DIRECTORY / "file").read_bytes())
                data.close()
                writer.write(b"226 done\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(self._said(verb, writer))

    @staticmethod
    def _said(verb: bytes, writer: Writer) -> bytes:
        address = writer.get_extra_info("sockname")[0].removeprefix("::ffff:")
        octets = ",".join([*address.split("."), *map(str, divmod(PASSIVE_PORT, 256))])
        return {
            b"USER": b"331 password\r\n",
            b"PASS": b"230 welcome\r\n",
            b"PWD": b'257 "/"\r\n',
            b"EPSV": b"229 passive (|||%d|)\r\n" % PASSIVE_PORT,
            b"PASV": f"227 passive ({octets})\r\n".encode(),
            b"SIZE": b"502 no\r\n",
        }.get(verb, b"200 fine\r\n")


def message(kind: bytes, body: bytes) -> bytes:
    """A message of PostgreSQL."""
    return kind + (len(body) + 4).to_bytes(4, "big") + body


async def postgres(reader: Reader, writer: Writer) -> None:
    """The server speaks second: it answers every query with its text, as one row."""
    secure = False
    while True:
        size = int.from_bytes(await reader.readexactly(4), "big")
        start = await reader.readexactly(size - 4)
        if start == bytes.fromhex("04d2162f"):
            writer.write(b"S")
            await writer.start_tls(CONTEXT)
            secure = True
        elif start[:2] == b"\0\3":
            break
        else:
            writer.write(b"N")  # No GSSAPI.
    ready = message(b"Z", b"I")
    writer.write(message(b"R", bytes(4)) + ready)
    while (kind := await reader.readexactly(1)) != b"X":
        size = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(size - 4)
        if kind == b"Q":
            column = b"secure\0" + bytes(6) + bytes.fromhex("00000019ffffffffffff0000")
            value = str(secure).encode()
            row = b"\0\1" + len(value).to_bytes(4, "big") + value
            writer.write(
                message(b"T", b"\0\1" + column)
                + message(b"D", row)
                + message(b"C", b"SELECT 1\0")
                + ready
            )


class Mysql(BaseRequestHandler):
    """The server's greeting, then TLS.

    The client's hello may be in the same segment as its request for TLS, so that not an
    octet too many may be read.
    """

    def handle(self) -> None:
        """Greet, and shake hands."""
        # Protocol 41, SSL, secure connection and plugins.
        flags = 0x0000_0200 | 0x0000_0800 | 0x0000_8000 | 0x0008_0000
        low, high = flags.to_bytes(4, "little")[:2], flags.to_bytes(4, "little")[2:]
        greeting = (
            b"\x0a8.0.0-test\0" + bytes(4) + b"12345678\0" + low + b"\x21\2\0" + high
            + b"\x15" + bytes(10) + b"123456789012\0mysql_native_password\0"
        )  # fmt: skip
        self.request.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
        size = int.from_bytes(self.request.recv(4, MSG_WAITALL)[:3], "little")
        self.request.recv(size, MSG_WAITALL)
        with (
            contextlib.suppress(OSError),
            CONTEXT.wrap_socket(self.request, server_side=True) as tls,
        ):
            tls.recv(1)


async def main() -> None:
    """Listen everywhere."""
    CONTEXT.load_cert_chain(sys.argv[2])
    for port, handler in ((80, Files), (443, Files), (3306, Mysql)):
        server = DualServer(("::", port), handler)
        if port == 443:
            server.socket = CONTEXT.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ftp = Ftp()
    services = {
        21: ftp.serve, 25: smtp, 587: smtp, 5432: postgres,
        PASSIVE_PORT: ftp.taken,
    }  # fmt: skip
    for port, serve in services.items():
        await asyncio.start_server(_closing(serve), None, port)
    await asyncio.Event().wait()


Serve = Callable[[Reader, Writer], Awaitable[None]]


def _closing(serve: Serve) -> Serve:
    """Close what *serve* leaves open; clients may go when they like."""

    async def served(reader: Reader, writer: Writer) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
            await serve(reader, writer)
            await writer.drain()
        writer.close()

    return served


if __name__ == "__main__":
    asyncio.run(main())
