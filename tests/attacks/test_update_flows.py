"""A policy changes under flows of every kind: what it does not allow any more ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.agents import policy, running_agent
from tests.attacks.builders import hello
from tests.attacks.processes import wait_until
from tests.attacks.seats import Seat
from tests.lab import Lab
from tests.lab.addresses import v4
from tests.lab.record import Entry

#: The two sides of every change: what stays allowed, and what goes.
STAYS, GOES = ("stays", v4(160), v4(161)), ("goes", v4(162), v4(163))
HOLE = v4(28)  # Nothing that is sent there arrives.
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FRAME = bytes.fromhex("818537fa213d7f9f4d5158")
#: What an open flow of a kind sends and has come back.
ECHO = {"websocket": FRAME}

BY_NAME = ("idle", "up", "down", "websocket", "keepalive", "ssh", "tls", "udp", "early")
BY_CIDR = ("cidr tcp", "cidr udp")
#: Those that are judged by name have shown it, or DNS has, to a gateway that allowed all.
KNOWN = ("idle", "up", "ssh", "tls", "udp")


@pytest.fixture(scope="module")
def seat(lab: Lab, default_image: None) -> Iterator[Seat]:
    for side, named, _ in (STAYS, GOES):
        lab.set_name(f"{side}.test", a=[named])
        lab.set_name(f"{side}-hole.test", a=[HOLE])
    with running_agent(lab) as agent:
        yield Seat(agent, "one", policy())


def lists(*sides: tuple[str, str, str], cidrs: bool = True) -> dict[str, object]:
    """A policy of what belongs to these sides."""
    names = [
        name for side, *_ in sides for name in (f"{side}.test", f"{side}-hole.test")
    ]
    ranges = [{"cidr": f"{address}/32"} for *_, address in sides if cidrs]
    return policy(*names, allowed_cidrs=ranges)


def open_all(seat: Seat, side: tuple[str, str, str]) -> dict[str, str]:
    """A flow of each kind to one side; the name of its socket by kind."""
    name, _, by_cidr = side
    address = seat.resolve(f"{name}.test")
    host = f"{name}.test".encode()
    flows = {kind: f"{kind} {name}" for kind in (*BY_NAME, *BY_CIDR, "dialling")}
    for kind, port in (("idle", 7000), ("up", 7001), ("down", 7002), ("ssh", 22)):
        seat.open(flows[kind], address, port)
    seat.asks(flows["idle"], b"hello\n", b"hello")
    seat.send(flows["up"], b"SINK\n")
    seat.must(do="stream", **{"as": flows["up"]}, up=True)
    seat.send(flows["down"], b"BYTES 9000000000\n")
    seat.must(do="stream", **{"as": flows["down"]}, up=False)
    seat.asks(flows["ssh"], b"SSH-2.0-probe\r\n", b"SSH-")
    seat.open(flows["websocket"], address, 80)
    seat.asks(flows["websocket"], UPGRADE % host, b"\r\n\r\n")
    seat.open(flows["keepalive"], address, 81)
    get(seat, flows["keepalive"], host)
    seat.open(flows["tls"], address, 443)
    seat.must(do="tls", **{"as": flows["tls"]}, name=f"{name}.test")
    seat.asks(flows["tls"], b"hello\n", b"hello")
    seat.open(flows["early"], address, 25)
    assert b"220" in seat.recv(flows["early"], b"220")
    seat.open(flows["udp"], address, 7777, udp=True)
    seat.asks(flows["udp"], b"ping", b"ping")
    seat.open(flows["cidr tcp"], by_cidr, 7100)
    seat.asks(flows["cidr tcp"], b"hello\n", b"hello")
    seat.open(flows["cidr udp"], by_cidr, 7100, udp=True)
    seat.asks(flows["cidr udp"], b"ping", b"ping")
    seat.open(flows["dialling"], seat.resolve(f"{name}-hole.test"), 7200)
    seat.send(flows["dialling"], b"hello\n")
    return flows


def get(seat: Seat, sock: str, host: bytes) -> None:
    seat.asks(sock, b"GET /hello HTTP/1.1\r\nHost: %s\r\n\r\n" % host, b"hello")


def state(seat: Seat, kind: str, sock: str, host: str) -> str:
    """Whether a flow goes on, by using it."""
    if kind in ("up", "down"):
        return seat.state(sock)
    if kind == "dialling":
        return "cut" if seat.ended(sock, 0.3) else "alive"
    if kind == "keepalive":
        request = f"GET /hello HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        return "alive" if seat.echoes(sock, request) else "cut"
    return "alive" if seat.echoes(sock, ECHO.get(kind, b"ping\n")) else "cut"


def states(seat: Seat, side: tuple[str, str, str], flows: dict[str, str]) -> set[str]:
    """The kinds of flow that go on."""
    host = f"{side[0]}.test"
    told = {kind: state(seat, kind, sock, host) for kind, sock in flows.items()}
    assert "stuck" not in told.values(), told
    return {kind for kind, said in told.items() if said == "alive"}


def close_all(seat: Seat, *flows: dict[str, str]) -> None:
    """Close all, and let nothing of it be left for the next change to cut."""
    seat.update(policy())
    for sock in (sock for one in flows for sock in one.values()):
        seat.do(do="close", **{"as": sock})


def arrived(
    lab: Lab, mark: int, side: tuple[str, str, str]
) -> dict[int, tuple[int, str]]:
    """How much of each connection to a side has arrived, and how it ended."""
    found: list[Entry] = [
        entry
        for entry in lab.since(mark)
        if entry.address in side[1:] and entry.kind in ("tcp", "udp")
    ]
    return {entry.id: (entry.bytes_in, entry.closed) for entry in found}


def cut_records(seat: Seat, generation: int, count: int) -> list[str]:
    """The names or addresses of the records that a generation cut."""
    found = seat.agent.wait_for_flows(
        count,
        devbox=seat.devbox,
        verdict="deny",
        error=f"cut by generation {generation}",
    )
    return sorted(flow["name"] or flow["address"] for flow in found)


def test_a_list_that_loses_a_side_cuts_that_side(lab: Lab, seat: Seat) -> None:
    """What goes is reset and counted, nothing more of it arrives; what stays goes on."""
    seat.update(lists(STAYS, GOES))
    mark = lab.mark()
    kept, gone = open_all(seat, STAYS), open_all(seat, GOES)
    done = seat.update(lists(STAYS))
    assert done["cut"] == len(gone)
    names = ["goes-hole.test", *[v4(163)] * 2, *["goes.test"] * len(BY_NAME)]
    assert cut_records(seat, done["generation"], len(gone)) == sorted(names)
    before = arrived(lab, mark, GOES)
    assert states(seat, GOES, gone) == set()
    after = arrived(lab, mark, GOES)
    assert after.keys() == before.keys()
    assert {n: count for n, (count, _) in after.items()} == {
        n: count for n, (count, _) in before.items()
    }
    assert all(closed for _, closed in after.values())
    assert states(seat, STAYS, kept) == kept.keys()
    # Again the same: it is in force, and there is nothing to cut.
    again = seat.update(lists(STAYS), generation=done["generation"])
    assert (again["cut"], again["digest"]) == (0, done["digest"])
    assert states(seat, STAYS, kept) == kept.keys()
    close_all(seat, kept, gone)


def test_from_everything_to_a_list(lab: Lab, seat: Seat) -> None:
    """A connection that nothing is known of but its address is not the list's.

    One whose name the gateway has seen, or told, is untouched if the list has the name.
    """
    seat.update(policy(allow_all=True))
    kept, gone = open_all(seat, STAYS), open_all(seat, GOES)
    done = seat.update(lists(STAYS))
    alive = states(seat, STAYS, kept)
    assert alive >= {*KNOWN, *BY_CIDR}
    # HTTP would have to be read from here on, and a client that was silent so far, too.
    assert alive.isdisjoint({"websocket", "keepalive", "early"})
    assert states(seat, GOES, gone) == set()
    assert done["cut"] == len(gone) + len(kept) - len(alive)
    close_all(seat, kept, gone)


def test_from_a_list_to_everything(seat: Seat) -> None:
    """Nothing is cut: everything that was allowed still is."""
    seat.update(lists(STAYS, GOES))
    kept = open_all(seat, STAYS)
    done = seat.update(policy(allow_all=True))
    assert done["cut"] == 0
    assert states(seat, STAYS, kept) == kept.keys()
    close_all(seat, kept)


def test_a_range_may_take_the_place_of_a_name(lab: Lab, seat: Seat) -> None:
    """The same destination, allowed by another rule: untouched, too."""
    seat.update(lists(STAYS, cidrs=False))
    address = seat.resolve("stays.test")
    seat.open("tcp", address, 7000)
    seat.asks("tcp", b"hello\n", b"hello")
    seat.open("udp", address, 7777, udp=True)
    seat.asks("udp", b"ping", b"ping")
    done = seat.update(policy(allowed_cidrs=[{"cidr": f"{address}/32"}]))
    assert done["cut"] == 0
    assert seat.echoes("tcp", b"more\n")
    assert seat.echoes("udp", b"more")
    # A neighbour of the address, and another port: cut.
    other = policy(allowed_cidrs=[{"cidr": f"{address}/32", "ports": [{"port": 9}]}])
    assert seat.update(other)["cut"] == 2
    assert seat.ended("tcp")
    assert not seat.echoes("udp", b"more")
    close_all(seat, {"tcp": "tcp", "udp": "udp"})


@pytest.mark.parametrize("side", [STAYS, GOES], ids=["stays", "goes"])
def test_a_hello_is_judged_by_the_policy_at_its_end(
    lab: Lab, seat: Seat, side: tuple[str, str, str]
) -> None:
    """Half of it was sent under the policy before: there is nothing to cut yet."""
    seat.update(lists(STAYS, GOES))
    name = f"{side[0]}.test"
    seat.open("hello", seat.resolve(name), 443)
    whole = hello(name)
    seat.send("hello", whole[:100])
    mark = lab.mark()
    assert seat.update(lists(STAYS))["cut"] == (side is GOES)
    seat.send("hello", whole[100:])
    if side is STAYS:
        lab.wait_for(lambda entry: entry.name == name, since=mark)
    else:
        assert seat.ended("hello")
        assert not [e for e in lab.since(mark) if e.kind == "tls" or e.bytes_in]
    close_all(seat, {"hello": "hello"})


def test_flows_end_with_their_devbox(lab: Lab, seat: Seat) -> None:
    """Detached in the middle of everything: each flow ends, and each is on record."""
    other = Seat(seat.agent, "two", lists(STAYS))
    mark = lab.mark()
    flows = open_all(other, STAYS)
    seat.agent.call("remove", name="two")
    wait_until(
        lambda: all(closed for _, closed in arrived(lab, mark, STAYS).values()),
        "end of the flows",
    )
    open_flows = [
        flow
        for flow in seat.agent.flows()
        if flow["devbox"] == other.devbox and flow["kind"] != "dns"
    ]
    assert len(open_flows) == len(flows)
    assert {flow["verdict"] for flow in open_flows} == {"allow"}
    refused = seat.agent.call("update", name="two", policy=lists(GOES))
    assert refused["kind"] == "NotFound"
