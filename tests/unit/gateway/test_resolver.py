"""The resolver against a DNS server on loopback that behaves, and one that does not."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest

from stockade.gateway import resolver as module
from stockade.gateway.resolver import ResolveError, UplinkResolver, address_qtype
from stockade.names import Hostname
from stockade.wire.dns import QType, Rcode
from tests.unit.gateway.fakes import Clock, FakeUplink, run

A = Hostname("a.test")
GOOD, OTHER = "203.0.113.10", "203.0.113.66"

Reply = Callable[[dns.message.Message, int], list[dns.message.Message | bytes]]


def answered(
    query: dns.message.Message, *addresses: str, ttl: int = 60
) -> dns.message.Message:
    """An answer to *query* with these addresses."""
    reply = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name
    kind = dns.rdatatype.to_text(query.question[0].rdtype)
    if addresses:
        reply.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *addresses))
    return reply


class Server(asyncio.DatagramProtocol):
    """Answers each question with what *reply* makes of it, and keeps what was asked."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.asked: list[tuple[dns.message.Message, tuple[str, int]]] = []
        self.raw: list[bytes] = []
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        self.asked.append((query, addr))
        self.raw.append(data)
        for reply in self._reply(query, len(self.asked)):
            whole = reply if isinstance(reply, bytes) else reply.to_wire()
            self._transport.sendto(whole, addr)


@contextlib.asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, reply: Reply, *, resolvers: int = 1, port: int = 0
) -> AsyncIterator[tuple[Server, UplinkResolver, Clock]]:
    loop = asyncio.get_running_loop()
    server = Server(reply)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", port)
    )
    monkeypatch.setattr(module, "DNS_PORT", transport.get_extra_info("sockname")[1])
    uplink = FakeUplink(resolvers_=(ip_address("127.0.0.1"),) * resolvers)
    clock = Clock()
    resolver = UplinkResolver(uplink, clock, attempt_timeout=0.15)
    try:
        yield server, resolver, clock
    finally:
        resolver.stop()
        transport.close()
        await asyncio.sleep(0.01)


def addresses(found: module.Resolved) -> list[str]:
    return [str(address) for address in found.answer.addresses]


def test_an_answer_is_cached_for_its_time_to_live(monkeypatch) -> None:
    async def main() -> None:
        async with serving(
            monkeypatch, lambda query, _: [answered(query, GOOD, ttl=30)]
        ) as (server, resolver, clock):
            assert resolver.cached(A, QType.A) is None
            found = await resolver.resolve(A, QType.A)
            assert addresses(found) == [GOOD]
            assert found.expires == clock.now + 30
            assert await resolver.resolve(A, QType.A) == found
            clock.now += 29.9
            assert resolver.cached(A, QType.A) == found
            clock.now += 0.2
            assert resolver.cached(A, QType.A) is None
            await resolver.resolve(A, QType.A)
            assert len(server.asked) == 2

    run(main())


@pytest.mark.parametrize(("ttl", "kept"), [(0, 1), (7, 7), (86_400, 3_600)])
def test_the_time_to_live_is_clamped(monkeypatch, ttl: int, kept: int) -> None:
    async def main() -> None:
        async with serving(
            monkeypatch, lambda query, _: [answered(query, GOOD, ttl=ttl)]
        ) as (_, resolver, clock):
            found = await resolver.resolve(A, QType.A)
            assert found.expires == clock.now + kept

    run(main())


def test_equal_questions_in_flight_are_asked_once(monkeypatch) -> None:
    async def main() -> None:
        async with serving(monkeypatch, lambda query, _: [answered(query, GOOD)]) as (
            server,
            resolver,
            _,
        ):
            asked = (resolver.resolve(A, QType.A) for _ in range(50))
            found = await asyncio.gather(*asked)
            assert len({id(each) for each in found}) == 1
            assert len(server.asked) == 1

    run(main())


def test_one_waiter_who_leaves_does_not_cancel_the_others(monkeypatch) -> None:
    async def main() -> None:
        async with serving(
            monkeypatch,
            lambda query, count: [answered(query, GOOD)] if count > 1 else [],
        ) as (_, resolver, _):
            loop = asyncio.get_running_loop()
            leaver = loop.create_task(resolver.resolve(A, QType.A))
            stayer = loop.create_task(resolver.resolve(A, QType.A))
            await asyncio.sleep(0.02)
            leaver.cancel()
            assert addresses(await stayer) == [GOOD]

    run(main())


def test_nothing_of_the_devbox_but_name_and_type_is_asked(monkeypatch) -> None:
    """Rebuilt from scratch: RD, EDNS without options, and nothing else."""

    async def main() -> None:
        async with serving(monkeypatch, lambda query, _: [answered(query, GOOD)]) as (
            server,
            resolver,
            _,
        ):
            await resolver.resolve(A, QType.A)
            query = server.asked[0][0]
            assert len(query.question) == 1
            assert not query.answer
            assert not query.authority
            assert query.edns == 0
            assert query.options == ()
            assert dns.flags.to_text(query.flags) == "RD"
            assert str(query.question[0].name).lower() == "a.test."

    run(main())


def test_ports_ids_and_letter_case_are_random(monkeypatch) -> None:
    async def main() -> None:
        async with serving(monkeypatch, lambda query, _: [answered(query, GOOD)]) as (
            server,
            resolver,
            clock,
        ):
            name = Hostname("a-rather-long-name-of-letters.test")
            for _ in range(24):
                await resolver.resolve(name, QType.A)
                clock.now += 100
            assert len({addr[1] for _, addr in server.asked}) > 12
            assert len({query.id for query, _ in server.asked}) > 20
            spelled = {str(query.question[0].name) for query, _ in server.asked}
            assert len(spelled) > 20
            assert {text.lower() for text in spelled} == {name.text + "."}

    run(main())


def wrong_id(query: dns.message.Message) -> dns.message.Message:
    reply = answered(query, OTHER)
    reply.id ^= 1
    return reply


def wrong_case(query: dns.message.Message) -> bytes:
    """What a forger who did not see the question would write."""
    wire = bytearray(answered(query, OTHER).to_wire())
    for at in range(13, 18):
        if chr(wire[at]).isalpha():
            wire[at] ^= 0x20
    return bytes(wire)


def wrong_type(query: dns.message.Message) -> dns.message.Message:
    asked = dns.message.make_query(query.question[0].name, "AAAA", use_edns=0)
    asked.id = query.id
    return answered(asked, "2001:db8::66")


def unasked(query: dns.message.Message) -> dns.message.Message:
    query = dns.message.make_query("d.test", "A", id=query.id)
    return answered(query, OTHER)


FORGED = [
    wrong_id,
    wrong_case,
    wrong_type,
    unasked,
    lambda q: q.to_wire(),
    lambda _: b"",
]


@pytest.mark.parametrize(
    "forge", FORGED, ids=["id", "case", "type", "name", "a question", "nothing"]
)
def test_a_forged_answer_is_waited_past(monkeypatch, forge) -> None:
    async def main() -> None:
        async with serving(
            monkeypatch, lambda query, _: [forge(query), answered(query, GOOD)]
        ) as (server, resolver, _):
            assert addresses(await resolver.resolve(A, QType.A)) == [GOOD]
            assert len(server.asked) == 1

    run(main())


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR"])
def test_the_next_resolver_is_asked_when_one_fails(monkeypatch, rcode: str) -> None:
    def reply(query: dns.message.Message, count: int) -> list[Any]:
        made = answered(query, GOOD) if count > 1 else answered(query)
        if count == 1:
            made.set_rcode(dns.rcode.from_text(rcode))
        return [made]

    async def main() -> None:
        async with serving(monkeypatch, reply, resolvers=2) as (server, resolver, _):
            assert addresses(await resolver.resolve(A, QType.A)) == [GOOD]
            assert len(server.asked) == 2

    run(main())


def test_a_lost_answer_is_asked_for_again_and_at_last_given_up(monkeypatch) -> None:
    async def main() -> None:
        async with serving(monkeypatch, lambda *_: []) as (server, resolver, _):
            with pytest.raises(ResolveError, match=r"no answer within 0\.15 s"):
                await resolver.resolve(A, QType.A)
            assert len(server.asked) == module.ATTEMPTS
            assert resolver.cached(A, QType.A) is None

    run(main())


def test_a_failure_is_not_cached(monkeypatch) -> None:
    def reply(query: dns.message.Message, count: int) -> list[Any]:
        return [answered(query, GOOD)] if count > module.ATTEMPTS else []

    async def main() -> None:
        async with serving(monkeypatch, reply) as (_, resolver, _):
            with pytest.raises(ResolveError):
                await resolver.resolve(A, QType.A)
            assert addresses(await resolver.resolve(A, QType.A)) == [GOOD]

    run(main())


def test_a_name_that_does_not_exist_is_an_answer(monkeypatch) -> None:
    def reply(query: dns.message.Message, _: int) -> list[Any]:
        made = answered(query)
        made.set_rcode(dns.rcode.NXDOMAIN)
        return [made]

    async def main() -> None:
        async with serving(monkeypatch, reply) as (server, resolver, _):
            found = await resolver.resolve(A, QType.A)
            assert found.answer.rcode is Rcode.NXDOMAIN
            assert addresses(found) == []
            assert resolver.cached(A, QType.A) == found
            assert len(server.asked) == 1

    run(main())


def test_a_long_answer_is_asked_for_over_tcp(monkeypatch) -> None:
    def truncated(query: dns.message.Message, _: int) -> list[Any]:
        made = answered(query)
        made.flags |= dns.flags.TC
        return [made]

    async def over_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        size = int.from_bytes(await reader.readexactly(2), "big")
        query = dns.message.from_wire(await reader.readexactly(size))
        whole = answered(query, *(f"203.0.113.{n}" for n in range(1, 60))).to_wire()
        writer.write(len(whole).to_bytes(2, "big") + whole)
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(over_tcp, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with serving(monkeypatch, truncated, port=port) as (_, resolver, _):
            found = await resolver.resolve(A, QType.A)
            assert len(addresses(found)) == 59
        server.close()

    run(main())


def test_without_a_resolver_it_says_so() -> None:
    async def main() -> None:
        resolver = UplinkResolver(FakeUplink(resolvers_=()), Clock())
        with pytest.raises(ResolveError, match=r"resolv\.conf"):
            await resolver.resolve(A, QType.A)

    run(main())


def test_the_cache_is_bounded_and_forgets_the_oldest(monkeypatch) -> None:
    monkeypatch.setattr(module, "CACHE_ENTRIES", 3)

    async def main() -> None:
        async with serving(monkeypatch, lambda query, _: [answered(query, GOOD)]) as (
            _,
            resolver,
            _,
        ):
            names = [Hostname(f"n{number}.test") for number in range(5)]
            for name in names:
                await resolver.resolve(name, QType.A)
            known = [resolver.cached(name, QType.A) is not None for name in names]
            assert known == [False, False, True, True, True]

    run(main())


def test_a_whole_answer_is_relayed_and_not_cached(monkeypatch) -> None:
    def reply(query: dns.message.Message, _: int) -> list[Any]:
        made = dns.message.make_response(query)
        made.answer.append(
            dns.rrset.from_text(query.question[0].name, 60, "IN", "TXT", '"text"')
        )
        return [made]

    async def main() -> None:
        async with serving(monkeypatch, reply) as (server, resolver, _):
            for _ in range(2):
                message = dns.message.from_wire(await resolver.relay(A, 16))
                assert message.answer[0].to_text().endswith('IN TXT "text"')
            assert len(server.asked) == 2

    run(main())


def test_the_question_has_the_family_of_the_address() -> None:
    assert address_qtype(ip_address(GOOD)) is QType.A
    assert address_qtype(ip_address("2001:db8::1")) is QType.AAAA


def test_a_resolver_that_does_not_answer_is_asked_last_for_a_while(monkeypatch) -> None:
    """The first question waits for it, those that follow do not."""

    async def main() -> None:
        async with serving(monkeypatch, lambda query, _: [answered(query, GOOD)]) as (
            server,
            resolver,
            clock,
        ):
            dead, alive = ip_address("127.0.0.2"), ip_address("127.0.0.1")
            resolver._uplink = FakeUplink(resolvers_=(dead, alive))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
                silent.bind((str(dead), module.DNS_PORT))
                silent.setblocking(False)

                for number, asked in enumerate((True, False, False, True)):
                    clock.now += module.AVOID_SECONDS + 1 if number == 3 else 0
                    await resolver.resolve(Hostname(f"{number}.test"), QType.A)
                    assert bool(select.select([silent], [], [], 0)[0]) is asked
                    if asked:
                        silent.recv(512)
                assert len(server.asked) == 4

    run(main())
