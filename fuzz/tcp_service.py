"""The TCP service in process: whole connections, and what arrives at which upstream.

An input is a scene: who connects where under which policy, then what client, server, policy
and time do. Whatever they do, an upstream dialled for a name gets only what others read as
meant for that name, and only while the policy in force allows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from fuzz.memory import MemoryLoop
from fuzz.target import Target
from fuzz.tcp_world import PORTS, TARGETS, World
from fuzz.wire_http import HEAD
from fuzz.wire_tls import HELLO
from tests.unit.wire.builders import head, message, records, sni


def scene(data: bytes) -> tuple[World, list[Callable[[], None]]]:
    """Read an input: four octets of circumstances, then steps.

    With the highest bit of all, what the client says first is there when it is accepted.
    """
    where, haste, slow, policy = data[:4].ljust(4, b"\0")
    loop = _loop()
    loop.begin(haste << 2 if haste < 128 else haste << 9)
    address = TARGETS[(where >> 2) % len(TARGETS)]
    world = World(loop, address, PORTS[where & 3], policy & 7, slow >> 4)
    steps = steps_of(world, data[4:])
    if where & 128 and data[4:5] and not data[4] & 7:
        steps.pop(0)()
    return world, steps


def steps_of(world: World, data: bytes) -> list[Callable[[], None]]:
    """Each step is an octet, and for what is said two of length and the text."""
    steps: list[Callable[[], None]] = []
    at = 0
    plain = (
        world.client_ends,
        world.server_ends,
        world.client_resets,
        world.server_resets,
    )
    pauses = (
        partial(world.take, is_full=True),
        partial(world.take, is_full=False),
        world.wait,
        world.look_for_idle,
    )
    while at < len(data) and len(steps) < 32:
        step, at = data[at], at + 1
        kind = step & 7
        if kind < 2:
            size = int.from_bytes(data[at : at + 2], "big")
            text = data[at + 2 : at + 2 + size]
            at += 2 + len(text)
            say = world.server_says if kind else world.client_says
            steps.append(partial(say, text))
        elif kind < 6:
            steps.append(plain[kind - 2])
        elif kind == 6:
            steps.append(partial(world.change_policy, step >> 3 & 7))
        else:
            steps.append(pauses[step >> 3 & 3])
    return steps


_loops: list[MemoryLoop] = []


def _loop() -> MemoryLoop:
    if not _loops:
        _loops.append(MemoryLoop())
    return _loops[0]


def check(data: bytes) -> None:
    """Live through a scene, and judge what arrived."""
    world, steps = scene(data)
    try:
        world.loop.run_until_complete(world.live(steps))
    except BaseException:
        _loops.clear()
        world.loop.abandon()
        raise
    world.judge()


def told(
    *says: bytes, where: int = 0, haste: int = 0, slow: int = 0, policy: int = 0
) -> bytes:
    """A scene: *says* are the client's octets, or whole steps where they begin with `!`."""
    steps = (
        text[1:] if text[:1] == b"!" else b"\0" + len(text).to_bytes(2, "big") + text
        for text in says
    )
    return bytes((where, haste, slow, policy)) + b"".join(steps)


def served(text: bytes) -> bytes:
    """A step: the server says *text*."""
    return b"!\1" + len(text).to_bytes(2, "big") + text


def _seeds() -> tuple[bytes, ...]:
    ok = served(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    upgraded = served(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    get, other = HEAD.seeds[0], HEAD.seeds[0].replace(b"a.test", b"b.test")
    websocket = HEAD.seeds[7]
    hidden = [
        head(*fields, f"Content-Length: {len(other)}", line=line) + other
        for fields, line in (
            (["Connection: Upgrade", "Upgrade: websocket"], "POST / HTTP/1.1"),
            (["Connection: Upgrade", "Upgrade: websocket"], "POST / HTTP/1.0"),
            (["Proxy-Connection: Upgrade", "Upgrade: x"], "POST / HTTP/1.1"),
        )
    ]
    scenes = [
        *(told(text, ok) for text in hidden),
        told(websocket, ok, other),
        told(get, ok, get),
        told(get + other, ok),
        told(get, ok, other, policy=1),
        told(other, ok, policy=1),
        told(get[:9], get[9:], ok, b"!\6"),
        told(get, ok, b"!\x1e", get),
        told(websocket, upgraded, b"\x81\x05hello", served(b"\x81\2hi")),
        told(websocket, ok, get),
        told(served(b"SSH-2.0-x\r\n"), b"SSH-2.0-y\r\n", where=2),
        told(b"!\x0f", served(b"220 ready\r\n"), b"EHLO x\r\n", where=3, slow=0x50),
        told(b"\0\0\0\x08\4\xd2\x16\x2f", served(b"N"), HELLO.seeds[0], where=3),
        told(HEAD.seeds[1] + b"hello", ok, slow=0x80),
        told(other, ok, where=20, policy=2),
        told(get, ok, where=128),
        told(b"!\x17", where=4),
        told(get[:9], b"!\x17", get[9:]),
        told(get, b"!\7", ok, b"!\7", ok, b"!\x0f"),
        told(get, ok, b"!\x1f", b"!\x1f", b"!\x1f", get),
        told(b"SSH-2.0-y\r\n", b"!\7", ok, get, where=2, policy=5),
        told(get, ok, where=3, policy=4),
        told(HELLO.seeds[0], ok, b"!\x26", where=3, policy=4),
        told(HELLO.seeds[0], ok, b"!\x1e", b"x", where=3, policy=5),
        told(get.replace(b"a.test", b"p.w.test"), ok),
        told(websocket, served(b"HTTP/1.1 103 x\r\n\r\n" + upgraded[4:]), b"x"),
        told(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        told(HEAD.seeds[5]),
        told(get.replace(b"a.test", b"203.0.113.9")),
        told(b"!\x17", where=26),
        told(HELLO.seeds[2], served(b"x"), where=3),
        told(records(message([sni(b"203.0.113.9")])), where=1),
    ]
    for hello, where in itertools.product(HELLO.seeds[:4], (1, 5, 17)):
        scenes.append(
            told(hello, served(b"\x16\3\3\0\1\2"), b"\x17\3\3\0\1x", where=where)
        )
        scenes.append(told(hello, where=where | 128))
        scenes.append(told(hello[:60], hello[60:], where=where, haste=5, slow=0x10))
    return tuple(scenes)


TCP = Target(
    "tcp_service",
    check,
    _seeds(),
    (*HEAD.words, *HELLO.words, b"b.test", b"x.w.test", b"HTTP/1.1 101 x\r\n\r\n"),
    max_len=900,
    cost=30,
)
