"""The names of the lab, and what the resolver says about each.

A name is a frozen value; the table of them is a mapping which the lab keeps and which
the server process holds a copy of. Test names live under reserved top-level domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final, Self

from tests.lab.addresses import (
    DIRECT4,
    DIRECT6,
    HOST4,
    HOST6,
    HOST_EXTRA4,
    HOST_PRIVATE4,
    METADATA4,
    PRIVATE4,
    ROTATING4,
    ROTATING6,
    v4,
    v6,
)

# An ECHConfigList for the outer name cover.test, with a key nobody has.
ECH: Final = (
    "AD3+DQA5BwAgACAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHwAE"
    "AAEAAUAKY292ZXIudGVzdAAA"
)


class Behaviour(StrEnum):
    """How the resolver treats questions for a name."""

    NORMAL = "normal"
    ROTATE = "rotate"  # one address an answer, the next one each time
    SERVFAIL = "servfail"
    REFUSED = "refused"
    NXDOMAIN = "nxdomain"
    TCP_ONLY = "tcp_only"  # TC without records over UDP
    WRONG_ID = "wrong_id"
    WRONG_QUESTION = "wrong_question"
    DROP = "drop"  # no answer at all
    GARBAGE = "garbage"  # the id, then octets that are no DNS message


@dataclass(frozen=True, slots=True)
class Name:
    """The records of one name. *https* and *txt* are in presentation format."""

    a: tuple[str, ...] = ()
    aaaa: tuple[str, ...] = ()
    cname: str | None = None
    https: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()
    ttl: int = 60
    behaviour: Behaviour = Behaviour.NORMAL

    def to_mapping(self) -> dict[str, object]:
        """As plain values, for the control channel."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> Self:
        """Read what `to_mapping` wrote."""
        values = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in raw.items()
        }
        values["behaviour"] = Behaviour(str(values["behaviour"]))
        return cls(**values)  # type: ignore[arg-type]


def find(zone: Mapping[str, Name], name: str) -> Name | None:
    """The entry for *name*: its own, or that of the nearest wildcard above it."""
    name = name.lower().rstrip(".")
    if name in zone:
        return zone[name]
    labels = name.split(".")
    for count in range(1, len(labels)):
        wildcard = "*." + ".".join(labels[count:])
        if wildcard in zone:
            return zone[wildcard]
    return None


def _at(number: int) -> Name:
    return Name(a=(v4(number),), aaaa=(v6(number),))


def _plain() -> dict[str, Name]:
    """Names with one server each; `tests.lab.services` says what each server does."""
    evil = _at(66)
    return {
        "a.test": _at(10),
        "b.test": _at(11),
        "sub.a.test": _at(12),
        "d.test": _at(13),
        "cdn.d.test": _at(14),
        "*.w.test": _at(20),
        "_acme.w.test": _at(20),
        "shared-a.test": _at(30),
        "shared-d.test": _at(30),
        # The attacker, and the names that only look like allowed ones.
        "x.test": evil,
        "w.test": evil,
        "nota.test": evil,
        "xw.test": evil,
        "a.test.evil.test": evil,
        "*.x.test": evil,
        "ssh.test": _at(22),
        "silent.test": _at(23),
        "slow.test": _at(24),
        "big.test": _at(25),
        "ws.test": _at(26),
        "redirect.test": _at(27),
        "blackhole.test": _at(28),
        "sink.test": _at(31),
        "reset.test": _at(32),
        "greeting.test": _at(33),
        "late.test": _at(34),
        "refused.test": Name(a=(DIRECT4[0],), aaaa=(DIRECT6[0],)),
        "v6only.test": Name(aaaa=(v6(40),)),
        "v4only.test": Name(a=(v4(39),)),
        "dual.test": _at(41),
    }


def _chains() -> dict[str, Name]:
    """CNAME chains: of three, of twenty, in a circle, to where they should not."""
    zone = {
        "cname.test": Name(cname="cname-1.test"),
        "cname-1.test": Name(cname="cname-2.test"),
        "cname-2.test": Name(cname="cname-3.test"),
        "cname-3.test": _at(43),
        "long-chain.test": Name(cname="hop-1.long-chain.test"),
        "hop-20.long-chain.test": _at(44),
        "loop.test": Name(cname="loop-1.test"),
        "loop-1.test": Name(cname="loop.test"),
        "cname-to-d.test": Name(cname="cdn.d.test"),
        "cname-to-private.test": Name(cname="private.test"),
        "dangling.test": Name(cname="nx.test"),
    }
    for hop in range(1, 20):
        zone[f"hop-{hop}.long-chain.test"] = Name(
            cname=f"hop-{hop + 1}.long-chain.test"
        )
    return zone


def _rebinding() -> dict[str, Name]:
    """Names whose answers are addresses that no public name should have."""
    return {
        "private.test": Name(a=(PRIVATE4,), aaaa=("fd00:20::10",)),
        "private172.test": Name(a=("172.16.0.10",)),
        "private192.test": Name(a=("192.168.1.10",)),
        "cgnat.test": Name(a=("100.64.0.10",)),
        "slot.test": Name(a=("100.127.0.0",), aaaa=("fd53:746f:636b::",)),
        "sinkhole.test": Name(a=("100.126.0.1",)),
        "loopback.test": Name(a=("127.0.0.1",), aaaa=("::1",)),
        "metadata.test": Name(a=(METADATA4,), aaaa=("fd00:ec2::254",)),
        "metadata-task.test": Name(a=("169.254.170.2",)),
        "hostaddr.test": Name(a=(HOST4,), aaaa=(HOST6,)),
        "hostextra.test": Name(a=(HOST_EXTRA4,)),
        "hostprivate.test": Name(a=(HOST_PRIVATE4,)),
        "zero.test": Name(a=("0.0.0.0",), aaaa=("::",)),
        "multicast.test": Name(a=("224.0.0.251",), aaaa=("ff02::fb",)),
        "broadcast.test": Name(a=("255.255.255.255",)),
        "reserved.test": Name(a=("240.0.0.1",)),
        "mapped.test": Name(aaaa=("::ffff:10.20.0.10",)),
        "nat64.test": Name(aaaa=("64:ff9b::a14:a",)),
        "sixtofour.test": Name(aaaa=("2002:a14:a::1",)),
        "mixed.test": Name(a=(v4(45), PRIVATE4)),
        "rebind.test": Name(a=(v4(46), PRIVATE4), ttl=0, behaviour=Behaviour.ROTATE),
    }


def _odd() -> dict[str, Name]:
    """Names that are answered in an unusual way."""
    return {
        "rotating.test": Name(
            a=ROTATING4, aaaa=ROTATING6, ttl=1, behaviour=Behaviour.ROTATE
        ),
        "https-rr.test": Name(
            a=(v4(47),),
            aaaa=(v6(47),),
            https=(f'1 . alpn="h3,h2" ipv4hint={v4(66)} ech="{ECH}"',),
        ),
        "https-alias.test": Name(a=(v4(48),), https=("0 x.test.",)),
        "txt.test": Name(a=(v4(49),), txt=('"a payload for the devbox"',)),
        "ttl0.test": Name(a=(v4(42),), aaaa=(v6(42),), ttl=0),
        "ttl5.test": Name(a=(v4(50),), aaaa=(v6(50),), ttl=5),
        "nx.test": Name(behaviour=Behaviour.NXDOMAIN),
        "servfail.test": Name(behaviour=Behaviour.SERVFAIL),
        "dnsrefused.test": Name(behaviour=Behaviour.REFUSED),
        "dnsdrop.test": Name(a=(v4(51),), behaviour=Behaviour.DROP),
        "tcponly.test": Name(a=(v4(52),), aaaa=(v6(52),), behaviour=Behaviour.TCP_ONLY),
        "liar.test": Name(a=(v4(66),), behaviour=Behaviour.WRONG_ID),
        "liar-question.test": Name(a=(v4(66),), behaviour=Behaviour.WRONG_QUESTION),
        "garbage.test": Name(a=(v4(66),), behaviour=Behaviour.GARBAGE),
        "many.test": Name(a=tuple(v4(n) for n in range(100, 200))),
    }


DEFAULT_ZONE: Final[Mapping[str, Name]] = {
    **_plain(),
    **_chains(),
    **_rebinding(),
    **_odd(),
}
