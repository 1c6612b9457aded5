"""Answers every DNS question of devboxes, whatever address it was sent to.

Only A and AAAA questions for allowed names are asked of anybody. A denied name is
answered with a sinkhole address and an extended error that says why, and is never
forwarded. The addresses of an answer are what the gateway itself would be allowed to
dial; each is noted as a lookup of the devbox.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from stockade.errors import HostnameError
from stockade.gateway import denials
from stockade.gateway.devboxes import AttachedDevbox, Memo
from stockade.gateway.dialing import with_host_fact
from stockade.gateway.resolver import Resolved, ResolveError
from stockade.gateway.services import Services
from stockade.names import Hostname
from stockade.policy.decide import Decision, Flow, Reason, deny
from stockade.policy.guardrails import Address, Zone, zone_of
from stockade.policy.model import Transport
from stockade.wire.dns import (
    DnsQueryError,
    QType,
    Query,
    Rcode,
    Record,
    parse_query,
    render_response,
)

DNS_PORT = 53
DENIED_TTL = 1
MAX_MEMO = 4_096
#: Longer questions are read anew each time: options could make each of them large.
MAX_REMEMBERED = 320
TCP_MESSAGE = 65_535
# RFC 8914.
EDE_FILTERED = 17
EDE_NO_AUTHORITY = 22

_MEMO_SECONDS = 1.0
_UNASKED = frozenset((QType.ANY, 251, 252))  # ANY, IXFR, AXFR


class DnsAnswerer:
    """Turns a question of a devbox into an answer. Transport is the caller's affair."""

    def __init__(self, services: Services, clock: Callable[[], float]) -> None:
        self._services = services
        self._clock = clock

    def answer_at_once(self, devbox: AttachedDevbox, rest: bytes) -> bytes | None:
        """The answer if the same was answered just now, both without message id."""
        memo = devbox.memo.get(rest)
        if memo is None or memo.expires <= self._clock():
            return None
        memo.count()
        return memo.body

    async def answer(
        self, devbox: AttachedDevbox, message: bytes, *, max_size: int | None = None
    ) -> bytes | None:
        """The answer to *message*, or None; None for *max_size* is the client's own."""
        try:
            query = parse_query(message)
        except DnsQueryError as error:
            return self._refuse_unreadable(devbox, message, error)
        question = query.question
        qtype = _type_name(question.qtype)
        try:
            name = Hostname.parse(question.name)
        except HostnameError:
            decision = deny(Reason.DNS_UNPARSEABLE)
            self._note(devbox, decision, question.name, qtype)
            return render_response(query, rcode=Rcode.NXDOMAIN, max_size=max_size)
        decision = devbox.decide(Flow(DNS_PORT, Transport.UDP, name=name))
        if not decision.allowed:
            self._note(devbox, decision, name.text, qtype)
            return self._deny(devbox, query, name, decision, max_size)
        if question.qtype not in (QType.A, QType.AAAA):
            return await self._other_type(devbox, query, name, decision, max_size)
        return await self._addresses(devbox, query, name, decision, message, max_size)

    async def _addresses(
        self,
        devbox: AttachedDevbox,
        query: Query,
        name: Hostname,
        decision: Decision,
        message: bytes,
        max_size: int | None,
    ) -> bytes:
        qtype = query.question.qtype
        resolved = self._services.resolver.cached(name, qtype)
        if resolved is None:
            exhausted = devbox.questions.refuse(name, decision, self._clock())
            if exhausted:
                self._note(devbox, exhausted, name.text, _type_name(qtype))
                return render_response(query, rcode=Rcode.REFUSED, max_size=max_size)
            devbox.questions.in_flight += 1
            try:
                resolved = await self._services.resolver.resolve(name, qtype)
            except ResolveError as error:
                self._note(
                    devbox, decision, name.text, _type_name(qtype), error=str(error)
                )
                return render_response(
                    query,
                    rcode=Rcode.SERVFAIL,
                    ede=(EDE_NO_AUTHORITY, str(error)[:200]),
                    max_size=max_size,
                )
            finally:
                devbox.questions.in_flight -= 1
        return self._answer_with(
            devbox, query, name, decision, resolved, message, max_size
        )

    def _answer_with(
        self,
        devbox: AttachedDevbox,
        query: Query,
        name: Hostname,
        decision: Decision,
        resolved: Resolved,
        message: bytes,
        max_size: int | None,
    ) -> bytes:
        """Answer from *resolved*, without the addresses the devbox may not reach."""
        now = self._clock()
        qtype = _type_name(query.question.qtype)
        records, addresses, barred = self._vet(devbox, name, resolved, now)
        if barred is not None and not addresses:
            self._note(devbox, barred, name.text, qtype)
            return render_response(
                query,
                rcode=Rcode.NOERROR,
                ede=(
                    EDE_FILTERED,
                    denials.dns_text(devbox.subject, barred, name.text),
                ),
                max_size=max_size,
            )
        for address in addresses:
            devbox.lookups.record(name, address)
        count = self._services.log.question(
            devbox.subject,
            decision,
            name=name.text,
            qtype=qtype,
            addresses=tuple(map(str, addresses)),
        )
        response = render_response(
            query, rcode=resolved.answer.rcode, records=records, max_size=max_size
        )
        if max_size is None and len(message) <= MAX_REMEMBERED:
            if len(devbox.memo) >= MAX_MEMO:
                devbox.memo.clear()  # Nearly all have expired by then.
            devbox.memo[message[2:]] = Memo(
                response[2:],
                min(now + _MEMO_SECONDS, resolved.expires),
                count.add,
            )
        return response

    def _vet(
        self, devbox: AttachedDevbox, name: Hostname, resolved: Resolved, now: float
    ) -> tuple[Sequence[Record], list[Address], Decision | None]:
        """The records to give, the addresses among them, and why others were removed."""
        left = max(int(resolved.expires - now), 0)
        records: list[Record] = []
        addresses: list[Address] = []
        barred: Decision | None = None
        for record in resolved.answer.records:
            address = record.data
            if isinstance(address, IPv4Address | IPv6Address):
                removed = self._removed(devbox, name, address)
                if removed is not None:
                    barred = removed
                    continue
                addresses.append(address)
            records.append(replace(record, ttl=min(record.ttl, left)))
        return records, addresses, barred

    def _removed(
        self, devbox: AttachedDevbox, name: Hostname, address: Address
    ) -> Decision | None:
        """Why *address* is not given to the devbox, or None.

        A private address is given where any port of it is allowed: the port is judged
        when it is dialled.
        """
        facts = with_host_fact(
            self._services, Flow(DNS_PORT, Transport.TCP, address, name)
        )
        decision = devbox.decide(facts)
        if decision.allowed:
            return None
        if (
            decision.reason is Reason.GUARDRAIL_PRIVATE
            and zone_of(address) is Zone.PRIVATE
            and not devbox.policy.allow_all
            and devbox.policy.cidrs_for(address)
        ):
            return None
        return decision

    async def _other_type(
        self,
        devbox: AttachedDevbox,
        query: Query,
        name: Hostname,
        decision: Decision,
        max_size: int | None,
    ) -> bytes:
        """A question for something other than addresses: there is nothing.

        TXT and its like are channels, and HTTPS records carry keys and addresses that
        would go around the gateway. Who may reach everything may ask everything.
        """
        qtype = query.question.qtype
        if not devbox.policy.allow_all or qtype in _UNASKED:
            self._note(devbox, deny(Reason.DNS_TYPE), name.text, _type_name(qtype))
            return render_response(query, rcode=Rcode.NOERROR, max_size=max_size)
        exhausted = devbox.questions.refuse(name, decision, self._clock())
        if exhausted:
            self._note(devbox, exhausted, name.text, _type_name(qtype))
            return render_response(query, rcode=Rcode.REFUSED, max_size=max_size)
        try:
            relayed = await self._services.resolver.relay(name, qtype)
        except ResolveError as error:
            self._note(devbox, decision, name.text, _type_name(qtype), error=str(error))
            return render_response(query, rcode=Rcode.SERVFAIL, max_size=max_size)
        self._note(devbox, decision, name.text, _type_name(qtype))
        if len(relayed) > (max_size or query.udp_payload):
            return render_response(query, rcode=Rcode.NOERROR, max_size=0)
        raw = query.question.raw
        header = query.message_id.to_bytes(2, "big") + relayed[2:12]
        return header + raw + relayed[12 + len(raw) :]

    def _deny(
        self,
        devbox: AttachedDevbox,
        query: Query,
        name: Hostname,
        decision: Decision,
        max_size: int | None,
    ) -> bytes:
        ede = (
            denials.EDE_BLOCKED,
            denials.dns_text(devbox.subject, decision, name.text),
        )
        rcode = Rcode.NOERROR
        records: tuple[Record, ...] = ()
        if self._services.denied_answer == "nxdomain":
            rcode = Rcode.NXDOMAIN
        elif self._services.denied_answer == "refused":
            rcode = Rcode.REFUSED
        elif query.question.qtype == QType.A:
            address = devbox.sinkhole.address_for(name)
            records = (Record(query.question.name, QType.A, DENIED_TTL, address),)
        return render_response(
            query, rcode=rcode, records=records, ede=ede, max_size=max_size
        )

    def _refuse_unreadable(
        self, devbox: AttachedDevbox, message: bytes, error: DnsQueryError
    ) -> bytes | None:
        self._note(devbox, deny(Reason.DNS_UNPARSEABLE), "", "?")
        if error.rcode is None:
            return None
        flags = 0x8000 | (message[2] & 0x79) << 8 | error.rcode
        return message[:2] + flags.to_bytes(2, "big") + bytes(8)

    def _note(
        self,
        devbox: AttachedDevbox,
        decision: Decision,
        name: str,
        qtype: str,
        error: str | None = None,
    ) -> None:
        self._services.log.question(
            devbox.subject, decision, name=name, qtype=qtype, error=error
        )


def _type_name(qtype: int) -> str:
    """As `AAAA`, or `TYPE65280` for a type without a name here (RFC 3597)."""
    try:
        return QType(qtype).name
    except ValueError:
        return f"TYPE{qtype}"
