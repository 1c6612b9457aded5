"""Asks the uplink's resolvers, and remembers the answers for their time to live.

A question is rebuilt from scratch: nothing a devbox wrote but the name and the type
reaches a resolver. Each attempt has its own socket, so a random source port, a random
id, and random letter case ("0x20", draft-vixie-dnsext-dns0x20); an answer must match
all of them.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stockade.errors import WireError
from stockade.gateway.upstream import Uplink
from stockade.names import Hostname
from stockade.policy.guardrails import Address
from stockade.wire.dns import Answer, QType, Rcode, parse_answer, render_query
from stockade.wire.dns_answer import UnrelatedMessage

ATTEMPT_TIMEOUT = 2.0
ATTEMPTS = 3
CACHE_ENTRIES = 20_000
#: How long a resolver that gave no answer in time is asked only after the others.
AVOID_SECONDS = 30.0
MIN_TTL = 1
MAX_TTL = 3_600
DNS_PORT = 53

_MAX_DATAGRAM = 4_096


class ResolveError(Exception):
    """No resolver gave a usable answer."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An answer, and the moment (of the resolver's clock) at which it expires."""

    answer: Answer
    expires: float


class Resolver(Protocol):
    """Answers questions for names that are allowed."""

    def cached(self, name: Hostname, qtype: int) -> Resolved | None:
        """The answer that is known already, or None."""

    async def resolve(self, name: Hostname, qtype: int) -> Resolved:
        """The answer, asked for if need be. Raises `ResolveError`."""


class UplinkResolver:
    """A caching stub resolver over the uplink's recursive ones.

    Equal questions in flight are asked once. The cache holds at most `CACHE_ENTRIES`,
    the oldest are forgotten first.
    """

    def __init__(
        self,
        uplink: Uplink,
        clock: Callable[[], float],
        *,
        attempt_timeout: float = ATTEMPT_TIMEOUT,
    ) -> None:
        self._uplink = uplink
        self._clock = clock
        self._timeout = attempt_timeout
        self._cache: dict[tuple[str, int], Resolved] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[Resolved]] = {}
        self._avoided: dict[Address, float] = {}

    def cached(self, name: Hostname, qtype: int) -> Resolved | None:
        """The answer that is known already, or None."""
        found = self._cache.get((name.text, qtype))
        if found is None or found.expires <= self._clock():
            return None
        return found

    async def resolve(self, name: Hostname, qtype: int) -> Resolved:
        """The answer, asked for if need be. Raises `ResolveError`."""
        found = self.cached(name, qtype)
        if found is not None:
            return found
        key = (name.text, qtype)
        task = self._asking.get(key)
        if task is None:
            # Not a child of the caller: others wait for the same answer when it goes
            # away.
            task = asyncio.get_running_loop().create_task(self._ask(name, qtype))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    async def relay(self, name: Hostname, qtype: int) -> bytes:
        """An answer of any type, whole, for devboxes that may reach everything.

        It is checked to answer this question and is not cached. Raises `ResolveError`.
        """
        message, _ = await self._exchange(name, qtype)
        return message

    def stop(self) -> None:
        """Cancel the questions in flight."""
        for task in tuple(self._asking.values()):
            task.cancel()

    def _forget(self, key: tuple[str, int], task: asyncio.Task[Resolved]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # Seen by the waiters, if there are any left.

    async def _ask(self, name: Hostname, qtype: int) -> Resolved:
        _, answer = await self._exchange(name, qtype)
        ttl = min(max(answer.ttl, MIN_TTL), MAX_TTL)
        resolved = Resolved(answer, self._clock() + ttl)
        self._cache.pop((name.text, qtype), None)
        if len(self._cache) >= CACHE_ENTRIES:
            del self._cache[next(iter(self._cache))]
        self._cache[(name.text, qtype)] = resolved
        return resolved

    async def _exchange(self, name: Hostname, qtype: int) -> tuple[bytes, Answer]:
        """Ask one resolver after the other until one gives a usable answer."""
        resolvers = self._in_order(self._uplink.resolvers())
        if not resolvers:
            raise ResolveError("the machine has no resolver in /etc/resolv.conf")
        problem = "no answer"
        for attempt in range(max(ATTEMPTS, len(resolvers))):
            resolver = resolvers[attempt % len(resolvers)]
            try:
                async with asyncio.timeout(self._timeout):
                    message, answer = await self._ask_one(resolver, name, qtype)
            except TimeoutError:
                self._avoided[resolver] = self._clock() + AVOID_SECONDS
                problem = f"{resolver}: no answer within {self._timeout:g} s"
            except (OSError, WireError) as error:
                problem = f"{resolver}: {error}"
            else:
                if answer.rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
                    return message, answer
                problem = f"{resolver}: {answer.rcode.name}"
        raise ResolveError(problem)

    def _in_order(self, resolvers: tuple[Address, ...]) -> list[Address]:
        """First those that answer: each question would wait for one that is dead."""
        now = self._clock()
        self._avoided = {r: until for r, until in self._avoided.items() if until > now}
        # The sort is stable: among equals the order of the machine holds.
        return sorted(resolvers, key=self._avoided.__contains__)

    async def _ask_one(
        self, resolver: Address, name: Hostname, qtype: int
    ) -> tuple[bytes, Answer]:
        message_id = secrets.randbelow(1 << 16)
        spelled = _random_case(name.text)
        query = render_query(message_id, spelled, qtype)
        target = (str(resolver), DNS_PORT)
        family = socket.AF_INET if resolver.version == 4 else socket.AF_INET6

        def read(message: bytes) -> Answer:
            return parse_answer(
                message, message_id=message_id, name=spelled, qtype=qtype
            )

        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(target)
            sock.send(query)
            while True:
                message = await loop.sock_recv(sock, _MAX_DATAGRAM)
                try:
                    answer = read(message)
                except UnrelatedMessage:
                    continue
                if not answer.truncated:
                    return message, answer
                break
        message = await _ask_by_tcp(target, family, query)
        answer = read(message)
        if answer.truncated:
            raise WireError("an answer by TCP that is not whole")
        return message, answer


async def _ask_by_tcp(
    target: tuple[str, int], family: socket.AddressFamily, query: bytes
) -> bytes:
    """RFC 7766: the same question over TCP, for an answer too long for a datagram."""
    reader, writer = await asyncio.open_connection(*target, family=family)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise WireError("the connection ended within an answer") from None
    finally:
        writer.close()


def _random_case(name: str) -> str:
    """The name with each letter in random case."""
    bits = secrets.randbits(len(name))
    return "".join(
        letter.upper() if bits >> index & 1 else letter
        for index, letter in enumerate(name)
    )


def address_qtype(address: Address) -> QType:
    """The question whose answers have the family of *address*."""
    return QType.A if address.version == 4 else QType.AAAA
