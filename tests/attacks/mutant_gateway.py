"""What the gateway lacks under each mutant: `tests.attacks.mutants`.

Each function is given a module of the product, just imported, and changes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def verdict(word: str, reason: str) -> Callable[[Any], None]:
    """Force every decision."""

    def patch(decide: Any) -> None:
        forced = decide.Decision(decide.Verdict[word], decide.Reason[reason])
        decide.decide = lambda policy, guardrails, flow: forced

    return patch


def no_guardrails(decide: Any) -> None:
    """Have no zones but the public one, and no addresses of the machine."""
    public = decide.Zone.PUBLIC
    decide.zone_of = lambda address: public
    decide._barred = lambda *_: None


def all_is_opaque(sniff: Any) -> None:
    """Recognise nothing."""
    sniff.sniff = lambda data: sniff._OPAQUE if data else None


def doubts_are_opaque(sniff: Any) -> None:
    """Take what is odd for what carries no name."""
    strict = sniff.sniff

    def lenient(data: bytes) -> Any:
        try:
            return strict(data)
        except sniff.SniffError:
            return sniff._OPAQUE

    sniff.sniff = lenient


def http2_is_opaque(sniff: Any) -> None:
    """Know nothing of the preface of HTTP/2."""
    sniff._H2C = sniff._OPAQUE


def careless_heads(head: Any) -> None:
    """Read a request as a careless server does: the first Host, whatever else is odd."""

    def careless(octets: bytes) -> Any:
        lines = octets.replace(b"\r\n", b"\n").strip(b"\n").split(b"\n")
        words = [*lines[0].split(), b"/", b"HTTP/1.1"]
        fields = [line.partition(b":")[::2] for line in lines[1:]]
        found = {key.strip().lower(): value.strip() for key, value in reversed(fields)}
        host = found.get(b"host") or b"a.test"
        chunked = b"chunked" in found.get(b"transfer-encoding", b"")
        length = int(
            "0" + "".join(filter(str.isdigit, str(found.get(b"content-length"))))
        )
        framing = head.Framing.LENGTH if length else head.Framing.NONE
        return head.RequestHead(
            method=words[0].decode("latin-1"),
            target=words[1].decode("latin-1"),
            version=(1, 1),
            host=host.split()[0].decode("latin-1").partition(":")[0],
            port=None,
            framing=head.Framing.CHUNKED if chunked else framing,
            content_length=0 if chunked else length,
            upgrade=None,
            keep_alive=True,
            size=len(octets),
            expect_continue=False,
        )

    head.parse_whole_head = careless


def bodies_without_end(http1: Any) -> None:
    """Take all that follows the first head for its body."""

    def expect_body(self: Any, _: Any) -> None:
        self._state = http1._State.BODY
        self._left = 1 << 40

    http1.RequestStream._expect_body = expect_body


def first_request_only(http: Any) -> None:
    """Judge no request of a connection but its first, which is judged elsewhere."""
    http.RequestRelay._check = lambda self, head: None


def connect_passes(http: Any) -> None:
    """Judge CONNECT by its Host, as any request."""

    def judge_head(devbox: Any, head: Any, port: int) -> Any:
        name = http.Hostname.parse(head.host)
        return name, devbox.decide(http.Flow(port, name=name))

    http.judge_head = judge_head


def upgrades_by_word(http: Any) -> None:
    """Stop to read at any request for an upgrade."""

    async def forward_head(self: Any, event: Any) -> bool:
        self._check(event.head)
        await self._relay.send(event.raw)
        return b"upgrade:" in event.raw.lower()

    http.RequestRelay._forward_head = forward_head


def where_the_client_says(dialing: Any) -> None:
    """Connect to the address the client used, whatever the name."""

    async def dial_name(
        services: Any, devbox: Any, name: Any, port: int, prefer: Any
    ) -> Any:
        side = await services.dialer.dial(prefer, port, devbox.events)
        return side, dialing.Flow(port, address=prefer, name=name)

    dialing.dial_name = dial_name


def any_question(dns: Any) -> None:
    """Ask whatever a devbox asks, in its own words; all but AAAA counts as A."""
    asked: dict[tuple[str, int], bytes] = {}
    usual = dns.render_query

    def parse_query(data: bytes) -> Any:
        at, labels = 12, []
        while at < len(data) and 0 < data[at] < 64:
            labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
            at += 1 + data[at]
        name = ".".join(labels).replace("\0", ".").lower()
        is_aaaa = data[at + 1 : at + 3] == b"\0\x1c"
        qtype = dns.QType.AAAA if is_aaaa else dns.QType.A
        asked[name, qtype] = data
        question = dns.Question(name, qtype, 1, data[12 : at + 5])
        number = int.from_bytes(data[:2], "big")
        return dns.Query(number, question, True, False, 1232, True)

    def render_query(message_id: int, name: str, qtype: int) -> bytes:
        raw = asked.get((name.lower(), qtype))
        if raw is None:
            return usual(message_id, name, qtype)
        # The spelling of the resolver's, so that answers are recognised.
        spelled = raw[12:].replace(_labels(name.lower()), _labels(name))
        return message_id.to_bytes(2, "big") + raw[2:12] + spelled

    dns.parse_query = parse_query
    dns.render_query = render_query


def _labels(name: str) -> bytes:
    return b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))


def any_answer(dns_answer: Any) -> None:
    """Believe an answer whatever it answers, and every address in it."""
    strict = dns_answer.parse_answer
    # Of any owner, in any section.
    addresses = re.compile(rb"\x00\x01\x00\x01....\x00\x04(....)", re.DOTALL)

    def reread(data: bytes, message_id: int, name: str, qtype: int) -> Any:
        end = 12
        while end < len(data) and data[end]:
            end += 1 + data[end]
        asked = dns_answer.encode_name(name) + qtype.to_bytes(2, "big") + b"\0\1"
        answered = message_id.to_bytes(2, "big") + data[2:12] + asked + data[end + 5 :]
        # Records point to the question at octet 12: its length does not matter.
        return strict(answered, message_id=message_id, name=name, qtype=qtype)

    def parse_answer(data: bytes, *, message_id: int, name: str, qtype: int) -> Any:
        found = addresses.findall(data)
        try:
            read = reread(data, message_id, name, qtype)
        except dns_answer.WireError:
            if qtype != dns_answer.QType.A:
                raise
            read, found = None, [data[-4:]]
        if qtype != dns_answer.QType.A or (read and len(found) <= len(read.addresses)):
            return read
        records = tuple(
            dns_answer.Record(name.lower(), qtype, 60, dns_answer.IPv4Address(one))
            for one in found
        )
        return dns_answer.Answer(dns_answer.Rcode(0), records, 60, truncated=False)

    dns_answer.parse_answer = parse_answer
    dns_answer.MAX_CHAIN = 64


def all_addresses(dns: Any) -> None:
    """Remove no address from an answer."""
    dns.DnsAnswerer._removed = lambda self, devbox, name, address: None


def remember_everything(dns: Any) -> None:
    """Keep the answer to any question, however long that is."""
    dns.MAX_REMEMBERED = 1 << 16


def quic_passes(udp: Any) -> None:
    """Know no port of QUIC."""
    udp.QUIC_PORT = -1


def no_revocation(devboxes: Any) -> None:
    """Leave flows alone when the policy changes."""
    devboxes.AttachedDevbox.recheck_flows = lambda self: 0


def no_updates(devboxes: Any) -> None:
    """Acknowledge a policy, and go on with the first one."""
    apply = devboxes.AttachedDevbox.apply

    def acknowledge(self: Any, push: Any, *compiled: Any) -> Any:
        if self._push is None:
            return apply(self, push, *compiled)
        return devboxes.Acknowledgement(push.policy_id, push.generation, push.digest, 0)

    devboxes.AttachedDevbox.apply = acknowledge


def no_quarantine(devboxes: Any) -> None:
    """Go on with the policy there is when another cannot be read."""
    devboxes.AttachedDevbox.quarantine = lambda self: 0


def no_limits(services: Any) -> None:
    """Have no bound that one devbox could meet, whatever the machine allows."""
    fields = services.Limits.__dataclass_fields__
    generous = {name: type(field.default)(10**9) for name, field in fields.items()}
    usual = services.Limits.__init__
    services.Limits.__init__ = lambda self, **given: usual(
        self, **{**given, **generous}
    )


def sockets_stay(sides: Any) -> None:
    """Forget a connection without closing its socket."""
    kept: list[Any] = []

    def keep(self: Any) -> None:
        self._leave()
        kept.append(self.sock)

    sides.Side.close = sides.Side.reset = keep


def lossy_streams(pump: Any) -> None:
    """Lose an octet of long streams now and then."""
    whole = pump.Pump._step_stream

    def lossy(self: Any) -> None:
        if self.moved > 1 << 19:
            self._source.sock.recv(1)
        whole(self)

    pump.Pump._step_stream = lossy


def greedy_streams(pump: Any) -> None:
    """Fetch what a client does not read all the same, to no avail."""

    def drop(self: Any) -> None:
        self._left = b""
        if self._held:
            self._pool.discard(self._pipe)
            self._pipe, self._held = None, 0

    pump.Pump._wait_for_target = drop


def impatient(first_bytes: Any) -> None:
    """Wait for what a client says first no longer than if only that could name it."""
    reader = first_bytes.FirstBytesReader
    usual, read = reader.__init__, reader.read

    async def read_soon(self: Any) -> Any:
        first = await read(self)
        if first.expired:
            raise TimeoutError
        return first

    reader.__init__ = lambda self, client, limits, patient: usual(
        self, client, limits, patient=False
    )
    reader.read = read_soon


def any_resolver(resolver: Any) -> None:
    """Hear whoever speaks, take a failure for an answer, ask the dead again."""
    usual, exchange = resolver.socket, resolver.UplinkResolver._exchange

    class Loose(usual.socket):  # type: ignore[misc, name-defined]
        """A socket that is not connected to whom it asks."""

        def connect(self, target: Any) -> None:
            self.target = target

        def send(self, data: bytes) -> int:
            return int(self.sendto(data, self.target))

    class Sockets:
        """The module of sockets, with these."""

        socket = Loose

        def __getattr__(self, name: str) -> Any:
            return getattr(usual, name)

    async def exchanged(self: Any, name: Any, qtype: Any) -> Any:
        try:
            return await exchange(self, name, qtype)
        except resolver.ResolveError:
            nothing = resolver.Rcode.NXDOMAIN
            return b"", resolver.Answer(nothing, (), 60, truncated=False)

    resolver.socket = Sockets()
    resolver.UplinkResolver._exchange = exchanged
    resolver.AVOID_SECONDS = 0.0


def no_records(flowlog: Any) -> None:
    """Write nothing."""
    flowlog.FlowLog.write = lambda self, record: None
